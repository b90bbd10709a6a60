/** Planes that are computed in the browser on the grid of one image: noise, difference, signal to noise, three bands. */

import type { TileLoader } from "./layers.ts";
import { paddedSize, type ImageMeta, type TileStore } from "./tiles.ts";
import { pixelToSky, skyToPixel } from "./wcs.ts";

/** What a view shows: a plane of the image itself, or one that is computed with others. */
export type Shown =
  | { kind: "image" | "variance" | "noise" | "signal" }
  | { kind: "difference" | "significance"; other: TileStore }
  | { kind: "colour"; others: [TileStore, TileStore, TileStore] };

const STEPS = 16;

function sameGrid(a: ImageMeta, b: ImageMeta): boolean {
  return a.shape.join() === b.shape.join() && a.levels === b.levels && JSON.stringify(a.wcs) === JSON.stringify(b.wcs);
}

/** Middle of a tile's pixel in 0-based native pixels; columns from the left, rows from the top, fractions allowed. */
export function tilePixel(meta: ImageMeta, z: number, x: number, y: number, column: number, row: number): [number, number] {
  const block = 2 ** (meta.levels - 1 - z);
  const size = meta.tile_size;
  return [(x * size + column + 0.5) * block - 0.5, paddedSize(meta) - (y * size + row + 0.5) * block - 0.5];
}

/** Positions in another image, in its native pixels, of a grid of points of a tile; NaN where there are none. */
function controlPoints(from: ImageMeta, to: ImageMeta, z: number, x: number, y: number): Float64Array {
  const points = new Float64Array((STEPS + 1) ** 2 * 2).fill(NaN);
  if (!from.wcs || !to.wcs) return points;
  for (let j = 0; j <= STEPS; j++) {
    for (let i = 0; i <= STEPS; i++) {
      const at = tilePixel(from, z, x, y, (i * from.tile_size) / STEPS - 0.5, (j * from.tile_size) / STEPS - 0.5);
      const found = skyToPixel(to.wcs, ...pixelToSky(from.wcs, ...at));
      if (found) points.set(found, (j * (STEPS + 1) + i) * 2);
    }
  }
  return points;
}

/** Reads another image on the grid of the first: the level that fits, values in between by bilinear interpolation. */
export class Resampler {
  private readonly grid: ImageMeta;
  private readonly other: TileStore;
  private readonly same: boolean;
  private readonly ratio: number;

  constructor(grid: ImageMeta, other: TileStore) {
    this.grid = grid;
    this.other = other;
    this.same = sameGrid(grid, other.meta);
    const scale = (meta: ImageMeta): number => (meta.wcs ? Math.hypot(meta.wcs.xi[1]?.[0] ?? 0, meta.wcs.eta[1]?.[0] ?? 0) / meta.wcs.scale : 1);
    this.ratio = scale(grid) / scale(other.meta);
    if (!this.same && (!grid.wcs || !other.meta.wcs)) throw new Error("an image without sky coordinates cannot be put on the grid of another one");
  }

  /** Values on a tile of the grid; the variance is that of the interpolated value of independent pixels. */
  async tile(plane: "image" | "variance", z: number, x: number, y: number): Promise<Float32Array> {
    if (this.same) return this.other.recall(plane, z, x, y);
    const size = this.grid.tile_size;
    const out = new Float32Array(size * size).fill(NaN);
    const points = controlPoints(this.grid, this.other.meta, z, x, y);
    const block = 2 ** (this.grid.levels - 1 - z) * this.ratio;
    const { levels } = this.other.meta;
    const level = Math.min(Math.max(levels - 1 - Math.round(Math.log2(block)), 0), levels - 1);
    const tiles = await this.gather(plane, level, points);
    if (tiles.size === 0) return out;
    const side = 2 ** (levels - 1 - level);
    const top = paddedSize(this.other.meta);
    const squares = plane === "variance";
    for (let row = 0; row < size; row++) {
      const b = ((row + 0.5) * STEPS) / size;
      const j = Math.min(Math.floor(b), STEPS - 1);
      for (let column = 0; column < size; column++) {
        const a = ((column + 0.5) * STEPS) / size;
        const i = Math.min(Math.floor(a), STEPS - 1);
        const at = (k: number): number => {
          const n = (j * (STEPS + 1) + i) * 2 + k;
          const next = n + (STEPS + 1) * 2;
          const low = (points[n] ?? NaN) * (i + 1 - a) + (points[n + 2] ?? NaN) * (a - i);
          const high = (points[next] ?? NaN) * (i + 1 - a) + (points[next + 2] ?? NaN) * (a - i);
          return low * (j + 1 - b) + high * (b - j);
        };
        // Columns from the left and rows from the top of the level, counted at the middles of its pixels.
        const u = (at(0) + 0.5) / side - 0.5;
        const v = (top - at(1) - 0.5) / side - 0.5;
        out[row * size + column] = interpolate(tiles, this.other.meta.tile_size, u, v, squares);
      }
    }
    return out;
  }

