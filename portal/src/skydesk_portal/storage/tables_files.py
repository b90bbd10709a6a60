"""The rows of people's tables: parquet files that are written once and never changed."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from skydesk_portal.exceptions import QuotaError
from skydesk_portal.models.tables import ColumnInfo
from skydesk_portal.models.user_tables import UserTable
from skydesk_portal.pipeline.sky import HP14_SHIFT, to_hp29
from skydesk_portal.vo.votable import arrow_type

__all__ = ["PartWriter", "open_table", "read_batches"]

_CHUNK_BYTES = 100_000_000
_GROUP_ROWS = 32_768
_INDEX = ("hp29", "hp14")


def _schema(columns: Sequence[ColumnInfo]) -> pa.Schema:
    return pa.schema([(column.name, arrow_type(column)) for column in columns])


class PartWriter:
    """Writes rows into files, sorted within each file.

    Parameters
    ----------
    folder
        Where the files go.
    columns
        Columns of the rows.
    position
        Columns of the position that the index is made from, if any.
    sorted_by
        Column to sort by instead of the position.
    limit_bytes
        How much may be written.
    """

    def __init__(
        self,
        folder: Path,
        columns: Sequence[ColumnInfo],
        *,
        position: tuple[str, str] | None = None,
        sorted_by: str | None = None,
        limit_bytes: int,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder
        self._schema = _schema(columns)
        self._position = position
        self._sorted_by = sorted_by
        self._limit_bytes = limit_bytes
        taken = {name for name in self._schema.names if name.lower() in _INDEX}
        # Columns with the names of the index stay as they are; they serve as the index if that is what they hold.
        self._own_index = bool(taken)
        self.has_index = position is not None and taken in (set(), set(_INDEX))
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_bytes = 0
        self.parts: list[str] = []
        self.rows = 0
        self.size_bytes = 0

    def add(self, batch: pa.RecordBatch) -> None:
        """Add rows.

        Raises
        ------
        QuotaError
            If they are more than may be kept.
        """
        self._waiting.append(batch)
        self._waiting_bytes += batch.nbytes
        if self._waiting_bytes > _CHUNK_BYTES:
            self._flush()

    def add_all(self, batches: Iterable[pa.RecordBatch]) -> None:
        """Add all rows there are."""
        for batch in batches:
            self.add(batch)

    def _flush(self) -> None:
        if not self._waiting:
            return
        table = pa.Table.from_batches(self._waiting).cast(self._schema)
        self._waiting, self._waiting_bytes = [], 0
        if not table.num_rows:
            return
        table = self._arrange(table)
        name = f"{secrets.token_hex(12)}.parquet"
        path = self._folder / name
        self.parts.append(name)
        with path.open("xb") as out:
            pq.write_table(table, out, compression="zstd", row_group_size=_GROUP_ROWS)
            out.flush()
            os.fsync(out.fileno())
        self.rows += table.num_rows
        self.size_bytes += path.stat().st_size
        if self.size_bytes > self._limit_bytes:
            raise QuotaError(
                f"the rows take more than the {self._limit_bytes} bytes that your tables may still grow by"
            )

    def _arrange(self, table: pa.Table) -> pa.Table:
        order = self._sorted_by
        if self._position is not None:
            ra, dec = (
                pc.fill_null(pc.cast(table[name], pa.float64()), float("nan")) for name in self._position
            )
            hp29 = to_hp29(ra.to_numpy(), dec.to_numpy())
            index = {"hp29": pa.array(hp29), "hp14": pa.array(hp29 >> HP14_SHIFT)}
            if not self._own_index:
                for name, values in index.items():
                    table = table.append_column(name, values)
            elif self.has_index:
                self.has_index = all(
                    table[name].type == pa.int64() and table[name].combine_chunks().equals(values)
                    for name, values in index.items()
                )
            if order is None and self.has_index:
                order = "hp29"
        return (
            table if order is None else table.take(pc.sort_indices(table, sort_keys=[(order, "ascending")]))
        )

    def finish(self) -> None:
        """Write what is left; then `parts`, `rows`, `size_bytes` and `has_index` are final."""
        self._flush()
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def discard(self) -> None:
        """Remove what has been written."""
        for name in self.parts:
            (self._folder / name).unlink(missing_ok=True)


def open_table(folder: Path, table: UserTable) -> pa.Table | ds.Dataset:
    """Open the rows of a table for the engine.

    Parameters
    ----------
    folder
        Folder of the owner's files.
    table
        The version to read.

    Returns
    -------
    pyarrow.Table or pyarrow.dataset.Dataset
        Rows with the index columns, if the table has them.
    """
    schema = _schema(table.columns)
    if table.has_index:
        for name in _INDEX:
            if name not in schema.names:
                schema = schema.append(pa.field(name, pa.int64()))
    if not table.parts:
        return schema.empty_table()
    return ds.dataset([str(folder / name) for name in table.parts], schema=schema, format="parquet")


def read_batches(folder: Path, table: UserTable) -> Iterable[pa.RecordBatch]:
    """Go through the rows of a table, without the index columns."""
    opened = open_table(folder, table)
    names = [column.name for column in table.columns]
    if isinstance(opened, pa.Table):
        yield from opened.select(names).to_batches()
    else:
        yield from opened.to_batches(columns=names, batch_readahead=2, fragment_readahead=1)
