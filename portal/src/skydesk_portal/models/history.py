"""A query that somebody has run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

__all__ = ["PastQuery"]


@dataclass(frozen=True)
class PastQuery:
    """One query of the past.

    Parameters
    ----------
    id, owner
        Its number and whose it is; only the owner ever sees it.
    begun
        When it began, UTC.
    mode
        ``sync``, ``async``, or ``portal`` for one that a page of the Portal ran.
    parameters
        What was asked, names in capitals.
    status
        COMPLETED, ERROR or ABORTED.
    rows, overflow
        How many rows came out, and whether MAXREC left out some.
    seconds
        How long it took, in seconds.
    error
        What went wrong.
    cached
        Whether it came from a stored result.
    job
        Identifier of the job, if it was one.
    result
        Identifier of the result that a page keeps for a while.
    """

    owner: str
    begun: datetime
    mode: str
    parameters: tuple[tuple[str, str], ...]
    status: str
    rows: int = 0
    overflow: bool = False
    seconds: float = 0.0
    error: str | None = None
    cached: bool = False
    job: str | None = None
    result: str | None = None
    id: int = 0
