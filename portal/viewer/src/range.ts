/** A slider with a name, its value in words beside it, and a way back. */

import { button, make, setControl, slider } from "./dom.ts";

export interface Scale {
  start: number;
  end: number;
  step: number;
  /** Where the slider rests, and returns to. */
  rest: number;
}

/** A value with as many decimals as the step has. */
export function formatStep(value: number, step: number): string {
  const decimals = step < 1 ? Math.min(12, Math.ceil(-Math.log10(step) - 1e-9)) : 0;
  return (Math.abs(value) < step / 2 ? 0 : value).toFixed(decimals);
}

/** The browser's own slider: it follows the pointer, fingers and keys, and screen readers know it. */
export class RangeField {
  readonly element: HTMLElement;
  private readonly field: HTMLLabelElement;
  private readonly input: HTMLInputElement;
  private readonly shown = make("output", { "aria-hidden": "true" });
  private readonly back: HTMLButtonElement;
  private readonly scale: Scale;

  constructor(name: string, scale: Scale, value: number, changed: (value: number) => void) {
    this.scale = scale;
    const tell = (to: number): void => { this.show(to); changed(to); };
    this.field = slider(name, { min: scale.start, max: scale.end, step: scale.step }, value, tell);
    this.input = this.field.querySelector("input") as HTMLInputElement;
    this.field.querySelector("span")?.append(" ", this.shown);
    this.back = button("↺", `${name}: back to ${scale.rest}`, () => { tell(scale.rest); this.input.focus(); });
    this.element = make("div", { class: "range" }, this.field, this.back);
    this.show(value);
  }

  /** Show a value without telling of it. */
  show(value: number): void {
    const text = formatStep(value, this.scale.step);
    setControl(this.field, value);
    this.input.setAttribute("aria-valuetext", text);
    this.shown.textContent = text;
    this.back.disabled = value === this.scale.rest;
  }
}
