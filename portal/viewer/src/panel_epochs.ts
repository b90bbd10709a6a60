/** The panel for time: one place on the sky in all exposures of it, step by step, with one scale of angle, brightness and size. */

import { button, choice, make, numberField, problemOf, setControl, tick } from "./dom.ts";
import { strokeTwice, type Painter } from "./overlay.ts";
import { OWN } from "./panel_file.ts";
import type { Host, Panel } from "./panels.ts";
import { parseDegrees } from "./skyframes.ts";
import { localFrame, pixelToSky, skyToPixel } from "./wcs.ts";

/** One exposure of the place. */
export interface Epoch {
  id: string;
  band: string;
  mjd: number;
  visit: number;
}

/** What is looked at. */
export interface Series {
  ra: number;
  dec: number;
  side: number;
  kind: string;
  band: string;
}

const KINDS = ["visit_image", "difference_image"];
const ALL = "all";
const PLAY_MS = 900;
const GAP_PX = 16;

/** A series in an address. */
export function formatSeries({ ra, dec, side, kind, band }: Series): string {
  return [ra.toFixed(7), dec.toFixed(7), String(side), kind, band].join(",");
}

/** What `formatSeries` wrote; null for anything else. */
export function parseSeries(text: string): Series | null {
  const [ra, dec, side, kind, band] = text.split(",");
  const series = { ra: Number(ra), dec: Number(dec), side: Number(side), kind: kind ?? "", band: band ?? "" };
  const good = [series.ra, series.dec, series.side].every(Number.isFinite) && Math.abs(series.dec) <= 90 && series.side > 0 && KINDS.includes(series.kind);
  return good && band !== undefined ? series : null;
}

/** Steps through exposures. */
export class EpochPanel implements Panel {
  readonly name = "Epochs";
  readonly help = "The same place at all times (E)";
  readonly element: HTMLElement;
  private readonly host: Host;
  /** Opens an image and holds the limits of brightness. */
  private readonly openHeld: (release: string, id: string, held: boolean) => Promise<void>;
  private readonly place = make("input", { type: "text", "aria-label": "Position (RA Dec in degrees)", placeholder: "the middle of the view" });
  private readonly kind = choice("Image type", KINDS, "visit_image", () => undefined);
  private readonly band = choice("In band", [ALL, ..."ugrizy"], ALL, () => undefined);
  private readonly side: HTMLElement;
  private readonly slider = make("input", { type: "range", min: 0, max: 0, step: 1, value: 0, "aria-label": "Exposure", oninput: () => void this.go(Number(this.slider.value)) });
  private readonly play = tick("Play", false, () => this.schedule());
  private readonly words = make("p", { role: "status" });
  private readonly steps: HTMLElement;
  private sideArcsec = 30;
  private series: Series | null = null;
  private release = "";
  private epochs: Epoch[] = [];
  private at = 0;
  /** The cut-out that is on the screen. */
  private shown = "";
  private ticket = 0;
  private timer = 0;

  constructor(host: Host, openHeld: (release: string, id: string, held: boolean) => Promise<void>) {
    this.host = host;
    this.openHeld = openHeld;
    this.side = numberField("Side (arcsec)", this.sideArcsec, (value) => { this.sideArcsec = value; });
    const line = make("div", { class: "line" }, button("◀", "The exposure before", () => void this.go(this.at - 1)), this.slider, button("▶", "The exposure after", () => void this.go(this.at + 1)), this.play);
    this.steps = make("div", { class: "rows", hidden: "" }, line);
    const submit = (event: Event): void => {
      event.preventDefault();
      void this.start();
    };
    this.element = make("div", { class: "rows" }, make("strong", {}, "The same place at all times"),
      make("form", { class: "rows", onsubmit: submit }, make("label", { class: "field" }, make("span", {}, "Position"), this.place), this.side, this.kind, this.band,
        make("div", { class: "line" }, make("button", { type: "submit", title: "Show the exposures of this place one after the other" }, "Show the exposures"),
          button("Middle of the view", "Take the middle of the view as the position", () => this.takeMiddle()))),
      this.steps, this.words);
  }

  refresh(): void {
    if (this.active) return;
    this.steps.hidden = true;
    this.words.textContent = "";
  }

  /** Whether an exposure of the series is on the screen. */
  private get active(): boolean {
    return this.series !== null && this.shown !== "" && this.host.meta?.dataset_id === this.shown;
  }

  private takeMiddle(): void {
    const { meta, view } = this.host;
    const centre = view.centre;
    if (meta?.wcs && centre) this.place.value = pixelToSky(meta.wcs, ...centre).map((v) => v.toFixed(6)).join(" ");
  }

  private async start(): Promise<void> {
    if (!this.place.value.trim()) this.takeMiddle();
    const place = parseDegrees(this.place.value);
    const release = this.host.meta?.release ?? "";
    if (!place || release === OWN || !(this.sideArcsec > 0)) {
      this.words.textContent = release === OWN ? "Images of a release have exposures; files of yours do not." : place ? "The side is larger than 0." : "The position is two numbers in degrees, such as 53.13 -28.10.";
      return;
    }
    const value = (label: HTMLElement): string => label.querySelector("select")?.value ?? "";
    const kept = this.active ? this.epochs[this.at]?.id : undefined;
    const found = await this.list(release, { ra: place[0], dec: place[1], side: this.sideArcsec, kind: value(this.kind), band: value(this.band) });
    if (!found) return;
    this.shown = "";
    await this.go(Math.max(this.epochs.findIndex((e) => e.id === kept), 0));
  }

