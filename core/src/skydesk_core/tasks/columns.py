"""Columns that several catalogs share: pixel flags and astropy tables with units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from astropy.table import Table, vstack

from skydesk_core.algorithms.planes import BIT

__all__ = ["flag_columns", "make_table", "stack_tables"]

_PLANE_OF = {
    "bad": "BAD",
    "cr": "CR",
    "edge": "EDGE",
    "interpolated": "INTRP",
    "nodata": "NO_DATA",
    "saturated": "SAT",
    "suspect": "SUSPECT",
    "clipped": "CLIPPED",
    "inexact_psf": "INEXACT_PSF",
}


def flag_columns(
    bits: np.ndarray, centre_bits: np.ndarray, whole: Sequence[str], centre: Sequence[str], prefix: str = ""
) -> dict[str, np.ndarray]:
    """Make the SDM's pixel flag columns from packed masks.

    Parameters
    ----------
    bits, centre_bits
        Union of the mask over each footprint and over its central 3×3 pixels.
    whole, centre
        Which flags to make: ``pixelFlags_NAME`` and ``pixelFlags_NAMECenter``.
    prefix
        Put before every name.
    """
    columns = {f"{prefix}pixelFlags_{name}": (bits & BIT[_PLANE_OF[name]]) != 0 for name in whole}
    columns |= {
        f"{prefix}pixelFlags_{name}Center": (centre_bits & BIT[_PLANE_OF[name]]) != 0 for name in centre
    }
    return columns


def make_table(columns: Mapping[str, np.ndarray | Sequence[object]], units: Mapping[str, str]) -> Table:
    """Make a table with units.

    Parameters
    ----------
    columns
        Columns by name.
    units
        Unit by the end of a column's name; the longest end that fits counts.
    """
    table = Table({name: np.asarray(values) for name, values in columns.items()})
    for name in table.colnames:
        ends = [end for end in units if name.endswith(end)]
        if ends and table[name].dtype.kind == "f":
            table[name].unit = units[max(ends, key=len)]
    return table


def stack_tables(tables: Sequence[Table]) -> Table:
    """Stack tables of the same columns; one empty table is returned as it is.

    Parameters
    ----------
    tables
        At least one table.
    """
    filled = [t for t in tables if len(t)]
    if not filled:
        return tables[0].copy()
    for table in filled:
        table.meta.clear()
    return vstack(filled, metadata_conflicts="silent") if len(filled) > 1 else filled[0]
