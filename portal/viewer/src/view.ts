/** The image view itself: one map, its layers, and what the pointer and the keys do to it. */

import OlMap from "ol/Map.js";
import View from "ol/View.js";
import { defaults } from "ol/interaction/defaults.js";
import type MapBrowserEvent from "ol/MapBrowserEvent.js";
import { FloatLayer, MaskLayer, pixelProjection } from "./layers.ts";
import { COLOUR_MAPS, maskColour } from "./palettes.ts";
import { SourceLayer, nearest, parseSources } from "./sources.ts";
import { chooseLimits, finiteBox, type Display, type LimitChoice } from "./stretch.ts";
import { TileStore, paddedSize, type ImageMeta, type Pixel } from "./tiles.ts";
import type { ViewState } from "./viewstate.ts";
import { pixelToSky, skyToPixel } from "./wcs.ts";

/** What lies under the pointer. */
export interface Readout {
  x: number;
  y: number;
  /** Native pixel, or the mean of a block when the native tile is not here yet; null outside. */
  pixel: Pixel | null;
  blockMean?: { value: number; block: number };
  sky: [number, number] | null;
}

/** What the view tells its surroundings. */
export interface ViewEvents {
  readout(readout: Readout | null): void;
  moved(): void;
  picked(index: number): void;
  drawn(): void;
}


/** Pan, zoom, layers and readout of one image at a time. */
export class ImageView {
  readonly map: OlMap;
  readonly display: Display = { stretch: "asinh", low: 0, high: 1, map: 0 };
  readonly sourceLayer = new SourceLayer();
  store: TileStore | null = null;
  private image: FloatLayer | null = null;
  private mask: MaskLayer | null = null;
  private pointer: [number, number] | null = null;
  private asked = 0;
  private filled: [number, number, number, number] | null = null;
  private readonly observer: ResizeObserver;
  private readonly events: ViewEvents;
  readonly target: HTMLElement;

  constructor(target: HTMLElement, events: ViewEvents) {
    this.target = target;
    this.events = events;
    this.map = new OlMap({ target, layers: [], controls: [], interactions: defaults({ keyboard: false }), view: new View() });
    this.map.on("pointermove", (event) => this.follow(event as MapBrowserEvent));
    this.map.on("singleclick", (event) => this.click(event as MapBrowserEvent));
    this.map.on("moveend", () => {
      if (!this.store) return;
      this.events.moved();
      this.tell();
    });
    this.map.on("rendercomplete", () => this.events.drawn());
    target.addEventListener("pointerleave", () => {
      this.pointer = null;
      this.tell();
    });
    this.observer = new ResizeObserver(() => this.map.updateSize());
    this.observer.observe(target);
  }

  /** Show an image; true when the new image contains the sky position in view, which is then kept. */
  open(base: string, meta: ImageMeta): boolean {
    const before = this.centreOnSky();
    this.filled = null;
    this.closeLayers();
    this.store = new TileStore(base, meta);
    const projection = pixelProjection(meta);
    const [height, width] = meta.shape;
    this.map.setView(new View({
      projection,
      center: [width / 2, height / 2],
      resolution: 1,
      minResolution: 1 / 64,
      maxResolution: 2 ** (meta.levels + 1),
      constrainResolution: false,
      smoothResolutionConstraint: false,
      extent: [-width / 2, -height / 2, width * 1.5, height * 1.5],
      smoothExtentConstraint: false,
      constrainOnlyCenter: true,
    }));
    this.image = new FloatLayer(this.store, projection, this.display);
    this.mask = new MaskLayer(this.store, projection);
    this.sourceLayer.sources = null;
    this.sourceLayer.picked = -1;
    for (const layer of [this.image, this.mask, this.sourceLayer]) this.map.addLayer(layer);
    this.map.updateSize();
    const kept = before !== null && this.centreOn(before.ra, before.dec, before.resolution);
    if (!kept) this.fit();
    return kept;
  }

  private closeLayers(): void {
    this.map.setLayers([]);
    this.image?.dispose();
    this.mask?.dispose();
    this.image = null;
    this.mask = null;
  }

  dispose(): void {
    this.observer.disconnect();
    this.closeLayers();
    this.sourceLayer.dispose();
    this.map.setTarget(undefined);
    this.map.dispose();
  }

