"""The functions that a query may call: arguments, result and, for user-defined ones, their declaration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from skydesk_portal.adql.udfs import UDFS, declared_arguments

__all__ = ["AGGREGATES", "ELSEWHERE", "FUNCTIONS", "GEOMETRY", "NAMES", "REWRITTEN", "UDFS", "FunctionSpec"]


@dataclass(frozen=True)
class FunctionSpec:
    """One callable function.

    Parameters
    ----------
    takes
        Kind of each argument: ``n`` number, ``i`` integer, ``s`` string, ``t``
        time, ``a`` anything, ``c`` constant number, ``l`` string literal.
    low
        Smallest number of arguments; by default all of them.
    gives
        Kind of the result: ``num``, ``str``, ``time`` or ``same`` as the
        arguments.
    datatype
        VOTable type of the result when it is fixed.
    keeps_unit
        Whether the result has the unit of the argument.
    endless
        Whether the last argument may be repeated.
    """

    takes: str = "n"
    low: int = -1
    gives: str = "num"
    datatype: str = ""
    keeps_unit: bool = False
    endless: bool = False
    names: tuple[str, ...] = field(default=())

    @property
    def lowest(self) -> int:
        """Smallest number of arguments."""
        return len(self.takes) if self.low < 0 else self.low

    @property
    def highest(self) -> int:
        """Largest number of arguments."""
        return 1000 if self.endless else len(self.takes)

    def kind_of(self, index: int) -> str:
        """Return the letter of an argument."""
        return self.takes[min(index, len(self.takes) - 1)]


_D = "double"
_REAL = FunctionSpec("n", datatype=_D)

FUNCTIONS: dict[str, FunctionSpec] = {
    "ABS": FunctionSpec("n", gives="same", keeps_unit=True),
    "CEILING": FunctionSpec("n", keeps_unit=True),
    "FLOOR": FunctionSpec("n", keeps_unit=True),
    "ROUND": FunctionSpec("ni", low=1, keeps_unit=True),
    "TRUNCATE": FunctionSpec("ni", low=1, keeps_unit=True),
    "SIGN": FunctionSpec("n"),
    **dict.fromkeys(["DEGREES", "RADIANS", "EXP", "LOG", "LOG10", "SQRT"], _REAL),
    **dict.fromkeys(["SIN", "COS", "TAN", "COT", "ASIN", "ACOS", "ATAN"], _REAL),
    "MOD": FunctionSpec("nn"),
    "PI": FunctionSpec("", datatype=_D),
    "POWER": FunctionSpec("nn", datatype=_D),
    "RAND": FunctionSpec("n", low=0, datatype=_D),
    "ATAN2": FunctionSpec("nn", datatype=_D),
    "LOWER": FunctionSpec("s", gives="str"),
    "UPPER": FunctionSpec("s", gives="str"),
    "COALESCE": FunctionSpec("a", gives="same", keeps_unit=True, endless=True),
    "BITWISE_AND": FunctionSpec("ii", gives="same"),
    "BITWISE_OR": FunctionSpec("ii", gives="same"),
    "BITWISE_XOR": FunctionSpec("ii", gives="same"),
    "BITWISE_NOT": FunctionSpec("i", gives="same"),
    "TIMESTAMP": FunctionSpec("t", gives="time"),
    "IVO_HEALPIX_INDEX": FunctionSpec("inn", datatype="long"),
}  # fmt: skip
"""Scalar functions of ADQL 2.1; those that `UDFS` declares are added below."""

AGGREGATES: dict[str, FunctionSpec] = {
    "COUNT": FunctionSpec("a", datatype="long"),
    "MIN": FunctionSpec("a", gives="same", keeps_unit=True),
    "MAX": FunctionSpec("a", gives="same", keeps_unit=True),
    "AVG": FunctionSpec("n", datatype=_D, keeps_unit=True),
    "SUM": FunctionSpec("n", keeps_unit=True),
    "STDDEV": FunctionSpec("n", datatype=_D, keeps_unit=True),
    "MEDIAN": FunctionSpec("n", datatype=_D, keeps_unit=True),
    "SCISQL_MEDIAN": FunctionSpec("n", datatype=_D, keeps_unit=True),
    "SCISQL_PERCENTILE": FunctionSpec("nc", datatype=_D, keeps_unit=True),
    "IVO_STRING_AGG": FunctionSpec("al", gives="str"),
}
"""Functions over groups of rows."""

GEOMETRY: frozenset[str] = frozenset(
    {
        "POINT", "CIRCLE", "BOX", "POLYGON", "REGION", "CONTAINS", "INTERSECTS", "DISTANCE", "AREA", "CENTROID",
        "COORD1", "COORD2", "COORDSYS", "IVO_HEALPIX_CENTER", "IVO_EPOCH_PROP_POS", "MOC",
    }
)  # fmt: skip
"""Geometrical functions of ADQL 2.1, and the user-defined ones that give a position or a region."""

REWRITTEN: Mapping[str, tuple[str, int]] = {
    "SCISQL_S2PTINCIRCLE": ("CIRCLE", 5),
    "SCISQL_S2PTINCPOLY": ("POLYGON", 0),
    "SCISQL_S2PTINBOX": ("SKYDESK_ZONE", 6),
    "SCISQL_S2PTINELLIPSE": ("SKYDESK_ELLIPSE", 7),
}
"""Functions that mean CONTAINS of a position: the region, and the number of arguments (0 for any)."""

SYNONYMS: Mapping[str, str] = {
    "BIT_AND": "BITWISE_AND",
    "BIT_OR": "BITWISE_OR",
    "BIT_XOR": "BITWISE_XOR",
    "BIT_NOT": "BITWISE_NOT",
}
"""Names of drafts of ADQL 2.1."""

for _name, _kinds, _gives in declared_arguments():
    if _name not in FUNCTIONS and _name not in AGGREGATES and _name not in GEOMETRY | REWRITTEN.keys():
        _kind = {"VARCHAR": "str", "TIMESTAMP": "time"}.get(_gives, "num")
        _type = {"INTEGER": "int", "BIGINT": "long"}.get(_gives, _D if _kind == "num" else "")
        FUNCTIONS[_name] = FunctionSpec(_kinds, gives=_kind, datatype=_type)
FUNCTIONS["SCISQL_ANGSEP"] = FunctionSpec("nnnnnn", low=4, datatype=_D)

_SPELLED = {name.upper(): name for name in UDFS}
NAMES: tuple[str, ...] = tuple(
    _SPELLED.get(name, name) for name in sorted({*FUNCTIONS, *AGGREGATES, *GEOMETRY, *REWRITTEN})
)
"""All callable names as people write them."""

ELSEWHERE: Mapping[str, str] = {
    "LN": "LOG is the natural logarithm",
    "LOG2": "write LOG(x) / LOG(2)",
    "CEIL": "write CEILING",
    "POW": "write POWER",
    "TRUNC": "write TRUNCATE",
    "RANDOM": "write RAND()",
    "IF": "write CASE WHEN … THEN … ELSE … END",
    "IIF": "write CASE WHEN … THEN … ELSE … END",
    "NULLIF": "write CASE WHEN a <> b THEN a END",
    "IFNULL": "write COALESCE",
    "NVL": "write COALESCE",
    "ISNULL": "write x IS NULL",
    "CONCAT": "write a || b",
    "TRY_CAST": "write CAST(x AS type)",
    "CONVERT": "write CAST(x AS type)",
    "SQUARE": "write POWER(x, 2)",
    "CBRT": "write POWER(x, 1/3.0)",
    "GREATEST": "write CASE WHEN a > b THEN a ELSE b END",
    "LEAST": "write CASE WHEN a < b THEN a ELSE b END",
    "ANY": "write x IN (SELECT …) or EXISTS (SELECT …)",
    "SOME": "write x IN (SELECT …) or EXISTS (SELECT …)",
    "ROLLUP": "GROUP BY takes columns and expressions only",
    "CUBE": "GROUP BY takes columns and expressions only",
    "NOW": "write the time: CAST('2026-01-31T12:00:00' AS TIMESTAMP)",
    "STDDEV_SAMP": "write STDDEV",
    "VARIANCE": "write POWER(STDDEV(x), 2)",
    "QUANTILE": "write scisql_percentile(x, percent)",
    "PERCENTILE": "write scisql_percentile(x, percent)",
    "STRING_AGG": "write ivo_string_agg(x, delimiter)",
    "LISTAGG": "write ivo_string_agg(x, delimiter)",
}
"""What to write instead of functions of other languages."""
