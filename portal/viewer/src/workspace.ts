/** The image workspace: tool bar, image, readout and the card of a clicked source. */

import { choice, make } from "./dom.ts";
import { Furniture } from "./furniture.ts";
import { COLOUR_MAPS, maskColour, paletteGradient, type ColourMap } from "./palettes.ts";
import { tellSelected } from "./remote.ts";
import { LIMITS, STRETCHES, formatValue, type LimitChoice, type Stretch } from "./stretch.ts";
import type { ImageMeta } from "./tiles.ts";
import { maskNames } from "./tiles.ts";
import { ImageView, type Readout } from "./view.ts";
import { formatState, parseState, type ViewState } from "./viewstate.ts";
import { formatDec, formatRa } from "./wcs.ts";

/** A position to show first. */
export interface Target {
  ra?: number;
  dec?: number;
}

const KEYS = "Arrow keys move, + and − zoom, 0 shows all, 1 is one to one, S changes the stretch, C the colours, M the masks, O the sources, R reads the centre, Enter chooses the source nearest to it.";

/** Everything inside the viewer's element. */
export class Workspace {
  readonly element: HTMLElement;
  readonly view: ImageView;
  private readonly base: string;
  private readonly furniture = new Furniture();
  private readonly masks = new Set<string>();
  private opacity = 0.55;
  private sourceTable = "";
  private wantedTable = "";
  private limitChoice: LimitChoice | "manual" = "auto";
  private readonly parts: Record<"readout" | "maskList" | "card" | "message" | "sourceSlot" | "bar", HTMLElement>;
  private readonly selects: Record<"stretch" | "map" | "limits", HTMLLabelElement>;
  private readonly low: HTMLInputElement;
  private readonly high: HTMLInputElement;
  private restored = false;
  private opening = 0;

  constructor(base: string) {
    this.base = base;
    const part = (name: string, attributes: Record<string, string> = {}): HTMLElement => make("div", { class: name, ...attributes });
    this.parts = {
      readout: part("readout", { "aria-label": "Value under the pointer" }),
      maskList: part("mask-list", { hidden: "" }),
      card: part("card", { hidden: "", role: "region", "aria-label": "Selected source" }),
      message: part("message", { role: "status" }),
      sourceSlot: part("slot"),
      bar: part("colour-bar"),
    };
    this.selects = {
      stretch: choice("Stretch", STRETCHES, "asinh", (v) => this.setStretch(v as Stretch)),
      map: choice("Colours", COLOUR_MAPS, "grey", (v) => this.setMap(v as ColourMap)),
      limits: choice("Limits", [...LIMITS, "manual"], "auto", (v) => this.setLimits(v as LimitChoice | "manual")),
    };
    this.low = this.limitInput("Lower limit");
    this.high = this.limitInput("Upper limit");
    const map = make("div", { class: "map", tabindex: "0", role: "application", "aria-label": `Image. ${KEYS}` });
    map.addEventListener("keydown", (event) => this.key(event));
    const { readout, maskList, card, message, bar } = this.parts;
    const stage = make("div", { class: "stage" }, map, this.furniture.element, maskList, card, message);
    this.element = make("div", { class: "viewer" }, this.toolbar(), stage, make("div", { class: "foot" }, readout, bar));
    this.view = new ImageView(map, {
      readout: (r) => this.showReadout(r),
      moved: () => this.moved(),
      picked: (n) => void this.showCard(n),
      drawn: () => this.element.setAttribute("data-drawn", "true"),
    });
    this.showReadout(null);
  }

  private limitInput(label: string): HTMLInputElement {
    return make("input", { type: "number", step: "any", "aria-label": label, onchange: () => this.manualLimits() });
  }

