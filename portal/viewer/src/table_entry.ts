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
  const table = new PageTable({
    turn: (request) => { model.request = { ...request, serial: ++serial }; },
    pick: (row) => { model.picked = { row, serial: ++serial }; },
    tick: (row, on) => { model.ticked = { row, on, serial: ++serial }; },
  });
  const show = (): void => table.show({ ...EMPTY, ...model.page });
  model.on("page", show);
  show();
  return make("div", { class: "root" }, make("style", {}, style), table.element);
}
