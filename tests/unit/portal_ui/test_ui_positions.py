"""Positions as people write them."""

import pytest

from skydesk_portal.exceptions import UsageError
from skydesk_portal.ui.positions import parse_position


@pytest.mark.parametrize(
    ("text", "ra_deg", "dec_deg"),
    [
        ("53.13 -28.1", 53.13, -28.1),
        ("53.13, -28.1", 53.13, -28.1),
        ("3:32:31.2 -28:06:00", 53.13, -28.1),
        ("03 32 31.2 -28 06 00", 53.13, -28.1),
        ("03h32m31.2s -28d06m00s", 53.13, -28.1),
        ("3:32:31.2 \N{MINUS SIGN}0:06:00", 53.13, -0.1),
        ("360 0", 0.0, 0.0),
    ],
)
def test_usual_notations_are_read(text, ra_deg, dec_deg):
    assert parse_position(text) == pytest.approx((ra_deg, dec_deg), abs=1e-9)


@pytest.mark.parametrize("text", ["53.13", "somewhere nice", "400 10", "10 95", "3:x:1 2:3:4", "1 2 3"])
def test_what_is_no_position_is_refused_with_its_text(text):
    with pytest.raises(UsageError, match=text.split()[0]):
        parse_position(text)