  private toolbar(): HTMLElement {
    const button = (text: string, label: string, action: () => void): HTMLButtonElement =>
      make("button", { type: "button", title: label, "aria-label": label, onclick: action }, text);
    const masks = button("Masks", "Choose the mask planes that are shown", () => {
      this.parts.maskList.hidden = !this.parts.maskList.hidden;
      masks.setAttribute("aria-expanded", String(!this.parts.maskList.hidden));
    });
    masks.setAttribute("aria-expanded", "false");
    return make("div", { class: "toolbar", role: "toolbar", "aria-label": "Image display" },
      this.selects.stretch, this.selects.map, this.selects.limits,
      make("span", { class: "pair" }, this.low, make("span", { "aria-hidden": "true" }, "–"), this.high),
      masks, this.parts.sourceSlot,
      make("span", { class: "group" },
        button("−", "Zoom out", () => this.view.zoomBy(0.5)), button("+", "Zoom in", () => this.view.zoomBy(2)),
        button("Fit", "Show the whole image", () => this.view.fit()), button("1:1", "One image pixel per screen pixel", () => this.view.native())),
      button("Copy link", "Copy the address of this view", () => void this.copyLink()));
  }

  private async copyLink(): Promise<void> {
    try {
      await navigator.clipboard.writeText(location.href);
      this.say("The address of this view is on the clipboard.", 2500);
    } catch {
      this.say("The address bar holds the link to this view.", 4000);
    }
  }

  private say(text: string, forMs = 0): void {
    this.parts.message.textContent = text;
    if (forMs > 0) window.setTimeout(() => { if (this.parts.message.textContent === text) this.parts.message.textContent = ""; }, forMs);
  }

  /** Show one image; a position or the page's address says where to look first. */
  async open(release: string, id: string, target: Target): Promise<void> {
    if (!release || !id) return;
    const ticket = ++this.opening;
    this.element.removeAttribute("data-drawn");
    this.element.setAttribute("data-opening", "true");
    this.say("Opening the image…");
    let meta: ImageMeta;
    try {
      const answer = await fetch(`${this.base}/tiles/${encodeURIComponent(release)}/${id}/meta`, { credentials: "same-origin" });
      if (!answer.ok) throw new Error(((await answer.json()) as { detail?: string }).detail ?? `error ${answer.status}`);
      meta = (await answer.json()) as ImageMeta;
    } catch (error) {
      if (ticket === this.opening) this.say(`This image cannot be shown: ${(error as Error).message}`);
      return; // the image before stays dimmed, so that nobody takes it for this one
    }
    if (ticket !== this.opening) return;
    const kept = this.view.open(this.base, meta);
    this.element.removeAttribute("data-opening");
    const state = this.restored ? null : parseState(location.search);
    this.restored = true;
    await this.dress(meta, state && (state.id === id || state.id === "") ? state : null, target, kept);
    if (ticket === this.opening) this.say("");
  }

  private async dress(meta: ImageMeta, state: ViewState | null, target: Target, kept: boolean): Promise<void> {
    if (state) this.restore(state);
    const pointed = target.ra !== undefined && target.dec !== undefined && state?.x === undefined
      && this.view.centreOn(target.ra, target.dec, 0.5);
    this.fillMasks(meta);
    this.fillSources(meta);
    this.setLimits(this.limitChoice);
    this.applyMasks();
    await this.view.measure();
    if (!kept && !pointed && state?.x === undefined) this.view.fit();
    this.element.setAttribute("data-image", meta.dataset_id);
    this.moved();
    await this.loadSources(target);
  }

  /** Take over the given parts of a state; the others stay. */
  apply(state: ViewState): void {
    this.restore(state);
    this.applyMasks();
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
    for (const name of state.masks ?? []) this.masks.add(name);
    if (state.sources) this.wantedTable = state.sources;
    this.view.restore(state);
    this.showSettings();
  }

  /** Make the controls say what the display is. */
  private showSettings(): void {
    const { display } = this.view;
    const set = (label: HTMLLabelElement, value: string): void => { (label.querySelector("select") as HTMLSelectElement).value = value; };
    set(this.selects.stretch, display.stretch);
    set(this.selects.map, COLOUR_MAPS[display.map] ?? "grey");
    set(this.selects.limits, this.limitChoice);
    this.low.value = String(Number(display.low.toPrecision(5)));
    this.high.value = String(Number(display.high.toPrecision(5)));
    const name = COLOUR_MAPS[display.map] ?? "grey";
    this.parts.bar.replaceChildren(
      make("span", {}, formatValue(display.low)),
      make("span", { class: "ramp", style: `background:${paletteGradient(name)}`, role: "img", "aria-label": `Colour scale, ${display.stretch}` }),
      make("span", {}, `${formatValue(display.high)} ${this.view.store?.meta.unit ?? ""}`));
  }

