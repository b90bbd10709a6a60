/** The panel that measures: distances, profiles, statistics of regions, aperture photometry. */

import { abMagnitude, measureAperture, type Aperture } from "./aperture.ts";
import { button, choice, copyText, make, numberField, rows, setControl } from "./dom.ts";
import { figureCard } from "./figure.ts";
import type { Host, Panel } from "./panels.ts";
import { linePlot } from "./plot.ts";
import { describe, makeRegion, type Region } from "./regions.ts";
import { formatAngle, positionAngle, separation } from "./skyframes.ts";
import { measureProfile, measureRegion } from "./statistics.ts";
import { formatValue } from "./stretch.ts";
import { TOOLS, Toolbox, spanned, type Tool } from "./tools.ts";
import { localFrame, pixelToSky } from "./wcs.ts";

const HINTS: Record<Tool, string> = {
  look: "Click a figure to change it. Or choose a tool, then draw on the image. With the keyboard: move the image under its middle and press the space bar for each point.",
  distance: "Drag from one point to the other.",
  profile: "Drag along the line.",
  circle: "Drag from the centre to the rim.",
  ellipse: "Drag from the centre to a corner of the box around it.",
  box: "Drag from the centre to a corner.",
  polygon: "Click each corner; Enter, a double click or the first corner closes it.",
  point: "Click where the mark belongs.",
  aperture: "Click the object.",
};

function number(value: number): string {
  return Number.isFinite(value) ? formatValue(value) : "–";
}

/** Tools and their results. */
export class ToolsPanel implements Panel {
  readonly name = "Measure";
  readonly help = "Distances, profiles, statistics, photometry (T)";
  readonly element: HTMLElement;
  readonly toolbox: Toolbox;
  private readonly host: Host;
  private readonly tool: HTMLElement;
  private readonly hint = make("p", { class: "hint" });
  private readonly radii: HTMLElement;
  private readonly result = make("div", { class: "result", "aria-live": "polite" });
  private readonly figure = make("div");
  private readonly aperture = { radius: 6, inner: 10, outer: 15 };

  constructor(host: Host, dragged: (dx: number, dy: number) => boolean) {
    this.host = host;
    this.toolbox = new Toolbox({ dragged, finished: (tool, points) => void this.measure(tool, points) });
    this.tool = choice("Tool", TOOLS, "look", (v) => this.choose(v as Tool));
    const field = (name: string, key: "radius" | "inner" | "outer"): HTMLElement => numberField(name, this.aperture[key], (v) => { this.aperture[key] = Math.max(v, 0); });
    this.radii = make("div", { class: "rows", hidden: "" }, field("Radius (pixels)", "radius"), field("Sky from", "inner"), field("Sky to", "outer"));
    this.element = make("div", { class: "rows" }, make("strong", {}, "Measure"), this.tool, this.hint, this.radii, this.figure, this.result,
      make("div", { class: "line" }, button("Remove the last", "Remove the region that was drawn last (Backspace)", () => this.removeLast()),
        button("Remove all", "Remove all regions", () => { this.toolbox.regions.length = 0; this.pick(null); })));
    this.choose("look");
  }

  refresh(): void {
    setControl(this.tool, this.toolbox.tool);
    const { chosen, regions } = this.toolbox;
    if (chosen && !regions.includes(chosen)) this.pick(null);
  }

  /** Choose a figure to change, or none. */
  pick(region: Region | null): void {
    this.toolbox.chosen = region;
    const actions = {
      changed: () => this.host.changed(), measure: (r: Region) => void this.statistics(r, false),
      remove: (r: Region) => { this.toolbox.regions.splice(this.toolbox.regions.indexOf(r), 1); this.pick(null); },
    };
    this.figure.replaceChildren(...(region ? [figureCard(region, this.host.meta?.wcs ?? null, actions)] : []));
    this.host.changed();
  }

  choose(tool: Tool): void {
    this.toolbox.choose(tool);
    setControl(this.tool, tool);
    this.hint.textContent = HINTS[tool];
    this.radii.hidden = tool !== "aperture";
  }

  removeLast(): void {
    this.toolbox.regions.pop();
    this.pick(null);
  }

  /** Measure what a tool was given. */
  async measure(tool: Tool, points: [number, number][]): Promise<void> {
    const [first, second] = points;
    const store = this.host.view.store;
    if (!first || !store) return;
    try {
      if (tool === "aperture") await this.photometry({ x: first[0], y: first[1], ...this.aperture });
      else if (tool === "distance" && second) this.distance(first, second);
      else if (tool === "profile" && second) await this.profile(first, second);
      else if (tool === "point") this.add(makeRegion("point", [first]));
      else if (tool === "polygon") await this.statistics(makeRegion("polygon", points));
      else if (second) await this.statistics(spanned(tool, first, second));
    } catch (error) {
      this.show("This cannot be measured", [], [make("p", {}, (error as Error).message)]);
    }
  }

  private add(region: Region): void {
    this.toolbox.regions.push(region);
    this.host.changed();
  }

  private show(title: string, pairs: [string, string][], extra: HTMLElement[] = []): void {
    const text = pairs.map((pair) => pair.join("\t")).join("\n");
    const copy = button("Copy", "Copy these values", () => void copyText(text).then((done) => this.host.say(done ? "The values are on the clipboard." : "The browser does not allow copying.", 2500)));
    this.result.replaceChildren(make("strong", {}, title), rows(pairs), ...extra, ...(pairs.length > 0 ? [copy] : []));
    this.result.dataset.values = JSON.stringify(Object.fromEntries(pairs));
  }

