"""Ensemble photometry: the zero points of many exposures of one field from the field's own stars."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skydesk_core.errors import DataError

__all__ = ["EnsembleZeroPoints", "fit_ensemble"]


@dataclass(frozen=True)
class EnsembleZeroPoints:
    """Relative zero points of epochs, varying smoothly over the image.

    Parameters
    ----------
    coefficients
        Array (epoch, term) of the polynomial in magnitudes that is added to instrumental magnitudes;
        NaN for epochs without stars.
    order
        Order of the polynomial in scaled pixel coordinates.
    centre, scale
        Scaling of the coordinates, pixels.
    used
        Array (star,) of bool: stars that determined the fit.
    scatter_mag
        Median over these stars of the standard deviation of their corrected magnitudes.
    """

    coefficients: np.ndarray
    order: int
    centre: tuple[float, float]
    scale: float
    used: np.ndarray
    scatter_mag: float

    def factor(self, epoch: int, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the factor by which fluxes of an epoch are to be multiplied.

        Parameters
        ----------
        epoch
            Number of the epoch.
        x, y
            Positions on its image in pixels.
        """
        return 10 ** (-0.4 * (_terms(x, y, self.order, self.centre, self.scale) @ self.coefficients[epoch]))


def _terms(x: np.ndarray, y: np.ndarray, order: int, centre: tuple[float, float], scale: float) -> np.ndarray:
    u, v = (np.asarray(x, float) - centre[0]) / scale, (np.asarray(y, float) - centre[1]) / scale
    return np.stack([u**i * v ** (n - i) for n in range(order + 1) for i in range(n + 1)], axis=-1)


def fit_ensemble(
    flux: np.ndarray,
    error: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    shape: tuple[int, int],
    order: int = 1,
    minimum_snr: float = 50.0,
    minimum_stars: int = 8,
    iterations: int = 8,
) -> EnsembleZeroPoints:
    """Fit zero points so that the stars are constant on the whole.

    Each epoch gets a polynomial over the image in magnitudes. Star means and polynomials are found in
    turn; stars that scatter much more than others of their brightness are variable and do not take part.
    The mean zero point of all epochs is left as it is.

    Parameters
    ----------
    flux, error
        Arrays (epoch, star); NaN where a star was not measured.
    x, y
        Arrays (epoch, star) of pixel positions.
    shape
        Shape (y, x) of the images.
    order
        Order of the polynomials; lowered for epochs with few stars.
    minimum_snr
        Least median signal-to-noise ratio of a star that takes part.
    minimum_stars
        Least number of stars.
    iterations
        Number of turns.

    Raises
    ------
    DataError
        If too few stars are bright enough in at least two epochs.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        magnitude = -2.5 * np.log10(np.where(flux > 0, flux, np.nan))
        noise = 2.5 / np.log(10) * np.abs(error / flux)
    seen = np.isfinite(magnitude).sum(axis=0)
    typical = np.full(flux.shape[1], np.inf)
    several = seen >= max(2, flux.shape[0] // 2)
    typical[several] = np.nanmedian(noise[:, several], axis=0)
    used = several & (typical < 2.5 / np.log(10) / minimum_snr)
    if used.sum() < minimum_stars:
        raise DataError(
            f"ensemble zero point: {used.sum()} stars with S/N > {minimum_snr:g}, {minimum_stars} needed"
        )
    centre, scale = ((shape[1] - 1) / 2, (shape[0] - 1) / 2), max(shape) / 2
    terms = _terms(np.where(np.isfinite(x), x, 0), np.where(np.isfinite(y), y, 0), order, centre, scale)
    coefficients = np.zeros((flux.shape[0], terms.shape[-1]))
    corrected = magnitude.copy()
    # A floor keeps the few brightest stars from deciding alone: their scatter is not photon noise.
    weight = 1 / np.hypot(noise, 0.004)
    for turn in range(iterations):
        mean = np.full(flux.shape[1], np.nan)
        mean[used] = np.nanmedian(corrected[:, used], axis=0)
        for k in range(flux.shape[0]):
            coefficients[k] = _fit_epoch(magnitude[k] - mean, weight[k], terms[k], used)
        coefficients[:, 0] -= np.nanmean(coefficients[:, 0])
        corrected = magnitude + np.einsum("est,et->es", terms, coefficients)
        if 2 <= turn < iterations - 2:
            used = _keep_constant(corrected, noise, used, minimum_stars)
    scatter = np.nanstd(corrected[:, used], axis=0, ddof=1)
    return EnsembleZeroPoints(coefficients, order, centre, scale, used, float(np.median(scatter)))


def _fit_epoch(offset: np.ndarray, weight: np.ndarray, terms: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Fit minus the offset of one epoch's stars, with rejection at 4 robust standard deviations."""
    good = used & np.isfinite(offset)
    out = np.zeros(terms.shape[1])
    if not good.any():
        return np.full(terms.shape[1], np.nan)
    for _ in range(3):
        count = terms.shape[1] if good.sum() >= 4 * terms.shape[1] else 1
        matrix = terms[good, :count] * weight[good, None]
        out[:] = 0.0
        out[:count] = np.linalg.lstsq(matrix, -offset[good] * weight[good], rcond=None)[0]
        residual = offset + terms @ out
        spread = 1.4826 * np.median(np.abs(residual[good] - np.median(residual[good])))
        better = used & np.isfinite(offset) & (np.abs(residual) <= max(4 * spread, 1e-6))
        if better.sum() < 3 or np.array_equal(better, good):
            break
        good = better
    return out


def _keep_constant(corrected: np.ndarray, noise: np.ndarray, used: np.ndarray, minimum: int) -> np.ndarray:
    """Leave out stars whose scatter over noise is far above that of the others."""
    ratio = np.full(corrected.shape[1], np.nan)
    ratio[used] = np.nanstd(corrected[:, used], axis=0, ddof=1) / np.hypot(
        np.nanmedian(noise[:, used], axis=0), 0.003
    )
    middle = np.nanmedian(ratio)
    spread = 1.4826 * np.nanmedian(np.abs(ratio - middle))
    keep = used & (ratio < middle + 5 * spread)
    return keep if keep.sum() >= minimum else used
