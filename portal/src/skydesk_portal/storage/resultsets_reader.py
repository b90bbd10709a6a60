"""Reading one kept result: views over its rows, pages of them, and whole columns as arrays on disk."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from skydesk_portal.exceptions import NotFoundError
from skydesk_portal.models.resultsets import ROW_NUMBER
from skydesk_portal.storage.cells import cells_around
from skydesk_portal.storage.duckdb_engine import explain_failure
from skydesk_portal.storage.duckdb_functions import register_functions

__all__ = ["CHOSEN", "ResultCursor", "ResultDatabase"]

CHOSEN = "chosen"
"""Temporary table with the numbers of chosen rows."""

_BATCH_ROWS = 500_000


class ResultDatabase:
    """The file of one result, opened for reading alone.

    Parameters
    ----------
    path
        The file.
    threads, memory_mb
        Limits of all that is done with it.
    spill_mb
        Disk for what does not fit into memory, such as the order of very many rows; beside the file.

    Raises
    ------
    NotFoundError
        If it is gone.
    """

    def __init__(self, path: Path, threads: int, memory_mb: int, spill_mb: int) -> None:
        config: dict[str, str | bool | int | float | list[str]] = {
            "threads": threads,
            "memory_limit": f"{memory_mb}MB",
            "temp_directory": str(path.with_name("spill")) if spill_mb else "",
            "python_enable_replacements": False,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
        try:
            self._connection = duckdb.connect(str(path), read_only=True, config=config)
        except duckdb.Error as error:
            raise NotFoundError("this result is not kept any more: run the query again") from error
        if spill_mb:
            # As part of the configuration this limit is shown, but not kept.
            self._connection.execute(f"SET max_temp_directory_size = '{spill_mb}MB'")
        register_functions(self._connection)
        self._connection.create_function(
            "skydesk_cells", cells_around, ["DOUBLE", "DOUBLE", "INTEGER"], "BIGINT[]", type="arrow"
        )  # type: ignore[call-overload]
        for setting in ("enable_external_access=false", "lock_configuration=true"):
            self._connection.execute(f"SET {setting}")

    def open_cursor(self) -> ResultCursor:
        """Return a way in with views and chosen rows of its own."""
        return ResultCursor(self, self._connection.cursor())


class ResultCursor:
    """One reader of a result; may be used from several threads, one after the other."""

    def __init__(self, database: ResultDatabase, cursor: duckdb.DuckDBPyConnection) -> None:
        # The database lives as long as somebody reads it.
        self._database = database
        self._cursor = cursor
        # Not one that belongs to a thread: a web server takes each part of a document in whichever is free.
        self._lock = threading.Lock()

    def define(self, name: str, sql: str) -> None:
        """Make a view that only this reader sees."""
        with self._lock:
            try:
                self._cursor.execute(f'CREATE OR REPLACE TEMP VIEW "{name}" AS {sql}')
            except duckdb.Error as error:
                raise explain_failure(error) from error

    def choose(self, rows: NDArray[np.integer[Any]]) -> None:
        """Set the numbers of the chosen rows."""
        with self._lock:
            self._cursor.register("choosing", pa.table({"id": pa.array(rows.astype(np.int64, copy=False))}))
            try:
                self._cursor.execute(f"CREATE OR REPLACE TEMP TABLE {CHOSEN} AS SELECT id FROM choosing")
            except duckdb.Error as error:
                raise explain_failure(error) from error
            finally:
                self._cursor.unregister("choosing")

    def fetch(self, sql: str) -> pa.Table:
        """Return all rows of a query."""
        with self._lock:
            try:
                return self._cursor.sql(sql).to_arrow_table()
            except duckdb.Error as error:
                raise explain_failure(error) from error

    def fetch_rows(self, source: str, numbers: NDArray[np.integer[Any]]) -> pa.Table:
        """Return rows of a view by their numbers, in that order.

        Parameters
        ----------
        source
            Name of the view; it has the column `ROW_NUMBER`.
        numbers
            Numbers of the rows, a few.
        """
        listed = ",".join(map(str, numbers.tolist()))
        found = self.fetch(
            f'SELECT * FROM "{source}" WHERE "{ROW_NUMBER}" IN (SELECT unnest([{listed}]::BIGINT[]))'
        )
        place = {int(n): i for i, n in enumerate(found.column(ROW_NUMBER).to_pylist())}
        return found.take(pa.array([place[int(n)] for n in numbers if int(n) in place], pa.int64()))

    def stream(self, sql: str) -> Iterator[pa.RecordBatch]:
        """Go through the rows of a query; the reader is taken until the end.

        Yields
        ------
        pyarrow.RecordBatch
            Rows as the engine types them.
        """
        with self._lock:
            try:
                yield from self._cursor.sql(sql).to_arrow_reader(_BATCH_ROWS)
            except duckdb.Error as error:
                raise explain_failure(error) from error

    def extract(self, sql: str, path: Path, kind: type[np.generic]) -> NDArray[Any]:
        """Write the one column of a query to a file, once, and map it into memory.

        Parameters
        ----------
        sql
            A query with one column of numbers.
        path
            Where the values go; when the file exists it is taken as it is.
        kind
            Type of the values; nulls become NaN in types that have it.

        Returns
        -------
        ndarray
            The values, in the order of the query, mapped read-only.
        """
        if not path.exists():
            part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
            try:
                with part.open("wb") as out:
                    for batch in self.stream(sql):
                        values = batch.column(0).to_numpy(zero_copy_only=False)
                        out.write(np.ascontiguousarray(values, dtype=kind).data)
                part.replace(path)
            except OSError as error:
                raise NotFoundError("this result is not kept any more: run the query again") from error
            finally:
                part.unlink(missing_ok=True)
        if path.stat().st_size == 0:
            return np.empty(0, kind)
        return np.memmap(path, dtype=kind, mode="r")

    def interrupt(self) -> None:
        """Stop what runs, from another thread."""
        self._cursor.interrupt()

    def close(self) -> None:
        """Give the reader back."""
        self._cursor.close()
