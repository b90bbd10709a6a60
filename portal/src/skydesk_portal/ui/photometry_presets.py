"""Colour–magnitude and colour–colour diagrams from the columns that a result has."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

__all__ = ["Preset", "list_presets"]

_BANDS = "ugrizy"
_ZERO_POINT_MAG = 31.4
"""AB magnitude of 1 nJy."""

_KINDS = ("psf", "cModel", "kron", "sersic", "gaap1p0", "ap12", "calib", "free_psf", "free_cModel")
_MOST = 40


@dataclass(frozen=True)
class Preset:
    """A diagram that the columns of a result allow.

    Parameters
    ----------
    title
        What it shows.
    derived
        Columns that have to be computed for it.
    plot
        The plot, as an address says it.
    """

    title: str
    derived: tuple[tuple[str, str], ...]
    plot: dict[str, Any]


def _find_bands(names: Sequence[str]) -> dict[str, dict[str, tuple[str, bool]]]:
    """Return by kind of photometry and band the column, and whether it holds magnitudes."""
    found: dict[str, dict[str, tuple[str, bool]]] = {}
    for name in names:
        match = re.fullmatch(r"([ugrizy])_(\w+?)(Mag|Flux)", name)
        if match and match[2] in _KINDS:
            kind = found.setdefault(match[2], {})
            if match[1] not in kind or match[3] == "Mag":
                kind[match[1]] = (name, match[3] == "Mag")
    return found


def list_presets(names: Sequence[str]) -> list[Preset]:
    """Return the diagrams that the columns of a result allow.

    Parameters
    ----------
    names
        Columns of the result.

    Returns
    -------
    list of Preset
        Colour–magnitude diagrams, then colour–colour diagrams, of neighbouring bands.
    """
    magnitudes, colours = [], []
    for kind, bands in _find_bands(names).items():
        have = [b for b in _BANDS if b in bands]
        mags = {b: _magnitude(b, kind, *bands[b]) for b in have}
        made: dict[tuple[str, str], tuple[str, tuple[tuple[str, str], ...]]] = {}
        for first, second in pairwise(have):
            colour = f"{kind}_{first}_{second}"
            needed = (*mags[first][1], *mags[second][1], (colour, f"{mags[first][0]} - {mags[second][0]}"))
            made[first, second] = (colour, needed)
            plot = {"kind": "plane", "x": colour, "y": mags[second][0], "oy": "downwards"}
            magnitudes.append(Preset(f"{second} against {first} − {second} ({kind})", needed, plot))
        for (first, second), (_, third) in pairwise(made):
            (x, needed_x), (y, needed_y) = made[first, second], made[second, third]
            needed = (*needed_x, *(item for item in needed_y if item not in needed_x))
            title = f"{second} − {third} against {first} − {second} ({kind})"
            colours.append(Preset(title, needed, {"kind": "plane", "x": x, "y": y}))
    return (magnitudes + colours)[:_MOST]


def _magnitude(band: str, kind: str, column: str, is_mag: bool) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Return the column of a magnitude, and how it is computed if it has to be."""
    if is_mag:
        return column, ()
    name = f"{band}_{kind}ABMag"
    return name, ((name, f"CASE WHEN {column} > 0 THEN {_ZERO_POINT_MAG} - 2.5 * LOG10({column}) END"),)
