/** The image workspace: tool bar, images, panels, readout and the card of a clicked source. */

import { Comparison, LAYOUTS } from "./compare.ts";
import { button, choice, copyText, make, problemOf, rows, setControl } from "./dom.ts";
import { HelpPanel } from "./help.ts";
import { CatalogSet } from "./imagecatalogs.ts";
import { COLOUR_MAPS, paletteGradient, type ColourMap } from "./palettes.ts";
import { keepOverlays, restoreOverlays, type Overlaid } from "./overlaid.ts";
import { MOST_CHARACTERS, OverlayKeeper } from "./overlaystate.ts";
import { Pane } from "./pane.ts";
import { CatalogPanel } from "./panel_catalogs.ts";
import { ComparePanel, formatReference, parseReference } from "./panel_compare.ts";
import { DisplayPanel } from "./panel_display.ts";
import { EpochPanel } from "./panel_epochs.ts";
import { FilePanel } from "./panel_file.ts";
import { InfoPanel } from "./panel_info.ts";
import { MaskPanel } from "./panel_masks.ts";
import { OverlayPanel, carryRegions } from "./panel_overlays.ts";
import { ToolsPanel } from "./panel_tools.ts";
import { PanelSet, type Host } from "./panels.ts";
import { ReadoutLine } from "./readout.ts";
import { regionAt } from "./regions.ts";
import { FRAMES, type Frame } from "./skyframes.ts";
import { tellSelected } from "./remote.ts";
import { LIMITS, STRETCHES, formatValue, type LimitChoice, type Stretch } from "./stretch.ts";
import { fetchMeta, maskNames, type ImageMeta } from "./tiles.ts";
import type { ImageView, ViewEvents } from "./view.ts";
import { formatState, parseState, type ViewState } from "./viewstate.ts";

/** A position to show first. */
export interface Target {
  ra?: number;
  dec?: number;
}

const OPENING = "Opening the image…";
const LABEL = "Image. Arrow keys move, + and − zoom, R reads the middle, ? lists all keys.";

/** Everything inside the viewer's element. */
export class Workspace implements Host {
  readonly element: HTMLElement;
  readonly base: string;
  readonly comparison: Comparison;
  private readonly card = make("div", { class: "card", hidden: "", role: "region", "aria-label": "Selected source" });
  private readonly message = make("div", { class: "message", role: "status" });
  private readonly sourceSlot = make("span", { class: "slot" });
  private readonly bar = make("div", { class: "colour-bar" });
  private readonly readout: ReadoutLine;
  private readonly display: DisplayPanel;
  private readonly masks: MaskPanel;
  private readonly tools: ToolsPanel;
  private readonly overlays: OverlayPanel;
  private readonly catalogs: CatalogSet;
  private readonly compare: ComparePanel;
  private readonly info: InfoPanel;
  private readonly epochs: EpochPanel;
  private readonly panels: PanelSet;
  private readonly selects: Record<"stretch" | "map" | "limits", HTMLLabelElement>;
  private readonly low = make("input", { type: "number", step: "any", "aria-label": "Lower limit", onchange: () => this.manualLimits() });
  private readonly high = make("input", { type: "number", step: "any", "aria-label": "Upper limit", onchange: () => this.manualLimits() });
  private sourceTable = "";
  private wantedTable = "";
  /** The image whose pixels the regions are told in. */
  private regionsOn: ImageMeta | null = null;
  private readonly catalogPanel: CatalogPanel;
  private readonly keeper: OverlayKeeper;
  private limitChoice: LimitChoice | "manual" = "auto";
  private restored = false;
  private opening = 0;
  private asked = 0;

