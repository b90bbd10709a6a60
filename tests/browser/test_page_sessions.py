"""A page keeps its state while the network is away, and comes back from its address when its session has ended."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import httpx
import pytest
from playwright.sync_api import Page, expect, sync_playwright

from skydesk_core.release.testing import make_synthetic_release
from tests.support.network import open_line
from tests.support.pages import ANNA_TOKEN, FLAGS, open_context
from tests.support.services import free_port

OUTAGE_S = 30
"""How long the network is away; the page's state survives this at least."""

ROOT = Path(__file__).resolve().parents[2]


class Portal:
    """A Portal that browsers reach over a line that can be cut."""

    def __init__(self, home: Path, port: int, line) -> None:
        self.home = home
        self.line = line
        self.url = f"http://127.0.0.1:{line.port}/portal/app"
        self.direct = f"http://127.0.0.1:{port}/portal/app"

    def ask_session(self, page: Page, what: str = "", method: str = "GET") -> int:
        """Ask for the session of a page past the line; returns the status."""
        session = page.locator("#sd-main").get_attribute("data-session")
        headers = {"Authorization": f"Bearer {ANNA_TOKEN}"}
        address = f"{self.direct}/page-sessions/{session}{what}"
        return httpx.request(method, address, headers=headers, timeout=60).status_code


@pytest.fixture(scope="module")
def portal(tmp_path_factory, wait_for_server):
    home = tmp_path_factory.mktemp("sessions")
    (home / "releases").mkdir()
    make_synthetic_release(home / "releases" / "demo")
    port, log = free_port(), home / "portal.log"
    with open_line(port) as line:
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, str(ROOT / "tests/support/portal.py"), str(home), str(port), str(line.port)],
                stdout=output,
                stderr=output,
            )
        wait_for_server(f"http://127.0.0.1:{port}/portal/app/health", process, timeout_s=120, log=log)
        yield Portal(home, port, line)
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()


@pytest.fixture(scope="module")
def browser(chromium):
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield found
        found.close()


@pytest.fixture
def page(browser, portal):
    context = open_context(browser)
    found = context.new_page()
    found.set_default_timeout(60_000)
    yield found
    portal.line.mend()
    context.close()


def wait_for_attempts(portal: Portal, page: Page, count: int) -> None:
    """Wait until the page has tried to come back."""
    before = portal.line.refused
    while portal.line.refused < before + count:
        page.wait_for_timeout(200)


def test_a_light_curve_keeps_its_state_and_what_was_done_while_the_network_was_away_for_30_s(page, portal):
    with duckdb.connect(str(portal.home / "releases/demo/catalogs.duckdb"), read_only=True) as catalog:
        object_id = catalog.sql("SELECT objectId FROM ForcedSource ORDER BY objectId LIMIT 1").fetchall()[0][
            0
        ]
    page.goto(f"{portal.url}/lightcurves?object={object_id}&fold=1&period=0.75")
    axis = """() => { for (const d of Bokeh.documents) for (const m of d._all_models.values())
      if (m.type === 'LinearAxis' && String(m.axis_label).match(/Time|Phase/)) return m.axis_label; }"""
    page.wait_for_function(f"({axis})()?.includes('0.75')")

    # Its parts are scripts that come one after the other; without all of them there is no page yet.
    expect(page.get_by_label("Period (days)")).to_be_visible()
    page.wait_for_load_state("networkidle")
    portal.line.cut()
    is_away_until = time.monotonic() + OUTAGE_S
    lost = page.locator("#sd-connection[data-kind=lost]")
    expect(lost).to_contain_text("The connection to the server was lost. It comes back by itself")
    wait_for_attempts(portal, page, 3)
    period = page.get_by_label("Period (days)")
    period.fill("0.625")
    period.press("Enter")
    page.wait_for_timeout(1000 * max(0, is_away_until - time.monotonic()))
    expect(lost).to_be_visible()

    portal.line.mend()
    expect(page.locator("#sd-connection[data-kind=back]")).to_have_text("The connection is back.")
    # What was done meanwhile has reached the server, which writes the address, and is drawn.
    expect(page).to_have_url(re.compile(r"fold=1&period=0\.625"))
    page.wait_for_function(f"({axis})()?.includes('0.625')")
    expect(page.get_by_label("Period (days)")).to_have_value("0.625")
    expect(page.locator("#sd-connection")).to_be_empty()
    assert page.evaluate("performance.getEntriesByType('navigation')[0].type") == "navigate"


def test_a_page_whose_session_has_ended_is_restored_from_its_address_and_says_so(page, portal):
    page.goto(f"{portal.url}/images?release=demo&s=log&c=viridis&x=200&y=300&r=1")
    page.wait_for_selector(".viewer[data-drawn][data-image]")
    expect(page).to_have_url(re.compile("s=log"))
    portal.line.cut()
    expect(page.locator("#sd-connection[data-kind=lost]")).to_be_visible()
    assert portal.ask_session(page, "/closed", "POST") == 204
    limit = time.monotonic() + 90
    while portal.ask_session(page) != 404:
        assert time.monotonic() < limit
        page.wait_for_timeout(500)

    portal.line.mend()
    told = page.locator("#sd-connection[data-kind=restored]")
    expect(told).to_contain_text("The page was opened again from its address")
    page.wait_for_selector(".viewer[data-drawn][data-image]")
    assert page.get_by_label("Stretch", exact=True).input_value() == "log"
    assert page.get_by_label("Colours", exact=True).input_value() == "viridis"
    assert re.search(r"x=200\.00&y=300\.00&r=1\b", page.url)
    told.get_by_role("button", name="Close").click()
    expect(page.locator("#sd-connection")).to_be_empty()


def test_the_session_of_a_closed_page_does_not_wait(page, portal):
    page.goto(f"{portal.url}/jobs")
    page.get_by_text("You have no jobs yet").wait_for()
    session = page.locator("#sd-main").get_attribute("data-session")
    page.wait_for_load_state("networkidle")
    # Playwright's token does not go with what a page sends while it ends; a person's cookie does.
    with page.expect_response(re.compile("/closed$")):
        page.evaluate("window.dispatchEvent(new Event('pagehide'))")
    page.goto("about:blank")
    headers = {"Authorization": f"Bearer {ANNA_TOKEN}"}
    limit = time.monotonic() + 60
    # Without the page's word the session would wait for 90 seconds.
    while (
        httpx.get(f"{portal.direct}/page-sessions/{session}", headers=headers, timeout=60).status_code != 404
    ):
        assert time.monotonic() < limit
        page.wait_for_timeout(500)
