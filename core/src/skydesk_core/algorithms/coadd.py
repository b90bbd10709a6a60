"""Coaddition of warps: weights, artefact rejection after DMTN-080, weighted mean and the coadd's PSF."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_dilation, gaussian_filter

from skydesk_core.algorithms.planes import BIT, bits_of
from skydesk_core.algorithms.psfgrid import PsfGrid
from skydesk_core.algorithms.warp import PixelMap, Planes, map_jacobian
from skydesk_core.errors import UsageError
from skydesk_core.kernels.combine import combine_stack, find_outliers

__all__ = ["CoaddInputPsf", "CoaddResult", "best_seeing", "coadd_psf_cells", "combine_warps", "max_epochs"]

_REJECTED = bits_of(["NO_DATA", "BAD", "SAT", "CR"])
_DROPPED = bits_of(["DETECTED", "DETECTED_NEGATIVE", "NO_DATA"])


@dataclass
class CoaddResult:
    """A coadd and how it came about.

    Parameters
    ----------
    planes
        The coadd; NO_DATA exactly where no input reaches, SAT wherever an input is saturated.
    count
        Array (y, x) of the number of inputs used.
    weights
        Weight of each input, relative to the sum of all.
    """

    planes: Planes
    count: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True)
class CoaddInputPsf:
    """The PSF of one input image and where it lies.

    Parameters
    ----------
    psf
        PSF on the input's own pixels.
    to_input
        Maps pixel coordinates of the coadd's frame to the input's array.
    shape
        Shape (y, x) of the input.
    weight
        Weight of the input in the coadd.
    """

    psf: PsfGrid
    to_input: PixelMap
    shape: tuple[int, int]
    weight: float


def max_epochs(count: int) -> int:
    """Return in how many of ``count`` inputs an artefact may appear (DMTN-080).

    Parameters
    ----------
    count
        Number of inputs.
    """
    if count <= 2:
        return 0
    if count <= 4:
        return 1
    if count == 5:
        return 2
    return int(min(0.4 * count, 2 + 0.03 * count))


def best_seeing(fwhm_px: Sequence[float], share: float, minimum: int) -> np.ndarray:
    """Choose the inputs of best seeing.

    Parameters
    ----------
    fwhm_px
        Seeing of each input; any unit.
    share
        Share of the inputs to keep, 0 to 1.
    minimum
        Keep at least so many, if there are.

    Returns
    -------
    numpy.ndarray
        Indices of the chosen inputs in their order.
    """
    count = min(len(fwhm_px), max(minimum, int(np.ceil(share * len(fwhm_px)))))
    return np.sort(np.argsort(np.asarray(fwhm_px), kind="stable")[:count])


def combine_warps(
    warps: Sequence[Planes],
    sigmas_px: Sequence[float] | None = None,
    threshold: float = 5.0,
    tolerance: float = 0.3,
) -> CoaddResult:
    """Average warps with inverse-variance weights, leaving out artefacts.

    Parameters
    ----------
    warps
        Warps on one pixel grid.
    sigmas_px
        Width of each warp's PSF. For the search of artefacts all warps are smoothed to the widest, since
        otherwise stars of differing seeing would be taken for artefacts. Without it nothing is left out;
        it needs three inputs.
    threshold
        Significance in standard deviations from which a difference to the static sky is an artefact.
    tolerance
        Share of the local maximum of the static sky that is allowed on top of it.

    Raises
    ------
    UsageError
        If there is no warp, or their shapes differ.
    """
    if not warps or len({w.image.shape for w in warps}) != 1:
        raise UsageError("a coadd needs at least one warp, and all of one shape")
    image = np.stack([w.image for w in warps])
    variance = np.stack([w.variance for w in warps])
    mask = np.stack([w.mask for w in warps])
    weights = np.array([_weight(w) for w in warps])
    outliers = np.zeros(image.shape, dtype=bool)
    if sigmas_px is not None and len(warps) >= 3:
        smooth, noise = _match_seeing(image, variance, mask, sigmas_px)
        find_outliers(smooth, noise, mask, _REJECTED, max_epochs(len(warps)), threshold, tolerance, outliers)
        for layer in outliers:
            if layer.any():
                # A track is wider than what stands out of the noise at its border.
                binary_dilation(layer, structure=np.ones((3, 3), bool), output=layer)
    shape = image.shape[1:]
    planes = Planes.empty(shape)
    count = np.zeros(shape, dtype=np.int16)
    combine_stack(
        image,
        variance,
        mask,
        weights,
        outliers,
        BIT["NO_DATA"],
        _REJECTED,
        BIT["SAT"],
        BIT["CLIPPED"],
        BIT["INEXACT_PSF"],
        planes.image,
        planes.variance,
        planes.mask,
        count,
    )
    reached = (planes.mask & BIT["NO_DATA"]) == 0
    planes.mask[reached] &= ~np.int32(_DROPPED)
    return CoaddResult(planes, count, weights / weights.sum() if weights.sum() > 0 else weights)


def _match_seeing(
    image: np.ndarray, variance: np.ndarray, mask: np.ndarray, sigmas_px: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Smooth every warp to the seeing of the worst, and slightly more: artefacts are wider than a pixel."""
    widest = float(np.hypot(max(sigmas_px), 0.7))
    smooth, noise = np.empty_like(image), np.empty_like(variance)
    for k, sigma in enumerate(sigmas_px):
        good = (mask[k] & _REJECTED) == 0
        width = float(np.sqrt(widest**2 - sigma**2))
        share = gaussian_filter(good.astype(np.float32), width, truncate=3.0)
        blurred = gaussian_filter(np.where(good, image[k], 0.0).astype(np.float32), width, truncate=3.0)
        with np.errstate(invalid="ignore", divide="ignore"):
            smooth[k] = np.where(good, blurred / np.maximum(share, 0.1), np.nan)
        # Sum of the squares of a Gaussian's weights; the warp's own correlation adds to it.
        noise[k] = variance[k] * min(1.0, 1.3 / (4 * np.pi * width**2))
    return smooth, noise


