/** The panel for what lies over the image: coordinate grid, sources, moving objects, regions of DS9, coverage maps. */

import { button, choice, make, numberField, saveFile, setControl, slider, tick } from "./dom.ts";
import { CORNERS, type Corner } from "./overlaystate.ts";
import { parseMocFits, parseMocText, skyFraction } from "./moc.ts";
import { EVERY, fetchTracks, placeBodies, type Tracks } from "./orbits.ts";
import type { Host, Panel } from "./panels.ts";
import { formatDs9, parseDs9, type Region } from "./regions.ts";
import { FRAMES, type Frame } from "./skyframes.ts";
import { SYMBOLS, type Symbol } from "./symbols.ts";
import type { Toolbox } from "./tools.ts";

/** Overlays and their files. */
export class OverlayPanel implements Panel {
  readonly name = "Overlays";
  readonly help = "Grid, sources, moving objects, regions, coverage (G switches the grid)";
  readonly element: HTMLElement;
  private readonly host: Host;
  private readonly toolbox: Toolbox;
  private readonly grids: Record<Frame, HTMLElement>;
  private readonly corner: HTMLElement;
  private readonly style: Record<"colour" | "size" | "symbol" | "opacity", HTMLElement>;
  private readonly orbitTick: HTMLElement;
  private readonly orbitList = make("div", { class: "rows", role: "status", "aria-label": "Known moving objects on the image" });
  private readonly report = make("p", { class: "hint", role: "status" });
  private readonly text = make("textarea", { rows: 4, "aria-label": "Regions in DS9's form", placeholder: "icrs\ncircle(53.13, -28.10, 5\")" });

  constructor(host: Host, toolbox: Toolbox) {
    this.host = host;
    this.toolbox = toolbox;
    const grid = (frame: Frame): HTMLElement => tick(`${frame} grid`, false, (on) => this.setGrids(FRAMES.filter((f) => (f === frame ? on : host.pane.grid.frames.includes(f)))));
    this.grids = { ICRS: grid("ICRS"), galactic: grid("galactic"), ecliptic: grid("ecliptic") };
    this.corner = choice("Compass and scale", CORNERS, "bottom left", (v) => this.setCorner(v as Corner));
    this.orbitTick = tick("Known moving objects", false, (on) => this.setOrbits(on ? EVERY : ""));
    const { style } = host.view.sourceLayer;
    const restyle = (part: Partial<typeof style>): void => {
      Object.assign(host.view.sourceLayer.style, part);
      host.view.sourceLayer.changed();
      host.changed();
    };
    const colour = make("input", { type: "color", value: style.colour, "aria-label": "Colour of the sources", oninput: () => restyle({ colour: colour.value }) });
    const moc = this.filePicker("Open a coverage map (MOC)", ".fits,.json,.txt,.moc", (file) => this.openMoc(file));
    const ds9 = this.filePicker("Open a region file", ".reg,.txt", async (file) => this.addRegions(await file.text()));
    this.style = {
      colour: make("label", { class: "field" }, make("span", {}, "Colour"), colour),
      size: slider("Size", { min: 0.3, max: 3, step: 0.1 }, 1, (size) => restyle({ size })),
      symbol: choice("Symbol of the sources", SYMBOLS, "circle", (symbol) => restyle({ symbol: symbol as Symbol })),
      opacity: slider("Opacity of the sources", { min: 0.05, max: 1, step: 0.05 }, 1, (opacity) => restyle({ opacity })),
    };
    this.element = make("div", { class: "rows" }, make("strong", {}, "Grids"), ...FRAMES.map((f) => this.grids[f]), this.corner,
      make("strong", {}, "Sources"), this.style.colour, this.style.symbol, this.style.size, this.style.opacity,
      numberField("Brighter than (mag)", "", (faintest) => restyle({ faintest })), numberField("Fainter than (mag)", "", (brightest) => restyle({ brightest })),
      button("All magnitudes", "Show the sources of all magnitudes", () => restyle({ faintest: Infinity, brightest: -Infinity })),
      make("strong", {}, "Moving objects"), this.orbitTick, this.orbitList,
      make("strong", {}, "Regions (DS9)"), this.text,
      make("div", { class: "line" }, button("Draw", "Draw the regions of the text", () => this.addRegions(this.text.value)), ds9,
        button("Save", "Save all regions as a DS9 file", () => this.save())),
      make("strong", {}, "Coverage"), make("div", { class: "line" }, moc, button("Remove", "Remove the coverage map", () => this.setMoc(null))), this.report);
  }

  refresh(): void {
    for (const frame of FRAMES) setControl(this.grids[frame], this.host.pane.grid.frames.includes(frame));
    setControl(this.corner, this.host.pane.furniture.corner);
    const { style } = this.host.view.sourceLayer;
    for (const key of ["colour", "size", "symbol", "opacity"] as const) setControl(this.style[key], style[key]);
    setControl(this.orbitTick, this.host.pane.orbits.wanted !== "");
  }

  private setOrbits(wanted: string): void {
    this.host.pane.orbits.wanted = wanted;
    void this.loadOrbits();
  }

