"""The plot of a light curve; folding and the change of units happen in the browser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import panel as pn
from bokeh.models import ColumnDataSource, HoverTool, Legend, LegendItem, Range1d
from bokeh.plotting import figure
from numpy.typing import NDArray

from skydesk_portal.services.lightcurves import LightCurve, to_ab_magnitude
from skydesk_portal.ui.plots import band_style, make_figure

__all__ = ["LightCurvePlot"]

# Two cycles are drawn when folded. The y range covers 98 % of the points so that one wild epoch does not hide the rest.
_DRAW = """
const p = period.value * (1 + fine.value / 100), folded = fold.value === 'phase' && p > 0, mag = unit.value === 'AB magnitude';
let ys = [], xs = [];
for (let n = 0; n < bases.length; n++) {
  const b = bases[n].data, x = [], y = [], lo = [], hi = [];
  const value = mag ? b.mag : b.flux, error = mag ? b.magErr : b.fluxErr;
  for (let cycle = 0; cycle < (folded ? 2 : 1); cycle++) {
    for (let i = 0; i < b.mjd.length; i++) {
      let at = b.mjd[i];
      if (folded) { at = (at - zero) / p; at = at - Math.floor(at) + cycle; }
      x.push(at); y.push(value[i]); lo.push(value[i] - error[i]); hi.push(value[i] + error[i]);
      xs.push(at); if (Number.isFinite(value[i])) ys.push(value[i]);
    }
  }
  drawn[n].data = {x: x, y: y, lo: lo, hi: hi};
}
ys.sort((a, b) => a - b);
if (ys.length) {
  const low = ys[Math.floor(0.01 * (ys.length - 1))], high = ys[Math.ceil(0.99 * (ys.length - 1))];
  const pad = 0.12 * (high - low) || 0.1 * Math.abs(high) || 1;
  plot.y_range.start = mag ? high + pad : low - pad;
  plot.y_range.end = mag ? low - pad : high + pad;
}
if (folded) { plot.x_range.start = -0.05; plot.x_range.end = 2.05; }
else { const a = Math.min(...xs), z = Math.max(...xs), pad = 0.03 * (z - a) || 1;
       plot.x_range.start = a - pad; plot.x_range.end = z + pad; }
