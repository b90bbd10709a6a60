/** The panel for several images: beside each other, subtracted, or mixed to a colour picture. */

import { LAYOUTS, type Comparison, type Layout } from "./compare.ts";
import type { Shown } from "./derived.ts";
import { button, choice, make, problemOf, setControl, slider, tick } from "./dom.ts";
import type { Host, Panel } from "./panels.ts";
import { TileStore, fetchMeta } from "./tiles.ts";
import { pixelToSky } from "./wcs.ts";

/** An image that can be chosen. */
export interface Known {
  release: string;
  id: string;
  title: string;
  band: string;
  type: string;
}

const BLUEST = "ugrizy";

/** An image in an address: its identifier, with the release where that is another one. */
export function formatReference(image: { release: string; id: string }, release: string): string {
  return image.release === release ? image.id : `${image.release}~${image.id}`;
}

/** What `formatReference` wrote. */
export function parseReference(text: string, release: string): { release: string; id: string } {
  const at = text.indexOf("~");
  return at < 0 ? { release, id: text } : { release: text.slice(0, at), id: text.slice(at + 1) };
}

/** Compares images. */
export class ComparePanel implements Panel {
  readonly name = "Compare";
  readonly help = "Several images, differences, colour pictures (K)";
  readonly element = make("div", { class: "rows" });
  private listed = "";
  /** Images that were opened since the page was loaded. */
  readonly opened: Known[] = [];
  private near: Known[] = [];
  /** Lists in which the person has chosen something. */
  private readonly chosen = new Set<HTMLSelectElement>();
  private nearKey = "";
  private readonly host: Host;
  private readonly comparison: () => Comparison;
  private readonly add: (release: string, id: string) => Promise<void>;
  private readonly lists: Record<"second" | "red" | "green" | "blue", HTMLSelectElement>;
  private readonly layout: HTMLElement;
  private readonly lock: HTMLElement;
  private readonly blink: HTMLElement;
  private readonly range: HTMLElement;
  private readonly softness: HTMLElement;

  constructor(host: Host, comparison: () => Comparison, add: (release: string, id: string) => Promise<void>) {
    this.host = host;
    this.comparison = comparison;
    this.add = add;
    const list = (name: string): HTMLSelectElement => {
      const select = make("select", { "aria-label": name, onchange: () => this.chosen.add(select) });
      return select;
    };
    this.lists = { second: list("Second image"), red: list("Red"), green: list("Green"), blue: list("Blue") };
    this.layout = choice("Layout", LAYOUTS, "side by side", (v) => { comparison().setLayout(v as Layout); host.changed(); });
    this.lock = tick("Locked to the same part of the sky", true, (on) => {
      comparison().locked = on;
      if (on) comparison().align();
    });
    this.blink = tick("Blink by itself", false, (on) => comparison().blink(on));
    const mix = (part: Partial<{ stretch: number; q: number; minimum: number }>): void => {
      Object.assign(host.view.mix, part);
      host.view.restretch();
    };
    this.range = slider("Range", { min: -3, max: 5, step: 0.02 }, 1, (v) => mix({ stretch: 10 ** v }));
    this.softness = slider("Softening Q", { min: 0.5, max: 30, step: 0.5 }, 8, (q) => mix({ q }));
    const band = (name: string, select: HTMLSelectElement): HTMLElement => make("label", { class: "field" }, make("span", {}, name), select);
    this.element.append(make("strong", {}, "Second image"), this.lists.second,
      make("div", { class: "line" }, button("Show beside", "Show this image beside the first, locked to the same part of the sky", () => void this.show()),
        button("Difference", "The first image minus this one, on the grid of the first", () => void this.subtract("difference")),
        button("Difference in σ", "The difference divided by its noise", () => void this.subtract("significance"))),
      this.layout, this.lock, this.blink,
      make("div", { class: "line" }, button("Next", "The next image (.)", () => comparison().next()),
        button("Only the first", "Close the other images", () => { comparison().removeOthers(); host.changed(); this.refresh(); })),
      make("strong", {}, "Colour picture (Lupton et al. 2004)"), band("Red", this.lists.red), band("Green", this.lists.green), band("Blue", this.lists.blue),
      make("div", { class: "line" }, button("Mix", "Mix the three images to a colour picture on the grid of the one shown", () => void this.mix()),
        button("Back to the image", "Show the image itself again", () => void this.showPlane({ kind: "image" }))),
      this.range, this.softness);
  }

  refresh(): void {
    const comparison = this.comparison();
    setControl(this.layout, comparison.layout);
    setControl(this.lock, comparison.locked);
    setControl(this.blink, comparison.blinking);
    this.refreshMix();
    this.fill();
    void this.look();
  }

  private refreshMix(): void {
    setControl(this.range, Math.log10(Math.max(this.host.view.mix.stretch, 1e-3)));
    setControl(this.softness, this.host.view.mix.q);
  }

  /** Remember an image that was opened. */
  note(image: Known): void {
    if (!this.opened.some((known) => known.id === image.id)) this.opened.push(image);
  }

  /** Ask which images show the middle of the view. */
  private async look(): Promise<void> {
    const { meta, view } = this.host;
    const centre = view.centre;
    if (!meta?.wcs || !centre || meta.release === "my-files") return;
    const [ra, dec] = pixelToSky(meta.wcs, ...centre);
    const key = `${meta.release} ${ra.toFixed(3)} ${dec.toFixed(3)}`;
    if (key === this.nearKey) return;
    this.nearKey = key;
    const answer = await fetch(`${this.host.base}/overlapping/${encodeURIComponent(meta.release)}?ra=${ra}&dec=${dec}`, { credentials: "same-origin" }).catch(() => null);
    if (!answer?.ok) {
      this.host.say(`The list of images is not available: ${answer ? await problemOf(answer) : "the server does not answer"}.`, 5000);
      return;
    }
    const found = (await answer.json()) as Omit<Known, "release">[];
    this.near = found.map((image) => ({ ...image, release: meta.release }));
    this.fill();
    this.element.dataset.images = String(this.near.length);
  }

