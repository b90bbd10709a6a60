"""Measurement of detected sources on one image: centroids, PSF and aperture fluxes, moments, flags."""

from __future__ import annotations

from typing import Any

import numpy as np
import sep
from numpy.typing import NDArray

from skydesk_core.algorithms.detection import Detection
from skydesk_core.algorithms.planes import BIT
from skydesk_core.algorithms.psf import PixelPsf
from skydesk_core.algorithms.psfphot import measure_psf_flux
from skydesk_core.algorithms.shapes import measure_psf_shapes, measure_shapes

__all__ = ["APERTURES_PIXEL", "centroid", "measure_sources"]

FloatArray = NDArray[np.float64]

APERTURES_PIXEL = (3, 6, 9, 12, 17)
"""Radii of the circular apertures; the SDM's names carry them."""

_POINT_LIKE = 0.96
"""Ratio of PSF flux to the flux of the adaptive Gaussian (scaled to 1 for the PSF) below which a source is extended.

On the simulated survey no star of S/N > 50 lies below it and 95 % of the galaxies do."""

_FLAG_PLANES = {
    "bad": "BAD", "cr": "CR", "edge": "EDGE", "interpolated": "INTRP",
    "nodata": "NO_DATA", "saturated": "SAT", "suspect": "SUSPECT",
}  # fmt: skip
_CENTRE_FLAGS = ("cr", "interpolated", "saturated", "suspect")
_LOST = BIT["NO_DATA"] | BIT["CR"] | BIT["BAD"]


def centroid(
    image: NDArray[np.float32], bad: NDArray[np.bool_], x: FloatArray, y: FloatArray, sigma_pixel: float
) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    """Windowed centroids (the window is a Gaussian of the PSF's width).

    Parameters
    ----------
    image
        Background-subtracted.
    bad
        Pixels left out.
    x, y
        Starting positions.
    sigma_pixel
        Width of the PSF.

    Returns
    -------
    tuple of ndarray
        x, y and whether the centroid ran away, in which case the start is returned.
    """
    cx, cy, _ = sep.winpos(image, x, y, np.full(len(x), sigma_pixel), mask=bad)
    lost = ~(np.isfinite(cx) & np.isfinite(cy)) | (np.hypot(cx - x, cy - y) > max(2.0 * sigma_pixel, 1.5))
    return np.where(lost, x, cx), np.where(lost, y, cy), lost


def measure_sources(
    image: NDArray[np.float32],
    variance: NDArray[np.float32],
    bits: NDArray[np.int32],
    psf: PixelPsf,
    detection: Detection,
    full: bool = True,
) -> dict[str, NDArray[Any]]:
    """Measure sources in the units of the image.

    Parameters
    ----------
    image, variance
        Background-subtracted image whose variance includes the photon noise of sources.
    bits
        Mask.
    psf
        PSF model.
    detection
        Sources.
    full
        Whether apertures, moments and extendedness are measured too.

    Returns
    -------
    dict
        Columns under the names of the SDM table Source, fluxes in the image's
        unit, positions and sizes in pixels.
    """
    ny, nx = image.shape
    bad = (bits & _LOST) != 0
    sigma = psf.sigma_pixel((nx - 1) / 2, (ny - 1) / 2)
    image = np.ascontiguousarray(image, np.float32)
    x, y, lost = centroid(image, bad, detection.x, detection.y, sigma)
    saturated = (bits & BIT["SAT"]) != 0
    result = measure_psf_flux(image, variance, bad | saturated, psf, x, y)
    # A star whose core is saturated still has wings; nothing is left of it only where these are lost too.
    columns: dict[str, NDArray[Any]] = {
        "x": x, "y": y, "xErr": result.x_err.astype(np.float32), "yErr": result.y_err.astype(np.float32),
        "psfFlux": result.flux, "psfFluxErr": result.flux_err, "psfFlux_flag": result.failed | result.edge,
        "psfFlux_flag_edge": result.edge, "psfFlux_flag_noGoodPixels": result.failed,
        "psfFlux_area": result.area_pixel.astype(np.float32), "centroid_flag": lost,
        "footprintArea_value": detection.n_pixel.astype(np.int32),
    }  # fmt: skip
    columns |= _flags(bits, detection, x, y)
    if full:
        columns |= _apertures(image, variance, bad, x, y)
        columns |= _shapes(image, variance, bits, psf, x, y, result.flux, result.failed, sigma)
        ix, iy = _pixel(x, nx), _pixel(y, ny)
        columns["variance_value"] = variance[iy, ix].astype(float)
    return columns


