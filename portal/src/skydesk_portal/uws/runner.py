"""Taking jobs from the store and doing them: leases, news, aborts, time limits."""

from __future__ import annotations

import secrets
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import structlog

from skydesk_portal.exceptions import PortalError
from skydesk_portal.log import get_logger
from skydesk_portal.models.jobs import Job, JobError, JobKind, JobResult
from skydesk_portal.uws.store import JobStore

__all__ = ["JobContext", "JobExecutor", "JobRunner"]

ATTEMPTS = 3
"""How often a job is begun before the death of its worker counts as its failure."""

_POLL_S = 0.15


class JobStoppedError(PortalError):
    """A job was aborted, deleted or ran out of time."""

    code = "job_stopped"


@dataclass
class JobContext:
    """What a job may use while it runs.

    Parameters
    ----------
    folder
        Folder of this attempt; what lies there in the end are the results.
    """

    folder: Path
    progress: dict[str, str] = field(default_factory=dict)
    results: list[tuple[str, Path, str]] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _on_stop: list[Callable[[], None]] = field(default_factory=list)

    @property
    def stopped(self) -> bool:
        """Whether the job should end at once."""
        return self._stop.is_set()

    def on_stop(self, action: Callable[[], None]) -> None:
        """Call something as soon as the job should end."""
        self._on_stop.append(action)
        if self._stop.is_set():
            action()

    def stop(self) -> None:
        """Tell the job to end."""
        if not self._stop.is_set():
            self._stop.set()
            for action in self._on_stop:
                action()

    def add_result(self, name: str, path: Path, media_type: str) -> None:
        """Name a file that is a result even if the job fails, such as its log."""
        self.results.append((name, path, media_type))

    def report(self, **facts: object) -> None:
        """Tell how far the job is; shown in ``jobInfo``."""
        self.progress.update({name: str(value) for name, value in facts.items()})


class JobExecutor(Protocol):
    """Does the jobs of one kind."""

    def execute(self, job: Job, context: JobContext) -> list[tuple[str, Path, str]]:
        """Do a job.

        Returns
        -------
        list of tuple
            Name, file and media type of each result.
        """


class JobRunner:
    """One slot of a worker: takes a job, does it, takes the next.

    Parameters
    ----------
    worker
        Name of the slot; made unique for each start, so that a restarted
        worker is not taken for the one that died.
    store
        The jobs.
    results
        Folder of result files.
    executors
        Who does which kind.
    lease_s
        A job without news for so long goes to another worker.
    """

    def __init__(
        self,
        worker: str,
        store: JobStore,
        results: Path,
        executors: Mapping[JobKind, JobExecutor],
        lease_s: float,
    ) -> None:
        self.worker = f"{worker}/{secrets.token_hex(4)}"
        self.store = store
        self.results = results
        self.executors = executors
        self.lease_s = lease_s
        self.current: str | None = None
        self._context: JobContext | None = None

    def run_one(self) -> bool:
        """Do the next job if there is one.

        Returns
        -------
        bool
            Whether there was one.
        """
        job = self.store.claim(self.worker, sorted(self.executors), self.lease_s)
        if job is None:
            return False
        structlog.contextvars.bind_contextvars(job=job.id, user=job.owner)
        self.current = job.id
        try:
            self._do(job)
        finally:
            self.current = None
            structlog.contextvars.unbind_contextvars("job", "user")
        return True

    def loop(self, stop: threading.Event) -> None:
        """Do jobs until told to stop."""
        while not stop.is_set():
            try:
                busy = self.run_one()
                self.store.release_expired(ATTEMPTS)
            except Exception:  # noqa: BLE001 - a worker must outlive one failure of the store
                get_logger().exception("worker failure")
                busy = False
                stop.wait(2.0)
            if not busy:
                stop.wait(_POLL_S)

    def give_back(self) -> None:
        """Stop the running job and queue it again: another worker begins it anew."""
        job_id, context = self.current, self._context
        if job_id is not None:
            self.store.give_back(self.worker, job_id)
        if context is not None:
            context.stop()

    def _do(self, job: Job) -> None:
        log = get_logger()
        # Each attempt has its own folder: a late writer of a lost attempt cannot spoil the results.
        relative = Path(job.id) / f"attempt-{job.attempt}"
        folder = self.results / relative
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        context = JobContext(folder)
        self._context = context
        done = threading.Event()
        timed_out = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(job, context, done, timed_out), daemon=True)
        watcher.start()
        begin = time.monotonic()
        error: JobError | None = None
        found: list[tuple[str, Path, str]] = []
        try:
            found = self.executors[job.kind].execute(job, context)
        except PortalError as failure:
            error = JobError(str(failure), failure.code, failure.retryable)
        except Exception:
            log.exception("job failed unexpectedly")
            error = JobError("something went wrong inside the service", "internal")
        finally:
            done.set()
            watcher.join()
            self._context = None
        if timed_out.is_set():
            error = JobError(f"the job was stopped after its {job.execution_seconds} s", "query_timeout")
        results = [
            JobResult(name, str(relative / path.relative_to(folder)), media_type, path.stat().st_size)
            for name, path, media_type in [*found, *context.results]
            if path.is_file()
        ]
        self.store.renew(self.worker, job.id, self.lease_s, context.progress)
        mine = self.store.finish(self.worker, job.id, results, error)
        if not mine and not self._has_results(job.id):
            shutil.rmtree(folder, ignore_errors=True)
        log.info(
            "job ended",
            kind=job.kind,
            mine=mine,
            error=error.code if error else None,
            s=round(time.monotonic() - begin, 2),
        )

    def _has_results(self, job_id: str) -> bool:
        job = self.store.find(job_id)
        return job is not None and bool(job.results)

    def _watch(
        self, job: Job, context: JobContext, done: threading.Event, timed_out: threading.Event
    ) -> None:
        end = time.monotonic() + job.execution_seconds if job.execution_seconds > 0 else None
        renewed, shown = time.monotonic(), dict(context.progress)
        while not done.wait(0.2):
            now = time.monotonic()
            if end is not None and now > end:
                timed_out.set()
                context.stop()
                # The lease is renewed until the job has really ended: nobody may begin it meanwhile.
            found = self.store.find(job.id)
            if found is None or found.worker != self.worker or found.phase != "EXECUTING":
                context.stop()
                return
            if now - renewed > self.lease_s / 4 or context.progress != shown:
                shown = dict(context.progress)
                self.store.renew(self.worker, job.id, self.lease_s, shown)
                renewed = now
