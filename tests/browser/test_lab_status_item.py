"""The status item in a real JupyterLab, seen by a browser."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import ConsoleMessage, Page, expect, sync_playwright

TOKEN = "a-token-of-this-lab"


@pytest.fixture(scope="module")
def lab_url(tmp_path_factory: pytest.TempPathFactory, wait_for_server: Callable[..., None]) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("lab")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    base = f"http://127.0.0.1:{port}/user/ada/"
    env = {
        **os.environ,
        "HOME": str(folder),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTERHUB_USER": "ada",
        "SKYDESK_RELEASE": "demo",
        "MEM_LIMIT": str(3 * 2**30),
        "EXTERNAL_INSTANCE_URL": base,
    }
    log = folder / "lab.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [
                sys.executable, "-m", "jupyterlab", "--no-browser", f"--port={port}", "--allow-root",
                "--ServerApp.base_url=/user/ada/", f"--IdentityProvider.token={TOKEN}",
                "--LabApp.news_url=None", f"--ServerApp.root_dir={folder}",
            ],
            env=env, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        wait_for_server(base + "api", process, log=log)
        yield f"{base}lab?reset&token={TOKEN}"
    finally:
        process.terminate()
        process.wait(timeout=20)


@pytest.fixture
def page(chromium: str) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        try:
            yield browser.new_page()
        finally:
            browser.close()


def test_the_item_shows_release_user_memory_and_details(page: Page, lab_url: str) -> None:
    errors: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type == "error" and "skydesk" in message.text.lower():
            errors.append(message.text)

    page.on("console", note)
    page.goto(lab_url)
    item = page.get_by_role("button", name=re.compile("^skydesk: "))
    expect(item).to_have_text(re.compile(r"^demo · ada · \d+(\.\d+)? MiB / 3\.00 GiB$"), timeout=60_000)
    item.click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("row", name=re.compile("Data release"))).to_contain_text("demo")
    expect(dialog.get_by_role("row", name=re.compile("Signed in as"))).to_contain_text("ada")
    dialog.get_by_role("button", name="Close").click()
    expect(dialog).to_be_hidden()
    assert errors == []


def test_the_item_has_settings(page: Page, lab_url: str) -> None:
    page.goto(lab_url)
    page.get_by_role("button", name=re.compile("^skydesk: ")).wait_for(timeout=60_000)
    schema = page.evaluate(
        "async () => (await fetch('/user/ada/lab/api/settings/@skydesk/lab:status')).json()"
    )
    assert set(schema["schema"]["properties"]) == {"interval", "warnFraction"}
