/** Mounts the coordinates below a plot of the sky in a Panel component. */

import style from "./coordinates.css";
import { Coordinates } from "./coordinates.ts";
import { make } from "./dom.ts";
import type { Frame } from "./skyframes.ts";

interface Model {
  frame: Frame;
  turned: boolean;
  centre: number;
  at: number[];
  tapped: number[];
  ends: number[][];
  picked: number[];
  on(event: string | string[], callback: () => void): void;
}

export function render({ model }: { model: Model }): HTMLElement {
  const axes = { frame: model.frame, isTurned: model.turned, centre: model.centre };
  const coordinates = new Coordinates(axes, (ends) => { model.ends = ends.map((end) => [...end]); }, (at) => { model.picked = [...at]; });
  model.on("at", () => coordinates.point(model.at));
  model.on("tapped", () => coordinates.tap(model.tapped));
  return make("div", {}, make("style", {}, style), coordinates.element);
}
