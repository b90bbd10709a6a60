import assert from "node:assert/strict";
import { test } from "node:test";
import { toPlot, toSky } from "../src/coordinates.ts";
import { formatAngle, type Frame, parseDegrees } from "../src/skyframes.ts";

const close = (a: readonly number[], b: readonly number[]): void => a.forEach((v, n) => assert.ok(Math.abs(v - (b[n] ?? NaN)) < 1e-9, `${a} ${b}`));

test("places on a plot and on the sky lead to each other, in every frame and on both sides of zero", () => {
  for (const frame of ["ICRS", "galactic", "ecliptic"] as Frame[]) {
    for (const isTurned of [false, true]) {
      const axes = { frame, isTurned, centre: 0.1 };
      const at: [number, number] = isTurned ? [-28.5, -1.25] : [-1.25, -28.5];
      const sky = toSky(axes, at);
      assert.ok(sky);
      close(toPlot(axes, sky), at);
      if (frame === "ICRS") close(sky, [358.75, -28.5]);
    }
  }
});

test("what is no place on the sky has no coordinates", () => {
  const axes = { frame: "ICRS" as Frame, isTurned: false, centre: 180 };
  for (const at of [[], [1], [10, 91], [NaN, 0]]) assert.equal(toSky(axes, at), null);
});

test("positions are read in degrees and nothing else is", () => {
  assert.deepEqual(parseDegrees(" 53.125, -28.5"), [53.125, -28.5]);
  assert.deepEqual(parseDegrees("53.125 −28.5"), [53.125, -28.5]);
  for (const text of ["", "53", "53 91", "361 0", "a b", "1 2 3", ","]) assert.equal(parseDegrees(text), null, text);
});

test("angles have the unit of their size", () => {
  assert.deepEqual([1.5, 120, 7200, 3600 * 12.5].map(formatAngle), ["1.5″", "2′", "2°", "12.5°"]);
});
