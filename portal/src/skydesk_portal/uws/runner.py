"""Taking jobs from the store and doing them: leases, news, aborts, time limits."""

from __future__ import annotations

import errno
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import structlog

from skydesk_portal.exceptions import DiskFullError, PortalError, UpstreamError
from skydesk_portal.log import get_logger
from skydesk_portal.models.jobs import Job, JobError, JobKind, JobResult, Phase
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
    short_s
        Makes this the lane of short jobs: one that runs longer than this goes
        back to the queue for the other lanes. `None` takes any job.
    on_end
        Told of each job that has ended here.
    """

    def __init__(
        self,
        worker: str,
        store: JobStore,
        results: Path,
        executors: Mapping[JobKind, JobExecutor],
        lease_s: float,
        short_s: float | None = None,
        on_end: Callable[[Job], None] | None = None,
    ) -> None:
        self._token = secrets.token_hex(4)
        self.worker = f"{worker}/{self._token}"
        self.short_s = short_s
        self.store = store
        self.results = results
        self.executors = executors
        self.lease_s = lease_s
        self._on_end = on_end
        self._job: Job | None = None
        self._handing: tuple[Phase, bool | None] | None = None
        self._context: JobContext | None = None

    @property
    def current(self) -> str | None:
        """The job that is being done."""
        return None if self._job is None else self._job.id

    def run_one(self) -> bool:
        """Do the next job if there is one.

        Returns
        -------
        bool
            Whether there was one.
        """
        job = self.store.claim(
            self.worker, sorted(self.executors), self.lease_s, short=self.short_s is not None
        )
        if job is None:
            return False
        # The request that made the job is named in all its log lines, so that one can be followed to the other.
        structlog.contextvars.bind_contextvars(job=job.id, user=job.owner, request_id=job.request_id)
        self._job = job
        try:
            self._do(job)
        finally:
            self._job = None
            structlog.contextvars.unbind_contextvars("job", "user", "request_id")
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
        """Stop the running job, which then goes back to the queue: another worker begins it anew, or continues it."""
        job, context = self._job, self._context
        if job is not None and context is not None:
            # What a pipeline has done lies in its owner's repository, and the next worker goes on from there.
            self._handing = (Phase.SUSPENDED if job.kind == JobKind.BATCH else Phase.QUEUED, None)
            context.stop()

    def let_go(self) -> None:
        """Give the job back although it has not stopped; the process must end right after."""
        if self._job is not None:
            self.store.give_back(self.worker, self._job.id)

    def _do(self, job: Job) -> None:
        # Each attempt has its own folder: a late writer of a lost attempt cannot spoil the results.
        relative = Path(job.id) / f"attempt-{job.attempt}-{self._token}"
        folder = self.results / relative
        context = JobContext(folder)
        self._context = context
        done, timed_out = threading.Event(), threading.Event()
        watcher = threading.Thread(target=self._watch, args=(job, context, done, timed_out), daemon=True)
        watcher.start()
        begin = time.monotonic()
        try:
            found, error = self._execute(job, context)
        finally:
            done.set()
            watcher.join()
            self._context = None
        if timed_out.is_set():
            error = JobError(f"the job was stopped after its {job.execution_seconds} s", "query_timeout")
        kept = [item for item in [*([] if error else found), *context.results] if item[1].is_file()]
        results = [
            JobResult(name, str(relative / path.relative_to(folder)), media_type, path.stat().st_size)
            for name, path, media_type in kept
        ]
        with suppress(UpstreamError):
            self.store.renew(self.worker, job.id, self.lease_s, context.progress)
        if self._handing is not None and error is not None:
            # Only now that nothing of it runs here any more may another worker have it.
            to, long = self._handing
            self.store.give_back(self.worker, job.id, to, long=long)
            mine = False
        else:
            mine = self._finish(job, results, error)
        self._handing = None
        self._tidy(job.id, folder, [path for _, path, _ in kept] if mine else [])
        get_logger().info(
            "job ended",
            kind=job.kind,
            attempt=job.attempt,
            mine=mine,
            error=error.code if error else None,
            s=round(time.monotonic() - begin, 2),
        )
        if mine and self._on_end is not None:
            self._tell(job.id, self._on_end)

    def _tell(self, job_id: str, on_end: Callable[[Job], None]) -> None:
        # The job has ended whether or not anybody can be told.
        try:
            ended = self.store.find(job_id)
            if ended is not None:
                on_end(ended)
        except Exception:  # noqa: BLE001 - see above
            get_logger().exception("the end of a job is not told")

    def _finish(self, job: Job, results: Sequence[JobResult], error: JobError | None) -> bool:
        # Work of hours is not thrown away because the store is restarted just now. After the lease it may be another's.
        end = time.monotonic() + self.lease_s
        while True:
            try:
                if self.store.finish(self.worker, job.id, results, error):
                    return True
                # The answer to an earlier try may have been lost.
                found = self.store.find(job.id)
                return found is not None and bool(results) and found.results == tuple(results)
            except UpstreamError:
                if time.monotonic() > end:
                    raise
                time.sleep(_POLL_S)

    def _execute(self, job: Job, context: JobContext) -> tuple[list[tuple[str, Path, str]], JobError | None]:
        try:
            context.folder.mkdir(parents=True)
            return self.executors[job.kind].execute(job, context), None
        except Exception as failure:  # noqa: BLE001 - whatever an executor raises must end as the job's error
            if _is_disk_full(failure):
                get_logger().error("the disk is full", error=str(failure))
                full = DiskFullError(
                    "the platform's disk is full: the result could not be written; try again later"
                )
                return [], JobError(str(full), full.code, transient=True)
            if isinstance(failure, PortalError):
                return [], JobError(str(failure), failure.code, failure.retryable)
            get_logger().exception("job failed unexpectedly")
            return [], JobError("something went wrong inside the service", "internal")

    def _tidy(self, job_id: str, folder: Path, kept: Sequence[Path]) -> None:
        if kept:
            # Nothing half-written stays beside the results, neither of this attempt nor of lost ones.
            parents = {parent for path in kept for parent in path.parents}
            for path in sorted(folder.rglob("*"), reverse=True):
                if path.is_file() and path not in kept:
                    path.unlink(missing_ok=True)
                elif path.is_dir() and path not in parents:
                    shutil.rmtree(path, ignore_errors=True)
            for other in folder.parent.glob("attempt-*"):
                if other != folder:
                    shutil.rmtree(other, ignore_errors=True)
            return
        shutil.rmtree(folder, ignore_errors=True)
        if self.store.find(job_id) is None:
            shutil.rmtree(folder.parent, ignore_errors=True)

    def _watch(
        self, job: Job, context: JobContext, done: threading.Event, timed_out: threading.Event
    ) -> None:
        begin = renewed = time.monotonic()
        shown = dict(context.progress)
        while not done.wait(0.2):
            now = time.monotonic()
            if 0 < job.execution_seconds < now - begin:
                timed_out.set()
                context.stop()
                # The lease is renewed until the job has really ended: nobody may begin it meanwhile.
            try:
                if not self._is_mine(job):
                    context.stop()
                    return
                if self.short_s is not None and now - begin > self.short_s and not timed_out.is_set():
                    # No longer short: the other lanes do it from its beginning, and this one is free again.
                    self._handing = (Phase.QUEUED, True)
                    context.stop()
                if now - renewed > self.lease_s / 4 or context.progress != shown:
                    shown = dict(context.progress)
                    self.store.renew(self.worker, job.id, self.lease_s, shown)
                    renewed = now
            except Exception:  # noqa: BLE001 - the store may be away for a moment
                get_logger().exception("the job store does not answer")
                if now - renewed > self.lease_s:
                    # By now another worker may have begun the job.
                    context.stop()
                    return

    def _is_mine(self, job: Job) -> bool:
        found = self.store.find(job.id)
        return found is not None and found.worker == self.worker and found.phase == Phase.EXECUTING


def _is_disk_full(error: BaseException | None) -> bool:
    # The engine or a file format may have wrapped the operating system's error in one of its own.
    while error is not None:
        if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
            return True
        if "No space left on device" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
