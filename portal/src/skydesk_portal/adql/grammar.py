"""Reading ADQL into a tree: a restricted sqlglot grammar in which nothing but ADQL 2.1 words has a meaning."""

from __future__ import annotations

from typing import Any

from sqlglot import exp, parser, tokens
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import ParseError, TokenError
from sqlglot.tokens import Token, TokenType

from skydesk_portal.exceptions import QueryError

__all__ = ["find_place", "parse_adql"]

_WORDS = frozenset(
    [
        "SELECT",
        "FROM",
        "WHERE",
        "HAVING",
        "DISTINCT",
        "ALL",
        "AS",
        "JOIN",
        "INNER",
        "LEFT",
        "RIGHT",
        "FULL",
        "OUTER",
        "CROSS",
        "NATURAL",
        "ON",
        "USING",
        "AND",
        "OR",
        "NOT",
        "IN",
        "IS",
        "NULL",
        "LIKE",
        "ILIKE",
        "BETWEEN",
        "EXISTS",
        "UNION",
        "EXCEPT",
        "INTERSECT",
        "ASC",
        "DESC",
        "CASE",
        "WHEN",
        "THEN",
        "ELSE",
        "END",
        "WITH",
        "OFFSET",
        "TRUE",
        "FALSE",
        "CHAR",
        "VARCHAR",
        "SMALLINT",
        "INTEGER",
        "BIGINT",
        "REAL",
        "TIMESTAMP",
    ]
)
_PHRASES = frozenset({"GROUP BY", "ORDER BY", "||", "<>", "!=", "<=", ">="})

_ALLOWED = frozenset(
    {
        TokenType.L_PAREN, TokenType.R_PAREN, TokenType.COMMA, TokenType.DOT, TokenType.DASH, TokenType.PLUS,
        TokenType.STAR, TokenType.SLASH, TokenType.LT, TokenType.GT, TokenType.LTE, TokenType.GTE, TokenType.EQ,
        TokenType.NEQ, TokenType.AMP, TokenType.PIPE, TokenType.CARET, TokenType.TILDE, TokenType.DPIPE,
        TokenType.MOD, TokenType.STRING, TokenType.NUMBER, TokenType.IDENTIFIER, TokenType.VAR, TokenType.TOP,
    }
    | {tokens.Tokenizer.KEYWORDS[word] for word in _WORDS | _PHRASES if word in tokens.Tokenizer.KEYWORDS}
    | {TokenType.DOUBLE, TokenType.FLOAT, TokenType.INT, TokenType.TIMESTAMP}
)  # fmt: skip


class _Adql(Dialect):
    """ADQL for sqlglot: every call stays anonymous, so that only our own whitelist gives it a meaning."""

    NULL_ORDERING = "nulls_are_last"

    class Tokenizer(tokens.Tokenizer):
        """Words of ADQL; anything else is an identifier."""

        QUOTES = ["'"]  # noqa: RUF012
        IDENTIFIERS = ['"']  # noqa: RUF012
        COMMENTS = ["--"]  # noqa: RUF012
        KEYWORDS = {  # noqa: RUF012
            **{key: value for key, value in tokens.Tokenizer.KEYWORDS.items() if key in _WORDS | _PHRASES},
            "TOP": TokenType.TOP,
            "LIMIT": TokenType.LIMIT,
            "DOUBLE PRECISION": TokenType.DOUBLE,
        }

    class Parser(parser.Parser):
        """Parser without functions, except the two forms that need syntax of their own."""

        FUNCTIONS = {}  # noqa: RUF012
        NO_PAREN_FUNCTIONS = {}  # noqa: RUF012
        NO_PAREN_FUNCTION_PARSERS = {"CASE": parser.Parser.NO_PAREN_FUNCTION_PARSERS["CASE"]}  # noqa: RUF012
        FUNCTION_PARSERS = {"CAST": parser.Parser.FUNCTION_PARSERS["CAST"]}  # noqa: RUF012


_DIALECT = _Adql()
_NESTING = 60


def find_place(text: str, offset: int) -> tuple[int, int]:
    """Turn a character offset into a line and a column.

    Parameters
    ----------
    text
        The query.
    offset
        Offset from 0.

    Returns
    -------
    tuple of int
        Line and column, both from 1.
    """
    before = text[:offset]
    return before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1


def _fail(text: str, token: Token, message: str) -> QueryError:
    return QueryError(message, *find_place(text, token.start))


