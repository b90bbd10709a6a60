import assert from "node:assert/strict";
import { test } from "node:test";
import { readFileSync } from "node:fs";
import { colourValues } from "../src/overview.ts";
import { displayTable, LOOKUP_WIDTH, paletteTable } from "../src/palettes.ts";
import { STRETCHES, brightness, chooseLimits, equalise, makeDisplay, statisticsOf } from "../src/stretch.ts";
import { formatState, parseState, type ViewState } from "../src/viewstate.ts";

const RAMP = Float32Array.from({ length: 10_001 }, (_, n) => n / 100);

test("the histogram stretch gives each share of the pixels the same share of the greys", () => {
  const squares = RAMP.map((v) => v * v);
  const display = makeDisplay({ stretch: "histogram", low: 0, high: 10_000, equal: equalise(squares, 0, 10_000) });
  for (const share of [0.3, 0.5, 0.9]) assert.ok(Math.abs(brightness((share * 100) ** 2, display) - share) < 0.01);
  assert.equal(equalise(Float32Array.from([NaN, NaN]), 0, 1), null);
});

test("gamma is a power and bias and contrast turn around the middle", () => {
  assert.ok(Math.abs(brightness(0.25, makeDisplay({ stretch: "gamma", gamma: 2 })) - 0.5) < 1e-12);
  const turned = makeDisplay({ stretch: "linear", bias: 0.25, contrast: 2 });
  assert.equal(brightness(0.25, turned), 0.5);
  assert.equal(brightness(0.375, turned), 0.75);
  assert.equal(brightness(0.9, turned), 1);
});

test("limits by extremes, percentiles and noise", () => {
  const stats = statisticsOf(RAMP);
  assert.deepEqual(chooseLimits("min–max", stats), [0, 100]);
  const [low, high] = chooseLimits("5–95 %", stats) ?? [];
  assert.ok(Math.abs((low ?? 0) - 5) < 0.02 && Math.abs((high ?? 0) - 95) < 0.02);
  const [a, b] = chooseLimits("±3 σ", { median: 10, sigma: 2 }) ?? [];
  assert.deepEqual([a, b], [4, 16]);
  assert.deepEqual(statisticsOf(Float32Array.from([NaN])), {});
});

test("the shader's table holds the maps in the first row and shares of 16 bits in the second", () => {
  const table = displayTable(Float32Array.from([0, 0.5, 1]));
  assert.deepEqual([...table.slice(0, 1024)], [...paletteTable().slice(0, 1024)]);
  const at = (n: number): number => (table[(LOOKUP_WIDTH + n) * 4] ?? 0) * 256 + (table[(LOOKUP_WIDTH + n) * 4 + 1] ?? 0);
  assert.deepEqual([at(0), at(1), at(2)], [0, 32768, 65535]);
});

test("every setting survives the way through an address, in at most 2000 characters", () => {
  const id = "0198aaaa-bbbb-7ccc-8ddd-eeeeffff0000";
  const state: ViewState = {
    release: "demo", id, x: 1.5, y: 2, r: 0.5, stretch: "gamma", low: -1, high: 2, map: "cividis", invert: true, gamma: 1.8, bias: 0.4, contrast: 2.5,
    rotation: 33.25, flipped: true, masks: ["SAT"], opacity: 0.3, maskColours: { SAT: "#00ff00" }, sources: "Object", grid: "galactic",
    plane: `colour:${id},${id},${id}:0,5,8`, others: [id, `other~${id}`], layout: "curtain",
  };
  const query = formatState(state, "");
  assert.deepEqual(parseState(`?${query}`), state);
  assert.ok(query.length < 2000);
});

test("settings that make no sense are left out", () => {
  assert.deepEqual(parseState("?release=a&id=b&gam=0&k=1e9&rot=x&mo=7&mc=SAT:red"), { release: "a", id: "b" });
});

test("the Python client offers the stretches of the view, in its order", () => {
  const client = readFileSync(new URL("../../../extensions/skydesk_lab/portal.py", import.meta.url), "utf8");
  const list = /^STRETCHES = \(([^)]*)\)/m.exec(client)?.[1] ?? "";
  assert.deepEqual([...list.matchAll(/"([^"]+)"/g)].map((found) => found[1]), [...STRETCHES]);
});

test("the first picture has the colours of the shader's formula, in every stretch and colour map", () => {
  const palette = paletteTable();
  const values = Float32Array.from({ length: 4001 }, (_, n) => n / 20 - 50);
  for (const [map, invert] of [[0, false], [2, false], [5, true]] as const) {
    for (const stretch of STRETCHES) {
      const display = makeDisplay({ stretch, low: -10, high: 110, map, invert, bias: 0.45, contrast: 1.3, equal: equalise(values, -10, 110) });
      const colours = colourValues(values, display);
      values.forEach((value, n) => {
        const shade = 255 * brightness(value, display);
        const near = [Math.floor(shade), Math.ceil(shade)].map((s) => (map * 256 + (invert ? 255 - s : s)) * 4);
        assert.ok(near.some((at) => [0, 1, 2, 3].every((c) => Math.abs((palette[at + c] ?? 0) - (colours[n * 4 + c] ?? 0)) <= 2)), `${stretch} of ${value}`);
      });
    }
  }
  assert.deepEqual([...colourValues(Float32Array.from([NaN]), makeDisplay())], [0, 0, 0, 0]);
});
