/** The whole sky with the HiPS of the releases, drawn by Aladin Lite: what surrounds it, its address, cells and coverage. */

import A, { type Aladin, type Coverage, type Hips } from "aladin-lite";
import { button, choice, copyText, make, problemOf, rows, setControl, tick } from "./dom.ts";
import { healpix } from "./moc.ts";
import { fromIcrs } from "./skyframes.ts";
import { COVERAGES, PROJECTIONS, SKY_COLOURS, SKY_STRETCHES, cellsByOrder, formatCells, formatSky, parseSky, queryCells, suitableOrder, type SkyState } from "./skystate.ts";
import { formatValue } from "./stretch.ts";

/** One HiPS. */
export interface SkyMapEntry {
  release: string;
  name: string;
  title: string;
  bands: string[];
  order: number;
  formats: string[];
  ra_deg: number;
  dec_deg: number;
  fov_deg: number;
  cuts: [number, number] | null;
  unit: string;
}

const LABEL = "Map of the sky. Arrow keys move, + and − zoom, 0 shows the survey, R reads the middle.";
/** How long the view has to rest before the address follows. */
const SETTLE_MS = 300;

function labelOf(entry: SkyMapEntry): string {
  return `${entry.release}: ${entry.name.replace(/^.*\//, "").replace("_", " ")}`;
}

/** Everything inside the component. */
export class SkyMap {
  readonly element: HTMLElement;
  private readonly base: string;

  private readonly canvas = make("div", { class: "sky", style: "position:absolute;inset:0" });
  private readonly map = make("div", { class: "map", tabindex: "0", role: "application", "aria-label": LABEL }, this.canvas);
  private readonly message = make("div", { class: "message", role: "status" });
  private readonly readout = make("div", { class: "readout" });
  private readonly card = make("div", { class: "card", hidden: "", role: "region", "aria-label": "Chosen cells" });
  private readonly controls: Record<"map" | "stretch" | "colours" | "projection" | "coverage" | "grid" | "choose", HTMLLabelElement>;
  private readonly low = make("input", { type: "number", step: "any", "aria-label": "Lower limit", onchange: () => this.setLimits() });
  private readonly high = make("input", { type: "number", step: "any", "aria-label": "Upper limit", onchange: () => this.setLimits() });
  private readonly state: SkyState;
  private entry: SkyMapEntry;
  private sky: Aladin | null = null;
  private layer: Hips | null = null;
  private coverage: Coverage | null = null;
  private cells: Coverage | null = null;
  private choosing = false;
  private timer = 0;
  private closed = false;

  constructor(base: string, maps: SkyMapEntry[]) {
    this.base = base;

    this.state = parseSky(location.search);
    const { release, hips } = this.state;
    this.entry = (maps.find((m) => m.release === release && m.name === hips) ?? maps.find((m) => m.release === release && m.bands.length > 1)
      ?? maps.find((m) => m.bands.length > 1) ?? maps[0]) as SkyMapEntry;
    this.controls = {
      map: choice("Map", maps.map(labelOf), labelOf(this.entry), (v) => this.choose(maps.find((m) => labelOf(m) === v) ?? this.entry)),
      stretch: choice("Stretch", SKY_STRETCHES, this.state.stretch ?? "asinh", (v) => { this.state.stretch = v; this.restretch(); }),
      colours: choice("Colours", SKY_COLOURS, this.state.map ?? "grayscale", (v) => { this.state.map = v; this.restretch(); }),
      projection: choice("Projection", Object.keys(PROJECTIONS), this.state.projection ?? "sphere", (v) => { this.state.projection = v; this.sky?.setProjection(PROJECTIONS[v] ?? "SIN"); this.moved(); }),
      coverage: choice("Coverage", COVERAGES, this.state.coverage ?? "none", (v) => { this.state.coverage = v; void this.showCoverage(); this.moved(); }),
      grid: tick("Grid", this.state.grid ?? false, (on) => { this.state.grid = on; this.showGrid(); this.moved(); }),
      choose: tick("Choose cells", false, (on) => { this.choosing = on; if (on) this.say("Click into the sky to choose HEALPix cells, or press Space for the one in the middle.", 6000); }),
    };
    const { controls } = this;
    const bar = make("div", { class: "toolbar", role: "toolbar", "aria-label": "Sky map" },
      controls.map, controls.stretch, controls.colours, make("span", { class: "pair" }, this.low, make("span", { "aria-hidden": "true" }, "–"), this.high),
      controls.projection, controls.coverage, controls.grid, controls.choose,
      make("span", { class: "group" }, button("−", "Zoom out", () => this.zoom(2)), button("+", "Zoom in", () => this.zoom(0.5)),
        button("Survey", "Show the whole survey", () => this.showSurvey()), button("Sky", "Show the whole sky", () => this.sky?.setFoV(["Aitoff", "Mollweide", "Mercator"].includes(this.state.projection ?? "") ? 360 : 180))),
      button("Images here", "Open the image in the middle of the map", () => this.openImage()),
      button("Save PNG", "Save the map as a picture", () => void this.savePicture()),
      button("Copy link", "Copy the address of this view", () => void copyText(location.href).then((ok) => this.say(ok ? "The address of this view is on the clipboard." : "The address bar holds the link to this view.", 3000))));
    this.element = make("div", { class: "viewer skymap" }, bar, make("div", { class: "stage" }, this.map, this.card, this.message), make("div", { class: "foot" }, this.readout));
    this.map.addEventListener("keydown", (event) => this.key(event));
    this.map.addEventListener("pointermove", (event) => this.read(event));
    // What Aladin Lite tells of a drag leaves out the last steps.
    this.map.addEventListener("pointerup", () => requestAnimationFrame(() => this.moved()));
    this.map.addEventListener("pointerleave", () => this.readout.replaceChildren("Move the pointer over the sky to read it."));
    this.readout.textContent = "Move the pointer over the sky to read it.";
    this.dressControls();
  }

