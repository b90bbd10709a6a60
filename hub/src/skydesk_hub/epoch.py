"""The revocation epoch's counter: a file that moves on whenever somebody's rights change."""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path

__all__ = ["Counter", "bump_epoch"]


class Counter:
    """Eight bytes in a file that several processes move on.

    Parameters
    ----------
    path
        The file, made with mode 0600 if it does not exist.
    """

    def __init__(self, path: Path) -> None:
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.ftruncate(self._handle, 8)

    def bump(self) -> None:
        """Move the counter on; two processes at the same time move it twice."""
        fcntl.flock(self._handle, fcntl.LOCK_EX)
        try:
            (now,) = struct.unpack("<Q", os.pread(self._handle, 8, 0))
            os.pwrite(self._handle, struct.pack("<Q", now + 1), 0)
        finally:
            fcntl.flock(self._handle, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file."""
        os.close(self._handle)


def bump_epoch(path: Path) -> None:
    """Move the counter in a file on, if there is one: services forget then what they know of tokens.

    Parameters
    ----------
    path
        The file; without it nothing runs that remembers anything.
    """
    if not path.exists():
        return
    counter = Counter(path)
    try:
        counter.bump()
    finally:
        counter.close()
