"""Kept results on disk: one DuckDB file each in its owner's folder, with a quota and an end."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from skydesk_portal.exceptions import NotFoundError, PortalError, TooLargeError, UsageError
from skydesk_portal.log import get_logger
from skydesk_portal.models.resultsets import ROW_NUMBER, ResultSet
from skydesk_portal.models.tables import ColumnInfo

__all__ = ["ResultSetStore"]

_ID = re.compile(r"[0-9a-f]{24}\Z")
_SUBSET = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,30}\Z")
_MOST_SUBSETS = 64
_STRAY_S = 24 * 3600
_WRITER_MEMORY_MB = 500


class ResultSetStore:
    """Results in files: ``OWNER/ID/`` with the rows, what they mean, and subsets of them.

    Parameters
    ----------
    folder
        Folder of all people's results.
    limit_bytes
        How much is kept of one person; the longest unused result goes first.
    seconds
        How long a result is kept after it was last looked at.
    """

    def __init__(self, folder: Path, limit_bytes: int, seconds: float) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._seconds = seconds

    def add(
        self,
        owner: str,
        adql: str,
        columns: Sequence[ColumnInfo],
        schema: pa.Schema,
        batches: Iterable[pa.RecordBatch],
        is_overflow: Callable[[], bool],
    ) -> ResultSet:
        """Keep a result while it arrives; nothing is left of one that fails.

        Parameters
        ----------
        owner
            Whose it is.
        adql
            The query.
        columns
            What the columns mean.
        schema
            The engine's types, in the same order.
        batches
            The rows.
        is_overflow
            Asked after the last row whether there were more.

        Returns
        -------
        ResultSet
            What is known of it.

        Raises
        ------
        TooLargeError
            If it is larger than one person's results may be.
        PortalError
            If the query fails on the way, or the rows cannot be written.
        """
        own = self._folder / owner
        part = own / f"{secrets.token_hex(12)}.part"
        part.mkdir(parents=True, mode=0o700)
        names = [f"{c.name}_" if c.name.lower() == ROW_NUMBER else c.name for c in columns]
        incoming = _Incoming(names, schema, batches, self._limit_bytes)
        try:
            incoming.write(part / "rows.duckdb")
            size = (part / "rows.duckdb").stat().st_size
            renamed = tuple(
                ColumnInfo(**{**vars(column), "name": name})
                for column, name in zip(columns, names, strict=True)
            )
            found = ResultSet(
                part.stem, owner, adql, renamed, incoming.rows, is_overflow(), size, datetime.now(UTC)
            )
            (part / "about.json").write_text(found.to_json())
            (part / "subsets").mkdir()
            (part / "columns").mkdir()
            part.rename(own / found.id)
        except OSError as error:
            shutil.rmtree(part, ignore_errors=True)
            raise PortalError("the result cannot be written: the disk may be full") from error
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
        self._make_room(owner, found.id)
        return found

    def find(self, owner: str, result_id: str) -> ResultSet | None:
        """Return one of a person's results, `None` if there is none (any more)."""
        if not _ID.match(result_id):
            return None
        folder = self._folder / owner / result_id
        try:
            found = ResultSet.from_json((folder / "about.json").read_text())
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if time.time() - folder.stat().st_mtime > self._seconds:
            return None
        # The time of the folder says when somebody last looked.
        with suppress(OSError):
            os.utime(folder)
        return found

    def list_all(self, owner: str) -> list[ResultSet]:
        """Return a person's results, the newest first."""
        own = self._folder / owner
        names = [path.name for path in own.iterdir()] if own.is_dir() else []
        found = [f for f in (self._peek(owner, name) for name in names) if f is not None]
        return sorted(found, key=lambda result: result.created, reverse=True)

    def _peek(self, owner: str, result_id: str) -> ResultSet | None:
        try:
            return ResultSet.from_json((self._folder / owner / result_id / "about.json").read_text())
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def path_of(self, result: ResultSet) -> Path:
        """Return the folder of a result."""
        return self._folder / result.owner / result.id

    def remove(self, result: ResultSet) -> None:
        """Forget a result."""
        shutil.rmtree(self.path_of(result), ignore_errors=True)

    def _make_room(self, owner: str, newest: str) -> None:
        own = self._folder / owner
        folders = [path for path in own.iterdir() if _ID.match(path.name)]
        sizes = {path: _size_of(path) for path in folders}
        total = sum(sizes.values())
        for path in sorted(folders, key=lambda path: path.stat().st_mtime):
            if total <= self._limit_bytes:
                return
            if path.name != newest:
                shutil.rmtree(path, ignore_errors=True)
                total -= sizes[path]

    def sweep(self) -> int:
        """Remove results that nobody looks at any more, and what killed processes left; return how many."""
        count = 0
        now = time.time()
        for path in self._folder.glob("*/*"):
            with suppress(FileNotFoundError):
                limit_s = _STRAY_S if path.suffix == ".part" else self._seconds
                if now - path.stat().st_mtime > limit_s:
                    shutil.rmtree(path, ignore_errors=True)
                    count += 1
        return count

    # Subsets

    def keep_subset(self, result: ResultSet, name: str, chosen: NDArray[np.uint8]) -> None:
        """Keep a subset of a result's rows under a name.

        Parameters
        ----------
        result
            The result.
        name
            A letter, then letters, digits and underscores.
        chosen
            One value per row, 0 or 1; shape ``(rows,)``.

        Raises
        ------
        UsageError
            If the name cannot be used, or there are too many subsets.
        """
        if not _SUBSET.match(name) or name.lower() in {"and", "or", "not", "xor"}:
            raise UsageError(
                f"{name[:40]!r} cannot be the name of a subset: take a letter, then letters, digits and _"
            )
        folder = self.path_of(result) / "subsets"
        if len(self.list_subsets(result)) >= _MOST_SUBSETS and not (folder / f"{name}.npy").exists():
            raise UsageError(
                f"this result has {_MOST_SUBSETS} subsets already, which is the most that is kept"
            )
        part = folder / f"{name}.{secrets.token_hex(4)}.part"
        try:
            with part.open("wb") as out:
                np.save(out, np.packbits(chosen))
            part.replace(folder / f"{name}.npy")
        except FileNotFoundError as error:
            raise NotFoundError("this result is not kept any more: run the query again") from error

    def list_subsets(self, result: ResultSet) -> list[str]:
        """Return the names of a result's subsets."""
        return sorted(path.stem for path in (self.path_of(result) / "subsets").glob("*.npy"))

    def read_subset(self, result: ResultSet, name: str) -> NDArray[np.uint8]:
        """Return a subset, one value per row.

        Raises
        ------
        NotFoundError
            If there is none of that name.
        """
        if not _SUBSET.match(name):
            raise NotFoundError(f"this result has no subset {name[:40]!r}")
        try:
            packed = np.load(self.path_of(result) / "subsets" / f"{name}.npy")
        except FileNotFoundError as error:
            raise NotFoundError(f"this result has no subset {name!r}") from error
        return np.unpackbits(packed, count=result.rows)

    def remove_subset(self, result: ResultSet, name: str) -> None:
        """Forget a subset."""
        if _SUBSET.match(name):
            (self.path_of(result) / "subsets" / f"{name}.npy").unlink(missing_ok=True)


