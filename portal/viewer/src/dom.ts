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
