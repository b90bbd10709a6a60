"""Selection of PSF stars and the linear fit of a `PixelPsf` to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skydesk_core.algorithms.psf import LANCZOS, PixelPsf, cut_stamps, polynomial_basis, resample_stamps
from skydesk_core.errors import DataError

__all__ = ["PsfFit", "choose_psf_stars", "fit_psf", "psf_size_for"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class PsfFit:
    """A fitted PSF.

    Parameters
    ----------
    psf
        The model.
    used
        Which of the given stars the fit kept.
    flux
        PSF flux of the given stars.
    chi2
        Reduced chi-square of each star with respect to the model.
    """

    psf: PixelPsf
    used: NDArray[np.bool_]
    flux: FloatArray
    chi2: FloatArray


def psf_size_for(fwhm_pixel: float) -> int:
    """Side of the PSF grid for a seeing: six FWHM, odd, between 15 and 41 pixels."""
    return int(np.clip(2 * int(np.ceil(3.0 * fwhm_pixel)) + 1, 15, 41))


def choose_psf_stars(
    x: FloatArray,
    y: FloatArray,
    size_pixel: FloatArray,
    sn: FloatArray,
    good: NDArray[np.bool_],
    isolation_pixel: float,
    min_sn: float = 30.0,
    largest: int = 300,
) -> NDArray[np.bool_]:
    """Choose isolated stars by their place in the plane of size against signal-to-noise.

    Parameters
    ----------
    x, y
        Positions of all detections.
    size_pixel
        Measured size of each (any definition that is constant for stars).
    sn
        Signal-to-noise ratio of each.
    good
        Which have no saturated, bad or edge pixels.
    isolation_pixel
        No other detection of a quarter of the signal-to-noise may be nearer.
    min_sn
        Fainter sources are not used; lowered until at least 12 are left.
    largest
        At most this many, the brightest.

    Returns
    -------
    ndarray of bool
        The chosen ones.

    Raises
    ------
    DataError
        If fewer than 4 are left.
    """
    lonely = _isolated(x, y, sn, isolation_pixel)
    chosen = np.zeros(len(x), bool)
    for limit, need in ((min_sn, 40), (min_sn / 2, 20), (min_sn / 3, 4)):
        candidates = good & lonely & (sn > limit) & np.isfinite(size_pixel)
        if candidates.sum() < 4:
            continue
        chosen = candidates & _near_locus(size_pixel, candidates)
        if chosen.sum() >= need:
            break
    if chosen.sum() < 4:
        raise DataError(f"only {int(chosen.sum())} usable PSF stars among {len(x)} detections")
    if chosen.sum() > largest:
        faintest = np.sort(sn[chosen])[-largest]
        chosen &= sn >= faintest
    return chosen


def _isolated(x: FloatArray, y: FloatArray, sn: FloatArray, radius: float) -> NDArray[np.bool_]:
    from scipy.spatial import cKDTree

    xy = np.column_stack([x, y])
    pairs = cKDTree(xy).query_pairs(radius, output_type="ndarray")
    lonely = np.ones(len(x), bool)
    if len(pairs):
        a, b = pairs.T
        lonely[a[sn[b] > 0.25 * sn[a]]] = False
        lonely[b[sn[a] > 0.25 * sn[b]]] = False
    return lonely


def _near_locus(size: FloatArray, candidates: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Stars pile up at the smallest common size: the densest tenth-wide window, then its scatter."""
    s = np.sort(size[candidates])
    counts = np.searchsorted(s, s * 1.12) - np.arange(len(s))
    best = int(np.argmax(counts))
    window = s[best : best + counts[best]]
    middle = float(np.median(window))
    scatter = max(1.4826 * float(np.median(np.abs(window - middle))), 0.01 * middle)
    return np.asarray(np.abs(size - middle) < 4 * scatter)


