"""A PSF model that is linear in its pixels: a grid of pixel values times a polynomial over the image.

The same parameters live in a Piff ``PixelGrid`` with ``BasisPolynomial`` (see `to_piff`), which is how the
model is stored; here it is evaluated for many stars at once with matrix products.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["PixelPsf", "cut_stamps", "resample_stamps"]

FloatArray = NDArray[np.float64]
LANCZOS = 5
"""Order of the Lanczos interpolant between the pixels of the grid."""


def _shift_matrix(delta: FloatArray, size_in: int, size_out: int) -> FloatArray:
    """Weights that read a row of ``size_in`` samples at the ``size_out`` central positions plus ``delta``.

    Returns
    -------
    ndarray
        Shape (n, size_out, size_in); rows sum to 1 where the interpolant fits.
    """
    offset = (size_in - size_out) // 2
    where = np.arange(size_out)[None, :] + offset + delta[:, None]
    t = where[:, :, None] - np.arange(size_in)[None, None, :]
    weight = np.where(np.abs(t) < LANCZOS, np.sinc(t) * np.sinc(t / LANCZOS), 0.0)
    # The plain Lanczos sum differs from 1 by up to 1 %; per shift, so the edges still fall to zero.
    k = np.arange(-LANCZOS, LANCZOS + 1)[None, :] - (delta - np.round(delta))[:, None]
    total = np.where(np.abs(k) < LANCZOS, np.sinc(k) * np.sinc(k / LANCZOS), 0.0).sum(axis=1)
    return np.asarray(weight / total[:, None, None])


def resample_stamps(stamps: FloatArray, dx: FloatArray, dy: FloatArray, size: int) -> FloatArray:
    """Read square stamps at positions shifted by a fraction of a pixel.

    Parameters
    ----------
    stamps
        Shape (n, m, m).
    dx, dy
        Where to read: output pixel ``i`` is the input at ``i + d`` (relative to the common centre).
    size
        Side of the output, of the same parity as m.

    Returns
    -------
    ndarray
        Shape (n, size, size).
    """
    m = stamps.shape[1]
    rows = _shift_matrix(np.asarray(dy, float), m, size)
    columns = _shift_matrix(np.asarray(dx, float), m, size)
    return np.asarray(rows @ stamps @ columns.transpose(0, 2, 1))


def cut_stamps(
    image: NDArray[Any], x: FloatArray, y: FloatArray, size: int, fill: float = 0.0
) -> tuple[NDArray[Any], NDArray[np.intp], NDArray[np.intp]]:
    """Cut square stamps out of an image around the nearest pixels of positions.

    Parameters
    ----------
    image
        Shape (ny, nx).
    x, y
        Positions in pixels.
    size
        Side, odd.
    fill
        Value outside the image.

    Returns
    -------
    tuple of ndarray
        Stamps (n, size, size) and the pixel coordinates x0, y0 of their corners.
    """
    r = size // 2
    ny, nx = image.shape
    x0 = np.floor(np.asarray(x) + 0.5).astype(np.intp) - r
    y0 = np.floor(np.asarray(y) + 0.5).astype(np.intp) - r
    columns = x0[:, None] + np.arange(size)
    rows = y0[:, None] + np.arange(size)
    stamps = image[np.clip(rows, 0, ny - 1)[:, :, None], np.clip(columns, 0, nx - 1)[:, None, :]]
    outside = ((rows < 0) | (rows >= ny))[:, :, None] | ((columns < 0) | (columns >= nx))[:, None, :]
    if outside.any():
        stamps = np.where(outside, np.asarray(fill, image.dtype), stamps)
    return stamps, x0, y0


@dataclass(frozen=True)
class PixelPsf:
    """A PSF model.

    Parameters
    ----------
    coefficients
        Shape (terms, m, m), m odd; term k belongs to ``powers[k]`` of the scaled
        position. The sum over pixels is 1 for the constant term, 0 for the others.
    order
        Order of the polynomial.
    centre
        Pixel position (x, y) at which the scaled position is zero.
    half
        Pixels per unit of the scaled position.
    """

    coefficients: FloatArray
    order: int
    centre: tuple[float, float]
    half: float

    @property
    def size(self) -> int:
        """Side of the grid in pixels."""
        return int(self.coefficients.shape[1])

    def basis(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Values of the polynomial terms, shape (n, terms)."""
        return polynomial_basis(x, y, self.order, self.centre, self.half)

    def images(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Centred PSF images at positions, shape (n, m, m), each of unit sum."""
        terms, m, _ = self.coefficients.shape
        flat = self.basis(np.atleast_1d(x), np.atleast_1d(y)) @ self.coefficients.reshape(terms, m * m)
        return np.asarray(flat.reshape(-1, m, m))

    def stamps(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, NDArray[np.intp], NDArray[np.intp]]:
        """Images of unit stars at positions.

        Parameters
        ----------
        x, y
            Positions in pixels.

        Returns
        -------
        tuple of ndarray
            Stamps (n, m, m) on the image's pixels and the coordinates of their corners.
        """
        x, y = np.atleast_1d(np.asarray(x, float)), np.atleast_1d(np.asarray(y, float))
        xi, yi = np.floor(x + 0.5), np.floor(y + 0.5)
        stamps = resample_stamps(self.images(x, y), xi - x, yi - y, self.size)
        r = self.size // 2
        return stamps, xi.astype(np.intp) - r, yi.astype(np.intp) - r

    def second_moments(self, x: float, y: float) -> tuple[float, float, float]:
        """Adaptive (Gaussian-weighted) second moments Ixx, Iyy, Ixy of the PSF at a position, in pixel²."""
        image = self.images(np.array([x]), np.array([y]))[0]
        r = np.arange(self.size) - self.size // 2
        # The Gaussian of the same effective area: where the iteration starts and what is left when it fails.
        start = 1.0 / (4 * np.pi * float((image**2).sum()))
        ixx, iyy, ixy = start, start, 0.0
        for _ in range(100):
            det = ixx * iyy - ixy * ixy
            q = (iyy * r[None, :] ** 2 + ixx * r[:, None] ** 2 - 2 * ixy * r[None, :] * r[:, None]) / det
            w = image * np.exp(-0.5 * q)
            total = w.sum()
            new = (
                2 * float((w * r[None, :] ** 2).sum() / total),
                2 * float((w * r[:, None] ** 2).sum() / total),
                2 * float((w * r[None, :] * r[:, None]).sum() / total),
            )
            if not (
                total > 0 and new[0] > 0 and new[1] > 0 and new[0] * new[1] - new[2] ** 2 > 0.2 * start**2
            ):
                return start, start, 0.0
            change = max(abs(new[0] - ixx), abs(new[1] - iyy), abs(new[2] - ixy))
            ixx, iyy, ixy = new
            if change < 1e-5:
                break
        return ixx, iyy, ixy

    def sigma_pixel(self, x: float, y: float) -> float:
        """Determinant radius of the PSF at a position, in pixels."""
        ixx, iyy, ixy = self.second_moments(x, y)
        return float(max(ixx * iyy - ixy * ixy, 1e-6) ** 0.25)

    def area_pixel(self, x: float, y: float) -> float:
        """Effective (noise-equivalent) area of the PSF at a position, in pixel²."""
        return float(1.0 / (self.images(np.array([x]), np.array([y])) ** 2).sum())


def polynomial_basis(
    x: FloatArray, y: FloatArray, order: int, centre: tuple[float, float], half: float
) -> FloatArray:
    """Terms u^i v^j with i + j ≤ order of the scaled position, i slowest as in Piff, shape (n, terms)."""
    u = (np.asarray(x, float) - centre[0]) / half
    v = (np.asarray(y, float) - centre[1]) / half
    return np.stack([u**i * v**j for i in range(order + 1) for j in range(order + 1 - i)], axis=1)
