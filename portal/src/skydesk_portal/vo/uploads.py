"""Reading tables that people send: VOTable, CSV, TSV, parquet and FITS, told apart by their content."""

from __future__ import annotations

import csv
import io
import secrets
import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skydesk_portal.exceptions import PortalError, TooLargeError, UsageError
from skydesk_portal.models.tables import ColumnInfo
from skydesk_portal.vo.votable import finish_columns, to_declared
from skydesk_portal.vo.votable_reader import read_fields, read_header, read_votable

__all__ = ["MOST_COLUMNS", "UploadedTable", "check_names", "read_table", "read_upload"]

MOST_COLUMNS = 2000
"""Largest number of columns of a table that somebody sends."""

_LONGEST_NAME = 128
_GROWTH = 8
_BATCH_ROWS = 65536


@dataclass(frozen=True)
class UploadedTable:
    """A table sent with a query; ``key`` is its private name in the engine."""

    name: str
    key: str
    columns: tuple[ColumnInfo, ...]
    table: pa.Table


def read_upload(name: str, content: bytes, limit_bytes: int) -> UploadedTable:
    """Read a table sent with a query.

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
        If it is no table that can be read.
    TooLargeError
        If it is too large.
    """
    columns, table = read_table(f"UPLOAD {name}", content, limit_bytes)
    return UploadedTable(name, f"upload_{secrets.token_hex(6)}", columns, table)


def read_table(
    what: str, content: bytes, limit_bytes: int, texts: Collection[str] = ()
) -> tuple[tuple[ColumnInfo, ...], pa.Table]:
    """Read a table in any of the formats taken.

    Parameters
    ----------
    what
        What it is, for error messages.
    content
        The file.
    limit_bytes
        Largest size taken.
    texts
        Names of columns, in small letters, whose values are strings in CSV
        and TSV whatever they look like.

    Returns
    -------
    tuple
        Columns and rows.

    Raises
    ------
    UsageError
        If it is no table that can be read.
    TooLargeError
        If it is too large.
    """
    if len(content) > limit_bytes:
        raise TooLargeError(f"{what}: {len(content)} bytes are more than the {limit_bytes} taken")
    try:
        if content.startswith(b"PAR1"):
            columns, table = _read_parquet(content, _GROWTH * limit_bytes)
        elif content.startswith(b"SIMPLE  ="):
            columns, table = _read_fits(content)
        elif content[:2000].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
            columns, table = read_votable(content, MOST_COLUMNS)
        else:
            columns, table = _read_text(content, texts)
        check_names([column.name for column in columns])
        columns = tuple(_clean(column) for column in columns)
    except PortalError as error:
        raise type(error)(f"{what}: {error}") from error
    return columns, table


def check_names(names: Sequence[str]) -> None:
    """Refuse column names that queries could not use.

    Raises
    ------
    UsageError
        If a name is missing, odd or there twice (in any case of its letters).
    TooLargeError
        If there are too many.
    """
    if len(names) > MOST_COLUMNS:
        raise TooLargeError(f"{len(names)} columns are more than the {MOST_COLUMNS} taken")
    taken: set[str] = set()
    for i, name in enumerate(names, 1):
        if not name.strip():
            raise UsageError(f"column {i} has no name")
        if len(name) > _LONGEST_NAME or not name.isprintable() or '"' in name or name.startswith("skydesk#"):
            raise UsageError(f"column {i} has a name that cannot be used: {name[:40]!r}")
        if name.lower() in taken:
            raise UsageError(f"two columns are called {name[:60]}")
        taken.add(name.lower())


def _clean(column: ColumnInfo) -> ColumnInfo:
    """Leave out words about a column that no document could carry."""
    words = {key: getattr(column, key) for key in ("xtype", "unit", "ucd", "utype", "description")}
    odd: dict[str, Any] = {key: "" for key, value in words.items() if not value.isprintable()}
    return replace(column, **odd) if odd else column


