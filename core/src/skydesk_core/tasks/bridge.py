"""Between the image types of lsst.images and the arrays that algorithms take."""

from __future__ import annotations

from typing import Any

import astropy.units as u
import numpy as np
from astropy.wcs import WCS
from lsst.images import YX, Box, Image, MaskedImage, SkyProjection, TractFrame
from lsst.images.cells import (
    CellCoadd,
    CellGrid,
    CellGridBounds,
    CellIJ,
    CellPointSpreadFunction,
    PatchDefinition,
)
from lsst.images.psfs import PiffWrapper, PointSpreadFunction

from skydesk_core.algorithms.coadd import CoaddResult
from skydesk_core.algorithms.psf import PixelPsf, polynomial_basis
from skydesk_core.algorithms.psfgrid import PsfGrid
from skydesk_core.algorithms.psfstore import from_stored_psf, to_stored_psf
from skydesk_core.algorithms.warp import PixelMap, Planes, invert_map
from skydesk_core.skymap import Patch
from skydesk_core.tasks.convert import from_bits, to_bits

__all__ = [
    "PSF_NODES",
    "cell_grid",
    "coadd_psf_grid",
    "image_to_tract",
    "make_coadd",
    "make_masked",
    "make_tract_projection",
    "make_visit_psf",
    "pixel_to_sky",
    "planes_of",
    "psf_grid_of",
    "sky_to_pixel",
    "tract_to_image",
]

PSF_NODES = 4
"""Nodes along each axis on which the PSF of a visit image is sampled."""

_CELL_PX = 128


def planes_of(image: MaskedImage) -> Planes:
    """Return the arrays of a masked image; the mask as packed int32."""
    return Planes(
        np.asarray(image.image.array, dtype=np.float32),
        np.asarray(image.variance.array, dtype=np.float32),
        to_bits(image.mask).astype(np.int32),
    )


