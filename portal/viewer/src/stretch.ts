/** How pixel values become brightness: the four stretches and the choice of limits. */

export const STRETCHES = ["linear", "sqrt", "log", "asinh"] as const;
export type Stretch = (typeof STRETCHES)[number];

/** What the shader needs to show a plane. */
export interface Display {
  stretch: Stretch;
  low: number;
  high: number;
  map: number;
}

/** Softening of the asinh stretch as a fraction of the range between the limits. */
export const SOFTENING = 0.02;

/** Brightness in 0..1 of a value; the same formula as the shader's. */
export function brightness(value: number, display: Display): number {
  const n = Math.min(Math.max((value - display.low) / (display.high - display.low), 0), 1);
  if (display.stretch === "sqrt") return Math.sqrt(n);
  if (display.stretch === "log") return Math.log(1 + 1000 * n) / Math.log(1001);
  if (display.stretch === "asinh") return Math.asinh(n / SOFTENING) / Math.asinh(1 / SOFTENING);
  return n;
}

/** Value at a brightness in 0..1: the inverse of `brightness`, for the colour bar's labels. */
export function valueAt(share: number, display: Display): number {
  let n = share;
  if (display.stretch === "sqrt") n = share * share;
  else if (display.stretch === "log") n = (Math.exp(share * Math.log(1001)) - 1) / 1000;
  else if (display.stretch === "asinh") n = Math.sinh(share * Math.asinh(1 / SOFTENING)) * SOFTENING;
  return display.low + n * (display.high - display.low);
}

/** Facts about the native pixels that the server sends with an image; empty without a finite pixel. */
export type Statistics = Partial<Record<"p01" | "p1" | "p5" | "median" | "p95" | "p99" | "p995" | "p999" | "sigma" | "zscale_low" | "zscale_high", number>>;

export const LIMITS = ["auto", "zscale", "0.1–99.9 %", "1–99 %", "5–95 %", "±5 σ"] as const;
export type LimitChoice = (typeof LIMITS)[number];

/** First and last column and row, from the top, of the finite values of a square tile; null without any. */
export function finiteBox(tile: Float32Array, side: number): [number, number, number, number] | null {
  const box: [number, number, number, number] = [side, side, -1, -1];
  for (let n = 0; n < tile.length; n++) {
    if (!Number.isFinite(tile[n])) continue;
    const [x, y] = [n % side, Math.floor(n / side)];
    if (x < box[0]) box[0] = x;
    if (y < box[1]) box[1] = y;
    if (x > box[2]) box[2] = x;
    if (y > box[3]) box[3] = y;
  }
  return box[2] < 0 ? null : box;
}

/** Limits by one of the rules; null when the image has no finite pixel. */
export function chooseLimits(kind: LimitChoice, stats: Statistics): [number, number] | null {
  const { median, sigma } = stats;
  if (median === undefined || sigma === undefined) return null;
  const rules: Record<LimitChoice, [number | undefined, number | undefined]> = {
    "auto": [median - 1.5 * sigma, Math.max(stats.p995 ?? median, median + 30 * sigma)],
    "zscale": [stats.zscale_low, stats.zscale_high],
    "0.1–99.9 %": [stats.p01, stats.p999],
    "1–99 %": [stats.p1, stats.p99],
    "5–95 %": [stats.p5, stats.p95],
    "±5 σ": [median - 5 * sigma, median + 5 * sigma],
  };
  const [low, high] = rules[kind];
  if (low === undefined || high === undefined) return null;
  return high > low ? [low, high] : [low - 1, low + 1];
}

/** A number with about six significant digits, short enough for a label. */
export function formatValue(value: number): string {
  if (!Number.isFinite(value)) return "no data";
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e6 || size < 1e-3)) return value.toExponential(4);
  return String(Number(value.toPrecision(6)));
}
