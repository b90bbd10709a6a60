/** Panels that the tool bar opens, one at a time. */

import { make } from "./dom.ts";
import type { Pane } from "./pane.ts";
import type { ImageMeta } from "./tiles.ts";
import type { ImageView } from "./view.ts";

/** What panels may do with the workspace. */
export interface Host {
  readonly base: string;
  /** The image that tools and settings act on. */
  readonly pane: Pane;
  readonly view: ImageView;
  readonly meta: ImageMeta | null;
  say(text: string, forMs?: number): void;
  /** Draw again and write the address. */
  changed(): void;
}

/** One panel. */
export interface Panel {
  readonly name: string;
  readonly help: string;
  readonly element: HTMLElement;
  /** The panel is about to be seen, or the image has changed while it is. */
  refresh(): void;
}

/** Opens and closes panels. */
export class PanelSet {
  readonly element = make("div", { class: "panel", hidden: "", role: "region" });
  readonly buttons = new Map<string, HTMLButtonElement>();
  private readonly panels: Panel[];
  open: Panel | null = null;

  constructor(panels: Panel[]) {
    this.panels = panels;
    for (const panel of panels) {
      const opener = make("button", { type: "button", title: panel.help, "aria-expanded": "false", onclick: () => this.toggle(panel.name) }, panel.name);
      this.buttons.set(panel.name, opener);
    }
    this.element.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.close();
      event.stopPropagation();
    });
  }

  toggle(name: string): void {
    const panel = this.panels.find((p) => p.name === name) ?? null;
    if (this.open === panel || !panel) {
      this.close();
      return;
    }
    this.open = panel;
    this.element.replaceChildren(panel.element);
    this.element.setAttribute("aria-label", panel.name);
    this.element.hidden = false;
    this.show();
    panel.refresh();
    (panel.element.querySelector("button, input, select, textarea") as HTMLElement | null)?.focus({ preventScroll: true });
  }

  close(): void {
    if (!this.open) return;
    const opener = this.buttons.get(this.open.name);
    const inside = this.element.contains((this.element.getRootNode() as Document | ShadowRoot).activeElement);
    this.open = null;
    this.element.hidden = true;
    this.show();
    if (inside) opener?.focus();
  }

  /** The image has changed. */
  refresh(): void {
    this.open?.refresh();
  }

  private show(): void {
    for (const [name, opener] of this.buttons) opener.setAttribute("aria-expanded", String(this.open?.name === name));
  }
}
