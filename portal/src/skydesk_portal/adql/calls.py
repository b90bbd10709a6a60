"""Writing the calls of functions: which function, with what, in which unit."""

from __future__ import annotations

import re
import warnings
from abc import abstractmethod
from dataclasses import replace
from datetime import datetime
from functools import lru_cache

from sqlglot import exp

from skydesk_portal.adql import dialect
from skydesk_portal.adql import geometry as geo
from skydesk_portal.adql.functions import (
    AGGREGATES,
    ELSEWHERE,
    FUNCTIONS,
    GEOMETRY,
    NAMES,
    SYNONYMS,
    FunctionSpec,
)
from skydesk_portal.adql.kinds import find_common
from skydesk_portal.adql.scope import suggest
from skydesk_portal.adql.shapes import GeometryWriter, expanded
from skydesk_portal.adql.written import Written, name_kind
from skydesk_portal.exceptions import QueryError
from skydesk_portal.models.tables import ColumnInfo

__all__ = ["CallWriter", "check_time", "convert_unit"]

_TAKES = {
    "n": frozenset({"num", "any", "null"}),
    "i": frozenset({"num", "any", "null"}),
    "c": frozenset({"num"}),
    "s": frozenset({"str", "region", "any", "null"}),
    "l": frozenset({"str"}),
    "t": frozenset({"time", "str", "any", "null"}),
    "a": frozenset({"num", "str", "bool", "time", "region", "any", "null"}),
}
_WANTED = {
    "n": "numbers",
    "i": "whole numbers",
    "c": "a constant number",
    "s": "strings",
    "l": "a string in quotes",
    "t": "a time",
    "a": "plain values",
}
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?Z?)?\Z")


def check_time(text: str) -> str | None:
    """Return a time as the engine reads it, `None` if it is not one of DALI's form."""
    stripped = text.strip()
    if _TIME.match(stripped) is None:
        return None
    try:
        datetime.fromisoformat(stripped.rstrip("Z")[:26])
    except ValueError:
        return None
    return stripped.rstrip("Z").replace("T", " ")


@lru_cache(maxsize=1024)
def convert_unit(source: str, target: str) -> float:
    """Return the factor between two units.

    Parameters
    ----------
    source, target
        Units in the words of VOUnits.

    Returns
    -------
    float
        What a value is multiplied with.

    Raises
    ------
    QueryError
        If one is no unit or they measure different things.
    """
    from astropy import units as u

    found = []
    for word in (target, source):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found.append(u.Unit(word, format="vounit"))
        except (ValueError, TypeError) as error:
            raise QueryError(f"IN_UNIT: `{word[:40]}` is not a unit") from error
    try:
        return float(found[1].to(found[0]))
    except (u.UnitConversionError, TypeError) as error:
        raise QueryError(f"IN_UNIT cannot turn `{source}` into `{target[:40]}`") from error


