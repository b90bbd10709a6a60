"""Spark as the engine for what outgrows one machine: the parquet files of a release, read by a cluster.

The client speaks Spark Connect, so that no Java runs here. One session serves all queries of this process; each query
has a tag by which it is stopped. The server collects an answer before it sends it, so ``spark.driver.maxResultSize``
bounds what one query may return; here it arrives in batches.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.dataset as ds

from skydesk_portal.adql.engine_sql import UnreadableSqlError
from skydesk_portal.exceptions import (
    PortalError,
    QueryError,
    QueryTimeoutError,
    TooLargeError,
    UpstreamError,
)
from skydesk_portal.log import get_logger
from skydesk_portal.storage.engine import EngineCapabilities, UnsupportedQueryError
from skydesk_portal.storage.spark_connection import AWAY, SparkConnection, cancel_stragglers
from skydesk_portal.storage.spark_sql import SparkTable, UnsupportedSqlError, to_spark_sql
from skydesk_portal.storage.spark_values import CALLS

if TYPE_CHECKING:
    from pyspark.sql.connect.session import SparkSession

__all__ = ["SparkEngine", "SparkQuery"]

CAPABILITIES = EngineCapabilities("distributed", uploads=False, functions=frozenset(CALLS), indexed=False)
_INTERRUPT_S = 0.2
_INTERRUPTS = 150
_STRAGGLERS_S = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""When jobs are looked for that were submitted while their query was stopped."""

# Conditions of Spark (its error classes) in words that say what the user can do.
_REFUSED = {
    "ARITHMETIC_OVERFLOW": "a number in the query leaves the range of its type",
    "BINARY_ARITHMETIC_OVERFLOW": "a number in the query leaves the range of its type",
    "NUMERIC_VALUE_OUT_OF_RANGE": "a number in the query leaves the range of its type",
    "CAST_INVALID_INPUT": "a value cannot be converted to the type that the query compares it with or casts it to",
    "CAST_OVERFLOW": "a value cannot be converted to the type that the query compares it with or casts it to",
    "SCALAR_SUBQUERY_TOO_MANY_ROWS": "a sub-query used as a value gave more than one row",
}  # fmt: skip


def explain_failure(error: BaseException) -> PortalError:
    """Turn an error of the client into one that says what the user can do and shows nothing of the engine."""
    text = str(error)
    condition = getattr(error, "getCondition", lambda: None)() or ""
    for name, words in _REFUSED.items():
        if condition.startswith(name) or f"[{name}" in text:
            return QueryError(words)
    if "maxResultSize" in text:
        return TooLargeError(
            "the answer is larger than the distributed engine may collect: select fewer rows"
        )
    if "OutOfMemoryError" in text:
        return TooLargeError(
            "the query needs more memory than one query may use: restrict it or select fewer columns"
        )
    get_logger().error("distributed engine failure", kind=type(error).__name__, error=text[:500])
    if SparkConnection.is_lost(error):
        return UpstreamError(AWAY)
    return PortalError("the query failed inside the engine")


