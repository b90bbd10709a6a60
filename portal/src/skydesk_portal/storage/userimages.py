"""Lists of the images that people's own runs made: one file for each run, written by workers, read by services."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

__all__ = ["UserImageStore"]


class UserImageStore:
    """The image lists of everybody.

    Parameters
    ----------
    folder
        Has one folder per user; labs do not see it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._read: dict[str, tuple[tuple[tuple[str, int], ...], pa.Table]] = {}

    def write(self, owner: str, output: str, rows: pa.Table) -> None:
        """Keep the list of one output collection; replaces what an earlier attempt wrote.

        Parameters
        ----------
        owner
            Whose images they are.
        output
            The collection.
        rows
            The list.
        """
        folder = self._folder / owner
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{hashlib.sha256(output.encode()).hexdigest()[:24]}.parquet"
        made = path.with_suffix(f".{os.getpid()}")
        pq.write_table(rows, made, compression="zstd")
        made.replace(path)

    def find_stamp(self, owner: str) -> tuple[tuple[str, int], ...]:
        """Return what changes whenever the lists of a person change; empty if there are none."""
        folder = self._folder / owner
        if not owner or not folder.is_dir():
            return ()
        return tuple(sorted((path.name, path.stat().st_mtime_ns) for path in folder.glob("*.parquet")))

    def find_rows(self, owner: str) -> pa.Table | None:
        """Return all images of a person, `None` if there are none."""
        stamp = self.find_stamp(owner)
        if not stamp:
            return None
        with self._lock:
            known = self._read.get(owner)
        if known is not None and known[0] == stamp:
            return known[1]
        rows = pa.concat_tables(
            [pq.read_table(self._folder / owner / name) for name, _ in stamp], promote_options="default"
        )
        with self._lock:
            self._read[owner] = (stamp, rows)
        return rows
