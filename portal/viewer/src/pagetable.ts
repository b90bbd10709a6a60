/** A table of which only the visible page is in the browser. */

import { make } from "./dom.ts";

export interface Column {
  name: string;
  unit: string;
  title: string;
  numeric: boolean;
}

/** One page with what is needed to draw it. */
export interface Page {
  columns: Column[];
  rows: (string | null)[][];
  /** Index of the first row of this page in the whole result. */
  first: number;
  total: number;
  /** Rows of a full page. */
  size: number;
  /** Column and whether it is descending. */
  sort: [string, boolean] | null;
  note: string;
  caption: string;
  /** Row of the page that is marked; -1 without one. */
  selected: number;
}

/** A wish for another page. */
export interface Request {
  first?: number;
  sort?: [string, boolean] | null;
}

export interface TableEvents {
  turn(request: Request): void;
  pick(row: number): void;
}

/** Order after a click on a heading: ascending, descending, as it came. */
export function nextSort(now: [string, boolean] | null, name: string): [string, boolean] | null {
  if (!now || now[0] !== name) return [name, false];
  return now[1] ? null : [name, true];
}

/** A semantic table with sortable headings, rows that can be chosen, and buttons to turn the page. */
export class PageTable {
  readonly element: HTMLElement = make("div", { class: "pagetable" });
  private readonly events: TableEvents;

  constructor(events: TableEvents) {
    this.events = events;
  }

  show(page: Page): void {
    const head = make("thead", {}, make("tr", {}, ...page.columns.map((column) => this.heading(column, page.sort))));
    const body = make("tbody", {}, ...page.rows.map((row, n) => this.row(row, n, page)));
    const table = make("table", {}, make("caption", {}, page.caption), head, body);
    this.element.replaceChildren(make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": page.caption }, table), this.pager(page));
  }

  private heading(column: Column, sort: [string, boolean] | null): HTMLElement {
    const active = sort?.[0] === column.name;
    const mark = active ? (sort?.[1] ? " ↓" : " ↑") : "";
    const button = make("button", { type: "button", title: column.title, onclick: () => this.events.turn({ first: 0, sort: nextSort(sort, column.name) }) }, column.name + mark);
    const order = active ? (sort?.[1] ? "descending" : "ascending") : "none";
    return make("th", { scope: "col", "aria-sort": order, class: column.numeric ? "number" : "" }, button, make("span", { class: "unit" }, column.unit || " "));
  }

  private row(cells: (string | null)[], n: number, page: Page): HTMLElement {
    const pick = (): void => this.events.pick(n);
    return make("tr", {
      tabindex: "0",
      "aria-selected": n === page.selected ? "true" : "false",
      onclick: pick,
      onkeydown: ((event: KeyboardEvent) => {
        if (event.key === "Enter" || event.key === " ") {
          event.preventDefault();
          pick();
        }
      }) as EventListener,
    }, ...cells.map((cell, c) => make("td", { class: page.columns[c]?.numeric ? "number" : "" }, cell ?? "")));
  }

  private pager(page: Page): HTMLElement {
    const last = Math.min(page.first + page.rows.length, page.total);
    const button = (text: string, first: number, enabled: boolean): HTMLButtonElement =>
      make("button", { type: "button", disabled: !enabled, onclick: () => this.events.turn({ first }) }, text);
    const end = Math.max(Math.floor((page.total - 1) / page.size) * page.size, 0);
    const range = page.total === 0 ? "No rows" : `${(page.first + 1).toLocaleString("en")}–${last.toLocaleString("en")} of ${page.total.toLocaleString("en")}`;
    return make("div", { class: "pager" },
      button("First", 0, page.first > 0), button("Previous", Math.max(page.first - page.size, 0), page.first > 0),
      make("span", { role: "status" }, range),
      button("Next", page.first + page.size, last < page.total), button("Last", end, last < page.total),
      make("span", { class: "note" }, page.note));
  }
}
