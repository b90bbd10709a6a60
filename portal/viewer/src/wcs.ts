/** Pixel to sky and back from the polynomial that the server fitted to the full WCS of an image. */

/** A polynomial WCS: pixel to gnomonic plane coordinates in degrees about `crval` (ICRS degrees). */
export interface WcsFit {
  crval: [number, number];
  /** Pixel (0-based, centre of the first pixel is 0) that the polynomial is expanded about. */
  centre: [number, number];
  /** Pixels by which offsets from `centre` are divided. */
  scale: number;
  /** Coefficients c[i][j] of u^i v^j. */
  xi: number[][];
  eta: number[][];
  max_error_arcsec: number;
}

const DEGREE = Math.PI / 180;

function evaluate(c: number[][], u: number, v: number): number {
  let sum = 0;
  for (let i = c.length - 1; i >= 0; i--) {
    const row = c[i] ?? [];
    let inner = 0;
    for (let j = row.length - 1; j >= 0; j--) inner = inner * v + (row[j] ?? 0);
    sum = sum * u + inner;
  }
  return sum;
}

/** ICRS right ascension and declination in degrees of a 0-based array pixel. */
export function pixelToSky(fit: WcsFit, x: number, y: number): [number, number] {
  const u = (x - fit.centre[0]) / fit.scale;
  const v = (y - fit.centre[1]) / fit.scale;
  const xi = evaluate(fit.xi, u, v) * DEGREE;
  const eta = evaluate(fit.eta, u, v) * DEGREE;
  const ra0 = fit.crval[0] * DEGREE;
  const dec0 = fit.crval[1] * DEGREE;
  const d = Math.cos(dec0) - eta * Math.sin(dec0);
  const ra = ra0 + Math.atan2(xi, d);
  const dec = Math.atan2(Math.sin(dec0) + eta * Math.cos(dec0), Math.hypot(xi, d));
  return [(((ra / DEGREE) % 360) + 360) % 360, dec / DEGREE];
}

/** Gnomonic plane coordinates in degrees; null on the far hemisphere. */
export function skyToPlane(fit: WcsFit, raDeg: number, decDeg: number): [number, number] | null {
  const da = (raDeg - fit.crval[0]) * DEGREE;
  const dec = decDeg * DEGREE;
  const dec0 = fit.crval[1] * DEGREE;
  const cosine = Math.sin(dec0) * Math.sin(dec) + Math.cos(dec0) * Math.cos(dec) * Math.cos(da);
  if (cosine <= 0) return null;
  const xi = (Math.cos(dec) * Math.sin(da)) / cosine;
  const eta = (Math.cos(dec0) * Math.sin(dec) - Math.sin(dec0) * Math.cos(dec) * Math.cos(da)) / cosine;
  return [xi / DEGREE, eta / DEGREE];
}

/** 0-based array pixel of an ICRS position, by Newton's method on the polynomial; null when it does not converge. */
export function skyToPixel(fit: WcsFit, raDeg: number, decDeg: number): [number, number] | null {
  const plane = skyToPlane(fit, raDeg, decDeg);
  if (!plane) return null;
  let u = 0;
  let v = 0;
  const step = 1e-4;
  for (let n = 0; n < 30; n++) {
    const fx = evaluate(fit.xi, u, v) - plane[0];
    const fy = evaluate(fit.eta, u, v) - plane[1];
    const xu = (evaluate(fit.xi, u + step, v) - evaluate(fit.xi, u - step, v)) / (2 * step);
    const xv = (evaluate(fit.xi, u, v + step) - evaluate(fit.xi, u, v - step)) / (2 * step);
    const yu = (evaluate(fit.eta, u + step, v) - evaluate(fit.eta, u - step, v)) / (2 * step);
    const yv = (evaluate(fit.eta, u, v + step) - evaluate(fit.eta, u, v - step)) / (2 * step);
    const det = xu * yv - xv * yu;
    if (!Number.isFinite(det) || det === 0) return null;
    const du = (fx * yv - fy * xv) / det;
    const dv = (fy * xu - fx * yu) / det;
    u -= du;
    v -= dv;
    if (Math.abs(du) + Math.abs(dv) < 1e-10) {
      return [u * fit.scale + fit.centre[0], v * fit.scale + fit.centre[1]];
    }
  }
  return null;
}

/** Arcseconds per pixel and the directions of north and east on the pixel grid at one pixel. */
export function localFrame(fit: WcsFit, x: number, y: number): { arcsec: number; north: [number, number]; east: [number, number] } | null {
  const [ra, dec] = pixelToSky(fit, x, y);
  const small = 1 / 3600;
  const n = skyToPixel(fit, ra, Math.min(dec + small, 89.9999));
  const e = skyToPixel(fit, ra + small / Math.max(Math.cos(dec * DEGREE), 1e-6), dec);
  if (!n || !e) return null;
  const unit = (p: [number, number]): [number, number] => {
    const length = Math.hypot(p[0] - x, p[1] - y);
    return [(p[0] - x) / length, (p[1] - y) / length];
  };
  const length = Math.hypot(n[0] - x, n[1] - y);
  return { arcsec: 1 / length, north: unit(n), east: unit(e) };
}

function sexagesimal(value: number, digits: number): string {
  const units = 10 ** digits;
  const total = Math.round(Math.abs(value) * 3600 * units);
  const whole = Math.floor(total / (3600 * units));
  const minutes = Math.floor(total / (60 * units)) % 60;
  const seconds = (total % (60 * units)) / units;
  const width = digits > 0 ? 3 + digits : 2;
  return `${String(whole).padStart(2, "0")}:${String(minutes).padStart(2, "0")}:${seconds.toFixed(digits).padStart(width, "0")}`;
}

/** Hours, minutes and seconds of right ascension. */
export function formatRa(raDeg: number): string {
  const text = sexagesimal(raDeg / 15, 3);
  return text.startsWith("24:") ? `00:${text.slice(3)}` : text;
}

/** Degrees, minutes and seconds of declination, with its sign. */
export function formatDec(decDeg: number): string {
  return `${decDeg < 0 ? "−" : "+"}${sexagesimal(decDeg, 2)}`;
}
