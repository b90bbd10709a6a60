import assert from "node:assert/strict";
import { test } from "node:test";
import { COLOUR_MAPS, maskTable, paletteTable } from "../src/palettes.ts";
import { brightness, chooseLimits, finiteBox, formatValue, makeDisplay, valueAt, STRETCHES } from "../src/stretch.ts";
import { locate, maskNames, paddedSize, type ImageMeta } from "../src/tiles.ts";
import { formatState, parseState } from "../src/viewstate.ts";

const meta = { shape: [1000, 700], tile_size: 256, levels: 3 } as unknown as ImageMeta;

test("every stretch maps the limits to 0 and 1 and has an inverse", () => {
  for (const stretch of STRETCHES) {
    const display = makeDisplay({ stretch, low: -3, high: 900 });
    if (stretch === "histogram") continue; // it depends on the pixels; tested below
    assert.equal(brightness(-10, display), 0);
    assert.ok(Math.abs(brightness(900, display) - 1) < 1e-12);
    for (const share of [0.1, 0.5, 0.93]) assert.ok(Math.abs(brightness(valueAt(share, display), display) - share) < 1e-9);
  }
});

test("pixels are found in tiles that count from the top", () => {
  assert.equal(paddedSize(meta), 1024);
  assert.deepEqual(locate(meta, 0, 0), { column: 0, row: 3, offset: 255 * 256 });
  assert.deepEqual(locate(meta, 300, 999), { column: 1, row: 0, offset: 24 * 256 + 44 });
});

test("mask names are found up to bit 31", () => {
  assert.deepEqual(maskNames(-2147483648, { SAT: 1, LAST: 31 }), ["LAST"]);
  assert.deepEqual(maskNames(3, { BAD: 0, SAT: 1, LAST: 31 }), ["BAD", "SAT"]);
});

test("the mask table gives each byte value the colour of its lowest shown bit", () => {
  const table = maskTable(new Map([[1, "#010203"], [10, "#040506"], [31, "#070809"]]), 0.5);
  const at = (byte: number, value: number): number[] => [...table.slice((byte * 256 + value) * 4, (byte * 256 + value) * 4 + 4)];
  assert.deepEqual(at(0, 3), [1, 2, 3, 128]);
  assert.deepEqual(at(0, 1), [0, 0, 0, 0]);
  assert.deepEqual(at(1, 4), [4, 5, 6, 128]);
  assert.deepEqual(at(3, 128), [7, 8, 9, 128]);
});

test("palettes run from their first to their last colour", () => {
  const table = paletteTable();
  assert.equal(table.length, COLOUR_MAPS.length * 1024);
  assert.deepEqual([...table.slice(0, 3)], [0, 0, 0]);
  assert.deepEqual([...table.slice(255 * 4, 255 * 4 + 3)], [255, 255, 255]);
});

test("limits are widened when all pixels are equal and missing without pixels", () => {
  assert.deepEqual(chooseLimits("1–99 %", { median: 5, sigma: 0, p1: 5, p99: 5 }), [4, 6]);
  assert.equal(chooseLimits("auto", {}), null);
});

test("a view survives the way through an address", () => {
  const state = { release: "demo", id: "0198", x: 12.25, y: 700, r: 0.125, stretch: "log", low: -4.5, high: 1e5, map: "viridis", masks: ["SAT", "CR"], sources: "Object" } as const;
  assert.deepEqual(parseState(`?${formatState({ ...state, masks: [...state.masks] }, "?keep=1&ra=3&x=9")}`), state);
  assert.match(formatState({ release: "demo", id: "1" }, "?keep=1&ra=3"), /keep=1/);
});

test("a malformed address gives no numbers, not wrong ones", () => {
  const state = parseState("?release=demo&id=1&x=abc&r=&s=cube&lo=5&hi=2&c=jet");
  assert.deepEqual(state, { release: "demo", id: "1" });
});

test("values are short and keep their size", () => {
  assert.equal(formatValue(1234.5678), "1234.57");
  assert.equal(formatValue(-2.5e-7), "-2.5000e-7");
  assert.equal(formatValue(NaN), "no data");
});

test("the filled part of a tile is found", () => {
  const tile = new Float32Array(16).fill(NaN);
  assert.equal(finiteBox(tile, 4), null);
  tile[5] = 1;
  tile[11] = 2;
  assert.deepEqual(finiteBox(tile, 4), [1, 1, 3, 2]);
});
