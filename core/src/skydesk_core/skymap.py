"""Division of the sky into tracts and patches on tangent planes; it knows geometry and how to register it."""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.wcs import WCS
from lsst.images import Box
from lsst.sphgeom import ConvexPolygon, LonLat, UnitVector3d
from pydantic import BaseModel, ConfigDict

from skydesk_core.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from lsst.daf.butler import Butler, DatasetRef

__all__ = ["Patch", "SkyMap", "Tract", "make_polygon", "make_skymap", "register_skymap"]

_FROZEN = ConfigDict(frozen=True, extra="forbid")


def make_polygon(ra_deg: np.ndarray, dec_deg: np.ndarray) -> ConvexPolygon:
    """Make the convex region that spans some points of the sky.

    Parameters
    ----------
    ra_deg, dec_deg
        Vertices, ICRS degrees, shape (n,), n ≥ 3.

    Returns
    -------
    lsst.sphgeom.ConvexPolygon
        Their convex hull.
    """
    points = [
        UnitVector3d(LonLat.fromDegrees(float(r), float(d))) for r, d in zip(ra_deg, dec_deg, strict=True)
    ]
    return ConvexPolygon.convexHull(points)


def _corners(box: Box) -> tuple[np.ndarray, np.ndarray]:
    x0, x1 = box.x.start - 0.5, box.x.stop - 0.5
    y0, y1 = box.y.start - 0.5, box.y.stop - 0.5
    return np.array([x0, x1, x1, x0]), np.array([y0, y0, y1, y1])


class Patch:
    """One rectangle of a tract.

    Attributes
    ----------
    tract
        The tract it belongs to.
    id
        Its number: ``cell_y * n_x + cell_x``.
    cell_x, cell_y
        Its place in the tract's grid.
    inner_bbox
        The pixels that belong to this patch alone, in tract pixels.
    bbox
        The pixels of its images: the inner ones and a border shared with
        its neighbours.
    """

    def __init__(self, tract: Tract, patch: int) -> None:
        if not 0 <= patch < tract.n_x * tract.n_y:
            raise NotFoundError(f"tract {tract.id} has no patch {patch}; it has {tract.n_x * tract.n_y}")
        self.tract = tract
        self.id = patch
        self.cell_y, self.cell_x = divmod(patch, tract.n_x)
        x0, y0 = self.cell_x * tract.patch_nx, self.cell_y * tract.patch_ny
        x1, y1 = x0 + tract.patch_nx, y0 + tract.patch_ny
        b = tract.border
        self.inner_bbox = Box.factory[y0:y1, x0:x1]
        self.bbox = Box.factory[y0 - b : y1 + b, x0 - b : x1 + b]

    @property
    def wcs(self) -> WCS:
        """The tract's WCS, in tract pixels (0-based)."""
        return self.tract.wcs

    @property
    def region(self) -> ConvexPolygon:
        """The outer box on the sky."""
        return make_polygon(*self.tract.wcs.pixel_to_world_values(*_corners(self.bbox)))


class Tract(BaseModel):
    """One tangent plane with its grid of patches.

    Attributes
    ----------
    id
        Number of the tract in its skymap.
    ra_deg, dec_deg
        Tangent point, ICRS; it lies at the centre of the grid.
    scale_arcsec
        Size of a pixel.
    n_x, n_y
        Number of patches along each axis.
    patch_nx, patch_ny
        Inner size of a patch, pixels.
    border
        Width of the border around the inner part, pixels.
    """

    model_config = _FROZEN

    id: int
    ra_deg: float
    dec_deg: float
    scale_arcsec: float
    n_x: int
    n_y: int
    patch_nx: int
    patch_ny: int
    border: int

    @cached_property
    def wcs(self) -> WCS:
        """Gnomonic (TAN) WCS; its zero-based pixel (0, 0) is the first inner pixel of patch 0."""
        wcs = WCS(naxis=2)
        wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
        wcs.wcs.cunit = ["deg", "deg"]
        wcs.wcs.radesys = "ICRS"
        wcs.wcs.crval = [self.ra_deg, self.dec_deg]
        wcs.wcs.crpix = [self.n_x * self.patch_nx / 2 + 0.5, self.n_y * self.patch_ny / 2 + 0.5]
        wcs.wcs.cdelt = [-self.scale_arcsec / 3600, self.scale_arcsec / 3600]
        wcs.wcs.set()
        return wcs

    @property
    def bbox(self) -> Box:
        """All inner pixels, in tract pixels."""
        return Box.factory[0 : self.n_y * self.patch_ny, 0 : self.n_x * self.patch_nx]

    @property
    def region(self) -> ConvexPolygon:
        """The box on the sky, the border included."""
        b = self.border
        box = Box.factory[-b : self.n_y * self.patch_ny + b, -b : self.n_x * self.patch_nx + b]
        return make_polygon(*self.wcs.pixel_to_world_values(*_corners(box)))

    def patch(self, patch: int) -> Patch:
        """Return one patch.

        Raises
        ------
        NotFoundError
            If the tract has no patch of that number.
        """
        return Patch(self, patch)

    @property
    def patches(self) -> list[Patch]:
        """All patches, by number."""
        return [Patch(self, i) for i in range(self.n_x * self.n_y)]

    def find_patches(self, ra_deg: np.ndarray, dec_deg: np.ndarray) -> np.ndarray:
        """Find the patch whose inner part holds each position.

        Parameters
        ----------
        ra_deg, dec_deg
            Positions, ICRS, shape (n,).

        Returns
        -------
        numpy.ndarray
            Patch numbers, shape (n,); -1 outside the tract.
        """
        x, y = self.wcs.world_to_pixel_values(ra_deg, dec_deg)
        i = np.floor((np.asarray(x) + 0.5) / self.patch_nx).astype(int)
        j = np.floor((np.asarray(y) + 0.5) / self.patch_ny).astype(int)
        inside = (i >= 0) & (i < self.n_x) & (j >= 0) & (j < self.n_y)
        return np.where(inside, j * self.n_x + i, -1)


