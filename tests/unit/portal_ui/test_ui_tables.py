"""Pages of a result."""

import pyarrow as pa
import pytest

from skydesk_portal.models.tables import ColumnInfo
from skydesk_portal.ui.tables import PAGE_ROWS, ResultTable, format_cell

COLUMNS = (ColumnInfo("id", "long"), ColumnInfo("x", "double", unit="deg"), ColumnInfo("name", "char", "*"))


@pytest.fixture
def table():
    rows = 203
    data = {
        "id": [2**60 + n for n in range(rows)],
        "x": [((n * 37) % rows) / 7 for n in range(rows)],
        "name": ["a"] * rows,
    }
    picked = []
    shown = ResultTable(picked.append)
    shown.show(pa.table(data), COLUMNS, "Things")
    shown.picked_rows = picked
    return shown


def test_only_one_page_reaches_the_browser(table):
    assert len(table.view.page["rows"]) == PAGE_ROWS
    assert table.view.page["total"] == 203


def test_identifiers_keep_their_digits(table):
    assert table.view.page["rows"][0][0] == str(2**60)


def test_turning_past_the_end_shows_the_last_page(table):
    table.view.request = {"first": 100000, "serial": 1}
    assert table.view.page["first"] == 200
    assert len(table.view.page["rows"]) == 3


def test_sorting_sorts_everything_and_a_pick_names_the_row_of_the_result(table):
    table.view.request = {"first": 0, "sort": [["x", True]], "serial": 2}
    shown = [float(row[1]) for row in table.view.page["rows"]]
    assert shown == sorted(shown, reverse=True)
    assert shown[0] == pytest.approx(202 / 7)
    table.view.picked = {"row": 0, "serial": 1}
    (row,) = table.picked_rows
    assert (row * 37) % 203 == 202


@pytest.mark.parametrize(("value", "kind", "text"), [
    (None, "double", None), (float("nan"), "float", None), (True, "boolean", "true"), (0.1 + 0.2, "double", "0.3"),
    (53.123456789012, "double", "53.12345679"), (12345.678711, "float", "12345.68"), (2**62, "long", str(2**62)),
])  # fmt: skip
def test_cells_are_written_for_people(value, kind, text):
    assert format_cell(value, kind) == text