  private fill(): void {
    const all = [...this.opened.filter((o) => !this.near.some((n) => o.id === n.id)), ...this.near];
    const own = this.host.meta?.dataset_id;
    const kind = this.host.meta?.dataset_type;
    // Red is the reddest of the bands of the same kind of image, as people expect.
    const alike = this.near.filter((n) => n.type === kind && n.band);
    const bands = [...new Set(alike.map((n) => n.band))].sort((a, b) => BLUEST.indexOf(b) - BLUEST.indexOf(a));
    const pick = (band: string | undefined): string | undefined => alike.find((n) => n.band === band)?.id;
    const three = ["i", "r", "g"].every((b) => bands.includes(b)) ? ["i", "r", "g"] : bands.length >= 3 ? [bands[0], bands[1], bands[2]] : bands.length > 0 ? [bands[0], bands[Math.min(1, bands.length - 1)], bands[bands.length - 1]] : [];
    const wanted = { second: all.find((k) => k.id !== own)?.id, red: pick(three[0]), green: pick(three[1]), blue: pick(three[2]) };
    // Many images show the same place: the lists are written anew only when they are others, not at each blink.
    const listed = all.map((k) => `${k.release}~${k.id} ${k.title}`).join("\n");
    const same = listed === this.listed;
    this.listed = listed;
    for (const [name, select] of Object.entries(this.lists) as [keyof typeof wanted, HTMLSelectElement][]) {
      const before = select.value;
      if (!same) select.replaceChildren(...all.map((k) => make("option", { value: `${k.release}~${k.id}` }, k.title)));
      const chosen = all.find((k) => k.id === wanted[name]);
      if (this.chosen.has(select) && all.some((k) => `${k.release}~${k.id}` === before)) select.value = before;
      else if (chosen) select.value = `${chosen.release}~${chosen.id}`;
    }
  }

  private async load(select: HTMLSelectElement): Promise<TileStore> {
    if (!select.value) throw new Error("there is no other image to choose");
    const { release, id } = parseReference(select.value, "");
    return new TileStore(this.host.base, await fetchMeta(this.host.base, release, id));
  }

  private async show(): Promise<void> {
    try {
      if (!this.lists.second.value) throw new Error("there is no other image to choose");
      const { release, id } = parseReference(this.lists.second.value, "");
      await this.add(release, id);
    } catch (error) {
      this.host.say(`The image cannot be shown beside this one: ${(error as Error).message}.`, 6000);
    }
  }

  private async subtract(kind: "difference" | "significance"): Promise<void> {
    try {
      await this.showPlane({ kind, other: await this.load(this.lists.second) });
    } catch (error) {
      this.host.say(`There is no difference: ${(error as Error).message}.`, 6000);
    }
  }

  private async mix(): Promise<void> {
    try {
      const others = await Promise.all([this.load(this.lists.red), this.load(this.lists.green), this.load(this.lists.blue)]);
      await this.showPlane({ kind: "colour", others });
    } catch (error) {
      this.host.say(`The images cannot be mixed: ${(error as Error).message}.`, 6000);
    }
  }

  private async showPlane(shown: Shown): Promise<void> {
    await this.host.view.showPlane(shown);
    if (shown.kind !== "colour") this.host.view.limits("auto");
    this.refreshMix();
    this.host.changed();
  }

  /** The plane in an address; empty for the image itself. */
  format(): string {
    const { shown, mix } = this.host.view;
    const release = this.host.meta?.release ?? "";
    const name = (store: TileStore): string => formatReference({ release: store.meta.release, id: store.meta.dataset_id }, release);
    if (shown.kind === "image") return "";
    if (shown.kind === "difference" || shown.kind === "significance") return `${shown.kind}:${name(shown.other)}`;
    if (shown.kind !== "colour") return shown.kind;
    const numbers = [mix.minimum, mix.stretch, mix.q].map((v) => Number(v.toPrecision(5)));
    return `colour:${shown.others.map(name).join(",")}:${numbers.join(",")}`;
  }

  /** Show what an address names; a plane that is gone leaves the image. */
  async restore(text: string): Promise<void> {
    const [kind, names, numbers] = text.split(":");
    const release = this.host.meta?.release ?? "";
    const load = async (name: string): Promise<TileStore> => {
      const { release: r, id } = parseReference(name, release);
      return new TileStore(this.host.base, await fetchMeta(this.host.base, r, id));
    };
    try {
      if (kind === "variance" || kind === "noise" || kind === "signal") await this.host.view.showPlane({ kind });
      else if ((kind === "difference" || kind === "significance") && names) await this.host.view.showPlane({ kind, other: await load(names) });
      else if (kind === "colour" && names) {
        const [a, b, c] = await Promise.all(names.split(",").slice(0, 3).map(load));
        if (!a || !b || !c) return;
        await this.host.view.showPlane({ kind, others: [a, b, c] });
        const [minimum, stretch, q] = (numbers ?? "").split(",").map(Number);
        if ([minimum, stretch, q].every((v) => Number.isFinite(v)) && (stretch ?? 0) > 0 && (q ?? 0) > 0) Object.assign(this.host.view.mix, { minimum, stretch, q });
        this.host.view.restretch();
      }
    } catch (error) {
      this.host.say(`The plane of this address is not available: ${(error as Error).message}.`, 6000);
    }
  }
}
