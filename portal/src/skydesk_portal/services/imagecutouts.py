"""Cut-outs that are shown like images: a box of pixels of one image, with a pyramid of its own."""

from __future__ import annotations

import re
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from skydesk_portal.exceptions import NotFoundError, PortalError, UsageError
from skydesk_portal.models.regions import Region
from skydesk_portal.pipeline.errors import core_errors
from skydesk_portal.pipeline.imagefile import common_box, make_box
from skydesk_portal.pipeline.pixels import PixelStore

if TYPE_CHECKING:
    from skydesk_portal.pipeline import Pyramid, Release

__all__ = ["CutoutId", "ImageCutouts", "parse_cutout_id", "whole_image"]

_ID = re.compile(r"cutout-([0-9a-f-]{36})-(-?\d{1,9})_(-?\d{1,9})_(-?\d{1,9})_(-?\d{1,9})\Z")
_LARGEST_PIXELS = 4096 * 4096
_LARGEST_ARCSEC = 7200.0
_KEPT = 200
"""Cut-outs that stay on the disk; those looked at last."""


@dataclass(frozen=True)
class CutoutId:
    """Name of a cut-out.

    Parameters
    ----------
    uuid
        Butler identifier of the image.
    box
        First column and row, last column and row (both included), pixels of the image's own frame.
    """

    uuid: UUID
    box: tuple[int, int, int, int]

    def __str__(self) -> str:
        return f"cutout-{self.uuid}-{'_'.join(map(str, self.box))}"


def parse_cutout_id(text: str) -> CutoutId | None:
    """Return what the name of a cut-out says, `None` if it is none."""
    found = _ID.match(text)
    if found is None:
        return None
    try:
        uuid = UUID(found[1])
    except ValueError:
        return None
    return CutoutId(uuid, (int(found[2]), int(found[3]), int(found[4]), int(found[5])))


def whole_image(dataset_id: str) -> str:
    """Return the identifier of the image that a cut-out is of; any other identifier as it is."""
    cutout = parse_cutout_id(dataset_id)
    return str(cutout.uuid) if cutout else dataset_id


class ImageCutouts:
    """Makes and keeps cut-outs.

    Parameters
    ----------
    cache
        Folder for their pyramids.
    """

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._pixels = PixelStore(_LARGEST_PIXELS)
        self._guard = threading.Lock()

    def find(
        self, release: Release, dataset_id: str, position: tuple[float, float], side_arcsec: float
    ) -> str:
        """Name the cut-out around a position: the pixels that the cut-out service gives for the circle in the square.

        Parameters
        ----------
        release
            Its release.
        dataset_id
            Butler identifier (UUID) of the image.
        position
            Centre, ICRS degrees.
        side_arcsec
            Width and height.

        Returns
        -------
        str
            The name, by which it is shown as an image is.

        Raises
        ------
        UsageError
            If the side is out of range, or the image has no sky coordinates.
        NoOverlapError
            If it lies off the image.
        TooLargeError
            If it has too many pixels.
        """
        if not 0 < side_arcsec <= _LARGEST_ARCSEC:
            raise UsageError(f"the side of a cut-out is more than 0 and at most {_LARGEST_ARCSEC:g} arcsec")
        uuid = UUID(dataset_id)
        box = self._pixels.get_image(release, uuid).find_box(Region((position,), side_arcsec / 7200))
        self._pixels.check_size(box)
        return str(CutoutId(uuid, (box.x.start, box.y.start, box.x.stop - 1, box.y.stop - 1)))

    def get_pyramid(self, release: Release, cutout: CutoutId) -> Pyramid:
        """Open the pyramid of a cut-out; build it if it is not kept.

        Parameters
        ----------
        release
            Its release.
        cutout
            Its name.

        Raises
        ------
        NotFoundError
            If there is no such image, or the box does not lie on it.
        TooLargeError
            If it has too many pixels.
        """
        from skydesk_portal.pipeline import Pyramid, build_dataset_pyramid

        folder = self._cache / release.name / str(cutout)
        if (folder / "meta.json").exists():
            folder.touch()
            return Pyramid.open(folder)
        image = self._pixels.get_image(release, cutout.uuid)
        x0, y0, x1, y1 = cutout.box
        box = make_box((x0, x1), (y0, y1)) if x0 <= x1 and y0 <= y1 else None
        if box is None or common_box(image.bbox, box) != box:
            raise NotFoundError("the cut-out does not lie on its image")
        self._pixels.check_size(box)
        try:
            with core_errors(), self._pixels.open_butler(release) as butler:
                ref = butler.get_dataset(cutout.uuid, dimension_records=True)
                assert ref is not None
                made = build_dataset_pyramid(butler, ref, folder, release.name, box)
            self._forget()
        except OSError as error:
            raise PortalError(f"the cut-out cannot be prepared: {error.strerror or error}") from error
        return made

    def _forget(self) -> None:
        """Remove the cut-outs that were looked at longest ago."""
        with self._guard:
            kept = [f for f in self._cache.glob("*/cutout-*") if f.is_dir()]
            kept.sort(key=lambda f: f.stat().st_mtime)
            for folder in kept[:-_KEPT]:
                shutil.rmtree(folder, ignore_errors=True)
