/** The panel for people's own FITS files: open, upload, choose the extension and the plane. */

import { button, make, numberField, problemOf } from "./dom.ts";
import { arrival, readLines, viewOf, type Step } from "./fitsaddress.ts";
import type { Host, Panel } from "./panels.ts";

interface Part {
  number: number;
  name: string;
  shape: number[];
  planes: number;
  reason: string;
}
interface Kept {
  key: string;
  name: string;
  parts: Part[];
  first: string | null;
}

/** Stands in place of a release's name for images out of files. */
export const OWN = "my-files";

/** Opens files. */
export class FilePanel implements Panel {
  readonly name = "File";
  readonly help = "Open a FITS file of yours (F)";
  readonly element: HTMLElement;
  private readonly host: Host;
  private readonly openImage: (release: string, id: string) => Promise<void>;
  private readonly report = make("p", { role: "status" });
  private readonly parts = make("div", { class: "rows" });
  private readonly stop = button("Stop", "Stop the download", () => this.cancel?.abort());
  private cancel: AbortController | null = null;
  private kept: Kept | null = null;

  constructor(host: Host, openImage: (release: string, id: string) => Promise<void>) {
    this.host = host;
    this.openImage = openImage;
    const input = make("input", { type: "file", accept: ".fits,.fit,.fts,.gz,.bz2,.fz", hidden: "", "aria-label": "FITS file", onchange: () => {
      const file = input.files?.[0];
      input.value = "";
      if (file) void this.upload(file);
    } });
    const path = make("input", { type: "text", placeholder: "folder/image.fits", "aria-label": "Path in your files" });
    const submit = (event: Event): void => {
      event.preventDefault();
      if (path.value.trim()) void this.ask(`fitsfiles/open?path=${encodeURIComponent(path.value.trim())}`);
    };
    const address = make("input", { type: "text", inputmode: "url", placeholder: "https://…/image.fits", "aria-label": "Address of a FITS file" });
    const fetching = (event: Event): void => {
      event.preventDefault();
      if (address.value.trim()) void this.fetch(address.value.trim());
    };
    this.stop.hidden = true;
    this.element = make("div", { class: "rows" }, make("strong", {}, "Open a FITS file"),
      make("p", { class: "hint" }, "Only you see it. The file is kept here while you look at it."), input,
      button("Choose a file…", "Upload a FITS file and show it", () => input.click()),
      make("form", { class: "line", onsubmit: submit }, path, make("button", { type: "submit" }, "Open from your files")),
      make("form", { class: "line", onsubmit: fetching }, address, make("button", { type: "submit" }, "Open the address")),
      make("p", { class: "hint" }, "Addresses of images, files and results here; outside only of hosts that this platform allows."), this.stop, this.report, this.parts);
  }

  refresh(): void {
    const id = this.host.meta?.release === OWN ? this.host.meta.dataset_id : "";
    const key = id.slice(0, 24);
    if (key && key !== this.kept?.key) void this.describe(key);
  }

  private async describe(key: string): Promise<void> {
    const answer = await fetch(`${this.host.base}/fitsfiles/${key}`, { credentials: "same-origin" }).catch(() => null);
    if (answer?.ok) this.show((await answer.json()) as Kept);
  }

  async upload(file: File): Promise<void> {
    this.report.textContent = `Sending ${file.name} (${(file.size / 1e6).toFixed(1)} MB)…`;
    await this.ask(`fitsfiles?name=${encodeURIComponent(file.name)}`, { method: "POST", body: file });
  }

  /** Open what an address names: a view of this portal, or a FITS file, whose arrival is told. */
  async fetch(address: string): Promise<void> {
    const view = viewOf(address, location.href);
    if (view) {
      await this.openImage(...view);
      return;
    }
    this.cancel?.abort();
    const cancel = this.cancel = new AbortController();
    this.stop.hidden = false;
    this.report.textContent = "Asking for the file…";
    try {
      const answer = await fetch(`${this.host.base}/fitsfiles/fetch?url=${encodeURIComponent(address)}`, { method: "POST", credentials: "same-origin", signal: cancel.signal });
      if (!answer.ok || !answer.body) throw new Error(await problemOf(answer));
      for await (const step of readLines<Step<Kept>>(answer.body)) {
        if (step.error !== undefined) throw new Error(step.error);
        if (step.file) await this.take(step.file);
        else this.report.textContent = arrival(step);
      }
    } catch (error) {
      this.report.textContent = cancel.signal.aborted ? "The download was stopped." : `The file cannot be shown: ${(error as Error).message}.`;
    } finally {
      if (this.cancel === cancel) this.stop.hidden = true;
    }
  }

  private async ask(part: string, request: RequestInit = {}): Promise<void> {
    try {
      const answer = await fetch(`${this.host.base}/${part}`, { credentials: "same-origin", ...request });
      if (!answer.ok) throw new Error(await problemOf(answer));
      await this.take((await answer.json()) as Kept);
    } catch (error) {
      this.report.textContent = `The file cannot be shown: ${(error as Error).message}.`;
    }
  }

  /** Show what is kept of a file. */
  private async take(kept: Kept): Promise<void> {
    this.show(kept);
    if (kept.first) await this.openImage(OWN, kept.first);
    else this.report.textContent = `${kept.name} holds no image: ${kept.parts[0]?.reason ?? "it has no part"}.`;
  }

  private show(kept: Kept): void {
    this.kept = kept;
    const usable = kept.parts.filter((p) => p.planes > 0).length;
    this.report.textContent = `${kept.name}: ${usable} of ${kept.parts.length} part${kept.parts.length === 1 ? "" : "s"} can be shown.`;
    const list = make("select", { "aria-label": "Part of the file", onchange: () => open(0) },
      ...kept.parts.map((p) => {
        const option = make("option", { value: String(p.number) }, `${p.number} ${p.name} ${p.shape.join(" × ")}${p.reason ? ` (${p.reason})` : ""}`);
        option.disabled = p.planes === 0;
        return option;
      }));
    const shown = this.host.meta?.release === OWN ? this.host.meta.dataset_id : "";
    const [, number, planeNow] = (shown.startsWith(kept.key) ? shown : kept.first ?? "").split("-");
    list.value = number ?? "";
    const part = (): Part | undefined => kept.parts.find((p) => p.number === Number(list.value));
    const open = (plane: number): void => {
      void this.openImage(OWN, `${kept.key}-${list.value}-${plane}`);
      planes();
    };
    const slot = make("span");
    const planes = (): void => {
      const count = part()?.planes ?? 0;
      slot.replaceChildren(...(count > 1 ? [numberField(`Plane (0 to ${count - 1})`, planeNow ?? 0, (v) => open(Math.min(Math.max(Math.round(v), 0), count - 1)))] : []));
    };
    planes();
    this.parts.replaceChildren(...(usable > 0 ? [make("label", { class: "field" }, make("span", {}, "Part"), list), slot] : []));
  }
}
