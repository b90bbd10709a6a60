"""Reading a VOTable that somebody sends: looked at before it is parsed, so that it cannot ask for much."""

from __future__ import annotations

import base64
import binascii
import io
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from xml.parsers import expat

import numpy as np
import pyarrow as pa

from skydesk_portal.exceptions import TooLargeError, UsageError
from skydesk_portal.models.tables import ColumnInfo
from skydesk_portal.vo.binary_reader import BinaryField, read_rows

__all__ = ["VOTableHeader", "read_fields", "read_header", "read_votable"]

_MOST_ELEMENTS = 20_000
_GROWTH = 8
"""How many times the bytes of a document its rows may take in memory."""

_WIDTHS = {
    "boolean": 1,
    "bit": 1,
    "unsignedByte": 1,
    "short": 2,
    "int": 4,
    "long": 8,
    "char": 1,
    "unicodeChar": 4,
    "float": 4,
    "double": 8,
}
_TEXT_BYTES = 70


@dataclass(frozen=True)
class VOTableHeader:
    """What a VOTable says before its rows.

    Parameters
    ----------
    fields
        Attributes of the fields of the first table, with ``DESCRIPTION``.
    kind
        Serialisation of the rows that follow, empty if none do.
    place
        Where they begin: the byte of the element TABLEDATA or STREAM.
    path
        Names of the elements around that place, as they are written.
    """

    fields: tuple[Mapping[str, str], ...]
    kind: str = ""
    place: int = 0
    path: tuple[str, ...] = ()


class _HeaderReader:
    """Goes through a document up to the rows of its first table."""

    def __init__(self, most_columns: int, most_rows: int) -> None:
        self.most_rows = most_rows
        self.most_columns = most_columns
        self.fields: list[dict[str, str]] = []
        self.path: list[str] = []
        self.raw: list[str] = []
        self.kind = ""
        self.place = 0
        self.elements = 0
        self.done = False
        self.text: list[str] = []
        self.parser = expat.ParserCreate()
        self.parser.StartDoctypeDeclHandler = self._doctype
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._characters

    def read(self, content: bytes) -> None:
        for start in range(0, len(content), 65536):
            self.parser.Parse(content[start : start + 65536], False)
            if self.done:
                return
        self.parser.Parse(b"", True)

    def _doctype(self, *_: object) -> None:
        # Entities can grow without bound and VOTables have none.
        raise UsageError("a document with a DOCTYPE is not taken")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if self.done:
            return
        word = name.rsplit(":", 1)[-1]
        self.elements += 1
        if self.elements > _MOST_ELEMENTS + self.most_columns * 4:
            raise TooLargeError("its header has too many elements")
        if not self.path and word != "VOTABLE":
            raise UsageError("not a VOTable")
        self.path.append(word)
        self.raw.append(name)
        if self.path[-2:-1] == ["DATA"]:
            self._begin_data(word)
        elif word == "STREAM":
            self._begin_stream(attributes)
        if word == "FIELD" and "TABLE" in self.path:
            if len(self.fields) >= self.most_columns:
                raise TooLargeError(f"more than the {self.most_columns} columns taken")
            self.fields.append(dict(attributes))
        elif word == "VALUES" and self.path[-2:-1] == ["FIELD"] and self.fields:
            self.fields[-1]["VALUES/null"] = attributes.get("null", "")
        elif word == "DESCRIPTION":
            self.text = []
        elif word == "TABLE":
            rows = attributes.get("nrows", "0").strip()
            # Readers make room for as many rows as are announced.
            if not rows.isdigit() or len(rows) > 12 or int(rows) > self.most_rows:
                raise UsageError(f"nrows={rows[:20]} of the TABLE cannot be true")

    def _begin_data(self, word: str) -> None:
        if word not in {"TABLEDATA", "BINARY", "BINARY2"}:
            raise UsageError(f"rows as {word[:30]} inside a VOTable are not taken")
        self.kind = word
        if word == "TABLEDATA":
            self.place, self.done = self.parser.CurrentByteIndex, True

    def _begin_stream(self, attributes: Mapping[str, str]) -> None:
        if "href" in attributes:
            # Rows are never fetched from elsewhere: a service that does can be sent where it must not look.
            raise UsageError("rows at another address (href) are not taken")
        if attributes.get("encoding", "base64").strip().lower() != "base64":
            raise UsageError("a STREAM must be base64")
        self.place, self.done = self.parser.CurrentByteIndex, True

    def _end(self, name: str) -> None:
        if self.done:
            return
        word = self.path.pop()
        self.raw.pop()
        if word == "DESCRIPTION" and self.path[-1:] == ["FIELD"]:
            self.fields[-1]["DESCRIPTION"] = " ".join("".join(self.text).split())[:2000]
        self.done = word == "TABLE"

    def _characters(self, data: str) -> None:
        if self.path[-2:] == ["FIELD", "DESCRIPTION"] and len(self.text) < 200:
            self.text.append(data)


