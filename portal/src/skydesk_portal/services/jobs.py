"""Jobs of people: create, follow, abort, delete; nobody sees another's."""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from skydesk_portal.config import PortalConfig
from skydesk_portal.exceptions import BusyError, JobPhaseError, NotFoundError, UsageError
from skydesk_portal.models.identity import Identity
from skydesk_portal.models.jobs import ACTIVE_PHASES, FINAL_PHASES, Job, JobKind, Phase
from skydesk_portal.uws.store import JobFilter, JobStore

__all__ = ["JobService"]

_MAX_ACTIVE = 100
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
    """

    def __init__(self, store: JobStore, results: Path, config: PortalConfig) -> None:
        self.store = store
        self.results = results
        self._config = config

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

        Returns
        -------
        Job
            The job.

        Raises
        ------
        BusyError
            If the caller has too many jobs waiting.
        """
        if run and self.store.count_active(identity.name, kind) >= _MAX_ACTIVE:
            raise BusyError(f"{_MAX_ACTIVE} of your jobs are queued or running already")
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
        )
        # Files first: a job must never be seen without them.
        for name, content in (files or {}).items():
            folder = self.results / job.id / "uploads"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / re.sub(r"\W", "_", name)).write_bytes(content)
        self.store.add(job)
        if run:
            self.store.move(job.id, [Phase.PENDING], Phase.QUEUED)
        return self.get_job(identity, job.id)

    def read_files(self, job: Job) -> dict[str, bytes]:
        """Return the files sent along with a job, by name."""
        folder = self.results / job.id / "uploads"
        return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.is_dir() else {}

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
        """Queue a pending job.

        Raises
        ------
        JobPhaseError
            If it is not pending.
        """
        job = self.get_job(identity, job_id)
        if job.phase in {Phase.QUEUED, Phase.EXECUTING}:
            return job
        if not self.store.move(job_id, [Phase.PENDING], Phase.QUEUED):
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
        shutil.rmtree(self.results / job_id, ignore_errors=True)
        return self.get_job(identity, job_id)

    def delete(self, identity: Identity, job_id: str) -> None:
        """Stop and forget a job with its results."""
        self.get_job(identity, job_id)
        self.store.move(job_id, sorted(ACTIVE_PHASES), Phase.ABORTED)
        self.store.remove(job_id)
        shutil.rmtree(self.results / job_id, ignore_errors=True)

    def set_parameters(self, identity: Identity, job_id: str, parameters: Sequence[tuple[str, str]]) -> Job:
        """Add or replace parameters of a pending job.

        Raises
        ------
        JobPhaseError
            If it is not pending.
        """
        job = self.get_job(identity, job_id)
        if job.phase != Phase.PENDING:
            raise JobPhaseError(f"parameters cannot be changed in phase {job.phase}")
        names = {name.upper() for name, _ in parameters}
        kept = [(name, value) for name, value in job.parameters if name not in names]
        self.store.change(job_id, parameters=[*kept, *((name.upper(), value) for name, value in parameters)])
        return self.get_job(identity, job_id)

    def set_destruction(self, identity: Identity, job_id: str, instant: datetime) -> Job:
        """Change when a job is forgotten, within the service's limit."""
        self.get_job(identity, job_id)
        self.store.change(job_id, destruction=self._destruction(instant))
        return self.get_job(identity, job_id)

    def set_duration(self, identity: Identity, job_id: str, seconds: int) -> Job:
        """Change how long a pending job may run, within the service's limit."""
        job = self.get_job(identity, job_id)
        if job.phase == Phase.PENDING:
            self.store.change(job_id, execution_seconds=self._duration(seconds))
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

    def _destruction(self, wanted: datetime) -> datetime:
        # Twice the usual time is the longest that anybody gets.
        return min(wanted, datetime.now(UTC) + timedelta(days=2 * self._config.retention_days))

    def _duration(self, seconds: int) -> int:
        if seconds < 0:
            raise UsageError("executionduration cannot be negative")
        limit = self._config.execution_seconds
        return limit if seconds == 0 else min(seconds, limit)
