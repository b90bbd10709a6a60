"""The formats a table can be answered in, behind one interface (DALI 1.1, RESPONSEFORMAT)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from skydesk_portal.exceptions import UsageError
from skydesk_portal.models.tables import ColumnInfo
from skydesk_portal.vo.fits_table import FitsWriter
from skydesk_portal.vo.parquet_table import ArrowWriter, ParquetWriter
from skydesk_portal.vo.sqlite_table import SqliteWriter
from skydesk_portal.vo.text_table import DelimitedWriter, JsonWriter
from skydesk_portal.vo.votable import VOTableWriter

__all__ = ["FORMATS", "TableFormat", "TableWriter", "choose_format", "create_writer", "find_format"]


class TableWriter(Protocol):
    """Something that writes a table as a stream of byte strings."""

    tells_errors: bool
    """Whether the document has a place for what goes wrong after its begin."""

    def begin(self) -> bytes:
        """Return everything before the first row."""

    def rows(self, batch: pa.RecordBatch) -> bytes:
        """Return some rows; empty where they have to wait for the last one."""

    def finish(self, *, overflow: bool = False, error: str | None = None) -> Iterator[bytes]:
        """Go through everything after the last row."""

    def close(self) -> None:
        """Give back what the writer holds; may be called at any time and more than once."""


@dataclass(frozen=True)
class TableFormat:
    """One format of tables.

    Parameters
    ----------
    name
        Short name, which RESPONSEFORMAT takes.
    media_type
        Media type of the answer.
    aliases
        Other short names and media types that mean it.
    extension
        Ending of file names.
    description
        What it is, in a few words.
    ivo_id
        Identifier in TAPRegExt 1.0, if there is one.
    compresses
        Whether gzip makes it much smaller.
    """

    name: str
    media_type: str
    aliases: tuple[str, ...]
    extension: str
    description: str
    ivo_id: str | None = None
    compresses: bool = True

    @property
    def words(self) -> tuple[str, ...]:
        """Everything that RESPONSEFORMAT takes for it."""
        return (self.name, self.media_type, *self.aliases)


_VOTABLE = "application/x-votable+xml"
_STANDARD = "ivo://ivoa.net/std/TAPRegExt#output-votable-"
FORMATS: dict[str, TableFormat] = {
    made.name: made
    for made in (
        TableFormat(
            "votable", f"{_VOTABLE};serialization=binary2", (_VOTABLE, "votable/b2"), "vot", "VOTable with BINARY2",
            f"{_STANDARD}binary2",
        ),
        TableFormat(
            "votable/td", f"{_VOTABLE};serialization=tabledata", ("text/xml", "application/xml"), "vot",
            "VOTable with TABLEDATA", f"{_STANDARD}td",
        ),
        TableFormat("csv", "text/csv;header=present", ("text/csv",), "csv", "comma-separated values"),
        TableFormat("tsv", "text/tab-separated-values", (), "tsv", "tab-separated values"),
        TableFormat("fits", "application/fits", ("image/fits",), "fits", "FITS binary table"),
        TableFormat(
            "parquet", "application/vnd.apache.parquet", ("voparquet", "application/x-parquet"), "parquet", "VOParquet 1.0",
            compresses=False,
        ),
        TableFormat("json", "application/json", (), "json", "JSON, identifiers of 64 bits as strings"),
        TableFormat("sqlite", "application/vnd.sqlite3", ("application/x-sqlite3",), "sqlite", "SQLite file"),
        TableFormat(
            "arrow", "application/vnd.apache.arrow.stream", (), "arrow", "Arrow IPC stream", compresses=False
        ),
    )
}  # fmt: skip
"""Formats by short name; the first is the default."""


def choose_format(word: str | None) -> tuple[TableFormat, str]:
    """Find out what a caller means with RESPONSEFORMAT.

    Parameters
    ----------
    word
        Short name or media type in any case, `None` for the default.

    Returns
    -------
    TableFormat
        The format.
    str
        Media type of the answer: the one that was asked for by its name
        (DALI 1.1, section 3.4.3), else the format's own.

    Raises
    ------
    UsageError
        If the format is not offered.
    """
    asked = "".join((word or "").split()).lower().replace('"', "")
    if not asked:
        asked = "votable"
    parts = [part for part in asked.split(";") if part and not part.startswith("charset=")]
    wanted = ";".join(parts)
    base, _, detail = wanted.partition(";")
    if base in {"text/xml", "application/xml"} and detail:
        # The two names of a VOTable take the same parameters.
        wanted = f"{_VOTABLE};{detail}"
    for found in FORMATS.values():
        if wanted in found.words:
            named = wanted.split("/")[0] in {"application", "text", "image"}
            return found, f"{base};{detail}".rstrip(";") if named else found.media_type
    offered = ", ".join(f"{found.name} ({found.media_type})" for found in FORMATS.values())
    raise UsageError(f"RESPONSEFORMAT {(word or '')[:60]!r} is not offered; there are: {offered}")


def find_format(word: str | None) -> str:
    """Return the short name of a format, see `choose_format`."""
    return choose_format(word)[0].name


def create_writer(
    name: str,
    columns: tuple[ColumnInfo, ...],
    *,
    infos: Mapping[str, str] | None = None,
    extra: str = "",
    field_ids: Mapping[str, str] | None = None,
    spool: Path | None = None,
) -> TableWriter:
    """Make the writer of a format.

    Parameters
    ----------
    name
        Key of `FORMATS`.
    columns
        Declared columns.
    infos, extra, field_ids
        See `VOTableWriter`; formats without a place for them leave them out.
    spool
        Folder for rows that have to wait; the system's own by default.

    Returns
    -------
    TableWriter
        A fresh writer for one table.
    """

    def votable(*, binary: bool) -> VOTableWriter:
        return VOTableWriter(columns, binary=binary, infos=infos, extra=extra, field_ids=field_ids)

    makers: dict[str, Callable[[], TableWriter]] = {
        "votable": lambda: votable(binary=True),
        "votable/td": lambda: votable(binary=False),
        "csv": lambda: DelimitedWriter(columns, ","),
        "tsv": lambda: DelimitedWriter(columns, "\t"),
        "fits": lambda: FitsWriter(columns, infos or {}, spool),
        "parquet": lambda: ParquetWriter(columns, votable(binary=False)),
        "json": lambda: JsonWriter(columns),
        "sqlite": lambda: SqliteWriter(columns, infos or {}, spool),
        "arrow": lambda: ArrowWriter(columns),
    }
    return makers[name]()
