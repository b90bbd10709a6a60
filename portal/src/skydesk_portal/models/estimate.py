"""What a query would cost."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Expectation", "ExpectedScan", "QueryEstimate", "TableEstimate"]


@dataclass(frozen=True)
class ExpectedScan:
    """One table that a query reads.

    Parameters
    ----------
    source
        Name of the table in the engine.
    rows
        Rows that have to be looked at.
    restricted
        Whether the query looks at a part of the sky, or stops early.
    filtered
        Whether any condition stands on the table.
    """

    source: tuple[str, ...]
    rows: int
    restricted: bool
    filtered: bool


@dataclass(frozen=True)
class Expectation:
    """What the engine expects.

    Parameters
    ----------
    rows
        Rows that come out, roughly; `None` if it cannot tell.
    scans
        Tables that are read, one entry each time.
    pairs
        Whether every row of something is compared with every row of something else.
    steps
        Rows that all steps of the plan together take in, roughly; `None` if it cannot tell.
    """

    rows: int | None
    scans: tuple[ExpectedScan, ...]
    pairs: bool
    steps: float | None = None


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
    engine
        Which engine would answer: ``indexed`` or ``distributed``.
    seconds
        How long it would take, very roughly; `None` if nobody can tell.
    """

    rows: int | None
    exact: bool
    overflow: bool | None
    result_bytes: int | None
    tables: tuple[TableEstimate, ...]
    warnings: tuple[str, ...]
    engine: str = "indexed"
    seconds: float | None = None