  /** Begin to draw; the element has to be part of the page. */
  async start(): Promise<void> {
    this.say("Loading the map…");
    try {
      await A.init;
    } catch {
      this.say("The map cannot be drawn: this browser does not run WebAssembly or WebGL.");
      return;
    }
    if (this.closed || this.sky) return;
    const { entry, state } = this;
    try {
      this.sky = A.aladin(this.canvas, {
        // Nothing is told to, or asked of, anybody else.
        log: false, hipsList: [], inertia: false, survey: this.makeLayer(),
        target: `${state.ra ?? entry.ra_deg} ${state.dec ?? entry.dec_deg}`, fov: state.fov ?? this.wholeFov(), cooFrame: "ICRSd",
        projection: PROJECTIONS[state.projection ?? "sphere"] ?? "SIN", backgroundColor: "rgb(5, 7, 11)", reticleColor: "#ffb454",
        showLayersControl: false, showZoomControl: false, showFullscreenControl: false, showFrame: false, showFov: false, showCooLocation: false,
        showProjectionControl: false, showStatusBar: false, showContextMenu: false, showSimbadPointerControl: false,
      });
    } catch (error) {
      this.say(`The map cannot be drawn: ${(error as Error).message || "the browser has no WebGL"}.`);
      return;
    }
    // Its parts are reached by our own controls; its layer of pictures has no words for those who do not see it.
    for (const part of this.canvas.querySelectorAll<HTMLElement>("input, button, a")) part.tabIndex = -1;
    for (const event of ["positionChanged", "zoomChanged"]) this.sky.on(event, () => this.moved());
    this.sky.on("click", (place) => this.clicked(place));
    this.showGrid();
    this.drawCells();
    await this.showCoverage();
    this.say("");
    this.moved();
    this.element.setAttribute("data-drawn", "true");
  }

  dispose(): void {
    this.closed = true;
    window.clearTimeout(this.timer);
    this.sky?.remove?.();
    this.sky = null;
  }

  /** Move to a position (ICRS). */
  lookAt(raDeg: number, decDeg: number): void {
    if (this.sky) this.sky.gotoRaDec(raDeg, decDeg);
    else Object.assign(this.state, { ra: raDeg, dec: decDeg });
    this.moved();
  }

  private address(path: string): string {
    return `${location.origin}${this.base}/hips/${encodeURIComponent(this.entry.release)}/${path}`;
  }

  private makeLayer(): Hips {
    const { entry, state } = this;
    const [low, high] = this.limits();
    const fits = entry.cuts !== null && entry.formats.includes("fits");
    this.layer = A.HiPS(this.address(entry.name), {
      name: entry.title, imgFormat: fits ? "fits" : entry.formats[0], maxOrder: entry.order, cooFrame: "equatorial",
      ...(fits ? { minCut: low, maxCut: high, stretch: state.stretch ?? "asinh", colormap: state.map ?? "grayscale" } : {}),
    });
    return this.layer;
  }

  private limits(): [number, number] {
    const [low, high] = this.entry.cuts ?? [0, 1];
    return [this.state.low ?? low, this.state.high ?? high];
  }

  private choose(entry: SkyMapEntry): void {
    const before = this.entry;
    this.entry = entry;
    // Limits in another band are other ones.
    delete this.state.low;
    delete this.state.high;
    this.dressControls();
    this.sky?.setBaseImageLayer(this.makeLayer());
    if (entry.release !== before.release) this.showSurvey();
    void this.showCoverage();
    this.moved();
  }

