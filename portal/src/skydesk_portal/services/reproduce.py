"""What is shown of a result, as one ADQL query and as a Python program that gives the same rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from skydesk_portal.models.resultsets import ResultSet, ResultView
from skydesk_portal.services.brushing import Box, Brush, Interval, Polygon
from skydesk_portal.services.explorer import quote_name

__all__ = ["NamedBrush", "write_adql", "write_python"]


@dataclass(frozen=True)
class NamedBrush:
    """A brush with the columns it is drawn on.

    Parameters
    ----------
    x, y
        Columns; ``y`` is empty on a histogram.
    log
        Whether the axes are logarithmic: the region is then one of decimal logarithms.
    region
        The region.
    """

    x: str
    y: str
    log: tuple[bool, bool]
    region: Brush


def write_adql(result: ResultSet, view: ResultView) -> str:
    """Write what a table shows of a result as one query.

    Parameters
    ----------
    result
        The result.
    view
        Columns, computed columns, conditions and order.

    Returns
    -------
    str
        The query of the result itself when nothing is changed.
    """
    if view == ResultView(subset=view.subset):
        return result.adql
    text = result.adql.strip().rstrip(";")
    for n, (name, expression) in enumerate(view.derived, 1):
        text = f"SELECT r{n}.*, ({expression.strip()}) AS {name}\nFROM (\n{text}\n) AS r{n}"
    listed = ", ".join(quote_name(name) for name in view.columns) or "*"
    query = f"SELECT {listed}\nFROM (\n{text}\n) AS result"
    if view.filters:
        query += "\nWHERE " + "\n  AND ".join(f"({condition})" for condition in view.filters)
    if view.sort:
        query += "\nORDER BY " + ", ".join(
            f"{quote_name(c)}{' DESC' if down else ''}" for c, down in view.sort
        )
    return query


def write_python(
    result: ResultSet,
    view: ResultView,
    brushes: Sequence[NamedBrush],
    url: str,
    uploads: Mapping[str, str] | None = None,
) -> str:
    """Write a program that gives the rows that are shown and chosen.

    Parameters
    ----------
    result
        The result.
    view
        What the table shows of it.
    brushes
        What is chosen in plots; a row has to lie in all.
    url
        Public base address of the platform.
    uploads
        Addresses of the tables that come with the query, by their name in ``TAP_UPLOAD``.

    Returns
    -------
    str
        Python that needs pyvo, and numpy and matplotlib for brushes.
    """
    lines = ["import os", ""]
    if brushes:
        lines += ["import numpy as np"]
    lines += ["import pyvo", "import requests"]
    if any(isinstance(brush.region, Polygon) for brush in brushes):
        lines += ["from matplotlib.path import Path"]
    sent = f", uploads={dict(uploads)!r}" if uploads else ""
    query = write_adql(result, view).replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    lines += [
        "",
        "session = requests.Session()",
        'session.headers["Authorization"] = f"Bearer {os.environ[\'ACCESS_TOKEN\']}"',
        f'service = pyvo.dal.TAPService("{url.rstrip("/")}/api/tap", session=session)',
        f'query = """{query}\n"""',
        f"table = service.run_async(query, maxrec={max(result.rows, 1)}{sent}).to_table()",
    ]
    for brush in brushes:
        lines += ["", *_write_brush(brush)]
    return "\n".join([*lines, "print(table)", ""])


def _write_brush(brush: NamedBrush) -> list[str]:
    def axis(name: str, is_log: bool) -> str:
        value = f'np.ma.filled(table["{name}"].astype(float), np.nan)'
        return f"np.log10({value})" if is_log else value

    x = f"x = {axis(brush.x, brush.log[0])}"
    region = brush.region
    if isinstance(region, Interval):
        return [x, f"table = table[(x >= {region.low!r}) & (x <= {region.high!r})]"]
    y = f"y = {axis(brush.y, brush.log[1])}"
    if isinstance(region, Box):
        (x0, x1), (y0, y1) = sorted((region.x0, region.x1)), sorted((region.y0, region.y1))
        inside = f"(x >= {x0!r}) & (x <= {x1!r}) & (y >= {y0!r}) & (y <= {y1!r})"
        return [x, y, f"table = table[{inside}]"]
    corners = ", ".join(f"({a!r}, {b!r})" for a, b in region.vertices)
    return [
        x,
        y,
        f"outline = Path([{corners}])",
        "table = table[outline.contains_points(np.stack([x, y], axis=1))]",
    ]
