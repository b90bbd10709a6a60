/** The panel for what belongs to the image: header, provenance, PSF, files to take away, code. */

import { button, copyText, make, problemOf, rows, saveFile } from "./dom.ts";
import type { Host, Panel } from "./panels.ts";
import { takePicture } from "./picture.ts";
import { linePlot } from "./plot.ts";
import { OWN } from "./panel_file.ts";
import { formatValue } from "./stretch.ts";
import type { ImageMeta } from "./tiles.ts";

interface HeaderPart {
  name: string;
  cards: [string, string, string][];
}
interface Relation {
  direction: "input" | "output";
  role: string;
  type: string;
  id: string;
  title: string;
}
/** Types of datasets that have pixels to look at. */
const OPENS = /image|coadd|^(raw|bias|dark|flat)$/;

interface Psf {
  shape: [number, number];
  values: number[];
  fwhm_px: number;
  pixel_scale_arcsec: number;
}

/** The image that a cut-out is of; any other identifier as it is. */
function wholeOf(id: string): string {
  return /^cutout-([0-9a-f-]{36})-/.exec(id)?.[1] ?? id;
}

/** Python that reads the pixels in view. */
export function pythonOf(meta: Pick<ImageMeta, "release" | "dataset_id" | "dataset_type" | "data_id" | "xy0" | "title">, box: [number, number, number, number]): string {
  if (meta.release === OWN) {
    const [, part, plane] = meta.dataset_id.split("-");
    return ["from astropy.io import fits", "", `# ${meta.title}; put the path of the file here`, 'with fits.open("image.fits") as file:', `    data = file[${part}].data`,
      `image = data.reshape(-1, *data.shape[-2:])[${plane}, ${box[1]}:${box[3] + 1}, ${box[0]}:${box[2] + 1}]`, ""].join("\n");
  }
  const visit = /^visit-(\w+)-(\d+)$/.exec(meta.dataset_id);
  if (visit) {
    return ["from lsst.daf.butler import Butler", "", `# ${meta.title}`, `butler = Butler("${meta.release}", collections="${meta.release}/DRP")`,
      `images = [butler.get(ref) for ref in butler.query_datasets("${visit[1]}", where="visit = ${visit[2]}")]`, ""].join("\n");
  }
  const uuid = wholeOf(meta.dataset_id);
  const [x0, y0, x1, y1] = [box[0] + meta.xy0[0], box[1] + meta.xy0[1], box[2] + meta.xy0[0], box[3] + meta.xy0[1]];
  if (meta.dataset_type === "raw") {
    return ["from uuid import UUID", "", "from lsst.daf.butler import Butler", "",
      `# raw ${Object.entries(meta.data_id).map(([k, v]) => `${k}=${v}`).join(", ")}`,
      `butler = Butler("${meta.release}", collections="${meta.release}/DRP")`,
      `raw = butler.get(butler.get_dataset(UUID("${meta.dataset_id}")))`,
      `image = raw.array[${box[1]}:${box[3] + 1}, ${box[0]}:${box[2] + 1}]`, ""].join("\n");
  }
  return [
    "from uuid import UUID", "", "from lsst.daf.butler import Butler", "from lsst.images import Box", "",
    `# ${meta.dataset_type} ${Object.entries(meta.data_id).map(([k, v]) => `${k}=${v}`).join(", ")}`,
    `butler = Butler("${meta.release}", collections="${meta.release}/DRP")`,
    `ref = butler.get_dataset(UUID("${uuid}"))`,
    `image = butler.get(ref, parameters={"bbox": Box.factory[${y0}:${y1 + 1}, ${x0}:${x1 + 1}]})`, "",
  ].join("\n");
}

/** Sheets and exports. */
export class InfoPanel implements Panel {
  readonly name = "About";
  readonly help = "Header, provenance, PSF, saving, Python (H)";
  readonly element: HTMLElement;
  private readonly host: Host;
  private readonly openImage: (release: string, id: string) => void;
  private readonly sheet = make("div", { class: "sheet" });
  private readonly cut = button("Cut out", "Show the pixels in view as an image of their own", () => this.cutOut());
  private readonly whole = button("Whole image", "Show the whole image that this is a cut-out of", () => this.openImage(this.host.meta?.release ?? "", wholeOf(this.host.meta?.dataset_id ?? "")));
  /** Whether a link in the sheet of provenance was followed: that of the next image leads back. */
  private following = false;

