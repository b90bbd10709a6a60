"""Positions on the sky as people write them."""

from __future__ import annotations

import re

from skydesk_portal.exceptions import UsageError

__all__ = ["parse_iau_name", "parse_position"]

_NUMBER = r"(\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+)"
_ANGLE = re.compile(
    rf"([+-]?){_NUMBER}(?:\s*([hd:])\s*|\s+|\Z)(?:{_NUMBER}(?:\s*[m:']\s*|\s+|\Z)(?:{_NUMBER}\s*(?:s|\"|'')?)?)?\Z"
)
# Ecliptic positions are those of the mean ecliptic of J2000, as in catalogs and name services.
_FRAMES = (
    (re.compile(r"(?:galactic|gal|l\s*,?\s*b|glon\s*,?\s*glat)\b[\s:=]*"), "galactic"),
    (re.compile(r"(?:ecliptic|ecl)\b[\s:=]*"), "barycentricmeanecliptic"),
    (re.compile(r"(?:equatorial|icrs|eq|ra\s*,?\s*dec)\b[\s:=]*"), "icrs"),
)
_LABELS = (
    (re.compile(r"l\s*=(.+?)\bb\s*=(.+)"), "galactic"),
    (
        re.compile(r"(?:ra|α)\s*[=:]?\s+?(?=[\d.])(.+?)\b(?:dec|δ)\s*[=:]?(.+)|ra\s*=(.+?)\bdec\s*=(.+)"),
        "icrs",
    ),
)
_IAU = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9+-]*\s+)*J(\d{4}|\d{6})(\.\d+)?([+-])(\d{4}|\d{6})(\.\d+)?\Z")
_SIGNS = str.maketrans(dict(zip("\N{MINUS SIGN}\N{EN DASH}°′″ʰᵐˢ", "--d'\"hms", strict=True)))


def _sexagesimal(digits: str, fraction: str | None) -> float | None:
    """Read HHMM or HHMMSS with the fraction of its last part; None where minutes or seconds exceed 60."""
    parts: list[float] = [float(digits[n : n + 2]) for n in range(0, len(digits), 2)]
    parts[-1] += float(fraction or 0)
    return sum(part / 60**n for n, part in enumerate(parts)) if all(p < 60 for p in parts[1:]) else None


def parse_iau_name(text: str) -> tuple[float, float] | None:
    """Read the position out of a name in the form of the IAU.

    Parameters
    ----------
    text
        Such as ``IAU J033231.2-280600`` or ``SDSS J0332-2806``.

    Returns
    -------
    tuple of float or None
        ICRS degrees; `None` if the text is no such name. Coordinates in names
        are cut off, not rounded: the object lies up to one unit further from 0.
    """
    found = _IAU.match(text.strip().translate(_SIGNS))
    if found is None:
        return None
    ra_digits, ra_rest, sign, dec_digits, dec_rest = found.groups()
    ra_hours, dec_deg = _sexagesimal(ra_digits, ra_rest), _sexagesimal(dec_digits, dec_rest)
    if ra_hours is None or dec_deg is None or ra_hours >= 24 or dec_deg > 90:
        return None
    return ra_hours * 15, -dec_deg if sign == "-" else dec_deg


def _angle(text: str, hours: bool) -> float | None:
    """Read one angle in degrees; ``hours`` says whether colons and blanks mean hours."""
    found = _ANGLE.match(text.strip())
    if found is None:
        return None
    sign, first, unit, minutes, seconds = found.groups()
    if any(float(part or 0) >= 60 for part in (minutes, seconds)):
        return None
    value = float(first) + float(minutes or 0) / 60 + float(seconds or 0) / 3600
    if unit == "h" or (hours and unit != "d" and minutes is not None):
        value *= 15
    return -value if sign == "-" else value


def _halves(text: str) -> tuple[str, str] | None:
    """Cut the text of a position into its two angles."""
    if "," in text or ";" in text:
        parts = [part for part in re.split(r"\s*[,;]\s*", text.strip(" ,;")) if part]
        return (parts[0], parts[1]) if len(parts) == 2 else None
    # A sign begins an angle wherever it stands, except in an exponent.
    words = re.sub(r"(?<=[\d.hdms:'\"])\s*([+-])(?=[\d.])", r" \1", re.sub(r"([eE])([+-])", r"\1\0\2", text))
    words = words.replace("\0", "")
    split = words.split()
    signed = [n for n, word in enumerate(split) if n > 0 and word[0] in "+-"]
    if len(signed) > 1 or (not signed and len(split) % 2):
        return None
    half = signed[0] if signed else len(split) // 2
    return (" ".join(split[:half]), " ".join(split[half:])) if half else None


def parse_position(text: str) -> tuple[float, float]:
    """Read a position as people write it.

    Parameters
    ----------
    text
        Degrees (``53.13 -28.1``), sexagesimal hours and degrees (``3:32:31 -28:06:00``,
        ``03h32m31s -28d06m00s``, ``3 32 31 -28 06 00``), a name that holds the position
        (``IAU J033231.2-280600``), or galactic and ecliptic degrees behind a word that says so
        (``gal 223.5 -54.4``, ``l=223.5 b=-54.4``, ``ecl 41.2 -45.6``); otherwise ICRS.

    Returns
    -------
    tuple of float
        Right ascension in [0, 360) and declination in degrees, ICRS.

    Raises
    ------
    UsageError
        If the text is no position on the sky.
    """
    named = parse_iau_name(text)
    if named is not None:
        return named
    given = text.strip()
    plain, frame = given.translate(_SIGNS).lower(), "icrs"
    halves = None
    for pattern, name in _LABELS:
        if (found := pattern.match(plain)) is not None:
            one, two = [group for group in found.groups() if group is not None]
            halves, frame = (one.strip(" ,;"), two.strip(" ,;")), name
            break
    else:
        for pattern, name in _FRAMES:
            if (found := pattern.match(plain)) is not None:
                plain, frame = plain[found.end() :], name
                break
        halves = _halves(plain)
    longitude = latitude = None
    if halves is not None:
        longitude, latitude = _angle(halves[0], frame == "icrs"), _angle(halves[1], False)
    if longitude is None or latitude is None or (halves is not None and "h" in halves[1]):
        raise UsageError(
            f"{given!r} is not a position: write RA and Dec, such as 53.13 -28.10 or 3:32:31 -28:06:00"
        )
    if not (0 <= longitude <= 360 and -90 <= latitude <= 90):
        raise UsageError(f"{given!r} lies outside the sky: RA is 0 to 360 and Dec -90 to 90 degrees")
    if frame != "icrs":
        return _to_icrs(longitude, latitude, frame)
    return longitude % 360.0, latitude


def _to_icrs(longitude_deg: float, latitude_deg: float, frame: str) -> tuple[float, float]:
    from astropy.coordinates import SkyCoord

    place = SkyCoord(longitude_deg, latitude_deg, unit="deg", frame=frame).icrs
    return float(place.ra.deg), float(place.dec.deg)
