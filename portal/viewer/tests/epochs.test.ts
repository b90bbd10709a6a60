import assert from "node:assert/strict";
import { test } from "node:test";
import { formatSeries, parseSeries } from "../src/panel_epochs.ts";
import { parseDegrees } from "../src/skyframes.ts";
import { cameraAt } from "../src/readout.ts";
import type { ImageMeta } from "../src/tiles.ts";

test("a series of exposures survives the address", () => {
  const series = { ra: 53.1421234, dec: -28.0847, side: 30, kind: "difference_image", band: "all" };
  assert.deepEqual(parseSeries(formatSeries(series)), series);
  for (const wrong of ["", "53,-28,30", "53,-98,30,visit_image,r", "53,-28,0,visit_image,r", "53,-28,30,raw,r", "a,b,30,visit_image,r"]) {
    assert.equal(parseSeries(wrong), null, wrong);
  }
});

test("positions are two numbers", () => {
  assert.deepEqual(parseDegrees(" 53.13, -28.10 "), [53.13, -28.1]);
  for (const wrong of ["", "53.13", "53.13 -28.10 4", "3h32m -28", "53 -91"]) assert.equal(parseDegrees(wrong), null, wrong);
});

test("a pixel of a part of a raw is found in the camera", () => {
  const amplifiers = { C0: { box: [8, 0, 263, 99], raw: [8, 0], focal: [-511.5, -49.5] }, "C0 overscan": { box: [264, 0, 295, 99], raw: [264, 0], focal: null } };
  const meta = { xy0: [200, 50], amplifiers } as unknown as ImageMeta;
  assert.deepEqual(cameraAt(meta, 3, 4), { name: "C0", raw: [203, 54], focal: [-316.5, 4.5] });
  assert.deepEqual(cameraAt(meta, 70, 0), { name: "C0 overscan", raw: [270, 50], focal: null });
  assert.equal(cameraAt(meta, 300, 0), null);
});
