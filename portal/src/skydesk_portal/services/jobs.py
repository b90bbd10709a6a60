"""Jobs of people: create, follow, abort, delete; nobody sees another's."""

from __future__ import annotations

import re
import secrets
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog

from skydesk_portal.config import PortalConfig
from skydesk_portal.exceptions import JobPhaseError, NotFoundError, QuotaError, RateLimitError, UsageError
from skydesk_portal.models.identity import Identity
from skydesk_portal.models.jobs import (
    ACTIVE_PHASES,
    BUSY_PHASES,
    FINAL_PHASES,
    STARTABLE_PHASES,
    Job,
    JobKind,
    Phase,
)
from skydesk_portal.models.quota import UNLIMITED
from skydesk_portal.services.limits import LimitService
from skydesk_portal.uws.store import JobFilter, JobStore

__all__ = ["JobService"]

_RETRY_S = 10
_ORPHAN_S = 3600.0
_NO_LIMIT = 1_000_000
_LONGEST_NAME = 100
_ID = re.compile(r"[a-z0-9]{16,32}\Z")


class JobService:
    """Everything people may do with their jobs.

    Parameters
    ----------
    store
        Keeps the jobs.
    results
        Folder of result files, one folder per job.
    config
        Limits.
    limits
        What each person may use; by default what the settings say.
    """

    def __init__(
        self, store: JobStore, results: Path, config: PortalConfig, limits: LimitService | None = None
    ) -> None:
        self.store = store
        self.results = results
        self._config = config
        self._limits = limits or LimitService(config, None)

    def create_job(
        self,
        identity: Identity,
        *,
        kind: JobKind,
        parameters: Sequence[tuple[str, str]],
        run: bool = False,
        run_id: str | None = None,
        files: Mapping[str, bytes] | None = None,
        execution_seconds: int | None = None,
        destruction: datetime | None = None,
        long: bool = False,
    ) -> Job:
        """Make a job.

        Parameters
        ----------
        identity
            Who it will belong to.
        kind
            Which service does it.
        parameters
            What is asked.
        run
            Queue it at once.
        run_id
            The caller's own label.
        files
            Files sent along, by name.
        execution_seconds, destruction
            Wishes; they are kept within the service's limits.
        long
            Whether it is known to be too much for the lane of short jobs.

        Returns
        -------
        Job
            The job.

        Raises
        ------
        QuotaError
            If the caller keeps too many jobs or results.
        RateLimitError
            If the caller has too many jobs under way.
        """
        quota = self._limits.quota_for(identity)
        self._check_kept(identity)
        if run:
            self._check_active(identity, kind)
        now = datetime.now(UTC)
        job = Job(
            id=secrets.token_hex(10),
            kind=kind,
            owner=identity.name,
            phase=Phase.PENDING,
            creation_time=now,
            destruction=self._destruction(destruction or now + timedelta(days=self._config.retention_days)),
            execution_seconds=self._duration(execution_seconds or self._config.execution_seconds),
            run_id=run_id,
            groups=tuple(sorted(identity.groups)),
            parameters=tuple((name.upper(), value) for name, value in parameters),
            request_id=structlog.contextvars.get_contextvars().get("request_id"),
            long=long,
            concurrent=quota.concurrent_for(kind) or _NO_LIMIT,
        )
        # Files first: a job must never be seen without them.
        job = replace(job, uploads=self._write_files(job, files or {}))
        self.store.add(job)
        if run:
            self._queue(job)
        return self.get_job(identity, job.id)

    def _write_files(self, job: Job, files: Mapping[str, bytes]) -> tuple[str, ...]:
        folder = self.results / job.id / "uploads"
        names = set(job.uploads)
        for name, content in files.items():
            folder.mkdir(parents=True, exist_ok=True)
            safe = re.sub(r"\W", "_", name)[:_LONGEST_NAME]
            (folder / safe).write_bytes(content)
            names.add(safe)
        return tuple(sorted(names))

    def _check_kept(self, identity: Identity) -> None:
        quota = self._limits.quota_for(identity)
        used = self.store.measure(identity.name)
        if quota.kept_jobs != UNLIMITED and used.jobs >= quota.kept_jobs:
            raise QuotaError(
                f"{used.jobs} of your jobs are kept, as many as you may have: delete or archive some"
            )
        if quota.result_bytes != UNLIMITED and used.result_bytes >= quota.result_bytes:
            raise QuotaError(
                f"the results of your jobs take up {used.result_bytes / 1e9:.1f} GB,"
                f" {quota.result_bytes / 1e9:.1f} GB are yours: delete or archive some jobs"
            )

    def _check_active(self, identity: Identity, kind: JobKind) -> None:
        limit = self._limits.quota_for(identity).active_jobs
        if limit != UNLIMITED and self.store.measure(identity.name, kind).active >= limit:
            raise RateLimitError(
                f"{limit} of your {kind} jobs are under way already, as many as you may have", _RETRY_S
            )

    def _queue(self, job: Job) -> bool:
        # The quote: when a job like this one has usually ended, with those before it done one after the other.
        usual = self.store.estimate_wait(job.kind)
        if usual is not None:
            seconds = min(usual[1] * (1 + usual[0]), float(job.execution_seconds or _NO_LIMIT))
            self.store.change(job.id, quote=datetime.now(UTC) + timedelta(seconds=seconds))
        return self.store.move(job.id, sorted(STARTABLE_PHASES), Phase.QUEUED)

    def read_files(self, job: Job) -> dict[str, bytes]:
        """Return the files sent along with a job, by name."""
        folder = self.results / job.id / "uploads"
        return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.is_dir() else {}

    def find_file(self, job: Job, name: str) -> bytes | None:
        """Return a file that was sent along with a job, `None` if there is none of that name."""
        return self.read_files(job).get(name) if name in job.uploads else None

    def get_job(self, identity: Identity, job_id: str, kind: JobKind | None = None) -> Job:
        """Return a job of the caller.

        Raises
        ------
        NotFoundError
            If the caller has no such job, which is also the answer for another's.
        """
        job = self.store.find(job_id) if _ID.match(job_id) else None
        if job is None or job.owner != identity.name or (kind is not None and job.kind != kind):
            raise NotFoundError(f"you have no job {job_id[:40]!r}")
        return job

    def list_jobs(
        self,
        identity: Identity,
        kind: JobKind | None = None,
        phases: Sequence[Phase] = (),
        after: datetime | None = None,
        last: int | None = None,
    ) -> list[Job]:
        """Return the caller's jobs, newest first."""
        return self.store.list_jobs(identity.name, kind, JobFilter(tuple(phases), after, last))

    def run(self, identity: Identity, job_id: str) -> Job:
        """Queue a job that waits for its owner.

        Raises
        ------
        JobPhaseError
            If it is neither pending nor held.
        RateLimitError
            If the caller has too many jobs under way; the job is held then and
            has to be run again.
        """
        job = self.get_job(identity, job_id)
        if job.phase in BUSY_PHASES:
            return job
        if job.phase in STARTABLE_PHASES:
            try:
                self._check_active(identity, job.kind)
            except RateLimitError:
                self.store.move(job_id, [Phase.PENDING], Phase.HELD)
                raise
        # A job may have waited for weeks: it runs with the groups of today, not with those of the day it was made.
        self.store.change(job_id, sorted(STARTABLE_PHASES), groups=sorted(identity.groups))
        if not self._queue(job):
            raise JobPhaseError(f"a job in phase {job.phase} cannot be run")
        return self.get_job(identity, job_id)

    def abort(self, identity: Identity, job_id: str) -> Job:
        """Stop a job; one that has ended stays as it is."""
        self.get_job(identity, job_id)
        self.store.move(job_id, sorted(ACTIVE_PHASES), Phase.ABORTED)
        return self.get_job(identity, job_id)

    def archive(self, identity: Identity, job_id: str) -> Job:
        """Keep a finished job's record and give up its results."""
        self.get_job(identity, job_id)
        if not self.store.move(job_id, sorted(FINAL_PHASES), Phase.ARCHIVED):
            raise JobPhaseError("only a job that has ended can be archived")
        kept_until = datetime.now(UTC) + timedelta(days=self._config.archive_days)
        self.store.change(job_id, [Phase.ARCHIVED], results=[], uploads=[], destruction=kept_until)
        shutil.rmtree(self.results / job_id, ignore_errors=True)
        return self.get_job(identity, job_id)

    def delete(self, identity: Identity, job_id: str) -> None:
        """Stop and forget a job with its results."""
        self.get_job(identity, job_id)
        self.store.move(job_id, sorted(ACTIVE_PHASES), Phase.ABORTED)
        self.store.remove(job_id)
        shutil.rmtree(self.results / job_id, ignore_errors=True)

    def set_parameters(
        self,
        identity: Identity,
        job_id: str,
        parameters: Sequence[tuple[str, str]],
        files: Mapping[str, bytes] | None = None,
    ) -> Job:
        """Add or replace parameters and files of a job that has not been queued.

        Raises
        ------
        JobPhaseError
            If it is neither pending nor held.
        """
        job = self.get_job(identity, job_id)
        if job.phase in STARTABLE_PHASES:
            names = {name.upper() for name, _ in parameters}
            kept = [(name, value) for name, value in job.parameters if name not in names]
            changed = [*kept, *((name.upper(), value) for name, value in parameters)]
            uploads = self._write_files(job, files or {})
            if self.store.change(job_id, sorted(STARTABLE_PHASES), parameters=changed, uploads=uploads):
                return self.get_job(identity, job_id)
        raise JobPhaseError(f"parameters cannot be changed in phase {self.get_job(identity, job_id).phase}")

    def set_destruction(self, identity: Identity, job_id: str, instant: datetime) -> Job:
        """Change when a job is forgotten, within the service's limit."""
        self.get_job(identity, job_id)
        self.store.change(job_id, destruction=self._destruction(instant))
        return self.get_job(identity, job_id)

    def set_duration(self, identity: Identity, job_id: str, seconds: int) -> Job:
        """Change how long a job may run that has not been begun, within the service's limit.

        Raises
        ------
        JobPhaseError
            If it runs already or has ended.
        """
        job = self.get_job(identity, job_id)
        early = sorted(STARTABLE_PHASES | {Phase.QUEUED})
        if not self.store.change(job_id, early, execution_seconds=self._duration(seconds)):
            raise JobPhaseError(f"the execution duration cannot be changed in phase {job.phase}")
        return self.get_job(identity, job_id)

    def result_path(self, identity: Identity, job_id: str, name: str) -> tuple[Path, str]:
        """Return the file of a result and its media type.

        Raises
        ------
        NotFoundError
            If the job has no such result.
        """
        job = self.get_job(identity, job_id)
        for result in job.results:
            path = self.results / result.path
            if result.name == name and path.is_file():
                return path, result.media_type
        raise NotFoundError(f"job {job_id} has no result {name[:40]!r}")

    def sweep(self) -> int:
        """Forget the jobs whose destruction time has come; return how many."""
        expired = self.store.list_expired(datetime.now(UTC))
        for job in expired:
            self.store.move(job.id, sorted(ACTIVE_PHASES), Phase.ABORTED)
            self.store.remove(job.id)
            shutil.rmtree(self.results / job.id, ignore_errors=True)
        return len(expired)

    def sweep_orphans(self) -> int:
        """Remove folders of results that belong to no job; return how many.

        A worker that was killed, or wrote while its job was being deleted, may leave one.
        """
        count = 0
        for folder in self.results.iterdir() if self.results.is_dir() else ():
            old = folder.stat().st_mtime < time.time() - _ORPHAN_S
            if old and _ID.match(folder.name) and self.store.find(folder.name) is None:
                shutil.rmtree(folder, ignore_errors=True)
                count += 1
        return count

    def _destruction(self, wanted: datetime) -> datetime:
        # Twice the usual time is the longest that anybody gets.
        return min(wanted, datetime.now(UTC) + timedelta(days=2 * self._config.retention_days))

    def _duration(self, seconds: int) -> int:
        if seconds < 0:
            raise UsageError("executionduration cannot be negative")
        limit = self._config.execution_seconds
        return limit if seconds == 0 else min(seconds, limit)
