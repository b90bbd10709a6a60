"""Combination of a stack of resampled images, with rejection of artefacts that few of them show."""

from __future__ import annotations

import math

import numba
import numpy as np

__all__ = ["combine_stack", "find_outliers"]


@numba.njit(cache=True)
def find_outliers(
    image: np.ndarray,
    variance: np.ndarray,
    mask: np.ndarray,
    rejected: int,
    max_epochs: int,
    threshold: float,
    tolerance: float,
    out: np.ndarray,
) -> None:
    """Mark pixels of single inputs that differ from the static sky.

    Parameters
    ----------
    image, variance, mask
        Stacks (input, y, x).
    rejected
        Packed planes whose pixels are not used.
    max_epochs
        A difference seen in more inputs than this is the sky itself and is kept.
    threshold
        Significance of a difference in standard deviations.
    tolerance
        Share of the local maximum (of the median image over 5×5 pixels) that imperfect matching of the
        seeing and interpolation may explain.
    out
        Stack of bool, filled.
    """
    n, ny, nx = image.shape
    static = np.full((ny, nx), np.nan, dtype=np.float32)
    values = np.empty(n)
    for j in range(ny):
        for i in range(nx):
            k = 0
            for m in range(n):
                out[m, j, i] = False
                if not mask[m, j, i] & rejected:
                    values[k] = image[m, j, i]
                    k += 1
            if k >= 3:
                static[j, i] = np.median(values[:k])
    for j in range(ny):
        for i in range(nx):
            middle = static[j, i]
            if not math.isfinite(middle):
                continue
            high = abs(middle)
            for q in range(max(j - 2, 0), min(j + 3, ny)):
                for p in range(max(i - 2, 0), min(i + 3, nx)):
                    v = static[q, p]
                    if math.isfinite(v):
                        high = max(high, abs(v))
            slack = tolerance * high
            count = 0
            for m in range(n):
                if mask[m, j, i] & rejected:
                    continue
                if abs(image[m, j, i] - middle) > threshold * math.sqrt(variance[m, j, i]) + slack:
                    out[m, j, i] = True
                    count += 1
            if count > max_epochs:
                for m in range(n):
                    out[m, j, i] = False


@numba.njit(cache=True)
def combine_stack(
    image: np.ndarray,
    variance: np.ndarray,
    mask: np.ndarray,
    weights: np.ndarray,
    outliers: np.ndarray,
    no_data: int,
    rejected: int,
    always: int,
    clipped: int,
    inexact: int,
    out: np.ndarray,
    out_variance: np.ndarray,
    out_mask: np.ndarray,
    out_count: np.ndarray,
) -> None:
    """Average a stack with one weight per input.

    Parameters
    ----------
    image, variance, mask
        Stacks (input, y, x).
    weights
        One weight per input.
    outliers
        Stack of bool; pixels to leave out while others remain.
    no_data
        Packed value of NO_DATA.
    rejected
        Packed planes whose pixels are left out while others remain.
    always
        Packed planes that are set where any input has them, used or not.
    clipped, inexact
        Packed values of CLIPPED and INEXACT_PSF.
    out, out_variance, out_mask, out_count
        Filled: weighted mean, its variance, mask, number of inputs used. Where no input reaches: NaN,
        infinity, NO_DATA, 0.
    """
    n, ny, nx = image.shape
    for j in range(ny):
        for i in range(nx):
            best = 3
            reaching = 0
            bits = 0
            for m in range(n):
                b = mask[m, j, i]
                if b & no_data:
                    continue
                reaching += 1
                bits |= b & always
                rank = 0
                if b & rejected:
                    rank = 2
                elif outliers[m, j, i]:
                    rank = 1
                best = min(best, rank)
            if reaching == 0:
                out[j, i] = np.nan
                out_variance[j, i] = np.inf
                out_mask[j, i] = no_data
                out_count[j, i] = 0
                continue
            total = 0.0
            value = 0.0
            noise = 0.0
            used = 0
            for m in range(n):
                b = mask[m, j, i]
                if b & no_data:
                    continue
                rank = 0
                if b & rejected:
                    rank = 2
                elif outliers[m, j, i]:
                    rank = 1
                    bits |= clipped
                if rank != best:
                    continue
                w = weights[m]
                total += w
                value += w * image[m, j, i]
                noise += w * w * variance[m, j, i]
                bits |= b
                used += 1
            if used < n:
                bits |= inexact
            out[j, i] = value / total
            out_variance[j, i] = noise / (total * total)
            out_mask[j, i] = bits
            out_count[j, i] = used
