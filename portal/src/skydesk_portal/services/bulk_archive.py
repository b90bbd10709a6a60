"""The archive of bulk cut-outs: a tar that is written member by member, and its index."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from skydesk_portal.models.bulk import StampRow
from skydesk_portal.models.tables import ColumnInfo
from skydesk_portal.vo.votable import VOTableWriter

__all__ = ["INDEX_COLUMNS", "append_tar", "finish_tar", "index_table", "write_index"]

_BLOCK = 512

INDEX_COLUMNS = (
    ColumnInfo("row", "long", ucd="meta.number", description="Row of the position in the table, from 1"),
    ColumnInfo("id", "char", "*", ucd="meta.id", description="Identifier of the position, as given"),
    ColumnInfo("ra", "double", unit="deg", ucd="pos.eq.ra;meta.main", description="Position, ICRS"),
    ColumnInfo("dec", "double", unit="deg", ucd="pos.eq.dec;meta.main", description="Position, ICRS"),
    ColumnInfo("dataset_type", "char", "*", description="Dataset type of the image"),
    ColumnInfo("band", "char", "*", ucd="instr.bandpass", description="Band of the image"),
    ColumnInfo("status", "char", "*", ucd="meta.code", description="ok, partial, no image or error"),
    ColumnInfo("message", "char", "*", ucd="meta.note", description="What is missing or went wrong"),
    ColumnInfo("file_name", "char", "*", ucd="meta.file", description="Member of the archive"),
    ColumnInfo("dataset_id", "char", "*", description="Butler identifier of the image"),
    ColumnInfo("visit", "long", description="Visit of the image"),
    ColumnInfo("detector", "long", description="Detector of the image"),
    ColumnInfo("tract", "long", description="Tract of the image"),
    ColumnInfo("patch", "long", description="Patch of the image"),
    ColumnInfo("x", "double", unit="pixel", description="Position in the cut-out, first pixel 0"),
    ColumnInfo("y", "double", unit="pixel", description="Position in the cut-out, first pixel 0"),
    ColumnInfo("width", "long", unit="pixel", description="Columns of the cut-out"),
    ColumnInfo("height", "long", unit="pixel", description="Rows of the cut-out"),
)
"""Columns of the index."""

_TYPES = {"long": pa.int64(), "double": pa.float64(), "char": pa.string()}


def append_tar(out: IO[bytes], name: str, content: bytes) -> None:
    """Append a member; without a clock or an owner in it, so that the same work gives the same bytes."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    info.mode = 0o644
    out.write(info.tobuf(format=tarfile.GNU_FORMAT))
    out.write(content)
    out.write(b"\0" * (-len(content) % _BLOCK))


def finish_tar(out: IO[bytes]) -> None:
    """Write the two empty blocks that end an archive."""
    out.write(b"\0" * (2 * _BLOCK))


def index_table(rows: Sequence[StampRow]) -> pa.Table:
    """Return the index as a table."""
    return pa.table(
        [
            pa.array([getattr(row, column.name) for row in rows], _TYPES[column.datatype])
            for column in INDEX_COLUMNS
        ],
        names=[column.name for column in INDEX_COLUMNS],
    )


def write_index(table: pa.Table, votable: Path, parquet: Path) -> None:
    """Write the index in both of its forms.

    Parameters
    ----------
    table
        From `index_table`.
    votable, parquet
        Where they go.
    """
    pq.write_table(table, parquet)
    writer = VOTableWriter(INDEX_COLUMNS, table_name="index")
    buffer = io.BytesIO()
    buffer.write(writer.begin())
    for batch in table.to_batches(max_chunksize=50_000):
        buffer.write(writer.rows(batch))
    buffer.write(writer.end())
    votable.write_bytes(buffer.getvalue())
