"""Instants as people write them: dates in UTC, Julian dates in any scale, barycentric ones too."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from skydesk_portal.exceptions import UsageError

if TYPE_CHECKING:
    from astropy.time import Time

__all__ = ["parse_instant"]

_NUMBER = re.compile(
    r"(?P<kind>MJD|JD|BJD|BMJD)?\s*(?P<value>\d{1,7}(?:\.\d*)?)\s*(?P<scale>UTC|TAI|TT|TDB)?\Z", re.IGNORECASE
)
_MJD_0 = 2_400_000.5
_USUAL_SCALE = {"MJD": "tai", "JD": "utc", "BJD": "tdb", "BMJD": "tdb"}
_RANGE = (2_400_000.5, 2_500_000.5)
"""Julian dates that are taken: the years 1858 to 2132."""


def parse_instant(text: str, position: tuple[float, float] | None = None) -> float:
    """Read an instant.

    Parameters
    ----------
    text
        A date and time in UTC such as ``2026-04-13`` or ``2026-04-13T02:30``; an MJD in TAI such as ``61143.5``; a
        Julian date in UTC behind ``JD``, or without it where the number is that large; a Julian date at the
        barycentre of the Solar System in TDB behind ``BJD`` (or ``BMJD``). ``UTC``, ``TAI``, ``TT`` or ``TDB`` behind
        a number says another scale.
    position
        ICRS degrees of what is observed, which a barycentric date depends on.

    Returns
    -------
    float
        MJD in TAI, at the Earth. A barycentric date is that of an observer at the centre of the Earth, which differs
        from one on its surface by at most 21 ms.

    Raises
    ------
    UsageError
        If it is none of these.
    """
    from astropy.time import Time

    text = text.strip()
    found = _NUMBER.match(text)
    try:
        if found is None:
            return float(Time(_as_iso(text), format="isot", scale="utc").tai.mjd)
        value = float(found["value"])
        kind = (found["kind"] or ("JD" if value >= _MJD_0 else "MJD")).upper()
        scale = (found["scale"] or _USUAL_SCALE[kind]).lower()
        whole, part = divmod(value, 1.0)
        # Two numbers: one alone holds a Julian date to 40 microseconds only.
        first = whole + _MJD_0 if kind.endswith("MJD") else whole
        if not _RANGE[0] <= first + part <= _RANGE[1]:
            raise ValueError("outside of the years 1858 to 2132")
        time = Time(first, part, format="jd", scale=scale)
    except ValueError as error:
        raise UsageError(
            f"{text[:40]!r} is not a time: write UTC, such as 2026-04-13T02:30, or MJD 61143.5, JD 2461144.0, BJD 2461144.0"
        ) from error
    if kind.startswith("B"):
        if position is None:
            raise UsageError(f"{text[:40]!r} depends on the direction: say around which position")
        time = _to_earth(time, position)
    return float(time.tai.mjd)


def _as_iso(text: str) -> str:
    return text.replace(" ", "T", 1).removesuffix("Z")


def _to_earth(barycentric: Time, position: tuple[float, float]) -> Time:
    """Return when light that is at the barycentre at some instant is at the centre of the Earth."""
    import numpy as np
    from astropy import constants
    from astropy import units as u
    from astropy.coordinates import get_body_barycentric
    from astropy.time import TimeDelta

    ra, dec = np.radians(position)
    towards = np.array([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])
    earth = barycentric
    # The Earth moves by 15 000 km meanwhile; the second step leaves nanoseconds.
    for _ in range(3):
        place = get_body_barycentric("earth", earth, ephemeris="builtin").xyz.to_value(u.m)
        late_s = float(place @ towards) / constants.c.value
        earth = barycentric - TimeDelta(late_s, format="sec", scale="tdb")
    return earth
