"""The seam between the ADQL front end and whatever answers queries."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa
import pyarrow.dataset as ds

from skydesk_portal.models.estimate import Expectation
from skydesk_portal.models.tables import TableInfo

__all__ = [
    "DistributedEngine",
    "EngineCapabilities",
    "EngineChoice",
    "HomeEngine",
    "QueryEngine",
    "RunningQuery",
    "UnsupportedQueryError",
]


class UnsupportedQueryError(Exception):
    """A distributed engine does not take a query after all; the engine beside it will."""


@dataclass(frozen=True)
class EngineCapabilities:
    """What an engine can do, so that services need not know which one it is.

    Parameters
    ----------
    name
        Name in logs.
    subqueries, set_operations, with_clause, offset, uploads
        Whether queries may use them.
    functions
        Functions of the front end's SQL that it knows, in lower case; `None` for all of them. Regions, cells and
        joins by position are the functions ``skydesk_*``.
    indexed
        Whether cones and identifiers are quick, so that rows may be counted before a query runs.
    """

    name: str
    subqueries: bool = True
    set_operations: bool = True
    with_clause: bool = True
    offset: bool = True
    uploads: bool = True
    functions: frozenset[str] | None = None
    indexed: bool = True


@dataclass(frozen=True)
class EngineChoice:
    """Which engine a query is for.

    Parameters
    ----------
    capabilities
        Those of the engine.
    reason
        Why it was chosen, for people.
    """

    capabilities: EngineCapabilities
    reason: str = ""


class RunningQuery(Protocol):
    """A query that has begun to answer."""

    @property
    def schema(self) -> pa.Schema:
        """Columns of the answer."""

    @property
    def engine(self) -> str:
        """Name of the engine that answers."""

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Go through the rows in batches; raises `PortalError` when stopped."""

    def cancel(self) -> None:
        """Stop the query from another thread."""

    def close(self) -> None:
        """Give back what the query holds."""


class QueryEngine(Protocol):
    """Something that answers translated queries."""

    @property
    def capabilities(self) -> EngineCapabilities:
        """What it can do."""

    def start(
        self,
        sql: str,
        *,
        timeout_s: float,
        uploads: Mapping[str, pa.Table | ds.Dataset] | None = None,
        on_start: Callable[[Callable[[], None]], None] | None = None,
    ) -> RunningQuery:
        """Run a query.

        Parameters
        ----------
        sql
            SQL that the front end made.
        timeout_s
            When to stop it; 0 means never.
        uploads
            Tables by their name in the SQL.
        on_start
            Given what stops the query, before it begins.
        """

    def close(self) -> None:
        """Stop everything."""


class DistributedEngine(QueryEngine, Protocol):
    """An engine for what outgrows one machine; it stands beside another one that can answer everything."""

    def find_obstacle(self, sql: str) -> str | None:
        """Return what in a query it is not known to answer as the other engine does; `None` if nothing.

        Parameters
        ----------
        sql
            SQL that the front end made.
        """


class HomeEngine(QueryEngine, Protocol):
    """The engine of the services: answers everything and keeps the platform's own tables, such as TAP_SCHEMA."""

    def choose(self, sql: str, uploads: Collection[str] = ()) -> EngineChoice:
        """Tell which engine would answer a query.

        Parameters
        ----------
        sql
            SQL that the front end made.
        uploads
            Names of tables that come with the query.
        """

    def expect(
        self,
        sql: str,
        uploads: Mapping[str, pa.Table | ds.Dataset],
        tables: Mapping[tuple[str, ...], TableInfo],
    ) -> Expectation:
        """Tell what a query would read and give, without running it.

        Parameters
        ----------
        sql
            SQL that the front end made.
        uploads
            Tables by their name in the SQL.
        tables
            What is known of the tables, by their name in the engine.
        """

    def provide(self, tables: tuple[TableInfo, ...], content: Mapping[str, pa.Table]) -> None:
        """Keep small tables of the platform, such as TAP_SCHEMA, under the sources their descriptions name."""

    def provide_view(self, schema: str, name: str, sql: str) -> None:
        """Keep a view, written in the front end's SQL."""
