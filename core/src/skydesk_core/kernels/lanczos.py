"""Lanczos resampling of images with variance and mask, and of PSF stamps."""

from __future__ import annotations

import math

import numba
import numpy as np

__all__ = ["lanczos_table", "resample_affine", "shift_stamp", "warp_lanczos3"]

_PHASES = 2048


def lanczos_table(order: int, phases: int = _PHASES) -> np.ndarray:
    """Tabulate normalised Lanczos weights over the sub-pixel phase.

    Parameters
    ----------
    order
        Half width of the kernel in pixels.
    phases
        Number of steps between two pixels.

    Returns
    -------
    numpy.ndarray
        Array (phases + 1, 2 * order); row ``p`` holds the weights of the pixels
        ``floor(x) - order + 1 … floor(x) + order`` for the fraction ``p / phases``.
    """
    fraction = np.arange(phases + 1) / phases
    distance = fraction[:, None] - np.arange(-order + 1, order + 1)[None, :]
    weights = np.where(np.abs(distance) < order, np.sinc(distance) * np.sinc(distance / order), 0.0)
    return weights / weights.sum(axis=1, keepdims=True)


@numba.njit(cache=True)
def _phase_weights(table: np.ndarray, fraction: float, out: np.ndarray) -> None:
    phases = table.shape[0] - 1
    position = fraction * phases
    low = int(position)
    if low >= phases:
        low = phases - 1
    share = position - low
    for i in range(out.size):
        out[i] = (1.0 - share) * table[low, i] + share * table[low + 1, i]


@numba.njit(cache=True)
def warp_lanczos3(
    image: np.ndarray,
    variance: np.ndarray,
    mask: np.ndarray,
    grid_x: np.ndarray,
    grid_y: np.ndarray,
    step: int,
    table: np.ndarray,
    no_data: int,
    edge: int,
    out: np.ndarray,
    out_variance: np.ndarray,
    out_mask: np.ndarray,
) -> None:
    """Resample an image with its variance and mask.

    Parameters
    ----------
    image, variance
        Input planes (y, x).
    mask
        Packed mask of the input; pixels with ``no_data`` take no part.
    grid_x, grid_y
        Input coordinates in pixels at the nodes of the output, ``step`` pixels apart; bilinear in between.
    step
        Distance of the nodes in output pixels.
    table
        Weights from `lanczos_table` of order 3.
    no_data, edge
        Packed values of the planes NO_DATA and EDGE.
    out, out_variance, out_mask
        Filled in place. Where the input does not reach: NaN, infinity, NO_DATA.
    """
    ny, nx = out.shape
    iny, inx = image.shape
    wx = np.empty(6)
    wy = np.empty(6)
    for j in range(ny):
        gj = j // step
        v = (j - gj * step) / step
        for i in range(nx):
            gi = i // step
            u = (i - gi * step) / step
            x = (1 - v) * ((1 - u) * grid_x[gj, gi] + u * grid_x[gj, gi + 1]) + v * (
                (1 - u) * grid_x[gj + 1, gi] + u * grid_x[gj + 1, gi + 1]
            )
            y = (1 - v) * ((1 - u) * grid_y[gj, gi] + u * grid_y[gj, gi + 1]) + v * (
                (1 - u) * grid_y[gj + 1, gi] + u * grid_y[gj + 1, gi + 1]
            )
            out[j, i] = np.nan
            out_variance[j, i] = np.inf
            out_mask[j, i] = no_data
            if not (x > -0.5 and y > -0.5 and x < inx - 0.5 and y < iny - 0.5):
                continue
            near_x = int(math.floor(x + 0.5))
            near_y = int(math.floor(y + 0.5))
            if mask[near_y, near_x] & no_data:
                continue
            x0 = int(math.floor(x))
            y0 = int(math.floor(y))
            _phase_weights(table, x - x0, wx)
            _phase_weights(table, y - y0, wy)
            total = 0.0
            value = 0.0
            noise = 0.0
            bits = 0
            complete = True
            for b in range(6):
                yy = y0 - 2 + b
                if yy < 0 or yy >= iny:
                    complete = False
                    continue
                for a in range(6):
                    xx = x0 - 2 + a
                    if xx < 0 or xx >= inx:
                        complete = False
                        continue
                    m = mask[yy, xx]
                    if m & no_data:
                        complete = False
                        continue
                    w = wx[a] * wy[b]
                    if w == 0.0:
                        continue
                    total += w
                    value += w * image[yy, xx]
                    noise += w * w * variance[yy, xx]
                    bits |= m
            if not complete:
                bits |= edge
            out[j, i] = value / total
            out_variance[j, i] = noise / (total * total)
            out_mask[j, i] = bits


@numba.njit(cache=True)
def shift_stamp(stamp: np.ndarray, dx: float, dy: float, table: np.ndarray, out: np.ndarray) -> None:
    """Shift a stamp by a fraction of a pixel with a separable Lanczos kernel.

    Parameters
    ----------
    stamp
        Square array centred on its middle pixel; zero outside.
    dx, dy
        Shift in pixels towards larger x and y, between -0.5 and 0.5.
    table
        Weights from `lanczos_table`.
    out
        Array of the same shape, filled in place.
    """
    n = stamp.shape[0]
    taps = table.shape[1]
    order = taps // 2
    w = np.empty(taps)
    half = np.zeros((n, n))
    shift_x = int(math.floor(-dx))
    _phase_weights(table, -dx - shift_x, w)
    for j in range(n):
        for i in range(n):
            acc = 0.0
            for a in range(taps):
                k = i + shift_x - order + 1 + a
                if k >= 0 and k < n:
                    acc += w[a] * stamp[j, k]
            half[j, i] = acc
    shift_y = int(math.floor(-dy))
    _phase_weights(table, -dy - shift_y, w)
    for j in range(n):
        for i in range(n):
            acc = 0.0
            for a in range(taps):
                k = j + shift_y - order + 1 + a
                if k >= 0 and k < n:
                    acc += w[a] * half[k, i]
            out[j, i] = acc


@numba.njit(cache=True)
def resample_affine(
    stamp: np.ndarray, a: float, b: float, c: float, d: float, table: np.ndarray, out: np.ndarray
) -> None:
    """Resample a centred stamp through a linear map, normalised to a sum of one.

    Parameters
    ----------
    stamp
        Square array, centred on its middle pixel.
    a, b, c, d
        Output offset ``(x, y)`` lies at ``(a x + b y, c x + d y)`` of the stamp.
    table
        Weights from `lanczos_table`.
    out
        Square array with an odd side, filled in place.
    """
    n = stamp.shape[0]
    m = out.shape[0]
    taps = table.shape[1]
    order = taps // 2
    wx = np.empty(taps)
    wy = np.empty(taps)
    total = 0.0
    for j in range(m):
        for i in range(m):
            ox = i - m // 2
            oy = j - m // 2
            x = a * ox + b * oy + n // 2
            y = c * ox + d * oy + n // 2
            x0 = int(math.floor(x))
            y0 = int(math.floor(y))
            _phase_weights(table, x - x0, wx)
            _phase_weights(table, y - y0, wy)
            acc = 0.0
            for q in range(taps):
                yy = y0 - order + 1 + q
                if yy < 0 or yy >= n:
                    continue
                for p in range(taps):
                    xx = x0 - order + 1 + p
                    if xx >= 0 and xx < n:
                        acc += wx[p] * wy[q] * stamp[yy, xx]
            out[j, i] = acc
            total += acc
    for j in range(m):
        for i in range(m):
            out[j, i] /= total
