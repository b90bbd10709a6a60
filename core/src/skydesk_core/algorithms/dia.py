"""Detection and measurement of sources on difference images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import sep
from scipy.signal import oaconvolve
from scipy.spatial import cKDTree

from skydesk_core.algorithms.planes import BAD, CR, INTRP, NO_DATA, SAT
from skydesk_core.algorithms.psfgrid import PsfFluxes, PsfGrid
from skydesk_core.algorithms.warp import Planes

__all__ = ["DiaDetections", "DiaMeasurement", "detect_dia", "match_significance", "measure_dia"]

_UNUSABLE = NO_DATA | BAD
_UNTRUSTED = NO_DATA | BAD | CR | SAT | INTRP


@dataclass
class DiaDetections:
    """Peaks of either sign on a difference image.

    Parameters
    ----------
    x, y
        Positions in pixels.
    significance
        Signed significance of the peak of the matched filter.
    dipole
        True where a peak of the other sign and similar height lies next to it.
    """

    x: np.ndarray
    y: np.ndarray
    significance: np.ndarray
    dipole: np.ndarray


@dataclass
class DiaMeasurement:
    """What is measured of every detection.

    Parameters
    ----------
    detections
        The detections, those below the threshold left out.
    psf
        PSF fluxes on the difference image and mask bits.
    position_error_px
        Error of each coordinate of the centroid in pixels.
    aperture, aperture_error, aperture_truncated
        Flux within 12 pixels, its error, and whether the aperture is incomplete.
    """

    detections: DiaDetections
    psf: PsfFluxes
    position_error_px: np.ndarray
    aperture: np.ndarray
    aperture_error: np.ndarray
    aperture_truncated: np.ndarray


def match_significance(
    image: np.ndarray, variance: np.ndarray, usable: np.ndarray, kernel: np.ndarray
) -> np.ndarray:
    """Filter an image with the PSF and divide by the noise of the result.

    Parameters
    ----------
    image, variance
        Planes (y, x).
    usable
        Array (y, x) of bool.
    kernel
        PSF (k, k).

    Returns
    -------
    numpy.ndarray
        Significance of a point source at each pixel; 0 where nothing is usable.
    """
    good = usable & np.isfinite(image) & np.isfinite(variance) & (variance > 0)
    weight = np.where(good, 1.0 / np.where(good, variance, 1.0), 0.0)
    flipped = kernel[::-1, ::-1]
    signal = oaconvolve(np.where(good, image, 0.0) * weight, flipped, mode="same")
    power = oaconvolve(weight, flipped**2, mode="same")
    floor = 1e-3 * float(power.max()) if power.size else 0.0
    return np.where(power > floor, signal / np.sqrt(np.maximum(power, max(floor, 1e-300))), 0.0)


def _peaks(significance: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Local maxima above the threshold, refined by parabolas."""
    s = significance
    middle = s[1:-1, 1:-1]
    peak = middle > threshold
    for j in (0, 1, 2):
        for i in (0, 1, 2):
            if (j, i) != (1, 1):
                neighbour = s[j : j + middle.shape[0], i : i + middle.shape[1]]
                peak &= middle >= neighbour if (j, i) < (1, 1) else middle > neighbour
    rows, columns = np.nonzero(peak)
    rows, columns = rows + 1, columns + 1
    here = s[rows, columns]
    left, right = s[rows, columns - 1], s[rows, columns + 1]
    below, above = s[rows - 1, columns], s[rows + 1, columns]
    dx = 0.5 * (right - left) / np.maximum(2 * here - left - right, 1e-12)
    dy = 0.5 * (above - below) / np.maximum(2 * here - below - above, 1e-12)
    return columns + np.clip(dx, -0.6, 0.6), rows + np.clip(dy, -0.6, 0.6), here


def _suppress(x: np.ndarray, y: np.ndarray, height: np.ndarray, radius_px: float) -> np.ndarray:
    """Indices of the peaks that have no higher one nearer than the radius."""
    keep = np.ones(len(x), dtype=bool)
    if len(x) > 1:
        pairs = cKDTree(np.column_stack([x, y])).query_pairs(radius_px, output_type="ndarray")
        for a, b in pairs:
            keep[a if height[a] < height[b] else b] = False
    return np.flatnonzero(keep)


