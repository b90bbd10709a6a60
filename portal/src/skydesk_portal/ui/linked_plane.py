"""Two columns against each other among linked plots: points where they are few, counts in cells where they are many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import panel as pn
from bokeh.events import RangesUpdate, Tap
from bokeh.models import ColumnDataSource, Range1d
from numpy.typing import NDArray

from skydesk_portal.services.brushing import Binning, find_nearest
from skydesk_portal.ui.linked_coordinates import find_sky_axes
from skydesk_portal.ui.linked_plot import LinkedPlot, make_table, pad_limits, paint_cells
from skydesk_portal.ui.linked_points import Coding, PointTraces, make_mapper

__all__ = ["MAX_POINTS", "PlanePlot"]

MAX_POINTS = 20_000
"""Above this many rows the plot shows counts instead of points."""

_NONE = "(none)"
_FINE, _COARSE = (320, 200), (48, 32)
_PIXELS = 12


class PlanePlot(LinkedPlot):
    """Plots two columns against each other, with colour, size, uncertainties, limits and further columns."""

    kind = "plane"
    title = "Scatter or density"

    def make_controls(self, state: dict[str, Any]) -> None:
        """Make the widgets, set as an address said."""

        def choice(name: str, options: list[str], key: str, width: int = 90) -> Any:
            value = state.get(key)
            return pn.widgets.Select(
                name=name, options=options, value=value if value in options else options[0], width=width
            )

        self.x = pn.widgets.Select(name="Horizontal", width=150)
        self.y = pn.widgets.Select(name="Vertical", width=150)
        self.scale_x = choice("Horizontal scale", ["linear", "log"], "sx")
        self.scale_y = choice("Vertical scale", ["linear", "log"], "sy")
        self.order_x = choice("Horizontal order", ["rightwards", "leftwards"], "ox", 105)
        self.order = choice("Vertical order", ["upwards", "downwards"], "oy", 105)
        self.cells = choice("Many rows as", ["fine cells", "coarse cells"], "c", 110)
        self.colour = pn.widgets.Select(name="Colour by", width=150)
        self.size = pn.widgets.Select(name="Size by", width=150)
        self.shape = pn.widgets.Select(name="Shape by", width=150)
        self.error_x = pn.widgets.Select(name="Horizontal uncertainty", width=150)
        self.error_low = pn.widgets.Select(name="Uncertainty downwards", width=150)
        self.error_high = pn.widgets.Select(name="Uncertainty upwards", width=150)
        self.limit = pn.widgets.Select(name="Limits where not 0", width=150)
        self.limit_at = pn.widgets.Select(name="Values of limits", width=150)
        self.limit_kind = choice("Limits are", ["upper", "lower"], "lk")
        self.lines = choice("Few rows as", ["points", "points and lines"], "pl", 130)
        self.further = pn.widgets.MultiChoice(name="Further vertical columns", width=250)
        self._coded = {
            "co": self.colour, "si": self.size, "ex": self.error_x, "el": self.error_low, "eh": self.error_high, "li": self.limit,
            "la": self.limit_at,
        }  # fmt: skip
        self._state = dict(state)
        self._source: ColumnDataSource | None = None
        self._traces: list[tuple[ColumnDataSource, NDArray[np.intp]]] = []
        self._drawn: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
        self._binning: Binning | None = None
        self.watch(
            self.x, self.y, self.scale_x, self.scale_y, self.order_x, self.order, self.cells, *self._coded.values(),
            self.shape, self.limit_kind, self.lines, self.further,
        )  # fmt: skip

    def controls(self) -> Sequence[Any]:
        """Return the widgets above the figure."""
        return [self.x, self.scale_x, self.order_x, self.y, self.scale_y, self.order]

    def more_controls(self) -> Sequence[Any]:
        """Return the widgets below the figure."""
        return [
            *super().more_controls(), self.cells, self.lines, self.colour, self.size, self.shape, self.error_x, self.error_low,
            self.error_high, self.limit, self.limit_at, self.limit_kind, self.further,
        ]  # fmt: skip

    def offer(self, names: list[str]) -> None:
        """Put the names of columns into the lists, keeping what is chosen."""
        x, y = self.views.suggest_plane(names)
        for widget, key, usual in ((self.x, "x", x), (self.y, "y", y)):
            value = next((n for n in (widget.value, self._state.get(key)) if n in names), usual)
            widget.param.update(options=names, value=value)
        for key, widget in self._coded.items():
            value = next((n for n in (widget.value, self._state.get(key)) if n in names), _NONE)
            widget.param.update(options=[_NONE, *names], value=value)
        anything = self.views.shapes
        shape = next((n for n in (self.shape.value, self._state.get("sh")) if n in anything), _NONE)
        self.shape.param.update(options=[_NONE, *anything], value=shape)
        wanted = self.further.value or self._state.get("f", [])
        self.further.param.update(options=names, value=[n for n in wanted if n in names])
        self._state = {}

    def state(self) -> dict[str, Any]:
        """Return what an address has to say of it."""
        found: dict[str, Any] = {"x": self.x.value, "y": self.y.value}
        for key, widget in (("sx", self.scale_x), ("sy", self.scale_y), ("ox", self.order_x), ("oy", self.order),
                            ("c", self.cells), ("lk", self.limit_kind), ("pl", self.lines)):  # fmt: skip
            if widget.value != widget.options[0]:
                found[key] = widget.value
        coded = {**self._coded, "sh": self.shape}
        found |= {key: widget.value for key, widget in coded.items() if widget.value != _NONE}
        return found | ({"f": list(self.further.value)} if self.further.value else {})

    @property
    def log(self) -> tuple[bool, bool]:
        """Whether the axes are logarithmic."""
        return self.scale_x.value == "log", self.scale_y.value == "log"

    @property
    def brush_columns(self) -> tuple[str, str]:
        """Columns that a brush chooses by."""
        return self.x.value, self.y.value

    def axes(self) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        """Return the values along the axes as they are drawn: logarithms on logarithmic axes."""
        explorer = self.views.explorer
        return explorer.axis(self.x.value, log=self.log[0]), explorer.axis(self.y.value, log=self.log[1])

    def build(self) -> None:
        """Make the figure anew."""
        x, limits_x = self.axis(self.x.value, self.log[0])
        y, limits_y = self.axis(self.y.value, self.log[1])
        self._drawn = (x, y)
        plot = self.make_figure(self.log)
        for axis, limits, order, is_log in (
            ("x_range", limits_x, self.order_x.value == "leftwards", self.log[0]),
            ("y_range", limits_y, self.order.value == "downwards", self.log[1]),
        ):
            low, high = (10.0 ** limits[0], 10.0 ** limits[1]) if is_log else limits
            setattr(plot, axis, Range1d(high, low) if order else Range1d(low, high))
        plot.xaxis.axis_label = self.label(self.x.value)
        plot.yaxis.axis_label = ", ".join([self.label(self.y.value), *self.further.value])
        self.figure, self._traces, self._binning = plot, [], None
        if x.size <= MAX_POINTS:
            self._build_points(plot)
        else:
            self._build_cells(plot)
        self.draw_outline(plot)
        self.refresh()
        column = self.views.explorer.find_column
        axes = None if any(self.log) else find_sky_axes(column(self.x.value), column(self.y.value))
        if axes is None:
            plot.on_event(Tap, lambda event: self._pick_at(event.x, event.y))
        self.show_figure(plot, axes)
        if self.coordinates is not None:
            # Which clicks are ends of a distance is known to the browser.
            self.coordinates.param.watch(lambda event: self._pick_at(*event.new), "picked")

    # Points

    def _values(self, name: str) -> NDArray[np.float64]:
        return np.asarray(self.views.explorer.axis(name), float)

    def _name_of(self, widget: Any) -> str:
        return "" if widget.value == _NONE else str(widget.value)

    def _build_points(self, plot: Any) -> None:
        self.views.coordinator.set_view(self.name, self._make_binning(), *self.axes())
        coding = Coding(
            self.x.value,
            self.y.value,
            tuple(self.further.value),
            colour=self._name_of(self.colour),
            size=self._name_of(self.size),
            shape=self._name_of(self.shape),
            error_x=self._name_of(self.error_x),
            error_low=self._name_of(self.error_low),
            error_high=self._name_of(self.error_high),
            limit=self._name_of(self.limit),
            limit_at=self._name_of(self.limit_at),
            is_upper=self.limit_kind.value == "upper",
            with_lines=self.lines.value == "points and lines",
        )
        drawn = PointTraces(
            plot, coding, self._values, self.views.explorer.values, self.label, self.views.dark, self.log,
            self.order.value == "downwards",
        )  # fmt: skip
        self._traces = drawn.draw()

    # Cells

    def _make_binning(self) -> Binning:
        """Return the cells of what is visible."""
        nx, ny = _COARSE if self.cells.value == "coarse cells" else _FINE
        ends = []
        for ranges, is_log in zip((self.figure.x_range, self.figure.y_range), self.log, strict=True):
            low, high = sorted((float(ranges.start), float(ranges.end)))
            tiny = np.finfo(float).tiny
            ends.append((np.log10(max(low, tiny)), np.log10(max(high, tiny))) if is_log else (low, high))
        return Binning((*ends[0], nx), (*ends[1], ny))

    def _build_cells(self, plot: Any) -> None:
        self._source = ColumnDataSource({"image": [], "x": [], "y": [], "dw": [], "dh": []})
        if self.colour.value == _NONE:
            plot.image_rgba("image", "x", "y", "dw", "dh", source=self._source)
        else:
            span = np.asarray(pad_limits(*self._quantiles(self.colour.value)))
            mapper = make_mapper(plot, span, self.label(self.colour.value), self.views.dark)
            mapper.nan_color = "rgba(0, 0, 0, 0)"
            plot.image("image", "x", "y", "dw", "dh", source=self._source, color_mapper=mapper)
        self._recount()
        plot.on_event(RangesUpdate, self._on_ranges)

    def _quantiles(self, name: str) -> tuple[float, float]:
        values = self.views.explorer.axis(name)
        some = values[:: max(values.size // 100_000, 1)]
        some = some[np.isfinite(some)]
        return (float(np.quantile(some, 0.02)), float(np.quantile(some, 0.98))) if some.size else (0.0, 1.0)

    def _recount(self) -> None:
        binning = self._make_binning()
        if binning == self._binning and self.name in self.views.coordinator.views:
            return
        weight = None if self.colour.value == _NONE else self.views.explorer.axis(self.colour.value)
        self.views.coordinator.set_view(self.name, binning, *self.axes(), weight=weight)
        self._binning = binning

    def _on_ranges(self, _event: Any) -> None:
        self._recount()
        self.refresh()

    def refresh(self) -> None:
        """Show which rows are chosen now."""
        coordinator = self.views.coordinator
        counts = coordinator.count(self.name)
        restricts = coordinator.restricts
        assert self._drawn is not None
        if self._traces:
            for source, rows in self._traces:
                chosen = np.flatnonzero(coordinator.choose_of(rows)).tolist() if restricts else []
                if chosen != source.selected.indices:
                    source.selected.indices = chosen
            shown = sum(rows.size for _, rows in self._traces)
            how = "each a point"
        else:
            self._paint(counts)
            shown = int(counts.all.sum())
            how = "counted on a grid (" + ("lighter" if self.views.dark else "darker") + " is more)"
            if self.colour.value != _NONE:
                how = f"counted on a grid, coloured by the mean of {self.colour.value}"
        tail = "" if not restricts else f"; {int(counts.chosen.sum()):,} of those shown are chosen"
        what = f"{self.y.value} against {self.x.value}"
        self.words.object = f"<p class='soft' role='note'>{what}: {shown:,} rows, {how}{tail}.</p>"
        self.fill_numbers()

    def _paint(self, counts: Any) -> None:
        assert self._source is not None
        assert self._binning is not None
        assert self._binning.y is not None
        (x0, x1, nx), (y0, y1, ny) = self._binning.x, self._binning.y
        if counts.mean is not None:
            image: Any = np.asarray(counts.mean.reshape(ny, nx), np.float32)
        else:
            chosen = counts.chosen if self.views.coordinator.restricts else None
            linear = self.cells.value == "coarse cells"
            image = paint_cells((ny, nx), counts.all, chosen, self.views.dark, linear=linear)
        if self.log[0]:
            x0, x1 = 10.0**x0, 10.0**x1
        if self.log[1]:
            y0, y1 = 10.0**y0, 10.0**y1
        self._source.data = {"image": [image], "x": [x0], "y": [y0], "dw": [x1 - x0], "dh": [y1 - y0]}

    def write_numbers(self) -> str:
        """Return the numbers of the plot as a table of HTML."""
        counts = self.views.coordinator.count(self.name)
        what = f"{self.y.value} against {self.x.value}"
        binning = self._binning if self._binning is not None and not self._traces else self._make_binning()
        assert binning.y is not None
        (x0, x1, nx), (y0, y1, ny) = binning.x, binning.y
        step_x, step_y = nx // 8, ny // 8
        shape = (8, step_y, 8, step_x)
        kept = [
            c.reshape(ny, nx)[: 8 * step_y, : 8 * step_x].reshape(shape).sum(axis=(1, 3))
            for c in (counts.all, counts.chosen)
        ]

        def edge(low: float, high: float, n: int, is_log: bool) -> str:
            value = low + (high - low) * n / 8
            return f"{10.0**value if is_log else value:.5g}"

        rows = [
            (
                f"{edge(x0, x1, i, self.log[0])} … {edge(x0, x1, i + 1, self.log[0])}",
                f"{edge(y0, y1, j, self.log[1])} … {edge(y0, y1, j + 1, self.log[1])}",
                f"{kept[0][j, i]:,}",
                f"{kept[1][j, i]:,}",
            )
            for j in range(8)
            for i in range(8)
            if kept[0][j, i]
        ]
        return make_table(
            f"{what}, counted in 8 × 8 cells", (self.x.value, self.y.value, "rows", "chosen"), rows
        )

    def _pick_at(self, x: float | None, y: float | None) -> None:
        """Show the row whose point is near a place of the plot."""
        if self._drawn is None or x is None or y is None:
            return
        at, unit = [], []
        for value, ranges, is_log, pixels in (
            (x, self.figure.x_range, self.log[0], self.figure.inner_width or 600),
            (y, self.figure.y_range, self.log[1], self.figure.inner_height or 300),
        ):
            ends = [
                np.log10(max(v, np.finfo(float).tiny)) if is_log else v for v in (ranges.start, ranges.end)
            ]
            at.append(float(np.log10(max(value, np.finfo(float).tiny)) if is_log else value))
            unit.append(max(abs(ends[1] - ends[0]) * _PIXELS / pixels, 1e-300))
        row = find_nearest(*self._drawn, (at[0], at[1]), (unit[0], unit[1]))
        if row is not None:
            self.views.pick(row)
