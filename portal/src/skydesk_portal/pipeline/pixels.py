"""Reading pixels of published images through the Butler, a part at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np

from skydesk_portal.exceptions import NotFoundError, PortalError, TooLargeError, UsageError
from skydesk_portal.models.datasets import CutoutDetail, DatasetFacts, DatasetId
from skydesk_portal.models.regions import Region

if TYPE_CHECKING:
    from astropy.io import fits
    from lsst.daf.butler import Butler, DatasetRef

    from skydesk_core.release import Release

__all__ = ["NoOverlapError", "PixelStore"]


class NoOverlapError(PortalError):
    """A region and an image have no pixel in common."""

    code = "no_overlap"
    status = 204
    vo_error = "UsageError"


@dataclass(frozen=True)
class _Opened:
    """What a cut-out needs to know of an image before reading pixels."""

    ref: DatasetRef
    bbox: Any
    projection: Any


class _Repository:
    """One release's Butler; a Butler is used by one thread at a time."""

    def __init__(self, release: Release) -> None:
        self.release = release
        self._lock = threading.Lock()
        self._idle: list[Butler] = []

    @contextmanager
    def butler(self) -> Iterator[Butler]:
        with self._lock:
            found = self._idle.pop() if self._idle else None
        if found is None:
            found = self.release.get_butler()
        try:
            yield found
        finally:
            with self._lock:
                self._idle.append(found)


class PixelStore:
    """The images of all releases.

    Parameters
    ----------
    limit_pixels
        Largest cut-out.
    """

    def __init__(self, limit_pixels: int) -> None:
        self._limit = limit_pixels
        self._lock = threading.Lock()
        self._repositories: dict[Path, _Repository] = {}
        # Geometry of an image never changes: releases are immutable.
        self._open = lru_cache(maxsize=512)(self._open_image)

    def _repository(self, release: Release) -> _Repository:
        with self._lock:
            known = self._repositories.get(release.path)
            if known is None or known.release.manifest != release.manifest:
                known = _Repository(release)
                self._repositories[release.path] = known
                self._open.cache_clear()
            return known

    def warm(self, release: Release) -> None:
        """Open the Butler of a release ahead of the first request."""
        with self._repository(release).butler() as butler:
            butler.collections.query("*")

    def get_facts(self, release: Release, dataset: DatasetId) -> DatasetFacts:
        """Look up a dataset.

        Parameters
        ----------
        release
            Its release.
        dataset
            Its identifier.

        Returns
        -------
        DatasetFacts
            Type, data ID and file.

        Raises
        ------
        NotFoundError
            If the release has no such dataset.
        """
        with self._repository(release).butler() as butler:
            ref = self._get_ref(butler, release, dataset.uuid)
            uri = butler.getURI(ref)
        path = Path(uri.ospath).resolve()
        if not path.is_relative_to((release.path / "butler").resolve()) and not path.is_relative_to(
            release.path.resolve()
        ):
            raise NotFoundError(f"the file of {dataset.text} is not part of the release")
        data_id = {str(key): value for key, value in ref.dataId.mapping.items()}
        return DatasetFacts(
            dataset,
            ref.datasetType.name,
            ref.datasetType.storageClass_name,
            data_id,
            str(path),
            path.stat().st_size,
        )

    def _get_ref(self, butler: Butler, release: Release, dataset_id: UUID) -> DatasetRef:
        ref = butler.get_dataset(dataset_id)
        if ref is None:
            raise NotFoundError(f"release {release.name} has no dataset {dataset_id}")
        return ref

    def _open_image(self, repository: _Repository, dataset_id: UUID) -> _Opened:
        with repository.butler() as butler:
            ref = self._get_ref(butler, repository.release, dataset_id)
            components = ref.datasetType.storageClass.allComponents()
            if not {"bbox", "sky_projection", "image"} <= set(components):
                raise UsageError(f"{ref.datasetType.name} is not an image that cut-outs can be made of")
            bbox = butler.get(ref.makeComponentRef("bbox"))
            projection = butler.get(ref.makeComponentRef("sky_projection"))
        if projection is None:
            raise UsageError(f"{ref.datasetType.name} has no sky coordinates")
        return _Opened(ref, bbox, projection)

    def write_cutout(
        self, release: Release, dataset: DatasetId, region: Region, detail: CutoutDetail, path: Path
    ) -> int:
        """Write the part of an image around a region as FITS.

        Parameters
        ----------
        release, dataset
            The image.
        region
            Circle or polygon; the cut-out is the box of pixels around it,
            clipped at the image's edge.
        detail
            Image alone, with mask and variance, or the whole object.
        path
            Where the file goes.

        Returns
        -------
        int
            Number of pixels.

        Raises
        ------
        NoOverlapError
            If the region lies off the image.
        TooLargeError
            If the cut-out would be too large.
        """
        repository = self._repository(release)
        opened = self._open(repository, dataset.uuid)
        box = _box_around(opened, region)
        pixels = box.y.size * box.x.size
        if pixels > self._limit:
            raise TooLargeError(
                f"the cut-out would have {pixels} pixels, more than the {self._limit} allowed"
            )
        with repository.butler() as butler:
            if detail == CutoutDetail.EXPOSURE:
                butler.get(opened.ref, parameters={"bbox": box}).write(str(path))
                return int(pixels)
            names = ["image"] if detail == CutoutDetail.IMAGE else ["image", "mask", "variance"]
            planes = {n: butler.get(opened.ref.makeComponentRef(n), parameters={"bbox": box}) for n in names}
        _write_planes(planes, opened, dataset, box, path)
        return int(pixels)


