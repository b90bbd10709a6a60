/** Mounts the query field in a Panel component. */

import style from "./query.css";
import { make } from "./dom.ts";
import { QueryField, type Answer, type Diagnosis } from "./query.ts";

interface Model {
  text: string;
  rows: number;
  address: string;
  wish: Record<string, unknown>;
  answer: Partial<Answer>;
  diagnosis: Partial<Diagnosis>;
  on(event: string | string[], callback: () => void): void;
}

export function render({ model }: { model: Model }): HTMLElement {
  let serial = 0;
  const field = new QueryField({
    change: (text) => { model.text = text; },
    wish: (before) => { model.wish = { before, serial: ++serial }; },
  }, model.rows);
  model.on("text", () => field.setText(model.text));
  model.on("answer", () => field.setAnswer(model.answer));
  model.on("diagnosis", () => field.setDiagnosis(model.diagnosis));
  // Every brush changes the address: the way back must not lead through all of them.
  model.on("address", () => { window.history.replaceState(window.history.state, "", model.address || window.location.pathname); });
  field.element.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !event.ctrlKey) return;
    event.preventDefault();
    model.wish = { run: true, serial: ++serial };
  });
  field.setText(model.text);
  field.setDiagnosis(model.diagnosis);
  return make("div", { class: "root" }, make("style", {}, style), field.element);
}
