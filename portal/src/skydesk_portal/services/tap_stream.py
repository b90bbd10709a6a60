"""Answers to queries on their way out: while the engine makes them, or from a stored result."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from skydesk_portal.exceptions import PortalError
from skydesk_portal.log import get_logger
from skydesk_portal.vo.descriptors import Descriptors
from skydesk_portal.vo.formats import TableFormat, create_writer
from skydesk_portal.vo.votable import finish_columns

if TYPE_CHECKING:
    import pyarrow as pa

    from skydesk_portal.adql import Translation
    from skydesk_portal.models.tables import ColumnInfo
    from skydesk_portal.services.cache import CacheWriter
    from skydesk_portal.storage.engine import RunningQuery

__all__ = ["Outcome", "StoredStream", "StreamOptions", "TableStream", "TapStream"]

_PART_BYTES = 1 << 20


@dataclass(frozen=True)
class Outcome:
    """How a query ended.

    Parameters
    ----------
    status
        COMPLETED, ERROR or ABORTED, as in UWS.
    rows
        Rows that were sent.
    overflow
        Whether MAXREC left out some.
    seconds
        How long it took, in seconds.
    error
        What went wrong.
    cached
        Whether it came from a stored result.
    """

    status: str
    rows: int
    overflow: bool
    seconds: float
    error: str | None = None
    cached: bool = False


class TableStream(Protocol):
    """A table that is sent piece by piece."""

    form: TableFormat
    media_type: str
    headers: Mapping[str, str]
    rows: int

    def chunks(self, *, strict: bool = False) -> Generator[bytes]:
        """Go through the bytes of the document; ``strict`` raises a failure instead of ending with it."""

    def cancel(self) -> None:
        """Stop from another thread."""


@dataclass(frozen=True)
class StreamOptions:
    """What an answer is like, besides its rows.

    Parameters
    ----------
    form
        Its format.
    media_type
        Its media type.
    infos
        Facts about the query, for formats with a place for them.
    spool
        Folder for rows that have to wait for the last one.
    headers
        HTTP headers that tell of the cache.
    sink
        Stores the answer for later.
    on_end
        Told how the query ended.
    """

    form: TableFormat
    media_type: str
    infos: Mapping[str, str] | None = None
    spool: Path | None = None
    headers: Mapping[str, str] | None = None
    sink: CacheWriter | None = None
    on_end: Callable[[Outcome], None] | None = None


class TapStream:
    """A result on its way out.

    Parameters
    ----------
    running
        The running query.
    translation
        What it was made from.
    maxrec
        Rows to let through.
    options
        What the answer is like.
    describe
        Makes the service descriptors from the finished columns.
    """

    def __init__(
        self,
        running: RunningQuery,
        translation: Translation,
        maxrec: int,
        options: StreamOptions,
        describe: Callable[[tuple[ColumnInfo, ...]], Descriptors] = lambda _: Descriptors(),
    ) -> None:
        self._running = running
        self._maxrec = maxrec
        self._options = options
        self._begin = time.monotonic()
        self._lock = threading.Lock()
        self._over = False
        self.form, self.media_type = options.form, options.media_type
        self.headers: Mapping[str, str] = options.headers or {}
        self.rows = 0
        self.overflow = False
        try:
            self.schema = running.schema
            self.columns = finish_columns(translation.columns, running.schema)
            self._batches = running.batches()
            # The first rows are awaited here, so that an early failure still gets its own status.
            self._first = next(self._batches, None)
            found = describe(self.columns)
            self._writer = create_writer(
                self.form.name,
                self.columns,
                infos=options.infos,
                extra=found.xml,
                field_ids=dict(found.field_ids),
                spool=options.spool,
            )
        except BaseException as failure:
            self._end("ERROR", str(failure) if isinstance(failure, PortalError) else _UNEXPECTED)
            raise

    def cancel(self) -> None:
        """Stop the query from another thread."""
        self._running.cancel()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Go through the rows up to MAXREC."""
        try:
            batch = self._first
            self._first = None
            while batch is not None:
                room = self._maxrec - self.rows
                if batch.num_rows > room:
                    self.overflow = True
                    batch = batch.slice(0, room)
                self.rows += batch.num_rows
                if batch.num_rows:
                    yield batch
                if self.overflow:
                    return
                batch = next(self._batches, None)
        finally:
            self._running.close()

    def chunks(self, *, strict: bool = False) -> Generator[bytes]:
        """Go through the bytes of the document.

        A failure ends the document with the error where its format has a place for one;
        else, and if ``strict``, it is raised: nobody takes half of a file for a whole one.

        Parameters
        ----------
        strict
            Raise a failure instead of ending the document with it.

        Yields
        ------
        bytes
            The next part; may be empty.

        Raises
        ------
        PortalError
            If the query fails and the document cannot say so.
        """
        ended, error = "ABORTED", None
        try:
            for chunk in self._document(strict=strict):
                if self._options.sink is not None:
                    self._options.sink.write(chunk)
                yield chunk
            ended, error = ("COMPLETED", None) if self._error is None else ("ERROR", self._error)
            if self._options.sink is not None and error is None:
                self._options.sink.commit(rows=self.rows, overflow=self.overflow)
        except GeneratorExit:
            raise
        except BaseException as failure:
            ended, error = "ERROR", str(failure) if isinstance(failure, PortalError) else _UNEXPECTED
            raise
        finally:
            self._writer.close()
            self._end(ended, error)

    _error: str | None = None

    def _document(self, *, strict: bool) -> Generator[bytes]:
        yield self._writer.begin()
        try:
            for batch in self.batches():
                yield self._writer.rows(batch)
        except PortalError as failure:
            if strict or not self._writer.tells_errors:
                raise
            get_logger().warning("query failed while streaming", code=failure.code, error=str(failure))
            self._error = str(failure)
        except Exception:
            if strict or not self._writer.tells_errors:
                raise
            get_logger().exception("streaming failed unexpectedly")
            self._error = _UNEXPECTED
        yield from self._writer.finish(overflow=self.overflow, error=self._error)

    def close(self) -> None:
        """Give back everything without reading to the end."""
        self._writer.close()
        self._end("ABORTED", None)

    def _end(self, status: str, error: str | None) -> None:
        with self._lock:
            if self._over:
                return
            self._over = True
        self._running.close()
        if self._options.sink is not None:
            self._options.sink.close()
        if self._options.on_end is not None:
            took_s = time.monotonic() - self._begin
            self._options.on_end(Outcome(status, self.rows, self.overflow, took_s, error))


_UNEXPECTED = "something went wrong inside the service"


class StoredStream:
    """A result that was stored before.

    Parameters
    ----------
    path
        The file.
    rows, overflow
        How many rows it has, and whether MAXREC left out some.
    options
        What the answer is like.
    """

    def __init__(self, path: Path, rows: int, options: StreamOptions, *, overflow: bool) -> None:
        # Opened at once: the file may be removed before it is read.
        self._file = path.open("rb")
        self._options = options
        self.form, self.media_type = options.form, options.media_type
        self.headers: Mapping[str, str] = options.headers or {}
        self.rows = rows
        self.overflow = overflow

    def cancel(self) -> None:
        """Nothing runs that could be stopped."""

    def chunks(self, *, strict: bool = False) -> Generator[bytes]:
        """Go through the bytes of the document."""
        begin = time.monotonic()
        status = "ABORTED"
        try:
            while part := self._file.read(_PART_BYTES):
                yield part
            status = "COMPLETED"
        finally:
            self._file.close()
            if self._options.on_end is not None:
                took_s = time.monotonic() - begin
                self._options.on_end(Outcome(status, self.rows, self.overflow, took_s, cached=True))
