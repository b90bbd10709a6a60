"""Everything that is particular to the SQL of the engine; the rest of the front end writes SQL that all engines share.

The front end makes SQL for DuckDB. Another engine needs these names and functions, the functions ``skydesk_*`` that work
on regions and cells, and an adapter in ``skydesk_portal.storage``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

__all__ = [
    "FUNCTION_SQL",
    "NULL_NUMBER",
    "NULL_TEXT",
    "TYPES",
    "array",
    "bits",
    "double",
    "element",
    "finite",
    "guarded",
    "joined",
    "text",
    "unless",
]

type Emit = Callable[[list[str]], str]

TYPES: Mapping[str, str] = {
    "CHAR": "VARCHAR",
    "VARCHAR": "VARCHAR",
    "SMALLINT": "SMALLINT",
    "INTEGER": "INTEGER",
    "BIGINT": "BIGINT",
    "REAL": "REAL",
    "DOUBLE PRECISION": "DOUBLE",
    "TIMESTAMP": "TIMESTAMP",
}
"""Names of ADQL's types in the engine."""


NULL_NUMBER = "CAST(NULL AS DOUBLE)"
NULL_TEXT = "CAST(NULL AS VARCHAR)"


def text(sql: str) -> str:
    """Return SQL of a value as a string."""
    return f"CAST({sql} AS VARCHAR)"


def double(number: float) -> str:
    """Return SQL of a number in double precision; plain digits would be a decimal of limited range."""
    return f"CAST({number!r} AS DOUBLE)"


def array(parts: Sequence[str]) -> str:
    """Return SQL of an array of double-precision numbers."""
    return "[" + ", ".join(f"CAST({part} AS DOUBLE)" for part in parts) + "]"


def element(sql: str, index: int) -> str:
    """Return SQL of an element of an array, counted from 1."""
    return f"({sql})[{index}]"


def joined(sql: str) -> str:
    """Return SQL of the elements of an array as one string, with spaces between them."""
    return f"array_to_string({sql}, ' ')"


def finite(parts: Sequence[str]) -> str:
    """Return SQL that tells whether numbers are neither NaN nor infinite; null where one is null."""
    return " AND ".join(f"isfinite(CAST({part} AS DOUBLE))" for part in parts)


def guarded(sql: str, parts: Sequence[str]) -> str:
    """Return SQL that is null where one of some numbers is null, NaN or infinite."""
    # The engine takes NaN for the largest of all numbers, so that comparisons with it may hold.
    return f"(CASE WHEN {finite(parts)} THEN {sql} END)" if parts else sql


def unless(known: str, sql: str) -> str:
    """Return SQL of a condition that is only computed where another one does not hold already."""
    return f"(CASE WHEN {known} THEN TRUE ELSE {sql} END)" if known else sql


def bits(operator: str, left: str, right: str) -> str:
    """Return SQL of an operation on the bits of two integers: ``&``, ``|``, ``^``, ``<<`` or ``>>``."""
    return f"xor({left}, {right})" if operator == "^" else f"({left} {operator} {right})"


def _call(name: str) -> Emit:
    return lambda a: f"{name}({', '.join(a)})"


def _where(test: str, value: str) -> Emit:
    """Return a function that is null where a test does not hold: one bad row must not stop a scan."""
    return lambda a: f"(CASE WHEN {test.format(*a)} THEN {value.format(*a)} END)"


def _form(form: str) -> Emit:
    return lambda a: "(" + form.format(*a) + ")"


def _truncate(a: list[str]) -> str:
    if len(a) == 1:
        return f"trunc({a[0]})"
    # By rounding and one step back: multiplying by a power of ten would turn 0.29 into 0.28.
    x, digits = a[0], f"CAST({a[1]} AS INTEGER)"
    rounded = f"round({x}, {digits})"
    back = f"{rounded} - sign({x}) * pow(10, -({digits}))"
    return f"round((CASE WHEN abs({rounded}) > abs({x}) THEN {back} ELSE {rounded} END), {digits})"


def _separation(a: list[str]) -> str:
    if len(a) == 6:
        x1, y1, z1, x2, y2, z2 = a
        cross = (
            f"pow({y1} * {z2} - {z1} * {y2}, 2) + pow({z1} * {x2} - {x1} * {z2}, 2)"
            f" + pow({x1} * {y2} - {y1} * {x2}, 2)"
        )
        return f"degrees(atan2(sqrt({cross}), {x1} * {x2} + {y1} * {y2} + {z1} * {z2}))"
    haversine = (
        f"pow(sin(radians({a[3]} - {a[1]}) / 2), 2)"
        f" + cos(radians({a[1]})) * cos(radians({a[3]})) * pow(sin(radians({a[2]} - {a[0]}) / 2), 2)"
    )
    return guarded(f"degrees(2 * atan2(sqrt({haversine}), sqrt(greatest(0, 1 - ({haversine})))))", a)


def _words(a: list[str]) -> str:
    split = (
        "string_split_regex(trim(regexp_replace(lower({}), '[^a-z0-9\\x80-\\x{{10ffff}}]+', ' ', 'g')), ' ')"
    )
    return f"CAST(list_has_all({split.format(a[0])}, {split.format(a[1])}) AS INTEGER)"


_K = "1.0857362047581296"
"""2.5 / ln 10, magnitudes in one e-fold of flux."""
_AB = "3.630780547701014e-20"
"""Flux of AB magnitude 0 in erg/cm2/s/Hz."""
_RATIO = "sqrt(pow({1} / {2}, 2) + pow({0} * {3} / ({2} * {2}), 2))"
"""Error of {0}/{2} with the errors {1} and {3}."""
_PRODUCT = "sqrt(pow({1} * {2}, 2) + pow({0} * {3}, 2))"

