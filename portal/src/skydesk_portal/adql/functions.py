"""The functions that a query may call, with what each becomes in the engine; nothing else is callable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["AGGREGATES", "FUNCTIONS", "GEOMETRY", "UDFS", "FunctionSpec"]


@dataclass(frozen=True)
class FunctionSpec:
    """One callable function.

    Parameters
    ----------
    low, high
        Smallest and largest number of arguments.
    emit
        Makes engine SQL from the SQL of the arguments.
    takes
        Kind of the arguments: ``num``, ``str`` or ``any``.
    gives
        Kind of the result: ``num``, ``str`` or ``same`` as the first argument.
    datatype
        VOTable type of the result when it is fixed.
    keeps_unit
        Whether the result has the unit of the argument.
    """

    low: int
    high: int
    emit: Callable[[list[str]], str]
    takes: str = "num"
    gives: str = "num"
    datatype: str = ""
    keeps_unit: bool = False


def _call(name: str) -> Callable[[list[str]], str]:
    return lambda a: f"{name}({', '.join(a)})"


def _round(a: list[str]) -> str:
    return f"round({a[0]}, CAST({a[1]} AS INTEGER))" if len(a) == 2 else f"round({a[0]})"


def _truncate(a: list[str]) -> str:
    if len(a) == 1:
        return f"trunc({a[0]})"
    return f"(trunc({a[0]} * pow(10, {a[1]})) / pow(10, {a[1]}))"


def _ab_mag(a: list[str]) -> str:
    # 31.4 = -2.5 log10(1e-9 / 3631): AB zero point of fluxes in nJy. The CASE keeps log10 off fluxes that have none.
    return f"(CASE WHEN {a[0]} > 0 THEN 31.4 - 2.5 * log10({a[0]}) END)"


def _ab_mag_sigma(a: list[str]) -> str:
    return f"(CASE WHEN {a[0]} > 0 THEN 1.0857362047581296 * ({a[1]}) / ({a[0]}) END)"


def _positive(name: str) -> Callable[[list[str]], str]:
    # The engine raises an error where IEEE arithmetic gives NaN; one bad row must not stop a scan.
    return lambda a: f"(CASE WHEN {a[0]} > 0 THEN {name}({a[0]}) END)"


def _unit_ball(name: str) -> Callable[[list[str]], str]:
    return lambda a: f"(CASE WHEN {a[0]} BETWEEN -1 AND 1 THEN {name}({a[0]}) END)"


_D = "double"

FUNCTIONS: dict[str, FunctionSpec] = {
    "ABS": FunctionSpec(1, 1, _call("abs"), gives="same", keeps_unit=True),
    "CEILING": FunctionSpec(1, 1, _call("ceil"), keeps_unit=True),
    "FLOOR": FunctionSpec(1, 1, _call("floor"), keeps_unit=True),
    "ROUND": FunctionSpec(1, 2, _round, keeps_unit=True),
    "TRUNCATE": FunctionSpec(1, 2, _truncate, keeps_unit=True),
    "SIGN": FunctionSpec(1, 1, _call("sign")),
    "DEGREES": FunctionSpec(1, 1, _call("degrees"), datatype=_D),
    "RADIANS": FunctionSpec(1, 1, _call("radians"), datatype=_D),
    "EXP": FunctionSpec(1, 1, _call("exp"), datatype=_D),
    "LOG": FunctionSpec(1, 1, _positive("ln"), datatype=_D),
    "LOG10": FunctionSpec(1, 1, _positive("log10"), datatype=_D),
    "MOD": FunctionSpec(2, 2, lambda a: f"(({a[0]}) % ({a[1]}))"),
    "PI": FunctionSpec(0, 0, lambda _: "pi()", datatype=_D),
    "POWER": FunctionSpec(2, 2, _call("pow"), datatype=_D),
    "SQRT": FunctionSpec(1, 1, lambda a: f"(CASE WHEN {a[0]} >= 0 THEN sqrt({a[0]}) END)", datatype=_D),
    "RAND": FunctionSpec(0, 1, lambda _: "random()", datatype=_D),
    "SIN": FunctionSpec(1, 1, _call("sin"), datatype=_D),
    "COS": FunctionSpec(1, 1, _call("cos"), datatype=_D),
    "TAN": FunctionSpec(1, 1, _call("tan"), datatype=_D),
    "COT": FunctionSpec(1, 1, lambda a: f"(1 / tan({a[0]}))", datatype=_D),
    "ASIN": FunctionSpec(1, 1, _unit_ball("asin"), datatype=_D),
    "ACOS": FunctionSpec(1, 1, _unit_ball("acos"), datatype=_D),
    "ATAN": FunctionSpec(1, 1, _call("atan"), datatype=_D),
    "ATAN2": FunctionSpec(2, 2, _call("atan2"), datatype=_D),
    "LOWER": FunctionSpec(1, 1, _call("lower"), takes="str", gives="str"),
    "UPPER": FunctionSpec(1, 1, _call("upper"), takes="str", gives="str"),
    "COALESCE": FunctionSpec(1, 99, _call("coalesce"), takes="any", gives="same", keeps_unit=True),
    "SCISQL_NANOJANSKYTOABMAG": FunctionSpec(1, 1, _ab_mag, datatype=_D),
    "SCISQL_NANOJANSKYTOABMAGSIGMA": FunctionSpec(2, 2, _ab_mag_sigma, datatype=_D),
    "SCISQL_ABMAGTONANOJANSKY": FunctionSpec(
        1, 1, lambda a: f"pow(10, 0.4 * (31.4 - ({a[0]})))", datatype=_D
    ),
    "SCISQL_FLUXTOABMAG": FunctionSpec(
        1, 1, lambda a: f"(CASE WHEN {a[0]} > 0 THEN -2.5 * log10({a[0]}) - 48.6 END)", datatype=_D
    ),
    "SCISQL_FLUXTOABMAGSIGMA": FunctionSpec(2, 2, _ab_mag_sigma, datatype=_D),
    "SCISQL_ANGSEP": FunctionSpec(
        4,
        4,
        lambda a: (
            f"degrees(2 * asin(least(1, sqrt(pow(sin(radians(({a[3]}) - ({a[1]})) / 2), 2) + cos(radians({a[1]}))"
            f" * cos(radians({a[3]})) * pow(sin(radians(({a[2]}) - ({a[0]})) / 2), 2)))))"
        ),
        datatype=_D,
    ),
    "IVO_HASHLIST_HAS": FunctionSpec(
        2,
        2,
        lambda a: f"CAST(list_contains(string_split(lower({a[0]}), '#'), lower({a[1]})) AS INTEGER)",
        takes="str",
        datatype="int",
    ),
    "IVO_NOCASEMATCH": FunctionSpec(
        2, 2, lambda a: f"CAST(({a[0]} ILIKE {a[1]}) AS INTEGER)", takes="str", datatype="int"
    ),
    "IVO_INTERVAL_OVERLAPS": FunctionSpec(
        4, 4, lambda a: f"CAST(({a[0]} <= {a[3]} AND {a[2]} <= {a[1]}) AS INTEGER)", datatype="int"
    ),
}
"""Scalar functions: those of ADQL 2.1, and those that queries written for the Rubin Science Platform use."""

AGGREGATES: dict[str, FunctionSpec] = {
    "COUNT": FunctionSpec(1, 1, _call("count"), takes="any", datatype="long"),
    "MIN": FunctionSpec(1, 1, _call("min"), takes="any", gives="same", keeps_unit=True),
    "MAX": FunctionSpec(1, 1, _call("max"), takes="any", gives="same", keeps_unit=True),
    "AVG": FunctionSpec(1, 1, _call("avg"), datatype=_D, keeps_unit=True),
    "SUM": FunctionSpec(1, 1, _call("sum"), keeps_unit=True),
    "STDDEV": FunctionSpec(1, 1, _call("stddev_samp"), datatype=_D, keeps_unit=True),
    "MEDIAN": FunctionSpec(1, 1, _call("median"), datatype=_D, keeps_unit=True),
    "IVO_STRING_AGG": FunctionSpec(2, 2, _call("string_agg"), takes="any", gives="str"),
}
"""Functions over groups of rows."""

GEOMETRY: frozenset[str] = frozenset(
    {
        "POINT", "CIRCLE", "BOX", "POLYGON", "REGION", "CONTAINS", "INTERSECTS", "DISTANCE", "AREA", "CENTROID",
        "COORD1", "COORD2", "COORDSYS",
    }
)  # fmt: skip
"""Geometrical functions of ADQL 2.1."""

UDFS: dict[str, tuple[str, str]] = {
    "scisql_nanojanskyToAbMag": (
        "scisql_nanojanskyToAbMag(flux DOUBLE PRECISION) -> DOUBLE PRECISION",
        "AB magnitude of a flux in nJy; null unless the flux is positive.",
    ),
    "scisql_nanojanskyToAbMagSigma": (
        "scisql_nanojanskyToAbMagSigma(flux DOUBLE PRECISION, fluxErr DOUBLE PRECISION) -> DOUBLE PRECISION",
        "Error of the AB magnitude of a flux in nJy.",
    ),
    "scisql_abMagToNanojansky": (
        "scisql_abMagToNanojansky(mag DOUBLE PRECISION) -> DOUBLE PRECISION",
        "Flux in nJy of an AB magnitude.",
    ),
    "scisql_fluxToAbMag": (
        "scisql_fluxToAbMag(flux DOUBLE PRECISION) -> DOUBLE PRECISION",
        "AB magnitude of a flux in erg/cm2/s/Hz.",
    ),
    "scisql_fluxToAbMagSigma": (
        "scisql_fluxToAbMagSigma(flux DOUBLE PRECISION, fluxErr DOUBLE PRECISION) -> DOUBLE PRECISION",
        "Error of the AB magnitude of a flux in erg/cm2/s/Hz.",
    ),
    "scisql_angSep": (
        "scisql_angSep(ra1 DOUBLE PRECISION, dec1 DOUBLE PRECISION, ra2 DOUBLE PRECISION, dec2 DOUBLE PRECISION)"
        " -> DOUBLE PRECISION",
        "Angle between two positions; all in degrees.",
    ),
    "ivo_hashlist_has": (
        "ivo_hashlist_has(hashlist VARCHAR, item VARCHAR) -> INTEGER",
        "1 if a list joined by # contains the item, compared without case.",
    ),
    "ivo_nocasematch": (
        "ivo_nocasematch(value VARCHAR, pattern VARCHAR) -> INTEGER",
        "1 if the value matches the LIKE pattern, compared without case.",
    ),
    "ivo_interval_overlaps": (
        "ivo_interval_overlaps(low1 DOUBLE PRECISION, high1 DOUBLE PRECISION, low2 DOUBLE PRECISION,"
        " high2 DOUBLE PRECISION) -> INTEGER",
        "1 if two intervals overlap.",
    ),
    "ivo_string_agg": (
        "ivo_string_agg(expression VARCHAR, delimiter VARCHAR) -> VARCHAR",
        "The values of a group joined by the delimiter.",
    ),
}
"""User-defined functions as capabilities declare them: signature and meaning by name."""
