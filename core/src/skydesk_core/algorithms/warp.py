"""Resampling of calibrated images onto another pixel grid.

Fluxes are densities in nJy per pixel; a change of the pixel's area therefore scales the values, so that
the flux of a source is the same before and after.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from skydesk_core.algorithms.planes import BIT
from skydesk_core.errors import DataError
from skydesk_core.kernels.lanczos import lanczos_table, warp_lanczos3

__all__ = ["PixelMap", "Planes", "invert_map", "map_jacobian", "warp_image"]

type PixelMap = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Maps arrays of pixel coordinates (x, y) of one grid to another."""

_STEP = 8
"""Distance of the nodes between which coordinates are interpolated, output pixels; errors stay below 1e-4 pixels."""


@dataclass
class Planes:
    """An image with its variance and packed mask, all arrays (y, x).

    Parameters
    ----------
    image, variance
        Pixel values and their variances (float32).
    mask
        Packed mask (int32), see `skydesk_core.algorithms.planes`.
    """

    image: np.ndarray
    variance: np.ndarray
    mask: np.ndarray

    @classmethod
    def empty(cls, shape: tuple[int, int]) -> Planes:
        """Make planes that no data reach: NaN, infinite variance, NO_DATA."""
        return cls(
            np.full(shape, np.nan, dtype=np.float32),
            np.full(shape, np.inf, dtype=np.float32),
            np.full(shape, BIT["NO_DATA"], dtype=np.int32),
        )


def invert_map(
    forward: PixelMap,
    shape: tuple[int, int],
    margin_px: float = 48.0,
    order: int = 5,
    tolerance_px: float = 0.02,
) -> PixelMap:
    """Invert a map of an image's pixels by a polynomial that is fitted on the image.

    The inverse of a distorted WCS diverges outside the image that it was fitted on; this one is defined
    on the image and a margin, and gives NaN elsewhere.

    Parameters
    ----------
    forward
        Maps the image's pixels to the other frame.
    shape
        Shape (y, x) of the image.
    margin_px
        Width of the margin around the image.
    order
        Order of the polynomial.
    tolerance_px
        Largest error of the inverse on the image.

    Raises
    ------
    DataError
        If the polynomial does not describe the map.
    """
    ny, nx = shape
    mesh_x, mesh_y = np.meshgrid(
        np.linspace(-margin_px, nx - 1 + margin_px, 24), np.linspace(-margin_px, ny - 1 + margin_px, 24)
    )
    x, y = mesh_x.ravel(), mesh_y.ravel()
    u, v = (np.asarray(a, float) for a in forward(x, y))
    centre = np.array([(u.min() + u.max()) / 2, (v.min() + v.max()) / 2])
    scale = max(np.ptp(u), np.ptp(v)) / 2

    def terms(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        s, t = (a - centre[0]) / scale, (b - centre[1]) / scale
        return np.stack([s**i * t ** (n - i) for n in range(order + 1) for i in range(n + 1)], axis=-1)

    design = terms(u, v)
    fit = np.linalg.lstsq(design, np.column_stack([x, y]), rcond=None)[0]
    error = float(np.abs(design @ fit - np.column_stack([x, y])).max())
    if not error < tolerance_px:
        raise DataError(f"the WCS of an image cannot be inverted: error of {error:.3g} pixels")
    low, high = np.array([u.min(), v.min()]), np.array([u.max(), v.max()])

    def inverse(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        a, b = np.asarray(a, float), np.asarray(b, float)
        outside = (a < low[0]) | (a > high[0]) | (b < low[1]) | (b > high[1])
        found = terms(a, b) @ fit
        return np.where(outside, np.nan, found[..., 0]), np.where(outside, np.nan, found[..., 1])

    return inverse


def map_jacobian(to_input: PixelMap, x: float, y: float, step_px: float = 0.5) -> np.ndarray:
    """Differentiate a pixel map numerically.

    Parameters
    ----------
    to_input
        The map.
    x, y
        Where to differentiate.
    step_px
        Half of the difference step.

    Returns
    -------
    numpy.ndarray
        ``[[dX/dx, dX/dy], [dY/dx, dY/dy]]``.
    """
    px = np.array([x + step_px, x - step_px, x, x])
    py = np.array([y, y, y + step_px, y - step_px])
    ix, iy = to_input(px, py)
    return np.array([[ix[0] - ix[1], ix[2] - ix[3]], [iy[0] - iy[1], iy[2] - iy[3]]]) / (2 * step_px)


def warp_image(
    planes: Planes, to_input: PixelMap, shape: tuple[int, int], x0: int = 0, y0: int = 0
) -> Planes:
    """Resample an image with Lanczos-3 weights.

    A pixel of the result has data exactly where its centre falls on a pixel of the input that has data.
    Mask bits spread over the footprint of the interpolation kernel; where that is incomplete the result
    is marked EDGE.

    Parameters
    ----------
    planes
        The input; its first pixel's centre is (0, 0).
    to_input
        Maps pixel coordinates of the output's frame to those of the input's arrays.
    shape
        Shape (y, x) of the output.
    x0, y0
        Coordinates of the output's first pixel in its frame.

    Returns
    -------
    Planes
        The resampled planes, in flux per output pixel.
    """
    height, width = shape
    nodes_x = x0 + _STEP * np.arange((width - 1) // _STEP + 2, dtype=np.float64)
    nodes_y = y0 + _STEP * np.arange((height - 1) // _STEP + 2, dtype=np.float64)
    mesh_x, mesh_y = np.meshgrid(nodes_x, nodes_y)
    flat_x, flat_y = to_input(mesh_x.ravel(), mesh_y.ravel())
    grid_x = np.ascontiguousarray(flat_x, dtype=np.float64).reshape(mesh_x.shape)
    grid_y = np.ascontiguousarray(flat_y, dtype=np.float64).reshape(mesh_y.shape)
    out = Planes.empty(shape)
    ny, nx = planes.image.shape
    near = (grid_x > -_STEP) & (grid_y > -_STEP) & (grid_x < nx + _STEP) & (grid_y < ny + _STEP)
    if not near.any():
        return out
    unusable = ~np.isfinite(planes.image) | ~np.isfinite(planes.variance)
    mask = np.ascontiguousarray(planes.mask, dtype=np.int32)
    if unusable.any():
        mask = mask | np.where(unusable, np.int32(BIT["NO_DATA"]), np.int32(0))
    warp_lanczos3(
        np.ascontiguousarray(planes.image, dtype=np.float32),
        np.ascontiguousarray(planes.variance, dtype=np.float32),
        mask,
        grid_x,
        grid_y,
        _STEP,
        lanczos_table(3),
        BIT["NO_DATA"],
        BIT["EDGE"],
        out.image,
        out.variance,
        out.mask,
    )
    area = _pixel_areas(grid_x, grid_y, shape)
    out.image *= area
    out.variance *= area**2
    return out


def _pixel_areas(grid_x: np.ndarray, grid_y: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Area of the output's pixels in input pixels, interpolated between the cells of the grid."""
    dxu = np.diff(grid_x, axis=1)[:-1] / _STEP
    dyu = np.diff(grid_y, axis=1)[:-1] / _STEP
    dxv = np.diff(grid_x, axis=0)[:, :-1] / _STEP
    dyv = np.diff(grid_y, axis=0)[:, :-1] / _STEP
    cells = np.nan_to_num(np.abs(dxu * dyv - dxv * dyu), nan=1.0)
    return np.repeat(np.repeat(cells, _STEP, axis=0), _STEP, axis=1)[: shape[0], : shape[1]].astype(
        np.float32
    )
