/** What a program asks of an open page, as the browser follows it: pure functions on commands and addresses. */

/** Parts of the state in the address; null takes a part out. */
export type StateChange = Record<string, string | null>;

export type Command =
  | { serial: number; do: "go"; page: string; query: Record<string, string> }
  | { serial: number; do: "set"; query: StateChange }
  | { serial: number; do: "overlay"; name: string; colour: string; ra_deg: number[]; dec_deg: number[]; labels: string[] };

/** Events by which parts of a page take up a command in place, with an `Offer` as detail. */
export const STATE_EVENT = "skydesk:state";
export const OVERLAY_EVENT = "skydesk:overlay";
/** Event by which a part of a page tells which rows of a release's table are selected. */
export const SELECTED_EVENT = "skydesk:selected";

/** What is to be done; whoever does it sets `taken` to whether it could be done in place. */
export interface Offer<T> {
  readonly wish: T;
  taken?: Promise<boolean>;
}

const PAGES = ["home", "images", "catalogs", "lightcurves", "jobs"];
const WINDOW_NAME = "skydesk-view:";
const NAME = /^[a-z0-9][a-z0-9-]{0,39}$/;

/** The address of a page with a state; null for a page that there is not. */
export function addressOf(base: string, page: string, query: Record<string, string>): string | null {
  if (!PAGES.includes(page)) return null;
  const search = new URLSearchParams(query).toString();
  return `${base}/${page === "home" ? "" : page}${search ? `?${search}` : ""}`;
}

/** An address with parts of its state changed. */
export function changeState(path: string, search: string, change: StateChange): string {
  const query = new URLSearchParams(search);
  for (const [key, value] of Object.entries(change)) {
    if (value === null) query.delete(key); else query.set(key, value);
  }
  const text = query.toString();
  return text ? `${path}?${text}` : path;
}

/** The name of the view: what the tab was called before, else what its address asks for. */
export function wantedName(windowName: string, search: string): string {
  const kept = windowName.startsWith(WINDOW_NAME) ? windowName.slice(WINDOW_NAME.length) : "";
  const name = kept || (new URLSearchParams(search).get("view") ?? "");
  return NAME.test(name) ? name : "";
}

/** How a tab remembers its name while pages come and go in it. */
export function windowName(name: string): string {
  return WINDOW_NAME + name;
}