class SparkQuery:
    """One running query."""

    def __init__(self, session: SparkSession, sql: str, timeout_s: float) -> None:
        self._session = session
        self._sql = sql
        self._tag = f"skydesk-{uuid.uuid4().hex}"
        self._timeout_s = timeout_s
        self._timer: threading.Timer | None = None
        self._stop: str | None = None
        self._over = threading.Event()
        self._begun = False
        self._rows: Iterator[Any] = iter(())
        self._schema = pa.schema([])

    def run(self) -> None:
        """Begin; returns when the types of the answer are known.

        Raises
        ------
        UnsupportedQueryError
            If the server does not take the query.
        PortalError
            If it fails or is stopped.
        """
        from pyspark.errors import AnalysisException, ParseException

        if self._timeout_s > 0:
            self._timer = threading.Timer(self._timeout_s, self._interrupt, ("timeout",))
            self._timer.daemon = True
            self._timer.start()
        try:
            if self._stop:
                raise self._stopped()
            self._begun = True
            self._rows = self._read()
            self._schema = next(self._rows).schema
        except (AnalysisException, ParseException) as error:
            self.close()
            if self._stop:
                raise self._stopped() from error
            if SparkConnection.is_lost(error):
                raise explain_failure(error) from error
            get_logger().warning("query refused by the distributed engine", error=str(error)[:500])
            raise UnsupportedQueryError(str(error)[:200]) from error
        except BaseException:
            self.close()
            raise

    def _read(self) -> Iterator[pa.Table]:
        """Go through the parts of the answer; an empty one with its types comes first."""
        from pyspark.sql.connect.dataframe import DataFrame
        from pyspark.sql.connect.plan import SQL
        from pyspark.sql.pandas.types import to_arrow_schema

        client = self._session.client
        plan = DataFrame(SQL(self._sql), self._session)._plan.to_proto(client)
        # Tags belong to the thread, and the request is made by the first step below.
        client.add_tag(self._tag)
        try:
            parts = client.to_table_as_iterator(plan, {})
            head = next(parts)
        except Exception as error:  # whatever the client raises is explained
            self._over.set()
            raise self._explain(error) from error
        finally:
            client.remove_tag(self._tag)
        if isinstance(head, pa.Table):
            yield head.slice(0, 0)
            yield head
        else:
            yield to_arrow_schema(head).empty_table()
        try:
            for part in parts:
                if isinstance(part, pa.Table):
                    yield part
        except Exception as error:
            self._over.set()
            raise self._explain(error) from error
        self._over.set()

    def _explain(self, error: Exception) -> Exception:
        from pyspark.errors import AnalysisException, ParseException

        if self._stop:
            return self._stopped()
        if isinstance(error, AnalysisException | ParseException) and not SparkConnection.is_lost(error):
            return error
        return explain_failure(error)

    @property
    def schema(self) -> pa.Schema:
        """Columns of the answer."""
        return self._schema

    @property
    def engine(self) -> str:
        """Name of the engine that answers."""
        return CAPABILITIES.name

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Go through the rows in batches.

        Yields
        ------
        pyarrow.RecordBatch
            Rows as Spark types them.

        Raises
        ------
        QueryTimeoutError
            If it ran too long or was cancelled.
        PortalError
            If the engine fails.
        """
        for part in self._rows:
            for batch in part.to_batches():
                if self._stop:
                    raise self._stopped()
                if batch.num_rows:
                    yield batch
        if self._stop:
            raise self._stopped()

    def _stopped(self) -> PortalError:
        if self._stop == "timeout":
            return QueryTimeoutError(
                f"the query was stopped after {self._timeout_s:g} s; run it as a job or restrict it"
            )
        return QueryTimeoutError("the query was aborted")

    def _interrupt(self, reason: str) -> None:
        self._stop = self._stop or reason
        # The server does not know a query that is still on its way to it, so the interrupt is repeated until it hits.
        for _ in range(_INTERRUPTS):
            if self._over.is_set():
                return
            interrupted: list[str] = []
            with suppress(Exception):
                interrupted = self._session.interruptTag(self._tag)
            if interrupted:
                for delay_s in _STRAGGLERS_S:
                    time.sleep(delay_s)
                    cancel_stragglers(self._session, interrupted[0])
                return
            time.sleep(_INTERRUPT_S)

    def cancel(self) -> None:
        """Stop the query from another thread."""
        self._stop = "abort"
        threading.Thread(target=self._interrupt, args=("abort",), daemon=True).start()

    def close(self) -> None:
        """Stop the query where it still runs."""
        if self._timer is not None:
            self._timer.cancel()
        if self._begun and not self._over.is_set():
            self.cancel()


class SparkEngine:
    """The tables of releases, read by a cluster.

    Parameters
    ----------
    connection
        How the cluster is reached.
    tables
        Folder of parquet files and description by the table's name in the front end's SQL.
    """

    def __init__(
        self, connection: SparkConnection, tables: Mapping[tuple[str, ...], tuple[str, SparkTable]]
    ) -> None:
        self._connection = connection
        self._folders = {table.view: folder for folder, table in tables.values()}
        self._tables = {source: table for source, (_, table) in tables.items()}

    @property
    def capabilities(self) -> EngineCapabilities:
        """Queries of every form; none of the functions that work on regions and cells."""
        return CAPABILITIES

    def find_obstacle(self, sql: str) -> str | None:
        """Return what in a query is not known to give the same answer as DuckDB gives; `None` if nothing.

        Parameters
        ----------
        sql
            SQL that the front end made.
        """
        try:
            to_spark_sql(sql, self._tables)
        except (UnsupportedSqlError, UnreadableSqlError) as error:
            return str(error)
        return None

    def start(
        self,
        sql: str,
        *,
        timeout_s: float,
        uploads: Mapping[str, pa.Table | ds.Dataset] | None = None,
        on_start: Callable[[Callable[[], None]], None] | None = None,
    ) -> SparkQuery:
        """Run a query.

        Parameters
        ----------
        sql
            SQL that the front end made.
        timeout_s
            When to stop it; 0 means never.
        uploads
            Not served.
        on_start
            Given what stops the query, before it begins.

        Returns
        -------
        SparkQuery
            The query, ready to be read.

        Raises
        ------
        UnsupportedQueryError
            If the query is one for another engine.
        UpstreamError
            If the cluster does not answer.
        """
        try:
            written = to_spark_sql(sql, self._tables)
        except (UnsupportedSqlError, UnreadableSqlError) as error:
            raise UnsupportedQueryError(str(error)) from error
        needed = {view: folder for view, folder in self._folders.items() if f"`{view}`" in written}
        for last in (False, True):
            session = None
            try:
                session = self._connection.open(needed)
                query = SparkQuery(session, written, timeout_s)
                if on_start is not None:
                    on_start(query.cancel)
                query.run()
            except UpstreamError:
                # The server was started anew, or has forgotten a session that was long idle.
                if session is not None:
                    self._connection.forget(session)
                if last:
                    raise
            else:
                return query
        raise AssertionError  # the loop returns or raises

    def close(self) -> None:
        """Give back the session."""
        self._connection.close()


logging.getLogger("SQLQueryContextLogger").setLevel(
    logging.CRITICAL
)  # what it says goes to our own log, shortened
