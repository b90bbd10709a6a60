"""Columnar forms of a table: VOParquet (IVOA Note VOParquet 1.0) and the Arrow IPC stream."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from skydesk_portal.models.tables import ColumnInfo
from skydesk_portal.vo.votable import VOTableWriter, arrow_type, to_declared

__all__ = ["ArrowWriter", "ParquetWriter"]

_GROUP_ROWS = 50_000
_GROUP_BYTES = 64_000_000


class _Outlet(io.RawIOBase):
    """A file that can only be written, and hands on what was written since it was last asked."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.position = 0

    def writable(self) -> bool:
        return True

    def write(self, content: object) -> int:
        part = bytes(memoryview(content))  # type: ignore[arg-type]
        self.parts.append(part)
        self.position += len(part)
        return len(part)

    def tell(self) -> int:
        return self.position

    def take(self) -> bytes:
        out = b"".join(self.parts)
        self.parts.clear()
        return out


def _unique_names(columns: tuple[ColumnInfo, ...]) -> list[str]:
    names: list[str] = []
    for column in columns:
        name, number = column.name, 2
        while name in names:
            name, number = f"{column.name}_{number}", number + 1
        names.append(name)
    return names


def _field(name: str, column: ColumnInfo) -> pa.Field:
    keys = ("unit", "ucd", "utype", "xtype", "description")
    return pa.field(
        name, arrow_type(column), metadata={k: getattr(column, k) for k in keys if getattr(column, k)}
    )


class ArrowWriter:
    """Writes the stream format of Arrow, with unit, UCD and description in the metadata of each field.

    Parameters
    ----------
    columns
        Declared columns.
    """

    tells_errors = False

    def __init__(self, columns: tuple[ColumnInfo, ...]) -> None:
        self.columns = columns
        self._schema = pa.schema([_field(n, c) for n, c in zip(_unique_names(columns), columns, strict=True)])
        self._outlet = _Outlet()
        self._writer = pa.ipc.new_stream(pa.PythonFile(self._outlet, mode="w"), self._schema)

    def begin(self) -> bytes:
        """Return the schema."""
        return self._outlet.take()

    def rows(self, batch: pa.RecordBatch) -> bytes:
        """Return some rows."""
        declared = to_declared(batch, self.columns)
        self._writer.write_batch(pa.RecordBatch.from_arrays(declared.columns, schema=self._schema))
        return self._outlet.take()

    def finish(self, *, overflow: bool = False, error: str | None = None) -> Iterator[bytes]:
        """Go through the mark of the end."""
        self._writer.close()
        yield self._outlet.take()

    def close(self) -> None:
        """Give back nothing: the writer keeps no rows."""


class ParquetWriter:
    """Writes parquet with the VOTable header in the metadata of the file, small batches joined into row groups.

    Parameters
    ----------
    columns
        Declared columns.
    header
        Writes the VOTable without data.
    """

    tells_errors = False

    def __init__(self, columns: tuple[ColumnInfo, ...], header: VOTableWriter) -> None:
        self.columns = columns
        fields = [_field(n, c) for n, c in zip(_unique_names(columns), columns, strict=True)]
        self._schema = pa.schema(fields).with_metadata(
            {
                "IVOA.VOTable-Parquet.version": "1.0",
                "IVOA.VOTable-Parquet.content": header.header().decode(),
            }
        )
        self._outlet = _Outlet()
        self._writer = pq.ParquetWriter(
            pa.PythonFile(self._outlet, mode="w"), self._schema, compression="zstd"
        )
        self._waiting: list[pa.RecordBatch] = []

    def begin(self) -> bytes:
        """Return the magic number."""
        return self._outlet.take()

    def rows(self, batch: pa.RecordBatch) -> bytes:
        """Return some rows."""
        declared = to_declared(batch, self.columns)
        self._waiting.append(pa.RecordBatch.from_arrays(declared.columns, schema=self._schema))
        full = sum(one.num_rows for one in self._waiting) >= _GROUP_ROWS
        if full or sum(one.nbytes for one in self._waiting) >= _GROUP_BYTES:
            self._write_group()
        return self._outlet.take()

    def _write_group(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.Table.from_batches(self._waiting))
            self._waiting = []

    def finish(self, *, overflow: bool = False, error: str | None = None) -> Iterator[bytes]:
        """Go through the footer, in which ``QUERY_STATUS`` tells of an overflow."""
        self._write_group()
        self._writer.add_key_value_metadata({"QUERY_STATUS": "OVERFLOW" if overflow else "OK"})
        self._writer.close()
        yield self._outlet.take()

    def close(self) -> None:
        """Forget the rows that wait for their row group."""
        self._waiting = []
