"""Table Access Protocol: a query in, a table out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pyarrow as pa

from skydesk_portal.adql import Translation, translate
from skydesk_portal.config import PortalConfig
from skydesk_portal.exceptions import PortalError, UsageError
from skydesk_portal.log import get_logger
from skydesk_portal.models.identity import Identity
from skydesk_portal.models.tables import Catalog, ColumnInfo, SchemaInfo, TableInfo
from skydesk_portal.models.tap import TapRequest
from skydesk_portal.services.catalogs import CatalogService
from skydesk_portal.services.jobs import JobService
from skydesk_portal.vo.formats import TableWriter, create_writer, find_format
from skydesk_portal.vo.uploads import UploadedTable, read_upload
from skydesk_portal.vo.votable import finish_columns, to_declared

if TYPE_CHECKING:
    from skydesk_portal.storage.engine import RunningQuery

__all__ = ["QueryResult", "TapService", "TapStream"]


_OWN_RESULT = re.compile(
    r"/api/(tap/async|cutout/jobs|batch)/(?P<job>[a-z0-9]+)/results/(?P<result>[\w.-]+)\Z"
)


@dataclass(frozen=True)
class QueryResult:
    """A whole result in memory.

    Parameters
    ----------
    table
        Rows with the declared names and types.
    columns
        What the columns mean.
    overflow
        Whether there were more rows than asked for.
    """

    table: pa.Table
    columns: tuple[ColumnInfo, ...]
    overflow: bool


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
    format_name
        Key of `skydesk_portal.vo.formats.FORMATS`.
    """

    def __init__(
        self, running: RunningQuery, translation: Translation, maxrec: int, format_name: str
    ) -> None:
        self._running = running
        self._maxrec = maxrec
        self.rows = 0
        self.overflow = False
        try:
            self.schema = running.schema
            self.columns = finish_columns(translation.columns, running.schema)
            self._batches = running.batches()
            # The first rows are awaited here, so that an early failure still gets its own status.
            self._first = next(self._batches, None)
        except BaseException:
            running.close()
            raise
        self._writer: TableWriter = create_writer(format_name, self.columns)

    @property
    def media_type(self) -> str:
        """Media type of the document."""
        return self._writer.media_type

    def cancel(self) -> None:
        """Stop the query from another thread."""
        self._running.cancel()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Go through the rows up to MAXREC."""
        try:
            batch = self._first
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

    def chunks(self, *, strict: bool = False) -> Iterator[bytes]:
        """Go through the bytes of the document.

        Parameters
        ----------
        strict
            Raise a failure instead of ending the document with it.

        Yields
        ------
        bytes
            The next part.

        Raises
        ------
        PortalError
            If ``strict`` and the query fails.
        """
        yield self._writer.begin()
        error: str | None = None
        try:
            for batch in self.batches():
                yield self._writer.rows(batch)
        except PortalError as failure:
            if strict:
                raise
            get_logger().warning("query failed while streaming", code=failure.code, error=str(failure))
            error = str(failure)
        yield self._writer.end(overflow=self.overflow, error=error)


class TapService:
    """Runs queries for people.

    Parameters
    ----------
    catalogs
        Tables and engine.
    jobs
        Jobs, whose results may be uploaded again.
    config
        Limits.
    url
        Public base address.
    """

    def __init__(self, catalogs: CatalogService, jobs: JobService, config: PortalConfig, url: str) -> None:
        self._catalogs = catalogs
        self._jobs = jobs
        self._config = config
        self._url = url

    def catalog_for(self, identity: Identity) -> Catalog:
        """Return the tables that a caller may query."""
        return self._catalogs.view_for(identity).catalog

    def check(self, identity: Identity, adql: str) -> Translation:
        """Translate a query without running it.

        Raises
        ------
        QueryError
            If the query is not accepted.
        """
        return translate(adql, self._catalogs.view_for(identity).catalog)

    def open_stream(
        self,
        identity: Identity,
        request: TapRequest,
        *,
        timeout_s: float,
        files: Mapping[str, bytes] | None = None,
        offset: int = 0,
        on_start: Callable[[Callable[[], None]], None] | None = None,
    ) -> TapStream:
        """Start a query.

        Parameters
        ----------
        identity
            The caller.
        request
            What is asked.
        timeout_s
            When to stop; 0 means never.
        files
            Uploaded files by the name that UPLOAD refers to.
        offset
            Rows to leave out.
        on_start
            Given what stops the query, before the query begins.

        Returns
        -------
        TapStream
            The answer, ready to be read; it must be read to its end or closed.

        Raises
        ------
        QueryError, UsageError
            If the request is not accepted.
        """
        format_name = find_format(request.response_format)
        wanted = self._config.default_rows if request.maxrec is None else request.maxrec
        maxrec = min(wanted, self._config.maximum_rows)
        view = self._catalogs.view_for(identity)
        uploads = self._read_uploads(identity, request, files or {})
        catalog = _with_uploads(view.catalog, uploads) if uploads else view.catalog
        translation = translate(request.query, catalog, limit=maxrec + 1, offset=offset)
        tables = {upload.key: upload.table for upload in uploads}
        running = view.engine.start(translation.sql, timeout_s=timeout_s, uploads=tables, on_start=on_start)
        return TapStream(running, translation, maxrec, format_name)

    def run_query(
        self,
        identity: Identity,
        adql: str,
        maxrec: int = 1000,
        offset: int = 0,
        timeout_s: float | None = None,
    ) -> QueryResult:
        """Run a query and wait for its whole result.

        Parameters
        ----------
        identity
            The caller.
        adql
            The query.
        maxrec
            Rows wanted at most.
        offset
            Rows to leave out, for paging.
        timeout_s
            When to stop; by default as a synchronous query.

        Returns
        -------
        QueryResult
            Rows and columns.

        Raises
        ------
        QueryError
            If the query is not accepted.
        QueryTimeoutError
            If it runs too long.
        """
        limit = self._config.sync_seconds if timeout_s is None else timeout_s
        stream = self.open_stream(identity, TapRequest(adql, maxrec), timeout_s=limit, offset=offset)
        batches = [to_declared(batch, stream.columns) for batch in stream.batches()]
        if not batches:
            empty = pa.RecordBatch.from_arrays(
                [pa.array([], item.type) for item in stream.schema], schema=stream.schema
            )
            batches = [to_declared(empty, stream.columns)]
        return QueryResult(pa.Table.from_batches(batches), stream.columns, stream.overflow)

    def _read_own_result(self, identity: Identity, name: str, source: str) -> bytes:
        # Only addresses of this platform: a service that fetches any address can be sent where it must not look.
        found = _OWN_RESULT.match(source.removeprefix(self._url))
        if found is None or not source.startswith((self._url, "/")):
            raise UsageError(
                f"UPLOAD {name}: give param:NAME or the address of a result of one of your own jobs here"
            )
        path, _ = self._jobs.result_path(identity, found["job"], found["result"])
        if path.stat().st_size > self._config.upload_bytes:
            raise UsageError(
                f"UPLOAD {name}: the result is larger than the {self._config.upload_bytes} bytes taken"
            )
        return path.read_bytes()

    def _read_uploads(
        self, identity: Identity, request: TapRequest, files: Mapping[str, bytes]
    ) -> list[UploadedTable]:
        out = []
        for name, source in request.uploads:
            if source.lower().startswith("param:"):
                content = files.get(source[6:]) or files.get(re.sub(r"\W", "_", source[6:]))
                if content is None:
                    raise UsageError(f"UPLOAD {name}: the request has no part called {source[6:][:40]}")
            else:
                content = self._read_own_result(identity, name, source)
            out.append(read_upload(name, content, self._config.upload_bytes))
        return out


def _with_uploads(catalog: Catalog, uploads: list[UploadedTable]) -> Catalog:
    tables = tuple(
        TableInfo(
            "TAP_UPLOAD", upload.name, upload.columns, (upload.key,), kind="table", rows=upload.table.num_rows
        )
        for upload in uploads
    )
    kept = tuple(replace(schema) for schema in catalog.schemas if schema.name.lower() != "tap_upload")
    return Catalog((*kept, SchemaInfo("TAP_UPLOAD", "Tables uploaded with this query", "", tables)))
