/** Mounts the image workspace in a Panel component. */

import style from "./viewer.css";
import { make } from "./dom.ts";
import { connectRemote } from "./remote.ts";
import { Workspace } from "./workspace.ts";

interface Model {
  base: string;
  wanted: { release?: string; id?: string; ra?: number; dec?: number; serial?: number; linked?: boolean };
  on(event: string | string[], callback: () => void): void;
}

export function render({ model }: { model: Model }): HTMLElement {
  // The page's lists follow links within the viewer: the wish goes through the model, which opens the image.
  const workspace = new Workspace(model.base, (release, id) => { model.wanted = { release, id, serial: (model.wanted.serial ?? 0) + 1, linked: true }; });
  const disconnect = connectRemote(workspace);
  const root = make("div", { class: "root" }, make("style", {}, style), workspace.element);
  const open = (): void => {
    const { release, id, ra, dec, linked } = model.wanted;
    if (linked && workspace.meta?.dataset_id === id) return; // the viewer has opened it already
    if (release && id) void workspace.open(release, id, ra !== undefined && dec !== undefined ? { ra, dec } : {});
  };
  model.on("after_render", open);
  model.on("wanted", open);
  model.on("remove", () => {
    disconnect();
    workspace.dispose();
  });
  return root;
}
