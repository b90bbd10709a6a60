/** The image view itself: one map, its layers, and what the pointer and the keys do to it. */

import OlMap from "ol/Map.js";
import View from "ol/View.js";
import { defaults } from "ol/interaction/defaults.js";
import type MapBrowserEvent from "ol/MapBrowserEvent.js";
import { loaderOf, type Shown } from "./derived.ts";
import { ColourLayer, FloatLayer, MaskLayer, pixelProjection } from "./layers.ts";
import { chooseMix, type ColourMix } from "./lupton.ts";
import { OverviewLayer } from "./overview.ts";
import { COLOUR_MAPS, maskColour } from "./palettes.ts";
import { SourceLayer, nearest, parseSources } from "./sources.ts";
import { chooseLimits, equalise, finiteBox, makeDisplay, statisticsOf, type Display, type LimitChoice, type Statistics } from "./stretch.ts";
import { TileStore, paddedSize, type ImageMeta, type Pixel } from "./tiles.ts";
import type { ViewState } from "./viewstate.ts";
import { localFrame, pixelToSky, skyToPixel } from "./wcs.ts";

/** What lies under the pointer. */
export interface Readout {
  x: number;
  y: number;
  /** Native pixel, or the mean of a block when the native tile is not here yet; null outside. */
  pixel: Pixel | null;
  blockMean?: { value: number; block: number };
  /** Value on the screen of a plane that is computed from others. */
  shown?: number;
  sky: [number, number] | null;
}

/** What the view tells its surroundings. */
export interface ViewEvents {
  readout(readout: Readout | null): void;
  moved(): void;
  picked(index: number): void;
  drawn(): void;
  /** The coarsest tile is on the screen; `drawn` follows when the picture is complete. */
  sketched?(): void;
  /** The browser has no WebGL, so that the coarsest tile is all there is. */
  limited?(): void;
  /** A click that did not belong to a tool, in 0-based array pixels. */
  clicked?(x: number, y: number): void;
  /** Whether clicks belong to a tool now. */
  busy?(): boolean;
}

