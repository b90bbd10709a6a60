"""Which tables a caller may query: releases, the image list over all of them, and TAP_SCHEMA itself."""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.dataset as ds

from skydesk_portal.models.identity import Identity
from skydesk_portal.models.tables import Catalog, ColumnInfo, ForeignKey, SchemaInfo, TableInfo, written_name
from skydesk_portal.models.user_tables import UserTable, schema_of
from skydesk_portal.pipeline.releases import (
    OBSCORE,
    PROVENANCE,
    ReleaseStore,
    describe_release,
)
from skydesk_portal.services.userimages import UserImageService
from skydesk_portal.storage.caom import provide_caom
from skydesk_portal.storage.engine import HomeEngine
from skydesk_portal.storage.tables import SqliteTableStore
from skydesk_portal.storage.tables_files import open_table

if TYPE_CHECKING:
    from skydesk_portal.pipeline import Release

__all__ = ["CatalogService", "QueryView"]

_MOST_VIEWS = 256
_OBSCORE_TABLE = "ivoa.ObsCore"
_OBSCORE_UTYPE = "ivo://ivoa.net/std/ObsCore#table-1.1"
_TYPES = {
    "long": "BIGINT",
    "int": "INTEGER",
    "double": "DOUBLE",
    "float": "REAL",
    "char": "VARCHAR",
    "boolean": "BOOLEAN",
}


def _text(name: str, description: str, **more: Any) -> ColumnInfo:
    return ColumnInfo(name, "char", "*", description=description, std=True, principal=True, **more)


def _int(name: str, description: str) -> ColumnInfo:
    return ColumnInfo(name, "int", description=description, std=True, principal=True)


_TAP_SCHEMA: dict[str, tuple[str, tuple[ColumnInfo, ...]]] = {
    "schemas": (
        "Schemas of the tables that this service publishes",
        (
            _text("schema_name", "Name of the schema"),
            _text("utype", "Utype, if there is one"),
            _text("description", "Description of the schema"),
            _int("schema_index", "Recommended order of the schemas"),
        ),
    ),
    "tables": (
        "Tables that this service publishes",
        (
            _text("schema_name", "Schema of the table"),
            _text("table_name", "Name of the table as queries write it"),
            _text("table_type", "table or view"),
            _text("utype", "Utype, if there is one"),
            _text("description", "Description of the table"),
            _int("table_index", "Recommended order of the tables"),
        ),
    ),
    "columns": (
        "Columns of the tables that this service publishes",
        (
            _text("table_name", "Name of the table"),
            _text("column_name", "Name of the column"),
            _text("utype", "Utype, if there is one"),
            _text("ucd", "UCD, if there is one"),
            _text("unit", "Unit of the values, VOUnits"),
            _text("description", "Description of the column"),
            _text("datatype", "VOTable datatype"),
            _text("arraysize", "VOTable arraysize"),
            _text("xtype", "DALI extended type"),
            _int("size", "Length of a string (deprecated, see arraysize)"),
            _int("principal", "1 if the column is in the core part of the table"),
            _int("indexed", "1 if the column is indexed"),
            _int("std", "1 if a standard defines the column"),
            _int("column_index", "Recommended order of the columns"),
        ),
    ),
    "keys": (
        "Foreign keys between the tables",
        (
            _text("key_id", "Identifier of the key"),
            _text("from_table", "Name of the table"),
            _text("target_table", "Name of the table it refers to"),
            _text("utype", "Utype, if there is one"),
            _text("description", "Description of the key"),
        ),
    ),
    "key_columns": (
        "Columns of the foreign keys",
        (
            _text("key_id", "Identifier of the key"),
            _text("from_column", "Column of the table"),
            _text("target_column", "Column of the table it refers to"),
        ),
    ),
}


_TAP_KEYS: dict[str, tuple[tuple[str, str, str], ...]] = {
    "tables": (("schema_name", "schemas", "schema_name"),),
    "columns": (("table_name", "tables", "table_name"),),
    "keys": (("from_table", "tables", "table_name"), ("target_table", "tables", "table_name")),
    "key_columns": (("key_id", "keys", "key_id"),),
}