  constructor(base: string, follow: (release: string, id: string) => void) {
    this.base = base;
    this.selects = {
      stretch: choice("Stretch", STRETCHES, "asinh", (v) => this.setStretch(v as Stretch)),
      map: choice("Colours", COLOUR_MAPS, "grey", (v) => this.setMap(v as ColourMap)),
      limits: choice("Limits", [...LIMITS, "manual"], "auto", (v) => this.setLimits(v as LimitChoice | "manual")),
    };
    this.readout = new ReadoutLine((text, ms) => this.say(text, ms), (noise) => { this.view.wantsNoise = noise; });
    this.keeper = new OverlayKeeper(base, () => this.moved(), (text, ms) => this.say(text, ms));
    this.catalogs = new CatalogSet(base, (text, ms) => this.say(text, ms));
    this.tools = new ToolsPanel(this, (dx, dy) => this.adjust(dx, dy));
    const first = this.makePane();
    this.comparison = new Comparison(first, () => this.switched());
    this.display = new DisplayPanel(this);
    this.masks = new MaskPanel(this);
    this.overlays = new OverlayPanel(this, this.tools.toolbox);
    this.catalogPanel = new CatalogPanel(this, this.catalogs);
    this.compare = new ComparePanel(this, () => this.comparison, (release, id) => this.addImage(release, id));
    this.info = new InfoPanel(this, follow);
    this.epochs = new EpochPanel(this, async (release, id, held) => {
      this.setLimits(held ? "manual" : "auto");
      await this.open(release, id, {});
      if (this.meta?.dataset_id !== id) return; // another image was chosen meanwhile
      this.setLimits("manual");
      follow(release, id);
    });
    const file = new FilePanel(this, (release, id) => this.open(release, id, {}));
    this.panels = new PanelSet([this.display, this.masks, this.overlays, this.catalogPanel, this.tools, this.compare, this.epochs, this.info, file, new HelpPanel()]);
    const stage = make("div", { class: "stage" }, this.comparison.element, this.panels.element, this.card, this.message);
    this.element = make("div", { class: "viewer" }, this.toolbar(), stage,
      make("div", { class: "foot" }, this.readout.element, this.readout.controls, this.bar), this.readout.spoken);
    this.readout.show(null, null);
  }

  get pane(): Pane {
    return this.comparison.active;
  }

  get view(): ImageView {
    return this.pane.view;
  }

  get meta(): ImageMeta | null {
    return this.view.store?.meta ?? null;
  }

  private makePane(): Pane {
    const own = (): boolean => made === this.comparison?.active;
    const events: ViewEvents = {
      readout: (r) => { if (own() || r) this.readout.show(r, made.view.store?.meta ?? null); },
      moved: () => { made.furniture.update(made.view); if (own()) this.moved(); },
      picked: (n) => void this.showCard(n),
      drawn: () => this.drawn(),
      limited: () => this.say("This browser has no WebGL, so that only the coarsest level of an image is shown; values are read all the same."),
      sketched: () => { if (own()) this.record("skydesk.image.first"); },
      clicked: (x, y) => { if (!this.showCatalogRow(made.view, x, y) && !this.pickRegion(made.view, x, y)) this.toggleLock(); },
      busy: () => this.tools.toolbox.busy,
    };
    const made: Pane = new Pane(LABEL, events, [this.catalogs.paint, (context, view) => this.epochs?.paint(context, view), (context, view) => { if (view === this.view) this.tools.toolbox.paint(context, view); }]);
    this.tools.toolbox.attach(made.view);
    made.map.addEventListener("keydown", (event) => this.key(event));
    made.view.wantsNoise = this.readout.noise;
    return made;
  }

  private toolbar(): HTMLElement {
    const openers = [...this.panels.buttons.values()];
    const help = openers.pop();
    help?.setAttribute("aria-label", "Help and keys");
    return make("div", { class: "toolbar", role: "toolbar", "aria-label": "Image display" },
      this.selects.stretch, this.selects.map, this.selects.limits,
      make("span", { class: "pair" }, this.low, make("span", { "aria-hidden": "true" }, "–"), this.high),
      this.sourceSlot, make("span", { class: "openers" }, ...openers),
      make("span", { class: "group" },
        button("−", "Zoom out", () => this.view.zoomBy(0.5)), button("+", "Zoom in", () => this.view.zoomBy(2)),
        button("Fit", "Show the whole image", () => this.view.fit()), button("1:1", "One image pixel per screen pixel", () => this.view.native())),
      button("Copy link", "Copy the address of this view", () => void this.copyLink()), help ?? null);
  }

  private async copyLink(): Promise<void> {
    if (await copyText(location.href)) this.say("The address of this view is on the clipboard.", 2500);
    else this.say("The address bar holds the link to this view.", 4000);
  }

  say(text: string, forMs = 0): void {
    this.message.textContent = text;
    if (forMs > 0) window.setTimeout(() => { if (this.message.textContent === text) this.message.textContent = ""; }, forMs);
  }

