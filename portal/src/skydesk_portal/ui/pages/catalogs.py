"""The Catalogs page: ask by form or ADQL, look at the whole result in a table and linked plots, take it elsewhere."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

import panel as pn
import pyarrow as pa
from panel.viewable import Viewable

from skydesk_portal.exceptions import ForbiddenError, PortalError, QueryTimeoutError
from skydesk_portal.models.tables import ColumnInfo
from skydesk_portal.services.reproduce import NamedBrush, write_adql, write_python
from skydesk_portal.services.snippets import query_cells
from skydesk_portal.ui.background_query import (
    LONG_SECONDS,
    BackgroundQueries,
    check_size,
    describe_wait,
    foresee,
)
from skydesk_portal.ui.catalog_state import CatalogState
from skydesk_portal.ui.gate import PREFIX
from skydesk_portal.ui.notebook_button import NotebookButton
from skydesk_portal.ui.query_panel import QueryPanel, explain_query_error
from skydesk_portal.ui.result_panel import ResultPanel
from skydesk_portal.ui.shell import PageRequest, no_release, notice

if TYPE_CHECKING:
    from skydesk_portal.models.resultsets import ResultSet
    from skydesk_portal.ui.services import PortalServices

__all__ = ["build"]

_PROGRESS_S = 0.5


class _Page:
    """One person's query and its result."""

    def __init__(self, services: PortalServices, request: PageRequest) -> None:
        self.services = services
        self.request = request
        self.query = QueryPanel(services, request, self._start)
        self.result = ResultPanel(
            services, request.identity, request.dark, self.write_address, self._tell_selected
        )
        self.wanted: CatalogState | None = None
        self._asked = ""
        self._stop: Callable[[], None] | None = None
        self._arrived = 0
        self.run = pn.widgets.Button(name="Run", button_type="primary", width=110)
        self.abort = pn.widgets.Button(name="Abort", width=90, visible=False)
        self.estimate = pn.widgets.Button(name="Estimate", width=110)
        self.read = pn.widgets.Button(name="Fill the form from ADQL", width=190)
        self.submit = pn.widgets.Button(name="Run as a job", width=130)
        self.background = pn.widgets.Button(name="Run in the background", button_type="primary", width=190)
        self.here = pn.widgets.Button(name="Run here all the same", width=180)
        self.elsewhere = BackgroundQueries(services, request.identity)
        self.message = self.query.message
        self.copy_python = pn.widgets.Button(name="Copy as Python", width=150)
        self.copy_adql = pn.widgets.Button(name="Copy as ADQL", width=150)
        self.code = pn.Column(sizing_mode="stretch_width", margin=0)
        self.run.on_click(self.on_run)
        self.abort.on_click(self._on_abort)
        self.estimate.on_click(self.query.on_estimate)
        self.read.on_click(self.query.on_read)
        self.submit.on_click(self._on_background)
        self.background.on_click(self._on_background)
        self.here.on_click(self._on_here)
        self.copy_python.on_click(partial(self._on_copy, True))
        self.copy_adql.on_click(partial(self._on_copy, False))
        self.notebook = NotebookButton(services.notebooks, request, "catalogs", self._as_cells)
        self.copies = pn.FlexBox(self.copy_python, self.copy_adql, self.notebook, visible=False)

    def _start(self) -> None:
        pn.state.execute(partial(self.on_run, None))

    async def on_run(self, _event: Any) -> None:
        """Run the ADQL and keep its whole result."""
        if self.abort.visible:
            return
        if "read:tap" not in self.request.identity.scopes:
            self.query.say(ForbiddenError("queries need a sign-in or a token with the scope read:tap"))
            return
        if not await self._is_foreseeable():
            return
        await self._run_here()

    async def _is_foreseeable(self) -> bool:
        """Tell whether the query can be waited for; say so otherwise."""
        adql, uploads = self.query.adql.text, self.query.uploads
        self.run.disabled = True
        try:
            found = await asyncio.to_thread(foresee, self.services, self.request.identity, adql, uploads)
            check_size(self.services, found)
        except PortalError as error:
            self.query.say(error)
            return False
        finally:
            self.run.disabled = False
        if (found.seconds or 0.0) <= LONG_SECONDS:
            return True
        self.message.objects = [
            notice(describe_wait(found, self.services.config.sync_seconds)),
            pn.FlexBox(self.background, self.here),
        ]
        return False

    async def _on_here(self, _event: Any) -> None:
        self.message.objects = []
        await self._run_here()

    async def _on_background(self, _event: Any) -> None:
        self.message.objects = []
        try:
            await self.elsewhere.start(self.query.adql.text, self.query.uploads)
        except PortalError as error:
            self.query.say(error)

    async def _run_here(self) -> None:
        adql = self._asked = self.query.adql.text
        self._arrived, self._stop = 0, None
        self.run.disabled, self.abort.visible = True, True
        started = time.perf_counter()
        work = asyncio.create_task(
            asyncio.to_thread(
                self.services.results.run,
                self.request.identity,
                adql,
                uploads=self.query.uploads,
                on_start=self._set_stop,
                on_rows=self._set_arrived,
            )
        )
        try:
            while not (await asyncio.wait({work}, timeout=_PROGRESS_S))[0]:
                seconds = time.perf_counter() - started
                self.message.objects = [
                    notice(f"{self._arrived:,} rows have arrived after {seconds:.0f} s …", "info")
                ]
            found = work.result()
        except QueryTimeoutError as error:
            text = (
                f"{escape(str(error))}. What was shown before is still here; nothing of this query is kept."
            )
            self.message.objects = [notice(text[0].upper() + text[1:], "error")]
            return
        except PortalError as error:
            self.message.objects = [notice(explain_query_error(adql, error), "error")]
            return
        finally:
            self.run.disabled, self.abort.visible = False, False
        # Plots may be changed only by whoever holds the page's lock, which this coroutine has given up while it waited.
        pn.state.execute(partial(self.present, found, time.perf_counter() - started), schedule=True)

    async def on_open_file(self) -> None:
        """Show the rows of a file, or what the address asks of them."""
        try:
            await asyncio.to_thread(self.query.bring_file, self.request.query["file"])
        except PortalError as error:
            text = f"The file {self.request.query['file']} cannot be shown: {error}."
            self.message.objects = [notice(escape(text), "error")]
            return
        await self.on_run(None)

    async def on_open_result(self) -> None:
        """Show a result that is still kept, without running its query."""
        try:
            found = self.services.results.get(self.request.identity, self.request.query["result"])
        except PortalError as error:
            self.query.say(error)
            return
        self.query.adql.text = self._asked = found.adql
        pn.state.execute(partial(self.present, found, None), schedule=True)

    def _set_stop(self, stop: Callable[[], None]) -> None:
        self._stop = stop

    def _set_arrived(self, rows: int) -> None:
        self._arrived = rows

    def _on_abort(self, _event: Any) -> None:
        if self._stop is not None:
            self._stop()

    def present(self, found: ResultSet, seconds: float | None) -> None:
        """Show a result; without seconds it is one of before."""
        taken = (
            f"in {seconds:.2f} s" if seconds is not None else f"of {found.created:%Y-%m-%d %H:%M} UTC, kept"
        )
        most = self.services.config.maximum_rows
        more = f"; the query has more than the {most:,} rows that a result may have" if found.overflow else ""
        empty = " No row fulfils the query: loosen its conditions." if found.rows == 0 else ""
        self.message.objects = [notice(f"{found.rows:,} rows {taken}{more}.{empty}", "info")]
        wanted, self.wanted = self.wanted, None
        self.code.objects = []
        try:
            self.result.show(found, wanted if wanted and wanted.query == found.adql else None)
        except PortalError as error:
            self.message.objects = [notice(escape(str(error)), "error")]
            return
        self.copies.visible = True
        self.write_address()

    def close(self) -> None:
        """Give back what the page holds."""
        self.elsewhere.close()
        self.result.close()

    def write_address(self) -> None:
        """Let the address say what the page shows."""
        if self.result.explorer is not None:
            self.query.adql.address = f"?{self._state().write()[0]}"

    def _state(self) -> CatalogState:
        return replace(self.result.state(self._asked), file=self.query.file)

    def _tell_selected(self, rows: pa.Table, columns: Sequence[ColumnInfo], caption: str) -> None:
        if self.request.view is not None:
            self.request.view.select(rows, columns, caption)

    def _as_python(self) -> str:
        brushes = [
            NamedBrush(*plot.brush_columns, plot.log, plot.region)
            for plot in self.result.views.plots.values()
            if plot.region is not None
        ]
        return write_python(
            self.result.result, self.result.rows.shown, brushes, _public_url(), self.query.addresses
        )

    def _as_cells(self) -> tuple[str, tuple[str, ...]]:
        """Return a title and the code of what is shown; without brushes and files the lab's client says it in three lines."""
        if self.query.file or any(plot.region is not None for plot in self.result.views.plots.values()):
            return "Query", (self._as_python(),)
        return "Query", query_cells(write_adql(self.result.result, self.result.rows.shown))

    def _on_copy(self, python: bool, _event: Any) -> None:
        if self.result.explorer is None:
            return
        text = self._as_python() if python else write_adql(self.result.result, self.result.rows.shown)
        name = "Python" if python else "ADQL"
        area = pn.widgets.TextAreaInput(
            name=f"This {name} gives the same rows",
            value=text,
            rows=min(text.count("\n") + 2, 18),
            sizing_mode="stretch_width",
        )
        copy = pn.widgets.Button(name="Copy to the clipboard", width=190)
        copy.js_on_click(args={"area": area}, code="navigator.clipboard?.writeText(area.value)")
        _, is_whole = self._state().write()
        note = [] if is_whole else [notice("The address is too long for the lassos; the program holds them.")]
        self.code.objects = [*note, area, copy]


