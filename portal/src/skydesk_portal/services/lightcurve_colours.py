"""Colours of a light curve in time: two bands averaged within the same nights."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from skydesk_portal.exceptions import UsageError
from skydesk_portal.models.photometry import Photometry
from skydesk_portal.models.tables import ColumnInfo

__all__ = ["COLOUR_COLUMNS", "ColourCurve", "list_pairs", "make_colour_curve", "tabulate_colours"]

COLOUR_COLUMNS = (
    ColumnInfo("colour", "char", "*", description="Bands"),
    ColumnInfo("mjd", "double", unit="d", ucd="time.epoch", description="Mean time of the bin (MJD, TAI)"),
    ColumnInfo("value", "float", unit="mag", ucd="phot.color"),
    ColumnInfo("error", "float", unit="mag", ucd="stat.error;phot.color"),
)
"""Columns of a table of colours."""

type FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class ColourCurve:
    """A colour in time.

    Parameters
    ----------
    label
        ``g - r``.
    mjd, colour, error
        Mean time of each bin, AB colour and its error in magnitudes, shape (n,).
    """

    label: str
    mjd: FloatArray
    colour: FloatArray
    error: FloatArray


def list_pairs(bands: list[str]) -> list[str]:
    """List the colours of neighbouring bands, as ``g - r``."""
    return [f"{a} - {b}" for a, b in itertools.pairwise(bands)]


def _find_noon(mjd: FloatArray) -> float:
    """Middle of the longest part of the day without a point, as a fraction of a day."""
    hours = np.sort(mjd % 1)
    gaps = np.diff(np.r_[hours, hours[0] + 1])
    longest = int(np.argmax(gaps))
    return float((hours[longest] + gaps[longest] / 2) % 1)


def make_colour_curve(curve: Photometry, first: str, second: str, bin_day: float = 1.0) -> ColourCurve:
    """Make a colour curve from points that are not flagged.

    Parameters
    ----------
    curve
        Total fluxes; a colour of differences means nothing.
    first, second
        The two bands; the colour is the magnitude in the first less that in the second.
    bin_day
        Length of a bin in days. Bins begin in the middle of the longest part of the day without a point, so that with
        one day they are nights.

    Returns
    -------
    ColourCurve
        One point for each bin in which both bands have a positive mean flux (weighted by 1/σ²).

    Raises
    ------
    UsageError
        If a bin has no length or the bands are the same.
    """
    if not bin_day > 0:
        raise UsageError("a bin must be longer than zero days")
    if first == second:
        raise UsageError("a colour needs two different bands")
    error = curve.error_njy
    good = ~curve.flag & np.isfinite(curve.mjd) & np.isfinite(curve.flux_njy) & (error > 0)
    times, colours, errors = [], [], []
    if good.any():
        cell = np.floor((curve.mjd - _find_noon(curve.mjd[good])) / bin_day)
        inside = {b: good & (curve.band == b) for b in (first, second)}
        for n in np.intersect1d(cell[inside[first]], cell[inside[second]]):
            means, spreads, middles = [], [], []
            for band in (first, second):
                here = inside[band] & (cell == n)
                w = error[here] ** -2.0
                means.append(float(w @ curve.flux_njy[here] / w.sum()))
                spreads.append(float(w.sum() ** -0.5))
                middles.append(float(w @ curve.mjd[here] / w.sum()))
            if min(means) > 0:
                times.append(sum(middles) / 2)
                colours.append(-2.5 * np.log10(means[0] / means[1]))
                errors.append(2.5 / np.log(10) * np.hypot(spreads[0] / means[0], spreads[1] / means[1]))
    return ColourCurve(f"{first} - {second}", np.array(times), np.array(colours), np.array(errors))


def tabulate_colours(colours: Sequence[ColourCurve]) -> pa.Table:
    """Put colours into one table with `COLOUR_COLUMNS`, in the order of time."""
    names = [c.name for c in COLOUR_COLUMNS]
    parts = [
        pa.table(
            [pa.array([c.label] * c.mjd.size, pa.string()), *map(pa.array, (c.mjd, c.colour, c.error))],
            names=names,
        )
        for c in colours
    ]
    return pa.concat_tables(parts).sort_by("mjd")
