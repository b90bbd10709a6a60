"""What the search box makes of what is typed."""

import pytest

from skydesk_portal.exceptions import UsageError
from skydesk_portal.models.find import Sense, parse_find


@pytest.mark.parametrize(
    ("text", "sense", "numbers"),
    [
        ("object 123", Sense.OBJECT, (123,)),
        ("objectId=123", Sense.OBJECT, (123,)),
        ("DIA object 123", Sense.DIA_OBJECT, (123,)),
        ("diaObjectId: 123", Sense.DIA_OBJECT, (123,)),
        ("LSST-AP-DO-123", Sense.DIA_OBJECT, (123,)),
        ("source 123", Sense.SOURCE, (123,)),
        ("diasource 123", Sense.DIA_SOURCE, (123,)),
        ("Alert 123", Sense.DIA_SOURCE, (123,)),
        ("LSST-AP-DS-123", Sense.DIA_SOURCE, (123,)),
        ("visit 2026041300012", Sense.VISIT, (2026041300012,)),
        ("visit 2026041300012 detector 42", Sense.VISIT, (2026041300012, 42)),
        ("visit 2026041300012,42", Sense.VISIT, (2026041300012, 42)),
        ("exposure 7", Sense.VISIT, (7,)),
        ("tract 9813 patch 42", Sense.PATCH, (9813, 42)),
        ("tract 9813", Sense.PATCH, (9813,)),
        ("9813-42", Sense.PATCH, (9813, 42)),
        ("ssObjectId 5", Sense.MOVER, (5,)),
    ],
)
def test_a_word_says_what_a_number_is(text, sense, numbers):
    (found,) = parse_find(text)
    assert (found.sense, found.numbers) == (sense, numbers)


def senses(text):
    return [meaning.sense for meaning in parse_find(text)]


def test_what_can_be_several_things_is_read_in_every_way():
    assert senses("123456") == [
        Sense.OBJECT,
        Sense.DIA_OBJECT,
        Sense.SOURCE,
        Sense.DIA_SOURCE,
        Sense.VISIT,
        Sense.MOVER,
    ]
    assert senses("12,3") == [Sense.POSITION, Sense.PATCH, Sense.VISIT]
    assert senses("9-42") == [Sense.POSITION, Sense.PATCH]
    assert senses("2026041300012,42") == [Sense.PATCH, Sense.VISIT]
    assert senses("M 31") == senses("visitor") == [Sense.MOVER, Sense.NAME]
    assert senses("3:32:31 -28:06:00") == senses("gal 10 20") == senses("J0332-2806") == [Sense.POSITION]


@pytest.mark.parametrize(
    "text", ["", "  ", "9" * 20, "object 9999999999999999999", "400.5 10", "?" * 201, "+ -"]
)
def test_what_can_be_nothing_is_refused_in_a_sentence(text):
    with pytest.raises(UsageError, match=r"."):
        parse_find(text)
