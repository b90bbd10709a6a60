"""Rows of a VOTable in the BINARY2 serialisation, laid down column by column (VOTable 1.4, section 6.4)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skydesk_portal.models.tables import ColumnInfo

__all__ = ["ascii_text", "encode_binary2", "text_buffers"]

_NUMPY = {
    "boolean": "S1",
    "unsignedByte": "u1",
    "short": ">i2",
    "int": ">i4",
    "long": ">i8",
    "float": ">f4",
    "double": ">f8",
}


def text_buffers(array: pa.Array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return start offsets, lengths and the bytes of an array of strings.

    Parameters
    ----------
    array
        Strings; a null counts as an empty one.

    Returns
    -------
    tuple of numpy.ndarray
        Start of each string within the bytes, its length, and the bytes of all.
    """
    filled = pc.fill_null(array, "") if array.null_count else array
    if filled.type != pa.large_string():
        filled = filled.cast(pa.large_string())
    return _buffers_of(filled)


def _buffers_of(array: pa.Array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    _, offsets, data = array.buffers()
    ends = np.frombuffer(offsets, dtype=np.int64)[array.offset : array.offset + len(array) + 1]
    raw = np.frombuffer(data, dtype=np.uint8) if data is not None else np.zeros(0, np.uint8)
    return ends[:-1], np.diff(ends), raw


def ascii_text(array: pa.Array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the buffers of strings in which every character beyond ASCII became a question mark.

    A binary char is ASCII in VOTable 1.4 and in FITS, and clients stumble over anything else.
    """
    starts, sizes, raw = text_buffers(array)
    if raw.size and int(raw.max()) > 127:
        plain = [None if v is None else v.encode("ascii", "replace").decode() for v in array.to_pylist()]
        return text_buffers(pa.array(plain, pa.string()))
    return starts, sizes, raw


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
        return _Piece(None, *ascii_text(array))
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
    return _interleave(pieces, rows)


def _join_fixed(fields: list[np.ndarray]) -> np.ndarray:
    record = np.empty(len(fields[0]), dtype=[(f"c{i}", field.dtype) for i, field in enumerate(fields)])
    for i, field in enumerate(fields):
        record[f"c{i}"] = field
    return record


def _interleave(pieces: list[_Piece], rows: int) -> bytes:
    # Rows differ in length: neighbouring fixed fields become one, and Arrow joins the columns row by row.
    parts: list[pa.Array] = []
    run: list[np.ndarray] = []
    for piece in pieces:
        if piece.fixed is not None:
            run.append(piece.fixed)
            continue
        assert piece.counts is not None
        if piece.counted:
            run.append(piece.counts.astype(">u4"))
        if run:
            parts.append(_as_binary(run))
            run = []
        offsets = np.zeros(rows + 1, np.int64)
        np.cumsum(piece.counts * piece.width, out=offsets[1:])
        # The bytes of the rows lie one after the other, so that only their beginning has to be found.
        offsets += int(piece.starts[0]) if piece.starts is not None else 0
        parts.append(
            pa.LargeBinaryArray.from_buffers(
                pa.large_binary(), rows, [None, pa.py_buffer(offsets), pa.py_buffer(piece.raw)]
            )
        )
    if run:
        parts.append(_as_binary(run))
    joined = pc.binary_join_element_wise(*parts, pa.scalar(b"", pa.large_binary()))
    starts, sizes, raw = _buffers_of(joined)
    return raw[int(starts[0]) : int(starts[-1] + sizes[-1])].tobytes()


def _as_binary(fields: list[np.ndarray]) -> pa.Array:
    flat = _join_fixed(fields)
    width = flat.dtype.itemsize
    offsets = np.arange(len(flat) + 1, dtype=np.int64) * width
    return pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), len(flat), [None, pa.py_buffer(offsets), pa.py_buffer(flat.view(np.uint8))]
    )
