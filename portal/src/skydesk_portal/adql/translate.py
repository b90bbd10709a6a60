"""From ADQL text to engine SQL: FROM clauses, select lists, grouping, set operations."""

from __future__ import annotations

import re
from dataclasses import replace

from sqlglot import exp

from skydesk_portal.adql.engine_sql import list_calls, parse_engine_sql
from skydesk_portal.adql.expressions import ExpressionWriter, Written
from skydesk_portal.adql.grammar import list_keywords, parse_adql
from skydesk_portal.adql.kinds import find_common
from skydesk_portal.adql.scope import OutColumn, Scope, Source, error_at, kind_of, quote
from skydesk_portal.adql.translation import EngineLimits, Translation
from skydesk_portal.exceptions import QueryError
from skydesk_portal.models.tables import Catalog, TableInfo

__all__ = ["translate"]


_REFUSED_CLAUSES = (
    "windows", "qualify", "distribute", "sort", "cluster", "sample", "settings", "format", "locks", "into", "hint",
    "laterals", "match", "pivots", "connect", "prewhere", "kind", "operation_modifiers",
)  # fmt: skip


_MOST_COLUMNS = 2000
_MOST_COLUMNS_IN_ALL = 8000
_MOST_TABLES = 100


def translate(
    text: str,
    catalog: Catalog,
    *,
    limit: int | None = None,
    offset: int = 0,
    engine: EngineLimits | None = None,
) -> Translation:
    """Translate one ADQL query.

    Parameters
    ----------
    text
        The query.
    catalog
        Tables that the caller may name.
    limit
        Rows to ask the engine for at most; one more than MAXREC shows an
        overflow.
    offset
        Rows to leave out, for paging through a result.
    engine
        What the engine can do; everything by default.

    Returns
    -------
    Translation
        Engine SQL with the metadata of its columns.

    Raises
    ------
    QueryError
        If the query is not ADQL, names what the caller has not, or is more
        than the engine can do.
    """
    tree = parse_adql(text)
    writer = _QueryWriter(text, catalog, engine)
    try:
        sql, columns = writer.write(tree, None)
    except RecursionError as error:
        raise QueryError("the query is nested too deeply") from error
    if engine is not None and engine.functions is not None:
        _check_functions(sql, engine.functions, writer.functions)
    top = _top_of(tree)
    if limit is not None or offset:
        rows = "" if limit is None else f" LIMIT {limit}"
        sql = f"SELECT * FROM ({sql}) AS result{rows}" + (f" OFFSET {offset}" if offset else "")
    infos = tuple(replace(column.info, name=column.name) for column in columns)
    return Translation(
        sql,
        infos,
        tuple(writer.tables),
        top,
        tuple(writer.used),
        tuple(writer.functions),
        list_keywords(tree),
    )


def _check_functions(sql: str, served: frozenset[str], used: list[str]) -> None:
    if list_calls(parse_engine_sql(sql)) - served:
        raise QueryError(f"not all of the functions {', '.join(used)} can be used with these tables")


def _top_of(tree: exp.Expression) -> int | None:
    limit = tree.args.get("limit")
    return int(str(limit.expression.this)) if limit is not None else None


