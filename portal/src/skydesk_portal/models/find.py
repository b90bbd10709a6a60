"""What somebody may mean who types a few characters into the search box."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from skydesk_portal.exceptions import UsageError
from skydesk_portal.models.positions import parse_iau_name, parse_position

__all__ = ["Meaning", "Sense", "parse_find"]


class Sense(StrEnum):
    """Kinds of things that can be found."""

    POSITION = "position"
    OBJECT = "object"
    DIA_OBJECT = "DIA object"
    SOURCE = "source"
    DIA_SOURCE = "DIA source"
    VISIT = "visit"
    PATCH = "patch"
    MOVER = "moving object"
    NAME = "name"


@dataclass(frozen=True)
class Meaning:
    """One way to read what was typed.

    Parameters
    ----------
    sense
        What it would be.
    numbers
        Identifier; visit and detector; tract and patch.
    position
        ICRS degrees of a position.
    text
        Name of an object.
    """

    sense: Sense
    numbers: tuple[int, ...] = ()
    position: tuple[float, float] | None = None
    text: str = ""


_LARGEST = 1 << 63
_WORDS = (
    (re.compile(r"dia\s*-?_?object\s*(?:id)?"), Sense.DIA_OBJECT),
    (re.compile(r"(?:dia\s*-?_?source\s*(?:id)?|alert\s*(?:id)?)"), Sense.DIA_SOURCE),
    (re.compile(r"source\s*(?:id)?"), Sense.SOURCE),
    (re.compile(r"(?:visit|exposure)\s*(?:id)?"), Sense.VISIT),
    (re.compile(r"(?:ss\s*-?_?object\s*(?:id)?|moving object|asteroid|comet)"), Sense.MOVER),
    (re.compile(r"object\s*(?:id)?"), Sense.OBJECT),
)
_IAU_ALERT = re.compile(r"lsst-ap-ds-(\d{1,19})\Z")
_IAU_DIA_OBJECT = re.compile(r"lsst-ap-do-(\d{1,19})\Z")
_TRACT = re.compile(r"tract\s*[:=#]?\s*(\d{1,9})\s*[,;]?\s*(?:patch\s*[:=#]?\s*(\d{1,9}))?\Z")
_VISIT = re.compile(r"\s*[:=#]?\s*(\d{1,19})(?:\s*[,;]?\s*(?:detector|det|ccd)?\s*[:=#]?\s*(\d{1,4}))?\Z")
_PAIR = re.compile(r"(\d{1,19})\s*([,;/-]|\s)\s*(\d{1,9})\Z")
_BARE = (Sense.OBJECT, Sense.DIA_OBJECT, Sense.SOURCE, Sense.DIA_SOURCE, Sense.VISIT, Sense.MOVER)


def _numbers(*words: str | None) -> tuple[int, ...]:
    return tuple(int(word) for word in words if word is not None)


def _after_word(text: str, plain: str) -> list[Meaning] | None:
    """Read what begins with the name of a kind; None if nothing does."""
    if (found := _TRACT.match(plain)) is not None:
        return [Meaning(Sense.PATCH, _numbers(*found.groups()))]
    for pattern, sense in ((_IAU_ALERT, Sense.DIA_SOURCE), (_IAU_DIA_OBJECT, Sense.DIA_OBJECT)):
        if (found := pattern.match(plain)) is not None:
            return [Meaning(sense, _numbers(found[1]))]
    for pattern, sense in _WORDS:
        if (found := pattern.match(plain)) is None:
            continue
        rest = plain[found.end() :]
        if rest[:1].isalpha():  # "visitor": another word
            continue
        if sense is Sense.VISIT and (numbers := _VISIT.match(rest)) is not None:
            return [Meaning(sense, _numbers(*numbers.groups()))]
        if (number := re.match(r"\s*[:=#]?\s*(\d{1,19})\Z", rest)) is not None:
            return [Meaning(sense, _numbers(number[1]))]
        if sense is Sense.MOVER and rest.strip():
            return [Meaning(sense, text=text[found.end() :].strip())]
    return None


def _is_possible(meaning: Meaning) -> bool:
    return all(number < _LARGEST for number in meaning.numbers)


def parse_find(text: str) -> list[Meaning]:
    """Read what was typed into the search box, in every way that makes sense.

    Parameters
    ----------
    text
        A position (`parse_position`); an identifier, alone or behind the word that says
        of what (``object 123``, ``DIA object 123``, ``visit 123``, ``alert 123``, ``LSST-AP-DS-123``);
        visit and detector (``123,42``, ``visit 123 detector 42``); tract and patch (``9813-42``,
        ``tract 9813 patch 42``); the name of an object.

    Returns
    -------
    list of Meaning
        The likeliest first.

    Raises
    ------
    UsageError
        If nothing was typed, a number is larger than any identifier, or a position lies outside the sky.
    """
    text = " ".join(text.split())
    if not text:
        raise UsageError("type a position, an identifier or a name")
    if len(text) > 200:
        raise UsageError("type a position, an identifier or a name of at most 200 characters")
    plain = text.lower()
    found = _after_word(text, plain)
    if found is None:
        found = _without_word(text, plain)
    found = [meaning for meaning in found if _is_possible(meaning)]
    if not found:
        raise UsageError(f"{text[:40]!r} is larger than any identifier")
    return found


def _without_word(text: str, plain: str) -> list[Meaning]:
    if plain.isdecimal() and plain.isascii():
        return [Meaning(sense, (int(plain),)) for sense in _BARE if len(plain) <= 19]
    found: list[Meaning] = []
    refusal: UsageError | None = None
    try:
        found.append(Meaning(Sense.POSITION, position=parse_position(text)))
    except UsageError as error:
        refusal = error
    if (pair := _PAIR.match(plain)) is not None:
        numbers = (int(pair[1]), int(pair[3]))
        if pair[2] != " ":
            found.append(Meaning(Sense.PATCH, numbers))
        if pair[2] != "-":
            found.append(Meaning(Sense.VISIT, numbers))
    if found:
        return found
    if any(letter.isalpha() for letter in text) and parse_iau_name(text) is None:
        return [Meaning(Sense.MOVER, text=text), Meaning(Sense.NAME, text=text)]
    assert refusal is not None, "what is no position has been refused"
    raise refusal
