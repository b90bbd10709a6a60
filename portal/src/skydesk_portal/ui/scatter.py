"""One scatter plot of a result: points as they are, or counted on a grid when there are many."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import panel as pn
import pyarrow as pa
from bokeh.events import RangesUpdate
from bokeh.models import ColumnDataSource, Range1d, TapTool
from numpy.typing import NDArray

from skydesk_portal.models.tables import ColumnInfo
from skydesk_portal.ui.plots import make_figure
from skydesk_portal.ui.tables import is_numeric

__all__ = ["MAX_POINTS", "ScatterPlot"]

MAX_POINTS = 20_000
"""Above this many rows the plot shows counts instead of points."""

_PREFERRED = (("g_psfMag", "r_psfMag"), ("coord_ra", "coord_dec"), ("ra", "dec"), ("s_ra", "s_dec"))
_GRID = (700, 420)


class ScatterPlot:
    """Plots two chosen columns against each other.

    Parameters
    ----------
    dark
        Whether the page is dark.
    on_pick
        Called with the row of a clicked point.
    """

    def __init__(self, dark: bool, on_pick: Callable[[int], None]) -> None:
        self._dark = dark
        self._on_pick = on_pick
        self._table: pa.Table | None = None
        self._columns: dict[str, ColumnInfo] = {}
        self._rows: NDArray[np.intp] = np.empty(0, np.intp)
        self._source: ColumnDataSource | None = None
        self.x = pn.widgets.Select(name="Horizontal", width=170)
        self.y = pn.widgets.Select(name="Vertical", width=170)
        self.scale_x = pn.widgets.Select(name="Horizontal scale", options=["linear", "log"], width=110)
        self.scale_y = pn.widgets.Select(name="Vertical scale", options=["linear", "log"], width=110)
        self.order = pn.widgets.Select(name="Vertical order", options=["upwards", "downwards"], width=120)
        self._slot = pn.Column(sizing_mode="stretch_width", margin=0)
        self._quiet = False
        self.view = pn.Column(
            pn.FlexBox(
                self.x,
                self.scale_x,
                self.y,
                self.scale_y,
                self.order,
                align_items="end",
                sizing_mode="stretch_width",
            ),
            self._slot,
            sizing_mode="stretch_width",
            visible=False,
        )
        for widget in (self.x, self.y, self.scale_x, self.scale_y, self.order):
            widget.param.watch(lambda _event: self._draw(), "value")

    @property
    def _log(self) -> tuple[bool, bool]:
        return self.scale_x.value == "log", self.scale_y.value == "log"

    def show(self, table: pa.Table, columns: Sequence[ColumnInfo]) -> None:
        """Plot a result; keeps the chosen axes when it has them."""
        self._table = table
        self._columns = {c.name: c for c in columns if is_numeric(c) and not c.name.startswith("hp")}
        names = list(self._columns)
        self.view.visible = len(names) > 1 and table.num_rows > 0
        if not self.view.visible:
            return
        x, y = self._first_axes(names)
        self._quiet = True
        self.x.param.update(options=names, value=x)
        self.y.param.update(options=names, value=y)
        self._quiet = False
        self._draw()

    def _first_axes(self, names: list[str]) -> tuple[str, str]:
        if self.x.value in names and self.y.value in names:
            return self.x.value, self.y.value
        for x, y in _PREFERRED:
            if x in names and y in names:
                return x, y
        plain = [n for n in names if not n.endswith(("Id", "_flag"))] or names
        return plain[0], plain[min(1, len(plain) - 1)]

    def mark(self, row: int) -> None:
        """Mark the point of a row, where points are drawn."""
        if self._source is not None:
            self._source.selected.indices = [int(n) for n in np.flatnonzero(self._rows == row)]

    def _values(self, name: str, log: bool) -> NDArray[np.float64]:
        assert self._table is not None
        values = np.asarray(self._table.column(name).to_numpy(zero_copy_only=False), float)
        if log:
            values = np.where(values > 0, values, np.nan)
        return values

    def _draw(self) -> None:
        if self._quiet or self._table is None or not self.x.value or not self.y.value:
            return
        x, y = self._values(self.x.value, self._log[0]), self._values(self.y.value, self._log[1])
        self._rows = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
        x, y = x[self._rows], y[self._rows]
        words = f"{self.y.value} against {self.x.value} of {x.size:,} rows"
        if x.size == 0:
            self._source = None
            self._slot.objects = [pn.pane.HTML("<p class='soft'>No row has both values.</p>")]
            return
        plot = self._make_plot(x, y)
        if x.size > MAX_POINTS:
            self._source = None
            self._draw_counts(plot, x, y)
            words += (
                ", counted on a grid (darker is more)"
                if not self._dark
                else ", counted on a grid (lighter is more)"
            )
        else:
            self._draw_points(plot, x, y)
        self._slot.objects = [
            pn.pane.Bokeh(plot, sizing_mode="stretch_width", height=_GRID[1]),
            pn.pane.HTML(f"<p class='soft' role='note'>{words}. The table holds the same numbers.</p>"),
        ]

    def _make_plot(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> Any:
        plot = make_figure(
            self._dark,
            _GRID[1],
            "pan,wheel_zoom,box_zoom,reset,save,tap",
            self._log,
        )
        plot.x_range = Range1d(*_padded(x, self._log[0]))
        low, high = _padded(y, self._log[1])
        plot.y_range = Range1d(high, low) if self.order.value == "downwards" else Range1d(low, high)
        for axis, widget in ((plot.xaxis, self.x), (plot.yaxis, self.y)):
            unit = self._columns[widget.value].unit
            axis.axis_label = f"{widget.value} ({unit})" if unit else widget.value
        return plot

    def _draw_points(self, plot: Any, x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
        colour = "#5aaeff" if self._dark else "#0b62b8"
        self._source = ColumnDataSource({"x": x, "y": y})
        size = 7 if x.size < 500 else 5 if x.size < 5000 else 3
        plot.scatter(
            "x",
            "y",
            source=self._source,
            size=size,
            fill_color=colour,
            line_color=None,
            fill_alpha=0.75 if x.size < 5000 else 0.5,
            selection_fill_color="#ff8c1a",
            selection_fill_alpha=1,
            nonselection_fill_alpha=0.35,
        )
        plot.select_one(TapTool).mode = "replace"

        def tapped(_attribute: str, _old: list[int], new: list[int]) -> None:
            if new:
                self._on_pick(int(self._rows[new[0]]))

        self._source.selected.on_change("indices", tapped)

    def _draw_counts(self, plot: Any, x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
        """Draw counts per grid cell, again for every new range."""
        image = ColumnDataSource({"image": [], "x": [], "y": [], "dw": [], "dh": []})
        plot.image_rgba("image", "x", "y", "dw", "dh", source=image)

        def redraw() -> None:
            ranges = [sorted((r.start, r.end)) for r in (plot.x_range, plot.y_range)]
            pixels = _count_image(x, y, ranges, self._log, self._dark)
            (x0, x1), (y0, y1) = ranges
            image.data = {"image": [pixels], "x": [x0], "y": [y0], "dw": [x1 - x0], "dh": [y1 - y0]}

        redraw()
        plot.on_event(RangesUpdate, lambda _event: redraw())


def _padded(values: NDArray[np.float64], log: bool) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    if log:
        pad = (high / low) ** 0.03 if high > low else 2.0
        return low / pad, high * pad
    pad = 0.03 * (high - low) or 0.05 * abs(high) or 1.0
    return low - pad, high + pad


def _count_image(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    ranges: list[list[float]],
    log: tuple[bool, bool],
    dark: bool,
) -> NDArray[np.uint32]:
    """Count points per pixel with datashader and colour the counts, equalised."""
    import datashader
    import pandas as pd
    from datashader import transfer_functions as shading

    canvas = datashader.Canvas(
        _GRID[0], _GRID[1], x_range=tuple(ranges[0]), y_range=tuple(ranges[1]),
        x_axis_type="log" if log[0] else "linear", y_axis_type="log" if log[1] else "linear",
    )  # fmt: skip
    counts = canvas.points(pd.DataFrame({"x": x, "y": y}), "x", "y")
    ramp = ["#1f4e79", "#5aaeff", "#fff3c4"] if dark else ["#b9d6f2", "#0b62b8", "#1b1035"]
    shaded = shading.shade(counts, cmap=ramp, how="eq_hist")
    return np.asarray(shaded.data, np.uint32)
