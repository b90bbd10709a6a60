"""Published releases as the services see them: which there are, what tables and images they hold."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from skydesk_portal.models.identity import Identity
from skydesk_portal.models.tables import ColumnInfo, ForeignKey, SchemaInfo, TableInfo
from skydesk_portal.pipeline.errors import core_errors

if TYPE_CHECKING:
    from skydesk_core.release import ColumnInfo as StoredColumn
    from skydesk_core.release import Release

__all__ = [
    "ParquetTable",
    "ReleaseStore",
    "describe_column",
    "describe_parquet",
    "describe_release",
    "engine_name",
    "find_home",
]

OBSCORE = "ObsCore"
"""Name of the image list inside a release."""
PROVENANCE = "Provenance"
"""Name of the table of what images were made of."""


def engine_name(release: str) -> str:
    """Return the name under which the engine attaches a release."""
    # A prefix keeps a release called "main" or "system" away from the engine's own databases.
    return f"r_{release}"


def find_home() -> Path:
    """Return the platform's home folder, as commands find it.

    Raises
    ------
    ConfigError
        If there is none.
    """
    from skydesk_core.home import get_home

    with core_errors():
        return get_home().root


def _size(datatype: str, arraysize: str | None) -> str | None:
    # Strings travel with their real length; a fixed one would have to be padded.
    return f"{(arraysize or '').rstrip('*')}*" if datatype == "char" else arraysize


def describe_column(column: StoredColumn) -> ColumnInfo:
    """Describe a column of a release in the terms of TAP_SCHEMA."""
    return ColumnInfo(
        column.name,
        column.datatype,
        _size(column.datatype, column.arraysize),
        column.xtype or "",
        column.unit or "",
        column.ucd or "",
        column.utype or "",
        column.description,
        principal=column.principal,
        indexed=column.indexed,
        std=column.std,
    )


def describe_release(release: Release) -> SchemaInfo:
    """Describe the tables of a release in the terms of TAP_SCHEMA.

    Parameters
    ----------
    release
        An opened release.

    Returns
    -------
    SchemaInfo
        All its tables, the image list included.
    """
    rows = {entry.name: entry.rows for entry in release.manifest.tables}
    schema = release.schema()
    tables = []
    for table in schema.tables:
        names = {column.name for column in table.columns}
        columns = tuple(describe_column(column) for column in table.columns)
        keys = tuple(
            ForeignKey(
                f"{release.name}.{key.target_table}",
                tuple(zip(key.columns, key.target_columns, strict=True)),
                key.description,
            )
            for key in table.foreign_keys
        )
        tables.append(
            TableInfo(
                release.name,
                table.name,
                columns,
                (engine_name(release.name), "main", table.name),
                release=release.name,
                description=table.description,
                utype=table.utype or "",
                rows=rows.get(table.name),
                ra_column=table.ra_column,
                dec_column=table.dec_column,
                has_index="hp29" in names and "hp14" in names,
                foreign_keys=keys,
            )
        )
    return SchemaInfo(release.name, schema.description or release.manifest.title, "", tuple(tables))


@dataclass(frozen=True)
class ParquetTable:
    """A table of a release as parquet files.

    Parameters
    ----------
    info
        The table.
    folder
        Folder of its files, relative to the release's folder.
    sky_fraction
        Part of the sky that the files cover.
    files
        First and last index of order 29, and name, of each file of the HATS layout.
    """

    info: TableInfo
    folder: str
    sky_fraction: float
    files: tuple[tuple[int, int, str], ...] = ()


def describe_parquet(release: Release) -> Iterator[ParquetTable]:
    """Go through the tables of a release whose parquet files hold every row.

    Rows without a position have no place in the HATS layout; a table that has some is left out.

    Parameters
    ----------
    release
        An opened release.

    Yields
    ------
    ParquetTable
        One table after the other.
    """
    infos = {table.name: table for table in describe_release(release).tables}
    for entry in release.manifest.tables:
        words = release.path / entry.parquet / "hats.properties"
        if entry.name not in infos or entry.name == OBSCORE:
            continue
        found = dict(line.split("=", 1) for line in words.read_text().splitlines()) if words.exists() else {}
        if int(found.get("hats_nrows", entry.rows)) == entry.rows:
            fraction = float(found.get("moc_sky_fraction", 1.0))
            files = _list_files(release.path / entry.parquet / "partition_info.csv")
            yield ParquetTable(infos[entry.name], f"{entry.parquet}/dataset", min(fraction, 1.0), files)


def _list_files(path: Path) -> tuple[tuple[int, int, str], ...]:
    if not path.exists():
        return ()
    found = []
    for line in path.read_text(encoding="ascii").splitlines()[1:]:
        order, pixel = map(int, line.split(","))
        shift = 2 * (29 - order)
        found.append((pixel << shift, ((pixel + 1) << shift) - 1, f"Npix={pixel}.parquet"))
    return tuple(found)


class ReleaseStore:
    """The releases of a home; notices new ones.

    Parameters
    ----------
    folder
        The folder of releases.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._stamp: tuple[tuple[str, int], ...] | None = None
        self._releases: dict[str, Release] = {}

    def _current(self) -> tuple[tuple[str, int], ...]:
        if not self.folder.is_dir():
            return ()
        found = []
        for path in self.folder.iterdir():
            manifest = path / "manifest.json"
            if not path.name.startswith(".") and manifest.exists():
                found.append((path.name, manifest.stat().st_mtime_ns))
        return tuple(sorted(found))

    @property
    def stamp(self) -> tuple[tuple[str, int], ...]:
        """Changes whenever a release appears or goes."""
        self.list_all()
        return self._stamp or ()

    def list_all(self) -> list[Release]:
        """Return all releases, by name."""
        current = self._current()
        with self._lock:
            if current != self._stamp:
                from skydesk_core.release import Release

                with core_errors():
                    opened = [Release.open(self.folder / name) for name, _ in current]
                self._releases = {release.name: release for release in opened}
                self._stamp = current
            return list(self._releases.values())

    def list_visible(self, identity: Identity) -> list[Release]:
        """Return the releases that a caller may read, by name."""
        return [r for r in self.list_all() if identity.may_read(frozenset(r.manifest.access_groups))]

    def find(self, identity: Identity, name: str) -> Release | None:
        """Return a release by name, `None` if the caller has none of that name."""
        return next((r for r in self.list_visible(identity) if r.name == name), None)
