"""Tables as text that anything reads: comma- and tab-separated values, JSON."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from skydesk_portal.models.tables import ColumnInfo
from skydesk_portal.vo.binary2 import text_buffers
from skydesk_portal.vo.votable import to_declared

__all__ = ["DelimitedWriter", "JsonWriter"]

_SPECIAL = r"[\x00-\x1f\x7f\"\\]|[^\x00-\x7f]"
"""What a JSON string cannot hold as it is, or only readers of UTF-8 understand."""


def _plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    # Text has no arrays: they are written as in TABLEDATA, numbers with blanks between.
    arrays = [
        pa.array([None if v is None else " ".join(map(repr, v)) for v in array.to_pylist()], pa.string())
        if pa.types.is_list(array.type)
        else array
        for array in batch.columns
    ]
    return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)


class DelimitedWriter:
    """Writes text with one row a line and the names of the columns in the first.

    Parameters
    ----------
    columns
        Declared columns.
    delimiter
        What stands between two cells.
    """

    tells_errors = True

    def __init__(self, columns: tuple[ColumnInfo, ...], delimiter: str) -> None:
        self.columns = columns
        self.delimiter = delimiter

    def begin(self) -> bytes:
        """Return the names of the columns."""

        def cell(name: str) -> str:
            special = any(c in name for c in (self.delimiter, '"', "\n"))
            return '"' + name.replace('"', '""') + '"' if special else name

        return (self.delimiter.join(cell(column.name) for column in self.columns) + "\r\n").encode()

    def rows(self, batch: pa.RecordBatch) -> bytes:
        """Return some rows."""
        sink = io.BytesIO()
        options = pacsv.WriteOptions(
            include_header=False, delimiter=self.delimiter, quoting_style="needed", eol="\r\n"
        )
        pacsv.write_csv(pa.Table.from_batches([_plain(to_declared(batch, self.columns))]), sink, options)
        return sink.getvalue()

    def finish(self, *, overflow: bool = False, error: str | None = None) -> Iterator[bytes]:
        """Go through what follows: nothing, unless something went wrong."""
        # The format has no place for a status; an error must still not look like a complete answer.
        if error is not None:
            yield f"# ERROR: {' '.join(error.split())}\r\n".encode()

    def close(self) -> None:
        """Give back nothing."""


class JsonWriter:
    """Writes an object with the descriptions of the columns, the rows and the status.

    Parameters
    ----------
    columns
        Declared columns.
    """

    tells_errors = True

    def __init__(self, columns: tuple[ColumnInfo, ...]) -> None:
        self.columns = columns
        self.first = True

    def begin(self) -> bytes:
        """Return the descriptions of the columns."""
        keys = ("name", "datatype", "arraysize", "xtype", "unit", "ucd", "utype", "description")
        metadata = [{k: getattr(c, k) for k in keys if getattr(c, k)} for c in self.columns]
        return f'{{"metadata": {json.dumps(metadata)}, "data": ['.encode()

    def rows(self, batch: pa.RecordBatch) -> bytes:
        """Return some rows."""
        if batch.num_rows == 0:
            return b""
        cells = [_json_cells(array) for array in to_declared(batch, self.columns).columns]
        between, begin, end, nothing = (pa.scalar(t, pa.large_string()) for t in (", ", "[", "],\n", ""))
        inside = pc.binary_join_element_wise(*cells, between)
        starts, sizes, raw = text_buffers(pc.binary_join_element_wise(begin, inside, end, nothing))
        lead = b"\n" if self.first else b",\n"
        self.first = False
        return lead + raw[int(starts[0]) : int(starts[-1] + sizes[-1]) - 2].tobytes()

    def finish(self, *, overflow: bool = False, error: str | None = None) -> Iterator[bytes]:
        """Go through the status and the end."""
        status = "ERROR" if error is not None else "OVERFLOW" if overflow else "OK"
        tail = f', "error": {json.dumps(error)}' if error is not None else ""
        yield f'\n], "status": "{status}"{tail}}}\n'.encode()

    def close(self) -> None:
        """Give back nothing."""


def _json_cells(array: pa.Array) -> pa.Array:
    """Return a column as JSON values."""
    kind = array.type
    if pa.types.is_list(kind):
        plain = _exact if pa.types.is_int64(kind.value_type) else _finite
        out = pa.array([json.dumps(plain(value)) for value in array.to_pylist()], pa.string())
    elif pa.types.is_string(kind):
        if pc.any(pc.match_substring_regex(array, _SPECIAL)).as_py():
            out = pa.array([json.dumps(value) for value in array.to_pylist()], pa.string())
        else:
            out = _quoted(array)
    elif pa.types.is_boolean(kind):
        out = pc.if_else(array, "true", "false")
    else:
        out = pc.cast(array, pa.string())
        if pa.types.is_int64(kind):
            # A JavaScript number cannot hold 64 bits.
            out = _quoted(out)
        elif pa.types.is_floating(kind):
            # JSON has neither NaN nor infinities.
            out = pc.if_else(pc.is_finite(array), out, pa.scalar(None, pa.string()))
    return pc.fill_null(out, "null").cast(pa.large_string())


def _quoted(array: pa.Array) -> pa.Array:
    return pc.binary_join_element_wise('"', array, '"', "")


def _exact(value: object) -> object:
    if isinstance(value, list):
        return [_exact(item) for item in value]
    return None if value is None else str(value)


def _finite(value: object) -> object:
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return value if not isinstance(value, float) or value - value == 0 else None