def _box_around(opened: _Opened, region: Region) -> Any:
    from astropy import units as u
    from astropy.coordinates import SkyCoord
    from lsst.images import Box

    ra, dec = (np.array(v, float) for v in zip(*region.corners, strict=True))
    if region.radius_deg is not None:
        # Points on the rim: the box around them holds the circle up to a hundredth of its radius.
        angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
        center = SkyCoord(ra[0], dec[0], unit="deg")
        rim = center.directional_offset_by(angles * u.rad, region.radius_deg * u.deg)
        ra, dec = np.append(rim.ra.deg, ra[0]), np.append(rim.dec.deg, dec[0])
    found = opened.projection.sky_to_pixel(SkyCoord(ra, dec, unit="deg"))
    x, y = np.asarray(found.x, float), np.asarray(found.y, float)
    good = np.isfinite(x) & np.isfinite(y)
    if not good.any():
        raise NoOverlapError("the region does not touch the image")
    low_x, high_x = int(np.floor(x[good].min() + 0.5)), int(np.floor(x[good].max() + 0.5))
    low_y, high_y = int(np.floor(y[good].min() + 0.5)), int(np.floor(y[good].max() + 0.5))
    bounds = opened.bbox
    low_x, low_y = max(low_x, bounds.x.start), max(low_y, bounds.y.start)
    high_x, high_y = min(high_x, bounds.x.stop - 1), min(high_y, bounds.y.stop - 1)
    if low_x > high_x or low_y > high_y:
        raise NoOverlapError("the region does not touch the image")
    return Box.factory[low_y : high_y + 1, low_x : high_x + 1]


def _wcs_header(opened: _Opened, box: Any) -> fits.Header:
    from astropy.coordinates import SkyCoord
    from astropy.wcs.utils import fit_wcs_from_points

    wcs = opened.projection.as_fits_wcs(box)
    if wcs is None:
        # The true mapping has no FITS form: fit one over the cut-out only, where it is close to linear.
        view = opened.projection.as_astropy(box)
        n = 12
        x, y = np.meshgrid(
            np.linspace(0, max(box.x.size - 1, 1), n), np.linspace(0, max(box.y.size - 1, 1), n)
        )
        ra, dec = view.pixel_to_world_values(x.ravel(), y.ravel())
        sky = SkyCoord(np.asarray(ra), np.asarray(dec), unit="rad")
        wcs = fit_wcs_from_points(
            (x.ravel(), y.ravel()), sky, proj_point="center", projection="TAN", sip_degree=3
        )
    header: fits.Header = wcs.to_header(relax=True)
    for card in ("PV1_3", "PV1_4"):
        # Aliases of LONPOLE and LATPOLE here, but distortion terms to readers that know TAN with PV.
        header.remove(card, ignore_missing=True)
    # The position in the whole image, as LSST and IRAF write it.
    header["LTV1"], header["LTV2"] = -float(box.x.start), -float(box.y.start)
    return header


def _write_planes(planes: dict[str, Any], opened: _Opened, dataset: DatasetId, box: Any, path: Path) -> None:
    from astropy.io import fits

    header = _wcs_header(opened, box)
    facts = fits.Header()
    facts["BUNIT"] = str(planes["image"].unit or "")
    facts["DATASETT"] = (opened.ref.datasetType.name, "Butler dataset type")
    facts["DATASETI"] = (str(dataset.uuid), "Butler dataset identifier")
    facts["RELEASE"] = (dataset.release, "release")
    for name, value in opened.ref.dataId.mapping.items():
        facts[f"HIERARCH DATAID {str(name).upper()}"] = value
    image = np.asarray(planes["image"].array)
    if set(planes) == {"image"}:
        fits.PrimaryHDU(image, header=facts + header).writeto(path, overwrite=True)
        return
    hdus = [fits.PrimaryHDU(header=facts), fits.ImageHDU(image, header=header, name="IMAGE")]
    hdus[1].header["BUNIT"] = facts["BUNIT"]
    flat, names = _flatten_mask(planes["mask"])
    hdus.append(fits.ImageHDU(flat, header=header, name="MASK"))
    for bit, name in enumerate(names):
        hdus[-1].header[f"HIERARCH MP_{name}"] = bit
    hdus.append(fits.ImageHDU(np.asarray(planes["variance"].array), header=header, name="VARIANCE"))
    fits.HDUList(hdus).writeto(path, overwrite=True)


def _flatten_mask(mask: Any) -> tuple[np.ndarray, list[str]]:
    # lsst.images keeps planes in bytes; FITS readers expect one integer per pixel.
    names = [plane.name for plane in mask.schema if plane is not None]
    out = np.zeros((mask.bbox.y.size, mask.bbox.x.size), np.int32)
    for bit, name in enumerate(names):
        out |= np.asarray(mask.get(name), np.int32) << bit
    return out, names