  private centreOnSky(): { ra: number; dec: number; resolution: number } | null {
    const fit = this.store?.meta.wcs;
    const centre = this.map.getView().getCenter();
    const resolution = this.map.getView().getResolution();
    if (!fit || !centre || !resolution) return null;
    const [ra, dec] = pixelToSky(fit, (centre[0] ?? 0) - 0.5, (centre[1] ?? 0) - 0.5);
    return { ra, dec, resolution };
  }

  /** Centre on a position; false when it lies outside the image. */
  centreOn(raDeg: number, decDeg: number, resolution?: number): boolean {
    const meta = this.store?.meta;
    const at = meta?.wcs ? skyToPixel(meta.wcs, raDeg, decDeg) : null;
    if (!meta || !at || at[0] < -0.5 || at[1] < -0.5 || at[0] > meta.shape[1] || at[1] > meta.shape[0]) return false;
    this.map.getView().setCenter([at[0] + 0.5, at[1] + 0.5]);
    if (resolution) this.map.getView().setResolution(resolution);
    return true;
  }

  /** All pixels that hold data in view; the whole image while they are not known. */
  fit(): void {
    const meta = this.store?.meta;
    if (meta) this.map.getView().fit(this.filled ?? [0, 0, meta.shape[1], meta.shape[0]], { padding: [12, 12, 12, 12] });
  }

  /** Find out from the coarsest tile which part of the image holds data. */
  async measure(): Promise<void> {
    const store = this.store;
    if (!store) return;
    const { tile_size: side, shape } = store.meta;
    const box = finiteBox(await store.floats("image", 0, 0, 0), side);
    if (!box || store !== this.store) return;
    const scale = paddedSize(store.meta) / side;
    this.filled = [
      box[0] * scale, Math.max((side - 1 - box[3]) * scale, 0),
      Math.min((box[2] + 1) * scale, shape[1]), Math.min((side - box[1]) * scale, shape[0]),
    ];
  }

  zoomBy(factor: number): void {
    const view = this.map.getView();
    view.animate({ resolution: (view.getResolution() ?? 1) / factor, duration: 120 });
  }

  /** One image pixel on one screen pixel. */
  native(): void {
    this.map.getView().animate({ resolution: 1, duration: 150 });
  }

  panBy(dx: number, dy: number): void {
    const view = this.map.getView();
    const centre = view.getCenter();
    const resolution = view.getResolution() ?? 1;
    if (centre) view.setCenter([(centre[0] ?? 0) + dx * resolution, (centre[1] ?? 0) + dy * resolution]);
  }

  /** Draw again after a change of the display; nothing is requested. */
  restretch(): void {
    this.image?.changed();
  }

  /** Set the limits by one of the rules; false when the image has no finite pixel. */
  limits(kind: LimitChoice): boolean {
    const meta = this.store?.meta;
    // The sky of a difference image is its middle, not its bottom.
    const rule = kind === "auto" && meta?.dataset_type === "difference_image" ? "±5 σ" : kind;
    const found = meta ? chooseLimits(rule, meta.stats) : null;
    if (found) [this.display.low, this.display.high] = found;
    return found !== null;
  }

  showMasks(names: ReadonlySet<string>, opacity: number): void {
    const planes = this.store?.meta.mask_planes ?? {};
    const shown = new Map<number, string>();
    for (const [name, bit] of Object.entries(planes)) if (names.has(name)) shown.set(bit, maskColour(name, bit));
    this.mask?.show(shown, opacity);
  }

  /** Load the rows of a table inside the image, or remove them. */
  async showSources(table: string | null): Promise<number> {
    const store = this.store;
    this.sourceLayer.sources = null;
    this.sourceLayer.picked = -1;
    this.sourceLayer.changed();
    if (!store || !table) return 0;
    const url = `${store.base}/sources/${encodeURIComponent(store.meta.release)}/${store.meta.dataset_id}/${encodeURIComponent(table)}`;
    const answer = await fetch(url, { credentials: "same-origin" });
    if (!answer.ok) throw new Error(((await answer.json()) as { detail?: string }).detail ?? `error ${answer.status}`);
    const sources = parseSources(await answer.arrayBuffer());
    if (store !== this.store) return 0;
    this.sourceLayer.sources = sources;
    this.sourceLayer.changed();
    return sources.count;
  }

