"""Linked views of one kept result: a brush in any of them chooses rows in all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import panel as pn
from numpy.typing import NDArray

from skydesk_portal.exceptions import PortalError
from skydesk_portal.services.brushing import Brush, Coordinator
from skydesk_portal.services.explorer import ResultExplorer, find_position_columns, is_numeric
from skydesk_portal.ui.linked_histogram import HistogramPlot
from skydesk_portal.ui.linked_live import BrushPreparer, DrawnBrush
from skydesk_portal.ui.linked_plane import PlanePlot
from skydesk_portal.ui.linked_plot import LinkedPlot
from skydesk_portal.ui.linked_sky import SkyPlot

__all__ = ["LinkedViews"]

_KINDS: dict[str, type[LinkedPlot]] = {p.kind: p for p in (PlanePlot, HistogramPlot, SkyPlot)}
_MOST_PLOTS = 8
_PLANES = (("g_psfMag", "r_psfMag"), ("coord_ra", "coord_dec"), ("ra", "dec"), ("s_ra", "s_dec"))
_LINES = ("r_psfMag", "i_psfMag", "psfFlux", "r_psfFlux", "i_psfFlux")


class LinkedViews:
    """The plots of a result and what is chosen in them.

    Parameters
    ----------
    dark
        Whether the page is dark.
    on_pick
        Called with the number of a row that was clicked.
    on_chosen
        Called when other rows are chosen; told whether the brush is complete, or still being drawn.
    on_change
        Called when something that an address restores has changed.
    on_error
        Told what cannot be done.
    """

    def __init__(
        self,
        dark: bool,
        on_pick: Callable[[int], None],
        on_chosen: Callable[[bool], None],
        on_change: Callable[[], None],
        on_error: Callable[[PortalError | None], None],
    ) -> None:
        self.dark = dark
        self.pick = on_pick
        self.changed = on_change
        self.say = on_error
        self._on_chosen = on_chosen
        self._explorer: ResultExplorer | None = None
        self.coordinator = Coordinator(0)
        self.plots: dict[str, LinkedPlot] = {}
        self.position: tuple[str, str] | None = None
        self._serial = 0
        self._is_due = False
        self._drawn = DrawnBrush(self._show_drawn)
        self._preparer = BrushPreparer(self._tell_prepared)
        self.progress = pn.pane.HTML("", sizing_mode="stretch_width")
        # A FlexBox would not run the callbacks that plots have in the browser; a row asks for the width of all plots together.
        self.grid = pn.Row(
            sizing_mode="stretch_width", styles={"flex-wrap": "wrap", "gap": "14px", "min-width": "0"}
        )
        self.buttons = []
        for kind, text in (
            ("plane", "Add scatter or density"),
            ("histogram", "Add histogram"),
            ("sky", "Add sky map"),
        ):
            button = pn.widgets.Button(name=text, width=175)
            button.on_click(lambda _event, kind=kind: self.add({"kind": kind}))
            self.buttons.append(button)
        self.view = pn.Column(
            pn.FlexBox(*self.buttons), self.progress, self.grid, sizing_mode="stretch_width", visible=False
        )

    @property
    def explorer(self) -> ResultExplorer:
        """Reads the result."""
        assert self._explorer is not None
        return self._explorer

    @property
    def numeric(self) -> list[str]:
        """Columns that can be drawn."""
        return [c.name for c in self.explorer.columns if is_numeric(c) and not c.name.startswith("hp")]

    @property
    def shapes(self) -> list[str]:
        """Columns that the shapes of points can tell apart: of numbers or words."""
        words = {"char", "unicodeChar", "boolean"}
        return [
            c.name
            for c in self.explorer.columns
            if (is_numeric(c) or c.datatype in words) and not c.name.startswith("hp")
        ]

    def show(self, explorer: ResultExplorer, states: Sequence[dict[str, Any]] | None = None) -> None:
        """Show a result.

        Parameters
        ----------
        explorer
            Reads it.
        states
            Plots as an address said; by default a few that suit the columns.
        """
        self._explorer = explorer
        self.stop()
        self.coordinator = Coordinator(explorer.result.rows, explorer.folder)
        self.plots = {}
        names = self.numeric
        self.position = find_position_columns(names)
        self.view.visible = bool(names) and explorer.result.rows > 0
        self.buttons[2].disabled = self.position is None
        if not self.view.visible:
            self.grid.objects = []
            return
        for state in self._usual(names) if states is None else states[:_MOST_PLOTS]:
            self._make(state)
        self._arrange()

    def _usual(self, names: list[str]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = [{"kind": "plane"}] if len(names) > 1 else []
        found.append({"kind": "histogram"})
        if self.position is not None:
            found.append({"kind": "sky"})
        return found

    def _make(self, state: dict[str, Any]) -> LinkedPlot | None:
        kind = _KINDS.get(str(state.get("kind")))
        if kind is None or (kind is SkyPlot and self.position is None):
            return None
        self._serial += 1
        plot = kind(f"{kind.kind} {self._serial}", self, state)
        plot.set_options(self.numeric)
        plot.view.styles = {"flex": "1 1 460px"}
        self.plots[plot.name] = plot
        plot.place()
        return plot

    def add(self, state: dict[str, Any]) -> LinkedPlot | None:
        """Add a plot."""
        if len(self.plots) >= _MOST_PLOTS or self._explorer is None:
            return None
        plot = self._make(state)
        self._arrange()
        self.changed()
        return plot

    def remove(self, name: str) -> None:
        """Take a plot away, with its brush."""
        plot = self.plots.pop(name)
        had_brush = plot.region is not None
        self.coordinator.drop_view(name)
        self._arrange()
        if had_brush:
            self._follow()
        self.changed()

    def _arrange(self) -> None:
        self.grid.objects = [plot.view for plot in self.plots.values()]

    def update_columns(self) -> None:
        """Follow a change of the columns there are; plots of a computed column are drawn anew."""
        for plot in self.plots.values():
            plot.set_options(self.numeric)
            plot.place()

    def states(self) -> list[dict[str, Any]]:
        """Return what an address has to say of the plots."""
        return [{"kind": plot.kind, **plot.state()} for plot in self.plots.values()]

    # Choosing

    def prepare(self, name: str) -> None:
        """Make brushes of a plot quick: somebody is about to draw one."""
        self._preparer.prepare(self.coordinator, name)

    def draw(self, name: str, region: Brush, x: NDArray[np.float64], y: NDArray[np.float64] | None) -> None:
        """Follow a brush that is being drawn."""
        self.prepare(name)
        self._drawn.follow(self.coordinator, name, region, x, y)

    def _show_drawn(self) -> None:
        for plot in self.plots.values():
            if plot.figure is not None:
                plot.refresh()
        self._on_chosen(False)

    def _tell_prepared(self, name: str, part: float) -> None:
        words = ""
        if name in self.plots:
            number = name.rpartition(" ")[2]
            words = (
                f"<p class='soft' role='status'>Preparing quick brushes of plot {number}: {part:.0%} "
                f"<progress aria-label='Preparing quick brushes' value='{part:.3f}'></progress></p>"
            )
        self.progress.object = words

    def stop(self) -> None:
        """Give up what goes on beside the page."""
        self._drawn.stop()
        self._preparer.stop()
        self.progress.object = ""

    def brush(self, name: str, region: Brush, x: NDArray[np.float64], y: NDArray[np.float64] | None) -> None:
        """Choose the rows in a region of a plot."""
        self._drawn.stop()
        try:
            self.coordinator.brush(name, region, x, y)
            self.say(None)
        except PortalError as error:
            self.say(error)
        self._follow()

    def set_mask(self, name: str, mask: NDArray[np.uint8] | None) -> None:
        """Choose rows from elsewhere: conditions of the table, ticks, a subset; `None` chooses no more."""
        if mask is None:
            if name not in self.coordinator.brushes:
                return
            self.coordinator.clear(name)
        else:
            self.coordinator.set_mask(name, mask)
        self._follow()

    def clear(self, name: str | None = None) -> None:
        """Take away a brush, or all of them."""
        self._drawn.stop()
        for plot in self.plots.values():
            if name in (None, plot.name):
                plot.forget_brush()
        self.coordinator.clear(name)
        self._follow()

    def invert(self, inverted: bool) -> None:
        """Choose the rows outside instead of those inside."""
        self.coordinator.invert(inverted)
        self._follow()

    def _follow(self) -> None:
        """Let everything show what is chosen now."""
        self._on_chosen(True)
        if not self._is_due:
            self._is_due = True
            # Bokeh's models may be changed only under the page's lock, which widgets' callbacks do not hold.
            pn.state.execute(self._refresh, schedule=True)

    def _refresh(self) -> None:
        self._is_due = False
        for plot in self.plots.values():
            if plot.figure is not None:
                plot.outline()
                plot.refresh()

    # What to begin with

    def suggest_plane(self, names: list[str]) -> tuple[str, str]:
        """Return the two columns that are drawn before anybody has chosen."""
        for x, y in _PLANES:
            if x in names and y in names:
                return x, y
        plain = [n for n in names if not n.endswith(("Id", "_flag"))] or names
        return plain[0], plain[min(1, len(plain) - 1)]

    def suggest_line(self, names: list[str]) -> str:
        """Return the column whose histogram is drawn before anybody has chosen."""
        sky = self.position or ("", "")
        plain = [n for n in names if not n.endswith(("Id", "_flag")) and n not in sky] or names
        return next((n for n in _LINES if n in names), plain[0])
