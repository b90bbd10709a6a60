"""Convolution with a spatially varying kernel, given per block of the image."""

from __future__ import annotations

import numba
import numpy as np

__all__ = ["convolve_blocks"]


@numba.njit(cache=True, fastmath=True)
def convolve_blocks(
    image: np.ndarray,
    variance: np.ndarray,
    kernels: np.ndarray,
    block: int,
    out: np.ndarray,
    out_variance: np.ndarray,
) -> None:
    """Convolve an image with the kernel of each block, and its variance with the squared kernel.

    Parameters
    ----------
    image, variance
        Planes (y + 2 h, x + 2 h) of float32 without NaN, padded by the kernel's half size ``h`` on all sides.
    kernels
        Array (block y, block x, k, k) of float32 with odd ``k = 2 h + 1``.
    block
        Side of the blocks in pixels.
    out, out_variance
        Arrays (y, x) of float32, filled.
    """
    ny, nx = out.shape
    k = kernels.shape[2]
    line = np.empty(block, dtype=np.float32)
    line_variance = np.empty(block, dtype=np.float32)
    for j in range(ny):
        bj = j // block
        for bi in range(kernels.shape[1]):
            start = bi * block
            width = min(block, nx - start)
            if width <= 0:
                continue
            line[:] = 0.0
            line_variance[:] = 0.0
            for q in range(k):
                for p in range(k):
                    w = kernels[bj, bi, k - 1 - q, k - 1 - p]
                    w2 = w * w
                    for i in range(width):
                        line[i] += w * image[j + q, start + i + p]
                        line_variance[i] += w2 * variance[j + q, start + i + p]
            for i in range(width):
                out[j, start + i] = line[i]
                out_variance[j, start + i] = line_variance[i]
