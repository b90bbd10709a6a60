"""Benchmarks of page sessions: how soon a page can be used, what an open one takes, what closed ones leave behind."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

from bench.browser import choose_password, make_link, open_browser
from bench.record import Measurement
from bench.services import read_pss_mb

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from bench.stack import Stack

__all__ = ["measure_sessions"]

PAGES = ("", "images", "catalogs", "lightcurves", "jobs", "alerts")
DRAWN = "#sd-main [data-root-id] > *"
REPEATS, OPEN, CLOSED = 7, 12, 100
INTERACTIVE_BAR_S, SESSION_BAR_MB, GROWTH_BAR_MB = 1.5, 50.0, 5.0
SETTLE_S = 30.0
"""Longer than the portal takes to notice that pages were closed."""


def measure_sessions(stack: Stack, closed: int = CLOSED) -> list[Measurement]:
    """Sign in as a new person, open pages, keep some open, and open and close many.

    Parameters
    ----------
    stack
        The platform.
    closed
        How many pages are opened and closed.
    """
    services = stack.status()["services"]
    assert isinstance(services, dict)
    portal = int(services["portal"]["pid"])
    with open_browser() as page:
        choose_password(page, make_link(stack, "benchmark-sessions"))
        base = f"{stack.url}/portal/app"
        took_s = [_open(page, f"{base}/{name}") for _ in range(REPEATS + 1) for name in PAGES][len(PAGES) :]
        open_mb = _measure_open(page, base, portal)
        growth_mb = _measure_closed(page, base, portal, closed)
    return [
        Measurement(
            "page_interactive_p95",
            statistics.quantiles(took_s, n=20)[-1],
            "s",
            f"{len(PAGES)} pages: request → the page can be used, 95th percentile",
            "bar",
            INTERACTIVE_BAR_S,
        ),
        Measurement(
            "page_session_memory",
            open_mb,
            "MB",
            f"portal process: PSS of each of {OPEN} more open pages",
            "bar",
            SESSION_BAR_MB,
        ),
        Measurement(
            "page_session_growth",
            growth_mb,
            "MB",
            f"portal process: PSS after {closed} more pages opened and closed",
            "bar",
            GROWTH_BAR_MB,
        ),
    ]


def _size_mb(portal: int) -> float:
    size_mb = read_pss_mb(portal)
    if size_mb is None:
        raise RuntimeError("the kernel does not tell the size of the portal process")
    return size_mb


def _open(page: Page, address: str) -> float:
    """Open a page until its content is there and the browser has time for a person; returns the seconds."""
    begun = time.perf_counter()
    page.goto(address, wait_until="commit")
    page.locator(DRAWN).first.wait_for(state="attached")
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)))")
    took_s = time.perf_counter() - begun
    page.wait_for_load_state("networkidle")
    return took_s


def _measure_open(page: Page, base: str, portal: int) -> float:
    page.goto("about:blank")
    time.sleep(SETTLE_S)
    before_mb = _size_mb(portal)
    browser = page.context.browser
    assert browser is not None
    context = browser.new_context(storage_state=page.context.storage_state())
    for n in range(OPEN):
        _open(context.new_page(), f"{base}/{PAGES[n % len(PAGES)]}")
    each_mb = (_size_mb(portal) - before_mb) / OPEN
    context.close()
    return each_mb


def _measure_closed(page: Page, base: str, portal: int, count: int) -> float:
    """Return by how much the portal has grown after as many pages as before were opened and closed once more."""
    sizes_mb = []
    for _ in range(2):
        for n in range(count):
            _open(page, f"{base}/{PAGES[n % len(PAGES)]}")
        page.goto("about:blank")
        time.sleep(SETTLE_S)
        sizes_mb.append(_size_mb(portal))
    return sizes_mb[1] - sizes_mb[0]
