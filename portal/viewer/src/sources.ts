/** Catalogue rows drawn over an image, and finding the one that was clicked. */

import Layer from "ol/layer/Layer.js";
import type { FrameState } from "ol/Map.js";
import { trace, type Symbol } from "./symbols.ts";

/** How sources look, and which magnitudes are drawn. */
export interface SourceStyle {
  colour: string;
  size: number;
  symbol: Symbol;
  opacity: number;
  brightest: number;
  faintest: number;
}

export function makeStyle(part: Partial<SourceStyle> = {}): SourceStyle {
  return { colour: "#59d0ff", size: 1, symbol: "circle", opacity: 1, brightest: -Infinity, faintest: Infinity, ...part };
}

/** Rows of a catalogue inside an image; positions are 0-based array pixels. */
export interface Sources {
  count: number;
  /** 64-bit identifiers, which a JavaScript number cannot hold. */
  ids: BigInt64Array;
  x: Float32Array;
  y: Float32Array;
  /** AB magnitudes; NaN without a positive flux. */
  magnitude: Float32Array;
}

/** Read the server's answer: count (uint64), then int64 identifiers, float32 x, y and magnitudes, little-endian. */
export function parseSources(buffer: ArrayBuffer): Sources {
  const count = Number(new BigUint64Array(buffer, 0, 1)[0] ?? 0n);
  if (buffer.byteLength !== 8 + count * 20) throw new Error(`a source list of ${count} rows has ${buffer.byteLength} bytes`);
  const floats = (n: number): Float32Array => new Float32Array(buffer, 8 + count * 8 + n * count * 4, count);
  return { count, ids: new BigInt64Array(buffer, 8, count), x: floats(0), y: floats(1), magnitude: floats(2) };
}

/** Index of the source nearest to a pixel within a radius in pixels; -1 without one. */
export function nearest(sources: Sources, x: number, y: number, radius: number): number {
  let best = -1;
  let least = radius * radius;
  for (let n = 0; n < sources.count; n++) {
    const d = ((sources.x[n] ?? NaN) - x) ** 2 + ((sources.y[n] ?? NaN) - y) ** 2;
    if (d <= least) {
      least = d;
      best = n;
    }
  }
  return best;
}

/** Magnitudes between which the rings shrink: the bright and the faint tenth of what is drawn. */
export function magnitudeRange(magnitude: Float32Array): [number, number] {
  const known = magnitude.filter((m) => Number.isFinite(m)).sort();
  const at = (share: number): number => known[Math.round(share * (known.length - 1))] ?? 0;
  return [at(0.1), Math.max(at(0.9), at(0.1) + 0.5)];
}

/** Radius on screen of a source, larger when brighter. */
export function symbolRadius(magnitude: number, range: [number, number]): number {
  if (!Number.isFinite(magnitude)) return 4;
  return Math.min(Math.max(11 - (7 * (magnitude - range[0])) / (range[1] - range[0]), 4), 14);
}

/** More sources in view than this are drawn as dots. */
const MOST_RINGS = 20_000;

/** Draws the rings of all sources in view on one canvas. */
export class SourceLayer extends Layer {
  private readonly canvas = document.createElement("canvas");
  private list: Sources | null = null;
  private found = new Uint32Array(0);
  private range: [number, number] = [16, 25];
  picked = -1;
  readonly style: SourceStyle;

  /** What the layer is called in the page. */
  set title(title: string) {
    this.canvas.dataset.title = title;
  }

  get sources(): Sources | null {
    return this.list;
  }

  set sources(list: Sources | null) {
    this.list = list;
    if (list) this.range = magnitudeRange(list.magnitude);
  }

  constructor(style: SourceStyle = makeStyle()) {
    super({});
    this.style = style;
    this.canvas.className = "sd-sources";
    this.canvas.style.cssText = "position:absolute;inset:0;pointer-events:none";
  }

  // The base class asks for a source; this layer is fed directly and is always ready.
  override getSourceState(): "ready" {
    return "ready";
  }

