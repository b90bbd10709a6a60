"""Doing the jobs of people in a worker: queries now, cut-outs and batch beside them."""

from __future__ import annotations

import contextlib
from pathlib import Path

from skydesk_portal.exceptions import PortalError
from skydesk_portal.models.identity import Identity
from skydesk_portal.models.jobs import Job
from skydesk_portal.models.tap import parse_tap_request
from skydesk_portal.services.jobs import JobService
from skydesk_portal.services.tap import ENGINE_HEADER, TapService
from skydesk_portal.uws.runner import JobContext

__all__ = ["TapExecutor", "owner_of"]


def owner_of(job: Job) -> Identity:
    """Return the identity that a job works with: its owner, with the groups noted when it was queued."""
    return Identity(job.owner, groups=frozenset(job.groups))


class TapExecutor:
    """Runs queries into files."""

    def __init__(self, tap: TapService, jobs: JobService) -> None:
        self._tap = tap
        self._jobs = jobs

    def execute(self, job: Job, context: JobContext) -> list[tuple[str, Path, str]]:
        """Run the query of a job.

        Parameters
        ----------
        job
            A TAP job.
        context
            Where results go.

        Returns
        -------
        list of tuple
            The one result, ``result`` as TAP 1.1 demands.

        Raises
        ------
        PortalError
            If the query is not accepted or is stopped.
        """
        request = parse_tap_request(job.parameters)
        files = self._jobs.read_files(job)
        # The runner stops the query through the context, so that the engine has no clock of its own here.
        stream = self._tap.answer(
            owner_of(job), request, timeout_s=0, files=files, on_start=context.on_stop, job_id=job.id
        )
        path = context.folder / f"result.{stream.form.extension}"
        with path.open("wb") as out, contextlib.closing(stream.chunks(strict=True)) as chunks:
            for chunk in chunks:
                if context.stopped:
                    stream.cancel()
                    raise PortalError("the job was aborted")
                out.write(chunk)
        engine = stream.headers.get(ENGINE_HEADER)
        context.report(rows=stream.rows, **({"engine": engine} if engine else {}))
        return [("result", path, stream.media_type)]
