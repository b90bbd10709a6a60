"""Sizes and times in words."""

from datetime import UTC, datetime, timedelta

import pytest

from skydesk_portal.ui.words import describe_age, describe_bytes, describe_download, describe_seconds


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1500, "1.5 kB"),
        (2e9, "2 GB"),
        (1.234e12, "1.23 TB"),
    ],
)
def test_sizes(size, text):
    assert describe_bytes(size) == text


def test_durations_and_ages():
    assert [describe_seconds(s) for s in (0.04, 12, 600, 7200, 10 * 86400)] == [
        "0.0 s",
        "12 s",
        "10 min",
        "2.0 h",
        "10 days",
    ]
    now = datetime(2026, 11, 28, tzinfo=UTC)
    ages = [describe_age(now - timedelta(seconds=s), now) for s in (-5, 59, 125, 7300, 86400 * 4)]
    assert ages == ["just now", "just now", "2 min ago", "2 h ago", "4 days ago"]


@pytest.mark.requirement("DMS-PRTL-REQ-0113")
def test_long_downloads_say_how_long_they_take():
    assert describe_download(5e8) == "500 MB"
    # 12.5 MB a second are 100 Mbit/s.
    assert describe_download(7.5e9) == "7.5 GB, a long download: about 10 min at 100 Mbit/s"
