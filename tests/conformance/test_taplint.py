"""STILTS' validators against the running services."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import uvicorn

from skydesk_portal.api.app import create_app
from skydesk_portal.config import PortalConfig, PortalSettings
from skydesk_portal.factory import create_factory
from skydesk_portal.testing import FakeIdentityClient
from tests.support.services import ANN, IDENTITIES, LiveServices, free_port

# Everything but LOC, which asks for a table that no release has.
STAGES = "TMV TME TMS TMC CPV CAP AVV QGE QPO QAS UWS MDQ OBS UPL EXA"


@pytest.fixture(scope="module")
def stilts() -> str:
    found = shutil.which("stilts")
    if found is None:
        pytest.skip("there is no stilts: run make tools")
    return found


@pytest.fixture(scope="module")
def open_services(synthetic_home: Path) -> Iterator[LiveServices]:
    """The services with the token put in for whoever sends none: STILTS cannot send one."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    settings = PortalSettings(home=synthetic_home, run=synthetic_home / "run", url=url, portal=PortalConfig())
    factory = create_factory(settings, FakeIdentityClient(IDENTITIES))
    inner = create_app(settings, factory)

    async def app(scope, receive, send):  # type: ignore[no-untyped-def]
        if scope["type"] == "http" and not any(key == b"authorization" for key, _ in scope["headers"]):
            scope["headers"] = [*scope["headers"], (b"authorization", f"Bearer {ANN}".encode())]
        await inner(scope, receive, send)

    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None, access_log=False, lifespan="on")
    )
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
    thread.start()
    end = time.monotonic() + 120
    while time.monotonic() < end:
        try:
            if httpx.get(f"{url}/api/health").status_code == 200:
                break
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    live = LiveServices(url, synthetic_home, factory)
    live.start_worker("worker-lint")
    yield live
    live.stop_workers()
    server.should_exit = True
    thread.join(timeout=10)


def run(*command: str, limit_s: int = 280) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, check=False)
    return done.stdout + done.stderr


@pytest.mark.requirement("DMS-LSP-REQ-0006")
@pytest.mark.requirement("DMS-API-REQ-0006")
@pytest.mark.requirement("DMS-API-REQ-0007")
def test_taplint_finds_nothing(stilts: str, open_services: LiveServices) -> None:
    report = run(stilts, "taplint", f"tapurl={open_services.url}/api/tap", f"stages={STAGES}", "report=EWF")
    totals = re.search(r"Errors: (\d+); Warnings: (\d+); Failures: (\d+)", report)
    assert totals, report
    errors, warnings, failures = map(int, totals.groups())
    assert (errors, failures) == (0, 0), report
    assert warnings <= 5, report
    for stage in STAGES.split():
        assert f"Section {stage}" in report, report


@pytest.mark.requirement("DMS-API-REQ-0010")
@pytest.mark.requirement("DMS-API-REQ-0011")
@pytest.mark.parametrize("form", ["votable", "votable/td"])
def test_votlint_is_silent(stilts: str, open_services: LiveServices, tmp_path: Path, form: str) -> None:
    query = (
        "SELECT TOP 500 o.*, POINT(o.coord_ra, o.coord_dec) AS p, v.obsStart FROM demo.Object o, demo.Visit v"
    )
    for i, text in enumerate(
        (
            query,
            "SELECT * FROM ivoa.ObsCore",
            "SELECT * FROM tap_schema.columns",
            "SELECT * FROM demo.Object WHERE 1 = 0",
        )
    ):
        path = tmp_path / f"{i}.vot"
        response = httpx.get(
            f"{open_services.url}/api/tap/sync", params={"QUERY": text, "RESPONSEFORMAT": form}, timeout=60
        )
        assert response.status_code == 200, response.text
        path.write_bytes(response.content)
        assert run(stilts, "votlint", str(path)) == ""


def test_datalinklint_is_silent(stilts: str, open_services: LiveServices, tmp_path: Path) -> None:
    images = httpx.get(
        f"{open_services.url}/api/tap/sync",
        params={"QUERY": "SELECT access_url FROM ivoa.ObsCore", "RESPONSEFORMAT": "json"},
    ).json()["data"]
    assert images
    for (url,) in images[:3]:
        path = tmp_path / "links.vot"
        path.write_bytes(httpx.get(url).content)
        report = run(stilts, "datalinklint", f"votable={path}")
        assert not re.search(r"^[EF]-", report, re.MULTILINE), report


@pytest.mark.requirement("DMS-API-REQ-0006")
def test_xsdvalidate_is_silent(stilts: str, open_services: LiveServices, tmp_path: Path) -> None:
    with httpx.Client(base_url=open_services.url, timeout=60, follow_redirects=True) as client:
        jobs = []
        for query in ("SELECT TOP 1 * FROM demo.Object", "SELECT nonsense"):
            form = {"QUERY": query, "PHASE": "RUN", "RUNID": "a < b & \x01"}
            jobs.append(client.post("/api/tap/async", data=form).url.path)
            end = time.monotonic() + 60
            while client.get(jobs[-1] + "/phase").text in {"QUEUED", "EXECUTING"}:
                assert time.monotonic() < end
                time.sleep(0.1)
        sent = {"mine": ("mine.vot", b"no table")}
        made = client.post("/api/cutout/async", data={"ID": "a", "POS": "CIRCLE 1 2 3"}, files=sent)
        # The program starts a Java machine for each document, so that one of each kind has to do.
        paths = [*jobs, made.url.path, "/api/tap/async", f"{made.url.path}/parameters", f"{jobs[0]}/results"]
        paths += [f"/api/tap/{name}" for name in ("tables", "capabilities", "availability")]
        paths += [f"/api/{name}/capabilities" for name in ("cutout", "sia/demo", "datalink", "hips")]
        files = []
        for i, path in enumerate(paths):
            answer = client.get(path)
            assert answer.status_code == 200, path
            files.append(tmp_path / f"{i}{path.replace('/', '_')[:60]}.xml")
            files[-1].write_bytes(answer.content)
    report = {
        p: run(stilts, "xsdvalidate", "uselocals=true", f"doc={f}") for p, f in zip(paths, files, strict=True)
    }
    assert {path: text for path, text in report.items() if text.strip()} == {}
    broken = tmp_path / "broken.xml"
    broken.write_bytes(files[0].read_bytes().replace(b"uws:phase>", b"uws:phases>"))
    assert "phases" in run(stilts, "xsdvalidate", "uselocals=true", f"doc={broken}")
