"""How durations are told to people."""

from __future__ import annotations

import pytest

from skydesk_core.commands.progress import format_seconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(4.4, "4 s"), (89.4, "89 s"), (162.49, "2 min 42 s"), (179.7, "3 min 0 s"), (5400, "1.5 h")],
)
def test_a_duration_is_told_as_people_say_it(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text