  private changed(): void {
    this.view.restretch();
    this.showSettings();
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

  private fillMasks(meta: ImageMeta): void {
    const list = this.parts.maskList;
    const boxes = Object.entries(meta.mask_planes).map(([name, bit]) => {
      const box = make("input", { type: "checkbox", name, onchange: () => {
        if (box.checked) this.masks.add(name); else this.masks.delete(name);
        this.applyMasks();
        this.moved();
      } });
      box.checked = this.masks.has(name);
      return make("label", {}, box, make("span", { class: "swatch", style: `background:${maskColour(name, bit)}` }), name);
    });
    const slider = make("input", { type: "range", min: "0.1", max: "1", step: "0.05", value: String(this.opacity), oninput: () => {
      this.opacity = Number(slider.value);
      this.applyMasks();
    } });
    list.replaceChildren(make("strong", {}, "Mask planes"), ...boxes, make("label", { class: "opacity" }, "Opacity", slider));
  }

  private applyMasks(): void {
    this.view.showMasks(this.masks, this.opacity);
  }

  private fillSources(meta: ImageMeta): void {
    const tables = meta.source_tables;
    this.sourceTable = tables.includes(this.wantedTable) ? this.wantedTable : "";
    const control = choice("Sources", ["none", ...tables], this.sourceTable || "none", (v) => {
      this.sourceTable = this.wantedTable = v === "none" ? "" : v;
      this.moved();
      void this.loadSources({});
    });
    this.parts.sourceSlot.replaceChildren(control);
  }

  private async loadSources(target: Target): Promise<void> {
    this.parts.card.hidden = true;
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
    const meta = this.view.store?.meta;
    const found = await this.view.readCentre();
    if (!meta || !found) return;
    const value = found.pixel ? `${formatValue(found.pixel.value)} ${meta.unit}` : "outside the image";
    const names = found.pixel ? maskNames(found.pixel.mask, meta.mask_planes) : [];
    const sky = found.sky ? `, RA ${found.sky[0].toFixed(5)}°, Dec ${found.sky[1].toFixed(5)}°` : "";
    this.say(`Centre: ${value}${sky}${names.length > 0 ? `, ${names.join(", ")}` : ""}`, 8000);
  }

  private async showCard(index: number): Promise<void> {
    const card = this.parts.card;
    const store = this.view.store;
    const id = this.view.sourceLayer.sources?.ids[index]?.toString();
    card.hidden = index < 0 || !store || !id;
    if (store && this.sourceTable) tellSelected(store.meta.release, this.sourceTable, id ? [id] : []);
    if (card.hidden || !store) return;
    const close = make("button", { type: "button", class: "close", "aria-label": "Close", onclick: () => this.view.pick(-1) }, "×");
    card.replaceChildren(close, make("strong", {}, `${this.sourceTable} ${id}`), make("p", {}, "Reading the row…"));
    const url = `${this.base}/rows/${encodeURIComponent(store.meta.release)}/${encodeURIComponent(this.sourceTable)}/${id}`;
    const answer = await fetch(url, { credentials: "same-origin" }).catch(() => null);
    if (!answer?.ok) {
      card.lastElementChild?.replaceWith(make("p", {}, "The row is not available now."));
      return;
    }
    const row = (await answer.json()) as { columns: { name: string; unit: string; value: string }[]; lightcurve: string | null };
    const table = make("table", {}, ...row.columns.map((c) => make("tr", {}, make("th", { scope: "row" }, c.name), make("td", {}, `${c.value} ${c.unit}`))));
    const link = row.lightcurve ? make("a", { href: row.lightcurve, class: "button" }, "Light curve") : null;
    card.replaceChildren(close, make("strong", {}, `${this.sourceTable} ${id}`), ...(link ? [link] : []), make("div", { class: "rows" }, table));
  }

  private showReadout(readout: Readout | null): void {
    const element = this.parts.readout;
    const meta = this.view?.store?.meta;
    if (!readout || !meta) {
      element.replaceChildren(make("span", { class: "hint" }, "Move the pointer over the image to read its values."));
      for (const key of ["value", "mask", "x", "y", "ra", "dec"]) delete element.dataset[key];
      return;
    }
    const { pixel, blockMean, sky } = readout;
    const x = Math.floor(readout.x + 0.5);
    const y = Math.floor(readout.y + 0.5);
    Object.assign(element.dataset, { x: String(x), y: String(y) });
    element.dataset.value = pixel ? String(pixel.value) : "";
    element.dataset.mask = pixel ? String(pixel.mask >>> 0) : "";
    if (sky) Object.assign(element.dataset, { ra: String(sky[0]), dec: String(sky[1]), px: String(readout.x), py: String(readout.y) });
    const value = pixel ? `${formatValue(pixel.value)} ${meta.unit}`
      : blockMean ? `≈ ${formatValue(blockMean.value)} ${meta.unit} (mean of ${blockMean.block}×${blockMean.block})` : "outside";
    const names = pixel ? maskNames(pixel.mask, meta.mask_planes) : [];
    element.replaceChildren(
      make("span", { class: "value" }, value),
      make("span", {}, `x ${x + meta.xy0[0]}  y ${y + meta.xy0[1]}`),
      sky ? make("span", {}, `${sky[0].toFixed(6)}°  ${sky[1].toFixed(6)}°`) : null as unknown as Node,
      sky ? make("span", { class: "soft" }, `${formatRa(sky[0])}  ${formatDec(sky[1])}`) : null as unknown as Node,
      make("span", { class: "planes" }, names.join(" · ")));
  }

  /** Write the view into the page's address. */
  private moved(): void {
    this.furniture.update(this.view);
    const meta = this.view.store?.meta;
    if (!meta || !this.element.hasAttribute("data-image")) return;
    const state: ViewState = { release: meta.release, id: meta.dataset_id, ...this.view.state(), masks: [...this.masks], sources: this.sourceTable };
    if (this.limitChoice !== "manual") {
      delete state.low;
      delete state.high;
    }
    window.history.replaceState(window.history.state, "", `${location.pathname}?${formatState(state, location.search)}`);
  }

  private key(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = event.shiftKey ? 300 : 60;
    const cycle = <T>(list: readonly T[], now: T): T => list[(list.indexOf(now) + 1) % list.length] ?? now;
    const actions: Record<string, () => void> = {
      ArrowLeft: () => this.view.panBy(-step, 0), ArrowRight: () => this.view.panBy(step, 0),
      ArrowUp: () => this.view.panBy(0, step), ArrowDown: () => this.view.panBy(0, -step),
      "+": () => this.view.zoomBy(2), "=": () => this.view.zoomBy(2), "-": () => this.view.zoomBy(0.5),
      "0": () => this.view.fit(), "1": () => this.view.native(),
      s: () => this.setStretch(cycle(STRETCHES, this.view.display.stretch)),
      c: () => this.setMap(cycle(COLOUR_MAPS, COLOUR_MAPS[this.view.display.map] ?? "grey")),
      m: () => { this.parts.maskList.hidden = !this.parts.maskList.hidden; },
      o: () => (this.parts.sourceSlot.querySelector("select") as HTMLSelectElement | null)?.focus(),
      r: () => void this.announce(),
      Enter: () => { if (!this.view.pickCentre(Infinity)) this.say("No sources are shown; press O to choose a table.", 4000); },
      Escape: () => this.view.pick(-1),
    };
    const action = actions[event.key] ?? actions[event.key.toLowerCase()];
    if (!action) return;
    event.preventDefault();
    event.stopPropagation();
    action();
  }

  dispose(): void {
    this.opening++;
    this.view.dispose();
  }
}
