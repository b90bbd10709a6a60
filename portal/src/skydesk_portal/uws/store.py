"""What the job engine asks of whatever keeps the jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from skydesk_portal.models.jobs import Job, JobError, JobKind, JobResult, Phase

__all__ = ["JobFilter", "JobStore", "JobUsage"]


@dataclass(frozen=True)
class JobFilter:
    """Which jobs a list shows (UWS 1.1, section 2.2.2.1).

    Parameters
    ----------
    phases
        Phases to show; empty shows all but archived ones.
    after
        Only jobs created after this instant.
    last
        Only so many of the newest.
    """

    phases: tuple[Phase, ...] = ()
    after: datetime | None = None
    last: int | None = None


@dataclass(frozen=True)
class JobUsage:
    """What the jobs of one person take up.

    Parameters
    ----------
    jobs
        How many there are, archived ones left out.
    active
        How many are queued, running or suspended.
    result_bytes
        Size of all their results.
    """

    jobs: int = 0
    active: int = 0
    result_bytes: int = 0


class JobStore(Protocol):
    """Keeps jobs so that none is lost and none is taken twice."""

    def add(self, job: Job) -> None:
        """Keep a new job."""

    def find(self, job_id: str) -> Job | None:
        """Return a job, `None` if there is none."""

    def list_jobs(self, owner: str, kind: JobKind | None, wanted: JobFilter) -> list[Job]:
        """Return the jobs of an owner, newest first."""

    def move(self, job_id: str, phases: Sequence[Phase], to: Phase) -> bool:
        """Change the phase if it is one of those given; tell whether that happened."""

    def change(self, job_id: str, phases: Sequence[Phase] = (), **fields: object) -> bool:
        """Change some fields of a job if its phase is one of those given; tell whether that happened."""

    def remove(self, job_id: str) -> bool:
        """Forget a job."""

    def claim(
        self, worker: str, kinds: Sequence[JobKind], lease_s: float, *, short: bool = False
    ) -> Job | None:
        """Take the next queued job for a worker, `None` if there is none."""

    def renew(
        self, worker: str, job_id: str, lease_s: float, progress: Mapping[str, str] | None = None
    ) -> bool:
        """Report that a worker still works on a job; false means that it is no longer its job."""

    def finish(self, worker: str, job_id: str, results: Sequence[JobResult], error: JobError | None) -> bool:
        """End a job if it is still the worker's; tell whether that happened."""

    def give_back(
        self, worker: str, job_id: str, to: Phase = Phase.QUEUED, *, long: bool | None = None
    ) -> bool:
        """Let another worker take a job that is still the worker's, as if it had not been begun."""

    def release_expired(self, attempts: int) -> list[str]:
        """Queue again the jobs whose worker has gone; end those that failed too often."""

    def list_expired(self, now: datetime) -> list[Job]:
        """Return the jobs whose destruction time has come."""

    def measure(self, owner: str, kind: JobKind | None = None) -> JobUsage:
        """Return what the jobs of an owner take up."""

    def count_phases(self) -> dict[tuple[JobKind, Phase], int]:
        """Return how many jobs there are of each kind in each phase."""

    def estimate_wait(self, kind: JobKind) -> tuple[int, float] | None:
        """Return how many jobs of a kind wait and how long one usually runs, in seconds."""
