"""Answers kept for a while: the same query on the same releases is not computed twice."""

from __future__ import annotations

import hashlib
import json
import secrets
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from skydesk_portal.log import get_logger

__all__ = ["CacheWriter", "CachedResult", "ResultCache"]

_ENTRY = "*.json"
_LARGEST_BYTES = 32_000_000
"""A larger answer is not kept: writing it down would slow down its sending."""


@dataclass(frozen=True)
class CachedResult:
    """A stored answer.

    Parameters
    ----------
    path
        Its file.
    rows, overflow
        How many rows it has, and whether MAXREC left out some.
    age_s, left_s
        Seconds since it was made, and until it is forgotten.
    """

    path: Path
    rows: int
    overflow: bool
    age_s: float
    left_s: float


class CacheWriter:
    """Takes an answer while it is being sent; without `commit` nothing is kept."""

    def __init__(self, cache: ResultCache, key: str) -> None:
        self._cache = cache
        self._key = key
        self._path = cache.folder / f"{key}.{secrets.token_hex(6)}.part"
        self._file: IO[bytes] | None = None
        self._size = 0
        self._full = False

    def write(self, chunk: bytes) -> None:
        """Keep the next part, unless the answer is too large to be kept."""
        if self._full or not chunk:
            return
        self._size += len(chunk)
        if self._size > self._cache.largest_bytes:
            self._full = True
            self.close()
            return
        try:
            if self._file is None:
                self._cache.folder.mkdir(parents=True, exist_ok=True)
                self._file = self._path.open("wb")
            self._file.write(chunk)
        except OSError as error:
            # A full disk must not spoil the answer itself.
            get_logger().warning("a result cannot be kept", error=str(error))
            self._full = True
            self.close()

    def commit(self, *, rows: int, overflow: bool) -> None:
        """Keep the answer, which is complete."""
        if self._file is None:
            return
        self._file.close()
        self._file = None
        self._cache.keep(self._key, self._path, self._size, rows=rows, overflow=overflow)

    def close(self) -> None:
        """Drop what has not been committed."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._path.unlink(missing_ok=True)


class ResultCache:
    """Answers in files, each for a stated time.

    Parameters
    ----------
    folder
        Where they lie; several processes share it.
    seconds
        How long one is kept; 0 keeps none.
    total_bytes
        Size of all together.
    """

    def __init__(self, folder: Path, seconds: float, total_bytes: int) -> None:
        self.folder = folder
        self.seconds = seconds
        self.total_bytes = total_bytes
        self.largest_bytes = min(total_bytes // 4, _LARGEST_BYTES)
        self._lock = threading.Lock()
        self._added = 0

    def make_key(self, *parts: object) -> str:
        """Return the key of an answer.

        Parameters
        ----------
        *parts
            Everything that the answer depends on.
        """
        return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()

    def find(self, key: str) -> CachedResult | None:
        """Return a stored answer, `None` if there is none or its time is over."""
        if self.seconds <= 0:
            return None
        try:
            entry = json.loads((self.folder / f"{key}.json").read_text())
        except (OSError, ValueError):
            return None
        path = self.folder / entry["file"]
        age_s = time.time() - float(entry["time"])
        if not 0 <= age_s < self.seconds or not path.is_file():
            return None
        return CachedResult(path, int(entry["rows"]), bool(entry["overflow"]), age_s, self.seconds - age_s)

    def create_writer(self, key: str) -> CacheWriter | None:
        """Return what stores an answer, `None` if none are kept."""
        return CacheWriter(self, key) if self.seconds > 0 and self.total_bytes > 0 else None

    def keep(self, key: str, part: Path, size: int, *, rows: int, overflow: bool) -> None:
        """Put a complete answer in its place."""
        name = f"{part.stem}.data"
        fresh = part.with_suffix(".new")
        fresh.write_text(json.dumps({"file": name, "time": time.time(), "rows": rows, "overflow": overflow}))
        part.rename(self.folder / name)
        # The entry comes last: whoever sees it finds the file.
        fresh.replace(self.folder / f"{key}.json")
        with self._lock:
            self._added += size
            full = self._added > self.total_bytes // 8
        if full:
            self.sweep()

    def sweep(self) -> None:
        """Forget what is too old, and the oldest when all together are too large."""
        with self._lock:
            self._added = 0
        if not self.folder.is_dir():
            return
        oldest = time.time() - self.seconds
        kept: list[tuple[float, int, Path, Path]] = []
        named = set()
        for path in self.folder.glob(_ENTRY):
            try:
                entry = json.loads(path.read_text())
                data = self.folder / entry["file"]
                size = data.stat().st_size
            except (OSError, ValueError, KeyError):
                path.unlink(missing_ok=True)
                continue
            if entry["time"] < oldest:
                path.unlink(missing_ok=True)
                data.unlink(missing_ok=True)
                continue
            named.add(data.name)
            kept.append((entry["time"], size, path, data))
        total = sum(size for _, size, _, _ in kept)
        for _, size, path, data in sorted(kept):
            if total <= self.total_bytes * 3 // 4:
                break
            path.unlink(missing_ok=True)
            data.unlink(missing_ok=True)
            total -= size
        self._remove_strays(named)

    def _remove_strays(self, named: set[str]) -> None:
        # What a killed process left, or a newer answer replaced; others may still be writing theirs.
        for path in self.folder.iterdir():
            try:
                if path.suffix in {".part", ".data", ".new"} and path.name not in named:
                    limit_s = self.seconds if path.suffix == ".data" else 24 * 3600
                    if path.stat().st_mtime < time.time() - limit_s:
                        path.unlink(missing_ok=True)
            except FileNotFoundError:
                continue
