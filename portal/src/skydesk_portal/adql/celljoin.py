"""Joins by position as hash joins over HEALPix cells instead of a test of every pair.

A condition such as ``CONTAINS(POINT(o.ra, o.dec), CIRCLE(t.ra, t.dec, r)) = 1`` compares every row of one table with
every row of the other. Where ``o`` is a table with the stored index ``hp14``, each circle around a row of ``t`` is
covered by the cell of its centre and the eight around it, at the finest order at which these are sure to hold it. The
two tables are then joined by equal cells, and the exact test decides about the few pairs that are left.
"""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlglot import exp

from skydesk_portal.adql.geometry import Circle, Point, Value, is_constant

if TYPE_CHECKING:
    from skydesk_portal.adql.scope import Source

__all__ = ["CellJoins", "cell_shift"]

_REFERENCE = re.compile(r'(t\d+)\.("(?:[^"]|"")*")')
_CELL = '"skydesk#cell"'
_FINEST = 14
_REACH_DEG = 0.5 * math.degrees(math.sqrt(4 * math.pi / 12))
"""A circle of this radius, halved with each order, never leaves a cell's eight neighbours (0.66 would still do)."""

_MOST_ROWS = 2_000_000
"""Larger tables are not laid out in cells a second time for an outer join."""


def cell_shift(radius_deg: float) -> int | None:
    """Return by how many bits ``hp14`` is shortened for circles of a radius.

    Parameters
    ----------
    radius_deg
        Radius in degrees.

    Returns
    -------
    int or None
        Twice the difference of the orders; `None` if the circles are too
        large for cells to save anything.
    """
    order = _FINEST if radius_deg <= 0 else min(_FINEST, math.floor(math.log2(_REACH_DEG / radius_deg)))
    return 2 * (_FINEST - order) if order >= 1 else None


def _list_terms(node: exp.Expression) -> list[exp.Expression]:
    if isinstance(node, exp.Paren):
        return _list_terms(node.this)
    if isinstance(node, exp.And):
        return [term for part in node.flatten(unnest=False) for term in _list_terms(part)]  # type: ignore[arg-type]
    return [node]


def _references(*values: Value) -> dict[str, list[str]] | None:
    """Return the columns that expressions use, by source; `None` if they hold more than columns and numbers."""
    found: dict[str, list[str]] = {}
    for value in values:
        if re.search(r"[\"']|SELECT", _REFERENCE.sub("", value.sql)):
            return None
        for key, column in _REFERENCE.findall(value.sql):
            if column not in found.setdefault(key, []):
                found[key].append(column)
    return found


@dataclass(frozen=True)
class _Circles:
    """Circles around the rows of a source."""

    key: str
    center: Point
    radius: Value
    shift: str
    columns: tuple[str, ...]

    @property
    def cells(self) -> str:
        parts = (self.center.ra.sql, self.center.dec.sql)
        position = ", ".join(f"CAST({part} AS DOUBLE)" for part in parts)
        return f"unnest(skydesk_cells({position}, {self.shift})) AS {_CELL}"


