"""Streaming VOTable 1.4 writer: BINARY2 and TABLEDATA from Arrow batches (VOTable 1.4, DALI 1.1)."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skydesk_portal.models.tables import ColumnInfo

__all__ = ["VOTableWriter", "arrow_type", "encode_binary2", "field_xml", "finish_columns", "to_declared"]

_NUMPY = {
    "boolean": "S1",
    "unsignedByte": "u1",
    "short": ">i2",
    "int": ">i4",
    "long": ">i8",
    "float": ">f4",
    "double": ">f8",
}
_ARROW: dict[str, pa.DataType] = {
    "boolean": pa.bool_(),
    "unsignedByte": pa.uint8(),
    "short": pa.int16(),
    "int": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "char": pa.string(),
    "unicodeChar": pa.string(),
}


def arrow_type(column: ColumnInfo) -> pa.DataType:
    """Return the Arrow type that carries a column's values."""
    base = _ARROW[column.datatype]
    if column.datatype in {"char", "unicodeChar"} or column.arraysize in (None, "", "1"):
        return base
    return pa.list_(base)


def _derive(kind: pa.DataType) -> tuple[str, str | None, str]:
    if pa.types.is_boolean(kind):
        return "boolean", None, ""
    if pa.types.is_uint8(kind):
        return "unsignedByte", None, ""
    if pa.types.is_int8(kind) or pa.types.is_int16(kind):
        return "short", None, ""
    if pa.types.is_int32(kind) or pa.types.is_uint16(kind):
        return "int", None, ""
    if pa.types.is_integer(kind) or (pa.types.is_decimal(kind) and kind.scale == 0):
        return "long", None, ""
    if pa.types.is_float32(kind):
        return "float", None, ""
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "double", None, ""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _derive(kind.value_type)[0], "*", ""
    if pa.types.is_timestamp(kind):
        return "char", "*", "timestamp"
    return "char", "*", ""


def finish_columns(columns: Iterable[ColumnInfo], schema: pa.Schema) -> tuple[ColumnInfo, ...]:
    """Fill in the types that the front end left to the engine.

    Parameters
    ----------
    columns
        Columns of the translation.
    schema
        Schema of the engine's answer, same order.

    Returns
    -------
    tuple of ColumnInfo
        Columns with a datatype each; strings always have variable length.
    """
    out = []
    for column, item in zip(columns, schema, strict=True):
        done = column
        if not done.datatype:
            datatype, size, xtype = _derive(item.type)
            done = replace(done, datatype=datatype, arraysize=size, xtype=done.xtype or xtype)
        if done.datatype in {"char", "unicodeChar"} and not (done.arraysize or "").endswith("*"):
            # A fixed length would need padding that no client asks for.
            done = replace(done, arraysize=f"{done.arraysize or ''}*")
        out.append(done)
    return tuple(out)


def to_declared(batch: pa.RecordBatch, columns: tuple[ColumnInfo, ...]) -> pa.RecordBatch:
    """Turn the engine's types into the declared ones.

    Parameters
    ----------
    batch
        Rows as the engine gives them.
    columns
        Declared columns.

    Returns
    -------
    pyarrow.RecordBatch
        The same rows with the declared names and types.
    """
    arrays = []
    for array, column in zip(batch.columns, columns, strict=True):
        wanted = arrow_type(column)
        if array.type != wanted:
            if pa.types.is_timestamp(array.type) and wanted == pa.string():
                array = pc.strftime(array, format="%Y-%m-%dT%H:%M:%S")
            elif pa.types.is_decimal(array.type) and wanted == pa.int64():
                array = pc.cast(array, pa.float64()) if _overflows(array) else pc.cast(array, wanted)
                array = pc.cast(array, wanted, safe=False)
            else:
                array = pc.cast(array, wanted, safe=False)
        arrays.append(array)
    return pa.RecordBatch.from_arrays(arrays, names=[column.name for column in columns])


def _overflows(array: pa.Array) -> bool:
    limits = pc.min_max(array).as_py()
    return any(v is not None and abs(int(v)) >= 1 << 63 for v in limits.values())


# BINARY2


