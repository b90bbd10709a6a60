/** The view as a picture: the image, what is drawn over it, the scale bar. */

import { formatLength, niceLength } from "./furniture.ts";
import { label } from "./overlay.ts";
import type { Pane } from "./pane.ts";
import { localFrame } from "./wcs.ts";

/** Draw what a pane shows on one canvas. */
export function takePicture(pane: Pane): HTMLCanvasElement {
  const { view } = pane;
  view.map.renderSync();
  const [width, height] = view.map.getSize() as [number, number];
  const out = document.createElement("canvas");
  [out.width, out.height] = [width, height];
  const context = out.getContext("2d");
  if (!context) throw new Error("the browser makes no pictures");
  context.fillStyle = "#05070b";
  context.fillRect(0, 0, width, height);
  if (view.flipped) context.setTransform(-1, 0, 0, 1, width, 0);
  for (const canvas of view.map.getViewport().querySelectorAll<HTMLCanvasElement>("canvas:not(.sd-overview)")) {
    if (canvas.width > 0 && canvas.height > 0) context.drawImage(canvas, 0, 0, width, height);
  }
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.drawImage(pane.overlay.element, 0, 0, width, height);
  const fit = view.store?.meta.wcs;
  const frame = fit && view.centre ? localFrame(fit, ...view.centre) : null;
  const resolution = view.map.getView().getResolution();
  if (frame && resolution) {
    const length = niceLength(frame.arcsec * resolution * 140);
    const bar = length / (frame.arcsec * resolution);
    context.fillStyle = "#fff";
    context.fillRect(14, height - 18, bar, 3);
    label(context, formatLength(length), 14, height - 24, "#fff");
  }
  label(context, view.store?.meta.title ?? "", 14, 20, "#fff");
  return out;
}
