/** Points that a program draws over the image, by name; they keep their places on the sky from image to image. */

import { make } from "./dom.ts";
import type { ImageView } from "./view.ts";
import { skyToPixel } from "./wcs.ts";

export interface MarkList {
  name: string;
  colour: string;
  ra_deg: number[];
  dec_deg: number[];
  labels: string[];
}

const SIZE = 7;

/** A canvas over the map with the points of all lists. */
export class Marks {
  private readonly canvas = make("canvas", { class: "marks", "aria-hidden": "true", style: "position:absolute;inset:0;pointer-events:none;z-index:1" });
  private readonly lists = new Map<string, MarkList>();
  private readonly view: ImageView;

  constructor(view: ImageView) {
    this.view = view;
    view.target.append(this.canvas);
    view.map.on("postrender", () => this.draw());
  }

  /** Show a list instead of the one that had its name; an empty one only takes that away. */
  set(list: MarkList): void {
    this.lists.delete(list.name);
    if (list.ra_deg.length > 0) this.lists.set(list.name, list);
    this.draw();
  }

  private draw(): void {
    const { canvas, view } = this;
    const [width, height] = view.map.getSize() ?? [0, 0];
    const ratio = window.devicePixelRatio || 1;
    const size = [Math.round((width ?? 0) * ratio), Math.round((height ?? 0) * ratio)] as const;
    if (canvas.width !== size[0] || canvas.height !== size[1]) {
      [canvas.width, canvas.height] = size;
      canvas.style.width = `${width}px`;
      canvas.style.height = `${height}px`;
    }
    const context = canvas.getContext("2d");
    if (!context) return;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width ?? 0, height ?? 0);
    let drawn = 0;
    for (const list of this.lists.values()) drawn += this.drawList(context, list, width ?? 0, height ?? 0);
    canvas.dataset.drawn = String(drawn);
  }

  /** Draw one list; how many of its points are in view. */
  private drawList(context: CanvasRenderingContext2D, list: MarkList, width: number, height: number): number {
    const fit = this.view.store?.meta.wcs;
    if (!fit) return 0;
    const path = new Path2D();
    let drawn = 0;
    context.font = "12px system-ui, sans-serif";
    context.fillStyle = list.colour;
    for (const [n, ra] of list.ra_deg.entries()) {
      const at = skyToPixel(fit, ra, list.dec_deg[n] ?? NaN);
      const pixel = at ? this.view.map.getPixelFromCoordinate([at[0] + 0.5, at[1] + 0.5]) : null;
      const [x, y] = [pixel?.[0] ?? NaN, pixel?.[1] ?? NaN];
      if (!(x > -SIZE && y > -SIZE && x < width + SIZE && y < height + SIZE)) continue;
      path.rect(x - SIZE, y - SIZE, 2 * SIZE, 2 * SIZE);
      const text = list.labels[n];
      if (text) context.fillText(text, x + SIZE + 3, y - SIZE);
      drawn += 1;
    }
    context.lineWidth = 3;
    context.strokeStyle = "rgba(0, 0, 0, 0.55)";
    context.stroke(path);
    context.lineWidth = 1.6;
    context.strokeStyle = list.colour;
    context.stroke(path);
    return drawn;
  }
}
