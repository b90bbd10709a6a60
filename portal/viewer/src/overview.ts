/**
 * The coarsest tile of an image, drawn without the graphics process: what one sees, moves and reads while shaders are
 * compiled and the finer tiles arrive.
 */

import Layer from "ol/layer/Layer.js";
import type { FrameState } from "ol/Map.js";
import { paletteTable } from "./palettes.ts";
import { brightness, type Display } from "./stretch.ts";
import { paddedSize, type ImageMeta } from "./tiles.ts";

/** Steps between the limits; as many as the steepest stretch needs to lose none of 256 shades. */
const STEPS = 65536;

/** Colour values as the float shader does; NaN is transparent. Four bytes a value, red first. */
export function colourValues(values: Float32Array, display: Display): Uint8ClampedArray<ArrayBuffer> {
  const palette = new Uint32Array(paletteTable().buffer, display.map * 1024, 256);
  const range = display.high - display.low;
  const shades = Uint32Array.from({ length: STEPS }, (_, n) => {
    const shade = Math.round(255 * brightness(display.low + (n / (STEPS - 1)) * range, display));
    return palette[display.invert ? 255 - shade : shade] ?? 0;
  });
  const out = new Uint32Array(values.length);
  const scale = (STEPS - 1) / range;
  for (let n = 0; n < values.length; n++) {
    const step = ((values[n] ?? NaN) - display.low) * scale;
    if (step === step) out[n] = shades[step < 0 ? 0 : step > STEPS - 1 ? STEPS - 1 : Math.round(step)] ?? 0;
  }
  return new Uint8ClampedArray(out.buffer);
}

/** Shows one tile over the whole image; hidden as soon as the real picture is complete. */
export class OverviewLayer extends Layer {
  private readonly canvas = document.createElement("canvas");
  private meta: ImageMeta | null = null;

  constructor() {
    super({ zIndex: -1 });
    this.canvas.className = "sd-overview";
    // Coloured once and put in place by the compositor: drawn again for each frame it would hold up the other layers.
    this.canvas.style.cssText = "position:absolute;left:0;top:0;transform-origin:0 0;will-change:transform;image-rendering:pixelated;pointer-events:none";
    this.hide();
  }

  // The base class asks for a source; this layer is fed directly and is always ready.
  override getSourceState(): "ready" {
    return "ready";
  }

  /** Whether the picture is on the screen. */
  get shown(): boolean {
    return this.meta !== null;
  }

  /** Take the coarsest tile of an image. */
  show(tile: Float32Array, meta: ImageMeta, display: Display): void {
    const side = meta.tile_size;
    if (tile.length !== side * side) return;
    const { canvas } = this;
    // What lies beyond the image is padding; rows of a tile count from the top, those of the image from the bottom.
    const [height, width] = meta.shape.map((length) => Math.ceil((length * side) / paddedSize(meta))) as [number, number];
    const picture = new ImageData(colourValues(tile, display), side, side);
    [canvas.width, canvas.height] = [width, height];
    canvas.getContext("2d", { willReadFrequently: true })?.putImageData(picture, 0, height - side);
    this.meta = meta;
    canvas.hidden = false;
    this.changed();
  }

  /** Take the picture off the screen, without drawing the others again. */
  hide(): void {
    this.meta = null;
    this.canvas.hidden = true;
    [this.canvas.width, this.canvas.height] = [0, 0];
  }

  override render(frame: FrameState | null): HTMLElement {
    const { canvas, meta } = this;
    if (!frame || !meta) return canvas;
    const [a = 1, b = 0, c = 0, d = 1, e = 0, f = 0] = frame.coordinateToPixelTransform;
    const block = paddedSize(meta) / meta.tile_size;
    const top = canvas.height * block;
    canvas.style.transform = `matrix(${[a * block, b * block, -c * block, -d * block, c * top + e, d * top + f].join()})`;
    return canvas;
  }
}
