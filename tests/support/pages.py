"""The Portal's pages over a release with alerts, as one server that all tests of pages share."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from starlette.testclient import TestClient

from skydesk_portal.factory import Factory
from skydesk_portal.models.identity import SCOPES, Identity
from tests.support.portal import make_portal
from tests.support.services import free_port

# Other tests keep the machine busy.
expect.set_options(timeout=45_000)

ROOT = Path(__file__).resolve().parents[2]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip
ANNA_TOKEN = "token-of-anna"
ANNA = Identity("anna", frozenset(SCOPES))
SETTINGS = {"files_bytes": 50_000_000, "announcements": ["Maintenance on <b>Monday</b> from 8 to 9 UTC"]}


@dataclass
class Pages:
    """A running Portal over the release ``maps``; its people and jobs may be written."""

    url: str
    home: Path

    @cached_property
    def factory(self) -> Factory:
        """The services on the same home folder, in this process."""
        return make_portal(self.home, self.url)[1]


@pytest.fixture(scope="session")
def pages_home(products_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder of its own over the release ``maps``."""
    home = tmp_path_factory.mktemp("pages")
    (home / "releases").symlink_to(products_home / "releases", target_is_directory=True)
    for name in ("anna", "dora"):
        (home / "users" / name / "home").mkdir(parents=True)
    (home / "run").mkdir()
    (home / "config.yaml").write_text(json.dumps({"portal": SETTINGS}))
    return home


@pytest.fixture(scope="session")
def pages(pages_home: Path, wait_for_server: Callable[..., None]) -> Iterator[Pages]:
    """A running Portal."""
    port, log = free_port(), pages_home / "portal.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "tests/support/portal.py"), str(pages_home), str(port)],
            stdout=output,
            stderr=output,
        )
    wait_for_server(f"http://127.0.0.1:{port}/portal/app/health", process, timeout_s=120, log=log)
    yield Pages(f"http://127.0.0.1:{port}/portal/app", pages_home)
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()


@pytest.fixture(scope="session")
def pages_client(pages_home: Path) -> Iterator[TestClient]:
    """The same Portal's routes in this process, asked by anna; redirects are not followed."""
    url = "http://testserver"
    app, factory = make_portal(pages_home, url)
    headers = {"authorization": f"Bearer {ANNA_TOKEN}"}
    with TestClient(app, base_url=url, headers=headers, follow_redirects=False) as found:
        yield found
    factory.close()


@pytest.fixture(scope="module")
def pages_browser(chromium: str) -> Iterator[Browser]:
    """One browser for the tests of a file: an open Playwright leaves no other event loop to the tests that follow."""
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield found
        found.close()


def open_context(browser: Browser, token: str = ANNA_TOKEN, **more: object) -> BrowserContext:
    """Return a fresh session of somebody."""
    settings = {"viewport": {"width": 1400, "height": 900}, **more}
    return browser.new_context(extra_http_headers={"Authorization": f"Bearer {token}"}, **settings)


@pytest.fixture
def calm_page(pages_browser: Browser) -> Iterator[Page]:
    """A page of anna whose console must stay free of errors and whose requests must stay on the own origin."""
    context = open_context(pages_browser)
    found = context.new_page()
    found.set_default_timeout(60_000)
    complaints: list[str] = []
    found.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    found.on("pageerror", lambda e: complaints.append(str(e)))
    found.on("response", lambda r: complaints.append(f"{r.status} {r.url}") if r.status >= 500 else None)
    found.on(
        "request",
        lambda r: (
            None if "127.0.0.1" in r.url or r.url.startswith(("data:", "blob:")) else complaints.append(r.url)
        ),
    )
    yield found
    context.close()
    assert complaints == []
