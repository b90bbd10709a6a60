"""Adaptive second moments: the elliptical Gaussian that matches a source best (Bernstein & Jarvis 2002)."""

from __future__ import annotations

import math

import numba
import numpy as np

__all__ = ["adaptive_moments"]


@numba.njit(cache=True)
def adaptive_moments(
    image: np.ndarray,
    mask: np.ndarray,
    rejected: int,
    x: np.ndarray,
    y: np.ndarray,
    sigma_px: float,
    radius: int,
    out: np.ndarray,
) -> None:
    """Measure Gaussian-weighted moments with a weight that adapts to the source.

    Parameters
    ----------
    image
        Pixel values (y, x), background zero.
    mask, rejected
        Packed mask, and the planes whose pixels are not used.
    x, y
        Positions in pixels; they are held fixed.
    sigma_px
        Width of the first weight.
    radius
        Half side of the stamps in pixels.
    out
        Array (n, 5), filled: xx, yy, xy in square pixels, the weighted flux, 0 where the iteration
        converged and 1 where not.
    """
    ny, nx = image.shape
    for n in range(x.size):
        wxx = sigma_px * sigma_px
        wyy = wxx
        wxy = 0.0
        out[n, 0] = np.nan
        out[n, 1] = np.nan
        out[n, 2] = np.nan
        out[n, 3] = np.nan
        out[n, 4] = 1.0
        cx = int(math.floor(x[n] + 0.5))
        cy = int(math.floor(y[n] + 0.5))
        for _ in range(60):
            det = wxx * wyy - wxy * wxy
            if not (det > 0.01 and wxx > 0.1 and wyy > 0.1 and wxx + wyy < radius * radius):
                break
            s0 = 0.0
            sxx = 0.0
            syy = 0.0
            sxy = 0.0
            for j in range(max(cy - radius, 0), min(cy + radius + 1, ny)):
                dy = j - y[n]
                for i in range(max(cx - radius, 0), min(cx + radius + 1, nx)):
                    if mask[j, i] & rejected:
                        continue
                    dx = i - x[n]
                    r2 = (wyy * dx * dx - 2 * wxy * dx * dy + wxx * dy * dy) / det
                    if r2 > 25.0:
                        continue
                    v = image[j, i] * math.exp(-0.5 * r2)
                    s0 += v
                    sxx += v * dx * dx
                    syy += v * dy * dy
                    sxy += v * dx * dy
            if not s0 > 0:
                break
            mxx = sxx / s0
            myy = syy / s0
            mxy = sxy / s0
            # The weighted moments of a Gaussian are (M⁻¹ + W⁻¹)⁻¹; solve for M.
            mdet = mxx * myy - mxy * mxy
            if not mdet > 0:
                break
            ixx = myy / mdet - wyy / det
            iyy = mxx / mdet - wxx / det
            ixy = -mxy / mdet + wxy / det
            idet = ixx * iyy - ixy * ixy
            if not (idet > 0 and ixx > 0):
                break
            nxx = iyy / idet
            nyy = ixx / idet
            nxy = -ixy / idet
            change = abs(nxx - wxx) + abs(nyy - wyy) + abs(nxy - wxy)
            wxx = nxx
            wyy = nyy
            wxy = nxy
            if change < 1e-4 * (wxx + wyy):
                out[n, 0] = wxx
                out[n, 1] = wyy
                out[n, 2] = wxy
                # A matched weight sees half of a Gaussian's flux.
                out[n, 3] = 2.0 * s0
                out[n, 4] = 0.0
                break
