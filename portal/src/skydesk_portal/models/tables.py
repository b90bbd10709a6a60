"""Description of the tables that queries may name, in the terms of TAP_SCHEMA."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

__all__ = ["Catalog", "ColumnInfo", "ForeignKey", "SchemaInfo", "TableInfo", "written_name"]


def written_name(column: str) -> str:
    """Return the name of a column as TAP 1.1 publishes it: reserved words in quotes."""
    return f'"{column}"' if column.upper() in _RESERVED else column


_RESERVED = frozenset({"SIZE", "SCHEMA", "TABLE", "COLUMN", "KEY", "ORDER", "GROUP", "TIME", "DATE", "VALUE"})


@dataclass(frozen=True)
class ColumnInfo:
    """One column of a table or of a result.

    Parameters
    ----------
    name
        Name as users write it.
    datatype, arraysize, xtype
        VOTable type; ``arraysize`` is `None` for a scalar, ``*`` for variable length.
    unit, ucd, utype, description
        VOTable metadata, empty when unknown.
    principal, indexed, std
        TAP_SCHEMA flags.
    """

    name: str
    datatype: str
    arraysize: str | None = None
    xtype: str = ""
    unit: str = ""
    ucd: str = ""
    utype: str = ""
    description: str = ""
    principal: bool = False
    indexed: bool = False
    std: bool = False


@dataclass(frozen=True)
class ForeignKey:
    """A relation to another table."""

    target: str
    columns: tuple[tuple[str, str], ...]
    """Pairs of own column and column of the target."""
    description: str = ""


@dataclass(frozen=True)
class TableInfo:
    """One table that queries may name.

    Parameters
    ----------
    schema, name
        Parts of the name as users write it.
    columns
        Columns in order.
    source
        Where the engine finds it: names from the outside in, such as
        ``("demo", "main", "Object")``; empty for the union over releases.
    kind
        TAP_SCHEMA's ``table_type``.
    release
        Release that the table belongs to, empty for tables of the platform.
    rows
        Number of rows, `None` when unknown.
    ra_column, dec_column
        Position in degrees (ICRS) that the spatial index is built on.
    has_index
        Whether the stored table has the columns ``hp29`` and ``hp14``.
    foreign_keys
        Relations to other tables.
    """

    schema: str
    name: str
    columns: tuple[ColumnInfo, ...]
    source: tuple[str, ...] = ()
    kind: str = "table"
    release: str = ""
    description: str = ""
    utype: str = ""
    rows: int | None = None
    ra_column: str | None = None
    dec_column: str | None = None
    has_index: bool = False
    foreign_keys: tuple[ForeignKey, ...] = ()

    @property
    def full_name(self) -> str:
        """Name with its schema, as users write it."""
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True)
class SchemaInfo:
    """One schema of tables."""

    name: str
    description: str = ""
    utype: str = ""
    tables: tuple[TableInfo, ...] = ()


@dataclass(frozen=True)
class Catalog:
    """All tables that one caller may name."""

    schemas: tuple[SchemaInfo, ...] = ()
    _by_name: dict[str, TableInfo] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        self._by_name.update({table.full_name.lower(): table for table in self.iter_tables()})

    def iter_tables(self) -> Iterator[TableInfo]:
        """Go through all tables, schema by schema.

        Yields
        ------
        TableInfo
            One table after the other.
        """
        for schema in self.schemas:
            yield from schema.tables

    def find_table(self, full_name: str) -> TableInfo | None:
        """Look up a table by its name with schema, in any case.

        Parameters
        ----------
        full_name
            ``schema.table``.

        Returns
        -------
        TableInfo or None
            The table, `None` if there is none of that name.
        """
        return self._by_name.get(full_name.lower())
