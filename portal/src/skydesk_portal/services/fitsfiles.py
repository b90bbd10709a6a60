"""FITS files that people bring: kept for a while, shown part by part like the images of a release."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from skydesk_portal.exceptions import NotFoundError, TooLargeError, UsageError
from skydesk_portal.pipeline import Pyramid
from skydesk_portal.pipeline.fitsfiles import build_part, list_parts

if TYPE_CHECKING:
    from skydesk_portal.models.identity import Identity
    from skydesk_portal.services.files import FilesService
    from skydesk_portal.services.fitsaddresses import FitsAddresses
    from skydesk_portal.storage.claims import Claim

__all__ = ["OWN_IMAGES", "FitsFiles", "measure_uploads"]

OWN_IMAGES = "my-files"
"""What stands in place of a release's name for images out of people's own files."""

_ID = re.compile(r"([0-9a-f]{24})-(\d{1,4})-(\d{1,6})\Z")
_KEY = re.compile(r"[0-9a-f]{24}\Z")
_LIMIT_BYTES = 1_000_000_000
_MOST_FILES = 20
_BLOCK_BYTES = 1 << 20
_TOLD_BYTES = 1 << 21
_UPLOADED = "uploaded"


def _folder_of(folder: Path, name: str) -> Path:
    # Names of people are checked when they are made; a digest keeps even a strange one inside the folder.
    return folder / hashlib.sha256(name.encode()).hexdigest()[:24]


def measure_uploads(folder: Path, name: str) -> int:
    """Return how many bytes a person has uploaded for a look; or fetched; copies of files out of the home folder do not count.

    Parameters
    ----------
    folder
        Where `FitsFiles` keeps them.
    name
        Name of the person.
    """
    total = 0
    for mark in _folder_of(folder, name).glob(f"*/{_UPLOADED}"):
        # It may be forgotten meanwhile.
        with suppress(OSError):
            total += (mark.parent / "file.fits").stat().st_size
    return total


class _Arriving:
    """A file that arrives in blocks."""

    def __init__(self, files: FitsFiles, home: Path, file: Any, claim: Claim | None) -> None:
        self._files = files
        self._home = home
        self._file = file
        self._claim = claim
        self._digest = hashlib.sha256()
        self.size_bytes = 0
        self.kept_bytes: int | None = None

    def write(self, block: bytes) -> None:
        """Add a block, if the file may have that size and there is space."""
        self.size_bytes += len(block)
        self._files.check_size(self.size_bytes)
        if self._claim is not None:
            self._claim.take(self.size_bytes)
        self._digest.update(block)
        self._file.write(block)

    def keep(self, name: str) -> dict[str, Any]:
        """Keep the whole file under a name, counted in the quota."""
        self._file.flush()
        key = self._digest.hexdigest()[:24]
        mark = self._home / key / _UPLOADED
        known = mark.exists()
        found = self._files._keep(self._home, Path(self._file.name), key, name, self.size_bytes)
        mark.touch()
        self.kept_bytes = None if known else self.size_bytes
        return found


class FitsFiles:
    """Keeps the files that people look at and the pyramids of their parts.

    Parameters
    ----------
    folder
        Where they are kept, one folder for each person; it may be deleted at any time.
    files
        The files of people; without it files are only taken from uploads.
    limit_bytes
        Largest file.
    addresses
        Opens files by their address; without it none are.
    """

    def __init__(
        self,
        folder: Path,
        files: FilesService | None,
        limit_bytes: int = _LIMIT_BYTES,
        addresses: FitsAddresses | None = None,
    ) -> None:
        self._folder = folder
        self._addresses = addresses
        self._files = files
        self._limit = limit_bytes

    def _home(self, identity: Identity) -> Path:
        return _folder_of(self._folder, identity.name)

    def check_size(self, size_bytes: int) -> None:
        """Refuse what is too large.

        Raises
        ------
        TooLargeError
            If it is.
        """
        if size_bytes > self._limit:
            raise TooLargeError(
                f"the file is larger than the {self._limit / 1e6:.0f} MB that can be shown: "
                "cut out the part you need, for example with astropy.nddata.Cutout2D"
            )

    async def receive(self, identity: Identity, name: str, chunks: AsyncIterator[bytes]) -> dict[str, Any]:
        """Take an uploaded file.

        Parameters
        ----------
        identity
            Whose it is.
        name
            What it is called.
        chunks
            Its bytes.

        Returns
        -------
        dict
            As `describe`.

        Raises
        ------
        FileSpaceError
            If it does not fit into the caller's quota of files.
        TooLargeError
            If it is too large.
        UsageError
            If it is no FITS file.
        """
        with self._receive(identity) as arriving:
            async for chunk in chunks:
                await asyncio.to_thread(arriving.write, chunk)
            return arriving.keep(name)

    def fetch(self, identity: Identity, address: str) -> Generator[dict[str, Any]]:
        """Fetch a file by its address.

        Parameters
        ----------
        identity
            Who asks.
        address
            As for `FitsAddresses.open`.

        Yields
        ------
        dict
            ``received`` and ``total`` in bytes (`None` if not known) while it arrives; at last ``file``, as `describe`.

        Raises
        ------
        ForbiddenError, NotFoundError, UpstreamError
            If the address cannot be opened.
        TooLargeError
            If the file is too large.
        UsageError
            If it is no FITS file.
        """
        if self._addresses is None:
            raise NotFoundError("this portal opens no addresses")
        with self._addresses.open(identity, address.strip()) as found, self._receive(identity) as arriving:
            self.check_size(found.size_bytes or 0)
            yield {"received": 0, "total": found.size_bytes}
            told = 0
            for block in found.blocks:
                arriving.write(block)
                if arriving.size_bytes - told >= _TOLD_BYTES:
                    told = arriving.size_bytes
                    yield {"received": told, "total": found.size_bytes}
            yield {"file": arriving.keep(found.name)}

    @contextmanager
    def _receive(self, identity: Identity) -> Iterator[_Arriving]:
        """Take a file in, whose space is promised as it grows and given back if it is not kept."""
        home = self._home(identity)
        home.mkdir(parents=True, exist_ok=True)
        claim = self._files.claim(identity) if self._files is not None else None
        arriving = None
        try:
            with tempfile.NamedTemporaryFile(dir=home, prefix=".arriving-") as file:
                arriving = _Arriving(self, home, file, claim)
                yield arriving
        finally:
            if claim is not None:
                claim.end(arriving.kept_bytes if arriving is not None else None)

    def open_own(self, identity: Identity, path: str) -> dict[str, Any]:
        """Show a file out of the caller's own files.

        Parameters
        ----------
        identity
            Who asks.
        path
            Where it lies in their home folder.

        Returns
        -------
        dict
            As `describe`.

        Raises
        ------
        NotFoundError
            If there is none, or this portal does not know the files of people.
        """
        if self._files is None:
            raise NotFoundError("this portal does not serve the files of people")
        home = self._home(identity)
        home.mkdir(parents=True, exist_ok=True)
        self._files.check_scope(identity)
        with (
            self._files.open_for(identity, f"{identity.name}/{path}") as content,
            tempfile.NamedTemporaryFile(dir=home) as file,
        ):
            self.check_size(content.size_bytes)
            key = _copy(content.stream, file)
            return self._keep(home, Path(file.name), key, content.name, content.size_bytes)

    def _keep(self, home: Path, path: Path, key: str, name: str, size: int) -> dict[str, Any]:
        if size == 0:
            raise UsageError("the file is empty")
        place = home / key
        if not (place / "about.json").exists():
            parts = list_parts(path)
            if not parts:
                raise UsageError("the file holds no part that FITS knows")
            place.mkdir(exist_ok=True)
            shutil.copyfile(path, place / "file.fits")
            about = {"name": name[-120:], "parts": [asdict(part) for part in parts]}
            (place / "about.json").write_text(json.dumps(about), encoding="utf-8")
        else:
            (place / "about.json").touch()
        self._forget(home)
        return self._read(home, key)

    def _forget(self, home: Path) -> None:
        """Remove the files that were opened longest ago."""
        known = sorted(home.glob("*/about.json"), key=lambda p: p.stat().st_mtime, reverse=True)
        for old in known[_MOST_FILES:]:
            shutil.rmtree(old.parent, ignore_errors=True)

    def _read(self, home: Path, key: str) -> dict[str, Any]:
        try:
            about = json.loads((home / key / "about.json").read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise NotFoundError("this file is no longer kept here: open it again") from error
        best = next((p["number"] for p in about["parts"] if p["planes"]), None)
        return {"key": key, **about, "first": None if best is None else f"{key}-{best}-0"}

    def forget_all(self, identity: Identity) -> int:
        """Forget what a person has opened; return how many files that were."""
        known = list(self._home(identity).glob("*/about.json"))
        for about in known:
            shutil.rmtree(about.parent, ignore_errors=True)
        if self._files is not None:
            self._files.note_change(identity)
        return len(known)

    def describe(self, identity: Identity, key: str) -> dict[str, Any]:
        """Tell what is in a file that was opened before.

        Returns
        -------
        dict
            ``key``, ``name``, ``parts`` as `FilePart`, and ``first``: the identifier of the first image, if any.

        Raises
        ------
        NotFoundError
            If the caller has none.
        """
        if not _KEY.match(key):
            raise NotFoundError(f"there is no file {key[:40]!r}")
        return self._read(self._home(identity), key)

    def get_pyramid(self, identity: Identity, image_id: str) -> Pyramid:
        """Open one image of a file; the first look builds its pyramid.

        Raises
        ------
        NotFoundError
            If the caller has no such file, or it no such image.
        UsageError
            If it cannot be shown.
        """
        found = _ID.match(image_id)
        if found is None:
            raise NotFoundError(f"there is no image {image_id[:40]!r} among your files")
        key, number, plane = found[1], int(found[2]), int(found[3])
        home = self._home(identity)
        about = self._read(home, key)
        folder = home / key / f"{number}-{plane}"
        if (folder / "meta.json").exists():
            return Pyramid.open(folder)
        extension = f" [{number}]" if len(about["parts"]) > 1 else ""
        title = f"{about['name']}{extension}" + (f" plane {plane}" if plane else "")
        return build_part(
            home / key / "file.fits", number, plane, folder, {"dataset_type": "file", "title": title}
        )

    def get_path(self, identity: Identity, image_id: str) -> Path:
        """Return the file of an image."""
        found = _ID.match(image_id)
        if found is None:
            raise NotFoundError(f"there is no image {image_id[:40]!r} among your files")
        self._read(self._home(identity), found[1])
        return self._home(identity) / found[1] / "file.fits"


def _copy(source: BinaryIO, target: Any) -> str:
    digest = hashlib.sha256()
    while block := source.read(_BLOCK_BYTES):
        digest.update(block)
        target.write(block)
    target.flush()
    return digest.hexdigest()[:24]
