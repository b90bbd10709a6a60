"""Large arrays that lie on disk instead of in memory, and vanish with whoever uses them."""

from __future__ import annotations

import math
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

__all__ = ["allocate"]

_IN_MEMORY_BYTES = 64_000_000


def allocate(shape: tuple[int, ...], kind: DTypeLike, folder: Path | None) -> NDArray[Any]:
    """Return an array of zeros: in memory if it is small, else in a file without a name.

    The system takes pages of the file out of memory where it is short of it.

    Parameters
    ----------
    shape, kind
        Shape and type.
    folder
        Where the file lies; `None` for memory at any size.

    Raises
    ------
    OSError
        If the disk has no room for it.
    """
    size = math.prod(shape) * np.dtype(kind).itemsize
    if folder is None or size <= _IN_MEMORY_BYTES:
        return np.zeros(shape, kind)
    with tempfile.TemporaryFile(dir=folder) as file:
        # Writing to a mapped file on a full disk would end the process: the room is taken before.
        os.posix_fallocate(file.fileno(), 0, size)
        return np.memmap(file, dtype=kind, mode="r+", shape=shape)
