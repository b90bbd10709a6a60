/** Sending files over plain HTTP: asked for room first, with progress, cancelled at will. */

import { make } from "./dom.ts";

/** Size with three digits and a decimal unit. */
export function formatBytes(size: number): string {
  const units: [number, string][] = [[1e12, "TB"], [1e9, "GB"], [1e6, "MB"], [1e3, "kB"]];
  for (const [factor, unit] of units) if (size >= factor) return `${Number((size / factor).toPrecision(3))} ${unit}`;
  return `${size} bytes`;
}

/** What remains of an upload, in words. */
export function formatRest(sent: number, total: number, seconds: number): string {
  const done = total > 0 ? Math.floor((100 * sent) / total) : 100;
  const text = `${done} % of ${formatBytes(total)}`;
  if (seconds < 2 || sent <= 0 || sent >= total) return text;
  const rest = ((total - sent) / sent) * seconds;
  return rest < 90 ? `${text}, ${Math.ceil(rest)} s left` : `${text}, ${Math.ceil(rest / 60)} min left`;
}

/** Address of a file below the files of the pages' routes; every name is escaped. */
export function addressOf(base: string, folder: string, name: string): string {
  const path = [...folder.split("/").filter((part) => part !== ""), name].map(encodeURIComponent).join("/");
  return `${base}/files/content/${path}`;
}

function sentence(text: string): string {
  return `${text.slice(0, 1).toUpperCase()}${text.slice(1)}.`;
}

async function sentenceOf(answer: Response | XMLHttpRequest): Promise<string> {
  try {
    const body = answer instanceof Response ? await answer.json() : JSON.parse(answer.responseText);
    if (typeof body.detail === "string") return sentence(body.detail);
  } catch { /* an answer of somebody between us and the server */ }
  return `The server answered with status ${answer.status}; nothing was kept.`;
}

/** A place to choose or drop files. */
export class Uploader {
  readonly element: HTMLElement;
  folder = "";
  private readonly base: string;
  private readonly finished: (name: string) => void;
  private readonly list = make("ul", { "aria-label": "Uploads" });

  constructor(base: string, finished: (name: string) => void) {
    this.base = base;
    this.finished = finished;
    const input = make("input", { type: "file", multiple: true, "aria-label": "Files to upload", onchange: () => {
      this.sendAll(input.files);
      input.value = "";
    } });
    const hint = make("span", { class: "soft" }, " or drop them here");
    this.element = make("div", { class: "upload" }, make("label", {}, "Upload files: ", input), hint, this.list);
    const over = (on: boolean) => (event: Event): void => {
      event.preventDefault();
      this.element.classList.toggle("over", on);
    };
    this.element.addEventListener("dragover", over(true));
    this.element.addEventListener("dragleave", over(false));
    this.element.addEventListener("drop", (event) => {
      over(false)(event);
      this.sendAll(event.dataTransfer?.files ?? null);
    });
  }

  private sendAll(files: FileList | null): void {
    for (const file of files ?? []) void this.check(file);
  }

  /** Ask whether there is room and whether something would be replaced. */
  private async check(file: File): Promise<void> {
    const state = make("span", { role: "status" }, "waiting");
    const row = make("li", {}, make("span", { class: "name" }, file.name), state);
    this.list.prepend(row);
    const address = addressOf(this.base, this.folder, file.name);
    try {
      const query = new URLSearchParams({ path: `${this.folder}/${file.name}`, size: String(file.size) });
      const answer = await fetch(`${this.base}/files/room?${query}`);
      if (!answer.ok) return this.fail(state, await sentenceOf(answer));
      const { exists, refusal } = await answer.json() as { exists: boolean; refusal: string | null };
      if (refusal) return this.fail(state, sentence(refusal));
      if (!exists) return this.send(file, address, row, state);
      state.textContent = "There is such a file already.";
      const buttons = [
        make("button", { type: "button", onclick: () => { buttons.forEach((b) => b.remove()); this.send(file, address, row, state); } }, `Replace ${file.name}`),
        make("button", { type: "button", onclick: () => row.remove() }, "Keep the old one"),
      ];
      row.append(...buttons);
    } catch {
      this.fail(state, "The server does not answer; nothing was sent.");
    }
  }

  private fail(state: HTMLElement, sentence: string): void {
    state.setAttribute("role", "alert");
    state.className = "bad";
    state.textContent = sentence;
  }

  private send(file: File, address: string, row: HTMLElement, state: HTMLElement): void {
    const bar = make("progress", { max: 1, value: 0, "aria-label": `Upload of ${file.name}` });
    const request = new XMLHttpRequest();
    const cancel = make("button", { type: "button", onclick: () => request.abort() }, "Cancel");
    state.textContent = "";
    row.append(bar, cancel);
    const begun = performance.now();
    request.upload.onprogress = (event) => {
      bar.value = event.total ? event.loaded / event.total : 1;
      state.textContent = formatRest(event.loaded, event.total, (performance.now() - begun) / 1000);
    };
    const end = (): void => { bar.remove(); cancel.remove(); };
    request.onload = async () => {
      end();
      if (request.status !== 201) return this.fail(state, await sentenceOf(request));
      state.textContent = `uploaded, ${formatBytes(file.size)}`;
      this.finished(file.name);
    };
    request.onerror = () => { end(); this.fail(state, "The connection was lost; nothing was kept."); };
    request.onabort = () => { end(); this.fail(state, "Cancelled; nothing was kept."); };
    request.open("PUT", address);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.send(file);
  }
}
