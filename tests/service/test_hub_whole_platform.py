"""The whole platform with the demo release: health, tokens at the API, the lab's clients, every process killed once."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from support.lab import Kernel, open_kernel
from support.stack import Stack

NAMES = ("proxy", "identity", "hub", "api", "butler", "portal", "worker-1", "worker-2")
QUERY = {"REQUEST": "doQuery", "LANG": "ADQL", "QUERY": "SELECT TOP 1 schema_name FROM tap_schema.schemas"}


@pytest.fixture(scope="module")
def kernel(running_stack: Stack) -> Iterator[Kernel]:
    with open_kernel(running_stack, "vera") as kernel:
        yield kernel


def ask_tap(stack: Stack, token: str | None) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.get(f"{stack.url}/api/tap/sync", params=QUERY, headers=headers, timeout=30)


def test_every_process_of_the_design_is_healthy_with_its_address(running_stack: Stack) -> None:
    state = running_stack.wait_healthy()
    assert tuple(state["services"]) == NAMES
    assert state["releases"] == ["demo"]
    for name, path in {
        "hub": "/nb/",
        "api": "/api",
        "butler": "/api/butler",
        "portal": "/portal/app",
    }.items():
        assert state["services"][name]["url"] == running_stack.url + path
    for path in ("/api/health", "/api/butler/health", "/portal/app/health", "/auth/health", "/nb/hub/health"):
        assert httpx.get(running_stack.url + path).status_code == 200, path


def test_the_api_knows_scopes_and_forgets_a_revoked_token_soon(running_stack: Stack) -> None:
    assert ask_tap(running_stack, None).status_code == 401
    assert ask_tap(running_stack, "nonsense").status_code == 401
    assert ask_tap(running_stack, running_stack.token("annie", ["read:image"])).status_code == 403
    token = running_stack.token("annie", ["read:tap"])
    assert ask_tap(running_stack, token).status_code == 200
    headers = {"Authorization": f"Bearer {running_stack.token('annie', ['user:token'])}"}
    url = f"{running_stack.url}/auth/api/v1/users/annie/tokens"
    keys = [t["token"] for t in httpx.get(url, headers=headers).json() if t["scopes"] == ["read:tap"]]
    for key in keys:
        assert httpx.delete(f"{url}/{key}", headers=headers).status_code == 204
    revoked_s = time.monotonic()
    while ask_tap(running_stack, token).status_code != 401:
        # Far below a second on a quiet machine; the cache of answers about tokens alone would take a minute.
        assert time.monotonic() - revoked_s < 20


@pytest.mark.requirement("DMS-NB-REQ-0017")
def test_clients_in_the_lab_work_without_an_argument(kernel: Kernel) -> None:
    code = (
        "from lsst.rsp import get_tap_service, RSPDiscovery\n"
        "table = get_tap_service('tap').search('SELECT TOP 5 objectId FROM demo.Object').to_table()\n"
        "print(len(table), RSPDiscovery.list_datasets())"
    )
    assert kernel.run(code).split("\n")[-2] == "5 ['demo']"


@pytest.mark.requirement("DMS-API-REQ-0034")
@pytest.mark.requirement("DMS-NB-REQ-0009")
def test_the_butler_knows_the_release_by_its_label(kernel: Kernel) -> None:
    code = (
        "from lsst.daf.butler import Butler\n"
        "butler = Butler('demo', collections='demo/DRP')\n"
        "found = butler.query_datasets('visit_image', limit=1)\n"
        "image = butler.get(found[0])\n"
        "print(len(found), type(image).__name__)"
    )
    assert kernel.run(code).split("\n")[-2] == "1 VisitImage"


@pytest.mark.requirement("DMS-NB-REQ-0018")
def test_lab_and_services_share_the_files(kernel: Kernel, running_stack: Stack) -> None:
    files = httpx.Client(
        base_url=f"{running_stack.url}/files/vera",
        auth=("vera", running_stack.token("vera", ["write:files"])),
    )
    assert files.put("/sent.txt", content=b"sent").status_code in {201, 204}
    code = (
        "import os, requests\n"
        "print(open('sent.txt').read(), os.rename('sent.txt', 'kept.txt'))\n"
        "open('kept.txt', 'a').write(' and written in the lab')\n"
        "base, auth = os.environ['SKYDESK_URL'], ('vera', os.environ['ACCESS_TOKEN'])\n"
        "print(requests.get(base + '/files/vera/kept.txt', auth=auth).text)\n"
        "print(requests.get(base + '/reg/resource-caps').status_code,"
        " requests.get(base + '/api/files/nodes/vera', auth=auth).status_code)"
    )
    lines = kernel.run(code).strip().split("\n")
    assert lines[-3:] == ["sent None", "sent and written in the lab", "200 200"]
    assert files.get("/kept.txt").text == "sent and written in the lab"
    assert files.get("/sent.txt").status_code == 404


def test_the_release_cannot_be_changed_from_a_lab(kernel: Kernel) -> None:
    code = (
        "import os\n"
        "try: open('/srv/skydesk/releases/demo/manifest.json', 'a')\n"
        "except OSError as e: print(type(e).__name__)"
    )
    assert kernel.run(code).strip() in ("OSError", "PermissionError")


def test_the_portal_signs_in_through_the_hub(running_stack: Stack) -> None:
    client = running_stack.browser("vera")
    answer = client.get("/portal/app/")
    assert answer.status_code == 200
    assert answer.url.path == "/portal/app/"


@pytest.mark.parametrize("name", NAMES)
def test_every_process_comes_back_after_sigkill(running_stack: Stack, name: str) -> None:
    before = running_stack.wait_healthy()["services"][name]
    os.kill(before["pid"], signal.SIGKILL)
    begun = time.monotonic()
    while True:
        after = running_stack.status()["services"][name]
        if after["health"] == "healthy" and after["pid"] not in (None, before["pid"]):
            break
        assert time.monotonic() - begun < 90, running_stack.log(name)
        time.sleep(0.2)
    token = running_stack.token("annie", ["read:tap"])
    assert ask_tap(running_stack, token).status_code == 200


def test_pids_in_the_status_are_processes(running_stack: Stack) -> None:
    for service in running_stack.wait_healthy()["services"].values():
        assert Path(f"/proc/{service['pid']}").exists()
