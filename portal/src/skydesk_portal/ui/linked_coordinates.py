"""Coordinates and distances for plots of two columns that together say a place on the sky."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import panel as pn
from bokeh.models import ColumnDataSource

from skydesk_portal.models.tables import ColumnInfo
from skydesk_portal.services.explorer import find_position_columns
from skydesk_portal.ui.components import SkyCoordinates
from skydesk_portal.ui.shell import asset_text

__all__ = ["SkyAxes", "add_coordinates", "find_sky_axes"]

_FRAMES = {
    ("pos.eq.ra", "pos.eq.dec"): "ICRS",
    ("pos.galactic.lon", "pos.galactic.lat"): "galactic",
    ("pos.ecliptic.lon", "pos.ecliptic.lat"): "ecliptic",
}


@dataclass(frozen=True)
class SkyAxes:
    """The sky along the axes of a plot.

    Parameters
    ----------
    frame
        ``ICRS``, ``galactic`` or ``ecliptic``.
    is_turned
        Whether the latitude is the horizontal axis.
    """

    frame: str
    is_turned: bool = False


def find_sky_axes(x: ColumnInfo | None, y: ColumnInfo | None) -> SkyAxes | None:
    """Tell whether two columns are longitude and latitude of one frame, in degrees.

    Parameters
    ----------
    x, y
        The columns along the axes; their UCDs decide, or their usual names where they have none.

    Returns
    -------
    SkyAxes or None
        None if a place in the plot is no place on the sky.
    """
    if x is None or y is None or {x.unit, y.unit} - {"deg", ""}:
        return None
    kinds = tuple(c.ucd.lower().partition(";")[0] for c in (x, y))
    for pair, frame in _FRAMES.items():
        if kinds in (pair, pair[::-1]):
            return SkyAxes(frame, kinds != pair)
    names = find_position_columns((x.name, y.name))
    if names is None or any(kinds):
        return None
    return SkyAxes("ICRS", names != (x.name, y.name))


def add_coordinates(plot: Any, pane: pn.pane.Bokeh, axes: SkyAxes, colour: str) -> SkyCoordinates:
    """Let a plot of the sky tell coordinates under the pointer and measure distances, all in the browser.

    Parameters
    ----------
    plot
        The figure.
    pane
        What shows it.
    axes
        What its axes are.
    colour
        Of the line between the ends of a distance.

    Returns
    -------
    SkyCoordinates
        What is to stand below the plot.
    """
    longitudes = plot.y_range if axes.is_turned else plot.x_range
    tools = SkyCoordinates(
        frame=axes.frame,
        turned=axes.is_turned,
        centre=(float(longitudes.start) + float(longitudes.end)) / 2,
        sizing_mode="stretch_width",
    )
    line = ColumnDataSource({"x": [], "y": []})
    plot.line("x", "y", source=line, line_color=colour, line_width=2, level="overlay")
    plot.scatter(
        "x", "y", source=line, marker="cross", size=14, line_color=colour, line_width=2, level="overlay"
    )
    arguments = {"tools": tools, "line": line}
    code = asset_text("linked_coordinates.js")
    # One callback a call: Panel takes the last event of several.
    for event in ("mousemove", "mouseleave", "tap", "doubletap"):
        pane.jscallback(args=arguments, **{f"event:{event}": code})
    # Panel keeps what a callback is given as long as its source, which therefore must not be among it.
    tools.jscallback(args={"line": line}, ends=code)
    return tools
