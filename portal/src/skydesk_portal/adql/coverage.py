"""Coverage maps (MOC 2.0) of the sky as regions of ADQL: read from text, written as conditions on HEALPix indices."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from skydesk_portal.exceptions import QueryError

if TYPE_CHECKING:
    from mocpy import MOC

__all__ = ["Coverage", "cells_sql", "parse_coverage"]

MAX_CELLS = 200_000
"""Cells that are written into a query; a larger map comes as an uploaded table of cells."""

MAX_COARSE = 4000
"""Cells of the list that rows are looked up in first."""

_TEXT = re.compile(r"\s*s?\s*\d+\s*/[\d\s,/+-]*\Z")
_ORDERS = re.compile(r"(\d+)\s*/")


@dataclass(frozen=True, eq=False)
class Coverage:
    """A part of the sky as a set of HEALPix cells.

    Parameters
    ----------
    moc
        The cells.
    """

    moc: MOC


def parse_coverage(text: str) -> Coverage:
    """Read a coverage map in the ASCII form of MOC 2.0.

    Parameters
    ----------
    text
        Such as ``6/1-5 7/32``: an order, and cells or ranges of cells of it (NESTED).

    Raises
    ------
    QueryError
        If it is no spatial map, or one of too many cells.
    """
    from mocpy import MOC

    plain = " ".join(text.split()).removeprefix("s").lstrip()
    if not _TEXT.match(plain) or any(int(order) > 29 for order in _ORDERS.findall(plain)):
        raise QueryError("MOC takes the text of a spatial coverage map, such as '6/1-5 7/32', orders 0 to 29")
    try:
        moc = MOC.from_string(plain.replace(",", " "), format="ascii")
    except (OSError, ValueError) as error:
        problem = str(error).splitlines()[0][:80]
        raise QueryError(f"this is not the text of a coverage map: {problem}") from error
    if len(moc.to_depth29_ranges) > MAX_CELLS:
        raise QueryError(
            f"a coverage map in a query has at most {MAX_CELLS:,} ranges of cells: upload its cells"
        )
    return Coverage(moc)


def cells_sql(index: str, coverage: Coverage) -> str:
    """Return SQL that tells whether an index of order 29 lies in one of the cells.

    Parameters
    ----------
    index
        SQL of the index; null gives null.
    coverage
        The cells.

    Returns
    -------
    str
        Lists, which engines look up by hash: a range for each cell would be tested one by one. Where there are many
        cells, one coarse list stands before those of all orders.
    """
    order, coarse = _coarse_cells(coverage.moc)
    near = _list_sql(index, order, coarse)
    if order == coverage.moc.max_order or not coarse:
        return near
    lists = [
        _list_sql(index, int(order), cells)
        for order, cells in coverage.moc.serialize(format="json").items()
        if cells
    ]
    return f"({near} AND ({' OR '.join(lists)}))"


def _list_sql(index: str, order: int, cells: list[int]) -> str:
    listed = ", ".join(map(str, cells))
    return f"(({index} >> {2 * (29 - order)}) IN ({listed}))" if cells else f"({index} < 0)"


def _coarse_cells(moc: MOC) -> tuple[int, list[int]]:
    """Return the finest order at which a map has few cells, and those that it touches.

    One list is looked up in a tenth of the time that the lists of all orders take.
    """
    for order in range(int(moc.max_order), -1, -1):
        if float(moc.sky_fraction) * 12 * 4**order > MAX_COARSE:
            continue
        coarser = moc if order == moc.max_order else moc.degrade_to_order(order)
        cells = [int(cell) for cell in coarser.flatten()]
        if len(cells) <= MAX_COARSE:
            return order, cells
    return 0, list(range(12))
