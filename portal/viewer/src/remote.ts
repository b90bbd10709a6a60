/** Lets the person's programs change the image view in place, see `pagelink.ts`. */

import { Marks, type MarkList } from "./marks.ts";
import { OVERLAY_EVENT, SELECTED_EVENT, STATE_EVENT, changeState, type Offer, type StateChange } from "./pagelink.ts";
import type { ImageView } from "./view.ts";
import { parseState, type ViewState } from "./viewstate.ts";
import { skyToPixel } from "./wcs.ts";

/** What the workspace offers. */
export interface RemoteTarget {
  readonly element: HTMLElement;
  readonly view: ImageView;
  /** Take over the given parts of a state. */
  apply(state: ViewState): void;
}

/** Parts of the state that change in place; all others load the page again. */
const IN_PLACE = new Set(["ra", "dec", "rad", "x", "y", "r", "s", "lo", "hi", "gam", "c", "b", "k", "rot", "m", "mo", "mc"]);

const number = (change: StateChange, key: string): number | null => {
  const value = Number(change[key] ?? NaN);
  return Number.isFinite(value) ? value : null;
};

/** Native pixels per screen pixel at which a circle fills the smaller side of the view. */
function resolutionFor(view: ImageView, ra: number, dec: number, radiusArcsec: number): number | undefined {
  const fit = view.store?.meta.wcs;
  const [width, height] = view.map.getSize() ?? [0, 0];
  const centre = fit ? skyToPixel(fit, ra, dec) : null;
  const north = fit ? skyToPixel(fit, ra, dec + radiusArcsec / 3600) : null;
  if (!centre || !north || !width || !height) return undefined;
  return (2 * Math.hypot(north[0] - centre[0], north[1] - centre[1])) / Math.min(width, height);
}

/** Take over what can change in place; false if the page has to be loaded again. */
export function applyChange(target: RemoteTarget, change: StateChange): boolean {
  const { view } = target;
  // Keys that a program takes out so that a position decides about the image do not matter while it is on this one.
  const asked = Object.entries(change).filter(([, value]) => value !== null).map(([key]) => key);
  if (!view.store || asked.some((key) => !IN_PLACE.has(key))) return false;
  const [ra, dec, radius] = [number(change, "ra"), number(change, "dec"), number(change, "rad")];
  if (ra !== null && dec !== null) {
    const resolution = radius !== null && radius > 0 ? resolutionFor(view, ra, dec, radius) : undefined;
    if (!view.centreOn(ra, dec, resolution)) return false;
  }
  const rest = Object.fromEntries(Object.entries(change).filter(([key]) => !["ra", "dec", "rad", "id"].includes(key)));
  target.apply(parseState(changeState("", "", rest)));
  return true;
}

const PATIENCE_MS = 12_000;
const LOOK_MS = 50;

/** Wait until the image that the page opens is there; false if none comes. */
async function imageIsThere(target: RemoteTarget): Promise<boolean> {
  const { element } = target;
  for (let waited = 0; waited < PATIENCE_MS; waited += LOOK_MS) {
    if (element.hasAttribute("data-image") && !element.hasAttribute("data-opening")) return true;
    await new Promise((resolve) => window.setTimeout(resolve, LOOK_MS));
  }
  return false;
}

/** Fill the view with the circle that the address names when the page is loaded. */
async function showFirst(target: RemoteTarget, query: URLSearchParams): Promise<void> {
  const circle = Object.fromEntries(["ra", "dec", "rad"].map((key) => [key, query.get(key)]));
  if (circle.rad === null || query.has("x") || !(await imageIsThere(target))) return;
  window.history.replaceState(window.history.state, "", changeState(location.pathname, location.search, { rad: null }));
  applyChange(target, circle);
}

/** Listen to the programs' wishes; the returned function ends it. */
export function connectRemote(target: RemoteTarget): () => void {
  const marks = new Marks(target.view);
  void showFirst(target, new URLSearchParams(location.search));
  const onState = (event: Event): void => {
    const offer = (event as CustomEvent<Offer<StateChange>>).detail;
    offer.taken = imageIsThere(target).then((there) => there && applyChange(target, offer.wish));
  };
  const onOverlay = (event: Event): void => {
    const offer = (event as CustomEvent<Offer<MarkList>>).detail;
    marks.set(offer.wish);
    offer.taken = Promise.resolve(true);
  };
  window.addEventListener(STATE_EVENT, onState);
  window.addEventListener(OVERLAY_EVENT, onOverlay);
  return () => {
    window.removeEventListener(STATE_EVENT, onState);
    window.removeEventListener(OVERLAY_EVENT, onOverlay);
  };
}

/** Tell the page which rows of a table are selected on the image. */
export function tellSelected(release: string, table: string, ids: string[]): void {
  window.dispatchEvent(new CustomEvent(SELECTED_EVENT, { detail: { release, table, ids } }));
}