@dataclass(frozen=True)
class QueryView:
    """The tables of one caller together with the engine that answers for them.

    Parameters
    ----------
    catalog
        What the caller may name.
    engine
        Answers for it.
    content
        Rows of the tables that the engine does not hold itself, by the name
        that their descriptions give as source.
    """

    catalog: Catalog
    engine: HomeEngine
    content: Mapping[str, pa.Table | ds.Dataset] = field(default_factory=dict)

    def content_of(self, tables: Iterable[TableInfo]) -> dict[str, pa.Table | ds.Dataset]:
        """Return the rows that a query of these tables has to be given."""
        names = {table.source[0] for table in tables if table.source}
        return {name: self.content[name] for name in names if name in self.content}


class CatalogService:
    """Opens the engine on the releases there are, and keeps one view per set of visible releases.

    Parameters
    ----------
    releases
        The releases.
    open_engine
        Opens an engine on releases.
    url
        Public base address, for the links of the image list.
    tables
        The tables that people keep; `None` without them.
    tables_folder
        Folder of their files.
    images
        The images that people's runs made; `None` without them.
    """

    def __init__(
        self,
        releases: ReleaseStore,
        open_engine: Callable[[Sequence[Release]], HomeEngine],
        url: str,
        tables: SqliteTableStore | None = None,
        tables_folder: Path = Path(),
        images: UserImageService | None = None,
    ) -> None:
        self._images = images
        self._tables = tables
        self._tables_folder = tables_folder
        self._own: dict[tuple[str, frozenset[str]], tuple[object, QueryView]] = {}
        self.releases = releases
        self._open_engine = open_engine
        self._url = url
        self._lock = threading.Lock()
        self._stamp: object = None
        self._engine: HomeEngine | None = None
        self._views: dict[frozenset[str], QueryView] = {}

    def view_for(self, identity: Identity) -> QueryView:
        """Return the tables that a caller may query, and their engine.

        Parameters
        ----------
        identity
            The caller.

        Returns
        -------
        QueryView
            Catalogue and engine; stays usable after a release is published.
        """
        visible = self.releases.list_visible(identity)
        names = frozenset(release.name for release in visible)
        with self._lock:
            if self._engine is None or self._stamp != self.releases.stamp:
                # Queries that still run keep the old engine alive until they end.
                self._engine = self._open_engine(self.releases.list_all())
                self._stamp = self.releases.stamp
                self._views, self._own = {}, {}
            if names not in self._views:
                self._views[names] = self._make_view(
                    self._engine, [describe_release(release) for release in visible]
                )
            view = self._views[names]
        return view if self._tables is None else self._add_tables(view, identity, self._tables)

    def _add_tables(self, view: QueryView, identity: Identity, store: SqliteTableStore) -> QueryView:
        """Add the tables that people keep, as far as this caller may read them."""
        # The stamp is read first: a change in between makes the view be made again, never be missed.
        images = self._images
        state = (id(view), store.stamp, images.find_stamp(identity.name) if images is not None else None)
        key = (identity.name, identity.groups)
        with self._lock:
            known = self._own.get(key)
        if known is not None and known[0] == state:
            return known[1]
        visible = store.list_visible(identity.name, identity.groups)
        listed = images.find_table(identity.name) if images is not None else None
        made = _with_tables(view, visible, self._tables_folder, listed) if visible or listed else view
        with self._lock:
            if len(self._own) >= _MOST_VIEWS:
                self._own.clear()
            self._own[key] = (state, made)
        return made

    def close(self) -> None:
        """Close the engine."""
        with self._lock:
            if self._engine is not None:
                self._engine.close()
            self._engine, self._views, self._own = None, {}, {}

    def _make_view(self, engine: HomeEngine, schemas: list[SchemaInfo]) -> QueryView:
        key = hashlib.sha256("/".join(schema.name for schema in schemas).encode()).hexdigest()[:12]
        images = [table for schema in schemas for table in schema.tables if table.name == OBSCORE]
        listed = [replace(s, tables=tuple(t for t in s.tables if t.name != OBSCORE)) for s in schemas]
        if images:
            united = self._unite(engine, images, f"ivoa_{key}")
            inputs = [t.source for schema in schemas for t in schema.tables if t.name == PROVENANCE]
            listed.append(SchemaInfo("ivoa", "Tables that the IVOA defines", "", (united,)))
            listed.append(provide_caom(engine, united, inputs, key))
        own = tuple(
            TableInfo(
                "tap_schema",
                name,
                columns,
                ("memory", f"tap_{key}", name),
                description=text,
                foreign_keys=tuple(
                    ForeignKey(f"tap_schema.{target}", ((own, other),))
                    for own, target, other in _TAP_KEYS.get(name, ())
                ),
            )
            for name, (text, columns) in _TAP_SCHEMA.items()
        )
        listed.append(
            SchemaInfo("tap_schema", "Description of the tables of this service (TAP 1.1)", "", own)
        )
        catalog = Catalog(tuple(listed))
        engine.provide(own, _describe(catalog))
        return QueryView(catalog, engine)

    def _unite(self, engine: HomeEngine, images: list[TableInfo], schema: str) -> TableInfo:
        columns: dict[str, ColumnInfo] = {}
        for table in images:
            for column in table.columns:
                columns.setdefault(column.name, _standard(column))
        base = self._url.replace("'", "''")
        sources = []
        for table in images:
            have = {column.name for column in table.columns}
            values = {
                name: f'"{name}"' if name in have else f"CAST(NULL AS {_engine_type(column)})"
                for name, column in columns.items()
            }
            # Stored links are relative, so that a release may be served under any address.
            values["access_url"] = (
                f"CASE WHEN access_url LIKE '/%' THEN '{base}' || access_url ELSE access_url END"
            )
            sources.append((table.source, values))
        engine.provide_view(schema, OBSCORE, _union_sql(sources))
        first = images[0]
        return TableInfo(
            "ivoa",
            OBSCORE,
            tuple(columns.values()),
            ("memory", schema, OBSCORE),
            kind="view",
            description="All images of all releases (ObsCore 1.1)",
            utype=_OBSCORE_UTYPE,
            rows=sum(table.rows or 0 for table in images),
            ra_column=first.ra_column,
            dec_column=first.dec_column,
            has_index=all(table.has_index for table in images),
        )


