"""The query form: what it holds as a value, as ADQL, and back from ADQL of the same shape."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from skydesk_portal.exceptions import UsageError

__all__ = ["Cone", "QueryForm", "read_adql", "write_adql"]

_COMPARISON = re.compile(
    r"^\s*[A-Za-z_]\w*\s*(?:(?:<=|>=|<>|!=|=|<|>)\s*\S.*|(?:NOT\s+)?(?:BETWEEN|IN|LIKE)\b.*|IS\s+(?:NOT\s+)?NULL)\s*$",
    re.IGNORECASE,
)
_SELECT = re.compile(
    r"^\s*SELECT\s+(?:TOP\s+(?P<top>\d+)\s+)?(?P<columns>\*|[\w\s,]+?)\s+FROM\s+(?P<table>\w+\.\w+)"
    r"(?:\s+WHERE\s+(?P<where>.+?))?(?:\s+ORDER\s+BY\s+(?P<order>\w+)(?:\s+(?P<direction>ASC|DESC))?)?\s*;?\s*$",
    re.IGNORECASE | re.DOTALL,
)
_NUMBER = r"([-+]?[\d.]+(?:[eE][-+]?\d+)?)"
_CONE = re.compile(
    rf"^\s*(?:1\s*=\s*)?CONTAINS\s*\(\s*POINT\s*\(\s*(?:'ICRS'\s*,\s*)?(\w+)\s*,\s*(\w+)\s*\)\s*,\s*"
    rf"CIRCLE\s*\(\s*(?:'ICRS'\s*,\s*)?{_NUMBER}\s*,\s*{_NUMBER}\s*,\s*{_NUMBER}\s*\)\s*\)\s*(?:=\s*1)?\s*$",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Cone:
    """A circle on the sky.

    Parameters
    ----------
    ra_deg, dec_deg, radius_arcsec
        Centre (ICRS degrees) and radius.
    """

    ra_deg: float
    dec_deg: float
    radius_arcsec: float


@dataclass(frozen=True)
class QueryForm:
    """What the form holds.

    Parameters
    ----------
    table
        Full name, ``release.table``.
    columns
        Chosen columns; none means all.
    position_columns
        Right ascension and declination columns of the table, `None` without a position.
    cone
        Search region, `None` for everywhere.
    constraints
        Comparisons that all have to hold, one each.
    top
        Largest number of rows, `None` for no limit.
    order
        Column to sort by and whether descending.
    """

    table: str
    columns: tuple[str, ...] = ()
    position_columns: tuple[str, str] | None = None
    cone: Cone | None = None
    constraints: tuple[str, ...] = field(default=())
    top: int | None = None
    order: tuple[str, bool] | None = None


def write_adql(form: QueryForm) -> str:
    """Write the ADQL query that a form means.

    Raises
    ------
    UsageError
        If a constraint is no comparison, or the table has no position for the cone.
    """
    top = f"TOP {form.top} " if form.top else ""
    where = []
    if form.cone:
        if form.position_columns is None:
            raise UsageError(f"{form.table} has no position, so it cannot be searched by a cone")
        ra, dec = form.position_columns
        circle = f"CIRCLE('ICRS', {form.cone.ra_deg:.11g}, {form.cone.dec_deg:.11g}, {form.cone.radius_arcsec / 3600:.11g})"
        where.append(f"CONTAINS(POINT('ICRS', {ra}, {dec}), {circle}) = 1")
    for constraint in form.constraints:
        if not _COMPARISON.match(constraint):
            raise UsageError(
                f"{constraint.strip()!r} is not a constraint: write a column and a comparison, such as r_psfFlux > 1000"
            )
        where.append(constraint.strip())
    lines = [f"SELECT {top}{', '.join(form.columns) or '*'}", f"FROM {form.table}"]
    lines += [("WHERE " if n == 0 else "  AND ") + part for n, part in enumerate(where)]
    if form.order:
        lines.append(f"ORDER BY {form.order[0]}{' DESC' if form.order[1] else ''}")
    return "\n".join(lines)


def _split_and(text: str) -> list[str]:
    """Split at AND outside brackets, quotes and BETWEEN."""
    parts, depth, start, quoted, between = [], 0, 0, False, False
    for found in re.finditer(r"'|\(|\)|\bBETWEEN\b|\bAND\b", text, re.IGNORECASE):
        word = found.group().upper()
        if word == "'":
            quoted = not quoted
        elif quoted:
            continue
        elif word in "()":
            depth += 1 if word == "(" else -1
        elif word == "BETWEEN":
            between = True
        elif between:
            between = False
        elif depth == 0:
            parts.append(text[start : found.start()])
            start = found.end()
    return [*parts, text[start:]]


def read_adql(adql: str) -> QueryForm | None:
    """Read a query of the form's shape.

    Parameters
    ----------
    adql
        The query.

    Returns
    -------
    QueryForm or None
        What the form would hold; None for a query that says more than the form can.
    """
    found = _SELECT.match(adql)
    if not found:
        return None
    columns = () if found["columns"] == "*" else tuple(c.strip() for c in found["columns"].split(","))
    if any(not re.fullmatch(r"\w+", c) for c in columns):
        return None
    cone, position, constraints = None, None, []
    for part in _split_and(found["where"]) if found["where"] else []:
        if circle := _CONE.match(part):
            if cone:
                return None
            position = (circle[1], circle[2])
            cone = Cone(float(circle[3]), float(circle[4]), round(float(circle[5]) * 3600, 6))
        elif _COMPARISON.match(part) and not re.search(r"\bOR\b", part, re.IGNORECASE):
            constraints.append(" ".join(part.split()))
        else:
            return None
    order = (found["order"], (found["direction"] or "").upper() == "DESC") if found["order"] else None
    top = int(found["top"]) if found["top"] else None
    return QueryForm(found["table"], columns, position, cone, tuple(constraints), top, order)
