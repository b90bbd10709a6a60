"""The parameters of Simple Image Access 2.0 and the conditions on ObsCore that they mean."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from skydesk_portal.exceptions import QueryError, UsageError
from skydesk_portal.models.regions import Region, parse_region

__all__ = ["PARAMETERS", "SiaParameter", "SiaRequest", "adql_text", "parse_sia"]

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\Z")
_INFINITY = re.compile(r"([+-]?)inf(inity)?\Z", re.IGNORECASE)
_POLARISATIONS = frozenset(
    ["I", "Q", "U", "V", "RR", "LL", "RL", "LR", "XX", "YY", "XY", "YX", "POLI", "POLA"]
)
_LEVELS = ("0", "1", "2", "3", "4")
_MAX_VALUES = 1000
_STEP_DEG = 1.0
_PIECE_DEG = 30.0


@dataclass(frozen=True)
class SiaParameter:
    """One parameter as the service describes itself.

    Parameters
    ----------
    name
        Name of the parameter.
    kind
        ``region``, ``span`` (interval that has to overlap two columns),
        ``interval`` (that a column has to lie in), ``text``, ``level`` or ``states``.
    columns
        Columns of ObsCore that it is compared with.
    description
        One sentence.
    unit, ucd, xtype
        As in VOTable.
    """

    name: str
    kind: str
    columns: tuple[str, ...]
    description: str
    unit: str = ""
    ucd: str = ""
    xtype: str = ""


PARAMETERS: dict[str, SiaParameter] = {
    p.name: p
    for p in (
        SiaParameter(
            "POS",
            "region",
            ("s_region",),
            "Images that meet CIRCLE ra dec radius, RANGE ra1 ra2 dec1 dec2 or POLYGON ra dec … (degrees, ICRS)",
            ucd="pos.outline;obs",
        ),
        SiaParameter(
            "BAND",
            "span",
            ("em_min", "em_max"),
            "Images whose wavelengths meet a value or interval",
            "m",
            "em.wl",
            "interval",
        ),
        SiaParameter(
            "TIME",
            "span",
            ("t_min", "t_max"),
            "Images exposed at a moment or in an interval, MJD",
            "d",
            "time.interval;obs.exposure",
            "interval",
        ),
        SiaParameter("POL", "states", ("pol_states",), "Polarisation state", ucd="phys.polarization"),
        SiaParameter(
            "FOV",
            "interval",
            ("s_fov",),
            "Size of the field of view",
            "deg",
            "phys.angSize;instr.fov",
            "interval",
        ),
        SiaParameter(
            "SPATRES",
            "interval",
            ("s_resolution",),
            "Spatial resolution",
            "arcsec",
            "pos.angResolution",
            "interval",
        ),
        SiaParameter(
            "SPECRP", "interval", ("em_res_power",), "Resolving power", "", "spect.resolution", "interval"
        ),
        SiaParameter(
            "EXPTIME",
            "interval",
            ("t_exptime",),
            "Exposure time",
            "s",
            "time.duration;obs.exposure",
            "interval",
        ),
        SiaParameter(
            "TIMERES", "interval", ("t_resolution",), "Time resolution", "s", "time.resolution", "interval"
        ),
        SiaParameter("ID", "text", ("obs_publisher_did",), "Identifier of the dataset", ucd="meta.ref.ivoid"),
        SiaParameter("COLLECTION", "text", ("obs_collection",), "Name of the collection", ucd="meta.id"),
        SiaParameter("FACILITY", "text", ("facility_name",), "Name of the facility", ucd="meta.id;instr.tel"),
        SiaParameter(
            "INSTRUMENT", "text", ("instrument_name",), "Name of the instrument", ucd="meta.id;instr"
        ),
        SiaParameter("DPTYPE", "text", ("dataproduct_type",), "Type of data product", ucd="meta.code.class"),
        SiaParameter(
            "DPSUBTYPE",
            "text",
            ("dataproduct_subtype",),
            "Dataset type with lsst. in front",
            ucd="meta.code.class",
        ),
        SiaParameter("CALIB", "level", ("calib_level",), "Calibration level", ucd="meta.code;obs.calib"),
        SiaParameter("TARGET", "text", ("target_name",), "Name of the target", ucd="meta.id;src"),
        SiaParameter("FORMAT", "text", ("access_format",), "Media type of access_url", ucd="meta.code.mime"),
    )
}
"""The search parameters, in the order of the standard."""

_CONTROLS = frozenset({"MAXREC", "RESPONSEFORMAT", "REQUEST", "VERSION", "RUNID"})


@dataclass(frozen=True)
class SiaRequest:
    """One search.

    Parameters
    ----------
    conditions
        ADQL conditions on ObsCore, all of which must hold.
    maxrec
        Rows wanted at most, `None` for the service's default.
    response_format
        RESPONSEFORMAT as given.
    collections
        Values of COLLECTION.
    """

    conditions: tuple[str, ...]
    maxrec: int | None = None
    response_format: str | None = None
    collections: tuple[str, ...] = ()


def adql_text(value: str) -> str:
    """Return a text as ADQL writes it."""
    return "'" + value.replace("'", "''") + "'"


def _number(name: str, word: str) -> float:
    if _NUMBER.match(word):
        return float(word)
    if found := _INFINITY.match(word):
        return -math.inf if found[1] == "-" else math.inf
    raise UsageError(f"{name}: {word[:40]!r} is not a number (-Inf and +Inf leave an interval open)")


def _interval(parameter: SiaParameter, value: str) -> tuple[float, float]:
    words = value.split()
    if len(words) not in (1, 2):
        raise UsageError(f"{parameter.name}={value[:60]} is not one number or two, low and high")
    numbers = [_number(parameter.name, word) for word in words]
    low, high = numbers[0], numbers[-1]
    if low > high:
        raise UsageError(f"{parameter.name}={value[:60]}: the lower limit is above the upper one")
    if low == high and math.isinf(low):
        raise UsageError(f"{parameter.name}={value[:60]} is an empty interval")
    return low, high


def _limits(low_column: str, high_column: str, low: float, high: float) -> str:
    """Demand that the high column reaches up to ``low`` and the low column down to ``high``."""
    parts = [] if math.isinf(high) else [f"{low_column} <= {high!r}"]
    parts += [] if math.isinf(low) else [f"{high_column} >= {low!r}"]
    return "(" + (" AND ".join(parts) or f"{low_column} IS NOT NULL") + ")"


def _span(parameter: SiaParameter, value: str) -> str:
    low, high = _interval(parameter, value)
    return _limits(parameter.columns[0], parameter.columns[1], low, high)


def _within(parameter: SiaParameter, value: str) -> str:
    low, high = _interval(parameter, value)
    return _limits(parameter.columns[0], parameter.columns[0], low, high)


def _shape(region: Region) -> str:
    numbers = ", ".join(repr(v) for corner in region.corners for v in corner)
    if region.radius_deg is None:
        return f"1 = INTERSECTS(POLYGON({numbers}), s_region)"
    if region.radius_deg == 0:
        return f"1 = CONTAINS(POINT({numbers}), s_region)"
    return f"1 = INTERSECTS(CIRCLE({numbers}, {region.radius_deg!r}), s_region)"


def _position(parameter: SiaParameter, value: str) -> str:
    words = value.split()
    shape = words[0].upper() if words else ""
    if shape not in {"CIRCLE", "RANGE", "POLYGON"}:
        raise UsageError(f"POS={value[:60]} begins with none of CIRCLE, RANGE and POLYGON")
    if shape == "RANGE":
        return _range(words[1:], value)
    for word in words[1:]:
        if math.isinf(_number("POS", word)):
            raise UsageError(f"POS={value[:60]}: only RANGE may be open")
    try:
        return _shape(parse_region(value))
    except QueryError as error:
        raise UsageError(f"POS={value[:60]}: {error}") from error


def _range(words: Sequence[str], value: str) -> str:
    """Return the condition for a coordinate range, whose upper and lower edges are no great circles."""
    if len(words) != 4:
        raise UsageError(f"POS={value[:60]}: RANGE takes four numbers, ra1 ra2 dec1 dec2")
    numbers = [_number("POS", word) for word in words]
    ra1, ra2, dec1, dec2 = (
        max(numbers[0], 0.0),
        min(numbers[1], 360.0),
        max(numbers[2], -90.0),
        min(numbers[3], 90.0),
    )
    if ra1 > ra2 or dec1 > dec2:
        raise UsageError(f"POS={value[:60]}: RANGE needs rising limits, right ascension within 0 and 360")
    if (ra1, ra2, dec1, dec2) == (0.0, 360.0, -90.0, 90.0):
        return "s_region IS NOT NULL"
    pieces = [
        _shape(_piece(left, right, low, high))
        for left, right in _split(ra1, ra2)
        for low, high in _split(dec1, dec2)
    ]
    # Cheap bounds first: only what may reach the range is compared with its pieces.
    near = f"s_dec - s_fov / 2 <= {dec2!r} AND s_dec + s_fov / 2 >= {dec1!r}"
    return f"({near} AND ({' OR '.join(pieces)}))"


def _split(low: float, high: float) -> list[tuple[float, float]]:
    count = max(1, math.ceil((high - low) / _PIECE_DEG))
    edges = [low + (high - low) * i / count for i in range(count)] + [high]
    return list(itertools.pairwise(edges))


def _piece(left: float, right: float, low: float, high: float) -> Region:
    if left == right and low == high:
        return Region(((left, low),), 0.0)
    # A range without width still meets images: give it that of an error of rounding.
    right, high = max(right, left + 1e-9), max(high, low + 1e-9)
    if high > 90:
        low, high = low - 1e-9, 90.0
    count = max(1, math.ceil((right - left) / _STEP_DEG))
    steps = [left + (right - left) * i / count for i in range(count + 1)]
    bottom = [(ra, low) for ra in steps] if low > -90 else [(left, -90.0)]
    top = [(ra, high) for ra in reversed(steps)] if high < 90 else [(left, 90.0)]
    return Region((*bottom, *top))


def _level(parameter: SiaParameter, value: str) -> str:
    if value not in _LEVELS:
        raise UsageError(f"CALIB={value[:20]} is not a calibration level 0 to 4")
    return f"calib_level = {int(value)}"


def _states(parameter: SiaParameter, value: str) -> str:
    if value.upper() not in _POLARISATIONS:
        raise UsageError(f"POL={value[:20]} is not a polarisation state: {' '.join(sorted(_POLARISATIONS))}")
    return f"pol_states LIKE {adql_text(f'%/{value.upper()}/%')}"


def _equal(parameter: SiaParameter, value: str) -> str:
    if parameter.name == "FORMAT":
        value = re.sub(r"\s+", "", value)
    if parameter.name == "COLLECTION" and value.startswith("u-") and "/" not in value:
        # Somebody's own repository: all its collections.
        return f"{parameter.columns[0]} LIKE {adql_text(value + '/%')}"
    return f"{parameter.columns[0]} = {adql_text(value)}"


_CONDITIONS: dict[str, Callable[[SiaParameter, str], str]] = {
    "region": _position,
    "span": _span,
    "interval": _within,
    "text": _equal,
    "level": _level,
    "states": _states,
}


def _maxrec(values: Sequence[str]) -> int | None:
    if not values:
        return None
    if not values[-1].isascii() or not values[-1].isdigit():
        raise UsageError(f"MAXREC={values[-1][:20]} is not a whole number of rows")
    # More digits than any number of rows has mean no limit.
    return int(values[-1]) if len(values[-1]) <= 18 else 10**18


def parse_sia(parameters: Iterable[tuple[str, str]]) -> SiaRequest:
    """Read the parameters of a search.

    Parameters
    ----------
    parameters
        Names in any case and values; of several values of one name any may
        fit, of several names all have to.

    Returns
    -------
    SiaRequest
        The search.

    Raises
    ------
    UsageError
        If a parameter is unknown or wrong; the message begins with its name.
    """
    given: dict[str, list[str]] = {}
    for name, value in parameters:
        key = name.upper()
        if key == "UPLOAD":
            raise UsageError(
                "UPLOAD: this service takes no uploads; join uploaded tables with ivoa.ObsCore by TAP"
            )
        if key not in PARAMETERS and key not in _CONTROLS:
            raise UsageError(f"{name[:30]} is not a parameter of SIA 2.0: {' '.join(PARAMETERS)}")
        if value.strip():
            given.setdefault(key, []).append(value.strip())
    if (version := given.get("VERSION", ["2.0"])[-1]) != "2.0":
        raise UsageError(f"VERSION={version[:20]} is not offered: this is SIA 2.0")
    conditions = []
    for name, values in given.items():
        if name in _CONTROLS:
            continue
        if len(values) > _MAX_VALUES:
            raise UsageError(f"{name}: at most {_MAX_VALUES} values can be given")
        parameter = PARAMETERS[name]
        make = _CONDITIONS[parameter.kind]
        conditions.append("(" + " OR ".join(make(parameter, value) for value in values) + ")")
    return SiaRequest(
        tuple(conditions),
        _maxrec(given.get("MAXREC", [])),
        given["RESPONSEFORMAT"][-1] if "RESPONSEFORMAT" in given else None,
        tuple(given.get("COLLECTION", ())),
    )
