/** A canvas over an image for what is drawn in lines and words; unlike the image it is never mirrored. */

import { make } from "./dom.ts";
import type { ImageView } from "./view.ts";

/** Draws something; positions come from `view.toScreen`. */
export type Painter = (context: CanvasRenderingContext2D, view: ImageView) => void;

/** Calls its painters whenever the image is drawn. */
export class Overlay {
  readonly element = make("canvas", { class: "overlay", "aria-hidden": "true" });
  private readonly view: ImageView;
  private readonly painters: Painter[];

  constructor(view: ImageView, painters: Painter[]) {
    this.view = view;
    this.painters = painters;
    view.map.on("postrender", () => this.draw());
  }

  draw(): void {
    const [width, height] = this.view.map.getSize() ?? [0, 0];
    const ratio = window.devicePixelRatio || 1;
    const canvas = this.element;
    const size = [Math.round((width ?? 0) * ratio), Math.round((height ?? 0) * ratio)] as const;
    if (canvas.width !== size[0] || canvas.height !== size[1]) [canvas.width, canvas.height] = size;
    const context = canvas.getContext("2d");
    if (!context) return;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width ?? 0, height ?? 0);
    if (!this.view.store) return;
    for (const painter of this.painters) {
      context.save();
      painter(context, this.view);
      context.restore();
    }
  }
}

/** Draw a path twice, dark below and coloured above, so that it is seen on every background. */
export function strokeTwice(context: CanvasRenderingContext2D, path: Path2D, colour: string, width = 1.5): void {
  context.strokeStyle = "rgba(0, 0, 0, 0.6)";
  context.lineWidth = width + 1.8;
  context.stroke(path);
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.stroke(path);
}

/** Write words that are seen on every background. */
export function label(context: CanvasRenderingContext2D, text: string, x: number, y: number, colour: string): void {
  context.font = "12px system-ui, sans-serif";
  context.lineJoin = "round";
  context.strokeStyle = "rgba(0, 0, 0, 0.75)";
  context.lineWidth = 3;
  context.strokeText(text, x, y);
  context.fillStyle = colour;
  context.fillText(text, x, y);
}