FUNCTION_SQL: Mapping[str, Emit] = {
    "ABS": _call("abs"),
    "CEILING": _call("ceil"),
    "FLOOR": _call("floor"),
    "ROUND": lambda a: f"round({a[0]}, CAST({a[1]} AS INTEGER))" if len(a) == 2 else f"round({a[0]})",
    "TRUNCATE": _truncate,
    "SIGN": _call("sign"),
    "DEGREES": _call("degrees"),
    "RADIANS": _call("radians"),
    "EXP": _call("exp"),
    "LOG": _where("{0} > 0", "ln({0})"),
    "LOG10": _where("{0} > 0", "log10({0})"),
    "MOD": _form("{0} % nullif({1}, 0)"),
    "PI": lambda _: "pi()",
    "POWER": _call("pow"),
    "SQRT": _where("{0} >= 0", "sqrt({0})"),
    # ADQL leaves the meaning of a seed open.
    "RAND": lambda _: "random()",
    "SIN": _call("sin"),
    "COS": _call("cos"),
    "TAN": _call("tan"),
    "COT": _form("1 / tan({0})"),
    "ASIN": _where("{0} BETWEEN -1 AND 1", "asin({0})"),
    "ACOS": _where("{0} BETWEEN -1 AND 1", "acos({0})"),
    "ATAN": _call("atan"),
    "ATAN2": _call("atan2"),
    "LOWER": _call("lower"),
    "UPPER": _call("upper"),
    "COALESCE": _call("coalesce"),
    "BITWISE_AND": _form("{0} & {1}"),
    "BITWISE_OR": _form("{0} | {1}"),
    "BITWISE_XOR": _form("xor({0}, {1})"),
    "BITWISE_NOT": _form("~{0}"),
    "TIMESTAMP": _form("CAST({0} AS TIMESTAMP)"),
    "COUNT": _call("count"),
    "MIN": _call("min"),
    "MAX": _call("max"),
    "AVG": _call("avg"),
    "SUM": _call("sum"),
    "STDDEV": _call("stddev_samp"),
    "MEDIAN": _call("median"),
    "SCISQL_MEDIAN": _call("median"),
    "SCISQL_PERCENTILE": lambda a: f"quantile_cont({a[0]}, {a[1]} / 100)",
    "IVO_STRING_AGG": _call("string_agg"),
    "SCISQL_NANOJANSKYTOABMAG": _where("{0} > 0", "31.4 - 2.5 * log10({0})"),
    "SCISQL_NANOJANSKYTOABMAGSIGMA": _where("{0} > 0 AND {1} >= 0", _K + " * {1} / {0}"),
    "SCISQL_ABMAGTONANOJANSKY": _form("pow(10, 0.4 * (31.4 - {0}))"),
    "SCISQL_ABMAGTONANOJANSKYSIGMA": _form("pow(10, 0.4 * (31.4 - {0})) * {1} / " + _K),
    "SCISQL_FLUXTOABMAG": _where("{0} > 0", "-2.5 * log10({0}) - 48.6"),
    "SCISQL_FLUXTOABMAGSIGMA": _where("{0} > 0 AND {1} >= 0", _K + " * {1} / {0}"),
    "SCISQL_ABMAGTOFLUX": _form("pow(10, -0.4 * ({0} + 48.6))"),
    "SCISQL_ABMAGTOFLUXSIGMA": _form("pow(10, -0.4 * ({0} + 48.6)) * {1} / " + _K),
    "SCISQL_DNTOABMAG": _where("{0} / {1} > 0", "-2.5 * log10({0} / {1})"),
    "SCISQL_DNTOABMAGSIGMA": _where("{0} / {2} > 0", f"{_K} * {_RATIO} / ({{0}} / {{2}})"),
    "SCISQL_DNTOFLUX": _where("{1} <> 0", _AB + " * {0} / {1}"),
    "SCISQL_DNTOFLUXSIGMA": _where("{2} <> 0", f"{_AB} * {_RATIO}"),
    "SCISQL_FLUXTODN": _form(f"{{0}} * {{1}} / {_AB}"),
    "SCISQL_FLUXTODNSIGMA": _form(f"{_PRODUCT} / {_AB}"),
    "SCISQL_ABMAGTODN": _form("{1} * pow(10, -0.4 * {0})"),
    "SCISQL_ABMAGTODNSIGMA": _form(
        f"pow(10, -0.4 * {{0}}) * sqrt(pow({{2}} * {{1}} / {_K}, 2) + pow({{3}}, 2))"
    ),
    "SCISQL_ANGSEP": _separation,
    "IVO_HASHLIST_HAS": lambda a: (
        f"CAST(list_contains(string_split(lower({a[0]}), '#'), lower({a[1]})) AS INTEGER)"
    ),
    "IVO_HASWORD": _words,
    "IVO_NOCASEMATCH": _form("CAST(({0} ILIKE {1}) AS INTEGER)"),
    "IVO_INTERVAL_OVERLAPS": _form(
        "CAST(({0} <= {3} AND {2} <= {1} AND {0} <= {1} AND {2} <= {3}) AS INTEGER)"
    ),
    "IVO_TO_JD": _form("epoch(CAST({0} AS TIMESTAMP)) / 86400 + 2440587.5"),
    "IVO_TO_MJD": _form("epoch(CAST({0} AS TIMESTAMP)) / 86400 + 40587"),
    "IVO_HEALPIX_INDEX": lambda a: f"skydesk_healpix({', '.join(a)})",
    "IVO_NORMAL_RANDOM": _form("{0} + {1} * sqrt(-2 * ln(1 - random())) * cos(2 * pi() * random())"),
}
"""SQL of each function from the SQL of its arguments; every argument stands in parentheses or is a name already."""
