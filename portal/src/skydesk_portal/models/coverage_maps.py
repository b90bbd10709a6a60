"""Coverage maps (MOC 2.0) that people bring along: read from a file or text, written as text or as a table of cells."""

from __future__ import annotations

import csv
import io
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from skydesk_portal.exceptions import QueryError, TooLargeError, UsageError

if TYPE_CHECKING:
    from mocpy import MOC

__all__ = ["area_deg2", "list_orders", "read_coverage", "write_cells", "write_text"]

MAX_BYTES = 20_000_000
MAX_CELLS = 1_000_000
_MOST_FLAT = 50_000
_SKY_DEG2 = 41252.96124941927
_CREDIBLE = 0.9


def read_coverage(content: bytes) -> MOC:
    """Read a coverage map, or the region of a gravitational-wave sky map that holds 90 % of the probability.

    Parameters
    ----------
    content
        A spatial MOC as FITS, JSON or ASCII text, or a multi-order sky map as FITS.

    Raises
    ------
    UsageError
        If it is none of these, or holds no cell.
    TooLargeError
        If it is too large.
    """
    from mocpy import MOC

    if len(content) > MAX_BYTES:
        raise TooLargeError(f"a coverage map has at most {MAX_BYTES:,} bytes, this file has {len(content):,}")
    try:
        if content.startswith(b"SIMPLE  ="):
            found = _read_fits(content)
        elif content.lstrip()[:1] == b"{":
            found = MOC.from_string(content.decode(), format="json")
        else:
            from skydesk_portal.adql.coverage import parse_coverage

            found = parse_coverage(content.decode()).moc
    except QueryError as error:
        raise UsageError(str(error)) from error
    except (OSError, ValueError, KeyError) as error:
        problem = str(error).splitlines()[0][:100] if str(error) else "it cannot be read"
        raise UsageError(f"this is no spatial coverage map (MOC) in FITS, JSON or text: {problem}") from error
    if found.empty():
        raise UsageError("the coverage map holds no cell, so nothing lies inside")
    return found


def _read_fits(content: bytes) -> MOC:
    from mocpy import MOC

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "coverage.fits"
        path.write_bytes(content)
        if b"PROBDENSITY" in content[:20_000]:
            return MOC.from_multiordermap_fits_file(str(path), cumul_to=_CREDIBLE)
        return MOC.load(str(path), format="fits")


def area_deg2(moc: MOC) -> float:
    """Return the area of a coverage map in square degrees."""
    return float(moc.sky_fraction) * _SKY_DEG2


def write_text(moc: MOC) -> str:
    """Return a coverage map in the ASCII form of MOC 2.0, in one line."""
    return " ".join(str(moc.to_string(format="ascii")).split())


def _cells(moc: MOC) -> dict[int, list[int]]:
    order = int(moc.max_order)
    if float(moc.sky_fraction) * 12 * 4**order <= _MOST_FLAT:
        # One list is looked up much faster than one for each order.
        return {order: [int(cell) for cell in moc.flatten()]}
    return {int(order): cells for order, cells in moc.serialize(format="json").items() if cells}


def list_orders(moc: MOC) -> tuple[int, ...]:
    """Return the HEALPix orders that a coverage map has cells of."""
    return tuple(sorted(_cells(moc)))


def write_cells(moc: MOC) -> bytes:
    """Return a coverage map as CSV with the columns ``norder`` and ``npix``, one row a cell (NESTED).

    Raises
    ------
    TooLargeError
        If it has too many cells.
    """
    cells = _cells(moc)
    if (count := sum(map(len, cells.values()))) > MAX_CELLS:
        raise TooLargeError(
            f"a coverage map of a query has at most {MAX_CELLS:,} cells, this one has {count:,}"
        )
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["norder", "npix"])
    for order, indices in sorted(cells.items()):
        writer.writerows((order, index) for index in indices)
    return out.getvalue().encode()
