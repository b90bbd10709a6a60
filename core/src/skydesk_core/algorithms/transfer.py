"""Gain and noise of a camera estimated from its science frames alone.

Without bias frames and flat pairs the classical photon-transfer curve cannot be made: the pedestal is unknown and the
sky changes too little to constrain the slope. Stars can: the variance of a star's flux between consecutive frames grows
with its flux by 1/gain. Scintillation and the response inside pixels add to that variance, so the result is an effective
gain, never larger than the true one, which is the right number to predict the noise of photometry with.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sep
from numpy.typing import NDArray

from skydesk_core.algorithms.patternmatch import find_similarity, match_nearest
from skydesk_core.errors import DataError

__all__ = ["NoiseEstimate", "estimate_gain", "measure_sky"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class NoiseEstimate:
    """What the frames tell about the detector.

    Parameters
    ----------
    gain
        Effective electrons per ADU.
    gain_error
        Its standard error.
    sky_noise_adu
        Median noise of a sky pixel (read noise, sky and quantisation together).
    pairs
        Pairs of consecutive frames that were used.
    points
        Pairs of star measurements that were used.
    """

    gain: float
    gain_error: float
    sky_noise_adu: float
    pairs: int
    points: int


def measure_sky(image: NDArray[Any], exclude: NDArray[np.bool_]) -> tuple[float, float]:
    """Level and noise of the sky.

    Parameters
    ----------
    image
        Raw image, ADU; may be quantised to whole numbers.
    exclude
        Pixels without signal.

    Returns
    -------
    tuple of float
        Sigma-clipped mean and standard deviation of star-free pixels after
        removal of the large-scale background, ADU.
    """
    data = np.ascontiguousarray(image, np.float32)
    cell = max(16, min(64, min(data.shape) // 4))
    mesh = sep.Background(data, mask=exclude, bw=cell, bh=cell)
    flat = data - mesh.back()
    rms = float(mesh.globalrms)
    # Differences of neighbours do not see the stars' wings; whole-number data make a median of differences useless,
    # so the standard deviation of clipped pixels is taken instead.
    pair = (flat[:, 2:] - flat[:, :-2]) / np.sqrt(2)
    quiet = ~exclude & (np.abs(flat) < 3 * rms)
    sample = pair[quiet[:, 2:] & quiet[:, :-2]]
    return float(mesh.globalback), _clipped_std(sample)


def _clipped_std(values: NDArray[Any]) -> float:
    sigma = float(np.std(values))
    for _ in range(5):
        sigma = float(np.std(values[np.abs(values) < 3 * sigma])) / 0.98658
    return sigma


@dataclass(frozen=True)
class _Stars:
    xy: FloatArray
    flux: FloatArray
    sky_noise: float


def _measure_stars(
    image: NDArray[Any], exclude: NDArray[np.bool_], saturation: float, radius: float
) -> _Stars:
    data = np.ascontiguousarray(image, np.float32)
    cell = max(16, min(64, min(data.shape) // 4))
    mesh = sep.Background(data, mask=exclude, bw=cell, bh=cell)
    flat = data - mesh.back()
    _, noise = measure_sky(image, exclude)
    found = sep.extract(flat, 6 * noise, mask=exclude, minarea=4)
    margin = 3 * radius
    ny, nx = data.shape
    keep = (
        (found["x"] > margin)
        & (found["x"] < nx - margin)
        & (found["y"] > margin)
        & (found["y"] < ny - margin)
    )
    found = found[keep]
    if len(found) < 10:
        raise DataError(f"only {len(found)} stars to estimate the gain from")
    x, y, _ = sep.winpos(flat, found["x"], found["y"], np.full(len(found), radius / 2))
    flux, _, _ = sep.sum_circle(flat, x, y, radius, subpix=0)
    xy = np.column_stack([x, y])
    distance = _nearest_other(xy)
    clean = (found["peak"] < 0.7 * saturation) & (distance > 3 * radius) & np.isfinite(x) & (flux > 0)
    order = np.argsort(-flux[clean])
    return _Stars(xy[clean][order], flux[clean][order], noise)


def _nearest_other(xy: FloatArray) -> FloatArray:
    from scipy.spatial import cKDTree

    return np.asarray(cKDTree(xy).query(xy, k=2)[0][:, 1])


def estimate_gain(
    frames: Sequence[NDArray[Any]],
    exclude: NDArray[np.bool_],
    saturation: float,
    radius_pixel: float = 2.5,
) -> NoiseEstimate:
    """Estimate the effective gain from the scatter of star fluxes between consecutive frames.

    Parameters
    ----------
    frames
        Raw images of one field in order of time, ADU; they may be shifted.
    exclude
        Pixels without signal.
    saturation
        ADU; stars with a higher peak than 0.7 of it are not used.
    radius_pixel
        Radius of the aperture.

    Returns
    -------
    NoiseEstimate
        Gain with its error and the noise of the sky.

    Raises
    ------
    DataError
        If there are too few frames or stars, or if the scatter does not grow with flux.
    """
    if len(frames) < 3:
        raise DataError(f"the gain cannot be estimated from {len(frames)} frame(s); 3 are needed")
    stars = [_measure_stars(f, exclude, saturation, radius_pixel) for f in frames]
    fluxes, excess, used = [], [], 0
    area = np.pi * radius_pixel**2
    for a, b in itertools.pairwise(stars):
        try:
            move = find_similarity(a.xy, b.xy, 1.0, 0.005, 0.0, 1.0, False, tolerance=1.0)
        except DataError:
            continue
        i, j = match_nearest(move.apply(a.xy), b.xy, 1.0)
        flux, ratio = 0.5 * (a.flux[i] + b.flux[j]), np.log(b.flux[j] / a.flux[i])
        trend = _smooth_trend(a.xy[i], ratio, flux)
        difference = flux * (ratio - trend)
        fluxes.append(flux)
        # Half the squared difference is one sample of the variance; the sky's part is known.
        excess.append(0.5 * difference**2 - 0.5 * area * (a.sky_noise**2 + b.sky_noise**2))
        used += 1
    if used < 2:
        raise DataError("consecutive frames could not be matched, so the gain cannot be estimated")
    f, v = np.concatenate(fluxes), np.concatenate(excess)
    noise = float(np.median([s.sky_noise for s in stars]))
    return _fit_slope(f, v, noise, area, used)


def _smooth_trend(xy: FloatArray, ratio: FloatArray, flux: FloatArray) -> FloatArray:
    """Change of transparency between two frames: a plane over the image, from the brighter half of the stars."""
    scaled = (xy - xy.mean(axis=0)) / np.ptp(xy, axis=0).max()
    design = np.column_stack([np.ones(len(xy)), scaled])
    good = flux > np.median(flux)
    for _ in range(4):
        solution, *_ = np.linalg.lstsq(design[good], ratio[good], rcond=None)
        residual = ratio - design @ solution
        sigma = 1.4826 * np.median(np.abs(residual[good]))
        good = (flux > np.median(flux)) & (np.abs(residual) < 4 * sigma)
    return np.asarray(design @ solution)


def _fit_slope(
    flux: FloatArray, variance: FloatArray, noise: float, area: float, pairs: int
) -> NoiseEstimate:
    """Robust slope of variance against flux: in bins of flux the median of a chi-square variable of one degree."""
    floor = area * noise**2
    bright = flux > 0.0
    edges = np.quantile(flux[bright], np.linspace(0.3, 0.99, 15))
    centre, value, error = [], [], []
    for low, high in itertools.pairwise(edges):
        rows = (flux >= low) & (flux < high)
        if rows.sum() < 12:
            continue
        # The squared normal deviate has median 0.4549 of its mean.
        total = float(np.median(variance[rows] + floor)) / 0.4549
        centre.append(float(np.median(flux[rows])))
        value.append(total - floor)
        error.append(total * 1.7 / np.sqrt(rows.sum()))
    x, y, e = np.array(centre), np.array(value), np.array(error)
    if len(x) < 4:
        raise DataError(f"only {int(bright.sum())} pairs of star measurements, too few to estimate the gain")
    # A constant beyond the sky's noise comes from neighbours and centroids; only what grows with flux is photon noise.
    design = np.column_stack([np.ones(len(x)), x]) / e[:, None]
    covariance = np.linalg.inv(design.T @ design)
    constant, slope = covariance @ design.T @ (y / e)
    if constant < 0:
        slope = float((x * y / e**2).sum() / (x * x / e**2).sum())
    slope_error = float(np.sqrt(covariance[1, 1]))
    if slope < 2 * slope_error:
        raise DataError(
            "the scatter of the stars does not grow with their flux, so the gain cannot be estimated"
        )
    return NoiseEstimate(float(1 / slope), float(slope_error / slope**2), noise, pairs, len(flux))