  /** The picture is complete. */
  private drawn(): void {
    if (!this.element.hasAttribute("data-drawn")) this.record("skydesk.image");
    this.element.setAttribute("data-drawn", "true");
  }

  /** Write into the browser's time line how long it has been since the image was asked for. */
  private record(name: string): void {
    if (this.asked > 0) performance.measure(name, { start: this.asked, end: performance.now() });
  }

  /** Show one image in the active pane; a position or the page's address says where to look first. */
  async open(release: string, id: string, target: Target): Promise<void> {
    if (!release || !id) return;
    const ticket = ++this.opening;
    this.element.removeAttribute("data-drawn");
    this.element.setAttribute("data-opening", "true");
    this.asked = performance.now();
    this.say(OPENING);
    let meta: ImageMeta;
    try {
      meta = await fetchMeta(this.base, release, id);
    } catch (error) {
      if (ticket === this.opening) this.say(`This image cannot be shown: ${(error as Error).message}`);
      return; // the image before stays dimmed, so that nobody takes it for this one
    }
    if (ticket !== this.opening) return;
    const before = this.meta;
    const same = this.view.open(this.base, meta);
    // Whoever goes from a detector to the whole focal plane, or to a cut-out, wants to see all of it.
    const kept = same && !id.startsWith("cutout-") && (!meta.detectors?.length || !!before?.detectors?.length);
    this.readout.lock(null);
    this.carry(before, meta);
    this.element.removeAttribute("data-opening");
    const state = this.restored ? null : parseState(location.search);
    this.restored = true;
    await this.dress(meta, state && (state.id === id || state.id === "") ? state : null, target, kept);
    if (ticket !== this.opening) return;
    if (Object.keys(meta.stats).length === 0) this.say("No pixel of this image has a value.");
    else if (this.message.textContent === OPENING) this.say("");
  }

  /** Regions stay where they are on the sky. */
  private carry(before: ImageMeta | null, after: ImageMeta): void {
    const { regions } = this.tools.toolbox;
    const kept = before && regions.length > 0 ? carryRegions(regions, { fit: before.wcs, xy0: before.xy0 }, { fit: after.wcs, xy0: after.xy0 }) : [];
    regions.splice(0, regions.length, ...kept);
    this.regionsOn = after;
  }

  private async dress(meta: ImageMeta, state: ViewState | null, target: Target, kept: boolean): Promise<void> {
    if (state) this.restore(state);
    if (state?.overlays) {
      await restoreOverlays(this.base, state.overlays, this.overlaid(meta))
        .catch((error: Error) => this.say(`What this address lays over the image cannot be read: ${error.message}.`, 8000));
    }
    const pointed = target.ra !== undefined && target.dec !== undefined && state?.x === undefined
      && this.view.centreOn(target.ra, target.dec, 0.5);
    this.compare.note({ release: meta.release, id: meta.dataset_id, title: meta.title, band: meta.band ?? "", type: meta.dataset_type });
    this.fillSources(meta);
    this.setLimits(this.limitChoice);
    this.masks.apply();
    this.panels.refresh();
    this.comparison.refresh();
    await this.view.measure().catch((error: Error) => this.say(`The pixels cannot be read: ${error.message}.`, 8000));
    if (this.view.display.stretch === "histogram") this.view.restretch();
    if (!kept && !pointed && state?.x === undefined) this.view.fit();
    this.view.present();
    this.element.setAttribute("data-image", meta.dataset_id);
    this.moved();
    this.keepOverlays();
    void this.nameAmplifiers(meta);
    void this.overlays.loadOrbits();
    await Promise.all([this.loadSources(target), this.catalogs.show(this.view)]);
    if (state?.result) await this.catalogPanel.add(state.result.id, { where: state.result.where, subset: state.result.subset });
    if (state?.plane) {
      const { low, high } = this.view.display;
      await this.compare.restore(state.plane);
      if (state.low !== undefined) Object.assign(this.view.display, { low, high });
      this.changed();
    }
    for (const other of state?.others ?? []) {
      await this.addImage(...this.reference(other, meta.release))
        .catch((error: Error) => this.say(`An image of this address cannot be shown: ${error.message}.`, 6000));
    }
    if (state?.epochs) await this.epochs.restore(state.epochs);
    const layout = LAYOUTS.find((l) => l === state?.layout);
    if (layout) this.comparison.setLayout(layout);
    this.moved();
  }

