"""Lists of positions for queries: identifiers and names of a list looked up, the list written as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from skydesk_portal.exceptions import UsageError
from skydesk_portal.models.identity import Identity
from skydesk_portal.models.position_lists import (
    MOST_POSITIONS,
    ListedEntry,
    ListedPosition,
    check_radius,
    parse_list,
    place,
)
from skydesk_portal.services.explorer import find_position_columns
from skydesk_portal.vo.uploads import read_upload

if TYPE_CHECKING:
    from skydesk_portal.services.find_names import NameResolver
    from skydesk_portal.services.tap import TapService

__all__ = ["PositionListService"]

_LARGEST_BYTES = 20_000_000
_MOST_NAMES = 200
"""Names that are asked for one after the other at a service outside."""

_PART = 2000
_RADII = {"radius_arcsec": 1.0, "radius": 1.0, "radius_deg": 3600.0}


class PositionListService:
    """Reads lists of positions.

    Parameters
    ----------
    queries
        Looks identifiers up as the caller.
    names
        Looks names up; `None` where no service is set.
    """

    def __init__(self, queries: TapService, names: NameResolver | None) -> None:
        self._queries = queries
        self._names = names

    def read(
        self, identity: Identity, content: bytes, radius_arcsec: float, release: str
    ) -> list[ListedPosition]:
        """Read a list.

        Parameters
        ----------
        identity
            The caller.
        content
            Lines as `skydesk_portal.models.position_lists.parse_list` reads them, or a table (VOTable, CSV, FITS,
            parquet) with columns of positions such as ``ra`` and ``dec``; ``radius_arcsec`` (or ``radius``, or
            ``radius_deg``) is the radius of a row.
        radius_arcsec
            Radius where the list says none.
        release
            Release whose objects identifiers mean.

        Returns
        -------
        list of ListedPosition
            Every entry with its position.

        Raises
        ------
        UsageError
            If an entry is no position, or an identifier or a name that is not known.
        UpstreamError
            If the service of names does not answer.
        """
        check_radius(radius_arcsec, 1)
        table = self._read_table(content, radius_arcsec)
        if table is not None:
            return table
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise UsageError("the list is neither text nor a table that can be read") from error
        entries = parse_list(text, radius_arcsec)
        known = self._find_objects(identity, [e for e in entries if e.identifier is not None], release)
        placed = []
        for entry in entries:
            position = entry.position
            if position is None:
                number = entry.identifier
                position = known.get(number) if number is not None else self._find_name(entry)
            if position is None:
                raise UsageError(f"entry {entry.row}: release {release} has no object {entry.text}")
            placed.append(place(entry, position))
        return placed

    def _read_table(self, content: bytes, radius_arcsec: float) -> list[ListedPosition] | None:
        """Read a table; `None` where the content is no table with positions."""
        header = content[:2000].partition(b"\n")[0].lower()
        is_text = not content.startswith((b"PAR1", b"SIMPLE  =")) and content.lstrip()[:1] != b"<"
        names_in_header = {word.strip(b' "\r') for word in header.replace(b"\t", b",").split(b",")}
        if is_text and not names_in_header & {b"ra", b"coord_ra", b"s_ra"}:
            return None
        own = read_upload("positions", content, _LARGEST_BYTES)
        names = {c.name.lower(): c.name for c in own.columns}
        pair = find_position_columns(list(names))
        if pair is None:
            raise UsageError("the table has no columns ra and dec (or coord_ra and coord_dec) in degrees")
        rows = own.table.to_pylist()
        if not 0 < len(rows) <= MOST_POSITIONS:
            raise UsageError(
                f"a list has 1 to {MOST_POSITIONS:,} positions, this table has {len(rows):,} rows"
            )
        radius = next(((names[n], factor) for n, factor in _RADII.items() if n in names), None)
        label = next((names[n] for n in ("name", "id", "target", "objectid") if n in names), None)
        placed = []
        for n, row in enumerate(rows, 1):
            ra, dec = row[names[pair[0]]], row[names[pair[1]]]
            if not isinstance(ra, float | int) or not isinstance(dec, float | int) or not abs(dec) <= 90:
                raise UsageError(f"row {n} of the table has no position in degrees")
            size = row[radius[0]] * radius[1] if radius and row[radius[0]] is not None else radius_arcsec
            text = str(row[label])[:200] if label else f"{ra} {dec}"
            placed.append(place(ListedEntry(n, text, check_radius(size, n)), (ra % 360.0, float(dec))))
        return placed

    def _find_objects(
        self, identity: Identity, entries: Sequence[ListedEntry], release: str
    ) -> dict[int, tuple[float, float]]:
        found: dict[int, tuple[float, float]] = {}
        numbers = sorted({e.identifier for e in entries if e.identifier is not None})
        for start in range(0, len(numbers), _PART):
            wanted = ", ".join(map(str, numbers[start : start + _PART]))
            query = f"SELECT objectId, coord_ra, coord_dec FROM {release}.Object WHERE objectId IN ({wanted})"
            for row in self._queries.run_query(identity, query, _PART).table.to_pylist():
                found[row["objectId"]] = (row["coord_ra"], row["coord_dec"])
        return found

    def _find_name(self, entry: ListedEntry) -> tuple[float, float]:
        if self._names is None:
            raise UsageError(
                f"entry {entry.row}: {entry.text[:60]!r} is no position, and this platform looks up no names of objects"
            )
        if entry.row > _MOST_NAMES:
            raise UsageError(f"a list with names has at most {_MOST_NAMES} entries")
        found = self._names.find(entry.text)
        if found is None:
            raise UsageError(f"entry {entry.row}: the name service does not know {entry.text[:60]!r}")
        return found.ra_deg, found.dec_deg
