"""The query form: what it holds as a value, as ADQL, and back from ADQL of the same shape."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from skydesk_portal.exceptions import UsageError
from skydesk_portal.models.instants import parse_instant

__all__ = [
    "COVERAGE_NAME",
    "POSITIONS_NAME",
    "CellTable",
    "Cone",
    "PositionTable",
    "QueryForm",
    "SkyBox",
    "SkyCoverage",
    "SkyPolygon",
    "read_adql",
    "write_adql",
    "write_times",
    "write_visits",
]

COVERAGE_NAME = "coverage"
"""Name in ``TAP_UPLOAD`` of the cells of a coverage map; columns ``norder`` and ``npix``."""

POSITIONS_NAME = "positions"
"""Name in ``TAP_UPLOAD`` of a list of positions, columns as `skydesk_portal.models.position_lists` writes them."""

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
_COVERAGE = re.compile(
    r"^\s*CONTAINS\s*\(\s*POINT\s*\(\s*(?:'ICRS'\s*,\s*)?(\w+)\s*,\s*(\w+)\s*\)\s*,\s*MOC\s*\(\s*'([^']*)'\s*\)\s*\)\s*=\s*1\s*$",
    re.IGNORECASE,
)
_CELLS = re.compile(
    rf"ivo_healpix_index\((\d+), (\w+), (\w+)\) IN \(SELECT npix FROM TAP_UPLOAD\.{COVERAGE_NAME} WHERE norder = \1\)"
)
_JOIN = re.compile(
    rf"^\s*SELECT\s+(?P<top>TOP\s+\d+\s+)?p\.input_row,\s*p\.input_text,\s*(?P<columns>t\.\*|t\.\w+(?:,\s*t\.\w+)*),\s*"
    r"3600 \* DISTANCE\(POINT\('ICRS', p\.input_ra, p\.input_dec\), POINT\('ICRS', t\.(?P<ra>\w+), t\.(?P<dec>\w+)\)\)"
    rf"\s+AS\s+separation_arcsec\s+FROM\s+TAP_UPLOAD\.{POSITIONS_NAME}\s+AS\s+p\s+JOIN\s+(?P<table>\w+\.\w+)\s+AS\s+t\s+"
    r"ON\s+CONTAINS\(POINT\('ICRS', t\.(?P=ra), t\.(?P=dec)\), CIRCLE\('ICRS', p\.input_ra, p\.input_dec, p\.input_radius\)\) = 1"
    r"(?P<rest>.*)$",
    re.DOTALL,
)


type Shape = SkyBox | SkyPolygon | SkyCoverage | CellTable | PositionTable


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
class SkyCoverage:
    """A coverage map that is written into the query.

    Parameters
    ----------
    text
        Its cells in the ASCII form of MOC 2.0.
    """

    text: str


@dataclass(frozen=True)
class CellTable:
    """A coverage map that comes with the query as a table of cells, `COVERAGE_NAME`.

    Parameters
    ----------
    orders
        HEALPix orders that the table has cells of.
    """

    orders: tuple[int, ...]


@dataclass(frozen=True)
class PositionTable:
    """Circles around the positions of a table that comes with the query, `POSITIONS_NAME`."""


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
    shape: Shape | None = None


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
    if form.shape and not isinstance(form.shape, PositionTable):
        where.append(_write_shape(form))
    for constraint in form.constraints:
        _check_comparison(constraint)
        where.append(constraint.strip())
    if isinstance(form.shape, PositionTable):
        lines = _write_join(form, top)
    else:
        lines = [f"SELECT {top}{', '.join(form.columns) or '*'}", f"FROM {form.table}"]
    lines += [("WHERE " if n == 0 else "  AND ") + part for n, part in enumerate(where)]
    if form.order:
        lines.append(f"ORDER BY {form.order[0]}{' DESC' if form.order[1] else ''}")
    return "\n".join(lines)


def _positions_of(form: QueryForm) -> tuple[str, str]:
    if form.position_columns is None:
        raise UsageError(f"{form.table} has no position, so it cannot be searched by a region")
    return form.position_columns


def _write_join(form: QueryForm, top: str) -> list[str]:
    ra, dec = _positions_of(form)
    theirs, mine = f"POINT('ICRS', t.{ra}, t.{dec})", "POINT('ICRS', p.input_ra, p.input_dec)"
    columns = ", ".join(f"t.{name}" for name in form.columns) or "t.*"
    return [
        f"SELECT {top}p.input_row, p.input_text, {columns},",
        f"  3600 * DISTANCE({mine}, {theirs}) AS separation_arcsec",
        f"FROM TAP_UPLOAD.{POSITIONS_NAME} AS p JOIN {form.table} AS t",
        f"  ON CONTAINS({theirs}, CIRCLE('ICRS', p.input_ra, p.input_dec, p.input_radius)) = 1",
    ]


def _write_shape(form: QueryForm) -> str:
    ra, dec = _positions_of(form)
    if isinstance(form.shape, SkyCoverage):
        return f"CONTAINS(POINT('ICRS', {ra}, {dec}), MOC('{form.shape.text}')) = 1"
    if isinstance(form.shape, CellTable):
        lists = (
            f"ivo_healpix_index({n}, {ra}, {dec}) IN (SELECT npix FROM TAP_UPLOAD.{COVERAGE_NAME} WHERE norder = {n})"
            for n in form.shape.orders
        )
        return "(" + "\n    OR ".join(lists) + ")"
    if isinstance(form.shape, SkyBox):
        box = form.shape
        numbers = [box.ra_deg, box.dec_deg, box.width_arcsec / 3600, box.height_arcsec / 3600]
        name = "BOX"
    else:
        assert isinstance(form.shape, SkyPolygon)
        if len(form.shape.corners_deg) < 3:
            raise UsageError("a polygon needs three corners at least: one position a line")
        numbers = [value for corner in form.shape.corners_deg for value in corner]
        name = "POLYGON"
    return (
        f"CONTAINS(POINT('ICRS', {ra}, {dec}), {name}('ICRS', {', '.join(f'{n:.11g}' for n in numbers)})) = 1"
    )


def write_times(column: str, begin: str, end: str, position: tuple[float, float] | None = None) -> list[str]:
    """Write a range of times as constraints.

    Parameters
    ----------
    column
        Column of times in MJD (TAI).
    begin, end
        Instants as `skydesk_portal.models.instants.parse_instant` reads them; empty for an open end.
    position
        ICRS degrees around which is searched, for barycentric dates.

    Raises
    ------
    UsageError
        If a text is no instant.
    """
    return [
        f"{column} {sign} {parse_instant(text, position)!r}"
        for text, sign in ((begin, ">="), (end, "<="))
        if text.strip()
    ]


def write_visits(column: str, visits: str, key: str, conditions: Sequence[str]) -> str:
    """Write conditions on the visits that rows were measured on as a constraint of the rows.

    Parameters
    ----------
    column
        Column of the rows that names the visit.
    visits, key
        Full name of the table of visits, and its column of the same meaning.
    conditions
        Comparisons of its columns that all have to hold.

    Raises
    ------
    UsageError
        If a condition is no comparison.
    """
    for condition in conditions:
        _check_comparison(condition)
    return f"{column} IN (SELECT {key} FROM {visits} WHERE {' AND '.join(conditions)})"


def _check_comparison(text: str) -> None:
    if not _COMPARISON.match(text):
        raise UsageError(
            f"{text.strip()!r} is not a constraint: write a column and a comparison, such as r_psfFlux > 1000"
        )


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
    joined = _JOIN.match(adql)
    if joined:
        columns = joined["columns"].replace("t.", "")
        plain = f"SELECT {joined['top'] or ''}{columns} FROM {joined['table']}{joined['rest']}"
        form = read_adql(plain)
        if form is None or form.cone or form.shape:
            return None
        return replace(form, position_columns=(joined["ra"], joined["dec"]), shape=PositionTable())
    found = _SELECT.match(adql)
    if not found:
        return None
    columns = () if found["columns"] == "*" else tuple(c.strip() for c in found["columns"].split(","))
    if any(not re.fullmatch(r"\w+", c) for c in columns):
        return None
    cone: Cone | None = None
    shape: Shape | None = None
    position, constraints = None, []
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
        elif (covered := _read_coverage(part)) is not None:
            if cone or shape:
                return None
            position, shape = covered
        elif _COMPARISON.match(part) and not re.search(r"\bOR\b", part, re.IGNORECASE):
            constraints.append(" ".join(part.split()))
        else:
            return None
    order = (found["order"], (found["direction"] or "").upper() == "DESC") if found["order"] else None
    top = int(found["top"]) if found["top"] else None
    return QueryForm(found["table"], columns, position, cone, tuple(constraints), top, order, shape)


def _read_coverage(part: str) -> tuple[tuple[str, str], SkyCoverage | CellTable] | None:
    if found := _COVERAGE.match(part):
        return (found[1], found[2]), SkyCoverage(" ".join(found[3].split()))
    cells = list(_CELLS.finditer(part))
    if not cells or re.fullmatch(r"\s*\((?:\s*(?:OR\s+)?#)+\s*\)\s*", _CELLS.sub("#", part)) is None:
        return None
    if len({found.groups()[1:] for found in cells}) > 1:
        return None
    return (cells[0][2], cells[0][3]), CellTable(tuple(int(found[1]) for found in cells))


def _read_shape(name: str, numbers: list[float]) -> SkyBox | SkyPolygon:
    if name == "BOX" and len(numbers) == 4:
        return SkyBox(numbers[0], numbers[1], round(numbers[2] * 3600, 6), round(numbers[3] * 3600, 6))
    return SkyPolygon(tuple(zip(numbers[::2], numbers[1::2], strict=True)))
