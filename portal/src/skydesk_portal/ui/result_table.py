"""The table of a kept result: pages, order, conditions and ticks live on the server, the browser holds one page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from skydesk_portal.exceptions import PortalError, QueryError
from skydesk_portal.models.resultsets import ResultView
from skydesk_portal.services.brushing import Coordinator
from skydesk_portal.services.column_filters import HELP, write_condition
from skydesk_portal.services.explorer import ResultExplorer, ResultPage, is_numeric
from skydesk_portal.ui.components import SkyTable
from skydesk_portal.ui.tables import PAGE_ROWS, format_cell

__all__ = ["KeptTable"]


class KeptTable:
    """Drives one `SkyTable` over a kept result.

    Parameters
    ----------
    on_pick
        Called with the number of a chosen row.
    on_tick
        Called when the ticked rows have changed.
    on_change
        Called when the conditions have changed.
    on_error
        Told what cannot be done.
    on_order
        Called with the columns in the order that somebody has put them into.
    """

    def __init__(
        self,
        on_pick: Callable[[int], None],
        on_tick: Callable[[], None],
        on_change: Callable[[], None],
        on_error: Callable[[PortalError | None], None],
        on_order: Callable[[tuple[str, ...]], None],
    ) -> None:
        self.view = SkyTable(sizing_mode="stretch_width")
        self.explorer: ResultExplorer | None = None
        self.shown = ResultView()
        self.filters: dict[str, str] = {}
        self.expression = ""
        self.only_chosen = False
        self.ticked: set[int] = set()
        self._linked: Coordinator | None = None
        self._page: ResultPage | None = None
        self._first = 0
        self._total = 0
        self._picked: int | None = None
        self._on_pick, self._on_tick, self._on_change, self._on_error = on_pick, on_tick, on_change, on_error
        self._on_order = on_order
        self.view.param.watch(self._turn, "request")
        self.view.param.watch(self._pick, "picked")
        self.view.param.watch(self._tick, "ticked")

    def show(
        self, explorer: ResultExplorer, view: ResultView, filters: dict[str, str], expression: str
    ) -> None:
        """Show a result from its first row.

        Parameters
        ----------
        explorer
            Reads it.
        view
            Columns and order; its conditions are put together from the following.
        filters
            What is written above columns.
        expression
            A condition for whole rows.
        """
        self.explorer, self.filters, self.expression = explorer, dict(filters), expression
        self._first, self._picked, self.ticked, self._linked, self.only_chosen = 0, None, set(), None, False
        self.shown = replace(view, filters=self._conditions(self.filters, expression))
        self._recount()

    def _conditions(self, filters: dict[str, str], expression: str) -> tuple[str, ...]:
        assert self.explorer is not None
        found = []
        for name, text in filters.items():
            column = self.explorer.find_column(name)
            if column is not None and (condition := write_condition(column, text)):
                self.explorer.check_filter(condition)
                found.append(condition)
        if expression.strip():
            self.explorer.check_filter(expression)
            found.append(expression.strip())
        return tuple(found)

    def set_expression(self, text: str) -> None:
        """Set the condition for whole rows; raises `QueryError` when it is none."""
        self._filter(self.filters, text)

    def _filter(self, filters: dict[str, str], expression: str) -> None:
        conditions = self._conditions(filters, expression)
        self.filters = {name: text for name, text in filters.items() if text.strip()}
        self.expression = expression
        self.shown = replace(self.shown, filters=conditions)
        self._first = 0
        self._recount()
        self._on_change()

    def set_columns(self, names: tuple[str, ...]) -> None:
        """Show these columns in this order; none means all."""
        self.shown = replace(self.shown, columns=names)
        self._draw()

    def set_derived(self, derived: tuple[tuple[str, str], ...]) -> None:
        """Follow a change of the computed columns; what used one that is gone is let go."""
        assert self.explorer is not None
        known = {c.name for c in self.explorer.columns}
        columns = tuple(n for n in self.shown.columns if n in known)
        if columns:
            columns += tuple(name for name, _ in derived if name not in columns)
        sort = tuple(key for key in self.shown.sort if key[0] in known)
        filters = {name: text for name, text in self.filters.items() if name in known}
        self.shown = replace(self.shown, columns=columns, derived=derived, sort=sort)
        try:
            self._filter(filters, self.expression)
        except QueryError:
            self._filter(filters, "")

    def set_chosen(self, linked: Coordinator | None, *, is_complete: bool) -> None:
        """Follow the rows that views have chosen.

        Parameters
        ----------
        linked
            Knows which they are; `None` for all.
        is_complete
            Whether the brush is; while it is drawn, the rows that are shown stay, marked by what it holds.
        """
        self._linked = linked
        if is_complete and self.only_chosen:
            self._first = 0
            self._recount()
        else:
            self._show_page()

    def show_only_chosen(self, only: bool) -> None:
        """Show the chosen rows alone, or all."""
        self.only_chosen = only
        self._first = 0
        self._recount()

    @property
    def _restricts(self) -> bool:
        return self.only_chosen and self._linked is not None

    def _recount(self) -> None:
        if self.explorer is None:
            return
        if self._restricts:
            assert self._linked is not None
            self.explorer.choose(np.flatnonzero(self._linked.chosen))
        self._total = self.explorer.count(self.shown, chosen=self._restricts)
        self._draw()

    def mark(self, number: int) -> None:
        """Mark a row, and turn to its page where rows are shown as they came."""
        self._picked = number
        if not self.shown.filters and not self.shown.sort and not self._restricts:
            self._first = number // PAGE_ROWS * PAGE_ROWS
        self._draw()

    def _turn(self, event: Any) -> None:
        if self.explorer is None:
            return
        request = event.new
        try:
            if request.get("filter"):
                name, text = request["filter"]
                self._filter({**self.filters, str(name): str(text)}, self.expression)
            if "sort" in request:
                keys = [(str(name), bool(down)) for name, down in request["sort"]]
                self.shown = replace(self.shown, sort=tuple(keys))
                self._on_change()
            if "columns" in request:
                known = {c.name for c in self.explorer.columns}
                self._on_order(tuple(name for name in map(str, request["columns"]) if name in known))
            last = max(self._total - 1, 0) // PAGE_ROWS * PAGE_ROWS
            self._first = min(max(int(request.get("first", 0)), 0), last)
            self._draw()
            self._on_error(None)
        except PortalError as error:
            self._on_error(error)
            self._draw()

    def _pick(self, event: Any) -> None:
        number = self._number_of(event.new.get("row", -1))
        if number is not None:
            self._picked = number
            self._draw()
            self._on_pick(number)

    def _tick(self, event: Any) -> None:
        for row, on in event.new.get("rows", {}).items():
            number = self._number_of(int(row))
            if number is not None:
                (self.ticked.add if on else self.ticked.discard)(number)
        self._draw()
        self._on_tick()

    def clear_ticks(self) -> None:
        """Take away all ticks."""
        self.ticked.clear()
        self._draw()

    def _number_of(self, row: int) -> int | None:
        numbers = self._page.numbers if self._page is not None else ()
        return numbers[row] if 0 <= row < len(numbers) else None

    def _draw(self) -> None:
        if self.explorer is None:
            return
        page = self.explorer.page(self.shown, self._first, PAGE_ROWS, chosen=self._restricts)
        self._page = page
        self._show_page()

    def _show_page(self) -> None:
        page = self._page
        if page is None:
            return
        values = [column.to_pylist() for column in page.table.columns]
        rows = [
            [format_cell(column[n], info.datatype) for column, info in zip(values, page.columns, strict=True)]
            for n in range(page.table.num_rows)
        ]
        chosen = None if self._linked is None else self._linked.choose_of(page.numbers).tolist()
        self.view.page = {
            "columns": [
                {
                    "name": c.name,
                    "unit": c.unit or "",
                    "title": " · ".join(filter(None, [c.description, c.ucd])),
                    "numeric": is_numeric(c),
                }
                for c in page.columns
            ],
            "rows": rows,
            "first": page.first,
            "total": self._total,
            "size": PAGE_ROWS,
            "sort": [list(key) for key in self.shown.sort],
            "note": "Drag over cells and Ctrl+C to copy; drag a heading to move its column",
            "caption": "Result of the query",
            "selected": page.numbers.index(self._picked) if self._picked in page.numbers else -1,
            "filters": self.filters,
            "filterHelp": HELP,
            "ticked": [n in self.ticked for n in page.numbers],
            "chosen": chosen,
            "movable": True,
        }
