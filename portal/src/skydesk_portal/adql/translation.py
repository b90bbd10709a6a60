"""What the front end gives, and what it asks of an engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from skydesk_portal.models.tables import ColumnInfo, TableInfo

__all__ = ["EngineLimits", "Translation"]


@dataclass(frozen=True)
class Translation:
    """A query that may be run.

    Parameters
    ----------
    sql
        Engine SQL.
    columns
        Result columns in order; ``datatype`` is empty where the engine decides.
    tables
        Tables that the query reads.
    top
        The query's own TOP, `None` without one.
    used_columns
        Full names of the columns that the query reads.
    functions
        Names of the functions that it calls, in upper case.
    keywords
        Clauses that it uses, such as ``WHERE``.
    """

    sql: str
    columns: tuple[ColumnInfo, ...]
    tables: tuple[TableInfo, ...]
    top: int | None
    used_columns: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()


class EngineLimits(Protocol):
    """What the front end asks of an engine; `skydesk_portal.storage.engine.EngineCapabilities` answers it."""

    @property
    def subqueries(self) -> bool:
        """Whether queries may stand inside queries."""

    @property
    def set_operations(self) -> bool:
        """Whether UNION, EXCEPT and INTERSECT are served."""

    @property
    def with_clause(self) -> bool:
        """Whether WITH is served."""

    @property
    def offset(self) -> bool:
        """Whether OFFSET is served."""

    @property
    def uploads(self) -> bool:
        """Whether uploaded tables are served."""

    @property
    def functions(self) -> frozenset[str] | None:
        """Functions of the engine SQL that are served, in lower case; `None` for all."""
