"""The images of all releases: looking them up, keeping those open that were used last, cutting parts out."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from skydesk_portal.exceptions import NotFoundError, TooLargeError, UsageError
from skydesk_portal.models.cutouts import CutoutDetail
from skydesk_portal.models.datasets import DatasetFacts, DatasetId
from skydesk_portal.models.regions import Region
from skydesk_portal.pipeline.imagefile import PLAIN_CLASSES, ImageHandle, ImageSubject
from skydesk_portal.pipeline.stamps import Stamp

if TYPE_CHECKING:
    from lsst.daf.butler import Butler, DatasetRef

    from skydesk_core.release import Release

__all__ = ["PixelStore", "load_middleware"]

_OPEN_IMAGES = 64
_LOADING = threading.Lock()


def load_middleware() -> None:
    """Import what reads images, which takes seconds, one thread at a time.

    Its modules import each other: threads that import different ones of them at once get half of a module.
    """
    with _LOADING:
        import lsst.images.serialization  # noqa: F401

        import skydesk_core.repo  # noqa: F401


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
    """The images of all releases; those used last stay open.

    Parameters
    ----------
    limit_pixels
        Largest cut-out.
    """

    def __init__(self, limit_pixels: int) -> None:
        self._limit = limit_pixels
        self._lock = threading.Lock()
        self._repositories: dict[Path, _Repository] = {}
        # Nothing of an image ever changes: releases are immutable.
        self._open: OrderedDict[tuple[Path, UUID], ImageHandle] = OrderedDict()

    def _repository(self, release: Release) -> _Repository:
        with self._lock:
            known = self._repositories.get(release.path)
            if known is None or (known.release is not release and known.release.manifest != release.manifest):
                known = _Repository(release)
                self._repositories[release.path] = known
                for key in [k for k in self._open if k[0] == release.path]:
                    del self._open[key]
            return known

    @contextmanager
    def open_butler(self, release: Release) -> Iterator[Butler]:
        """Lend the release's Butler to one thread."""
        with self._repository(release).butler() as butler:
            yield butler

    def warm(self, release: Release) -> None:
        """Open the Butler of a release and what reads its images ahead of the first request."""
        load_middleware()
        with self.open_butler(release) as butler:
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
        with self.open_butler(release) as butler:
            ref, path = _locate(butler, release, dataset.uuid)
        data_id = {str(key): value for key, value in ref.dataId.required.items()}
        return DatasetFacts(
            dataset,
            ref.datasetType.name,
            ref.datasetType.storageClass_name,
            data_id,
            str(path),
            path.stat().st_size,
        )

    def get_image(self, release: Release, dataset_id: UUID) -> ImageHandle:
        """Open an image, or return it if it is open.

        Raises
        ------
        NotFoundError
            If the release has no such dataset.
        UsageError
            If it is not an image with sky coordinates.
        """
        repository = self._repository(release)
        key = (release.path, dataset_id)
        with self._lock:
            found = self._open.get(key)
            if found is not None:
                self._open.move_to_end(key)
                return found
        load_middleware()
        with repository.butler() as butler:
            ref, path = _locate(butler, release, dataset_id)
        made = ImageHandle(ImageSubject.of(ref, release.name), path)
        with self._lock:
            found = self._open.setdefault(key, made)
            while len(self._open) > _OPEN_IMAGES:
                self._open.popitem(last=False)
        return found

    def check_size(self, box: Any) -> int:
        """Return the number of pixels in a box.

        Raises
        ------
        TooLargeError
            If they are more than the setting ``portal.cutout_pixels`` allows.
        """
        pixels = int(box.y.size) * int(box.x.size)
        if pixels > self._limit:
            raise TooLargeError(
                f"the cut-out would have {box.x.size} x {box.y.size} = {pixels} pixels, more than the "
                f"{self._limit} that the setting portal.cutout_pixels allows: ask for a smaller region"
            )
        return pixels

    def cut(self, handle: ImageHandle, region: Region | None, detail: CutoutDetail) -> Stamp:
        """Read the part of an image around a region.

        Parameters
        ----------
        handle
            The image.
        region
            Where; the cut-out is the box of pixels around it, clipped at the
            image's edge. `None` for the whole image.
        detail
            Image alone, or with mask and variance.

        Raises
        ------
        NoOverlapError
            If the region lies off the image.
        TooLargeError
            If the cut-out would be too large.
        """
        box = handle.find_box(region)
        self.check_size(box)
        planes, bits = handle.read_planes(detail, box)
        return Stamp(planes, bits, handle.facts, handle.make_wcs_cards(box))

    def read_whole(self, release: Release, dataset_id: UUID) -> NDArray[Any]:
        """Read all pixels of anything that has pixels, sky coordinates or not.

        Raises
        ------
        NotFoundError
            If the release has no such dataset.
        UsageError
            If it is not an image.
        TooLargeError
            If it has too many pixels.
        """
        with self.open_butler(release) as butler:
            ref, path = _locate(butler, release, dataset_id)
            components = ref.datasetType.storageClass.allComponents()
            if "image" not in components and ref.datasetType.storageClass_name not in PLAIN_CLASSES:
                raise UsageError(f"{ref.datasetType.name} is not an image")
            if "bbox" in components:
                self.check_size(butler.get(ref.makeComponentRef("bbox")))
            elif path.stat().st_size > 8 * self._limit:
                raise TooLargeError(
                    f"the image is larger than the {self._limit} pixels of portal.cutout_pixels"
                )
            found = butler.get(ref.makeComponentRef("image") if "image" in components else ref)
        return np.asarray(found.array)

    def write_object(
        self, handle: ImageHandle, region: Region | None, path: Path, *, compress: bool = False
    ) -> int:
        """Write the part of a whole image object around a region; return its number of pixels."""
        box = handle.find_box(region)
        pixels = self.check_size(box)
        handle.write_object(box, path, compress=compress)
        return pixels


def _locate(butler: Butler, release: Release, dataset_id: UUID) -> tuple[DatasetRef, Path]:
    ref = butler.get_dataset(dataset_id, dimension_records=True)
    if ref is None:
        raise NotFoundError(f"release {release.name} has no dataset {dataset_id}")
    path = Path(butler.getURI(ref).ospath).resolve()
    inside = ((release.path / "butler").resolve(), release.path.resolve())
    if not any(path.is_relative_to(folder) for folder in inside):
        raise NotFoundError(f"the file of dataset {dataset_id} is not part of the release")
    return ref, path
