/** A table of which only the visible page is in the browser. */

import { CellMarker } from "./cellblock.ts";
import { make } from "./dom.ts";

export interface Column {
  name: string;
  unit: string;
  title: string;
  numeric: boolean;
}

/** A column and whether it is sorted downwards. */
export type SortKey = [string, boolean];

/** One page with what is needed to draw it. */
export interface Page {
  columns: Column[];
  rows: (string | null)[][];
  /** Index of the first row of this page in what is shown. */
  first: number;
  total: number;
  /** Rows of a full page. */
  size: number;
  /** Keys of the order, the first one first. */
  sort: SortKey[];
  note: string;
  caption: string;
  /** Row of the page that is marked; -1 without one. */
  selected: number;
  /** Conditions above the columns by column; null for a table that cannot be filtered. */
  filters: Record<string, string> | null;
  /** What may be written there. */
  filterHelp: string;
  /** Which rows of the page are ticked; null for a table without ticks. */
  ticked: boolean[] | null;
  /** Which rows of the page are chosen by a view beside; null when all are. */
  chosen: boolean[] | null;
  /** Whether columns can be put into another order. */
  movable: boolean;
}

/** A wish for another page. */
export interface Request {
  first?: number;
  sort?: SortKey[];
  filter?: [string, string];
  /** Names of all columns in another order. */
  columns?: string[];
}

export interface TableEvents {
  turn(request: Request): void;
  pick(row: number): void;
  tick(row: number, on: boolean): void;
}

/** Order after a click on a heading: ascending, descending, as it came; with `more` the other keys stay. */
export function nextSort(now: SortKey[], name: string, more = false): SortKey[] {
  const own = now.find((key) => key[0] === name);
  const rest = more ? now.filter((key) => key[0] !== name) : [];
  if (!own) return [...rest, [name, false]];
  if (own[1]) return rest;
  return more ? now.map((key): SortKey => (key === own ? [name, true] : key)) : [[name, true]];
}

/** Columns after one was put where another one is. */
export function moveColumn(names: string[], name: string, to: number): string[] {
  const rest = names.filter((other) => other !== name);
  rest.splice(Math.max(Math.min(to, rest.length), 0), 0, name);
  return rest;
}

/** A semantic table with sortable headings, rows that can be chosen, and buttons to turn the page. */
export class PageTable {
  readonly element: HTMLElement = make("div", { class: "pagetable" });
  private readonly events: TableEvents;
  private readonly marker: CellMarker;
  private left = 0;
  private shown = "";
  private carried: string | null = null;

  constructor(events: TableEvents) {
    this.events = events;
    this.marker = new CellMarker(this.element, (words) => this.note(words));
  }

  /** Say something below the table, in place of what is usually said there. */
  private note(words: string): void {
    const place = this.element.querySelector<HTMLElement>(".note");
    if (place) place.textContent = words || (place.dataset["usual"] ?? "");
  }

  show(page: Page): void {
    const focused = this.focusedKey();
    const ticks = page.ticked ? [make("th", { scope: "col", class: "tick" }, make("span", { class: "unit" }, "✓"))] : [];
    const head = make("thead", {}, make("tr", {}, ...ticks, ...page.columns.map((_column, n) => this.heading(page, n))));
    if (page.filters) head.append(this.filterRow(page.columns, page.filters, page.filterHelp, page.ticked !== null));
    const body = make("tbody", {}, ...page.rows.map((row, n) => this.row(row, n, page)));
    const table = make("table", {}, make("caption", {}, page.caption), head, body);
    const scroll = make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": page.caption, onscroll: () => { this.left = scroll.scrollLeft; } }, table);
    this.element.replaceChildren(scroll, this.pager(page));
    scroll.scrollLeft = this.left;
    const shown = JSON.stringify([page.columns.map((column) => column.name), page.rows]);
    this.marker.show(page.rows, shown === this.shown);
    this.shown = shown;
    if (focused) this.element.querySelector<HTMLElement>(`[data-key="${CSS.escape(focused)}"]`)?.focus();
  }

  /** Who reads with the keyboard stays where they are when the page is drawn anew. */
  private focusedKey(): string | null {
    const root = this.element.getRootNode() as Document | ShadowRoot;
    const active = root.activeElement;
    return active instanceof HTMLElement && this.element.contains(active) ? (active.dataset["key"] ?? null) : null;
  }

  private heading(page: Page, n: number): HTMLElement {
    const column = page.columns[n] as Column;
    const sort = page.sort;
    const place = sort.findIndex((key) => key[0] === column.name);
    const down = sort[place]?.[1] ?? false;
    const mark = place < 0 ? "" : (down ? " ↓" : " ↑") + (sort.length > 1 ? String(place + 1) : "");
    const move = page.movable ? "; drag it, or Alt and an arrow key, to move the column" : "";
    const button = make("button", {
      type: "button",
      title: `${column.title}${column.title ? "\n" : ""}Sort; with Shift as a further key${move}`,
      "data-key": `sort ${column.name}`,
      onclick: ((event: MouseEvent) => this.events.turn({ first: 0, sort: nextSort(sort, column.name, event.shiftKey) })) as EventListener,
    }, column.name + mark);
    const order = place < 0 ? "none" : down ? "descending" : "ascending";
    const head = make("th", { scope: "col", "aria-sort": order, class: column.numeric ? "number" : "" }, button, make("span", { class: "unit" }, column.unit || " "));
    if (page.movable) this.makeMovable(head, page, n);
    return head;
  }

