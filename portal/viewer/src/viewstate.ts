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
  invert?: boolean;
  gamma?: number;
  bias?: number;
  contrast?: number;
  /** Degrees clockwise, and whether left and right are exchanged. */
  rotation?: number;
  flipped?: boolean;
  masks?: string[];
  /** Opacity of the mask, and colours of planes that differ from the usual ones. */
  opacity?: number;
  maskColours?: Record<string, string>;
  grid?: string;
  /** Which plane is shown: variance, noise, signal, or difference and significance with an image, or three images. */
  plane?: string;
  /** Further images beside the first, and how they are laid out. */
  others?: string[];
  layout?: string;
  sources?: string;
  /** What lies over the image, packed, see `overlaystate.ts`. */
  overlays?: string;
  /** A kept result to be laid over the image, with conditions for its rows or the subset; it becomes one of the overlays. */
  result?: { id: string; where: string[]; subset: string };
  /** Moving object whose track is drawn, or all. */
  moving?: string;
  /** Place, side, kind and band of the exposures that are stepped through, of which the image is one. */
  epochs?: string;
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
  if (q.get("inv") === "1") state.invert = true;
  if (q.get("flip") === "1") state.flipped = true;
  for (const [key, name, low, high] of RANGES) {
    const value = number(q.get(name));
    if (value !== undefined && value >= low && value <= high) state[key] = value;
  }
  const masks = q.get("m");
  if (masks) state.masks = masks.split(",").filter((m) => m !== "");
  const colours = (q.get("mc") ?? "").split(",").map((part) => part.split(":")).filter(([name, colour]) => name && /^[0-9a-f]{6}$/.test(colour ?? ""));
  if (colours.length > 0) state.maskColours = Object.fromEntries(colours.map(([name, colour]) => [name ?? "", `#${colour}`]));
  const texts = { sources: "src", moving: "moving", grid: "g", plane: "p", layout: "lay", overlays: "o", epochs: "ep" } as const;
  for (const [key, name] of Object.entries(texts) as [keyof typeof texts, string][]) {
    const value = q.get(name);
    if (value) state[key] = value;
  }
  const result = q.get("result");
  if (result) state.result = { id: result, where: q.getAll("where"), subset: q.get("subset") ?? "" };
  const others = (q.get("with") ?? "").split(",").filter((id) => id !== "");
  if (others.length > 0) state.others = others;
  return state;
}

/** Numbers of an address with their names there and the values that make sense. */
const RANGES = [
  ["gamma", "gam", 0.1, 10], ["bias", "b", -1, 2], ["contrast", "k", 0.05, 20], ["rotation", "rot", -360, 360], ["opacity", "mo", 0, 1],
] as const;
const OWN = ["ra", "dec", "x", "y", "r", "s", "lo", "hi", "c", "inv", "flip", "m", "mc", "src", "moving", "g", "p", "lay", "with", "o", "ep", "result", "where", "subset", ...RANGES.map(([, name]) => name)];

/** Write a view into the query of an address, keeping the fields that are not the view's. */
export function formatState(state: ViewState, query: string): string {
  const q = new URLSearchParams(query);
  for (const key of OWN) q.delete(key);
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
  if (state.invert) q.set("inv", "1");
  if (state.flipped) q.set("flip", "1");
  for (const [key, name] of RANGES) {
    const value = state[key];
    if (value !== undefined) q.set(name, short(value, 5));
  }
  const colours = Object.entries(state.maskColours ?? {});
  if (colours.length > 0) q.set("mc", colours.map(([name, colour]) => `${name}:${colour.slice(1)}`).join(","));
  if (state.sources) q.set("src", state.sources);
  if (state.moving) q.set("moving", state.moving);
  if (state.grid) q.set("g", state.grid);
  if (state.plane) q.set("p", state.plane);
  if (state.others && state.others.length > 0) q.set("with", state.others.join(","));
  if (state.layout) q.set("lay", state.layout);
  if (state.overlays) q.set("o", state.overlays);
  if (state.epochs) q.set("ep", state.epochs);
  return q.toString();
}
