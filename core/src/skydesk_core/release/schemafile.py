"""The release's ``schema.yaml``: exactly the published tables and columns, in the form that Felis reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from skydesk_core.release.model import ColumnInfo, ReleaseSchema, TableInfo

__all__ = ["write_schema_yaml"]


def write_schema_yaml(schema: ReleaseSchema, path: Path) -> None:
    """Write the published tables as a Felis schema.

    Parameters
    ----------
    schema
        What is published.
    path
        The file ``schema.yaml``.
    """
    tree = {
        "name": schema.name,
        "@id": f"#{schema.name}",
        "description": schema.description,
        "tables": [_felis_table(t) for t in schema.tables],
    }
    path.write_text(
        yaml.dump(tree, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True, width=110),
        encoding="utf-8",
    )


def _felis_table(table: TableInfo) -> dict[str, Any]:
    root = f"#{table.name}"
    out: dict[str, Any] = {
        "name": table.name,
        "@id": root,
        "description": table.description,
        "tap:table_index": table.table_index,
    }
    if table.utype:
        out["votable:utype"] = table.utype
    if table.primary_key:
        keys = [f"{root}.{c}" for c in table.primary_key]
        out["primaryKey"] = keys[0] if len(keys) == 1 else keys
    out["columns"] = [_felis_column(root, c) for c in table.columns]
    if table.foreign_keys:
        out["constraints"] = [
            {
                "name": k.name,
                "@id": f"#{k.name}",
                "@type": "ForeignKey",
                "description": k.description,
                "columns": [f"{root}.{c}" for c in k.columns],
                "referencedColumns": [f"#{k.target_table}.{c}" for c in k.target_columns],
            }
            for k in table.foreign_keys
        ]
    if table.indexes:
        out["indexes"] = [
            {
                "name": f"idx_{table.name}_{'_'.join(names)}",
                "@id": f"#idx_{table.name}_{'_'.join(names)}",
                "columns": [f"{root}.{c}" for c in names],
            }
            for names in table.indexes
        ]
    return out


def _felis_column(root: str, column: ColumnInfo) -> dict[str, Any]:
    kind = column.sdm_datatype
    out: dict[str, Any] = {
        "name": column.name,
        "@id": f"{root}.{column.name}",
        "datatype": kind,
        "description": column.description,
    }
    if kind in ("char", "string", "unicode"):
        out["length"] = int((column.arraysize or "1").rstrip("*"))
        out["votable:arraysize"] = column.arraysize
    if column.unit:
        out["ivoa:unit"] = column.unit
    if column.ucd:
        out["ivoa:ucd"] = column.ucd
    if column.utype:
        out["votable:utype"] = column.utype
    if column.xtype:
        out["votable:xtype"] = column.xtype
    out["tap:principal"] = int(column.principal)
    out["tap:std"] = int(column.std)
    return out
