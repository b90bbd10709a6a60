"""The mask planes that every image of skydesk carries, and their bits in the packed form that kernels use."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

__all__ = [
    "BAD",
    "BIT",
    "CLIPPED",
    "CR",
    "DESCRIPTIONS",
    "DETECTED",
    "DETECTED_NEGATIVE",
    "EDGE",
    "INEXACT_PSF",
    "INTRP",
    "NO_DATA",
    "PLANE_NAMES",
    "SAT",
    "SUSPECT",
    "bits_of",
]

DESCRIPTIONS: Final[dict[str, str]] = {
    "BAD": "A defect of the detector.",
    "SAT": "The pixel, or one that contributed to it, is saturated.",
    "INTRP": "The value was interpolated from neighbours.",
    "CR": "A cosmic ray was found here.",
    "EDGE": "Too near to the edge of the data for a complete kernel.",
    "DETECTED": "Part of the footprint of a detected source.",
    "DETECTED_NEGATIVE": "Part of the footprint of a source of negative flux.",
    "NO_DATA": "No data reach this pixel.",
    "SUSPECT": "The response is doubtful, for example near saturation.",
    "INEXACT_PSF": "Not all inputs contribute here, so the PSF model is inexact.",
    "CLIPPED": "An outlying input was left out here.",
}
"""Name and meaning of every plane, in the order of their bits."""

PLANE_NAMES: Final[tuple[str, ...]] = tuple(DESCRIPTIONS)
"""Names of the planes; the index is the bit."""

BIT: Final[dict[str, int]] = {name: 1 << i for i, name in enumerate(PLANE_NAMES)}
"""Value of each plane in a packed mask."""

BAD: Final = BIT["BAD"]
SAT: Final = BIT["SAT"]
INTRP: Final = BIT["INTRP"]
CR: Final = BIT["CR"]
EDGE: Final = BIT["EDGE"]
DETECTED: Final = BIT["DETECTED"]
DETECTED_NEGATIVE: Final = BIT["DETECTED_NEGATIVE"]
NO_DATA: Final = BIT["NO_DATA"]
SUSPECT: Final = BIT["SUSPECT"]
INEXACT_PSF: Final = BIT["INEXACT_PSF"]
CLIPPED: Final = BIT["CLIPPED"]


def bits_of(names: Iterable[str]) -> int:
    """Return the packed value in which exactly the named planes are set.

    Parameters
    ----------
    names
        Names of planes.
    """
    value = 0
    for name in names:
        value |= BIT[name]
    return value
