"""Photometric zero point of one image from an ensemble of reference stars."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skydesk_core.errors import DataError

__all__ = ["ZeroPoint", "fit_zero_point"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class ZeroPoint:
    """A fitted zero point.

    Parameters
    ----------
    njy_per_unit
        Factor from the image's flux unit to nJy.
    scatter_mag
        Robust standard deviation of the stars about it.
    used
        Which stars were kept.
    """

    njy_per_unit: float
    scatter_mag: float
    used: NDArray[np.bool_]

    @property
    def magnitude(self) -> float:
        """AB magnitude of a flux of one image unit."""
        return float(31.4 - 2.5 * np.log10(self.njy_per_unit))

    @property
    def error_mag(self) -> float:
        """Standard error of the zero point."""
        return float(self.scatter_mag / np.sqrt(max(int(self.used.sum()), 1)))


def fit_zero_point(
    flux: FloatArray,
    flux_err: FloatArray,
    ref_flux_njy: FloatArray,
    ref_flux_err_njy: FloatArray,
    good: NDArray[np.bool_],
    clip_sigma: float = 3.0,
) -> ZeroPoint:
    """Fit the zero point as a clipped weighted mean of magnitude differences.

    Parameters
    ----------
    flux, flux_err
        Measured fluxes in the image's unit.
    ref_flux_njy, ref_flux_err_njy
        Reference fluxes of the same stars.
    good
        Stars that may be used (not saturated, not flagged).
    clip_sigma
        Limit of rejection.

    Returns
    -------
    ZeroPoint
        The factor to nJy and the scatter.

    Raises
    ------
    DataError
        If fewer than 3 stars can be used.
    """
    used = good & (flux > 5 * flux_err) & (ref_flux_njy > 0) & np.isfinite(flux) & np.isfinite(ref_flux_njy)
    if used.sum() < 3:
        raise DataError(f"only {int(used.sum())} of {len(flux)} matched stars can serve for photometry")
    with np.errstate(invalid="ignore", divide="ignore"):
        delta = 2.5 * np.log10(ref_flux_njy / flux)
        error = 1.0857 * np.hypot(flux_err / flux, np.nan_to_num(ref_flux_err_njy / ref_flux_njy))
    value = float(np.median(delta[used]))
    scatter = 0.0
    for _ in range(10):
        scatter = max(1.4826 * float(np.median(np.abs(delta[used] - value))), 1e-4)
        kept = used & (np.abs(delta - value) < clip_sigma * np.hypot(scatter, error))
        if kept.sum() < 3:
            break
        weight = 1.0 / (scatter**2 + error[kept] ** 2)
        value = float(np.sum(weight * delta[kept]) / np.sum(weight))
        if (kept == used).all():
            break
        used = kept
    return ZeroPoint(float(10 ** (0.4 * value)), scatter, used)
