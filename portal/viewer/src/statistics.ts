/** Numbers of the pixels inside a region and along a line. */

import { bounds, holds, type Region } from "./regions.ts";
import type { TileStore } from "./tiles.ts";

/** Statistics of the finite pixels of a region. */
export interface RegionStatistics {
  n: number;
  /** Pixels without a value. */
  missing: number;
  mean: number;
  median: number;
  std: number;
  min: number;
  max: number;
  sum: number;
  /** Third and fourth standardised moments, the fourth less 3; NaN where all values are equal. */
  skewness: number;
  kurtosis: number;
}

/** Statistics of values; the standard deviation is that of the population, as numpy's. */
export function summarise(values: Float64Array, missing: number): RegionStatistics {
  const n = values.length;
  const sorted = Float64Array.from(values).sort();
  let sum = 0;
  for (const v of values) sum += v;
  const mean = sum / n;
  let [squares, cubes, fourths] = [0, 0, 0];
  for (const v of values) {
    const d = v - mean;
    squares += d ** 2;
    cubes += d ** 3;
    fourths += d ** 4;
  }
  const variance = squares / n;
  const middle = n % 2 ? sorted[(n - 1) / 2] : ((sorted[n / 2 - 1] ?? NaN) + (sorted[n / 2] ?? NaN)) / 2;
  return { n, missing, mean, median: middle ?? NaN, std: Math.sqrt(variance), min: sorted[0] ?? NaN, max: sorted[n - 1] ?? NaN, sum,
    skewness: cubes / n / variance ** 1.5, kurtosis: fourths / n / variance ** 2 - 3 };
}

const LARGEST = 4096 * 4096;

/** Statistics of the pixels whose middles lie in a region, at native resolution. */
export async function measureRegion(store: TileStore, region: Region): Promise<RegionStatistics> {
  const [height, width] = store.meta.shape;
  const box = bounds(region);
  const [x0, y0, x1, y1] = [Math.max(box[0], 0), Math.max(box[1], 0), Math.min(box[2], width - 1), Math.min(box[3], height - 1)];
  if (x0 > x1 || y0 > y1) throw new Error("The region lies off the image.");
  if ((x1 - x0 + 1) * (y1 - y0 + 1) > LARGEST) throw new Error("The region is larger than 4096 × 4096 pixels.");
  const pixels = await store.block("image", x0, y0, x1, y1);
  const columns = x1 - x0 + 1;
  const inside: number[] = [];
  let missing = 0;
  for (let n = 0; n < pixels.length; n++) {
    if (!holds(region, x0 + (n % columns), y0 + Math.floor(n / columns))) continue;
    const value = pixels[n] ?? NaN;
    if (Number.isFinite(value)) inside.push(value); else missing++;
  }
  return summarise(Float64Array.from(inside), missing);
}

/** Values along a line, one at each step of at most a pixel, by bilinear interpolation. */
export async function measureProfile(store: TileStore, from: [number, number], to: [number, number]): Promise<{ distance: Float64Array; value: Float64Array }> {
  const length = Math.hypot(to[0] - from[0], to[1] - from[1]);
  const steps = Math.max(Math.min(Math.ceil(length), 20_000), 1);
  const box = [Math.floor(Math.min(from[0], to[0])), Math.floor(Math.min(from[1], to[1])), Math.floor(Math.max(from[0], to[0])) + 1, Math.floor(Math.max(from[1], to[1])) + 1] as const;
  if ((box[2] - box[0] + 1) * (box[3] - box[1] + 1) > LARGEST) throw new Error("The line is longer than the largest box that is read at once.");
  const pixels = await store.block("image", ...box);
  const columns = box[2] - box[0] + 1;
  const at = (x: number, y: number): number => pixels[(y - box[1]) * columns + x - box[0]] ?? NaN;
  const distance = new Float64Array(steps + 1);
  const value = new Float64Array(steps + 1);
  for (let n = 0; n <= steps; n++) {
    const [x, y] = [from[0] + ((to[0] - from[0]) * n) / steps, from[1] + ((to[1] - from[1]) * n) / steps];
    const [i, j] = [Math.floor(x), Math.floor(y)];
    const [a, b] = [x - i, y - j];
    // A weight of zero must not bring in the missing neighbour of an exact pixel.
    const mix = (p: number, q: number, w: number): number => (w === 0 ? p : p * (1 - w) + q * w);
    value[n] = b === 0 ? mix(at(i, j), at(i + 1, j), a) : mix(mix(at(i, j), at(i + 1, j), a), mix(at(i, j + 1), at(i + 1, j + 1), a), b);
    distance[n] = (length * n) / steps;
  }
  return { distance, value };
}
