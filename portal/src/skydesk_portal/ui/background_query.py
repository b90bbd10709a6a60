"""Queries that the page does not wait for: why one should be one, handing it over, and saying when it has ended."""

from __future__ import annotations

import asyncio
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

import panel as pn

from skydesk_portal.exceptions import PortalError, TooLargeError
from skydesk_portal.models.jobs import FINAL_PHASES, Job, JobKind, Phase
from skydesk_portal.models.tap import TapRequest
from skydesk_portal.ui.gate import PREFIX
from skydesk_portal.ui.job_facts import describe_outcome
from skydesk_portal.ui.shell import notice
from skydesk_portal.ui.words import describe_bytes, describe_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from skydesk_portal.models.estimate import QueryEstimate
    from skydesk_portal.models.identity import Identity
    from skydesk_portal.ui.services import PortalServices

__all__ = ["LONG_SECONDS", "BackgroundQueries", "check_size", "describe_wait", "foresee", "submit"]

LONG_SECONDS = 60.0
"""A query that is expected to take longer should not hold a page."""

_LOOK_MS = 2000


def foresee(
    services: PortalServices, identity: Identity, adql: str, uploads: Mapping[str, bytes]
) -> QueryEstimate:
    """Return what a query of a page would cost, see `skydesk_portal.services.estimate.EstimateService.foresee`."""
    tables = tuple((name, f"param:{name}") for name in uploads)
    request = TapRequest(adql, services.config.maximum_rows, uploads=tables)
    return services.estimates.foresee(identity, request, uploads)


def check_size(services: PortalServices, found: QueryEstimate) -> None:
    """Refuse a query whose result is sure to be larger than one may be.

    Raises
    ------
    TooLargeError
        If it is.
    """
    config = services.config
    if found.exact and found.overflow:
        raise TooLargeError(
            f"this query has more than the {config.maximum_rows:,} rows that a result may have, so it was not run: "
            "restrict it, or write TOP to take some"
        )
    if found.exact and (found.result_bytes or 0) > config.resultset_bytes:
        raise TooLargeError(
            f"the result of this query would have about {describe_bytes(found.result_bytes or 0)}, more than the "
            f"{describe_bytes(config.resultset_bytes)} that a page keeps, so it was not run: choose fewer columns or rows"
        )


def submit(services: PortalServices, identity: Identity, adql: str, uploads: Mapping[str, bytes]) -> Job:
    """Hand a query over to the workers, with the tables that come with it.

    Raises
    ------
    QueryError, UsageError
        If the query would not be accepted.
    QuotaError, RateLimitError
        If the caller has too many jobs.
    """
    tables = tuple((name, f"param:{name}") for name in uploads)
    services.queries.prepare(identity, TapRequest(adql, uploads=tables), files=uploads)
    most = str(services.config.maximum_rows)
    parameters = [("LANG", "ADQL"), ("QUERY", adql), ("REQUEST", "doQuery"), ("MAXREC", most)]
    parameters += [("UPLOAD", f"{name},{source}") for name, source in tables]
    return services.jobs.create_job(
        identity, kind=JobKind.TAP, parameters=parameters, run=True, files=dict(uploads)
    )


class BackgroundQueries:
    """The queries of a page that run elsewhere; says what became of each.

    Parameters
    ----------
    services
        What the page works with.
    identity
        Who asks.
    """

    def __init__(self, services: PortalServices, identity: Identity) -> None:
        self._services, self._identity = services, identity
        self._watched: list[str] = []
        self._timer: Any = None
        self.view = pn.Column(sizing_mode="stretch_width", margin=0)

    async def start(self, adql: str, uploads: Mapping[str, bytes]) -> None:
        """Hand a query over and watch it.

        Raises
        ------
        PortalError
            As for `submit`.
        """
        job = await asyncio.to_thread(partial(submit, self._services, self._identity, adql, uploads))
        self._watched.append(job.id)
        self._say(
            f"Job {job.id} is queued and runs in the background: this page is free for other queries, and says when it "
            f"has ended. Follow it on the <a href='{PREFIX}/jobs?job={job.id}'>Jobs</a> page."
        )
        if self._timer is None:
            self._timer = pn.state.add_periodic_callback(self._look, period=_LOOK_MS)

    def _say(self, text: str, kind: str = "info") -> None:
        self.view.objects = [notice(text, kind)]

    def _look(self) -> None:
        for job_id in list(self._watched):
            try:
                job = self._services.jobs.get_job(self._identity, job_id, JobKind.TAP)
            except PortalError:
                self._watched.remove(job_id)  # deleted meanwhile
                continue
            if job.phase in FINAL_PHASES:
                self._watched.remove(job_id)
                link = f"<a href='{PREFIX}/jobs?job={job.id}'>Open its result</a>"
                done = job.phase is Phase.COMPLETED
                self._say(f"{escape(describe_outcome(job))} {link}" if done else escape(describe_outcome(job)),
                          "info" if done else "error")  # fmt: skip
        if not self._watched:
            self.close()

    def close(self) -> None:
        """Watch no more."""
        if self._timer is not None:
            self._timer.stop()
            self._timer = None


def describe_wait(found: QueryEstimate, limit_seconds: float) -> str:
    """Say why a query should run in the background."""
    return (
        f"This query is expected to take about {describe_seconds(found.seconds or 0)}, more than {LONG_SECONDS:.0f} s; "
        f"a query that this page waits for is stopped after {describe_seconds(limit_seconds)}."
    )
