"""Adaptive moments of sources and of the PSF, measured alike."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skydesk_core.algorithms.psf import PixelPsf
from skydesk_core.kernels.moments import adaptive_moments

__all__ = ["measure_psf_shapes", "measure_shapes"]

FloatArray = NDArray[np.float64]


def measure_shapes(
    image: NDArray[np.float32],
    bits: NDArray[np.int32],
    rejected: int,
    x: FloatArray,
    y: FloatArray,
    sigma_pixel: float,
    radius_pixel: int = 25,
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Measure adaptive moments about fixed positions.

    Parameters
    ----------
    image
        Background-subtracted image.
    bits, rejected
        Mask and the bits whose pixels are left out.
    x, y
        Positions in pixels.
    sigma_pixel
        First guess of the width.
    radius_pixel
        Half side of the stamps.

    Returns
    -------
    tuple of ndarray
        Ixx, Iyy, Ixy in pixel² and the flux of the matched Gaussian, shape (n, 4), NaN where it failed; and whether it failed.
    """
    out = np.empty((len(x), 5))
    adaptive_moments(
        np.ascontiguousarray(image, np.float32), bits, rejected,
        np.ascontiguousarray(x, float), np.ascontiguousarray(y, float), float(sigma_pixel), int(radius_pixel), out,
    )  # fmt: skip
    return out[:, :4], out[:, 4] != 0


def measure_psf_shapes(psf: PixelPsf, shape: tuple[int, ...], x: FloatArray, y: FloatArray) -> FloatArray:
    """Adaptive moments of the PSF at positions, from a polynomial through a grid of nodes.

    Parameters
    ----------
    psf
        The model.
    shape
        Rows and columns of the image, which the nodes cover.
    x, y
        Positions in pixels.

    Returns
    -------
    ndarray
        Ixx, Iyy, Ixy in pixel² and the flux that the matched Gaussian finds in a PSF of unit flux, shape (n, 4).
    """
    grid = np.linspace(0.05, 0.95, 4)
    nodes = np.array([(gx * (shape[1] - 1), gy * (shape[0] - 1)) for gy in grid for gx in grid])
    middle = np.array([psf.size // 2], float)
    clear = np.zeros((psf.size, psf.size), np.int32)
    rows: list[Any] = []
    for (at_x, at_y), kernel in zip(nodes, psf.images(nodes[:, 0], nodes[:, 1]), strict=True):
        start = float(np.sqrt(1 / (4 * np.pi * (kernel**2).sum())))
        moments, failed = measure_shapes(
            np.asarray(kernel, np.float32), clear, 0, middle, middle, start, psf.size // 2
        )
        if failed[0]:
            # A core narrower than a pixel has no matching Gaussian; the one of equal area measures its flux as well.
            ixx, iyy, ixy = psf.second_moments(float(at_x), float(at_y))
            flux = 4 * np.pi * np.sqrt(ixx * iyy - ixy * ixy) * float((kernel**2).sum())
            rows.append(np.array([ixx, iyy, ixy, flux]))
        else:
            rows.append(moments[0])
    fit, *_ = np.linalg.lstsq(psf.basis(nodes[:, 0], nodes[:, 1]), np.array(rows), rcond=None)
    return np.asarray(psf.basis(x, y) @ fit)
