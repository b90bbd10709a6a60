"""Reading ADQL into a tree: a restricted sqlglot grammar in which nothing but ADQL 2.1 words has a meaning."""

from __future__ import annotations

import re
from typing import Any

from sqlglot import exp, parser, tokens
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import ParseError, TokenError
from sqlglot.tokens import Token, TokenType

from skydesk_portal.adql.foreign import FOREIGN_SIGNS, FOREIGN_WORDS
from skydesk_portal.exceptions import QueryError

__all__ = ["find_place", "list_keywords", "parse_adql"]

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
_MOST_WORDS = 100_000
_NESTING = 60
_NUMBER = re.compile(r"(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_SETS = frozenset({TokenType.UNION, TokenType.EXCEPT, TokenType.INTERSECT})
_SET_WORDS = frozenset({"BY", "CORRESPONDING", "STRICT", "DISTINCT"})


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
            if re.fullmatch(r"0[xX][0-9a-fA-F]+", word) is None:
                raise _fail(text, last, f"not a number: {word[:40]}")
            out[-1] = Token(TokenType.NUMBER, str(int(word, 16)), last.line, last.col, last.start, token.end)
        else:
            out.append(token)
    return out


def _merge_points(found: list[Token]) -> list[Token]:
    # The tokenizer splits .5 into a dot and a number, which would read as a part of the word before it.
    out: list[Token] = []
    for token in found:
        last = out[-1] if out else None
        if last is None or last.token_type != TokenType.DOT or token.token_type != TokenType.NUMBER:
            out.append(token)
            continue
        before = out[-2] if len(out) > 1 else None
        touches = before is not None and before.end + 1 == last.start
        named = before is not None and before.token_type in (TokenType.VAR, TokenType.IDENTIFIER)
        if last.end + 1 == token.start and not (touches and named):
            out[-1] = Token(TokenType.NUMBER, f".{token.text}", last.line, last.col, last.start, token.end)
        else:
            out.append(token)
    return out


def _find_open_quote(text: str) -> int | None:
    """Return where a string or a name begins that is not closed."""
    match = re.match(r"""(?:[^'"-]|-(?!-)|--[^\n]*|'(?:[^']|'')*'|"(?:[^"]|"")*")*+""", text)
    end = match.end() if match is not None else len(text)
    return end if end < len(text) else None


def _check_word(text: str, found: list[Token], i: int) -> None:
    """Refuse what would be read, but not as it was meant."""
    token = found[i]
    kind, word = token.token_type, token.text.upper()
    after = found[i + 1] if i + 1 < len(found) else None
    then = after.token_type if after is not None else None
    touching = after is not None and after.start == token.end + 1
    if kind == TokenType.VAR and re.fullmatch(r"[A-Za-z_]\w*", token.text, re.ASCII) is None:
        raise _fail(text, token, f"{token.text[:40]!r} is not a name: other characters need double quotes")
    if kind == TokenType.NUMBER and _NUMBER.fullmatch(token.text) is None:
        raise _fail(text, token, f"not a number: {token.text[:40]}")
    if kind == TokenType.COMMA and then in (TokenType.FROM, TokenType.R_PAREN, TokenType.WHERE, None):
        raise _fail(text, token, "nothing follows the comma")
    if kind == TokenType.TOP and then != TokenType.NUMBER:
        raise _fail(text, token, "TOP needs a whole number")
    if kind == TokenType.ALIAS and then == TokenType.STRING:
        raise _fail(text, token, "a name stands in double quotes, not in single ones")
    if kind == TokenType.SLASH and then == TokenType.STAR and touching:
        raise _fail(text, token, "comments begin with -- and end with the line")
    if kind == TokenType.EQ and then == TokenType.EQ and touching:
        raise _fail(text, token, "write = for equality")
    if kind in _SETS and (
        then == TokenType.DISTINCT or (after is not None and after.text.upper() in _SET_WORDS)
    ):
        raise _fail(text, token, f"{word} is followed by ALL or by a SELECT")
    if kind == TokenType.NUMBER and i > 0 and after is not None:
        before = found[i - 1].token_type
        if before == TokenType.TOP and then in (TokenType.DISTINCT, TokenType.ALL):
            raise _fail(text, after, f"write SELECT {after.text.upper()} TOP {token.text[:20]}")
        if before == TokenType.OFFSET and after.text.upper() in {"ROW", "ROWS"}:
            raise _fail(text, after, f"write OFFSET {token.text[:20]} alone")
    if (
        kind == TokenType.VAR
        and word == "NULLS"
        and after is not None
        and after.text.upper() in {"FIRST", "LAST"}
    ):
        raise _fail(text, token, "NULLS FIRST and NULLS LAST are not ADQL: nulls come last")


def _check_tokens(text: str, found: list[Token]) -> list[Token]:
    if found and found[-1].token_type == TokenType.SEMICOLON:
        found = found[:-1]
    if not found:
        raise QueryError("the query is empty")
    if len(found) > _MOST_WORDS:
        # Each becomes several objects in memory, and lists are what such queries consist of.
        place = found[_MOST_WORDS]
        raise _fail(
            text, place, f"more than {_MOST_WORDS} words and signs: send long lists as an uploaded table"
        )
    depth = 0
    for i, token in enumerate(found):
        kind = token.token_type
        if kind == TokenType.SEMICOLON:
            raise _fail(text, token, "one query at a time: nothing may follow the semicolon")
        if kind == TokenType.LIMIT:
            raise _fail(text, token, "LIMIT is not ADQL: write SELECT TOP n")
        if kind not in _ALLOWED:
            hint = FOREIGN_SIGNS.get(token.text[:1])
            raise _fail(text, token, f"unexpected {token.text[:40]!r}{f': {hint}' if hint else ''}")
        depth += (kind == TokenType.L_PAREN) - (kind == TokenType.R_PAREN)
        if depth > _NESTING:
            raise _fail(text, token, f"more than {_NESTING} nested parentheses")
        _check_word(text, found, i)
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
        found = _merge_points(_merge_hex(text, list(_DIALECT.tokenize(text))))
    except TokenError as error:
        place = _find_open_quote(text)
        if place is None:
            raise QueryError("a character of the query is not allowed") from error
        what = "string" if text[place] == "'" else "name"
        raise QueryError(f"the {what} that begins here is not closed", *find_place(text, place)) from error
    found = _check_tokens(text, found)
    if found[0].token_type not in (TokenType.SELECT, TokenType.WITH, TokenType.L_PAREN):
        raise _fail(text, found[0], f"a query begins with SELECT or WITH, not {found[0].text[:40]!r}")
    try:
        trees: list[Any] = _DIALECT.parser().parse(found, text)
    except ParseError as error:
        raise _explain(text, found, error) from error
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


_KEYWORDS: tuple[tuple[str, type[exp.Expression]], ...] = (
    ("WITH", exp.With),
    ("DISTINCT", exp.Distinct),
    ("TOP", exp.Limit),
    ("*", exp.Star),
    ("JOIN", exp.Join),
    ("WHERE", exp.Where),
    ("GROUP BY", exp.Group),
    ("HAVING", exp.Having),
    ("UNION", exp.Union),
    ("EXCEPT", exp.Except),
    ("INTERSECT", exp.Intersect),
    ("ORDER BY", exp.Order),
    ("OFFSET", exp.Offset),
    ("CASE", exp.Case),
    ("CAST", exp.Cast),
    ("EXISTS", exp.Exists),
)


def list_keywords(tree: exp.Expression) -> tuple[str, ...]:
    """Return the clauses that a query uses.

    Parameters
    ----------
    tree
        A tree of `parse_adql`.

    Returns
    -------
    tuple of str
        Words such as ``WHERE`` and ``GROUP BY``.
    """
    kinds = {type(node) for node in tree.walk()}
    return tuple(word for word, kind in _KEYWORDS if kind in kinds)


def _explain(text: str, found: list[Token], error: ParseError) -> QueryError:
    first: dict[str, Any] = error.errors[0] if error.errors else {}
    word = str(first.get("highlight") or "").strip()
    line, column = first.get("line"), first.get("col")
    if line is None or column is None:
        line, column = find_place(text, len(str(first.get("start_context") or "")))
    else:
        # sqlglot gives the line and the column at which the word ends.
        column = max(1, int(column) - len(word) + 1)
    missing = "Required keyword" in str(first.get("description"))
    what = f"something is missing near {word[:40]!r}" if missing else f"unexpected {word[:40]!r}"
    if not word:
        what = "the query ends too early"
    hint = _find_hint(text, found, (int(line), int(column)))
    return QueryError(what + (f": {hint}" if hint else ""), int(line), int(column))


def _find_hint(text: str, found: list[Token], place: tuple[int, int]) -> str:
    """Return what to write instead, if the word at a place or the one before it is of another language."""
    at = next((i for i, token in enumerate(found) if find_place(text, token.start) >= place), len(found) - 1)
    for token in found[at : max(0, at - 3) : -1] if at else found[:1]:
        if token.token_type in (TokenType.VAR, TokenType.IDENTIFIER) and token.text.upper() in FOREIGN_WORDS:
            return f"{token.text.upper()} is not ADQL, {FOREIGN_WORDS[token.text.upper()]}"
    return ""
