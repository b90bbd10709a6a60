"""Catalogs of a release: one DuckDB file sorted by HEALPix index, and the same rows as HATS-layout parquet."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from skydesk_core.errors import DataError
from skydesk_core.release.healpix import HP14_SHIFT, ORDER, to_hp29
from skydesk_core.release.manifest import TableEntry, hash_file
from skydesk_core.release.model import TableInfo
from skydesk_core.release.sdm import healpix_columns

__all__ = ["CatalogWriter"]

_ROWS_PER_PARTITION = 1_000_000
_ROWS_PER_GROUP = 65_536
_MAX_ORDER = 10
_DUCKDB_TYPES = {
    "boolean": "BOOLEAN",
    "byte": "UTINYINT",
    "short": "SMALLINT",
    "int": "INTEGER",
    "long": "BIGINT",
    "float": "FLOAT",
    "double": "DOUBLE",
    "timestamp": "TIMESTAMP",
}


@dataclass
class CatalogWriter:
    """Writes the tables of one release.

    Parameters
    ----------
    folder
        The release's folder; ``catalogs.duckdb`` and ``catalogs/`` are made in it.
    """

    folder: Path
    entries: list[TableEntry] = field(default_factory=list)
    infos: list[TableInfo] = field(default_factory=list)
    _connection: duckdb.DuckDBPyConnection | None = None

    def __enter__(self) -> CatalogWriter:
        self._connection = duckdb.connect(str(self.folder / "catalogs.duckdb"), config={"threads": "2"})
        return self

    def __exit__(self, *exc: object) -> None:
        if self._connection is not None:
            if exc[0] is None:
                self._connection.execute("CHECKPOINT")
            self._connection.close()
            self._connection = None

    def read(self, name: str) -> pa.Table | None:
        """Read a table that was written; None if there is none of that name."""
        if self._connection is None:
            raise DataError("the catalog file is not open")
        if all(info.name != name for info in self.infos):
            return None
        quoted = '"' + name.replace('"', '""') + '"'
        return self._connection.sql(f"SELECT * FROM {quoted}").to_arrow_table()

    def add(self, info: TableInfo, table: pa.Table) -> TableInfo:
        """Write one table, sorted by position where it has one.

        Parameters
        ----------
        info
            Description without the HEALPix columns.
        table
            Its rows, with exactly the described columns and types.

        Returns
        -------
        TableInfo
            The description with ``hp29`` and ``hp14`` when the table has positions.
        """
        if self._connection is None:
            raise DataError("the catalog file is not open")
        if info.ra_column and info.dec_column:
            index = to_hp29(table[info.ra_column].to_numpy(), table[info.dec_column].to_numpy())
            table = table.append_column("hp29", pa.array(index)).append_column(
                "hp14", pa.array(np.where(index < 0, -1, index >> HP14_SHIFT))
            )
            order = np.lexsort((_first_key(table, info), index))
            table = table.take(pa.array(order))
            info = healpix_columns(info)
        elif info.primary_key:
            table = table.sort_by([(name, "ascending") for name in info.primary_key])
        table = table.replace_schema_metadata(None).combine_chunks()
        self._write_duckdb(info, table)
        parquet = Path("catalogs") / info.name
        digest = write_hats(self.folder / parquet, info, table)
        self.entries.append(
            TableEntry(
                info.name,
                info.name,
                table.num_rows,
                "catalogs.duckdb",
                str(parquet),
                digest,
                info.ra_column,
                info.dec_column,
            )
        )
        self.infos.append(info)
        return info

    def _write_duckdb(self, info: TableInfo, table: pa.Table) -> None:
        assert self._connection is not None
        con = self._connection
        columns = ", ".join(
            f"{_quote(c.name)} {_DUCKDB_TYPES.get(c.sdm_datatype, 'VARCHAR')}" for c in info.columns
        )
        con.execute(f"CREATE TABLE {_quote(info.name)} ({columns})")
        con.register("incoming", table)
        names = ", ".join(_quote(c.name) for c in info.columns)
        con.execute(f"INSERT INTO {_quote(info.name)} SELECT {names} FROM incoming")
        con.unregister("incoming")
        for names_of_index in sorted({i for i in (info.primary_key, *info.indexes, *_foreign(info)) if i}):
            # An index on ids that already follow the storage order would only cost room: zone maps do its work.
            if names_of_index in (("hp29",), ()):
                continue
            label = f"idx_{info.name}_{'_'.join(names_of_index)}"
            con.execute(
                f"CREATE INDEX {_quote(label)} ON {_quote(info.name)} ({', '.join(map(_quote, names_of_index))})"
            )


def _foreign(info: TableInfo) -> list[tuple[str, ...]]:
    """Return single-column relations worth an index: those by which light curves are read."""
    return [k.columns for k in info.foreign_keys if k.columns in (("objectId",), ("diaObjectId",))]


def _first_key(table: pa.Table, info: TableInfo) -> Any:
    """Return what orders rows of equal position (an object's forced measurements): time, else visit, else key."""
    for name in ("midpointMjdTai", "visit", "visitId", *info.primary_key):
        if name in table.column_names and table[name].null_count == 0:
            return table[name].to_numpy()
    return np.zeros(table.num_rows)


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _partition(hp29: Any, rows: int) -> list[tuple[int, int, int, int]]:
    """Split sorted rows into HEALPix pixels (order, pixel, first row, end row) of bounded size."""
    found: list[tuple[int, int, int, int]] = []

    def split(order: int, first: int, end: int) -> None:
        shift = 2 * (ORDER - order)
        pixels, starts = np.unique(hp29[first:end] >> shift, return_index=True)
        stops = [*(starts[1:] + first), end]
        for pixel, start, stop in zip(pixels, starts + first, stops, strict=True):
            if stop - start > _ROWS_PER_PARTITION and order < _MAX_ORDER:
                split(order + 1, int(start), int(stop))
            else:
                found.append((order, int(pixel), int(start), int(stop)))

    if rows:
        split(0, 0, rows)
    return found


def write_hats(folder: Path, info: TableInfo, table: pa.Table) -> str:
    """Write one table as parquet in the HATS layout (IVOA note HATS 1.0).

    Parameters
    ----------
    folder
        Folder of this table.
    info
        Its description.
    table
        Rows sorted by ``hp29``; a table without positions is written as one plain parquet file.

    Returns
    -------
    str
        SHA-256 over the hashes of the data files, in order of their paths.
    """
    data = folder / "dataset"
    data.mkdir(parents=True)
    table = table.cast(
        pa.schema([pa.field(f.name, f.type, metadata=_field_metadata(info, f.name)) for f in table.schema])
    )
    if info.ra_column is None:
        path = data / f"{info.name}.parquet"
        pq.write_table(table, path, compression="zstd", row_group_size=_ROWS_PER_GROUP)
        return _hash_all([path])
    located = table.filter(pa.array(table["hp29"].to_numpy() >= 0)) if table.num_rows else table
    parts = _partition(located["hp29"].to_numpy(), located.num_rows)
    collected: list[Any] = []
    paths = []
    for order, pixel, start, stop in parts:
        relative = Path(f"Norder={order}") / f"Dir={pixel // 10000 * 10000}" / f"Npix={pixel}.parquet"
        path = data / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        piece = located.slice(start, stop - start)
        # The parquet footer of each piece goes into _metadata, so that readers open one file for all statistics.
        footer: list[Any] = []
        pq.write_table(
            piece, path, compression="zstd", row_group_size=_ROWS_PER_GROUP, metadata_collector=footer
        )
        footer[-1].set_file_path(str(relative))
        collected.extend(footer)
        paths.append(path)
    pq.write_metadata(located.schema, data / "_common_metadata")
    pq.write_metadata(located.schema, data / "_metadata", metadata_collector=collected)
    lines = ["Norder,Npix"] + [f"{order},{pixel}" for order, pixel, _, _ in parts]
    (folder / "partition_info.csv").write_text("\n".join(lines) + "\n", encoding="ascii")
    _write_properties(folder, info, located.num_rows, parts, sum(p.stat().st_size for p in paths))
    return _hash_all(paths)


def _field_metadata(info: TableInfo, name: str) -> dict[str, str]:
    column = info.column(name)
    words = {"unit": column.unit, "description": column.description, "ucd": column.ucd}
    return {k: v for k, v in words.items() if v}


def _hash_all(paths: Iterable[Path]) -> str:
    return hashlib.sha256("".join(hash_file(p) for p in sorted(paths)).encode()).hexdigest()


def _write_properties(
    folder: Path, info: TableInfo, rows: int, parts: list[tuple[int, int, int, int]], size: int
) -> None:
    area = sum(41252.96125 / (12 * 4**order) for order, *_ in parts)
    properties = {
        "obs_collection": info.name,
        "dataproduct_type": "object" if info.name in ("Object", "DiaObject") else "source",
        "hats_nrows": rows,
        "hats_col_ra": info.ra_column,
        "hats_col_dec": info.dec_column,
        "hats_col_healpix": "hp29",
        "hats_col_healpix_order": ORDER,
        "hats_npix_suffix": ".parquet",
        "hats_order": max((order for order, *_ in parts), default=0),
        "hats_max_rows": _ROWS_PER_PARTITION,
        "hats_estsize": math.ceil(size / 1024),
        "hats_builder": "skydesk",
        "hats_version": "v1.0",
        "moc_sky_fraction": f"{area / 41252.96125:.6g}",
    }
    text = "".join(f"{key}={value}\n" for key, value in properties.items())
    # HATS 1.0 names the file hats.properties; readers before it look for the name without the prefix.
    (folder / "hats.properties").write_text(text, encoding="utf-8")
    (folder / "properties").write_text(text, encoding="utf-8")
