"""SQL for Spark: the types that DuckDB gives, what is left to DuckDB, and names that cannot break out."""

from __future__ import annotations

import itertools
import random
import re
import subprocess
import sys

import duckdb
import hpgeom
import pytest

from skydesk_portal.adql import translate
from skydesk_portal.exceptions import QueryError
from skydesk_portal.storage.spark_sql import SparkTable, UnsupportedSqlError, to_spark_sql
from skydesk_portal.storage.spark_values import UnsupportedSqlError as SameError
from skydesk_portal.storage.spark_values import Value, arithmetic, united
from tests.support.adql import CATALOG, FORCED, OBJECT, QueryMaker

COLUMNS = {
    "objectId": "i64",
    "coord_ra": "f64",
    "coord_dec": "f64",
    "g_psfFlux": "f32",
    "hp29": "i64",
    "hp14": "i64",
}
TABLES = {
    OBJECT.source: SparkTable(
        "v_object", COLUMNS | {"detect_isPrimary": "bool", "refBand": "str", "time": "time"}
    ),
    FORCED.source: SparkTable(
        "v_forced", {"objectId": "i64", "visit": "i32", "band": "str", "psfFlux": "f32"}
    ),
}
DUCKDB = {
    "i16": "SMALLINT",
    "i32": "INTEGER",
    "i64": "BIGINT",
    "huge": "HUGEINT",
    "f32": "FLOAT",
    "f64": "DOUBLE",
}


def _spark(query: str) -> str:
    return to_spark_sql(translate(query, CATALOG, limit=10).sql, TABLES)


def _type_in_duckdb(expression: str) -> str:
    connection = duckdb.connect(":memory:")
    columns = ", ".join(f"CAST(2 AS {sql}) AS {name}" for name, sql in DUCKDB.items())
    return str(connection.sql(f"SELECT {expression} FROM (SELECT {columns}) AS t").types[0])


@pytest.mark.parametrize("operator", ["+", "-", "*", "/", "%"])
def test_arithmetic_has_the_types_of_duckdb(operator: str) -> None:
    for left, right in itertools.product(DUCKDB, DUCKDB):
        if "huge" in (left, right) and "f32" in (left, right):
            continue  # a sum of integers is never stored in single precision
        made = arithmetic(operator, Value(left, left), Value(right, right))
        assert DUCKDB[made.type] == _type_in_duckdb(f"{left} {operator} {right}"), (left, right)


def test_branches_have_the_types_of_duckdb() -> None:
    for left, right in itertools.product(DUCKDB, DUCKDB):
        (made, _) = united([Value(left, left), Value(right, right)])
        assert DUCKDB[made.type] == _type_in_duckdb(f"CASE WHEN TRUE THEN {left} ELSE {right} END"), (
            left,
            right,
        )


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ("CAST(coord_ra AS VARCHAR)", "a cast from f64 to str"),
        ("ivo_string_agg(refBand, ',')", "the function string_agg"),
        ("ivo_hasword(refBand, 'g')", "the function list_has_all"),
        ("ROUND(coord_ra, -1)", "places"),
        ("CAST(refBand AS INTEGER)", "a cast from str to i32"),
        ("AREA(CAST(refBand AS CIRCLE))", "the function skydesk_region_area"),
    ],
)
def test_what_is_not_known_to_agree_is_refused(item: str, words: str) -> None:
    with pytest.raises(UnsupportedSqlError, match=words):
        _spark(
            f"SELECT {item} AS x, COUNT(*) AS n FROM demo.Object GROUP BY {item}"
            if "agg" not in item
            else f"SELECT {item} AS x FROM demo.Object"
        )
    assert UnsupportedSqlError is SameError


def test_names_and_strings_stay_what_they_are() -> None:
    sql = _spark(
        """SELECT refBand AS "a`b", 'it''s \\ %' AS "x y" FROM demo.Object AS "o" WHERE refBand LIKE '%''%'"""
    )
    assert "`a``b`" in sql
    assert r"'it\'s \\ %'" in sql
    with pytest.raises(UnsupportedSqlError, match="LIKE"):
        _spark("SELECT refBand FROM demo.Object WHERE refBand LIKE 'a\\%'")


def test_only_known_tables_and_columns_pass() -> None:
    for sql in (
        "SELECT a.x AS x FROM parquet.`/etc/passwd` AS a",
        'SELECT t1."x" AS x FROM "parquet"."/etc/passwd" AS t1',
        'SELECT t1."secret" AS x FROM "memory"."main"."Object" AS t1',
        'SELECT java_method(\'java.lang.System\', \'exit\') AS x FROM "memory"."main"."Object" AS t1',
    ):
        with pytest.raises(Exception) as caught:  # noqa: PT011  # unreadable or unsupported
            to_spark_sql(sql, TABLES)
        assert type(caught.value).__name__ in {"UnsupportedSqlError", "UnreadableSqlError"}


def test_every_query_of_the_grammar_is_translated_or_refused() -> None:
    done = 0
    for seed in range(150):
        query = QueryMaker(random.Random(seed)).make()
        try:
            done += bool(_spark(query))
        except (QueryError, UnsupportedSqlError):
            continue
    assert done > 30


def test_who_has_no_cluster_pays_nothing_for_the_client() -> None:
    code = "import sys, skydesk_portal.factory, skydesk_portal.api.app; print([m for m in sys.modules if m.startswith(('pyspark', 'grpc'))])"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert found.stdout.strip() == "[]"


def test_a_region_names_the_files_that_it_lies_in() -> None:
    shift = 2 * (29 - 1)
    files = tuple((n << shift, ((n + 1) << shift) - 1, f"Npix={n}.parquet") for n in range(48))
    tables = {OBJECT.source: SparkTable("v_object", TABLES[OBJECT.source].columns, files)}
    center = hpgeom.angle_to_pixel(2, 53.1, -28.1, nest=True)
    cone = "CONTAINS(POINT(coord_ra, coord_dec), CIRCLE(53.1, -28.1, {})) = 1"
    for radius, most in ((0.1, 1), (20, 20)):
        query = f"SELECT objectId FROM demo.Object WHERE {cone.format(radius)} AND g_psfFlux > 0"
        sql = to_spark_sql(translate(query, CATALOG).sql, tables)
        named = re.findall(r"'Npix=(\d+)\.parquet'", sql.partition("`skydesk#file` IN ")[2])
        assert str(center) in named
        assert 1 <= len(named) <= most
    either = f"SELECT objectId FROM demo.Object WHERE {cone.format(1)} OR g_psfFlux > 0"
    assert "skydesk#file" not in to_spark_sql(translate(either, CATALOG).sql, tables)
