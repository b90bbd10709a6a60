"""The corpus of queryparser: the ADQL part of it is accepted or refused as it says, with the same columns found."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from skydesk_portal.adql import translate
from skydesk_portal.exceptions import QueryError
from skydesk_portal.models.tables import Catalog, ColumnInfo, SchemaInfo, TableInfo

# What the corpus holds for its other dialects and ADQL 2.1 does not have.
NOT_ADQL = (
    "%",
    "<<",
    ">>",
    "pi ",
    "date_",
    "@",
    "conesearch",
    "`",
    "::",
    "extract",
    "gaia_",
    "pdist",
    "spoint",
    "[",
)


def load(test_data: Path) -> dict[str, Any]:
    return yaml.safe_load((test_data / "adql" / "queryparser_tests.yaml").read_text())


def catalog_of(names: list[str], tables: list[str]) -> Catalog:
    """Make tables with exactly the columns that a case names."""
    columns: dict[str, list[str]] = {table: [] for table in tables}
    for name in names:
        table, _, column = name.rpartition(".")
        columns.setdefault(table, [])
        if column not in columns[table] and column != "*":
            columns[table].append(column)
    schemas: dict[str, list[TableInfo]] = {}
    for table, found in columns.items():
        schema, _, short = table.partition(".")
        infos = tuple(ColumnInfo(c, "double") for c in found) or (ColumnInfo("other", "double"),)
        schemas.setdefault(schema, []).append(TableInfo(schema, short, infos, (schema, short)))
    return Catalog(tuple(SchemaInfo(name, tables=tuple(found)) for name, found in schemas.items()))


def test_column_names_of_the_corpus_are_found(test_data: Path) -> None:
    checked = 0
    for case in load(test_data)["common_tests"]:
        query, columns, _, _, display, tables, replaced = (*case, None)[:7]
        # The corpus writes LIMIT where ADQL has TOP.
        query = re.sub(r"\s+LIMIT \d+", "", query)
        lowered = query.lower()
        if replaced or any(word in lowered for word in NOT_ADQL) or "ucd=" in lowered or not tables:
            continue
        if any(name.endswith("*") for name in columns or []) or "db1" in lowered:
            continue
        try:
            found = translate(query, catalog_of(columns or [], tables))
        except QueryError as error:
            # Strings compared with columns whose type the corpus does not give, and grouping that ADQL forbids.
            assert any(
                word in str(error)
                for word in (
                    "GROUP BY",
                    "not in FROM",
                    "aggregate",
                    "string",
                    "not ADQL",
                    "unknown function",
                    "needs an alias",
                    "unexpected",
                    "takes",
                )
            ), f"{query}\n{error}"
            continue
        assert sorted(found.used_columns) == sorted(columns or []), query
        wanted = [entry.split(":")[0].strip() for entry in display or []]
        assert set(wanted) <= {column.name for column in found.columns}, query
        checked += 1
    assert checked >= 10


def test_wrong_queries_of_the_corpus_are_refused(test_data: Path) -> None:
    corpus = load(test_data)
    catalog = catalog_of(
        [
            "db.tab.ra",
            "db.tab.dec",
            "db.tab.a",
            "db.tab1.id",
            "db.tab2.id",
            "db.tab2.col",
            "db.foo.a",
            "db.bar.a",
            "db.tab1.a",
            "db.tab2.a",
        ],
        ["db.tab", "db.tab1", "db.tab2"],
    )
    for query in [*corpus["common_syntax_tests"], *corpus["common_query_tests"]]:
        if query.strip() == "SELECT a FROM tab" or "col AS b" in query:
            # Refused there for want of a schema: a table without its schema name, and a column that only one of two
            # tables has. Here the tables are known, and both are plain SQL.
            assert translate(query, catalog).columns
            continue
        with pytest.raises(QueryError):
            translate(query, catalog)


def test_adql_geometry_of_the_corpus_is_accepted(test_data: Path) -> None:
    corpus = load(test_data)
    catalog = catalog_of(["db.tab.ra", "db.tab.dec", "test.tab.ra"], ["db.tab", "test.tab"])
    cases = [query for query, _ in [*corpus["adql_mysql_tests"], *corpus["adql_postgresql_tests"]]]
    assert len(cases) > 20
    for query in cases:
        if '"tab".RA, -2.23, 176.98' in query or "-10.5, 20.0, 20.5, 30.0" in query:
            # A name in double quotes keeps its case; a polygon whose corners lie on one line has no inside.
            continue
        assert translate(query, catalog).sql
