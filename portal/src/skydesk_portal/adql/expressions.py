"""Writing the expressions of a query as engine SQL; whatever is not known here is refused."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace

from sqlglot import exp

from skydesk_portal.adql import dialect
from skydesk_portal.adql import geometry as geo
from skydesk_portal.adql.calls import CallWriter, check_time
from skydesk_portal.adql.kinds import are_comparable, find_common
from skydesk_portal.adql.operators import ARITHMETIC, BITS, COMPARISONS
from skydesk_portal.adql.scope import OutColumn, Scope, error_at, excerpt
from skydesk_portal.adql.shapes import find_geometry_call
from skydesk_portal.adql.written import Written, is_whole, name_kind
from skydesk_portal.exceptions import QueryError
from skydesk_portal.models.tables import ColumnInfo

__all__ = ["ExpressionWriter", "Written"]

_MIRROR = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "=": "=", "<>": "<>"}
_FOLD: dict[type[exp.Expression], Callable[[float, float], float]] = {
    exp.Add: lambda a, b: a + b,
    exp.Sub: lambda a, b: a - b,
    exp.Mul: lambda a, b: a * b,
    exp.Div: lambda a, b: a / b,
}
_CASTS: dict[str, tuple[str, str, str]] = {
    "CHAR": ("CHAR", "str", "char"),
    "VARCHAR": ("VARCHAR", "str", "char"),
    "TEXT": ("VARCHAR", "str", "char"),
    "SMALLINT": ("SMALLINT", "num", "short"),
    "INT": ("INTEGER", "num", "int"),
    "BIGINT": ("BIGINT", "num", "long"),
    "REAL": ("REAL", "num", "float"),
    "FLOAT": ("REAL", "num", "float"),
    "DOUBLE": ("DOUBLE PRECISION", "num", "double"),
    "TIMESTAMP": ("TIMESTAMP", "time", "char"),
}
_SHORT_CASTS = {"INT": "INT", "DOUBLE": "DOUBLE", "FLOAT": "DOUBLE"}
"""Types of SQL-92 that ADQL spells otherwise."""
_SHAPES = frozenset({"POINT", "CIRCLE", "POLYGON"})
_INTEGERS = {"SMALLINT": 15, "INTEGER": 31, "BIGINT": 63}


@dataclass
class ExpressionWriter(CallWriter):
    """Writes the expressions of one SELECT."""

    scope: Scope
    subquery: Callable[[exp.Expression, Scope], tuple[str, list[OutColumn]]]
    in_aggregate: bool = False
    saw_aggregate: bool = False
    bare: list[tuple[str, str, exp.Expression]] = field(default_factory=list)
    used: list[str] = field(default_factory=list)
    functions: list[str] = field(default_factory=list)

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
        # Some functions write an argument several times: nested in each other they would grow without bounds.
        if len(written.sql) > 50_000 + 20 * len(self.scope.text):
            raise self._error(node, "this expression is nested too deeply")
        if self.scope.groups is not None and written.sql in self.scope.groups:
            del self.bare[start:]
        return written

    def predicate(self, node: exp.Expression) -> str:
        """Write a condition."""
        written = self.write(node)
        if written.kind not in {"bool", "any", "null"}:
            call = find_geometry_call(node)
            hint = (
                f": write 1 = {str(call.this).upper()}(…)" if call is not None else ", such as a comparison"
            )
            raise self._error(node, f"a condition is needed here{hint}")
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
            case exp.Neg():
                inner = self._number(node.this)
                number = -inner.number if inner.number is not None else None
                info = ColumnInfo("", "", unit=inner.info.unit)
                return Written(f"(-{inner.sql})", "num", info, number, whole=inner.whole)
            case exp.BitwiseNot():
                return Written(f"(~{self._integer(node.this)})", "num", whole=True)
            case exp.DPipe():
                # The tree of a long chain leans to one side, too deep for recursion.
                sides = [self._joinable(part) for part in node.flatten(unnest=False)]  # type: ignore[arg-type]
                return Written(f"({' || '.join(sides)})", "str", ColumnInfo("", "char", "*"))
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
        if type(node) in ARITHMETIC:
            return self._arithmetic(node)
        if type(node) in BITS:
            left_sql, right_sql = self._integer(node.this), self._integer(node.expression)
            return Written(dialect.bits(BITS[type(node)], left_sql, right_sql), "num", whole=True)
        if type(node) in COMPARISONS:
            return self._compare(node)
        return self._condition(node)

    def _column(self, node: exp.Column) -> Written:
        if isinstance(node.this, exp.Star):
            raise self._error(node, "* stands only in the SELECT list and in COUNT(*)")
        sql, column, source = self.scope.resolve(node)
        own = source is None or source in self.scope.sources
        if own and not self.in_aggregate:
            self.bare.append((sql, column.name, node))
        elif not own and (owner := self.scope.owner_of(source)) is not None:
            owner.inner.append((sql, column.name, node))
        if column.origin and column.origin not in self.used:
            self.used.append(column.origin)
        info = replace(column.info, name=column.name)
        return Written(sql, column.kind, info, origin=column.origin, whole=is_whole(info))

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
            return Written(str(int(text)), "num", ColumnInfo("", ""), number, whole=True)
        # Written as a float so that the engine does not choose a decimal type of limited range.
        return Written(dialect.double(number), "num", ColumnInfo("", "double"), number, whole=False)

    def _number(self, node: exp.Expression) -> Written:
        written = self.write(node)
        if written.kind == "null":
            return replace(written, sql=dialect.NULL_NUMBER)
        if written.kind not in {"num", "any"}:
            raise self._error(node, f"a number is needed here, not {name_kind(written)}")
        return written

    def _integer(self, node: exp.Expression) -> str:
        written = self._number(node)
        if written.whole is False:
            raise self._error(node, "operations on bits take whole numbers: use CAST(x AS BIGINT)")
        return written.sql if written.whole else f"CAST({written.sql} AS BIGINT)"

    def _joinable(self, node: exp.Expression) -> str:
        written = self.write(node)
        if written.kind in {"shape", "array", "bool"}:
            raise self._error(node, f"|| joins strings, not {name_kind(written)}")
        return written.sql if written.kind in {"str", "region"} else dialect.text(written.sql)

    def _arithmetic(self, node: exp.Expression) -> Written:
        left, right = self._number(node.this), self._number(node.expression)
        number: float | None = None
        if left.number is not None and right.number is not None and type(node) in _FOLD:
            try:
                number = _FOLD[type(node)](left.number, right.number)
            except (ZeroDivisionError, OverflowError):
                number = None
        if number is not None and not math.isfinite(number):
            number = None
        whole = None
        if isinstance(node, exp.Div):
            whole = False
        elif left.whole is not None and right.whole is not None:
            whole = left.whole and right.whole
        operator = ARITHMETIC[type(node)]
        divisor = f"nullif({right.sql}, 0)" if operator == "%" else right.sql
        info = ColumnInfo("", "", unit=_unit_of(operator, left, right))
        return Written(f"({left.sql} {operator} {divisor})", "num", info, number, whole=whole)

    def _compare(self, node: exp.Expression) -> Written:
        operator = COMPARISONS[type(node)]
        for a, b, op in (
            (node.this, node.expression, operator),
            (node.expression, node.this, _MIRROR[operator]),
        ):
            try:
                call = find_geometry_call(a)
            except QueryError as error:
                raise self._placed(a, error) from error
            if call is None:
                continue
            name = str(call.this).upper()
            if name in {"CONTAINS", "INTERSECTS"} and op in {"=", "<>"}:
                wanted, constant = self._truth(b)
                if wanted is None and not constant:
                    continue
                if wanted is None:
                    raise self._error(call, f"{name} is compared with = 0 or = 1")
                asked = str(a.this).upper() if isinstance(a, exp.Anonymous) else name
                self._note(asked)
                holds = wanted == (op == "=")
                self.joins = self.scope.cells.is_term(node) and holds
                inside = self._inside(call)
                self.joins = False
                return Written(inside.holds if holds else inside.fails, "bool")
            if name == "DISTANCE" and op in {"<", "<="}:
                self._note(name)
                self.joins = self.scope.cells.is_term(node)
                return self._near(call, b, op)
        left, right = self.write(node.this), self.write(node.expression)
        self._check_comparable(node, left, right)
        return Written(f"({left.sql} {operator} {right.sql})", "bool")

    def _truth(self, node: exp.Expression) -> tuple[bool | None, bool]:
        """Return which truth a constant means, `None` if none, and whether it is a constant at all."""
        if isinstance(node, exp.Boolean):
            return bool(node.this), True
        number = self.write(node).number
        return None if number not in {0.0, 1.0} else number == 1.0, number is not None

    def _check_comparable(self, node: exp.Expression, left: Written, right: Written) -> None:
        kinds = {left.kind, right.kind}
        if "shape" in kinds:
            raise self._error(node, "a region cannot be compared: use CONTAINS, INTERSECTS or DISTANCE")
        literal = next((w.sql for w in (left, right) if w.kind == "str"), "")
        if kinds == {"bool", "str"} and literal.lower() in {"'true'", "'false'"}:
            return
        if not are_comparable(left.kind, right.kind):
            name = next((w.info.name for w in (left, right) if w.info.name), "")
            at = f" at `{name}`" if name else ""
            found = " is compared with ".join(sorted({name_kind(left), name_kind(right)}))
            raise self._error(node, f"{found}{at}")
        if kinds == {"time", "str"} and literal.startswith("'") and check_time(literal[1:-1]) is None:
            raise self._error(node, f"not a time: {literal[:40]}, write 2026-01-31T12:00:00")

    def _comparable(self, node: exp.Expression, left: Written, others: list[Written]) -> None:
        for i, other in enumerate(others):
            self._check_comparable(node, left, other)
            for third in others[i + 1 :] if left.kind in {"null", "any"} else ():
                self._check_comparable(node, other, third)

    def _near(self, call: exp.Anonymous, limit: exp.Expression, op: str) -> Written:
        a, b = self._two_points(call)
        radius = self._number(limit).value()
        exact = geo.within_sql(a, b, radius, op)
        if geo.is_constant(a):
            a, b = b, a
        prefilter = self._prefilter(a, geo.Circle(b, radius))
        self.joins = False
        if prefilter:
            exact = dialect.unless(self._sure(a, geo.Circle(b, radius)), exact)
        return Written(f"({prefilter} AND {exact})" if prefilter else exact, "bool")

    def _condition(self, node: exp.Expression) -> Written:
        match node:
            case exp.Between():
                parts = [self.write(node.args[k]) for k in ("this", "low", "high")]
                if node.args.get("symmetric") is not None:
                    raise self._error(node, "BETWEEN SYMMETRIC is not ADQL")
                self._comparable(node, parts[0], parts[1:])
                return Written(f"({parts[0].sql} BETWEEN {parts[1].sql} AND {parts[2].sql})", "bool")
            case exp.In():
                return self._in(node)
            case exp.Like() | exp.ILike():
                left, right = self.write(node.this), self.write(node.expression)
                for side in (left, right):
                    if side.kind not in {"str", "region", "any", "null"}:
                        raise self._error(node, f"LIKE compares strings, not {name_kind(side)}")
                word = "LIKE" if isinstance(node, exp.Like) else "ILIKE"
                return Written(f"({left.sql} {word} {right.sql})", "bool")
            case exp.Is():
                if not isinstance(node.expression, exp.Null):
                    raise self._error(node, "IS is followed by NULL or NOT NULL")
                return Written(f"({self.write(node.this).sql} IS NULL)", "bool")
            case exp.Exists():
                sql, _ = self.subquery(node.this, self.scope)
                return Written(f"EXISTS ({sql})", "bool")
        raise self._error(node, f"this is not ADQL: {excerpt(self.scope.text, node)[:60]}")

    def _in(self, node: exp.In) -> Written:
        left = self.write(node.this)
        query = node.args.get("query")
        if query is not None:
            sql, columns = self.subquery(query.this if isinstance(query, exp.Subquery) else query, self.scope)
            if len(columns) != 1:
                raise self._error(node, f"the sub-query of IN must give one column, not {len(columns)}")
            self._check_comparable(node, left, Written("", columns[0].kind, columns[0].info))
            return Written(f"({left.sql} IN ({sql}))", "bool")
        values = [self.write(value) for value in node.expressions]
        if not values or node.args.get("unnest") or node.args.get("field"):
            raise self._error(node, "IN needs a list of values or a sub-query")
        self._comparable(node, left, values)
        return Written(f"({left.sql} IN ({', '.join(value.sql for value in values)}))", "bool")

    def _case(self, node: exp.Case) -> Written:
        parts = ["CASE"]
        subject = self.write(node.args["this"]) if node.args.get("this") is not None else None
        if subject is not None:
            parts.append(subject.sql)
        results: list[Written] = []
        tests: list[Written] = []
        for branch in node.args.get("ifs") or []:
            if subject is not None:
                tests.append(self.write(branch.this))
            test = tests[-1].sql if subject is not None else self.predicate(branch.this)
            results.append(self.write(branch.args["true"]))
            parts.append(f"WHEN {test} THEN {results[-1].sql}")
        if subject is not None:
            self._comparable(node, subject, tests)
        if (default := node.args.get("default")) is not None:
            results.append(self.write(default))
            parts.append(f"ELSE {results[-1].sql}")
        kind = find_common(result.kind for result in results)
        if not results or kind is None or kind in {"shape", "array"}:
            raise self._error(node, "the branches of CASE must give values of one kind")
        units = {result.info.unit for result in results if result.kind != "null" and result.number is None}
        info = ColumnInfo(
            "", "boolean" if kind == "bool" else "", unit=units.pop() if len(units) == 1 else ""
        )
        wholes = {result.whole for result in results if result.kind != "null"}
        whole = wholes.pop() if len(wholes) == 1 else None
        return Written("(" + " ".join([*parts, "END"]) + ")", kind, info, whole=whole)

    def _cast(self, node: exp.Cast) -> Written:
        inner = self.write(node.this)
        named = str(node.to.args.get("kind") or "").upper()
        word = _SHORT_CASTS.get(named, named) or str(node.to.this.value)
        if word in _SHAPES and not isinstance(node, exp.TryCast):
            return self._cast_shape(node, inner, word)
        target = _CASTS.get(word)
        if target is None or isinstance(node, exp.TryCast) or (named and named not in _SHORT_CASTS):
            raise self._error(
                node.this,
                f"CAST to {named or word} is not ADQL: the types are CHAR(n), VARCHAR(n), SMALLINT, INTEGER, BIGINT,"
                " REAL, DOUBLE PRECISION, TIMESTAMP, POINT, CIRCLE and POLYGON",
            )
        adql, kind, datatype = target
        inner = self._castable(node, inner, adql, kind)
        whole = adql in _INTEGERS if kind == "num" else None
        info = ColumnInfo(
            "",
            datatype,
            "*" if datatype == "char" else None,
            "timestamp" if kind == "time" else "",
            inner.info.unit,
        )
        cast = f"CAST({inner.sql} AS {dialect.TYPES[adql]})"
        size = node.to.expressions
        if kind == "str" and size and str(size[0].this.this).isdigit():
            cast = f"left({cast}, {min(int(str(size[0].this.this)), 1 << 30)})"
        number = inner.number if kind == "num" else None
        if number is not None and whole:
            number = float(round(number))
        return Written(cast, kind, info, number, whole=whole)

    def _castable(self, node: exp.Cast, inner: Written, adql: str, kind: str) -> Written:
        allowed = {
            "num": {"num", "str", "bool", "any", "null"},
            "str": {"num", "str", "bool", "time", "region", "any", "null"},
            "time": {"time", "str", "any", "null"},
        }[kind]
        if inner.kind not in allowed:
            raise self._error(node.this, f"CAST to {adql}: this is {name_kind(inner)}")
        literal = node.this if isinstance(node.this, exp.Literal) and node.this.is_string else None
        if literal is None:
            bits = _INTEGERS.get(adql)
            if bits and inner.number is not None and not -(2**bits) <= inner.number < 2**bits:
                raise self._error(node.this, f"the number does not fit into {adql}")
            return inner
        text = str(literal.this).strip()
        if kind == "time":
            time = check_time(text)
            if time is None:
                raise self._error(literal, f"not a time: {text[:40]!r}, write 2026-01-31T12:00:00")
            return replace(inner, sql=f"'{time}'")
        if kind == "num":
            try:
                fits = math.isfinite(float(text)) and "_" not in text
                bits = _INTEGERS.get(adql)
                fits = fits and (bits is None or -(2**bits) <= float(text) < 2**bits)
            except ValueError:
                fits = False
            if not fits:
                raise self._error(literal, f"{text[:40]!r} cannot become {adql}")
        return inner

    def _scalar(self, node: exp.Subquery) -> Written:
        sql, columns = self.subquery(node.this, self.scope)
        if len(columns) != 1:
            raise self._error(node, f"a sub-query used as a value must give one column, not {len(columns)}")
        kind = "any" if columns[0].kind == "null" else columns[0].kind
        return Written(f"({sql})", kind, columns[0].info, whole=is_whole(columns[0].info))


def _unit_of(operator: str, left: Written, right: Written) -> str:
    """Return the unit of a result, empty where it has none or none is known."""
    a, b = left.info.unit, right.info.unit
    if operator in "+-%":
        return a if a == b or (right.number is not None and operator == "%") else ""
    if operator == "*":
        return f"{a}.{b}" if a and b else a or b
    if a == b:
        return ""
    if not b:
        return a
    return f"{a}/{b}" if a and re.fullmatch(r"\w+", b) else ""
