"""Cosmic-ray rejection by contrast with the PSF, after Rubin's and SDSS's method."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skydesk_core.kernels.isr import find_cosmics

__all__ = ["CosmicSearch", "find_cosmic_rays"]


@dataclass(frozen=True)
class CosmicSearch:
    """How cosmic rays are searched for.

    Parameters
    ----------
    sigma
        Significance above the neighbours.
    contrast
        Below 1: how much sharper than the PSF a pixel must be; smaller where the PSF is undersampled.
    grow_sigma
        Neighbours of hit pixels that stand this far above the sky are taken along, because the faint rim of a track is
        not sharp by itself; 0 for none.
    passes
        Further passes follow tracks: hit neighbours count as empty.
    """

    sigma: float = 5.0
    contrast: float = 0.6
    grow_sigma: float = 3.0
    passes: int = 3


def find_cosmic_rays(
    image: NDArray[np.float32],
    variance: NDArray[np.float32],
    exclude: NDArray[np.bool_],
    fwhm_pixel: float,
    search: CosmicSearch | None = None,
) -> NDArray[np.bool_]:
    """Find pixels hit by cosmic rays.

    Parameters
    ----------
    image, variance
        Background-subtracted image and its variance.
    exclude
        Pixels that are not examined.
    fwhm_pixel
        Width of the PSF; its ratio of neighbour to peak is taken from a Gaussian.
    search
        Limits; the default ones if None.

    Returns
    -------
    ndarray of bool
        The hit pixels.
    """
    search = search or CosmicSearch()
    s = fwhm_pixel / 2.3548
    axis = float(np.exp(-0.5 / s**2))
    diagonal = float(np.exp(-1.0 / s**2))
    found = np.zeros(image.shape, np.bool_)
    for _ in range(search.passes):
        if not find_cosmics(
            image, variance, exclude, search.sigma, search.contrast, axis, diagonal, 0.5, found
        ):
            break
    if search.grow_sigma > 0 and found.any():
        rim = np.zeros(found.shape, np.bool_)
        ny, nx = found.shape
        ys, xs = np.nonzero(found)
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                rim[np.clip(ys + dy, 0, ny - 1), np.clip(xs + dx, 0, nx - 1)] = True
        found |= rim & ~exclude & (image > search.grow_sigma * np.sqrt(variance))
    return found
