/** Celestial frames besides ICRS: rotations of the sphere, and how positions are written in each. */

import { formatValue } from "./stretch.ts";
import { formatDec, formatRa } from "./wcs.ts";

export const FRAMES = ["ICRS", "galactic", "ecliptic"] as const;
export type Frame = (typeof FRAMES)[number];

/** Rows of the rotations from ICRS: IAU 1958 galactic as in Hipparcos, and the mean ecliptic of J2000 (IAU 2006). */
const ROTATIONS: Record<Exclude<Frame, "ICRS">, readonly (readonly [number, number, number])[]> = {
  galactic: [
    [-0.054875657713, -0.873437051956, -0.483835073617],
    [0.494109437193, -0.444829721223, 0.746982183987],
    [-0.867666137560, -0.198076337273, 0.455983813687],
  ],
  ecliptic: [
    [1, -0.000000070784, 0.000000080562],
    [0.000000032897, 0.917482129915, 0.397776999444],
    [-0.000000102070, -0.397776999444, 0.917482129915],
  ],
};

type Vector = [number, number, number];
const DEGREE = Math.PI / 180;

function vector(lonDeg: number, latDeg: number): Vector {
  const [lon, lat] = [lonDeg * DEGREE, latDeg * DEGREE];
  return [Math.cos(lat) * Math.cos(lon), Math.cos(lat) * Math.sin(lon), Math.sin(lat)];
}

function angles([x, y, z]: Vector): [number, number] {
  const lon = Math.atan2(y, x) / DEGREE;
  return [lon < 0 ? lon + 360 : lon, Math.atan2(z, Math.hypot(x, y)) / DEGREE];
}

/** Longitude and latitude in degrees in a frame of an ICRS position. */
export function fromIcrs(frame: Frame, raDeg: number, decDeg: number): [number, number] {
  if (frame === "ICRS") return [raDeg, decDeg];
  const v = vector(raDeg, decDeg);
  return angles(ROTATIONS[frame].map((row) => row[0] * v[0] + row[1] * v[1] + row[2] * v[2]) as Vector);
}

/** ICRS position in degrees of a longitude and latitude in a frame. */
export function toIcrs(frame: Frame, lonDeg: number, latDeg: number): [number, number] {
  if (frame === "ICRS") return [lonDeg, latDeg];
  const v = vector(lonDeg, latDeg);
  const m = ROTATIONS[frame];
  return angles([0, 1, 2].map((k) => m.reduce((sum, row, n) => sum + (row[k] ?? 0) * (v[n] ?? 0), 0)) as Vector);
}

/** Angle in degrees between two positions (Vincenty's form, exact at all separations). */
export function separation(a: readonly [number, number], b: readonly [number, number]): number {
  const [lat1, lat2, d] = [a[1] * DEGREE, b[1] * DEGREE, (b[0] - a[0]) * DEGREE];
  const y = Math.hypot(Math.cos(lat2) * Math.sin(d), Math.cos(lat1) * Math.sin(lat2) - Math.sin(lat1) * Math.cos(lat2) * Math.cos(d));
  const x = Math.sin(lat1) * Math.sin(lat2) + Math.cos(lat1) * Math.cos(lat2) * Math.cos(d);
  return Math.atan2(y, x) / DEGREE;
}

/** Position angle in degrees, north through east, of the second position seen from the first. */
export function positionAngle(a: readonly [number, number], b: readonly [number, number]): number {
  const [lat1, lat2, d] = [a[1] * DEGREE, b[1] * DEGREE, (b[0] - a[0]) * DEGREE];
  const angle = Math.atan2(Math.sin(d) * Math.cos(lat2), Math.cos(lat1) * Math.sin(lat2) - Math.sin(lat1) * Math.cos(lat2) * Math.cos(d)) / DEGREE;
  return angle < 0 ? angle + 360 : angle;
}

/** Read right ascension and declination in degrees; null for anything else. */
export function parseDegrees(text: string): [number, number] | null {
  const words = text.trim().replaceAll("−", "-").split(/[\s,]+/);
  const [ra, dec] = words.map((word) => (word === "" ? NaN : Number(word)));
  if (words.length !== 2 || ra === undefined || dec === undefined || !(Math.abs(dec) <= 90) || !(ra >= 0 && ra <= 360)) return null;
  return [ra, dec];
}

/** An angle with the unit that people use for its size. */
export function formatAngle(arcsec: number): string {
  return arcsec < 120 ? `${formatValue(arcsec)}″` : arcsec < 7200 ? `${formatValue(arcsec / 60)}′` : `${formatValue(arcsec / 3600)}°`;
}

/** A position as people write it in a frame. */
export function formatPosition(frame: Frame, raDeg: number, decDeg: number): string {
  const [lon, lat] = fromIcrs(frame, raDeg, decDeg);
  const degrees = `${lon.toFixed(6)}°  ${lat.toFixed(6)}°`;
  return frame === "galactic" ? `l ${degrees.replace("  ", "  b ")}` : frame === "ecliptic" ? `λ ${degrees.replace("  ", "  β ")}` : degrees;
}

/** A position in hours and degrees. */
export function formatSexagesimal(raDeg: number, decDeg: number): string {
  return `${formatRa(raDeg)}  ${formatDec(decDeg)}`;
}

/** Python that makes the position; the digits are good to a tenth of a milliarcsecond. */
export function skyCoordCode(raDeg: number, decDeg: number): string {
  return `SkyCoord(${raDeg.toFixed(8)}, ${decDeg.toFixed(8)}, unit="deg", frame="icrs")`;
}