class _Incoming:
    """Rows on their way into a file; what goes wrong with them is raised as it was."""

    def __init__(
        self, names: list[str], schema: pa.Schema, batches: Iterable[pa.RecordBatch], limit_bytes: int
    ) -> None:
        self._schema = pa.schema([item.with_name(name) for item, name in zip(schema, names, strict=True)])
        self._batches = batches
        self._limit_bytes = limit_bytes
        self._failure: BaseException | None = None
        self.rows = 0

    def _go(self) -> Iterator[pa.RecordBatch]:
        size = 0
        try:
            for batch in self._batches:
                size += batch.nbytes
                # Rows take less room in the file than in memory, seldom less than a quarter.
                if size > 4 * self._limit_bytes:
                    raise TooLargeError(
                        f"the result is larger than the {self._limit_bytes / 1e9:g} GB that are kept for looking at: "
                        "select fewer rows or columns, or run it as a job"
                    )
                self.rows += batch.num_rows
                yield batch.rename_columns(self._schema.names)
        except BaseException as failure:
            self._failure = failure
            raise

    def write(self, path: Path) -> None:
        """Write the rows into a new file."""
        config: dict[str, str | bool | int | float | list[str]] = {
            "threads": 2,
            "memory_limit": f"{_WRITER_MEMORY_MB}MB",
            "temp_directory": "",
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
        connection = duckdb.connect(str(path), config=config)
        try:
            reader = pa.RecordBatchReader.from_batches(self._schema, self._go())
            connection.register("incoming", reader)
            connection.execute("CREATE TABLE rows AS SELECT * FROM incoming")
            connection.unregister("incoming")
        except duckdb.Error as error:
            # DuckDB wraps what the rows' own source raised.
            if self._failure is not None:
                raise self._failure from error
            get_logger().error("a result cannot be kept", error=str(error)[:500])
            raise PortalError("the result cannot be kept: the disk may be full") from error
        finally:
            connection.close()


def _size_of(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            total += path.stat().st_size
    return total
