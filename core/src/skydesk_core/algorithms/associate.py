"""Association of detections of many visits to objects, and the statistics of their light curves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

__all__ = [
    "Association",
    "LightCurveStatistics",
    "associate_detections",
    "light_curve_statistics",
    "to_vectors",
]


@dataclass(frozen=True)
class Association:
    """Which object each detection belongs to.

    Parameters
    ----------
    index
        Number of the object of each detection.
    ra_deg, dec_deg
        Mean position of each object, ICRS.
    """

    index: np.ndarray
    ra_deg: np.ndarray
    dec_deg: np.ndarray


@dataclass(frozen=True)
class LightCurveStatistics:
    """Statistics of one light curve, named as in the SDM's DiaObject.

    Parameters
    ----------
    mean, mean_error
        Weighted mean and its standard error.
    sigma
        Standard deviation (n - 1), NaN for one point.
    count
        Number of points.
    minimum, maximum
        Extremes.
    mad
        Median absolute deviation, not scaled.
    error_mean
        Mean of the errors.
    chi2
        Chi squared around the weighted mean.
    percentiles
        5, 25, 50, 75 and 95 %.
    skew
        Skewness, NaN without scatter.
    slope, intercept
        Weighted straight line against time, in flux per day and flux at time zero; NaN for one epoch.
    max_slope
        Largest rise per day between successive points; NaN for one epoch.
    stetson_j
        Stetson's J index of a single band.
    """

    mean: float
    mean_error: float
    sigma: float
    count: int
    minimum: float
    maximum: float
    mad: float
    error_mean: float
    chi2: float
    percentiles: tuple[float, float, float, float, float]
    skew: float
    slope: float
    intercept: float
    max_slope: float
    stetson_j: float


def to_vectors(ra_deg: np.ndarray, dec_deg: np.ndarray) -> np.ndarray:
    """Return unit vectors (n, 3) of ICRS positions in degrees."""
    ra, dec = np.radians(ra_deg), np.radians(dec_deg)
    return np.column_stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])


def associate_detections(
    ra_deg: np.ndarray,
    dec_deg: np.ndarray,
    epoch: np.ndarray,
    weight: np.ndarray,
    radius_arcsec: float = 1.0,
) -> Association:
    """Associate detections with objects, epoch after epoch.

    A detection goes to the nearest object within the radius that has none of that epoch yet; the others
    begin new objects. An object's position is the weighted mean of its detections.

    Parameters
    ----------
    ra_deg, dec_deg
        Positions, ICRS.
    epoch
        Key of each detection's epoch; epochs are taken in ascending order.
    weight
        Weight of each detection in the mean position.
    radius_arcsec
        Largest distance.
    """
    vectors = to_vectors(np.asarray(ra_deg, float), np.asarray(dec_deg, float))
    limit = 2 * np.sin(np.radians(radius_arcsec / 3600.0) / 2)
    index = np.full(len(vectors), -1, dtype=np.int64)
    sums = np.empty((0, 3))
    for key in np.unique(epoch):
        chosen = np.flatnonzero(epoch == key)
        taken: set[int] = set()
        if len(sums):
            centres = sums / np.linalg.norm(sums, axis=1, keepdims=True)
            near = cKDTree(centres).query(vectors[chosen], k=min(4, len(centres)), distance_upper_bound=limit)
            distance, which = (np.reshape(a, (len(chosen), -1)) for a in near)
            rows, ranks = np.nonzero(np.isfinite(distance))
            for row, rank in sorted(zip(rows, ranks, strict=True), key=lambda rc: distance[rc[0], rc[1]]):
                target = int(which[row, rank])
                if index[chosen[row]] < 0 and target not in taken:
                    index[chosen[row]] = target
                    taken.add(target)
        new = chosen[index[chosen] < 0]
        index[new] = len(sums) + np.arange(len(new))
        sums = np.concatenate([sums, np.zeros((len(new), 3))])
        np.add.at(sums, index[chosen], vectors[chosen] * weight[chosen][:, None])
    if not len(sums):
        return Association(index, np.empty(0), np.empty(0))
    centres = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    ra = np.degrees(np.arctan2(centres[:, 1], centres[:, 0])) % 360.0
    return Association(index, ra, np.degrees(np.arcsin(np.clip(centres[:, 2], -1, 1))))


def light_curve_statistics(
    time_mjd: np.ndarray, flux: np.ndarray, error: np.ndarray
) -> LightCurveStatistics | None:
    """Compute the statistics of one light curve.

    Parameters
    ----------
    time_mjd
        Times in days.
    flux, error
        Fluxes and their errors in one unit.

    Returns
    -------
    LightCurveStatistics or None
        None if no point is usable.
    """
    good = np.isfinite(flux) & np.isfinite(error) & (error > 0)
    if not good.any():
        return None
    order = np.argsort(time_mjd[good], kind="stable")
    t, f, e = (np.asarray(a, float)[good][order] for a in (time_mjd, flux, error))
    w = 1 / e**2
    n = len(f)
    mean = float(np.sum(w * f) / w.sum())
    sigma = float(np.std(f, ddof=1)) if n > 1 else float("nan")
    residual = (f - mean) / e
    slope = intercept = max_slope = skew = float("nan")
    if n > 1 and t[-1] > t[0]:
        tm = float(np.sum(w * t) / w.sum())
        slope = float(np.sum(w * (t - tm) * (f - mean)) / np.sum(w * (t - tm) ** 2))
        intercept = mean - slope * tm
        steps = np.diff(t)
        if (steps > 0).any():
            max_slope = float(np.max(np.diff(f)[steps > 0] / steps[steps > 0]))
    if n > 2 and sigma > 0:
        skew = float(np.mean((f - f.mean()) ** 3) / np.std(f) ** 3)
    delta = np.sqrt(n / (n - 1)) * residual if n > 1 else residual
    products = delta**2 - 1
    p = np.percentile(f, [5, 25, 50, 75, 95])
    return LightCurveStatistics(
        mean,
        float(1 / np.sqrt(w.sum())),
        sigma,
        n,
        float(f.min()),
        float(f.max()),
        float(np.median(np.abs(f - np.median(f)))),
        float(e.mean()),
        float(np.sum(residual**2)),
        (float(p[0]), float(p[1]), float(p[2]), float(p[3]), float(p[4])),
        skew,
        slope,
        intercept,
        max_slope,
        float(np.mean(np.sign(products) * np.sqrt(np.abs(products)))),
    )
