/** Tiles of one image: fetching, keeping, and looking up exact values. */

import type { Statistics } from "./stretch.ts";
import type { WcsFit } from "./wcs.ts";

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
}

export type Plane = "image" | "variance" | "mask";

/** One pixel as the archive holds it. */
export interface Pixel {
  value: number;
  mask: number;
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

  /** Float tile; `z` counts from the coarsest level. */
  async floats(plane: "image" | "variance", z: number, x: number, y: number, signal?: AbortSignal): Promise<Float32Array> {
    const data = new Float32Array(await this.fetch(plane, z, x, y, signal));
    this.keep(`${plane}/${z}/${x}/${y}`, data);
    return data;
  }

  /** Mask tile as the four bytes of each 32-bit mask value, lowest first. */
  async bytes(z: number, x: number, y: number, signal?: AbortSignal): Promise<Uint8Array> {
    const buffer = await this.fetch("mask", z, x, y, signal);
    this.keep(`mask/${z}/${x}/${y}`, new Uint32Array(buffer));
    return new Uint8Array(buffer);
  }

  /** Exact pixel when its native tiles are here; undefined otherwise. */
  exact(x: number, y: number): Pixel | undefined {
    const { column, row, offset } = locate(this.meta, x, y);
    const z = this.meta.levels - 1;
    const value = this.kept.get(`image/${z}/${column}/${row}`)?.[offset];
    const mask = this.kept.get(`mask/${z}/${column}/${row}`)?.[offset];
    return value === undefined || mask === undefined ? undefined : { value, mask };
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

  private async askPixel(x: number, y: number): Promise<Pixel | null> {
    try {
      const answer = await fetch(`${this.url}/pixel?x=${x}&y=${y}`, { credentials: "same-origin" });
      if (!answer.ok) return null;
      const body = (await answer.json()) as { value: number | string | null; mask: number };
      return { value: body.value === null ? NaN : Number(body.value), mask: body.mask };
    } catch {
      return null; // the network is away: the readout goes on with the block mean
    }
  }
}

/** Names of the planes set in a mask value. */
export function maskNames(mask: number, planes: Record<string, number>): string[] {
  return Object.entries(planes).filter(([, bit]) => (mask >>> bit) & 1).map(([name]) => name);
}