  constructor(host: Host, openImage: (release: string, id: string) => void) {
    this.host = host;
    this.openImage = openImage;
    this.element = make("div", { class: "rows wide" }, make("strong", {}, "About this image"),
      make("div", { class: "line" }, button("Header", "The cards of the image's file", () => void this.load("header")),
        button("Provenance", "What the image was made of, and what was made of it", () => void this.load("provenance")),
        button("PSF", "The point spread function at the middle of the view (P)", () => void this.showPsf())),
      make("div", { class: "line" }, button("Save PNG", "Save the view as a picture", () => this.savePicture()),
        button("Save FITS", "Save the pixels in view as FITS, with mask and variance", () => void this.saveFits()),
        button("Copy as Python", "Copy code that reads the pixels in view", () => void this.copyPython())),
      make("div", { class: "line" }, this.cut, this.whole), this.sheet);
  }

  refresh(): void {
    const id = this.host.meta?.dataset_id ?? "";
    this.whole.hidden = wholeOf(id) === id;
    this.cut.hidden = !this.host.meta?.wcs || this.host.meta.release === OWN || id.startsWith("visit-");
    if (this.sheet.dataset.image === id) return;
    this.sheet.replaceChildren();
    this.sheet.dataset.image = id;
    if (this.following && this.host.meta?.release !== OWN) void this.load("provenance");
    this.following = false;
  }

  private url(part: string): string {
    const meta = this.host.meta;
    return `${this.host.base}/tiles/${encodeURIComponent(meta?.release ?? "")}/${encodeURIComponent(meta?.dataset_id ?? "")}/${part}`;
  }

  /** Pixels in view, first and last column and row. */
  private box(): [number, number, number, number] {
    const { view, meta } = this.host;
    const [x0, y0, x1, y1] = view.map.getView().calculateExtent(view.map.getSize()) as [number, number, number, number];
    const [height, width] = meta?.shape ?? [1, 1];
    return [Math.max(Math.floor(x0), 0), Math.max(Math.floor(y0), 0), Math.min(Math.ceil(x1) - 1, width - 1), Math.min(Math.ceil(y1) - 1, height - 1)];
  }

  private async ask<T>(part: string): Promise<T | null> {
    const id = this.host.meta?.dataset_id;
    this.sheet.replaceChildren(make("p", { class: "hint" }, "Reading…"));
    const answer = await fetch(this.url(part), { credentials: "same-origin" }).catch(() => null);
    if (id !== this.host.meta?.dataset_id) return null;
    if (answer?.ok) return (await answer.json()) as T;
    this.sheet.replaceChildren(make("p", { role: "status" }, answer ? `Not available: ${await problemOf(answer)}.` : "The server does not answer now."));
    return null;
  }

  async load(kind: "header" | "provenance"): Promise<void> {
    if (kind === "header") {
      const parts = await this.ask<HeaderPart[]>("header");
      if (parts) this.fill("Header", parts.map((part) => ({ name: part.name, lines: part.cards.map(([k, v, c]) => [k, v, c]) })));
      return;
    }
    const relations = await this.ask<Relation[]>("provenance");
    if (!relations) return;
    const list = (direction: Relation["direction"]): (string | HTMLElement)[][] => relations.filter((r) => r.direction === direction)
      .map((r) => [r.type, this.link(r), r.role]);
    this.fill("Provenance", [{ name: "Made of", lines: list("input") }, { name: "Used for", lines: list("output") }]);
  }

  private link(relation: Relation): HTMLElement | string {
    const text = relation.title || relation.id;
    if (!OPENS.test(relation.type)) return text;
    return make("button", { type: "button", class: "link", title: "Open this image", onclick: () => {
      this.following = true;
      this.openImage(this.host.meta?.release ?? "", relation.id);
    } }, text);
  }

