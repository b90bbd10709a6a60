"""The server part of the Lab extension, in a Jupyter server of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

TOKEN = "a-token-of-this-server"
HUB_TOKEN = "a-token-that-must-stay-inside"


@pytest.fixture(scope="module")
def lab_server(
    tmp_path_factory: pytest.TempPathFactory, wait_for_server: Callable[..., None]
) -> Iterator[str]:
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
        "ACCESS_TOKEN": HUB_TOKEN,
        "SKYDESK_RELEASE": "demo",
        "MEM_LIMIT": str(3 * 2**30),
        "EXTERNAL_INSTANCE_URL": "http://127.0.0.1:8000",
    }
    log = folder / "server.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [
                sys.executable, "-m", "jupyter_server", "--no-browser", f"--port={port}", "--allow-root",
                "--ServerApp.base_url=/user/ada/", f"--IdentityProvider.token={TOKEN}",
                "--ServerApp.jpserver_extensions=skydesk_lab=True", f"--ServerApp.root_dir={folder}",
            ],
            env=env, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        wait_for_server(base + "api", process, log=log)
        yield base
    finally:
        process.terminate()
        process.wait(timeout=20)


def _get(url: str, token: str | None = TOKEN) -> tuple[int, str]:
    headers = {"Authorization": f"token {token}"} if token else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_status_names_release_user_and_memory(lab_server: str) -> None:
    code, body = _get(lab_server + "skydesk/status")
    assert code == 200
    status = json.loads(body)
    assert (status["release"], status["user"]) == ("demo", "ada")
    assert status["portal_url"] == "http://127.0.0.1:8000/portal/app"
    assert status["memory"]["limit_bytes"] == 3 * 2**30
    # A Jupyter server with nothing open takes some tens of MB, and never more than a GB.
    assert 2e7 < status["memory"]["used_bytes"] < 1e9
    assert status["memory"]["processes"] >= 1


def test_status_without_credentials_is_refused(lab_server: str) -> None:
    assert _get(lab_server + "skydesk/status", token=None)[0] == 403


def test_no_token_leaves_through_the_status(lab_server: str) -> None:
    assert HUB_TOKEN not in _get(lab_server + "skydesk/status")[1]


def test_memory_of_a_tree_counts_children() -> None:
    from skydesk_lab.memory import measure_tree

    size = 200 * 2**20
    holder = f"block = b'x' * {size}; print('ready', flush=True); input()"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {holder!r}])"
    root = subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert root.stdout is not None
        assert root.stdout.readline() == b"ready\n"
        usage = measure_tree(root.pid)
    finally:
        root.communicate(b"\n")
    assert usage.processes == 2
    assert size < usage.pss_bytes < 1.3 * size


def test_built_extension_lies_where_jupyterlab_looks() -> None:
    folder = Path(sys.prefix) / "share" / "jupyter" / "labextensions" / "@skydesk" / "lab"
    package = json.loads((folder / "package.json").read_text())
    assert package["jupyterlab"]["_build"]["load"].startswith("static/remoteEntry.")
    assert (folder / package["jupyterlab"]["_build"]["load"]).is_file()
    assert (folder / "schemas" / "@skydesk" / "lab" / "status.json").is_file()


def test_labs_ask_nobody_about_news() -> None:
    settings = Path(sys.prefix) / "share" / "jupyter" / "lab" / "settings" / "overrides.json"
    chosen = json.loads(settings.read_text())["@jupyterlab/apputils-extension:notification"]
    assert chosen == {"checkForUpdates": False, "fetchNews": "false"}
