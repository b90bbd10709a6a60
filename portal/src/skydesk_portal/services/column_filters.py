"""What people write above a column, as a condition in ADQL: ``> 5``, ``20..22``, ``!= 3``, ``in 1, 2``, ``null``."""

from __future__ import annotations

import re

from skydesk_portal.exceptions import UsageError
from skydesk_portal.models.tables import ColumnInfo

__all__ = ["HELP", "write_condition"]

HELP = "Examples: > 5 · 20..22 · = 3 · != 3 · in 1, 2, 3 · like ab% · null · not null. Letters alone look for text."

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_COMPARE = re.compile(r"(<=|>=|<>|!=|≠|≤|≥|==|=|<|>)\s*(.+)", re.DOTALL)
_RANGE = re.compile(rf"({_NUMBER})?\s*(?:\.\.|…)\s*({_NUMBER})?")
_SIGNS = {"≠": "<>", "!=": "<>", "≤": "<=", "≥": ">=", "==": "="}


def write_condition(column: ColumnInfo, text: str) -> str:
    """Write what stands above a column as a condition.

    Parameters
    ----------
    column
        The column.
    text
        What a person wrote; see `HELP`. Parts joined by ``and`` all have to hold.

    Returns
    -------
    str
        The condition in ADQL; empty for an empty text.

    Raises
    ------
    UsageError
        If it is no condition; says what one looks like.
    """
    parts = [part for part in re.split(r"\s+and\s+|&&", text.strip(), flags=re.IGNORECASE) if part.strip()]
    name = '"' + column.name.replace('"', '""') + '"'
    return " AND ".join(_write_one(column, name, part.strip()) for part in parts)


def _write_one(column: ColumnInfo, name: str, text: str) -> str:
    is_text = column.datatype in {"char", "unicodeChar"}
    lowered = text.lower()
    if lowered in {"null", "is null"}:
        return f"{name} IS NULL"
    if lowered in {"not null", "is not null", "!null", "!= null"}:
        return f"{name} IS NOT NULL"
    if lowered.startswith("in ") or lowered.startswith("in("):
        values = [v.strip() for v in text[2:].strip().strip("()").split(",") if v.strip()]
        if not values:
            raise _fail(column, text)
        return f"{name} IN ({', '.join(_value(column, v, is_text=is_text) for v in values)})"
    if lowered.startswith("like ") and is_text:
        return f"{name} LIKE {_value(column, text[5:].strip(), is_text=True)}"
    if (found := _RANGE.fullmatch(text)) and not is_text and (found[1] or found[2]):
        ends = [f"{name} >= {found[1]}"] if found[1] else []
        ends += [f"{name} <= {found[2]}"] if found[2] else []
        return " AND ".join(ends)
    if found := _COMPARE.fullmatch(text):
        return f"{name} {_SIGNS.get(found[1], found[1])} {_value(column, found[2].strip(), is_text=is_text)}"
    if is_text:
        pattern = text if "%" in text else f"%{text}%"
        return f"LOWER({name}) LIKE {_value(column, pattern.lower(), is_text=True)}"
    return f"{name} = {_value(column, text, is_text=False)}"


def _value(column: ColumnInfo, text: str, *, is_text: bool) -> str:
    if is_text:
        return "'" + text.strip("'").replace("'", "''") + "'"
    if column.datatype == "boolean" and text.lower() in {"true", "false", "1", "0"}:
        return "TRUE" if text.lower() in {"true", "1"} else "FALSE"
    if not re.fullmatch(_NUMBER, text):
        raise _fail(column, text)
    return text


def _fail(column: ColumnInfo, text: str) -> UsageError:
    return UsageError(f"{text[:40]!r} above {column.name} is no condition. {HELP}")
