"""What all linked plots share: a card with controls, a figure whose brush chooses rows, words and numbers beside it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import panel as pn
from bokeh.events import MouseEnter, SelectionGeometry
from bokeh.models import BoxSelectTool, ColumnDataSource, LassoSelectTool, PolySelectTool, Scatter
from numpy.typing import NDArray

from skydesk_portal.exceptions import PortalError, UsageError
from skydesk_portal.services.brushing import Box, Brush, Interval, Polygon, find_limits
from skydesk_portal.ui.components import SkyCoordinates
from skydesk_portal.ui.linked_coordinates import SkyAxes, add_coordinates
from skydesk_portal.ui.plots import make_figure
from skydesk_portal.ui.shell import notice

if TYPE_CHECKING:
    from skydesk_portal.ui.linked import LinkedViews

__all__ = ["LinkedPlot", "make_table", "pad_limits", "paint_cells", "read_ranges"]

HEIGHT = 380
_TOOLS = "pan,wheel_zoom,box_zoom,reset,save"
_RAMPS = {False: ["#b9d6f2", "#0b62b8", "#1b1035"], True: ["#1f4e79", "#5aaeff", "#fff3c4"]}
_FAINT = {False: ["#e6e9ee", "#b3bac4", "#8d96a3"], True: ["#262d37", "#414b59", "#616d7e"]}
BRUSH_COLOUR = "#ff8c1a"


class LinkedPlot(ABC):
    """One plot among linked ones.

    Parameters
    ----------
    name
        Its name among them.
    views
        All of them.
    state
        What an address said of it.
    """

    kind: ClassVar[str]
    title: ClassVar[str]
    plane: ClassVar[bool] = True
    """Whether it has two axes that a region can be drawn on."""

    def __init__(self, name: str, views: LinkedViews, state: dict[str, Any]) -> None:
        self.name = name
        self.views = views
        self.figure: Any = None
        self.region: Brush | None = None
        self.coordinates: SkyCoordinates | None = None
        self._quiet = False
        self._outline = ColumnDataSource({"x": [], "y": []})
        self.slot = pn.Column(sizing_mode="stretch_width", margin=0)
        self.words = pn.pane.HTML("", sizing_mode="stretch_width")
        self.numbers = pn.pane.HTML("", sizing_mode="stretch_width")
        self.range = pn.widgets.TextInput(
            name=f"Choose by numbers in plot {name.rpartition(' ')[2]}",
            placeholder="20..22; 0..1" if self.plane else "20..22",
            width=150,
        )
        self.range.param.watch(self._choose_range, "value")
        self.let_go = pn.widgets.Button(name="Clear this brush", width=130)
        self.let_go.on_click(lambda _event: self.views.clear(self.name))
        self.drop = pn.widgets.Button(name="Remove plot", width=110)
        self.drop.on_click(lambda _event: self.views.remove(self.name))
        self.make_controls(state)
        self.more = pn.Card(
            pn.FlexBox(*self.more_controls(), align_items="end", sizing_mode="stretch_width"),
            self.numbers,
            title="More: coding, choosing by numbers, data of this plot",
            collapsed=True,
            sizing_mode="stretch_width",
        )
        self.more.param.watch(lambda _event: self.fill_numbers(), "collapsed")
        self.view = pn.Column(
            pn.FlexBox(*self.controls(), align_items="end", sizing_mode="stretch_width"),
            self.slot,
            self.words,
            self.more,
            css_classes=["panel"],
            min_width=430,
            sizing_mode="stretch_width",
        )

    # What kinds of plots differ in

    @abstractmethod
    def make_controls(self, state: dict[str, Any]) -> None:
        """Make the widgets, set as an address said."""

    @abstractmethod
    def controls(self) -> Sequence[Any]:
        """Return the widgets above the figure."""

    def more_controls(self) -> Sequence[Any]:
        """Return the widgets below the figure."""
        return [self.range, self.let_go, self.drop]

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Return what an address has to say of it."""

    @abstractmethod
    def axes(self) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        """Return the values along the axes as they are drawn: logarithms on logarithmic axes."""

    @abstractmethod
    def build(self) -> None:
        """Make the figure anew."""

    @abstractmethod
    def write_numbers(self) -> str:
        """Return the numbers of the plot as a table of HTML."""

    @abstractmethod
    def refresh(self) -> None:
        """Show which rows are chosen now."""

    # What they share

    def fill_numbers(self) -> None:
        """Show the numbers of the plot, where somebody looks at them."""
        is_open = not self.more.collapsed and self.figure is not None
        self.numbers.object = self.write_numbers() if is_open else ""

    def place(self) -> None:
        """Make the figure anew, or say why there is none."""
        if self._quiet:
            return
        try:
            self.build()
        except PortalError as error:
            self.figure = None
            self.slot.objects = [notice(escape(str(error)), "error")]
            self.words.object = ""

    def watch(self, *widgets: Any) -> None:
        """Make the figure anew when one of the widgets changes; the brush belongs to the axes and goes."""

        def changed(_event: Any) -> None:
            if self._quiet:
                return
            if self.region is not None:
                self.views.clear(self.name)
            self.place()
            self.views.changed()

        for widget in widgets:
            widget.param.watch(changed, "value")

    def set_options(self, names: list[str]) -> None:
        """Offer these columns of numbers."""
        self._quiet = True
        try:
            self.offer(names)
        finally:
            self._quiet = False

    @abstractmethod
    def offer(self, names: list[str]) -> None:
        """Put the names of columns into the lists, keeping what is chosen."""

    def make_figure(self, log: tuple[bool, bool]) -> Any:
        """Make an empty figure with the tools that choose."""
        plot = make_figure(self.views.dark, HEIGHT, _TOOLS, log)
        plot.min_width = 300
        # Tools select nothing by themselves: the server says what is chosen, also while somebody is still drawing.
        box = BoxSelectTool(continuous=True, renderers=[], dimensions="both" if self.plane else "width")
        drawn = [LassoSelectTool(continuous=True, renderers=[]), PolySelectTool(renderers=[])]
        plot.add_tools(box, *(drawn if self.plane else []))
        plot.toolbar.active_drag = box
        plot.toolbar.active_tap = None
        plot.on_event(SelectionGeometry, self._on_geometry)
        plot.on_event(MouseEnter, lambda _event: self.views.prepare(self.name))
        return plot

    def show_figure(self, plot: Any, axes: SkyAxes | None = None) -> None:
        """Show a figure, with coordinates and distances below it if its axes say a place on the sky."""
        pane = pn.pane.Bokeh(plot, sizing_mode="stretch_width")
        self.coordinates = add_coordinates(plot, pane, axes, BRUSH_COLOUR) if axes is not None else None
        self.slot.objects = [pane] if self.coordinates is None else [pane, self.coordinates]

    def draw_outline(self, plot: Any) -> None:
        """Draw the brush above all else; call it last."""
        plot.patches(
            "x", "y", source=self._outline, fill_color=BRUSH_COLOUR, fill_alpha=0.08,
            line_color=BRUSH_COLOUR, line_width=2, line_dash="dashed", level="overlay",
        )  # fmt: skip
        for renderer in plot.renderers:
            if not isinstance(renderer.glyph, Scatter):
                # The server paints what is chosen; the browser would guess from the shapes of cells and bars.
                renderer.selection_glyph = renderer.nonselection_glyph = None

    @property
    @abstractmethod
    def brush_columns(self) -> tuple[str, str]:
        """Columns that a brush chooses by; the second one is empty on a histogram."""

    @property
    def log(self) -> tuple[bool, bool]:
        """Whether the axes are logarithmic."""
        return (False, False)

    def _on_geometry(self, event: Any) -> None:
        geometry = event.geometry
        if geometry.get("type") not in {"rect", "poly"}:
            return
        logs = self.log

        def drawn(values: Any, axis: int) -> list[float]:
            found = np.atleast_1d(
                np.asarray(list(values.values()) if isinstance(values, dict) else values, float)
            )
            if not logs[axis]:
                return found.tolist()
            return np.log10(np.maximum(found, np.finfo(float).tiny)).tolist()

        if geometry["type"] == "rect":
            x = drawn([geometry["x0"], geometry["x1"]], 0)
            y = drawn([geometry["y0"], geometry["y1"]], 1)
            region: Brush = Box(x[0], x[1], y[0], y[1]) if self.plane else Interval(min(x), max(x))
        else:
            # A lasso is drawn by hand: digits far below a pixel would only make addresses long.
            xs = _rounded(drawn(geometry["x"], 0))
            ys = _rounded(drawn(geometry["y"], 1))
            region = Polygon(tuple(dict.fromkeys(zip(xs, ys, strict=True))))
        if event.final:
            self.choose(region)
        else:
            self.views.draw(self.name, region, *self.axes())

    def _choose_range(self, event: Any) -> None:
        if not event.new.strip():
            return
        try:
            ranges = read_ranges(event.new, 2 if self.plane else 1)
        except UsageError as error:
            self.views.say(error)
            return
        ends = [
            [np.log10(v) if v > 0 else -np.inf for v in pair] if is_log else list(pair)
            for pair, is_log in zip(ranges, self.log, strict=False)
        ]
        self.choose(Box(*ends[0], *ends[1]) if self.plane else Interval(*ends[0]))

    def choose(self, region: Brush) -> None:
        """Choose the rows in a region of the axes as they are drawn."""
        self.region = region
        x, y = self.axes()
        self.views.brush(self.name, region, x, y)

    def outline(self) -> None:
        """Show where the brush is."""
        region, logs = self.region, self.log
        xs: list[float] = []
        ys: list[float] = []
        if isinstance(region, Polygon):
            xs, ys = [v[0] for v in region.vertices], [v[1] for v in region.vertices]
        elif isinstance(region, Box):
            xs, ys = (
                [region.x0, region.x1, region.x1, region.x0],
                [region.y0, region.y0, region.y1, region.y1],
            )
        elif isinstance(region, Interval):
            ends = (self.figure.y_range.start, self.figure.y_range.end) if self.figure else (0, 1)
            xs, ys = [region.low, region.high, region.high, region.low], [ends[0], ends[0], ends[1], ends[1]]
        if logs[0]:
            xs = [10.0**v for v in np.clip(xs, -300, 300)]
        if logs[1] and not isinstance(region, Interval):
            ys = [10.0**v for v in np.clip(ys, -300, 300)]
        self._outline.data = {"x": [list(xs)] if xs else [], "y": [list(ys)] if ys else []}

    def forget_brush(self) -> None:
        """Show no brush any more."""
        self.region = None
        self.range.value = ""

    def label(self, name: str) -> str:
        """Return the label of an axis."""
        column = self.views.explorer.find_column(name)
        return f"{name} ({column.unit})" if column is not None and column.unit else name

    def axis(self, name: str, log: bool) -> tuple[NDArray[np.float64], tuple[float, float]]:
        """Return the values of a column as drawn, and their limits.

        Raises
        ------
        UsageError
            If no row has a value that can be drawn.
        """
        values = self.views.explorer.axis(name, log=log)
        low, high, count = find_limits(values)
        if count == 0:
            what = "positive value" if log else "value"
            raise UsageError(
                f"No row has a {what} in {name}: choose another column{' or a linear scale' if log else ''}."
            )
        return values, pad_limits(low, high)


