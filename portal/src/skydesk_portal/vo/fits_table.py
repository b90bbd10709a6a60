"""A table as FITS: one binary table extension with units, UCDs, nulls and descriptions (FITS 4.0, section 7.3).

The header comes first and says how many rows there are and how wide the strings, so that the rows wait in a file
until the last one is known; memory never holds more than one batch.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skydesk_portal.exceptions import UsageError
from skydesk_portal.models.tables import ColumnInfo
from skydesk_portal.vo.binary2 import ascii_text
from skydesk_portal.vo.votable import arrow_type, to_declared

__all__ = ["FitsWriter"]

MAX_COLUMNS = 999
"""Columns that a FITS table may have."""

_BLOCK = 2880
_CODES = {
    "boolean": ("L", "S1"),
    "unsignedByte": ("B", "u1"),
    "short": ("I", ">i2"),
    "int": ("J", ">i4"),
    "long": ("K", ">i8"),
    "float": ("E", ">f4"),
    "double": ("D", ">f8"),
}


@dataclass
class _Seen:
    """What the rows of one column were like."""

    width: int = 0
    nulls: bool = False
    least: int | None = None
    most: int | None = None

    def look(self, array: pa.Array) -> None:
        values = array
        if pa.types.is_list(array.type):
            sizes = pc.max(pc.list_value_length(array)).as_py() or 0
            self.nulls = self.nulls or array.null_count > 0 or self._differs(array, sizes)
            self.width = max(self.width, sizes)
            values = array.flatten()
        elif pa.types.is_string(array.type):
            # A character beyond ASCII becomes one question mark, so that no cell gets longer.
            self.width = max(self.width, pc.max(pc.binary_length(array)).as_py() or 0)
            return
        self.nulls = self.nulls or values.null_count > 0
        if pa.types.is_integer(values.type):
            found = pc.min_max(values).as_py()
            if found["min"] is not None:
                self.least = found["min"] if self.least is None else min(self.least, found["min"])
                self.most = found["max"] if self.most is None else max(self.most, found["max"])

    def _differs(self, array: pa.Array, longest: int) -> bool:
        shortest = pc.min(pc.list_value_length(array)).as_py()
        return shortest != longest or (self.width not in (0, longest))


class _Column:
    """How one column lies in the rows."""

    def __init__(self, info: ColumnInfo, seen: _Seen) -> None:
        self.info = info
        self.text = info.datatype in {"char", "unicodeChar"}
        self.array = pa.types.is_list(arrow_type(info))
        self.null: int | None = None
        if self.text:
            self.width = max(1, seen.width)
            self.form, self.dtype = f"{self.width}A", np.dtype(f"S{self.width}")
            return
        self.width = max(1, seen.width) if self.array else 1
        code, kind = _CODES[info.datatype]
        if code == "B" and seen.nulls:
            # A byte has no value to spare for nulls.
            code, kind = _CODES["short"]
        if code in "BIJK" and seen.nulls:
            limits = np.iinfo(kind)
            self.null = limits.min if seen.least is None or seen.least > limits.min else limits.max
        self.form = f"{self.width if self.width > 1 else ''}{code}"
        self.dtype = np.dtype(kind)

    def lay(self, array: pa.Array, into: np.ndarray) -> None:
        """Put the values of a batch into their place in the rows."""
        if self.text:
            self._lay_text(array, into)
        elif self.array:
            self._lay_lists(array, into)
        else:
            into[...] = self._values(array)

    def _values(self, array: pa.Array) -> np.ndarray:
        if self.info.datatype == "boolean":
            values = np.where(np.asarray(pc.fill_null(array, False)), b"T", b"F").astype("S1")
            if array.null_count:
                values[np.asarray(array.is_null())] = b"\0"
            return values
        if array.null_count:
            if self.null is None:
                array = pc.fill_null(array, pa.scalar(float("nan"), array.type))
            else:
                array = pc.fill_null(pc.cast(array, pa.int64()), self.null)
        return np.asarray(array).astype(self.dtype, copy=False)

    def _lay_text(self, array: pa.Array, into: np.ndarray) -> None:
        starts, sizes, raw = ascii_text(array)
        cells = np.zeros((len(array), self.width), dtype=np.uint8)
        total = int(sizes.sum())
        if total:
            within = np.arange(total) - np.repeat(np.cumsum(sizes) - sizes, sizes)
            row = np.repeat(np.arange(len(array)), sizes)
            cells[row, within] = raw[np.repeat(starts, sizes) + within]
        into[...] = cells.view(self.dtype).ravel()

    def _lay_lists(self, array: pa.Array, into: np.ndarray) -> None:
        blank: Any = 0 if self.null is None else self.null
        if self.dtype.kind == "f":
            blank = np.nan
        elif self.dtype.kind == "S":
            blank = b"\0"
        cells = np.full((len(array), self.width), blank, dtype=self.dtype)
        sizes = np.asarray(pc.fill_null(pc.list_value_length(array), 0)).astype(np.int64)
        row = np.repeat(np.arange(len(array)), sizes)
        within = np.arange(len(row)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        cells[row, within] = self._values(array.flatten())
        into[...] = cells if self.width > 1 else cells.ravel()

    def cards(self, number: int) -> Iterator[tuple[str, Any, str]]:
        """Go through the header cards of the column."""
        info = self.info
        yield f"TTYPE{number}", _ascii(info.name), ""
        yield f"TFORM{number}", self.form, ""
        for key, value in (
            ("TUNIT", info.unit),
            ("TUCD", info.ucd),
            ("TUTYP", info.utype),
            ("TXTYP", info.xtype),
        ):
            if value:
                yield f"{key}{number}", _ascii(value), ""
        if self.null is not None:
            yield f"TNULL{number}", int(self.null), ""
        if info.description:
            yield f"TCOMM{number}", _ascii(info.description), ""


def _ascii(text: str) -> str:
    plain = text.encode("ascii", "replace").decode()
    return "".join(c if " " <= c <= "~" else " " for c in plain)


class FitsWriter:
    """Writes a FITS file with the table in its first extension.

    Parameters
    ----------
    columns
        Declared columns.
    infos
        Facts about the query, written as HISTORY.
    spool
        Folder for the rows that wait; the system's own by default.

    Raises
    ------
    UsageError
        If there are more columns than FITS allows.
    """

    tells_errors = False

    def __init__(self, columns: tuple[ColumnInfo, ...], infos: Mapping[str, str], spool: Path | None) -> None:
        if len(columns) > MAX_COLUMNS:
            raise UsageError(
                f"a FITS table has at most {MAX_COLUMNS} columns and this result {len(columns)}: choose another format"
            )
        self.columns = columns
        self._infos = infos
        self._seen = [_Seen() for _ in columns]
        self._count = 0
        self._file: IO[bytes] = tempfile.TemporaryFile(prefix="fits-", dir=spool)  # noqa: SIM115 - closed with the writer
        schema = pa.schema([pa.field(f"c{i}", arrow_type(c)) for i, c in enumerate(columns)])
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        self._schema = schema
        self._waiting = pa.ipc.new_stream(pa.PythonFile(self._file, mode="w"), schema, options=options)

    def begin(self) -> bytes:
        """Return nothing: the header needs the number of rows."""
        return b""

    def rows(self, batch: pa.RecordBatch) -> bytes:
        """Keep some rows."""
        declared = to_declared(batch, self.columns)
        for seen, array in zip(self._seen, declared.columns, strict=True):
            seen.look(array)
        self._count += declared.num_rows
        self._waiting.write_batch(pa.RecordBatch.from_arrays(declared.columns, schema=self._schema))
        return b""

    def finish(self, *, overflow: bool = False, error: str | None = None) -> Iterator[bytes]:
        """Go through the whole file."""
        self._waiting.close()
        columns = [_Column(info, seen) for info, seen in zip(self.columns, self._seen, strict=True)]
        kind = np.dtype(
            [
                (f"c{i}", column.dtype, (column.width,))
                if column.array and column.width > 1
                else (f"c{i}", column.dtype)
                for i, column in enumerate(columns)
            ]
        )
        yield self._headers(columns, kind.itemsize, "OVERFLOW" if overflow else "OK")
        size = 0
        self._file.seek(0)
        for batch in pa.ipc.open_stream(pa.PythonFile(self._file, mode="r")):
            rows = np.zeros(batch.num_rows, dtype=kind)
            for i, column in enumerate(columns):
                column.lay(batch.column(i), rows[f"c{i}"])
            part = rows.tobytes()
            size += len(part)
            yield part
        yield b"\0" * (-size % _BLOCK)

    def _headers(self, columns: list[_Column], row_bytes: int, status: str) -> bytes:
        from astropy.io import fits

        first = fits.Header([("SIMPLE", True), ("BITPIX", 8), ("NAXIS", 0), ("EXTEND", True)])
        table = fits.Header(
            [
                ("XTENSION", "BINTABLE"),
                ("BITPIX", 8),
                ("NAXIS", 2),
                ("NAXIS1", row_bytes, "bytes of a row"),
                ("NAXIS2", self._count, "number of rows"),
                ("PCOUNT", 0),
                ("GCOUNT", 1),
                ("TFIELDS", len(columns), "number of columns"),
                ("EXTNAME", "results"),
                ("QSTATUS", status, "OVERFLOW: MAXREC left out rows"),
            ]
        )
        for number, column in enumerate(columns, 1):
            for card in column.cards(number):
                table.append(card, end=True)
        for name, value in self._infos.items():
            table.add_history(_ascii(f"{name}: {value}"))
        return (first.tostring() + table.tostring()).encode("ascii")

    def close(self) -> None:
        """Give back the rows that waited."""
        self._file.close()