  /** Mark a source, or none with -1. */
  pick(index: number): void {
    this.sourceLayer.picked = index;
    this.sourceLayer.changed();
    this.events.picked(index);
  }

  /** Mark the source nearest to the centre of the view; false without one. */
  pickCentre(radius: number): boolean {
    const centre = this.map.getView().getCenter();
    const sources = this.sourceLayer.sources;
    if (!centre || !sources) return false;
    const found = nearest(sources, (centre[0] ?? 0) - 0.5, (centre[1] ?? 0) - 0.5, radius);
    if (found >= 0) this.pick(found);
    return found >= 0;
  }

  /** What lies at the centre of the view, with the exact pixel. */
  async readCentre(): Promise<Readout | null> {
    const centre = this.map.getView().getCenter();
    const readout = centre ? this.read([centre[0] ?? 0, centre[1] ?? 0]) : null;
    if (!readout || readout.pixel || !this.store || !centre) return readout;
    const pixel = await this.store.pixel(Math.floor(centre[0] ?? 0), Math.floor(centre[1] ?? 0));
    return { ...readout, pixel };
  }

  private click(event: MapBrowserEvent): void {
    const resolution = this.map.getView().getResolution() ?? 1;
    const [x, y] = [(event.coordinate[0] ?? 0) - 0.5, (event.coordinate[1] ?? 0) - 0.5];
    const sources = this.sourceLayer.sources;
    if (sources) this.pick(nearest(sources, x, y, 12 * resolution));
  }

  private follow(event: MapBrowserEvent): void {
    this.pointer = [event.coordinate[0] ?? 0, event.coordinate[1] ?? 0];
    this.tell();
  }

  /** Readout at a map coordinate, as far as it is known without a request. */
  read(coordinate: [number, number]): Readout | null {
    const store = this.store;
    if (!store) return null;
    const [x, y] = [Math.floor(coordinate[0]), Math.floor(coordinate[1])];
    const sky = store.meta.wcs ? pixelToSky(store.meta.wcs, coordinate[0] - 0.5, coordinate[1] - 0.5) : null;
    const inside = x >= 0 && y >= 0 && x < store.meta.shape[1] && y < store.meta.shape[0];
    if (!inside) return { x: coordinate[0] - 0.5, y: coordinate[1] - 0.5, pixel: null, sky };
    const readout: Readout = { x: coordinate[0] - 0.5, y: coordinate[1] - 0.5, pixel: store.exact(x, y) ?? null, sky };
    const coarse = readout.pixel ? undefined : store.coarse(x, y);
    if (coarse) readout.blockMean = coarse;
    return readout;
  }

  /** Send the readout out; the exact pixel follows when the pointer rests and its tile is not here. */
  private tell(): void {
    const pointer = this.pointer;
    const store = this.store;
    const ticket = ++this.asked;
    if (!pointer || !store) {
      this.events.readout(null);
      return;
    }
    const readout = this.read(pointer);
    this.events.readout(readout);
    const [x, y] = [Math.floor(pointer[0]), Math.floor(pointer[1])];
    const inside = x >= 0 && y >= 0 && x < store.meta.shape[1] && y < store.meta.shape[0];
    if (!readout || readout.pixel || !inside) return;
    window.setTimeout(async () => {
      if (ticket !== this.asked) return;
      const pixel = await store.pixel(x, y);
      if (ticket === this.asked && pixel) this.events.readout({ ...readout, pixel });
    }, 60);
  }

  /** The part of the state that the view knows. */
  state(): Partial<ViewState> {
    const view = this.map.getView();
    const centre = view.getCenter();
    const resolution = view.getResolution();
    const { stretch, low, high } = this.display;
    const map = COLOUR_MAPS[this.display.map] ?? "grey";
    const state: Partial<ViewState> = { stretch, low, high, map };
    if (centre && resolution) Object.assign(state, { x: (centre[0] ?? 0) - 0.5, y: (centre[1] ?? 0) - 0.5, r: resolution });
    return state;
  }

  /** Put the view where an address says. */
  restore(state: ViewState): void {
    const view = this.map.getView();
    if (state.x !== undefined && state.y !== undefined) view.setCenter([state.x + 0.5, state.y + 0.5]);
    if (state.r !== undefined) view.setResolution(state.r);
  }
}
