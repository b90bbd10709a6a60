"""Sizes, times and ages as people read them."""

from __future__ import annotations

from datetime import datetime

__all__ = [
    "LONG_DOWNLOAD_BYTES",
    "describe_age",
    "describe_bytes",
    "describe_download",
    "describe_position",
    "describe_seconds",
]

LONG_DOWNLOAD_BYTES = 1_000_000_000
"""From this size on a page says how long a download takes."""

_LINE_BYTES_PER_S = 100e6 / 8
_UNITS = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def describe_bytes(size: float) -> str:
    """Write a size with three digits and a decimal unit."""
    for factor, unit in _UNITS:
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size:.0f} bytes" if size != 1 else "1 byte"


def describe_seconds(seconds: float) -> str:
    """Write a duration in the unit that suits it."""
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.0f} days"


def describe_age(instant: datetime, now: datetime) -> str:
    """Write how long ago something was, to the minute."""
    seconds = max(0.0, (now - instant).total_seconds())
    if seconds < 60:
        return "just now"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min ago"
    return f"{seconds // 3600:.0f} h ago" if seconds < 48 * 3600 else f"{seconds // 86400:.0f} days ago"


def describe_download(size: float) -> str:
    """Say how large a download is and, if that is long, how long it takes over a line of 100 Mbit/s."""
    text = describe_bytes(size)
    if size < LONG_DOWNLOAD_BYTES:
        return text
    return f"{text}, a long download: about {describe_seconds(size / _LINE_BYTES_PER_S)} at 100 Mbit/s"


def describe_position(ra_deg: float, dec_deg: float, coordinates: str) -> str:
    """Write an ICRS position.

    Parameters
    ----------
    ra_deg, dec_deg
        ICRS degrees.
    coordinates
        ``degrees`` or ``sexagesimal``.
    """
    if coordinates != "sexagesimal":
        return f"RA {ra_deg:.6f}°, Dec {dec_deg:+.6f}°"
    # In whole units of the last digit, so that 59.996 s becomes the next minute.
    ra = round(ra_deg % 360 / 15 * 3_600_000) % 86_400_000
    dec = round(abs(dec_deg) * 360_000)
    sign = "-" if dec_deg < 0 else "+"
    return (
        f"RA {ra // 3_600_000:02d}:{ra // 60_000 % 60:02d}:{ra / 1000 % 60:06.3f}, "
        f"Dec {sign}{dec // 360_000:02d}:{dec // 6000 % 60:02d}:{dec / 100 % 60:05.2f}"
    )
