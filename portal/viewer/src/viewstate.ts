/** The part of the address that restores a view: image, position, zoom, stretch and overlays. */

import { COLOUR_MAPS, type ColourMap } from "./palettes.ts";
import { STRETCHES, type Stretch } from "./stretch.ts";

export interface ViewState {
  release: string;
  id: string;
  /** Centre in 0-based array pixels and native pixels per screen pixel. */
  x?: number;
  y?: number;
  r?: number;
  stretch?: Stretch;
  low?: number;
  high?: number;
  map?: ColourMap;
  masks?: string[];
  sources?: string;
}

function number(text: string | null): number | undefined {
  if (text === null || text.trim() === "") return undefined;
  const value = Number(text);
  return Number.isFinite(value) ? value : undefined;
}

/** Read a view from the query of an address; unknown and malformed fields are left out. */
export function parseState(query: string): ViewState {
  const q = new URLSearchParams(query);
  const state: ViewState = { release: q.get("release") ?? "", id: q.get("id") ?? "" };
  for (const key of ["x", "y", "r"] as const) {
    const value = number(q.get(key));
    if (value !== undefined) state[key] = value;
  }
  const low = number(q.get("lo"));
  const high = number(q.get("hi"));
  if (low !== undefined && high !== undefined && high > low) Object.assign(state, { low, high });
  const stretch = STRETCHES.find((s) => s === q.get("s"));
  if (stretch) state.stretch = stretch;
  const map = COLOUR_MAPS.find((c) => c === q.get("c"));
  if (map) state.map = map;
  const masks = q.get("m");
  if (masks) state.masks = masks.split(",").filter((m) => m !== "");
  const sources = q.get("src");
  if (sources) state.sources = sources;
  return state;
}

/** Write a view into the query of an address, keeping the fields that are not the view's. */
export function formatState(state: ViewState, query: string): string {
  const q = new URLSearchParams(query);
  for (const key of ["ra", "dec", "x", "y", "r", "s", "lo", "hi", "c", "m", "src"]) q.delete(key);
  q.set("release", state.release);
  q.set("id", state.id);
  const short = (v: number, digits: number): string => String(Number(v.toPrecision(digits)));
  if (state.x !== undefined) q.set("x", state.x.toFixed(2));
  if (state.y !== undefined) q.set("y", state.y.toFixed(2));
  if (state.r !== undefined) q.set("r", short(state.r, 6));
  if (state.stretch) q.set("s", state.stretch);
  if (state.low !== undefined) q.set("lo", short(state.low, 7));
  if (state.high !== undefined) q.set("hi", short(state.high, 7));
  if (state.map) q.set("c", state.map);
  if (state.masks && state.masks.length > 0) q.set("m", state.masks.join(","));
  if (state.sources) q.set("src", state.sources);
  return q.toString();
}