  /** Ask for the exposures of a place; false when there are none. */
  private async list(release: string, series: Series): Promise<boolean> {
    const query = new URLSearchParams({ ra: String(series.ra), dec: String(series.dec), kind: series.kind });
    const answer = await fetch(`${this.host.base}/epochs/${encodeURIComponent(release)}?${query}`, { credentials: "same-origin" }).catch(() => null);
    if (!answer?.ok) {
      this.words.textContent = `The exposures are not available: ${answer ? await problemOf(answer) : "the server does not answer"}.`;
      return false;
    }
    const all = (await answer.json()) as Epoch[];
    this.epochs = series.band === ALL ? all : all.filter((e) => e.band === series.band);
    this.slider.max = String(Math.max(this.epochs.length - 1, 0));
    this.steps.hidden = this.epochs.length === 0;
    if (this.epochs.length === 0) this.words.textContent = `No ${series.kind}${series.band === ALL ? "" : ` in band ${series.band}`} shows this place.`;
    [this.series, this.release] = [series, release];
    return this.epochs.length > 0;
  }

  /** Show one exposure; what is seen of the sky and the limits stay. */
  private async go(to: number): Promise<void> {
    const { series, epochs, release, host } = this;
    if (!series || epochs.length === 0) return;
    const next = (to + epochs.length) % epochs.length;
    const epoch = epochs[next];
    if (!epoch) return;
    const ticket = ++this.ticket;
    const held = this.active;
    window.clearTimeout(this.timer);
    const query = new URLSearchParams({ ra: String(series.ra), dec: String(series.dec), side: String(series.side) });
    const answer = await fetch(`${host.base}/tiles/${encodeURIComponent(release)}/${epoch.id}/cutout?${query}`, { credentials: "same-origin" }).catch(() => null);
    // Whoever has chosen another image meanwhile has left the series.
    if (ticket !== this.ticket || (held && !this.active)) return;
    if (!answer?.ok) {
      this.words.textContent = `This exposure cannot be shown: ${answer ? await problemOf(answer) : "the server does not answer"}.`;
      return;
    }
    const { id } = (await answer.json()) as { id: string };
    const scale = held ? this.scale() : null;
    [this.at, this.shown] = [next, id];
    await this.openHeld(release, id, held);
    if (ticket !== this.ticket || host.meta?.dataset_id !== id) return;
    this.aim(series, scale ?? this.fitting(series));
    this.tell();
    host.changed();
    this.schedule();
  }

  /** Arcseconds of a screen pixel. */
  private scale(): number | null {
    const { meta, view } = this.host;
    const centre = view.centre;
    const frame = meta?.wcs && centre ? localFrame(meta.wcs, ...centre) : null;
    return frame ? frame.arcsec * (view.map.getView().getResolution() ?? 1) : null;
  }

  private fitting(series: Series): number {
    const [width, height] = this.host.view.map.getSize() ?? [1, 1];
    return (1.05 * series.side) / Math.max(Math.min(width ?? 1, height ?? 1), 1);
  }

  /** Put the place in the middle, north up, at a scale in arcseconds of a screen pixel. */
  private aim({ ra, dec }: Series, scale: number): void {
    const { meta, view } = this.host;
    const at = meta?.wcs ? skyToPixel(meta.wcs, ra, dec) : null;
    const frame = meta?.wcs && at ? localFrame(meta.wcs, ...at) : null;
    if (!frame) return;
    view.centreOn(ra, dec, scale / frame.arcsec);
    view.northUp();
  }

  private tell(): void {
    const epoch = this.epochs[this.at];
    this.slider.value = String(this.at);
    this.steps.hidden = false;
    if (epoch) this.words.textContent = `${this.at + 1} of ${this.epochs.length}: band ${epoch.band}, MJD ${epoch.mjd.toFixed(5)}, visit ${epoch.visit}`;
    this.slider.setAttribute("aria-valuetext", this.words.textContent ?? "");
  }

  private schedule(): void {
    window.clearTimeout(this.timer);
    const playing = this.play.querySelector("input")?.checked;
    if (playing && this.active && this.element.isConnected) this.timer = window.setTimeout(() => void this.go(this.at + 1), PLAY_MS);
  }

  /** A cross with an open middle at the place. */
  readonly paint: Painter = (context, view) => {
    const wcs = view.store?.meta.wcs;
    if (!this.active || view !== this.host.view || !this.series || !wcs) return;
    const at = skyToPixel(wcs, this.series.ra, this.series.dec);
    const [x, y] = (at && view.toScreen(...at)) ?? [NaN, NaN];
    if (!Number.isFinite(x)) return;
    const path = new Path2D();
    for (const [u, v] of [[1, 0], [-1, 0], [0, 1], [0, -1]] as const) {
      path.moveTo(x + u * GAP_PX, y + v * GAP_PX);
      path.lineTo(x + 2 * u * GAP_PX, y + 2 * v * GAP_PX);
    }
    strokeTwice(context, path, "#ffb000");
  };

  /** The series for an address; empty when none is on the screen. */
  format(): string {
    return this.active && this.series ? formatSeries(this.series) : "";
  }

  /** Take up the series of an address, of which the image on the screen is one. */
  async restore(text: string): Promise<void> {
    const series = parseSeries(text);
    const meta = this.host.meta;
    if (!series || !meta) return;
    this.place.value = `${series.ra} ${series.dec}`;
    this.sideArcsec = series.side;
    setControl(this.side, series.side);
    setControl(this.kind, series.kind);
    setControl(this.band, series.band);
    const found = await this.list(meta.release, series);
    const at = this.epochs.findIndex((e) => meta.dataset_id.startsWith(`cutout-${e.id}-`));
    if (!found || at < 0 || this.host.meta !== meta) return;
    [this.at, this.shown] = [at, meta.dataset_id];
    this.tell();
    this.host.changed();
  }
}
