"""Queries made by the grammar on Spark and on DuckDB, over rows with nulls, NaN and empty strings."""

from __future__ import annotations

import math
import os
import random
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from skydesk_portal.adql import translate
from skydesk_portal.exceptions import QueryError
from skydesk_portal.storage.routed_engine import TypedQuery
from skydesk_portal.storage.spark_connection import SparkConnection
from skydesk_portal.storage.spark_engine import SparkEngine
from skydesk_portal.storage.spark_sql import SparkTable
from tests.support.adql import CATALOG, FORCED, OBJECT, QueryMaker, open_engine
from tests.support.spark import SparkCluster

CASES = int(os.environ.get("SKYDESK_SOAK_SPARK_CASES", "600"))
TYPES = {
    "BIGINT": "i64",
    "INTEGER": "i32",
    "DOUBLE": "f64",
    "FLOAT": "f32",
    "BOOLEAN": "bool",
    "VARCHAR": "str",
    "TIMESTAMP": "time",
}


def _engine(home: duckdb.DuckDBPyConnection, cluster: SparkCluster, folder: Path) -> SparkEngine:
    tables = {}
    for table in (OBJECT, FORCED):
        rows = home.sql(f'SELECT * FROM "{table.name}"')
        (folder / table.name).mkdir()
        pq.write_table(rows.to_arrow_table(), folder / table.name / "rows.parquet")
        types = {name: TYPES[str(kind)] for name, kind in zip(rows.columns, rows.types, strict=True)}
        tables[table.source] = (f"file://{folder / table.name}", SparkTable(f"fuzz_{table.name}", types))
    token = cluster.token_file.read_text().strip()
    return SparkEngine(SparkConnection(cluster.url, token), tables)


def _key(row: tuple[Any, ...]) -> tuple[Any, ...]:
    plain = [
        math.inf
        if isinstance(v, float) and math.isnan(v)
        else float(f"{v:.9g}")
        if isinstance(v, float)
        else v
        for v in row
    ]
    return tuple((v is None, 0 if v is None else v) for v in plain)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=1e-11, abs_tol=1e-13)
    return type(a) is type(b) and a == b


def _rows(table: pa.Table) -> list[tuple[Any, ...]]:
    return sorted(zip(*(column.to_pylist() for column in table.columns), strict=True), key=_key)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_queries_of_the_grammar_have_the_same_answers(spark_cluster: SparkCluster, tmp_path: Path) -> None:
    home = open_engine()
    spark = _engine(home, spark_cluster, tmp_path)
    compared = 0
    for seed in range(CASES):
        query = QueryMaker(random.Random(seed)).make()
        try:
            sql = translate(query, CATALOG).sql
        except QueryError:
            continue
        # Which rows TOP leaves is open.
        if "TOP " in query or spark.find_obstacle(sql) is not None:
            continue
        try:
            wanted = home.sql(sql).to_arrow_table()
        except duckdb.Error:
            with pytest.raises(QueryError):
                list(spark.start(sql, timeout_s=0).batches())
            continue
        running = TypedQuery(spark.start(sql, timeout_s=0), wanted.schema)
        found = pa.Table.from_batches(running.batches(), running.schema)
        assert found.num_rows == wanted.num_rows, query
        for a, b in zip(_rows(found), _rows(wanted), strict=True):
            assert all(map(_same, a, b)), (query, a, b)
        compared += 1
    assert compared > CASES // 10
    spark.close()
