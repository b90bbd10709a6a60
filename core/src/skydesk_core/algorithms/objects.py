"""Merging of detections over bands and measurement of objects on coadds at fixed positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import sep
from scipy.spatial import cKDTree

from skydesk_core.algorithms.planes import BAD, CR, NO_DATA
from skydesk_core.algorithms.psfgrid import PsfFluxes, PsfGrid
from skydesk_core.algorithms.warp import Planes
from skydesk_core.kernels.moments import adaptive_moments
from skydesk_core.kernels.stamps import add_stars

__all__ = [
    "APERTURES_PX",
    "Blend",
    "MergedPeaks",
    "ObjectMeasurement",
    "Peaks",
    "find_blends",
    "measure_objects",
    "merge_peaks",
    "noise_correlation",
    "refine_centroids",
]

APERTURES_PX = (3.0, 6.0, 9.0, 12.0, 17.0)
"""Radii of the circular apertures, named as in the SDM (``ap03Flux`` …)."""

_UNUSABLE = NO_DATA | BAD
_EXTENDED = 0.955
"""Ratio of PSF to model flux below which a source counts as extended; Rubin's 0.985 wants a better PSF."""


@dataclass(frozen=True)
class Peaks:
    """Detections in one band.

    Parameters
    ----------
    x, y
        Positions in the coadd's frame, pixels.
    snr
        Significance of each detection.
    area
        Number of pixels of the footprint.
    """

    x: np.ndarray
    y: np.ndarray
    snr: np.ndarray
    area: np.ndarray


@dataclass(frozen=True)
class MergedPeaks:
    """Detections of several bands, each position once.

    Parameters
    ----------
    x, y
        Positions in the reference band, pixels.
    area
        Number of pixels of the footprint in that band.
    band
        The reference band of each object.
    """

    x: np.ndarray
    y: np.ndarray
    area: np.ndarray
    band: np.ndarray


@dataclass(frozen=True)
class Blend:
    """Which objects lie so near to each other that their light mixes.

    Parameters
    ----------
    group
        Number of each object's group.
    size
        Number of objects in that group.
    """

    group: np.ndarray
    size: np.ndarray


@dataclass
class ObjectMeasurement:
    """What is measured of every object in one band; fluxes in the unit of the coadd.

    Parameters
    ----------
    psf
        PSF fluxes with neighbours subtracted, and mask bits.
    apertures, aperture_errors
        Arrays (n, aperture).
    aperture_truncated
        Array (n, aperture) of bool: part of the aperture has no data.
    kron_radius, kron, kron_error, kron_flag
        Kron radius in pixels, flux within 2.5 of them, error, failure.
    moments, psf_moments
        Arrays (n, 3): xx, yy, xy in square pixels of the object and of the PSF there.
    moments_flag
        True where the moments did not converge.
    model, model_error
        Flux of the elliptical Gaussian-weighted model scaled to total flux.
    extendedness, size_extendedness
        1 for extended, 0 for point-like, NaN where unknown.
    """

    psf: PsfFluxes
    apertures: np.ndarray
    aperture_errors: np.ndarray
    aperture_truncated: np.ndarray
    kron_radius: np.ndarray
    kron: np.ndarray
    kron_error: np.ndarray
    kron_flag: np.ndarray
    moments: np.ndarray
    psf_moments: np.ndarray
    moments_flag: np.ndarray
    model: np.ndarray
    model_error: np.ndarray
    extendedness: np.ndarray
    size_extendedness: np.ndarray


