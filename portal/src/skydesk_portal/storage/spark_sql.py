"""From the SQL of the front end, which is DuckDB's, to SQL that makes Spark give the same answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlglot import exp

from skydesk_portal.adql.engine_sql import list_terms, parse_engine_sql, source_of
from skydesk_portal.adql.operators import ARITHMETIC, BITS, COMPARISONS
from skydesk_portal.storage.spark_values import (
    AGGREGATES,
    CALLS,
    NUMBERS,
    WHOLE,
    UnsupportedSqlError,
    Value,
    arithmetic,
    bits,
    cast_to,
    comparable,
    united,
)

__all__ = ["FILE_COLUMN", "SparkTable", "UnsupportedSqlError", "to_spark_sql"]

FILE_COLUMN = "skydesk#file"
"""Column of every view with the name of the file that a row is in; conditions on it spare files from being opened."""

_LONGEST = 400_000
_MOST_FILES = 1000
_CASTS: Mapping[Any, str] = {
    exp.DataType.Type.SMALLINT: "i16",
    exp.DataType.Type.INT: "i32",
    exp.DataType.Type.BIGINT: "i64",
    exp.DataType.Type.FLOAT: "f32",
    exp.DataType.Type.DOUBLE: "f64",
    exp.DataType.Type.VARCHAR: "str",
    exp.DataType.Type.TIMESTAMP: "time",
}
_SETS = {exp.Union: "UNION", exp.Except: "EXCEPT", exp.Intersect: "INTERSECT"}
_SELECT_PARTS = frozenset(
    {"with_", "expressions", "distinct", "from_", "joins", "where", "group", "having", "order", "limit", "offset", "kind"}
)  # fmt: skip

type _Columns = dict[str, str]


@dataclass(frozen=True)
class SparkTable:
    """A table as Spark knows it.

    Parameters
    ----------
    view
        Name of the view.
    columns
        Type of each column, in the words of `skydesk_portal.storage.spark_values.Value`.
    files
        First and last place in the order of the sky, and name, of each of its files; empty where they follow
        another order.
    """

    view: str
    columns: Mapping[str, str]
    files: tuple[tuple[int, int, str], ...] = ()


def to_spark_sql(sql: str, tables: Mapping[tuple[str, ...], SparkTable]) -> str:
    """Translate one query.

    Parameters
    ----------
    sql
        SQL that the front end made.
    tables
        What Spark knows, by the names that the SQL has for it.

    Returns
    -------
    str
        SQL for a session with ANSI semantics, names that tell upper from lower case, and UTC.

    Raises
    ------
    UnsupportedSqlError
        If something in it is not known to give the same answer.
    UnreadableSqlError
        If it is not a query.
    """
    try:
        made, _ = _Writer(tables).query(parse_engine_sql(sql), None, {})
    except RecursionError as error:
        raise UnsupportedSqlError("a query that is nested so deeply") from error
    return made


def _quote(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


@dataclass
class _Scope:
    """The sources of one SELECT by their private names, and those around it."""

    parent: _Scope | None
    sources: dict[str, _Columns] = field(default_factory=dict)
    tables: dict[str, SparkTable] = field(default_factory=dict)

    def find(self, qualifier: str, name: str) -> str:
        """Return the type of a column."""
        for columns in [self.sources.get(qualifier, {})] if qualifier else self.sources.values():
            if name in columns:
                return columns[name]
        if self.parent is None:
            raise UnsupportedSqlError(f"the column {name} of something that is no table")
        return self.parent.find(qualifier, name)


class _Writer:
    def __init__(self, tables: Mapping[tuple[str, ...], SparkTable]) -> None:
        self._tables = tables

    # Queries

    def query(
        self, tree: exp.Expression, parent: _Scope | None, named: Mapping[str, _Columns]
    ) -> tuple[str, _Columns]:
        """Write a query; ``named`` are the tables that WITH defines around it."""
        while isinstance(tree, exp.Subquery):
            tree = tree.this
        prefix, named = self._with(tree, parent, named)
        if isinstance(tree, exp.SetOperation):
            sql, columns = self._set_operation(tree, parent, named)
        elif isinstance(tree, exp.Select):
            sql, columns = self._select(tree, parent, named)
        else:
            raise UnsupportedSqlError(f"{type(tree).__name__} in place of a query")
        if len(sql) > _LONGEST:
            raise UnsupportedSqlError("a query of this length")
        return prefix + sql, columns

    def _with(
        self, tree: exp.Expression, parent: _Scope | None, named: Mapping[str, _Columns]
    ) -> tuple[str, Mapping[str, _Columns]]:
        clause = tree.args.get("with_")
        if clause is None:
            return "", named
        known, parts = dict(named), []
        for cte in clause.expressions:
            sql, columns = self.query(cte.this, parent, known)
            names = [part.name for part in cte.args["alias"].args.get("columns") or []]
            listed = f" ({', '.join(map(_quote, names))})" if names else ""
            known[cte.alias] = dict(zip(names, columns.values(), strict=True)) if names else columns
            parts.append(f"{_quote(cte.alias)}{listed} AS ({sql})")
        return "WITH " + ", ".join(parts) + " ", known

    def _set_operation(
        self, tree: exp.SetOperation, parent: _Scope | None, named: Mapping[str, _Columns]
    ) -> tuple[str, _Columns]:
        left_sql, left = self.query(tree.this, parent, named)
        right_sql, right = self.query(tree.expression, parent, named)
        columns = {}
        for (name, a), b in zip(left.items(), right.values(), strict=True):
            kinds = {a, b} - {"null"}
            if len(kinds) > 1 and not kinds <= set(WHOLE):
                raise UnsupportedSqlError(f"a set operation over values of type {a} and {b}")
            columns[name] = max(kinds, key=(*NUMBERS, *kinds).index, default="null")
        every = "" if tree.args.get("distinct", True) else " ALL"
        tail = self._order(tree, _Scope(parent, {"": columns}), named) + self._rows(tree)
        return f"({left_sql}) {_SETS[type(tree)]}{every} ({right_sql}){tail}", columns

    def _select(
        self, tree: exp.Select, parent: _Scope | None, named: Mapping[str, _Columns]
    ) -> tuple[str, _Columns]:
        strange = {name for name, value in tree.args.items() if value} - _SELECT_PARTS
        if strange:
            raise UnsupportedSqlError(f"the clause {min(strange)}")
        scope = _Scope(parent)
        from_sql = self._from(tree, scope, named)
        scalars = _Scalars(self, scope, named)
        where, having, group = (tree.args.get(name) for name in ("where", "having", "group"))
        where_sql = f" WHERE {scalars.condition(where.this)}" if where is not None else ""
        if where is not None:
            where_sql += self._files(where.this, scope)
        group_sql = ""
        if group is not None:
            group_sql = " GROUP BY " + ", ".join(scalars.write(node).sql for node in group.expressions)
        having_sql = f" HAVING {scalars.condition(having.this)}" if having is not None else ""
        items, columns = self._projections(tree, scope, scalars)
        scope.sources = {**scope.sources, "": columns}
        order_sql = self._order(tree, scope, named)
        word = "SELECT DISTINCT " if tree.args.get("distinct") is not None else "SELECT "
        body = word + ", ".join(items)
        return f"{body}{from_sql}{where_sql}{group_sql}{having_sql}{order_sql}{self._rows(tree)}", columns

    def _projections(self, tree: exp.Select, scope: _Scope, scalars: _Scalars) -> tuple[list[str], _Columns]:
        items: list[str] = []
        columns: _Columns = {}
        for node in tree.expressions:
            if isinstance(node, exp.Star):
                if len(scope.sources) != 1:
                    raise UnsupportedSqlError("* over several tables")
                (found,) = scope.sources.values()
                columns |= found
                items.append(", ".join(map(_quote, found)))
                continue
            if not isinstance(node, exp.Alias):
                raise UnsupportedSqlError("a column without a name")
            value = scalars.write(node.this)
            columns[node.alias] = value.type
            items.append(f"{value.sql} AS {_quote(node.alias)}")
        return items, columns

    def _from(self, tree: exp.Select, scope: _Scope, named: Mapping[str, _Columns]) -> str:
        clause = tree.args.get("from_")
        if clause is None:
            return ""
        sql = self._source(clause.this, scope, named)
        for join in [*(clause.this.args.get("joins") or []), *(tree.args.get("joins") or [])]:
            sql = self._join(sql, join, scope, named)
        return f" FROM {sql}"

    def _source(self, node: exp.Expression, scope: _Scope, named: Mapping[str, _Columns]) -> str:
        if isinstance(node, exp.Table):
            name = source_of(node)
            if len(name) == 1 and name[0] in named:
                view, columns = _quote(name[0]), dict(named[name[0]])
            elif name in self._tables:
                table = self._tables[name]
                view, columns = _quote(table.view), dict(table.columns)
                scope.tables[node.alias_or_name] = table
            else:
                raise UnsupportedSqlError(f"the table {'.'.join(name)}")
            scope.sources[node.alias_or_name] = columns
            return f"{view} AS {_quote(node.alias_or_name)}"
        if isinstance(node, exp.Paren) or (
            isinstance(node, exp.Subquery) and isinstance(node.this, exp.Table)
        ):
            sql = self._source(node.this, scope, named)
            for join in node.this.args.get("joins") or []:
                sql = self._join(sql, join, scope, named)
            return f"({sql})"
        if isinstance(node, exp.Subquery) and node.alias:
            sql, columns = self.query(node.this, None, named)
            scope.sources[node.alias] = columns
            return f"({sql}) AS {_quote(node.alias)}"
        raise UnsupportedSqlError(f"{type(node).__name__} in FROM")

    def _files(self, where: exp.Expression, scope: _Scope) -> str:
        """Write which files a condition on the order of the sky leaves, as far as that spares any."""
        bounds: dict[str, tuple[int, int]] = {}
        for term in list_terms(where):
            column = term.this if isinstance(term, exp.Between) else None
            if isinstance(column, exp.Column) and column.name == "hp29" and column.table in scope.tables:
                low, high = (int(str(term.args[k].this)) for k in ("low", "high"))
                known = bounds.get(column.table, (low, high))
                bounds[column.table] = (max(low, known[0]), min(high, known[1]))
        out = ""
        for key, (low, high) in bounds.items():
            files = scope.tables[key].files
            names = sorted({name for first, last, name in files if first <= high and last >= low})
            if names and len(names) < len(files) and len(names) <= _MOST_FILES:
                listed = ", ".join(f"'{name}'" for name in names)
                out += f" AND {_quote(key)}.{_quote(FILE_COLUMN)} IN ({listed})"
        return out

    def _join(self, left: str, join: exp.Join, scope: _Scope, named: Mapping[str, _Columns]) -> str:
        side, kind, method = (str(join.args.get(k) or "").upper() for k in ("side", "kind", "method"))
        if method or side not in {"", "LEFT", "RIGHT", "FULL"} or kind not in {"", "INNER", "OUTER", "CROSS"}:
            raise UnsupportedSqlError(f"the join {method} {side} {kind}")
        right = self._source(join.this, scope, named)
        if not isinstance(join.this, exp.Subquery | exp.Paren):
            for nested in join.this.args.get("joins") or []:
                right = self._join(right, nested, scope, named)
        on, using = join.args.get("on"), join.args.get("using")
        word = f"{side} JOIN" if side else "JOIN"
        if using:
            return f"{left} {word} {right} USING ({', '.join(_quote(part.name) for part in using)})"
        if on is None:
            return f"{left} CROSS JOIN {right}"
        return f"{left} {word} {right} ON {_Scalars(self, scope, named).condition(on)}"

    def _order(self, tree: exp.Expression, scope: _Scope, named: Mapping[str, _Columns]) -> str:
        clause = tree.args.get("order")
        if clause is None:
            return ""
        scalars = _Scalars(self, scope, named)
        parts = []
        for ordered in clause.expressions:
            key = scalars.write(ordered.this)
            if key.type == "array":
                raise UnsupportedSqlError("an order by arrays")
            parts.append(key.sql + (" DESC" if ordered.args.get("desc") else " ASC") + " NULLS LAST")
        return " ORDER BY " + ", ".join(parts)

    def _rows(self, tree: exp.Expression) -> str:
        out = ""
        for clause, word in (("limit", "LIMIT"), ("offset", "OFFSET")):
            node = tree.args.get(clause)
            if node is None:
                continue
            count = int(str(node.expression.this))
            if count >= 1 << 31:
                if word == "OFFSET":
                    raise UnsupportedSqlError("an OFFSET of this size")
                continue
            out += f" {word} {count}"
        return out


class _Scalars:
    """Writes the expressions of one SELECT."""

    def __init__(self, writer: _Writer, scope: _Scope, named: Mapping[str, _Columns]) -> None:
        self._writer = writer
        self._scope = scope
        self._named = named

    def condition(self, node: exp.Expression) -> str:
        value = self.write(node)
        if value.type not in {"bool", "null"}:
            raise UnsupportedSqlError("a condition that is a value")
        return value.sql

    def write(self, node: exp.Expression) -> Value:  # noqa: C901  # one case for each kind of node
        match node:
            case exp.Column():
                return self._column(node)
            case exp.Literal():
                return self._literal(node)
            case exp.Null():
                return Value("NULL", "null")
            case exp.Boolean():
                return Value("TRUE" if node.this else "FALSE", "bool")
            case exp.Paren():
                inner = self.write(node.this)
                return Value(f"({inner.sql})", inner.type, inner.number, inner.text)
            case exp.Neg():
                inner = self.write(node.this)
                if inner.type not in NUMBERS:
                    raise UnsupportedSqlError(f"the negative of a value of type {inner.type}")
                number = None if inner.number is None else -inner.number
                return Value(f"(- {inner.sql})", inner.type, number)
            case exp.BitwiseNot():
                inner = self.write(node.this)
                if inner.type not in {"i16", "i32", "i64"}:
                    raise UnsupportedSqlError("~ of a value that is no integer")
                return Value(f"(~ {inner.sql})", inner.type)
            case exp.DPipe():
                sides = [self.write(part) for part in node.flatten(unnest=False)]  # type: ignore[arg-type]
                if any(side.type not in {"str", "null"} for side in sides):
                    raise UnsupportedSqlError("|| with values that are no strings")
                return Value("(" + " || ".join(cast_to(side, "str").sql for side in sides) + ")", "str")
            case exp.And() | exp.Or():
                word = "AND" if isinstance(node, exp.And) else "OR"
                terms = [self.condition(term) for term in node.flatten(unnest=False)]  # type: ignore[arg-type]
                return Value("(" + f" {word} ".join(terms) + ")", "bool")
            case exp.Not():
                return Value(f"(NOT {self.condition(node.this)})", "bool")
            case exp.Anonymous():
                return self._call(node)
            case exp.Case():
                return self._case(node)
            case exp.Cast():
                return self._cast(node)
            case exp.Subquery():
                sql, columns = self._writer.query(node.this, self._scope, self._named)
                (kind,) = columns.values()
                return Value(f"({sql})", kind)
            case exp.Exists():
                return Value(f"EXISTS ({self._writer.query(node.this, self._scope, self._named)[0]})", "bool")
        if type(node) in ARITHMETIC:
            return arithmetic(ARITHMETIC[type(node)], self.write(node.this), self.write(node.expression))
        if type(node) in BITS:
            return bits(BITS[type(node)], self.write(node.this), self.write(node.expression))
        return self._test(node)

    def _column(self, node: exp.Column) -> Value:
        parts = [part.name for part in node.parts]
        if len(parts) > 2 or isinstance(node.this, exp.Star):
            raise UnsupportedSqlError("a name of this form")
        kind = self._scope.find(parts[0] if len(parts) == 2 else "", parts[-1])
        return Value(".".join(map(_quote, parts)), kind)

    def _literal(self, node: exp.Literal) -> Value:
        text = str(node.this)
        if node.is_string:
            written = text.replace("\\", "\\\\").replace("'", "\\'")
            return Value(f"'{written}'", "str", text=text)
        if text.isdigit():
            number = int(text)
            small = number < 1 << 31
            return Value(str(number) if small else f"{number}L", "i32" if small else "i64", float(number))
        return Value(f"{float(text)!r}D", "dec", float(text))

    def _call(self, node: exp.Anonymous) -> Value:
        name = str(node.this).lower()
        rule = CALLS.get(name)
        if rule is None:
            raise UnsupportedSqlError(f"the function {name}")
        given = list(node.expressions)
        if name == "count" and len(given) == 1 and isinstance(given[0], exp.Star):
            return Value("count(*)", "i64")
        if given and isinstance(given[0], exp.Distinct):
            if name not in AGGREGATES or len(given) > 1 or len(given[0].expressions) != 1:
                raise UnsupportedSqlError(f"DISTINCT in {name}")
            made = rule([self.write(given[0].expressions[0])])
            head, _, tail = made.sql.partition(f"{name}(")
            if not _:
                raise UnsupportedSqlError(f"DISTINCT in {name}")
            return Value(f"{head}{name}(DISTINCT {tail}", made.type)
        return rule([self.write(argument) for argument in given])

    def _case(self, node: exp.Case) -> Value:
        subject = node.args.get("this")
        branches = node.args.get("ifs") or []
        default = node.args.get("default")
        results = [self.write(branch.args["true"]) for branch in branches]
        results += [self.write(default)] if default is not None else []
        made = united(results)
        if subject is None:
            tests = [self.condition(branch.this) for branch in branches]
            head = "CASE"
        else:
            first, *others = comparable([self.write(subject), *(self.write(b.this) for b in branches)])
            tests = [other.sql for other in others]
            head = f"CASE {first.sql}"
        parts = [f"WHEN {test} THEN {made[i].sql}" for i, test in enumerate(tests)]
        parts += [f"ELSE {made[-1].sql}"] if default is not None else []
        return Value(f"({head} {' '.join(parts)} END)", made[0].type)

    def _cast(self, node: exp.Cast) -> Value:
        inner = self.write(node.this)
        wanted = _CASTS.get(node.to.this)
        if wanted is None or node.to.expressions or isinstance(node, exp.TryCast):
            raise UnsupportedSqlError(f"a cast to {node.to.sql()[:40]}")
        if inner.number is not None and wanted == "f64":
            return Value(f"{inner.number!r}D", "f64", inner.number)
        return cast_to(inner, wanted)

    def _test(self, node: exp.Expression) -> Value:
        match node:
            case exp.Between():
                parts = comparable([self.write(node.args[k]) for k in ("this", "low", "high")])
                return Value(f"({parts[0].sql} BETWEEN {parts[1].sql} AND {parts[2].sql})", "bool")
            case exp.In():
                return self._in(node)
            case exp.Like() | exp.ILike():
                left, right = self.write(node.this), self.write(node.expression)
                if left.type not in {"str", "null"} or right.text is None or "\\" in right.text:
                    raise UnsupportedSqlError("LIKE with this pattern")
                word = "LIKE" if isinstance(node, exp.Like) else "ILIKE"
                return Value(f"({cast_to(left, 'str').sql} {word} {right.sql})", "bool")
            case exp.Is():
                if isinstance(node.expression, exp.Null):
                    return Value(f"({self.write(node.this).sql} IS NULL)", "bool")
        operator = COMPARISONS.get(type(node))
        if operator is None:
            raise UnsupportedSqlError(f"the expression {type(node).__name__}")
        left, right = comparable([self.write(node.this), self.write(node.expression)])
        if left.type == "array":
            raise UnsupportedSqlError("a comparison of arrays")
        return Value(f"({left.sql} {operator} {right.sql})", "bool")

    def _in(self, node: exp.In) -> Value:
        left = self.write(node.this)
        query = node.args.get("query")
        if query is not None:
            sql, columns = self._writer.query(query, self._scope, self._named)
            (kind,) = columns.values()
            made, _ = comparable([left, Value("", kind)])
            if kind not in {made.type, "null"} and not {kind, left.type} <= set(WHOLE):
                raise UnsupportedSqlError("IN over a sub-query of another type")
            return Value(f"({left.sql} IN ({sql}))", "bool")
        first, *others = comparable([left, *map(self.write, node.expressions)])
        return Value(f"({first.sql} IN ({', '.join(other.sql for other in others)}))", "bool")
