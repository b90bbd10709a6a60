"""Table Access Protocol: a query in, a table out."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds

from skydesk_portal.adql import Translation, translate
from skydesk_portal.config import PortalConfig
from skydesk_portal.exceptions import PortalError
from skydesk_portal.models.identity import Identity
from skydesk_portal.models.tables import Catalog, ColumnInfo, SchemaInfo, TableInfo
from skydesk_portal.models.tap import TapRequest
from skydesk_portal.services.cache import ResultCache
from skydesk_portal.services.catalogs import CatalogService, QueryView
from skydesk_portal.services.history import HistoryService
from skydesk_portal.services.tap_stream import (
    Outcome,
    StoredStream,
    StreamOptions,
    TableStream,
    TapStream,
)
from skydesk_portal.services.uploads import UploadService
from skydesk_portal.vo.descriptors import describe_services
from skydesk_portal.vo.formats import choose_format
from skydesk_portal.vo.uploads import UploadedTable
from skydesk_portal.vo.votable import to_declared

__all__ = ["ENGINE_HEADER", "PreparedQuery", "QueryResult", "TapService", "TapStream"]


ENGINE_HEADER = "Skydesk-Engine"
"""Header that tells which engine answered: ``indexed`` or ``distributed``."""

_SPOOL_S = 48 * 3600
"""No query runs for so long."""


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


@dataclass(frozen=True)
class PreparedQuery:
    """A query that has been accepted and not yet been run.

    Parameters
    ----------
    request
        What was asked.
    view
        Tables of the caller and the engine.
    catalog
        These tables and the uploaded ones.
    translation
        What the engine will be told.
    maxrec
        Rows to let through.
    uploads
        Uploaded tables and those that people keep, by their name in the engine.
    """

    request: TapRequest
    view: QueryView
    catalog: Catalog
    translation: Translation
    maxrec: int
    uploads: Mapping[str, pa.Table | ds.Dataset]

    @property
    def repeatable(self) -> bool:
        """Whether everybody who sees the same release gets the same answer each time."""
        return (
            not self.uploads
            and bool(self.translation.tables)
            and all(table.release for table in self.translation.tables)
            and "random()" not in self.translation.sql.lower()
        )


class TapService:
    """Runs queries for people.

    Parameters
    ----------
    catalogs
        Tables and engine.
    uploads
        Reads the tables that come with a query.
    config
        Limits.
    url
        Public base address.
    cache
        Keeps answers for a while.
    history
        Remembers who asked what.
    spool
        Folder for rows that have to wait for the last one.
    """

    def __init__(
        self,
        catalogs: CatalogService,
        uploads: UploadService,
        config: PortalConfig,
        url: str,
        *,
        cache: ResultCache,
        history: HistoryService,
        spool: Path,
    ) -> None:
        self._catalogs = catalogs
        self._uploads = uploads
        self._config = config
        self._url = url
        self._cache = cache
        self._history = history
        self._spool = spool

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
        view = self._catalogs.view_for(identity)
        return translate(adql, view.catalog, engine=view.engine.capabilities)

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
        prepared = self.prepare(identity, request, files=files, offset=offset)
        return self._start(prepared, timeout_s, on_start, None, None, {})

    def prepare(
        self,
        identity: Identity,
        request: TapRequest,
        *,
        files: Mapping[str, bytes] | None = None,
        offset: int = 0,
    ) -> PreparedQuery:
        """Translate a query and read what comes with it, see `open_stream`."""
        choose_format(request.response_format)
        wanted = self._config.default_rows if request.maxrec is None else request.maxrec
        maxrec = min(wanted, self._config.maximum_rows)
        view = self._catalogs.view_for(identity)
        uploads = self._uploads.read_all(identity, request, files or {})
        catalog = _with_uploads(view.catalog, uploads) if uploads else view.catalog
        translation = translate(
            request.query, catalog, limit=maxrec + 1, offset=offset, engine=view.engine.capabilities
        )
        tables: dict[str, pa.Table | ds.Dataset] = {upload.key: upload.table for upload in uploads}
        tables |= view.content_of(translation.tables)
        return PreparedQuery(request, view, catalog, translation, maxrec, tables)

    def answer(
        self,
        identity: Identity,
        request: TapRequest,
        *,
        timeout_s: float,
        files: Mapping[str, bytes] | None = None,
        on_start: Callable[[Callable[[], None]], None] | None = None,
        job_id: str | None = None,
        fresh: bool = False,
    ) -> TableStream:
        """Answer a query from the cache or the engine, and remember it in the caller's history.

        Parameters
        ----------
        identity, request, timeout_s, files, on_start
            See `open_stream`.
        job_id
            The job that asks, `None` for a synchronous query.
        fresh
            Do not take a stored answer.

        Returns
        -------
        TableStream
            The answer, ready to be read.

        Raises
        ------
        QueryError, UsageError
            If the request is not accepted.
        """
        mode = "sync" if job_id is None else "async"
        record = self._history.create_recorder(identity, request, mode, job_id)
        try:
            prepared = self.prepare(identity, request, files=files)
        except PortalError as error:
            record(Outcome("ERROR", 0, overflow=False, seconds=0.0, error=str(error)))
            raise
        if not prepared.repeatable:
            return self._start(
                prepared, timeout_s, on_start, record, None, {"Cache-Status": "skydesk; fwd=bypass"}
            )
        form, media_type = choose_format(request.response_format)
        key = self._cache.make_key(
            prepared.translation.sql,
            prepared.translation.columns,
            prepared.maxrec,
            media_type,
            request.query,
            self._url,
            self._catalogs.releases.stamp,
            sorted(schema.name for schema in prepared.catalog.schemas),
        )
        stored = None if fresh else self._cache.find(key)
        if stored is not None:
            headers = {
                "Cache-Status": f"skydesk; hit; ttl={stored.left_s:.0f}",
                "Age": f"{stored.age_s:.0f}",
            }
            options = StreamOptions(form, media_type, headers=headers, on_end=record)
            try:
                return StoredStream(stored.path, stored.rows, options, overflow=stored.overflow)
            except FileNotFoundError:
                # Forgotten between the look and the opening.
                pass
        why = "request" if fresh else "miss"
        headers = {"Cache-Status": f"skydesk; fwd={why}"}
        return self._start(prepared, timeout_s, on_start, record, key, headers)

    def _start(
        self,
        prepared: PreparedQuery,
        timeout_s: float,
        on_start: Callable[[Callable[[], None]], None] | None,
        record: Callable[[Outcome], None] | None,
        key: str | None,
        headers: Mapping[str, str],
    ) -> TapStream:
        form, media_type = choose_format(prepared.request.response_format)
        self._spool.mkdir(parents=True, exist_ok=True)
        try:
            running = prepared.view.engine.start(
                prepared.translation.sql, timeout_s=timeout_s, uploads=prepared.uploads, on_start=on_start
            )
        except PortalError as error:
            if record is not None:
                record(Outcome("ERROR", 0, overflow=False, seconds=0.0, error=str(error)))
            raise
        options = StreamOptions(
            form,
            media_type,
            infos={"QUERY": prepared.request.query},
            spool=self._spool,
            headers={**headers, ENGINE_HEADER: running.engine},
            sink=None if key is None else self._cache.create_writer(key),
            on_end=record,
        )
        tables, catalog = prepared.translation.tables, prepared.catalog
        return TapStream(
            running,
            prepared.translation,
            prepared.maxrec,
            options,
            lambda columns: describe_services(columns, tables, catalog, self._url),
        )

    def sweep(self) -> int:
        """Remove what killed processes left of rows that waited; return how many files that were."""
        oldest = time.time() - _SPOOL_S
        found = [path for path in self._spool.glob("*") if path.stat().st_mtime < oldest]
        for path in found:
            shutil.rmtree(path, ignore_errors=True)
        return len(found)

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


def _with_uploads(catalog: Catalog, uploads: list[UploadedTable]) -> Catalog:
    tables = tuple(
        TableInfo(
            "TAP_UPLOAD", upload.name, upload.columns, (upload.key,), kind="table", rows=upload.table.num_rows
        )
        for upload in uploads
    )
    kept = tuple(replace(schema) for schema in catalog.schemas if schema.name.lower() != "tap_upload")
    return Catalog((*kept, SchemaInfo("TAP_UPLOAD", "Tables uploaded with this query", "", tables)))
