"""Reading a VOTable that somebody sends: looked at before it is parsed, so that it cannot ask for much."""

from __future__ import annotations

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
_NUMBERS = {"f4": ("float", pa.float32()), "f8": ("double", pa.float64())}


@dataclass(frozen=True)
class VOTableHeader:
    """What a VOTable says before its rows.

    Parameters
    ----------
    fields
        Attributes of the fields of the first table, with ``DESCRIPTION``.
    has_data
        Whether rows follow.
    """

    fields: tuple[Mapping[str, str], ...]
    has_data: bool


class _HeaderReader:
    """Goes through a document up to the rows of its first table."""

    def __init__(self, most_columns: int, most_rows: int) -> None:
        self.most_rows = most_rows
        self.most_columns = most_columns
        self.fields: list[dict[str, str]] = []
        self.path: list[str] = []
        self.elements = 0
        self.has_data = self.done = False
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
        if word == "FIELD" and "TABLE" in self.path:
            if len(self.fields) >= self.most_columns:
                raise TooLargeError(f"more than the {self.most_columns} columns taken")
            self.fields.append(dict(attributes))
        elif word == "DESCRIPTION":
            self.text = []
        elif word == "TABLE":
            rows = attributes.get("nrows", "0").strip()
            # Readers make room for as many rows as are announced.
            if not rows.isdigit() or len(rows) > 12 or int(rows) > self.most_rows:
                raise UsageError(f"nrows={rows[:20]} of the TABLE cannot be true")
        elif word == "DATA":
            self.has_data = self.done = True

    def _end(self, name: str) -> None:
        if self.done:
            return
        word = self.path.pop()
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
    return VOTableHeader(tuple(reader.fields), reader.has_data)


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
    if not header.has_data:
        return columns, pa.table(
            [pa.array([], _arrow(column)) for column in columns], [c.name for c in columns]
        )
    _check_growth(content, header)
    from astropy.io.votable import parse

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = parse(io.BytesIO(content), verify="ignore", table_number=0).get_first_table()
    except Exception as error:
        first = (
            re.sub(r"^None:|\w+Error: ", "", str(error)).splitlines()[0][:120] if str(error) else "unreadable"
        )
        raise UsageError(f"not a VOTable: {first}") from error
    keys = found.array.dtype.names or ()
    if len(keys) != len(columns):
        raise UsageError("not a VOTable: the fields of its rows and its header differ")
    arrays, kinds = [], []
    for column, key in zip(columns, keys, strict=True):
        kind, array = _convert(column.name, found.array[key])
        kinds.append(ColumnInfo(**{**column.__dict__, "datatype": kind}))
        arrays.append(array)
    return tuple(kinds), pa.table(arrays, [column.name for column in kinds])


def _arrow(column: ColumnInfo) -> pa.DataType:
    kinds = {"boolean": pa.bool_(), "short": pa.int16(), "int": pa.int32(), "long": pa.int64()}
    return kinds.get(column.datatype) or {"float": pa.float32(), "double": pa.float64()}.get(
        column.datatype, pa.string()
    )


def _check_growth(content: bytes, header: VOTableHeader) -> None:
    if (
        sum(1 for _ in re.finditer(rb"<(?!/)(?:\w+:)?(?!T[RD][ />]|STREAM)[A-Z]", content))
        > 2 * _MOST_ELEMENTS
    ):
        raise TooLargeError("it has too many elements beside its rows")
    row = smallest = 0
    for field in header.fields:
        size = field.get("arraysize", "").strip()
        if size.endswith("*"):
            row, smallest = row + _TEXT_BYTES, smallest + 4
            continue
        width = _WIDTHS[field["datatype"]] * max(int(size or "1"), 1)
        row, smallest = row + max(width, 8), smallest + width
    rows = content.count(b"<TR") + content.count(b":TR") or len(content) // max(smallest, 1)
    limit = max(_GROWTH * len(content), 10_000_000)
    if max(rows, 1) * row > limit:
        raise TooLargeError("its rows would take far more memory than the document has bytes")


def _convert(label: str, values: Any) -> tuple[str, pa.Array]:
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
        return "char", pa.array(out, pa.string())
    if kind == "b":
        return "boolean", pa.array(data, mask=mask)
    if kind == "f":
        datatype, arrow = _NUMBERS["f4" if data.dtype.itemsize == 4 else "f8"]
        return datatype, pa.array(data.astype("f4" if datatype == "float" else "f8"), arrow, mask=mask)
    if kind in "iu":
        sizes = {1: ("short", pa.int16()), 2: ("short", pa.int16()), 4: ("int", pa.int32())}
        datatype, arrow = sizes.get(data.dtype.itemsize, ("long", pa.int64()))
        return datatype, pa.array(data.astype(np.int64), mask=mask).cast(arrow)
    raise UsageError(f"column {label} has a type that is not taken")
