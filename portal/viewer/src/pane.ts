/** One image of the workspace: the view, what is drawn over it, and its caption. */

import { make } from "./dom.ts";
import { Furniture } from "./furniture.ts";
import { SkyGrid } from "./grid.ts";
import { MocPainter } from "./moc.ts";
import { OrbitPainter } from "./orbits.ts";
import { Overlay, label, strokeTwice, type Painter } from "./overlay.ts";
import { ImageView, type ViewEvents } from "./view.ts";

/** Outlines and names of the detectors of a focal plane. */
const paintDetectors: Painter = (context, view) => {
  for (const { name, outline } of view.store?.meta.detectors ?? []) {
    const rim = outline.map(([x, y]) => view.toScreen(x, y));
    const path = new Path2D();
    rim.forEach((at, n) => { if (at && n === 0) path.moveTo(...at); else if (at) path.lineTo(...at); });
    path.closePath();
    context.globalAlpha = 0.5;
    strokeTwice(context, path, "#9fb4c9", 1);
    context.globalAlpha = 1;
    const [xs, ys] = [rim.map((at) => at?.[0] ?? 0), rim.map((at) => at?.[1] ?? 0)];
    const [left, right] = [Math.min(...xs), Math.max(...xs)];
    if (right - left > 34) label(context, name, left + 6, Math.min(...ys) + 16, "#d6e4f0");
  }
};

/** Holds one image. */
export class Pane {
  readonly element: HTMLElement;
  readonly map: HTMLElement;
  readonly view: ImageView;
  readonly grid = new SkyGrid();
  readonly moc = new MocPainter();
  readonly orbits = new OrbitPainter();
  readonly furniture = new Furniture();
  readonly overlay: Overlay;
  private readonly caption = make("div", { class: "caption", hidden: "" });

  constructor(label: string, events: ViewEvents, painters: Painter[]) {
    this.map = make("div", { class: "map", tabindex: "0", role: "application", "aria-label": label });
    this.element = make("div", { class: "pane" }, this.map);
    this.view = new ImageView(this.map, events);
    this.overlay = new Overlay(this.view, [paintDetectors, this.moc.paint, this.grid.paint, this.orbits.paint, ...painters]);
    this.element.append(this.overlay.element, this.furniture.element, this.caption);
  }

  /** Say which image this is; several images need it, a single one does not. */
  name(text: string, shown: boolean): void {
    this.caption.textContent = text;
    this.caption.hidden = !shown;
  }

  dispose(): void {
    this.view.dispose();
    this.element.remove();
  }
}