class _QueryWriter:
    def __init__(self, text: str, catalog: Catalog, engine: EngineLimits | None) -> None:
        self.text = text
        self.catalog = catalog
        self.engine = engine
        self.functions: list[str] = []
        self.tables: list[TableInfo] = []
        self.used: list[str] = []
        self.keys = 0
        self.selected = 0
        self.named: list[dict[str, tuple[str, list[OutColumn]]]] = []

    def _key(self) -> str:
        self.keys += 1
        if self.keys > _MOST_TABLES:
            raise QueryError(f"more than {_MOST_TABLES} tables and sub-queries in one query")
        return f"t{self.keys}"

    def _require(self, feature: str, words: str, node: exp.Expression) -> None:
        if self.engine is not None and not getattr(self.engine, feature):
            raise error_at(self.text, node, f"{words} cannot be used with these tables")

    def _expressions(self, scope: Scope) -> ExpressionWriter:
        return ExpressionWriter(scope, self._inner, functions=self.functions)

    def _inner(self, tree: exp.Expression, parent: Scope | None) -> tuple[str, list[OutColumn]]:
        self._require("subqueries", "sub-queries", tree)
        return self.write(tree, parent)

    def write(self, tree: exp.Expression, parent: Scope | None) -> tuple[str, list[OutColumn]]:
        while isinstance(tree, exp.Subquery):
            if tree.args.get("limit") or tree.args.get("order"):
                raise error_at(self.text, tree, "ORDER BY and TOP belong inside the parentheses")
            tree = tree.this
        prefix = self._with(tree, parent)
        if isinstance(tree, exp.Select):
            sql, columns = self._select(tree, parent)
        elif isinstance(tree, exp.SetOperation):
            sql, columns = self._set_operation(tree, parent)
        else:
            raise error_at(self.text, tree, "a SELECT is needed here")
        if prefix:
            self.named.pop()
        return prefix + sql, columns

    def _with(self, tree: exp.Expression, parent: Scope | None) -> str:
        clause = tree.args.get("with_")
        if clause is None:
            return ""
        self._require("with_clause", "WITH", clause)
        if clause.args.get("recursive"):
            raise error_at(self.text, clause, "WITH RECURSIVE is not served")
        frame: dict[str, tuple[str, list[OutColumn]]] = {}
        self.named.append(frame)
        parts = []
        for cte in clause.expressions:
            name = cte.alias
            if name.lower() in frame:
                raise error_at(self.text, cte, f"WITH defines `{name}` twice")
            if not isinstance(cte.this, exp.Select | exp.SetOperation | exp.Subquery) or cte.args.get(
                "materialized"
            ):
                raise error_at(self.text, cte, f"WITH `{name}` AS is followed by a SELECT in parentheses")
            sql, columns = self.write(cte.this, parent)
            names = cte.args["alias"].args.get("columns")
            if names:
                columns = self._named(cte, columns, [part.name for part in names])
            key = self._key()
            frame[name.lower()] = (key, columns)
            listed = f" ({', '.join(quote(column.name) for column in columns)})" if names else ""
            parts.append(f"{key}{listed} AS ({sql})")
        return "WITH " + ", ".join(parts) + " "

    def _named(self, cte: exp.Expression, columns: list[OutColumn], names: list[str]) -> list[OutColumn]:
        if len(names) != len(columns) or len({name.lower() for name in names}) != len(names):
            raise error_at(
                self.text, cte, f"WITH names {len(names)} columns, its SELECT gives {len(columns)}"
            )
        return [replace(column, name=name) for column, name in zip(columns, names, strict=True)]

    def _rename(self, node: exp.Expression, columns: list[OutColumn]) -> list[OutColumn]:
        alias = node.args.get("alias")
        if alias is not None and alias.args.get("columns"):
            raise error_at(
                self.text, node, "column names after an alias are not served: use AS in the SELECT list"
            )
        return columns

    def _set_operation(self, tree: exp.SetOperation, parent: Scope | None) -> tuple[str, list[OutColumn]]:
        sql_left, left = self.write(tree.this, parent)
        sql_right, right = self.write(tree.expression, parent)
        word = {exp.Union: "UNION", exp.Except: "EXCEPT", exp.Intersect: "INTERSECT"}[type(tree)]
        self._require("set_operations", word, tree)
        if any(tree.args.get(k) for k in ("by_name", "side", "kind", "on")):
            raise error_at(self.text, tree, f"{word} is followed by ALL or by a SELECT")
        if len(left) != len(right):
            raise error_at(self.text, tree, f"{word} joins {len(left)} columns with {len(right)}")
        for a, b in zip(left, right, strict=True):
            if find_common([a.kind, b.kind]) is None and "any" not in {a.kind, b.kind}:
                raise error_at(
                    self.text,
                    tree,
                    f"{word}: column `{a.name}` is {_KINDS.get(a.kind, 'a value')} on one side and"
                    f" {_KINDS.get(b.kind, 'a value')} on the other",
                )
        every = "" if tree.args.get("distinct", True) else " ALL"
        sql = f"SELECT * FROM ({sql_left}) AS {self._key()} {word}{every} SELECT * FROM ({sql_right}) AS {self._key()}"
        # The sides may differ in type, so that the engine decides about the result's.
        columns = [
            OutColumn(
                a.name,
                replace(a.info, datatype=a.info.datatype if a.info.datatype == b.info.datatype else ""),
                b.kind if a.kind == "null" else a.kind,
            )
            for a, b in zip(left, right, strict=True)
        ]
        scope = Scope(self.text, self.catalog, parent)
        key = self._key()
        scope.add(Source("", key, columns), tree)
        order = self._order(tree, self._expressions(scope), scope, columns)
        return f"SELECT * FROM ({sql}) AS {key}{order}{self._rows(tree)}", columns

    def _select(self, tree: exp.Select, parent: Scope | None) -> tuple[str, list[OutColumn]]:
        for clause in _REFUSED_CLAUSES:
            if tree.args.get(clause):
                raise QueryError(f"{clause.upper()} is not ADQL")
        scope = Scope(self.text, self.catalog, parent)
        scope.aliases = {
            item.alias.lower(): item.this for item in tree.expressions if isinstance(item, exp.Alias)
        }
        source = tree.args.get("from_")
        from_sql = self._from(tree, source, scope) if source is not None else ""
        writer = self._expressions(scope)
        where = tree.args.get("where")
        where_sql = f" WHERE {writer.condition(where.this)}" if where is not None else ""
        if writer.saw_aggregate:
            raise error_at(
                self.text, where, "aggregate functions belong in the SELECT list and in HAVING, not in WHERE"
            )
        group_sql = self._group(tree, scope, writer)
        writer.bare.clear()
        scope.inner.clear()
        distinct = tree.args.get("distinct")
        if distinct is not None and distinct.args.get("on"):
            raise error_at(self.text, distinct, "DISTINCT ON is not ADQL")
        items, columns = self._projections(tree, scope, writer)
        having = tree.args.get("having")
        having_sql = f" HAVING {writer.predicate(having.this)}" if having is not None else ""
        order_sql = self._order(tree, writer, scope, columns, items)
        if writer.saw_aggregate or scope.groups:
            inner = [found for found in scope.inner if found[0] not in (scope.groups or [])]
            for _, name, node in [*writer.bare, *inner]:
                raise error_at(
                    self.text, node, f"column `{name}` must be in GROUP BY or inside an aggregate function"
                )
        elif having is not None:
            raise error_at(self.text, having, "HAVING needs GROUP BY or an aggregate function")
        self.used += [name for name in writer.used if name not in self.used]
        word = "SELECT DISTINCT " if distinct is not None else "SELECT "
        body = ", ".join(f"{sql} AS {quote(column.name)}" for sql, column in zip(items, columns, strict=True))
        return (
            f"{word}{body}{scope.cells.finish(from_sql)}{where_sql}{group_sql}{having_sql}{order_sql}{self._rows(tree)}",
            columns,
        )

    def _rows(self, tree: exp.Expression) -> str:
        out = ""
        for clause, word in (("limit", "LIMIT"), ("offset", "OFFSET")):
            node = tree.args.get(clause)
            if node is None:
                continue
            if word == "OFFSET":
                self._require("offset", word, node)
            value = node.expression
            if not isinstance(value, exp.Literal) or value.is_string or not str(value.this).isdigit():
                raise error_at(self.text, node, f"{'TOP' if word == 'LIMIT' else word} needs a whole number")
            if int(str(value.this)) >= 1 << 62:
                raise error_at(self.text, node, "TOP is too large")
            out += f" {word} {int(str(value.this))}"
        return out

    # FROM

    def _from(self, tree: exp.Select, clause: exp.From, scope: Scope) -> str:
        sql = self._source(clause.this, scope)
        # Joins inside parentheses hang on the first table instead of the SELECT.
        for join in [*(clause.this.args.get("joins") or []), *(tree.args.get("joins") or [])]:
            sql = self._join(sql, join, scope)
        return f" FROM {sql}"

    def _source(self, node: exp.Expression, scope: Scope) -> str:
        if node.args.get("sample") or node.args.get("pivots") or node.args.get("laterals"):
            raise error_at(self.text, node, "FROM takes tables, sub-queries and joins only")
        if isinstance(node, exp.Table):
            return self._table(node, scope)
        if isinstance(node, exp.Paren) or (
            isinstance(node, exp.Subquery) and isinstance(node.this, exp.Table)
        ):
            sql = self._source(node.this, scope)
            for join in node.this.args.get("joins") or []:
                sql = self._join(sql, join, scope)
            return f"({sql})"
        if isinstance(node, exp.Subquery):
            if not node.alias:
                raise error_at(self.text, node, "a sub-query in FROM needs an alias")
            sql, columns = self._inner(node.this, None)
            key = self._key()
            scope.add(Source(node.alias, key, self._rename(node, columns)), node)
            return scope.cells.place(f"({sql})", key)
        raise error_at(self.text, node, "FROM takes tables, sub-queries and joins only")

    def _table(self, node: exp.Table, scope: Scope) -> str:
        if not isinstance(node.this, exp.Identifier):
            raise error_at(self.text, node, "a function cannot stand in FROM")
        self._rename(node, [])
        alias = node.alias or node.name
        if not node.args.get("db"):
            for frame in reversed(self.named):
                if node.name.lower() in frame:
                    name, columns = frame[node.name.lower()]
                    key = self._key()
                    scope.add(Source(alias, key, columns), node)
                    return scope.cells.place(name, key)
        info = scope.find_table(node)
        if info.schema.upper() == "TAP_UPLOAD":
            self._require("uploads", "uploaded tables", node)
        if info not in self.tables:
            self.tables.append(info)
        key = self._key()
        columns = [OutColumn(c.name, c, kind_of(c), f"{info.full_name}.{c.name}") for c in info.columns]
        scope.add(Source(alias, key, columns, info), node)
        return scope.cells.place(_engine_table(info), key)

    def _join(self, left: str, join: exp.Join, scope: Scope) -> str:
        known = len(scope.sources)
        right = self._source(join.this, scope)
        inner_joins = (
            join.this.args.get("joins") if not isinstance(join.this, exp.Subquery | exp.Paren) else None
        )
        for nested in inner_joins or []:
            right = self._join(right, nested, scope)
        side, kind, method = (str(join.args.get(k) or "").upper() for k in ("side", "kind", "method"))
        if (
            side not in {"", "LEFT", "RIGHT", "FULL"}
            or kind not in {"", "INNER", "OUTER", "CROSS"}
            or method not in {"", "NATURAL"}
        ):
            raise error_at(self.text, join, f"{side} {kind} {method} JOIN is not ADQL".strip())
        on, using = join.args.get("on"), join.args.get("using")
        fresh = scope.sources[known:]
        if method == "NATURAL":
            mine = {c.name.lower() for source in scope.sources[:known] for c in source.columns}
            names = [c.name for source in fresh for c in source.columns if c.name.lower() in mine]
            using_sql = self._using(join, names, scope, known)
        else:
            using_sql = self._using(join, [part.name for part in using], scope, known) if using else ""
        if on is None and not using_sql:
            if side:
                raise error_at(self.text, join, f"{side} JOIN needs ON or USING")
            return f"{left} CROSS JOIN {right}"
        if kind == "CROSS" or (method and on is not None):
            raise error_at(self.text, join, f"{method or kind} JOIN takes no condition")
        word = f"{side} JOIN" if side else "JOIN"
        if on is None:
            return f"{left} {word} {right} {using_sql}"
        writer = self._expressions(scope)
        sides = [source.key for source in scope.sources[:known]], [source.key for source in fresh]
        nullable = {"": None, "LEFT": sides[1], "RIGHT": sides[0], "FULL": []}[side]
        condition = writer.condition(on, nullable)
        if writer.saw_aggregate:
            raise error_at(self.text, on, "aggregate functions do not belong in ON")
        self.used += [name for name in writer.used if name not in self.used]
        return f"{left} {word} {right} ON {condition}"

    def _using(self, join: exp.Join, names: list[str], scope: Scope, known: int) -> str:
        merged = []
        for name in names:
            sides = []
            for part, where in ((scope.sources[:known], "left"), (scope.sources[known:], "right")):
                hits = [(s, c) for s in part if (c := s.find(name, quoted=False)) is not None]
                if not hits or (len(hits) > 1 and name.lower() not in scope.joined):
                    problem = "is not in" if not hits else "is in several tables of"
                    raise error_at(self.text, join, f"USING: column `{name}` {problem} the {where} side")
                sides.append(hits[0][1])
            if sides[0].name != sides[1].name:
                raise error_at(
                    self.text, join, f"USING: `{sides[0].name}` and `{sides[1].name}` differ in case: use ON"
                )
            scope.joined[name.lower()] = sides[0]
            self.used += [c.origin for c in sides if c.origin and c.origin not in self.used]
            merged.append(quote(sides[0].name))
        return f"USING ({', '.join(merged)})" if merged else ""

    # Select list, grouping, order

    def _group(self, tree: exp.Select, scope: Scope, writer: ExpressionWriter) -> str:
        clause = tree.args.get("group")
        if clause is None:
            return ""
        if any(clause.args.get(k) for k in ("grouping_sets", "cube", "rollup", "totals", "all")):
            raise error_at(self.text, clause, "GROUP BY takes columns and expressions only")
        if not clause.expressions:
            raise QueryError("nothing follows GROUP BY")
        aggregated = writer.saw_aggregate
        parts = []
        for node in clause.expressions:
            term = self._group_term(node, scope)
            written = writer.write(term)
            if isinstance(node, exp.Literal) or written.number is not None or written.kind == "null":
                raise error_at(self.text, node, "GROUP BY takes columns and expressions, not numbers")
            if term.find(exp.Subquery, exp.Select) is not None:
                raise error_at(self.text, node, "GROUP BY takes columns and expressions, not sub-queries")
            parts.append(written.sql)
        if writer.saw_aggregate and not aggregated:
            raise error_at(self.text, clause, "aggregate functions do not belong in GROUP BY")
        scope.groups = parts
        return " GROUP BY " + ", ".join(parts)

    def _group_term(self, node: exp.Expression, scope: Scope) -> exp.Expression:
        # A name of the SELECT list may stand for its expression, unless a table has a column of that name.
        if isinstance(node, exp.Column) and len(node.parts) == 1 and not scope.knows(node.name):
            return scope.aliases.get(node.name.lower(), node)
        return node

    def _projections(
        self, tree: exp.Select, scope: Scope, writer: ExpressionWriter
    ) -> tuple[list[str], list[OutColumn]]:
        items: list[str] = []
        columns: list[OutColumn] = []
        taken: set[str] = set()
        if not tree.expressions:
            raise QueryError("the SELECT list is empty")
        for node in tree.expressions:
            for sql, column in self._expand(node, scope, writer, len(items)):
                name, n = column.name, 2
                while name.lower() in taken:
                    name, n = f"{column.name}_{n}", n + 1
                taken.add(name.lower())
                items.append(sql)
                columns.append(replace(column, name=name))
                self._count_column(len(items), node)
        return items, columns

    def _count_column(self, number: int, node: exp.Expression) -> None:
        # A column costs the engine and the writers up to 100 kB, whatever its rows hold.
        self.selected += 1
        if number > _MOST_COLUMNS:
            raise error_at(self.text, node, f"more than {_MOST_COLUMNS} columns in one SELECT")
        if self.selected > _MOST_COLUMNS_IN_ALL:
            raise error_at(
                self.text, node, f"more than {_MOST_COLUMNS_IN_ALL} columns in the sub-queries of one query"
            )

    def _expand(
        self, node: exp.Expression, scope: Scope, writer: ExpressionWriter, count: int
    ) -> list[tuple[str, OutColumn]]:
        star = node if isinstance(node, exp.Star) else node.this if isinstance(node, exp.Column) else None
        if isinstance(star, exp.Star):
            if any(star.args.get(k) for k in ("except_", "replace", "rename", "except")):
                raise error_at(self.text, node, "* takes no list of exceptions")
            return self._star(node, scope, writer)
        alias = node.alias if isinstance(node, exp.Alias) else ""
        inner = node.this if isinstance(node, exp.Alias) else node
        written = writer.write(inner)
        name = alias or self._name(inner, written, count)
        origin = written.origin if isinstance(inner, exp.Column) else ""
        kind = "array" if written.kind == "shape" else written.kind
        return [(written.sql, OutColumn(name, replace(written.info, name=name), kind, origin))]

    def _name(self, node: exp.Expression, written: Written, count: int) -> str:
        while isinstance(node, exp.Paren):
            node = node.this
        if isinstance(node, exp.Column) or (isinstance(node, exp.Anonymous) and written.info.name):
            return written.info.name
        return (
            re.sub(r"\W", "_", written.info.name)
            if isinstance(node, exp.Anonymous) and written.info.name
            else f"col_{count + 1}"
        )

    def _star(
        self, node: exp.Expression, scope: Scope, writer: ExpressionWriter
    ) -> list[tuple[str, OutColumn]]:
        wanted = scope.sources
        if isinstance(node, exp.Column):
            qualifier = [part.name for part in node.parts[:-1]]
            wanted = [source for source in scope.sources if source.matches(qualifier)]
            if not wanted:
                raise error_at(self.text, node, f"table `{'.'.join(qualifier)}` is not in FROM")
        if not wanted:
            raise QueryError("* needs a FROM clause")
        out: list[tuple[str, OutColumn]] = []
        seen: set[str] = set()
        for source in wanted:
            for column in source.columns:
                merged = column.name.lower() in scope.joined and len(wanted) > 1
                if merged and column.name.lower() in seen:
                    continue
                seen.add(column.name.lower())
                sql = quote(column.name) if merged else f"{source.key}.{quote(column.name)}"
                out.append((sql, column))
                if sql not in (scope.groups or []):
                    writer.bare.append((sql, column.name, node))
                if column.origin and column.origin not in writer.used:
                    writer.used.append(column.origin)
        return out

    def _order(
        self,
        tree: exp.Expression,
        writer: ExpressionWriter | None,
        scope: Scope,
        columns: list[OutColumn],
        items: list[str] | None = None,
    ) -> str:
        clause = tree.args.get("order")
        if clause is None:
            return ""
        parts = []
        for ordered in clause.expressions:
            node = ordered.this
            sql = self._order_key(node, columns)
            if sql is None and writer is not None:
                sql = writer.write(node).sql
            if sql is None:
                raise error_at(self.text, node, "ORDER BY of a set operation takes result columns only")
            parts.append(sql + (" DESC" if ordered.args.get("desc") else "") + " NULLS LAST")
        return " ORDER BY " + ", ".join(parts)

    def _order_key(self, node: exp.Expression, columns: list[OutColumn]) -> str | None:
        if isinstance(node, exp.Literal) and not node.is_string:
            place = int(str(node.this)) if str(node.this).isdigit() else 0
            if not 1 <= place <= len(columns):
                raise error_at(
                    self.text, node, f"ORDER BY {str(node.this)[:20]}: the result has {len(columns)} columns"
                )
            return str(place)
        if isinstance(node, exp.Column) and len(node.parts) == 1:
            for column in columns:
                if column.name.lower() == node.name.lower():
                    return quote(column.name)
        return None


_KINDS = {
    "num": "a number",
    "str": "a string",
    "bool": "a condition",
    "time": "a time",
    "array": "an array or a region",
    "region": "a region",
}


def _engine_table(info: TableInfo) -> str:
    return ".".join(quote(part) for part in info.source)
