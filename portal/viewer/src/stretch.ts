/** How pixel values become brightness: stretches, limits, bias and contrast. */

export const STRETCHES = ["linear", "sqrt", "log", "gamma", "histogram", "asinh"] as const;
export type Stretch = (typeof STRETCHES)[number];

/** What the shader needs to show a plane. */
export interface Display {
  stretch: Stretch;
  low: number;
  high: number;
  map: number;
  /** Whether the colour map runs backwards. */
  invert: boolean;
  /** Exponent of the gamma stretch: brightness is n to the power 1/gamma. */
  gamma: number;
  /** Brightness that is moved to the middle, 0..1, and the slope there; 0.5 and 1 change nothing. */
  bias: number;
  contrast: number;
  /** Share of the pixels below each of `EQUAL_BINS` steps of the asinh scale, for the histogram stretch. */
  equal: Float32Array | null;
}

/** A display that changes nothing beyond what is given. */
export function makeDisplay(part: Partial<Display> = {}): Display {
  return { stretch: "asinh", low: 0, high: 1, map: 0, invert: false, gamma: 2.2, bias: 0.5, contrast: 1, equal: null, ...part };
}

/** Softening of the asinh stretch as a fraction of the range between the limits. */
export const SOFTENING = 0.02;
export const EQUAL_BINS = 1024;

function asinhScale(n: number): number {
  return Math.asinh(n / SOFTENING) / Math.asinh(1 / SOFTENING);
}

function clamp(n: number): number {
  return Math.min(Math.max(n, 0), 1);
}

/** Cumulative distribution of the values between the limits, on the asinh scale; null without a value. */
export function equalise(values: Float32Array, low: number, high: number): Float32Array | null {
  const counts = new Float64Array(EQUAL_BINS);
  let total = 0;
  for (const value of values) {
    if (!Number.isFinite(value)) continue;
    const n = asinhScale(clamp((value - low) / (high - low)));
    const bin = Math.min(Math.floor(n * EQUAL_BINS), EQUAL_BINS - 1);
    counts[bin] = (counts[bin] ?? 0) + 1;
    total++;
  }
  if (total === 0) return null;
  // What lies below the lower limit is black anyway: only the rest is spread over the greys.
  const below = counts[0] ?? 0;
  const rest = Math.max(total - below, 1);
  let sum = 0;
  return Float32Array.from(counts, (count, n) => {
    if (n > 0) sum += count;
    return sum / rest;
  });
}

function stretched(n: number, display: Display): number {
  switch (display.stretch) {
    case "sqrt": return Math.sqrt(n);
    case "log": return Math.log(1 + 1000 * n) / Math.log(1001);
    case "asinh": return asinhScale(n);
    case "gamma": return n ** (1 / display.gamma);
    case "histogram": return display.equal?.[Math.min(Math.floor(asinhScale(n) * EQUAL_BINS), EQUAL_BINS - 1)] ?? asinhScale(n);
    default: return n;
  }
}

/** Brightness in 0..1 of a value; the same formula as the shader's. */
export function brightness(value: number, display: Display): number {
  const n = stretched(clamp((value - display.low) / (display.high - display.low)), display);
  return clamp((n - display.bias) * display.contrast + 0.5);
}

/** Value at a brightness in 0..1: the inverse of `brightness`, for the colour bar's labels. */
export function valueAt(share: number, display: Display): number {
  const at = clamp((share - 0.5) / display.contrast + display.bias);
  let n = at;
  if (display.stretch === "sqrt") n = at * at;
  else if (display.stretch === "log") n = (Math.exp(at * Math.log(1001)) - 1) / 1000;
  else if (display.stretch === "asinh") n = Math.sinh(at * Math.asinh(1 / SOFTENING)) * SOFTENING;
  else if (display.stretch === "gamma") n = at ** display.gamma;
  else if (display.stretch === "histogram" && display.equal) {
    const bin = display.equal.findIndex((share) => share >= at);
    n = Math.sinh(((bin < 0 ? EQUAL_BINS : bin) / EQUAL_BINS) * Math.asinh(1 / SOFTENING)) * SOFTENING;
  }
  return display.low + n * (display.high - display.low);
}

/** Facts about the native pixels that the server sends with an image; empty without a finite pixel. */
export type Statistics = Partial<Record<"min" | "max" | "p01" | "p1" | "p5" | "median" | "p95" | "p99" | "p995" | "p999" | "sigma" | "zscale_low" | "zscale_high", number>>;

export const LIMITS = ["auto", "zscale", "min–max", "0.1–99.9 %", "1–99 %", "5–95 %", "±3 σ", "±5 σ", "−2…10 σ"] as const;
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

/** Statistics of values that the server has none of: planes that are computed in the browser. */
export function statisticsOf(values: Float32Array): Statistics {
  const good = values.filter((v) => Number.isFinite(v)).sort();
  if (good.length === 0) return {};
  const at = (share: number): number => good[Math.min(Math.round(share * (good.length - 1)), good.length - 1)] ?? NaN;
  const median = at(0.5);
  const spread = good.map((v) => Math.abs(v - median)).sort();
  const sigma = 1.4826 * (spread[Math.floor(spread.length / 2)] ?? 0);
  return {
    min: at(0), max: at(1), p01: at(0.001), p1: at(0.01), p5: at(0.05), median, p95: at(0.95), p99: at(0.99), p995: at(0.995), p999: at(0.999),
    sigma, ...zscale(good, median),
  };
}

/** Limits after IRAF's zscale with contrast 0.25: a line through the middle half of the sorted values. */
function zscale(sorted: Float32Array, median: number): { zscale_low: number; zscale_high: number } {
  const [first, last] = [Math.floor(sorted.length * 0.25), Math.floor(sorted.length * 0.75)];
  const slope = ((sorted[last] ?? median) - (sorted[first] ?? median)) / Math.max(last - first, 1) / 0.25;
  const half = sorted.length / 2;
  return {
    zscale_low: Math.max(sorted[0] ?? median, median - slope * half),
    zscale_high: Math.min(sorted[sorted.length - 1] ?? median, median + slope * half),
  };
}

/** Limits by one of the rules; null when the image has no finite pixel. */
export function chooseLimits(kind: LimitChoice, stats: Statistics): [number, number] | null {
  const { median, sigma } = stats;
  if (median === undefined || sigma === undefined) return null;
  const rules: Record<LimitChoice, [number | undefined, number | undefined]> = {
    "auto": [median - 1.5 * sigma, Math.max(stats.p995 ?? median, median + 30 * sigma)],
    "zscale": [stats.zscale_low, stats.zscale_high],
    "min–max": [stats.min, stats.max],
    "0.1–99.9 %": [stats.p01, stats.p999],
    "1–99 %": [stats.p1, stats.p99],
    "5–95 %": [stats.p5, stats.p95],
    "±3 σ": [median - 3 * sigma, median + 3 * sigma],
    "±5 σ": [median - 5 * sigma, median + 5 * sigma],
    "−2…10 σ": [median - 2 * sigma, median + 10 * sigma],
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