def detect_dia(
    planes: Planes,
    psf: PsfGrid,
    threshold: float = 5.0,
    template: np.ndarray | None = None,
    model_error: float = 0.01,
    dipole_ratio: float = 3.0,
) -> DiaDetections:
    """Find point sources of either sign on a difference image.

    Parameters
    ----------
    planes
        The difference image.
    psf
        PSF of a source on it.
    threshold
        Significance from which a peak counts.
    template
        The matched template; where it is bright, ``model_error`` of its value is added to the noise,
        because the kernel fit is not perfect there.
    model_error
        Relative error of the matched template.
    dipole_ratio
        Two peaks of opposite sign within two PSF widths are a dipole when their heights differ by less
        than this factor; otherwise the lower one is taken as a residual of the higher and dropped.
    """
    usable = (planes.mask & (_UNUSABLE | SAT)) == 0
    variance = planes.variance
    if template is not None and model_error > 0:
        variance = variance + (model_error * np.where(np.isfinite(template), template, 0.0)) ** 2
    ny, nx = planes.image.shape
    kernel = psf.kernel(nx / 2, ny / 2)
    significance = match_significance(planes.image, variance, usable, kernel)
    found = [(_peaks(sign * significance, threshold), sign) for sign in (1.0, -1.0)]
    x = np.concatenate([p[0] for p, _ in found])
    y = np.concatenate([p[1] for p, _ in found])
    height = np.concatenate([p[2] for p, _ in found])
    sign = np.concatenate([np.full(len(p[0]), s) for p, s in found])
    # The significance image is the PSF's autocorrelation around a source: its noise makes double peaks.
    same = np.concatenate(
        [
            np.flatnonzero(sign == s)[
                _suppress(x[sign == s], y[sign == s], height[sign == s], 1.5 * psf.sigma)
            ]
            for s in (1.0, -1.0)
        ]
    )
    x, y, height, sign = x[same], y[same], height[same], sign[same]
    dipole = np.zeros(len(x), dtype=bool)
    drop = np.zeros(len(x), dtype=bool)
    if len(x) > 1:
        pairs = cKDTree(np.column_stack([x, y])).query_pairs(5.0 * psf.sigma, output_type="ndarray")
        for a, b in pairs:
            if sign[a] == sign[b]:
                continue
            high, low = (a, b) if height[a] >= height[b] else (b, a)
            drop[low] = True
            if height[high] < dipole_ratio * height[low]:
                dipole[high] = True
    keep = ~drop
    return DiaDetections(x[keep], y[keep], (sign * height)[keep], dipole[keep])


def measure_dia(
    planes: Planes,
    psf: PsfGrid,
    detections: DiaDetections,
    threshold: float = 5.0,
    bad_centre: int = 0,
    bad_footprint: int = 0,
) -> DiaMeasurement:
    """Measure detections and leave out those that are not significant or lie on spoilt pixels.

    Parameters
    ----------
    planes
        The difference image.
    psf
        PSF of a source on it.
    detections
        Where to measure.
    threshold
        Least ratio of PSF flux to its error.
    bad_centre
        Packed planes; a detection with any of them within its central 3×3 pixels is left out.
    bad_footprint
        The same for the pixels where the PSF exceeds 2 % of its peak.
    """
    fluxes = psf.fluxes(planes.image, planes.variance, planes.mask, _UNTRUSTED, detections.x, detections.y)
    with np.errstate(invalid="ignore"):
        significant = np.abs(fluxes.flux) >= threshold * fluxes.error
    spoilt = ((fluxes.centre_bits & bad_centre) | (fluxes.bits & bad_footprint)) != 0
    chosen = np.flatnonzero(significant & ~spoilt)
    x, y = detections.x[chosen], detections.y[chosen]
    fluxes = PsfFluxes(*(getattr(fluxes, name)[chosen] for name in PsfFluxes.__dataclass_fields__))
    image = np.where(np.isfinite(planes.image), planes.image, 0.0).astype(np.float32)
    variance = np.where(np.isfinite(planes.variance), planes.variance, 0.0).astype(np.float32)
    mask = (planes.mask & NO_DATA) != 0
    if len(x):
        flux, error, flag = sep.sum_circle(image, x, y, 12.0, var=variance, mask=mask, subpix=5)
    else:
        flux, error, flag = np.empty(0), np.empty(0), np.empty(0, dtype=np.int16)
    with np.errstate(invalid="ignore", divide="ignore"):
        # Cramér–Rao bound of the position of a Gaussian source in white noise.
        position = np.sqrt(2.0) * psf.sigma / np.abs(fluxes.flux / fluxes.error)
    return DiaMeasurement(
        DiaDetections(x, y, detections.significance[chosen], detections.dipole[chosen]),
        fluxes,
        position,
        flux,
        error,
        (flag & (sep.APER_TRUNC | sep.APER_HASMASKED | sep.APER_ALLMASKED)) != 0,
    )
