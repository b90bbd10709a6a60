"""The plot of light curves; folding, dragging the period and the change of units happen in the browser."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import panel as pn
from bokeh.core.properties import value
from bokeh.events import SelectionGeometry
from bokeh.models import (
    BoxSelectTool,
    ColumnDataSource,
    CustomJSTickFormatter,
    HoverTool,
    Legend,
    LegendItem,
    LinearAxis,
    Range1d,
)
from bokeh.plotting import figure
from numpy.typing import NDArray
from panel.viewable import Viewable

from skydesk_portal.models.photometry import Photometry, band_order
from skydesk_portal.services.lightcurve_colours import ColourCurve
from skydesk_portal.services.lightcurves import find_limits, to_ab_magnitude
from skydesk_portal.ui.components import SkyRange
from skydesk_portal.ui.plots import band_style, dress_legend, make_figure
from skydesk_portal.ui.shell import asset_text

__all__ = ["LightCurvePlot"]

# TAI has been 37 s ahead of UTC since 2017 and the Julian date of the Unix epoch is MJD 40587.
_UTC = "return new Date((tick - 40587) * 86400000 - 37000).toISOString().slice(0, 16).replace('T', ' ');"
_MOVES = ("moves the plot", "changes the period", "chooses a time range")
_FLAGGED = "flagged points"
# The plot's own tool saves PNG.
_SAVE_SVG = """
Bokeh.index.find_one(plot).export('svg').to_blob().then((blob) => {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob); link.download = 'lightcurve.svg'; link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
});
"""
_COLOUR_SIGNS = "●■▲◆★"
_COLOUR_STYLES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9")


_FLUXES, _MAGNITUDES = ("flux", "fluxErr"), ("mag", "magErr")
_NONE: NDArray[np.intp] = np.zeros(0, np.intp)

type Place = tuple[int, str, bool]


def _group(curves: Sequence[Photometry]) -> list[tuple[int, str, bool, NDArray[np.intp]]]:
    """List number of the curve, band, whether they are flagged, and rows of the points that are drawn alike."""
    groups = []
    for which, curve in enumerate(curves):
        for band in curve.bands:
            for bad in (False, True):
                chosen = np.flatnonzero((curve.band == band) & (curve.flag == bad))
                if chosen.size:
                    groups.append((which, band, bad, chosen))
    return groups


class LightCurvePlot:
    """Points of all bands with errors and limits, in time or phase, as flux or magnitude.

    Parameters
    ----------
    curves
        What to draw; the first is what the page is about, the others are drawn hollow.
    dark
        Whether the page is dark.
    on_pick
        Called with the row of a clicked point of the first curve.
    on_brush
        Called with the rows of the first curve in a chosen range of time, and its ends in MJD.
    places
        Further kinds of points that later curves may have, as `places` of the plot before lists them.
    """

    def __init__(
        self,
        curves: Sequence[Photometry],
        dark: bool,
        on_pick: Callable[[int], None],
        on_brush: Callable[[list[int], float, float], None],
        places: Collection[Place] = (),
    ) -> None:
        self._curves = curves
        self._spare = [place for place in places if place[0] < len(curves)]
        self._dark = dark
        self._on_pick = on_pick
        self._on_brush = on_brush
        self._groups: list[tuple[int, str, bool, NDArray[np.intp]]] = []
        self._bases: list[ColumnDataSource] = []
        self._drawn: list[ColumnDataSource] = []
        self._limits: list[ColumnDataSource] = []
        self._renderers: list[list[Any]] = []
        self._colour_bases: list[ColumnDataSource] = []
        self._colour_drawn: list[ColumnDataSource] = []
        self._set_times()
        bands = self._list_bands()
        self.unit = pn.widgets.Select(name="Axis", options=["flux", "AB magnitude"], width=130)
        self.against = pn.widgets.Select(name="Against", options=["time", "phase"], width=100)
        self.period = pn.widgets.FloatInput(
            name="Period (days)", value=1.0, start=1e-5, step=0.001, width=140
        )
        self.epoch = pn.widgets.FloatInput(
            name="Epoch of phase 0 (MJD)", value=round(self._first, 5), width=170
        )
        self.fine = SkyRange(label="Fine tuning (cycles)", start=-3, end=3, step=0.005, width=250)
        self.drag = pn.widgets.Select(name="Dragging", options=list(_MOVES), width=170)
        self.bands = pn.widgets.CheckBoxGroup(name="Bands", options=bands, value=list(bands), inline=True)
        self.flagged = pn.widgets.CheckBoxGroup(
            name="Doubtful", options=[_FLAGGED], value=[_FLAGGED], inline=True
        )
        self.save_svg = pn.widgets.Button(name="Save as SVG", width=120, align="end")
        self.colour_figure = make_figure(dark, 200, "wheel_zoom,box_zoom,reset,save")
        self.view = self._build()
        self.bands.param.watch(self._toggle, "value")
        self.flagged.param.watch(self._toggle, "value")
        self.drag.param.watch(self._set_tool, "value")

    @property
    def controls(self) -> tuple[Viewable, ...]:
        """Widgets that change the plot."""
        return self.unit, self.against, self.period, self.epoch, self.fine, self.drag

    @property
    def choices(self) -> tuple[pn.widgets.Widget, ...]:
        """Widgets that choose what is drawn."""
        return self.bands, self.flagged, self.save_svg

    @property
    def show_flagged(self) -> bool:
        """Whether flagged points are drawn."""
        return bool(self.flagged.value)

    @show_flagged.setter
    def show_flagged(self, shown: bool) -> None:
        self.flagged.value = [_FLAGGED] if shown else []

    def fold(self, period_day: float, epoch_mjd: float | None = None) -> None:
        """Fold at a period, and at an epoch if one is known."""
        self.fine.value = 0
        if epoch_mjd is not None:
            self.epoch.value = round(epoch_mjd, 6)
        self.period.value = round(period_day, 9)
        self.against.value = "phase"

    @property
    def places(self) -> list[Place]:
        """Number of the curve, band, and whether they are flagged, of the points that the plot has a place for."""
        return [group[:3] for group in self._groups]

    def update(self, curves: Sequence[Photometry]) -> bool:
        """Show other light curves in the same plot, if it has a place for all of their points; call `arrange` afterwards.

        Parameters
        ----------
        curves
            What to draw instead of the ones before.

        Returns
        -------
        bool
            Whether it has; a new plot takes the browser ten times as long.
        """
        found = {group[:3]: group[3] for group in _group(curves)}
        if len(curves) != len(self._curves) or not found.keys() <= set(self.places):
            return False
        self._curves = curves
        self._set_times()
        for n, (which, band, bad) in enumerate(self.places):
            chosen = found.get((which, band, bad), _NONE)
            self._groups[n] = (which, band, bad, chosen)
            self._bases[n].data = dict(self._columns(which, chosen))
            self._drawn[n].selected.indices = []
        bands = self._list_bands()
        self.bands.param.update(options=bands, value=list(bands))
        self.epoch.value = round(self._first, 5)
        self.fine.value = 0
        self._figure.tags = [self._span]
        self._fill_legend()
        self._summary.object = self._summarise()
        return True

    def arrange(self) -> None:
        """Put the points where the widgets say, as the browser's code does on every change that is made there."""
        magnitudes, frequency = self.unit.value == "AB magnitude", self._frequency_per_day
        folded = frequency > 0
        ys = [np.zeros(0)]
        for base, drawn, limits in zip(self._bases, self._drawn, self._limits, strict=True):
            mjd, limit = np.asarray(base.data["mjd"]), np.asarray(base.data["limit"])
            height, error = (np.asarray(base.data[n]) for n in (_MAGNITUDES if magnitudes else _FLUXES))
            x = self._place(mjd)
            y, spread = (np.tile(a, x.size // max(a.size, 1)) for a in (height, error))
            drawn.data = {"x": x, "y": y, "lo": y - spread, "hi": y + spread}
            faint = np.isfinite(limit) & magnitudes
            lx = self._place(mjd[faint])
            ly = np.tile(limit[faint], lx.size // max(int(faint.sum()), 1))
            limits.data = {"x": lx, "y": ly, "text": ["↓"] * lx.size}
            ys += [y[np.isfinite(y)], ly]
        self._time_axis.axis_label = f"Phase (period {1 / frequency:#.8g} d)" if folded else "Time (MJD, TAI)"
        self._figure.yaxis[0].axis_label = "AB magnitude" if magnitudes else "Flux density (nJy)"
        self._utc.visible = not folded
        self._set_ranges(np.concatenate(ys), magnitudes, folded)

    def mark(self, row: int) -> None:
        """Mark the point of a row of the first curve."""
        for (which, _, _, rows), drawn in zip(self._groups, self._drawn, strict=True):
            drawn.selected.indices = [int(n) for n in np.flatnonzero(rows == row)] if which == 0 else []

    def show_colours(self, colours: Sequence[ColourCurve]) -> None:
        """Draw colour curves below the light curve; none hides the lower plot."""
        for n, (base, drawn) in enumerate(zip(self._colour_bases, self._colour_drawn, strict=True)):
            c = colours[n] if n < len(colours) else None
            empty = np.zeros(0)
            mjd, colour, error = (c.mjd, c.colour, c.error) if c else (empty, empty, empty)
            base.data = {"mjd": mjd, "colour": colour, "error": error}
            x = self._place(mjd)
            y, e = (np.tile(a, x.size // max(a.size, 1)) for a in (colour, error))
            drawn.data = {"x": x, "y": y, "low": y - e, "high": y + e}
        shown = [c for c in colours if c.mjd.size]
        names = [f"{sign} {c.label}" for sign, c in zip(_COLOUR_SIGNS, colours, strict=False)]
        self.colour_figure.yaxis.axis_label = f"{', '.join(names)} (mag)"
        if bool(shown) != bool(self._lower.objects):
            pane = pn.pane.Bokeh(self.colour_figure, sizing_mode="stretch_width", height=200)
            self._lower.objects = [pane] if shown else []

    @property
    def _frequency_per_day(self) -> float:
        """With which the curve is folded; 0 if it is not."""
        period_day = self.period.value
        if self.against.value != "phase" or not period_day:
            return 0.0
        return max(1 / float(period_day) + float(self.fine.value or 0.0) / self._span, 0.0)

    def _set_times(self) -> None:
        times = np.concatenate([c.mjd[np.isfinite(c.mjd)] for c in self._curves] or [np.zeros(0)])
        self._first, self._last = (float(times.min()), float(times.max())) if times.size else (0.0, 1.0)
        self._span = max(self._last - self._first, 1e-6)

    def _list_bands(self) -> list[str]:
        return sorted({b for c in self._curves for b in c.bands}, key=band_order)

    def _place(self, mjd: NDArray[np.float64]) -> NDArray[np.float64]:
        """Place times as the browser's code does: as they are, or twice by phase."""
        frequency = self._frequency_per_day
        if not frequency:
            return mjd
        phase = ((mjd - float(self.epoch.value or 0.0)) * frequency) % 1
        return np.concatenate([phase, phase + 1])

    def _build(self) -> pn.Column:
        plot = self._figure = make_figure(self._dark, 420, "pan,wheel_zoom,box_zoom,reset,save,tap")
        # Both plots begin at the same place, so that their times lie above each other.
        plot.min_border_left = self.colour_figure.min_border_left = 84
        self._brush = BoxSelectTool(dimensions="width", persistent=True)
        plot.add_tools(self._brush)
        plot.on_event(SelectionGeometry, self._brushed)
        plot.tags = [self._span]
        plot.x_range, plot.y_range = Range1d(0, 1), Range1d(0, 1)
        self._add_points(plot)
        utc = self._utc = LinearAxis(axis_label="Date (UTC)", formatter=CustomJSTickFormatter(code=_UTC))
        for name in ("axis_label_text_color", "major_label_text_color", "axis_line_color", "major_tick_line_color",
                     "minor_tick_line_color", "axis_label_text_font_style", "major_label_text_font_size"):  # fmt: skip
            setattr(utc, name, getattr(plot.xaxis[0], name))
        self._time_axis = plot.xaxis[0]
        plot.add_layout(utc, "above")
        self._add_colours(plot)
        self._upper = pn.pane.Bokeh(plot, sizing_mode="stretch_width", height=420)
        self._connect(plot, utc)
        self.arrange()
        self._summary = pn.pane.HTML(self._summarise(), sizing_mode="stretch_width")
        self._lower = pn.Column(sizing_mode="stretch_width", margin=0)
        return pn.Column(
            self._upper,
            self._lower,
            self._summary,
            sizing_mode="stretch_width",
        )

    def _summarise(self) -> str:
        first, others = self._curves[0], [c.label for c in self._curves[1:]]
        return (
            f"<p class='soft' role='note'>Light curve of {first.label}: {first.mjd.size} epochs in {', '.join(first.bands)}"
            f"{' beside ' + ', '.join(others) if others else ''}. "
            "Arrows are limits of 3 standard deviations, hollow crossed points are flagged. "
            "The table below holds the same numbers.</p>"
        )

    def _add_points(self, plot: figure) -> None:
        groups = _group(self._curves)
        groups += [(*place, _NONE) for place in self._spare if place not in {group[:3] for group in groups}]
        points = [self._add_group(plot, *group)[0] for group in groups]
        self._legend = Legend(orientation="horizontal")
        dress_legend(self._legend, self._dark)
        self._items = [LegendItem(renderers=renderers) for renderers in self._renderers]
        self._legend.items = list(self._items)
        self._fill_legend()
        plot.add_layout(self._legend, "above")
        plot.add_tools(HoverTool(renderers=points, tooltips=[("x", "@x{0.00000}"), ("y", "@y{0.0000}")]))

    def _fill_legend(self) -> None:
        labels = []
        for item, (which, band, bad, chosen) in zip(self._items, self._groups, strict=True):
            label = f"{band}, flagged" if bad else band
            label = f"{label} of {self._curves[which].label}" if which else label
            labels.append(f"{label} ({chosen.size})")
            item.label, item.visible = value(labels[-1]), chosen.size > 0
        # A legend that is wider than the plot would widen the page.
        longest = max(map(len, labels), default=1)
        self._legend.ncols = min(max(100 // (longest + 6), 1), 8)

    def _columns(self, which: int, chosen: NDArray[np.intp]) -> dict[str, NDArray[np.float64]]:
        """Return what the browser's code draws from: fluxes, magnitudes and limits of some points of a curve."""
        curve = self._curves[which]
        mjd, flux, error = (a[chosen].astype(float) for a in (curve.mjd, curve.flux_njy, curve.error_njy))
        magnitude, spread = to_ab_magnitude(flux, error)
        limit = find_limits(flux, error)
        faint = np.isfinite(limit)
        magnitude[faint] = spread[faint] = np.nan
        return {
            "mjd": mjd,
            "flux": flux,
            "fluxErr": error,
            "mag": magnitude,
            "magErr": spread,
            "limit": limit,
        }

    def _add_group(
        self, plot: figure, which: int, band: str, bad: bool, chosen: NDArray[np.intp]
    ) -> list[Any]:
        """Add the good or flagged points of one band of one curve; returns the renderers, the points first."""
        drawn = ColumnDataSource({"x": [], "y": [], "lo": [], "hi": []})
        limits = ColumnDataSource({"x": [], "y": [], "text": []})
        at = len(self._drawn)
        drawn.selected.on_change("indices", lambda _attribute, _old, new: self._selected(at, new))
        self._groups.append((which, band, bad, chosen))
        self._bases.append(ColumnDataSource(self._columns(which, chosen)))
        self._drawn.append(drawn)
        self._limits.append(limits)
        style = band_style(band, self._dark)
        errors = plot.segment(
            "x", "lo", "x", "hi", source=drawn, line_color=style.colour, line_alpha=0.3 if bad else 0.75
        )
        hollow = bad or which > 0
        symbols = plot.scatter(
            "x",
            "y",
            source=drawn,
            marker=style.marker,
            size=9 + 2 * which,
            fill_color=style.colour,
            fill_alpha=0.2 if hollow else 0.9,
            line_color=style.colour if self._dark else "#000000",
            line_width=1.6 if which else 0.8,
            nonselection_fill_alpha=0.1 if hollow else 0.3,
            nonselection_line_alpha=0.4,
        )
        arrows = plot.text(
            "x", "y", text="text", source=limits, text_color=style.colour, text_align="center", text_baseline="top",
            text_font_size="17px",
        )  # fmt: skip
        renderers = [symbols, errors, arrows]
        if bad:
            renderers.append(
                plot.scatter(
                    "x", "y", source=drawn, marker="x", size=9, line_color=style.colour, line_alpha=0.8
                )
            )
        self._renderers.append(renderers)
        return renderers

    def _add_colours(self, plot: figure) -> None:
        self.colour_figure.x_range = plot.x_range
        self.colour_figure.xaxis.visible = False
        for colour, marker in zip(
            _COLOUR_STYLES, ("circle", "square", "triangle", "diamond", "star"), strict=True
        ):
            base = ColumnDataSource({"mjd": [], "colour": [], "error": []})
            drawn = ColumnDataSource({"x": [], "y": [], "low": [], "high": []})
            self.colour_figure.segment("x", "low", "x", "high", source=drawn, line_color=colour)
            self.colour_figure.scatter("x", "y", source=drawn, marker=marker, size=8, color=colour)
            self._colour_bases.append(base)
            self._colour_drawn.append(drawn)

    def _set_ranges(self, ys: NDArray[np.float64], magnitudes: bool, folded: bool) -> None:
        """Set what the browser's code sets on a change of the axes; one wild epoch does not hide the rest."""
        x_range, y_range = self._figure.x_range, self._figure.y_range
        low, high = (float(v) for v in np.percentile(ys, (1, 99))) if ys.size else (0.0, 1.0)
        pad = 0.12 * (high - low) or 0.1 * abs(high) or 1.0
        start, end = (high + pad, low - pad) if magnitudes else (low - pad, high + pad)
        y_range.update(start=start, end=end)
        margin = 0.03 * (self._last - self._first) or 1.0
        start, end = (-0.05, 2.05) if folded else (self._first - margin, self._last + margin)
        x_range.update(start=start, end=end)

    def _connect(self, plot: figure, utc: LinearAxis) -> None:
        arguments: dict[str, Any] = {
            "bases": self._bases,
            "drawn": self._drawn,
            "limits": self._limits,
            "colour_bases": self._colour_bases,
            "colour_drawn": self._colour_drawn,
            "plot": plot,
            "xaxis": self._time_axis,
            "yaxis": plot.yaxis[0],
            "utc": utc,
            **dict(zip(("unit", "against", "period", "epoch", "fine", "drag"), self.controls, strict=True)),
        }
        code = asset_text("lightcurve_fold.js")
        sources = (self.unit, self.against, self.period, self.epoch, self.fine)
        self._callbacks = [widget.jscallback(args=arguments, value=code) for widget in sources]
        self._callbacks.append(self.save_svg.jscallback(args={"plot": plot}, clicks=_SAVE_SVG))
        # One callback a call: Panel takes the last event of several.
        for event in ("panstart", "pan", "panend"):
            self._callbacks.append(self._upper.jscallback(args=arguments, **{f"event:{event}": code}))

    def close(self) -> None:
        """Let the plot go: Panel would keep it for its callbacks, which have each other's widgets."""
        for callback in self._callbacks:
            callback.unwatch()

    def _set_tool(self, _event: Any) -> None:
        toolbar = self._figure.toolbar
        wanted = {_MOVES[0]: "PanTool", _MOVES[2]: "BoxSelectTool"}.get(self.drag.value)
        toolbar.active_drag = next((t for t in self._figure.tools if type(t).__name__ == wanted), None)

    def _toggle(self, _event: Any) -> None:
        for (_, band, bad, _), renderers in zip(self._groups, self._renderers, strict=True):
            for renderer in renderers:
                renderer.visible = band in self.bands.value and (self.show_flagged or not bad)

    def _selected(self, at: int, indices: list[int]) -> None:
        which, _, _, rows = self._groups[at]
        if which == 0 and indices and self.drag.value != _MOVES[2]:
            self._on_pick(int(rows[indices[0] % rows.size]))

    def _brushed(self, event: SelectionGeometry) -> None:
        """Answer to a box that was drawn over a range of time, or of phase when folded."""
        box = event.geometry
        if not event.final or box is None or box["type"] != "rect":
            return
        low, high = sorted((float(box["x0"]), float(box["x1"])))
        first = self._curves[0]
        at = first.mjd
        x = self._place(at)
        inside = ((x >= low) & (x <= high)).reshape(-1, at.size).any(axis=0)
        rows = [int(n) for n in np.flatnonzero(inside)]
        if rows:
            self._on_brush(rows, float(at[rows].min()), float(at[rows].max()))
