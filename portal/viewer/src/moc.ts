/** Coverage maps (MOC 2.0): reading their forms, and finding out whether a position is covered. */

import { label, type Painter } from "./overlay.ts";
import { pixelToSky } from "./wcs.ts";

/** Order to which coverage is resolved: a quarter of an arcsecond, and numbers that JavaScript holds exactly. */
export const ORDER = 24;

/** Covered HEALPix pixels (nested) of order 24 as sorted ranges, first included, last excluded. */
export interface Moc {
  first: Float64Array;
  last: Float64Array;
}

/** Build a coverage map from ranges in any order. */
function fromRanges(ranges: [number, number][]): Moc {
  ranges.sort((a, b) => a[0] - b[0]);
  const joined: [number, number][] = [];
  for (const [first, last] of ranges) {
    const before = joined.at(-1);
    if (before && first <= before[1]) before[1] = Math.max(before[1], last);
    else joined.push([first, last]);
  }
  return { first: Float64Array.from(joined, (r) => r[0]), last: Float64Array.from(joined, (r) => r[1]) };
}

function cell(order: number, pixel: number): [number, number] {
  if (!(order >= 0 && order <= 29 && pixel >= 0 && pixel < 12 * 4 ** order)) throw new Error(`order ${order} has no cell ${pixel}`);
  const scale = 4 ** (ORDER - order);
  return [Math.floor(pixel * scale), Math.ceil((pixel + 1) * scale)];
}

/** Share of the sky that is covered. */
export function skyFraction(moc: Moc): number {
  return moc.first.reduce((sum, first, n) => sum + (moc.last[n] ?? first) - first, 0) / (12 * 4 ** ORDER);
}

/** Whether a nested pixel of order 24 is covered. */
function covers(moc: Moc, pixel: number): boolean {
  let [low, high] = [0, moc.first.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((moc.first[middle] ?? Infinity) <= pixel) low = middle + 1; else high = middle;
  }
  return low > 0 && pixel < (moc.last[low - 1] ?? 0);
}

/** Nested HEALPix pixel of an ICRS position (Górski et al. 2005, ApJ 622, 759). */
export function healpix(order: number, raDeg: number, decDeg: number): number {
  const side = 2 ** order;
  const z = Math.sin((decDeg * Math.PI) / 180);
  const t = ((((raDeg / 90) % 4) + 4) % 4);
  let [face, ix, iy] = [0, 0, 0];
  if (Math.abs(z) <= 2 / 3) {
    const [up, down] = [side * (0.5 + t - 0.75 * z), side * (0.5 + t + 0.75 * z)];
    const [a, b] = [Math.floor(up), Math.floor(down)];
    const [p, m] = [Math.floor(a / side), Math.floor(b / side)];
    face = p === m ? (p === 4 ? 4 : p + 4) : p < m ? p : m + 8;
    ix = b - m * side;
    iy = side - (a - p * side) - 1;
  } else {
    const quarter = Math.min(Math.floor(t), 3);
    // Near the poles 1 − |z| loses its digits: it is taken from the distance to the pole.
    const s = Math.abs(z) < 0.99 ? Math.sqrt(3 * (1 - Math.abs(z))) : Math.sqrt(6) * Math.sin(((90 - Math.abs(decDeg)) * Math.PI) / 360);
    const j = Math.min(Math.floor((t - quarter) * s * side), side - 1);
    const k = Math.min(Math.floor((1 - (t - quarter)) * s * side), side - 1);
    [face, ix, iy] = z > 0 ? [quarter, side - k - 1, side - j - 1] : [quarter + 8, j, k];
  }
  let index = 0;
  for (let bit = order - 1; bit >= 0; bit--) {
    const half = 2 ** bit;
    index = index * 4 + (Math.floor(ix / half) % 2) + 2 * (Math.floor(iy / half) % 2);
  }
  return face * side * side + index;
}

/** Whether a position is covered. */
export function contains(moc: Moc, raDeg: number, decDeg: number): boolean {
  return covers(moc, healpix(ORDER, raDeg, decDeg));
}

