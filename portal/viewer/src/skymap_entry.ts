/** Mounts the sky map in a Panel component. */

import style from "./viewer.css";
import { make } from "./dom.ts";
import { SkyMap, type SkyMapEntry } from "./skymap.ts";

interface Model {
  base: string;
  maps: SkyMapEntry[];
  wanted: { ra?: number; dec?: number };
  on(event: string | string[], callback: () => void): void;
}

export function render({ model }: { model: Model }): HTMLElement {
  const map = new SkyMap(model.base, model.maps);
  // Aladin Lite measures its element, which therefore has to be part of the page.
  model.on("after_render", () => void map.start());
  model.on("wanted", () => {
    const { ra, dec } = model.wanted;
    if (ra !== undefined && dec !== undefined) map.lookAt(ra, dec);
  });
  model.on("remove", () => map.dispose());
  return make("div", { class: "root" }, make("style", {}, style), map.element);
}