  private async gather(plane: "image" | "variance", level: number, points: Float64Array): Promise<Map<number, Float32Array>> {
    const { meta } = this.other;
    const side = 2 ** (meta.levels - 1 - level) * meta.tile_size;
    const top = paddedSize(meta);
    const range = [Infinity, -Infinity, Infinity, -Infinity] as [number, number, number, number];
    for (let n = 0; n < points.length; n += 2) {
      const [u, v] = [((points[n] ?? NaN) + 0.5) / side, (top - (points[n + 1] ?? NaN) - 0.5) / side];
      if (Number.isNaN(u)) continue;
      range[0] = Math.min(range[0], u);
      range[1] = Math.max(range[1], u);
      range[2] = Math.min(range[2], v);
      range[3] = Math.max(range[3], v);
    }
    const last = 2 ** level - 1;
    const edge = 1 / meta.tile_size;
    const tiles = new Map<number, Float32Array>();
    const jobs: Promise<unknown>[] = [];
    for (let row = Math.max(Math.floor(range[2] - edge), 0); row <= Math.min(Math.floor(range[3] + edge), last); row++) {
      for (let column = Math.max(Math.floor(range[0] - edge), 0); column <= Math.min(Math.floor(range[1] + edge), last); column++) {
        jobs.push(this.other.recall(plane, level, column, row).then((tile) => tiles.set(row * 4096 + column, tile)));
      }
    }
    await Promise.all(jobs);
    return tiles;
  }
}

function interpolate(tiles: Map<number, Float32Array>, size: number, u: number, v: number, squares: boolean): number {
  if (!(u > -1 && v > -1)) return NaN;
  const [i, j] = [Math.floor(u), Math.floor(v)];
  let sum = 0;
  for (let dj = 0; dj < 2; dj++) {
    for (let di = 0; di < 2; di++) {
      const weight = (di ? u - i : i + 1 - u) * (dj ? v - j : j + 1 - v);
      if (weight < 1e-9) continue;
      const [column, row] = [i + di, j + dj];
      const tile = tiles.get(Math.floor(row / size) * 4096 + Math.floor(column / size));
      sum += (tile?.[(((row % size) + size) % size) * size + (((column % size) + size) % size)] ?? NaN) * (squares ? weight * weight : weight);
    }
  }
  return sum;
}

/** How many native pixels a level's variance has to be multiplied by to be that of one pixel. */
function pixelsPerBlock(meta: ImageMeta, z: number): number {
  return 4 ** (meta.levels - 1 - z);
}

/** The loader of what is shown; colours come as three values a pixel. */
export function loaderOf(store: TileStore, shown: Shown): TileLoader {
  const { meta } = store;
  switch (shown.kind) {
    case "image": return (z, x, y, signal) => store.floats("image", z, x, y, signal);
    case "variance": case "noise": return async (z, x, y, signal) => {
      const variance = await store.floats("variance", z, x, y, signal);
      const factor = pixelsPerBlock(meta, z);
      return variance.map((v) => (shown.kind === "noise" ? Math.sqrt(v * factor) : v * factor));
    };
    case "signal": return async (z, x, y) => {
      const [image, variance] = await Promise.all([store.recall("image", z, x, y), store.recall("variance", z, x, y)]);
      return image.map((v, n) => v / Math.sqrt(variance[n] ?? NaN));
    };
    case "difference": {
      const other = new Resampler(meta, shown.other);
      return async (z, x, y) => {
        const [a, b] = await Promise.all([store.recall("image", z, x, y), other.tile("image", z, x, y)]);
        return a.map((v, n) => v - (b[n] ?? NaN));
      };
    }
    case "significance": {
      const other = new Resampler(meta, shown.other);
      return async (z, x, y) => {
        const [a, b, va, vb] = await Promise.all([
          store.recall("image", z, x, y), other.tile("image", z, x, y), store.recall("variance", z, x, y), other.tile("variance", z, x, y)]);
        return a.map((v, n) => (v - (b[n] ?? NaN)) / Math.sqrt((va[n] ?? NaN) + (vb[n] ?? NaN)));
      };
    }
    case "colour": {
      const readers = shown.others.map((other) => new Resampler(meta, other));
      return async (z, x, y) => {
        const bands = await Promise.all(readers.map((reader) => reader.tile("image", z, x, y)));
        const out = new Float32Array(meta.tile_size ** 2 * 3);
        bands.forEach((band, k) => band.forEach((v, n) => { out[n * 3 + k] = v; }));
        return out;
      };
    }
  }
}