  private dressControls(): void {
    const plain = this.entry.cuts === null;
    for (const control of [this.controls.stretch, this.controls.colours]) control.hidden = plain;
    for (const input of [this.low, this.high]) input.hidden = plain;
    (this.low.parentElement as HTMLElement | null)?.toggleAttribute("hidden", plain);
    [this.low.value, this.high.value] = this.limits().map((v) => String(Number(v.toPrecision(5)))) as [string, string];
    setControl(this.controls.map, labelOf(this.entry));
  }

  private restretch(): void {
    this.layer?.setColormap(this.state.map ?? "grayscale", { stretch: this.state.stretch ?? "asinh" });
    this.moved();
  }

  private setLimits(): void {
    const [low, high] = [Number(this.low.value), Number(this.high.value)];
    if (!(Number.isFinite(low) && Number.isFinite(high) && high > low)) {
      this.say("The lower limit must be below the upper limit.", 4000);
      return;
    }
    Object.assign(this.state, { low, high });
    this.layer?.setCuts(low, high);
    this.moved();
  }

  private showGrid(): void {
    this.sky?.setCooGrid({ enabled: this.state.grid ?? false, color: "#9fb4c9", opacity: 0.6, labelSize: 13 });
  }

  private async showCoverage(): Promise<void> {
    this.coverage?.hide();
    this.coverage = null;
    this.element.removeAttribute("data-coverage");
    const { sky, state: { coverage = "none" } } = this;
    if (!sky || coverage === "none") return;
    const answer = await fetch(this.address(coverage === "this map" ? `${this.entry.name}/Moc.json` : "Moc.json"), { credentials: "same-origin" }).catch(() => null);
    if (coverage !== this.state.coverage || this.closed) return;
    if (!answer?.ok) {
      this.say(`The coverage is not available: ${answer ? await problemOf(answer) : "the server does not answer"}.`, 6000);
      return;
    }
    this.coverage = A.MOCFromJSON((await answer.json()) as Record<string, number[]>, { color: "#ffb454", fillColor: "#ffb454", fill: true, opacity: 0.25, edge: false, lineWidth: 1 });
    sky.addMOC(this.coverage);
    this.element.setAttribute("data-coverage", coverage);
  }

  private clicked(place: unknown): void {
    const { ra, dec } = (place ?? {}) as { ra?: number; dec?: number };
    if (this.choosing && ra !== undefined && dec !== undefined) this.toggleCell(ra, dec);
  }

  /** Choose the cell at a position, or give it up. */
  private toggleCell(raDeg: number, decDeg: number): void {
    const order = suitableOrder(this.sky?.getFov()[0] ?? 60);
    const cell = `${order}/${healpix(order, raDeg, decDeg)}`;
    const cells = this.state.cells ?? [];
    if (!cells.includes(cell) && cells.length >= 60) {
      this.say("At most 60 cells can be chosen.", 4000);
      return;
    }
    this.state.cells = cells.includes(cell) ? cells.filter((c) => c !== cell) : [...cells, cell];
    this.say(cells.includes(cell) ? `Cell ${cell} is no longer chosen.` : `Cell ${cell} is chosen.`, 3000);
    this.drawCells();
    this.moved();
  }

  private drawCells(): void {
    this.cells?.hide();
    this.cells = null;
    const { cells = [] } = this.state;
    if (this.sky && cells.length > 0) {
      this.cells = A.MOCFromJSON(cellsByOrder(cells), { color: "#3ddc84", fillColor: "#3ddc84", fill: true, opacity: 0.3, edge: true, lineWidth: 2 });
      this.sky.addMOC(this.cells);
    }
    this.card.hidden = cells.length === 0;
    const { release, bands } = this.entry;
    const catalogs = `${this.base}/catalogs?${new URLSearchParams({ query: queryCells(release, bands, cells) })}`;
    this.card.replaceChildren(
      make("button", { type: "button", class: "close", "aria-label": "Give up all cells", onclick: () => { this.state.cells = []; this.drawCells(); this.moved(); } }, "×"),
      make("strong", {}, cells.length === 1 ? "1 cell (HEALPix, nested)" : `${cells.length} cells (HEALPix, nested)`),
      make("div", { class: "rows long" }, rows(cells.map((cell) => [`order ${cell.split("/")[0]}`, cell.split("/")[1] ?? ""]))),
      make("p", { class: "line" },
        make("a", { class: "button", href: catalogs }, "Objects in these cells"),
        button("Copy cells", "Copy the cells as a coverage map (MOC), which the Catalogs page and mocpy read", () =>
          void copyText(formatCells(cells)).then((ok) => this.say(ok ? "The cells are on the clipboard, as a coverage map (MOC)." : formatCells(cells), 6000)))));
    this.element.dataset.cells = formatCells(cells);
  }

