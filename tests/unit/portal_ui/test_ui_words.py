"""Sizes and times in words."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from astropy.coordinates import SkyCoord

from skydesk_portal.ui.words import (
    describe_age,
    describe_bytes,
    describe_download,
    describe_position,
    describe_seconds,
)


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


def test_positions_are_written_as_astropy_reads_them():
    rng = np.random.default_rng(5)
    for ra, dec in [
        *zip(rng.uniform(0, 360, 200), rng.uniform(-90, 90, 200), strict=True),
        (359.9999999, -0.0001),
        (0.0, 90.0),
    ]:
        words = describe_position(ra, dec, "sexagesimal").removeprefix("RA ").split(", Dec ")
        found = SkyCoord(*words, unit=("hourangle", "deg"))
        assert found.separation(SkyCoord(ra, dec, unit="deg")).arcsec < 0.01
        assert describe_position(ra, dec, "degrees") == f"RA {ra:.6f}°, Dec {dec:+.6f}°"


@pytest.mark.requirement("DMS-PRTL-REQ-0113")
def test_long_downloads_say_how_long_they_take():
    assert describe_download(5e8) == "500 MB"
    # 12.5 MB a second are 100 Mbit/s.
    assert describe_download(7.5e9) == "7.5 GB, a long download: about 10 min at 100 Mbit/s"
