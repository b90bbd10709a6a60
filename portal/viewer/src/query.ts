/** A field for ADQL with suggestions; what may stand where is decided by the server. */

import { make } from "./dom.ts";

export interface Suggestion {
  text: string;
  detail: string;
}

export interface Answer {
  /** The text that the suggestions belong to, up to the cursor. */
  before: string;
  /** Where the word begins that they replace. */
  start: number;
  suggestions: Suggestion[];
}

export interface Diagnosis {
  text: string;
  kind: "" | "good" | "error";
}

export interface QueryEvents {
  change(text: string): void;
  wish(before: string): void;
}

/** Index that the arrow keys lead to, around at both ends. */
export function nextIndex(now: number, step: number, count: number): number {
  return count === 0 ? -1 : (now + step + count) % count;
}

/** The text with the word before the cursor replaced, and where the cursor then is. */
export function insertWord(text: string, caret: number, start: number, word: string): [string, number] {
  return [text.slice(0, start) + word + text.slice(caret), start + word.length];
}

export class QueryField {
  readonly element: HTMLElement;
  private readonly area: HTMLTextAreaElement;
  private readonly list: HTMLUListElement = make("ul", { role: "listbox", id: "suggestions", "aria-label": "Suggestions", hidden: true });
  private readonly said: HTMLElement = make("div", { class: "diagnosis", role: "status" });
  private readonly events: QueryEvents;
  private answer: Answer | null = null;
  private active = 0;
  private timer = 0;

  constructor(events: QueryEvents, rows: number) {
    this.events = events;
    this.area = make("textarea", {
      rows, spellcheck: "false", autocapitalize: "off", "aria-label": "ADQL", "aria-autocomplete": "list",
      "aria-controls": "suggestions", "aria-describedby": "keys", maxlength: 100000,
      oninput: ((event: InputEvent) => this.onInput(event)) as EventListener,
      onkeydown: ((event: KeyboardEvent) => this.onKey(event)) as EventListener,
      onblur: () => this.close(),
      onclick: () => this.close(),
    });
    const caption = make("div", { class: "caption" }, make("span", { "aria-hidden": "true" }, "ADQL"), make("span", { id: "keys" }, "Ctrl+Space suggests tables, columns and functions; Ctrl+Enter runs"));
    this.element = make("div", { class: "query" }, caption, this.area, this.list, this.said);
  }

  setText(text: string): void {
    if (this.area.value !== text) this.area.value = text;
  }

  setDiagnosis(diagnosis: Partial<Diagnosis>): void {
    this.said.textContent = diagnosis.text ?? "";
    this.said.className = `diagnosis ${diagnosis.kind ?? ""}`;
    this.area.setAttribute("aria-invalid", diagnosis.kind === "error" ? "true" : "false");
  }

  /** Show suggestions, unless the person has typed on meanwhile. */
  setAnswer(answer: Partial<Answer>): void {
    if (!answer.suggestions || answer.before !== this.before()) return;
    this.answer = { before: answer.before, start: answer.start ?? 0, suggestions: answer.suggestions };
    this.active = 0;
    this.drawList();
  }

  private before(): string {
    return this.area.value.slice(0, this.area.selectionStart);
  }

  private onInput(event: InputEvent): void {
    this.close();
    this.events.change(this.area.value);
    window.clearTimeout(this.timer);
    // What is pasted or filled in needs no completion; single letters of a word do.
    if (event.data?.length === 1 && /[\w.]$/.test(event.data) && /(?:\w{2}|\.)$/.test(this.before())) {
      this.timer = window.setTimeout(() => this.events.wish(this.before()), 120);
    }
  }

  private onKey(event: KeyboardEvent): void {
    const open = this.answer !== null;
    if (event.key === " " && event.ctrlKey) this.events.wish(this.before());
    else if (open && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
      this.active = nextIndex(this.active, event.key === "ArrowDown" ? 1 : -1, this.answer?.suggestions.length ?? 0);
      this.drawList();
    } else if (open && (event.key === "Tab" || (event.key === "Enter" && !event.ctrlKey))) this.accept(this.active);
    else if (open && event.key === "Escape") this.close();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  private accept(index: number): void {
    const chosen = this.answer?.suggestions[index];
    if (!chosen || !this.answer) return;
    const [text, caret] = insertWord(this.area.value, this.area.selectionStart, this.answer.start, chosen.text);
    this.area.value = text;
    this.area.setSelectionRange(caret, caret);
    this.close();
    this.events.change(text);
  }

  private close(): void {
    this.answer = null;
    this.list.hidden = true;
    this.area.removeAttribute("aria-activedescendant");
  }

  private drawList(): void {
    const found = this.answer?.suggestions ?? [];
    if (found.length === 0) {
      this.close();
      return;
    }
    this.list.replaceChildren(...found.map((suggestion, n) => make("li", {
      role: "option", id: `suggestion-${n}`, "aria-selected": n === this.active ? "true" : "false",
      // The field keeps the focus: a click would take it away before it counts.
      onmousedown: (event: Event) => { event.preventDefault(); this.accept(n); },
    }, make("span", { class: "name" }, suggestion.text), make("span", { class: "detail" }, suggestion.detail))));
    const lines = this.before().split("\n");
    const height = Number.parseFloat(getComputedStyle(this.area).lineHeight) || 20;
    this.list.style.top = `${this.area.offsetTop + 10 + lines.length * height - this.area.scrollTop}px`;
    this.list.style.left = `${Math.min(10 + (lines.at(-1)?.length ?? 0) * 7.8, Math.max(this.area.clientWidth - 300, 0))}px`;
    this.list.hidden = false;
    this.area.setAttribute("aria-activedescendant", `suggestion-${this.active}`);
    this.list.children[this.active]?.scrollIntoView({ block: "nearest" });
  }
}
