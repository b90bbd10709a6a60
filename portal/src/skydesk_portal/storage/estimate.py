"""What the engine expects of a query before it runs: rows that come out, rows that have to be read."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from skydesk_portal.exceptions import QueryTimeoutError
from skydesk_portal.models.estimate import Expectation, ExpectedScan
from skydesk_portal.models.tables import TableInfo
from skydesk_portal.storage.engine import QueryEngine

__all__ = ["count_rows", "expect"]

_GROUP_ROWS = 122_880
"""Rows that the engine reads or skips together."""

_PLAN_S = 10.0
_RANGE = re.compile(r"(?:[()\s]|\bAND\b|\bOR\b|\"?hp29\"? (?:>=|<=|=|>|<) -?\d+(?:\.0)?)+\Z")
_NUMBER = re.compile(r"-?\d+\Z|'\w*'\Z")
_BOUND = re.compile(r"hp29\"? (>=|<=|=|>|<) (-?\d+)")


def _read(
    engine: QueryEngine, sql: str, uploads: Mapping[str, pa.Table], timeout_s: float
) -> list[dict[str, Any]]:
    running = engine.start(sql, timeout_s=timeout_s, uploads=uploads)
    try:
        return [row for batch in running.batches() for row in batch.to_pylist()]
    finally:
        running.close()


def count_rows(
    engine: QueryEngine, sql: str, uploads: Mapping[str, pa.Table], timeout_s: float
) -> int | None:
    """Count the rows of a query, `None` if that takes too long.

    Parameters
    ----------
    engine
        The engine.
    sql
        SQL that the front end made.
    uploads
        Tables by their name in the SQL.
    timeout_s
        How long to try.
    """
    try:
        found = _read(engine, f"SELECT count(*) AS n FROM ({sql}) AS counted", uploads, timeout_s)
    except QueryTimeoutError:
        return None
    return int(found[0]["n"])


def expect(
    engine: QueryEngine,
    sql: str,
    uploads: Mapping[str, pa.Table],
    tables: Mapping[tuple[str, ...], TableInfo],
) -> Expectation:
    """Ask the engine what it expects of a query.

    Parameters
    ----------
    engine
        The engine.
    sql
        SQL that the front end made.
    uploads
        Tables by their name in the SQL.
    tables
        What is known of the tables, by their name in the engine.
    """
    found = _read(engine, f"EXPLAIN (FORMAT json) {sql}", uploads, _PLAN_S)
    plan = next(row["explain_value"] for row in found if row["explain_key"] == "physical_plan")
    root = json.loads(plan)[0]
    scans = []
    for node, limit in _walk_scans(root, None):
        scan = _expect_scan(engine, node, limit, uploads, tables)
        if scan is not None:
            scans.append(scan)
    return Expectation(_cardinality(root), tuple(scans), _has_pairs(root), _count_steps(root))


def _cardinality(node: dict[str, Any]) -> int | None:
    given = node.get("extra_info", {}).get("Estimated Cardinality")
    if given is not None:
        return int(given)
    below = [_cardinality(child) for child in node.get("children", ())]
    known = [value for value in below if value is not None]
    if not known or len(known) != len(below):
        return None
    out = 1
    for value in known:
        out *= value
    return out


def _count_steps(node: dict[str, Any]) -> float:
    """Return how many rows the steps of a plan take in together, pairs of rows where rows are compared in pairs."""
    children = node.get("children", ())
    sizes = [float(_cardinality(child) or 0) for child in children]
    taken = math.prod(sizes) if _compares_pairs(node) else sum(sizes)
    return taken + sum(_count_steps(child) for child in children)


def _compares_pairs(node: dict[str, Any]) -> bool:
    name = str(node["name"]).upper()
    return len(node.get("children", ())) > 1 and any(
        word in name for word in ("CROSS_PRODUCT", "NESTED_LOOP", "BLOCKWISE", "PIECEWISE", "IE_JOIN")
    )


def _walk_scans(node: dict[str, Any], limit: int | None) -> Iterator[tuple[dict[str, Any], int | None]]:
    name = str(node["name"]).upper()
    if "Table" in node.get("extra_info", {}):
        yield node, limit
    if "LIMIT" in name:
        # Only what passes rows on one by one stops when enough of them are there.
        below: int | None = _cardinality(node)
    else:
        below = limit if name == "PROJECTION" else None
    for child in node.get("children", ()):
        yield from _walk_scans(child, below)


def _has_pairs(node: dict[str, Any]) -> bool:
    name = str(node["name"]).upper()
    children = node.get("children", ())
    sizes = [_cardinality(child) or 0 for child in children]
    if ("CROSS_PRODUCT" in name or "NESTED_LOOP" in name or "BLOCKWISE" in name) and all(
        size > 1 for size in sizes
    ):
        return True
    return any(_has_pairs(child) for child in children)


def _source(text: str) -> tuple[str, ...]:
    parts = re.findall(r'"((?:[^"]|"")*)"|([^."]+)', text)
    return tuple(quoted.replace('""', '"') or plain for quoted, plain in parts)


def _sky_range(filters: list[str]) -> tuple[int | None, int | None]:
    """Return the first and the last place in the order of the sky that conditions leave, `None` for no bound."""
    lows, highs = [], []
    for text in filters:
        if not _RANGE.match(text):
            continue
        found = _BOUND.findall(text)
        # Alternatives within one condition: the widest of them holds for all.
        above = [int(value) for sign, value in found if sign in {">=", ">", "="}]
        under = [int(value) for sign, value in found if sign in {"<=", "<", "="}]
        if above:
            lows.append(min(above))
        if under:
            highs.append(max(under))
    return max(lows, default=None), min(highs, default=None)


def _names_rows(text: str, table: TableInfo) -> bool:
    """Tell whether a condition gives identifiers, by which rows are found without reading all."""
    words = [word for word in re.split(r"[()\s,]+", text) if word]
    names = {word.strip('"') for word in words if word not in {"OR", "IN", "="} and not _NUMBER.match(word)}
    return len(names) == 1 and names <= {column.name for column in table.columns if column.indexed}


def _expect_scan(
    engine: QueryEngine,
    node: dict[str, Any],
    limit: int | None,
    uploads: Mapping[str, pa.Table],
    tables: Mapping[tuple[str, ...], TableInfo],
) -> ExpectedScan | None:
    info = node["extra_info"]
    source = _source(str(info["Table"]))
    table = tables.get(source)
    if table is None or table.rows is None:
        return None
    total = table.rows
    filters = info.get("Filters", [])
    filters = [filters] if isinstance(filters, str) else list(filters)
    # What the engine calls optional leads it past whole groups of rows all the same.
    filters = [text.removeprefix("optional: ") for text in filters]
    if any(_names_rows(text, table) for text in filters):
        return ExpectedScan(source, min(total, _GROUP_ROWS), restricted=True, filtered=True)
    if "INDEX" in str(info.get("Type", "")).upper():
        return ExpectedScan(source, min(total, _cardinality(node) or total), restricted=True, filtered=True)
    low, high = _sky_range(filters)
    if low is not None and high is not None:
        quoted = ".".join('"' + part.replace('"', '""') + '"' for part in source)
        inside = count_rows(
            engine, f"SELECT 1 FROM {quoted} WHERE hp29 BETWEEN {low} AND {high}", uploads, _PLAN_S
        )
        if inside is not None:
            return ExpectedScan(source, min(total, inside + _GROUP_ROWS), restricted=True, filtered=True)
    if not filters and limit is not None and limit < total:
        return ExpectedScan(source, limit, restricted=True, filtered=False)
    return ExpectedScan(source, total, restricted=False, filtered=bool(filters))
