"""The formats a table can be answered in, behind one interface (DALI 1.1, RESPONSEFORMAT)."""

from __future__ import annotations

import io
import json
from typing import Protocol

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from skydesk_portal.exceptions import UsageError
from skydesk_portal.models.tables import ColumnInfo
from skydesk_portal.vo.votable import VOTableWriter, arrow_type, to_declared

__all__ = ["FORMATS", "TableWriter", "create_writer", "find_format"]

FORMATS: dict[str, tuple[str, tuple[str, ...]]] = {
    "votable": (
        "application/x-votable+xml",
        ("votable", "votable/b2", "application/x-votable+xml;serialization=binary2"),
    ),
    "votable/td": (
        "application/x-votable+xml;serialization=tabledata",
        ("votable/td", "application/x-votable+xml;serialization=tabledata", "text/xml"),
    ),
    "csv": ("text/csv", ("csv", "text/csv;header=present")),
    "tsv": ("text/tab-separated-values", ("tsv",)),
    "parquet": ("application/vnd.apache.parquet", ("parquet",)),
    "json": ("application/json", ("json",)),
}
"""Formats by short name: media type and the other words that mean it."""


class TableWriter(Protocol):
    """Something that writes a table as a stream of byte strings."""

    @property
    def media_type(self) -> str:
        """Media type of the document."""

    def begin(self) -> bytes:
        """Return everything before the first row."""

    def rows(self, batch: pa.RecordBatch) -> bytes:
        """Return some rows."""

    def end(self, *, overflow: bool = False, error: str | None = None) -> bytes:
        """Return everything after the last row."""


def find_format(word: str | None) -> str:
    """Return the short name of a format.

    Parameters
    ----------
    word
        What the caller asked for, `None` for the default.

    Returns
    -------
    str
        Key of `FORMATS`.

    Raises
    ------
    UsageError
        If the format is not offered.
    """
    if word is None or not word.strip():
        return "votable"
    asked = word.strip().lower().replace(" ", "")
    for name, (media_type, aliases) in FORMATS.items():
        if asked in (name, media_type, *aliases):
            return name
    if asked.startswith("text/csv"):
        return "csv"
    raise UsageError(f"RESPONSEFORMAT {word[:60]!r} is not offered: {', '.join(FORMATS)}")


def create_writer(
    name: str, columns: tuple[ColumnInfo, ...], infos: dict[str, str] | None = None, extra: str = ""
) -> TableWriter:
    """Make the writer of a format.

    Parameters
    ----------
    name
        Key of `FORMATS`.
    columns
        Declared columns.
    infos, extra
        See `VOTableWriter`; other formats leave them out.

    Returns
    -------
    TableWriter
        A fresh writer for one table.
    """
    if name in {"votable", "votable/td"}:
        return VOTableWriter(columns, binary=name == "votable", infos=infos, extra=extra)
    if name in {"csv", "tsv"}:
        return _TextWriter(columns, "," if name == "csv" else "\t")
    if name == "parquet":
        return _ParquetWriter(columns)
    return _JsonWriter(columns)


def _plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    # Text has no arrays: they are written as in TABLEDATA, numbers with blanks between.
    arrays = [
        pa.array([None if v is None else " ".join(map(repr, v)) for v in array.to_pylist()], pa.string())
        if pa.types.is_list(array.type)
        else array
        for array in batch.columns
    ]
    return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)


class _TextWriter:
    def __init__(self, columns: tuple[ColumnInfo, ...], delimiter: str) -> None:
        self.columns = columns
        self.delimiter = delimiter

    @property
    def media_type(self) -> str:
        return (
            "text/csv;charset=utf-8;header=present"
            if self.delimiter == ","
            else "text/tab-separated-values;charset=utf-8"
        )

    def begin(self) -> bytes:
        def cell(name: str) -> str:
            special = any(c in name for c in (self.delimiter, '"', "\n"))
            return '"' + name.replace('"', '""') + '"' if special else name

        return (self.delimiter.join(cell(column.name) for column in self.columns) + "\r\n").encode()

    def rows(self, batch: pa.RecordBatch) -> bytes:
        sink = io.BytesIO()
        options = pacsv.WriteOptions(
            include_header=False, delimiter=self.delimiter, quoting_style="needed", eol="\r\n"
        )
        pacsv.write_csv(pa.Table.from_batches([_plain(to_declared(batch, self.columns))]), sink, options)
        return sink.getvalue()

    def end(self, *, overflow: bool = False, error: str | None = None) -> bytes:
        # CSV has no place for a status; an error must still not look like a complete answer.
        return f"# ERROR: {error}\r\n".encode() if error is not None else b""


class _ParquetWriter:
    """VOParquet 1.0: the VOTable header rides in the file's metadata."""

    def __init__(self, columns: tuple[ColumnInfo, ...]) -> None:
        self.columns = columns
        header = VOTableWriter(columns, binary=False)
        document = header.begin() + header.end()
        self.schema = pa.schema([pa.field(c.name, arrow_type(c)) for c in columns]).with_metadata(
            {"IVOA.VOTable-Parquet.version": "1.0", "IVOA.VOTable-Parquet.content": document.decode()}
        )
        self.sink = io.BytesIO()
        self.writer = pq.ParquetWriter(self.sink, self.schema, compression="zstd")

    @property
    def media_type(self) -> str:
        return "application/vnd.apache.parquet"

    def _drain(self) -> bytes:
        out = self.sink.getvalue()[self._sent() :]
        self.sent = self._sent() + len(out)
        return out

    def _sent(self) -> int:
        return getattr(self, "sent", 0)

    def begin(self) -> bytes:
        return self._drain()

    def rows(self, batch: pa.RecordBatch) -> bytes:
        declared = to_declared(batch, self.columns)
        self.writer.write_batch(pa.RecordBatch.from_arrays(declared.columns, schema=self.schema))
        return self._drain()

    def end(self, *, overflow: bool = False, error: str | None = None) -> bytes:
        if error is not None:
            # Without its footer the file cannot be mistaken for a whole one.
            return b""
        self.writer.close()
        return self._drain()


class _JsonWriter:
    def __init__(self, columns: tuple[ColumnInfo, ...]) -> None:
        self.columns = columns
        self.first = True

    @property
    def media_type(self) -> str:
        return "application/json"

    def begin(self) -> bytes:
        keys = ("name", "datatype", "arraysize", "xtype", "unit", "ucd", "utype", "description")
        metadata = [{k: getattr(c, k) for k in keys if getattr(c, k)} for c in self.columns]
        return f'{{"metadata": {json.dumps(metadata)}, "data": ['.encode()

    def rows(self, batch: pa.RecordBatch) -> bytes:
        declared = to_declared(batch, self.columns)
        cells = []
        for array, column in zip(declared.columns, self.columns, strict=True):
            values = array.to_pylist()
            if column.datatype == "long":
                # A JavaScript number cannot hold 64 bits.
                values = [None if v is None else str(v) for v in values]
            elif column.datatype in {"float", "double"}:
                values = [v if not isinstance(v, float) or v - v == 0 else None for v in values]
            cells.append(values)
        lines = [json.dumps(row) for row in zip(*cells, strict=True)]
        if not lines:
            return b""
        lead = "\n" if self.first else ",\n"
        self.first = False
        return (lead + ",\n".join(lines)).encode()

    def end(self, *, overflow: bool = False, error: str | None = None) -> bytes:
        status = "ERROR" if error is not None else "OVERFLOW" if overflow else "OK"
        tail = f', "error": {json.dumps(error)}' if error is not None else ""
        return f'\n], "status": "{status}"{tail}}}\n'.encode()
