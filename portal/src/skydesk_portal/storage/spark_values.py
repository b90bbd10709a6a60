"""Values of the engine's SQL on their way to Spark: types, and the functions by which both engines agree.

Where the engines differ the SQL for Spark says what DuckDB means: ``/`` follows IEEE 754, single precision stays
single, a cast to an integer rounds to even, ``ceil`` and ``floor`` keep their type. What is not listed here is not known
to give equal answers and stays with the indexed engine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

__all__ = [
    "AGGREGATES",
    "CALLS",
    "NUMBERS",
    "WHOLE",
    "UnsupportedSqlError",
    "Value",
    "arithmetic",
    "bits",
    "cast_to",
    "comparable",
    "united",
]


class UnsupportedSqlError(Exception):
    """Something in a query is not known to mean the same for Spark; the message names it."""


@dataclass(frozen=True)
class Value:
    """An expression for Spark.

    Parameters
    ----------
    sql
        Spark SQL, safe to stand inside any other expression.
    type
        ``i16``, ``i32``, ``i64``, ``huge`` (128 bits), ``dec`` (a number written with a point), ``f32``, ``f64``,
        ``str``, ``bool``, ``time``, ``null`` or ``array``.
    number
        Value of a literal number.
    text
        Value of a literal string.
    """

    sql: str
    type: str
    number: float | None = None
    text: str | None = None


NUMBERS = ("i16", "i32", "i64", "huge", "dec", "f32", "f64")
WHOLE = ("i16", "i32", "i64", "huge")
_SPARK = {
    "i16": "SMALLINT",
    "i32": "INT",
    "i64": "BIGINT",
    "huge": "DECIMAL(38, 0)",
    "f32": "FLOAT",
    "f64": "DOUBLE",
    "dec": "DOUBLE",
    "str": "STRING",
    "time": "TIMESTAMP_NTZ",
    "bool": "BOOLEAN",
}
_LARGEST_WHOLE = "4503599627370496D"
"""From here on every number in double precision is whole."""


def cast_to(value: Value, wanted: str) -> Value:
    """Return a value as another type, as DuckDB casts it.

    Raises
    ------
    UnsupportedSqlError
        If the engines write or round such a cast differently.
    """
    given = value.type
    if given == wanted:
        return value
    if given == "null":
        return Value(f"CAST(NULL AS {_SPARK[wanted]})", wanted)
    if wanted in WHOLE and given in {"f32", "f64", "dec"}:
        return Value(f"CAST(rint({value.sql}) AS {_SPARK[wanted]})", wanted)
    if given == "dec" and wanted == "f64":
        return Value(value.sql, "f64", value.number)
    if wanted in NUMBERS and given in (*NUMBERS, "bool"):
        return Value(f"CAST({value.sql} AS {_SPARK[wanted]})", wanted, value.number)
    if wanted == "str" and given in {"i16", "i32", "i64", "bool"}:
        return Value(f"CAST({value.sql} AS STRING)", wanted)
    if wanted == "time" and value.text is not None:
        return Value(f"TIMESTAMP_NTZ {value.sql}", wanted)
    raise UnsupportedSqlError(f"a cast from {given} to {wanted}")


def united(values: list[Value]) -> list[Value]:
    """Return values of one type: that of the branches of CASE, of the arguments of COALESCE."""
    kinds = {value.type for value in values} - {"null"}
    if len(kinds) == 1:
        (kind,) = kinds
    elif kinds <= set(NUMBERS):
        kind = _widest(kinds)
    elif kinds == {"time", "str"}:
        kind = "time"
    elif not kinds:
        return values
    else:
        raise UnsupportedSqlError("values of several kinds in one place")
    return [cast_to(value, kind) for value in values]


def _widest(kinds: set[str]) -> str:
    if "f64" in kinds:
        return "f64"
    if "f32" in kinds:
        return "f32"
    if "dec" in kinds:
        return "f64"
    return max(kinds, key=WHOLE.index)


def comparable(values: list[Value]) -> list[Value]:
    """Return values that are compared with each other, as DuckDB brings them to one type."""
    kinds = {value.type for value in values} - {"null"}
    if "bool" in kinds and kinds <= {"bool", "i16", "i32", "i64"} and len(kinds) > 1:
        values = [cast_to(v, "i64") if v.type != "null" else v for v in values]
    if kinds == {"bool", "str"}:
        values = [_truth(value) for value in values]
    return united(values)


def _truth(value: Value) -> Value:
    if value.text is not None and value.text.lower() in {"true", "false"}:
        return Value(value.text.upper(), "bool")
    return value


def arithmetic(operator: str, left: Value, right: Value) -> Value:
    """Return the result of ``+``, ``-``, ``*``, ``/`` or ``%``."""
    for side in (left, right):
        if side.type not in (*NUMBERS, "null"):
            raise UnsupportedSqlError(f"{operator} with a value of type {side.type}")
    kinds = {left.type, right.type} - {"null"}
    if not kinds:
        raise UnsupportedSqlError("arithmetic with NULL alone")
    kind = _widest(kinds)
    if operator == "/":
        kind = "f32" if kind == "f32" else "f64"
        a, b = (cast_to(side, kind).sql for side in (left, right))
        if right.number is not None and right.number != 0:
            sql = f"({a} / {b})"
        else:
            # Spark knows no division by zero; the power of an infinite or signed zero gives what IEEE 754 demands.
            sql = f"(CASE WHEN {b} = 0 THEN {a} * pow({b}, -1) ELSE {a} / {b} END)"
        return Value(f"CAST({sql} AS FLOAT)" if kind == "f32" else sql, kind)
    a, b = (cast_to(side, kind).sql for side in (left, right))
    if kind == "huge":
        # The type of the result would be wider than there is one.
        return Value(f"CAST(({a} {operator} {b}) AS DECIMAL(38, 0))", kind)
    return Value(f"({a} {operator} {b})", kind)


type Rule = Callable[[list[Value]], Value]


def _numbers(args: list[Value], name: str, low: int = 1, high: int = 1) -> None:
    if not low <= len(args) <= high or any(arg.type not in (*NUMBERS, "null") for arg in args):
        raise UnsupportedSqlError(f"these arguments of {name}")


def _double(name: str, count: int = 1, spark: str = "") -> Rule:
    """Return the rule of a function of doubles."""

    def rule(args: list[Value]) -> Value:
        _numbers(args, name, count, count)
        return Value(f"{spark or name}({', '.join(cast_to(arg, 'f64').sql for arg in args)})", "f64")

    return rule


def _abs(args: list[Value]) -> Value:
    _numbers(args, "abs")
    return Value(f"abs({args[0].sql})", args[0].type)


def _whole(name: str) -> Rule:
    """Return the rule of ``ceil``, ``floor`` and ``trunc``, which Spark turns into 64-bit integers."""

    def rule(args: list[Value]) -> Value:
        _numbers(args, name)
        kind = "f32" if args[0].type == "f32" else "f64"
        x = cast_to(args[0], "f64").sql
        made = (
            f"{name}({x})" if name != "trunc" else f"(CASE WHEN {x} < 0 THEN ceil({x}) ELSE floor({x}) END)"
        )
        sql = f"(CASE WHEN abs({x}) < {_LARGEST_WHOLE} THEN CAST({made} AS DOUBLE) ELSE {x} END)"
        return cast_to(Value(sql, "f64"), kind)

    return rule


def _round(args: list[Value]) -> Value:
    _numbers(args, "round", 1, 2)
    x = args[0]
    places = args[1].number if len(args) == 2 else 0
    if places is None or not 0 <= places <= 15:
        raise UnsupportedSqlError("round to a number of places that is no constant from 0 to 15")
    if x.type in WHOLE:
        return x
    kind = "f32" if x.type == "f32" else "f64"
    if not places:
        return Value(f"round({cast_to(x, kind).sql})", kind)
    # Spark would round the decimal digits that a number is written with, so that 2.135 became 2.14.
    factor = f"{10.0**places!r}D"
    return cast_to(Value(f"(round({cast_to(x, 'f64').sql} * {factor}) / {factor})", "f64"), kind)


def _sign(args: list[Value]) -> Value:
    _numbers(args, "sign")
    x = args[0].sql
    return Value(
        f"(CASE WHEN {x} = {x} THEN CASE WHEN isnan({x}) THEN 0 ELSE CAST(sign({x}) AS INT) END END)", "i32"
    )


def _isfinite(args: list[Value]) -> Value:
    _numbers(args, "isfinite")
    # NaN is the largest of all numbers here, too.
    return Value(f"(abs({cast_to(args[0], 'f64').sql}) < DOUBLE('Infinity'))", "bool")


def _isnan(args: list[Value]) -> Value:
    _numbers(args, "isnan")
    return Value(f"({cast_to(args[0], 'f64').sql} = DOUBLE('NaN'))", "bool")


def _same(name: str) -> Rule:
    """Return the rule of a function whose arguments and result are of one type."""

    def rule(args: list[Value]) -> Value:
        made = united(args)
        return Value(f"{name}({', '.join(arg.sql for arg in made)})", made[0].type)

    return rule


def _nullif(args: list[Value]) -> Value:
    return Value(f"nullif({args[0].sql}, {args[1].sql})", args[0].type)


def _strings(name: str) -> Rule:
    def rule(args: list[Value]) -> Value:
        if any(arg.type not in {"str", "null"} for arg in args):
            raise UnsupportedSqlError(f"these arguments of {name}")
        return Value(f"{name}({', '.join(arg.sql for arg in args)})", "str")

    return rule


def _left(args: list[Value]) -> Value:
    if args[0].type != "str" or args[1].number is None:
        raise UnsupportedSqlError("these arguments of left")
    return Value(f"left({args[0].sql}, {args[1].sql})", "str")


def _xor(args: list[Value]) -> Value:
    return bits("^", *args)


def bits(operator: str, left: Value, right: Value) -> Value:
    """Return the result of an operation on bits."""
    if not {left.type, right.type} <= {"i16", "i32", "i64"} or operator == "<<":
        raise UnsupportedSqlError(f"the operation {operator} on these values")
    if operator == ">>":
        return Value(f"shiftright({left.sql}, CAST({right.sql} AS INT))", left.type)
    a, b = united([left, right])
    return Value(f"({a.sql} {operator} {b.sql})", a.type)


def _epoch(args: list[Value]) -> Value:
    if args[0].type != "time":
        raise UnsupportedSqlError("these arguments of epoch")
    return Value(f"(unix_micros(CAST({args[0].sql} AS TIMESTAMP)) / 1000000D)", "f64")


def _count(args: list[Value]) -> Value:
    return Value(f"count({args[0].sql})", "i64")


def _extreme(name: str) -> Rule:
    def rule(args: list[Value]) -> Value:
        if args[0].type in {"array", "null"}:
            raise UnsupportedSqlError(f"these arguments of {name}")
        return Value(f"{name}({args[0].sql})", args[0].type)

    return rule


def _sum(args: list[Value]) -> Value:
    _numbers(args, "sum")
    x = args[0]
    if x.type in WHOLE:
        # Sums of identifiers leave 64 bits.
        inner = (
            "BIGINT" if x.type in {"i16", "i32"} else "DECIMAL(20, 0)" if x.type == "i64" else _SPARK["huge"]
        )
        return Value(f"CAST(sum(CAST({x.sql} AS {inner})) AS DECIMAL(38, 0))", "huge")
    return Value(f"sum({cast_to(x, 'f64').sql})", "f64")


def _quantile(args: list[Value]) -> Value:
    _numbers(args, "quantile_cont", 2, 2)
    sql = f"percentile({args[0].sql}, {args[1].sql})"
    return Value(f"CAST({sql} AS FLOAT)", "f32") if args[0].type == "f32" else Value(sql, "f64")


CALLS: Mapping[str, Rule] = {
    "abs": _abs,
    "ceil": _whole("ceil"),
    "floor": _whole("floor"),
    "trunc": _whole("trunc"),
    "round": _round,
    "sign": _sign,
    "isfinite": _isfinite,
    "isnan": _isnan,
    **{name: _double(name) for name in ("degrees", "radians", "exp", "ln", "log10", "log2", "sqrt")},
    **{name: _double(name) for name in ("sin", "cos", "tan", "asin", "acos", "atan")},
    "atan2": _double("atan2", 2),
    "pow": _double("pow", 2),
    "pi": lambda _: Value("pi()", "f64"),
    "random": lambda _: Value("rand()", "f64"),
    "coalesce": _same("coalesce"),
    "greatest": _same("greatest"),
    "least": _same("least"),
    "nullif": _nullif,
    "lower": _strings("lower"),
    "upper": _strings("upper"),
    "left": _left,
    "xor": _xor,
    "epoch": _epoch,
    "count": _count,
    "min": _extreme("min"),
    "max": _extreme("max"),
    "sum": _sum,
    "avg": _double("avg"),
    "stddev_samp": _double("stddev_samp"),
    "median": lambda a: _quantile([a[0], Value("0.5D", "f64", 0.5)]),
    "quantile_cont": _quantile,
}
"""Rules by the function's name in DuckDB."""

AGGREGATES = frozenset({"count", "min", "max", "sum", "avg", "stddev_samp", "median", "quantile_cont"})
"""Those of them that may be told to look at different values only."""
