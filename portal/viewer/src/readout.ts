/** The line under the image: what lies under the pointer, in the words that its reader has chosen. */

import { abMagnitude } from "./aperture.ts";
import { button, copyText, make, tick } from "./dom.ts";
import { holds, makeRegion } from "./regions.ts";
import { formatPosition, formatSexagesimal, skyCoordCode } from "./skyframes.ts";
import { formatValue } from "./stretch.ts";
import { maskNames, type ImageMeta } from "./tiles.ts";
import type { Readout } from "./view.ts";
import { localFrame } from "./wcs.ts";

/** Parts of the readout, with the words for them and whether they are shown at first. */
const PARTS = {
  magnitude: ["Pixel as AB magnitude", true], surface: ["Surface brightness", false], noise: ["Noise (σ)", false], detector: ["Detector and amplifier", true],
  electronic: ["Pixel of the raw file", false], focal: ["Focal plane, pixels from the boresight", false],
  pixel: ["Pixel", true], degrees: ["RA, Dec in degrees", true], sexagesimal: ["RA, Dec in hours and degrees", true],
  galactic: ["Galactic", false], ecliptic: ["Ecliptic", false], planes: ["Mask planes", true],
} as const;
type Part = keyof typeof PARTS;
const STORED = "skydesk.images.readout";
const ANNOUNCE_MS = 1500;

function stored(): Record<Part, boolean> {
  const chosen = Object.fromEntries(Object.entries(PARTS).map(([name, [, on]]) => [name, on])) as Record<Part, boolean>;
  try {
    const kept = JSON.parse(localStorage.getItem(STORED) ?? "{}") as Partial<Record<string, unknown>>;
    for (const name of Object.keys(PARTS) as Part[]) if (typeof kept[name] === "boolean") chosen[name] = kept[name];
  } catch {
    return chosen; // nothing is kept, or the browser keeps nothing
  }
  return chosen;
}

/** What the camera says about a pixel: its amplifier, the pixel of the raw file, and the place in the focal plane (pixels from the boresight). */
export function cameraAt(meta: ImageMeta, x: number, y: number): { name: string; raw: [number, number]; focal: [number, number] | null } | null {
  const [u, v] = [x + meta.xy0[0], y + meta.xy0[1]];
  for (const [name, { box: [x0, y0, x1, y1], raw, focal }] of Object.entries(meta.amplifiers ?? {})) {
    if (u < x0 || u > x1 || v < y0 || v > y1) continue;
    return { name, raw: [raw[0] + u - x0, raw[1] + v - y0], focal: focal && [focal[0] + u - x0, focal[1] + v - y0] };
  }
  return null;
}

/** Shows and announces values. */
export class ReadoutLine {
  readonly element = make("div", { class: "readout", role: "group", "aria-label": "Value under the pointer" });
  readonly controls: HTMLElement;
  /** The same for screen readers, said when the pointer rests. */
  readonly spoken = make("div", { class: "spoken", "aria-live": "polite" });
  locked: Readout | null = null;
  private last: Readout | null = null;
  private meta: ImageMeta | null = null;
  private timer = 0;
  private readonly chosen = stored();
  private readonly list: HTMLElement;
  private readonly changed: (noise: boolean) => void;