def _union_sql(sources: list[tuple[tuple[str, ...], dict[str, str]]]) -> str:
    """Return SQL of one table of several releases: for each its name and, by column, the SQL of its value."""
    parts = []
    for source, columns in sources:
        values = ", ".join(f"{sql} AS {_quote(name)}" for name, sql in columns.items())
        parts.append(f"SELECT {values} FROM {'.'.join(map(_quote, source))}")
    return " UNION ALL ".join(parts)


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _engine_type(column: ColumnInfo) -> str:
    return "TIMESTAMP" if column.xtype == "timestamp" else _TYPES.get(column.datatype, "VARCHAR")


_UTYPES = {
    "obs_collection": "DataID.Collection",
    "obs_publisher_did": "Curation.PublisherDID",
    "access_url": "Access.Reference",
    "access_format": "Access.Format",
    "target_name": "Target.Name",
    "obs_title": "DataID.Title",
    "facility_name": "Provenance.ObsConfig.facility.name",
    "instrument_name": "Provenance.ObsConfig.instrument.name",
}
"""Utypes of ObsCore 1.1 (table 7) that the SDM spells differently."""


def _standard(column: ColumnInfo) -> ColumnInfo:
    utype = _UTYPES.get(column.name, column.utype)
    prefixed = utype if not utype or utype.startswith("obscore:") else f"obscore:{utype}"
    return replace(column, utype=prefixed, xtype=column.xtype if column.xtype != "clob" else "")


