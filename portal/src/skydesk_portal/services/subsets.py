"""Subsets of rows, combined by words as sets are."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from skydesk_portal.exceptions import UsageError
from skydesk_portal.services.brushing_regions import Mask

__all__ = ["combine_subsets"]

_WORD = re.compile(r"\s*(?:(and|or|xor|not)\b|([A-Za-z][A-Za-z0-9_]*)|([()]))", re.IGNORECASE)


def combine_subsets(text: str, subsets: Mapping[str, Mask] | Callable[[str], Mask]) -> Mask:
    """Combine subsets by words: ``bright and not (stars or moving)``.

    ``not`` binds more strongly than ``and``, this more than ``xor`` and ``or``.

    Parameters
    ----------
    text
        Names of subsets with ``and``, ``or``, ``xor``, ``not`` and parentheses.
    subsets
        The subsets by name, one value (0 or 1) per row.

    Returns
    -------
    ndarray
        One value (0 or 1) per row.

    Raises
    ------
    UsageError
        If the text is no such combination, or names an unknown subset.
    """
    words: list[str] = []
    at = 0
    while text[at:].strip():
        found = _WORD.match(text, at)
        if not found:
            raise UsageError(f"{text[at : at + 20].strip()!r} does not belong into a combination of subsets")
        words.append(found.group().strip())
        at = found.end()
    reader = _Combination(words, subsets)
    mask = reader.read_or()
    if reader.words:
        raise UsageError(f"{reader.words[0]!r} stands where the combination should end")
    return mask


class _Combination:
    def __init__(self, words: Sequence[str], subsets: Mapping[str, Mask] | Callable[[str], Mask]) -> None:
        self.words = list(words)
        self._subsets: Any = subsets if callable(subsets) else self._find_in(subsets)

    @staticmethod
    def _find_in(subsets: Mapping[str, Mask]) -> Callable[[str], Mask]:
        def find(name: str) -> Mask:
            if name not in subsets:
                raise UsageError(f"there is no subset {name[:40]!r}")
            return subsets[name]

        return find

    def _next_is(self, *wanted: str) -> bool:
        return bool(self.words) and self.words[0].lower() in wanted

    def read_or(self) -> Mask:
        left = self._read_and()
        while self._next_is("or", "xor"):
            is_or = self.words.pop(0).lower() == "or"
            right = self._read_and()
            left = left | right if is_or else left ^ right
        return left

    def _read_and(self) -> Mask:
        left = self._read_not()
        while self._next_is("and"):
            self.words.pop(0)
            left = left & self._read_not()
        return left

    def _read_not(self) -> Mask:
        if self._next_is("not"):
            self.words.pop(0)
            return self._read_not() ^ np.uint8(1)
        if self._next_is("("):
            self.words.pop(0)
            inner = self.read_or()
            if not self._next_is(")"):
                raise UsageError("a parenthesis is not closed")
            self.words.pop(0)
            return inner
        if not self.words or self._next_is("and", "or", "xor", ")"):
            raise UsageError("the combination of subsets ends too early: the name of a subset is missing")
        return self._subsets(self.words.pop(0))
