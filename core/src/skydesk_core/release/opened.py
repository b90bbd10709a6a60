"""An opened release: everything that services and notebooks read from it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from skydesk_core.errors import DataError, NotFoundError
from skydesk_core.home import Home
from skydesk_core.release.manifest import Manifest
from skydesk_core.release.model import ReleaseSchema
from skydesk_core.release.pyramid import Pyramid, build_overview, build_pyramid

if TYPE_CHECKING:
    from lsst.daf.butler import Butler, DataCoordinate, DatasetRef

__all__ = ["Release", "build_dataset_overview", "build_dataset_pyramid", "get_release", "list_releases"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Release:
    """One immutable release.

    Parameters
    ----------
    path
        Its folder.
    manifest
        What it says about itself.
    """

    path: Path
    manifest: Manifest

    @staticmethod
    def open(path: Path | str) -> Release:
        """Open a release; reads the manifest only.

        Raises
        ------
        NotFoundError
            If the folder holds no release.
        DataError
            If its manifest cannot be used.
        """
        folder = Path(path)
        if not (folder / "manifest.json").exists():
            raise NotFoundError(f"{folder}: no release (manifest.json is missing)")
        return Release(folder, Manifest.read(folder / "manifest.json"))

    @property
    def name(self) -> str:
        """Name: Butler label and TAP schema."""
        return self.manifest.name

    @property
    def duckdb_path(self) -> Path:
        """The catalog file, to be opened read-only."""
        return self.path / "catalogs.duckdb"

    @property
    def butler_path(self) -> Path:
        """The Butler repository, to be opened read-only."""
        return self.path / "butler"

    @property
    def collection(self) -> str:
        """The published chained collection."""
        return self.manifest.collection

    @cached_property
    def _schema(self) -> ReleaseSchema:
        return ReleaseSchema.read(self.path / "schema.json")

    def schema(self) -> ReleaseSchema:
        """Return the published tables and columns (read once, from the quick form of ``schema.yaml``)."""
        return self._schema

    def get_butler(self) -> Butler:
        """Open the release's Butler, read-only, with the published collection as default.

        Returns
        -------
        lsst.daf.butler.Butler
            A new Butler; the caller closes it.
        """
        from lsst.daf.butler import Butler

        return Butler.from_config(str(self.butler_path), collections=[self.collection], writeable=False)

    def find_pyramid(self, dataset_id: UUID | str) -> Pyramid | None:
        """Open the pyramid that was published with an image; None for images whose pyramid is built when needed."""
        folder = self.path / "pyramids" / str(UUID(str(dataset_id)))
        return Pyramid.open(folder) if (folder / "meta.json").exists() else None

    def get_pyramid(self, dataset_id: UUID | str, cache: Path) -> Pyramid:
        """Open the pyramid of an image; build it in the cache when it was not published.

        Parameters
        ----------
        dataset_id
            Butler identifier of the image.
        cache
            Folder for pyramids that are built when needed, one folder per dataset in it.

        Raises
        ------
        NotFoundError
            If the release has no such dataset.
        DataError
            If the dataset is not an image.
        """
        key = str(UUID(str(dataset_id)))
        found = self.find_pyramid(key)
        if found is not None:
            return found
        folder = cache / self.name / key
        if (folder / "meta.json").exists():
            return Pyramid.open(folder)
        with self.get_butler() as butler:
            ref = butler.get_dataset(UUID(key), dimension_records=True)
            if ref is None:
                raise NotFoundError(f"release {self.name} has no dataset {key}")
            return build_dataset_pyramid(butler, ref, folder, self.name)

    def find_overview(self, dataset_id: UUID | str) -> Pyramid | None:
        """Open the coarsest level of an image's pixels; None for images that none was published of."""
        folder = self.path / "overviews" / str(UUID(str(dataset_id)))
        return Pyramid.open(folder) if (folder / "meta.json").exists() else None