class SkyMap(BaseModel):
    """A named set of tracts; stored as dataset type ``skyMap``.

    Attributes
    ----------
    name
        Name of the skymap, the value of the dimension ``skymap``.
    tracts
        The tracts, by number.
    """

    model_config = _FROZEN

    name: str
    tracts: tuple[Tract, ...]

    def tract(self, tract: int) -> Tract:
        """Return one tract.

        Raises
        ------
        NotFoundError
            If the skymap has no tract of that number.
        """
        if not 0 <= tract < len(self.tracts):
            raise NotFoundError(f"skymap {self.name} has no tract {tract}; it has {len(self.tracts)}")
        return self.tracts[tract]

    def patch(self, tract: int, patch: int) -> Patch:
        """Return one patch of one tract.

        Raises
        ------
        NotFoundError
            If there is no such tract or patch.
        """
        return self.tract(tract).patch(patch)

    def find_tract(self, ra_deg: float, dec_deg: float) -> Tract | None:
        """Return the tract whose patches hold a position, or None."""
        for tract in self.tracts:
            if tract.find_patches(np.array([ra_deg]), np.array([dec_deg]))[0] >= 0:
                return tract
        return None

    @property
    def sha1(self) -> bytes:
        """Digest of the definition: two skymaps with equal digests are the same."""
        return hashlib.sha1(self.model_dump_json().encode(), usedforsecurity=False).digest()


def make_skymap(
    name: str,
    ra_deg: float,
    dec_deg: float,
    scale_arcsec: float,
    patches: tuple[int, int],
    patch_pixels: tuple[int, int],
    border: int = 50,
) -> SkyMap:
    """Make a skymap of one tract around a position.

    Parameters
    ----------
    name
        Name of the skymap.
    ra_deg, dec_deg
        Centre, ICRS.
    scale_arcsec
        Size of a pixel.
    patches
        Number of patches along x and y.
    patch_pixels
        Inner size of a patch along x and y.
    border
        Border of a patch, pixels.

    Returns
    -------
    SkyMap
        The skymap; its tract is number 0.

    Raises
    ------
    UsageError
        If a size is not positive.
    """
    if min(*patches, *patch_pixels) < 1 or border < 0 or scale_arcsec <= 0:
        raise UsageError(f"skymap {name}: patches, patch size and scale must be positive")
    tract = Tract(
        id=0,
        ra_deg=ra_deg,
        dec_deg=dec_deg,
        scale_arcsec=scale_arcsec,
        n_x=patches[0],
        n_y=patches[1],
        patch_nx=patch_pixels[0],
        patch_ny=patch_pixels[1],
        border=border,
    )
    return SkyMap(name=name, tracts=(tract,))


def register_skymap(
    butler: Butler, skymap: SkyMap, *, run: str = "skymaps", replaced: DatasetRef | None = None
) -> None:
    """Insert a skymap's dimension records and store its definition.

    Repeating the call with the same definition changes nothing.

    Parameters
    ----------
    butler
        A writeable Butler.
    skymap
        The skymap.
    run
        RUN collection for the dataset ``skyMap``.
    replaced
        The dataset with an older definition to which tracts were added.

    Raises
    ------
    UsageError
        If a different skymap of that name is registered.
    """
    known = list(butler.query_dimension_records("skymap", skymap=skymap.name, explain=False))
    if known and replaced is None:
        if known[0].hash != skymap.sha1:
            raise UsageError(f"skymap {skymap.name} exists with another definition")
        return
    registry = butler.registry
    with butler.transaction():
        registry.insertDimensionData("skymap", _skymap_record(skymap), replace=True)
        for t in skymap.tracts:
            registry.insertDimensionData(
                "tract", {"skymap": skymap.name, "id": t.id, "region": t.region}, skip_existing=True
            )
            rows = [
                {
                    "skymap": skymap.name,
                    "tract": t.id,
                    "id": p.id,
                    "cell_x": p.cell_x,
                    "cell_y": p.cell_y,
                    "region": p.region,
                }
                for p in t.patches
            ]
            registry.insertDimensionData("patch", *rows, skip_existing=True)
        butler.collections.register(run)
        if replaced is not None:
            butler.pruneDatasets([replaced], disassociate=True, unstore=True, purge=True)
        butler.put(skymap, "skyMap", run=run, skymap=skymap.name)


def _skymap_record(skymap: SkyMap) -> dict[str, Any]:
    return {
        "name": skymap.name,
        "hash": skymap.sha1,
        "tract_max": 1 << 17,
        "patch_nx_max": max(t.n_x for t in skymap.tracts),
        "patch_ny_max": max(t.n_y for t in skymap.tracts),
    }
