"""The Jobs page: what runs for this person, how far it is, and what came out."""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING, Any

import panel as pn
import pyarrow as pa
from panel.viewable import Viewable

from skydesk_portal.exceptions import PortalError
from skydesk_portal.models.jobs import ACTIVE_PHASES, Job
from skydesk_portal.models.tables import ColumnInfo
from skydesk_portal.ui.gate import PREFIX
from skydesk_portal.ui.shell import PageRequest, notice
from skydesk_portal.ui.tables import ResultTable

if TYPE_CHECKING:
    from skydesk_portal.ui.app import PortalServices

__all__ = ["build", "describe_jobs"]

_REFRESH_MS = 2000
_NEWEST = 500
_COLUMNS = tuple(
    ColumnInfo(name, "char", "*", description=text)
    for name, text in (
        ("job", "Identifier of the job"),
        ("kind", "tap: query; cutout: cut-out; batch: pipeline"),
        ("phase", "Phase of the UWS pattern"),
        ("progress", "How far it is"),
        ("created", "When it was made (UTC)"),
        ("time", "How long it has run"),
        ("what", "What was asked"),
    )
)


def _summary(job: Job) -> str:
    text = job.find_value("QUERY") or " ".join(f"{name}={value}" for name, value in job.parameters)
    text = " ".join(text.split())
    return text if len(text) <= 90 else f"{text[:89]}…"


def _duration(job: Job, now: datetime) -> str:
    if job.start_time is None:
        return ""
    seconds = ((job.end_time or now) - job.start_time).total_seconds()
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.1f} min"


def _progress(job: Job) -> str:
    if job.error:
        return job.error.message
    return ", ".join(f"{key} {value}" for key, value in job.progress.items())


def describe_jobs(jobs: list[Job], now: datetime) -> pa.Table:
    """Make the rows of the job list.

    Parameters
    ----------
    jobs
        Newest first.
    now
        Time (UTC) up to which running jobs have run.

    Returns
    -------
    pyarrow.Table
        One row of text per job.
    """
    rows = [
        {
            "job": job.id,
            "kind": str(job.kind),
            "phase": str(job.phase),
            "progress": _progress(job),
            "created": job.creation_time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S"),
            "time": _duration(job, now),
            "what": _summary(job),
        }
        for job in jobs
    ]
    return pa.Table.from_pylist(rows, schema=pa.schema([(c.name, pa.string()) for c in _COLUMNS]))


class _Page:
    """The list and the job that was chosen from it."""

    def __init__(self, services: PortalServices, request: PageRequest) -> None:
        self.services = services
        self.request = request
        self.jobs: list[Job] = []
        self.chosen: str | None = request.query.get("job")
        self.message = pn.Column(sizing_mode="stretch_width", margin=0)
        self.table = ResultTable(self.pick)
        self.listing = pn.Column(self.table.view, sizing_mode="stretch_width", margin=0, visible=False)
        self.details = pn.pane.HTML("", sizing_mode="stretch_width")
        self.abort = pn.widgets.Button(name="Abort", width=100, visible=False)
        self.again = pn.widgets.Button(name="Run again", width=110, visible=False)
        self.delete = pn.widgets.Button(name="Delete", width=100, visible=False)
        self._shown: Any = None
        self.abort.on_click(lambda _e: self.act("abort"))
        self.again.on_click(lambda _e: self.act("again"))
        self.delete.on_click(lambda _e: self.act("delete"))

    def refresh(self) -> None:
        """Read the jobs again; draws only what has changed."""
        try:
            self.jobs = self.services.jobs.list_jobs(self.request.identity, last=_NEWEST)
        except PortalError as error:
            self.message.objects = [
                notice(f"The job list is not available now: {escape(str(error))}", "error")
            ]
            return
        rows = describe_jobs(self.jobs, datetime.now(UTC))
        if self._shown is not None and rows.equals(self._shown):
            return
        self._shown = rows
        if not self.jobs:
            self.message.objects = [
                notice(
                    "You have no jobs yet. Queries run as a job, cut-outs and pipelines appear here.", "info"
                )
            ]
        else:
            self.message.objects = []
        first = self.table.first
        self.table.show(rows, _COLUMNS, "Your jobs, newest first", "refreshes by itself")
        self.table.turn(first)
        self.listing.visible = bool(self.jobs)
        self.mark()

    def mark(self) -> None:
        """Mark and describe the chosen job."""
        index = next((n for n, job in enumerate(self.jobs) if job.id == self.chosen), None)
        self.table.mark(index, turn=False)
        job = self.jobs[index] if index is not None else None
        self.details.object = self.describe(job) if job else ""
        self.abort.visible = job is not None and job.phase in ACTIVE_PHASES
        self.again.visible = job is not None and job.phase not in ACTIVE_PHASES
        self.delete.visible = job is not None

    def describe(self, job: Job) -> str:
        """Make the sheet of one job."""
        facts = [
            ("Phase", str(job.phase)),
            *((n.title(), v) for n, v in job.parameters),
            *(job.progress.items()),
        ]
        if job.error:
            facts.append(("Error", job.error.message))
        sheet = "".join(f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in facts)
        links = "".join(
            f"<a class='open' href='{PREFIX}/results/{job.id}/{escape(r.name)}'>{escape(r.name)} ({r.size / 1e6:.2f} MB)</a>"
            for r in job.results
        )
        return f"<div class='panel'><h2>Job {job.id}</h2><dl class='facts'>{sheet}</dl><div class='links'>{links}</div></div>"

    def pick(self, row: int) -> None:
        """Answer to the choice of a row."""
        self.chosen = self.jobs[row].id
        self.mark()

    def act(self, what: str) -> None:
        """Abort, delete or repeat the chosen job."""
        job = next((j for j in self.jobs if j.id == self.chosen), None)
        if job is None:
            return
        who, jobs = self.request.identity, self.services.jobs
        try:
            if what == "abort":
                jobs.abort(who, job.id)
            elif what == "delete":
                jobs.delete(who, job.id)
            else:
                self.chosen = jobs.create_job(
                    who, kind=job.kind, parameters=job.parameters, run=True, files=jobs.read_files(job)
                ).id
        except PortalError as error:
            self.message.objects = [notice(escape(str(error)), "error")]
            return
        self.refresh()


def build(services: PortalServices, request: PageRequest) -> Viewable:
    """Build the page.

    Parameters
    ----------
    services
        What the pages work with.
    request
        Who is looking.

    Returns
    -------
    panel.viewable.Viewable
        The page's content.
    """
    page = _Page(services, request)
    page.refresh()
    if pn.state.curdoc:
        # The document's own timer: Panel's starts itself again and again off the server's loop (100 % of a core).
        pn.state.curdoc.add_periodic_callback(page.refresh, _REFRESH_MS)
    buttons = pn.FlexBox(page.abort, page.again, page.delete, sizing_mode="stretch_width")
    return pn.Column(
        pn.pane.HTML("<h1>Jobs</h1>"),
        page.message,
        page.listing,
        page.details,
        buttons,
        sizing_mode="stretch_width",
    )
