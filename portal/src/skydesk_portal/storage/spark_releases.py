"""The releases that a Spark cluster reads, as the configuration names them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pydantic import SecretStr

from skydesk_portal.config import DistributedConfig
from skydesk_portal.models.tables import ColumnInfo
from skydesk_portal.pipeline.releases import describe_parquet
from skydesk_portal.storage.routed_engine import DistributedTables
from skydesk_portal.storage.routing import RoutedTable
from skydesk_portal.storage.spark_connection import SparkConnection
from skydesk_portal.storage.spark_engine import SparkEngine
from skydesk_portal.storage.spark_sql import SparkTable

if TYPE_CHECKING:
    from skydesk_portal.pipeline import Release

__all__ = ["open_spark"]

_TYPES = {
    "unsignedByte": "i16",
    "short": "i16",
    "int": "i32",
    "long": "i64",
    "float": "f32",
    "double": "f64",
    "char": "str",
    "unicodeChar": "str",
    "boolean": "bool",
}


def _type_of(column: ColumnInfo) -> str:
    if column.xtype == "timestamp":
        return "time"
    if column.datatype not in {"char", "unicodeChar"} and column.arraysize not in (None, "", "1"):
        return "array"
    return _TYPES.get(column.datatype, "array")


def _address(folder: str) -> str:
    return folder.rstrip("/") if urlsplit(folder).scheme else f"file://{folder.rstrip('/')}"


def open_spark(
    config: DistributedConfig, token: SecretStr | None, releases: Sequence[Release]
) -> DistributedTables:
    """Make the engine for the releases that the configuration names; the cluster is asked when a query needs it.

    Parameters
    ----------
    config
        The configuration.
    token
        What the server asks for.
    releases
        All releases that there are.

    Returns
    -------
    DistributedTables
        The engine and its tables.
    """
    folders: dict[tuple[str, ...], tuple[str, SparkTable]] = {}
    routed: dict[tuple[str, ...], RoutedTable] = {}
    for release in releases:
        if release.name not in config.releases:
            continue
        root = _address(config.releases[release.name])
        for table in describe_parquet(release):
            columns = {column.name: _type_of(column) for column in table.info.columns}
            indexed = frozenset(column.name for column in table.info.columns if column.indexed)
            known = SparkTable(f"skydesk_{len(folders)}", columns, table.files)
            folders[table.info.source] = (f"{root}/{table.folder}", known)
            routed[table.info.source] = RoutedTable(table.info.rows or 0, indexed, table.sky_fraction)
    connection = SparkConnection(config.url, token.get_secret_value() if token is not None else None)
    return DistributedTables(SparkEngine(connection, folders), routed)
