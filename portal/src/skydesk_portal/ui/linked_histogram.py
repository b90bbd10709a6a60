"""A histogram of one column among linked plots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import panel as pn
from bokeh.models import BasicTicker, BasicTickFormatter, ColumnDataSource, Range1d
from numpy.typing import NDArray

from skydesk_portal.services.brushing import Binning
from skydesk_portal.ui.linked_plot import LinkedPlot, make_table

__all__ = ["HistogramPlot"]

_BINS = 60


class HistogramPlot(LinkedPlot):
    """Counts rows in bins of one column: all of them, and the chosen ones in front."""

    kind = "histogram"
    title = "Histogram"
    plane = False

    def make_controls(self, state: dict[str, Any]) -> None:
        """Make the widgets, set as an address said."""
        self.x = pn.widgets.Select(name="Histogram of", width=170)
        self.scale_x = pn.widgets.Select(
            name="Scale", options=["linear", "log"], value="log" if state.get("lx") else "linear", width=90
        )
        self.scale_y = pn.widgets.Select(
            name="Counts", options=["linear", "log"], value="log" if state.get("ly") else "linear", width=90
        )
        self.bins = pn.widgets.IntInput(
            name="Bins",
            value=min(max(int(state.get("n", _BINS)), 1), 1000),
            start=1,
            end=1000,
            step=10,
            width=80,
        )
        self._wanted = state.get("x")
        self._edges: NDArray[np.float64] = np.empty(0)
        self._source = ColumnDataSource()
        self.watch(self.x, self.scale_x, self.scale_y, self.bins)

    def controls(self) -> Sequence[Any]:
        """Return the widgets above the figure."""
        return [self.x, self.scale_x, self.bins, self.scale_y]

    def offer(self, names: list[str]) -> None:
        """Put the names of columns into the list, keeping what is chosen."""
        value = next((n for n in (self.x.value, self._wanted) if n in names), None)
        self.x.param.update(options=names, value=value or self.views.suggest_line(names))
        self._wanted = None

    def state(self) -> dict[str, Any]:
        """Return what an address has to say of it."""
        found = {"x": self.x.value, "n": self.bins.value}
        return found | {
            key: 1
            for key, is_log in zip(("lx", "ly"), (self.log[0], self._log_counts), strict=True)
            if is_log
        }

    @property
    def log(self) -> tuple[bool, bool]:
        """Whether the axes are logarithmic; counts are never brushed."""
        return (self.scale_x.value == "log", False)

    @property
    def _log_counts(self) -> bool:
        return self.scale_y.value == "log"

    @property
    def brush_columns(self) -> tuple[str, str]:
        """Columns that a brush chooses by."""
        return self.x.value, ""

    def axes(self) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        """Return the values along the axis as they are drawn."""
        return self.views.explorer.axis(self.x.value, log=self.log[0]), None

    def build(self) -> None:
        """Make the figure anew."""
        values, (low, high) = self.axis(self.x.value, self.log[0])
        count = int(self.bins.value)
        self.views.coordinator.set_view(self.name, Binning((low, high, count)), values)
        edges = np.linspace(low, high, count + 1)
        self._edges = 10.0**edges if self.log[0] else edges
        plot = self.make_figure((self.log[0], self._log_counts))
        plot.x_range = Range1d(float(self._edges[0]), float(self._edges[-1]))
        plot.xaxis.axis_label = self.label(self.x.value)
        if not self.log[0]:
            plot.xaxis.formatter = BasicTickFormatter(power_limit_high=7, power_limit_low=-4)
            plot.xaxis.ticker = BasicTicker(desired_num_ticks=6)
        plot.yaxis.axis_label = "rows"
        dark = self.views.dark
        self._source = ColumnDataSource()
        base = 0.5 if self._log_counts else 0
        faint, strong = ("#414b59", "#5aaeff") if dark else ("#c9d0d9", "#0b62b8")
        self.refresh()
        edge = "#161e29" if dark else "#ffffff"
        plot.quad(
            left="left",
            right="right",
            top="all",
            bottom=base,
            source=self._source,
            fill_color=faint,
            line_color=edge,
        )
        plot.quad(
            left="left",
            right="right",
            top="chosen",
            bottom=base,
            source=self._source,
            fill_color=strong,
            line_color=edge,
        )
        if self._log_counts:
            plot.y_range = Range1d(base, 2 * max(float(np.max(self._source.data["all"])), 1.0))
        else:
            plot.y_range = Range1d(0, 1.08 * max(float(np.max(self._source.data["all"])), 1.0))
        self.draw_outline(plot)
        self.figure = plot
        self.show_figure(plot)

    def refresh(self) -> None:
        """Show which rows are chosen now."""
        counts = self.views.coordinator.count(self.name)
        edges = self._edges
        self._source.data = {
            "left": edges[:-1],
            "right": edges[1:],
            "all": counts.all,
            "chosen": counts.chosen,
        }
        total, chosen = int(counts.all.sum()), int(counts.chosen.sum())
        tail = f", {chosen:,} chosen" if self.views.coordinator.restricts else ""
        self.words.object = (
            f"<p class='soft' role='note'>{self.x.value}: {total:,} rows in {counts.all.size} bins{tail}.</p>"
        )
        self.fill_numbers()

    def write_numbers(self) -> str:
        """Return the numbers of the plot as a table of HTML."""
        counts, edges = self.views.coordinator.count(self.name), self._edges
        rows = [
            (f"{edges[n]:.6g}", f"{edges[n + 1]:.6g}", f"{counts.all[n]:,}", f"{counts.chosen[n]:,}")
            for n in range(counts.all.size)
        ]
        return make_table(f"Bins of {self.x.value}", ("from", "to", "rows", "chosen"), rows)
