/** What an address says of the sky map, and cells of it. */

export const SKY_STRETCHES = ["asinh", "linear", "sqrt", "log", "pow2"] as const;
export const SKY_COLOURS = ["grayscale", "viridis", "magma", "plasma", "cubehelix", "redtemperature"] as const;
/** Names of projections and the codes that Aladin Lite knows them by. */
export const PROJECTIONS: Record<string, string> = { sphere: "SIN", Aitoff: "AIT", Mollweide: "MOL", tangential: "TAN", "equal area": "ZEA", Mercator: "MER" };
export const COVERAGES = ["none", "this map", "whole release"] as const;

/** One view of the sky. */
export interface SkyState {
  release?: string;
  hips?: string;
  ra?: number;
  dec?: number;
  fov?: number;
  stretch?: string;
  map?: string;
  low?: number;
  high?: number;
  projection?: string;
  coverage?: string;
  grid?: boolean;
  /** Chosen HEALPix cells (nested), ``order/number``. */
  cells?: string[];
}

const NAMES = { release: "release", hips: "hips", stretch: "s", map: "c", projection: "p", coverage: "cov" } as const;
const NUMBERS = { ra: ["ra", 0, 360, 7], dec: ["dec", -90, 90, 7], fov: ["fov", 1e-5, 360, 4], low: ["lo", -Infinity, Infinity, 7], high: ["hi", -Infinity, Infinity, 7] } as const;
const ORDER_MAX = 24;

/** A cell that exists; null for anything else. */
export function parseCell(text: string): { order: number; number: number } | null {
  const [, order, number] = (/^(\d{1,2})\/(\d{1,16})$/.exec(text) ?? []).map(Number);
  return order !== undefined && number !== undefined && order <= ORDER_MAX && number < 12 * 4 ** order ? { order, number } : null;
}

/** Read an address; what makes no sense is left out. */
export function parseSky(search: string): SkyState {
  const query = new URLSearchParams(search);
  const state: SkyState = {};
  for (const [key, name] of Object.entries(NAMES)) {
    const value = query.get(name);
    if (value) state[key as keyof typeof NAMES] = value;
  }
  for (const [key, [name, least, most]] of Object.entries(NUMBERS)) {
    const text = query.get(name);
    const value = Number(text);
    if (text && Number.isFinite(value) && value >= least && value <= most) state[key as keyof typeof NUMBERS] = value;
  }
  if (query.get("g") === "1") state.grid = true;
  const cells = (query.get("cells") ?? "").split(",").filter((cell) => parseCell(cell));
  if (cells.length > 0) state.cells = cells;
  return state;
}

/** Write an address; fields of the one before that are not ours stay. */
export function formatSky(state: SkyState, before = ""): string {
  const query = new URLSearchParams(before);
  for (const name of [...Object.values(NAMES), ...Object.values(NUMBERS).map(([name]) => name), "g", "cells"]) query.delete(name);
  for (const [key, name] of Object.entries(NAMES)) {
    const value = state[key as keyof typeof NAMES];
    if (value) query.set(name, value);
  }
  for (const [key, [name, , , digits]] of Object.entries(NUMBERS)) {
    const value = state[key as keyof typeof NUMBERS];
    if (value !== undefined) query.set(name, key === "ra" || key === "dec" ? String(Number(value.toFixed(digits))) : String(Number(value.toPrecision(digits))));
  }
  if (state.grid) query.set("g", "1");
  if (state.cells && state.cells.length > 0) query.set("cells", state.cells.join(","));
  return query.toString();
}

/** Cells by order, as a MOC in JSON lists them. */
export function cellsByOrder(cells: readonly string[]): Record<string, number[]> {
  const found: Record<string, number[]> = {};
  for (const text of cells) {
    const cell = parseCell(text);
    if (cell) (found[cell.order] ??= []).push(cell.number);
  }
  for (const numbers of Object.values(found)) numbers.sort((a, b) => a - b);
  return found;
}

/** Cells as a MOC in ASCII (MOC 2.0), which mocpy and the Catalogs page read. */
export function formatCells(cells: readonly string[]): string {
  return Object.entries(cellsByOrder(cells)).map(([order, numbers]) => `${order}/${numbers.join(" ")}`).join(" ");
}

/** Query for the objects of a release in cells. */
export function queryCells(release: string, bands: readonly string[], cells: readonly string[]): string {
  const columns = ["objectId", "coord_ra", "coord_dec", ...bands.flatMap((band) => [`${band}_psfFlux`, `${band}_psfFluxErr`])];
  const inside = Object.entries(cellsByOrder(cells)).map(([order, numbers]) => `ivo_healpix_index(${order}, coord_ra, coord_dec) IN (${numbers.join(", ")})`);
  return `SELECT TOP 10000 ${columns.join(", ")}\nFROM ${release}.Object\nWHERE ${inside.join("\n   OR ")}`;
}

/** Order at which a cell takes about an eighth of a field of view. */
export function suitableOrder(fovDeg: number): number {
  // A cell of order 0 is about 58.6 degrees wide.
  return Math.min(Math.max(Math.round(Math.log2((8 * 58.6) / fovDeg)), 0), 18);
}
