/** Ties the page to the person's programs: follows their commands, tells them the address and what is selected. */

import { watchConnection } from "./connection_page.ts";
import { make } from "./dom.ts";
import { OVERLAY_EVENT, SELECTED_EVENT, STATE_EVENT, addressOf, changeState, wantedName, windowName, type Command, type Offer } from "./pagelink.ts";

interface Model {
  command: Partial<Command>;
  ready: { name?: string; address?: string };
  given: string;
  address: string;
  done: { serial?: number; address?: string; problem?: string | null };
  picked: { serial?: number; release?: string; table?: string; ids?: string[] };
  on(event: string | string[], callback: () => void): void;
}

const WATCH_MS = 1000;

const here = (): string => location.pathname + location.search;

/** Let a part of the page take up a command; whether one did. */
async function offer<T>(kind: string, wish: T): Promise<boolean> {
  const detail: Offer<T> = { wish };
  window.dispatchEvent(new CustomEvent(kind, { detail }));
  return detail.taken ?? false;
}

/** Go to an address of this site; the page that opens there answers for the command. */
function leave(address: string): void {
  if (address === here()) location.reload(); else location.assign(address);
}

export function render({ model }: { model: Model }): HTMLElement {
  const base = /^(.*\/portal\/app)(?:\/|$)/.exec(location.pathname)?.[1] ?? "/portal/app";
  watchConnection(base);
  let picks = 0;
  const follow = async (): Promise<void> => {
    const command = model.command as Command;
    const done = (problem: string | null): void => { model.done = { serial: command.serial, address: here(), problem }; };
    if (command.do === "go") {
      const address = addressOf(base, command.page, command.query);
      if (address) leave(address); else done(`there is no page ${command.page}`);
    } else if (command.do === "set") {
      if (await offer(STATE_EVENT, command.query)) done(null); else leave(changeState(location.pathname, location.search, command.query));
    } else if (command.do === "overlay") {
      done(await offer(OVERLAY_EVENT, command) ? null : "this page has no image to draw on");
    }
  };
  const selected = (event: Event): void => {
    const { release, table, ids } = (event as CustomEvent<{ release: string; table: string; ids: string[] }>).detail;
    model.picked = { serial: ++picks, release, table, ids };
  };
  const watch = window.setInterval(() => { if (model.address !== here()) model.address = here(); }, WATCH_MS);
  window.addEventListener(SELECTED_EVENT, selected);
  model.on("command", () => void follow());
  model.on("given", () => { window.name = windowName(model.given); });
  model.on("remove", () => {
    window.clearInterval(watch);
    window.removeEventListener(SELECTED_EVENT, selected);
  });
  model.on("after_render", () => {
    if (model.ready.address === undefined) model.ready = { name: wantedName(window.name, location.search), address: here() };
  });
  return make("span", { hidden: "" });
}
