/** Takes what lies over an image into the form in which the address keeps it, and back. */

import type { CatalogSet } from "./imagecatalogs.ts";
import { formatMoc, parseMocText } from "./moc.ts";
import { fetchOverlays, type OverlayKeeper, type OverlayState } from "./overlaystate.ts";
import type { Pane } from "./pane.ts";
import { formatDs9, parseDs9, type Region } from "./regions.ts";
import { makeStyle } from "./sources.ts";
import type { ImageMeta } from "./tiles.ts";

/** What lies over an image: regions on it, catalogues, and what its pane draws. */
export interface Overlaid {
  pane: Pane;
  meta: ImageMeta;
  regions: Region[];
  catalogs: CatalogSet;
}

/** Keep what lies over the image for the address. */
export function keepOverlays(keeper: OverlayKeeper, { pane, meta, regions, catalogs }: Overlaid): void {
  const state: OverlayState = {};
  if (regions.length > 0) state.regions = formatDs9(regions, { fit: meta.wcs, xy0: meta.xy0 }, true).split("\n").slice(1).join("\n");
  const usual = makeStyle();
  const style = Object.entries(pane.view.sourceLayer.style).filter(([key, value]) => value !== usual[key as keyof typeof usual]);
  if (style.length > 0) state.sources = Object.fromEntries(style);
  if (catalogs.list.length > 0) state.catalogs = catalogs.list;
  if (pane.furniture.corner !== "bottom left") state.compass = pane.furniture.corner;
  const { moc, name } = pane.moc;
  void keeper.keep(state, moc, () => ({ name, text: moc ? formatMoc(moc) : "" }));
}

/** Lay over the image what an address says. */
export async function restoreOverlays(base: string, text: string, { pane, meta, regions, catalogs }: Overlaid): Promise<void> {
  const found = await fetchOverlays(base, text);
  if (found.moc) Object.assign(pane.moc, { name: found.moc.name, moc: parseMocText(found.moc.text) });
  if (found.regions) regions.push(...parseDs9(found.regions, { fit: meta.wcs, xy0: meta.xy0 }).regions);
  Object.assign(pane.view.sourceLayer.style, found.sources);
  catalogs.list.push(...found.catalogs ?? []);
  if (found.compass) pane.furniture.corner = found.compass;
}
