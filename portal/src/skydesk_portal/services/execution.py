"""Doing the jobs of people in a worker: queries now, cut-outs and batch beside them."""

from __future__ import annotations

from pathlib import Path

from skydesk_portal.exceptions import PortalError
from skydesk_portal.models.identity import Identity
from skydesk_portal.models.jobs import Job
from skydesk_portal.models.tap import parse_tap_request
from skydesk_portal.services.jobs import JobService
from skydesk_portal.services.tap import TapService
from skydesk_portal.uws.runner import JobContext
from skydesk_portal.vo.formats import find_format

__all__ = ["TapExecutor", "owner_of"]

_EXTENSIONS = {"votable": "vot", "votable/td": "vot"}


def owner_of(job: Job) -> Identity:
    """Return the identity that a job works with: its owner, with the groups noted when it was made."""
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
        stream = self._tap.open_stream(
            owner_of(job), request, timeout_s=0, files=files, on_start=context.on_stop
        )
        name = find_format(request.response_format)
        path = context.folder / f"result.{_EXTENSIONS.get(name, name)}"
        with path.open("wb") as out:
            for chunk in stream.chunks(strict=True):
                if context.stopped:
                    stream.cancel()
                    raise PortalError("the job was aborted")
                out.write(chunk)
        context.report(rows=stream.rows)
        return [("result", path, stream.media_type)]
