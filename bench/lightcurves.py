"""Benchmarks of light curves: the multi-band period search beside Astropy's, a light curve on the page."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

import numpy as np

from bench.browser import choose_password, make_link, open_browser
from bench.record import Measurement

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from bench.stack import Stack

__all__ = ["measure_light_curve", "measure_light_curves", "measure_periods"]

POINTS, FREQUENCIES, REPEATS = 2000, 100_000, 7
FIRST_PER_DAY, STEP_PER_DAY = 0.01, 5e-5
BAR_MS = 300.0
LIMIT_MS = 120_000


def make_points() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Invent ten years of a variable star in six bands: MJD, magnitudes, errors, bands."""
    rng = np.random.default_rng(1)
    time_day = 60000 + np.sort(rng.uniform(0, 3650, POINTS))
    band = np.array(list("ugrizy"))[rng.integers(0, 6, POINTS)]
    error = rng.uniform(0.01, 0.05, POINTS)
    return time_day, 18 + 0.3 * np.sin(2 * np.pi * time_day / 0.57) + rng.normal(0, error), error, band


def measure_periods() -> list[Measurement]:
    """Time the periodogram, beside Astropy's fastest for several bands, and a whole search with peaks."""
    from astropy.timeseries import LombScargleMultiband

    from skydesk_core.algorithms.periods import compute_power, make_series, search_periods

    mjd, values, error, band = make_points()
    series = make_series(mjd, values, error, band)
    took, searched = [], []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        power, _ = compute_power(series, FIRST_PER_DAY, STEP_PER_DAY, FREQUENCIES)
        took.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        search_periods(series, 0.2, 100.0)
        searched.append(time.perf_counter() - begun)
    frequency = FIRST_PER_DAY + STEP_PER_DAY * np.arange(FREQUENCIES)
    begun = time.perf_counter()
    theirs = LombScargleMultiband(mjd, values, band, error).power(frequency, method="fast", sb_method="fast")
    peer_s = time.perf_counter() - begun
    if abs(frequency[np.argmax(power)] - frequency[np.argmax(theirs)]) > 3 * STEP_PER_DAY:
        raise RuntimeError("the two periodograms have different peaks")
    what = f"multi-band Lomb–Scargle, {POINTS} points × {FREQUENCIES:,} frequencies"
    return [
        Measurement(
            "period_search",
            1e3 * statistics.median(took),
            "ms",
            what,
            "Astropy, approximate (NFFT)",
            1e3 * peer_s,
        ),
        Measurement(
            "period_search_whole",
            1e3 * statistics.median(searched),
            "ms",
            f"period search with peaks ranked by harmonics, {POINTS} points, periods from 0.2 to 100 d",
        ),
    ]


def measure_light_curves(stack: Stack, release: str) -> list[Measurement]:
    """Sign in as a new person and look at light curves."""
    import duckdb

    with duckdb.connect(
        str(stack.home / "releases" / release / "catalogs.duckdb"), read_only=True
    ) as catalog:
        rows = catalog.sql("SELECT DISTINCT objectId FROM ForcedSource ORDER BY objectId LIMIT 12").fetchall()
    with open_browser() as page:
        choose_password(page, make_link(stack, "benchmark-curves"))
        return measure_light_curve(page, stack.url, release, [int(row[0]) for row in rows])


def measure_light_curve(page: Page, address: str, release: str, object_ids: list[int]) -> list[Measurement]:
    """Time the way from an identifier to a drawn light curve on an open page.

    Parameters
    ----------
    page
        A browser that is signed in.
    address
        Public address of the platform.
    release, object_ids
        Objects to show, the first of them to warm up.
    """
    page.goto(f"{address}/portal/app/lightcurves?release={release}&object={object_ids[0]}")
    page.get_by_role("heading", name=f"Object {object_ids[0]}").wait_for(timeout=LIMIT_MS)
    field = page.get_by_label("Object ID or position (RA Dec)")
    took = []
    for number in object_ids[1:]:
        field.fill(str(number))
        begun = time.perf_counter()
        field.press("Enter")
        page.get_by_text(f"Light curve of Object {number}: ").wait_for(timeout=LIMIT_MS)
        took.append(time.perf_counter() - begun)
    return [
        Measurement(
            "light_curve", 1e3 * statistics.median(took), "ms", "light curve of one object: Enter → on the page", "bar",
            BAR_MS,
        )
    ]  # fmt: skip
