"""PSF photometry at given positions, with neighbours fitted together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skydesk_core.algorithms.psf import PixelPsf, cut_stamps

__all__ = ["PsfFlux", "measure_psf_flux"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class PsfFlux:
    """PSF fluxes of n positions, in the unit of the image.

    Parameters
    ----------
    flux, flux_err
        Flux and its standard error from the variance plane.
    x_err, y_err
        Errors that centroids of sources of these fluxes have at best, pixels.
    chi2
        Reduced chi-square of the residual within the stamp.
    area_pixel
        Effective area of the PSF.
    n_pixel
        Pixels that took part.
    edge
        Whether the stamp reaches beyond the image.
    failed
        Whether less than a quarter of the PSF's weight lies on good pixels; flux is then NaN.
    """

    flux: FloatArray
    flux_err: FloatArray
    x_err: FloatArray
    y_err: FloatArray
    chi2: FloatArray
    area_pixel: FloatArray
    n_pixel: NDArray[np.int64]
    edge: NDArray[np.bool_]
    failed: NDArray[np.bool_]


def measure_psf_flux(
    image: NDArray[np.floating[Any]],
    variance: NDArray[np.floating[Any]],
    bad: NDArray[np.bool_],
    psf: PixelPsf,
    x: FloatArray,
    y: FloatArray,
    rounds: int = 4,
) -> PsfFlux:
    """Measure PSF fluxes at fixed positions by linear least squares with equal weights of all good pixels.

    Parameters
    ----------
    image, variance
        Background-subtracted image and variance, shape (ny, nx).
    bad
        Pixels left out.
    psf
        The model.
    x, y
        Positions, pixels.
    rounds
        Passes; from the second on each source is fitted to the image less all other
        sources. 1 ignores neighbours.

    Returns
    -------
    PsfFlux
        Fluxes in the order of the positions.
    """
    m = psf.size
    stamps, x0, y0 = psf.stamps(x, y)
    data, _, _ = cut_stamps(image, x, y, m)
    noise, _, _ = cut_stamps(variance, x, y, m, 1.0)
    lost, _, _ = cut_stamps(bad, x, y, m, True)
    ny, nx = image.shape
    edge = (x0 < 0) | (y0 < 0) | (x0 + m > nx) | (y0 + m > ny)
    good = ~lost
    weighted = np.where(good, stamps, 0.0)
    square = (weighted * stamps).sum(axis=(1, 2))
    total = (stamps * stamps).sum(axis=(1, 2))
    failed = square < 0.25 * total
    square = np.where(failed, np.inf, square)
    flux = (weighted * data).sum(axis=(1, 2)) / square
    residual = data - flux[:, None, None] * stamps
    for _ in range(rounds - 1):
        model = _draw(image.shape, stamps, flux, x0, y0)
        left, _, _ = cut_stamps(np.asarray(image - model, np.float64), x, y, m)
        residual = left
        # Damped, because two sources within one PSF width each claim the other's residual.
        flux = flux + 0.8 * (weighted * left).sum(axis=(1, 2)) / square
    error = np.sqrt((weighted**2 * noise).sum(axis=(1, 2))) / square
    slope_y, slope_x = np.gradient(stamps, axis=(1, 2))
    inverse = np.where(good, 1.0 / np.maximum(noise, 1e-20), 0.0)
    size = np.maximum(np.abs(flux), 1e-20)
    with np.errstate(divide="ignore"):
        x_err = 1.0 / (size * np.sqrt((slope_x**2 * inverse).sum(axis=(1, 2))))
        y_err = 1.0 / (size * np.sqrt((slope_y**2 * inverse).sum(axis=(1, 2))))
    count = good.sum(axis=(1, 2))
    chi2 = (residual**2 * inverse).sum(axis=(1, 2)) / np.maximum(count - 1, 1)
    blank = np.where(failed, np.nan, 1.0)
    return PsfFlux(
        flux=flux * blank,
        flux_err=error * blank,
        x_err=x_err * blank,
        y_err=y_err * blank,
        chi2=chi2,
        area_pixel=1 / np.maximum(total, 1e-20),
        n_pixel=count.astype(np.int64),
        edge=edge,
        failed=failed,
    )


def _draw(
    shape: tuple[int, ...], stamps: FloatArray, flux: FloatArray, x0: NDArray[np.intp], y0: NDArray[np.intp]
) -> FloatArray:
    """Add all sources into an empty image."""
    m = stamps.shape[1]
    ny, nx = shape
    padded = np.zeros((ny + 2 * m, nx + 2 * m))
    for stamp, f, column, row in zip(stamps, flux, x0 + m, y0 + m, strict=True):
        if np.isfinite(f) and 0 <= column <= nx + m and 0 <= row <= ny + m:
            padded[row : row + m, column : column + m] += f * stamp
    return padded[m : m + ny, m : m + nx]
