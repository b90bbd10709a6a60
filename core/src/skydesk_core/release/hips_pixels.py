"""The pixels of HiPS tiles: where they lie on the sky and what the coadds hold there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from skydesk_core.release.healpix import cell_positions
from skydesk_core.release.wcsfit import evaluate_wcs, project

if TYPE_CHECKING:
    from skydesk_core.release.pyramid import Pyramid

__all__ = [
    "TILE_WIDTH",
    "PlaneWcs",
    "TileSampler",
    "band_folder",
    "find_data",
    "halve",
    "join_children",
    "make_wcs",
]

TILE_WIDTH = 512
"""Pixels along the side of a tile, the usual width of HiPS."""

type FloatArray = NDArray[np.float64]
type Tile = NDArray[np.float32]


@dataclass(frozen=True)
class PlaneWcs:
    """The mapping of an image between ICRS degrees and 0-based array pixels.

    Parameters
    ----------
    key
        Equal for equal mappings.
    wcs
        The FITS form; None for a projection that has none, of which the fitted polynomials serve.
    fit
        What `skydesk_core.release.wcsfit.fit_wcs` found.
    """

    key: Any
    wcs: Any
    fit: Mapping[str, Any]

    def to_sky(self, x: Any, y: Any) -> tuple[FloatArray, FloatArray]:
        """Map pixels to the sky."""
        if self.wcs is None:
            return evaluate_wcs(dict(self.fit), x, y)
        ra, dec = self.wcs.all_pix2world(np.asarray(x, float), np.asarray(y, float), 0)
        return ra % 360.0, dec

    def to_pixel(self, ra_deg: FloatArray, dec_deg: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Map the sky near the image to pixels."""
        if self.wcs is not None:
            x, y = self.wcs.wcs_world2pix(ra_deg.ravel(), dec_deg.ravel(), 0)
            return x.reshape(ra_deg.shape), y.reshape(ra_deg.shape)
        fit, inverse = self.fit, self.fit["inverse"]
        xi, eta = project(ra_deg, dec_deg, (fit["crval"][0], fit["crval"][1]))
        # Polynomials mean nothing far from the pixels that they were fitted to.
        limit = 2.0 * inverse["scale_deg"]
        far = (np.abs(xi) > limit) | (np.abs(eta) > limit)
        s, t = xi / inverse["scale_deg"], eta / inverse["scale_deg"]
        u, v = (np.polynomial.polynomial.polyval2d(s, t, np.array(inverse[name])) for name in ("u", "v"))
        x, y = (c + fit["scale"] * w for c, w in zip(fit["centre"], (u, v), strict=True))
        return np.where(far, np.nan, x), np.where(far, np.nan, y)


def make_wcs(pyramid: Pyramid) -> PlaneWcs:
    """Make the mapping of an image that has a sky projection."""
    from astropy.io import fits
    from astropy.wcs import WCS

    fit = pyramid.wcs_fit
    assert fit is not None, "the caller leaves out images without a sky projection"
    if pyramid.wcs is None or any(k.startswith(("A_", "B_", "CPDIS")) for k in pyramid.wcs):
        return PlaneWcs(str(pyramid.folder), None, fit)
    cards = tuple(sorted(pyramid.wcs.items()))
    return PlaneWcs(cards, WCS(fits.Header(dict(cards))), fit)


def find_data(pyramid: Pyramid, rows: slice, columns: slice) -> NDArray[np.bool_]:
    """Tell which native pixels of a part of an image hold data: finite and not ``NO_DATA``.

    Parameters
    ----------
    pyramid
        The image.
    rows, columns
        The part, in array coordinates.
    """
    native = pyramid.levels - 1
    good = np.isfinite(pyramid.array("image", native)[rows, columns])
    bit = pyramid.mask_planes.get("NO_DATA")
    if bit is not None and "mask" in pyramid.planes:
        good &= (pyramid.array("mask", native)[rows, columns] & np.uint32(1 << bit)) == 0
    return good


def band_folder(band: str) -> str:
    """Return the name under which the maps of a band are found, whatever signs its own name has."""
    return "band_" + re.sub(r"[^A-Za-z0-9_-]", "_", band)


def halve(tile: Tile) -> Tile:
    """Average blocks of 2 × 2 pixels, leaving out those without data."""
    quads = np.stack([tile[i::2, j::2] for i in (0, 1) for j in (0, 1)])
    good = np.isfinite(quads)
    count = good.sum(axis=0)
    total = np.where(good, quads, np.float32(0)).sum(axis=0, dtype=np.float32)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)