  private reference(text: string, release: string): [string, string] {
    const found = parseReference(text, release);
    return [found.release, found.id];
  }

  private async nameAmplifiers(meta: ImageMeta): Promise<void> {
    if (meta.data_id.detector === undefined || meta.amplifiers) return;
    const answer = await fetch(`${this.base}/tiles/${encodeURIComponent(meta.release)}/${meta.dataset_id}/readouts`, { credentials: "same-origin" }).catch(() => null);
    if (answer?.ok) meta.amplifiers = (await answer.json()) as NonNullable<ImageMeta["amplifiers"]>;
  }

  /** Open an image beside the others; it takes over how they look. */
  async addImage(release: string, id: string): Promise<void> {
    this.say("Opening the image…");
    const meta = await fetchMeta(this.base, release, id);
    this.say("");
    const leader = this.pane;
    const made = this.makePane();
    made.view.open(this.base, meta);
    const { stretch, map, invert, gamma, bias, contrast } = leader.view.display;
    Object.assign(made.view.display, { stretch, map, invert, gamma, bias, contrast });
    made.view.limits(this.limitChoice === "manual" ? "auto" : this.limitChoice);
    // Images in the same unit are seen alike.
    if (meta.unit === leader.view.store?.meta.unit && meta.dataset_type === leader.view.store.meta.dataset_type) {
      Object.assign(made.view.display, { low: leader.view.display.low, high: leader.view.display.high });
    }
    made.view.showMasks(this.masks.shown, this.masks.opacity, this.masks.colours);
    made.grid.frames = [...leader.grid.frames];
    made.furniture.corner = leader.furniture.corner;
    Object.assign(made.view.sourceLayer.style, leader.view.sourceLayer.style);
    this.comparison.add(made);
    this.compare.note({ release, id, title: meta.title, band: meta.band ?? "", type: meta.dataset_type });
    this.comparison.refresh();
    for (const pane of this.comparison.panes) pane.view.map.updateSize();
    this.comparison.align();
    await made.view.measure();
    made.view.restretch();
    made.view.present();
    await this.catalogs.show(made.view);
    this.moved();
  }

  /** Another image became the active one. */
  private switched(): void {
    if (!this.meta) return;
    if (this.regionsOn?.wcs && this.meta.wcs) this.carry(this.regionsOn, this.meta);
    this.setControls();
    this.panels.refresh();
    this.fillSources(this.meta);
  }

  /** Take over the given parts of a state; the others stay. */
  apply(state: ViewState): void {
    this.restore(state);
    this.masks.apply();
    this.changed();
  }

  private restore(state: ViewState): void {
    const { display } = this.view;
    if (state.stretch) display.stretch = state.stretch;
    if (state.map) display.map = COLOUR_MAPS.indexOf(state.map);
    if (state.low !== undefined && state.high !== undefined) {
      [display.low, display.high] = [state.low, state.high];
      this.limitChoice = "manual";
    }
    if (state.invert !== undefined) display.invert = state.invert;
    for (const key of ["gamma", "bias", "contrast"] as const) if (state[key] !== undefined) display[key] = state[key];
    for (const name of state.masks ?? []) this.masks.shown.add(name);
    if (state.opacity !== undefined) this.masks.opacity = state.opacity;
    for (const [name, colour] of Object.entries(state.maskColours ?? {})) this.masks.colours.set(name, colour);
    if (state.sources) this.wantedTable = state.sources;
    if (state.moving) this.pane.orbits.wanted = state.moving;
    if (state.grid) this.pane.grid.frames = FRAMES.filter((f) => state.grid?.split(",").includes(f));
    this.view.restore(state);
    this.setControls();
  }

