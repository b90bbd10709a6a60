"""The tie between an open page and the person's programs: commands go to the browser, selections come back.

Every page has it. What a program asks for reaches the browser as a change of the page's address or as an event that a part
of the page takes up in place; a page that shows rows tells which are selected with `PageView.select`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import panel as pn
import param
import pyarrow as pa
import structlog
from panel.custom import JSComponent

from skydesk_portal.exceptions import PortalError
from skydesk_portal.models.identity import Identity
from skydesk_portal.models.tables import ColumnInfo
from skydesk_portal.services.images import ID_COLUMNS

if TYPE_CHECKING:
    from skydesk_portal.services.tap import TapService
    from skydesk_portal.services.views import OpenView, ViewRegistry

__all__ = ["PageLink", "PageView"]

MAX_PICKED = 1000
"""Sources of an image that can be selected at the same time."""

_RELEASE = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}\Z")

log = structlog.get_logger(__name__)


class PageLink(JSComponent):
    """The end of the tie in the browser; it shows nothing."""

    command = param.Dict(default={}, doc="What the browser has to do, with a serial number.")
    ready = param.Dict(default={}, doc="Name that the page had or wants, and its address, once it is there.")
    given = param.String(default="", doc="Name that the page has.")
    address = param.String(default="", doc="Path and query of the page as they are now.")
    done = param.Dict(
        default={}, doc="Serial number of a command that was followed in place, or its problem."
    )
    picked = param.Dict(default={}, doc="Rows of a release's table that were selected in the browser.")

    _bundle = "assets/pagelink.bundle.js"


class PageView:
    """One page session as the person's programs see it.

    Parameters
    ----------
    views
        Where it is noted.
    queries
        Reads the rows that are selected by identifier.
    identity
        Who is looking.
    page
        Key of the page in the navigation.
    """

    def __init__(self, views: ViewRegistry, queries: TapService, identity: Identity, page: str) -> None:
        self._views = views
        self._queries = queries
        self._identity = identity
        self._page = page
        self._view: OpenView | None = None
        self._document = pn.state.curdoc
        self.link = PageLink(width=0, height=0, margin=0)
        self.link.param.watch(self._attach, "ready")
        self.link.param.watch(self._note_address, "address")
        self.link.param.watch(self._note_done, "done")
        self.link.param.watch(self._read_picked, "picked")
        if self._document is not None:
            self._document.on_session_destroyed(self._detach)

    @property
    def address(self) -> str | None:
        """Path and query that restore what the browser shows; None while it has not told."""
        return self._view.address if self._view is not None else None

    def select(self, table: pa.Table, columns: Sequence[ColumnInfo], caption: str) -> None:
        """Tell the person's programs which rows are selected now.

        Parameters
        ----------
        table, columns
            The rows and what their columns are, in the same order.
        caption
            What they are, in a few words.
        """
        if self._view is not None:
            self._views.select(self._view, table, columns, caption)

    def _attach(self, event: Any) -> None:
        name, address = str(event.new.get("name", "")), str(event.new.get("address", ""))
        self._view = self._views.attach(
            self._identity.name, name, self._page, address, self._deliver, self._is_connected
        )
        self.link.given = self._view.name

    def _detach(self, _context: Any) -> None:
        if self._view is not None:
            self._views.detach(self._view)

    def _is_connected(self) -> bool:
        context = self._document.session_context if self._document is not None else None
        session = getattr(context, "session", None)
        return session is not None and session.connection_count > 0

    def _deliver(self, command: dict[str, Any]) -> None:
        if self._document is not None:
            self._document.add_next_tick_callback(partial(self._set_command, command))

    def _set_command(self, command: dict[str, Any]) -> None:
        self.link.command = command

    def _note_address(self, event: Any) -> None:
        if self._view is not None:
            self._view.address = event.new

    def _note_done(self, event: Any) -> None:
        if self._view is not None:
            problem = event.new.get("problem")
            self._view.address = str(event.new.get("address", self._view.address))
            self._views.answer(self._view, int(event.new.get("serial", 0)), str(problem) if problem else None)

    async def _read_picked(self, event: Any) -> None:
        release, table, ids = event.new.get("release"), event.new.get("table"), event.new.get("ids", [])
        if table not in ID_COLUMNS or not _RELEASE.match(str(release)) or len(ids) > MAX_PICKED:
            return
        numbers = ", ".join(str(int(number)) for number in ids) or "-1"
        adql = f"SELECT * FROM {release}.{table} WHERE {ID_COLUMNS[table]} IN ({numbers})"
        try:
            found = await asyncio.to_thread(self._queries.run_query, self._identity, adql, maxrec=MAX_PICKED)
        except PortalError as error:
            # The page itself says that the row cannot be read; a program keeps the selection before.
            log.warning("selection not read", error=str(error), code=error.code)
            return
        self.select(found.table, found.columns, f"{release}.{table}")
