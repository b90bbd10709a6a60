"""Mutated and random queries: each is translated or refused in words, never anything else."""

from __future__ import annotations

import os
import random

import pytest

from skydesk_portal.adql import translate
from skydesk_portal.exceptions import QueryError
from tests.unit.portal.test_adql_translate import ACCEPTED, CATALOG, REFUSED

SOAK_CASES = int(os.environ.get("SKYDESK_SOAK_CASES", "100000"))
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


def check(query: str) -> bool:
    try:
        translation = translate(query, CATALOG)
    except QueryError as error:
        assert str(error)
        assert "\n" not in str(error) or "\n" in query
        return False
    lowered = translation.sql.lower()
    for word in ("read_", "attach", "pragma", "copy ", "getenv", "information_schema"):
        assert word not in lowered or f"'{word}" in lowered or word in query.lower()
    return True


def try_mutations(seed: int, count: int) -> None:
    rng = random.Random(seed)
    corpus = [*ACCEPTED, *REFUSED]
    accepted = 0
    for _ in range(count):
        query = rng.choice(corpus)
        for _ in range(rng.choice((0, 1, 1, 2, 3))):
            query = mutate(rng, query)
        accepted += check(query)
    assert accepted > 0


def try_random_words(seed: int, count: int) -> None:
    rng = random.Random(seed)
    for _ in range(count):
        check("SELECT " + " ".join(rng.choice(WORDS) for _ in range(rng.randrange(1, 25))))


@pytest.mark.parametrize("seed", range(8))
def test_mutated_queries_are_translated_or_refused(seed: int) -> None:
    try_mutations(seed, 125)


@pytest.mark.parametrize("seed", range(4))
def test_random_words_are_translated_or_refused(seed: int) -> None:
    try_random_words(1000 + seed, 125)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(10))
def test_very_many_mutated_queries_are_translated_or_refused(seed: int) -> None:
    try_mutations(10_000 + seed, SOAK_CASES // 20)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(10))
def test_very_many_random_words_are_translated_or_refused(seed: int) -> None:
    try_random_words(20_000 + seed, SOAK_CASES // 20)


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