class CallWriter(GeometryWriter):
    """The part of an expression writer that knows functions."""

    in_aggregate: bool
    saw_aggregate: bool
    functions: list[str]

    @abstractmethod
    def _number(self, node: exp.Expression) -> Written:
        """Write an expression that must be a number."""

    def _function(self, node: exp.Anonymous) -> Written:
        try:
            other = expanded(node)
        except QueryError as error:
            raise self._placed(node, error) from error
        spelled = str(node.this).upper()
        if other is not None:
            self._note(spelled)
            return self._geometry(other, "CONTAINS")
        name = SYNONYMS.get(spelled, spelled)
        own = bool(node.meta.get("own"))
        if not own:
            self._note(spelled)
        if name in GEOMETRY or own:
            return self._geometry(node, name)
        spec = AGGREGATES.get(name)
        if spec is not None:
            return self._aggregate(node, name, spec)
        if name == "IN_UNIT":
            return self._in_unit(node)
        spec = FUNCTIONS.get(name)
        if spec is None:
            raise self._unknown(node, name)
        if name == "IVO_HEALPIX_INDEX":
            return self._healpix_index(node, spec)
        args = [self.write(arg) for arg in node.expressions]
        return self._result(name, spec, self._check_arguments(node, name, spec, args))

    def _note(self, name: str) -> None:
        if name not in self.functions:
            self.functions.append(name)

    def _unknown(self, node: exp.Anonymous, name: str) -> QueryError:
        instead = ELSEWHERE.get(name)
        hint = f": {instead}" if instead else suggest(str(node.this), [*NAMES, "IN_UNIT", "CAST"])
        return self._error(node, f"unknown function `{str(node.this)[:60]}`{hint}")

    def _result(self, name: str, spec: FunctionSpec, args: list[Written]) -> Written:
        first = args[0].info if args else ColumnInfo("", "")
        unit = (
            first.unit
            if spec.keeps_unit and len({a.info.unit for a in args if a.kind != "null"}) == 1
            else ""
        )
        if spec.gives != "same":
            datatype = {"str": "char", "time": "char"}.get(spec.gives, spec.datatype)
            size, xtype = ("*" if datatype == "char" else None), ("timestamp" if spec.gives == "time" else "")
            info = ColumnInfo(name.lower(), datatype, size, xtype, unit)
            sql = dialect.FUNCTION_SQL[name]([a.sql for a in args])
            return Written(sql, spec.gives, info, whole=None if not datatype else datatype in {"int", "long"})
        known = [a for a in args if a.kind != "null"] or args
        kind = find_common(a.kind for a in args) or "any"
        same = len({(a.info.datatype, a.info.arraysize, a.info.xtype) for a in known}) == 1
        info = replace(known[0].info if same else ColumnInfo("", ""), name=name.lower(), unit=unit)
        whole = known[0].whole if len({a.whole for a in known}) == 1 else None
        keep = ColumnInfo(info.name, info.datatype, info.arraysize, info.xtype, info.unit)
        return Written(dialect.FUNCTION_SQL[name]([a.sql for a in args]), kind, keep, whole=whole)

    def _check_arguments(
        self, node: exp.Anonymous, name: str, spec: FunctionSpec, args: list[Written]
    ) -> list[Written]:
        low, high = spec.lowest, spec.highest
        if not low <= len(args) <= high or (name == "SCISQL_ANGSEP" and len(args) == 5):
            wanted = str(low) if low == high else f"{low} to {high}" if high < 1000 else f"at least {low}"
            raise self._error(
                node, f"{node.this} takes {wanted} argument{'s' * (wanted != '1')}, not {len(args)}"
            )
        if spec.gives == "same" and find_common(arg.kind for arg in args) is None:
            raise self._error(node, f"the values of {name} must be of one kind, all numbers or all strings")
        return [self._check_argument(node, i, spec.kind_of(i), arg) for i, arg in enumerate(args)]

    def _check_argument(self, node: exp.Anonymous, index: int, letter: str, arg: Written) -> Written:
        given = node.expressions[index] if index < len(node.expressions) else node
        constant = letter not in "cl" or (
            arg.number is not None if letter == "c" else isinstance(given, exp.Literal)
        )
        if arg.kind not in _TAKES[letter] or not constant or (letter == "i" and arg.whole is False):
            found = name_kind(arg) if arg.kind not in _TAKES[letter] else "this"
            raise self._error(node, f"{node.this} takes {_WANTED[letter]}, not {found}")
        if letter == "t" and isinstance(given, exp.Literal):
            time = check_time(str(given.this))
            if time is None:
                raise self._error(given, f"not a time: {str(given.this)[:40]!r}, write 2026-01-31T12:00:00")
            return replace(arg, sql=f"'{time}'")
        if arg.kind == "null" and letter in "nist":
            return replace(arg, sql=dialect.NULL_TEXT if letter in "st" else dialect.NULL_NUMBER)
        if letter == "i" and arg.whole is None:
            return replace(arg, sql=f"CAST({arg.sql} AS BIGINT)")
        if letter == "c" and not 0 <= (arg.number or 0.0) <= 100:
            raise self._error(node, f"{node.this} takes a percentage from 0 to 100")
        return arg

    def _aggregate(self, node: exp.Anonymous, name: str, spec: FunctionSpec) -> Written:
        if self.in_aggregate:
            raise self._error(node, f"{name} inside another aggregate function")
        self.saw_aggregate = True
        given = list(node.expressions)
        if name == "COUNT" and len(given) == 1 and isinstance(given[0], exp.Star):
            return Written("count(*)", "num", ColumnInfo("count", "long"), whole=True)
        self.in_aggregate = True
        distinct = ""
        if given and isinstance(given[0], exp.Distinct):
            given, distinct = [*given[0].expressions, *given[1:]], "DISTINCT "
        args = [self.write(arg) for arg in given]
        self.in_aggregate = False
        if name == "COUNT" and len(args) == 1 and args[0].kind in {"array", "shape"} and not distinct:
            return Written(f"count({args[0].sql})", "num", ColumnInfo("count", "long"), whole=True)
        plain = exp.Anonymous(this=node.this, expressions=given)
        plain.meta.update(node.meta)
        args = self._check_arguments(plain, name, spec, args)
        if name == "IVO_STRING_AGG":
            args[0] = replace(args[0], sql=dialect.text(args[0].sql))
        return self._result(name, spec, [replace(args[0], sql=distinct + args[0].sql), *args[1:]])

    def _in_unit(self, node: exp.Anonymous) -> Written:
        args = [self.write(arg) for arg in node.expressions]
        literal = node.expressions[1] if len(args) == 2 else None
        if (
            not isinstance(literal, exp.Literal)
            or not literal.is_string
            or args[0].kind not in {"num", "any"}
        ):
            raise self._error(node, "IN_UNIT takes a number and a unit as a string in quotes")
        source, target = args[0].info.unit, str(literal.this).strip()
        if not source:
            raise self._error(node, "IN_UNIT: the unit of the first argument is not known")
        try:
            factor = convert_unit(source, target)
        except QueryError as error:
            raise self._error(node, str(error)) from error
        info = ColumnInfo("in_unit", "double", unit=target, ucd=args[0].info.ucd)
        return Written(f"({args[0].sql} * {dialect.double(factor)})", "num", info, whole=False)

    def _healpix_index(self, node: exp.Anonymous, spec: FunctionSpec) -> Written:
        args = [self.write(arg) for arg in node.expressions]
        point = self._shape(node.expressions[1]) if len(args) == 2 else None
        if point is not None:
            coordinates = self._coordinates(node, "ivo_healpix_index", [node.expressions[1]])[0]
            args = [args[0], *coordinates]
        args = self._check_arguments(node, "IVO_HEALPIX_INDEX", spec, args)
        key = point.index_key if isinstance(point, geo.Point) else self._index_key(args[1], args[2])
        order = args[0].number
        if key is not None and order is not None and 0 <= order <= 29:
            # The stored index, with the finer orders shifted away.
            shift = 2 * (29 - int(order))
            info = ColumnInfo("ivo_healpix_index", "long")
            return Written(f"({key} >> {shift})", "num", info, whole=True)
        if order is not None and not 0 <= order <= 29:
            raise self._error(node, f"the HEALPix order {order:g} is not between 0 and 29")
        sql = [f"CAST({args[0].sql} AS INTEGER)", *(f"CAST({a.sql} AS DOUBLE)" for a in args[1:])]
        return self._result(
            "IVO_HEALPIX_INDEX", spec, [replace(a, sql=s) for a, s in zip(args, sql, strict=True)]
        )
