/** Rows that were chosen elsewhere, drawn over the images: kept results and tables that people bring. */

import { problemOf } from "./dom.ts";
import { label, type Painter } from "./overlay.ts";
import { SourceLayer, makeStyle, nearest, parseSources } from "./sources.ts";
import { SYMBOLS, type Symbol } from "./symbols.ts";
import type { ImageView } from "./view.ts";

/** How two columns give a place: ICRS degrees, pixels counted from 0 in the image's own frame, or from 1 as in FITS. */
export const PLACINGS = ["sky", "pixel0", "pixel1"] as const;
export type Placing = (typeof PLACINGS)[number];

/** One catalogue over the images: which rows, where they lie, how they look. */
export interface Catalog {
  result: string;
  name: string;
  placing: Placing;
  first: string;
  second: string;
  where: string[];
  subset: string;
  colour: string;
  size: number;
  symbol: Symbol;
  opacity: number;
  label: string;
  shown: boolean;
}

/** What the server says of a kept result. */
export interface Described {
  result: string;
  name: string;
  rows: number;
  columns: string[];
  numbers: string[];
  placing: [Placing, string, string] | null;
}

const COLOURS = ["#ff7be5", "#3ddc84", "#ffe14d", "#ff5d5d", "#6fa8ff", "#ffa94d"];

/** A catalogue as it looks at first; each further one has another colour. */
export function makeCatalog(described: Described, others: number): Catalog {
  const [placing, first, second] = described.placing ?? ["sky", described.numbers[0] ?? "", described.numbers[1] ?? ""];
  return {
    result: described.result, name: described.name, placing, first, second, where: [], subset: "", label: "", shown: true,
    colour: COLOURS[others % COLOURS.length] ?? "#ff7be5", size: 1.5, symbol: SYMBOLS[others % SYMBOLS.length] ?? "circle", opacity: 1,
  };
}

/** Read a catalogue of an address; null when it is none. */
export function readCatalog(found: unknown): Catalog | null {
  const part = (typeof found === "object" && found !== null ? found : {}) as Partial<Record<keyof Catalog, unknown>>;
  const text = (key: keyof Catalog): string => (typeof part[key] === "string" ? (part[key] as string).slice(0, 2000) : "");
  const number = (key: keyof Catalog, low: number, high: number, usual: number): number => {
    const value = Number(part[key] ?? usual);
    return value >= low && value <= high ? value : usual;
  };
  if (!/^[0-9a-f]{24}$/.test(text("result"))) return null;
  return {
    result: text("result"), name: text("name") || "catalogue", first: text("first"), second: text("second"), subset: text("subset"), label: text("label"),
    placing: PLACINGS.find((p) => p === part.placing) ?? "sky",
    where: Array.isArray(part.where) ? part.where.filter((w): w is string => typeof w === "string").slice(0, 20) : [],
    colour: /^#[0-9a-f]{6}$/.test(text("colour")) ? text("colour") : "#ff7be5",
    symbol: SYMBOLS.find((s) => s === part.symbol) ?? "circle",
    size: number("size", 0.2, 5, 1.5), opacity: number("opacity", 0, 1, 1), shown: part.shown !== false,
  };
}

interface Drawn {
  layer: SourceLayer;
  labels: string[];
}

/** All catalogues, on all images of the workspace. */
export class CatalogSet {
  readonly list: Catalog[] = [];
  private readonly drawn = new Map<ImageView, Map<Catalog, Drawn>>();
  private readonly base: string;
  private readonly say: (text: string, forMs?: number) => void;

  constructor(base: string, say: (text: string, forMs?: number) => void) {
    this.base = base;
    this.say = say;
  }

  /** Ask what there is to draw in a result. */
  async describe(result: string): Promise<Described> {
    return (await this.ask(`/imagecatalogs/${encodeURIComponent(result)}`)).json() as Promise<Described>;
  }

  async listResults(): Promise<{ result: string; name: string; rows: number }[]> {
    return (await this.ask("/imagecatalogs")).json() as Promise<{ result: string; name: string; rows: number }[]>;
  }

  /** Bring a table. */
  async send(file: File): Promise<Described> {
    const answer = await this.ask(`/imagecatalogs?name=${encodeURIComponent(file.name)}`, { method: "POST", body: file });
    return answer.json() as Promise<Described>;
  }

  async row(catalog: Catalog, number: string): Promise<{ name: string; unit: string; value: string }[]> {
    const answer = await this.ask(`/imagecatalogs/${catalog.result}/rows/${number}`);
    return ((await answer.json()) as { columns: { name: string; unit: string; value: string }[] }).columns;
  }

  private async ask(path: string, request: RequestInit = {}): Promise<Response> {
    const answer = await fetch(this.base + path, { credentials: "same-origin", ...request });
    if (!answer.ok) throw new Error(await problemOf(answer));
    return answer;
  }