def fit_psf(
    image: NDArray[np.floating[Any]],
    variance: NDArray[np.floating[Any]],
    bad: NDArray[np.bool_],
    x: FloatArray,
    y: FloatArray,
    size: int,
    fwhm_pixel: float,
    order: int = 2,
    rounds: int = 4,
) -> PsfFit:
    """Fit the model to stars.

    Parameters
    ----------
    image, variance
        Background-subtracted image and its variance, shape (ny, nx).
    bad
        Pixels that carry no information.
    x, y
        Centroids of the stars.
    size
        Side of the grid, odd.
    fwhm_pixel
        Rough width of the PSF. Beyond 1.5 of it the model is a constant, round profile: the noise of hundreds of wing
        pixels would otherwise enter the normalisation at every position.
    order
        Largest order of the polynomial; lowered where there are too few stars.
    rounds
        Passes; each adds what the shifted residuals still hold and rejects outliers.

    Returns
    -------
    PsfFit
        Model, which stars were kept, their fluxes.

    Raises
    ------
    DataError
        If fewer than 4 stars can be used.
    """
    ny, nx = image.shape
    centre, half = ((nx - 1) / 2.0, (ny - 1) / 2.0), max(nx, ny) / 2.0
    big = size + 2 * LANCZOS
    data, x0, y0 = cut_stamps(image, x, y, big)
    data = data.astype(float)
    lost, _, _ = cut_stamps(bad, x, y, big, True)
    noise, _, _ = cut_stamps(variance, x, y, big, 1.0)
    dx, dy = x - (x0 + big // 2), y - (y0 + big // 2)
    while order and len(x) < 3 * (order + 1) * (order + 2) // 2:
        order -= 1
    basis = polynomial_basis(x, y, order, centre, half)
    core = slice(LANCZOS, LANCZOS + size)
    # A star whose core is damaged cannot be repaired by the model.
    r = size // 2
    used = ~lost[:, big // 2 - 2 : big // 2 + 3, big // 2 - 2 : big // 2 + 3].any(axis=(1, 2))
    used &= lost[:, core, core].mean(axis=(1, 2)) < 0.2
    if used.sum() < 4:
        raise DataError(f"only {int(used.sum())} of {len(x)} PSF stars have undamaged cores")
    data[lost] = 0.0
    model = np.zeros((basis.shape[1], size, size))
    flux = np.where(lost, 0.0, data)[:, core, core].sum(axis=(1, 2))
    flux = np.where(flux > 0, flux, 1.0)
    level = np.maximum(np.median(noise[:, core, core].reshape(len(x), -1), axis=1), 1e-12)
    residual = data
    chi2 = np.ones(len(x))
    for _ in range(rounds):
        shifted = resample_stamps(residual, dx, dy, size) / flux[:, None, None]
        # Bright stars are limited by the model, not by noise: their weight is capped.
        weight = used / (level * size / flux**2 + 1e-5)
        weight = weight / weight.max()
        weighted = basis.T * weight
        normal = weighted @ basis + 1e-9 * np.eye(basis.shape[1])
        solution = np.linalg.solve(normal, weighted @ shifted.reshape(len(x), -1))
        model = _normalise(_smooth_wings(_taper(model + solution.reshape(model.shape), r), fwhm_pixel))
        psf = PixelPsf(model, order, centre, half)
        unit = np.zeros_like(data)
        images = psf.images(x, y)
        unit[:, core, core] = images
        drawn = resample_stamps(unit, -dx, -dy, big)
        w = np.where(lost, 0.0, 1.0 / np.maximum(noise, 1e-12))
        flux = (w * drawn * data).sum(axis=(1, 2)) / np.maximum((w * drawn * drawn).sum(axis=(1, 2)), 1e-30)
        flux = np.where(flux > 0, flux, 1.0)
        residual = np.where(lost, 0.0, data - flux[:, None, None] * drawn)
        inner = (slice(None), core, core)
        soft = noise[inner] + (0.02 * flux[:, None, None] * drawn[inner]) ** 2
        chi2 = (residual[inner] ** 2 / soft * ~lost[inner]).sum(axis=(1, 2)) / size**2
        middle = np.median(chi2[used])
        spread = 1.4826 * np.median(np.abs(chi2[used] - middle)) + 0.05
        kept = used & (chi2 < middle + 5 * spread)
        if kept.sum() >= max(4, 0.5 * used.sum()):
            used = kept
    return PsfFit(psf, used, flux, chi2)


def _taper(model: FloatArray, r: int) -> FloatArray:
    """Bring the grid smoothly to zero in its last two pixels, so that drawn stars have no square edge."""
    d = np.hypot(*np.meshgrid(np.arange(-r, r + 1), np.arange(-r, r + 1)))
    window = np.clip((r + 0.5 - d) / 2.0, 0.0, 1.0)
    return model * window


def _smooth_wings(model: FloatArray, fwhm: float) -> FloatArray:
    """Replace the wings by a round profile that does not depend on position, with a smooth transition."""
    r = model.shape[1] // 2
    d = np.hypot(*np.meshgrid(np.arange(-r, r + 1), np.arange(-r, r + 1)))
    step = np.clip((d / fwhm - 1.1) / 0.6, 0.0, 1.0)
    core = 1.0 - step**2 * (3 - 2 * step)
    ring = np.round(d).astype(int)
    count = np.bincount(ring.ravel())
    profile = np.bincount(ring.ravel(), model[0].ravel()) / count
    out = model * core
    out[0] += (1.0 - core) * np.interp(d, np.arange(len(profile)), profile)
    return np.asarray(out)


def _normalise(model: FloatArray) -> FloatArray:
    totals = model.sum(axis=(1, 2))
    first = model[0] / totals[0]
    rest = [(m - t * first) / totals[0] for m, t in zip(model[1:], totals[1:], strict=True)]
    return np.stack([first, *rest])
