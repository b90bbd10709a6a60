"""Archives of files that are made while they are sent: nothing is kept, in memory or on disk."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from skydesk_portal.exceptions import UsageError

__all__ = ["ARCHIVES", "Member", "stream_archive", "stream_members_of_tar"]

ARCHIVES = {"zip": "application/zip", "tar": "application/x-tar"}
"""Media types by the kinds of archives; zip is what opens by itself on Windows."""

_BLOCK_BYTES = 1 << 20
_TAR_BLOCK = 512
_ZIP64_BYTES = 1 << 30


@dataclass(frozen=True)
class Member:
    """A file of an archive.

    Parameters
    ----------
    name
        Its name.
    size_bytes
        Its length.
    open
        Opens it; called when its turn has come.
    """

    name: str
    size_bytes: int
    open: Callable[[], BinaryIO]


class _Sink(io.RawIOBase):
    """Collects what an archive writes until it is sent."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: bytes | bytearray | memoryview) -> int:  # type: ignore[override]
        self._parts.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        found = b"".join(self._parts)
        self._parts.clear()
        return found


def stream_archive(members: Iterable[Member], form: str) -> Generator[bytes]:
    """Make an archive; without a clock or an owner in it, so that the same files give the same bytes.

    Parameters
    ----------
    members
        The files.
    form
        One of `ARCHIVES`.

    Yields
    ------
    bytes
        The archive, part by part.

    Raises
    ------
    UsageError
        If there is no such kind of archive.
    """
    if form not in ARCHIVES:
        raise UsageError(f"there is no archive {form[:20]!r}; there are {', '.join(ARCHIVES)}")
    return _stream_zip(members) if form == "zip" else _stream_tar(members)


def _stream_zip(members: Iterable[Member]) -> Generator[bytes]:
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for member in members:
            info = zipfile.ZipInfo(member.name)
            info.external_attr = 0o644 << 16
            large = member.size_bytes > _ZIP64_BYTES
            with member.open() as source, archive.open(info, "w", force_zip64=large) as target:
                while block := source.read(_BLOCK_BYTES):
                    target.write(block)
                    yield sink.take()
    yield sink.take()


def _stream_tar(members: Iterable[Member]) -> Generator[bytes]:
    for member in members:
        info = tarfile.TarInfo(member.name)
        info.size, info.mode = member.size_bytes, 0o644
        yield info.tobuf(format=tarfile.GNU_FORMAT)
        with member.open() as source:
            left = member.size_bytes
            while left and (block := source.read(min(left, _BLOCK_BYTES))):
                left -= len(block)
                yield block
        # A file that became shorter meanwhile must not spoil those after it.
        yield b"\0" * (left + -member.size_bytes % _TAR_BLOCK)
    yield b"\0" * (2 * _TAR_BLOCK)


def stream_members_of_tar(path: Path) -> Generator[Member]:
    """Go through the files of a tar on the disk, for making another archive of them.

    Parameters
    ----------
    path
        The archive.

    Yields
    ------
    Member
        One file after the other; it has to be read before the next is asked for.
    """
    with tarfile.open(path, "r:") as archive:
        for info in archive:
            content = archive.extractfile(info) if info.isfile() else None
            if content is not None:
                yield Member(info.name, info.size, lambda c=content: c)  # type: ignore[misc]