  /** Draw all catalogues over an image that was just opened. */
  async show(view: ImageView): Promise<void> {
    for (const { layer } of this.drawn.get(view)?.values() ?? []) {
      view.map.removeLayer(layer);
      layer.dispose();
    }
    this.drawn.set(view, new Map());
    await Promise.all(this.list.map((catalog) => this.draw(view, catalog)));
  }

  /** Add a catalogue, or draw one anew whose rows or places have changed, over all images. */
  async put(catalog: Catalog): Promise<number> {
    if (!this.list.includes(catalog)) this.list.push(catalog);
    for (const view of this.drawn.keys()) if (!view.map.getTargetElement()) this.drawn.delete(view); // closed meanwhile
    const counts = await Promise.all([...this.drawn.keys()].map((view) => this.draw(view, catalog)));
    return Math.max(0, ...counts);
  }

  remove(catalog: Catalog): void {
    this.list.splice(this.list.indexOf(catalog), 1);
    for (const view of this.drawn.keys()) this.erase(view, catalog);
  }

  private erase(view: ImageView, catalog: Catalog): void {
    const before = this.drawn.get(view)?.get(catalog);
    if (!before) return;
    view.map.removeLayer(before.layer);
    before.layer.dispose();
    this.drawn.get(view)?.delete(catalog);
  }

  /** Take over colour, size, symbol, opacity and whether it is shown. */
  restyle(catalog: Catalog): void {
    for (const [view, drawn] of this.drawn) {
      const found = drawn.get(catalog);
      if (!found) continue;
      const { colour, size, symbol, opacity } = catalog;
      Object.assign(found.layer.style, { colour, size, symbol, opacity });
      found.layer.setVisible(catalog.shown);
      found.layer.changed();
      view.map.render();
    }
  }

  private async draw(view: ImageView, catalog: Catalog): Promise<number> {
    const store = view.store;
    if (!store || !this.list.includes(catalog)) return 0;
    const { release, dataset_id: id } = store.meta;
    const query = new URLSearchParams({ placing: catalog.placing, first: catalog.first, second: catalog.second });
    for (const condition of catalog.where) query.append("where", condition);
    if (catalog.subset) query.set("subset", catalog.subset);
    const place = `/imagecatalogs/${catalog.result}/${encodeURIComponent(release)}/${encodeURIComponent(id)}?`;
    try {
      const sources = parseSources(await (await this.ask(place + query.toString())).arrayBuffer());
      query.set("label", catalog.label);
      const labels = catalog.label ? ((await (await this.ask(place + query.toString())).json()) as string[]) : [];
      const held = this.drawn.get(view);
      if (view.store !== store || !held || !this.list.includes(catalog)) return 0;
      this.erase(view, catalog);
      const { colour, size, symbol, opacity } = catalog;
      const layer = new SourceLayer(makeStyle({ colour, size, symbol, opacity }));
      layer.title = catalog.name;
      layer.sources = sources;
      layer.setVisible(catalog.shown);
      held.set(catalog, { layer, labels });
      view.map.addLayer(layer);
      return sources.count;
    } catch (error) {
      this.say(`${catalog.name} cannot be drawn: ${(error as Error).message}.`, 8000);
      return 0;
    }
  }

  /** The symbol at a place, within some screen pixels; it is marked, all others are not. */
  pickAt(view: ImageView, x: number, y: number): { catalog: Catalog; row: string } | null {
    const radius = 12 * (view.map.getView().getResolution() ?? 1);
    let best: { catalog: Catalog; row: string } | null = null;
    for (const [catalog, { layer }] of this.drawn.get(view) ?? []) {
      const found: number = !best && catalog.shown && layer.sources ? nearest(layer.sources, x, y, radius) : -1;
      if (found >= 0) best = { catalog, row: String(layer.sources?.ids[found]) };
      layer.picked = found;
      layer.changed();
    }
    return best;
  }

  /** Writes the words of catalogues that have some. */
  readonly paint: Painter = (context, view) => {
    for (const [catalog, { layer, labels }] of this.drawn.get(view) ?? []) {
      const { sources } = layer;
      if (!catalog.shown || !sources || labels.length === 0) continue;
      const [width, height] = view.map.getSize() as [number, number];
      context.globalAlpha = catalog.opacity;
      labels.forEach((words, n) => {
        const at = view.toScreen(sources.x[n] ?? NaN, sources.y[n] ?? NaN);
        if (words && at && at[0] > 0 && at[1] > 0 && at[0] < width && at[1] < height) label(context, words, at[0] + 4 * catalog.size + 3, at[1] - 4 * catalog.size, catalog.colour);
      });
      context.globalAlpha = 1;
    }
  };
}
