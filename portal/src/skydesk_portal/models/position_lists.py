"""Lists of positions as people have them: one a line in any notation, with a radius of its own where one is given."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

from skydesk_portal.exceptions import UsageError
from skydesk_portal.models.positions import parse_position

__all__ = ["MOST_POSITIONS", "ListedEntry", "ListedPosition", "parse_list", "place", "write_table"]

MOST_POSITIONS = 100_000
"""Positions of one list."""

_LARGEST_ARCSEC = 36_000.0
_RADIUS = re.compile(
    r"\s*(?:\||\br(?:adius)?\s*=)\s*(\d+\.?\d*|\.\d+)\s*(arcsec|arcmin|deg|\"|')?\s*\Z", re.IGNORECASE
)
_UNITS = {"arcsec": 1.0, '"': 1.0, "arcmin": 60.0, "'": 60.0, "deg": 3600.0}


@dataclass(frozen=True)
class ListedEntry:
    """One entry of a list.

    Parameters
    ----------
    row
        Its number in the list, from 1.
    text
        The position, identifier or name as it is written.
    radius_arcsec
        Radius of the circle around it.
    position
        ICRS degrees; `None` where an identifier or a name has to be looked up.
    """

    row: int
    text: str
    radius_arcsec: float
    position: tuple[float, float] | None = None

    @property
    def identifier(self) -> int | None:
        """The identifier of an object that the entry is; `None` if it is something else."""
        return (
            int(self.text) if self.text.isascii() and self.text.isdecimal() and len(self.text) < 19 else None
        )


@dataclass(frozen=True)
class ListedPosition:
    """An entry whose position is known, ICRS degrees."""

    entry: ListedEntry
    ra_deg: float
    dec_deg: float


def check_radius(radius_arcsec: float, row: int) -> float:
    """Return a radius that can be searched in.

    Raises
    ------
    UsageError
        If it cannot.
    """
    if not 0 < radius_arcsec <= _LARGEST_ARCSEC:
        raise UsageError(
            f"entry {row}: the radius {radius_arcsec:g} arcsec is not between 0 and {_LARGEST_ARCSEC:g}"
        )
    return radius_arcsec


def parse_list(text: str, radius_arcsec: float) -> list[ListedEntry]:
    """Read a list of positions.

    Parameters
    ----------
    text
        One entry a line: a position in any notation (`parse_position`), the identifier of an object or a name; behind
        ``|`` or ``r=`` the radius, in arcsec unless a unit stands there. What follows ``#`` is a remark.
    radius_arcsec
        Radius where the entry says none.

    Raises
    ------
    UsageError
        If there is no entry, or too many, or a radius is none.
    """
    entries: list[ListedEntry] = []
    for line in text.splitlines():
        plain = line.partition("#")[0].strip()
        if not plain:
            continue
        row, radius = len(entries) + 1, radius_arcsec
        if (found := _RADIUS.search(plain)) is not None:
            radius = float(found[1]) * _UNITS[(found[2] or "arcsec").lower()]
            plain = plain[: found.start()].strip()
        position = None
        if not (plain.isascii() and plain.isdecimal()):
            position = _find_position(plain, row)
        entries.append(ListedEntry(row, plain[:200], check_radius(radius, row), position))
        if len(entries) > MOST_POSITIONS:
            raise UsageError(f"a list has at most {MOST_POSITIONS:,} positions")
    if not entries:
        raise UsageError("the list holds no position: write one a line, such as 53.13 -28.10")
    return entries


def _find_position(text: str, row: int) -> tuple[float, float] | None:
    try:
        return parse_position(text)
    except UsageError as error:
        # What begins with a letter may be a name that somebody knows.
        if text[:1].isalpha() and not re.match(r"(?:gal|ecl|eq|icrs|ra|l|b)\b", text.lower()):
            return None
        raise UsageError(f"entry {row}: {error}") from error


def place(entry: ListedEntry, position: tuple[float, float]) -> ListedPosition:
    """Return an entry at a position (ICRS degrees)."""
    return ListedPosition(entry, *position)


def write_table(positions: Sequence[ListedPosition]) -> bytes:
    """Write a list as a table that comes with a query.

    Returns
    -------
    bytes
        CSV with ``input_row`` (from 1), ``input_text`` (as written), ``input_ra``, ``input_dec`` and ``input_radius``
        (degrees).
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["input_row", "input_text", "input_ra", "input_dec", "input_radius"])
    for found in positions:
        entry = found.entry
        writer.writerow(
            [entry.row, entry.text, repr(found.ra_deg), repr(found.dec_deg), repr(entry.radius_arcsec / 3600)]
        )
    return out.getvalue().encode()
