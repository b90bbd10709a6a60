"""Tables that people keep here, as everything above the store sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from skydesk_portal.models.tables import ColumnInfo, TableInfo

__all__ = ["UserTable", "find_position", "schema_of"]

_POSITIONS = (
    ("ra", "dec"),
    ("coord_ra", "coord_dec"),
    ("s_ra", "s_dec"),
    ("ra_deg", "dec_deg"),
    ("raj2000", "dej2000"),
    ("ra_icrs", "de_icrs"),
)
_NUMBERS = {"float", "double"}


def schema_of(owner: str) -> str:
    """Return the schema of a person's tables.

    User names have no underscore, so that no two of them share a schema.
    """
    return "user_" + owner.replace("-", "_")


def find_position(columns: Sequence[ColumnInfo]) -> tuple[str, str] | None:
    """Find the columns that hold the position of a row.

    Parameters
    ----------
    columns
        Columns of a table.

    Returns
    -------
    tuple of str or None
        Right ascension and declination, by UCD or by usual names; `None` if
        there are none or several.
    """
    numbers = [column for column in columns if column.datatype in _NUMBERS and not column.arraysize]
    for suffix in (";meta.main", ""):
        ra = [c.name for c in numbers if c.ucd.lower() == f"pos.eq.ra{suffix}"]
        dec = [c.name for c in numbers if c.ucd.lower() == f"pos.eq.dec{suffix}"]
        if len(ra) == len(dec) == 1:
            return ra[0], dec[0]
    named = {column.name.lower(): column.name for column in numbers}
    found = [(named[ra], named[dec]) for ra, dec in _POSITIONS if ra in named and dec in named]
    return found[0] if found else None


@dataclass(frozen=True)
class UserTable:
    """One version of a table that a person keeps.

    Parameters
    ----------
    id, owner, name
        Identity of the table; the name is unique among the owner's in any case.
    version
        Grows by one with every change of the rows.
    columns
        Columns in order.
    parts
        Names of the files that hold the rows.
    rows, size_bytes
        How much there is.
    created, changed
        Instants in UTC.
    description
        In the owner's words.
    ra_column, dec_column
        Position in degrees (ICRS), if the rows have one.
    has_index
        Whether the files carry ``hp29`` and ``hp14``.
    sorted_by
        Column whose index was asked for last.
    unique
        Whether the values of that column are all different.
    users, groups
        Who may read it besides the owner.
    dropped
        When it was dropped; such a table can only be restored.
    """

    id: str
    owner: str
    name: str
    version: int
    columns: tuple[ColumnInfo, ...]
    parts: tuple[str, ...]
    rows: int
    size_bytes: int
    created: datetime
    changed: datetime
    description: str = ""
    ra_column: str | None = None
    dec_column: str | None = None
    has_index: bool = False
    sorted_by: str | None = None
    unique: bool = False
    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    dropped: datetime | None = None

    @property
    def full_name(self) -> str:
        """Name with its schema, as queries write it."""
        return f"{schema_of(self.owner)}.{self.name}"

    @property
    def key(self) -> str:
        """Name of this version in the engine."""
        return f"table_{self.id}_{self.version}"

    def to_info(self) -> TableInfo:
        """Return the description that queries and TAP_SCHEMA use."""
        shown = {self.sorted_by} | ({self.ra_column, self.dec_column} if self.has_index else set())
        columns = tuple(
            ColumnInfo(**{**asdict(column), "indexed": column.name in shown}) for column in self.columns
        )
        return TableInfo(
            schema_of(self.owner),
            self.name,
            columns,
            (self.key,),
            description=self.description,
            rows=self.rows,
            ra_column=self.ra_column,
            dec_column=self.dec_column,
            has_index=self.has_index,
        )

    def to_document(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        document = asdict(self)
        for name in ("created", "changed", "dropped"):
            value = document[name]
            document[name] = None if value is None else value.timestamp()
        return document

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> UserTable:
        """Read what `to_document` wrote."""
        given = dict(document)
        for name in ("created", "changed", "dropped"):
            value = given[name]
            given[name] = None if value is None else datetime.fromtimestamp(value, UTC)
        given["columns"] = tuple(ColumnInfo(**column) for column in given["columns"])
        for name in ("parts", "users", "groups"):
            given[name] = tuple(given[name])
        return cls(**given)