def sky_to_pixel(
    projection: SkyProjection[Any], ra_deg: np.ndarray, dec_deg: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Convert ICRS degrees to pixel coordinates of an image's frame."""
    if not np.size(ra_deg):
        return np.empty(0), np.empty(0)  # AST refuses an empty set of points
    found = projection.sky_to_pixel_transform.apply_forward(x=np.radians(ra_deg), y=np.radians(dec_deg))
    return np.asarray(found.x), np.asarray(found.y)


def pixel_to_sky(
    projection: SkyProjection[Any], x: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Convert pixel coordinates of an image's frame to ICRS degrees."""
    if not np.size(x):
        return np.empty(0), np.empty(0)
    found = projection.pixel_to_sky_transform.apply_forward(x=np.asarray(x, float), y=np.asarray(y, float))
    return np.degrees(np.asarray(found.x)) % 360.0, np.degrees(np.asarray(found.y))


def tract_to_image(wcs: WCS, projection: SkyProjection[Any], bbox: Box) -> PixelMap:
    """Return the map from tract pixels to the array indices of a visit's image.

    Parameters
    ----------
    wcs
        The tract's WCS.
    projection, bbox
        Projection and place of the visit's image.
    """

    def forward(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        ra, dec = pixel_to_sky(projection, x + bbox.x.start, y + bbox.y.start)
        px, py = wcs.world_to_pixel_values(ra, dec)
        return np.asarray(px), np.asarray(py)

    return invert_map(forward, (bbox.y.size, bbox.x.size))


def image_to_tract(wcs: WCS, projection: SkyProjection[Any], bbox: Box) -> PixelMap:
    """Return the map from pixels of a visit's image to the array indices of a patch's image.

    Parameters
    ----------
    wcs
        The tract's WCS.
    projection
        Projection of the visit's image.
    bbox
        Place of the patch's image in the tract.
    """

    def to_input(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        px, py = wcs.world_to_pixel_values(*pixel_to_sky(projection, x, y))
        return np.asarray(px) - bbox.x.start, np.asarray(py) - bbox.y.start

    return to_input


def psf_grid_of(psf: PointSpreadFunction, bbox: Box, nodes: int = PSF_NODES) -> PsfGrid:
    """Sample the PSF of a visit's image; the grid's coordinates are array indices.

    Parameters
    ----------
    psf
        The stored PSF.
    bbox
        Place of the image.
    nodes
        Nodes along each axis.
    """
    x0, y0 = bbox.x.start, bbox.y.start
    if isinstance(psf, PiffWrapper):
        model = from_stored_psf(psf)

        def kernel_at(x: float, y: float) -> np.ndarray:
            return model.images(np.array([x + x0]), np.array([y + y0]))[0]

    else:

        def kernel_at(x: float, y: float) -> np.ndarray:
            return psf.compute_kernel_image(x=x + x0, y=y + y0).array

    return PsfGrid.from_function(kernel_at, (0.0, bbox.x.size - 1.0), (0.0, bbox.y.size - 1.0), nodes)


def make_visit_psf(grid: PsfGrid, bbox: Box) -> PiffWrapper:
    """Make the storable PSF of a visit's image from a grid in array indices.

    Parameters
    ----------
    grid
        The sampled PSF.
    bbox
        Place of the image.
    """
    mesh_x, mesh_y = np.meshgrid(grid.node_x + bbox.x.start, grid.node_y + bbox.y.start)
    order = min(2, len(grid.node_x) - 1, len(grid.node_y) - 1)
    centre = (bbox.x.start + (bbox.x.size - 1) / 2, bbox.y.start + (bbox.y.size - 1) / 2)
    half = max(bbox.x.size, bbox.y.size) / 2
    basis = polynomial_basis(mesh_x.ravel(), mesh_y.ravel(), order, centre, half)
    size = grid.size
    coefficients = np.linalg.lstsq(basis, grid.cells.reshape(len(basis), -1), rcond=None)[0]
    return to_stored_psf(PixelPsf(coefficients.reshape(-1, size, size), order, centre, half), bbox)


def make_masked(planes: Planes, bbox: Box, unit: u.UnitBase, projection: SkyProjection[Any]) -> MaskedImage:
    """Make a masked image of arrays; infinite variance is stored as NaN."""
    variance = np.where(np.isfinite(planes.variance), planes.variance, np.nan).astype(np.float32)
    return MaskedImage(
        Image(planes.image, bbox=bbox, unit=unit, sky_projection=projection),
        mask=from_bits(planes.mask, bbox=bbox, sky_projection=projection),
        variance=Image(variance, bbox=bbox, unit=unit**2, sky_projection=projection),
    )


def make_tract_projection(patch: Patch, skymap: str) -> SkyProjection[TractFrame]:
    """Return the projection of a patch's images, in tract pixels."""
    frame = TractFrame(skymap=skymap, tract=patch.tract.id, bbox=patch.tract.bbox)
    return SkyProjection.from_fits_wcs(patch.wcs, frame, pixel_bounds=patch.bbox)


def _cell_size(length: int) -> int:
    """Divisor of a length that is nearest to the usual cell size."""
    divisors = [d for d in range(1, length + 1) if length % d == 0]
    return min(divisors, key=lambda d: abs(d - _CELL_PX))


def cell_grid(bbox: Box) -> tuple[CellGrid, np.ndarray, np.ndarray]:
    """Divide a patch into cells.

    Parameters
    ----------
    bbox
        Outer box of the patch.

    Returns
    -------
    CellGrid
        The cells, all of one size.
    centres_x, centres_y
        Coordinates of their centres.
    """
    sx, sy = _cell_size(bbox.x.size), _cell_size(bbox.y.size)
    grid = CellGrid(bbox=bbox, cell_shape=YX(y=sy, x=sx))
    centres_x = bbox.x.start + sx * np.arange(bbox.x.size // sx) + (sx - 1) / 2
    centres_y = bbox.y.start + sy * np.arange(bbox.y.size // sy) + (sy - 1) / 2
    return grid, centres_x, centres_y


def make_coadd(
    result: CoaddResult, cells: np.ndarray, grid: CellGrid, patch: Patch, skymap: str, band: str
) -> CellCoadd:
    """Make the coadd that is stored.

    Parameters
    ----------
    result
        The combined warps, in nJy.
    cells
        PSF of each cell, NaN where there is none.
    grid
        The cells.
    patch, skymap, band
        What the coadd is of.
    """
    projection = make_tract_projection(patch, skymap)
    plain = make_masked(result.planes, patch.bbox, u.nJy, projection)
    missing = frozenset(
        CellIJ(int(j), int(i)) for j, i in zip(*np.nonzero(np.isnan(cells[:, :, 0, 0])), strict=True)
    )
    return CellCoadd(
        plain.image,
        mask=plain.mask,
        variance=plain.variance,
        sky_projection=projection,
        band=band,
        psf=CellPointSpreadFunction(cells, CellGridBounds(grid=grid, bbox=patch.bbox, missing=missing)),
        patch=PatchDefinition(
            id=patch.id, index=YX(y=patch.cell_y, x=patch.cell_x), inner_bbox=patch.inner_bbox, cells=grid
        ),
    )


def coadd_psf_grid(psf: CellPointSpreadFunction) -> PsfGrid | None:
    """Return a coadd's PSF as a grid in array indices; cells without one get the mean of the others.

    Parameters
    ----------
    psf
        PSF of the coadd.

    Returns
    -------
    PsfGrid or None
        None if no cell has a PSF.
    """
    bounds = psf.bounds
    size = bounds.grid.grid_size
    shape = psf.kernel_bbox.shape
    cells = np.full((size.i, size.j, shape.y, shape.x), np.nan)
    for index in bounds.cell_indices():
        cells[index.i, index.j] = psf[index].array
    known = np.isfinite(cells[:, :, 0, 0])
    if not known.any():
        return None
    cells[~known] = cells[known].mean(axis=0)
    step = bounds.grid.cell_shape
    return PsfGrid(
        cells,
        step.x * np.arange(size.j) + (step.x - 1) / 2,
        step.y * np.arange(size.i) + (step.y - 1) / 2,
    )
