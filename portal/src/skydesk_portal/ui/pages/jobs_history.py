"""Past queries: what was asked, how it ended, and the way to ask it again."""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import quote

import panel as pn
import pyarrow as pa

from skydesk_portal.exceptions import ForbiddenError, PortalError
from skydesk_portal.models.history import PastQuery
from skydesk_portal.models.tables import ColumnInfo
from skydesk_portal.ui.confirm import Confirmation
from skydesk_portal.ui.gate import PREFIX
from skydesk_portal.ui.shell import PageRequest, notice
from skydesk_portal.ui.tables import ResultTable
from skydesk_portal.ui.words import describe_age, describe_seconds

if TYPE_CHECKING:
    from skydesk_portal.ui.services import PortalServices

__all__ = ["HistoryView"]

_NEWEST = 1000
_COLUMNS = (
    ColumnInfo("when", "char", "*", description="How long ago it was asked"),
    ColumnInfo("ended", "char", "*", description="How it ended"),
    ColumnInfo("rows", "long", description="Rows of the answer"),
    ColumnInfo("time", "char", "*", description="How long it took"),
    ColumnInfo(
        "how", "char", "*", description="At once, as a job, on a page of the Portal, or from a kept answer"
    ),
    ColumnInfo("query", "char", "*", description="What was asked"),
)

_HOW = {"sync": "at once", "async": "job", "portal": "Portal"}


def _text_of(past: PastQuery) -> str:
    return next((value for name, value in past.parameters if name == "QUERY"), "")


class HistoryView:
    """The list of past queries and the one that was chosen.

    Parameters
    ----------
    services
        What the pages work with.
    request
        Who is looking.
    """

    def __init__(self, services: PortalServices, request: PageRequest) -> None:
        self._services, self._request = services, request
        self._past: list[PastQuery] = []
        self._chosen: PastQuery | None = None
        self._filter = pn.widgets.TextInput(name="Filter by text", width=260)
        self._message = pn.Column(sizing_mode="stretch_width", margin=0)
        self._table = ResultTable(self._pick)
        self._details = pn.pane.HTML("", sizing_mode="stretch_width")
        self._again = pn.widgets.Button(name="Run again as a job", width=170, visible=False)
        self._forget = pn.widgets.Button(name="Forget this query", width=160, visible=False)
        self._forget_all = pn.widgets.Button(name="Forget all queries…", width=170)
        self._confirm = Confirmation()
        self._filter.param.watch(lambda _e: self.refresh(), "value")
        self._again.on_click(lambda _e: self._rerun())
        self._forget.on_click(lambda _e: self._drop(self._chosen))
        self._forget_all.on_click(
            lambda _e: self._confirm.ask(
                "Forget all your past queries? They cannot be brought back.", "Forget all", self._drop
            )
        )
        buttons = pn.FlexBox(self._again, self._forget, self._forget_all, sizing_mode="stretch_width")
        self.view = pn.Column(
            self._filter, self._message, self._table.view, self._details, self._confirm.view, buttons, sizing_mode="stretch_width"
        )  # fmt: skip

    def refresh(self) -> None:
        """Read the queries again."""
        try:
            found = self._services.history.list_queries(self._request.identity, last=_NEWEST)
        except PortalError as error:
            self._say(f"Past queries are not available now: {error}", "error")
            return
        words = self._filter.value.lower().split()
        self._past = [p for p in found if all(w in f"{_text_of(p)} {p.status}".lower() for w in words)]
        now = datetime.now(UTC)
        rows = [
            {
                "when": describe_age(p.begun, now),
                "ended": p.status,
                "rows": p.rows,
                "time": describe_seconds(p.seconds),
                "how": "kept answer" if p.cached else _HOW.get(p.mode, p.mode),
                "query": " ".join(_text_of(p).split())[:120],
            }
            for p in self._past
        ]
        types = [pa.int64() if c.datatype == "long" else pa.string() for c in _COLUMNS]
        schema = pa.schema([(c.name, kind) for c, kind in zip(_COLUMNS, types, strict=True)])
        self._table.show(
            pa.Table.from_pylist(rows, schema=schema), _COLUMNS, "Your past queries, newest first"
        )
        self._choose(None)
        if not found:
            self._say("You have asked no queries yet, or they have been forgotten.", "info")

    def _say(self, text: str, kind: str) -> None:
        self._message.objects = [notice(escape(text), kind)] if text else []

    def _pick(self, row: int) -> None:
        self._choose(self._past[row])

    def _choose(self, past: PastQuery | None) -> None:
        self._chosen = past
        self._again.visible = self._forget.visible = past is not None
        if past is None:
            self._details.object = ""
            return
        text = _text_of(past)
        error = f"<div class='error' role='alert'>{escape(past.error)}</div>" if past.error else ""
        self._details.object = (
            f"<div class='panel'><h2>Query of {past.begun.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC</h2>"
            f"<pre class='look' tabindex='0' aria-label='ADQL'>{escape(text)}</pre>{error}"
            f"<div class='links'><a class='open' href='{PREFIX}/catalogs?query={quote(text)}'>Open in Catalogs</a>"
            f"{self._result_link(past)}</div></div>"
        )

    def _result_link(self, past: PastQuery) -> str:
        """Return a link to the result where it is still kept."""
        if past.job is not None:
            return f" <a class='open' href='{PREFIX}/jobs?job={quote(past.job)}'>Open its job</a>"
        if past.result is None or self._services.results.find(self._request.identity, past.result) is None:
            return ""
        return f" <a class='open' href='{PREFIX}/catalogs?result={quote(past.result)}'>Open its result</a>"

    def _rerun(self) -> None:
        if self._chosen is None:
            return
        try:
            if "read:tap" not in self._request.identity.scopes:
                raise ForbiddenError("your token does not have the scope read:tap")
            job = self._services.history.rerun(self._request.identity, str(self._chosen.id))
        except PortalError as error:
            self._say(f"{error}.", "error")
            return
        self._message.objects = [
            notice(f"It runs again as <a href='{PREFIX}/jobs?job={job.id}'>job {job.id}</a>.", "info")
        ]

    def _drop(self, past: PastQuery | None = None) -> None:
        try:
            number = None if past is None else str(past.id)
            self._services.history.forget(self._request.identity, number)
        except PortalError as error:
            self._say(f"{error}.", "error")
            return
        self.refresh()
