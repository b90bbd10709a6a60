"""From discovery to pixels over the demo release with the clients of the Rubin Science Platform, and nothing else."""

from __future__ import annotations

import asyncio
import io
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvo
import requests
import webdav4.client
from astropy import units as u
from astropy.io import fits
from astropy.table import Table
from lsst.daf.butler import Butler
from lsst.rsp import (  # fmt: skip
    RSPDiscovery,
    _discovery,
    get_datalink_result,
    get_query_history,
    get_siav2_service,
    get_tap_service,
    retrieve_query,
)
from pyvo.dal.adhoc import SodaQuery

from skydesk_portal.api.app import create_app
from skydesk_portal.butler import create_butler_app
from skydesk_portal.config import PortalSettings
from skydesk_portal.factory import Factory, create_factory
from skydesk_portal.testing import FakeIdentityClient
from skydesk_portal.uws.runner import JobRunner
from tests.support.services import ANN, IDENTITIES, serve_app

CENTER = (53.13, -28.1)
CONE = f"CIRCLE('ICRS', {CENTER[0]}, {CENTER[1]}, 0.05)"


@dataclass
class Platform:
    """The demo release behind one address, and the home that it is served from."""

    url: str
    home: Path
    factory: Factory


@pytest.fixture(scope="module")
def platform(demo_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    home = tmp_path_factory.mktemp("end-to-end")
    (home / "releases").mkdir()
    (home / "releases" / "demo").symlink_to(demo_home / "releases" / "demo")
    made: list[Factory] = []

    def make(url: str) -> Any:
        settings = PortalSettings(home=home, run=home / "run", url=url)
        settings.run.mkdir()
        made.append(create_factory(settings, FakeIdentityClient(IDENTITIES)))
        api, butler = create_app(settings, made[0]), create_butler_app(settings, made[0])

        async def both(scope: Any, receive: Any, send: Any) -> None:
            # As the proxy does it.
            app = butler if scope.get("path", "").startswith("/api/butler") else api
            await app(scope, receive, send)

        return both

    with serve_app(make, "/api/health") as url:
        factory = made[0]
        stop = threading.Event()
        jobs = factory.create_job_service()
        runner = JobRunner("worker", jobs.store, jobs.results, factory.create_executors(), 15.0)
        thread = threading.Thread(target=runner.loop, args=(stop,), daemon=True)
        thread.start()
        yield Platform(url, home, factory)
        stop.set()
        thread.join(timeout=10)


@pytest.fixture(autouse=True)
def lab(platform: Platform, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """What a lab has: variables, the discovery document in a file, the token in a file."""
    import httpx

    document, token = tmp_path / "v1.json", tmp_path / "token"
    document.write_bytes(httpx.get(f"{platform.url}/repertoire/discovery").content)
    token.write_text(ANN + "\n")
    for target, value in ((_discovery, document), (RSPDiscovery, document)):
        monkeypatch.setattr(target, "_DISCOVERY_PATH", value)
    monkeypatch.setattr(RSPDiscovery, "_TOKEN_PATH", token)
    monkeypatch.setenv("EXTERNAL_INSTANCE_URL", platform.url)
    monkeypatch.setenv("RSP_SITE_TYPE", "science")
    monkeypatch.setenv("BUTLER_RUBIN_ACCESS_TOKEN", ANN)
    with warnings.catch_warnings():
        # pyvo warns of parts of UWS that it does not know itself.
        warnings.simplefilter("ignore")
        yield


@pytest.mark.requirement("DMS-API-REQ-0006")
def test_both_forms_of_discovery_lead_to_the_same_tables() -> None:
    assert RSPDiscovery.list_datasets() == ["demo"]
    query = "SELECT COUNT(*) AS n FROM demo.Object"
    counts = {
        int(tap.search(query)[0]["n"])
        for tap in (RSPDiscovery("demo").get_tap_client(), get_tap_service("tap"))
    }
    assert len(counts) == 1
    assert counts.pop() > 100


@pytest.mark.requirement("DMS-API-REQ-0039")
def test_a_query_is_found_again_in_the_history(platform: Platform) -> None:
    tap = RSPDiscovery("demo").get_tap_client()
    urls = []
    for top in (3, 5):
        job = tap.submit_job(
            f"SELECT TOP {top} objectId FROM demo.Object WHERE CONTAINS(POINT(coord_ra, coord_dec), {CONE}) = 1"
        )
        job.run().wait(timeout=60)
        job.raise_if_error()
        urls.append(job.url)
    ids = [url.rsplit("/", 1)[1] for url in urls]
    history = asyncio.run(get_query_history())
    assert history[:2] == [f"demo:{ids[1]}", f"demo:{ids[0]}"]
    assert asyncio.run(get_query_history(limit=1)) == [f"demo:{ids[1]}"]
    for url, rows in zip(urls, (3, 5), strict=True):
        for again in (retrieve_query(url), RSPDiscovery("demo").get_tap_job(url)):
            assert again.phase == "COMPLETED"
            assert len(again.fetch_result()) == rows


@pytest.mark.requirement("DMS-API-REQ-0017")
def test_from_an_image_to_its_pixels(platform: Platform) -> None:
    discovery = RSPDiscovery("demo")
    found = [
        service.search(pos=(*CENTER, 0.01 * u.deg), calib_level=2, maxrec=5)
        for service in (discovery.get_sia_client(), get_siav2_service("demo"))
    ]
    assert [row["obs_publisher_did"] for row in found[0]] == [row["obs_publisher_did"] for row in found[1]]
    row = found[0][0]
    links = get_datalink_result(row)
    assert {link["semantics"] for link in discovery.get_datalink_results(row)} >= {"#this"}
    whole = next(links.bysemantics("#this", include_narrower=False))
    cutout = SodaQuery.from_resource(
        links, links.get_adhocservice_by_id("cutout-sync"), session=discovery.get_session()
    )
    cutout.circle = (*CENTER, 0.003)
    with fits.open(io.BytesIO(cutout.execute_stream().read())) as hdus:
        assert hdus[0].data.size > 100
        assert np.isfinite(hdus[0].data).any()
    assert whole.content_length > 10_000


@pytest.mark.requirement("DMS-API-REQ-0034")
def test_the_remote_butler_gives_every_dataset_type(platform: Platform) -> None:
    address = RSPDiscovery("demo")._discovery["butler_config"]
    release = platform.factory.create_release_store().list_all()[0]
    count = 0
    with Butler.from_config(address) as remote, release.get_butler() as direct:
        for dataset_type in direct.registry.queryDatasetTypes():
            refs = direct.query_datasets(dataset_type.name, "*", find_first=False, limit=1, explain=False)
            if not refs:
                continue
            far, near = remote.get(refs[0]), direct.get(refs[0])
            assert type(far) is type(near), dataset_type.name
            assert _same(far, near), dataset_type.name
            count += 1
    assert count > 30


def _same(far: Any, near: Any) -> bool:
    if isinstance(near, Table):
        return list(far.colnames) == list(near.colnames) and all(
            np.array_equal(far[name], near[name], equal_nan=near[name].dtype.kind == "f")
            for name in near.colnames
        )
    for name in ("image", "array"):
        if hasattr(near, name):
            return _same(getattr(far, name), getattr(near, name))
    if isinstance(near, np.ndarray):
        return np.array_equal(far, near, equal_nan=near.dtype.kind == "f")
    return far == near or str(far) == str(near)


@pytest.mark.requirement("DMS-API-REQ-0032")
def test_a_file_is_joined_with_the_release(platform: Platform) -> None:
    """A table goes into the files by WebDAV and from there into a query, by both of its addresses."""
    objects = (
        RSPDiscovery("demo")
        .get_tap_client()
        .search("SELECT TOP 20 objectId, coord_ra, coord_dec FROM demo.Object")
    )
    mine = objects.to_table()
    mine["mark"] = np.arange(len(mine))
    written = io.BytesIO()
    mine.write(written, format="votable")
    files = webdav4.client.Client(f"{platform.url}/files/ann", auth=("ann", ANN))
    files.mkdir("tables")
    files.upload_fileobj(io.BytesIO(written.getvalue()), "tables/mine.vot")
    assert files.ls("tables", detail=False) == ["tables/mine.vot"]
    assert (
        platform.home / "users" / "ann" / "home" / "tables" / "mine.vot"
    ).read_bytes() == written.getvalue()
    tap = RSPDiscovery("demo").get_tap_client()
    query = "SELECT m.mark, o.objectId FROM TAP_UPLOAD.mine m JOIN demo.Object o ON o.objectId = m.objectId ORDER BY m.mark"
    for address in (f"{platform.url}/files/ann/tables/mine.vot", "vos://skydesk!files/ann/tables/mine.vot"):
        joined = tap.search(query, uploads={"mine": address})
        assert [int(row["objectId"]) for row in joined] == [int(value) for value in mine["objectId"]]
    with pytest.raises(pyvo.dal.DALQueryError):
        tap.search(query, uploads={"mine": f"{platform.url}/files/bob/tables/mine.vot"})


def test_the_token_goes_to_this_platform_only(platform: Platform) -> None:
    session = RSPDiscovery("demo").get_session()
    answer = session.get(f"{platform.url}/api/tap/tables", timeout=60)
    assert answer.status_code == 200
    assert "Authorization" in answer.request.headers
    elsewhere = session.prepare_request(requests.Request("GET", "http://other.example/"))
    assert "Authorization" not in elsewhere.headers
