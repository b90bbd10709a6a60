"""What all plots share: the platform's look and the colours and symbols of bands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bokeh.plotting import figure

__all__ = ["BandStyle", "band_style", "dress_legend", "make_figure"]


@dataclass(frozen=True)
class BandStyle:
    """How one band is drawn; never by colour alone."""

    colour: str
    marker: str


# Colours and symbols of RTN-045, for white and for black backgrounds.
_LIGHT = {"u": "#1600ea", "g": "#31de1f", "r": "#b52626", "i": "#370201", "z": "#ba52ff", "y": "#61a2b3"}
_DARK = {"u": "#3eb7ff", "g": "#30c39f", "r": "#ff7e00", "i": "#2af5ff", "z": "#a7f9c1", "y": "#fdc900"}
_MARKERS = {"u": "circle", "g": "triangle", "r": "inverted_triangle", "i": "square", "z": "star", "y": "hex"}


def band_style(band: str, dark: bool) -> BandStyle:
    """Return colour and symbol of a band; bands outside ugrizy get neutral ones."""
    fallback = "#d5dbe3" if dark else "#2f3b4a"
    return BandStyle((_DARK if dark else _LIGHT).get(band, fallback), _MARKERS.get(band, "circle"))


def make_figure(
    dark: bool,
    height: int,
    tools: str = "pan,wheel_zoom,box_zoom,reset,save",
    log: tuple[bool, bool] = (False, False),
) -> figure:
    """Make an empty figure in the platform's look.

    Parameters
    ----------
    dark
        Whether the page is dark.
    height
        Pixels.
    tools
        Bokeh's tools.
    log
        Whether the horizontal and the vertical axis are logarithmic.

    Returns
    -------
    bokeh.plotting.figure
        The figure; it fills the width.
    """
    kinds = ["log" if is_log else "linear" for is_log in log]
    plot = figure(
        height=height, sizing_mode="stretch_width", tools=tools, active_scroll="wheel_zoom",
        x_axis_type=kinds[0], y_axis_type=kinds[1],
    )  # fmt: skip
    ink, surface = _ink_and_surface(dark)
    soft, line = ("#9eacbd", "#2a3646") if dark else ("#536070", "#e3e8ef")
    plot.background_fill_color = surface
    plot.border_fill_color = surface
    plot.outline_line_color = soft
    for axis in plot.axis:
        axis.axis_label_text_color = ink
        axis.major_label_text_color = ink
        axis.axis_line_color = soft
        axis.major_tick_line_color = soft
        axis.minor_tick_line_color = soft
        axis.axis_label_text_font_style = "normal"
        axis.axis_label_text_font_size = "13px"
        axis.major_label_text_font_size = "12px"
    for grid in plot.grid:
        grid.grid_line_color = line
    plot.toolbar.logo = None
    plot.min_border = 12
    return plot


def dress_legend(legend: Any, dark: bool) -> None:
    """Give a legend, or all those of a figure, the platform's look; a click on an entry hides what it names."""
    legend.label_text_color, legend.background_fill_color = _ink_and_surface(dark)
    legend.background_fill_alpha = 0.7
    legend.border_line_color = None
    legend.click_policy = "hide"


def _ink_and_surface(dark: bool) -> tuple[str, str]:
    return ("#e3e9f1", "#161e29") if dark else ("#1b2430", "#ffffff")
