/** Several images at once: side by side, blinking or under a curtain, all locked to the same part of the sky. */

import { make } from "./dom.ts";
import type { Pane } from "./pane.ts";

export const LAYOUTS = ["side by side", "blink", "curtain"] as const;
export type Layout = (typeof LAYOUTS)[number];

const BLINK_MS = 600;

/** Lays the images out and keeps them together. */
export class Comparison {
  readonly element = make("div", { class: "panes" });
  readonly panes: Pane[] = [];
  layout: Layout = "side by side";
  locked = true;
  active: Pane;
  private cut = 0.5;
  private timer = 0;
  private readonly keys = new Map<Pane, string>();
  private readonly activated: () => void;
  private readonly handle: HTMLElement;

  constructor(first: Pane, activated: () => void) {
    this.active = first;
    this.activated = activated;
    this.handle = make("div", { class: "curtain-handle", role: "slider", tabindex: "0", hidden: "", "aria-label": "Curtain", "aria-valuemin": "0", "aria-valuemax": "100" });
    this.handle.addEventListener("pointerdown", (event) => this.drag(event));
    this.handle.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -0.02, ArrowRight: 0.02 }[event.key];
      if (step === undefined) return;
      event.preventDefault();
      this.setCut(this.cut + step);
    });
    this.element.append(this.handle);
    this.add(first);
  }

  add(pane: Pane): void {
    this.panes.push(pane);
    this.element.insertBefore(pane.element, this.handle);
    pane.view.map.on("postrender", () => this.follow(pane));
    for (const type of ["pointerdown", "focusin", "pointerenter"]) {
      pane.element.addEventListener(type, () => { if (type !== "pointerenter" || this.layout === "curtain") this.activate(pane); });
    }
    this.arrange();
  }

  /** Keep the first image only. */
  removeOthers(): void {
    for (const pane of this.panes.splice(1)) pane.dispose();
    const [first] = this.panes;
    if (first) this.activate(first);
    this.arrange();
  }

  activate(pane: Pane): void {
    if (pane === this.active) return;
    this.active = pane;
    this.arrange();
    this.activated();
  }

  setLayout(layout: Layout): void {
    this.layout = layout;
    this.arrange();
  }

  /** Show the next image of a blinking stack, or make the next one active. */
  next(): void {
    const next = this.panes[(this.panes.indexOf(this.active) + 1) % this.panes.length];
    if (next) this.activate(next);
  }

  get blinking(): boolean {
    return this.timer !== 0;
  }

  /** Blink by itself, or stop. */
  blink(on: boolean): void {
    window.clearInterval(this.timer);
    this.timer = 0;
    if (!on || this.panes.length < 2) return;
    this.setLayout("blink");
    this.timer = window.setInterval(() => this.next(), BLINK_MS);
  }

  dispose(): void {
    this.blink(false);
    for (const pane of this.panes) pane.dispose();
  }

  /** Bring all images to where the active one is. */
  align(): void {
    for (const pane of this.panes) if (pane !== this.active && pane.view.store) pane.view.align(this.active.view);
  }

  private follow(pane: Pane): void {
    if (!this.locked || pane !== this.active || this.panes.length < 2 || !pane.view.store) return;
    const view = pane.view.map.getView();
    const key = `${view.getCenter()} ${view.getResolution()} ${view.getRotation()} ${pane.view.flipped}`;
    if (this.keys.get(pane) === key) return;
    this.keys.set(pane, key);
    this.align();
  }

  private arrange(): void {
    const many = this.panes.length > 1;
    this.element.dataset.layout = many ? this.layout : "single";
    const columns = Math.ceil(Math.sqrt(this.panes.length));
    this.element.style.gridTemplateColumns = many && this.layout === "side by side" ? `repeat(${columns}, minmax(0, 1fr))` : "";
    this.handle.hidden = !(many && this.layout === "curtain");
    if (this.layout !== "blink") this.stop();
    this.panes.forEach((pane, n) => {
      const hidden = many && ((this.layout === "blink" && pane !== this.active) || (this.layout === "curtain" && n > 1));
      pane.element.style.visibility = hidden ? "hidden" : "";
      pane.element.style.clipPath = many && this.layout === "curtain" && n === 1 ? `inset(0 0 0 ${100 * this.cut}%)` : "";
      pane.element.classList.toggle("active", many && pane === this.active);
      pane.name(pane.view.store?.meta.title ?? "", many);
    });
    this.handle.style.left = `${100 * this.cut}%`;
    this.handle.setAttribute("aria-valuenow", String(Math.round(100 * this.cut)));
  }

  private stop(): void {
    window.clearInterval(this.timer);
    this.timer = 0;
  }

  setCut(cut: number): void {
    this.cut = Math.min(Math.max(cut, 0), 1);
    this.arrange();
  }

  /** Names have changed. */
  refresh(): void {
    this.arrange();
  }

  private drag(event: PointerEvent): void {
    event.preventDefault();
    this.handle.setPointerCapture(event.pointerId);
    const move = (e: PointerEvent): void => {
      const box = this.element.getBoundingClientRect();
      this.setCut((e.clientX - box.left) / box.width);
    };
    const up = (): void => {
      this.handle.removeEventListener("pointermove", move);
      this.handle.removeEventListener("pointerup", up);
    };
    this.handle.addEventListener("pointermove", move);
    this.handle.addEventListener("pointerup", up);
  }
}
