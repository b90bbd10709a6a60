"""A table as one SQLite file: the rows, what the columns mean, and how the query ended."""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa

from skydesk_portal.models.tables import ColumnInfo
from skydesk_portal.vo.votable import arrow_type, to_declared

__all__ = ["SqliteWriter"]

_PART_BYTES = 1 << 20
_METADATA = ("datatype", "arraysize", "xtype", "unit", "ucd", "utype", "description")


def _unique_names(columns: tuple[ColumnInfo, ...]) -> list[str]:
    # SQLite does not tell upper from lower case.
    names: list[str] = []
    for column in columns:
        name, number = column.name, 2
        while name.lower() in {other.lower() for other in names}:
            name, number = f"{column.name}_{number}", number + 1
        names.append(name)
    return names


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _affinity(column: ColumnInfo) -> str:
    kind = arrow_type(column)
    if pa.types.is_floating(kind):
        return "REAL"
    return "INTEGER" if pa.types.is_integer(kind) or pa.types.is_boolean(kind) else "TEXT"


class SqliteWriter:
    """Writes the tables ``results``, ``columns`` and ``info`` into a file and then hands that on.

    Parameters
    ----------
    columns
        Declared columns.
    infos
        Facts about the query, kept in ``info``.
    spool
        Folder for the file; the system's own by default.
    """

    tells_errors = False

    def __init__(self, columns: tuple[ColumnInfo, ...], infos: Mapping[str, str], spool: Path | None) -> None:
        self.columns = columns
        self._folder = tempfile.TemporaryDirectory(prefix="sqlite-", dir=spool)
        self._path = Path(self._folder.name) / "table.sqlite"
        # The threads that read the stream take turns.
        self._db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        # Nobody needs half of the file, so that there is nothing to recover.
        self._db.execute("PRAGMA journal_mode=OFF")
        self._db.execute("PRAGMA synchronous=OFF")
        self._db.execute("BEGIN")
        names = _unique_names(columns)
        declared = ", ".join(f"{_quote(n)} {_affinity(c)}" for n, c in zip(names, columns, strict=True))
        self._db.execute(f"CREATE TABLE results ({declared})")
        self._db.execute(
            f"CREATE TABLE columns (position INTEGER PRIMARY KEY, name TEXT, {', '.join(f'{k} TEXT' for k in _METADATA)})"
        )
        self._db.execute("CREATE TABLE info (name TEXT, value TEXT)")
        self._db.executemany(
            f"INSERT INTO columns VALUES (?, ?, {', '.join('?' * len(_METADATA))})",
            [
                (i, name, *(getattr(column, key) or None for key in _METADATA))
                for i, (name, column) in enumerate(zip(names, columns, strict=True), 1)
            ],
        )
        self._db.executemany("INSERT INTO info VALUES (?, ?)", infos.items())
        self._insert = f"INSERT INTO results VALUES ({', '.join('?' * len(columns))})"

    def begin(self) -> bytes:
        """Return nothing: the file is handed on when it is whole."""
        return b""

    def rows(self, batch: pa.RecordBatch) -> bytes:
        """Keep some rows."""
        cells = []
        for array in to_declared(batch, self.columns).columns:
            values = array.to_pylist()
            if pa.types.is_list(array.type):
                values = [None if value is None else json.dumps(value) for value in values]
            cells.append(values)
        self._db.executemany(self._insert, zip(*cells, strict=True))
        return b""

    def finish(self, *, overflow: bool = False, error: str | None = None) -> Iterator[bytes]:
        """Go through the whole file."""
        self._db.execute("INSERT INTO info VALUES ('QUERY_STATUS', ?)", ("OVERFLOW" if overflow else "OK",))
        self._db.execute("COMMIT")
        self._db.close()
        with self._path.open("rb") as file:
            while part := file.read(_PART_BYTES):
                yield part

    def close(self) -> None:
        """Remove the file."""
        self._db.close()
        self._folder.cleanup()
