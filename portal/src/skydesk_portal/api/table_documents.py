"""What the addresses of people's tables take and give, as JSON."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from skydesk_portal.models.identity import Identity
from skydesk_portal.models.tables import ColumnInfo
from skydesk_portal.models.user_tables import UserTable

__all__ = [
    "ColumnChange",
    "ColumnDocument",
    "IndexRequest",
    "NewTable",
    "Position",
    "Shares",
    "TableChange",
    "TableDocument",
    "TableList",
    "describe_table",
]


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Position(_Document):
    """The columns of the position of a row, in degrees (ICRS)."""

    ra: str = Field(max_length=128)
    """Column of the right ascension."""

    dec: str = Field(max_length=128)
    """Column of the declination."""


class ColumnDocument(_Document):
    """One column."""

    name: str = Field(max_length=128)
    """Name as queries write it."""

    datatype: str = Field(pattern="^(boolean|short|int|long|float|double|char)$")
    """VOTable type."""

    unit: str = Field("", max_length=200)
    """Unit (VOUnits)."""

    ucd: str = Field("", max_length=200)
    """UCD."""

    utype: str = Field("", max_length=200)
    """Utype."""

    description: str = Field("", max_length=4000)
    """In the owner's words."""

    arraysize: str | None = Field(None, max_length=20)
    """VOTable arraysize; in requests it is left out."""

    indexed: bool = False
    """Whether values are found quickly; in requests it is left out."""


class ColumnChange(_Document):
    """What is said anew about a column."""

    unit: str | None = Field(None, max_length=200)
    """Unit (VOUnits)."""

    ucd: str | None = Field(None, max_length=200)
    """UCD."""

    utype: str | None = Field(None, max_length=200)
    """Utype."""

    description: str | None = Field(None, max_length=4000)
    """In the owner's words."""


class Shares(_Document):
    """Who may read a table besides its owner."""

    users: list[str] = Field(default=[], max_length=200)
    """Names of users."""

    groups: list[str] = Field(default=[], max_length=200)
    """Names of groups."""


class TableDocument(_Document):
    """A table."""

    name: str
    """Name with its schema, as queries write it."""

    owner: str
    """Who keeps it."""

    version: int
    """Grows with every change."""

    description: str
    """In the owner's words."""

    rows: int
    """Number of rows."""

    size_bytes: int
    """What its files take."""

    created: datetime
    """When it was made."""

    changed: datetime
    """When its rows changed last."""

    columns: list[ColumnDocument]
    """Columns in order."""

    position: Position | None
    """Columns of the position, if rows have one; then cones and joins by position are quick."""

    shared: Shares | None
    """Who may read it; only its owner is told."""

    dropped: datetime | None
    """When it was dropped."""


class TableList(_Document):
    """All tables of a caller."""

    version: int = 1
    """Version of this document."""

    schema_name: str
    """Schema of the caller's own tables."""

    used_bytes: int
    """What they take."""

    limit_bytes: int
    """What they may take."""

    tables: list[TableDocument]
    """Tables that the caller may read: the own ones and those shared by others."""

    dropped: list[TableDocument]
    """Own tables that can be restored, the last dropped first."""


class NewTable(_Document):
    """A table to be made, from exactly one of a query, an address or a list of columns."""

    name: str = Field(max_length=128)
    """Its name."""

    description: str = Field("", max_length=4000)
    """In the owner's words."""

    query: str | None = Field(None, max_length=1_000_000)
    """ADQL; the table gets the columns and rows of its answer."""

    source: str | None = Field(None, max_length=2000)
    """Address here of a result of an own job or of an own file."""

    columns: list[ColumnDocument] | None = Field(None, max_length=2000)
    """Columns of a table without rows."""

    position: Position | None = None
    """Columns of the position; found by UCD or name if left out."""

    replace: bool = False
    """Put it in the place of a table of that name."""


class TableChange(_Document):
    """What is said anew about a table."""

    description: str | None = Field(None, max_length=4000)
    """In the owner's words."""

    columns: dict[str, ColumnChange] = {}
    """By name of the column."""

    position: Position | None = None
    """Columns of the position; the rows are sorted anew."""


class IndexRequest(_Document):
    """A column whose values shall be found quickly."""

    column: str = Field(max_length=128)
    """The column; one of the position's sorts by place on the sky."""

    unique: bool = False
    """Refuse if values repeat."""


def _column(column: ColumnInfo) -> ColumnDocument:
    return ColumnDocument(
        name=column.name,
        datatype=column.datatype,
        arraysize=column.arraysize,
        unit=column.unit,
        ucd=column.ucd,
        utype=column.utype,
        description=column.description,
        indexed=column.indexed,
    )


def describe_table(table: UserTable, identity: Identity) -> TableDocument:
    """Return what a caller is told about a table."""
    place = None
    if table.ra_column and table.dec_column:
        place = Position(ra=table.ra_column, dec=table.dec_column)
    mine = table.owner == identity.name
    return TableDocument(
        name=table.full_name,
        owner=table.owner,
        version=table.version,
        description=table.description,
        rows=table.rows,
        size_bytes=table.size_bytes,
        created=table.created,
        changed=table.changed,
        columns=[_column(column) for column in table.to_info().columns],
        position=place,
        shared=Shares(users=list(table.users), groups=list(table.groups)) if mine else None,
        dropped=table.dropped,
    )
