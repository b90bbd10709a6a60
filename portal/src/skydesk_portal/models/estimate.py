"""What a query would cost."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["QueryEstimate", "TableEstimate"]


@dataclass(frozen=True)
class TableEstimate:
    """What a query reads of one table.

    Parameters
    ----------
    name
        Name of the table with its schema.
    rows
        Rows of the table.
    scanned_rows, scanned_bytes
        What has to be read of it, roughly.
    """

    name: str
    rows: int | None
    scanned_rows: int | None
    scanned_bytes: int | None


@dataclass(frozen=True)
class QueryEstimate:
    """What a query would cost.

    Parameters
    ----------
    rows
        Rows that would come out, up to MAXREC; `None` if nobody can tell.
    exact
        Whether they were counted.
    overflow
        Whether MAXREC would leave out rows; `None` if nobody can tell.
    result_bytes
        Size of the answer as BINARY2, roughly.
    tables
        What is read.
    warnings
        What the caller may want to change.
    """

    rows: int | None
    exact: bool
    overflow: bool | None
    result_bytes: int | None
    tables: tuple[TableEstimate, ...]
    warnings: tuple[str, ...]