def _weight(warp: Planes) -> float:
    """Inverse of the median variance over the usable pixels; 0 without any."""
    usable = ((warp.mask & _REJECTED) == 0) & np.isfinite(warp.variance) & (warp.variance > 0)
    if not usable.any():
        usable = np.isfinite(warp.variance) & (warp.variance > 0)
    return 1.0 / float(np.median(warp.variance[usable])) if usable.any() else 0.0


def coadd_psf_cells(
    inputs: Sequence[CoaddInputPsf],
    centres_x: np.ndarray,
    centres_y: np.ndarray,
    size: int,
) -> np.ndarray:
    """Average the PSFs of the inputs at the centres of cells.

    Parameters
    ----------
    inputs
        The coadd's inputs.
    centres_x, centres_y
        Coordinates of the cells' centres in the coadd's frame.
    size
        Odd side of the stamps in coadd pixels.

    Returns
    -------
    numpy.ndarray
        Array (cell y, cell x, size, size); NaN for cells whose centre no input reaches.
    """
    sums = np.zeros((len(centres_y), len(centres_x), size, size))
    weights = np.zeros((len(centres_y), len(centres_x)))
    mesh_x, mesh_y = np.meshgrid(centres_x, centres_y)
    for one in inputs:
        flat_x, flat_y = one.to_input(mesh_x.ravel().astype(float), mesh_y.ravel().astype(float))
        in_x = flat_x.reshape(mesh_x.shape)
        in_y = flat_y.reshape(mesh_y.shape)
        with np.errstate(invalid="ignore"):
            inside = (in_x > -0.5) & (in_y > -0.5) & (in_x < one.shape[1] - 0.5) & (in_y < one.shape[0] - 0.5)
        if not inside.any():
            continue
        jacobian = map_jacobian(one.to_input, float(mesh_x[inside].mean()), float(mesh_y[inside].mean()))
        for j, i in zip(*np.nonzero(inside), strict=True):
            stamp = one.psf.transform(in_x[j, i], in_y[j, i], jacobian, size)
            sums[j, i] += one.weight * stamp
            weights[j, i] += one.weight
    return np.where(
        weights[:, :, None, None] > 0, sums / np.where(weights > 0, weights, 1.0)[:, :, None, None], np.nan
    )
