/** What lies over the images, as the address of a view keeps it: packed there, or on the server when it is too long. */

import { problemOf } from "./dom.ts";
import { readCatalog, type Catalog } from "./imagecatalogs.ts";
import { SYMBOLS, type Symbol } from "./symbols.ts";

/** Longest address; some programs cut off longer ones. */
export const MOST_CHARACTERS = 2000;

/** Longest document that is read; a packed one may unfold to anything. */
const LARGEST = 16_000_000;

/** Corners where compass and scale stand. */
export const CORNERS = ["bottom left", "bottom right", "top left", "top right", "hidden"] as const;
export type Corner = (typeof CORNERS)[number];

/** What is not as usual. */
export interface OverlayState {
  /** Regions in DS9's form. */
  regions?: string;
  /** A coverage map in its ASCII form. */
  moc?: { name: string; text: string };
  /** How sources of the release look, and which magnitudes are drawn. */
  sources?: { colour?: string; size?: number; symbol?: Symbol; opacity?: number; brightest?: number; faintest?: number };
  catalogs?: Catalog[];
  compass?: Corner;
}

/** Read a document; what does not belong is left out, as from a newer or a damaged address. */
export function readOverlays(found: unknown): OverlayState {
  const part = (typeof found === "object" && found !== null ? found : {}) as Record<string, unknown>;
  const out: OverlayState = {};
  if (typeof part.regions === "string") out.regions = part.regions;
  const moc = part.moc as { name?: unknown; text?: unknown } | undefined;
  if (typeof moc?.text === "string") out.moc = { name: String(moc.name ?? "coverage").slice(0, 100), text: moc.text };
  const style = (part.sources ?? {}) as Record<string, unknown>;
  const sources: NonNullable<OverlayState["sources"]> = {};
  if (typeof style.colour === "string" && /^#[0-9a-f]{6}$/.test(style.colour)) sources.colour = style.colour;
  const symbol = SYMBOLS.find((s) => s === style.symbol);
  if (symbol) sources.symbol = symbol;
  for (const [key, low, high] of [["size", 0.1, 5], ["opacity", 0, 1], ["brightest", -50, 50], ["faintest", -50, 50]] as const) {
    const value = style[key];
    if (typeof value === "number" && value >= low && value <= high) sources[key] = value;
  }
  if (Object.keys(sources).length > 0) out.sources = sources;
  const catalogs = (Array.isArray(part.catalogs) ? part.catalogs : []).slice(0, 20).map(readCatalog).filter((c) => c !== null);
  if (catalogs.length > 0) out.catalogs = catalogs;
  const corner = CORNERS.find((c) => c === part.compass);
  if (corner) out.compass = corner;
  return out;
}

async function transform(bytes: Uint8Array<ArrayBuffer>, stream: CompressionStream | DecompressionStream): Promise<Uint8Array<ArrayBuffer>> {
  const reader = new Blob([bytes]).stream().pipeThrough(stream as ReadableWritablePair<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>).getReader();
  const parts: Uint8Array<ArrayBuffer>[] = [];
  let size = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    size += value.length;
    if (size > LARGEST) throw new Error("it is too large");
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

/** Pack a document for an address: compressed, in the letters that addresses need not escape. */
export async function packOverlays(state: OverlayState): Promise<string> {
  if (Object.keys(state).length === 0) return "";
  const bytes = await transform(new TextEncoder().encode(JSON.stringify(state)), new CompressionStream("deflate-raw"));
  let text = "";
  for (let n = 0; n < bytes.length; n += 32_768) text += String.fromCharCode(...bytes.subarray(n, n + 32_768));
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

/** Undo `packOverlays`. */
export async function unpackOverlays(text: string): Promise<OverlayState> {
  const bytes = Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
  return readOverlays(JSON.parse(new TextDecoder().decode(await transform(bytes, new DecompressionStream("deflate-raw")))));
}

/** Leave a packed document on the server; what stands for it in the address. */
export async function leaveOverlays(base: string, packed: string): Promise<string> {
  const answer = await fetch(`${base}/viewstates`, { method: "POST", credentials: "same-origin", body: packed });
  if (!answer.ok) throw new Error(await problemOf(answer));
  return `.${((await answer.json()) as { key: string }).key}`;
}

/** Read what the address says, from the server where it was left there. */
export async function fetchOverlays(base: string, text: string): Promise<OverlayState> {
  if (!text.startsWith(".")) return unpackOverlays(text);
  const answer = await fetch(`${base}/viewstates/${encodeURIComponent(text.slice(1))}`, { credentials: "same-origin" });
  if (!answer.ok) throw new Error(await problemOf(answer));
  return unpackOverlays(await answer.text());
}

/** Keeps the text of what lies over the images up to date, for the address. */
export class OverlayKeeper {
  /** What the address says. */
  text = "";
  private packed = "";
  private json = "";
  private moc: unknown = null;
  private leaving = false;
  private readonly base: string;
  private readonly changed: () => void;
  private readonly say: (text: string, forMs?: number) => void;

  constructor(base: string, changed: () => void, say: (text: string, forMs?: number) => void) {
    this.base = base;
    this.changed = changed;
    this.say = say;
  }

  /** Take over a state; a coverage map, which may be long, is written only when it is another one. */
  async keep(state: OverlayState, moc: object | null, writeMoc: () => { name: string; text: string }): Promise<void> {
    const json = JSON.stringify(state);
    if (json === this.json && moc === this.moc) return;
    [this.json, this.moc] = [json, moc];
    const packed = await packOverlays(moc ? { ...state, moc: writeMoc() } : state);
    if (json !== this.json || moc !== this.moc || packed === this.packed) return;
    [this.packed, this.text] = [packed, packed];
    this.changed();
  }

  /** The address came out too long: leave the overlays on the server. True while that is tried. */
  shorten(): boolean {
    const { packed } = this;
    if (this.text.startsWith(".") || packed === "") return false;
    if (this.leaving) return true;
    this.leaving = true;
    leaveOverlays(this.base, packed).then((key) => { if (packed === this.packed) this.text = key; })
      .catch((error: Error) => {
        if (packed === this.packed) this.text = "";
        this.say(`The address cannot hold what lies over the image: ${error.message}.`, 8000);
      })
      .finally(() => {
        this.leaving = false;
        this.changed();
      });
    return true;
  }
}