def merge_peaks(peaks: Mapping[str, Peaks], priority: Sequence[str], radius_px: float) -> MergedPeaks:
    """Merge the detections of several bands.

    Parameters
    ----------
    peaks
        Detections by band.
    priority
        Bands, the one whose position counts first; bands that are not named come last.
    radius_px
        Detections of different bands nearer than this are one object.

    Returns
    -------
    MergedPeaks
        One entry per object, ordered by band of reference, then by significance.
    """
    order = [b for b in priority if b in peaks] + sorted(b for b in peaks if b not in priority)
    x = np.empty(0)
    y = np.empty(0)
    area = np.empty(0, dtype=np.int64)
    band = np.empty(0, dtype=object)
    for name in order:
        one = peaks[name]
        new = np.ones(len(one.x), dtype=bool)
        if len(x) and len(one.x):
            distance, _ = cKDTree(np.column_stack([x, y])).query(np.column_stack([one.x, one.y]))
            new = distance > radius_px
        chosen = np.flatnonzero(new)[np.argsort(-one.snr[new], kind="stable")]
        x = np.concatenate([x, one.x[chosen]])
        y = np.concatenate([y, one.y[chosen]])
        area = np.concatenate([area, one.area[chosen]])
        band = np.concatenate([band, np.full(len(chosen), name, dtype=object)])
    return MergedPeaks(x, y, area, band)


def find_blends(x: np.ndarray, y: np.ndarray, radius_px: float) -> Blend:
    """Group objects by distance.

    Parameters
    ----------
    x, y
        Positions in pixels.
    radius_px
        Objects nearer than this are in one group.
    """
    parent = np.arange(len(x))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = int(parent[i])
        return i

    if len(x) > 1:
        for a, b in cKDTree(np.column_stack([x, y])).query_pairs(radius_px):
            parent[root(a)] = root(b)
    _, group = np.unique([root(i) for i in range(len(x))], return_inverse=True)
    group = np.asarray(group, dtype=np.int64).reshape(-1)
    return Blend(group, np.bincount(group, minlength=1)[group] if len(x) else np.zeros(0, dtype=np.int64))


def refine_centroids(
    planes: Planes, x: np.ndarray, y: np.ndarray, sigma_px: float
) -> tuple[np.ndarray, np.ndarray]:
    """Improve positions with Gaussian-windowed centroids.

    Parameters
    ----------
    planes
        The image.
    x, y
        First positions in array pixels.
    sigma_px
        Width of the window.

    Returns
    -------
    tuple of numpy.ndarray
        Better positions; the first ones where the centroid moved by more than two widths.
    """
    if not len(x):
        return x, y
    image = np.where(np.isfinite(planes.image), planes.image, 0.0).astype(np.float32)
    mask = (planes.mask & _UNUSABLE) != 0
    new_x, new_y, flag = sep.winpos(image, x, y, np.full(len(x), sigma_px), mask=mask)
    moved = np.hypot(new_x - x, new_y - y) > 2 * sigma_px
    keep = moved | ~np.isfinite(new_x) | ~np.isfinite(new_y) | ((flag & sep.APER_ALLMASKED) != 0)
    return np.where(keep, x, new_x), np.where(keep, y, new_y)