def _pixel(position: FloatArray, size: int) -> NDArray[np.intp]:
    return np.clip(np.floor(position + 0.5).astype(np.intp), 0, size - 1)


def _flags(
    bits: NDArray[np.int32], detection: Detection, x: FloatArray, y: FloatArray
) -> dict[str, NDArray[np.bool_]]:
    ny, nx = bits.shape
    n = len(x)
    inside = detection.labels > 0
    owner = detection.labels[inside] - 1
    values = bits[inside]
    ix, iy = _pixel(x, nx), _pixel(y, ny)
    centre = np.zeros(n, np.int32)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            centre |= bits[np.clip(iy + dy, 0, ny - 1), np.clip(ix + dx, 0, nx - 1)]
    flags: dict[str, NDArray[np.bool_]] = {}
    for name, plane in _FLAG_PLANES.items():
        hit = np.zeros(n, bool)
        hit[owner[(values & BIT[plane]) != 0]] = True
        at_centre = (centre & BIT[plane]) != 0
        flags[f"pixelFlags_{name}"] = hit | at_centre
        if name in _CENTRE_FLAGS:
            flags[f"pixelFlags_{name}Center"] = at_centre
    flags["pixelFlags_offimage"] = (x < -0.5) | (y < -0.5) | (x > nx - 0.5) | (y > ny - 0.5)
    return flags


def _apertures(
    image: NDArray[np.float32],
    variance: NDArray[np.float32],
    bad: NDArray[np.bool_],
    x: FloatArray,
    y: FloatArray,
) -> dict[str, NDArray[Any]]:
    columns: dict[str, NDArray[Any]] = {}
    ny, nx = image.shape
    for radius in APERTURES_PIXEL:
        flux, error, flag = sep.sum_circle(image, x, y, float(radius), var=variance, mask=bad, subpix=5)
        truncated = (x < radius) | (y < radius) | (x > nx - 1 - radius) | (y > ny - 1 - radius)
        name = f"ap{radius:02d}Flux"
        columns[name], columns[f"{name}Err"] = flux.astype(float), error.astype(float)
        columns[f"{name}_flag"] = truncated | ((flag & sep.APER_ALLMASKED) != 0)
    columns["calibFlux"], columns["calibFluxErr"] = columns["ap12Flux"], columns["ap12FluxErr"]
    return columns


def _shapes(
    image: NDArray[np.float32],
    variance: NDArray[np.float32],
    bits: NDArray[np.int32],
    psf: PixelPsf,
    x: FloatArray,
    y: FloatArray,
    psf_flux: FloatArray,
    psf_failed: NDArray[np.bool_],
    sigma: float,
) -> dict[str, NDArray[Any]]:
    moments, failed = measure_shapes(image, bits, _LOST, x, y, sigma)
    of_psf = measure_psf_shapes(psf, image.shape, x, y)
    gaussian = np.where(failed, np.nan, moments[:, 3] / of_psf[:, 3])
    area = 4 * np.pi * np.sqrt(np.maximum(moments[:, 0] * moments[:, 1] - moments[:, 2] ** 2, 1e-9))
    ny, nx = image.shape
    # The sky's variance near a source: the smallest value of the four corners of its box.
    reach = int(np.ceil(4 * sigma))
    corners = [
        variance[_pixel(y + sy * reach, ny), _pixel(x + sx * reach, nx)] for sy in (-1, 1) for sx in (-1, 1)
    ]
    sky_variance = np.min(corners, axis=0).astype(float)
    centre_variance = variance[_pixel(y, ny), _pixel(x, nx)].astype(float)
    photon = np.maximum(centre_variance - sky_variance, 0) * area / 2
    error = np.where(failed, np.nan, np.sqrt(sky_variance * area + photon) / of_psf[:, 3])
    blank = np.where(failed, np.nan, 1.0)
    with np.errstate(invalid="ignore"):
        extended = np.where(psf_flux / gaussian < _POINT_LIKE, 1.0, 0.0)
    unknown = failed | psf_failed | ~np.isfinite(gaussian)
    return {
        "ixx": moments[:, 0] * blank, "iyy": moments[:, 1] * blank, "ixy": moments[:, 2] * blank,
        "ixxPSF": of_psf[:, 0], "iyyPSF": of_psf[:, 1], "ixyPSF": of_psf[:, 2],
        "gaussianFlux": gaussian, "gaussianFluxErr": error, "gaussianFlux_flag": failed,
        "extendedness": np.where(unknown, np.nan, extended), "extendedness_flag": unknown,
        "hsmShapeRegauss_flag": failed,
    }  # fmt: skip
