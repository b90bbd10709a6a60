"""Simple Image Access 2.0: parameters become a query on the image list."""

from __future__ import annotations

import math

from skydesk_portal.exceptions import NotFoundError, UsageError
from skydesk_portal.models.identity import Identity
from skydesk_portal.models.regions import Region, parse_region
from skydesk_portal.models.tap import TapRequest
from skydesk_portal.pipeline.releases import ReleaseStore
from skydesk_portal.services.tap import TapService, TapStream

__all__ = ["SiaService"]

_TEXTS = {
    "ID": "obs_publisher_did",
    "COLLECTION": "obs_collection",
    "FACILITY": "facility_name",
    "INSTRUMENT": "instrument_name",
    "DPTYPE": "dataproduct_type",
    "DPSUBTYPE": "dataproduct_subtype",
    "TARGET": "target_name",
    "FORMAT": "access_format",
}
_INTERVALS = {
    "FOV": "s_fov",
    "SPATRES": "s_resolution",
    "SPECRP": "em_res_power",
    "EXPTIME": "t_exptime",
    "TIMERES": "t_resolution",
}
_SPANS = {"BAND": ("em_min", "em_max"), "TIME": ("t_min", "t_max")}
_OTHER = {"POS", "POL", "CALIB", "MAXREC", "RESPONSEFORMAT", "REQUEST", "VERSION", "RUNID"}


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _interval(name: str, value: str) -> tuple[float, float]:
    words = value.replace("/", " ").split()
    try:
        numbers = [float(word) for word in words]
    except ValueError as error:
        raise UsageError(f"{name}={value[:40]} is not an interval of numbers") from error
    if len(numbers) == 1:
        numbers *= 2
    if len(numbers) != 2 or any(math.isnan(v) for v in numbers) or numbers[0] > numbers[1]:
        raise UsageError(f"{name}={value[:40]} is not an interval: low high")
    return numbers[0], numbers[1]


def _bound(column: str, operator: str, value: float) -> str:
    return "" if math.isinf(value) else f"{column} {operator} {value!r}"


def _region(region: Region) -> str:
    numbers = ", ".join(repr(v) for corner in region.corners for v in corner)
    if region.radius_deg is None:
        shape = f"POLYGON({numbers})"
    elif region.radius_deg == 0:
        return f"1 = CONTAINS(POINT({numbers}), s_region)"
    else:
        shape = f"CIRCLE({numbers}, {region.radius_deg!r})"
    return f"1 = INTERSECTS({shape}, s_region)"


def build_query(parameters: list[tuple[str, str]]) -> list[str]:
    """Return the conditions that SIA parameters mean.

    Parameters
    ----------
    parameters
        Names in any case and values; several values of one name mean any.

    Returns
    -------
    list of str
        ADQL conditions, all of which must hold.

    Raises
    ------
    UsageError
        If a parameter is unknown or wrong.
    """
    given: dict[str, list[str]] = {}
    for name, value in parameters:
        if value.strip():
            given.setdefault(name.upper(), []).append(value.strip())
    conditions = []
    for name, values in given.items():
        any_of: list[str] = []
        if name == "POS":
            any_of = [_region(parse_region(value)) for value in values]
        elif name in _SPANS:
            low_column, high_column = _SPANS[name]
            for value in values:
                low, high = _interval(name, value)
                parts = [_bound(low_column, "<=", high), _bound(high_column, ">=", low)]
                any_of.append("(" + (" AND ".join(filter(None, parts)) or f"{low_column} IS NOT NULL") + ")")
        elif name in _INTERVALS:
            for value in values:
                low, high = _interval(name, value)
                parts = [_bound(_INTERVALS[name], ">=", low), _bound(_INTERVALS[name], "<=", high)]
                any_of.append(
                    "(" + (" AND ".join(filter(None, parts)) or f"{_INTERVALS[name]} IS NOT NULL") + ")"
                )
        elif name in _TEXTS:
            any_of = [f"{_TEXTS[name]} = {_text(value)}" for value in values]
        elif name == "CALIB":
            if not all(value.isdigit() for value in values):
                raise UsageError(f"CALIB={values[0][:20]} is not a calibration level 0 to 4")
            any_of = [f"calib_level = {int(value)}" for value in values]
        elif name == "POL":
            any_of = [f"pol_states LIKE {_text(f'%/{value.upper()}/%')}" for value in values]
        elif name not in _OTHER:
            raise UsageError(f"{name[:30]} is not a parameter of SIA")
        if any_of:
            conditions.append("(" + " OR ".join(any_of) + ")")
    return conditions


class SiaService:
    """Finds images.

    Parameters
    ----------
    tap
        Answers the query.
    releases
        The releases.
    """

    def __init__(self, tap: TapService, releases: ReleaseStore) -> None:
        self._tap = tap
        self._releases = releases

    def open_stream(
        self, identity: Identity, release: str, parameters: list[tuple[str, str]], *, timeout_s: float
    ) -> TapStream:
        """Start a search for images of a release.

        Parameters
        ----------
        identity
            The caller.
        release
            Name of the release.
        parameters
            Parameters of SIA 2.0.
        timeout_s
            When to stop.

        Returns
        -------
        TapStream
            The images as ObsCore rows.

        Raises
        ------
        NotFoundError
            If the caller has no such release.
        UsageError
            If a parameter is wrong.
        """
        if self._releases.find(identity, release) is None:
            raise NotFoundError(f"there is no release {release[:40]!r}")
        values = {name.upper(): value for name, value in parameters}
        maxrec: int | None = None
        if text := values.get("MAXREC", "").strip():
            if not text.isdigit():
                raise UsageError(f"MAXREC={text[:20]} is not a whole number")
            maxrec = int(text)
        own = f"obs_publisher_did LIKE {_text(f'ivo://skydesk/{release}?%')}"
        query = "SELECT * FROM ivoa.ObsCore WHERE " + " AND ".join([own, *build_query(parameters)])
        request = TapRequest(query, maxrec, values.get("RESPONSEFORMAT"))
        return self._tap.open_stream(identity, request, timeout_s=timeout_s)
