"""The seam between the ADQL front end and whatever answers queries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa
import pyarrow.dataset as ds

from skydesk_portal.models.tables import TableInfo

__all__ = ["EngineCapabilities", "QueryEngine", "RunningQuery"]


@dataclass(frozen=True)
class EngineCapabilities:
    """What an engine can do, so that services need not know which one it is.

    Parameters
    ----------
    name
        Name in logs.
    subqueries, set_operations, with_clause, uploads
        Whether queries may use them.
    indexed
        Whether cones and identifiers are quick.
    """

    name: str
    subqueries: bool = True
    set_operations: bool = True
    with_clause: bool = True
    uploads: bool = True
    indexed: bool = True


class RunningQuery(Protocol):
    """A query that has begun to answer."""

    @property
    def schema(self) -> pa.Schema:
        """Columns of the answer."""

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

    def provide(self, tables: tuple[TableInfo, ...], content: Mapping[str, pa.Table]) -> None:
        """Keep small tables of the platform, such as TAP_SCHEMA, under the sources their descriptions name."""

    def close(self) -> None:
        """Stop everything."""
