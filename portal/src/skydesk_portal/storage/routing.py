"""Which engine should answer a query: the indexed one where an index leads to few rows, else the distributed one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from sqlglot import exp

from skydesk_portal.adql.engine_sql import list_calls, list_terms, source_of, without_frame
from skydesk_portal.storage.engine import EngineCapabilities

__all__ = ["RoutedTable", "estimate_rows", "find_obstacle", "list_sources"]

_SKY_CELLS = 12 << 58
"""Cells of order 29 on the whole sky."""

_ROWS_OF_A_KEY = 100
"""Rows that one value of an indexed column leads to, roughly: those of a light curve."""


@dataclass(frozen=True)
class RoutedTable:
    """What has to be known of a table to choose an engine.

    Parameters
    ----------
    rows
        Number of rows.
    indexed
        Columns with an index.
    sky_fraction
        Part of the sky that its rows cover; 1 where that is not known.
    """

    rows: int
    indexed: frozenset[str] = frozenset()
    sky_fraction: float = 1.0


def list_sources(tree: exp.Expression) -> frozenset[tuple[str, ...]]:
    """Return the names of the stored tables that a query reads."""
    named = {cte.alias for cte in tree.find_all(exp.CTE)}
    found = {source_of(table) for table in tree.find_all(exp.Table)}
    return frozenset(name for name in found if len(name) > 1 or name[0] not in named)


def find_obstacle(
    tree: exp.Expression, engine: EngineCapabilities, uploads: Collection[str] = ()
) -> str | None:
    """Return what keeps an engine from answering a query, by its capabilities; `None` if nothing does.

    Parameters
    ----------
    tree
        The query.
    engine
        What the engine can do.
    uploads
        Tables that come with the query.
    """
    body = without_frame(tree)
    if not engine.with_clause and body.find(exp.CTE) is not None:
        return "WITH"
    if not engine.set_operations and body.find(exp.SetOperation) is not None:
        return "UNION, EXCEPT and INTERSECT"
    nested = any(node is not body for node in body.find_all(exp.Select))
    if not engine.subqueries and (nested or isinstance(body, exp.SetOperation)):
        return "sub-queries"
    if not engine.offset and tree.find(exp.Offset) is not None:
        return "OFFSET"
    if not engine.uploads and any(name[0] in uploads for name in list_sources(tree)):
        return "uploaded tables"
    if engine.functions is not None:
        missing = list_calls(tree) - engine.functions
        if missing:
            return f"the function {min(missing)}"
    return None


def estimate_rows(tree: exp.Expression, tables: Mapping[tuple[str, ...], RoutedTable]) -> float:
    """Tell how many rows of one table have to be looked at to answer a query by means of the indexes.

    Parameters
    ----------
    tree
        The query.
    tables
        The large tables; all others count as small.

    Returns
    -------
    float
        Rows of the table that is read most of.
    """
    return _query(tree, tables, {})


def _query(
    tree: exp.Expression,
    tables: Mapping[tuple[str, ...], RoutedTable],
    names: Mapping[str, float],
    limit: float = float("inf"),
) -> float:
    while isinstance(tree, exp.Subquery):
        tree = tree.this
    clause = tree.args.get("with_")
    for cte in clause.expressions if clause is not None else ():
        names = {**names, cte.alias: _query(cte.this, tables, names)}
    if isinstance(tree, exp.SetOperation):
        return max(_query(side, tables, names) for side in (tree.this, tree.expression))
    if not isinstance(tree, exp.Select):
        return 0.0
    return _select(tree, tables, names, min(limit, _limit_of(tree)))


def _limit_of(tree: exp.Select) -> float:
    node = tree.args.get("limit")
    text = str(node.expression.this) if node is not None else ""
    return float(text) if text.isdigit() else float("inf")


def _select(
    tree: exp.Select, tables: Mapping[tuple[str, ...], RoutedTable], names: Mapping[str, float], limit: float
) -> float:
    found = _Sources(tables, names)
    clause = tree.args.get("from_")
    if clause is None:
        return 0.0
    plain = not any(tree.args.get(k) for k in ("joins", "where", "group", "having", "order", "distinct"))
    plain = plain and not _has_aggregate(tree)
    found.add(clause.this, limit if plain else float("inf"))
    terms = list(list_terms(tree.args["where"].this)) if tree.args.get("where") is not None else []
    joins = [*(clause.this.args.get("joins") or []), *(tree.args.get("joins") or [])]
    for join in joins:
        found.add(join.this, float("inf"))
        # What an outer join asks for restricts the side only that it may leave out.
        sided = bool(join.args.get("side"))
        if str(join.args.get("side") or "").upper() in {"", "LEFT"}:
            terms += [t for t in list_terms(join.args.get("on")) if not sided or _is_link(t)]
    found.narrow(terms)
    inner = [*terms, *tree.expressions, *(part for part in [tree.args.get("having")] if part is not None)]
    below = [_query(node, tables, names) for part in inner for node in part.find_all(exp.Select)]
    return max([*found.rows.values(), *below], default=0.0)


def _has_aggregate(tree: exp.Select) -> bool:
    return any(node.find(exp.Anonymous) is not None for node in tree.expressions)


def _is_link(term: exp.Expression) -> bool:
    return isinstance(term, exp.EQ) and all(isinstance(s, exp.Column) for s in (term.this, term.expression))


class _Sources:
    """The sources of one SELECT, and how many rows of each have to be looked at."""

    def __init__(self, tables: Mapping[tuple[str, ...], RoutedTable], names: Mapping[str, float]) -> None:
        self._tables = tables
        self._names = names
        self._known: dict[str, RoutedTable] = {}
        self.rows: dict[str, float] = {}

    def add(self, node: exp.Expression, limit: float) -> None:
        if isinstance(node, exp.Table):
            name = source_of(node)
            table = self._tables.get(name)
            if table is not None:
                self._known[node.alias_or_name] = table
                self.rows[node.alias_or_name] = min(float(table.rows), limit)
            else:
                self.rows[node.alias_or_name] = self._names.get(name[0], 0.0) if len(name) == 1 else 0.0
        elif isinstance(node, exp.Subquery) and not isinstance(node.this, exp.Table):
            self.rows[node.alias] = _query(node.this, self._tables, self._names, limit)
        elif isinstance(node, exp.Paren | exp.Subquery):
            self.add(node.this, float("inf"))
            for join in node.this.args.get("joins") or []:
                self.add(join.this, float("inf"))

    def narrow(self, terms: Iterable[exp.Expression]) -> None:
        links = []
        for term in terms:
            if (found := self._by_place(term)) is not None or (found := self._by_key(term)) is not None:
                key, rows = found
                self.rows[key] = min(self.rows[key], rows)
            elif _is_link(term):
                links += [(term.this, term.expression), (term.expression, term.this)]
            elif isinstance(term, exp.In) and term.args.get("query") is not None:
                self._by_subquery(term)
        for _ in self.rows:
            for own, other in links:
                if self._is_indexed(own) and other.table in self.rows:
                    rows = _ROWS_OF_A_KEY * max(self.rows[other.table], 1.0)
                    self.rows[own.table] = min(self.rows[own.table], rows)

    def _is_indexed(self, node: exp.Expression) -> bool:
        table = self._known.get(node.table) if isinstance(node, exp.Column) else None
        return table is not None and node.name in table.indexed

    def _by_subquery(self, term: exp.In) -> None:
        if self._is_indexed(term.this):
            rows = _ROWS_OF_A_KEY * max(_query(term.args["query"], self._tables, self._names), 1.0)
            self.rows[term.this.table] = min(self.rows[term.this.table], rows)

    def _by_key(self, term: exp.Expression) -> tuple[str, float] | None:
        if isinstance(term, exp.EQ):
            for own, other in ((term.this, term.expression), (term.expression, term.this)):
                if self._is_indexed(own) and not list(other.find_all(exp.Column, exp.Select)):
                    return own.table, float(_ROWS_OF_A_KEY)
        if isinstance(term, exp.In) and self._is_indexed(term.this) and term.expressions:
            return term.this.table, float(_ROWS_OF_A_KEY * len(term.expressions))
        return None

    def _by_place(self, term: exp.Expression) -> tuple[str, float] | None:
        """Return the table whose order of the sky a condition bounds, and how many rows that leaves."""
        parts = list(term.flatten(unnest=False)) if isinstance(term, exp.Or) else [term]
        cells, keys = 0, set()
        for part in parts:
            while isinstance(part, exp.Paren):
                part = part.this
            column = part.this if isinstance(part, exp.Between) else None
            bounds = [part.args[k] for k in ("low", "high")] if column is not None else []
            if not isinstance(column, exp.Column) or column.name != "hp29" or column.table not in self._known:
                return None
            if not all(isinstance(bound, exp.Literal) for bound in bounds):
                return None
            keys.add(column.table)
            cells += int(str(bounds[1].this)) - int(str(bounds[0].this)) + 1
        if len(keys) != 1:
            return None
        key = keys.pop()
        table = self._known[key]
        return key, table.rows * min(1.0, cells / _SKY_CELLS / max(table.sky_fraction, 1e-12))
