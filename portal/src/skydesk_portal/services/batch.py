"""User batch: pipelines of people in their own repositories."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from skydesk_portal.config import PortalConfig
from skydesk_portal.exceptions import NotFoundError, PortalError
from skydesk_portal.log import get_logger
from skydesk_portal.models.batch import BatchRequest, parse_batch
from skydesk_portal.models.identity import Identity
from skydesk_portal.models.jobs import Job
from skydesk_portal.pipeline.batch import check_pipeline, run_batch
from skydesk_portal.pipeline.releases import ReleaseStore
from skydesk_portal.services.execution import owner_of
from skydesk_portal.services.userimages import UserImageService
from skydesk_portal.uws.runner import JobContext

__all__ = ["BatchExecutor", "BatchService"]


class BatchFailedError(PortalError):
    """Some quanta of a run failed."""

    code = "batch_failed"


class BatchService:
    """Checks batch requests.

    Parameters
    ----------
    releases
        The releases that inputs come from.
    users
        The folder with one folder per user.
    """

    def __init__(self, releases: ReleaseStore, users: Path) -> None:
        self.releases = releases
        self._users = users

    def check(self, identity: Identity, request: BatchRequest) -> None:
        """Refuse a request that cannot run.

        Raises
        ------
        NotFoundError
            If there is no such release or pipeline.
        """
        if self.releases.find(identity, request.release) is None:
            raise NotFoundError(f"there is no release {request.release[:40]!r}")
        check_pipeline(request.pipeline)

    def repo_of(self, name: str) -> Path:
        """Return the Butler repository of a user."""
        return self._users / name / "butler"


class BatchExecutor:
    """Runs pipelines in a worker."""

    def __init__(self, batch: BatchService, images: UserImageService, config: PortalConfig) -> None:
        self._batch = batch
        self._images = images
        self._config = config

    def execute(self, job: Job, context: JobContext) -> list[tuple[str, Path, str]]:
        """Run the pipeline of a job.

        Raises
        ------
        PortalError
            If it cannot run or some of it failed.
        """
        request = parse_batch(job.parameters)
        identity = owner_of(job)
        self._batch.check(identity, request)
        release = self._batch.releases.find(identity, request.release)
        if release is None:
            raise NotFoundError(f"there is no release {request.release[:40]!r}")
        # Named after the job unless its owner wished otherwise: a second attempt continues the first.
        output = f"u/{job.owner}/{request.output or job.id}"
        log = context.folder / "log.txt"
        log.touch()
        context.add_result("log", log, "text/plain")
        context.report(pipeline=request.pipeline, output=output)
        outcome = run_batch(
            self._batch.repo_of(job.owner),
            release,
            request.pipeline,
            request.where,
            output,
            processes=self._config.batch_processes,
            log_file=log,
            progress=lambda facts: context.report(**facts),
            stopped=lambda: context.stopped,
        )
        report = context.folder / "report.json"
        label = f"u-{job.owner}"
        report.write_text(json.dumps({"version": 1, "repository": label, **asdict(outcome)}, indent=1))
        context.add_result("report", report, "application/json")
        if outcome.total:
            self._list_images(context, job.owner, outcome.output)
        context.report(step="end", output=outcome.output, repository=label, succeeded=outcome.succeeded)
        if outcome.aborted:
            raise BatchFailedError("the run was stopped")
        if outcome.failures:
            raise BatchFailedError(
                f"{len(outcome.failures)} of {outcome.total} quanta failed, {outcome.blocked} could not run;"
                f" the first: {outcome.failures[0]}"
            )
        return []

    def _list_images(self, context: JobContext, owner: str, output: str) -> None:
        """Make the images of a run known to searches; the run itself is good without that."""
        try:
            images = self._images.refresh(owner, self._batch.repo_of(owner), output)
        except PortalError as error:
            get_logger().error("images of a run cannot be listed", output=output, error=str(error))
            context.report(images=f"not listed: {error}")
        else:
            context.report(images=images)