  private fill(title: string, parts: { name: string; lines: (string | HTMLElement)[][] }[]): void {
    const table = make("table", { class: "sheet-table" });
    const lines: { row: HTMLElement; text: string }[] = [];
    for (const part of parts) {
      table.append(make("tr", {}, make("th", { colspan: "3", class: "part" }, part.name)));
      if (part.lines.length === 0) table.append(make("tr", {}, make("td", { colspan: "3", class: "hint" }, "none")));
      for (const [first, second, third] of part.lines) {
        const row = make("tr", {}, make("th", { scope: "row" }, first ?? ""), make("td", {}, second ?? ""), make("td", { class: "hint" }, third ?? ""));
        lines.push({ row, text: (row.textContent ?? "").toLowerCase() });
        table.append(row);
      }
    }
    const search = make("input", { type: "search", placeholder: "Search", "aria-label": `Search in ${title.toLowerCase()}`, oninput: () => {
      const wanted = search.value.toLowerCase();
      for (const { row, text } of lines) row.hidden = !text.includes(wanted);
    } });
    this.sheet.replaceChildren(make("strong", {}, title), search, make("div", { class: "long" }, table));
  }

  async showPsf(): Promise<void> {
    const centre = this.host.view.centre;
    if (!centre) return;
    const psf = await this.ask<Psf>(`psf?x=${centre[0].toFixed(2)}&y=${centre[1].toFixed(2)}`);
    if (!psf) return;
    const [height, width] = psf.shape;
    const canvas = make("canvas", { width: String(width), height: String(height), class: "psf", role: "img", "aria-label": "The point spread function" });
    const context = canvas.getContext("2d");
    const picture = context?.createImageData(width, height);
    const top = Math.max(...psf.values);
    psf.values.forEach((v, n) => {
      const grey = 255 * (Math.asinh(Math.max(v, 0) / top / 0.01) / Math.asinh(100));
      const at = ((height - 1 - Math.floor(n / width)) * width + (n % width)) * 4;
      picture?.data.set([grey, grey, grey, 255], at);
    });
    if (picture) context?.putImageData(picture, 0, 0);
    const row = Math.floor(height / 2);
    const cut = Float64Array.from({ length: width }, (_, n) => psf.values[row * width + n] ?? 0);
    this.sheet.replaceChildren(make("strong", {}, `PSF at x ${centre[0].toFixed(1)}, y ${centre[1].toFixed(1)}`), canvas,
      rows([["FWHM", `${formatValue(Number((psf.fwhm_px * psf.pixel_scale_arcsec).toPrecision(4)))}″ (${psf.fwhm_px.toFixed(2)} pixels)`], ["size", `${width} × ${height} pixels, sum 1`], ["peak", formatValue(top)]]),
      linePlot(Float64Array.from(cut, (_, n) => n), cut, "pixels along the middle row", "PSF"));
  }

  private cutOut(): void {
    const { meta } = this.host;
    const [x0, y0, x1, y1] = this.box();
    if (!meta || x1 < x0 || y1 < y0) return;
    const box = [x0 + meta.xy0[0], y0 + meta.xy0[1], x1 + meta.xy0[0], y1 + meta.xy0[1]];
    this.openImage(meta.release, `cutout-${wholeOf(meta.dataset_id)}-${box.join("_")}`);
  }

  private savePicture(): void {
    const name = (this.host.meta?.title ?? "image").replace(/[^\w.-]+/g, "-");
    takePicture(this.host.pane).toBlob((blob) => { if (blob) saveFile(`${name}.png`, blob); }, "image/png");
  }

  private async saveFits(): Promise<void> {
    const [x0, y0, x1, y1] = this.box();
    this.host.say("Cutting out the pixels in view…");
    const answer = await fetch(this.url(`cutout.fits?x0=${x0}&y0=${y0}&x1=${x1}&y1=${y1}`), { credentials: "same-origin" }).catch(() => null);
    if (!answer?.ok) {
      this.host.say(`The pixels cannot be saved: ${answer ? await problemOf(answer) : "the server does not answer"}.`, 6000);
      return;
    }
    saveFile(`${(this.host.meta?.title ?? "image").replace(/[^\w.-]+/g, "-")}-x${x0}-y${y0}.fits`, await answer.blob());
    this.host.say(`Saved ${x1 - x0 + 1} × ${y1 - y0 + 1} pixels.`, 3000);
  }

  private async copyPython(): Promise<void> {
    const meta = this.host.meta;
    if (!meta) return;
    const code = pythonOf(meta, this.box());
    const done = await copyText(code);
    this.sheet.replaceChildren(make("strong", {}, done ? "On the clipboard" : "Copy this"), make("pre", { tabindex: "0", "aria-label": "Python" }, code));
  }
}
