/** Making elements without a framework. */

type Value = string | number | boolean | EventListener | null | undefined;

/** Create an element; keys starting with "on" are listeners, `false` and `null` leave an attribute out. */
export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Record<string, Value> = {},
  ...children: (Node | string | null)[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : String(value));
  }
  for (const child of children) if (child !== null) element.append(child);
  return element;
}

/** A labelled drop-down list. */
export function choice(label: string, options: readonly string[], value: string, changed: (value: string) => void): HTMLLabelElement {
  const select = make("select", { "aria-label": label, onchange: () => changed(select.value) });
  for (const option of options) select.append(make("option", { value: option }, option));
  select.value = value;
  return make("label", { class: "field" }, make("span", {}, label), select);
}

/** A button with words or a sign, a longer label, and what it does; whoever says the words that are seen reaches it, too (WCAG 2.5.3). */
export function button(text: string, title: string, action: () => void): HTMLButtonElement {
  const isNamed = !/[\p{L}\p{N}]/u.test(text) || title.toLowerCase().includes(text.toLowerCase());
  return make("button", { type: "button", title, "aria-label": isNamed ? title : `${text}: ${title}`, onclick: action }, text);
}

/** A labelled slider. */
export function slider(name: string, range: { min: number; max: number; step: number }, value: number, changed: (value: number) => void): HTMLLabelElement {
  const input = make("input", { type: "range", min: range.min, max: range.max, step: range.step, value, "aria-label": name, oninput: () => changed(Number(input.value)) });
  return make("label", { class: "slider" }, make("span", {}, name), input);
}

/** A labelled number. */
export function numberField(name: string, value: number | string, changed: (value: number) => void): HTMLLabelElement {
  const input = make("input", { type: "number", step: "any", value, "aria-label": name, onchange: () => { if (input.value.trim() !== "") changed(Number(input.value)); } });
  return make("label", { class: "field" }, make("span", {}, name), input);
}

/** A labelled box to tick. */
export function tick(name: string, checked: boolean, changed: (checked: boolean) => void): HTMLLabelElement {
  const box = make("input", { type: "checkbox", onchange: () => changed(box.checked) });
  box.checked = checked;
  return make("label", { class: "tick" }, box, name);
}

/** Set the value of the control inside a label. */
export function setControl(label: HTMLElement, value: string | number | boolean): void {
  const control = label.querySelector("input, select") as HTMLInputElement | HTMLSelectElement | null;
  if (!control) return;
  if (typeof value === "boolean") (control as HTMLInputElement).checked = value;
  else control.value = String(value);
}

/** A table with a heading column. */
export function rows(pairs: readonly (readonly [string, string])[]): HTMLTableElement {
  return make("table", {}, ...pairs.map(([name, value]) => make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, value))));
}

/** Hand a file to the person. */
export function saveFile(name: string, content: Blob): void {
  const url = URL.createObjectURL(content);
  make("a", { href: url, download: name }).click();
  window.setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** Put text on the clipboard; false where the browser does not allow it. */
export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

/** A sentence out of an answer that is not good. */
export async function problemOf(answer: Response): Promise<string> {
  const body = (await answer.json().catch(() => null)) as { detail?: unknown } | null;
  return typeof body?.detail === "string" ? body.detail : `the server answers ${answer.status}`;
}
