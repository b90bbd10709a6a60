"""An engine with indexes and engines for what outgrows one machine behind one face: each query goes to one of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from skydesk_portal.adql.engine_sql import UnreadableSqlError, parse_engine_sql
from skydesk_portal.exceptions import PortalError
from skydesk_portal.log import get_logger
from skydesk_portal.models.estimate import Expectation
from skydesk_portal.models.tables import TableInfo
from skydesk_portal.storage.engine import (
    DistributedEngine,
    EngineCapabilities,
    EngineChoice,
    HomeEngine,
    RunningQuery,
    UnsupportedQueryError,
)
from skydesk_portal.storage.routing import RoutedTable, estimate_rows, find_obstacle, list_sources

__all__ = ["DistributedTables", "RoutedEngine", "TypedQuery"]

_TYPES_S = 60.0


@dataclass(frozen=True)
class DistributedTables:
    """An engine with the tables that it has, by their names in the front end's SQL."""

    engine: DistributedEngine
    tables: Mapping[tuple[str, ...], RoutedTable]


class TypedQuery:
    """A query of one engine whose answer has the types that another engine would give it.

    Parameters
    ----------
    running
        The query.
    schema
        The types.
    """

    def __init__(self, running: RunningQuery, schema: pa.Schema) -> None:
        self._running = running
        self._schema = schema

    @property
    def schema(self) -> pa.Schema:
        """Columns of the answer."""
        return self._schema

    @property
    def engine(self) -> str:
        """Name of the engine that answers."""
        return self._running.engine

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Go through the rows in batches.

        Yields
        ------
        pyarrow.RecordBatch
            Rows with the wanted types.

        Raises
        ------
        PortalError
            If the engine fails, or a value does not fit into its type.
        """
        for batch in self._running.batches():
            yield pa.RecordBatch.from_arrays(
                [_cast(array, item.type) for array, item in zip(batch.columns, self._schema, strict=True)],
                schema=self._schema,
            )

    def cancel(self) -> None:
        """Stop the query from another thread."""
        self._running.cancel()

    def close(self) -> None:
        """Give back what the query holds."""
        self._running.close()


def _cast(array: pa.Array, wanted: pa.DataType) -> pa.Array:
    if array.type == wanted:
        return array
    try:
        # Rounding to single precision is meant, losing digits of an integer is not.
        return pc.cast(array, wanted, safe=not pa.types.is_floating(wanted))
    except pa.ArrowInvalid as error:
        get_logger().error("a value leaves its type", given=str(array.type), wanted=str(wanted))
        raise PortalError("the query failed inside the engine") from error


class RoutedEngine:
    """The indexed engine with distributed ones beside it.

    Parameters
    ----------
    home
        Has every table and answers every query.
    distributed
        Engines for the tables of some releases.
    local_rows
        A query that need not look at more rows than this is one for the indexed engine.
    """

    def __init__(self, home: HomeEngine, distributed: Collection[DistributedTables], local_rows: int) -> None:
        self._home = home
        self._distributed = tuple(distributed)
        self._local_rows = local_rows

    @property
    def capabilities(self) -> EngineCapabilities:
        """Those of the indexed engine, which answers what the others cannot."""
        return self._home.capabilities

    def choose(self, sql: str, uploads: Collection[str] = ()) -> EngineChoice:
        """Tell which engine answers a query.

        Parameters
        ----------
        sql
            SQL that the front end made.
        uploads
            Names of tables that come with the query.

        Returns
        -------
        EngineChoice
            The engine's capabilities, and why it is that one.
        """
        return self._choose(sql, uploads)[0]

    def _choose(self, sql: str, uploads: Collection[str]) -> tuple[EngineChoice, DistributedEngine | None]:
        here = self._home.capabilities
        try:
            tree = parse_engine_sql(sql)
        except UnreadableSqlError:
            return EngineChoice(here, "it is no query"), None
        sources = list_sources(tree)
        for other in self._distributed:
            large = {name: table for name, table in other.tables.items() if name in sources}
            if not large:
                continue
            rows = estimate_rows(tree, large)
            if rows <= self._local_rows:
                return EngineChoice(here, f"an index leads to about {rows:.0f} rows"), None
            apart = sources - other.tables.keys()
            apart -= set(map(_single, uploads)) if other.engine.capabilities.uploads else set()
            if apart:
                return EngineChoice(here, "it reads tables that are not distributed"), None
            obstacle = find_obstacle(tree, other.engine.capabilities, uploads) or other.engine.find_obstacle(
                sql
            )
            if obstacle:
                return EngineChoice(here, f"it needs {obstacle}"), None
            return EngineChoice(other.engine.capabilities, f"it reads about {rows:.0f} rows"), other.engine
        return EngineChoice(here, "its tables are not distributed"), None

    def start(
        self,
        sql: str,
        *,
        timeout_s: float,
        uploads: Mapping[str, pa.Table | ds.Dataset] | None = None,
        on_start: Callable[[Callable[[], None]], None] | None = None,
    ) -> RunningQuery:
        """Run a query on the engine that it is for.

        Parameters
        ----------
        sql, timeout_s, uploads, on_start
            See `skydesk_portal.storage.engine.QueryEngine`.

        Returns
        -------
        RunningQuery
            The query, ready to be read; its types are those of the indexed engine.

        Raises
        ------
        PortalError
            If the query is not accepted or the engine does not answer.
        """
        choice, other = self._choose(sql, uploads or ())
        if other is not None:
            # The indexed engine tells the types, and refuses what does not fit, without reading a row.
            types = self._home.start(
                f"SELECT * FROM ({sql}) AS typed LIMIT 0", timeout_s=_TYPES_S, uploads=uploads
            )
            schema = types.schema
            types.close()
            try:
                running = other.start(sql, timeout_s=timeout_s, uploads=uploads, on_start=on_start)
            except UnsupportedQueryError as error:
                get_logger().warning("query goes to the indexed engine instead", error=str(error))
            else:
                get_logger().info("query distributed", reason=choice.reason)
                return TypedQuery(running, schema)
        return self._home.start(sql, timeout_s=timeout_s, uploads=uploads, on_start=on_start)

    def expect(
        self,
        sql: str,
        uploads: Mapping[str, pa.Table | ds.Dataset],
        tables: Mapping[tuple[str, ...], TableInfo],
    ) -> Expectation:
        """Tell what a query would read and give, as the indexed engine expects it.

        Parameters
        ----------
        sql, uploads, tables
            See `skydesk_portal.storage.engine.HomeEngine`.
        """
        return self._home.expect(sql, uploads, tables)

    def provide(self, tables: tuple[TableInfo, ...], content: Mapping[str, pa.Table]) -> None:
        """Keep small tables of the platform in the indexed engine.

        Parameters
        ----------
        tables, content
            See `skydesk_portal.storage.engine.HomeEngine`.
        """
        self._home.provide(tables, content)

    def provide_view(self, schema: str, name: str, sql: str) -> None:
        """Keep a view in the indexed engine.

        Parameters
        ----------
        schema, name, sql
            See `skydesk_portal.storage.engine.HomeEngine`.
        """
        self._home.provide_view(schema, name, sql)

    def close(self) -> None:
        """Stop everything."""
        for other in self._distributed:
            other.engine.close()
        self._home.close()


def _single(name: str) -> tuple[str, ...]:
    return (name,)
