"""The corpus of queryparser: every case is accepted or refused as it says, with the same columns found.

The corpus serves several languages. Where a case is not ADQL, the reason is given here, so that every case is asserted.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from skydesk_portal.adql import Translation, translate
from skydesk_portal.exceptions import QueryError
from skydesk_portal.models.tables import Catalog, ColumnInfo, SchemaInfo, TableInfo

TEXT = {"ucd", "description", "table_name", "column_name", "ph_qual", "name", "color"}

BEHIND_STARS = {
    10: ["db1.table1.id", "db2.table1.id"],
    11: ["mmm.products.price", "mmm.products.quantity"],
    15: ["db.shirt.owner", "db.shirt.color"],
    25: ["db.tab.par"],
    26: ["db.tab.meh", "db.tab.ra", "db.tab.de", "db.tab.dist", "db.tab.par"],
    27: ["db.tab1.a", "db.tab1.b"],
    32: ["db1.table1.id", "db2.table1.id"],
}
"""Columns that cases with ``*`` use without listing them."""

NOT_ADQL = {
    2: "must be in GROUP BY",
    3: "whole numbers",  # ^ is a power there, an operation on bits here
    4: "must be in GROUP BY",
    5: "whole numbers",
    16: "must be in GROUP BY",
    18: "not in WHERE",  # an aggregate function as a value of WHERE
    21: "not in FROM",  # inner1.id is not yet known where it is used
    25: "must be in GROUP BY",
    26: "must be in GROUP BY",
    28: "HAVING needs GROUP BY",
}
"""Common cases that the corpus only resolves the names of; each is wrong in ADQL, which follows SQL-92 there.