def _declare(
    table: pa.Table, known: dict[str, ColumnInfo] | None = None
) -> tuple[tuple[ColumnInfo, ...], pa.Table]:
    """Bring columns to the types that tables here have."""
    arrays = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        kind = column.type
        if pa.types.is_dictionary(kind):
            column = pc.cast(column, kind.value_type)
        elif pa.types.is_null(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
            column = pc.cast(column, pa.string())
        elif pa.types.is_uint64(kind) and (pc.max(column).as_py() or 0) >= 1 << 63:
            raise UsageError(f"column {name[:60]} has numbers that do not fit into 64 bits with a sign")
        elif pa.types.is_float16(kind):
            column = pc.cast(column, pa.float32())
        elif _is_odd(kind):
            raise UsageError(f"column {name[:60]} has the type {str(kind)[:40]}, which is not taken")
        arrays.append(column)
    plain = pa.table(arrays, table.column_names)
    given = [
        replace((known or {}).get(n, ColumnInfo(n, "")), name=n, datatype="") for n in plain.column_names
    ]
    columns = finish_columns([replace(c, arraysize=None) for c in given], plain.schema)
    batches = [to_declared(batch, columns) for batch in plain.to_batches()]
    if not batches:
        empty = pa.RecordBatch.from_arrays(
            [pa.array([], item.type) for item in plain.schema], schema=plain.schema
        )
        batches = [to_declared(empty, columns)]
    return columns, pa.Table.from_batches(batches)


def _is_odd(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    listed = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    inner = kind.value_type if listed else kind
    return not (
        pa.types.is_integer(inner)
        or pa.types.is_floating(inner)
        or pa.types.is_boolean(inner)
        or (
            not listed
            and (
                pa.types.is_string(inner)
                or pa.types.is_large_string(inner)
                or pa.types.is_string_view(inner)
                or pa.types.is_decimal(inner)
                or pa.types.is_timestamp(inner)
                or pa.types.is_date(inner)
                or pa.types.is_time(inner)
            )
        )
    )


# CSV and TSV


def _read_text(content: bytes, texts: Collection[str]) -> tuple[tuple[ColumnInfo, ...], pa.Table]:
    import pyarrow.csv as pacsv

    if not content:
        raise UsageError("nothing came: the file is empty")
    start = 3 if content.startswith(b"\xef\xbb\xbf") else 0
    # Lines that begin with # are remarks, as ECSV has them, while the header has not come.
    while content[start : start + 1] == b"#":
        end = content.find(b"\n", start)
        start = len(content) if end < 0 else end + 1
    end = content.find(b"\n", start)
    line = content[start : end if end >= 0 else len(content)].rstrip(b"\r")
    if not line.strip() or b"\x00" in content[:10_000]:
        raise UsageError("neither VOTable, CSV, TSV, parquet nor FITS")
    if max(line.count(b","), line.count(b"\t")) >= 10 * MOST_COLUMNS:
        raise TooLargeError(f"more than the {MOST_COLUMNS} columns taken")
    separator = "\t" if line.count(b"\t") > line.count(b",") else ","
    try:
        names = next(csv.reader([line.decode("utf-8")], delimiter=separator), [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError("neither VOTable, CSV, TSV, parquet nor FITS") from error
    names = [name.strip() for name in names]
    if len(names) == 1 and end < 0:
        raise UsageError("neither VOTable, CSV (a line of names, then rows), TSV, parquet nor FITS")
    check_names(names)
    if end < 0 or not content[end:].strip():
        return _declare(pa.table([pa.array([], pa.string()) for _ in names], names))
    try:
        table = pacsv.read_csv(
            pa.BufferReader(pa.py_buffer(content)[end + 1 :]),
            read_options=pacsv.ReadOptions(column_names=names, use_threads=False),
            parse_options=pacsv.ParseOptions(delimiter=separator, newlines_in_values=True),
            convert_options=pacsv.ConvertOptions(
                null_values=["", "NULL", "null", "NA", "N/A"],
                strings_can_be_null=True,
                column_types={name: pa.string() for name in names if name.lower() in texts},
            ),
        )
    except pa.ArrowException as error:
        raise UsageError(f"not CSV: {str(error).splitlines()[0][:120]}") from error
    return _declare(table)


# Parquet


def _read_parquet(content: bytes, limit_bytes: int) -> tuple[tuple[ColumnInfo, ...], pa.Table]:
    import pyarrow.parquet as pq

    source = pa.BufferReader(content)
    try:
        schema = pq.read_schema(source)
        texts = [f.name for f in schema if pa.types.is_string(f.type) or pa.types.is_large_string(f.type)]
        # Repeated strings are kept once while reading: unpacked they may be a thousand times as large.
        file = pq.ParquetFile(source, read_dictionary=texts, pre_buffer=False)
        if len(schema.names) > MOST_COLUMNS:
            raise TooLargeError(f"{len(schema.names)} columns are more than the {MOST_COLUMNS} taken")
        check_names(schema.names)
        for field in schema:
            if _is_odd(field.type):
                raise UsageError(
                    f"column {field.name[:60]} has the type {str(field.type)[:40]}, which is not taken"
                )
        batches, size = [], 0
        for batch in file.iter_batches(_BATCH_ROWS, use_threads=False):
            size += sum(_unpacked_bytes(column) for column in batch.columns)
            if size > limit_bytes:
                raise TooLargeError(f"unpacked it has more than the {limit_bytes} bytes taken")
            batches.append(batch)
        table = pa.Table.from_batches(batches, file.schema_arrow) if batches else schema.empty_table()
    except (pa.ArrowException, OSError) as error:
        raise UsageError(f"not a parquet file: {str(error).splitlines()[0][:120]}") from error
    return _declare(table, _described(schema))


def _unpacked_bytes(column: pa.Array) -> int:
    if not pa.types.is_dictionary(column.type):
        return int(column.nbytes)
    if not pa.types.is_string(column.type.value_type) and not pa.types.is_large_string(
        column.type.value_type
    ):
        return 16 * len(column)
    lengths = pc.binary_length(column.dictionary)
    return int(pc.sum(lengths.take(column.indices)).as_py() or 0) + 8 * len(column)


def _described(schema: pa.Schema) -> dict[str, ColumnInfo]:
    """Return what a VOParquet file or the metadata of its fields say about the columns."""
    known = {}
    for field in schema:
        facts = {
            key.decode(): value.decode("utf-8", "replace") for key, value in (field.metadata or {}).items()
        }
        words = {k: facts[k][:2000] for k in ("unit", "ucd", "utype", "description", "xtype") if k in facts}
        known[field.name] = ColumnInfo(field.name, "", **words)
    header = (schema.metadata or {}).get(b"IVOA.VOTable-Parquet.content")
    if header is not None:
        try:
            known |= {column.name: column for column in read_fields(read_header(header, MOST_COLUMNS))}
        except UsageError:
            # The values are what matters; a header that cannot be read only loses their meaning.
            return known
    return known


# FITS


def _read_fits(content: bytes) -> tuple[tuple[ColumnInfo, ...], pa.Table]:
    from astropy.io import fits

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with fits.open(io.BytesIO(content), memmap=False, lazy_load_hdus=True) as hdus:
                hdu = next((h for h in hdus if isinstance(h, fits.BinTableHDU | fits.TableHDU)), None)
                if hdu is None:
                    raise UsageError("the FITS file has no table")
                if hdu.header["NAXIS1"] * hdu.header["NAXIS2"] > len(content):
                    raise UsageError("the FITS file is shorter than its header says")
                if hdu.header["TFIELDS"] > MOST_COLUMNS:
                    raise TooLargeError(
                        f"{hdu.header['TFIELDS']} columns are more than the {MOST_COLUMNS} taken"
                    )
                check_names(hdu.columns.names)
                columns = {c.name: ColumnInfo(c.name, "", unit=c.unit or "") for c in hdu.columns}
                arrays = [_fits_column(c.name, hdu.data[c.name]) for c in hdu.columns]
    except PortalError:
        raise
    except Exception as error:  # the reader's errors have no common class
        raise UsageError("the FITS file cannot be read") from error
    return _declare(pa.table(arrays, list(columns)), columns)


def _fits_column(name: str, values: np.ndarray) -> pa.Array:
    data = np.asarray(values)
    if data.ndim != 1 or data.dtype.kind not in "biufSU":
        raise UsageError(f"column {name[:60]} is an array, only scalars and strings are taken")
    if data.dtype.kind in "SU":
        return pa.array(
            np.char.decode(data, "ascii", "replace") if data.dtype.kind == "S" else data, pa.string()
        )
    return pa.array(data.astype(data.dtype.newbyteorder("=")))