def _public_url() -> str:
    """Return the platform's address as the browser knows it."""
    location = pn.state.location
    href = location.href if location else ""
    return href.split(PREFIX)[0] if PREFIX in href else ""


def build(services: PortalServices, request: PageRequest) -> Viewable:
    """Build the page.

    Parameters
    ----------
    services
        What the pages work with.
    request
        Who is looking, and at what.

    Returns
    -------
    panel.viewable.Viewable
        The page's content.
    """
    if not services.releases.list_visible(request.identity):
        return no_release()
    page = _Page(services, request)
    right = pn.Column(
        page.query.adql,
        pn.FlexBox(
            page.run,
            page.abort,
            page.estimate,
            page.submit,
            page.read,
            align_items="center",
            sizing_mode="stretch_width",
        ),
        page.elsewhere.view,
        page.message,
        page.copies,
        page.code,
        page.result.body,
        sizing_mode="stretch_width",
    )
    if request.query.get("result"):
        pn.state.onload(page.on_open_result)
    elif request.query.get("saved"):
        page.query.saved.open_saved(request.query["saved"])
    elif request.query.get("file") or request.query.get("query"):
        page.wanted = CatalogState.read(page.query.adql.text, request.query.get("s", ""))
        pn.state.onload(page.on_open_file if request.query.get("file") else partial(page.on_run, None))
    pn.state.on_session_destroyed(lambda _context: page.close())
    return pn.Row(page.query.form_view, right, sizing_mode="stretch_width")