  /** Make the controls say what the display is. */
  private setControls(): void {
    const { display } = this.view;
    setControl(this.selects.stretch, display.stretch);
    setControl(this.selects.map, COLOUR_MAPS[display.map] ?? "grey");
    setControl(this.selects.limits, this.limitChoice);
    this.low.value = String(Number(display.low.toPrecision(5)));
    this.high.value = String(Number(display.high.toPrecision(5)));
    const name = COLOUR_MAPS[display.map] ?? "grey";
    const { shown } = this.view;
    const unit = shown.kind === "signal" || shown.kind === "significance" ? "σ" : shown.kind === "variance" ? `(${this.meta?.unit ?? ""})²` : this.meta?.unit ?? "";
    this.bar.hidden = shown.kind === "colour";
    this.bar.replaceChildren(
      make("span", {}, formatValue(Number(display.low.toPrecision(5)))),
      make("span", { class: "ramp", style: `background:${paletteGradient(name, display.invert)}`, role: "img", "aria-label": `Colour scale, ${display.stretch}` }),
      make("span", {}, `${formatValue(Number(display.high.toPrecision(5)))} ${unit}`));
  }

  changed(): void {
    this.keepOverlays();
    this.view.restretch();
    this.pane.overlay.draw();
    this.setControls();
    this.moved();
  }

  private setStretch(stretch: Stretch): void {
    this.view.display.stretch = stretch;
    this.changed();
  }

  private setMap(map: ColourMap): void {
    this.view.display.map = COLOUR_MAPS.indexOf(map);
    this.changed();
  }

  private setLimits(kind: LimitChoice | "manual"): void {
    this.limitChoice = kind;
    if (kind !== "manual") this.view.limits(kind);
    this.changed();
  }

  private manualLimits(): void {
    const [low, high] = [Number(this.low.value), Number(this.high.value)];
    if (!(Number.isFinite(low) && Number.isFinite(high) && high > low)) {
      this.say("The lower limit must be below the upper limit.", 4000);
      return;
    }
    Object.assign(this.view.display, { low, high });
    this.limitChoice = "manual";
    this.changed();
  }

  /** Change bias and contrast by a drag; false when dragging moves the image. */
  private adjust(dx: number, dy: number): boolean {
    if (!this.display.dragging) return false;
    const { display } = this.view;
    display.bias = Math.min(Math.max(display.bias + dx, -0.5), 1.5);
    display.contrast = Math.min(Math.max(display.contrast * 2 ** (-4 * dy), 0.1), 8);
    if (dx !== 0 || dy !== 0) this.changed();
    this.panels.refresh();
    return true;
  }

  private fillSources(meta: ImageMeta): void {
    const tables = meta.source_tables;
    this.sourceTable = tables.includes(this.wantedTable) ? this.wantedTable : "";
    const control = choice("Sources", ["none", ...tables], this.sourceTable || "none", (v) => {
      this.sourceTable = this.wantedTable = v === "none" ? "" : v;
      this.moved();
      void this.loadSources({});
    });
    this.sourceSlot.replaceChildren(control);
  }

  private async loadSources(target: Target): Promise<void> {
    this.card.hidden = true;
    this.element.removeAttribute("data-sources");
    try {
      const count = await this.view.showSources(this.sourceTable || null);
      this.element.setAttribute("data-sources", String(count));
      if (!this.sourceTable) return;
      if (count === 0) this.say(`No row of ${this.sourceTable} lies on this image.`, 5000);
      else if (target.ra !== undefined) this.view.pickCentre(5);
    } catch (error) {
      this.say(`The sources are not available: ${(error as Error).message}`, 8000);
    }
  }

  /** Say what lies at the centre of the view, for people who do not see the readout. */
  private async announce(): Promise<void> {
    const { meta } = this;
    const found = await this.view.readCentre();
    if (!meta || !found) return;
    const value = found.pixel ? `${formatValue(found.pixel.value)} ${meta.unit}` : "outside the image";
    const names = found.pixel ? maskNames(found.pixel.mask, meta.mask_planes) : [];
    const sky = found.sky ? `, RA ${found.sky[0].toFixed(5)}°, Dec ${found.sky[1].toFixed(5)}°` : "";
    this.say(`Centre: ${value}${sky}${names.length > 0 ? `, ${names.join(", ")}` : ""}`, 8000);
  }

  /** Keep the readout under the pointer, or let it go; without a pointer that of the centre. */
  private toggleLock(): void {
    if (this.readout.locked) {
      this.readout.lock(null);
      return;
    }
    const lock = (found: Parameters<ReadoutLine["lock"]>[0]): void => {
      this.readout.lock(found);
      if (found) this.say("The readout is locked; Esc lets it go.", 2500);
    };
    const under = this.view.underPointer();
    if (under?.pixel) lock(under);
    else void this.view.readCentre().then(lock);
  }

