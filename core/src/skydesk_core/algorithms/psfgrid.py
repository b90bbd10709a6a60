"""A PSF sampled once on a grid of positions, so that evaluating it costs microseconds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skydesk_core.errors import DataError
from skydesk_core.kernels.lanczos import lanczos_table, resample_affine
from skydesk_core.kernels.psfflux import evaluate_psf, psf_fluxes

__all__ = ["PsfFluxes", "PsfGrid"]

_ORDER = 5


@dataclass(frozen=True)
class PsfFluxes:
    """Result of PSF photometry; every array has one entry per position.

    Parameters
    ----------
    flux, error
        In the unit of the image; NaN where the fit was not possible.
    chi2, count
        Chi squared and number of pixels of the fit.
    coverage
        Share of the PSF's squared weight on usable pixels, 0 to 1; NaN off the image.
    area
        Effective area of the PSF in pixels.
    bits, centre_bits
        Union of the packed mask over the PSF's footprint and over the central 3×3 pixels.
    """

    flux: np.ndarray
    error: np.ndarray
    chi2: np.ndarray
    count: np.ndarray
    coverage: np.ndarray
    area: np.ndarray
    bits: np.ndarray
    centre_bits: np.ndarray


@dataclass(frozen=True)
class PsfGrid:
    """Kernel images of a PSF at the nodes of a rectangular grid, bilinear in between.

    Parameters
    ----------
    cells
        Array (node y, node x, k, k); each stamp is centred on its middle pixel and sums to one.
    node_x, node_y
        Pixel coordinates of the nodes.
    """

    cells: np.ndarray
    node_x: np.ndarray
    node_y: np.ndarray

    @classmethod
    def from_function(
        cls,
        kernel_at: Callable[[float, float], np.ndarray],
        x_range: tuple[float, float],
        y_range: tuple[float, float],
        nodes: int = 4,
        normalise: bool = True,
    ) -> PsfGrid:
        """Sample a PSF.

        Parameters
        ----------
        kernel_at
            Gives the centred kernel image (k, k) at a position ``(x, y)``.
        x_range, y_range
            First and last pixel of the region.
        nodes
            Number of nodes along each axis.
        normalise
            Whether to divide every stamp by its sum.

        Raises
        ------
        DataError
            If a stamp is not square with an odd side, or its sum is not positive.
        """
        node_x = np.linspace(*x_range, nodes) if nodes > 1 else np.array([np.mean(x_range)])
        node_y = np.linspace(*y_range, nodes) if nodes > 1 else np.array([np.mean(y_range)])
        cells = np.array([[np.asarray(kernel_at(x, y), dtype=np.float64) for x in node_x] for y in node_y])
        if cells.ndim != 4 or cells.shape[2] != cells.shape[3] or cells.shape[2] % 2 != 1:
            raise DataError(f"PSF kernel images must be square with an odd side, not {cells.shape[2:]}")
        sums = cells.sum(axis=(2, 3), keepdims=True)
        if not np.all(sums > 0):
            raise DataError("a PSF kernel image does not have a positive sum")
        return cls(cells / sums if normalise else cells, node_x.astype(np.float64), node_y.astype(np.float64))

    @cached_property
    def table(self) -> np.ndarray:
        """Lanczos weights with which stamps are shifted."""
        return lanczos_table(_ORDER)

    @property
    def size(self) -> int:
        """Side of the stamps in pixels."""
        return int(self.cells.shape[2])

    @property
    def sigma(self) -> float:
        """Second-moment radius of the central stamp within its core, in pixels."""
        stamp = self.kernel(float(np.mean(self.node_x)), float(np.mean(self.node_y)))
        return float(np.sqrt(1.0 / (4.0 * np.pi * np.sum(stamp**2))))

    def kernel(self, x: float, y: float) -> np.ndarray:
        """Return the PSF at a position, centred on the stamp's middle pixel.

        Parameters
        ----------
        x, y
            Position in pixels.
        """
        shifted = PsfGrid(self.cells, self.node_x - x, self.node_y - y)
        return shifted.stellar(0.0, 0.0)

    def stellar(self, x: float, y: float) -> np.ndarray:
        """Return the image of a star of unit flux, on the stamp around its nearest pixel.

        Parameters
        ----------
        x, y
            Position of the star in pixels.
        """
        work = np.empty((self.size, self.size))
        out = np.empty_like(work)
        evaluate_psf(self.cells, self.node_x, self.node_y, float(x), float(y), self.table, work, out)
        return out

    def fluxes(
        self,
        image: np.ndarray,
        variance: np.ndarray,
        mask: np.ndarray,
        rejected: int,
        x: np.ndarray,
        y: np.ndarray,
    ) -> PsfFluxes:
        """Measure PSF fluxes at given positions.

        Parameters
        ----------
        image, variance
            Planes (y, x).
        mask
            Packed mask (see `skydesk_core.algorithms.planes`).
        rejected
            Packed planes whose pixels take no part.
        x, y
            Positions in array pixels.
        """
        count = len(x)
        out = np.empty((count, 6))
        bits = np.empty((count, 2), dtype=np.int32)
        psf_fluxes(
            np.ascontiguousarray(image, dtype=np.float32),
            np.ascontiguousarray(variance, dtype=np.float32),
            np.ascontiguousarray(mask, dtype=np.int32),
            rejected,
            np.ascontiguousarray(x, dtype=np.float64),
            np.ascontiguousarray(y, dtype=np.float64),
            self.cells,
            self.node_x,
            self.node_y,
            self.table,
            out,
            bits,
        )
        flux = [out[:, i] for i in range(6)]
        return PsfFluxes(flux[0], flux[1], flux[2], flux[3], flux[4], flux[5], bits[:, 0], bits[:, 1])

    def transform(self, x: float, y: float, jacobian: np.ndarray, size: int) -> np.ndarray:
        """Return the PSF at a position as it looks on another pixel grid.

        Parameters
        ----------
        x, y
            Position on this PSF's own grid, in pixels.
        jacobian
            Derivative (2, 2) of this grid's ``(x, y)`` with respect to the other grid's.
        size
            Odd side of the stamp that is returned, in pixels of the other grid.
        """
        out = np.empty((size, size))
        (a, b), (c, d) = jacobian
        resample_affine(self.kernel(x, y), float(a), float(b), float(c), float(d), self.table, out)
        return out
