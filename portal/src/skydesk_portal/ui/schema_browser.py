"""Looking for tables and columns by name, description, unit or UCD."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

import panel as pn

from skydesk_portal.models.tables import Catalog, ColumnInfo, TableInfo
from skydesk_portal.services.completion import search_schema

__all__ = ["ColumnDictionary", "SchemaBrowser"]

_MOST_COLUMNS = 60
_MOST_TABLES = 25


def _describe(column: ColumnInfo) -> str:
    unit = f" [{escape(column.unit)}]" if column.unit else ""
    ucd = f" · <i>{escape(column.ucd)}</i>" if column.ucd else ""
    words = f"<span class='soft'>{escape(column.description)}{ucd}</span>"
    return f"<li><code>{escape(column.name)}</code>{unit} {words}</li>"


class ColumnDictionary:
    """All columns of the chosen table with unit, description and UCD, once somebody opens the list."""

    def __init__(self) -> None:
        self._table: TableInfo | None = None
        self.listed = pn.pane.HTML("", sizing_mode="stretch_width")
        self.card = pn.Card(
            self.listed, title="What the columns mean", collapsed=True, sizing_mode="stretch_width"
        )
        self.card.param.watch(lambda _event: self._fill(), "collapsed")

    def show(self, table: TableInfo) -> None:
        """Describe another table."""
        self._table = table
        self._fill()

    def _fill(self) -> None:
        if self._table is None or self.card.collapsed:
            self.listed.object = ""
            return
        self.listed.object = f"<ul>{''.join(map(_describe, self._table.columns))}</ul>"


class SchemaBrowser:
    """A search field over all tables and columns that a person may query.

    Parameters
    ----------
    catalog
        Returns what may be queried.
    on_choose
        Called with the full name of a table that is to be used.
    """

    def __init__(self, catalog: Callable[[], Catalog], on_choose: Callable[[str], None]) -> None:
        self._catalog = catalog
        self.search = pn.widgets.TextInput(
            name="Search tables and columns", placeholder="flux r nJy", sizing_mode="stretch_width"
        )
        self.found = pn.pane.HTML("", sizing_mode="stretch_width")
        self.choose = pn.widgets.Select(
            name="Use the table", options=[""], value="", sizing_mode="stretch_width"
        )
        self.search.param.watch(self._search, "value_input")
        self.choose.param.watch(lambda event: on_choose(event.new) if event.new else None, "value")
        self.card = pn.Card(
            self.search,
            self.choose,
            self.found,
            title="Tables and columns",
            collapsed=True,
            sizing_mode="stretch_width",
        )
        self.card.param.watch(lambda _event: self._fill(), "collapsed")

    def _search(self, _event: Any) -> None:
        self._fill()

    def _fill(self) -> None:
        found = search_schema(self.search.value_input or "", self._catalog())
        parts = []
        for table, columns in found[:_MOST_TABLES]:
            rows = f"{table.rows:,} rows" if table.rows is not None else ""
            head = (
                f"<summary><code>{escape(table.full_name)}</code> <span class='soft'>{rows} · "
                f"{len(columns) or len(table.columns)} columns</span></summary><p class='soft'>{escape(table.description)}</p>"
            )
            items = "".join(map(_describe, (columns or table.columns)[:_MOST_COLUMNS]))
            more = len(columns or table.columns) - _MOST_COLUMNS
            items += f"<li class='soft'>… and {more} more: search for one</li>" if more > 0 else ""
            is_open = " open" if self.search.value_input and len(found) <= 6 else ""
            parts.append(f"<details{is_open}>{head}<ul>{items}</ul></details>")
        if len(found) > _MOST_TABLES:
            parts.append(f"<p class='soft'>… and {len(found) - _MOST_TABLES} more tables: search for one</p>")
        self.found.object = "".join(parts) or "<p class='soft'>No table or column has these words.</p>"
        names = [table.full_name for table, _ in found]
        self.choose.param.update(options=["", *names], value="")
