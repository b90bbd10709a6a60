"""Reading the SQL that the ADQL front end makes, for engines that speak another dialect and for who chooses one."""

from __future__ import annotations

from collections.abc import Iterator

from sqlglot import exp, parser
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import ParseError, TokenError

__all__ = [
    "UnreadableSqlError",
    "list_calls",
    "list_terms",
    "parse_engine_sql",
    "source_of",
    "without_frame",
]


class UnreadableSqlError(Exception):
    """SQL that is not of the front end's making, such as a question for the plan of a query."""


class _EngineSql(Dialect):
    """The front end's SQL: every call stays anonymous under the name that it is written with."""

    class Parser(parser.Parser):
        """Parser without functions, except the two forms that need syntax of their own."""

        FUNCTIONS = {}  # noqa: RUF012
        NO_PAREN_FUNCTIONS = {}  # noqa: RUF012
        NO_PAREN_FUNCTION_PARSERS = {"CASE": parser.Parser.NO_PAREN_FUNCTION_PARSERS["CASE"]}  # noqa: RUF012
        FUNCTION_PARSERS = {"CAST": parser.Parser.FUNCTION_PARSERS["CAST"]}  # noqa: RUF012


_DIALECT = _EngineSql()


def parse_engine_sql(sql: str) -> exp.Expression:
    """Read one query.

    Parameters
    ----------
    sql
        SQL that the front end made.

    Returns
    -------
    sqlglot.exp.Expression
        Its tree; functions are `exp.Anonymous`.

    Raises
    ------
    UnreadableSqlError
        If it is something else.
    """
    try:
        trees = _DIALECT.parse(sql)
    except (ParseError, TokenError, RecursionError) as error:
        raise UnreadableSqlError(str(error)[:200]) from error
    if len(trees) != 1 or not isinstance(trees[0], exp.Select | exp.SetOperation | exp.Subquery):
        raise UnreadableSqlError("not one query")
    return trees[0]


def source_of(table: exp.Table) -> tuple[str, ...]:
    """Return the name of a table from the outside in, as `TableInfo.source` has it."""
    return tuple(part.name for part in table.parts)


def list_terms(node: exp.Expression | None) -> Iterator[exp.Expression]:
    """Go through the conditions that all have to hold.

    Yields
    ------
    sqlglot.exp.Expression
        One condition after the other, without parentheses around it.
    """
    if node is None:
        return
    while isinstance(node, exp.Paren):
        node = node.this
    if isinstance(node, exp.And):
        for part in node.flatten(unnest=False):
            yield from list_terms(part)  # type: ignore[arg-type]
    else:
        yield node


def list_calls(tree: exp.Expression) -> frozenset[str]:
    """Return the names of all functions that a query calls, in lower case."""
    return frozenset(str(node.this).lower() for node in tree.find_all(exp.Anonymous))


def without_frame(tree: exp.Expression) -> exp.Expression:
    """Return a query without the frame in which the front end bounds the number of its rows."""
    source = tree.args.get("from_") if isinstance(tree, exp.Select) else None
    inner = source.this if source is not None else None
    if isinstance(inner, exp.Subquery) and inner.alias == "result" and not tree.args.get("joins"):
        return inner.this
    return tree
