"""Reading positions as people write them."""

from __future__ import annotations

import re

from skydesk_portal.exceptions import UsageError

__all__ = ["parse_position"]


def parse_position(text: str) -> tuple[float, float]:
    """Read a position as people write it.

    Parameters
    ----------
    text
        Degrees (``53.13 -28.1``) or sexagesimal hours and degrees
        (``3:32:31 -28:06:00``, ``03h32m31s -28d06m00s``), ICRS.

    Returns
    -------
    tuple of float
        Right ascension in [0, 360) and declination in degrees.

    Raises
    ------
    UsageError
        If the text is no position on the sky.
    """
    words = re.sub(r"[,;]", " ", text.replace("\N{MINUS SIGN}", "-")).split()
    if len(words) == 6:
        words = [":".join(words[:3]), ":".join(words[3:])]
    problem = (
        f"{text.strip()!r} is not a position: write RA and Dec, such as 53.13 -28.10 or 3:32:31 -28:06:00"
    )
    if len(words) != 2:
        raise UsageError(problem)
    values: list[float] = []
    for word, hours in zip(words, (15.0, 1.0), strict=True):
        parts = re.split(r"[:hdms°'″′\"]+", word.strip("s\"'″′"))
        try:
            numbers = [float(p) for p in parts if p != ""]
        except ValueError:
            raise UsageError(problem) from None
        if not 1 <= len(numbers) <= 3 or any(n < 0 for n in numbers[1:]):
            raise UsageError(problem)
        size = sum(abs(n) / 60**k for k, n in enumerate(numbers))
        size = -size if word.startswith("-") else size
        values.append(size * (hours if len(numbers) > 1 or "h" in word else 1.0))
    if not (0 <= values[0] <= 360 and -90 <= values[1] <= 90):
        raise UsageError(f"{text.strip()!r} lies outside the sky: RA is 0 to 360 and Dec -90 to 90 degrees")
    return values[0] % 360.0, values[1]