def read_header(content: bytes, most_columns: int) -> VOTableHeader:
    """Read a VOTable up to the rows of its first table.

    Parameters
    ----------
    content
        The document.
    most_columns
        Largest number of columns taken.

    Returns
    -------
    VOTableHeader
        The fields.

    Raises
    ------
    UsageError
        If it is not well formed, is no VOTable, or declares entities.
    TooLargeError
        If it has too many columns.
    """
    if b"\x00" in content[:200]:
        raise UsageError("not a VOTable: write it in UTF-8")
    reader = _HeaderReader(most_columns, len(content))
    try:
        reader.read(content)
    except expat.ExpatError as error:
        raise UsageError(f"not a VOTable: {expat.ErrorString(error.code)} in line {error.lineno}") from error
    if not reader.done:
        raise UsageError("not a VOTable: it has no TABLE")
    if not reader.fields:
        raise UsageError("its first TABLE has no columns")
    return VOTableHeader(tuple(reader.fields), reader.kind, reader.place, tuple(reader.raw))


def read_fields(header: VOTableHeader) -> tuple[ColumnInfo, ...]:
    """Return the columns that a header describes.

    Raises
    ------
    UsageError
        If a column has a type that tables here cannot have.
    """
    out = []
    for field in header.fields:
        name = (field.get("name") or field.get("ID") or "").strip()
        datatype, size = field.get("datatype", ""), field.get("arraysize", "").strip()
        text = datatype in {"char", "unicodeChar"}
        if datatype not in _WIDTHS:
            raise UsageError(f"column {name[:60]} has the type {datatype[:30]!r}, which is not taken")
        if not text and size not in {"", "1"}:
            raise UsageError(f"column {name[:60]} is an array, only scalars and strings are taken")
        if text and not re.fullmatch(r"\d{0,6}\*?", size):
            raise UsageError(f"column {name[:60]} is an array of strings, only scalars and strings are taken")
        kind = {"bit": "boolean", "unsignedByte": "short", "unicodeChar": "char"}.get(datatype, datatype)
        # The declared size is kept: clients compare what comes back with what they sent.
        declared = (size.rstrip("*") + "*" if size not in {"", "*"} else "*") if text else None
        out.append(
            ColumnInfo(
                name,
                kind,
                declared,
                xtype=field.get("xtype", ""),
                unit=field.get("unit", ""),
                ucd=field.get("ucd", ""),
                utype=field.get("utype", ""),
                description=field.get("DESCRIPTION", ""),
            )
        )
    return tuple(out)


def read_votable(content: bytes, most_columns: int) -> tuple[tuple[ColumnInfo, ...], pa.Table]:
    """Read the first table of a VOTable in any serialisation.

    Parameters
    ----------
    content
        The document.
    most_columns
        Largest number of columns taken.

    Returns
    -------
    tuple
        Columns and rows.

    Raises
    ------
    UsageError
        If it cannot be read.
    TooLargeError
        If its rows would take much more memory than the document itself.
    """
    header = read_header(content, most_columns)
    columns = read_fields(header)
    names = [column.name for column in columns]
    if not header.kind:
        return columns, pa.table([pa.array([], _arrow(column)) for column in columns], names)
    if header.kind != "TABLEDATA":
        fields = [
            _binary_field(field, column.name) for field, column in zip(header.fields, columns, strict=True)
        ]
        arrays = read_rows(_stream(content, header), fields, has_mask=header.kind == "BINARY2")
        return columns, pa.table(arrays, names)
    return columns, _read_tabledata(content, header, columns)