/** Read the ASCII or JSON form. */
export function parseMocText(text: string): Moc {
  const ranges: [number, number][] = [];
  if (text.trim().startsWith("{")) {
    const body = JSON.parse(text) as Record<string, number[]>;
    for (const [order, pixels] of Object.entries(body)) for (const pixel of pixels) ranges.push(cell(Number(order), pixel));
    return fromRanges(ranges);
  }
  let order = NaN;
  for (const word of text.replace(/#.*/g, "").split(/[\s,]+/).filter((w) => w !== "")) {
    const found = /^(?:(\d+)\/)?(?:(\d+)(?:-(\d+))?)?$/.exec(word);
    if (!found) throw new Error(`“${word.slice(0, 40)}” does not belong into a MOC`);
    if (found[1] !== undefined) order = Number(found[1]);
    if (found[2] === undefined) continue;
    const [first, last] = [Number(found[2]), Number(found[3] ?? found[2])];
    ranges.push([cell(order, first)[0], cell(order, last)[1]]);
  }
  return fromRanges(ranges);
}

/** Read the FITS form: NUNIQ cells, or ranges of order 29. */
export function parseMocFits(buffer: ArrayBuffer): Moc {
  const cards = new Map<string, string>();
  let offset = 0;
  let start = 0;
  for (let unit = 0; unit < 2; unit++) {
    cards.clear();
    for (let n = 0; ; n += 80) {
      if (offset + n + 80 > buffer.byteLength) throw new Error("the file ends inside a header");
      const card = new TextDecoder("latin1").decode(new Uint8Array(buffer, offset + n, 80));
      if (card.startsWith("END ") || card.trim() === "END") {
        start = offset + Math.ceil((n + 80) / 2880) * 2880;
        break;
      }
      cards.set(card.slice(0, 8).trim(), card.slice(10).split("/")[0]?.replace(/'/g, "").trim() ?? "");
    }
    if (unit === 0) offset = start;
  }
  const size = Number(cards.get("NAXIS1"));
  const rows = Number(cards.get("NAXIS2"));
  const wide = /K/.test(cards.get("TFORM1") ?? "");
  if (!/[JK]/.test(cards.get("TFORM1") ?? "") || !(size > 0) || start + rows * size > buffer.byteLength) throw new Error("the file holds no list of cells");
  const view = new DataView(buffer, start);
  const width = wide ? 8 : 4;
  const read = (at: number): bigint => (wide ? view.getBigInt64(at) : BigInt(view.getInt32(at)));
  const ranges: [number, number][] = [];
  if (cards.get("ORDERING") === "RANGE") {
    const shift = BigInt(2 * (29 - ORDER));
    const values = (rows * size) / width;
    for (let n = 0; n + 1 < values; n += 2) {
      ranges.push([Number(read(n * width) >> shift), Number((read((n + 1) * width) + (1n << shift) - 1n) >> shift)]);
    }
  } else {
    for (let n = 0; n < rows; n++) {
      const uniq = read(n * size);
      const order = (uniq.toString(2).length - 3) >> 1;
      ranges.push(cell(order, Number(uniq - (4n << BigInt(2 * order)))));
    }
  }
  return fromRanges(ranges);
}

/** Write the ASCII form, at the order to which coverage is resolved. */
export function formatMoc(moc: Moc): string {
  const out: string[] = [];
  moc.first.forEach((first, n) => {
    const last = (moc.last[n] ?? first + 1) - 1;
    // The coarsest cells that a range is made of keep the text short.
    let scale = 1;
    let order = ORDER;
    while (order > 0 && first % (scale * 4) === 0 && (last + 1) % (scale * 4) === 0) {
      scale *= 4;
      order -= 1;
    }
    const [from, to] = [first / scale, (last + 1) / scale - 1];
    out.push(`${order}/${from}${to > from ? `-${to}` : ""}`);
  });
  return out.join(" ");
}

const BLOCK = 6;

/** Draws what is covered, in blocks of some screen pixels; a slow map is drawn only when the image rests. */
export class MocPainter {
  moc: Moc | null = null;
  name = "";
  colour = "#ffb454";

  readonly paint: Painter = (context, view) => {
    const fit = view.store?.meta.wcs;
    if (!this.moc || !fit || view.map.getView().getAnimating() || view.map.getView().getInteracting()) return;
    const [width, height] = view.map.getSize() as [number, number];
    context.fillStyle = this.colour;
    context.globalAlpha = 0.25;
    for (let py = 0; py < height; py += BLOCK) {
      let from = -1;
      for (let px = 0; px <= width + BLOCK; px += BLOCK) {
        const at = px <= width ? view.toImage(px + BLOCK / 2, py + BLOCK / 2) : null;
        const inside = at !== null && contains(this.moc, ...pixelToSky(fit, ...at));
        if (inside && from < 0) from = px;
        if (!inside && from >= 0) {
          context.fillRect(from, py, px - from, BLOCK);
          from = -1;
        }
      }
    }
    context.globalAlpha = 1;
    label(context, this.name, 12, 20, this.colour);
  };
}