  /** Choose the figure that was clicked; false when there is none. */
  private pickRegion(view: ImageView, x: number, y: number): boolean {
    const { regions, chosen } = this.tools.toolbox;
    const found = view === this.view ? regionAt(regions, x, y, 6 * (view.map.getView().getResolution() ?? 1)) : null;
    if (found || chosen) this.tools.pick(found);
    if (found && this.panels.open !== this.tools) this.panels.toggle(this.tools.name);
    return found !== null;
  }

  /** Show the row of a catalogue whose symbol was clicked; false when there is none. */
  private showCatalogRow(view: ImageView, x: number, y: number): boolean {
    const found = this.catalogs.pickAt(view, x, y);
    this.card.hidden = !found;
    if (!found) return false;
    const fill = this.openCard(`${found.catalog.name}, row ${Number(found.row) + 1}`, () => { this.catalogs.pickAt(view, NaN, NaN); this.card.hidden = true; });
    this.catalogs.row(found.catalog, found.row)
      .then((cells) => fill(make("div", { class: "rows" }, rows(cells.map((c) => [c.name, `${c.value} ${c.unit}`])))))
      .catch((error: Error) => fill(make("p", {}, `The row is not available: ${error.message}.`)));
    return true;
  }

  /** Open the card with a heading; the function returned fills the rest of it. */
  private openCard(heading: string, closed: () => void): (...content: HTMLElement[]) => void {
    const { card } = this;
    const title = make("strong", {}, heading);
    card.replaceChildren(make("button", { type: "button", class: "close", "aria-label": "Close", onclick: closed }, "×"), title, make("p", {}, "Reading the row…"));
    return (...content) => {
      // Another row may have been opened meanwhile.
      while (title.isConnected && title.nextSibling) title.nextSibling.remove();
      if (title.isConnected) card.append(...content);
    };
  }

  private async showCard(index: number): Promise<void> {
    const { card } = this;
    const store = this.view.store;
    const id = this.view.sourceLayer.sources?.ids[index]?.toString();
    card.hidden = index < 0 || !store || !id;
    if (store && this.sourceTable) tellSelected(store.meta.release, this.sourceTable, id ? [id] : []);
    if (card.hidden || !store) return;
    const fill = this.openCard(`${this.sourceTable} ${id}`, () => this.view.pick(-1));
    const url = `${this.base}/rows/${encodeURIComponent(store.meta.release)}/${encodeURIComponent(this.sourceTable)}/${id}`;
    const answer = await fetch(url, { credentials: "same-origin" }).catch(() => null);
    if (!answer?.ok) {
      fill(make("p", {}, answer ? `The row is not available: ${await problemOf(answer)}.` : "The row is not available now."));
      return;
    }
    const row = (await answer.json()) as { columns: { name: string; unit: string; value: string }[]; lightcurve: string | null };
    const link = row.lightcurve ? make("a", { href: row.lightcurve, class: "button" }, "Light curve") : null;
    fill(...(link ? [link] : []), make("div", { class: "rows" }, rows(row.columns.map((c) => [c.name, `${c.value} ${c.unit}`]))));
  }

  /** Write the view into the page's address. */
  private moved(): void {
    const first = this.comparison?.panes[0];
    const meta = first?.view.store?.meta;
    if (!first || !meta || !this.element.hasAttribute("data-image")) return;
    this.pane.furniture.update(this.view);
    const state: ViewState = { ...first.view.state(), release: meta.release, id: meta.dataset_id };
    if (this.masks.shown.size > 0) Object.assign(state, { masks: [...this.masks.shown], opacity: this.masks.opacity, maskColours: Object.fromEntries(this.masks.colours) });
    if (this.sourceTable) state.sources = this.sourceTable;
    if (first.grid.frames.length > 0) state.grid = first.grid.frames.join(",");
    if (this.keeper.text) state.overlays = this.keeper.text;
    if (first.orbits.wanted) state.moving = first.orbits.wanted;
    const epochs = this.epochs.format();
    if (epochs) state.epochs = epochs;
    if (this.pane === first) {
      const plane = this.compare.format();
      if (plane) state.plane = plane;
    }
    const others = this.comparison.panes.slice(1).map((pane) => pane.view.store?.meta).filter((m) => m !== undefined);
    if (others.length > 0) {
      state.others = others.map((m) => formatReference({ release: m.release, id: m.dataset_id }, meta.release));
      state.layout = this.comparison.layout;
    }
    const address = `${location.pathname}?${formatState(state, location.search)}${location.hash}`;
    if (location.origin.length + address.length > MOST_CHARACTERS && this.keeper.shorten()) return;
    history.replaceState(history.state, "", address);
  }

