"""Streaming VOTable 1.4 writer: BINARY2 and TABLEDATA from Arrow batches (VOTable 1.4, DALI 1.1)."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import pyarrow as pa
import pyarrow.compute as pc

from skydesk_portal.models.tables import ColumnInfo
from skydesk_portal.vo.binary2 import encode_binary2, text_buffers

__all__ = ["VOTableWriter", "arrow_type", "field_xml", "finish_columns", "to_declared"]

_CONTROL = r"[\x00-\x08\x0b\x0c\x0e-\x1f]"
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
    if isinstance(value, list):
        return " ".join(_cell(v) for v in value)
    if isinstance(value, bool):
        return "T" if value else "F"
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    return repr(value)


def _cells(array: pa.Array) -> pa.Array:
    """Return a column as the texts of its cells."""
    kind = array.type
    if pa.types.is_string(kind):
        out = array
        # XML 1.0 has no way to write control characters.
        for pattern, text in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), (_CONTROL, " ")):
            if pc.any(pc.match_substring_regex(out, pattern)).as_py():
                out = pc.replace_substring_regex(out, pattern, text)
    elif pa.types.is_boolean(kind):
        out = pc.if_else(array, "T", "F")
    elif pa.types.is_list(kind):
        out = pa.array([_cell(value) for value in array.to_pylist()], pa.string())
    else:
        out = pc.cast(array, pa.string())
        if pa.types.is_floating(kind):
            endless = pc.if_else(pc.is_nan(array), "NaN", pc.if_else(pc.greater(array, 0.0), "+Inf", "-Inf"))
            out = pc.if_else(pc.is_finite(array), out, endless)
    return pc.fill_null(out, "").cast(pa.large_string())


def _tabledata(batch: pa.RecordBatch) -> bytes:
    if batch.num_rows == 0:
        return b""
    between = pa.scalar("</TD><TD>", pa.large_string())
    inside = pc.binary_join_element_wise(*(_cells(array) for array in batch.columns), between)
    begin, end, nothing = (pa.scalar(text, pa.large_string()) for text in ("<TR><TD>", "</TD></TR>\n", ""))
    rows = pc.binary_join_element_wise(begin, inside, end, nothing)
    # The rows lie one after the other in memory, which is just how they are sent.
    starts, sizes, raw = text_buffers(rows)
    return raw[int(starts[0]) : int(starts[-1] + sizes[-1])].tobytes()


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
    table_name
        Name of the table.
    field_ids
        IDs of the fields that ``extra`` refers to, by column name.
    """

    tells_errors = True
    """Whether the document has a place for what goes wrong after its begin."""

    def __init__(
        self,
        columns: tuple[ColumnInfo, ...],
        *,
        binary: bool = True,
        infos: Mapping[str, str] | None = None,
        extra: str = "",
        table_name: str = "results",
        field_ids: Mapping[str, str] | None = None,
    ) -> None:
        self.columns = columns
        self.binary = binary
        self.infos = infos or {}
        self.extra = extra
        self.table_name = table_name
        self.field_ids = field_ids or {}
        self._rest = b""

    @property
    def media_type(self) -> str:
        """Media type of the document."""
        kind = "binary2" if self.binary else "tabledata"
        return f"application/x-votable+xml;serialization={kind}"

    def _opening(self, status: str = "<INFO name='QUERY_STATUS' value='OK'/>\n") -> str:
        infos = "".join(f"<INFO name={quoteattr(k)} value={quoteattr(v)}/>\n" for k, v in self.infos.items())
        fields = "\n".join(
            field_xml(c, **({"ID": self.field_ids[c.name]} if c.name in self.field_ids else {}))
            for c in self.columns
        )
        return (
            "<?xml version='1.0' encoding='utf-8'?>\n"
            "<VOTABLE version='1.4' xmlns='http://www.ivoa.net/xml/VOTable/v1.3'"
            " xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance'>\n"
            f"<RESOURCE type='results'>\n{status}{infos}"
            f"<TABLE name={quoteattr(self.table_name)}>\n{fields}\n"
        )

    def _closing(self, *, overflow: bool, error: str | None) -> str:
        info = ""
        if error is not None:
            info = f"<INFO name='QUERY_STATUS' value='ERROR'>{escape(error)}</INFO>\n"
        elif overflow:
            info = "<INFO name='QUERY_STATUS' value='OVERFLOW'/>\n"
        return f"</TABLE>\n{info}</RESOURCE>\n{self.extra}</VOTABLE>\n"

    def header(self) -> bytes:
        """Return the document without data and status, as other formats carry it (VOParquet)."""
        return (self._opening("") + self._closing(overflow=False, error=None)).encode()

    def begin(self) -> bytes:
        """Return everything before the first row."""
        opening = "<BINARY2><STREAM encoding='base64'>\n" if self.binary else "<TABLEDATA>\n"
        return f"{self._opening()}<DATA>{opening}".encode()

    def rows(self, batch: pa.RecordBatch) -> bytes:
        """Return some rows."""
        declared = to_declared(batch, self.columns)
        if not self.binary:
            return _tabledata(declared)
        raw = self._rest + encode_binary2(declared, self.columns)
        # Base64 joins groups of three bytes: what is left over goes in front of the next batch.
        cut = len(raw) - len(raw) % 3
        self._rest = raw[cut:]
        return base64.b64encode(memoryview(raw)[:cut])

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
        return closing + f"</DATA>\n{self._closing(overflow=overflow, error=error)}".encode()

    def finish(self, *, overflow: bool = False, error: str | None = None) -> Iterator[bytes]:
        """Go through everything after the last row, see `end`."""
        yield self.end(overflow=overflow, error=error)

    def close(self) -> None:
        """Give back nothing: the writer keeps only the bytes of one group."""
