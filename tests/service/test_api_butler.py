"""The remote Butler server: who may read what, links that expire, nothing outside a repository."""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import uvicorn
from lsst.daf.butler import Butler
from lsst.images import Box

from skydesk_portal.butler import create_butler_app
from skydesk_portal.config import PortalSettings
from skydesk_portal.factory import Factory, create_factory
from skydesk_portal.testing import FakeIdentityClient
from tests.support.services import ANN, BOB, IDENTITIES, JOE, free_port


@pytest.fixture(scope="module")
def butler_server(synthetic_home: Path) -> Iterator[tuple[str, Factory]]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    settings = PortalSettings(home=synthetic_home, run=synthetic_home / "run", url=url)
    factory = create_factory(settings, FakeIdentityClient(IDENTITIES))
    app = create_butler_app(settings, factory)
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None, access_log=False)
    )
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
    thread.start()
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            if httpx.get(f"{url}/api/butler/health").json() == {"status": "healthy"}:
                break
        except httpx.TransportError:
            time.sleep(0.1)
    yield url, factory
    server.should_exit = True
    thread.join(timeout=10)


def test_the_remote_client_reads_what_the_file_client_reads(
    butler_server: tuple[str, Factory], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, factory = butler_server
    monkeypatch.setenv("BUTLER_RUBIN_ACCESS_TOKEN", BOB)
    release = factory.create_release_store().list_all()[0]
    box = Box.factory[100:150, 200:260]
    with (
        Butler.from_config(f"{url}/api/butler/repo/demo", collections=release.collection) as remote,
        release.get_butler() as direct,
    ):
        refs = remote.query_datasets("visit_image")
        assert {r.id for r in refs} == {r.id for r in direct.query_datasets("visit_image")}
        far = remote.get(refs[0].makeComponentRef("image"), parameters={"bbox": box})
        near = direct.get(refs[0].makeComponentRef("image"), parameters={"bbox": box})
        np.testing.assert_array_equal(far.array, near.array)
        link = str(remote.getURI(refs[0]))
    assert link.startswith(f"{url}/api/butler/file/demo/")
    assert httpx.get(link).status_code == 200
    assert httpx.head(link).status_code == 200
    part = httpx.get(link, headers={"Range": "bytes=0-9"})
    assert part.status_code == 206
    assert part.content == b"SIMPLE  = "


@pytest.mark.parametrize(
    ("label", "token", "status"),
    [
        ("demo", None, 401),
        ("demo", "wrong", 401),
        ("demo", JOE, 403),
        ("demo", ANN, 200),
        ("nothing", ANN, 404),
        ("u-ann", BOB, 404),
        ("u-ann", ANN, 200),
        ("u-..", ANN, 404),
    ],
)
def test_a_repository_is_read_by_those_who_may(
    butler_server: tuple[str, Factory], synthetic_home: Path, label: str, token: str | None, status: int
) -> None:
    url, _ = butler_server
    own = synthetic_home / "users" / "ann" / "butler"
    if not (own / "butler.yaml").exists():
        from skydesk_core.repo import create_repo

        shutil.rmtree(own, ignore_errors=True)
        create_repo(own)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    response = httpx.get(f"{url}/api/butler/repo/{label}/v1/universe", headers=headers, timeout=60)
    assert response.status_code == status
    if status == 401:
        assert response.headers["www-authenticate"].startswith("Bearer")


def test_a_link_works_for_its_file_and_its_time_only(
    butler_server: tuple[str, Factory], synthetic_home: Path
) -> None:
    url, factory = butler_server
    signer = factory.create_link_signer()
    root = synthetic_home / "releases" / "demo" / "butler"
    name = str(next(root.rglob("visit_image*.fits")).relative_to(root))
    route = f"/api/butler/file/demo/{name}"

    def fetch(path: str, query: str) -> int:
        return httpx.get(f"{url}{path}?{query}").status_code

    good = signer.sign(route, 60)
    assert fetch(route, good) == 200
    assert fetch(route, signer.sign(route, -1)) == 403
    assert fetch(route, good.replace("e=", "e=9")) == 403
    assert fetch(route.replace("visit_image_", "visit_imagf_"), good) == 403
    assert fetch(route, "") == 403
    assert fetch(route, "e=\u00b2&s=x") == fetch(route, f"e={5000 * '9'}&s=x") == 403
    # What people put into their repositories must not become a page of the platform.
    page = synthetic_home / "users" / "eve" / "butler" / "page.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    (page.parent / "butler.yaml").touch()
    page.write_text("<script>alert(1)</script>")
    own = "/api/butler/file/u-eve/page.html"
    answer = httpx.get(f"{url}{own}?{signer.sign(own, 60)}")
    shutil.rmtree(page.parent)
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-security-policy"] == "sandbox"
    # Even a good signature leads nowhere outside the repository.
    for outside in ("../manifest.json", "../../../links.key", "gen3.sqlite3/../../manifest.json"):
        escaped = f"/api/butler/file/demo/{outside.replace('..', '%2e%2e')}"
        assert fetch(escaped, signer.sign(escaped, 60)) in {403, 404}
    assert fetch("/api/butler/file/nothing/x", signer.sign("/api/butler/file/nothing/x", 60)) == 404


def test_the_key_of_the_links_is_private(butler_server: tuple[str, Factory], synthetic_home: Path) -> None:
    butler_server[1].create_link_signer().sign("x", 1)
    assert (synthetic_home / "links.key").stat().st_mode & 0o077 == 0
