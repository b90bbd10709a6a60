/** Drawing on the image: what the pointer and the keys do while a tool is chosen. */

import PointerInteraction from "ol/interaction/Pointer.js";
import type MapBrowserEvent from "ol/MapBrowserEvent.js";
import { label, strokeTwice, type Painter } from "./overlay.ts";
import { makeRegion, outline, type Region } from "./regions.ts";
import type { ImageView } from "./view.ts";

export const TOOLS = ["look", "distance", "profile", "circle", "ellipse", "box", "polygon", "point", "aperture"] as const;
export type Tool = (typeof TOOLS)[number];

/** Tools that are given two points, one by pressing and one by letting go. */
const TWO: readonly Tool[] = ["distance", "profile", "circle", "ellipse", "box"];

/** The region that two points span: centre and rim, or centre and corner. */
export function spanned(tool: Tool, a: [number, number], b: [number, number]): Region {
  const [dx, dy] = [Math.abs(b[0] - a[0]), Math.abs(b[1] - a[1])];
  if (tool === "circle") return makeRegion("circle", [a], [Math.hypot(dx, dy)]);
  if (tool === "ellipse") return makeRegion("ellipse", [a], [Math.max(dx, 0.5), Math.max(dy, 0.5)]);
  if (tool === "box") return makeRegion("box", [a], [Math.max(2 * dx, 1), Math.max(2 * dy, 1)]);
  return makeRegion("line", [a, b]);
}

/** Draw one region with its words. */
export function paintRegion(context: CanvasRenderingContext2D, view: ImageView, region: Region, chosen = false): void {
  const rim = outline(region).map(([x, y]) => view.toScreen(x, y));
  const first = rim[0];
  if (!first) return;
  context.globalAlpha = region.opacity ?? 1;
  const path = new Path2D();
  if (region.shape === "point") {
    path.moveTo(first[0] - 7, first[1]);
    path.lineTo(first[0] + 7, first[1]);
    path.moveTo(first[0], first[1] - 7);
    path.lineTo(first[0], first[1] + 7);
  } else {
    rim.forEach((at, n) => { if (at && n === 0) path.moveTo(...at); else if (at) path.lineTo(...at); });
    if (region.shape !== "line") path.closePath();
  }
  if (region.exclude) context.setLineDash([6, 4]);
  strokeTwice(context, path, region.colour, chosen ? 2.6 : 1.6);
  context.setLineDash([]);
  if (region.text) label(context, region.text, Math.max(...rim.map((at) => at?.[0] ?? 0)) + 5, first[1], region.colour);
}

/** What the tools tell. */
export interface ToolEvents {
  /** Points that complete what the tool needs. */
  finished(tool: Tool, points: [number, number][]): void;
  /** A drag that belongs to no tool, in shares of the view's size; true to take it instead of moving the image. */
  dragged(dx: number, dy: number): boolean;
}

/** The tool at hand and its unfinished points; one for all images. */
export class Toolbox {
  tool: Tool = "look";
  readonly regions: Region[] = [];
  /** The region that was clicked. */
  chosen: Region | null = null;
  private points: [number, number][] = [];
  private loose: [number, number] | null = null;
  private readonly events: ToolEvents;

  constructor(events: ToolEvents) {
    this.events = events;
  }

  get busy(): boolean {
    return this.tool !== "look";
  }

  choose(tool: Tool): void {
    this.tool = tool;
    this.points = [];
    this.loose = null;
  }

  /** Take points from the pointer on this view. */
  attach(view: ImageView): void {
    view.map.addInteraction(new ToolInteraction(this, view, this.events));
  }

  readonly paint: Painter = (context, view) => {
    for (const region of this.regions) paintRegion(context, view, region, region === this.chosen);
    context.globalAlpha = 1;
    const [first] = this.points;
    if (first && this.loose) paintRegion(context, view, this.tool === "polygon" ? makeRegion("line", [...this.points, this.loose]) : spanned(this.tool, first, this.loose));
    if (this.busy && view.centre && view.target.matches(":focus-visible")) paintRegion(context, view, makeRegion("point", [view.centre]));
  };

  press(at: [number, number]): void {
    if (this.tool === "point" || this.tool === "aperture") {
      this.events.finished(this.tool, [at]);
    } else if (this.tool === "polygon") {
      this.points.push(at);
      this.loose = at;
    } else {
      this.points = [at];
      this.loose = at;
    }
  }

