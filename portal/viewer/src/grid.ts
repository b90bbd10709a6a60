/** Lines of equal coordinates over an image, in any of the frames. */

import { label, strokeTwice, type Painter } from "./overlay.ts";
import { fromIcrs, toIcrs, type Frame } from "./skyframes.ts";
import type { ImageView } from "./view.ts";
import { formatDec, formatRa, pixelToSky, skyToPixel, type WcsFit } from "./wcs.ts";

const STEPS_DEG = [1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 18000, 36000, 108000].map((s) => s / 3600);
// Steps of right ascension are round in hours: seconds of time are 15 arcseconds.
const STEPS_RA_DEG = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200].map((s) => s / 240);

/** The smallest round step that gives at most `most` lines over a span. */
export function gridStep(span: number, most: number, hours: boolean): number {
  const steps = hours ? STEPS_RA_DEG : STEPS_DEG;
  return steps.find((step) => span / step <= most) ?? steps.at(-1) ?? 10;
}

/** One line: its points in 0-based array pixels, its words, and whether it is a line of constant longitude. */
export interface GridLine {
  points: [number, number][];
  text: string;
  meridian: boolean;
  /** Longitude or latitude of the line in degrees. */
  value: number;
}

function words(frame: Frame, value: number, meridian: boolean, step: number): string {
  if (frame !== "ICRS") return `${value.toFixed(Math.max(0, Math.ceil(-Math.log10(step) - 1e-9)))}°`;
  const text = meridian ? formatRa(((value % 360) + 360) % 360) : formatDec(value);
  return text.replace(/\.0+$/, "").replace(/(:00)$/, step >= (meridian ? 0.25 : 1 / 60) - 1e-12 ? "" : "$1");
}

/** Lines inside a box of array pixels. */
export function makeGrid(fit: WcsFit, frame: Frame, box: [number, number, number, number]): GridLine[] {
  const at = (x: number, y: number): [number, number] => fromIcrs(frame, ...pixelToSky(fit, x, y));
  const middle = at((box[0] + box[2]) / 2, (box[1] + box[3]) / 2);
  const span = { lon: [Infinity, -Infinity] as [number, number], lat: [Infinity, -Infinity] as [number, number] };
  for (let i = 0; i <= 8; i++) {
    for (let j = 0; j <= 8; j++) {
      const [lon, lat] = at(box[0] + ((box[2] - box[0]) * i) / 8, box[1] + ((box[3] - box[1]) * j) / 8);
      // Near the middle, whichever way round the circle is shorter.
      const near = middle[0] + ((((lon - middle[0] + 180) % 360) + 360) % 360) - 180;
      span.lon = [Math.min(span.lon[0], near), Math.max(span.lon[1], near)];
      span.lat = [Math.min(span.lat[0], lat), Math.max(span.lat[1], lat)];
    }
  }
  if (!Number.isFinite(span.lon[0] + span.lat[0])) return [];
  const lines: GridLine[] = [];
  for (const meridian of [true, false]) {
    const [own, other] = meridian ? [span.lon, span.lat] : [span.lat, span.lon];
    const step = gridStep(own[1] - own[0], 7, meridian && frame === "ICRS");
    for (let n = Math.ceil(own[0] / step); n <= Math.floor(own[1] / step) && lines.length < 60; n++) {
      const points: [number, number][] = [];
      for (let k = 0; k <= 24; k++) {
        const along = other[0] + ((other[1] - other[0]) * k) / 24;
        const [lon, lat] = meridian ? [n * step, along] : [along, n * step];
        if (Math.abs(lat) > 90) continue;
        const pixel = skyToPixel(fit, ...toIcrs(frame, lon, lat));
        if (pixel) points.push(pixel);
      }
      lines.push({ points, text: words(frame, n * step, meridian, step), meridian, value: n * step });
    }
  }
  return lines;
}

/** Colours of the lines and of their words. */
const COLOURS: Record<Frame, [string, string]> = { ICRS: ["#8fd3ff", "#c8e9ff"], galactic: ["#ffb38f", "#ffd9c4"], ecliptic: ["#a9e88c", "#d2f7c2"] };

/** Keeps the lines of the part in view and draws them, in one or several frames. */
export class SkyGrid {
  frames: Frame[] = [];
  private key = "";
  private readonly lines = new Map<Frame, GridLine[]>();

  readonly paint: Painter = (context, view) => {
    const fit = view.store?.meta.wcs;
    delete context.canvas.dataset.grid;
    if (!fit || this.frames.length === 0) return;
    this.refresh(fit, view);
    // What is drawn can be read by whoever does not see it.
    context.canvas.dataset.grid = JSON.stringify(Object.fromEntries([...this.lines].map(([f, lines]) => [f, lines.map((l) => [l.meridian ? "lon" : "lat", l.value])])));
    for (const frame of this.frames) for (const line of this.lines.get(frame) ?? []) paintLine(context, view, line, COLOURS[frame]);
  };

  private refresh(fit: WcsFit, view: ImageView): void {
    const extent = view.map.getView().calculateExtent(view.map.getSize());
    const [x0, y0, x1, y1] = extent as [number, number, number, number];
    const size = Math.max(x1 - x0, y1 - y0);
    // The lines reach beyond the view: they are computed anew only after a move by a quarter of it or a change of scale.
    const key = [this.frames, view.store?.meta.dataset_id, Math.round(Math.log2(size) * 4), Math.round((4 * (x0 + x1)) / size / 2), Math.round((4 * (y0 + y1)) / size / 2)].join();
    if (key === this.key) return;
    this.key = key;
    this.lines.clear();
    for (const frame of this.frames) this.lines.set(frame, makeGrid(fit, frame, [x0 - 0.15 * size, y0 - 0.15 * size, x1 + 0.15 * size, y1 + 0.15 * size]));
  }
}

function paintLine(context: CanvasRenderingContext2D, view: ImageView, line: GridLine, [colour, wordColour]: [string, string]): void {
  const [width, height] = view.map.getSize() as [number, number];
  const path = new Path2D();
  let place: [number, number] | null = null;
  line.points.forEach((point, n) => {
    const at = view.toScreen(...point);
    if (!at) return;
    if (n === 0) path.moveTo(...at); else path.lineTo(...at);
    const inside = at[0] > 70 && at[0] < width - 90 && at[1] > 24 && at[1] < height - 30;
    // Words stand where the line enters: meridians below, parallels at the right.
    if (inside && (!place || (line.meridian ? at[1] > place[1] : at[0] > place[0]))) place = at;
  });
  context.globalAlpha = 0.55;
  strokeTwice(context, path, colour, 1);
  context.globalAlpha = 1;
  if (place) label(context, line.text, place[0] + 4, place[1] - 4, wordColour);
}
