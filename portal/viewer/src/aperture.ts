/** Photometry in a circle with the exact overlap of circle and pixels, and the sky from an annulus. */

import { summarise } from "./statistics.ts";
import type { TileStore } from "./tiles.ts";

/** Area of a circle of radius r around the origin right of and above the point (x, y), both not negative. */
function corner(x: number, y: number, r: number): number {
  if (x * x + y * y >= r * r) return 0;
  const [xEdge, yEdge] = [Math.sqrt(r * r - y * y), Math.sqrt(r * r - x * x)];
  // Between the two points where the corner's sides meet the circle: a sector less two triangles.
  const angle = Math.atan2(yEdge, x) - Math.atan2(y, xEdge);
  return 0.5 * r * r * angle - 0.5 * (x * (yEdge - y) + y * (xEdge - x));
}

/** Area of the circle in the quadrant right of x and above y, for any signs. */
function quadrant(x: number, y: number, r: number): number {
  if (x < 0) return half(y, r) - quadrant(-x, y, r);
  if (y < 0) return half(x, r) - quadrant(x, -y, r);
  return corner(x, y, r);
}

/** Area of the circle beyond a line at distance d from its centre. */
function half(d: number, r: number): number {
  if (d >= r) return 0;
  if (d <= -r) return Math.PI * r * r;
  return r * r * Math.acos(d / r) - d * Math.sqrt(r * r - d * d);
}

/** Area of a circle around the origin inside the pixel whose middle is (x, y). */
export function overlap(x: number, y: number, r: number): number {
  const [a, b, c, d] = [x - 0.5, x + 0.5, y - 0.5, y + 0.5];
  const far = Math.hypot(Math.max(Math.abs(a), Math.abs(b)), Math.max(Math.abs(c), Math.abs(d)));
  if (far <= r) return 1;
  const near = Math.hypot(Math.max(a, -b, 0), Math.max(c, -d, 0));
  if (near >= r) return 0;
  return quadrant(a, c, r) - quadrant(b, c, r) - quadrant(a, d, r) + quadrant(b, d, r);
}

/** What is asked: position and radii in array pixels; no annulus with an outer radius of 0. */
export interface Aperture {
  x: number;
  y: number;
  radius: number;
  inner: number;
  outer: number;
}

/** Result, in the unit of the pixels. */
export interface Photometry {
  flux: number;
  /** From the variance plane; NaN without one. */
  error: number;
  /** Median of the annulus, per pixel. */
  sky: number;
  skyPixels: number;
  area: number;
  /** Area of the circle where the image has no value. */
  missing: number;
}

/** Sum inside a circle, less the sky. Pixels without a value count as missing, not as zero. */
export async function measureAperture(store: TileStore, aperture: Aperture): Promise<Photometry> {
  const { x, y, radius, inner, outer } = aperture;
  const reach = Math.max(radius, outer) + 1;
  const box = [Math.floor(x - reach), Math.floor(y - reach), Math.ceil(x + reach), Math.ceil(y + reach)] as const;
  const columns = box[2] - box[0] + 1;
  const noisy = !store.meta.planes || store.meta.planes.includes("variance");
  const [pixels, variance] = await Promise.all([store.block("image", ...box), noisy ? store.block("variance", ...box) : null]);
  const around: number[] = [];
  let [sum, area, missing, squares] = [0, 0, 0, 0];
  pixels.forEach((value, n) => {
    const [dx, dy] = [box[0] + (n % columns) - x, box[1] + Math.floor(n / columns) - y];
    const share = overlap(dx, dy, radius);
    if (share > 0 && Number.isFinite(value)) {
      sum += share * value;
      area += share;
      squares += share * (variance?.[n] ?? NaN);
    } else missing += share;
    const distance = Math.hypot(dx, dy);
    if (outer > inner && distance >= inner && distance <= outer && Number.isFinite(value)) around.push(value);
  });
  const sky = around.length > 0 ? summarise(Float64Array.from(around), 0).median : 0;
  return { flux: sum - sky * area, error: Math.sqrt(squares), sky, skyPixels: around.length, area, missing };
}

/** AB magnitude of a flux in nJy; NaN without a positive flux. */
export function abMagnitude(fluxNjy: number): number {
  return fluxNjy > 0 ? 31.4 - 2.5 * Math.log10(fluxNjy) : NaN;
}