  private overlaid(meta: ImageMeta): Overlaid {
    return { pane: this.comparison.panes[0] ?? this.pane, meta, regions: this.tools.toolbox.regions, catalogs: this.catalogs };
  }

  /** Keep what lies over the images for the address. */
  private keepOverlays(): void {
    if (this.meta && this.element.hasAttribute("data-image")) keepOverlays(this.keeper, this.overlaid(this.meta));
  }

  private escape(): void {
    if (this.tools.toolbox.cancel()) this.view.map.render();
    else if (this.readout.locked) this.readout.lock(null);
    else if (this.panels.open) this.panels.close();
    else if (this.tools.toolbox.busy) this.tools.choose("look");
    else this.view.pick(-1);
    this.card.hidden = true;
  }

  private turn(degrees: number): void {
    this.view.rotate(this.view.rotation + (degrees * Math.PI) / 180);
    this.changed();
  }

  private key(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = event.shiftKey ? 300 : 60;
    const cycle = <T>(list: readonly T[], now: T): T => list[(list.indexOf(now) + 1) % list.length] ?? now;
    const { view } = this;
    const panel = (name: string) => () => this.panels.toggle(name);
    const actions: Record<string, () => void> = {
      ArrowLeft: () => view.panBy(-step, 0), ArrowRight: () => view.panBy(step, 0),
      ArrowUp: () => view.panBy(0, step), ArrowDown: () => view.panBy(0, -step),
      "+": () => view.zoomBy(2), "=": () => view.zoomBy(2), "-": () => view.zoomBy(0.5),
      "0": () => view.fit(), "1": () => view.native(), "[": () => this.turn(-5), "]": () => this.turn(5),
      s: () => this.setStretch(cycle(STRETCHES, view.display.stretch)),
      c: () => this.setMap(cycle(COLOUR_MAPS, COLOUR_MAPS[view.display.map] ?? "grey")),
      i: () => { view.display.invert = !view.display.invert; this.changed(); },
      b: () => this.display.setDragging(!this.display.dragging), x: () => this.display.reset(), v: () => this.display.nextPlane(),
      n: () => this.display.northUp(), u: () => this.display.unturn(),
      g: () => {
        const next = cycle<Frame | null>([null, ...FRAMES], this.pane.grid.frames[0] ?? null);
        this.overlays.setGrids(next ? [next] : []);
      },
      d: panel("Display"), m: panel("Masks"), a: panel("Catalogs"), t: panel("Measure"), k: panel("Compare"), e: panel("Epochs"), h: panel("About"), f: panel("File"), "?": panel("?"),
      ".": () => this.comparison.next(),
      p: () => { if (this.panels.open !== this.info) this.panels.toggle("About"); void this.info.showPsf(); },
      o: () => (this.sourceSlot.querySelector("select") as HTMLSelectElement | null)?.focus(),
      r: () => void this.announce(), l: () => this.toggleLock(), y: () => void this.readout.copy((text, ms) => this.say(text, ms)),
      " ": () => { if (view.centre && this.tools.toolbox.busy) this.tools.toolbox.place(view.centre); view.map.render(); },
      Backspace: () => this.tools.removeLast(),
      Enter: () => { if (!this.tools.toolbox.close() && !view.pickCentre(Infinity)) this.say("No sources are shown; press O to choose a table.", 4000); },
      Escape: () => this.escape(),
    };
    const action = actions[event.key] ?? actions[event.key.toLowerCase()];
    if (!action) return;
    event.preventDefault();
    event.stopPropagation();
    action();
  }

  dispose(): void {
    this.comparison.dispose();
  }
}