@dataclass
class CellJoins:
    """The sources of one SELECT, and which of them are laid out in cells."""

    _token: str = field(default_factory=lambda: f"\x01{secrets.token_hex(8)}.")
    _plain: dict[str, str] = field(default_factory=dict)
    _exploded: dict[str, _Circles] = field(default_factory=dict)
    _paired: dict[str, _Circles] = field(default_factory=dict)
    _terms: frozenset[int] = frozenset()
    _nullable: frozenset[str] | None = None

    def place(self, sql: str, key: str) -> str:
        """Note a source of the FROM clause.

        Parameters
        ----------
        sql
            Engine SQL of the table or sub-query.
        key
            Its private name.

        Returns
        -------
        str
            What stands for it until `finish`.
        """
        self._plain[key] = sql
        return f"{self._token}{key};"

    def finish(self, from_sql: str) -> str:
        """Return the FROM clause with the sources written out."""
        return re.sub(re.escape(self._token) + r"(t\d+);", lambda match: self._write(match[1]), from_sql)

    def begin(self, condition: exp.Expression, nullable: Collection[str] | None = None) -> None:
        """Say which condition is written next.

        Parameters
        ----------
        condition
            The whole condition of a WHERE or ON clause.
        nullable
            Sources that an outer join fills with nulls; `None` for WHERE and inner joins.
        """
        self._terms = frozenset(id(term) for term in _list_terms(condition))
        self._nullable = None if nullable is None else frozenset(nullable)

    def end(self) -> None:
        """Say that the condition is written."""
        self._terms = frozenset()

    def is_term(self, node: exp.Expression) -> bool:
        """Tell whether the condition holds only where this part of it does."""
        return id(node) in self._terms

    def join(self, sources: list[Source], point: Point, circle: Circle) -> str:
        """Join two sources by cells.

        Parameters
        ----------
        sources
            Sources of the SELECT.
        point, circle
            The two positions and their largest distance.

        Returns
        -------
        str
            A condition that holds for all pairs closer than the radius, empty if the exact test must do alone.
        """
        if is_constant(point) or is_constant(circle.center):
            return ""
        found = []
        for indexed, center in ((point, circle.center), (circle.center, point)):
            circles = self._circles(sources, center, circle.radius)
            if circles is None or indexed.index_key is None:
                continue
            key = indexed.index_key.split(".", 1)[0]
            if key in self._plain and key != circles.key:
                found.append((_rows(sources, circles.key), key, circles))
        for _, key, circles in sorted(found, key=lambda pair: pair[0]):
            if condition := self._use(sources, key, circles):
                return condition
        return ""

    def _circles(self, sources: list[Source], center: Point, radius: Value) -> _Circles | None:
        used = _references(center.ra, center.dec, radius)
        if used is None or len(used) != 1:
            return None
        ((key, columns),) = used.items()
        if key not in self._plain:
            return None
        if radius.number is not None:
            bits = cell_shift(radius.number)
            return None if bits is None else _Circles(key, center, radius, str(bits), tuple(columns))
        if _rows(sources, key) == math.inf:
            # The largest radius is looked up first, which a sub-query might answer differently the second time.
            return None
        largest = f"max(CASE WHEN isnan(CAST({radius.sql} AS DOUBLE)) THEN NULL ELSE CAST({radius.sql} AS DOUBLE) END)"
        shift = (
            f"(SELECT CAST(coalesce(least(28, greatest(0, 2 * ceil(14 - log2({_REACH_DEG!r}"
            f" / least(360, greatest(1e-9, {largest})))))), 0) AS INTEGER) FROM {self._plain[key]} AS {key})"
        )
        return _Circles(key, center, radius, shift, tuple(columns))

    def _use(self, sources: list[Source], key: str, circles: _Circles) -> str:
        inner = self._nullable is None
        free = circles.key not in self._exploded
        if free and (inner or circles.key in (self._nullable or ())):
            self._exploded[circles.key] = circles
            return f"{_cell(key, circles)} = {circles.key}.{_CELL}"
        allowed = inner or key in (self._nullable or ())
        if allowed and key not in self._paired and _rows(sources, circles.key) <= _MOST_ROWS:
            self._paired[key] = circles
            pairs = enumerate(circles.columns)
            return " AND ".join(f'{key}."skydesk#{i}" = {circles.key}.{column}' for i, column in pairs)
        return ""

    def _write(self, key: str) -> str:
        sql = f"{self._plain[key]} AS {key}"
        if (circles := self._paired.get(key)) is not None:
            other = circles.key
            columns = ", ".join(f"{other}.{column}" for column in circles.columns)
            kept = ", ".join(f'{other}.{c} AS "skydesk#{i}"' for i, c in enumerate(circles.columns))
            cells = f"(SELECT DISTINCT {columns}, {circles.cells} FROM {self._plain[other]} AS {other})"
            sql = (
                f"(SELECT {key}.*, {kept} FROM {sql} JOIN {cells} AS {other}"
                f" ON {_cell(key, circles)} = {other}.{_CELL}) AS {key}"
            )
        if (circles := self._exploded.get(key)) is not None:
            sql = f"(SELECT {key}.*, {circles.cells} FROM {sql}) AS {key}"
        return sql


def _cell(key: str, circles: _Circles) -> str:
    return f"{key}.hp14" if circles.shift == "0" else f"({key}.hp14 >> {circles.shift})"


def _rows(sources: list[Source], key: str) -> float:
    """Return the number of rows of a table, infinite where it is not known."""
    for source in sources:
        if source.key == key and source.table is not None and source.table.rows is not None:
            return source.table.rows
    return math.inf
