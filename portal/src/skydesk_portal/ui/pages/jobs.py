"""The Jobs page: what runs for this person, how far it is, what came out, and what was asked before."""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING

import panel as pn
import pyarrow as pa
from panel.viewable import Viewable

from skydesk_portal.exceptions import ForbiddenError, PortalError
from skydesk_portal.models.jobs import ACTIVE_PHASES, FINAL_PHASES, Job, Phase
from skydesk_portal.ui.confirm import Confirmation
from skydesk_portal.ui.job_facts import (
    COLUMNS,
    KINDS,
    SCOPES,
    STATES,
    describe_job,
    describe_jobs,
    describe_outcome,
    select_jobs,
)
from skydesk_portal.ui.pages.jobs_history import HistoryView
from skydesk_portal.ui.preview import LARGEST_BYTES, preview_file
from skydesk_portal.ui.sections import page_views
from skydesk_portal.ui.shell import PageRequest, notice
from skydesk_portal.ui.tables import ResultTable

if TYPE_CHECKING:
    from skydesk_portal.ui.services import PortalServices

__all__ = ["build"]

_REFRESH_MS = 2000
_NEWEST = 500
_TELL, _QUIET = "Tell me when it ends", "Do not tell me"


class _Page:
    """The list and the job that was chosen from it."""

    def __init__(self, services: PortalServices, request: PageRequest) -> None:
        self.services = services
        self.request = request
        self.jobs: list[Job] = []
        self.chosen: str | None = request.query.get("job")
        self.running: set[str] = set()
        self.message = pn.Column(sizing_mode="stretch_width", margin=0)
        self.table = ResultTable(self.pick)
        self.kind = pn.widgets.Select(
            name="Kind", options={"all": "", **{v: k for k, v in KINDS.items()}}, width=150
        )
        self.state = pn.widgets.Select(name="State", options=list(STATES), width=170)
        self.text = pn.widgets.TextInput(name="Filter by text", width=230)
        bar = pn.FlexBox(self.kind, self.state, self.text, align_items="end", sizing_mode="stretch_width")
        self.listing = pn.Column(bar, self.table.view, sizing_mode="stretch_width", margin=0, visible=False)
        self.details = pn.pane.HTML("", sizing_mode="stretch_width")
        self.abort = pn.widgets.Button(name="Abort", width=100, visible=False)
        self.again = pn.widgets.Button(name="Run again", width=110, visible=False)
        self.archive = pn.widgets.Button(name="Archive", width=100, visible=False)
        self.delete = pn.widgets.Button(name="Delete", width=100, visible=False)
        self.result = pn.widgets.Select(name="Result", options=[], width=200, visible=False)
        self.look = pn.widgets.Button(name="Show", width=90, align="end", visible=False)
        self.tell = pn.widgets.Button(name=_TELL, visible=False)
        self.content = pn.Column(sizing_mode="stretch_width", margin=0)
        self.confirm = Confirmation()
        self._rows: pa.Table | None = None
        self._described = ""
        self._empty = False
        for widget in (self.kind, self.state, self.text):
            widget.param.watch(lambda _e: self.refresh(), "value")
        self.abort.on_click(lambda _e: self.act("abort"))
        self.again.on_click(lambda _e: self.act("again"))
        self.archive.on_click(lambda _e: self.ask("archive"))
        self.delete.on_click(lambda _e: self.ask("delete"))
        self.look.on_click(lambda _e: self.show_result())
        self.tell.on_click(lambda _e: self.act("tell"))

    def refresh(self) -> None:
        """Read the jobs again; draws only what has changed."""
        try:
            phases = tuple(Phase) if self.state.value == "archived" else ()
            found = self.services.jobs.list_jobs(self.request.identity, phases=phases, last=_NEWEST)
        except PortalError as error:
            self.say(f"The job list is not available now: {error}", "error")
            return
        self.tell_ends(found)
        self.jobs = select_jobs(found, self.kind.value or None, self.state.value, self.text.value)
        rows = describe_jobs(self.jobs, datetime.now(UTC))
        if self._rows is None or not rows.equals(self._rows):
            if self._rows is None:
                self.table.show(rows, COLUMNS, "Your jobs, newest first", "refreshes by itself")
            else:
                self.table.update(rows)
            self._rows = rows
        empty = not found and not self.narrowed()
        self.listing.visible = not empty
        if empty and not self._empty:
            self.say(
                "You have no jobs yet. Queries run as a job, cut-outs and pipelines appear here.", "info"
            )
        elif self._empty and not empty:
            self.say("")
        self._empty = empty
        self.mark()

    def narrowed(self) -> bool:
        """Tell whether only some of the jobs are shown."""
        return bool(self.kind.value) or self.state.value != self.state.options[0] or bool(self.text.value)

    def say(self, text: str, kind: str = "notice") -> None:
        """Say something in a sentence above the list."""
        self.message.objects = [notice(escape(text), kind)] if text else []

    def tell_ends(self, jobs: list[Job]) -> None:
        """Say which of the jobs that were under way have ended since."""
        ended = [job for job in jobs if job.id in self.running and job.phase in FINAL_PHASES]
        self.running = {job.id for job in jobs if job.phase in ACTIVE_PHASES}
        if ended:
            self.say(" ".join(describe_outcome(job) for job in ended), "info")

    def mark(self) -> None:
        """Mark and describe the chosen job."""
        index = next((n for n, job in enumerate(self.jobs) if job.id == self.chosen), None)
        job = self.jobs[index] if index is not None else None
        described = f"{index} {describe_job(job)}" if job else ""
        if described == self._described:
            return
        self._described = described
        self.table.mark(index, turn=False)
        self.details.object = describe_job(job) if job else ""
        self.tell.visible = job is not None and job.phase in ACTIVE_PHASES
        if job is not None and self.tell.visible:
            self.tell.name = _QUIET if self.is_told(job) else _TELL
        self.abort.visible = job is not None and job.phase in ACTIVE_PHASES
        self.again.visible = (
            job is not None
            and job.phase in FINAL_PHASES
            and not (job.phase is Phase.ARCHIVED and job.uploads)
        )
        self.archive.visible = job is not None and job.phase in FINAL_PHASES - {Phase.ARCHIVED}
        self.delete.visible = job is not None
        names = [result.name for result in job.results] if job else []
        self.result.param.update(options=names, value=names[0] if names else None, visible=len(names) > 1)
        self.look.param.update(
            visible=bool(names), name="Show" if len(names) > 1 else f"Show {names[0]}" if names else "Show"
        )
        self.look.width = 90 if len(names) > 1 else 130

    def pick(self, row: int) -> None:
        """Answer to the choice of a row."""
        self.chosen = self.jobs[row].id
        self.confirm.close()
        self.content.objects = []
        self.mark()
        if pn.state.location:
            pn.state.location.update_query(job=self.chosen)

    def is_told(self, job: Job) -> bool:
        """Tell whether the reader gets a notice when a job ends."""
        return self.services.notices.is_wanted(self.request.identity, f"job/{job.id}")

    def chosen_job(self) -> Job | None:
        """Return the job that was chosen."""
        return next((j for j in self.jobs if j.id == self.chosen), None)

    def show_result(self) -> None:
        """Show the content of the chosen result."""
        job = self.chosen_job()
        if job is None or not self.result.value:
            return
        try:
            path, media_type = self.services.jobs.result_path(
                self.request.identity, job.id, self.result.value
            )
            with path.open("rb") as stream:
                content = stream.read(LARGEST_BYTES + 1)
        except (PortalError, OSError) as error:
            self.content.objects = [notice(f"The result cannot be read: {escape(str(error))}.", "error")]
            return
        self.content.objects = [preview_file(content, path.name, media_type)]

    def ask(self, what: str) -> None:
        """Ask before something that cannot be undone."""
        job = self.chosen_job()
        if job is None:
            return
        if what == "delete" and not job.results:
            self.act("delete")
            return
        results = f"{len(job.results)} result{'' if len(job.results) == 1 else 's'}"
        words = {
            "delete": (f"Delete job {job.id} with its {results}?", "Delete it"),
            "archive": (
                f"Archive job {job.id}? Its record is kept, its {results} and uploaded files go.",
                "Archive it",
            ),
        }
        self.confirm.ask(*words[what], lambda: self.act(what))

    def act(self, what: str) -> None:
        """Abort, archive, delete or repeat the chosen job, or be told of its end."""
        job = self.chosen_job()
        if job is None:
            return
        who, jobs = self.request.identity, self.services.jobs
        try:
            if what == "abort":
                jobs.abort(who, job.id)
            elif what == "tell":
                self.services.notices.want(who, f"job/{job.id}", wanted=not self.is_told(job))
                self._described = ""
            elif what == "archive":
                jobs.archive(who, job.id)
            elif what == "delete":
                self.running.discard(job.id)
                jobs.delete(who, job.id)
            else:
                self.chosen = self.repeat(job).id
        except PortalError as error:
            self.say(f"{error}.", "error")
            return
        self.say("")
        self.content.objects = []
        self.refresh()

    def repeat(self, job: Job) -> Job:
        """Run what a job was made for again, in a job of its own."""
        if SCOPES[job.kind] not in self.request.identity.scopes:
            raise ForbiddenError(f"your token does not have the scope {SCOPES[job.kind]}")
        return self.services.jobs.create_job(
            self.request.identity,
            kind=job.kind,
            parameters=job.parameters,
            run=True,
            run_id=job.run_id,
            files=self.services.jobs.read_files(job),
            execution_seconds=job.execution_seconds,
        )


_VIEWS = {"Jobs": "jobs", "Past queries": "jobs?view=queries"}


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
    if request.query.get("view") == "queries":
        past = HistoryView(services, request)
        past.refresh()
        return pn.Column(page_views("Jobs", _VIEWS, "Past queries"), past.view, sizing_mode="stretch_width")
    page = _Page(services, request)
    page.refresh()
    if pn.state.curdoc:
        # The document's own timer: Panel's starts itself again and again off the server's loop (100 % of a core).
        pn.state.curdoc.add_periodic_callback(page.refresh, _REFRESH_MS)
    buttons = pn.FlexBox(
        page.tell, page.abort, page.again, page.archive, page.delete, page.result, page.look,
        align_items="end", sizing_mode="stretch_width",
    )  # fmt: skip
    return pn.Column(
        page_views("Jobs", _VIEWS, "Jobs"),
        page.message,
        page.listing,
        page.details,
        page.confirm.view,
        buttons,
        page.content,
        sizing_mode="stretch_width",
    )
