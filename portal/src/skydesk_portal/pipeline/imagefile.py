"""One published image whose file stays open: its geometry, and a part of its pixels at a time."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from skydesk_portal.exceptions import PortalError, UsageError
from skydesk_portal.models.cutouts import CutoutDetail
from skydesk_portal.models.regions import Region
from skydesk_portal.pipeline.stamps import card, render_cards

if TYPE_CHECKING:
    from astropy.io import fits
    from lsst.daf.butler import DatasetRef

__all__ = [
    "PLAIN_CLASSES",
    "ImageHandle",
    "ImageSubject",
    "NoOverlapError",
    "common_box",
    "make_box",
    "outline_region",
]

PLAIN_CLASSES = frozenset({"RawImage", "Image", "ImageV2"})
"""Storage classes that are pixels and nothing else."""

_NEEDED = frozenset({"bbox", "sky_projection", "image"})
_COMPRESSIBLE = ("image", "mask", "variance", "psf")
_PLANES = {
    CutoutDetail.IMAGE: ("image",),
    CutoutDetail.MASKED_IMAGE: ("image", "mask", "variance"),
}


class NoOverlapError(PortalError):
    """A region and an image have no pixel in common."""

    code = "no_overlap"
    status = 204
    vo_error = "UsageError"


def make_box(x: tuple[int, int], y: tuple[int, int]) -> Any:
    """Make a box of pixels, both ends included."""
    from lsst.images import Box

    return Box.factory[y[0] : y[1] + 1, x[0] : x[1] + 1]


def common_box(a: Any, b: Any) -> Any:
    """Return the pixels that two boxes have in common, `None` if there are none."""
    x0, x1 = max(a.x.start, b.x.start), min(a.x.stop, b.x.stop)
    y0, y1 = max(a.y.start, b.y.start), min(a.y.stop, b.y.stop)
    return None if x0 >= x1 or y0 >= y1 else a.__class__.factory[y0:y1, x0:x1]


def _unit(ra_deg: Any, dec_deg: Any) -> NDArray[np.float64]:
    ra, dec = np.radians(np.asarray(ra_deg, float)), np.radians(np.asarray(dec_deg, float))
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)


def _angles(vectors: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    ra = np.degrees(np.arctan2(vectors[..., 1], vectors[..., 0])) % 360
    return ra, np.degrees(np.arctan2(vectors[..., 2], np.hypot(vectors[..., 0], vectors[..., 1])))


def outline_region(region: Region) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return points on the rim of a region and in its middle, ICRS degrees.

    Parameters
    ----------
    region
        A circle or a polygon with great-circle edges.

    Returns
    -------
    tuple of numpy.ndarray
        Right ascensions and declinations; the box around these points holds the
        region up to a thousandth of its size.
    """
    corners = _unit(*(np.array(v, float) for v in zip(*region.corners, strict=True)))
    if region.radius_deg is None:
        following = np.roll(corners, -1, axis=0)
        steps = np.linspace(0, 1, 8, endpoint=False)[:, None, None]
        edges = (corners * (1 - steps) + following * steps).reshape(-1, 3)
        middle = corners.sum(axis=0)[None]
        return _angles(np.concatenate([edges, middle]))
    center = corners[0]
    east = np.cross([0.0, 0.0, 1.0] if abs(center[2]) < 0.9 else [1.0, 0.0, 0.0], center)
    east /= np.linalg.norm(east)
    north = np.cross(center, east)
    around = np.linspace(0, 2 * np.pi, 72, endpoint=False)[:, None]
    radius = np.radians(region.radius_deg)
    rim = np.cos(radius) * center + np.sin(radius) * (np.cos(around) * east + np.sin(around) * north)
    return _angles(np.concatenate([rim, center[None]]))


