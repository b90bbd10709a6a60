"""The queries of a person: list, forget, run again."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from skydesk_portal.exceptions import NotFoundError, UsageError
from skydesk_portal.models.history import PastQuery
from skydesk_portal.models.identity import Identity
from skydesk_portal.models.jobs import Job, JobKind
from skydesk_portal.services.jobs import JobService
from skydesk_portal.storage.history import SqliteHistoryStore

if TYPE_CHECKING:
    from skydesk_portal.models.tap import TapRequest
    from skydesk_portal.services.tap_stream import Outcome

__all__ = ["HistoryService"]

_LONGEST_CHARACTERS = 100_000
"""What is longer is not remembered: a full history of the longest queries must still fit into one answer."""


class HistoryService:
    """Keeps and shows the queries that people have run.

    Parameters
    ----------
    store
        Where they are kept.
    jobs
        The jobs, in which a query runs again.
    days
        How long one is remembered, in days.
    most
        How many are remembered of each person.
    """

    def __init__(self, store: SqliteHistoryStore, jobs: JobService, days: float, most: int) -> None:
        self._store = store
        self._jobs = jobs
        self._days = days
        self._most = most

    def create_recorder(
        self, identity: Identity, request: TapRequest, mode: str, job: str | None = None
    ) -> Callable[..., None]:
        """Return what notes how a query of somebody ended: told the `Outcome`, and a result that is kept by a page.

        Parameters
        ----------
        identity
            Who runs it.
        request
            What is asked.
        mode
            ``sync``, ``async`` or ``portal``.
        job
            Identifier of the job, if it is one.
        """
        begun = datetime.now(UTC)
        parameters = [("QUERY", request.query)]
        if request.maxrec is not None:
            parameters.append(("MAXREC", str(request.maxrec)))
        if request.response_format:
            parameters.append(("RESPONSEFORMAT", request.response_format))
        parameters += [("UPLOAD", f"{name},{source}") for name, source in request.uploads]

        def record(outcome: Outcome, result: str | None = None) -> None:
            if sum(len(value) for _, value in parameters) > _LONGEST_CHARACTERS:
                return
            self._store.add(
                PastQuery(
                    identity.name,
                    begun,
                    mode,
                    tuple(parameters),
                    outcome.status,
                    outcome.rows,
                    outcome.overflow,
                    round(outcome.seconds, 3),
                    outcome.error,
                    outcome.cached,
                    job,
                    result,
                )
            )

        return record

    def list_queries(self, identity: Identity, last: int = 100, before: int | None = None) -> list[PastQuery]:
        """Return the caller's queries, newest first.

        Parameters
        ----------
        identity
            The caller.
        last
            How many at most.
        before
            Only those with a smaller number, for paging.
        """
        return self._store.list_queries(identity.name, max(0, min(last, self._most)), before)

    def get_query(self, identity: Identity, number: str) -> PastQuery:
        """Return one of the caller's queries.

        Raises
        ------
        NotFoundError
            If the caller has none of that number, which is also the answer for another's.
        """
        found = self._store.find(identity.name, int(number)) if re.fullmatch(r"\d{1,15}", number) else None
        if found is None:
            raise NotFoundError(f"you have no query {number[:20]!r}")
        return found

    def forget(self, identity: Identity, number: str | None = None) -> None:
        """Forget one of the caller's queries, or all."""
        if number is None:
            self._store.remove(identity.name)
        else:
            self._store.remove(identity.name, self.get_query(identity, number).id)

    def rerun(self, identity: Identity, number: str) -> Job:
        """Run one of the caller's queries again, as a job.

        Raises
        ------
        UsageError
            If files came with the query: they are not kept.
        """
        found = self.get_query(identity, number)
        if any(name == "UPLOAD" and ",param:" in value.lower() for name, value in found.parameters):
            raise UsageError("the query came with files, which are not kept: send it again with them")
        return self._jobs.create_job(identity, kind=JobKind.TAP, parameters=found.parameters, run=True)

    def rerun_job(self, identity: Identity, job_id: str) -> Job:
        """Run what a job of the caller was made for again, in a job of its own, with the same files."""
        job = self._jobs.get_job(identity, job_id, JobKind.TAP)
        return self._jobs.create_job(
            identity,
            kind=JobKind.TAP,
            parameters=job.parameters,
            run=True,
            run_id=job.run_id,
            files=self._jobs.read_files(job),
            execution_seconds=job.execution_seconds,
        )

    def sweep(self) -> int:
        """Forget what is too old; return how many queries that were."""
        return self._store.remove_before(datetime.now(UTC) - timedelta(days=self._days), self._most)
