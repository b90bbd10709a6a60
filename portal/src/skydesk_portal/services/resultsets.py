"""Results of queries to be looked at from every side: kept, paged, sorted, filtered, extended, written out."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from skydesk_portal.config import PortalConfig
from skydesk_portal.exceptions import NotFoundError, PortalError, QueryTimeoutError
from skydesk_portal.models.identity import Identity
from skydesk_portal.models.resultsets import ResultSet, ResultView
from skydesk_portal.models.tables import ColumnInfo
from skydesk_portal.models.tap import TapRequest
from skydesk_portal.services.explorer import ResultExplorer
from skydesk_portal.services.history import HistoryService
from skydesk_portal.services.tap import TapService
from skydesk_portal.services.tap_stream import Outcome
from skydesk_portal.storage.resultsets import ResultSetStore
from skydesk_portal.storage.resultsets_reader import ResultDatabase
from skydesk_portal.vo.formats import choose_format, create_writer
from skydesk_portal.vo.votable import to_declared

__all__ = ["ResultSetService"]

_MEMORY_MB = 1000


class ResultSetService:
    """Keeps what queries gave, for those who asked.

    Parameters
    ----------
    store
        Where results lie.
    tap
        Answers queries.
    config
        Limits.
    spool
        Folder for rows that have to wait for the last one when a result is written out.
    history
        Remembers who asked what.
    """

    def __init__(
        self,
        store: ResultSetStore,
        tap: TapService,
        config: PortalConfig,
        spool: Path,
        history: HistoryService,
    ) -> None:
        self._history = history
        self.store = store
        self._tap = tap
        self._config = config
        self._spool = spool
        self._lock = threading.Lock()
        self._open: weakref.WeakValueDictionary[str, ResultDatabase] = weakref.WeakValueDictionary()

    def run(
        self,
        identity: Identity,
        adql: str,
        *,
        uploads: Mapping[str, bytes] | None = None,
        on_start: Callable[[Callable[[], None]], None] | None = None,
        on_rows: Callable[[int], None] | None = None,
    ) -> ResultSet:
        """Run a query and keep its whole result.

        Parameters
        ----------
        identity
            Who asks.
        adql
            The query.
        uploads
            Files of tables by their name in ``TAP_UPLOAD``.
        on_start
            Given what stops the query, before it begins.
        on_rows
            Told how many rows have arrived.

        Returns
        -------
        ResultSet
            What is kept.

        Raises
        ------
        QueryError
            If the query is not accepted.
        QueryTimeoutError
            If it runs too long or is stopped.
        TooLargeError
            If its result is larger than may be kept.
        """
        files = dict(uploads or {})
        request = TapRequest(
            adql, self._config.maximum_rows, uploads=tuple((name, f"param:{name}") for name in files)
        )
        record, begun = self._history.create_recorder(identity, request, "portal"), time.monotonic()
        try:
            found = self._keep(identity, request, files, on_start, on_rows)
        except PortalError as error:
            status = "ABORTED" if isinstance(error, QueryTimeoutError) else "ERROR"
            record(Outcome(status, 0, overflow=False, seconds=time.monotonic() - begun, error=str(error)))
            raise
        took_s = time.monotonic() - begun
        record(Outcome("COMPLETED", found.rows, found.overflow, took_s), found.id)
        return found

    def _keep(
        self,
        identity: Identity,
        request: TapRequest,
        files: Mapping[str, bytes],
        on_start: Callable[[Callable[[], None]], None] | None,
        on_rows: Callable[[int], None] | None,
    ) -> ResultSet:
        stream = self._tap.open_stream(
            identity, request, timeout_s=self._config.sync_seconds, files=files, on_start=on_start
        )

        def batches() -> Iterator[pa.RecordBatch]:
            for batch in stream.batches():
                yield batch
                if on_rows is not None:
                    on_rows(stream.rows)

        try:
            return self.store.add(
                identity.name,
                request.query,
                stream.columns,
                stream.schema,
                batches(),
                lambda: stream.overflow,
            )
        finally:
            stream.close()

    def find(self, identity: Identity, result_id: str) -> ResultSet | None:
        """Return one of the caller's results, `None` if there is none (any more)."""
        return self.store.find(identity.name, result_id)

    def get(self, identity: Identity, result_id: str) -> ResultSet:
        """Return one of the caller's results.

        Raises
        ------
        NotFoundError
            If there is none (any more), which is also the answer for another's.
        """
        found = self.find(identity, result_id)
        if found is None:
            raise NotFoundError("this result is not kept any more: run the query again")
        return found

    def open(self, identity: Identity, result_id: str) -> ResultExplorer:
        """Open one of the caller's results for looking at.

        Parameters
        ----------
        identity
            The caller.
        result_id
            Its identifier.

        Returns
        -------
        ResultExplorer
            A view with a state of its own; close it.
        """
        result = self.get(identity, result_id)
        folder = self.store.path_of(result)
        with self._lock:
            database = self._open.get(result.id)
            if database is None:
                database = ResultDatabase(
                    folder / "rows.duckdb",
                    self._config.engine_threads,
                    min(_MEMORY_MB, self._config.engine_memory_mb),
                    self._config.spill_mb,
                )
                self._open[result.id] = database
        return ResultExplorer(result, folder, database.open_cursor())

    def write(
        self, identity: Identity, result_id: str, view: ResultView, response_format: str
    ) -> tuple[str, str, Generator[bytes]]:
        """Write what is shown of a result as a document.

        Parameters
        ----------
        identity
            The caller.
        result_id
            The result.
        view
            Columns, rows and order.
        response_format
            As RESPONSEFORMAT of TAP.

        Returns
        -------
        tuple
            Media type, ending of the file's name, and the document's parts.

        Raises
        ------
        UsageError
            If the format or something of the view is not known.
        """
        form, media_type = choose_format(response_format)
        explorer = self.open(identity, result_id)
        try:
            if view.subset:
                explorer.choose(np.flatnonzero(self.store.read_subset(explorer.result, view.subset)))
            explorer.derive(view.derived)
            sql, columns = explorer.select(view, chosen=bool(view.subset))
        except PortalError:
            explorer.close()
            raise
        self._spool.mkdir(parents=True, exist_ok=True)
        writer = create_writer(form.name, columns, infos={"QUERY": explorer.result.adql}, spool=self._spool)

        def document() -> Generator[bytes]:
            try:
                yield writer.begin()
                for batch in explorer.stream(sql):
                    yield writer.rows(to_declared(batch, columns))
                yield from writer.finish()
            finally:
                writer.close()
                explorer.close()

        return media_type, form.extension, document()

    def rows_of(
        self, explorer: ResultExplorer, view: ResultView, chosen: NDArray[np.integer[Any]] | None = None
    ) -> tuple[tuple[ColumnInfo, ...], Iterator[pa.RecordBatch]]:
        """Return columns and rows of what is shown, with their declared types, to make a table of them."""
        if chosen is not None:
            explorer.choose(chosen)
        sql, columns = explorer.select(replace(view, sort=()), chosen=chosen is not None)
        return columns, (to_declared(batch, columns) for batch in explorer.stream(sql))

    def sweep(self) -> int:
        """Remove results that nobody looks at any more; return how many."""
        return self.store.sweep()