def _with_tables(
    view: QueryView,
    tables: Sequence[UserTable],
    folder: Path,
    images: tuple[TableInfo, pa.Table] | None = None,
) -> QueryView:
    """Return a view with more tables; its TAP_SCHEMA lists them."""
    taken = {schema.name.lower() for schema in view.catalog.schemas}
    kept = [table for table in tables if schema_of(table.owner) not in taken]
    schemas = [schema for schema in view.catalog.schemas if schema.name != "tap_schema"]
    for owner in sorted({table.owner for table in kept}):
        infos = tuple(table.to_info() for table in kept if table.owner == owner)
        schemas.append(SchemaInfo(schema_of(owner), f"Tables that {owner} keeps", "", infos))
    if images is not None:
        schemas = _with_images(schemas, images[0])
    described = next(schema for schema in view.catalog.schemas if schema.name == "tap_schema")
    token = secrets.token_hex(6)
    own = tuple(replace(table, source=(f"described_{token}_{table.name}",)) for table in described.tables)
    catalog = Catalog((*schemas, replace(described, tables=own)))
    rows = _describe(catalog)
    content: dict[str, pa.Table | ds.Dataset] = {table.source[0]: rows[table.full_name] for table in own}
    content |= {table.key: open_table(folder / table.owner, table) for table in kept}
    if images is not None:
        content[images[0].source[0]] = images[1]
    return QueryView(catalog, view.engine, content)


def _with_images(schemas: list[SchemaInfo], images: TableInfo) -> list[SchemaInfo]:
    """Return the schemas with the list of somebody's images in the schema of its owner."""
    images = replace(images, columns=tuple(map(_standard, images.columns)))
    own = next((schema for schema in schemas if schema.name == images.schema), None)
    if own is None:
        return [*schemas, SchemaInfo(images.schema, "What belongs to you alone", "", (images,))]
    if any(table.name.lower() == images.name.lower() for table in own.tables):
        # The owner keeps a table of that name.
        return schemas
    return [replace(s, tables=(*s.tables, images)) if s is own else s for s in schemas]


def _describe(catalog: Catalog) -> dict[str, pa.Table]:
    """Return the rows of TAP_SCHEMA by full table name."""
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in _TAP_SCHEMA}
    for i, schema in enumerate(catalog.schemas):
        rows["schemas"].append(
            {
                "schema_name": schema.name,
                "utype": schema.utype or None,
                "description": schema.description,
                "schema_index": i,
            }
        )
        for j, table in enumerate(schema.tables):
            rows["tables"].append(
                {
                    "schema_name": schema.name,
                    "table_name": table.full_name,
                    "table_type": table.kind,
                    "utype": table.utype or None,
                    "description": table.description,
                    "table_index": j,
                }
            )
            rows["columns"] += [_column_row(table, column, k) for k, column in enumerate(table.columns)]
            for n, key in enumerate(table.foreign_keys):
                if catalog.find_table(key.target) is None:
                    continue
                key_id = f"{table.full_name}.{n}"
                rows["keys"].append(
                    {
                        "key_id": key_id,
                        "from_table": table.full_name,
                        "target_table": key.target,
                        "utype": None,
                        "description": key.description or None,
                    }
                )
                rows["key_columns"] += [
                    {"key_id": key_id, "from_column": own, "target_column": other}
                    for own, other in key.columns
                ]
    out = {}
    for name, (_, columns) in _TAP_SCHEMA.items():
        fields = [pa.field(c.name, pa.int32() if c.datatype == "int" else pa.string()) for c in columns]
        out[f"tap_schema.{name}"] = pa.Table.from_pylist(rows[name], schema=pa.schema(fields))
    return out


def _column_row(table: TableInfo, column: ColumnInfo, index: int) -> dict[str, Any]:
    size = (column.arraysize or "").rstrip("*")
    text = column.datatype in {"char", "unicodeChar"}
    return {
        "table_name": table.full_name,
        "column_name": written_name(column.name),
        "utype": column.utype or None,
        "ucd": column.ucd or None,
        "unit": column.unit or None,
        "description": column.description or None,
        "datatype": column.datatype,
        "arraysize": column.arraysize,
        "xtype": column.xtype or None,
        "size": int(size) if text and size.isdigit() else None,
        "principal": int(column.principal),
        "indexed": int(column.indexed),
        "std": int(column.std),
        "column_index": index,
    }