def _merge_hex(text: str, found: list[Token]) -> list[Token]:
    # The tokenizer splits 0xFF into the number 0 and a word, which would read as an alias.
    out: list[Token] = []
    for token in found:
        last = out[-1] if out else None
        touches = last is not None and last.token_type == TokenType.NUMBER and last.end + 1 == token.start
        if last is not None and touches and token.token_type in (TokenType.VAR, TokenType.IDENTIFIER):
            word = last.text + token.text
            try:
                value = int(word, 16) if word[:2].lower() == "0x" else None
            except ValueError:
                value = None
            if value is None:
                raise _fail(text, last, f"not a number: {word[:40]}")
            out[-1] = Token(TokenType.NUMBER, str(value), last.line, last.col, last.start, token.end)
        else:
            out.append(token)
    return out


def _check_tokens(text: str, found: list[Token]) -> list[Token]:
    if found and found[-1].token_type == TokenType.SEMICOLON:
        found = found[:-1]
    if not found:
        raise QueryError("the query is empty")
    depth = 0
    for i, token in enumerate(found):
        kind = token.token_type
        if kind == TokenType.SEMICOLON:
            raise _fail(text, token, "one query at a time: nothing may follow the semicolon")
        if kind == TokenType.LIMIT:
            raise _fail(text, token, "LIMIT is not ADQL: write SELECT TOP n")
        if kind not in _ALLOWED:
            raise _fail(text, token, f"unexpected {token.text[:40]!r}")
        depth += (kind == TokenType.L_PAREN) - (kind == TokenType.R_PAREN)
        if depth > _NESTING:
            raise _fail(text, token, f"more than {_NESTING} nested parentheses")
        following = found[i + 1].token_type if i + 1 < len(found) else None
        if kind == TokenType.COMMA and following in (
            TokenType.FROM,
            TokenType.R_PAREN,
            TokenType.WHERE,
            None,
        ):
            raise _fail(text, token, "nothing follows the comma")
        if kind == TokenType.TOP and following != TokenType.NUMBER:
            raise _fail(text, token, "TOP needs a whole number")
    return found


def parse_adql(text: str) -> exp.Expression:
    """Read one ADQL query.

    Parameters
    ----------
    text
        The query; one trailing semicolon is allowed.

    Returns
    -------
    sqlglot.exp.Expression
        A select or a set operation, not yet checked for names and functions.

    Raises
    ------
    QueryError
        If the text is not one ADQL query; says line and column.
    """
    if len(text) > 1_000_000:
        raise QueryError("the query is longer than 1000000 characters")
    if "\x00" in text:
        raise QueryError("the query contains a zero byte")
    try:
        found = _merge_hex(text, list(_DIALECT.tokenize(text)))
    except TokenError as error:
        raise QueryError("a quoted string or name is not closed, or a character is not allowed") from error
    found = _check_tokens(text, found)
    if found[0].token_type not in (TokenType.SELECT, TokenType.WITH, TokenType.L_PAREN):
        raise _fail(text, found[0], f"a query begins with SELECT or WITH, not {found[0].text[:40]!r}")
    try:
        trees: list[Any] = _DIALECT.parser().parse(found, text)
    except ParseError as error:
        raise _explain(text, error) from error
    except RecursionError as error:
        raise QueryError("the query is nested too deeply") from error
    if len(trees) != 1 or trees[0] is None:
        raise QueryError("one query at a time")
    tree = trees[0]
    while isinstance(tree, exp.Subquery) and not tree.alias:
        tree = tree.this
    if not isinstance(tree, exp.Select | exp.SetOperation):
        raise QueryError("only SELECT queries are answered")
    return tree


def _explain(text: str, error: ParseError) -> QueryError:
    first: dict[str, Any] = error.errors[0] if error.errors else {}
    word = str(first.get("highlight") or "").strip()
    offset = len(str(first.get("start_context") or ""))
    # sqlglot cuts the context at 100 characters, so the place is searched from the line and end column it gives.
    line, column = first.get("line"), first.get("col")
    if line is None or column is None:
        line, column = find_place(text, offset)
    else:
        column = max(1, int(column) - len(word) + 1)
    missing = "Required keyword" in str(first.get("description"))
    what = f"something is missing near {word[:40]!r}" if missing else f"unexpected {word[:40]!r}"
    if not word:
        what = "the query ends too early"
    return QueryError(what, int(line), int(column))