  constructor(say: (text: string, forMs?: number) => void, changed: (noise: boolean) => void) {
    this.changed = changed;
    const boxes = (Object.entries(PARTS) as [Part, readonly [string, boolean]][]).map(([name, [words]]) => tick(words, this.chosen[name], (on) => {
      this.chosen[name] = on;
      try {
        localStorage.setItem(STORED, JSON.stringify(this.chosen));
      } catch {
        say("The browser keeps no preferences: this choice lasts as long as the page.", 4000);
      }
      this.changed(this.chosen.noise);
      this.show(this.last, this.meta);
    }));
    this.list = make("div", { class: "readout-choice rows", hidden: "" }, make("strong", {}, "Show in the readout"), ...boxes);
    const opener = button("Readout…", "Choose what the readout shows", () => {
      this.list.hidden = !this.list.hidden;
      opener.setAttribute("aria-expanded", String(!this.list.hidden));
    });
    opener.setAttribute("aria-expanded", "false");
    for (const element of [opener, this.list]) element.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      this.list.hidden = true;
      opener.setAttribute("aria-expanded", "false");
      opener.focus();
    });
    const copy = button("Copy SkyCoord", "Copy the position as Python (Y)", () => void this.copy(say));
    this.controls = make("div", { class: "readout-controls" }, copy, opener, this.list);
  }

  get noise(): boolean {
    return this.chosen.noise;
  }

  /** Keep the readout at a place, or let it go. */
  lock(readout: Readout | null): void {
    this.locked = readout;
    this.element.classList.toggle("locked", readout !== null);
    if (readout) this.show(readout, this.meta);
  }

  async copy(say: (text: string, forMs?: number) => void): Promise<void> {
    const sky = (this.locked ?? this.last)?.sky;
    if (!sky) {
      say("Point at the image first, or click to lock a position.", 3000);
      return;
    }
    const code = skyCoordCode(...sky);
    say((await copyText(code)) ? `${code} is on the clipboard.` : code, 4000);
  }

  /** Show what is under the pointer; a locked position stays. */
  show(readout: Readout | null, meta: ImageMeta | null): void {
    const { element } = this;
    this.meta = meta;
    if (this.locked && readout !== this.locked) return;
    if (readout) this.last = readout;
    if (!readout || !meta) {
      element.replaceChildren(make("span", { class: "hint" }, "Move the pointer over the image to read its values."));
      for (const key of ["value", "mask", "x", "y", "ra", "dec"]) delete element.dataset[key];
      return;
    }
    const { pixel, sky } = readout;
    const [x, y] = [Math.floor(readout.x + 0.5), Math.floor(readout.y + 0.5)];
    Object.assign(element.dataset, { x: String(x), y: String(y), value: pixel ? String(pixel.value) : "", mask: pixel ? String(pixel.mask >>> 0) : "" });
    if (sky) Object.assign(element.dataset, { ra: String(sky[0]), dec: String(sky[1]), px: String(readout.x), py: String(readout.y) });
    const words = this.words(readout, meta, x, y);
    element.replaceChildren(...words.map(([name, text]) => make("span", { class: name }, text)));
    window.clearTimeout(this.timer);
    this.timer = window.setTimeout(() => { this.spoken.textContent = words.map(([, text]) => text).join(", "); }, ANNOUNCE_MS);
  }

  /** The readout as pairs of a part's name and its words. */
  private words(readout: Readout, meta: ImageMeta, x: number, y: number): [string, string][] {
    const { pixel, blockMean, sky } = readout;
    const out: [string, string][] = [["value", pixel ? `${formatValue(pixel.value)} ${meta.unit}`
      : blockMean ? `≈ ${formatValue(blockMean.value)} ${meta.unit} (mean of ${blockMean.block}×${blockMean.block})` : "outside"]];
    const add = (part: Part, text: string | null): void => { if (this.chosen[part] && text) out.push([part, text]); };
    if (readout.shown !== undefined) out.push(["shown", `shown: ${formatValue(Number(readout.shown.toPrecision(6)))}`]);
    const magnitude = pixel && meta.unit === "nJy" ? abMagnitude(pixel.value) : NaN;
    const frame = meta.wcs ? localFrame(meta.wcs, x, y) : null;
    if (Number.isFinite(magnitude)) {
      add("magnitude", `${magnitude.toFixed(2)} mag in this pixel`);
      add("surface", frame ? `µ ${(magnitude + 5 * Math.log10(frame.arcsec)).toFixed(2)} mag/arcsec²` : null);
    }
    add("noise", pixel?.variance !== undefined && Number.isFinite(pixel.variance) ? `σ ${formatValue(Number(Math.sqrt(pixel.variance).toPrecision(4)))}` : null);
    const detector = meta.data_id.detector ?? meta.detectors?.find((d) => holds(makeRegion("polygon", d.outline), readout.x, readout.y))?.name;
    const camera = cameraAt(meta, x, y);
    add("detector", detector === undefined ? null : `det ${detector}${camera ? ` ${camera.name}` : ""}`);
    add("electronic", camera && `raw x ${camera.raw[0]}  y ${camera.raw[1]}`);
    add("focal", camera?.focal ? `focal plane x ${camera.focal[0].toFixed(1)}  y ${camera.focal[1].toFixed(1)} px` : null);
    add("pixel", `x ${x + meta.xy0[0]}  y ${y + meta.xy0[1]}`);
    if (sky) {
      add("degrees", formatPosition("ICRS", ...sky));
      add("sexagesimal", formatSexagesimal(...sky));
      add("galactic", formatPosition("galactic", ...sky));
      add("ecliptic", formatPosition("ecliptic", ...sky));
    }
    add("planes", pixel ? maskNames(pixel.mask, meta.mask_planes).join(" · ") : null);
    return out;
  }
}
