"""DuckDB as the query engine: releases attached read-only, everything else locked."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds

from skydesk_portal.exceptions import PortalError, QueryError, QueryTimeoutError, TooLargeError
from skydesk_portal.log import get_logger
from skydesk_portal.models.estimate import Expectation
from skydesk_portal.models.tables import TableInfo
from skydesk_portal.storage.cells import cells_around
from skydesk_portal.storage.duckdb_functions import register_functions
from skydesk_portal.storage.engine import EngineCapabilities, EngineChoice
from skydesk_portal.storage.estimate import expect
from skydesk_portal.storage.spill import SpillFolder

__all__ = ["DuckdbEngine", "DuckdbQuery"]

BATCH_ROWS = 50_000
CAPABILITIES = EngineCapabilities("indexed")
_BATCH_VALUES = 4_000_000
_TEXT_ROWS = 2048
_TEXT_BYTES = 50_000
_TOO_LONG = "skydesk: a row with too much text"


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _size_of(name: str, kind: str) -> str | None:
    """Return the expression for the bytes of a value, `None` for types of a fixed size."""
    column = _quote(name)
    if kind == "VARCHAR":
        return f"coalesce(strlen({column}), 0)"
    if kind == "BLOB":
        return f"coalesce(octet_length({column}), 0)"
    return f"coalesce(8 * len({column}), 0)" if kind.endswith("[]") else None


def _bound_rows(sql: str, sizes: list[tuple[str, str]]) -> str:
    """Let a query fail when a row is longer than any batch of such rows may be."""
    total, first = " + ".join(size for _, size in sizes), _quote(sizes[0][0])
    return (
        f"SELECT * REPLACE (CASE WHEN {total} > {_TEXT_BYTES} THEN error('{_TOO_LONG}') ELSE {first} END AS {first}) "
        f"FROM ({sql}) AS answer"
    )


def explain_failure(error: duckdb.Error) -> PortalError:
    """Turn an engine error into one that says what the user can do and shows nothing of the engine."""
    if isinstance(error, duckdb.OutOfMemoryException):
        return TooLargeError(
            "the query needs more memory than one query may use: restrict it or select fewer columns"
        )
    if _TOO_LONG in str(error):
        return TooLargeError(
            f"a row of the answer has more than {_TEXT_BYTES} bytes of text or numbers in arrays"
        )
    if isinstance(error, duckdb.ConversionException):
        return QueryError(
            "a value cannot be converted to the type that the query compares it with or casts it to"
        )
    if isinstance(error, duckdb.OutOfRangeException):
        return QueryError("a number in the query leaves the range of its type")
    if "More than one row returned by a subquery" in str(error):
        return QueryError("a sub-query used as a value gave more than one row")
    if isinstance(
        error,
        duckdb.BinderException
        | duckdb.ParserException
        | duckdb.CatalogException
        | duckdb.InvalidInputException,
    ):
        get_logger().warning("query refused by the engine", error=str(error)[:500])
        return QueryError("the types of an expression do not fit, or a column is used where it cannot be")
    get_logger().error("engine failure", kind=type(error).__name__, error=str(error)[:500])
    return PortalError("the query failed inside the engine")


class DuckdbQuery:
    """One running query on its own connection."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection, timeout_s: float) -> None:
        self._cursor = cursor
        self._stop: str | None = None
        self._done = False
        self._timeout_s = timeout_s
        self._timer: threading.Timer | None = None
        self._reader: Any = None

    def run(self, sql: str) -> None:
        """Begin; returns when the first rows can be read."""
        if self._timeout_s > 0:
            self._timer = threading.Timer(self._timeout_s, self._interrupt, ("timeout",))
            self._timer.daemon = True
            self._timer.start()
        try:
            if self._stop:
                raise self._stopped()
            relation = self._cursor.sql(sql)
            sizes = [
                (name, size)
                for name, kind in zip(relation.columns, relation.types, strict=True)
                if (size := _size_of(name, str(kind))) is not None
            ]
            # A batch of very many columns, or of long texts, would not fit into memory.
            rows = min(BATCH_ROWS, _BATCH_VALUES // max(1, len(relation.columns)))
            if sizes and not sql.startswith("EXPLAIN"):
                relation, rows = self._cursor.sql(_bound_rows(sql, sizes)), min(rows, _TEXT_ROWS)
            self._reader = relation.to_arrow_reader(rows)
        except duckdb.Error as error:
            self.close()
            raise self._explain(error) from error
        except PortalError:
            self.close()
            raise

    @property
    def schema(self) -> pa.Schema:
        """Columns of the answer."""
        return self._reader.schema

    @property
    def engine(self) -> str:
        """Name of the engine that answers."""
        return CAPABILITIES.name

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Go through the rows in batches.

        Yields
        ------
        pyarrow.RecordBatch
            Rows as the engine types them.

        Raises
        ------
        QueryTimeoutError
            If it ran too long or was cancelled.
        PortalError
            If the engine fails.
        """
        try:
            for batch in self._reader:
                if self._stop:
                    raise self._stopped()
                if batch.num_rows:
                    yield batch
        except duckdb.Error as error:
            raise self._explain(error) from error
        except (pa.ArrowException, OSError) as error:
            # The reader wraps the engine's errors in Arrow's.
            if self._stop:
                raise self._stopped() from error
            raise explain_failure(_unwrap(error)) from error

    def _stopped(self) -> PortalError:
        if self._stop == "timeout":
            return QueryTimeoutError(
                f"the query was stopped after {self._timeout_s:g} s; run it as a job or restrict it"
            )
        return QueryTimeoutError("the query was aborted")

    def _explain(self, error: duckdb.Error) -> PortalError:
        if self._stop or isinstance(error, duckdb.InterruptException):
            return self._stopped()
        return explain_failure(error)

    def _interrupt(self, reason: str) -> None:
        self._stop = self._stop or reason
        # An interrupt that arrives between two steps of the engine is forgotten, so it is repeated.
        for _ in range(200):
            if self._done:
                return
            with suppress(
                duckdb.ConnectionException
            ):  # closed between the two lines: there is nothing to stop
                self._cursor.interrupt()
            time.sleep(0.02)

    def cancel(self) -> None:
        """Stop the query from another thread."""
        self._stop = "abort"
        threading.Thread(target=self._interrupt, args=("abort",), daemon=True).start()

    def close(self) -> None:
        """Give back the connection."""
        self._done = True
        if self._timer is not None:
            self._timer.cancel()
        if self._reader is not None:
            self._reader.close()
        self._cursor.close()


def _unwrap(error: BaseException) -> duckdb.Error:
    text = str(error)
    for word, kind in (
        ("Conversion Error", duckdb.ConversionException),
        ("Out of Range", duckdb.OutOfRangeException),
        ("Out of Memory", duckdb.OutOfMemoryException),
        ("INTERRUPT", duckdb.InterruptException),
    ):
        if word in text:
            return kind(text)
    return duckdb.Error(text)


class DuckdbEngine:
    """An in-memory DuckDB with releases attached.

    Parameters
    ----------
    releases
        Catalogue files by the name under which they are attached.
    threads, memory_mb
        Limits of the whole engine.
    spill
        Folder for what does not fit into memory; `None` forbids that.
    """

    def __init__(
        self,
        releases: Mapping[str, Path],
        *,
        threads: int = 2,
        memory_mb: int = 1200,
        spill: SpillFolder | None = None,
    ) -> None:
        config: dict[str, str | bool | int | float | list[str]] = {
            "threads": threads,
            "memory_limit": f"{memory_mb}MB",
            # What a query has given back goes to the system within a second, not to the next query.
            "allocator_background_threads": True,
            "allocator_flush_threshold": "16MB",
            "python_enable_replacements": False,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "temp_directory": str(spill.path) if spill is not None else "",
        }
        self._spill = spill
        self._connection = duckdb.connect(":memory:", config=config)
        if spill is not None:
            # As part of the configuration this limit is shown, but not kept.
            self._connection.execute(f"SET max_temp_directory_size = '{spill.limit_mb}MB'")
        self._lock = threading.Lock()
        for name, path in releases.items():
            try:
                self._connection.execute(
                    f"ATTACH '{str(path).replace(chr(39), chr(39) * 2)}' AS {_quote(name)} (READ_ONLY)"
                )
            except duckdb.Error as error:
                self._connection.close()
                raise PortalError(f"{path}: the catalogue file of release {name} cannot be opened") from error
        register_functions(self._connection)
        self._connection.create_function(
            "skydesk_cells", cells_around, ["DOUBLE", "DOUBLE", "INTEGER"], "BIGINT[]", type="arrow"
        )  # type: ignore[call-overload]
        for setting in ("enable_external_access=false", "lock_configuration=true"):
            self._connection.execute(f"SET {setting}")

    @property
    def capabilities(self) -> EngineCapabilities:
        """Everything that the front end can translate."""
        return CAPABILITIES

    def choose(self, sql: str, uploads: Collection[str] = ()) -> EngineChoice:
        """Tell that this engine answers every query.

        Parameters
        ----------
        sql, uploads
            The query and the tables that come with it.
        """
        return EngineChoice(CAPABILITIES)

    def expect(
        self,
        sql: str,
        uploads: Mapping[str, pa.Table | ds.Dataset],
        tables: Mapping[tuple[str, ...], TableInfo],
    ) -> Expectation:
        """Read from the engine's plan what a query would read and give.

        Parameters
        ----------
        sql
            SQL that the front end made.
        uploads
            Tables by their name in the SQL.
        tables
            What is known of the tables, by their name in the engine.
        """
        return expect(self, sql, uploads, tables)

    def provide(self, tables: tuple[TableInfo, ...], content: Mapping[str, pa.Table]) -> None:
        """Keep small tables of the platform under the sources their descriptions name.

        Parameters
        ----------
        tables
            Descriptions with a source ``("memory", schema, name)``.
        content
            Rows by full name of the table.
        """
        with self._lock:
            cursor = self._connection.cursor()
            try:
                for table in tables:
                    _, schema, name = table.source
                    cursor.execute(f"CREATE SCHEMA IF NOT EXISTS memory.{_quote(schema)}")
                    cursor.register("provided", content[table.full_name])
                    cursor.execute(
                        f"CREATE OR REPLACE TABLE memory.{_quote(schema)}.{_quote(name)} AS SELECT * FROM provided"
                    )
                    cursor.unregister("provided")
            finally:
                cursor.close()

    def provide_view(self, schema: str, name: str, sql: str) -> None:
        """Keep a view.

        Parameters
        ----------
        schema, name
            Where it goes, in the in-memory database.
        sql
            What it selects; of the platform's own making.
        """
        with self._lock:
            cursor = self._connection.cursor()
            try:
                cursor.execute(f"CREATE SCHEMA IF NOT EXISTS memory.{_quote(schema)}")
                cursor.execute(f"CREATE OR REPLACE VIEW memory.{_quote(schema)}.{_quote(name)} AS {sql}")
            finally:
                cursor.close()

    def start(
        self,
        sql: str,
        *,
        timeout_s: float,
        uploads: Mapping[str, pa.Table | ds.Dataset] | None = None,
        on_start: Callable[[Callable[[], None]], None] | None = None,
    ) -> DuckdbQuery:
        """Run a query.

        Parameters
        ----------
        sql
            SQL that the front end made.
        timeout_s
            When to stop it; 0 means never.
        uploads
            Tables by their name in the SQL; other queries do not see them.
        on_start
            Given what stops the query, before it begins.

        Returns
        -------
        DuckdbQuery
            The query, ready to be read.

        Raises
        ------
        QueryError
            If the engine does not accept it.
        """
        cursor = self._connection.cursor()
        for name, table in (uploads or {}).items():
            cursor.register(name, table)
        query = DuckdbQuery(cursor, timeout_s)
        if on_start is not None:
            on_start(query.cancel)
        query.run(sql)
        return query

    def close(self) -> None:
        """Stop everything."""
        self._connection.interrupt()
        self._connection.close()
        if self._spill is not None:
            self._spill.close()
