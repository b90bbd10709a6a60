/** Mounts the button that leaves code in a notebook of the person's lab and opens it in a tab of its own. */

import style from "./notebook.css";
import { make } from "./dom.ts";

interface Model {
  label: string;
  help: string;
  asked: number;
  answer: { serial?: number; address?: string; path?: string; error?: string };
  on(event: string | string[], callback: () => void): void;
}

export function render({ model }: { model: Model }): HTMLElement {
  let tab: Window | null = null;
  const said = make("span", { class: "said", role: "status" });
  const button = make("button", { type: "button", title: model.help, onclick: () => ask() }, model.label);
  const ask = (): void => {
    button.disabled = true;
    said.textContent = "Writing the notebook…";
    // Opened while the click is being handled: later the browser would take it for a pop-up.
    tab = window.open("", "_blank");
    if (tab) tab.opener = null;
    model.asked += 1;
  };
  const answered = (): void => {
    const { serial, address, path, error } = model.answer;
    if (serial !== model.asked) return;
    button.disabled = false;
    if (error !== undefined || !address?.startsWith("/nb/")) {
      tab?.close();
      said.textContent = error ?? "The notebook could not be written.";
      return;
    }
    tab?.location.replace(address);
    said.replaceChildren("Written to ", make("a", { href: address, target: "_blank", rel: "noopener" }, path ?? "your files"), ".");
  };
  model.on("answer", answered);
  return make("div", { class: "notebook" }, make("style", {}, style), button, said);
}
