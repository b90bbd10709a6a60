/** Compass and scale bar drawn over the image. */

import { make } from "./dom.ts";
import type { Corner } from "./overlaystate.ts";
import type { ImageView } from "./view.ts";
import { localFrame } from "./wcs.ts";

const NICE_ARCSEC = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 18000, 36000];

/** The longest round length that is at most `limit` arcseconds. */
export function niceLength(limit: number): number {
  return NICE_ARCSEC.filter((n) => n <= limit).at(-1) ?? NICE_ARCSEC[0] ?? 1;
}

/** A length with the unit people use for it. */
export function formatLength(arcsec: number): string {
  if (arcsec < 60) return `${arcsec}″`;
  return arcsec < 3600 ? `${arcsec / 60}′` : `${arcsec / 3600}°`;
}

function arrow(direction: [number, number], name: string): string {
  const [dx, dy] = [direction[0] * 26, -direction[1] * 26];
  return `<line x1="36" y1="36" x2="${36 + dx}" y2="${36 + dy}" marker-end="url(#sd-tip)"/><text x="${36 + dx * 1.32}" y="${36 + dy * 1.32 + 4}">${name}</text>`;
}

/** Keeps a compass and a scale bar up to date with a view. */
export class Furniture {
  readonly element: HTMLElement;
  private readonly compass: HTMLElement;
  private readonly bar: HTMLElement;
  private readonly label: HTMLElement;
  private place: Corner = "bottom left";

  get corner(): Corner {
    return this.place;
  }

  /** Put both into a corner, or hide them. */
  set corner(corner: Corner) {
    this.place = corner;
    this.element.dataset.corner = corner;
  }

  constructor() {
    this.compass = make("div", { class: "compass" });
    this.bar = make("div", { class: "bar" });
    this.label = make("div", { class: "bar-label" });
    this.element = make("div", { class: "furniture" }, this.compass, make("div", {}, this.label, this.bar));
  }

  update(view: ImageView): void {
    const fit = view.store?.meta.wcs;
    const olView = view.map.getView();
    const centre = olView.getCenter();
    const resolution = olView.getResolution();
    const frame = fit && centre ? localFrame(fit, (centre[0] ?? 0) - 0.5, (centre[1] ?? 0) - 0.5) : null;
    this.element.hidden = !frame || !resolution;
    if (!frame || !resolution) return;
    const perScreenPixel = frame.arcsec * resolution;
    const length = niceLength(perScreenPixel * 140);
    const screen = ([dx, dy]: [number, number]): [number, number] => {
      const angle = view.rotation;
      const [x, y] = [dx * Math.cos(angle) + dy * Math.sin(angle), dy * Math.cos(angle) - dx * Math.sin(angle)];
      return [view.flipped ? -x : x, y];
    };
    this.bar.style.width = `${length / perScreenPixel}px`;
    this.label.textContent = formatLength(length);
    this.compass.innerHTML = `<svg width="72" height="72" role="img" aria-label="Directions of north and east"><defs><marker id="sd-tip" viewBox="0 0 6 6" refX="3" refY="3" markerWidth="5" markerHeight="5" orient="auto"><path d="M0 0L6 3L0 6z"/></marker></defs>${arrow(screen(frame.north), "N")}${arrow(screen(frame.east), "E")}</svg>`;
  }
}