  private makeMovable(head: HTMLElement, page: Page, n: number): void {
    const names = page.columns.map((column) => column.name);
    const own = names[n] as string;
    const move = (name: string, to: number): void => {
      if (to >= 0 && to < names.length) this.events.turn({ first: page.first, columns: moveColumn(names, name, to) });
    };
    head.draggable = true;
    head.addEventListener("dragstart", (event) => {
      this.carried = own;
      event.dataTransfer?.setData("text/plain", own);
    });
    head.addEventListener("dragend", () => { this.carried = null; });
    head.addEventListener("dragover", (event) => {
      if (this.carried === null || this.carried === own) return;
      event.preventDefault();
      head.classList.add("target");
    });
    head.addEventListener("dragleave", () => head.classList.remove("target"));
    head.addEventListener("drop", (event) => {
      event.preventDefault();
      if (this.carried !== null) move(this.carried, n);
      this.carried = null;
    });
    head.addEventListener("keydown", (event) => {
      const step = event.key === "ArrowLeft" ? -1 : event.key === "ArrowRight" ? 1 : 0;
      if (!event.altKey || step === 0) return;
      event.preventDefault();
      move(own, n + step);
    });
  }

  private filterRow(columns: Column[], filters: Record<string, string>, help: string, ticks: boolean): HTMLElement {
    const cells = columns.map((column) => {
      const input = make("input", {
        type: "text",
        value: filters[column.name] ?? "",
        "aria-label": `Filter ${column.name}`,
        title: help,
        spellcheck: "false",
        "data-key": `filter ${column.name}`,
        onchange: () => this.events.turn({ first: 0, filter: [column.name, input.value] }),
      });
      return make("td", {}, input);
    });
    return make("tr", { class: "filters" }, ...(ticks ? [make("td", {})] : []), ...cells);
  }

  private row(cells: (string | null)[], n: number, page: Page): HTMLElement {
    const pick = (): void => this.events.pick(n);
    const ticks: HTMLElement[] = [];
    if (page.ticked) {
      const box = make("input", {
        type: "checkbox",
        checked: page.ticked[n] ?? false,
        "aria-label": `Choose row ${(page.first + n + 1).toLocaleString("en")}`,
        "data-key": `tick ${page.first + n}`,
        onclick: (event: Event) => event.stopPropagation(),
        onchange: () => this.events.tick(n, box.checked),
      });
      ticks.push(make("td", { class: "tick" }, box));
    }
    return make("tr", {
      tabindex: "0",
      class: page.chosen ? (page.chosen[n] ? "chosen" : "other") : "",
      "data-key": `row ${page.first + n}`,
      "aria-selected": n === page.selected ? "true" : "false",
      onclick: pick,
      onkeydown: ((event: KeyboardEvent) => this.onKey(event, pick)) as EventListener,
    }, ...ticks, ...cells.map((cell, c) => make("td", { class: page.columns[c]?.numeric ? "number" : "", "data-cell": `${n},${c}` }, cell ?? "")));
  }

  private onKey(event: KeyboardEvent, pick: () => void): void {
    const row = event.currentTarget as HTMLElement;
    if (event.target !== row) return;
    const next = event.key === "ArrowDown" ? row.nextElementSibling : event.key === "ArrowUp" ? row.previousElementSibling : null;
    if (event.shiftKey && next) {
      const rows = [...(row.parentElement?.children ?? [])];
      this.marker.extend(rows.indexOf(row), rows.indexOf(next));
    } else if (event.key === "Escape") this.marker.clear();
    if (event.key === "Enter" || event.key === " ") pick();
    else if (event.key === "ArrowDown") (row.nextElementSibling as HTMLElement | null)?.focus();
    else if (event.key === "ArrowUp") (row.previousElementSibling as HTMLElement | null)?.focus();
    else return;
    event.preventDefault();
  }

  private pager(page: Page): HTMLElement {
    const last = Math.min(page.first + page.rows.length, page.total);
    const button = (text: string, first: number, enabled: boolean): HTMLButtonElement =>
      make("button", { type: "button", disabled: !enabled, "data-key": text, onclick: () => this.events.turn({ first }) }, text);
    const end = Math.max(Math.floor((page.total - 1) / page.size) * page.size, 0);
    const range = page.total === 0 ? "No rows" : `${(page.first + 1).toLocaleString("en")}–${last.toLocaleString("en")} of ${page.total.toLocaleString("en")}`;
    return make("div", { class: "pager" },
      button("First", 0, page.first > 0), button("Previous", Math.max(page.first - page.size, 0), page.first > 0),
      make("span", { role: "status" }, range),
      button("Next", page.first + page.size, last < page.total), button("Last", end, last < page.total),
      make("span", { class: "note", "data-usual": page.note }, page.note));
  }
}