  override render(frame: FrameState | null): HTMLElement {
    const canvas = this.canvas;
    if (!frame) return canvas;
    const ratio = frame.pixelRatio;
    const [width, height] = [Math.round((frame.size[0] ?? 0) * ratio), Math.round((frame.size[1] ?? 0) * ratio)];
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width;
      canvas.height = height;
      canvas.style.width = `${frame.size[0]}px`;
      canvas.style.height = `${frame.size[1]}px`;
    }
    const context = canvas.getContext("2d");
    if (!context) return canvas;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    this.draw(context, frame);
    return canvas;
  }

  private draw(context: CanvasRenderingContext2D, frame: FrameState): void {
    const list = this.list;
    if (!list) return;
    const { style } = this;
    const filtered = Number.isFinite(style.brightest) || Number.isFinite(style.faintest);
    const [width, height] = [frame.size[0] ?? 0, frame.size[1] ?? 0];
    const inside = this.inView(list, frame);
    // Very many rings are a grey area: dots say more and are drawn at once.
    const dots = inside.length > MOST_RINGS;
    const image = dots ? new Uint8Array(width * height) : null;
    const path = new Path2D();
    let drawn = 0;
    context.globalAlpha = style.opacity;
    const [a, b, c, d, e, f] = frame.coordinateToPixelTransform as [number, number, number, number, number, number];
    for (const n of inside) {
      const magnitude = list.magnitude[n] ?? NaN;
      if (filtered && !(magnitude >= style.brightest && magnitude <= style.faintest)) continue;
      const [x, y] = [(list.x[n] ?? NaN) + 0.5, (list.y[n] ?? NaN) + 0.5];
      const [px, py] = [a * x + c * y + e, b * x + d * y + f];
      if (!(px > -20 && py > -20 && px < width + 20 && py < height + 20)) continue;
      if (px >= 0 && py >= 0 && px < width && py < height) drawn += 1;
      if (n === this.picked) this.mark(context, px, py, symbolRadius(magnitude, this.range) * style.size + 5);
      if (image) {
        if (px >= 0 && py >= 0 && px < width && py < height) image[Math.floor(py) * width + Math.floor(px)] = 1;
        continue;
      }
      const radius = symbolRadius(magnitude, this.range) * style.size;
      trace(path, style.symbol, px, py, radius);
    }
    this.canvas.dataset.drawn = String(drawn);
    if (image) this.dots(context, image, width, height);
    context.lineWidth = 3;
    context.strokeStyle = "rgba(0, 0, 0, 0.55)";
    context.stroke(path);
    context.lineWidth = 1.4;
    context.strokeStyle = style.colour;
    context.stroke(path);
  }

  /** Rows in view, with a margin for their rings. */
  private inView(list: Sources, frame: FrameState): Uint32Array {
    const [x0, y0, x1, y1] = frame.extent ? (frame.extent as [number, number, number, number]) : [-Infinity, -Infinity, Infinity, Infinity];
    const margin = 20 * frame.viewState.resolution;
    this.found = this.found.length >= list.count ? this.found : new Uint32Array(list.count);
    let count = 0;
    for (let n = 0; n < list.count; n++) {
      const [x, y] = [list.x[n] ?? NaN, list.y[n] ?? NaN];
      if (x > x0 - margin && x < x1 + margin && y > y0 - margin && y < y1 + margin) this.found[count++] = n;
    }
    return this.found.subarray(0, count);
  }

  private dots(context: CanvasRenderingContext2D, image: Uint8Array, width: number, height: number): void {
    const picture = context.createImageData(width, height);
    const words = new Uint32Array(picture.data.buffer);
    const [r, g, b] = [1, 3, 5].map((k) => parseInt(this.style.colour.slice(k, k + 2), 16)) as [number, number, number];
    const colour = (255 << 24) | (b << 16) | (g << 8) | r;
    for (let n = 0; n < image.length; n++) if (image[n]) words[n] = colour;
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [width, height];
    canvas.getContext("2d")?.putImageData(picture, 0, 0);
    context.globalAlpha = 0.8 * this.style.opacity;
    context.drawImage(canvas, 0, 0);
    context.globalAlpha = this.style.opacity;
  }

  private mark(context: CanvasRenderingContext2D, x: number, y: number, radius: number): void {
    context.lineWidth = 2.5;
    context.strokeStyle = "#ffb454";
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]] as const) {
      context.moveTo(x + dx * radius, y + dy * radius);
      context.lineTo(x + dx * (radius + 7), y + dy * (radius + 7));
    }
    context.stroke();
  }
}
