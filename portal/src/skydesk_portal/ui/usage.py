"""How much of a quota is used."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

__all__ = ["usage_bar"]


def usage_bar(name: str, used: float, limit: float, words: Callable[[float], str]) -> str:
    """Return a bar with figures, as HTML.

    Parameters
    ----------
    name
        What is used.
    used, limit
        Figures in the same unit; a limit of 0 means none.
    words
        Writes a figure.
    """
    if not limit:
        return f"<div class='usage'><span>{escape(name)}</span> <span>{escape(words(used))}, no limit</span></div>"
    text = f"{words(used)} of {words(limit)}"
    share = min(1.0, used / limit)
    full = " data-full='true'" if share > 0.9 else ""
    return (
        f"<div class='usage'{full}><span>{escape(name)}</span> "
        f"<meter min='0' max='1' high='0.9' value='{share:.4f}' aria-label='{escape(name)}'>{share:.0%}</meter> "
        f"<span>{escape(text)} ({share:.0%})</span></div>"
    )
