/** Known moving objects over an image: where they are at its time, and their way before and after. */

import { problemOf } from "./dom.ts";
import { label, strokeTwice, type Painter } from "./overlay.ts";
import type { ImageMeta } from "./tiles.ts";
import { skyToPixel, type WcsFit } from "./wcs.ts";

/** One object; its identifier is too long for a JavaScript number, and empty where it was never observed. */
export interface Body {
  id: string;
  name: string;
  /** Predicted for the middle of the exposure, ICRS degrees. */
  ra: number;
  dec: number;
  inside: boolean;
  rate_arcsec_hour: number;
  /** Marks of time from the middle of the exposure, and the places there. */
  hours: number[];
  track_ra: number[];
  track_dec: number[];
}

export interface Tracks {
  mjd: number;
  bodies: Body[];
}

/** Asks for all objects on the image instead of one. */
export const EVERY = "all";
const LEAST_GAP = 46;
const RING = 11;

/** Where the way from the middle of a ring to another place leaves the ring. */
function leave(middle: [number, number], to: [number, number]): [number, number] {
  const [dx, dy] = [to[0] - middle[0], to[1] - middle[1]];
  const share = Math.min(RING / Math.max(Math.hypot(dx, dy), 1e-9), 1);
  return [middle[0] + share * dx, middle[1] + share * dy];
}

/** A mark of time in words. */
export function formatHours(hours: number): string {
  const sign = hours < 0 ? "−" : "+";
  const size = Math.abs(hours);
  return size % 24 === 0 ? `${sign}${size / 24} d` : `${sign}${size} h`;
}

/** Where the objects are on an image, 0-based array pixels, as tests and programs read it. */
export function placeBodies(tracks: Tracks, fit: WcsFit): { name: string; x: number; y: number }[] {
  const out: { name: string; x: number; y: number }[] = [];
  for (const body of tracks.bodies) {
    const at = skyToPixel(fit, body.ra, body.dec);
    if (at) out.push({ name: body.name, x: at[0], y: at[1] });
  }
  return out;
}

/** Reads the tracks of an image. */
export async function fetchTracks(base: string, meta: ImageMeta, wanted: string): Promise<Tracks> {
  const url = `${base}/tiles/${encodeURIComponent(meta.release)}/${meta.dataset_id}/orbits?moving=${encodeURIComponent(wanted)}`;
  const answer = await fetch(url, { credentials: "same-origin" });
  if (!answer.ok) throw new Error(await problemOf(answer));
  return (await answer.json()) as Tracks;
}

/** Draws tracks with marks of time, and a ring where each object is predicted at the image's time. */
export class OrbitPainter {
  tracks: Tracks | null = null;
  /** Identifier of the object that is wanted, `EVERY`, or nothing. */
  wanted = "";
  colour = "#ffd166";

  readonly paint: Painter = (context, view) => {
    const fit = view.store?.meta.wcs;
    if (!this.tracks || !fit) return;
    const place = (ra: number, dec: number): [number, number] | null => {
      const at = skyToPixel(fit, ra, dec);
      return at ? view.toScreen(at[0], at[1]) : null;
    };
    for (const body of this.tracks.bodies) {
      const points = body.hours.map((_, n) => place(body.track_ra[n] ?? NaN, body.track_dec[n] ?? NaN));
      const path = new Path2D();
      points.forEach((at, n) => {
        const before = points[n - 1];
        if (!at || !before) return;
        // The object itself stays free.
        path.moveTo(...(body.hours[n - 1] === 0 ? leave(before, at) : before));
        path.lineTo(...(body.hours[n] === 0 ? leave(at, before) : at));
      });
      strokeTwice(context, path, this.colour);
      let last: [number, number] | null = place(body.ra, body.dec);
      const marks = new Path2D();
      points.forEach((at, n) => {
        const hours = body.hours[n] ?? 0;
        if (!at || hours === 0) return;
        const away = last ? Math.hypot(at[0] - last[0], at[1] - last[1]) : Infinity;
        marks.moveTo(at[0] + 3, at[1]);
        marks.arc(at[0], at[1], 3, 0, 2 * Math.PI);
        if (away < LEAST_GAP) return;
        label(context, formatHours(hours), at[0] + 6, at[1] - 6, this.colour);
        last = at;
      });
      strokeTwice(context, marks, this.colour, 1);
      const here = place(body.ra, body.dec);
      if (!here) continue;
      const ring = new Path2D();
      ring.arc(here[0], here[1], RING, 0, 2 * Math.PI);
      strokeTwice(context, ring, this.colour, 2);
      label(context, body.name, here[0] + 14, here[1] + 18, this.colour);
    }
  };
}
