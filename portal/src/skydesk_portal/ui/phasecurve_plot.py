"""The phase curve of a moving object: reduced magnitudes against the phase angle, with the fitted model."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
import panel as pn
from bokeh.models import ColumnDataSource, HoverTool

from skydesk_portal.services.movingobjects import PhaseBand
from skydesk_portal.ui.plots import band_style, dress_legend, make_figure

__all__ = ["draw_phase_curve", "render_fits"]

_STEPS = 200


def draw_phase_curve(bands: Sequence[PhaseBand], label: str, dark: bool) -> pn.Column:
    """Draw a phase curve.

    Parameters
    ----------
    bands
        Points and fits of all bands.
    label
        What people call the object.
    dark
        Whether the page is dark.

    Returns
    -------
    panel.Column
        The plot, the table of the fits, and a summary.
    """
    plot = make_figure(dark, 340, "pan,wheel_zoom,box_zoom,reset,save")
    plot.xaxis.axis_label = "Phase angle (degrees)"
    plot.yaxis.axis_label = "Reduced AB magnitude"
    plot.y_range.flipped = True
    every = np.concatenate([b.phase_deg for b in bands]) if bands else np.zeros(0)
    low, high = (float(every.min()), float(every.max())) if every.size else (0.0, 30.0)
    margin = max(0.15 * (high - low), 0.5)
    grid = np.linspace(max(low - margin, 0.0), high + margin, _STEPS)
    points = []
    for b in bands:
        style = band_style(b.band, dark)
        source = ColumnDataSource(
            {
                "x": b.phase_deg,
                "y": b.reduced_mag,
                "low": b.reduced_mag - b.error_mag,
                "high": b.reduced_mag + b.error_mag,
            }
        )
        model = b.model(grid)
        if model is not None:
            plot.line(grid, model, line_color=style.colour, line_width=1.6, line_alpha=0.8)
        plot.segment("x", "low", "x", "high", source=source, line_color=style.colour)
        points.append(
            plot.scatter(
                "x",
                "y",
                source=source,
                marker=style.marker,
                size=9,
                fill_color=style.colour,
                line_color=style.colour if dark else "#000000",
                legend_label=f"{b.band} ({b.phase_deg.size})",
            )
        )
    plot.add_tools(
        HoverTool(renderers=points, tooltips=[("phase angle", "@x{0.000}°"), ("magnitude", "@y{0.000}")])
    )
    if plot.legend:
        dress_legend(plot.legend, dark)
    return pn.Column(
        pn.pane.Bokeh(plot, sizing_mode="stretch_width", height=340),
        pn.pane.HTML(render_fits(bands, label), sizing_mode="stretch_width"),
        sizing_mode="stretch_width",
    )


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None or not np.isfinite(value) else f"{value:.{digits}f}"


def render_fits(bands: Sequence[PhaseBand], label: str) -> str:
    """Write the fits of all bands as an HTML table with a sentence for those who do not see the plot."""
    rows = "".join(
        f"<tr><th scope='row'>{escape(b.band)}</th><td>{b.phase_deg.size}</td>"
        f"<td>{_number(b.h_mag, 3)} ± {_number(b.h_error_mag, 3)}</td>"
        f"<td>{_number(b.g12, 2)}{' (kept fixed)' if b.g12_error is None else f' ± {_number(b.g12_error, 2)}'}</td>"
        f"<td>{b.used}</td></tr>"
        for b in bands
    )
    every = np.concatenate([b.phase_deg for b in bands]) if bands else np.zeros(0)
    span = f"phase angles {every.min():.2f}° to {every.max():.2f}°" if every.size else "no phase angle"
    return (
        f"<p class='soft' role='note'>Phase curve of {escape(label)}: {every.size} points at {span}. Reduced magnitudes "
        "are those at 1 AU from Sun and observer. Lines are the H, G12 model (Muinonen et al. 2010) that the release "
        "fitted to each band; where few points or a small range of phase angles do not tell the slope, it is kept "
        "fixed. The table of the light curve holds the points.</p>"
        "<table class='fits'><caption class='soft'>Fitted phase curves</caption><thead><tr><th scope='col'>Band</th>"
        "<th scope='col'>Points</th><th scope='col'>H (mag)</th><th scope='col'>G12</th>"
        f"<th scope='col'>Points fitted</th></tr></thead><tbody>{rows}</tbody></table>"
        "<style>.fits{border-collapse:collapse;font-size:13px}.fits th,.fits td{padding:3px 14px 3px 0;text-align:left}"
        ".fits caption{text-align:left;padding:4px 0}</style>"
    )
