"""The PSF model as Piff knows it, which is the form that images carry on disk."""

from __future__ import annotations

import numpy as np
from lsst.images import Box
from lsst.images.psfs import PiffWrapper, PointSpreadFunction
from numpy.typing import NDArray

from skydesk_core.algorithms.psf import LANCZOS, PixelPsf
from skydesk_core.errors import DataError

__all__ = ["from_stored_psf", "to_stored_psf"]


def to_stored_psf(psf: PixelPsf, bbox: Box) -> PiffWrapper:
    """Make the storable form: a Piff ``PixelGrid`` with ``BasisPolynomial`` in pixel coordinates.

    Parameters
    ----------
    psf
        The model.
    bbox
        Pixels for which it is valid.
    """
    import galsim
    import piff

    model = piff.PixelGrid(scale=1.0, size=psf.size, interp=galsim.Lanczos(LANCZOS))
    interp = piff.BasisPolynomial(order=psf.order, keys=("x", "y"))
    terms = psf.coefficients.shape[0]
    interp.q = (_plain_from_scaled(psf) @ psf.coefficients.reshape(terms, -1)).T
    stored = piff.SimplePSF(model, interp)
    stored.wcs = {0: galsim.PixelScale(1.0)}
    stored.pointing = None
    stored.stars = []
    return PiffWrapper(stored, bbox, psf.size)


def from_stored_psf(stored: PointSpreadFunction) -> PixelPsf:
    """Undo `to_stored_psf`.

    Raises
    ------
    DataError
        If the PSF is not a pixel grid with a polynomial in x and y.
    """
    import piff

    impl = getattr(stored, "piff_psf", None)
    if (
        not isinstance(impl, piff.SimplePSF)
        or not isinstance(impl.model, piff.PixelGrid)
        or impl.model.scale != 1.0
    ):
        raise DataError(f"PSF of type {type(stored).__name__} is not a pixel grid at the image's scale")
    order, size = int(max(impl.interp._orders)), int(impl.model.size)
    q = np.asarray(impl.interp.q)
    return PixelPsf(q.T.reshape(-1, size, size), order, (0.0, 0.0), 1.0)


def _plain_from_scaled(psf: PixelPsf) -> NDArray[np.float64]:
    """Matrix that turns coefficients of scaled-position terms into those of plain x^i y^j."""
    from math import comb

    powers = [(i, j) for i in range(psf.order + 1) for j in range(psf.order + 1 - i)]
    matrix = np.zeros((len(powers), len(powers)))
    cx, cy = psf.centre
    for column, (i, j) in enumerate(powers):
        for a in range(i + 1):
            for b in range(j + 1):
                factor = comb(i, a) * (-cx) ** (i - a) * comb(j, b) * (-cy) ** (j - b) / psf.half ** (i + j)
                matrix[powers.index((a, b)), column] += factor
    return matrix
