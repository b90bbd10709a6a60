/** Tiles of one image: fetching, keeping, and looking up exact values. */

import { problemOf } from "./dom.ts";
import type { Statistics } from "./stretch.ts";
import type { WcsFit } from "./wcs.ts";

/** Pixels that are read out together. */
export interface Amplifier {
  /** First column and row, last column and row, both included, in the image's own frame. */
  box: [number, number, number, number];
  /** The pixel of the raw file that the first one is. */
  raw: [number, number];
  /** Its middle in the focal plane, pixels from the boresight; null in the overscan. */
  focal: [number, number] | null;
}

/** What the server tells about an image. */
export interface ImageMeta {
  release: string;
  dataset_id: string;
  dataset_type: string;
  title: string;
  data_id: Record<string, string | number>;
  /** Rows and columns. */
  shape: [number, number];
  /** Position of the first array pixel in the image's own frame (patches start inside their tract). */
  xy0: [number, number];
  tile_size: number;
  levels: number;
  unit: string;
  mask_planes: Record<string, number>;
  wcs: WcsFit | null;
  stats: Statistics;
  /** Tables that can be drawn over the image. */
  source_tables: string[];
  band?: string | null;
  planes?: string[];
  /** Readouts of the detector by name. */
  amplifiers?: Record<string, Amplifier>;
  /** Detectors of a focal plane: names and outlines in 0-based array pixels. */
  detectors?: { name: string; outline: [number, number][] }[];
  /** Whether positions have to be asked of the server, because no polynomial is exact enough. */
  sky_by_request?: boolean;
}

export type Plane = "image" | "variance" | "mask";

/** One pixel as the archive holds it. */
export interface Pixel {
  value: number;
  mask: number;
  variance?: number;
}

/** Side in native pixels of the square that the tiles of all levels cover exactly. */
export function paddedSize(meta: ImageMeta): number {
  return meta.tile_size * 2 ** (meta.levels - 1);
}

/** Tile column and row (row 0 at the top), and the offset inside that tile, of a native pixel. */
export function locate(meta: ImageMeta, x: number, y: number): { column: number; row: number; offset: number } {
  const size = meta.tile_size;
  const fromTop = paddedSize(meta) - 1 - y;
  return {
    column: Math.floor(x / size),
    row: Math.floor(fromTop / size),
    offset: (fromTop % size) * size + (x % size),
  };
}

/** Keeps the most recently used tiles of an image and answers for single pixels. */
export class TileStore {
  private readonly kept = new Map<string, Float32Array | Uint32Array>();
  private readonly pending = new Map<string, Promise<Pixel | null>>();
  /** Pixels that the server has told. */
  private readonly told = new Map<string, Pixel>();
  private readonly arriving = new Map<string, Promise<Float32Array>>();
  readonly url: string;
  readonly base: string;
  readonly meta: ImageMeta;
  readonly limit: number;

  constructor(base: string, meta: ImageMeta, limit = 256) {
    this.base = base;
    this.meta = meta;
    this.limit = limit;
    this.url = `${base}/tiles/${encodeURIComponent(meta.release)}/${meta.dataset_id}`;
  }

  private keep(key: string, data: Float32Array | Uint32Array): void {
    this.kept.set(key, data);
    if (this.kept.size > this.limit) {
      const oldest = this.kept.keys().next().value;
      if (oldest !== undefined) this.kept.delete(oldest);
    }
  }

  private async fetch(plane: Plane, z: number, x: number, y: number, signal?: AbortSignal): Promise<ArrayBuffer> {
    const answer = await fetch(`${this.url}/${plane}/${z}/${x}/${y}`, { signal: signal ?? null, credentials: "same-origin" });
    if (!answer.ok) throw new Error(`tile ${plane}/${z}/${x}/${y}: ${answer.status}`);
    return answer.arrayBuffer();
  }

  /** Float tile that is here or on its way, or is asked for now until the signal says otherwise; `z` counts from the coarsest level. */
  async floats(plane: "image" | "variance", z: number, x: number, y: number, signal?: AbortSignal): Promise<Float32Array> {
    const key = `${plane}/${z}/${x}/${y}`;
    const known = this.kept.get(key);
    if (known instanceof Float32Array) return known;
    const arriving = this.arriving.get(key);
    if (arriving) return arriving;
    const data = new Float32Array(await this.fetch(plane, z, x, y, signal));
    this.keep(key, data);
    return data;
  }

  /** Float tile for several who want it; nobody can take that back. */
  recall(plane: "image" | "variance", z: number, x: number, y: number): Promise<Float32Array> {
    const key = `${plane}/${z}/${x}/${y}`;
    let asked = this.arriving.get(key);
    if (!asked) {
      asked = this.floats(plane, z, x, y).finally(() => this.arriving.delete(key));
      this.arriving.set(key, asked);
    }
    return asked;
  }

