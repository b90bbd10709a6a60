"""The query form: what it holds as a value, as ADQL, and back from ADQL of the same shape."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from skydesk_portal.exceptions import UsageError

__all__ = ["Cone", "QueryForm", "SkyBox", "SkyPolygon", "read_adql", "write_adql", "write_times"]

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

_SHAPE = re.compile(
    r"^\s*CONTAINS\s*\(\s*POINT\s*\(\s*(?:'ICRS'\s*,\s*)?(\w+)\s*,\s*(\w+)\s*\)\s*,\s*"
    r"(BOX|POLYGON)\s*\(\s*(?:'ICRS'\s*,\s*)?([-+\d.eE\s,]+)\)\s*\)\s*=\s*1\s*$",
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
class SkyBox:
    """A box on the sky, as ADQL's BOX.

    Parameters
    ----------
    ra_deg, dec_deg
        Centre (ICRS degrees).
    width_arcsec, height_arcsec
        Extent along the parallel and along the meridian.
    """

    ra_deg: float
    dec_deg: float
    width_arcsec: float
    height_arcsec: float


@dataclass(frozen=True)
class SkyPolygon:
    """A polygon on the sky with great circles as edges.

    Parameters
    ----------
    corners_deg
        Right ascension and declination of each corner (ICRS degrees).
    """

    corners_deg: tuple[tuple[float, float], ...]


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
    shape
        Another search region, `None` for everywhere.
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
    shape: SkyBox | SkyPolygon | None = None


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
    if form.shape:
        where.append(_write_shape(form))
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


def _write_shape(form: QueryForm) -> str:
    if form.position_columns is None:
        raise UsageError(f"{form.table} has no position, so it cannot be searched by a region")
    ra, dec = form.position_columns
    if isinstance(form.shape, SkyBox):
        box = form.shape
        numbers = [box.ra_deg, box.dec_deg, box.width_arcsec / 3600, box.height_arcsec / 3600]
        name = "BOX"
    else:
        assert form.shape is not None
        if len(form.shape.corners_deg) < 3:
            raise UsageError("a polygon needs three corners at least: one position a line")
        numbers = [value for corner in form.shape.corners_deg for value in corner]
        name = "POLYGON"
    return (
        f"CONTAINS(POINT('ICRS', {ra}, {dec}), {name}('ICRS', {', '.join(f'{n:.11g}' for n in numbers)})) = 1"
    )


def write_times(column: str, begin: str, end: str) -> list[str]:
    """Write a range of times as constraints.

    Parameters
    ----------
    column
        Column of times in MJD; TAI unless it is one of ObsCore, which has UTC.
    begin, end
        MJD as the column has it, or a date and time in UTC; empty for an open end.

    Raises
    ------
    UsageError
        If a text is neither.
    """
    out = []
    for text, sign in ((begin.strip(), ">="), (end.strip(), "<=")):
        if text:
            out.append(f"{column} {sign} {_read_time(text, is_tai=not column.startswith('t_')):.9g}")
    return out


def _read_time(text: str, *, is_tai: bool) -> float:
    try:
        return float(text)
    except ValueError:
        pass
    from astropy.time import Time

    try:
        time = Time(text.replace(" ", "T").removesuffix("Z"), scale="utc", format="isot")
    except ValueError as error:
        raise UsageError(
            f"{text!r} is not a time: write it as MJD, such as 60623.5, or in UTC, such as 2024-11-09T12:00:00"
        ) from error
    return float(time.tai.mjd if is_tai else time.mjd)


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
    cone, shape, position, constraints = None, None, None, []
    for part in _split_and(found["where"]) if found["where"] else []:
        if circle := _CONE.match(part):
            if cone or shape:
                return None
            position = (circle[1], circle[2])
            cone = Cone(float(circle[3]), float(circle[4]), round(float(circle[5]) * 3600, 6))
        elif region := _SHAPE.match(part):
            numbers = [float(n) for n in region[4].split(",")]
            if cone or shape or len(numbers) % 2:
                return None
            position = (region[1], region[2])
            shape = _read_shape(region[3].upper(), numbers)
        elif _COMPARISON.match(part) and not re.search(r"\bOR\b", part, re.IGNORECASE):
            constraints.append(" ".join(part.split()))
        else:
            return None
    order = (found["order"], (found["direction"] or "").upper() == "DESC") if found["order"] else None
    top = int(found["top"]) if found["top"] else None
    return QueryForm(found["table"], columns, position, cone, tuple(constraints), top, order, shape)


def _read_shape(name: str, numbers: list[float]) -> SkyBox | SkyPolygon:
    if name == "BOX" and len(numbers) == 4:
        return SkyBox(numbers[0], numbers[1], round(numbers[2] * 3600, 6), round(numbers[3] * 3600, 6))
    return SkyPolygon(tuple(zip(numbers[::2], numbers[1::2], strict=True)))
