"""Photometry of one object, wherever it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Photometry", "band_order"]

_BANDS = "ugrizy"


def band_order(band: str) -> tuple[int, str]:
    """Sort key that puts bands into the order of wavelength, unknown ones last."""
    return (_BANDS.find(band) if len(band) == 1 and band in _BANDS else len(_BANDS), band)


@dataclass(frozen=True)
class Photometry:
    """Points of one object, shape (n,) each.

    Parameters
    ----------
    label
        What people call it.
    mjd
        Times, MJD TAI.
    band
        Names of bands.
    flux_njy, error_njy
        Flux densities and their errors in nJy; NaN where they are not known.
    flag
        Whether a point is doubtful.
    """

    label: str
    mjd: NDArray[np.float64]
    band: NDArray[Any]
    flux_njy: NDArray[np.float64]
    error_njy: NDArray[np.float64]
    flag: NDArray[np.bool_]

    @property
    def bands(self) -> list[str]:
        """Bands in the order of wavelength."""
        return sorted({str(b) for b in self.band}, key=band_order)
