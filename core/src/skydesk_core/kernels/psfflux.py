"""PSF photometry at given positions."""

from __future__ import annotations

import math

import numba
import numpy as np

from skydesk_core.kernels.lanczos import shift_stamp

__all__ = ["evaluate_psf", "psf_fluxes"]


@numba.njit(cache=True)
def evaluate_psf(
    cells: np.ndarray,
    node_x: np.ndarray,
    node_y: np.ndarray,
    x: float,
    y: float,
    table: np.ndarray,
    work: np.ndarray,
    out: np.ndarray,
) -> None:
    """Draw the PSF at a position into a stamp centred on the nearest pixel.

    Parameters
    ----------
    cells
        Array (node y, node x, k, k) of centred kernel images.
    node_x, node_y
        Pixel coordinates of the nodes, increasing.
    x, y
        Position in pixels.
    table
        Lanczos weights.
    work, out
        Stamps (k, k); ``out`` is filled.
    """
    ny = node_y.size
    nx = node_x.size
    i = 0
    u = 0.0
    if nx > 1:
        while i < nx - 2 and x > node_x[i + 1]:
            i += 1
        u = min(max((x - node_x[i]) / (node_x[i + 1] - node_x[i]), 0.0), 1.0)
    j = 0
    v = 0.0
    if ny > 1:
        while j < ny - 2 and y > node_y[j + 1]:
            j += 1
        v = min(max((y - node_y[j]) / (node_y[j + 1] - node_y[j]), 0.0), 1.0)
    i1 = min(i + 1, nx - 1)
    j1 = min(j + 1, ny - 1)
    k = cells.shape[2]
    for q in range(k):
        for p in range(k):
            work[q, p] = (1 - v) * ((1 - u) * cells[j, i, q, p] + u * cells[j, i1, q, p]) + v * (
                (1 - u) * cells[j1, i, q, p] + u * cells[j1, i1, q, p]
            )
    shift_stamp(work, x - math.floor(x + 0.5), y - math.floor(y + 0.5), table, out)


@numba.njit(cache=True)
def psf_fluxes(
    image: np.ndarray,
    variance: np.ndarray,
    mask: np.ndarray,
    rejected: int,
    x: np.ndarray,
    y: np.ndarray,
    cells: np.ndarray,
    node_x: np.ndarray,
    node_y: np.ndarray,
    table: np.ndarray,
    out: np.ndarray,
    bits: np.ndarray,
) -> None:
    """Fit the amplitude of the PSF at given positions by unweighted least squares.

    The weight is the PSF itself, as in Rubin's ``psfFlux``: the estimate does not depend on the
    brightness of the source. The error follows from the variance plane.

    Parameters
    ----------
    image, variance
        Planes (y, x).
    mask
        Packed mask.
    rejected
        Packed value of planes whose pixels take no part in the fit.
    x, y
        Positions in pixels.
    cells, node_x, node_y, table
        The PSF, see `evaluate_psf`.
    out
        Array (n, 6), filled: flux, its error, chi squared, number of pixels, share of the PSF's squared
        weight that was usable, effective area in pixels.
    bits
        Array (n, 2) of int32, filled: union of the mask over the PSF's core footprint and over 3×3 pixels.
    """
    ny, nx = image.shape
    k = cells.shape[2]
    half = k // 2
    work = np.empty((k, k))
    stamp = np.empty((k, k))
    for n in range(x.size):
        for c in range(6):
            out[n, c] = np.nan
        bits[n, 0] = 0
        bits[n, 1] = 0
        if not (x[n] > -0.5 and y[n] > -0.5 and x[n] < nx - 0.5 and y[n] < ny - 0.5):
            continue
        evaluate_psf(cells, node_x, node_y, x[n], y[n], table, work, stamp)
        cx = int(math.floor(x[n] + 0.5))
        cy = int(math.floor(y[n] + 0.5))
        peak = 0.0
        for q in range(k):
            for p in range(k):
                peak = max(peak, stamp[q, p])
        numerator = 0.0
        denominator = 0.0
        noise = 0.0
        whole = 0.0
        count = 0
        total = 0.0
        for q in range(k):
            yy = cy - half + q
            for p in range(k):
                w = stamp[q, p]
                whole += w * w
                total += w
                xx = cx - half + p
                if yy < 0 or yy >= ny or xx < 0 or xx >= nx:
                    continue
                m = mask[yy, xx]
                if w > 0.02 * peak:
                    bits[n, 0] |= m
                if abs(q - half) <= 1 and abs(p - half) <= 1:
                    bits[n, 1] |= m
                if m & rejected or not math.isfinite(image[yy, xx]) or not math.isfinite(variance[yy, xx]):
                    continue
                numerator += w * image[yy, xx]
                denominator += w * w
                noise += w * w * variance[yy, xx]
                count += 1
        out[n, 3] = count
        out[n, 4] = denominator / whole
        out[n, 5] = total * total / whole
        if denominator < 0.3 * whole:
            continue
        flux = numerator / denominator
        out[n, 0] = flux
        out[n, 1] = math.sqrt(noise) / denominator
        chi2 = 0.0
        for q in range(k):
            yy = cy - half + q
            for p in range(k):
                xx = cx - half + p
                if yy < 0 or yy >= ny or xx < 0 or xx >= nx:
                    continue
                m = mask[yy, xx]
                if m & rejected or not math.isfinite(image[yy, xx]) or not variance[yy, xx] > 0:
                    continue
                r = image[yy, xx] - flux * stamp[q, p]
                chi2 += r * r / variance[yy, xx]
        out[n, 2] = chi2