def build_dataset_pyramid(
    butler: Butler, ref: DatasetRef, folder: Path, release: str | None = None, box: Any = None
) -> Pyramid:
    """Build the pyramid of one Butler dataset with its identity in ``meta.json``.

    Parameters
    ----------
    butler
        Where it is stored.
    ref
        The dataset, with dimension records.
    folder
        Where the pyramid goes.
    release
        Name of the release it belongs to.
    box
        Only these pixels of it, an ``lsst.images.Box`` in its own frame; ``meta.json`` then says ``cutout``.

    Raises
    ------
    DataError
        If the dataset is not an image.
    """
    image = butler.get(ref, parameters=None if box is None else {"bbox": box})
    if not (hasattr(image, "image") or hasattr(image, "array")):
        raise DataError(f"dataset {ref.id} ({ref.datasetType.name}) is not an image")
    identity, band = _identify(ref, release)
    if box is not None:
        identity["cutout"] = [box.x.start, box.y.start, box.x.stop - 1, box.y.stop - 1]
    return build_pyramid(image, folder, identity, band)


def build_dataset_overview(
    butler: Butler, ref: DatasetRef, folder: Path, release: str | None = None
) -> Pyramid | None:
    """Build the overview of one Butler dataset; the parameters are those of `build_dataset_pyramid`.

    Returns
    -------
    Pyramid or None
        None for an image without a place on the sky.
    """
    wanted = {"components": ["image", "sky_projection"]}
    found = butler.get(ref.makeComponentRef("components"), parameters=wanted)
    if found["sky_projection"] is None:
        return None
    return build_overview(found["image"], found["sky_projection"], folder, *_identify(ref, release))


def _identify(ref: DatasetRef, release: str | None) -> tuple[dict[str, Any], str | None]:
    """Return what ``meta.json`` says about the identity of a dataset, and its band."""
    data_id = ref.dataId
    record = None
    if data_id.hasRecords():
        record = data_id.records["visit"] if "visit" in data_id else None
        if record is None and "exposure" in data_id:
            record = data_id.records["exposure"]
    span = getattr(record, "timespan", None)
    middle = None if span is None else (span.begin.tai.mjd + span.end.tai.mjd) / 2
    values = {k: data_id[k] for k in data_id.dimensions.required}
    identity = {
        "release": release,
        "dataset_id": str(ref.id),
        "dataset_type": ref.datasetType.name,
        "run": ref.run,
        "data_id": values,
        "visit": values.get("visit", values.get("exposure")),
        "physical_filter": str(data_id["physical_filter"]) if _knows(data_id, "physical_filter") else None,
        "skymap": values.get("skymap"),
        "detector": values.get("detector"),
        "tract": values.get("tract"),
        "patch": values.get("patch"),
        "mjd": None if middle is None else float(middle),
    }
    band = str(data_id["band"]) if _knows(data_id, "band") else None
    return identity, band


def _knows(data_id: DataCoordinate, dimension: str) -> bool:
    return dimension in data_id and (data_id.hasFull() or dimension in data_id.dimensions.required)


def _folders(home: Home) -> Iterator[Path]:
    if home.releases.is_dir():
        for folder in sorted(home.releases.iterdir()):
            # Names that begin with a dot are releases being built or removed.
            if not folder.name.startswith(".") and (folder / "manifest.json").exists():
                yield folder


def list_releases(home: Home | Path | str) -> list[Release]:
    """List the releases of a home, by name; one whose manifest cannot be used is left out and logged.

    Parameters
    ----------
    home
        The home, or its folder.
    """
    found = []
    for folder in _folders(home if isinstance(home, Home) else Home(Path(home))):
        try:
            found.append(Release.open(folder))
        except DataError as error:
            # One release of a newer version must not take the others off the air.
            _LOG.warning("release left out: %s", error)
    return found


def get_release(home: Home | Path | str, name: str) -> Release:
    """Open a release of a home by its name.

    Raises
    ------
    NotFoundError
        If the home has no release of that name.
    """
    root = home if isinstance(home, Home) else Home(Path(home))
    for folder in _folders(root):
        if folder.name == name:
            return Release.open(folder)
    known = ", ".join(f.name for f in _folders(root)) or "none"
    raise NotFoundError(f"no release {name!r} (there are: {known})")
