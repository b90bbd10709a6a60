"""Benchmarks of what a person sees in a browser: sign-in to a ready lab, first paint of an image."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from playwright.sync_api import sync_playwright

from bench.image_view import measure_image_view
from bench.record import Measurement
from bench.stack import Stack, run_skydesk

if TYPE_CHECKING:
    from playwright.sync_api import Page

__all__ = ["measure_browser", "open_browser"]

PASSWORD = "a-long-password-for-the-benchmark"  # noqa: S105  # of an account that lives as long as the benchmark
LIMIT_MS = 120_000
PAINTED = ".viewer[data-drawn][data-image]"
"""What the image view says of itself once the first picture is complete."""


def measure_browser(stack: Stack) -> list[Measurement]:
    """Sign in as a new person, open the lab, open an image, with a clock beside.

    Parameters
    ----------
    stack
        The platform.
    """
    with open_browser() as page:
        choose_password(page, make_link(stack, "benchmark"))
        begun = time.perf_counter()
        page.goto(f"{stack.url}/nb/hub/user-redirect/lab?reset")
        page.locator(".jp-Launcher").first.wait_for(timeout=LIMIT_MS)
        lab_s = time.perf_counter() - begun
        page.goto(f"{stack.url}/portal/app/")
        page.wait_for_load_state("networkidle")
        begun = time.perf_counter()
        page.goto(f"{stack.url}/portal/app/images")
        page.locator(PAINTED).first.wait_for(timeout=LIMIT_MS)
        image_ms = 1e3 * (time.perf_counter() - begun)
        view = measure_image_view(page, f"{stack.url}/portal/app")
    return [
        Measurement(
            "sign_in_to_lab",
            lab_s,
            "s",
            "signed in → launcher of a new lab",
            "trial with plain JupyterHub",
            12.6,
        ),
        Measurement("first_image_paint", image_ms, "ms", "image page: request → first image painted"),
        *view,
    ]


def make_link(stack: Stack, name: str) -> str:
    """Add a person and return the one-time link with which they choose a password."""
    made = run_skydesk(stack.home, "user", "add", name).stdout
    link = re.search(r"https?://\S+", made)
    if link is None:
        raise RuntimeError(f"no one-time link in: {made}")
    return link.group()


def choose_password(page: Page, link: str) -> None:
    """Follow a one-time link, choose a password and be signed in."""
    page.goto(link)
    for box in page.locator("input[type=password]").all():
        box.fill(PASSWORD)
    page.locator("button[type=submit], input[type=submit]").first.click()
    page.wait_for_load_state("networkidle")


@contextmanager
def open_browser() -> Iterator[Page]:
    """Open Chromium without a window, with software rendering of WebGL."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"],
        )
        try:
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            page.set_default_timeout(LIMIT_MS)
            yield page
        finally:
            browser.close()
