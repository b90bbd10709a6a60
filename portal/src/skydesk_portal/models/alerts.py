"""Alerts as they are searched for: identifiers, rows of the index, conditions."""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from skydesk_portal.exceptions import UsageError
from skydesk_portal.models.regions import Region, parse_region

__all__ = ["IAU_PREFIX", "AlertQuery", "AlertRow", "format_cursor", "parse_alert_id", "parse_alert_query"]

IAU_PREFIX = "LSST-AP-DS-"
"""What stands before the number in the IAU form of an alert's name."""

MAXIMUM_ROWS = 10_000
_DEFAULT_ROWS = 100
_INTEGER = re.compile(r"\d{1,19}\Z", re.ASCII)
_INTEGERS = {
    "DIAOBJECTID": "dia_object_id",
    "VISIT": "visit",
    "DETECTOR": "detector",
}
_INTERVALS = {"TIME": "midpoint_mjd_tai", "SNR": "snr", "PSFFLUX": "psf_flux"}
_OTHERS = ("ID", "POS", "BAND", "MAXREC", "CURSOR", "RELEASE", "RESPONSEFORMAT")


@dataclass(frozen=True)
class AlertRow:
    """One alert as the index lists it.

    Parameters
    ----------
    alert_id, dia_object_id
        Identifiers of the DIA source, which is the alert's, and of its object.
    visit, detector, band
        Where it was seen.
    midpoint_mjd_tai
        Middle of the exposure, MJD TAI.
    ra, dec
        ICRS position in degrees.
    snr, psf_flux, psf_flux_err
        Signal to noise ratio; flux in the difference image and its error in nJy.
    file, start, length
        Where the packet lies.
    sha256
        Hash of the packet as it was issued.
    """

    alert_id: int
    dia_object_id: int | None
    visit: int
    detector: int
    band: str | None
    midpoint_mjd_tai: float
    ra: float
    dec: float
    snr: float | None
    psf_flux: float | None
    psf_flux_err: float | None
    file: str
    start: int
    length: int
    sha256: str


@dataclass(frozen=True)
class AlertQuery:
    """Conditions on alerts, all of which hold.

    Parameters
    ----------
    ids, bands
        Any of these; empty for no condition.
    regions
        Inside any of these.
    equal
        Values by column, any of which.
    between
        Limits by column, any of which.
    limit
        Largest number of rows.
    after
        Time and identifier of the last row of the page before.
    """

    ids: tuple[int, ...] = ()
    bands: tuple[str, ...] = ()
    regions: tuple[Region, ...] = ()
    equal: dict[str, tuple[int, ...]] = field(default_factory=dict)
    between: dict[str, tuple[tuple[float, float], ...]] = field(default_factory=dict)
    limit: int = _DEFAULT_ROWS
    after: tuple[float, int] | None = None


def parse_alert_id(text: str) -> int:
    """Read the identifier of an alert: a number, or that behind ``LSST-AP-DS-``.

    Raises
    ------
    UsageError
        If it is neither.
    """
    number = text.strip().removeprefix(IAU_PREFIX)
    if not _INTEGER.match(number) or int(number) >= 1 << 63:
        raise UsageError(f"not the identifier of an alert: {text[:60]!r} (a number, or {IAU_PREFIX}number)")
    return int(number)


def _number(name: str, word: str) -> float:
    try:
        value = float(word)
    except ValueError as error:
        raise UsageError(f"{name}: {word[:40]!r} is not a number") from error
    if math.isnan(value):
        raise UsageError(f"{name}: not a number")
    return value


def _integer(name: str, word: str) -> int:
    if not _INTEGER.match(word.strip()) or int(word) >= 1 << 63:
        raise UsageError(f"{name}: {word[:40]!r} is not a whole number")
    return int(word)


def _interval(name: str, text: str) -> tuple[float, float]:
    values = [_number(name, word) for word in text.replace("/", " ").split()]
    if len(values) == 1:
        values *= 2
    if len(values) != 2 or values[0] > values[1]:
        raise UsageError(f"{name}: {text[:40]!r} is neither a value nor an interval 'low high'")
    return values[0], values[1]


def format_cursor(row: AlertRow) -> str:
    """Write the place behind a row, for the next page."""
    content = json.dumps([row.midpoint_mjd_tai, row.alert_id])
    return base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")


def _parse_cursor(text: str) -> tuple[float, int]:
    try:
        content = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        when, alert_id = content
        place = float(when), int(alert_id)
        if not 0 <= place[1] < 1 << 63:
            raise ValueError("no identifier")
    except (binascii.Error, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise UsageError("CURSOR is none that a search has given") from error
    return place


def parse_alert_query(parameters: Sequence[tuple[str, str]]) -> AlertQuery:
    """Read the parameters of a search.

    Parameters
    ----------
    parameters
        Names in any case and values: ``ID``, ``DIAOBJECTID``, ``VISIT``, ``DETECTOR``, ``BAND``, ``POS`` (as in SIA),
        ``TIME`` (MJD TAI), ``SNR`` and ``PSFFLUX`` (nJy) as values or intervals, each any number of times;
        ``MAXREC`` and ``CURSOR``.

    Returns
    -------
    AlertQuery
        The conditions.

    Raises
    ------
    UsageError
        If a parameter is not known or its value is none.
    """
    given: dict[str, list[str]] = {}
    for name, value in parameters:
        given.setdefault(name.upper(), []).append(value)
    known = {*_INTEGERS, *_INTERVALS, *_OTHERS}
    if unknown := sorted(given.keys() - known):
        raise UsageError(f"parameter {unknown[0][:40]!r} is not known; there are {', '.join(sorted(known))}")
    limit = _DEFAULT_ROWS
    if "MAXREC" in given:
        limit = _integer("MAXREC", given["MAXREC"][-1])
        if not 1 <= limit <= MAXIMUM_ROWS:
            raise UsageError(f"MAXREC: from 1 to {MAXIMUM_ROWS} rows a page")
    return AlertQuery(
        ids=tuple(parse_alert_id(v) for v in given.get("ID", ())),
        bands=tuple(given.get("BAND", ())),
        regions=tuple(parse_region(v) for v in given.get("POS", ())),
        equal={
            column: tuple(_integer(name, v) for v in given[name])
            for name, column in _INTEGERS.items()
            if name in given
        },
        between={
            column: tuple(_interval(name, v) for v in given[name])
            for name, column in _INTERVALS.items()
            if name in given
        },
        limit=limit,
        after=_parse_cursor(given["CURSOR"][-1]) if "CURSOR" in given else None,
    )
