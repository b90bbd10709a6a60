"""A job of the UWS pattern (UWS 1.1): what was asked, how far it is, what came out."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

__all__ = [
    "ACTIVE_PHASES",
    "BUSY_PHASES",
    "FINAL_PHASES",
    "STARTABLE_PHASES",
    "WAITING_PHASES",
    "Job",
    "JobError",
    "JobKind",
    "JobResult",
    "Phase",
]


class Phase(StrEnum):
    """Phases of UWS 1.1 that skydesk's jobs go through.

    A job is ``HELD`` when it was to run but its owner has too much under way;
    it has to be run again. It is ``SUSPENDED`` when its worker was told to end
    in the middle of something that another worker can continue.
    """

    PENDING = "PENDING"
    HELD = "HELD"
    QUEUED = "QUEUED"
    EXECUTING = "EXECUTING"
    SUSPENDED = "SUSPENDED"
    COMPLETED = "COMPLETED"
    ERROR = "ERROR"
    ABORTED = "ABORTED"
    ARCHIVED = "ARCHIVED"


FINAL_PHASES = frozenset({Phase.COMPLETED, Phase.ERROR, Phase.ABORTED, Phase.ARCHIVED})
"""Phases that a job does not leave again, except to be archived."""

ACTIVE_PHASES = frozenset(Phase) - FINAL_PHASES
"""Phases that a job may still leave by itself or by its owner's wish; it can be aborted in them."""

WAITING_PHASES = frozenset({Phase.PENDING, Phase.QUEUED, Phase.EXECUTING})
"""Phases that a blocking request (WAIT) waits in (UWS 1.1, section 2.2.1.1)."""

STARTABLE_PHASES = frozenset({Phase.PENDING, Phase.HELD})
"""Phases in which a job waits for its owner: it may be changed and run."""

BUSY_PHASES = frozenset({Phase.QUEUED, Phase.EXECUTING, Phase.SUSPENDED})
"""Phases in which a job counts as work of its owner that is under way."""


class JobKind(StrEnum):
    """Which service a job belongs to."""

    TAP = "tap"
    CUTOUT = "cutout"
    BULK = "bulk"
    BATCH = "batch"
    TRANSFER = "transfer"
    TABLE = "table"


@dataclass(frozen=True)
class JobError:
    """Why a job failed."""

    message: str
    code: str = "internal"
    transient: bool = False


@dataclass(frozen=True)
class JobResult:
    """One file that a job made; ``path`` is relative to the results folder."""

    name: str
    path: str
    media_type: str
    size: int


@dataclass(frozen=True)
class Job:
    """One job.

    Parameters
    ----------
    id, kind, owner
        Identity of the job; only its owner ever sees it.
    phase, run_id
        UWS phase and the caller's own label.
    groups
        Groups of the owner when the job was made; the job reads with them.
    parameters
        What was asked, names in capitals, several values allowed.
    creation_time, start_time, end_time, destruction, quote
        Instants in UTC.
    execution_seconds
        Allowed run time; 0 means no limit.
    attempt
        How often a worker has taken the job.
    progress
        Free facts about how far it is, for ``jobInfo``.
    request_id
        Identifier of the request that made the job, for the logs.
    long
        Whether it is known to be too long for the lane of short jobs.
    concurrent
        How many jobs of this kind its owner may have running at once.
    uploads
        Names of the files that were sent along.
    """

    id: str
    kind: JobKind
    owner: str
    phase: Phase
    creation_time: datetime
    destruction: datetime
    execution_seconds: int
    run_id: str | None = None
    parameters: tuple[tuple[str, str], ...] = ()
    groups: tuple[str, ...] = ()
    start_time: datetime | None = None
    end_time: datetime | None = None
    quote: datetime | None = None
    results: tuple[JobResult, ...] = ()
    error: JobError | None = None
    attempt: int = 0
    worker: str | None = None
    progress: dict[str, str] = field(default_factory=dict)
    request_id: str | None = None
    long: bool = False
    concurrent: int = 1_000_000
    uploads: tuple[str, ...] = ()

    def values(self, name: str) -> list[str]:
        """Return all values of a parameter.

        Parameters
        ----------
        name
            Name in any case.

        Returns
        -------
        list of str
            The values in the order they were given.
        """
        return [value for key, value in self.parameters if key == name.upper()]

    def find_value(self, name: str) -> str | None:
        """Return the last value of a parameter, `None` if it was not given."""
        given = self.values(name)
        return given[-1] if given else None