  /** Read and draw the tracks that the active image wants. */
  async loadOrbits(): Promise<void> {
    const { pane, meta, base } = this.host;
    const { orbits, element } = pane;
    orbits.tracks = null;
    element.removeAttribute("data-orbits");
    this.orbitList.replaceChildren();
    if (orbits.wanted !== "" && meta) {
      const { wanted } = orbits;
      try {
        const tracks = await fetchTracks(base, meta, wanted);
        if (this.host.meta !== meta || orbits.wanted !== wanted) return;
        orbits.tracks = tracks;
        this.tellOrbits(tracks, meta.release);
        const places = meta.wcs ? placeBodies(tracks, meta.wcs) : [];
        element.setAttribute("data-orbits", places.map((p) => `${p.name}:${p.x.toFixed(2)},${p.y.toFixed(2)}`).join(" "));
      } catch (error) {
        this.orbitList.replaceChildren(make("p", { class: "hint" }, `Not available: ${(error as Error).message}.`));
        this.host.say(`Moving objects are not available: ${(error as Error).message}.`, 6000);
      }
    }
    this.refresh();
    this.host.changed();
  }

  /** The same as the drawing in words, with links to the light curves. */
  private tellOrbits(tracks: Tracks, release: string): void {
    const words = tracks.bodies.map((body) => make("p", {},
      body.id ? make("a", { href: `${this.host.base}/lightcurves?release=${encodeURIComponent(release)}&ssobject=${body.id}` }, body.name) : body.name,
      ` RA ${body.ra.toFixed(5)}°, Dec ${body.dec.toFixed(5)}°, ${body.rate_arcsec_hour.toFixed(1)}″/h${body.inside ? "" : ", outside the image"}`));
    const time = `Predicted for MJD ${tracks.mjd.toFixed(5)} (TAI), the middle of the exposure.`;
    this.orbitList.replaceChildren(...(words.length > 0 ? [make("p", { class: "hint" }, time), ...words] : [make("p", { class: "hint" }, "No known moving object lies on this image.")]));
  }

  setCorner(corner: Corner): void {
    this.host.pane.furniture.corner = corner;
    this.host.changed();
  }

  setGrids(frames: Frame[]): void {
    this.host.pane.grid.frames = frames;
    for (const frame of FRAMES) setControl(this.grids[frame], frames.includes(frame));
    const { meta } = this.host;
    if (frames.length > 0 && meta && !meta.wcs) {
      this.host.say(meta.sky_by_request ? "This image covers too much of the sky for a grid; the readout has positions." : "This image has no sky coordinates: there is no grid.", 4000);
    }
    this.host.changed();
  }

  private filePicker(name: string, accept: string, opened: (file: File) => Promise<void>): HTMLElement {
    const input = make("input", { type: "file", accept, hidden: "", "aria-label": name, onchange: () => {
      const file = input.files?.[0];
      input.value = "";
      if (file) opened(file).catch((error: Error) => this.say(`${file.name} cannot be used: ${error.message}.`));
    } });
    return make("span", {}, input, button("Open a file…", name, () => input.click()));
  }

  private say(text: string): void {
    this.report.textContent = text;
  }

  private async openMoc(file: File): Promise<void> {
    const buffer = await file.arrayBuffer();
    const head = new TextDecoder("latin1").decode(new Uint8Array(buffer, 0, Math.min(10, buffer.byteLength)));
    const moc = head.startsWith("SIMPLE  =") ? parseMocFits(buffer) : parseMocText(new TextDecoder().decode(buffer));
    if (moc.first.length === 0) throw new Error("it covers nothing");
    Object.assign(this.host.pane.moc, { moc, name: file.name });
    this.say(`${file.name} covers ${(100 * skyFraction(moc)).toFixed(3)} % of the sky.`);
    this.host.changed();
  }

  private setMoc(moc: null): void {
    this.host.pane.moc.moc = moc;
    this.say("");
    this.host.changed();
  }

  /** Draw the regions of a text; what is not understood is said. */
  addRegions(text: string): void {
    const { meta } = this.host;
    if (!meta) return;
    const { regions, problems } = parseDs9(text, { fit: meta.wcs, xy0: meta.xy0 });
    this.toolbox.regions.push(...regions);
    const count = `${regions.length} region${regions.length === 1 ? "" : "s"} drawn.`;
    this.say(problems.length === 0 ? count : `${count} Not drawn: ${problems.slice(0, 3).join("; ")}${problems.length > 3 ? `; and ${problems.length - 3} more` : ""}.`);
    this.host.changed();
  }

  private save(): void {
    const { meta } = this.host;
    if (!meta) return;
    const content = formatDs9(this.toolbox.regions, { fit: meta.wcs, xy0: meta.xy0 });
    saveFile("regions.reg", new Blob([content], { type: "text/plain" }));
    this.text.value = content;
    this.say(`${this.toolbox.regions.length} regions saved.`);
  }
}

/** The same regions on another image, by their places on the sky; those that have none there are left out. */
export function carryRegions(regions: readonly Region[], from: Parameters<typeof formatDs9>[1], to: Parameters<typeof formatDs9>[1]): Region[] {
  if (!from.fit || !to.fit) return [];
  return parseDs9(formatDs9(regions, from, true), to).regions;
}
