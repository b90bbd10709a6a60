/** The part of the measuring panel for the figure that was clicked: its words, colour, opacity, statistics. */

import { button, make, slider } from "./dom.ts";
import { describe, type Region } from "./regions.ts";
import type { WcsFit } from "./wcs.ts";

/** What can be done with a figure. */
export interface FigureActions {
  changed(): void;
  measure(region: Region): void;
  remove(region: Region): void;
}

/** Controls of one figure. */
export function figureCard(region: Region, fit: WcsFit | null, actions: FigureActions): HTMLElement {
  const heading = make("strong", {}, describe(region, fit));
  const change = (part: Partial<Region>): void => {
    Object.assign(region, part);
    heading.textContent = describe(region, fit);
    actions.changed();
  };
  // Braces end the words in DS9's form.
  const words = make("input", { type: "text", value: region.text, maxlength: 100, "aria-label": "Words at the figure", oninput: () => change({ text: words.value.replace(/[{}\n]/g, "") }) });
  const colour = make("input", { type: "color", value: region.colour, "aria-label": "Colour of the figure", oninput: () => change({ colour: colour.value }) });
  return make("div", { class: "rows figure" }, heading, make("label", { class: "field" }, make("span", {}, "Words"), words),
    make("label", { class: "field" }, make("span", {}, "Colour"), colour),
    slider("Opacity of the figure", { min: 0.1, max: 1, step: 0.05 }, region.opacity ?? 1, (opacity) => change({ opacity })),
    make("div", { class: "line" }, button("Statistics", "Statistics of the pixels inside the figure", () => actions.measure(region)),
      button("Remove the figure", "Remove this figure from the image", () => actions.remove(region))));
}
