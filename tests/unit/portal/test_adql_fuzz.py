"""Queries made by the grammar, mutated and random: each runs or is refused in words, never anything else.

``make soak`` tries as many as SKYDESK_SOAK_CASES says, 100000 by default.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterator

import duckdb
import pytest

from skydesk_portal.adql import translate
from skydesk_portal.exceptions import QueryError
from tests.support.adql import CATALOG, QueryMaker, open_engine
from tests.unit.portal.test_adql_translate import ACCEPTED, REFUSED

SOAK_CASES = int(os.environ.get("SKYDESK_SOAK_CASES", "100000"))
LEAKS = re.compile(r"duckdb|sqlglot|binder|skydesk_|hp29|hp14|\\bt\\d+\\.|anonymous|traceback", re.IGNORECASE)
VALUES = (duckdb.ConversionException, duckdb.OutOfRangeException)
"""Errors that the values in the rows cause, not the query."""
WORDS = [
    "SELECT",
    "FROM",
    "WHERE",
    "GROUP",
    "BY",
    "ORDER",
    "HAVING",
    "TOP",
    "5",
    "DISTINCT",
    "AS",
    "JOIN",
    "LEFT",
    "ON",
    "USING",
    "(",
    ")",
    ",",
    ".",
    ";",
    "*",
    "+",
    "-",
    "/",
    "=",
    "<",
    ">",
    "<=",
    "<>",
    "||",
    "AND",
    "OR",
    "NOT",
    "IN",
    "IS",
    "NULL",
    "LIKE",
    "BETWEEN",
    "UNION",
    "EXCEPT",
    "WITH",
    "CASE",
    "WHEN",
    "THEN",
    "ELSE",
    "END",
    "CAST",
    "demo.Object",
    "Object",
    "o",
    "objectId",
    "coord_ra",
    "coord_dec",
    "'x'",
    '"y"',
    "1",
    "2.5",
    "1e309",
    "0xFF",
    "COUNT",
    "SUM",
    "POINT",
    "CIRCLE",
    "POLYGON",
    "CONTAINS",
    "read_csv",
    "ATTACH",
    "PRAGMA",
    "COPY",
    "::",
    "[",
    "]",
    "{",
    "}",
    "$1",
    "?",
    "@",
    "--",
    "/*",
    "*/",
    "\x00",
    "é",
]


def mutate(rng: random.Random, text: str) -> str:
    choice = rng.randrange(5)
    at = rng.randrange(len(text) + 1)
    if choice == 0:
        return text[:at]
    if choice == 1:
        return text[:at] + rng.choice(WORDS) + text[at:]
    if choice == 2:
        other = rng.choice(ACCEPTED)
        return text[:at] + " " + other[rng.randrange(len(other)) :]
    if choice == 3:
        return text[:at] + text[min(len(text), at + rng.randrange(1, 9)) :]
    parts = text.split(" ")
    rng.shuffle(parts)
    return " ".join(parts)


@pytest.fixture(scope="module")
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    connection = open_engine()
    yield connection
    connection.close()


def check(query: str, engine: duckdb.DuckDBPyConnection | None = None) -> bool:
    try:
        translation = translate(query, CATALOG, limit=20)
    except QueryError as error:
        assert str(error)
        assert LEAKS.search(str(error)) is None or LEAKS.search(query) is not None, f"{query}\n{error}"
        return False
    lowered = translation.sql.lower()
    for word in ("read_", "attach", "pragma", "copy ", "getenv", "information_schema"):
        assert word not in lowered or f"'{word}" in lowered or word in query.lower()
    if engine is not None:
        try:
            engine.execute(translation.sql).fetchall()
        except VALUES:
            pass
        except duckdb.Error as error:
            # The one error that only the rows can tell about.
            assert "More than one row returned by a subquery" in str(error), (
                f"{query}\n{translation.sql}\n{error}"
            )
    return True


def try_made(seed: int, count: int, engine: duckdb.DuckDBPyConnection) -> None:
    maker = QueryMaker(random.Random(seed))
    accepted = sum(check(maker.make(), engine) for _ in range(count))
    assert accepted >= 0.8 * count


def try_mutations(seed: int, count: int, engine: duckdb.DuckDBPyConnection) -> None:
    rng = random.Random(seed)
    maker = QueryMaker(rng)
    corpus = [
        *ACCEPTED,
        *(query for query in REFUSED if len(query) < 500),
        *(maker.make() for _ in range(40)),
    ]
    accepted = 0
    for _ in range(count):
        query = rng.choice(corpus)
        for _ in range(rng.choice((0, 1, 1, 2, 3))):
            query = mutate(rng, query)
        accepted += check(query, engine)
    assert accepted > 0


def try_random_words(seed: int, count: int, engine: duckdb.DuckDBPyConnection) -> None:
    rng = random.Random(seed)
    for _ in range(count):
        check("SELECT " + " ".join(rng.choice(WORDS) for _ in range(rng.randrange(1, 25))), engine)


@pytest.mark.parametrize("seed", range(4))
def test_queries_made_by_the_grammar_run(seed: int, engine: duckdb.DuckDBPyConnection) -> None:
    try_made(seed, 250, engine)


@pytest.mark.parametrize("seed", range(6))
def test_mutated_queries_run_or_are_refused(seed: int, engine: duckdb.DuckDBPyConnection) -> None:
    try_mutations(100 + seed, 125, engine)


@pytest.mark.parametrize("seed", range(2))
def test_random_words_run_or_are_refused(seed: int, engine: duckdb.DuckDBPyConnection) -> None:
    try_random_words(1000 + seed, 125, engine)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(10))
def test_very_many_queries_run_or_are_refused(seed: int, engine: duckdb.DuckDBPyConnection) -> None:
    try_made(5000 + seed, SOAK_CASES // 20, engine)
    try_mutations(10_000 + seed, SOAK_CASES * 3 // 80, engine)
    try_random_words(20_000 + seed, SOAK_CASES // 80, engine)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT " + "(" * 5000 + "1" + ")" * 5000,
        "SELECT " + "+".join(["1"] * 20000),
        "SELECT " + "-" * 1 + " -".join(["1"] * 5000),
        "SELECT 1 WHERE " + " AND ".join(["1=1"] * 5000),
        "SELECT 1 WHERE " + "NOT " * 5000 + "1=1",
        "SELECT 1 FROM " + "(SELECT 1 FROM " * 500 + "demo.Object" + ") AS x" * 500,
        "SELECT '" + "x" * 999_000 + "'",
        "SELECT " + "x" * 2_000_000,
    ],
    ids=["parentheses", "sum", "minus", "and", "not", "subqueries", "string", "long"],
)
def test_a_huge_query_does_not_break_the_process(query: str) -> None:
    check(query)