xaxis.axis_label = folded ? 'Phase (period ' + p.toPrecision(7) + ' d)' : 'Time (MJD, TAI)';
yaxis.axis_label = mag ? 'AB magnitude' : 'Flux density (nJy)';
"""


class LightCurvePlot:
    """Points of all bands with errors, in time or phase, as flux or magnitude.

    Parameters
    ----------
    curve
        What to draw.
    dark
        Whether the page is dark.
    on_pick
        Called with the row of a clicked point.
    """

    def __init__(self, curve: LightCurve, dark: bool, on_pick: Callable[[int], None]) -> None:
        self._curve = curve
        self._dark = dark
        self._on_pick = on_pick
        self._rows: list[NDArray[np.intp]] = []
        self._bases: list[ColumnDataSource] = []
        self._drawn: list[ColumnDataSource] = []
        self.unit = pn.widgets.Select(name="Axis", options=["flux", "AB magnitude"], width=130)
        self.against = pn.widgets.Select(name="Against", options=["time", "phase"], width=100)
        self.period = pn.widgets.FloatInput(
            name="Period (days)", value=1.0, start=1e-4, step=0.001, width=140
        )
        self.fine = pn.widgets.FloatSlider(
            name="Fine tuning (%)", start=-2, end=2, step=0.001, value=0, format="0.000", width=240
        )
        self.view = self._build()

    @property
    def controls(self) -> tuple[pn.widgets.Widget, ...]:
        """Widgets that change the plot."""
        return self.unit, self.against, self.period, self.fine

    def fold(self, period_day: float) -> None:
        """Fold at a period."""
        self.fine.value = 0
        self.period.value = round(period_day, 7)
        self.against.value = "phase"

    def mark(self, row: int) -> None:
        """Mark the point of a row."""
        for rows, drawn in zip(self._rows, self._drawn, strict=True):
            drawn.selected.indices = [int(n) for n in np.flatnonzero(rows == row)]

    def _build(self) -> pn.Column:
        curve = self._curve
        plot = make_figure(self._dark, 400, "pan,wheel_zoom,box_zoom,reset,save,tap")
        items: list[LegendItem] = []
        points = []
        flagged = curve.array("flag").astype(bool)
        bands = curve.array("band").astype(str)
        for band in curve.bands:
            for bad in (False, True):
                chosen = np.flatnonzero((bands == band) & (flagged == bad))
                if chosen.size:
                    symbols, errors = self._add_band(plot, band, bad, chosen)
                    points.append(symbols)
                    label = f"{band}, flagged" if bad else band
                    items.append(LegendItem(label=f"{label} ({chosen.size})", renderers=[symbols, errors]))
        ink, surface = ("#e3e9f1", "#161e29") if self._dark else ("#1b2430", "#ffffff")
        legend = Legend(items=items, orientation="horizontal", label_text_color=ink, border_line_color=None)
        legend.background_fill_color = surface
        legend.click_policy = "hide"
        plot.add_layout(legend, "above")
        plot.add_tools(HoverTool(renderers=points, tooltips=[("x", "@x{0.00000}"), ("y", "@y{0.0000}")]))
        self._set_ranges(plot)
        self._connect(plot)
        summary = (
            f"Light curve of {curve.kind} {curve.object_id}: {curve.table.num_rows} epochs in {', '.join(curve.bands)}. "
            "The table below holds the same numbers."
        )
        return pn.Column(
            pn.pane.Bokeh(plot, sizing_mode="stretch_width", height=400),
            pn.pane.HTML(f"<p class='soft' role='note'>{summary}</p>", sizing_mode="stretch_width"),
            sizing_mode="stretch_width",
        )

    def _add_band(self, plot: figure, band: str, bad: bool, chosen: NDArray[np.intp]) -> tuple[Any, Any]:
        """Add one band's good or flagged points; returns the renderers of points and errors."""
        number = {n: self._curve.array(n)[chosen].astype(float) for n in ("mjd", "flux", "fluxErr")}
        number["mag"], number["magErr"] = to_ab_magnitude(number["flux"], number["fluxErr"])
        x, y, e = number["mjd"], number["flux"], number["fluxErr"]
        drawn = ColumnDataSource({"x": x, "y": y, "lo": y - e, "hi": y + e})
        which = len(self._drawn)
        drawn.selected.on_change("indices", lambda _attribute, _old, new: self._tapped(which, new))
        self._rows.append(chosen)
        self._bases.append(ColumnDataSource(number))
        self._drawn.append(drawn)
        style = band_style(band, self._dark)
        errors = plot.segment(
            "x", "lo", "x", "hi", source=drawn, line_color=style.colour, line_alpha=0.3 if bad else 0.75
        )
        symbols = plot.scatter(
            "x",
            "y",
            source=drawn,
            marker=style.marker,
            size=9,
            fill_color=style.colour,
            fill_alpha=0.1 if bad else 0.9,
            line_color=style.colour if self._dark else "#000000",
            line_width=0.8,
            nonselection_fill_alpha=0.3,
            nonselection_line_alpha=0.4,
        )
        return symbols, errors

    def _set_ranges(self, plot: figure) -> None:
        """Set what the browser's code sets on every change, for the first look."""
        mjd, flux = self._curve.array("mjd"), self._curve.array("flux").astype(float)
        finite = flux[np.isfinite(flux)]
        low, high = np.percentile(finite, (1, 99)) if finite.size else (0.0, 1.0)
        pad = 0.12 * (high - low) or 0.1 * abs(high) or 1.0
        margin = 0.03 * float(np.ptp(mjd)) or 1.0
        plot.x_range = Range1d(float(mjd.min()) - margin, float(mjd.max()) + margin)
        plot.y_range = Range1d(float(low - pad), float(high + pad))
        plot.xaxis.axis_label = "Time (MJD, TAI)"
        plot.yaxis.axis_label = "Flux density (nJy)"

    def _connect(self, plot: figure) -> None:
        arguments = {
            "bases": self._bases,
            "drawn": self._drawn,
            "plot": plot,
            "zero": float(np.nanmin(self._curve.array("mjd"))),
            "xaxis": plot.xaxis[0],
            "yaxis": plot.yaxis[0],
            **dict(zip(("unit", "fold", "period", "fine"), self.controls, strict=True)),
        }
        for widget in self.controls:
            widget.jscallback(args=arguments, value=_DRAW)

    def _tapped(self, which: int, indices: list[int]) -> None:
        if indices:
            rows = self._rows[which]
            self._on_pick(int(rows[indices[0] % rows.size]))