/** Pan, zoom, layers and readout of one image at a time. */
export class ImageView {
  readonly map: OlMap;
  readonly display: Display = makeDisplay();
  readonly mix: ColourMix = { minimum: 0, stretch: 1, q: 8 };
  shown: Shown = { kind: "image" };
  flipped = false;
  readonly sourceLayer = new SourceLayer();
  store: TileStore | null = null;
  private image: FloatLayer | ColourLayer | null = null;
  /** Values of the coarsest tile of what is shown. */
  private overview: Float32Array | null = null;
  private readonly sketch = new OverviewLayer();
  /** Whether the layers of the graphics process are part of the map. */
  private presented = false;
  private capable = true;
  private maskColours: ReadonlyMap<string, string> = new Map();
  private mask: MaskLayer | null = null;
  private pointer: [number, number] | null = null;
  private asked = 0;
  /** Whether the readout shows the noise of a pixel, which is asked for when the pointer rests. */
  wantsNoise = false;
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
    this.map.on("rendercomplete", () => {
      if (!this.presented) return;
      if (this.capable) this.sketch.hide();
      this.events.drawn();
    });
    target.addEventListener("pointerleave", () => {
      this.pointer = null;
      this.tell();
    });
    const eventPixel = this.map.getEventPixel.bind(this.map);
    this.map.getEventPixel = (event) => {
      const [x, y] = eventPixel(event) as [number, number];
      // The viewport is mirrored by a style, which OpenLayers does not know of.
      return this.flipped ? [(this.map.getSize()?.[0] ?? 0) - x, y] : [x, y];
    };
    this.observer = new ResizeObserver(() => this.map.updateSize());
    this.observer.observe(target);
  }

  /** Show an image; true when the new image contains the sky position in view, which is then kept. */
  open(base: string, meta: ImageMeta): boolean {
    const before = this.centreOnSky();
    this.filled = null;
    this.closeLayers();
    this.store = new TileStore(base, meta);
    // On its way while the page is dressed; `measure` tells if it does not come.
    this.store.recall("image", 0, 0, 0).catch(() => undefined);
    const projection = pixelProjection(meta);
    const [height, width] = meta.shape;
    this.map.setView(new View({
      projection,
      center: [width / 2, height / 2],
      resolution: 1,
      minResolution: 1 / 64,
      maxResolution: 2 ** (meta.levels + 1),
      constrainResolution: false,
      constrainRotation: false,
      smoothResolutionConstraint: false,
      extent: [-width / 2, -height / 2, width * 1.5, height * 1.5],
      smoothExtentConstraint: false,
      constrainOnlyCenter: true,
    }));
    this.shown = { kind: "image" };
    this.overview = null;
    this.image = new FloatLayer(meta, loaderOf(this.store, this.shown), projection, this.display);
    this.mask = new MaskLayer(this.store, projection);
    this.sourceLayer.sources = null;
    this.sourceLayer.picked = -1;
    for (const layer of [this.sketch, this.sourceLayer]) this.map.addLayer(layer);
    this.map.updateSize();
    const kept = before !== null && this.centreOn(before.ra, before.dec, before.resolution);
    if (!kept) this.fit();
    return kept;
  }

  private closeLayers(): void {
    this.map.setLayers([]);
    this.presented = false;
    this.sketch.hide();
    this.image?.dispose();
    this.mask?.dispose();
    this.image = null;
    this.mask = null;
  }

  dispose(): void {
    this.observer.disconnect();
    this.closeLayers();
    this.sourceLayer.dispose();
    this.sketch.dispose();
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

  /** Show another plane of the image, or one that is computed from several. */
  async showPlane(shown: Shown): Promise<void> {
    const store = this.store;
    if (!store) return;
    const loader = loaderOf(store, shown);
    const projection = pixelProjection(store.meta);
    this.shown = shown;
    this.overview = null;
    const before = this.image;
    if (before) this.map.removeLayer(before);
    before?.dispose();
    this.sketch.hide();
    this.image = shown.kind === "colour" ? new ColourLayer(store.meta, loader, projection, this.mix) : new FloatLayer(store.meta, loader, projection, this.display);
    this.map.getLayers().insertAt(0, this.image);
    const overview = await loader(0, 0, 0);
    if (shown !== this.shown) return;
    this.overview = overview;
    if (shown.kind === "colour") {
      const { median, sigma } = statisticsOf(overview);
      // Averaged blocks are less noisy than pixels.
      if (median !== undefined && sigma !== undefined) Object.assign(this.mix, chooseMix(median, sigma));
    }
    this.restretch();
  }

  /** Statistics of what is shown; those of the image's own pixels come from the server. */
  statistics(): Statistics {
    if (this.shown.kind === "image") return this.store?.meta.stats ?? {};
    return this.overview ? statisticsOf(this.overview) : {};
  }

  /** Direction of north on the grid (radians from the x axis, counter-clockwise) and whether east is left of it. */
  private compass(): { north: number; proper: boolean; arcsec: number } | null {
    const fit = this.store?.meta.wcs;
    const centre = this.map.getView().getCenter();
    const frame = fit && centre ? localFrame(fit, (centre[0] ?? 0) - 0.5, (centre[1] ?? 0) - 0.5) : null;
    if (!frame) return null;
    const { north, east, arcsec } = frame;
    return { north: Math.atan2(north[1], north[0]), proper: north[0] * east[1] - north[1] * east[0] > 0, arcsec };
  }

  get rotation(): number {
    return this.map.getView().getRotation();
  }

  /** Turn the image clockwise to an angle in radians. */
  rotate(radians: number): void {
    const turn = 2 * Math.PI;
    this.map.getView().setRotation(((radians % turn) + turn) % turn);
  }

  /** Turn and mirror so that north is up and east is left; false without sky coordinates. */
  northUp(): boolean {
    const compass = this.compass();
    if (!compass) return false;
    this.flip(!compass.proper);
    this.rotate(compass.north - Math.PI / 2);
    return true;
  }

  flip(flipped: boolean): void {
    this.flipped = flipped;
    this.map.getViewport().style.transform = flipped ? "scaleX(-1)" : "";
    this.map.render();
  }

  /** Look at the same part of the sky as another view: centre, scale, orientation. */
  align(leader: ImageView): boolean {
    const [from, to] = [leader.compass(), this.store?.meta.wcs];
    const sky = leader.centreOnSky();
    const view = this.map.getView();
    if (!from || !to || !sky) {
      const other = leader.map.getView();
      const centre = other.getCenter();
      if (centre) view.setCenter(centre);
      view.setResolution(other.getResolution());
      return false;
    }
    const at = skyToPixel(to, sky.ra, sky.dec);
    if (!at) return false;
    view.setCenter([at[0] + 0.5, at[1] + 0.5]);
    const own = this.compass();
    if (!own) return false;
    view.setResolution((sky.resolution * from.arcsec) / own.arcsec);
    const flipped = leader.flipped !== (from.proper !== own.proper);
    if (flipped !== this.flipped) this.flip(flipped);
    const screen = leader.flipped ? Math.PI - (from.north - leader.rotation) : from.north - leader.rotation;
    view.setRotation(own.north - (flipped ? Math.PI - screen : screen));
    return true;
  }

  /** Place on the screen, in CSS pixels of the view, of a 0-based array pixel. */
  toScreen(x: number, y: number): [number, number] | null {
    const at = this.map.getPixelFromCoordinate([x + 0.5, y + 0.5]);
    if (!at) return null;
    return [this.flipped ? (this.map.getSize()?.[0] ?? 0) - (at[0] ?? 0) : at[0] ?? 0, at[1] ?? 0];
  }

  /** 0-based array pixel under a place on the screen. */
  toImage(px: number, py: number): [number, number] | null {
    const at = this.map.getCoordinateFromPixel([this.flipped ? (this.map.getSize()?.[0] ?? 0) - px : px, py]);
    return at ? [(at[0] ?? 0) - 0.5, (at[1] ?? 0) - 0.5] : null;
  }

  /** Middle of the view in 0-based array pixels. */
  get centre(): [number, number] | null {
    const centre = this.map.getView().getCenter();
    return centre ? [(centre[0] ?? 0) - 0.5, (centre[1] ?? 0) - 0.5] : null;
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
    const tile = await store.recall("image", 0, 0, 0);
    if (store !== this.store) return;
    if (this.shown.kind === "image") this.overview = tile;
    const box = finiteBox(tile, side);
    if (!box) return;
    const scale = paddedSize(store.meta) / side;
    this.filled = [
      box[0] * scale, Math.max((side - 1 - box[3]) * scale, 0),
      Math.min((box[2] + 1) * scale, shape[1]), Math.min((side - box[1]) * scale, shape[0]),
    ];
  }

  /**
   * Draw the coarsest tile at once and ask for those that are needed, but leave the graphics process alone until that
   * picture is on the screen: making a context and compiling shaders would hold it up.
   */
  present(): void {
    const { store, overview, map } = this;
    if (store && overview && this.shown.kind === "image") this.sketch.show(overview, store.meta, this.display);
    map.renderSync();
    if (store && this.shown.kind === "image") this.image?.tilesIn(map).forEach(([z, x, y]) => store.recall("image", z, x, y).catch(() => undefined));
    // The second frame begins when the first one, with the picture, was handed over.
    requestAnimationFrame(() => requestAnimationFrame(() => {
      if (store !== this.store || !this.image || !this.mask) return;
      if (this.sketch.shown) this.events.sketched?.();
      // Before that frame the map only says that the coarsest tile is complete.
      map.once("postrender", () => { this.presented = store === this.store; });
      this.image.failed = () => {
        this.capable = false;
        this.events.limited?.();
      };
      const layers = map.getLayers();
      if (!layers.getArray().includes(this.image)) layers.insertAt(0, this.image);
      layers.insertAt(layers.getArray().indexOf(this.image) + 1, this.mask);
    }));
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
    const angle = view.getRotation();
    const [right, up] = [this.flipped ? -dx : dx, dy];
    // A step on the screen is turned back to the image.
    const [x, y] = [right * Math.cos(angle) - up * Math.sin(angle), right * Math.sin(angle) + up * Math.cos(angle)];
    if (centre) view.setCenter([(centre[0] ?? 0) + x * resolution, (centre[1] ?? 0) + y * resolution]);
  }

  /** Draw again after a change of the display; nothing is requested. */
  restretch(): void {
    const { display } = this;
    if (display.stretch === "histogram" && this.overview && this.image instanceof FloatLayer) {
      display.equal = equalise(this.overview, display.low, display.high);
      this.image.equalise(display.equal);
    }
    const { store, overview } = this;
    if (this.sketch.shown && store && overview) this.sketch.show(overview, store.meta, display);
    this.image?.changed();
  }

  /** Set the limits by one of the rules; false when the image has no finite pixel. */
  limits(kind: LimitChoice): boolean {
    const meta = this.store?.meta;
    // The sky of a difference image is its middle, not its bottom.
    const signed = meta?.dataset_type === "difference_image" || ["difference", "significance"].includes(this.shown.kind);
    const rule = kind === "auto" && signed ? "±5 σ" : kind === "auto" && this.shown.kind !== "image" ? "1–99 %" : kind;
    const found = meta ? chooseLimits(rule, this.statistics()) : null;
    if (found) [this.display.low, this.display.high] = found;
    return found !== null;
  }

  showMasks(names: ReadonlySet<string>, opacity: number, colours: ReadonlyMap<string, string> = this.maskColours): void {
    this.maskColours = colours;
    const planes = this.store?.meta.mask_planes ?? {};
    const shown = new Map<number, string>();
    for (const [name, bit] of Object.entries(planes)) if (names.has(name)) shown.set(bit, colours.get(name) ?? maskColour(name, bit));
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

  /** What lies under the pointer, as far as it is known without a request. */
  underPointer(): Readout | null {
    return this.pointer ? this.read(this.pointer) : null;
  }

  private click(event: MapBrowserEvent): void {
    const resolution = this.map.getView().getResolution() ?? 1;
    const [x, y] = [(event.coordinate[0] ?? 0) - 0.5, (event.coordinate[1] ?? 0) - 0.5];
    if (this.events.busy?.()) return;
    const sources = this.sourceLayer.sources;
    const found = sources ? nearest(sources, x, y, 12 * resolution) : -1;
    if (sources) this.pick(found);
    if (found < 0) this.events.clicked?.(x, y);
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
    const shown = this.valueShown(coordinate);
    if (shown !== undefined) readout.shown = shown;
    const coarse = readout.pixel ? undefined : store.coarse(x, y);
    if (coarse) readout.blockMean = coarse;
    return readout;
  }

  /** What the screen shows at a place when that is not the image's own pixel. */
  private valueShown(coordinate: [number, number]): number | undefined {
    if (this.shown.kind === "image" || this.shown.kind === "colour" || !this.image) return undefined;
    const pixel = this.map.getPixelFromCoordinate(coordinate);
    const data = pixel ? this.image.getData(pixel) : null;
    return data instanceof Float32Array ? data[0] : undefined;
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
    if (!readout || !inside) return;
    const skyMissing = !readout.sky && store.meta.sky_by_request === true;
    const noiseMissing = this.wantsNoise && readout.pixel?.variance === undefined && (store.meta.planes ?? ["variance"]).includes("variance");
    if (readout.pixel && !skyMissing && !noiseMissing) return;
    window.setTimeout(async () => {
      if (ticket !== this.asked) return;
      const [pixel, sky] = await Promise.all([store.pixel(x, y), readout.sky ?? (store.meta.sky_by_request ? store.sky(readout.x, readout.y) : null)]);
      if (ticket === this.asked && pixel) this.events.readout({ ...readout, pixel, sky });
    }, readout.pixel ? 250 : 60);
  }

  /** The part of the state that the view knows. */
  state(): Partial<ViewState> {
    const view = this.map.getView();
    const centre = view.getCenter();
    const resolution = view.getResolution();
    const { stretch, low, high, invert, gamma, bias, contrast } = this.display;
    const map = COLOUR_MAPS[this.display.map] ?? "grey";
    const state: Partial<ViewState> = { stretch, low, high, map };
    if (invert) state.invert = true;
    if (stretch === "gamma") state.gamma = gamma;
    if (bias !== 0.5 || contrast !== 1) Object.assign(state, { bias, contrast });
    if (this.rotation !== 0) state.rotation = (this.rotation * 180) / Math.PI;
    if (this.flipped) state.flipped = true;
    if (centre && resolution) Object.assign(state, { x: (centre[0] ?? 0) - 0.5, y: (centre[1] ?? 0) - 0.5, r: resolution });
    return state;
  }

  /** Put the view where an address says. */
  restore(state: ViewState): void {
    const view = this.map.getView();
    if (state.x !== undefined && state.y !== undefined) view.setCenter([state.x + 0.5, state.y + 0.5]);
    if (state.r !== undefined) view.setResolution(state.r);
    if (state.rotation !== undefined) this.rotate((state.rotation * Math.PI) / 180);
    if (state.flipped) this.flip(true);
  }
}
