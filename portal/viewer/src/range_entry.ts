/** Mounts a slider in a Panel component. */

import style from "./range.css";
import { make } from "./dom.ts";
import { RangeField } from "./range.ts";

interface Model {
  label: string;
  start: number;
  end: number;
  step: number;
  value: number;
  on(event: string | string[], callback: () => void): void;
}

export function render({ model }: { model: Model }): HTMLElement {
  const scale = { start: model.start, end: model.end, step: model.step, rest: 0 };
  const field = new RangeField(model.label, scale, model.value, (value) => { model.value = value; });
  model.on("value", () => field.show(model.value));
  return make("div", {}, make("style", {}, style), field.element);
}
