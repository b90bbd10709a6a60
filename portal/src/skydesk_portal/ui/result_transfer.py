"""What a result shows, sent into the reader's storage or tables."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import panel as pn

from skydesk_portal.exceptions import PortalError, UsageError
from skydesk_portal.models.identity import Identity
from skydesk_portal.models.resultsets import ResultView
from skydesk_portal.ui.gate import PREFIX
from skydesk_portal.ui.shell import notice
from skydesk_portal.ui.words import describe_bytes

if TYPE_CHECKING:
    from skydesk_portal.ui.services import PortalServices

__all__ = ["ResultTransfer"]

_FILE, _NEW, _OLD = "a file of mine", "a new table of mine", "a table that I have"


class ResultTransfer:
    """A row of widgets that sends what is shown somewhere.

    Parameters
    ----------
    services
        What the page works with.
    identity
        Who is looking.
    shown
        Returns the identifier of the result and what is shown of it.
    """

    def __init__(
        self,
        services: PortalServices,
        identity: Identity,
        shown: Callable[[], tuple[str, ResultView]],
    ) -> None:
        self._services, self._who, self._shown = services, identity, shown
        self._target = pn.widgets.Select(name="Send it to", options=[_FILE, _NEW, _OLD], width=180)
        self._path = pn.widgets.TextInput(name="Path of the file", value="results/result.parquet", width=230)
        self._name = pn.widgets.TextInput(
            name="Name of the new table", placeholder="my_result", width=200, visible=False
        )
        self._table = pn.widgets.Select(name="My table", options=[], width=200, visible=False)
        self._send = pn.widgets.Button(name="Send", align="end")
        self._message = pn.Column(sizing_mode="stretch_width", margin=0)
        self._target.param.watch(lambda _e: self._offer(), "value")
        self._send.on_click(self._on_send)
        self.view = pn.Column(
            pn.FlexBox(
                self._target, self._path, self._name, self._table, self._send,
                align_items="end", sizing_mode="stretch_width",
            ),
            self._message,
            sizing_mode="stretch_width",
            margin=0,
        )  # fmt: skip

    def _offer(self) -> None:
        target = self._target.value
        self._path.visible, self._name.visible = target == _FILE, target == _NEW
        self._table.visible = target == _OLD
        self._message.objects = []
        if target == _OLD:
            try:
                tables = self._services.tables.list_tables(self._who)
                self._table.options = [table.name for table in tables if table.owner == self._who.name]
            except PortalError as error:
                self._say(str(error))
                return
            if not self._table.options:
                self._say("you have no table yet")

    def _say(self, text: str) -> None:
        self._message.objects = [notice(f"{escape(text[:1].upper() + text[1:])}.", "error")]

    async def _on_send(self, _event: Any) -> None:
        self._send.loading = True
        try:
            told = await asyncio.to_thread(self._work)
        except PortalError as error:
            self._say(str(error))
            return
        finally:
            self._send.loading = False
        self._message.objects = [notice(told, "info")]

    def _work(self) -> str:
        result_id, view = self._shown()
        service, target = self._services.result_transfers, self._target.value
        if target == _FILE:
            path = self._path.value.strip()
            size = service.to_file(self._who, result_id, view, path)
            folder = urlencode({"path": path.strip("/").rpartition("/")[0]})
            where = f"<a href='{PREFIX}/files?{folder}'>{escape(path)}</a>"
            return f"The file {where} of {describe_bytes(size)} is in your storage."
        append = target == _OLD
        name = str(self._table.value or "") if append else self._name.value.strip()
        if not name:
            raise UsageError("choose a table" if append else "type a name for the table")
        table, rows = service.to_table(self._who, result_id, view, name, append=append)
        link = f"<a href='{PREFIX}/files?view=tables'>{escape(table.full_name)}</a>"
        words = f"{rows:,} row{'' if rows == 1 else 's'}"
        return f"{words} went into the table {link}, which has {table.rows:,} now."