  move(at: [number, number]): void {
    if (this.points.length > 0) this.loose = at;
  }

  /** End a drag; a press without a drag waits for a second one. */
  release(at: [number, number], moved: boolean): void {
    const [first] = this.points;
    if (TWO.includes(this.tool) && first && moved) this.finish([first, at]);
  }

  /** Put a point at a place by the keyboard. */
  place(at: [number, number]): void {
    const [first] = this.points;
    if (TWO.includes(this.tool) && first) this.finish([first, at]);
    else this.press(at);
  }

  /** Close the polygon. */
  close(): boolean {
    // A double click has put the last corner twice.
    const corners = this.points.filter(([x, y], n) => n === 0 || x !== this.points[n - 1]?.[0] || y !== this.points[n - 1]?.[1]);
    if (this.tool !== "polygon" || corners.length < 3) return false;
    this.finish(corners);
    return true;
  }

  /** Give the unfinished points up; false when there are none. */
  cancel(): boolean {
    const had = this.points.length > 0;
    this.points = [];
    this.loose = null;
    return had;
  }

  private finish(points: [number, number][]): void {
    this.points = [];
    this.loose = null;
    this.events.finished(this.tool, points);
  }

  /** Whether a press continues what an earlier one began. */
  get waiting(): [number, number][] {
    return this.points;
  }
}

class ToolInteraction extends PointerInteraction {
  private readonly box: Toolbox;
  private readonly view: ImageView;
  private readonly events_: ToolEvents;
  private from: [number, number] = [0, 0];
  private adjusting = false;

  constructor(box: Toolbox, view: ImageView, events: ToolEvents) {
    super();
    this.box = box;
    this.view = view;
    this.events_ = events;
  }

  private at(event: MapBrowserEvent): [number, number] {
    return [(event.coordinate[0] ?? 0) - 0.5, (event.coordinate[1] ?? 0) - 0.5];
  }

  override handleEvent(event: MapBrowserEvent): boolean {
    if (this.box.busy && event.type === "pointermove") {
      this.box.move(this.at(event));
      if (this.box.waiting.length > 0) this.view.map.render();
    }
    // A double click closes a polygon instead of zooming in; two quick clicks at two places are two corners.
    if (this.box.busy && event.type === "dblclick") {
      const [last, before] = this.box.waiting.slice(-2).reverse();
      if (last && before && Math.hypot(last[0] - before[0], last[1] - before[1]) < 10 * (this.view.map.getView().getResolution() ?? 1)) this.box.close();
      return false;
    }
    return super.handleEvent(event);
  }

  override handleDownEvent(event: MapBrowserEvent): boolean {
    this.from = event.pixel as [number, number];
    this.adjusting = !this.box.busy && this.events_.dragged(0, 0);
    if (this.adjusting) return true;
    if (!this.box.busy) return false;
    const [first] = this.box.waiting;
    const last = this.box.tool === "polygon" && this.box.waiting.length > 2 && first ? this.view.map.getPixelFromCoordinate([first[0] + 0.5, first[1] + 0.5]) : null;
    if (last && Math.hypot((last[0] ?? 0) - this.from[0], (last[1] ?? 0) - this.from[1]) < 10) this.box.close();
    else if (TWO.includes(this.box.tool) && first) this.box.place(this.at(event));
    else this.box.press(this.at(event));
    this.view.map.render();
    return true;
  }

  override handleDragEvent(event: MapBrowserEvent): void {
    const [width, height] = this.view.map.getSize() as [number, number];
    const pixel = event.pixel as [number, number];
    if (this.adjusting) {
      this.events_.dragged((pixel[0] - this.from[0]) / width, (pixel[1] - this.from[1]) / height);
      this.from = pixel;
      return;
    }
    this.box.move(this.at(event));
    this.view.map.render();
  }

  override handleUpEvent(event: MapBrowserEvent): boolean {
    const pixel = event.pixel as [number, number];
    if (!this.adjusting) this.box.release(this.at(event), Math.hypot(pixel[0] - this.from[0], pixel[1] - this.from[1]) > 4);
    this.adjusting = false;
    this.view.map.render();
    return false;
  }
}
