"""The files of images: fetched one by one or as an archive, or put into a person's storage."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from skydesk_portal.exceptions import NotFoundError, TooLargeError, UsageError
from skydesk_portal.models.datasets import DatasetId
from skydesk_portal.models.identity import Identity
from skydesk_portal.services.download_archives import Member, stream_archive
from skydesk_portal.services.fitsfiles import OWN_IMAGES
from skydesk_portal.storage.files import split_path

if TYPE_CHECKING:
    from skydesk_portal.services.files import FilesService
    from skydesk_portal.services.fitsfiles import FitsFiles
    from skydesk_portal.services.soda import SodaService

__all__ = ["ImageFile", "ImageFileService"]

_MOST = 2000
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class ImageFile:
    """The file of an image.

    Parameters
    ----------
    name
        What it is called where it goes.
    path
        Where it lies.
    size_bytes
        Its length.
    """

    name: str
    path: Path
    size_bytes: int


class ImageFileService:
    """Finds the files of images and sends them somewhere.

    Parameters
    ----------
    soda
        Knows the images of releases.
    own
        Knows the images that people opened out of their own files.
    files
        The storage of people.
    """

    def __init__(self, soda: SodaService, own: FitsFiles, files: FilesService) -> None:
        self._soda, self._own, self._files = soda, own, files

    def find_files(self, identity: Identity, release: str, dataset_ids: Sequence[str]) -> list[ImageFile]:
        """Return the files of images.

        Parameters
        ----------
        identity
            Who asks.
        release
            Name of the release, or `OWN_IMAGES`.
        dataset_ids
            Identifiers of the images, in the order wanted; each counts once.

        Raises
        ------
        NotFoundError
            If the caller sees no such image.
        TooLargeError
            If they are too many for one archive.
        UsageError
            If none is given.
        """
        wanted = list(dict.fromkeys(dataset_ids))
        if not wanted:
            raise UsageError("choose images first")
        if len(wanted) > _MOST:
            raise TooLargeError(f"at most {_MOST} images are sent at once")
        found: list[ImageFile] = []
        names: set[str] = set()
        for dataset_id in wanted:
            path, name = self._locate(identity, release, dataset_id)
            if name in names:
                name = f"{Path(name).stem}-{dataset_id}{Path(name).suffix}"
            names.add(name)
            found.append(ImageFile(name, path, path.stat().st_size))
        return found

    def _locate(self, identity: Identity, release: str, dataset_id: str) -> tuple[Path, str]:
        if release == OWN_IMAGES:
            path = self._own.get_path(identity, dataset_id)
            return path, Path(str(self._own.describe(identity, dataset_id[:24])["name"])).name
        try:
            number = UUID(dataset_id)
        except ValueError as error:
            raise NotFoundError(f"there is no image {dataset_id[:40]!r}") from error
        facts = self._soda.get_facts(identity, DatasetId(release, number))
        return Path(facts.path), Path(facts.path).name

    def stream(self, found: Sequence[ImageFile], form: str) -> Generator[bytes]:
        """Return an archive of image files, part by part; ``form`` is one of `ARCHIVES`."""
        return stream_archive(
            [Member(image.name, image.size_bytes, lambda p=image.path: p.open("rb")) for image in found],  # type: ignore[misc]
            form,
        )

    def store(self, identity: Identity, found: Sequence[ImageFile], folder: str) -> list[str]:
        """Put image files into a folder of the caller's storage, which is made if it is missing.

        Parameters
        ----------
        identity
            The caller.
        found
            The files.
        folder
            Path below the home folder.

        Returns
        -------
        list of str
            Paths of the files below the home folder.

        Raises
        ------
        FileSpaceError
            If they do not fit into the quota; those before are there.
        ForbiddenError
            If the caller's token may not write files.
        """
        self._files.check_scope(identity)
        home, steps = self._files.open_home(identity), split_path(folder)
        for depth in range(1, len(steps) + 1):
            if home.find(steps[:depth]) is None:
                home.make_folder(steps[:depth])
        written = []
        for image in found:
            path = "/".join((*steps, image.name))
            with image.path.open("rb") as source:
                self._files.write_all(identity, f"/{identity.name}/{path}", source, image.size_bytes)
            written.append(path)
        return written
