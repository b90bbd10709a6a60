"""Which kinds of values go together, so that the engine never has to find out."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["are_comparable", "find_common"]

_STRINGS = frozenset({"str", "region"})
_PAIRS = frozenset(
    {
        frozenset({"num", "bool"}),
        frozenset({"str", "region"}),
        frozenset({"str", "time"}),
    }
)


def are_comparable(a: str, b: str) -> bool:
    """Tell whether values of two kinds can be compared.

    Parameters
    ----------
    a, b
        Kinds of `skydesk_portal.adql.written.Written`.

    Returns
    -------
    bool
        `True` if a comparison has a meaning.
    """
    if "array" in (a, b) or "shape" in (a, b):
        return False
    return a == b or "null" in (a, b) or "any" in (a, b) or frozenset({a, b}) in _PAIRS


def find_common(kinds: Iterable[str]) -> str | None:
    """Return the kind that values of several kinds have together, such as the branches of CASE.

    Parameters
    ----------
    kinds
        Kinds of the values.

    Returns
    -------
    str or None
        The common kind; `None` if they do not go together.
    """
    found = set(kinds) - {"null"}
    if not found:
        return "null"
    if len(found) == 1:
        return found.pop()
    if found <= _STRINGS:
        return "str"
    return None