def _hold(region: Region, points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell which directions lie in a region."""
    corners = _unit(*(np.array(v, float) for v in zip(*region.corners, strict=True)))
    if region.radius_deg is not None:
        return points @ corners[0] >= np.cos(np.radians(region.radius_deg))
    following = np.roll(corners, -1, axis=0)
    # Angles under which a point sees the edges: they add up to a whole turn inside.
    side = points @ np.cross(corners, following).T
    along = (corners * following).sum(axis=1) - (points @ corners.T) * (points @ following.T)
    turn = np.abs(np.arctan2(side, along).sum(axis=1))
    return (turn > np.pi) & (points @ corners.sum(axis=0) > 0)


@dataclass(frozen=True)
class ImageSubject:
    """What an image is, whoever keeps it.

    Parameters
    ----------
    id
        Its identifier.
    dataset_type, storage_class
        Names of its dataset type and of its storage class.
    data_id
        Its data ID.
    repository
        Name of its release, or label of the repository of somebody's own.
    span_mjd
        Begin and end of its exposure in MJD (TAI), `None` without one.
    """

    id: UUID
    dataset_type: str
    storage_class: str
    data_id: Mapping[str, Any]
    repository: str
    span_mjd: tuple[float, float] | None = None

    @classmethod
    def of(cls, ref: DatasetRef, repository: str) -> ImageSubject:
        """Describe a dataset of a Butler repository, with dimension records if they are known."""
        records = ref.dataId.records if ref.dataId.hasRecords() else {}
        record = records["visit"] if "visit" in ref.dataId.dimensions else None
        span = getattr(record, "timespan", None)
        known = span is not None and span.begin is not None and span.end is not None
        return cls(
            ref.id,
            ref.datasetType.name,
            ref.datasetType.storageClass_name,
            {str(key): value for key, value in ref.dataId.mapping.items()},
            repository,
            (float(span.begin.tai.mjd), float(span.end.tai.mjd)) if span is not None and known else None,
        )


class ImageHandle:
    """One image whose file is open; safe for several threads.

    Parameters
    ----------
    subject
        What it is.
    source
        Its file, or the open file, which must then be named by nothing but this handle.
    """

    def __init__(self, subject: ImageSubject, source: Path | BinaryIO) -> None:
        from lsst.daf.butler import StorageClassFactory
        from lsst.images.serialization import open_archive

        # Piff's PSFs can only be read after the core has repaired the reader, which this import does.
        import skydesk_core.repo  # noqa: F401

        self.subject = subject
        kind = StorageClassFactory().getStorageClass(subject.storage_class)
        self.components = frozenset(kind.allComponents())
        if not self.components >= _NEEDED:
            what = "has no sky coordinates" if subject.storage_class in PLAIN_CLASSES else "is not an image"
            raise UsageError(f"{subject.dataset_type} {what}: nothing can be cut out of it")
        self._lock = threading.Lock()
        # Closed when the handle is forgotten: another thread may still be reading when the store lets go of it.
        self._archive: Any = open_archive(
            str(source) if isinstance(source, Path) else source, cls=kind.pytype, partial=True
        )
        self._reader = self._archive.__enter__()
        self.bbox = self._reader.get_component("bbox")
        self.projection = self._reader.get_component("sky_projection")
        if self.projection is None:
            raise UsageError(f"{subject.dataset_type} has no sky coordinates: nothing can be cut out of it")
        self._view = self.projection.as_astropy()

    @property
    def dataset_type(self) -> str:
        """Name of the dataset type."""
        return self.subject.dataset_type

    def sky_to_pixel(self, ra_deg: Any, dec_deg: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return pixel positions; NaN where there are none."""
        with self._lock:
            x, y = self._view.world_to_pixel_values(
                np.radians(np.atleast_1d(np.asarray(ra_deg, float))),
                np.radians(np.atleast_1d(np.asarray(dec_deg, float))),
            )
        return np.asarray(x, float), np.asarray(y, float)

    def pixel_to_sky(self, x: Any, y: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return sky positions in ICRS degrees."""
        with self._lock:
            ra, dec = self._view.pixel_to_world_values(
                np.atleast_1d(np.asarray(x, float)), np.atleast_1d(np.asarray(y, float))
            )
        return np.degrees(np.asarray(ra, float)) % 360, np.degrees(np.asarray(dec, float))

    def _extent(self, b: Any) -> tuple[NDArray[np.float64], float]:
        """Direction of the middle of a box and the angle to its furthest corner."""
        x = np.array([b.x.start - 0.5, b.x.stop - 0.5, b.x.stop - 0.5, b.x.start - 0.5, np.nan])
        y = np.array([b.y.start - 0.5, b.y.start - 0.5, b.y.stop - 0.5, b.y.stop - 0.5, np.nan])
        x[4], y[4] = x[:4].mean(), y[:4].mean()
        vectors = _unit(*self.pixel_to_sky(x, y))
        return vectors[4], float(np.arccos(np.clip((vectors[:4] @ vectors[4]).min(), -1, 1)))

    @cached_property
    def _own_extent(self) -> tuple[NDArray[np.float64], float]:
        return self._extent(self.bbox)

    @cached_property
    def scale_arcsec(self) -> float:
        """Size of a pixel in the middle of the image."""
        x, y = (self.bbox.x.start + self.bbox.x.stop) / 2, (self.bbox.y.start + self.bbox.y.stop) / 2
        points = _unit(*self.pixel_to_sky([x, x + 1, x], [y, y, y + 1]))
        area = float(np.linalg.norm(np.cross(points[1] - points[0], points[2] - points[0])))
        return float(np.degrees(np.sqrt(area)) * 3600)

    def find_box(self, region: Region | None, bounds: Any = None) -> Any:
        """Return the box of pixels around a region, clipped at the image's edge.

        Parameters
        ----------
        region
            Where; `None` for the whole image.
        bounds
            Box to clip at instead of the image's own.

        Raises
        ------
        NoOverlapError
            If the region lies off the image.
        """
        limits = self.bbox if bounds is None else bounds
        if region is None:
            return limits
        middle, reach = self._own_extent if bounds is None else self._extent(bounds)
        center, size = _unit(*region.center), np.radians(region.size_deg)
        if np.arccos(np.clip(middle @ center, -1, 1)) > size + 1.2 * reach:
            # Far positions are not asked for: the distortion of an image means nothing there.
            raise NoOverlapError("the region does not touch the image")
        if size > reach:
            return self._find_large_box(region, limits)
        x, y = self.sky_to_pixel(*outline_region(region))
        good = np.isfinite(x) & np.isfinite(y)
        if not good.any():
            raise NoOverlapError("the region does not touch the image")
        low_x, high_x = np.floor(x[good].min() + 0.5), np.floor(x[good].max() + 0.5)
        low_y, high_y = np.floor(y[good].min() + 0.5), np.floor(y[good].max() + 0.5)
        low_x, low_y = max(low_x, limits.x.start), max(low_y, limits.y.start)
        high_x, high_y = min(high_x, limits.x.stop - 1), min(high_y, limits.y.stop - 1)
        if low_x > high_x or low_y > high_y:
            raise NoOverlapError("the region does not touch the image")
        return make_box((int(low_x), int(high_x)), (int(low_y), int(high_y)))

    def _find_large_box(self, region: Region, limits: Any) -> Any:
        """Look from the image at a region that is larger: which part of a grid of its pixels lies inside."""
        n = 33
        xs = np.linspace(limits.x.start, limits.x.stop - 1, n)
        ys = np.linspace(limits.y.start, limits.y.stop - 1, n)
        x, y = (g.ravel() for g in np.meshgrid(xs, ys))
        inside = _hold(region, _unit(*self.pixel_to_sky(x, y)))
        if not inside.any():
            raise NoOverlapError("the region does not touch the image")
        step_x, step_y = np.ceil(xs[1] - xs[0]), np.ceil(ys[1] - ys[0])
        low_x = max(limits.x.start, int(np.floor(x[inside].min() - step_x)))
        low_y = max(limits.y.start, int(np.floor(y[inside].min() - step_y)))
        high_x = min(limits.x.stop - 1, int(np.ceil(x[inside].max() + step_x)))
        high_y = min(limits.y.stop - 1, int(np.ceil(y[inside].max() + step_y)))
        return make_box((low_x, high_x), (low_y, high_y))

    def read_planes(self, detail: CutoutDetail, box: Any) -> tuple[dict[str, NDArray[Any]], dict[str, int]]:
        """Read image, and mask and variance if asked, inside a box that lies on the image.

        Returns
        -------
        tuple
            Arrays by plane, and the bit of each mask plane.
        """
        out: dict[str, NDArray[Any]] = {}
        bits: dict[str, int] = {}
        for name in _PLANES[detail]:
            if name not in self.components:
                continue
            with self._lock:
                plane = self._reader.get_component(name, bbox=box)
            if name == "mask":
                out[name], bits = _flatten_mask(plane)
            else:
                out[name] = np.asarray(plane.array)
        return out, bits

    def read_object(self, box: Any) -> Any:
        """Read the part of the whole object inside a box, with PSF and everything else."""
        with self._lock:
            return self._reader.read(bbox=box)

    def write_object(self, box: Any, path: Path, *, compress: bool = False) -> None:
        """Write the part of the whole object inside a box as a file that lsst.images reads back."""
        # Headers of compressed images take Astropy longer than everything else together.
        options = {} if compress else {"compression_options": dict.fromkeys(_COMPRESSIBLE)}
        self.read_object(box).write(str(path), **options)

    @cached_property
    def unit(self) -> str:
        """Unit of the pixels."""
        with self._lock:
            found = self._reader.get_component(
                "image",
                bbox=self.bbox.__class__.factory[
                    self.bbox.y.start : self.bbox.y.start + 1, self.bbox.x.start : self.bbox.x.start + 1
                ],
            )
        return str(found.unit or "")

    @cached_property
    def psf(self) -> Any:
        """Model of the PSF.

        Raises
        ------
        UsageError
            If the image has none.
        """
        if "psf" not in self.components:
            raise UsageError(f"{self.dataset_type} images of this release have no PSF model")
        with self._lock:
            return self._reader.get_component("psf")

    def draw_psf(self, x: float, y: float) -> NDArray[np.float64]:
        """Draw the PSF at a pixel position, centred on the middle pixel, with sum 1.

        Raises
        ------
        NoOverlapError
            If the position lies where the image has no PSF.
        """
        from lsst.images import BoundsError

        model = self.psf
        try:
            with self._lock:
                stamp = np.array(model.compute_kernel_image(x=x, y=y).array, np.float64)
        except BoundsError:
            stamp = np.full((1, 1), np.nan)
        if not np.isfinite(stamp).all() or stamp.sum() <= 0:
            raise NoOverlapError("the image has no PSF at this position")
        return stamp / stamp.sum()

    @cached_property
    def facts(self) -> str:
        """Cards that tell where the pixels come from."""
        lines = [
            card("BUNIT", self.unit, "unit of the pixels"),
            card("DATASETT", self.dataset_type, "Butler dataset type"),
            card("DATASETI", str(self.subject.id), "Butler dataset identifier"),
            card("RELEASE", self.subject.repository, "release"),
            render_cards(
                [(f"HIERARCH DATAID {name.upper()}", value) for name, value in self.subject.data_id.items()]
            ),
        ]
        if self.subject.span_mjd is not None:
            lines += [
                card("TIMESYS", "TAI", "time scale"),
                card("MJD-BEG", self.subject.span_mjd[0], "[d] start of the exposure"),
                card("MJD-END", self.subject.span_mjd[1], "[d] end of the exposure"),
            ]
        return "".join(lines)

    @cached_property
    def _wcs(self) -> tuple[float, float, str] | None:
        """CRPIX in the image's own pixels and all other cards; None without a FITS form of the mapping."""
        wcs = self.projection.as_fits_wcs(self.bbox)
        if wcs is None:
            return None
        header = _clean(wcs.to_header(relax=True))
        # Counted from 1 in the array that begins at the corner of the image.
        x, y = (
            float(header.pop("CRPIX1")) + self.bbox.x.start,
            float(header.pop("CRPIX2")) + self.bbox.y.start,
        )
        return x, y, header.tostring(endcard=False, padding=False)

    def make_wcs_cards(self, box: Any) -> str:
        """Return the FITS cards of the sky coordinates of a part of the image."""
        offset = card("LTV1", -float(box.x.start), "place in the whole image") + card(
            "LTV2", -float(box.y.start)
        )
        known = self._wcs
        if known is None:
            return _fit_wcs(self.projection, box).tostring(endcard=False, padding=False) + offset
        x, y, rest = known
        return card("CRPIX1", x - box.x.start) + card("CRPIX2", y - box.y.start) + rest + offset


def _clean(header: fits.Header) -> fits.Header:
    for name in ("PV1_3", "PV1_4"):
        # Aliases of LONPOLE and LATPOLE here, but distortion terms to readers that know TAN with PV.
        header.remove(name, ignore_missing=True)
    return header


def _fit_wcs(projection: Any, box: Any) -> fits.Header:
    """Fit a FITS form over the cut-out only, where the true mapping is close to linear."""
    from astropy.coordinates import SkyCoord
    from astropy.wcs.utils import fit_wcs_from_points

    view = projection.as_astropy(box)
    n = 12
    x, y = np.meshgrid(np.linspace(0, max(box.x.size - 1, 1), n), np.linspace(0, max(box.y.size - 1, 1), n))
    ra, dec = view.pixel_to_world_values(x.ravel(), y.ravel())
    sky = SkyCoord(np.asarray(ra), np.asarray(dec), unit="rad")
    wcs = fit_wcs_from_points(
        (x.ravel(), y.ravel()), sky, proj_point="center", projection="TAN", sip_degree=3
    )
    return _clean(wcs.to_header(relax=True))


def _flatten_mask(mask: Any) -> tuple[NDArray[np.int32], dict[str, int]]:
    # lsst.images keeps planes in bytes; FITS readers expect one integer per pixel.
    names = [plane.name for plane in mask.schema if plane is not None]
    out = np.zeros((mask.bbox.y.size, mask.bbox.x.size), np.int32)
    for bit, name in enumerate(names):
        out |= np.asarray(mask.get(name), np.int32) << bit
    return out, {name: bit for bit, name in enumerate(names)}
