"""Coadds of one tract and band as one image: each pixel from the patch that it belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from skydesk_portal.exceptions import NotFoundError, UsageError
from skydesk_portal.models.cutouts import CutoutDetail, TractId
from skydesk_portal.models.regions import Region
from skydesk_portal.pipeline.errors import core_errors
from skydesk_portal.pipeline.imagefile import ImageHandle, NoOverlapError, common_box
from skydesk_portal.pipeline.pixels import PixelStore
from skydesk_portal.pipeline.stamps import Stamp, card, render_cards

if TYPE_CHECKING:
    from skydesk_core.release import Release

__all__ = ["MosaicStore", "TractImage"]

_NO_DATA = "NO_DATA"
_FIRST_MISSING_BIT = 30


@dataclass(frozen=True)
class TractImage:
    """The patches of one tract in one band.

    Parameters
    ----------
    id
        What it is.
    skymap
        Name of the skymap.
    patches
        Dataset of each patch that there is, with the box of pixels that belong to it.
    bbox
        All pixels of the tract, the outer border included.
    tract
        The tract's geometry, which tells the patch of a position.
    """

    id: TractId
    skymap: str
    patches: dict[int, tuple[UUID, Any]]
    bbox: Any
    tract: Any


def _owned(patch: Any, tract: Any) -> Any:
    """Return the pixels that belong to a patch: its inner ones, and the outer border at the edge of the tract."""
    inner, outer = patch.inner_bbox, patch.bbox
    x0 = outer.x.start if patch.cell_x == 0 else inner.x.start
    x1 = outer.x.stop if patch.cell_x == tract.n_x - 1 else inner.x.stop
    y0 = outer.y.start if patch.cell_y == 0 else inner.y.start
    y1 = outer.y.stop if patch.cell_y == tract.n_y - 1 else inner.y.stop
    return inner.__class__.factory[y0:y1, x0:x1]


class MosaicStore:
    """The tracts of all releases.

    Parameters
    ----------
    pixels
        Their images.
    """

    def __init__(self, pixels: PixelStore) -> None:
        self._pixels = pixels
        self._find = lru_cache(maxsize=256)(self._find_tract)
        self._releases: dict[str, Release] = {}

    def get_tract(self, release: Release, tract: TractId) -> TractImage:
        """Return the patches of a tract in a band.

        Raises
        ------
        NotFoundError
            If the release has none.
        """
        if self._releases.get(release.name) is not release:
            self._releases[release.name] = release
            self._find.cache_clear()
        return self._find(tract)

    def _find_tract(self, tract: TractId) -> TractImage:
        from lsst.daf.butler import MissingDatasetTypeError

        release = self._releases[tract.release]
        with self._pixels.open_butler(release) as butler:
            try:
                kind = butler.get_dataset_type(tract.dataset_type)
                if not {"tract", "patch", "band"} <= set(kind.dimensions.names):
                    raise UsageError(
                        f"{tract.dataset_type} is not a dataset type with tracts, patches and bands"
                    )
                refs = butler.query_datasets(
                    kind, tract=tract.tract, band=tract.band, limit=None, explain=False
                )
            except MissingDatasetTypeError as error:
                raise NotFoundError(
                    f"release {tract.release} has no dataset type {tract.dataset_type}"
                ) from error
            refs = [r for r in refs if r.dataId["tract"] == tract.tract and r.dataId["band"] == tract.band]
            if not refs:
                raise NotFoundError(
                    f"release {tract.release} has no {tract.dataset_type} of tract {tract.tract} in band {tract.band}"
                )
            skymap = str(refs[0].dataId["skymap"])
            with core_errors():
                geometry = butler.get("skyMap", skymap=skymap).tract(tract.tract)
        with core_errors():
            owned = {r.dataId["patch"]: geometry.patch(r.dataId["patch"]) for r in refs}
            corners = [geometry.patch(0).bbox, geometry.patch(geometry.n_x * geometry.n_y - 1).bbox]
        low, high = corners
        bbox = low.__class__.factory[low.y.start : high.y.stop, low.x.start : high.x.stop]
        patches = {
            int(r.dataId["patch"]): (r.id, _owned(owned[r.dataId["patch"]], geometry))
            for r in refs
            if r.dataId["skymap"] == skymap
        }
        return TractImage(tract, skymap, patches, bbox, geometry)

    def tract_of(self, release: Release, dataset_id: UUID) -> TractId:
        """Return the tract and band that an image of a patch belongs to.

        Raises
        ------
        UsageError
            If the image has no tract.
        """
        handle = self._pixels.get_image(release, dataset_id)
        values = handle.subject.data_id
        if not {"tract", "patch", "band"} <= set(values):
            raise UsageError(f"{handle.dataset_type} images do not make up a mosaic: give the ID of a coadd")
        return TractId(release.name, handle.dataset_type, int(values["tract"]), str(values["band"]))

    def cut(self, release: Release, tract: TractId, region: Region | None, detail: CutoutDetail) -> Stamp:
        """Read the part of a tract around a region.

        Parameters
        ----------
        release, tract
            Which coadds.
        region
            Where; `None` for the whole tract.
        detail
            Image alone, or with mask and variance.

        Returns
        -------
        Stamp
            Each pixel from the patch that it belongs to; where there is none,
            the image and the variance are NaN and the mask says NO_DATA.

        Raises
        ------
        NoOverlapError
            If the region lies off all patches.
        TooLargeError
            If the cut-out would be too large.
        """
        found = self.get_tract(release, tract)
        first = self._pixels.get_image(release, next(iter(found.patches.values()))[0])
        box = first.find_box(region, found.bbox)
        self._pixels.check_size(box)
        return self.read_box(release, found, box, detail)

    def covers(self, release: Release, tract: TractImage, box: Any) -> bool:
        """Tell whether patches with images fill a box."""
        filled = 0
        for dataset_id, owned in tract.patches.values():
            part = common_box(owned, box)
            if part is not None:
                part = common_box(part, self._pixels.get_image(release, dataset_id).bbox)
            filled += part.x.size * part.y.size if part is not None else 0
        return filled == int(box.x.size) * int(box.y.size)

    def read_box(self, release: Release, tract: TractImage, box: Any, detail: CutoutDetail) -> Stamp:
        """Read a box of pixels of a tract; see `cut`."""
        planes: dict[str, NDArray[Any]] = {}
        bits: dict[str, int] = {}
        used: list[int] = []
        first: ImageHandle | None = None
        filled = np.zeros((box.y.size, box.x.size), bool)
        for number, (dataset_id, owned) in sorted(tract.patches.items()):
            part = common_box(owned, box)
            if part is None:
                continue
            handle = self._pixels.get_image(release, dataset_id)
            part = common_box(part, handle.bbox)
            if part is None:
                continue
            first = first or handle
            used.append(number)
            found, found_bits = handle.read_planes(detail, part)
            place = (
                slice(part.y.start - box.y.start, part.y.stop - box.y.start),
                slice(part.x.start - box.x.start, part.x.stop - box.x.start),
            )
            filled[place] = True
            for name, array in found.items():
                if name not in planes:
                    fill = 0 if name == "mask" else np.nan
                    planes[name] = np.full(filled.shape, fill, array.dtype)
                planes[name][place] = _translate(array, found_bits, bits) if name == "mask" else array
        if first is None:
            raise NoOverlapError("the region does not touch the image")
        if "mask" in planes:
            bit = bits.setdefault(_NO_DATA, _FIRST_MISSING_BIT)
            planes["mask"][~filled] |= np.int32(1 << bit)
        facts = card("BUNIT", first.unit, "unit of the pixels") + card("DATASETT", first.dataset_type)
        facts += card("RELEASE", release.name, "release")
        facts += render_cards(
            [
                ("HIERARCH DATAID SKYMAP", tract.skymap),
                ("HIERARCH DATAID TRACT", tract.id.tract),
                ("HIERARCH DATAID BAND", tract.id.band),
                ("PATCHES", " ".join(map(str, used))),
            ]
        )
        return Stamp(planes, bits, facts, first.make_wcs_cards(box))


def _translate(mask: NDArray[np.int32], own: dict[str, int], bits: dict[str, int]) -> NDArray[np.int32]:
    """Give the planes of a mask the bits that the mosaic uses; the first patch decides them."""
    if not bits:
        bits.update(own)
    if all(bits.get(name) == bit for name, bit in own.items()):
        return mask
    out = np.zeros_like(mask)
    for name, bit in own.items():
        wanted = bits.setdefault(name, next(b for b in range(31) if b not in bits.values()))
        out |= ((mask >> bit) & 1) << wanted
    return out
