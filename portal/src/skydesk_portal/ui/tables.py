"""A result shown page by page: sorting and paging happen here, the browser holds one page."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from skydesk_portal.models.tables import ColumnInfo
from skydesk_portal.ui.components import SkyTable

__all__ = ["ResultTable", "format_cell", "is_numeric"]

PAGE_ROWS = 50

_NUMERIC = {"double", "float", "int", "long", "short", "unsignedByte"}


def is_numeric(column: ColumnInfo) -> bool:
    """Tell whether a column holds one number per row."""
    return column.datatype in _NUMERIC and column.arraysize is None


def format_cell(value: Any, datatype: str = "double") -> str | None:
    """Write one value for people.

    Parameters
    ----------
    value
        As Arrow gives it; 64-bit integers keep all digits.
    datatype
        VOTable type: single precision gets seven digits, double ten.

    Returns
    -------
    str or None
        The text; None for a missing value.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.7g}" if datatype == "float" else f"{value:.10g}"
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds")
    return str(value)


class ResultTable:
    """Drives one `SkyTable` over a result of any length that fits in memory.

    Parameters
    ----------
    on_pick
        Called with the index of a chosen row in the result.
    on_tick
        Called when the ticked rows have changed; without it rows have no ticks.
    """

    def __init__(
        self, on_pick: Callable[[int], None] | None = None, on_tick: Callable[[], None] | None = None
    ) -> None:
        self.view = SkyTable(sizing_mode="stretch_width")
        self.table: pa.Table | None = None
        self.columns: Sequence[ColumnInfo] = ()
        self._order: pa.Array | None = None
        self._sort: list[Any] = []
        self._first = 0
        self._caption = ""
        self._note = ""
        self._selected: int | None = None
        self.ticked: set[int] = set()
        self._on_pick = on_pick
        self._on_tick = on_tick
        self.view.param.watch(self._turn, "request")
        self.view.param.watch(self._pick, "picked")
        self.view.param.watch(self._tick, "ticked")

    def show(self, table: pa.Table, columns: Sequence[ColumnInfo], caption: str, note: str = "") -> None:
        """Show a result from its first row.

        Parameters
        ----------
        table
            The rows.
        columns
            Their descriptions, in the same order.
        caption
            What the table holds, in a few words.
        note
            Remark beside the page buttons.
        """
        self.table, self.columns = table, columns
        self._order, self._sort, self._first, self._selected = None, [], 0, None
        self.ticked.clear()
        self._caption, self._note = caption, note
        self._draw()

    def update(self, table: pa.Table) -> None:
        """Show newer rows in the place, order and columns that the reader has chosen.

        Parameters
        ----------
        table
            The rows, with the columns of the ones before.
        """
        self.table, self._order = table, None
        self._turn_to({"first": self._first, "sort": self._sort})

    @property
    def first(self) -> int:
        """Index of the first visible row."""
        return self._first

    def turn(self, first: int) -> None:
        """Show the page that begins with a row, or the last page when there are fewer rows."""
        rows = self.table.num_rows if self.table is not None else 0
        self._first = min(first, max(rows - 1, 0) // PAGE_ROWS * PAGE_ROWS)
        self._draw()

    def _turn(self, event: Any) -> None:
        self._turn_to(event.new)

    def _turn_to(self, request: dict[str, Any]) -> None:
        if self.table is None:
            return
        if "sort" in request:
            self._sort = [key for key in request["sort"] if key[0] in self.table.column_names]
            self._order = None
            if self._sort:
                keys = [(name, "descending" if down else "ascending", "at_end") for name, down in self._sort]
                self._order = pc.sort_indices(
                    self.table.select([key[0] for key in self._sort]), sort_keys=keys
                )
        last = max(self.table.num_rows - 1, 0)
        self._first = min(max(int(request.get("first", 0)), 0), last // PAGE_ROWS * PAGE_ROWS)
        self._draw()

    def _row_number(self, n: int) -> int:
        at = self._first + n
        return int(self._order[at].as_py()) if self._order is not None else at

    def _pick(self, event: Any) -> None:
        n = event.new.get("row", -1)
        if self.table is None or not 0 <= self._first + n < self.table.num_rows:
            return
        self._selected = self._row_number(n)
        self._draw()
        if self._on_pick:
            self._on_pick(self._selected)

    def _tick(self, event: Any) -> None:
        if self.table is None or self._on_tick is None:
            return
        for row, on in event.new.get("rows", {}).items():
            if 0 <= self._first + int(row) < self.table.num_rows:
                (self.ticked.add if on else self.ticked.discard)(self._row_number(int(row)))
        self._draw()
        self._on_tick()

    def mark(self, index: int | None, turn: bool = True) -> None:
        """Mark a row of the result; by default turn to its page when the order is the original one."""
        self._selected = index
        if turn and index is not None and self._order is None:
            self._first = index // PAGE_ROWS * PAGE_ROWS
        self._draw()

    def _draw(self) -> None:
        if self.table is None:
            return
        if self._order is None:
            page = self.table.slice(self._first, PAGE_ROWS)
        else:
            page = self.table.take(self._order.slice(self._first, PAGE_ROWS))
        columns = [column.to_pylist() for column in page.columns]
        rows = [
            [
                format_cell(values[n], info.datatype)
                for values, info in zip(columns, self.columns, strict=True)
            ]
            for n in range(page.num_rows)
        ]
        numbers = [self._row_number(n) for n in range(page.num_rows)]
        self.view.page = {
            "columns": [
                {
                    "name": c.name,
                    "unit": c.unit or "",
                    "title": " · ".join(filter(None, [c.description, c.ucd])),
                    "numeric": is_numeric(c),
                }
                for c in self.columns
            ],
            "rows": rows,
            "first": self._first,
            "total": self.table.num_rows,
            "size": PAGE_ROWS,
            "sort": self._sort,
            "note": self._note,
            "caption": self._caption,
            "selected": numbers.index(self._selected) if self._selected in numbers else -1,
            "ticked": None if self._on_tick is None else [n in self.ticked for n in numbers],
        }
