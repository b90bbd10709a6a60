/** Coordinates under the pointer and distances, for plots whose axes are a longitude and a latitude on the sky. */

import { button, make } from "./dom.ts";
import { formatAngle, formatPosition, formatSexagesimal, type Frame, fromIcrs, parseDegrees, positionAngle, separation, toIcrs } from "./skyframes.ts";

type Point = readonly [number, number];

/** What the axes of a plot are. */
export interface Axes {
  frame: Frame;
  /** Whether the latitude is the horizontal one. */
  isTurned: boolean;
  /** Longitude in the middle of its axis, which may be beyond 0 to 360. */
  centre: number;
}

/** ICRS position in degrees of a place on a plot; null for what is no place on the sky. */
export function toSky(axes: Axes, at: readonly number[]): [number, number] | null {
  const [x, y] = at;
  if (x === undefined || y === undefined || !Number.isFinite(x) || !Number.isFinite(y)) return null;
  const [lon, lat] = axes.isTurned ? [y, x] : [x, y];
  return Math.abs(lat) > 90 ? null : toIcrs(axes.frame, ((lon % 360) + 360) % 360, lat);
}

/** Place on a plot of an ICRS position. */
export function toPlot(axes: Axes, sky: Point): [number, number] {
  const [lon, lat] = fromIcrs(axes.frame, sky[0], sky[1]);
  const near = lon + 360 * Math.round((axes.centre - lon) / 360);
  return axes.isTurned ? [lat, near] : [near, lat];
}

/** Readout and distances below one plot. */
export class Coordinates {
  readonly element: HTMLElement;
  private readonly axes: Axes;
  private readonly draw: (ends: Point[]) => void;
  private readonly pick: (at: readonly number[]) => void;
  private readonly readout = make("output", { class: "readout", "aria-live": "off" });
  private readonly distance = make("output", { class: "distance" });
  private readonly fields: HTMLInputElement[];
  private readonly measure: HTMLButtonElement;
  private readonly line: HTMLElement;

  /** `draw` is given the ends of a distance in the plot's axes, `pick` what is clicked while nothing is measured. */
  constructor(axes: Axes, draw: (ends: Point[]) => void, pick: (at: readonly number[]) => void) {
    this.axes = axes;
    this.draw = draw;
    this.pick = pick;
    this.measure = button("Measure a distance", "Measure a distance on the sky by two clicks", () => this.toggle(!this.isOn));
    this.fields = ["From", "to"].map((name) => make("input", {
      type: "text", placeholder: "RA Dec (degrees)", size: 24, "aria-label": `${name} (RA Dec, degrees)`, onchange: () => this.tell(),
    }));
    const [from, to] = this.fields as [HTMLInputElement, HTMLInputElement];
    this.line = make("div", { class: "line" }, make("label", {}, "From ", from), make("label", {}, "to ", to), this.distance);
    this.element = make("div", { class: "coordinates", role: "group", "aria-label": "Coordinates and distances" }, this.measure, this.readout, this.line);
    this.toggle(false);
    this.point([]);
  }

  get isOn(): boolean {
    return this.measure.getAttribute("aria-pressed") === "true";
  }

  /** Show where the pointer is; an empty place is none. */
  point(at: readonly number[]): void {
    const sky = toSky(this.axes, at);
    const words = sky ? [`ICRS ${formatPosition("ICRS", ...sky)}`, formatSexagesimal(...sky), formatPosition("galactic", ...sky), formatPosition("ecliptic", ...sky)]
      : ["Point at the plot to read its coordinates."];
    this.readout.replaceChildren(...words.map((text) => make("span", {}, text)));
  }

  /** Take a clicked place as the next end of a distance, if one is measured. */
  tap(at: readonly number[]): void {
    if (!this.isOn) return this.pick(at);
    const sky = toSky(this.axes, at);
    const [from, to] = this.fields as [HTMLInputElement, HTMLInputElement];
    if (!sky) return;
    const text = sky.map((v) => v.toFixed(7)).join(" ");
    if (from.value !== "" && to.value === "") to.value = text;
    else [from.value, to.value] = [text, ""];
    this.tell();
  }

  private toggle(on: boolean): void {
    this.measure.setAttribute("aria-pressed", String(on));
    this.line.hidden = !on;
    this.tell();
  }

  /** Say how far the two positions are from each other, and have them drawn. */
  private tell(): void {
    const ends = this.fields.map((field) => parseDegrees(field.value));
    this.fields.forEach((field, n) => field.setAttribute("aria-invalid", String(field.value !== "" && !ends[n])));
    const [from, to] = ends;
    const known = ends.filter((end) => end !== null);
    this.draw(this.isOn ? known.map((end) => toPlot(this.axes, end)) : []);
    if (from && to) {
      const angle = `position angle ${positionAngle(from, to).toFixed(3)}° (north through east)`;
      this.distance.textContent = `${formatAngle(3600 * separation(from, to))}, ${angle}`;
    } else {
      const wrong = this.fields.find((field, n) => field.value !== "" && !ends[n]);
      this.distance.textContent = wrong ? `${JSON.stringify(wrong.value)} is no position: write RA and Dec in degrees.`
        : `Click ${from ? "the other end" : "on the plot"}, or write RA and Dec in degrees.`;
    }
  }
}
