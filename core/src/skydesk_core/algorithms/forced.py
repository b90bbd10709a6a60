"""Aperture photometry at fixed positions, corrected to total flux by the PSF."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import sep

from skydesk_core.algorithms.planes import BAD, CR, NO_DATA
from skydesk_core.algorithms.psfgrid import PsfGrid
from skydesk_core.algorithms.warp import Planes

__all__ = ["AperturePhotometry", "fixed_apertures"]

_UNUSABLE = NO_DATA | BAD | CR


@dataclass(frozen=True)
class AperturePhotometry:
    """Fluxes in circular apertures.

    Parameters
    ----------
    flux, error
        Total fluxes and errors in the unit of the image.
    truncated
        True where part of the aperture has no usable pixel.
    bits
        Union of the packed mask over a square around the aperture.
    """

    flux: np.ndarray
    error: np.ndarray
    truncated: np.ndarray
    bits: np.ndarray


def fixed_apertures(
    planes: Planes, psf: PsfGrid, x: np.ndarray, y: np.ndarray, radius_px: float
) -> AperturePhotometry:
    """Measure fluxes in apertures that are not centred anew.

    Unlike a fit of the PSF, a sum of pixels does not depend on how well the PSF is known within them;
    only the correction to the total does, and one mean value of it serves the whole image.

    Parameters
    ----------
    planes
        The image, background zero.
    psf
        Its PSF, for the correction.
    x, y
        Positions in array pixels.
    radius_px
        Radius of the aperture.
    """
    count = len(x)
    if not count:
        return AperturePhotometry(np.empty(0), np.empty(0), np.empty(0, bool), np.empty(0, np.int32))
    image = np.where(np.isfinite(planes.image), planes.image, 0.0).astype(np.float32)
    variance = np.where(np.isfinite(planes.variance), planes.variance, 0.0).astype(np.float32)
    mask = (planes.mask & _UNUSABLE) != 0
    flux, error, flag = sep.sum_circle(image, x, y, radius_px, var=variance, mask=mask, subpix=0)
    truncated = (flag & (sep.APER_TRUNC | sep.APER_HASMASKED | sep.APER_ALLMASKED)) != 0
    middle = psf.size // 2
    stamp = np.ascontiguousarray(psf.cells.mean(axis=(0, 1)))
    # One factor for the image: the noise of the PSF model's variation would go into every light curve.
    correction = float(sep.sum_circle(stamp, [middle], [middle], radius_px, subpix=0)[0][0] / stamp.sum())
    reach = int(np.ceil(radius_px))
    ny, nx = planes.mask.shape
    bits = np.zeros(count, dtype=np.int32)
    cx, cy = np.floor(x + 0.5).astype(int), np.floor(y + 0.5).astype(int)
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            bits |= planes.mask[np.clip(cy + dy, 0, ny - 1), np.clip(cx + dx, 0, nx - 1)]
    return AperturePhotometry(flux / correction, error / correction, truncated, bits)
