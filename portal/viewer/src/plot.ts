/** A small line plot as SVG. */

import { make } from "./dom.ts";
import { formatValue } from "./stretch.ts";

/** Draw values against distances; gaps where there is no value. */
export function linePlot(x: Float64Array, y: Float64Array, xLabel: string, yLabel: string): HTMLElement {
  const [width, height, left, bottom] = [300, 170, 58, 34];
  const good = y.filter((v) => Number.isFinite(v));
  const low = good.reduce((a, b) => Math.min(a, b), Infinity);
  const high = good.reduce((a, b) => Math.max(a, b), -Infinity);
  const span = high > low ? high - low : 1;
  const end = x[x.length - 1] || 1;
  const px = (v: number): string => (left + ((width - left - 8) * v) / end).toFixed(1);
  const py = (v: number): string => (height - bottom - ((height - bottom - 10) * (v - low)) / span).toFixed(1);
  let path = "";
  let pen = false;
  y.forEach((v, n) => {
    if (!Number.isFinite(v)) {
      pen = false;
      return;
    }
    path += `${pen ? "L" : "M"}${px(x[n] ?? 0)} ${py(v)}`;
    pen = true;
  });
  const axis = `M${left} 10V${height - bottom}H${width - 8}`;
  const words = [
    [left - 5, 16, "end", formatValue(Number(high.toPrecision(4)))], [left - 5, height - bottom, "end", formatValue(Number(low.toPrecision(4)))],
    [left, height - bottom + 13, "middle", "0"], [width - 8, height - bottom + 13, "end", formatValue(Number(end.toPrecision(4)))],
    [(width + left) / 2, height - 4, "middle", xLabel], [left + 4, 18, "start", yLabel],
  ].map(([a, b, anchor, text]) => `<text x="${a}" y="${b}" text-anchor="${anchor}">${text}</text>`).join("");
  const box = make("div", { class: "plot" });
  box.innerHTML = `<svg viewBox="0 0 ${width} ${height}" role="img"><path class="axis" d="${axis}"/><path class="curve" d="${path}"/>${words}</svg>`;
  box.firstElementChild?.setAttribute("aria-label", `${yLabel} against ${xLabel}, from ${formatValue(low)} to ${formatValue(high)}; the values are in the table below`);
  return box;
}
