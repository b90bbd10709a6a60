"""Words and signs of other query languages, with what ADQL has instead; they only serve for error messages."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["FOREIGN_SIGNS", "FOREIGN_WORDS"]

_WINDOW = "and so are no window functions: use a sub-query with GROUP BY"

FOREIGN_WORDS: Mapping[str, str] = {
    "LIMIT": "write SELECT TOP n",
    "FETCH": "write SELECT TOP n",
    "FIRST": "write SELECT TOP n",
    "ROWS": "write SELECT TOP n … OFFSET m",
    "QUALIFY": "use a sub-query and WHERE",
    "OVER": _WINDOW,
    "PARTITION": _WINDOW,
    "WINDOW": _WINDOW,
    "FILTER": "write SUM(CASE WHEN … THEN 1 ELSE 0 END)",
    "ESCAPE": "% and _ have no escape",
    "REGEXP": "use LIKE with % and _",
    "RLIKE": "use LIKE with % and _",
    "SIMILAR": "use LIKE with % and _",
    "GLOB": "use LIKE with % and _",
    "TABLESAMPLE": "write WHERE RAND() < 0.01",
    "SAMPLE": "write WHERE RAND() < 0.01",
    "RECURSIVE": "WITH may not refer to itself",
    "VALUES": "upload a table",
    "INTO": "create a table from the result of a job",
    "UPDATE": "queries only read",
    "RETURNING": "queries only read",
    "INTERVAL": "times are compared with CAST('…' AS TIMESTAMP)",
    "DATE": "write CAST('2026-01-31' AS TIMESTAMP)",
    "TIME": "write CAST('2026-01-31T12:00:00' AS TIMESTAMP)",
    "PIVOT": "write CASE in the SELECT list",
    "UNPIVOT": "write UNION ALL",
    "LATERAL": "use a join",
    "UNNEST": "use a join",
    "STRUCT": "columns are plain values",
    "EXTRACT": "compare times with CAST('…' AS TIMESTAMP)",
    "SEPARATOR": "write ivo_string_agg(x, delimiter)",
    "DIV": "write FLOOR(a / b)",
    "XOR": "write a ^ b for integers",
    "RECORD": "columns are plain values",
}
"""Words by what is said about them behind "… is not ADQL,"."""

FOREIGN_SIGNS: Mapping[str, str] = {
    "[": "ADQL has no arrays; names stand in double quotes",
    "]": "ADQL has no arrays; names stand in double quotes",
    "{": "ADQL has no structures",
    "}": "ADQL has no structures",
    ":": "write CAST(x AS type)",
    "?": "a query has no parameters",
    "@": "a query has no variables",
    "$": "a query has no parameters; strings stand in single quotes",
    "`": "names stand in double quotes",
    "#": "comments begin with --",
    "!": "write <> or NOT",
    "\\": "strings need no escapes but '' for a single quote",
}
"""Signs by what is said about them."""