def _rounded(values: list[float]) -> list[float]:
    span = max(values) - min(values) if values else 0.0
    if not np.isfinite(span) or span <= 0:
        return values
    digits = int(np.ceil(-np.log10(span / 5000)))
    return [round(value, digits) for value in values]


def pad_limits(low: float, high: float, share: float = 0.02) -> tuple[float, float]:
    """Return limits with a little room on both sides."""
    pad = share * (high - low) or 0.05 * abs(high) or 1.0
    return low - pad, high + pad


def read_ranges(text: str, count: int) -> list[tuple[float, float]]:
    """Read ranges such as ``20..22; 0..1``; an end that is left out is open.

    Raises
    ------
    UsageError
        If it is something else.
    """
    parts = [part.strip() for part in text.split(";")]
    parts += [".."] * (count - len(parts))
    out = []
    for part in parts:
        ends = part.split("..")
        try:
            if len(ends) != 2 or len(parts) > count:
                raise ValueError(part)
            low = float(ends[0]) if ends[0].strip() else -np.inf
            high = float(ends[1]) if ends[1].strip() else np.inf
        except ValueError as error:
            example = "20..22; 0..1" if count == 2 else "20..22"
            raise UsageError(f"{text[:40]!r} is no range: write it as {example}") from error
        out.append((low, high))
    return out


