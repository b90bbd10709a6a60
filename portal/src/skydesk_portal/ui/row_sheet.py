"""One row as a sheet: every value with its uncertainty, unit and meaning; and numbers of columns as a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any

from skydesk_portal.models.tables import ColumnInfo
from skydesk_portal.services.explorer import ColumnStatistics
from skydesk_portal.ui.tables import format_cell

__all__ = ["find_uncertainty", "write_sheet", "write_statistics", "write_uncertain"]


def find_uncertainty(name: str, names: Sequence[str]) -> str | None:
    """Return the column that holds the uncertainty of another."""
    candidates = (f"{name}Err", f"{name}Error", f"{name}_err", f"{name}_error", f"e_{name}")
    return next((c for c in candidates if c in names), None)


def write_uncertain(value: float, error: float) -> str:
    """Write a value and its uncertainty with as many digits as the uncertainty gives a meaning to."""
    if not (math.isfinite(value) and math.isfinite(error) and error > 0):
        return f"{value:.10g}"
    digits = 1 - math.floor(math.log10(error))
    if digits > 15 or digits < -15 or abs(value) >= 1e15:
        return f"{value:.10g} ± {error:.2g}"
    if digits < 0:
        return f"{round(value, digits):.0f} ± {round(error, digits):.0f}"
    return f"{value:.{digits}f} ± {error:.{digits}f}"


def write_sheet(number: int, columns: Sequence[ColumnInfo], row: dict[str, Any]) -> str:
    """Write a row as a sheet of HTML.

    Parameters
    ----------
    number
        Number of the row, from 0.
    columns
        What the columns mean.
    row
        The values by name.
    """
    names = [c.name for c in columns]
    used = {u for u in (find_uncertainty(n, names) for n in names) if u is not None}
    rows = []
    for column in columns:
        if column.name in used:
            continue
        value = row.get(column.name)
        text = format_cell(value, column.datatype)
        uncertainty = find_uncertainty(column.name, names)
        error = row.get(uncertainty) if uncertainty else None
        if isinstance(value, int | float) and isinstance(error, int | float) and not math.isnan(value):
            text = write_uncertain(float(value), float(error))
        shown = "<span class='soft'>no value</span>" if text is None else escape(text)
        meaning = " · ".join(part for part in (column.description, column.ucd) if part)
        rows.append(
            f"<tr><th scope='row'>{escape(column.name)}</th><td>{shown}</td><td>{escape(column.unit)}</td>"
            f"<td class='soft'>{escape(meaning)}</td></tr>"
        )
    return (
        f"<div class='twin' tabindex='0' role='region' aria-label='Row {number + 1:,}'><table>"
        f"<caption>Row {number + 1:,} of the result</caption><thead><tr><th scope='col'>column</th><th scope='col'>value</th>"
        f"<th scope='col'>unit</th><th scope='col'>meaning</th></tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def write_statistics(caption: str, found: Sequence[ColumnStatistics]) -> str:
    """Write statistics of columns as a table of HTML."""
    heads = ["column", "unit", "n", "nulls", "mean", "median", "std", "skewness", "kurtosis", "min", "max"]
    heads += [f"{100 * fraction:g} %" for fraction, _ in found[0].quantiles] if found else []
    body = []
    for item in found:
        numbers = [item.mean, item.median, item.std, item.skewness, item.kurtosis, item.low, item.high]
        numbers += [value for _, value in item.quantiles]
        cells = [item.unit, f"{item.rows - item.nulls:,}", f"{item.nulls:,}"]
        cells += ["" if value is None else f"{value:.6g}" for value in numbers]
        body.append(
            f"<tr><th scope='row'>{escape(item.name)}</th>"
            + "".join(f"<td>{escape(c)}</td>" for c in cells)
            + "</tr>"
        )
    head = "".join(f"<th scope='col'>{h}</th>" for h in heads)
    return (
        f"<div class='twin' tabindex='0' role='region' aria-label='Statistics'><table><caption>{escape(caption)}</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )
