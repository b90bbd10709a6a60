"""Private folders for what does not fit into an engine's memory; those of dead processes are cleared away."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import weakref
from pathlib import Path

__all__ = ["SpillFolder"]


def _clear(path: Path, lock: int) -> None:
    shutil.rmtree(path, ignore_errors=True)
    path.with_suffix(".lock").unlink(missing_ok=True)
    os.close(lock)


class SpillFolder:
    """A folder that lives as long as this object and its process.

    Parameters
    ----------
    base
        Folder of all such folders.
    limit_mb
        How much the engine may put there.
    """

    def __init__(self, base: Path, limit_mb: int) -> None:
        base.mkdir(parents=True, exist_ok=True, mode=0o700)
        _sweep(base)
        self.path = base / secrets.token_hex(8)
        self.limit_mb = limit_mb
        # The lock goes with the process, however it ends.
        lock = os.open(self.path.with_suffix(".lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        self.path.mkdir(mode=0o700)
        self._end = weakref.finalize(self, _clear, self.path, lock)

    def close(self) -> None:
        """Remove the folder."""
        self._end()


def _sweep(base: Path) -> None:
    for path in base.glob("*.lock"):
        with contextlib.suppress(OSError):
            lock = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(lock)
                continue
            _clear(path.with_suffix(""), lock)
