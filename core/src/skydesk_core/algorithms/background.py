"""Sky background: sigma-clipped cells and a smooth Chebyshev polynomial through them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import sep
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from skydesk_core.errors import DataError

__all__ = ["Background", "fit_background"]


@dataclass(frozen=True)
class Background:
    """A fitted background.

    Parameters
    ----------
    coefficients
        Coefficient ``[p, q]`` belongs to ``T_p(y) T_q(x)`` with both axes scaled
        to [-1, 1] over the outer edges of the image, as in lsst.images'
        ``ChebyshevField``.
    shape
        Rows and columns of the image.
    level
        Median of the background.
    noise
        Robust standard deviation of the sky pixels.
    """

    coefficients: NDArray[np.float64]
    shape: tuple[int, int]
    level: float
    noise: float

    def render(self) -> NDArray[np.float32]:
        """The background at every pixel."""
        ny, nx = self.shape
        vy = chebyshev.chebvander((np.arange(ny) + 0.5) * 2 / ny - 1, self.coefficients.shape[0] - 1)
        vx = chebyshev.chebvander((np.arange(nx) + 0.5) * 2 / nx - 1, self.coefficients.shape[1] - 1)
        return np.asarray((vy @ self.coefficients) @ vx.T, np.float32)


def fit_background(
    image: NDArray[np.float32], exclude: NDArray[np.bool_], cell_pixel: int = 128, order: int = 6
) -> Background:
    """Fit the background of an image.

    Parameters
    ----------
    image
        Any unit, shape (ny, nx).
    exclude
        Pixels that are not sky: bad ones, and sources once they are known.
    cell_pixel
        Side of the cells whose clipped mean is taken.
    order
        Order of the polynomial, lowered to what the number of cells supports.

    Returns
    -------
    Background
        The polynomial, its median and the noise.

    Raises
    ------
    DataError
        If too little of the image is sky.
    """
    ny, nx = image.shape
    if exclude.mean() > 0.95:
        raise DataError(f"only {100 * (1 - exclude.mean()):.1f} % of the image can serve as background")
    cell = int(min(cell_pixel, max(16, min(ny, nx) // 4)))
    image = np.ascontiguousarray(image, np.float32)
    mesh = sep.Background(image, mask=exclude, bw=cell, bh=cell, fw=3, fh=3)
    # Read the mesh's own spline at the cells' centres: the polynomial is fitted to as many values as there are cells.
    back = mesh.back()
    xs = np.arange(cell // 2, nx, cell)
    ys = np.arange(cell // 2, ny, cell)
    values = back[np.ix_(ys, xs)]
    good = _cell_fraction(~exclude, cell, len(ys), len(xs)) > 0.1
    order = min(order, len(xs) - 1, len(ys) - 1)
    while order and (order + 1) * (order + 2) // 2 > good.sum() // 2:
        order -= 1
    vy = chebyshev.chebvander((ys + 0.5) * 2 / ny - 1, order)
    vx = chebyshev.chebvander((xs + 0.5) * 2 / nx - 1, order)
    terms = [(p, q) for p in range(order + 1) for q in range(order + 1 - p)]
    design = np.stack([np.outer(vy[:, p], vx[:, q])[good] for p, q in terms], axis=1)
    solution, *_ = np.linalg.lstsq(design, values[good].astype(float), rcond=None)
    coefficients = np.zeros((order + 1, order + 1))
    for (p, q), value in zip(terms, solution, strict=True):
        coefficients[p, q] = value
    result = Background(coefficients, (ny, nx), float(np.median(values[good])), 0.0)
    # The cells' own rms would contain the slope of the background within them.
    rest = (image - result.render())[~exclude][::5]
    noise = float(np.std(rest[np.abs(rest) < 4 * mesh.globalrms])) if len(rest) else float(mesh.globalrms)
    for _ in range(4):
        inside = rest[np.abs(rest) < 3 * noise]
        # A normal distribution cut at 3 sigma keeps 0.98658 of its standard deviation.
        noise = float(np.std(inside)) / 0.98658 if len(inside) > 10 else noise
    return replace(result, noise=noise)


def _cell_fraction(good: NDArray[np.bool_], cell: int, rows: int, columns: int) -> NDArray[np.float64]:
    fraction = np.zeros((rows, columns))
    for j in range(rows):
        for i in range(columns):
            part = good[j * cell : (j + 1) * cell, i * cell : (i + 1) * cell]
            fraction[j, i] = part.mean() if part.size else 0.0
    return fraction
