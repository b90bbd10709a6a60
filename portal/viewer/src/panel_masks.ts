/** The panel that chooses mask planes, their colours and their opacity. */

import { button, make, slider } from "./dom.ts";
import { maskColour } from "./palettes.ts";
import type { Host, Panel } from "./panels.ts";

/** Which mask planes are shown, and how. */
export class MaskPanel implements Panel {
  readonly name = "Masks";
  readonly help = "Choose the mask planes that are shown (M)";
  readonly element = make("div", { class: "rows" });
  readonly shown = new Set<string>();
  readonly colours = new Map<string, string>();
  opacity = 0.55;
  private readonly host: Host;

  constructor(host: Host) {
    this.host = host;
  }

  refresh(): void {
    const planes = Object.entries(this.host.meta?.mask_planes ?? {});
    const lines = planes.map(([name, bit]) => {
      const box = make("input", { type: "checkbox", name, onchange: () => {
        if (box.checked) this.shown.add(name); else this.shown.delete(name);
        this.changed();
      } });
      box.checked = this.shown.has(name);
      const colour = make("input", { type: "color", value: this.colours.get(name) ?? maskColour(name, bit), "aria-label": `Colour of ${name}`, oninput: () => {
        this.colours.set(name, colour.value);
        this.changed();
      } });
      return make("div", { class: "mask-line" }, make("label", { class: "tick" }, box, name), colour);
    });
    this.element.replaceChildren(make("strong", {}, "Mask planes"),
      ...(planes.length > 0 ? lines : [make("p", { class: "hint" }, "This image has no mask.")]),
      slider("Opacity", { min: 0.05, max: 1, step: 0.05 }, this.opacity, (value) => {
        this.opacity = value;
        this.changed();
      }),
      make("div", { class: "line" },
        button("All", "Show all planes", () => { for (const [name] of planes) this.shown.add(name); this.changed(); this.refresh(); }),
        button("None", "Show no plane", () => { this.shown.clear(); this.changed(); this.refresh(); })));
  }

  apply(): void {
    this.host.view.showMasks(this.shown, this.opacity, this.colours);
  }

  private changed(): void {
    this.apply();
    this.host.changed();
  }
}
