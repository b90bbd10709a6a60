"""Estimates of queries: how much would come out, how much would have to be read, what to look out for."""

from __future__ import annotations

from collections.abc import Mapping

from skydesk_portal.config import PortalConfig
from skydesk_portal.models.estimate import Expectation, QueryEstimate, TableEstimate
from skydesk_portal.models.identity import Identity
from skydesk_portal.models.tables import ColumnInfo, TableInfo
from skydesk_portal.models.tap import TapRequest
from skydesk_portal.services.tap import PreparedQuery, TapService
from skydesk_portal.storage.estimate import count_rows

__all__ = ["EstimateService"]

_COUNT_S = 1.0
"""How long the rows may be counted before they are guessed."""

_KEPT_PER_SECOND = 1e6
"""Rows that can be written or kept in a second, about."""

_MANY_ROWS = 1000
"""Tables with fewer rows are read in no time."""

_BYTES = {"boolean": 1, "unsignedByte": 1, "short": 2, "int": 4, "long": 8, "float": 4, "double": 8}
_TEXT_BYTES = 16


def _width(column: ColumnInfo) -> int:
    if column.datatype not in _BYTES:
        size = (column.arraysize or "").rstrip("*")
        return min(int(size), 64) if size.isdigit() else _TEXT_BYTES
    size = (column.arraysize or "1").rstrip("*")
    return _BYTES[column.datatype] * (int(size) if size.isdigit() else 8 if column.arraysize == "*" else 1)


class EstimateService:
    """Tells what queries would cost, without running them to their end.

    Parameters
    ----------
    tap
        Prepares queries.
    config
        Limits, and how fast this machine is.
    """

    def __init__(self, tap: TapService, config: PortalConfig) -> None:
        self._tap = tap
        self._config = config

    def estimate(
        self, identity: Identity, request: TapRequest, files: Mapping[str, bytes] | None = None
    ) -> QueryEstimate:
        """Estimate a query.

        Parameters
        ----------
        identity
            The caller.
        request
            What would be asked.
        files
            Uploaded files by name.

        Returns
        -------
        QueryEstimate
            Rows, bytes, tables and warnings.

        Raises
        ------
        QueryError, UsageError
            If the query would not be accepted.
        """
        prepared = self._tap.prepare(identity, request, files=files)
        engine, sql = prepared.view.engine, prepared.translation.sql
        choice = engine.choose(sql, prepared.uploads)
        indexed = choice.capabilities.indexed
        counted = count_rows(engine, sql, prepared.uploads, _COUNT_S) if indexed else None
        known = {table.source: table for table in prepared.translation.tables}
        expected = engine.expect(sql, prepared.uploads, known)
        return self._put_together(prepared, expected, counted, known, choice.capabilities.name)

    def _put_together(
        self,
        prepared: PreparedQuery,
        expected: Expectation,
        counted: int | None,
        known: Mapping[tuple[str, ...], TableInfo],
        engine: str,
    ) -> QueryEstimate:
        rows = counted if counted is not None else expected.rows
        overflow = rows > prepared.maxrec if rows is not None else None
        if rows is not None:
            rows = min(rows, prepared.maxrec)
        row_bytes = sum(_width(column) for column in prepared.translation.columns)
        return QueryEstimate(
            rows,
            counted is not None,
            overflow,
            None if rows is None else rows * row_bytes,
            self._tables(prepared, expected),
            tuple(self._warnings(prepared, known, expected, overflow)),
            engine,
            self._seconds(expected, rows),
        )

    def foresee(
        self, identity: Identity, request: TapRequest, files: Mapping[str, bytes] | None = None
    ) -> QueryEstimate:
        """Estimate a query from its plan, without counting unless the plan says more rows than a result may have.

        Parameters and errors as for `estimate`.
        """
        prepared = self._tap.prepare(identity, request, files=files)
        engine, sql = prepared.view.engine, prepared.translation.sql
        choice = engine.choose(sql, prepared.uploads)
        known = {table.source: table for table in prepared.translation.tables}
        expected = engine.expect(sql, prepared.uploads, known)
        counted = None
        if choice.capabilities.indexed and (expected.rows or 0) > prepared.maxrec:
            counted = count_rows(engine, sql, prepared.uploads, _COUNT_S)
        return self._put_together(prepared, expected, counted, known, choice.capabilities.name)

    def _seconds(self, expected: Expectation, rows: int | None) -> float | None:
        if expected.steps is None:
            return None
        return expected.steps / self._config.rows_per_second + (rows or 0) / _KEPT_PER_SECOND

    def _tables(self, prepared: PreparedQuery, expected: Expectation) -> tuple[TableEstimate, ...]:
        used = {name.lower() for name in prepared.translation.used_columns}
        scanned: dict[tuple[str, ...], int] = {}
        for scan in expected.scans:
            scanned[scan.source] = scanned.get(scan.source, 0) + scan.rows
        out = []
        for table in prepared.translation.tables:
            # What the plan does not name is answered from the statistics, or is no table of a release.
            rows = scanned.get(table.source, 0) if table.release else table.rows
            width = sum(_width(c) for c in table.columns if f"{table.full_name}.{c.name}".lower() in used)
            size = None if rows is None else rows * max(width, 1)
            out.append(TableEstimate(table.full_name, table.rows, rows, size))
        return tuple(dict.fromkeys(out))

    def _warnings(
        self,
        prepared: PreparedQuery,
        known: Mapping[tuple[str, ...], TableInfo],
        expected: Expectation,
        overflow: bool | None,
    ) -> list[str]:
        out = []
        for name in dict.fromkeys(scan.source for scan in expected.scans if not scan.restricted):
            table = known[name]
            if (table.rows or 0) < _MANY_ROWS:
                continue
            advice = (
                "restrict it by a region of the sky or by identifiers"
                if table.ra_column
                else "restrict it by identifiers"
            )
            out.append(f"this reads all {table.rows:,} rows of {table.full_name}: {advice} to be quicker")
        if expected.pairs:
            out.append(
                "every row of one table is compared with every row of another: join them by a column or a region"
            )
        if overflow:
            out.append(f"MAXREC leaves out the rows after the first {prepared.maxrec:,}")
        return out
