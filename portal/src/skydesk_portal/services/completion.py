"""What may stand at a place of a query: tables, the columns of those it names, functions, words of the language."""

from __future__ import annotations

import re
from dataclasses import dataclass

from skydesk_portal.adql.functions import NAMES
from skydesk_portal.models.tables import Catalog, ColumnInfo, TableInfo, written_name

__all__ = ["Suggestion", "complete_query", "search_schema"]

_MOST = 40
_KEYWORDS = (
    "SELECT", "TOP", "DISTINCT", "FROM", "WHERE", "AND", "OR", "NOT", "IN", "BETWEEN", "LIKE", "IS NULL", "IS NOT NULL", "JOIN",
    "LEFT JOIN", "ON", "USING", "GROUP BY", "HAVING", "ORDER BY", "DESC", "ASC", "AS", "CASE", "WHEN", "THEN", "ELSE", "END",
    "CAST", "UNION ALL", "OFFSET", "EXISTS", "WITH",
)  # fmt: skip
_NAMED = re.compile(
    r"\b(?:FROM|JOIN|,)\s*([A-Za-z_]\w*\.[A-Za-z_]\w*)(?:\s+(?:AS\s+)?([A-Za-z_]\w*))?", re.IGNORECASE
)


@dataclass(frozen=True)
class Suggestion:
    """Something that may be written.

    Parameters
    ----------
    text
        What is inserted.
    detail
        What it is: unit and description of a column, rows of a table.
    """

    text: str
    detail: str


def _tables_of(text: str, catalog: Catalog) -> dict[str, TableInfo]:
    """Return the tables that a query names, by name and by alias in small letters; the query may be unfinished."""
    found: dict[str, TableInfo] = {}
    for match in _NAMED.finditer(text):
        table = catalog.find_table(match[1])
        if table is None:
            continue
        found[table.name.lower()] = table
        if match[2] and match[2].upper() not in {k.split()[0] for k in _KEYWORDS}:
            found[match[2].lower()] = table
    return found


def _describe(column: ColumnInfo) -> str:
    return " · ".join(part for part in (column.unit, column.description) if part)[:120]


def complete_query(before: str, whole: str, catalog: Catalog) -> tuple[int, list[Suggestion]]:
    """Suggest how a word of a query may go on.

    Parameters
    ----------
    before
        The query up to the cursor.
    whole
        The whole query, whose tables lend their columns.
    catalog
        Tables that the caller may name.

    Returns
    -------
    tuple
        Where the word begins, and what may stand in its place, the best first.
    """
    word = re.search(r"[\w.]*$", before)
    assert word is not None
    start, typed = word.start(), word.group().lower()
    if before[:start].count("'") % 2:
        return start, []
    tables = _tables_of(whole, catalog)
    head, dot, tail = typed.rpartition(".")
    if dot and head in tables:
        qualifier = before[start : start + len(head)]
        columns = [
            Suggestion(f"{qualifier}.{written_name(c.name)}", _describe(c)) for c in tables[head].columns
        ]
        return start, _rank(columns, tail, len(head) + 1)
    listed = [
        Suggestion(t.full_name, f"{f'{t.rows:,} rows · ' if t.rows is not None else ''}{t.description}"[:120])
        for t in catalog.iter_tables()
    ]
    if re.search(r"\b(?:FROM|JOIN)\s+$", before[:start], re.IGNORECASE) or dot:
        return start, _rank(listed, typed, 0)
    columns = list(
        {
            c.name: Suggestion(written_name(c.name), _describe(c)) for t in tables.values() for c in t.columns
        }.values()
    )
    functions = [Suggestion(f"{name}(", "function") for name in NAMES]
    keywords = [Suggestion(keyword, "keyword") for keyword in _KEYWORDS]
    return start, _rank([*columns, *keywords, *functions, *listed], typed, 0)


def _rank(options: list[Suggestion], typed: str, skip: int) -> list[Suggestion]:
    first = [o for o in options if o.text[skip:].strip('"').lower().startswith(typed)]
    later = (
        [o for o in options if o not in first and typed in o.text[skip:].lower()] if len(typed) > 1 else []
    )
    return (first + later)[:_MOST]


def search_schema(text: str, catalog: Catalog) -> list[tuple[TableInfo, list[ColumnInfo]]]:
    """Find tables and columns by their names, descriptions, units and UCDs.

    Parameters
    ----------
    text
        Words that all have to occur, in any case.
    catalog
        Where to look.

    Returns
    -------
    list of tuple
        Tables with the columns that match; a table that matches by itself comes with all its columns.
    """
    words = text.lower().split()
    if not words:
        return [(table, []) for table in catalog.iter_tables()]
    out = []
    for table in catalog.iter_tables():
        own = f"{table.full_name} {table.description}".lower()
        if all(word in own for word in words):
            out.append((table, list(table.columns)))
            continue
        found = [
            c
            for c in table.columns
            if all(word in f"{own} {c.name} {c.description} {c.unit} {c.ucd}".lower() for word in words)
            and any(word in f"{c.name} {c.description} {c.unit} {c.ucd}".lower() for word in words)
        ]
        if found:
            out.append((table, found))
    return out
