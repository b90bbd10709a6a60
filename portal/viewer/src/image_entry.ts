/** Mounts the image workspace in a Panel component. */

import style from "./viewer.css";
import { make } from "./dom.ts";
import { connectRemote } from "./remote.ts";
import { Workspace } from "./workspace.ts";

interface Model {
  base: string;
  wanted: { release?: string; id?: string; ra?: number; dec?: number };
  on(event: string | string[], callback: () => void): void;
}

export function render({ model }: { model: Model }): HTMLElement {
  const workspace = new Workspace(model.base);
  const disconnect = connectRemote(workspace);
  const root = make("div", { class: "root" }, make("style", {}, style), workspace.element);
  const open = (): void => {
    const { release, id, ra, dec } = model.wanted;
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
