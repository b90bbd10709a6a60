/** The panel for brightness, orientation and the plane that is shown. */

import { button, choice, make, numberField, setControl, slider, tick } from "./dom.ts";
import type { Host, Panel } from "./panels.ts";

const PLANES = ["image", "variance", "noise", "signal to noise"] as const;

/** Settings of the display that have no place in the tool bar. */
export class DisplayPanel implements Panel {
  readonly name = "Display";
  readonly help = "Brightness, orientation and planes (D)";
  readonly element: HTMLElement;
  /** Whether dragging over the image changes bias and contrast. */
  dragging = false;
  private readonly host: Host;
  private readonly gamma: HTMLElement;
  private readonly bias: HTMLElement;
  private readonly contrast: HTMLElement;
  private readonly invert: HTMLElement;
  private readonly angle: HTMLElement;
  private readonly flip: HTMLElement;
  private readonly plane: HTMLElement;
  private readonly drag: HTMLElement;

  constructor(host: Host) {
    this.host = host;
    const display = (part: Partial<{ gamma: number; bias: number; contrast: number; invert: boolean }>) => {
      Object.assign(host.view.display, part);
      host.changed();
    };
    this.plane = choice("Plane", PLANES, "image", (v) => void this.show(v as (typeof PLANES)[number]));
    this.gamma = slider("Gamma", { min: 0.4, max: 5, step: 0.1 }, 2.2, (gamma) => {
      host.view.display.stretch = "gamma";
      display({ gamma });
    });
    this.bias = slider("Bias", { min: -0.5, max: 1.5, step: 0.01 }, 0.5, (bias) => display({ bias }));
    this.contrast = slider("Contrast", { min: 0.1, max: 8, step: 0.05 }, 1, (contrast) => display({ contrast }));
    this.invert = tick("Inverted colours (I)", false, (invert) => display({ invert }));
    this.drag = tick("Drag over the image changes bias and contrast (B)", false, (on) => this.setDragging(on));
    this.angle = numberField("Rotation (°)", 0, (degrees) => {
      host.view.rotate((degrees * Math.PI) / 180);
      host.changed();
    });
    this.flip = tick("Mirrored", false, (on) => {
      host.view.flip(on);
      host.changed();
    });
    this.element = make("div", { class: "rows" }, make("strong", {}, "Display"), this.plane, this.gamma, this.bias, this.contrast,
      make("div", { class: "line" }, button("Reset", "Bias, contrast and gamma as they were at first", () => this.reset())),
      this.drag, this.invert, make("strong", {}, "Orientation"), this.angle, this.flip,
      make("div", { class: "line" },
        button("North up", "Turn and mirror the image so that north is up and east is left (N)", () => this.northUp()),
        button("Rows up", "The image as its pixels are stored", () => this.unturn())));
  }

  refresh(): void {
    const { display, flipped, rotation, shown } = this.host.view;
    setControl(this.gamma, display.gamma);
    setControl(this.bias, display.bias);
    setControl(this.contrast, display.contrast);
    setControl(this.invert, display.invert);
    setControl(this.drag, this.dragging);
    setControl(this.flip, flipped);
    setControl(this.angle, Number(((rotation * 180) / Math.PI).toFixed(3)));
    const name = shown.kind === "signal" ? "signal to noise" : shown.kind;
    setControl(this.plane, PLANES.includes(name as (typeof PLANES)[number]) ? name : "image");
    const noisy = this.host.meta?.planes?.includes("variance") ?? true;
    for (const option of this.plane.querySelectorAll("option")) option.disabled = option.value !== "image" && !noisy;
  }

  setDragging(on: boolean): void {
    this.dragging = on;
    setControl(this.drag, on);
    this.host.say(on ? "Drag left and right for the bias, up and down for the contrast; B ends it." : "Dragging moves the image.", 3000);
  }

  /** Show the next plane of the image itself. */
  nextPlane(): void {
    const kind = this.host.view.shown.kind;
    const now = PLANES.findIndex((name) => name === (kind === "signal" ? "signal to noise" : kind));
    void this.show(PLANES[(now + 1) % PLANES.length] ?? "image").then(() => this.refresh());
  }

  reset(): void {
    Object.assign(this.host.view.display, { bias: 0.5, contrast: 1, gamma: 2.2 });
    this.host.changed();
    this.refresh();
  }

  northUp(): void {
    if (!this.host.view.northUp()) this.host.say("This image has no sky coordinates: north is not known.", 4000);
    this.host.changed();
    this.refresh();
  }

  unturn(): void {
    this.host.view.flip(false);
    this.host.view.rotate(0);
    this.host.changed();
    this.refresh();
  }

  private async show(name: (typeof PLANES)[number]): Promise<void> {
    try {
      await this.host.view.showPlane({ kind: name === "signal to noise" ? "signal" : name });
      this.host.view.limits("auto");
    } catch (error) {
      this.host.say(`The plane is not available: ${(error as Error).message}`, 6000);
    }
    this.host.changed();
  }
}
