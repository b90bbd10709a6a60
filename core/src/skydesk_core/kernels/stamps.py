"""Drawing of point sources into images."""

from __future__ import annotations

import math

import numba
import numpy as np

from skydesk_core.kernels.psfflux import evaluate_psf

__all__ = ["add_stars"]


@numba.njit(cache=True)
def add_stars(
    image: np.ndarray,
    cells: np.ndarray,
    node_x: np.ndarray,
    node_y: np.ndarray,
    table: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    flux: np.ndarray,
) -> None:
    """Add point sources to an image in place.

    Parameters
    ----------
    image
        Pixel values (y, x).
    cells, node_x, node_y, table
        The PSF, see `skydesk_core.kernels.psfflux.evaluate_psf`.
    x, y
        Positions in pixels.
    flux
        Fluxes; negative ones subtract.
    """
    ny, nx = image.shape
    k = cells.shape[2]
    half = k // 2
    work = np.empty((k, k))
    stamp = np.empty((k, k))
    for n in range(x.size):
        if flux[n] == 0.0 or not math.isfinite(flux[n]):
            continue
        evaluate_psf(cells, node_x, node_y, x[n], y[n], table, work, stamp)
        cx = int(math.floor(x[n] + 0.5))
        cy = int(math.floor(y[n] + 0.5))
        for q in range(k):
            j = cy - half + q
            if j < 0 or j >= ny:
                continue
            for p in range(k):
                i = cx - half + p
                if i >= 0 and i < nx:
                    image[j, i] += flux[n] * stamp[q, p]
