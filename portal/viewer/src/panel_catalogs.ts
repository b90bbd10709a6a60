/** The panel for catalogues over the image: kept results and people's own tables, their places and looks. */

import { button, choice, make, slider, tick } from "./dom.ts";
import { PLACINGS, makeCatalog, type Catalog, type CatalogSet, type Described, type Placing } from "./imagecatalogs.ts";
import type { Host, Panel } from "./panels.ts";
import { SYMBOLS, type Symbol } from "./symbols.ts";

const PLACING_WORDS: Record<Placing, string> = { sky: "sky (ICRS, degrees)", pixel0: "pixels of the image, from 0", pixel1: "pixels as in FITS, from 1" };

/** Opens, styles and removes catalogues. */
export class CatalogPanel implements Panel {
  readonly name = "Catalogs";
  readonly help = "Rows of results and of your own tables over the image (A)";
  readonly element: HTMLElement;
  private readonly host: Host;
  private readonly set: CatalogSet;
  private readonly kept = make("select", { "aria-label": "Kept result" });
  private readonly cards = make("div", { class: "rows" });
  private readonly report = make("p", { class: "hint", role: "status" });
  private readonly known = new Map<string, Described>();

  constructor(host: Host, set: CatalogSet) {
    this.host = host;
    this.set = set;
    const input = make("input", { type: "file", accept: ".csv,.tsv,.txt,.vot,.xml,.votable,.fits,.fit,.parquet", hidden: "", "aria-label": "Table file", onchange: () => {
      const file = input.files?.[0];
      input.value = "";
      if (file) void this.send(file);
    } });
    this.element = make("div", { class: "rows" }, make("strong", {}, "Catalogs over the image"),
      make("p", { class: "hint" }, "Results of the Catalogs page are listed while they are kept. Tables may be CSV, VOTable, FITS or Parquet; only you see them."),
      make("div", { class: "line" }, this.kept, button("Draw", "Draw the rows of this result over the image", () => void this.add(this.kept.value))),
      input, button("Open a table…", "Open a table of yours and draw its rows over the image", () => input.click()), this.report, this.cards);
  }

  refresh(): void {
    this.fill();
    void this.list();
  }

  private async list(): Promise<void> {
    try {
      const found = await this.set.listResults();
      this.kept.replaceChildren(...found.map((r) => make("option", { value: r.result }, `${r.name} (${r.rows} row${r.rows === 1 ? "" : "s"})`)));
      if (found.length === 0) this.kept.append(make("option", { value: "" }, "no result is kept"));
    } catch (error) {
      this.say(`The kept results cannot be listed: ${(error as Error).message}.`);
    }
  }

  private say(text: string): void {
    this.report.textContent = text;
  }

  private async send(file: File): Promise<void> {
    this.say(`Reading ${file.name}…`);
    try {
      await this.draw(await this.set.send(file));
      void this.list();
    } catch (error) {
      this.say(`${file.name} cannot be used: ${(error as Error).message}.`);
    }
  }

  /** Draw the rows of a kept result, some of them if conditions or a subset are given. */
  async add(result: string, part: Partial<Catalog> = {}): Promise<void> {
    if (!result) return;
    try {
      await this.draw(await this.set.describe(result), part);
    } catch (error) {
      this.say(`The result cannot be drawn: ${(error as Error).message}.`);
      this.host.say(`The catalogue cannot be drawn: ${(error as Error).message}.`, 8000);
    }
  }

  private async draw(described: Described, part: Partial<Catalog> = {}): Promise<void> {
    this.known.set(described.result, described);
    const catalog = { ...makeCatalog(described, this.set.list.length), ...part };
    if (!described.placing && this.host.meta && described.numbers.length < 2) throw new Error("it has no two columns of numbers to place the rows by");
    await this.put(catalog, described);
    this.fill();
  }

  private async put(catalog: Catalog, described: Described | null = this.known.get(catalog.result) ?? null): Promise<void> {
    const count = await this.set.put(catalog);
    const guessed = described && !described.placing ? " Choose the columns with the position." : "";
    this.say(`${count} row${count === 1 ? "" : "s"} of ${catalog.name} on this image.${guessed}`);
    this.host.changed();
  }

  private fill(): void {
    this.cards.replaceChildren(...this.set.list.map((catalog) => this.card(catalog)));
    for (const { result } of this.set.list) {
      if (this.known.has(result)) continue;
      this.known.set(result, { result, name: "", rows: 0, columns: [], numbers: [], placing: null });
      this.set.describe(result).then((described) => {
        this.known.set(result, described);
        this.fill();
      }).catch(() => undefined); // the image says already that it cannot be drawn
    }
  }

  private card(catalog: Catalog): HTMLElement {
    const described = this.known.get(catalog.result);
    const columns = (names: string[], chosen: string): string[] => (names.includes(chosen) || !chosen ? names : [chosen, ...names]);
    const again = (part: Partial<Catalog>): void => {
      Object.assign(catalog, part);
      void this.put(catalog);
    };
    const restyle = (part: Partial<Catalog>): void => {
      Object.assign(catalog, part);
      this.set.restyle(catalog);
      this.host.changed();
    };
    const placing = choice("Placed by", PLACINGS.map((p) => PLACING_WORDS[p]), PLACING_WORDS[catalog.placing],
      (v) => again({ placing: PLACINGS.find((p) => PLACING_WORDS[p] === v) ?? "sky" }));
    const numbers = columns(described?.numbers ?? [], catalog.first);
    const colour = make("input", { type: "color", value: catalog.colour, "aria-label": "Colour of the symbols", oninput: () => restyle({ colour: colour.value }) });
    const where = make("input", { type: "text", value: catalog.where.join(" AND "), "aria-label": "Condition for rows", placeholder: "r_psfFlux > 1000",
      onchange: () => again({ where: where.value.trim() ? [where.value.trim()] : [] }) });
    const labels = choice("Words", ["none", ...columns(described?.columns ?? [], catalog.label)], catalog.label || "none", (v) => again({ label: v === "none" ? "" : v }));
    const remove = button("Remove", `Remove ${catalog.name} from the image`, () => {
      this.set.remove(catalog);
      this.fill();
      this.host.changed();
    });
    return make("details", { open: true, class: "catalog" }, make("summary", {}, `${catalog.name}${catalog.subset ? `, subset ${catalog.subset}` : ""}`),
      tick("Shown", catalog.shown, (shown) => restyle({ shown })), placing,
      choice("First column", numbers, catalog.first, (first) => again({ first })),
      choice("Second column", columns(numbers, catalog.second), catalog.second, (second) => again({ second })),
      make("label", { class: "field" }, make("span", {}, "Only rows with"), where),
      make("label", { class: "field" }, make("span", {}, "Colour"), colour),
      choice("Symbol", SYMBOLS, catalog.symbol, (symbol) => restyle({ symbol: symbol as Symbol })),
      slider("Size of the symbols", { min: 0.5, max: 5, step: 0.1 }, catalog.size, (size) => restyle({ size })),
      slider("Opacity of the symbols", { min: 0.05, max: 1, step: 0.05 }, catalog.opacity, (opacity) => restyle({ opacity })), labels, remove);
  }
}
