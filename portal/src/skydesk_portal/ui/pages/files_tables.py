"""The tables that a person keeps, and those that others share."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import panel as pn
import pyarrow as pa

from skydesk_portal.exceptions import PortalError
from skydesk_portal.models.tables import ColumnInfo
from skydesk_portal.models.user_tables import UserTable
from skydesk_portal.ui.gate import PREFIX
from skydesk_portal.ui.pages.files_sharing import split_names
from skydesk_portal.ui.shell import PageRequest, notice
from skydesk_portal.ui.tables import ResultTable
from skydesk_portal.ui.usage import usage_bar
from skydesk_portal.ui.words import describe_bytes

if TYPE_CHECKING:
    from skydesk_portal.ui.services import PortalServices

__all__ = ["TablesView"]

_COLUMNS = (
    ColumnInfo("table", "char", "*", description="Name in queries"),
    ColumnInfo("rows", "long"),
    ColumnInfo("size", "char", "*"),
    ColumnInfo("changed", "char", "*", description="Last change (UTC)"),
    ColumnInfo("shared with", "char", "*", description="Users and groups that may read it"),
    ColumnInfo("description", "char", "*"),
)


class TablesView:
    """The list of tables and the one that was chosen.

    Parameters
    ----------
    services
        What the pages work with.
    request
        Who is looking.
    """

    def __init__(self, services: PortalServices, request: PageRequest) -> None:
        self._services, self._who = services, request.identity
        self._tables: list[UserTable] = []
        self._chosen: UserTable | None = None
        self._message = pn.Column(sizing_mode="stretch_width", margin=0)
        self._usage = pn.pane.HTML("", sizing_mode="stretch_width")
        self._list = ResultTable(lambda row: self._choose(self._tables[row]))
        self._details = pn.pane.HTML("", sizing_mode="stretch_width")
        self._words = pn.widgets.TextInput(name="Description", width=420)
        self._users = pn.widgets.TextInput(name="Users that may read it, with commas", width=300)
        self._groups = pn.widgets.TextInput(name="Groups that may read it, with commas", width=300)
        describe = pn.widgets.Button(name="Save description", width=150, align="end")
        share = pn.widgets.Button(name="Save sharing", width=130, align="end")
        drop = pn.widgets.Button(name="Drop table", width=120, align="end")
        self._own = pn.Column(
            pn.FlexBox(self._words, describe, align_items="end", sizing_mode="stretch_width"),
            pn.FlexBox(self._users, self._groups, share, align_items="end", sizing_mode="stretch_width"),
            drop,
            sizing_mode="stretch_width",
            visible=False,
        )
        self._dropped = pn.widgets.Select(name="Dropped tables", options=[], width=260)
        restore = pn.widgets.Button(name="Restore", width=100, align="end")
        self._undo = pn.FlexBox(
            self._dropped, restore, align_items="end", sizing_mode="stretch_width", visible=False
        )
        describe.on_click(lambda _e: self._act(self._describe))
        share.on_click(lambda _e: self._act(self._share))
        drop.on_click(lambda _e: self._act(self._drop))
        restore.on_click(lambda _e: self._act(self._restore))
        self.view = pn.Column(
            self._usage,
            self._message,
            self._list.view,
            self._details,
            self._own,
            self._undo,
            sizing_mode="stretch_width",
        )

    def refresh(self) -> None:
        """Read the tables again."""
        service = self._services.tables
        try:
            self._tables = service.list_tables(self._who)
            dropped = [table.name for table in service.list_dropped(self._who)]
            used, limit = service.usage_of(self._who)
        except PortalError as error:
            self._say(f"Your tables are not available now: {error}.", "error")
            return
        rows = [
            {
                "table": t.full_name,
                "rows": t.rows,
                "size": describe_bytes(t.size_bytes),
                "changed": f"{t.changed.astimezone(UTC):%Y-%m-%d %H:%M}",
                "shared with": ", ".join([*t.users, *t.groups])
                if t.owner == self._who.name
                else f"by {t.owner}",
                "description": t.description,
            }
            for t in self._tables
        ]
        kinds = [pa.int64() if c.datatype == "long" else pa.string() for c in _COLUMNS]
        schema = pa.schema([(c.name, kind) for c, kind in zip(_COLUMNS, kinds, strict=True)])
        self._list.show(
            pa.Table.from_pylist(rows, schema=schema), _COLUMNS, "Your tables, and those shared with you"
        )
        self._usage.object = usage_bar("Tables", used, limit, describe_bytes)
        self._dropped.options = dropped
        if dropped:
            self._dropped.value = dropped[-1]
        self._undo.visible = bool(dropped)
        name = self._chosen.full_name if self._chosen else ""
        self._choose(next((t for t in self._tables if t.full_name == name), None))
        if not rows and not self._message.objects:
            self._say(
                "You have no tables yet. Make one of a file on the Files view, or of a query as a job.",
                "info",
            )

    def _say(self, text: str, kind: str) -> None:
        self._message.objects = [notice(escape(text), kind)]

    def _choose(self, table: UserTable | None) -> None:
        self._chosen = table
        self._own.visible = table is not None and table.owner == self._who.name
        if table is None:
            self._details.object = ""
            return
        self._list.mark(self._tables.index(table))
        self._words.value = table.description
        self._users.value, self._groups.value = ", ".join(table.users), ", ".join(table.groups)
        rows = "".join(
            f"<tr><th scope='row'>{escape(c.name)}</th><td>{escape(c.datatype)}</td><td>{escape(c.unit)}</td>"
            f"<td>{escape(c.description)}</td></tr>"
            for c in table.columns
        )
        query = urlencode({"query": f"SELECT TOP 1000 * FROM {table.full_name}"})
        self._details.object = (
            f"<div class='panel'><h2>{escape(table.full_name)}</h2><div class='links'>"
            f"<a class='open' href='{PREFIX}/catalogs?{query}'>Open in Catalogs</a></div>"
            f"<table class='plain'><caption class='soft'>{len(table.columns)} columns</caption>"
            f"<thead><tr><th scope='col'>Column</th>"
            f"<th scope='col'>Type</th><th scope='col'>Unit</th><th scope='col'>Description</th></tr></thead>"
            f"<tbody>{rows}</tbody></table></div>"
        )

    def _act(self, action: Callable[[UserTable | None], str]) -> None:
        try:
            done = action(self._chosen)
        except PortalError as error:
            self._say(f"{str(error)[:1].upper()}{str(error)[1:]}.", "error")
            return
        if done:
            self._say(done, "info")
        self.refresh()

    def _describe(self, table: UserTable | None) -> str:
        if table is None:
            return ""
        self._services.tables.describe_table(self._who, table.name, description=self._words.value)
        return f"The description of {table.name} was saved."

    def _share(self, table: UserTable | None) -> str:
        if table is None:
            return ""
        users, groups = split_names(self._users.value), split_names(self._groups.value)
        self._services.tables.share_table(self._who, table.name, users, groups)
        return f"{table.name} is shared with {', '.join([*users, *groups]) or 'nobody'} now."

    def _drop(self, table: UserTable | None) -> str:
        if table is None:
            return ""
        self._services.tables.drop_table(self._who, table.name)
        return f"{table.name} was dropped; it can be restored for some days."

    def _restore(self, _table: UserTable | None) -> str:
        name = str(self._dropped.value)
        self._services.tables.restore_table(self._who, name)
        return f"{name} is back."