def join_children(children: Sequence[Tile | None], width: int = TILE_WIDTH) -> Tile | None:
    """Make a tile from the four below it, in NESTED order; None when none of them has data."""
    if all(child is None for child in children):
        return None
    half = width // 2
    out = np.full((width, width), np.nan, np.float32)
    for number, child in enumerate(children):
        if child is not None:
            i, j = number & 1, number >> 1
            out[i * half : (i + 1) * half, j * half : (j + 1) * half] = halve(child)
    return out


class TileSampler:
    """Interpolates coadds at the pixels of tiles.

    Parameters
    ----------
    coadds
        Pyramids of the coadds of all bands.
    order
        HEALPix order of the tiles.
    width
        Pixels along the side of a tile.
    """

    def __init__(self, coadds: Iterable[Pyramid], order: int, width: int = TILE_WIDTH) -> None:
        self._order, self._width = order, width
        self._planes: dict[int, list[tuple[Pyramid, PlaneWcs]]] = {}
        found = set()
        for pyramid in coadds:
            if pyramid.band is None or pyramid.wcs_fit is None:
                continue
            found.add(pyramid.band)
            wcs = make_wcs(pyramid)
            for cell in _reached_cells(wcs, pyramid.shape, order):
                self._planes.setdefault(cell, []).append((pyramid, wcs))
        self.bands = tuple(sorted(found))

    def sample(self, index: int) -> Mapping[str, Tile]:
        """Interpolate every band at the pixels of one tile.

        Parameters
        ----------
        index
            The tile (NESTED).

        Returns
        -------
        dict
            Band to pixels in the order of `cell_positions`, NaN without data; bands without any are left out.
            Where coadds overlap, the one whose edge is farther away counts.
        """
        ra, dec = cell_positions(self._order, index, self._width)
        places: dict[Any, tuple[FloatArray, FloatArray]] = {}
        found: dict[str, tuple[Tile, Tile]] = {}
        for pyramid, wcs in self._planes.get(index, ()):
            ny, nx = pyramid.shape
            if wcs.key not in places:
                places[wcs.key] = wcs.to_pixel(ra, dec)
            x, y = places[wcs.key]
            edge = np.minimum(np.minimum(x, nx - 1 - x), np.minimum(y, ny - 1 - y)).astype(np.float32)
            with np.errstate(invalid="ignore"):
                inside = edge >= 0
            if not inside.any():
                continue
            band = str(pyramid.band)
            if band not in found:
                shape = (self._width, self._width)
                found[band] = (np.full(shape, np.nan, np.float32), np.full(shape, -1, np.float32))
            tile, best = found[band]
            chosen = np.flatnonzero(inside & (np.nan_to_num(edge, nan=-1) > best))
            if chosen.size == 0:
                continue
            values = _interpolate(pyramid, x.ravel()[chosen], y.ravel()[chosen])
            good = np.isfinite(values)
            tile.ravel()[chosen[good]] = values[good]
            best.ravel()[chosen[good]] = edge.ravel()[chosen[good]]
        return {band: tile for band, (tile, _) in found.items() if np.isfinite(tile).any()}


def _reached_cells(wcs: PlaneWcs, shape: tuple[int, int], order: int) -> list[int]:
    """List the cells that the outline of an image touches."""
    import astropy.units as u
    from mocpy import MOC

    ny, nx = shape
    ra, dec = wcs.to_sky([-1, nx, nx, -1], [-1, -1, ny, ny])
    return [int(c) for c in MOC.from_polygon(ra * u.deg, dec * u.deg, max_depth=order).flatten()]


def _interpolate(pyramid: Pyramid, x: FloatArray, y: FloatArray) -> Tile:
    """Interpolate linearly between the four neighbours; NaN next to a pixel without data."""
    from scipy.ndimage import map_coordinates

    ny, nx = pyramid.shape
    x0, y0 = int(x.min()), int(y.min())
    rows = slice(y0, min(int(y.max()) + 2, ny))
    columns = slice(x0, min(int(x.max()) + 2, nx))
    pixels = np.array(pyramid.array("image", pyramid.levels - 1)[rows, columns])
    pixels[~find_data(pyramid, rows, columns)] = np.nan
    at = np.stack([y - rows.start, x - columns.start])
    return map_coordinates(pixels, at, order=1, mode="nearest", prefilter=False).astype(np.float32)
