/** Mounts the paged table in a Panel component. */

import style from "./table.css";
import { make } from "./dom.ts";
import { PageTable, type Page } from "./pagetable.ts";

interface Model {
  page: Partial<Page>;
  request: Record<string, unknown>;
  picked: Record<string, unknown>;
  ticked: Record<string, unknown>;
  on(event: string | string[], callback: () => void): void;
}

const EMPTY: Page = {
  columns: [], rows: [], first: 0, total: 0, size: 50, sort: [], note: "", caption: "Table", selected: -1,
  filters: null, filterHelp: "", ticked: null, chosen: null, movable: false,
};

export function render({ model }: { model: Model }): HTMLElement {
  let serial = 0;
  // Ticks that the page does not show yet: of several changes in a short time Panel may only hear the last one.
  const pending = new Map<number, boolean>();
  const table = new PageTable({
    turn: (request) => { model.request = { ...request, serial: ++serial }; },
    pick: (row) => { model.picked = { row, serial: ++serial }; },
    tick: (row, on) => {
      pending.set(row, on);
      model.ticked = { rows: Object.fromEntries(pending), serial: ++serial };
    },
  });
  let before = "";
  const show = (): void => {
    const page = { ...EMPTY, ...model.page };
    const rows = JSON.stringify([page.first, page.total, page.sort, page.rows]);
    for (const [row, on] of pending) if (rows !== before || page.ticked?.[row] === on) pending.delete(row);
    before = rows;
    table.show({ ...page, ticked: page.ticked?.map((on, n) => pending.get(n) ?? on) ?? null });
  };
  model.on("page", show);
  show();
  return make("div", { class: "root" }, make("style", {}, style), table.element);
}
