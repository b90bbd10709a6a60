"""Detection of sources on a signal-to-noise image made with the PSF."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import sep
from numpy.typing import NDArray
from scipy import fft

__all__ = ["Detection", "detect", "gaussian_kernel", "signal_to_noise"]


@dataclass(frozen=True)
class Detection:
    """Detected sources of one image, brightest first.

    Parameters
    ----------
    x, y
        Peak-region centroids in pixels (0-based), from the signal-to-noise image.
    sn
        Signal-to-noise ratio at the peak (for a point source).
    n_pixel
        Pixels of the footprint.
    blended
        Whether the footprint was divided between sources.
    labels
        Footprints, shape (ny, nx): 0 sky, k + 1 for source k.
    sn_image
        The signal-to-noise image.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    sn: NDArray[np.float64]
    n_pixel: NDArray[np.int64]
    blended: NDArray[np.bool_]
    labels: NDArray[np.int32]
    sn_image: NDArray[np.float32]


def gaussian_kernel(fwhm_pixel: float) -> NDArray[np.float64]:
    """A centred Gaussian of unit sum, side odd, for use before a PSF is known."""
    s = fwhm_pixel / 2.3548
    r = np.arange(-int(np.ceil(4 * s)), int(np.ceil(4 * s)) + 1)
    k = np.exp(-0.5 * (r[:, None] ** 2 + r[None, :] ** 2) / s**2)
    return np.asarray(k / k.sum())


def signal_to_noise(
    image: NDArray[np.floating[Any]],
    variance: NDArray[np.floating[Any]],
    exclude: NDArray[np.bool_],
    kernel: NDArray[np.float64],
) -> NDArray[np.float32]:
    """Signal-to-noise ratio of a point source at every pixel (matched filter).

    Parameters
    ----------
    image
        Background-subtracted, shape (ny, nx).
    variance
        Variance of the sky at each pixel.
    exclude
        Pixels without information; they get no weight.
    kernel
        PSF, odd side, unit sum.

    Returns
    -------
    ndarray
        ``sum(w p d) / sqrt(sum(w p²))`` with w the inverse variance.
    """
    weight = np.where(exclude, 0.0, 1.0 / np.maximum(variance, 1e-20)).astype(np.float32)
    ny, nx = image.shape
    r = kernel.shape[0] // 2
    shape = (fft.next_fast_len(ny + 2 * r, real=True), fft.next_fast_len(nx + 2 * r, real=True))

    def correlate(data: NDArray[Any], with_kernel: NDArray[Any]) -> NDArray[np.float32]:
        spectrum = fft.rfft2(data, shape)
        spectrum *= fft.rfft2(with_kernel[::-1, ::-1].astype(np.float32), shape)
        return np.asarray(fft.irfft2(spectrum, shape)[r : r + ny, r : r + nx], np.float32)

    top = correlate(weight * np.asarray(image, np.float32), kernel)
    middle = float(np.median(weight[weight > 0])) if (weight > 0).any() else 1.0
    below = correlate(weight / middle, kernel**2) * middle
    floor = 0.1 * middle * float((kernel**2).sum())
    return np.where(below > floor, top / np.sqrt(np.maximum(below, floor)), 0.0).astype(np.float32)


def detect(
    image: NDArray[np.floating[Any]],
    variance: NDArray[np.floating[Any]],
    exclude: NDArray[np.bool_],
    kernel: NDArray[np.float64],
    threshold: float = 5.0,
    min_pixel: int = 1,
    deblend_contrast: float = 0.005,
) -> Detection:
    """Detect sources.

    Parameters
    ----------
    image, variance
        Background-subtracted image and the variance of its sky.
    exclude
        Pixels without information.
    kernel
        PSF, odd side, unit sum.
    threshold
        Smallest signal-to-noise ratio.
    min_pixel
        Smallest footprint.
    deblend_contrast
        Smallest fraction of a footprint's signal that makes a source of its own.

    Returns
    -------
    Detection
        Sources, brightest first.
    """
    sn = np.ascontiguousarray(signal_to_noise(image, variance, exclude, kernel))
    sep.set_extract_pixstack(max(300000, sn.size))
    found, labels = sep.extract(
        sn, threshold, filter_kernel=None, minarea=min_pixel, deblend_nthresh=16, deblend_cont=deblend_contrast,
        clean=False, segmentation_map=True,
    )  # fmt: skip
    order = np.argsort(-found["peak"])
    rename = np.zeros(len(found) + 1, np.int32)
    rename[order + 1] = np.arange(1, len(found) + 1, dtype=np.int32)
    found = found[order]
    return Detection(
        found["x"].astype(float),
        found["y"].astype(float),
        found["peak"].astype(float),
        found["npix"].astype(np.int64),
        (found["flag"] & sep.OBJ_MERGED) != 0,
        rename[labels],
        sn,
    )
