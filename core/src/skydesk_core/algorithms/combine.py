"""Combination of calibration frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from skydesk_core.errors import DataError

__all__ = ["clipped_mean", "normalise_flat"]


def clipped_mean(
    frames: Sequence[NDArray[np.floating]], clip_sigma: float = 4.0
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Average frames pixel by pixel without outliers.

    Parameters
    ----------
    frames
        Images of one shape.
    clip_sigma
        Values further from the pixel's median are left out; the standard deviation is that of the whole
        stack, because a few frames cannot tell a pixel's own.

    Returns
    -------
    tuple of ndarray
        Mean and its variance.

    Raises
    ------
    DataError
        If there are no frames.
    """
    if not len(frames):
        raise DataError("no frames to combine")
    stack = np.stack([np.asarray(f, np.float32) for f in frames])
    if len(stack) == 1:
        return stack[0], np.full(stack[0].shape, np.nan, np.float32)
    middle = np.median(stack, axis=0)
    deviation = stack - middle
    n = len(stack)
    # The median of few values follows them: its residuals underestimate the noise by about (1 - 1/n).
    sigma = 1.4826 * float(np.median(np.abs(deviation))) / max(1 - 1 / n, 0.5)
    keep = np.abs(deviation) <= clip_sigma * max(sigma, 1e-12)
    count = np.maximum(keep.sum(axis=0), 1)
    mean = np.where(keep.any(axis=0), (stack * keep).sum(axis=0) / count, middle)
    return mean.astype(np.float32), (sigma**2 / count).astype(np.float32)


def normalise_flat(image: NDArray[np.floating]) -> NDArray[np.float32]:
    """Divide a flat by its median.

    Parameters
    ----------
    image
        Electrons.

    Raises
    ------
    DataError
        If the flat holds no light.
    """
    level = float(np.median(image))
    if not level > 100:
        raise DataError(f"flat frame has a level of {level:.1f} electrons")
    return np.asarray(image / level, np.float32)