def _palette(stops: list[str]) -> NDArray[np.float64]:
    points = np.array([[int(s[k : k + 2], 16) for k in (1, 3, 5)] for s in stops], float)
    at = np.linspace(0, len(stops) - 1, 256)
    return np.stack([np.interp(at, np.arange(len(stops)), points[:, k]) for k in range(3)], axis=1)


def paint_cells(
    shape: tuple[int, int],
    everything: NDArray[np.int64],
    chosen: NDArray[np.int64] | None,
    dark: bool,
    *,
    linear: bool = False,
) -> NDArray[np.uint32]:
    """Paint the counts of cells: all rows faintly, the chosen ones in colour.

    Parameters
    ----------
    shape
        Rows and columns of cells.
    everything, chosen
        Counts of each cell; ``chosen`` is `None` when nothing is chosen.
    dark
        Whether the page is dark.
    linear
        Colour by the count instead of by its logarithm.

    Returns
    -------
    ndarray
        RGBA of each cell as Bokeh takes it; empty cells are transparent.
    """
    out = np.zeros(everything.size, np.uint32)
    layers = [(everything, _RAMPS if chosen is None else _FAINT)] + (
        [(chosen, _RAMPS)] if chosen is not None else []
    )
    for counts, ramps in layers:
        full = counts > 0
        if not full.any():
            continue
        values = counts[full].astype(float) if linear else np.log1p(counts[full].astype(float))
        top, bottom = values.max(), 0.0 if linear else np.log1p(1.0)
        share = np.ones_like(values) if top <= bottom else (values - bottom) / (top - bottom)
        colours = _palette(ramps[dark])[np.clip(share * 255, 0, 255).astype(int)].astype(np.uint32)
        out[full] = colours[:, 0] | (colours[:, 1] << 8) | (colours[:, 2] << 16) | np.uint32(0xFF000000)
    return out.reshape(shape)


def make_table(caption: str, heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Write the numbers of a plot as a table, for those who do not see it, and for copying."""
    head = "".join(f"<th scope='col'>{escape(h)}</th>" for h in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(v))}</td>" for v in row) + "</tr>" for row in rows)
    return (
        f"<div class='twin' tabindex='0' role='region' aria-label='{escape(caption)}'><table><caption>{escape(caption)}</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )
