/** One image of the workspace: the view, what is drawn over it, and its caption. */

import { make } from "./dom.ts";
import { Furniture } from "./furniture.ts";
import { SkyGrid } from "./grid.ts";
import { MocPainter } from "./moc.ts";
import { Overlay, type Painter } from "./overlay.ts";
import { ImageView, type ViewEvents } from "./view.ts";

/** Holds one image. */
export class Pane {
  readonly element: HTMLElement;
  readonly map: HTMLElement;
  readonly view: ImageView;
  readonly grid = new SkyGrid();
  readonly moc = new MocPainter();
  readonly furniture = new Furniture();
  readonly overlay: Overlay;
  private readonly caption = make("div", { class: "caption", hidden: "" });

  constructor(label: string, events: ViewEvents, painters: Painter[]) {
    this.map = make("div", { class: "map", tabindex: "0", role: "application", "aria-label": label });
    this.element = make("div", { class: "pane" }, this.map);
    this.view = new ImageView(this.map, events);
    this.overlay = new Overlay(this.view, [this.moc.paint, this.grid.paint, ...painters]);
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
