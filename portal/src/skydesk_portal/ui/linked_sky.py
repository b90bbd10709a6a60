"""A sky map in HEALPix cells among linked plots; finer cells appear as one comes nearer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hpgeom
import numpy as np
import panel as pn
from bokeh.events import RangesUpdate
from bokeh.models import ColumnDataSource, Range1d
from numpy.typing import NDArray

from skydesk_portal.services.brushing import find_limits
from skydesk_portal.storage.scratch import allocate
from skydesk_portal.ui.linked_coordinates import SkyAxes, find_sky_axes
from skydesk_portal.ui.linked_plot import LinkedPlot, make_table, pad_limits, paint_cells

__all__ = ["SkyPlot", "number_pixels"]

_CELLS = 1500
"""Cells that are drawn at about most."""

_DEEPEST = 17
_TABLE_ROWS = 60
_CHUNK_ROWS = 2_000_000


class SkyPlot(LinkedPlot):
    """Counts rows in HEALPix cells of the sky (NESTED)."""

    kind = "sky"
    title = "Sky map"

    def make_controls(self, state: dict[str, Any]) -> None:
        """Make the widgets, set as an address said."""
        self.ra = pn.widgets.Select(name="Right ascension", width=150)
        self.dec = pn.widgets.Select(name="Declination", width=150)
        self._state = dict(state)
        self._source = ColumnDataSource()
        self._values: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
        self._pixels: NDArray[np.int64] = np.empty(0, np.int64)
        self._order = 0
        self.watch(self.ra, self.dec)

    def controls(self) -> Sequence[Any]:
        """Return the widgets above the figure."""
        return [self.ra, self.dec]

    def offer(self, names: list[str]) -> None:
        """Put the names of columns into the lists, keeping what is chosen."""
        usual = self.views.position or (names[0], names[-1])
        for widget, key, column in ((self.ra, "x", usual[0]), (self.dec, "y", usual[1])):
            value = next((n for n in (widget.value, self._state.get(key)) if n in names), column)
            widget.param.update(options=names, value=value)
        self._state = {}

    def state(self) -> dict[str, Any]:
        """Return what an address has to say of it."""
        return {"x": self.ra.value, "y": self.dec.value}

    @property
    def brush_columns(self) -> tuple[str, str]:
        """Columns that a brush chooses by."""
        return self.ra.value, self.dec.value

    def axes(self) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        """Return right ascensions, continuous over the shown field, and declinations, in degrees."""
        assert self._values is not None
        return self._values

    def build(self) -> None:
        """Make the figure anew."""
        ra, limits_ra = self.axis(self.ra.value, False)
        dec, limits_dec = self.axis(self.dec.value, False)
        if limits_ra[1] - limits_ra[0] > 180:
            # A field around RA 0 is one field: it is cut on the other side, if that is shorter.
            turned = (ra + 180.0) % 360.0 - 180.0
            low, high, _ = find_limits(turned)
            if high - low < 180:
                ra, limits_ra = turned, pad_limits(low, high)
        # Cells reach beyond the rows in them.
        limits_ra, limits_dec = pad_limits(*limits_ra, share=0.06), pad_limits(*limits_dec, share=0.06)
        self._values = (ra, dec)
        plot = self.make_figure((False, False))
        plot.x_range = Range1d(limits_ra[1], limits_ra[0])
        plot.y_range = Range1d(max(limits_dec[0], -90.0), min(limits_dec[1], 90.0))
        plot.xaxis.axis_label, plot.yaxis.axis_label = self.label(self.ra.value), self.label(self.dec.value)
        self.figure, self._order = plot, 0
        self._source = ColumnDataSource({"xs": [], "ys": [], "colour": []})
        plot.patches("xs", "ys", source=self._source, fill_color="colour", line_color=None)
        self.draw_outline(plot)
        self._renumber()
        self.refresh()
        plot.on_event(RangesUpdate, self._on_ranges)
        column = self.views.explorer.find_column
        self.show_figure(
            plot, find_sky_axes(column(self.ra.value), column(self.dec.value)) or SkyAxes("ICRS")
        )

    def _window(self) -> tuple[float, float, float, float]:
        x = sorted((float(self.figure.x_range.start), float(self.figure.x_range.end)))
        y = sorted((float(self.figure.y_range.start), float(self.figure.y_range.end)))
        return x[0], x[1], max(y[0], -90.0), min(y[1], 90.0)

    def _renumber(self) -> None:
        """Number the cells that are visible, of a size that suits the field."""
        assert self._values is not None
        x0, x1, y0, y1 = self._window()
        bands = np.sin(np.radians([y0, y1]))
        area_deg2 = min(x1 - x0, 360.0) * np.degrees(bands[1] - bands[0])
        wanted = 41253.0 / max(area_deg2, 1e-12) * _CELLS / 12
        self._order = int(np.clip(np.floor(np.log2(max(wanted, 1)) / 2), 0, _DEEPEST))
        ra, dec = self._values
        numbers, self._pixels = number_pixels(
            ra, dec, (x0, x1, y0, y1), self._order, self.views.explorer.folder
        )
        self.views.coordinator.set_cells(self.name, numbers, self._pixels.size, ra, dec)

    def _on_ranges(self, _event: Any) -> None:
        self._renumber()
        self.refresh()

    def _corners(self) -> tuple[list[Any], list[Any]]:
        """Return the corners of the cells, on the side of RA 0 where the field is."""
        if self._pixels.size == 0:
            return [], []
        ra, dec = hpgeom.boundaries(1 << self._order, self._pixels, step=1, nest=True, lonlat=True)
        x0, x1, _, _ = self._window()
        middle, _ = hpgeom.pixel_to_angle(1 << self._order, self._pixels, nest=True)
        center = (x0 + x1) / 2
        middle = (middle - center + 180.0) % 360.0 - 180.0 + center
        ra = (ra - middle[:, None] + 180.0) % 360.0 - 180.0 + middle[:, None]
        return list(ra), list(dec)

    def refresh(self) -> None:
        """Show which rows are chosen now."""
        coordinator = self.views.coordinator
        counts = coordinator.count(self.name)
        chosen = counts.chosen if coordinator.restricts else None
        paint = paint_cells((1, counts.all.size), counts.all, chosen, self.views.dark).ravel()
        colours = [f"#{v & 255:02x}{v >> 8 & 255:02x}{v >> 16 & 255:02x}" for v in paint.tolist()]
        xs, ys = self._corners()
        self._source.data = {"xs": xs, "ys": ys, "colour": colours}
        tail = "" if chosen is None else f", {int(counts.chosen.sum()):,} of them chosen"
        self.words.object = (
            f"<p class='soft' role='note'>{int(counts.all.sum()):,} rows in {counts.all.size:,} HEALPix cells of order "
            f"{self._order} (NESTED){tail}. Zoom for smaller cells.</p>"
        )
        self.fill_numbers()

    def write_numbers(self) -> str:
        """Return the numbers of the plot as a table of HTML."""
        counts = self.views.coordinator.count(self.name)
        top = np.argsort(-counts.all, kind="stable")[:_TABLE_ROWS]
        rows = [(self._pixels[n], f"{counts.all[n]:,}", f"{counts.chosen[n]:,}") for n in top]
        return make_table(
            f"Fullest cells of order {self._order}", ("HEALPix cell (NESTED)", "rows", "chosen"), rows
        )


def number_pixels(
    ra: NDArray[np.float64],
    dec: NDArray[np.float64],
    window: tuple[float, float, float, float],
    order: int,
    folder: Path | None = None,
) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Number the HEALPix cells of rows in a window.

    Parameters
    ----------
    ra, dec
        ICRS degrees.
    window
        Least and greatest right ascension and declination, degrees.
    order
        HEALPix order of the cells (NESTED).
    folder
        Where the numbers of very many rows lie; `None` for memory.

    Returns
    -------
    numbers
        For each row the number of its cell, from 1; 0 outside of the window.
    pixels
        HEALPix index of each cell that has rows.
    """
    import pandas as pd

    x0, x1, y0, y1 = window
    numbers = allocate((ra.size,), np.uint32, folder)
    known: dict[int, int] = {}
    for begin in range(0, ra.size, _CHUNK_ROWS):
        part_ra, part_dec = ra[begin : begin + _CHUNK_ROWS], dec[begin : begin + _CHUNK_ROWS]
        with np.errstate(invalid="ignore"):
            rows = np.flatnonzero((part_ra >= x0) & (part_ra <= x1) & (part_dec >= y0) & (part_dec <= y1))
        found = hpgeom.angle_to_pixel(1 << order, part_ra[rows] % 360.0, part_dec[rows], nest=True)
        codes, pixels = pd.factorize(found)
        cells = np.array([known.setdefault(int(pixel), len(known) + 1) for pixel in pixels], np.uint32)
        if rows.size:
            numbers[begin + rows] = cells[codes]
    return numbers, np.array(list(known), np.int64)