def _text(array: pa.Array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return start offsets, lengths and the bytes of an array of strings."""
    filled = pc.fill_null(array, "") if array.null_count else array
    if filled.type != pa.large_string():
        filled = filled.cast(pa.large_string())
    _, offsets, data = filled.buffers()
    ends = np.frombuffer(offsets, dtype=np.int64)[filled.offset : filled.offset + len(filled) + 1]
    raw = np.frombuffer(data, dtype=np.uint8) if data is not None else np.zeros(0, np.uint8)
    return ends[:-1], np.diff(ends), raw


def _fixed(array: pa.Array, column: ColumnInfo) -> np.ndarray:
    kind = _NUMPY[column.datatype]
    if column.datatype == "boolean":
        values = np.where(np.asarray(pc.fill_null(array, False)), b"T", b"F").astype("S1")
        if array.null_count:
            values[np.asarray(array.is_null())] = b"?"
        return values
    if array.null_count:
        fill = np.nan if column.datatype in {"float", "double"} else 0
        array = pc.fill_null(array, pa.scalar(fill, array.type))
    return np.asarray(array).astype(kind, copy=False)


def _lists(array: pa.Array, column: ColumnInfo) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    width = np.dtype(_NUMPY[column.datatype]).itemsize
    rows = [np.asarray(v if v is not None else [], dtype=_NUMPY[column.datatype]) for v in array.to_pylist()]
    sizes = np.array([len(row) for row in rows], dtype=np.int64)
    raw = np.frombuffer(b"".join(row.tobytes() for row in rows), dtype=np.uint8)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]) * width if len(rows) else np.zeros(0, np.int64)
    return starts.astype(np.int64), sizes, raw


@dataclass
class _Piece:
    """One column ready to be laid into rows: a fixed field or variable bytes."""

    fixed: np.ndarray | None = None
    starts: np.ndarray | None = None
    counts: np.ndarray | None = None
    raw: np.ndarray | None = None
    width: int = 1
    counted: bool = True


def _piece(array: pa.Array, column: ColumnInfo) -> _Piece:
    if column.datatype in {"char", "unicodeChar"}:
        if column.datatype == "unicodeChar":
            values = [v.encode("utf-16-be") for v in pc.fill_null(array, "").to_pylist()]
            sizes = np.array([len(v) // 2 for v in values], dtype=np.int64)
            starts = (
                np.concatenate([[0], np.cumsum(sizes * 2)[:-1]]) if len(values) else np.zeros(0, np.int64)
            )
            return _Piece(None, starts.astype(np.int64), sizes, np.frombuffer(b"".join(values), np.uint8), 2)
        starts, sizes, raw = _text(array)
        if raw.size and int(raw.max()) > 127:
            # A binary char is ASCII in VOTable 1.4, and clients stumble over anything else.
            plain = [None if v is None else v.encode("ascii", "replace").decode() for v in array.to_pylist()]
            starts, sizes, raw = _text(pa.array(plain, pa.string()))
        return _Piece(None, starts, sizes, raw)
    if column.arraysize in (None, "", "1"):
        return _Piece(_fixed(array, column))
    starts, sizes, raw = _lists(array, column)
    width = np.dtype(_NUMPY[column.datatype]).itemsize
    return _Piece(None, starts, sizes, raw, width, counted="*" in str(column.arraysize))


def encode_binary2(batch: pa.RecordBatch, columns: tuple[ColumnInfo, ...]) -> bytes:
    """Write rows in the BINARY2 serialisation.

    Parameters
    ----------
    batch
        Rows of the declared types.
    columns
        Declared columns.

    Returns
    -------
    bytes
        The rows, not yet in base64.
    """
    rows = batch.num_rows
    if rows == 0 or not columns:
        return b""
    mask_bytes = (len(columns) + 7) // 8
    nulls = np.zeros((rows, mask_bytes * 8), dtype=bool)
    for i, array in enumerate(batch.columns):
        if array.null_count:
            nulls[:, i] = np.asarray(array.is_null())
    pieces = [_Piece(np.packbits(nulls, axis=1).view(f"V{mask_bytes}").ravel())]
    pieces += [_piece(array, column) for array, column in zip(batch.columns, columns, strict=True)]
    if all(piece.fixed is not None for piece in pieces):
        return _join_fixed([piece.fixed for piece in pieces if piece.fixed is not None]).tobytes()
    return _scatter(pieces, rows)


def _join_fixed(fields: list[np.ndarray]) -> np.ndarray:
    record = np.empty(len(fields[0]), dtype=[(f"c{i}", field.dtype) for i, field in enumerate(fields)])
    for i, field in enumerate(fields):
        record[f"c{i}"] = field
    return record


def _scatter(pieces: list[_Piece], rows: int) -> bytes:
    # Rows differ in length: find where each begins, then lay down whole columns with one fancy index each.
    groups: list[_Piece] = []
    run: list[np.ndarray] = []
    for piece in pieces:
        if piece.fixed is not None:
            run.append(piece.fixed)
            continue
        if piece.counts is not None and piece.counted:
            run.append(piece.counts.astype(">u4"))
        if run:
            groups.append(_Piece(_join_fixed(run)))
            run = []
        groups.append(piece)
    if run:
        groups.append(_Piece(_join_fixed(run)))
    sizes = np.zeros(rows, dtype=np.int64)
    for group in groups:
        sizes += group.fixed.dtype.itemsize if group.fixed is not None else _bytes_of(group)
    at = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    out = np.empty(int(sizes.sum()), dtype=np.uint8)
    for group in groups:
        if group.fixed is not None:
            width = group.fixed.dtype.itemsize
            flat = np.ascontiguousarray(group.fixed).view(np.uint8).reshape(rows, width)
            out[at[:, None] + np.arange(width)] = flat
            at = at + width
            continue
        lengths = _bytes_of(group)
        total = int(lengths.sum())
        if total and group.starts is not None and group.raw is not None:
            within = np.arange(total) - np.repeat(np.cumsum(lengths) - lengths, lengths)
            out[np.repeat(at, lengths) + within] = group.raw[np.repeat(group.starts, lengths) + within]
        at = at + lengths
    return out.tobytes()


def _bytes_of(piece: _Piece) -> np.ndarray:
    assert piece.counts is not None
    return piece.counts * piece.width


# Document


def field_xml(column: ColumnInfo, element: str = "FIELD", **extra: str) -> str:
    """Return a FIELD or PARAM element."""
    attributes: dict[str, str | None] = {
        "name": column.name,
        "datatype": column.datatype,
        "arraysize": column.arraysize or None,
        "xtype": column.xtype or None,
        "unit": column.unit or None,
        "ucd": column.ucd or None,
        "utype": column.utype or None,
        **extra,
    }
    text = "".join(f" {key}={quoteattr(value)}" for key, value in attributes.items() if value is not None)
    if not column.description:
        return f"<{element}{text}/>"
    return f"<{element}{text}><DESCRIPTION>{escape(column.description)}</DESCRIPTION></{element}>"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if value is True or value is False:
        return "T" if value else "F"
    if isinstance(value, float):
        return (
            "NaN"
            if value != value
            else "+Inf"
            if value == float("inf")
            else "-Inf"
            if value == -float("inf")
            else repr(value)
        )
    if isinstance(value, list):
        return " ".join(_cell(v) for v in value)
    return escape(_printable(str(value)))


def _printable(text: str) -> str:
    # XML 1.0 has no way to write control characters.
    return "".join(c if c >= " " or c in "\t\n\r" else " " for c in text)


class VOTableWriter:
    """Writes one table as a stream of byte strings.

    Parameters
    ----------
    columns
        Declared columns.
    binary
        Whether rows are BINARY2; otherwise TABLEDATA.
    infos
        INFO elements before the table, name to value.
    extra
        XML of further resources, such as service descriptors, put after the
        results.
    """

    def __init__(
        self,
        columns: tuple[ColumnInfo, ...],
        *,
        binary: bool = True,
        infos: dict[str, str] | None = None,
        extra: str = "",
        table_name: str = "results",
    ) -> None:
        self.columns = columns
        self.binary = binary
        self.infos = infos or {}
        self.extra = extra
        self.table_name = table_name
        self._rest = b""

    @property
    def media_type(self) -> str:
        """Media type of the document."""
        kind = "binary2" if self.binary else "tabledata"
        return f"application/x-votable+xml;serialization={kind}"

    def begin(self) -> bytes:
        """Return everything before the first row."""
        infos = "".join(f"<INFO name={quoteattr(k)} value={quoteattr(v)}/>\n" for k, v in self.infos.items())
        fields = "\n".join(field_xml(column) for column in self.columns)
        opening = "<BINARY2><STREAM encoding='base64'>\n" if self.binary else "<TABLEDATA>\n"
        return (
            "<?xml version='1.0' encoding='utf-8'?>\n"
            "<VOTABLE version='1.4' xmlns='http://www.ivoa.net/xml/VOTable/v1.3'"
            " xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance'>\n"
            f"<RESOURCE type='results'>\n<INFO name='QUERY_STATUS' value='OK'/>\n{infos}"
            f"<TABLE name={quoteattr(self.table_name)}>\n{fields}\n<DATA>{opening}"
        ).encode()

    def rows(self, batch: pa.RecordBatch) -> bytes:
        """Return some rows."""
        declared = to_declared(batch, self.columns)
        if not self.binary:
            names = range(declared.num_columns)
            cells = [declared.column(i).to_pylist() for i in names]
            lines = (
                "<TR><TD>" + "</TD><TD>".join(map(_cell, row)) + "</TD></TR>"
                for row in zip(*cells, strict=True)
            )
            return ("\n".join(lines) + "\n").encode() if declared.num_rows else b""
        raw = self._rest + encode_binary2(declared, self.columns)
        # Base64 joins groups of three bytes: what is left over goes in front of the next batch.
        cut = len(raw) - len(raw) % 3
        self._rest = raw[cut:]
        return base64.b64encode(raw[:cut])

    def end(self, *, overflow: bool = False, error: str | None = None) -> bytes:
        """Return everything after the last row.

        Parameters
        ----------
        overflow
            Whether rows were left out because of MAXREC.
        error
            What went wrong after the stream began, if anything did.
        """
        closing = base64.b64encode(self._rest) + b"\n</STREAM></BINARY2>" if self.binary else b"</TABLEDATA>"
        self._rest = b""
        info = ""
        if error is not None:
            info = f"<INFO name='QUERY_STATUS' value='ERROR'>{escape(error)}</INFO>\n"
        elif overflow:
            info = "<INFO name='QUERY_STATUS' value='OVERFLOW'/>\n"
        return closing + f"</DATA>\n</TABLE>\n{info}</RESOURCE>\n{self.extra}</VOTABLE>\n".encode()
