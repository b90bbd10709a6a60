/** The panel that explains the image view and its keys. */

import { make, rows } from "./dom.ts";
import type { Panel } from "./panels.ts";

/** Keys of the image and what they do. */
const KEYS: readonly (readonly [string, string])[] = [
  ["arrows, with shift further", "move"],
  ["+ − 0 1", "zoom in, zoom out, show all, one to one"],
  ["[ ]", "turn by 5°"],
  ["N  U", "north up; as the pixels are stored"],
  ["S  C  I", "next stretch, next colours, inverted colours"],
  ["B", "drag changes bias and contrast; once more ends it"],
  ["X", "bias and contrast as at first"],
  ["V", "next plane: image, variance, noise, signal to noise"],
  ["D  M  G", "display, mask planes, next coordinate grid"],
  ["A", "catalogs over the image"],
  ["O  Enter", "choose sources, the source nearest to the middle"],
  ["T  space", "measure; a point at the middle of the view"],
  ["Backspace", "remove the region that was drawn last"],
  ["K  .", "compare images, the next image"],
  ["E", "the same place at all times"],
  ["H  P  F", "about this image, PSF at the middle, open a file"],
  ["R  L  Y", "say the value at the middle, lock it, copy the position as Python"],
  ["Esc", "close, give up, unlock"],
  ["?", "this help"],
];

const WORDS = [
  "Drag moves the image, the wheel zooms, Alt + Shift + drag turns it. Click a place to keep its readout, Esc lets it go.",
  "Everything that is set here is in the address of the page: a link shows the same view.",
  "Values are those of the archive at full resolution. “≈” marks the mean of a block while the exact pixel is on its way.",
];

/** Help in place. */
export class HelpPanel implements Panel {
  readonly name = "?";
  readonly help = "Help and keys (?)";
  readonly element = make("div", { class: "rows" }, make("strong", {}, "The image view"), ...WORDS.map((text) => make("p", {}, text)),
    make("strong", {}, "Keys (after a click on the image)"), rows(KEYS));

  refresh(): void {}
}
