"""What a release says about its tables: plain descriptions that cost nothing to load."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from skydesk_core.errors import DataError, NotFoundError

__all__ = ["ColumnInfo", "ForeignKeyInfo", "ReleaseSchema", "TableInfo"]


@dataclass(frozen=True)
class ColumnInfo:
    """One published column.

    Parameters
    ----------
    name
        Name in the Rubin Science Data Model.
    datatype
        VOTable data type (``long``, ``double``, ``float``, ``int``, ``short``, ``boolean``, ``char``).
    arraysize
        VOTable array size of strings (``"12*"``, ``"1"``, ``"*"``), otherwise None.
    unit, ucd, utype
        VOUnit, IVOA UCD1+ and utype, each None when there is none.
    description
        One sentence for people.
    principal, indexed, std
        The TAP_SCHEMA flags of the same names.
    xtype
        DALI extended type (``timestamp``, ``adql:REGION``), otherwise None.
    sdm_datatype
        Name of the type in Felis (``long``, ``string``, ``timestamp``, …).
    """

    name: str
    datatype: str
    arraysize: str | None = None
    unit: str | None = None
    ucd: str | None = None
    utype: str | None = None
    description: str = ""
    principal: bool = False
    indexed: bool = False
    std: bool = False
    xtype: str | None = None
    sdm_datatype: str = ""


@dataclass(frozen=True)
class ForeignKeyInfo:
    """A relation from columns of one table to columns of another one in the same release."""

    name: str
    columns: tuple[str, ...]
    target_table: str
    target_columns: tuple[str, ...]
    description: str = ""


@dataclass(frozen=True)
class TableInfo:
    """One published table with its columns in SDM order."""

    name: str
    description: str
    columns: tuple[ColumnInfo, ...]
    primary_key: tuple[str, ...] = ()
    foreign_keys: tuple[ForeignKeyInfo, ...] = ()
    indexes: tuple[tuple[str, ...], ...] = ()
    utype: str | None = None
    table_index: int = 0
    ra_column: str | None = None
    dec_column: str | None = None
    bands: tuple[str, ...] = field(default=())

    def column(self, name: str) -> ColumnInfo:
        """Return the column of that exact name.

        Raises
        ------
        NotFoundError
            If the table has no such column.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise NotFoundError(f"table {self.name} has no column {name!r}")

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of the columns, in order."""
        return tuple(c.name for c in self.columns)


@dataclass(frozen=True)
class ReleaseSchema:
    """All tables of one release.

    Parameters
    ----------
    name
        Name of the release, which is its schema name in TAP.
    description
        One sentence for people.
    tables
        The tables in the order in which they should be listed.
    """

    name: str
    description: str
    tables: tuple[TableInfo, ...]

    def __iter__(self) -> Iterator[TableInfo]:
        return iter(self.tables)

    def __contains__(self, name: object) -> bool:
        return any(t.name == name for t in self.tables)

    def table(self, name: str) -> TableInfo:
        """Return the table of that exact name.

        Raises
        ------
        NotFoundError
            If the release has no such table.
        """
        for table in self.tables:
            if table.name == name:
                return table
        raise NotFoundError(f"release {self.name} has no table {name!r}")

    def to_json(self) -> str:
        """Serialise to the text of ``schema.json`` (version 1)."""
        return json.dumps({"version": 1, **asdict(self)}, indent=1, ensure_ascii=False)

    @staticmethod
    def read(path: Path) -> ReleaseSchema:
        """Read ``schema.json``, the quick form of ``schema.yaml``.

        Raises
        ------
        DataError
            If the file is missing or is not of version 1.
        """
        try:
            tree = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise DataError(f"{path}: the release's schema cannot be read ({error.strerror})") from error
        except ValueError as error:
            raise DataError(f"{path}: not JSON: {error}") from error
        if tree.get("version") != 1:
            raise DataError(f"{path}: schema version {tree.get('version')!r} is not known, need 1")
        return ReleaseSchema(
            tree["name"], tree["description"], tuple(_table_from_tree(t) for t in tree["tables"])
        )


def _table_from_tree(tree: Mapping[str, Any]) -> TableInfo:
    def pairs(items: Iterable[Iterable[str]]) -> tuple[tuple[str, ...], ...]:
        return tuple(tuple(i) for i in items)

    keys = tuple(
        ForeignKeyInfo(
            k["name"],
            tuple(k["columns"]),
            k["target_table"],
            tuple(k["target_columns"]),
            k["description"],
        )
        for k in tree["foreign_keys"]
    )
    return TableInfo(
        name=tree["name"],
        description=tree["description"],
        columns=tuple(ColumnInfo(**c) for c in tree["columns"]),
        primary_key=tuple(tree["primary_key"]),
        foreign_keys=keys,
        indexes=pairs(tree["indexes"]),
        utype=tree["utype"],
        table_index=tree["table_index"],
        ra_column=tree["ra_column"],
        dec_column=tree["dec_column"],
        bands=tuple(tree["bands"]),
    )
