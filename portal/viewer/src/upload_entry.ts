/** Mounts the upload of files in a Panel component. */

import style from "./upload.css";
import { make } from "./dom.ts";
import { Uploader } from "./upload.ts";

interface Model {
  base: string;
  folder: string;
  finished: Record<string, unknown>;
  on(event: string | string[], callback: () => void): void;
}

export function render({ model }: { model: Model }): HTMLElement {
  let serial = 0;
  const uploader = new Uploader(model.base, (name) => { model.finished = { name, serial: ++serial }; });
  const follow = (): void => { uploader.folder = model.folder; };
  model.on("folder", follow);
  follow();
  return make("div", {}, make("style", {}, style), uploader.element);
}
