"""Compilation of the kernels of resampling, coaddition, photometry and image subtraction."""

from __future__ import annotations

import numpy as np

from skydesk_core.algorithms.coadd import combine_warps
from skydesk_core.algorithms.objects import measure_objects
from skydesk_core.algorithms.psfgrid import PsfGrid
from skydesk_core.algorithms.subtract import subtract_images
from skydesk_core.algorithms.warp import Planes, warp_image

__all__ = ["warm"]


def warm() -> None:
    """Run each kernel once on a small image with the types that the pipelines use."""
    size = 128
    profile = np.exp(-((np.arange(15) - 7.0) ** 2) / 8.0)
    psf = PsfGrid.from_function(lambda _x, _y: np.outer(profile, profile), (0, size - 1), (0, size - 1), 2)
    x, y = (a.ravel() for a in np.meshgrid(np.array([42.0, 64.0, 86.0]), np.array([42.0, 64.0, 86.0])))
    image = np.zeros((size, size), np.float32)
    for px, py in zip(x, y, strict=True):
        image[int(py) - 7 : int(py) + 8, int(px) - 7 : int(px) + 8] += 1000.0 * psf.cells[0, 0]
    planes = Planes(image, np.ones((size, size), np.float32), np.zeros((size, size), np.int32))
    warped = warp_image(planes, lambda px, py: (px + 0.3, py - 0.2), (size, size))
    combine_warps([warped, warped, warped], [2.0, 2.0, 2.1])
    measure_objects(planes, psf, x, y)
    psf.transform(30.0, 30.0, np.eye(2), 15)
    subtract_images(planes, planes, psf, psf, x, y, order=0)