  private distance(a: [number, number], b: [number, number]): void {
    const fit = this.host.meta?.wcs;
    const region = makeRegion("line", [a, b]);
    const pairs: [string, string][] = [["pixels", number(Math.hypot(b[0] - a[0], b[1] - a[1]))]];
    if (fit) {
      const [p, q] = [pixelToSky(fit, ...a), pixelToSky(fit, ...b)];
      pairs.unshift(["distance", formatAngle(3600 * separation(p, q))]);
      pairs.push(["position angle", `${positionAngle(p, q).toFixed(3)}° (north through east)`]);
      region.text = pairs[0]?.[1] ?? "";
    }
    this.add(region);
    this.show("Distance", pairs);
  }

  private async profile(a: [number, number], b: [number, number]): Promise<void> {
    const { view, meta } = this.host;
    if (!view.store || !meta) return;
    this.add(makeRegion("line", [a, b]));
    const { distance, value } = await measureProfile(view.store, a, b);
    const frame = meta.wcs ? localFrame(meta.wcs, ...a) : null;
    const along = frame ? distance.map((d) => d * frame.arcsec) : distance;
    const unit = frame ? "arcsec" : "pixels";
    const shown = Math.min(along.length, 500);
    const table = make("table", {}, make("tr", {}, make("th", {}, unit), make("th", {}, meta.unit || "value")),
      ...Array.from({ length: shown }, (_, n) => make("tr", {}, make("td", {}, (along[n] ?? 0).toFixed(3)), make("td", {}, number(value[n] ?? NaN)))));
    const lines = Array.from(along, (d, n) => `${d.toFixed(4)}\t${value[n]}`);
    const copy = button("Copy all values", "Copy distance and value of all points", () => void copyText(`${unit}\t${meta.unit}\n${lines.join("\n")}`)
      .then((done) => this.host.say(done ? "The values are on the clipboard." : "The browser does not allow copying.", 2500)));
    const more = shown < along.length ? make("p", { class: "hint" }, `The first ${shown} of ${along.length}.`) : null;
    this.show("Profile", [], [linePlot(along, value, unit, meta.unit || "value"), copy,
      make("details", {}, make("summary", {}, "Values"), make("div", { class: "long" }, table), more)]);
    this.result.dataset.values = JSON.stringify({ distance: [...distance], value: [...value] });
  }

  /** Statistics of a region that is drawn or was read. */
  async statistics(region: Region, add = true): Promise<void> {
    const { view, meta } = this.host;
    if (!view.store || !meta) return;
    if (add) this.add(region);
    const found = await measureRegion(view.store, region);
    const unit = meta.unit ? ` ${meta.unit}` : "";
    const pairs: [string, string][] = [["pixels", String(found.n)]];
    if (found.missing > 0) pairs.push(["without a value", String(found.missing)]);
    for (const key of ["mean", "median", "std", "min", "max", "sum"] as const) pairs.push([key, `${number(found[key])}${unit}`]);
    for (const key of ["skewness", "kurtosis"] as const) pairs.push([key, number(Number(found[key].toPrecision(4)))]);
    if (meta.unit === "nJy" && found.sum > 0) pairs.push(["AB magnitude of the sum", abMagnitude(found.sum).toFixed(3)]);
    this.show(describe(region, meta.wcs), pairs);
  }

  private async photometry(aperture: Aperture): Promise<void> {
    const { view, meta } = this.host;
    if (!view.store || !meta) return;
    const circle = (radius: number, colour: string): Region => ({ ...makeRegion("circle", [[aperture.x, aperture.y]], [radius]), colour });
    this.add(circle(aperture.radius, "#ffe14d"));
    const annulus = aperture.outer > aperture.inner;
    if (annulus) for (const radius of [aperture.inner, aperture.outer]) this.toolbox.regions.push(circle(radius, "#b9c4d0"));
    this.host.changed();
    const found = await measureAperture(view.store, aperture);
    const unit = meta.unit ? ` ${meta.unit}` : "";
    const frame = meta.wcs ? localFrame(meta.wcs, aperture.x, aperture.y) : null;
    const pairs: [string, string][] = [["flux", `${number(found.flux)}${Number.isFinite(found.error) ? ` ± ${number(Number(found.error.toPrecision(3)))}` : ""}${unit}`]];
    if (meta.unit === "nJy") pairs.push(["AB magnitude", found.flux > 0 ? `${abMagnitude(found.flux).toFixed(3)} ± ${((1.0857 * found.error) / found.flux).toFixed(3)}` : "– (no positive flux)"]);
    pairs.push(["radius", `${number(aperture.radius)} pixels${frame ? ` = ${number(Number((aperture.radius * frame.arcsec).toPrecision(4)))}″` : ""}`]);
    pairs.push(["sky", annulus ? `${number(found.sky)}${unit} per pixel (median of ${found.skyPixels})` : "not subtracted"]);
    pairs.push(["centre", `x ${aperture.x.toFixed(2)}, y ${aperture.y.toFixed(2)}`]);
    if (found.missing > 0) pairs.push(["without a value", `${found.missing.toFixed(1)} pixels of ${(found.area + found.missing).toFixed(1)}`]);
    this.show("Aperture photometry", pairs);
    this.result.dataset.flux = String(found.flux);
    this.result.dataset.sky = String(found.sky);
  }
}
