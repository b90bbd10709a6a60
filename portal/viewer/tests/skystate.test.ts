import assert from "node:assert/strict";
import { test } from "node:test";
import { cellsByOrder, formatCells, formatSky, parseCell, parseSky, queryCells, suitableOrder, type SkyState } from "../src/skystate.ts";

test("a view of the sky survives the way through an address", () => {
  const state: SkyState = {
    release: "demo", hips: "deep_coadd/band_r", ra: 53.131101, dec: -28.1, fov: 0.2584, stretch: "log", map: "viridis", low: -1.5, high: 200,
    projection: "Aitoff", coverage: "this map", grid: true, cells: ["12/147191918", "3/561"],
  };
  assert.deepEqual(parseSky(`?${formatSky(state)}`), state);
  assert.deepEqual(parseSky(`?${formatSky({})}`), {});
  assert.equal(formatSky({ fov: 2 }, "?view=mine&fov=1&g=1&cells=0/1"), "view=mine&fov=2");
});

test("what makes no sense in an address is left out", () => {
  assert.deepEqual(parseSky("?ra=400&dec=x&fov=0&lo=&g=yes&cells=3/768,3/767,a,99/1"), { cells: ["3/767"] });
  assert.equal(parseCell("0/12"), null);
  assert.deepEqual(parseCell("0/11"), { order: 0, number: 11 });
});

test("cells are told as a coverage map and as a query", () => {
  const cells = ["12/7", "3/561", "12/5"];
  assert.deepEqual(cellsByOrder(cells), { 3: [561], 12: [5, 7] });
  assert.equal(formatCells(cells), "3/561 12/5 7");
  const query = queryCells("demo", ["r"], cells);
  assert.match(query, /^SELECT TOP 10000 objectId, coord_ra, coord_dec, r_psfFlux, r_psfFluxErr\nFROM demo.Object\n/);
  assert.match(query, /ivo_healpix_index\(3, coord_ra, coord_dec\) IN \(561\)\n {3}OR ivo_healpix_index\(12, coord_ra, coord_dec\) IN \(5, 7\)$/);
});

test("cells are about an eighth of the view", () => {
  for (const fov of [180, 20, 1, 0.1]) {
    const cell = 58.6 / 2 ** suitableOrder(fov);
    assert.ok(cell > fov / 12 && cell < fov / 5, `${fov}`);
  }
});
