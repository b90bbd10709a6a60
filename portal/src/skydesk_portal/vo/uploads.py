"""Reading tables that callers send with a query."""

from __future__ import annotations

import io
import re
import secrets
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from skydesk_portal.exceptions import TooLargeError, UsageError
from skydesk_portal.models.tables import ColumnInfo

__all__ = ["UploadedTable", "read_upload"]

_MAX_COLUMNS = 2000
_KINDS = {"b": ("boolean", pa.bool_()), "f4": ("float", pa.float32()), "f8": ("double", pa.float64())}


@dataclass(frozen=True)
class UploadedTable:
    """A table sent with a query; ``key`` is its private name in the engine."""

    name: str
    key: str
    columns: tuple[ColumnInfo, ...]
    table: pa.Table


def read_upload(name: str, content: bytes, limit_bytes: int) -> UploadedTable:
    """Read an uploaded VOTable.

    Parameters
    ----------
    name
        Name that the query uses.
    content
        The file.
    limit_bytes
        Largest size taken.

    Returns
    -------
    UploadedTable
        Columns and rows.

    Raises
    ------
    UsageError
        If it is no VOTable with one table.
    TooLargeError
        If it is too large.
    """
    if len(content) > limit_bytes:
        raise TooLargeError(f"UPLOAD {name}: {len(content)} bytes are more than the {limit_bytes} taken")
    if re.search(rb"<!(DOCTYPE|ENTITY)", content[:100_000], re.IGNORECASE):
        # Entities can grow without bound and VOTables have none.
        raise UsageError(f"UPLOAD {name}: a document with a DOCTYPE is not taken")
    from astropy.io.votable import parse

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = parse(io.BytesIO(content), verify="ignore").get_first_table()
    except Exception as error:
        raise UsageError(
            f"UPLOAD {name}: not a VOTable: {str(error).splitlines()[0][:120] if str(error) else 'unreadable'}"
        ) from error
    if len(found.fields) > _MAX_COLUMNS:
        raise TooLargeError(
            f"UPLOAD {name}: {len(found.fields)} columns are more than the {_MAX_COLUMNS} taken"
        )
    columns, arrays, taken = [], [], set()
    for field, key in zip(found.fields, found.array.dtype.names or (), strict=True):
        label = field.name or field.ID
        if label.lower() in taken:
            raise UsageError(f"UPLOAD {name}: two columns are called {label}")
        taken.add(label.lower())
        kind, array = _convert(name, label, found.array[key])
        # The declared size is kept: clients compare what comes back with what they sent.
        size = field.arraysize if kind == "char" else None
        columns.append(
            ColumnInfo(
                label,
                kind,
                (str(size).rstrip("*") + "*" if size else "*") if kind == "char" else None,
                xtype=field.xtype or "",
                unit=str(field.unit) if field.unit is not None else "",
                ucd=field.ucd or "",
                utype=field.utype or "",
                description=field.description or "",
            )
        )
        arrays.append(array)
    table = pa.table(arrays, names=[column.name for column in columns])
    return UploadedTable(name, f"upload_{secrets.token_hex(6)}", tuple(columns), table)


def _convert(table: str, label: str, values: Any) -> tuple[str, pa.Array]:
    mask = np.ma.getmaskarray(values)
    data = np.ma.getdata(values)
    if data.ndim != 1:
        raise UsageError(f"UPLOAD {table}: column {label} is an array, only scalars and strings are taken")
    if data.dtype.kind in "OSU":
        out = []
        for value, hidden in zip(data, mask, strict=True):
            if isinstance(value, np.ndarray):
                raise UsageError(
                    f"UPLOAD {table}: column {label} is an array, only scalars and strings are taken"
                )
            text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
            out.append(None if hidden or value is None else text)
        return "char", pa.array(out, pa.string())
    kind = data.dtype.kind
    if kind == "b":
        return "boolean", pa.array(data, mask=mask)
    if kind == "f":
        datatype, arrow = _KINDS["f4" if data.dtype.itemsize == 4 else "f8"]
        plain = data.astype("f4" if datatype == "float" else "f8")
        return datatype, pa.array(plain, arrow, mask=mask)
    if kind in "iu":
        width = data.dtype.itemsize
        datatype, arrow = {1: ("short", pa.int16()), 2: ("short", pa.int16()), 4: ("int", pa.int32())}.get(
            width, ("long", pa.int64())
        )
        return datatype, pa.array(data.astype(np.int64), mask=mask).cast(arrow)
    raise UsageError(f"UPLOAD {table}: column {label} has a type that is not taken")
