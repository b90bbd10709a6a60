"""Points of a plot of two columns: colour, size and shape by further columns, uncertainties, limits, further columns, lines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from bokeh.core.properties import value
from bokeh.models import ColorBar, ColumnDataSource, Label, LinearColorMapper
from bokeh.palettes import Cividis256, Viridis256
from numpy.typing import NDArray

from skydesk_portal.ui.plots import dress_legend

__all__ = ["MARKERS", "Coding", "PointTraces", "classify", "make_mapper"]

MARKERS = ("circle", "triangle", "square", "diamond", "inverted_triangle", "star", "hex", "cross")
_DASHES = ("solid", "dashed", "dotted", "dotdash", "dashdot")
_FURTHER = {
    False: ("#b35c00", "#2a7d4f", "#8a3ab9", "#6b6b6b"),
    True: ("#ffb454", "#7ee0a8", "#d3a6ff", "#c3c9d1"),
}
_FIRST = {False: "#0b62b8", True: "#5aaeff"}
_BRUSH = "#ff8c1a"
_SIZES = (4.0, 16.0)

type Values = NDArray[np.float64]


@dataclass(frozen=True)
class Coding:
    """Which columns say how the points look; an empty name is none.

    Parameters
    ----------
    x, y, further
        Columns along the axes, and further ones along the vertical axis.
    colour, size, shape
        Columns that colour, size and shape carry.
    error_x, error_low, error_high
        Columns with uncertainties; one of the vertical ones alone is meant for both sides.
    limit, limit_at, is_upper
        Column that is not 0 where the value is a limit, the column with the limit's value (the vertical one if there is none),
        and whether limits are upper ones.
    with_lines
        Whether the points of a column are joined by a line.
    """

    x: str
    y: str
    further: tuple[str, ...] = ()
    colour: str = ""
    size: str = ""
    shape: str = ""
    error_x: str = ""
    error_low: str = ""
    error_high: str = ""
    limit: str = ""
    limit_at: str = ""
    is_upper: bool = True
    with_lines: bool = False


def classify(values: list[Any], most: int = len(MARKERS)) -> tuple[NDArray[np.int64], list[str]]:
    """Sort values into a few classes: one for each different value, else numbers by fifths and words by frequency.

    Parameters
    ----------
    values
        Numbers or words, `None` or NaN where there is none.
    most
        How many classes at most.

    Returns
    -------
    codes, names
        Class of each value, and what the classes are called.
    """
    clean = [None if v is None or v != v else v for v in values]
    known = [v for v in clean if v is not None]
    distinct = sorted(set(known))
    rest = ["no value"] if len(known) < len(clean) else []
    if len(distinct) + len(rest) <= most:
        names = [f"{v:g}" if isinstance(v, float) else str(v) for v in distinct]
        place = {v: n for n, v in enumerate(distinct)}
        return np.array([place.get(v, len(names)) for v in clean], np.int64), names + rest
    if isinstance(distinct[0], str):
        counts = {v: known.count(v) for v in distinct} if len(distinct) < 500 else dict.fromkeys(distinct, 1)
        kept = sorted(counts, key=lambda v: (-counts[v], v))[: most - 1]
        place = {v: n for n, v in enumerate(kept)}
        return np.array([place.get(v, len(kept)) for v in clean], np.int64), [*kept, "other"]
    numbers = np.array([np.nan if v is None else float(v) for v in clean])
    edges = np.unique(np.nanquantile(numbers, np.linspace(0, 1, 6)))
    codes = np.clip(np.searchsorted(edges, numbers, side="right") - 1, 0, len(edges) - 2)
    names = [f"{low:.4g} … {high:.4g}" for low, high in pairwise(edges)]
    return np.where(np.isnan(numbers), len(names), codes), names + rest


def make_mapper(plot: Any, values: Values, title: str, dark: bool) -> LinearColorMapper:
    """Map values to colours, with a bar beside the plot that says which."""
    good = values[np.isfinite(values)]
    low, high = (float(good.min()), float(good.max())) if good.size else (0.0, 1.0)
    palette = Viridis256 if dark else tuple(reversed(Cividis256))
    mapper = LinearColorMapper(palette=palette, low=low, high=high, nan_color="#8d96a3")
    ink = "#e3e9f1" if dark else "#1b2430"
    plot.add_layout(
        ColorBar(
            color_mapper=mapper, title=title, width=10, title_text_color=ink, major_label_text_color=ink,
            background_fill_color=None,
        ),
        "right",
    )  # fmt: skip
    return mapper


@dataclass
class PointTraces:
    """Draws the points of a plot; every series is a source of its own with the rows it shows.

    Parameters
    ----------
    plot
        The figure.
    coding
        What is drawn.
    values
        Returns a column of numbers, NaN where there is none.
    words
        Returns the values of any column.
    label
        Returns the label of a column.
    dark
        Whether the page is dark.
    log
        Whether the axes are logarithmic.
    is_turned
        Whether greater values are further down.
    """

    plot: Any
    coding: Coding
    values: Callable[[str], Values]
    words: Callable[[str], list[Any]]
    label: Callable[[str], str]
    dark: bool
    log: tuple[bool, bool]
    is_turned: bool
    traces: list[tuple[ColumnDataSource, NDArray[np.intp]]] = field(default_factory=list)

    def draw(self) -> list[tuple[ColumnDataSource, NDArray[np.intp]]]:
        """Draw everything; return the sources with the rows they show."""
        coding = self.coding
        x = self.values(coding.x)
        limits = self._limits(x.size)
        for n, name in enumerate((coding.y, *coding.further)):
            y = self.values(name)
            good = np.isfinite(x) & np.isfinite(y)
            if self.log[0]:
                good &= x > 0
            if self.log[1]:
                good &= y > 0
            if n == 0 and coding.limit_at:
                good &= ~limits
            rows = np.flatnonzero(good)
            if coding.with_lines:
                self._draw_line(n, name, x[rows], y[rows])
            if n == 0:
                self._draw_errors(x[rows], y[rows], rows)
                self._draw_first(x, y, rows)
            else:
                self._draw_series(n, name, x, y, rows)
        if coding.limit:
            self._draw_limits(x, np.flatnonzero(limits))
        self._explain()
        return self.traces

    def _colour(self, n: int) -> str:
        further = _FURTHER[self.dark]
        return _FIRST[self.dark] if n == 0 else further[(n - 1) % len(further)]

    def _sizes(self, rows: NDArray[np.intp], count: int) -> Values:
        if self.coding.size:
            return _scaled(self.values(self.coding.size), rows)
        return np.full(rows.size, 8.0 if count < 500 else 6.0 if count < 5000 else 4.0)

    def _draw_first(self, x: Values, y: Values, rows: NDArray[np.intp]) -> None:
        coding, fill = self.coding, None
        if coding.colour:
            shown = self.values(coding.colour)[rows]
            fill = {
                "field": "colour",
                "transform": make_mapper(self.plot, shown, self.label(coding.colour), self.dark),
            }
        if not coding.shape:
            self._scatter(0, x, y, rows, MARKERS[0], fill, coding.y if coding.further else "")
            return
        codes, names = classify(self.words(coding.shape))
        for code, name in enumerate(names):
            own = rows[codes[rows] == code]
            if own.size:
                self._scatter(0, x, y, own, MARKERS[code % len(MARKERS)], fill, f"{coding.shape}: {name}")

    def _draw_series(self, n: int, name: str, x: Values, y: Values, rows: NDArray[np.intp]) -> None:
        self._scatter(n, x, y, rows, MARKERS[n % len(MARKERS)], None, name)

    def _scatter(
        self, n: int, x: Values, y: Values, rows: NDArray[np.intp], marker: str, fill: Any, legend: str
    ) -> None:
        data: dict[str, Any] = {"x": x[rows], "y": y[rows], "size": self._sizes(rows, x.size)}
        if fill is not None:
            data["colour"] = self.values(self.coding.colour)[rows]
        source = ColumnDataSource(data)
        named = {"legend_label": legend} if legend else {}
        self.plot.scatter(
            "x", "y", source=source, size="size", marker=marker, fill_color=fill or self._colour(n),
            line_color="#5b6675" if fill is not None else None if marker != "cross" else self._colour(n), line_width=0.5,
            fill_alpha=0.8 if x.size < 5000 else 0.55, selection_line_color=_BRUSH, selection_line_width=1.5,
            selection_fill_alpha=1, nonselection_fill_alpha=0.15, nonselection_line_alpha=0.1, **named,
        )  # fmt: skip
        self.traces.append((source, rows))

    def _draw_line(self, n: int, name: str, x: Values, y: Values) -> None:
        order = np.argsort(x, kind="stable")
        named = {"legend_label": name} if self.coding.further else {}
        self.plot.line(
            x[order], y[order], line_color=self._colour(n), line_dash=_DASHES[n % len(_DASHES)], line_width=1.5,
            line_alpha=0.8, **named,
        )  # fmt: skip

    def _draw_errors(self, x: Values, y: Values, rows: NDArray[np.intp]) -> None:
        """Draw uncertainties, symmetric where only one column is given."""
        coding = self.coding
        colour = "#9eacbd" if self.dark else "#536070"
        low, high = coding.error_low or coding.error_high, coding.error_high or coding.error_low
        if low:
            down, up = self._floor(y - self.values(low)[rows], y, 1), y + self.values(high)[rows]
            self.plot.segment(x0=x, x1=x, y0=down, y1=up, line_color=colour, name="uncertainty")
        if coding.error_x:
            error = self.values(coding.error_x)[rows]
            self.plot.segment(
                x0=self._floor(x - error, x, 0), x1=x + error, y0=y, y1=y, line_color=colour,
                name="horizontal uncertainty",
            )  # fmt: skip

    def _floor(self, ends: Values, at: Values, axis: int) -> Values:
        """Let bars that reach zero end below everything on a logarithmic axis, instead of nowhere."""
        if not self.log[axis] or at.size == 0:
            return ends
        return np.where(ends > 0, ends, at.min() * 1e-3)

    def _limits(self, count: int) -> NDArray[np.bool_]:
        if not self.coding.limit:
            return np.zeros(count, bool)
        flags = self.values(self.coding.limit)
        return np.isfinite(flags) & (flags != 0)

    def _draw_limits(self, x: Values, rows: NDArray[np.intp]) -> None:
        """Draw an arrow at each limit; on a turned axis smaller values are further up."""
        coding = self.coding
        y = self.values(coding.limit_at or coding.y)
        points_down = coding.is_upper != self.is_turned
        self.plot.text(
            x[rows], y[rows], text=value("↓" if points_down else "↑"), text_color=_BRUSH, text_font_size="20px",
            text_align="center", text_baseline="top" if points_down else "bottom", name="limit",
            legend_label=f"{'↓' if points_down else '↑'} {'upper' if coding.is_upper else 'lower'} limit",
        )  # fmt: skip

    def _explain(self) -> None:
        """Say what sizes mean, and let series be hidden by a click on their name."""
        coding = self.coding
        if coding.size:
            values = self.values(coding.size)
            good = values[np.isfinite(values)]
            span = f"{good.min():.4g} … {good.max():.4g}" if good.size else "no value"
            self.plot.add_layout(
                Label(
                    x=6, y=6, x_units="screen", y_units="screen", text=f"size: {self.label(coding.size)}, {span}",
                    text_font_size="12px", text_color="#e3e9f1" if self.dark else "#1b2430",
                    background_fill_color="#161e29" if self.dark else "#ffffff", background_fill_alpha=0.7,
                )
            )  # fmt: skip
        if self.plot.legend:
            dress_legend(self.plot.legend, self.dark)


def _scaled(values: Values, rows: NDArray[np.intp]) -> Values:
    """Return sizes that grow linearly with the values, over all rows alike."""
    low, high = _SIZES
    good = values[np.isfinite(values)]
    if good.size == 0 or good.max() == good.min():
        return np.full(rows.size, (low + high) / 2)
    found = low + (high - low) * (values[rows] - good.min()) / (good.max() - good.min())
    return np.nan_to_num(found, nan=low)