A column outside the aggregates of a grouped query must be a grouping column (2, 4, 16, 25, 26, 28), an aggregate is no
value of WHERE (18), a table is not seen by the one that it stands beside (21). Operations on bits are those of MySQL: in
PostgreSQL the same text is refused as well, because a power is no whole number (3, 5).
"""

OTHER_LANGUAGES = {
    "mysql_tests": {
        0: "names stand in double quotes",
        1: "names stand in double quotes",
        4: "names stand in double quotes",
        5: "unknown column",
        6: "write CAST",
        7: "unknown function `srcontainsl`",
        8: "LIMIT is not ADQL",
        9: "LIMIT is not ADQL",
    },
    "postgresql_tests": {
        0: "unknown function `pdist`",
        1: "DISTINCT ON is not ADQL",
        2: "unexpected '@'",
        3: "unexpected '@'",
        4: "unexpected '@'",
        5: "unexpected '@'",
        6: "a SELECT is needed here",
        7: "no arrays",
        8: "no arrays",
        9: "unexpected '@'",
        11: "unexpected '@'",
        12: "unexpected '@'",
        13: "unknown function",
    },
    "postgresql_failure_tests": dict.fromkeys(range(4), ""),
}


def load(test_data: Path) -> dict[str, Any]:
    return yaml.safe_load((test_data / "adql" / "queryparser_tests.yaml").read_text())


def catalog_of(names: list[str], tables: list[str], renamed: dict[str, str] | None = None) -> Catalog:
    """Make tables with exactly the columns that a case names, under the names that its query uses."""
    columns: dict[str, list[str]] = {table: [] for table in tables}
    for name in names:
        table, _, column = name.rpartition(".")
        columns.setdefault(table, [])
        if column not in columns[table] and column not in {"*", "None"}:
            columns[table].append(column)
    back = {new: old for old, new in (renamed or {}).items()}
    schemas: dict[str, list[TableInfo]] = {}
    for table, found in columns.items():
        schema, _, short = table.partition(".")
        infos = tuple(
            ColumnInfo(c, "char", "*") if c in TEXT else ColumnInfo(c, "double") for c in found or ["other"]
        )
        schema = back.get(schema, schema)
        schemas.setdefault(schema, []).append(TableInfo(schema, short, infos, (schema, short)))
    return Catalog(tuple(SchemaInfo(name, tables=tuple(found)) for name, found in schemas.items()))


def with_top(query: str) -> str:
    """Move LIMIT n to the SELECT that it belongs to, as ADQL writes it."""
    while (limit := re.search(r"\s+LIMIT (\d+)", query)) is not None:
        depth = 0
        for at in range(limit.start(), -1, -1):
            depth += (query[at] == ")") - (query[at] == "(")
            if depth == 0 and query[at:].startswith("SELECT"):
                break
        cut = query[: limit.start()] + query[limit.end() :]
        query = f"{cut[: at + 6]} TOP {limit[1]}{cut[at + 6 :]}"
    return query


def assert_found(found: Translation, case: list[Any], catalog: Catalog, number: int) -> None:
    query, columns, keywords, functions, display, tables, renamed = (*case, None)[:7]
    names: dict[str, str] = renamed or {}

    def new_name(full: str) -> str:
        schema, _, rest = full.partition(".")
        return f"{names.get(schema, schema)}.{rest}"

    used = {new_name(name) for name in found.used_columns}
    wanted: set[str] = set()
    for name in [*(columns or []), *BEHIND_STARS.get(number, [])]:
        table, _, column = name.rpartition(".")
        every = [t for t in catalog.iter_tables() if new_name(t.full_name) == table]
        wanted |= {f"{table}.{c.name}" for c in every[0].columns} if column == "*" else {name}
    assert used == wanted, query
    assert {name.upper() for name in functions or []} == set(found.functions), query
    # A comma in FROM is a join as well; what is called LIMIT there is called TOP here.
    said = {"TOP" if word.upper() == "LIMIT" else word.upper() for word in keywords or []}
    assert said <= set(found.keywords), query
    shown = {entry.split(":")[0].strip() for entry in display or []} - {"*"}
    assert shown <= {column.name for column in found.columns}, query
    assert {new_name(table.full_name) for table in found.tables} == set(tables), query


@pytest.mark.parametrize("number", range(33))
def test_a_common_case_finds_the_same_columns(number: int, test_data: Path) -> None:
    cases = load(test_data)["common_tests"]
    assert len(cases) == 33
    case = cases[number]
    query, columns, _, _, _, tables, renamed = (*case, None)[:7]
    catalog = catalog_of([*(columns or []), *BEHIND_STARS.get(number, [])], tables, renamed)
    if "LIMIT" in query:
        with pytest.raises(QueryError, match="LIMIT is not ADQL: write SELECT TOP n"):
            translate(query, catalog)
        query = with_top(query)
    if number in NOT_ADQL:
        with pytest.raises(QueryError, match=NOT_ADQL[number]):
            translate(query, catalog)
        return
    assert_found(translate(query, catalog), case, catalog, number)


@pytest.mark.parametrize("language", OTHER_LANGUAGES)
def test_what_belongs_to_other_languages_is_refused(language: str, test_data: Path) -> None:
    refused = OTHER_LANGUAGES[language]
    for number, case in enumerate(load(test_data)[language]):
        named = (
            case[1]
            if isinstance(case[1], list)
            else ["dr1.spectrum.specuid", "dr1.spectrum.ra", "dr1.spectrum.dec"]
        )
        tables = case[5] if len(case) > 5 and case[5] else ["dr1.spectrum"]
        catalog = catalog_of(named or [], tables)
        if number not in refused:
            found = translate(case[0], catalog)
            known = {name for name in case[1] or [] if not name.endswith(".None")}
            assert set(found.used_columns) == known, case[0]
            assert {name.upper() for name in case[3] or []} == set(found.functions), case[0]
            continue
        with pytest.raises(QueryError) as caught:
            translate(case[0], catalog)
        assert refused[number] in str(caught.value), case[0]


def test_wrong_queries_of_the_corpus_are_refused(test_data: Path) -> None:
    corpus = load(test_data)
    names = [
        "tab.ra",
        "tab.dec",
        "tab.a",
        "tab1.id",
        "tab2.id",
        "tab2.col",
        "foo.a",
        "bar.a",
        "tab1.a",
        "tab2.a",
    ]
    catalog = catalog_of([f"db.{name}" for name in names], ["db.tab", "db.tab1", "db.tab2"])
    cases = [*corpus["common_syntax_tests"], *corpus["common_query_tests"]]
    assert len(cases) == 8
    for query in cases:
        if query.strip() == "SELECT a FROM tab" or "col AS b" in query:
            # Refused there for want of a schema: a table without its schema name, and a column that only one of two
            # tables has. Here the tables are known, and both are plain SQL.
            assert translate(query, catalog).columns
            continue
        with pytest.raises(QueryError):
            translate(query, catalog)


def test_adql_geometry_of_the_corpus_is_accepted(test_data: Path) -> None:
    corpus = load(test_data)
    catalog = catalog_of(["db.tab.RA", "db.tab.dec", "test.tab.ra"], ["db.tab", "test.tab"])
    groups = ("adql_mysql_tests", "adql_postgresql_tests", "common_translation_tests")
    cases = [case[0] for group in groups for case in corpus[group]]
    assert len(cases) == 29
    for query in cases:
        if " de)" in query:
            assert translate(query, catalog_of(["db.tab.ra", "db.tab.de"], ["db.tab"])).functions == (
                "POINT",
            )
            continue
        found = translate(query, catalog)
        calls = {name.upper() for name in re.findall(r"(\w+)\s*\(", query)}
        assert set(found.functions) == calls, query
        columns = {"db.tab.RA" for _ in re.findall(r"\bra\b", query, re.IGNORECASE)}
        columns |= {"db.tab.dec" for _ in re.findall(r"\bdec\b", query)}
        assert set(found.used_columns) == columns, query
        assert found.top == (10 if "TOP 10" in query else None)