  /** The view has changed: keep it in the address. */
  private moved(): void {
    if (!this.sky) return;
    const [ra, dec] = this.sky.getRaDec();
    const [fov] = this.sky.getFov();
    Object.assign(this.element.dataset, { ra: ra.toFixed(7), dec: dec.toFixed(7), fov: fov.toPrecision(5) });
    window.clearTimeout(this.timer);
    this.timer = window.setTimeout(() => {
      const query = formatSky({ ...this.state, release: this.entry.release, hips: this.entry.name, ra, dec, fov }, location.search);
      history.replaceState(history.state, "", `${location.pathname}?${query}`);
    }, SETTLE_MS);
  }

  private zoom(factor: number): void {
    const [fov] = this.sky?.getFov() ?? [60];
    this.sky?.setFoV(Math.min(Math.max(fov * factor, 1e-4), 360));
    this.moved();
  }

  private pan(dx: number, dy: number): void {
    if (!this.sky) return;
    const { clientWidth, clientHeight } = this.canvas;
    const to = this.sky.pix2world(clientWidth * (0.5 + dx), clientHeight * (0.5 + dy), "ICRS");
    if (to) this.sky.gotoRaDec(...to);
    this.moved();
  }

  private showSurvey(): void {
    const { ra_deg, dec_deg } = this.entry;
    this.sky?.gotoRaDec(ra_deg, dec_deg);
    this.sky?.setFoV(this.wholeFov());
    this.moved();
  }

  /** Width of a view that holds the whole survey. */
  private wholeFov(): number {
    const { clientWidth, clientHeight } = this.canvas;
    return Math.min(1.1 * this.entry.fov_deg * Math.max(clientWidth / Math.max(clientHeight, 1), 1), 360);
  }

  private openImage(): void {
    const [ra, dec] = this.sky?.getRaDec() ?? [this.entry.ra_deg, this.entry.dec_deg];
    location.href = `${this.base}/images?${new URLSearchParams({ release: this.entry.release, ra: ra.toFixed(6), dec: dec.toFixed(6) })}`;
  }

  private async savePicture(): Promise<void> {
    const address = await this.sky?.getViewDataURL();
    if (address) make("a", { href: address, download: `${this.entry.release}-sky.png` }).click();
  }

  /** Words for what is at a place of the view. */
  private describe(x: number, y: number): string {
    const at = this.sky?.pix2world(x, y, "ICRS");
    if (!at || !Number.isFinite(at[0])) return "";
    const [l, b] = fromIcrs("galactic", ...at);
    const found = this.entry.cuts === null ? null : this.layer?.readPixel(x, y);
    const value = Array.isArray(found) ? found[0] as unknown : found;
    const words = typeof value === "number" && Number.isFinite(value) ? `${formatValue(value)} ${this.entry.unit}, ` : this.entry.cuts === null ? "" : "no data, ";
    this.readout.dataset.value = typeof value === "number" ? String(value) : "";
    Object.assign(this.readout.dataset, { ra: at[0].toFixed(7), dec: at[1].toFixed(7) });
    const order = suitableOrder(this.sky?.getFov()[0] ?? 60);
    return `${words}RA ${at[0].toFixed(5)}°, Dec ${at[1].toFixed(5)}°, l ${l.toFixed(4)}°, b ${b.toFixed(4)}°, cell ${order}/${healpix(order, ...at)}`;
  }

  private read(event: PointerEvent): void {
    const box = this.canvas.getBoundingClientRect();
    this.readout.replaceChildren(this.describe(event.clientX - box.left, event.clientY - box.top) || "outside the sky");
  }

  private key(event: KeyboardEvent): void {
    if (event.ctrlKey || event.altKey || event.metaKey || event.target !== this.map) return;
    const middle = (): [number, number] => [this.canvas.clientWidth / 2, this.canvas.clientHeight / 2];
    const actions: Record<string, () => void> = {
      ArrowLeft: () => this.pan(-0.1, 0), ArrowRight: () => this.pan(0.1, 0), ArrowUp: () => this.pan(0, -0.1), ArrowDown: () => this.pan(0, 0.1),
      "+": () => this.zoom(0.5), "=": () => this.zoom(0.5), "-": () => this.zoom(2), "0": () => this.showSurvey(),
      r: () => this.say(`Middle: ${this.describe(...middle())}`, 8000),
      " ": () => { const at = this.sky?.getRaDec(); if (at && this.choosing) this.toggleCell(...at); },
    };
    const action = actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }

  private say(text: string, forMs = 0): void {
    this.message.textContent = text;
    if (forMs > 0) window.setTimeout(() => { if (this.message.textContent === text) this.message.textContent = ""; }, forMs);
  }
}