  /** Native pixels of a box, both ends included, bottom row first; NaN outside the image. */
  async block(plane: "image" | "variance", x0: number, y0: number, x1: number, y1: number): Promise<Float32Array> {
    const size = this.meta.tile_size;
    const [height, width] = this.meta.shape;
    const columns = x1 - x0 + 1;
    const out = new Float32Array(columns * (y1 - y0 + 1)).fill(NaN);
    const [left, right] = [Math.max(x0, 0), Math.min(x1, width - 1)];
    const [bottom, top] = [Math.max(y0, 0), Math.min(y1, height - 1)];
    if (left > right || bottom > top) return out;
    const z = this.meta.levels - 1;
    const first = locate(this.meta, left, top);
    const last = locate(this.meta, right, bottom);
    const jobs: Promise<void>[] = [];
    for (let row = first.row; row <= last.row; row++) {
      for (let column = first.column; column <= last.column; column++) {
        jobs.push(this.recall(plane, z, column, row).then((tile) => {
          const highest = paddedSize(this.meta) - 1 - row * size;
          for (let y = Math.max(bottom, highest - size + 1); y <= Math.min(top, highest); y++) {
            const [from, to] = [Math.max(left, column * size), Math.min(right, column * size + size - 1)];
            const start = (highest - y) * size + from - column * size;
            out.set(tile.subarray(start, start + to - from + 1), (y - y0) * columns + from - x0);
          }
        }));
      }
    }
    await Promise.all(jobs);
    return out;
  }

  /** Mask tile as the four bytes of each 32-bit mask value, lowest first. */
  async bytes(z: number, x: number, y: number, signal?: AbortSignal): Promise<Uint8Array> {
    const buffer = await this.fetch("mask", z, x, y, signal);
    this.keep(`mask/${z}/${x}/${y}`, new Uint32Array(buffer));
    return new Uint8Array(buffer);
  }

  /** Exact pixel when its native tiles are here; undefined otherwise. */
  exact(x: number, y: number): Pixel | undefined {
    const told = this.told.get(`${x},${y}`);
    if (told) return told;
    const { column, row, offset } = locate(this.meta, x, y);
    const z = this.meta.levels - 1;
    const value = this.kept.get(`image/${z}/${column}/${row}`)?.[offset];
    const mask = this.kept.get(`mask/${z}/${column}/${row}`)?.[offset];
    // An image without a mask has none set.
    const bits = this.meta.planes && !this.meta.planes.includes("mask") ? 0 : mask;
    if (value === undefined || bits === undefined) return undefined;
    const variance = this.kept.get(`variance/${z}/${column}/${row}`)?.[offset];
    return { value, mask: bits, ...(variance === undefined ? {} : { variance }) };
  }

  /** Mean of the pixel's block at the finest level that is here, with the block's side in native pixels. */
  coarse(x: number, y: number): { value: number; block: number } | undefined {
    const { levels, tile_size: size } = this.meta;
    for (let z = levels - 1; z >= 0; z--) {
      const block = 2 ** (levels - 1 - z);
      const column = Math.floor(x / block);
      const fromTop = Math.floor((paddedSize(this.meta) - 1 - y) / block);
      const tile = this.kept.get(`image/${z}/${Math.floor(column / size)}/${Math.floor(fromTop / size)}`);
      const value = tile?.[(fromTop % size) * size + (column % size)];
      if (value !== undefined) return { value, block };
    }
    return undefined;
  }

  /** Exact pixel from the server; null outside the image or when the server does not answer. */
  pixel(x: number, y: number): Promise<Pixel | null> {
    const key = `${x},${y}`;
    const known = this.pending.get(key);
    if (known) return known;
    const asked = this.askPixel(x, y);
    this.pending.set(key, asked);
    if (this.pending.size > 512) {
      const oldest = this.pending.keys().next().value;
      if (oldest !== undefined) this.pending.delete(oldest);
    }
    return asked;
  }

  /** ICRS position from the server, for images whose mapping no polynomial follows; null where there is none. */
  async sky(x: number, y: number): Promise<[number, number] | null> {
    const answer = await fetch(`${this.url}/sky?x=${x}&y=${y}`, { credentials: "same-origin" }).catch(() => null);
    return answer?.ok ? ((await answer.json()) as { sky: [number, number] | null }).sky : null;
  }

  private async askPixel(x: number, y: number): Promise<Pixel | null> {
    try {
      const answer = await fetch(`${this.url}/pixel?x=${x}&y=${y}`, { credentials: "same-origin" });
      if (!answer.ok) return null;
      const body = (await answer.json()) as { value: number | string | null; variance: number | string | null; mask: number };
      const pixel: Pixel = { value: body.value === null ? NaN : Number(body.value), mask: body.mask };
      if (body.variance !== null) pixel.variance = Number(body.variance);
      if (this.told.size > 512) this.told.clear();
      this.told.set(`${x},${y}`, pixel);
      return pixel;
    } catch {
      return null; // the network is away: the readout goes on with the block mean
    }
  }
}

/** Names of the planes set in a mask value. */
export function maskNames(mask: number, planes: Record<string, number>): string[] {
  return Object.entries(planes).filter(([, bit]) => (mask >>> bit) & 1).map(([name]) => name);
}

/** Ask the server about an image; throws a sentence. */
export async function fetchMeta(base: string, release: string, id: string): Promise<ImageMeta> {
  const answer = await fetch(`${base}/tiles/${encodeURIComponent(release)}/${encodeURIComponent(id)}/meta`, { credentials: "same-origin" });
  if (!answer.ok) throw new Error(await problemOf(answer));
  return (await answer.json()) as ImageMeta;
}