def noise_correlation(planes: Planes, psf: PsfGrid, occupied: np.ndarray, count: int = 600) -> float:
    """Measure how much larger the errors of PSF fluxes are than uncorrelated noise would make them.

    Parameters
    ----------
    planes
        A coadd.
    psf
        Its PSF.
    occupied
        Array (y, x) of bool, True on sources.
    count
        Number of empty places at which fluxes are measured.

    Returns
    -------
    float
        Robust scatter of flux over error on empty sky; 1 if there are too few places.
    """
    free = ~occupied & ((planes.mask & _UNUSABLE) == 0)
    rows, columns = np.nonzero(free[:: max(psf.size // 4, 1), :: max(psf.size // 4, 1)])
    if len(rows) < 50:
        return 1.0
    step = max(psf.size // 4, 1)
    chosen = np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int)
    found = psf.fluxes(
        planes.image,
        planes.variance,
        planes.mask,
        _UNUSABLE,
        columns[chosen] * float(step),
        rows[chosen] * float(step),
    )
    ratio = found.flux / found.error
    ratio = ratio[np.isfinite(ratio)]
    if len(ratio) < 50:
        return 1.0
    return float(1.4826 * np.median(np.abs(ratio - np.median(ratio))))


def measure_objects(
    planes: Planes,
    psf: PsfGrid,
    x: np.ndarray,
    y: np.ndarray,
    error_scale: float = 1.0,
    iterations: int = 3,
) -> ObjectMeasurement:
    """Measure objects at given positions on one coadd.

    Neighbours are subtracted as point sources: each flux is fitted on the image without all others.

    Parameters
    ----------
    planes
        The coadd, background zero.
    psf
        Its PSF.
    x, y
        Positions in array pixels.
    error_scale
        Factor on all errors for correlated noise, see `noise_correlation`.
    iterations
        How often fluxes and neighbours are updated.
    """
    usable = (planes.mask & _UNUSABLE) == 0
    image = np.where(usable & np.isfinite(planes.image), planes.image, 0.0).astype(np.float32)
    fluxes = _blended_fluxes(image, planes, psf, x, y, iterations)
    fluxes.error[:] *= error_scale
    stars = np.where(np.isfinite(fluxes.flux), np.maximum(fluxes.flux, 0.0), 0.0)
    cleaned = image.copy()
    add_stars(cleaned, psf.cells, psf.node_x, psf.node_y, psf.table, x, y, -stars)
    moments = np.empty((len(x), 5))
    psf_moments = np.empty((len(x), 5))
    _moments_without_neighbours(cleaned, planes.mask, psf, x, y, stars, moments, psf_moments)
    apertures, errors, truncated = _apertures(image, planes, ~usable, x, y, error_scale)
    radius, kron, kron_error, kron_flag = _kron(image, planes, ~usable, x, y, moments, psf, error_scale)
    model, model_error = _model_flux(fluxes, moments, psf_moments)
    with np.errstate(invalid="ignore", divide="ignore"):
        extended = np.where(fluxes.flux / model < _EXTENDED, 1.0, 0.0)
        trace = moments[:, :2].sum(axis=1) / psf_moments[:, :2].sum(axis=1)
        larger = np.where(trace > 1.12, 1.0, 0.0)
    extended[~np.isfinite(model) | ~np.isfinite(fluxes.flux)] = np.nan
    larger[~np.isfinite(trace)] = np.nan
    return ObjectMeasurement(
        fluxes,
        apertures,
        errors,
        truncated,
        radius,
        kron,
        kron_error,
        kron_flag,
        moments[:, :3],
        psf_moments[:, :3],
        moments[:, 4] != 0,
        model,
        model_error,
        extended,
        larger,
    )


def _blended_fluxes(
    image: np.ndarray, planes: Planes, psf: PsfGrid, x: np.ndarray, y: np.ndarray, iterations: int
) -> PsfFluxes:
    """Fit fluxes, subtract all, and fit what remains at each place until the blends are resolved."""
    rejected = _UNUSABLE | CR
    result = psf.fluxes(image, planes.variance, planes.mask, rejected, x, y)
    total = np.where(np.isfinite(result.flux), result.flux, 0.0)
    for _ in range(iterations):
        residual = image.copy()
        add_stars(residual, psf.cells, psf.node_x, psf.node_y, psf.table, x, y, -total)
        step = psf.fluxes(residual, planes.variance, planes.mask, rejected, x, y)
        total = total + np.where(np.isfinite(step.flux), step.flux, 0.0)
    result.flux[:] = np.where(np.isfinite(result.flux), total, np.nan)
    return result


def _moments_without_neighbours(
    cleaned: np.ndarray,
    mask: np.ndarray,
    psf: PsfGrid,
    x: np.ndarray,
    y: np.ndarray,
    stars: np.ndarray,
    moments: np.ndarray,
    psf_moments: np.ndarray,
) -> None:
    """Moments of each object with its own point source put back, and of the PSF at its place."""
    radius = psf.size // 2 + 5
    side = 2 * radius + 1
    ny, nx = cleaned.shape
    half = psf.size // 2
    empty = np.zeros((side, side), dtype=np.int32)
    for n in range(len(x)):
        star = psf.stellar(x[n], y[n])
        cx, cy = int(np.floor(x[n] + 0.5)), int(np.floor(y[n] + 0.5))
        stamp = np.zeros((side, side))
        bits = np.full((side, side), NO_DATA, dtype=np.int32)
        y0, y1 = max(cy - radius, 0), min(cy + radius + 1, ny)
        x0, x1 = max(cx - radius, 0), min(cx + radius + 1, nx)
        inner = np.s_[radius - half : radius + half + 1, radius - half : radius + half + 1]
        if y0 < y1 and x0 < x1:
            where = np.s_[y0 - cy + radius : y1 - cy + radius, x0 - cx + radius : x1 - cx + radius]
            stamp[where] = cleaned[y0:y1, x0:x1]
            bits[where] = mask[y0:y1, x0:x1]
        own = np.zeros((side, side))
        own[inner] = star
        at_x = np.array([x[n] - cx + radius])
        at_y = np.array([y[n] - cy + radius])
        adaptive_moments(
            stamp + stars[n] * own, bits, _UNUSABLE, at_x, at_y, psf.sigma, radius, moments[n : n + 1]
        )
        adaptive_moments(own, empty, 0, at_x, at_y, psf.sigma, radius, psf_moments[n : n + 1])


def _model_flux(
    fluxes: PsfFluxes, moments: np.ndarray, psf_moments: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Flux of the matched elliptical Gaussian, scaled so that it is the PSF flux for a point source."""
    with np.errstate(invalid="ignore", divide="ignore"):
        model = moments[:, 3] / psf_moments[:, 3]
        size = np.sqrt(moments[:, 0] * moments[:, 1] - moments[:, 2] ** 2)
        psf_size = np.sqrt(psf_moments[:, 0] * psf_moments[:, 1] - psf_moments[:, 2] ** 2)
        error = fluxes.error * np.sqrt(np.maximum(size / psf_size, 1.0))
    return model, error


def _apertures(
    image: np.ndarray, planes: Planes, mask: np.ndarray, x: np.ndarray, y: np.ndarray, error_scale: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Exact circular apertures."""
    shape = (len(x), len(APERTURES_PX))
    flux, error, truncated = np.full(shape, np.nan), np.full(shape, np.nan), np.zeros(shape, dtype=bool)
    variance = np.where(np.isfinite(planes.variance), planes.variance, 0.0).astype(np.float32)
    for k, radius in enumerate(APERTURES_PX if len(x) else ()):
        flux[:, k], error[:, k], flag = sep.sum_circle(image, x, y, radius, var=variance, mask=mask, subpix=0)
        truncated[:, k] = (flag & (sep.APER_TRUNC | sep.APER_HASMASKED | sep.APER_ALLMASKED)) != 0
    return flux, error * error_scale, truncated


def _kron(
    image: np.ndarray,
    planes: Planes,
    mask: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    moments: np.ndarray,
    psf: PsfGrid,
    error_scale: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Kron radius and the flux within 2.5 of them."""
    if not len(x):
        return np.empty(0), np.empty(0), np.empty(0), np.empty(0, dtype=bool)
    xx, yy, xy = (
        np.where(np.isfinite(moments[:, k]), moments[:, k], v)
        for k, v in ((0, psf.sigma**2), (1, psf.sigma**2), (2, 0))
    )
    middle, spread = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    a = np.sqrt(middle + spread)
    b = np.sqrt(np.maximum(middle - spread, 0.25))
    theta = 0.5 * np.arctan2(2 * xy, xx - yy)
    factor, flag = sep.kron_radius(image, x, y, a, b, theta, 6.0, mask=mask)
    # The first moment of the light of faint sources is noise: not below the PSF's, not above the aperture.
    failed = ~np.isfinite(factor) | (factor <= 0)
    factor = np.clip(np.where(failed, 1.4, factor), 1.2, 4.0)
    variance = np.where(np.isfinite(planes.variance), planes.variance, 0.0).astype(np.float32)
    flux, error, more = sep.sum_ellipse(
        image, x, y, a, b, theta, 2.5 * factor, var=variance, mask=mask, subpix=1
    )
    truncated = ((flag | more) & (sep.APER_TRUNC | sep.APER_ALLMASKED)) != 0
    return factor * np.sqrt(a * b), flux, error * error_scale, failed | truncated
