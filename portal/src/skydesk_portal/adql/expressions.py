"""Writing the expressions of a query as engine SQL; whatever is not known here is refused."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Any

from sqlglot import exp

from skydesk_portal.adql import geometry as geo
from skydesk_portal.adql.functions import AGGREGATES, FUNCTIONS, GEOMETRY, FunctionSpec
from skydesk_portal.adql.scope import OutColumn, Scope, error_at, suggest
from skydesk_portal.adql.shapes import GeometryWriter, find_geometry_call
from skydesk_portal.adql.written import Written, name_kind
from skydesk_portal.exceptions import QueryError
from skydesk_portal.models.tables import ColumnInfo

__all__ = ["ExpressionWriter", "Written"]

_BINARY: dict[type[exp.Expression], str] = {
    exp.Add: "+",
    exp.Sub: "-",
    exp.Mul: "*",
    exp.Div: "/",
    exp.BitwiseAnd: "&",
    exp.BitwiseOr: "|",
}
_COMPARE: dict[type[exp.Expression], str] = {
    exp.EQ: "=",
    exp.NEQ: "<>",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.GT: ">",
    exp.GTE: ">=",
}
_MIRROR = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "=": "=", "<>": "<>"}
_FOLD: dict[type[exp.Expression], Callable[[float, float], float]] = {
    exp.Add: lambda a, b: a + b,
    exp.Sub: lambda a, b: a - b,
    exp.Mul: lambda a, b: a * b,
    exp.Div: lambda a, b: a / b,
}
_CASTS: dict[Any, tuple[str, str, str]] = {
    exp.DataType.Type.CHAR: ("VARCHAR", "str", "char"),
    exp.DataType.Type.VARCHAR: ("VARCHAR", "str", "char"),
    exp.DataType.Type.TEXT: ("VARCHAR", "str", "char"),
    exp.DataType.Type.SMALLINT: ("SMALLINT", "num", "short"),
    exp.DataType.Type.INT: ("INTEGER", "num", "int"),
    exp.DataType.Type.BIGINT: ("BIGINT", "num", "long"),
    exp.DataType.Type.FLOAT: ("REAL", "num", "float"),
    exp.DataType.Type.DOUBLE: ("DOUBLE", "num", "double"),
    exp.DataType.Type.TIMESTAMP: ("TIMESTAMP", "any", "char"),
}


@dataclass
class ExpressionWriter(GeometryWriter):
    """Writes the expressions of one SELECT."""

    scope: Scope
    subquery: Callable[[exp.Expression, Scope], tuple[str, list[OutColumn]]]
    in_aggregate: bool = False
    saw_aggregate: bool = False
    bare: list[tuple[str, str, exp.Expression]] = field(default_factory=list)
    used: list[str] = field(default_factory=list)

    def write(self, node: exp.Expression) -> Written:
        """Write one expression.

        Parameters
        ----------
        node
            Part of the tree.

        Returns
        -------
        Written
            Engine SQL and metadata.

        Raises
        ------
        QueryError
            If the expression is not ADQL, or a name or a type does not fit.
        """
        start = len(self.bare)
        written = self._write(node)
        if self.scope.groups is not None and written.sql in self.scope.groups:
            del self.bare[start:]
        return written

    def predicate(self, node: exp.Expression) -> str:
        """Write a condition."""
        written = self.write(node)
        if written.kind not in {"bool", "any", "null"}:
            raise self._error(node, "a condition is needed here, such as a comparison")
        return written.sql

    def condition(self, node: exp.Expression, nullable: Collection[str] | None = None) -> str:
        """Write the condition of WHERE or ON, with joins by position as joins by cells where that is possible.

        Parameters
        ----------
        node
            The condition.
        nullable
            Sources that an outer join fills with nulls; `None` for WHERE and inner joins.
        """
        self.scope.cells.begin(node, nullable)
        try:
            return self.predicate(node)
        finally:
            self.scope.cells.end()

    def _error(self, node: exp.Expression | None, message: str) -> QueryError:
        return error_at(self.scope.text, node, message)

    def _write(self, node: exp.Expression) -> Written:  # noqa: C901  # one case for each kind of node
        match node:
            case exp.Column():
                return self._column(node)
            case exp.Literal():
                return self._literal(node)
            case exp.Null():
                return Written("NULL", "null")
            case exp.Boolean():
                return Written("TRUE" if node.this else "FALSE", "bool", ColumnInfo("", "boolean"))
            case exp.Paren():
                inner = self.write(node.this)
                return inner if inner.kind == "shape" else replace(inner, sql=f"({inner.sql})")
            case exp.Neg() | exp.BitwiseNot():
                inner = self._number(node.this)
                sign = "-" if isinstance(node, exp.Neg) else "~"
                number = -inner.number if inner.number is not None and sign == "-" else None
                return Written(f"({sign}{inner.sql})", "num", replace(inner.info, datatype=""), number)
            case exp.DPipe():
                left, right = self.write(node.this), self.write(node.expression)
                return Written(f"({left.sql} || {right.sql})", "str", ColumnInfo("", "char", "*"))
            case exp.BitwiseXor():
                left, right = self._number(node.this), self._number(node.expression)
                return Written(f"xor({left.sql}, {right.sql})", "num")
            case exp.And() | exp.Or():
                word = "AND" if isinstance(node, exp.And) else "OR"
                # Long chains are flattened: recursion over a thousand terms would not end well.
                terms = [self.predicate(term) for term in node.flatten(unnest=False)]  # type: ignore[arg-type]
                return Written("(" + f" {word} ".join(terms) + ")", "bool")
            case exp.Not():
                return Written(f"(NOT {self.predicate(node.this)})", "bool")
            case exp.Anonymous():
                return self._function(node)
            case exp.Case():
                return self._case(node)
            case exp.Cast():
                return self._cast(node)
            case exp.Subquery():
                return self._scalar(node)
        if type(node) in _BINARY:
            return self._arithmetic(node)
        if type(node) in _COMPARE:
            return self._compare(node)
        return self._condition(node)

    def _column(self, node: exp.Column) -> Written:
        if isinstance(node.this, exp.Star):
            raise self._error(node, "* stands only in the SELECT list and in COUNT(*)")
        sql, column, source = self.scope.resolve(node)
        own = source is None or source in self.scope.sources
        if own and not self.in_aggregate:
            self.bare.append((sql, column.name, node))
        if column.origin and column.origin not in self.used:
            self.used.append(column.origin)
        return Written(sql, column.kind, replace(column.info, name=column.name), origin=column.origin)

    def _literal(self, node: exp.Literal) -> Written:
        text = str(node.this)
        if node.is_string:
            return Written("'" + text.replace("'", "''") + "'", "str", ColumnInfo("", "char", "*"))
        try:
            number = float(text)
        except ValueError as error:
            raise self._error(node, f"not a number: {text[:30]}") from error
        if not math.isfinite(number):
            raise self._error(node, f"the number {text[:30]} is too large")
        if text.isdigit():
            if int(text) >= 1 << 63:
                raise self._error(node, f"the number {text[:30]} does not fit into 64 bits")
            return Written(str(int(text)), "num", ColumnInfo("", ""), number)
        # Written as a float so that the engine does not choose a decimal type of limited range.
        return Written(f"CAST({number!r} AS DOUBLE)", "num", ColumnInfo("", "double"), number)

    def _number(self, node: exp.Expression) -> Written:
        written = self.write(node)
        if written.kind not in {"num", "any", "null"}:
            raise self._error(node, f"a number is needed here, not {name_kind(written)}")
        return written

    def _arithmetic(self, node: exp.Expression) -> Written:
        left, right = self._number(node.this), self._number(node.expression)
        number: float | None = None
        if left.number is not None and right.number is not None and type(node) in _FOLD:
            try:
                number = _FOLD[type(node)](left.number, right.number)
            except (ZeroDivisionError, OverflowError):
                number = None
        same = left.info.unit == right.info.unit and isinstance(node, exp.Add | exp.Sub)
        unit = left.info.unit if same else ""
        return Written(
            f"({left.sql} {_BINARY[type(node)]} {right.sql})", "num", ColumnInfo("", "", unit=unit), number
        )

    def _compare(self, node: exp.Expression) -> Written:
        operator = _COMPARE[type(node)]
        for a, b, op in (
            (node.this, node.expression, operator),
            (node.expression, node.this, _MIRROR[operator]),
        ):
            call = find_geometry_call(a)
            if call is None:
                continue
            name = str(call.this).upper()
            if name in {"CONTAINS", "INTERSECTS"}:
                wanted = self.write(b).number
                if op not in {"=", "<>"} or wanted not in {0.0, 1.0}:
                    raise self._error(call, f"{name} is compared with = 0 or = 1")
                self.joins = self.scope.cells.is_term(node) and (wanted == 1.0) == (op == "=")
                exact, prefilter = self._inside(call)
                self.joins = False
                if (wanted == 1.0) == (op == "="):
                    return Written(f"({prefilter} AND {exact})" if prefilter else exact, "bool")
                return Written(f"(NOT {exact})", "bool")
            if name == "DISTANCE" and op in {"<", "<="}:
                self.joins = self.scope.cells.is_term(node)
                return self._near(call, b, op)
        left, right = self.write(node.this), self.write(node.expression)
        self._check_comparable(node, left, right)
        return Written(f"({left.sql} {operator} {right.sql})", "bool")

    def _check_comparable(self, node: exp.Expression, left: Written, right: Written) -> None:
        kinds = {left.kind, right.kind}
        if "shape" in kinds:
            raise self._error(node, "a region cannot be compared: use CONTAINS, INTERSECTS or DISTANCE")
        if "str" in kinds and "num" in kinds:
            name = next((w.info.name for w in (left, right) if w.info.name), "")
            raise self._error(node, f"a number is compared with a string{f' at `{name}`' if name else ''}")

    def _near(self, call: exp.Anonymous, limit: exp.Expression, op: str) -> Written:
        a, b = self._two_points(call)
        radius = self._number(limit).value()
        exact = geo.within_sql(a, b, radius, op)
        if geo.is_constant(a):
            a, b = b, a
        prefilter = self._prefilter(a, geo.Circle(b, radius))
        self.joins = False
        return Written(f"({prefilter} AND {exact})" if prefilter else exact, "bool")

    def _condition(self, node: exp.Expression) -> Written:
        match node:
            case exp.Between():
                parts = [self.write(node.args[k]) for k in ("this", "low", "high")]
                if node.args.get("symmetric") is not None:
                    raise self._error(node, "BETWEEN SYMMETRIC is not ADQL")
                self._check_comparable(node, parts[0], parts[1])
                self._check_comparable(node, parts[0], parts[2])
                return Written(f"({parts[0].sql} BETWEEN {parts[1].sql} AND {parts[2].sql})", "bool")
            case exp.In():
                return self._in(node)
            case exp.Like() | exp.ILike():
                left, right = self.write(node.this), self.write(node.expression)
                if "num" in {left.kind, right.kind}:
                    raise self._error(node, "LIKE compares strings")
                word = "LIKE" if isinstance(node, exp.Like) else "ILIKE"
                return Written(f"({left.sql} {word} {right.sql})", "bool")
            case exp.Is():
                if not isinstance(node.expression, exp.Null):
                    raise self._error(node, "IS is followed by NULL or NOT NULL")
                return Written(f"({self.write(node.this).sql} IS NULL)", "bool")
            case exp.Exists():
                sql, _ = self.subquery(node.this, self.scope)
                return Written(f"EXISTS ({sql})", "bool")
        raise self._error(node, f"this is not ADQL: {node.sql()[:60]}")

    def _in(self, node: exp.In) -> Written:
        left = self.write(node.this)
        query = node.args.get("query")
        if query is not None:
            sql, columns = self.subquery(query.this if isinstance(query, exp.Subquery) else query, self.scope)
            if len(columns) != 1:
                raise self._error(node, f"the sub-query of IN must give one column, not {len(columns)}")
            return Written(f"({left.sql} IN ({sql}))", "bool")
        values = [self.write(value) for value in node.expressions]
        if not values or node.args.get("unnest") or node.args.get("field"):
            raise self._error(node, "IN needs a list of values or a sub-query")
        for value in values:
            self._check_comparable(node, left, value)
        return Written(f"({left.sql} IN ({', '.join(value.sql for value in values)}))", "bool")

    def _case(self, node: exp.Case) -> Written:
        parts = ["CASE"]
        subject = node.args.get("this")
        if subject is not None:
            parts.append(self.write(subject).sql)
        results: list[Written] = []
        for branch in node.args.get("ifs") or []:
            test = self.write(branch.this).sql if subject is not None else self.predicate(branch.this)
            results.append(self.write(branch.args["true"]))
            parts.append(f"WHEN {test} THEN {results[-1].sql}")
        if (default := node.args.get("default")) is not None:
            results.append(self.write(default))
            parts.append(f"ELSE {results[-1].sql}")
        kinds = {result.kind for result in results} - {"null"}
        if not results or "shape" in kinds or kinds >= {"num", "str"}:
            raise self._error(node, "the branches of CASE must give values of one kind")
        return Written("(" + " ".join([*parts, "END"]) + ")", kinds.pop() if len(kinds) == 1 else "any")

    def _cast(self, node: exp.Cast) -> Written:
        inner = self.write(node.this)
        target = _CASTS.get(node.to.this)
        if target is None or inner.kind == "shape" or isinstance(node, exp.TryCast):
            raise self._error(node.this, f"CAST to {node.to.sql()[:30]} is not ADQL")
        sql, kind, datatype = target
        info = ColumnInfo("", datatype, "*" if datatype == "char" else None, unit=inner.info.unit)
        cast = f"CAST({inner.sql} AS {sql})"
        size = node.to.expressions
        if kind == "str" and size and str(size[0].this.this).isdigit():
            cast = f"left({cast}, {int(str(size[0].this.this))})"
        return Written(
            cast,
            kind,
            info if sql != "TIMESTAMP" else ColumnInfo("", ""),
            inner.number if kind == "num" else None,
        )

    def _scalar(self, node: exp.Subquery) -> Written:
        sql, columns = self.subquery(node.this, self.scope)
        if len(columns) != 1:
            raise self._error(node, f"a sub-query used as a value must give one column, not {len(columns)}")
        return Written(f"({sql})", columns[0].kind, columns[0].info)

    # Functions

    def _function(self, node: exp.Anonymous) -> Written:
        name = str(node.this).upper()
        if name in GEOMETRY:
            return self._geometry(node, name)
        spec = AGGREGATES.get(name)
        if spec is not None:
            return self._aggregate(node, name, spec)
        if name == "IN_UNIT":
            return self._in_unit(node)
        spec = FUNCTIONS.get(name)
        if spec is None:
            hint = suggest(str(node.this), [*FUNCTIONS, *AGGREGATES, *GEOMETRY])
            raise self._error(node, f"unknown function `{str(node.this)[:60]}`{hint}")
        args = [self.write(arg) for arg in node.expressions]
        self._check_arguments(node, name, spec, args)
        return self._result(name, spec, args, spec.emit([arg.sql for arg in args]))

    def _result(self, name: str, spec: FunctionSpec, args: list[Written], sql: str) -> Written:
        first = args[0].info if args else ColumnInfo("", "")
        same = spec.gives == "same" and bool(args)
        kind = args[0].kind if same else spec.gives
        datatype = first.datatype if same else ("char" if spec.gives == "str" else spec.datatype)
        size = first.arraysize if same else ("*" if spec.gives == "str" else None)
        info = ColumnInfo(name.lower(), datatype, size, unit=first.unit if spec.keeps_unit else "")
        return Written(sql, kind, info)

    def _check_arguments(
        self, node: exp.Anonymous, name: str, spec: FunctionSpec, args: list[Written]
    ) -> None:
        if not spec.low <= len(args) <= spec.high:
            wanted = str(spec.low) if spec.low == spec.high else f"{spec.low} to {spec.high}"
            raise self._error(node, f"{name} takes {wanted} argument{'s' * (wanted != '1')}, not {len(args)}")
        for arg in args:
            wrong = arg.kind == "shape" or (
                spec.takes != "any"
                and arg.kind not in {spec.takes, "any", "null"}
                and (spec.takes, arg.kind) != ("str", "region")
            )
            if wrong:
                kind = {"num": "numbers", "str": "strings"}.get(spec.takes, "values")
                raise self._error(node, f"{name} takes {kind}, not {name_kind(arg)}")

    def _aggregate(self, node: exp.Anonymous, name: str, spec: FunctionSpec) -> Written:
        if self.in_aggregate:
            raise self._error(node, f"{name} inside another aggregate function")
        self.saw_aggregate = True
        only = node.expressions[0] if len(node.expressions) == 1 else None
        if name == "COUNT" and isinstance(only, exp.Star):
            return Written("count(*)", "num", ColumnInfo("count", "long"))
        self.in_aggregate = True
        distinct = ""
        given = list(node.expressions)
        if isinstance(only, exp.Distinct):
            given, distinct = list(only.expressions), "DISTINCT "
        args = [self.write(arg) for arg in given]
        self.in_aggregate = False
        self._check_arguments(node, name, spec, args)
        sql = spec.emit([distinct + args[0].sql, *[arg.sql for arg in args[1:]]])
        if name == "IVO_STRING_AGG":
            sql = spec.emit([f"{distinct}CAST({args[0].sql} AS VARCHAR)", args[1].sql])
        return self._result(name, spec, args, sql)

    def _in_unit(self, node: exp.Anonymous) -> Written:
        from astropy import units as u

        args = [self.write(arg) for arg in node.expressions]
        if len(args) != 2 or args[1].kind != "str":
            raise self._error(node, "IN_UNIT takes an expression and a unit as a string")
        target = args[1].sql[1:-1]
        try:
            factor = u.Unit(args[0].info.unit or "", format="vounit").to(u.Unit(target, format="vounit"))
        except (ValueError, u.UnitConversionError, TypeError) as error:
            raise self._error(
                node, f"IN_UNIT cannot turn `{args[0].info.unit}` into `{target[:30]}`"
            ) from error
        return Written(
            f"({args[0].sql} * {float(factor)!r})", "num", ColumnInfo("in_unit", "double", unit=target)
        )