def _binary_field(field: Mapping[str, str], name: str) -> BinaryField:
    size, datatype = field.get("arraysize", "").strip(), field["datatype"]
    length = None if size.endswith("*") else int(size or "1")
    null = field.get("VALUES/null", "").strip()
    return BinaryField(name, datatype, length, int(null) if re.fullmatch(r"-?\d{1,19}", null) else None)


def _stream(content: bytes, header: VOTableHeader) -> bytes:
    start = content.find(b">", header.place) + 1
    end = content.find(b"<", start)
    if start == 0 or end < 0 or not content.startswith(b"</" + header.path[-1].encode(), end):
        raise UsageError("not a VOTable: its STREAM does not end")
    try:
        return base64.b64decode(b"".join(content[start:end].split()), validate=True)
    except binascii.Error as error:
        raise UsageError("not a VOTable: its STREAM is not base64") from error


def _read_tabledata(content: bytes, header: VOTableHeader, columns: tuple[ColumnInfo, ...]) -> pa.Table:
    closing = [b"</" + name.encode() + b">" for name in reversed(header.path)]
    end = content.find(closing[0][:-1], header.place)
    if end < 0:
        raise UsageError("not a VOTable: its rows do not end")
    # What follows the rows is left out: nothing there is needed, and it might name other addresses.
    document = content[:end] + b"".join(closing)
    _check_growth(content[header.place : end], header)
    from astropy.io.votable import parse

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = parse(io.BytesIO(document), verify="ignore", table_number=0).get_first_table()
    except Exception as error:
        first = (
            re.sub(r"^None:|\w+Error: ", "", str(error)).splitlines()[0][:120] if str(error) else "unreadable"
        )
        raise UsageError(f"not a VOTable: {first}") from error
    keys = found.array.dtype.names or ()
    if len(keys) != len(columns):
        raise UsageError("not a VOTable: the fields of its rows and its header differ")
    arrays = [_convert(column.name, found.array[key]) for column, key in zip(columns, keys, strict=True)]
    return pa.table(arrays, [column.name for column in columns])


def _arrow(column: ColumnInfo) -> pa.DataType:
    kinds = {"boolean": pa.bool_(), "short": pa.int16(), "int": pa.int32(), "long": pa.int64()}
    return kinds.get(column.datatype) or {"float": pa.float32(), "double": pa.float64()}.get(
        column.datatype, pa.string()
    )


def _check_growth(rows_text: bytes, header: VOTableHeader) -> None:
    row = 0
    for field in header.fields:
        size = field.get("arraysize", "").strip()
        width = (
            _WIDTHS[field["datatype"]] * max(int(size or "1"), 1) if not size.endswith("*") else _TEXT_BYTES
        )
        row += max(width, 8)
    rows = rows_text.count(b"<TR") + rows_text.count(b":TR")
    if max(rows, 1) * row > max(_GROWTH * len(rows_text), 10_000_000):
        raise TooLargeError("its rows would take far more memory than the document has bytes")


def _convert(label: str, values: Any) -> pa.Array:
    mask = np.ma.getmaskarray(values)
    data = np.ma.getdata(values)
    if data.ndim != 1:
        raise UsageError(f"column {label} is an array, only scalars and strings are taken")
    kind = data.dtype.kind
    if kind in "OSU":
        out = []
        for value, hidden in zip(data, mask, strict=True):
            if isinstance(value, np.ndarray):
                raise UsageError(f"column {label} is an array, only scalars and strings are taken")
            text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
            out.append(None if hidden or value is None else text)
        return pa.array(out, pa.string())
    if kind == "b":
        return pa.array(data, mask=mask)
    if kind == "f":
        return pa.array(data.astype(f"f{data.dtype.itemsize}"), mask=mask)
    if kind in "iu":
        return pa.array(data.astype(f"i{max(data.dtype.itemsize, 2)}"), mask=mask)
    raise UsageError(f"column {label} has a type that is not taken")
