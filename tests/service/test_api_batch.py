"""User batch on the real tiny demo: a pipeline runs in the user's own repository, survives a killed worker, can be stopped."""

from __future__ import annotations

import asyncio
import csv
import io
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import httpx
import numpy as np
import pytest
import uvicorn
from astropy.io import fits
from astropy.io.votable import parse
from lsst.daf.butler import Butler
from lsst.images import Box

from skydesk_portal.api.app import create_app
from skydesk_portal.config import PortalSettings
from skydesk_portal.factory import create_factory
from skydesk_portal.testing import FakeIdentityClient
from tests.support.services import BOB, IDENTITIES, LiveServices, free_port

WHERE = "instrument='SimCam' AND exposure.observation_type='science'"


@pytest.fixture(scope="module")
def batch_services(demo_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServices]:
    home = tmp_path_factory.mktemp("batch")
    (home / "run").mkdir()
    shutil.copytree(demo_home / "releases", home / "releases")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    settings = PortalSettings(home=home, run=home / "run", url=url)
    factory = create_factory(settings, FakeIdentityClient(IDENTITIES))
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(settings, factory), host="127.0.0.1", port=port, log_config=None, access_log=False
        )
    )
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
    thread.start()
    end = time.monotonic() + 120
    while time.monotonic() < end:
        try:
            if httpx.get(f"{url}/api/health").status_code == 200:
                break
        except httpx.TransportError:
            time.sleep(0.1)
    live = LiveServices(url, home, factory)
    live.start_worker("worker-1")
    yield live
    live.stop_workers()
    server.should_exit = True
    thread.join(timeout=10)


def start(client: httpx.Client, **parameters: str) -> httpx.Response:
    data = {"PIPELINE": "DRP#isr", "RELEASE": "demo", "WHERE": WHERE, "PHASE": "RUN", **parameters}
    return client.post("/api/batch", data=data, follow_redirects=False)


def wait_for(client: httpx.Client, job: str, *phases: str, limit_s: float = 200) -> str:
    end = time.monotonic() + limit_s
    phase = ""
    while time.monotonic() < end:
        phase = client.get(job + "/phase").text
        if phase in phases:
            return phase
        time.sleep(0.2)
    raise AssertionError(f"the job is {phase}:\n{client.get(job).text}")


def wait_for_text(client: httpx.Client, job: str, text: str, limit_s: float = 120) -> None:
    end = time.monotonic() + limit_s
    while text not in client.get(job).text:
        assert time.monotonic() < end, client.get(job).text
        assert client.get(job + "/phase").text in {"QUEUED", "EXECUTING"}, client.get(job).text
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"PIPELINE": "Nothing"}, "no pipeline Nothing"),
        ({"PIPELINE": "/etc/passwd"}, "not the name of a pipeline"),
        ({"PIPELINE": ""}, "not the name of a pipeline"),
        ({"RELEASE": "nothing"}, "no release"),
        ({"OUTPUT": "../x"}, "OUTPUT"),
        ({"SCRIPT": "rm"}, "not a parameter"),
    ],
)
def test_a_wrong_request_is_refused_at_once(
    batch_services: LiveServices, parameters: dict[str, str], words: str
) -> None:
    with batch_services.client() as client:
        response = start(client, **parameters)
    assert response.status_code in {400, 404}
    assert words in response.json()["message"]


def test_a_data_query_without_inputs_fails_with_the_reason(batch_services: LiveServices) -> None:
    with batch_services.client() as client:
        job = start(client, WHERE="instrument='SimCam' AND exposure=1").headers["location"]
        assert wait_for(client, job, "ERROR", "COMPLETED") == "ERROR"
        assert "<uws:message>" in client.get(job).text
        assert "something went wrong" not in client.get(job).text


def test_a_killed_worker_loses_no_batch_job(batch_services: LiveServices) -> None:
    with batch_services.client() as client:
        job = start(client, OUTPUT="kept").headers["location"]
        wait_for_text(client, job, "<total>")
        os.kill(batch_services.workers["worker-1"].pid, signal.SIGKILL)
        batch_services.workers["worker-1"].wait()
        batch_services.start_worker("worker-2")
        assert wait_for(client, job, "COMPLETED", "ERROR") == "COMPLETED", client.get(job).text
        document = client.get(job).text
        assert "<output>u/ann/kept</output>" in document
        assert "<repository>u-ann</repository>" in document
        report = client.get(job + "/results/report").json()
        assert report["failures"] == []
        assert "succeeded" in client.get(job + "/results/log").text
    with Butler.from_config(str(batch_services.home / "users" / "ann" / "butler")) as butler:
        wanted = butler.query_datasets("raw", "releases/demo", where=WHERE)
        made = butler.query_datasets("post_isr_image", "u/ann/kept", where="instrument='SimCam'")
        assert len(made) == len(wanted) > 0
        assert len({ref.id for ref in made}) == len(made)


@pytest.mark.requirement("DMS-API-REQ-0016")
def test_the_images_of_a_run_are_found_by_its_owner_alone(batch_services: LiveServices) -> None:
    # The run of the test before this one.
    with Butler.from_config(str(batch_services.home / "users" / "ann" / "butler")) as butler:
        made = {str(ref.id) for ref in butler.query_datasets("post_isr_image", "u/ann/kept")}
    query = {"QUERY": "SELECT * FROM user_ann.ObsCore", "RESPONSEFORMAT": "json"}
    with batch_services.client() as ann, batch_services.client(BOB) as bob:
        document = ann.get("/api/tap/sync", params=query).json()
        names = [c["name"] for c in document["metadata"]] if "metadata" in document else document["columns"]
        rows = [dict(zip(names, row, strict=True)) for row in document["data"]]
        assert {row["dataset_id"] for row in rows} == made
        assert {row["obs_collection"] for row in rows} == {"u-ann/kept"}
        assert all(row["s_region"] and row["t_exptime"] == 30 for row in rows)
        assert bob.get("/api/tap/sync", params=query).status_code == 400
        for collection in ("u-ann/kept", "u-ann"):
            search = {"COLLECTION": collection, "RESPONSEFORMAT": "csv"}
            here = {**search, "POS": f"CIRCLE {rows[0]['s_ra']} {rows[0]['s_dec']} 0.01"}
            assert len(ann.get("/api/sia/demo/query", params=search).text.splitlines()) == len(made) + 1
            assert len(ann.get("/api/sia/demo/query", params=here).text.splitlines()) > 1
            assert len(bob.get("/api/sia/demo/query", params=search).text.splitlines()) == 1
        both = [
            ("COLLECTION", "u-ann/kept"),
            ("COLLECTION", "demo"),
            ("CALIB", "2"),
            ("RESPONSEFORMAT", "csv"),
        ]
        found = ann.get("/api/sia/demo/query", params=both).text
        assert len(found.splitlines()) > len(made) + 1
        did = rows[0]["obs_publisher_did"]
        links = parse(io.BytesIO(ann.get(rows[0]["access_url"]).content)).get_first_table().to_table()
        terms = {(str(row["semantics"]), str(row["local_semantics"])) for row in links}
        assert {
            ("#this", "post_isr_image"),
            ("#progenitor", "raw"),
            ("#bias", "bias"),
            ("#flat", "flat"),
        } <= terms
        raw = next(row for row in links if row["local_semantics"] == "raw")
        assert b"The whole raw" in ann.get(str(raw["access_url"])).content
        file = str(links["access_url"][0])
        content = httpx.get(file, timeout=60).content
        assert content.startswith(b"SIMPLE")
        plain = file.split("?")[0]
        assert ann.get(plain).content == content
        assert bob.get(plain).status_code == 404
        assert b"NotFoundFault" in bob.get("/api/datalink/links", params={"ID": did}).content
        # A link that somebody puts where an image was leads nowhere.
        with Butler.from_config(str(batch_services.home / "users" / "ann" / "butler")) as butler:
            path = Path(butler.getURI(butler.get_dataset(UUID(rows[0]["dataset_id"]))).ospath)
        path.unlink()
        assert httpx.get(file).status_code == 404
        path.symlink_to("/etc/hostname")
        assert httpx.get(file).status_code in {403, 404}


@pytest.mark.requirement("DMS-API-REQ-0018")
def test_parts_of_own_images_are_cut_out_for_their_owner_alone(batch_services: LiveServices) -> None:
    with Butler.from_config(str(batch_services.home / "releases" / "demo" / "butler")) as butler:
        raw = min(
            butler.query_datasets("raw", "*", where=WHERE, find_first=False),
            key=lambda r: sorted(r.dataId.required.items()),
        )
    where = f"instrument='SimCam' AND exposure={raw.dataId['exposure']} AND detector={raw.dataId['detector']}"
    with batch_services.client() as ann, batch_services.client(BOB) as bob:
        job = start(ann, PIPELINE="DRP#isr,calibrateImage", WHERE=where, OUTPUT="cut").headers["location"]
        assert wait_for(ann, job, "COMPLETED", "ERROR") == "COMPLETED", ann.get(job).text
        adql = "SELECT dataset_type, obs_publisher_did, s_ra, s_dec FROM user_ann.ObsCore WHERE obs_collection = 'u-ann/cut'"
        answer = ann.get("/api/tap/sync", params={"QUERY": adql, "RESPONSEFORMAT": "csv"}).text
        rows = {kind: rest for kind, *rest in csv.reader(answer.splitlines()[1:])}
        did, ra, dec = rows["preliminary_visit_image"]
        with Butler.from_config(str(batch_services.home / "users" / "ann" / "butler")) as butler:
            ref = butler.get_dataset(UUID(did.rsplit("=", 1)[1]))
            original = butler.get(ref)
        asked = {"ID": did, "CIRCLE": f"{ra} {dec} 0.002", "CUTOUTDETAIL": "MaskedImage"}
        with fits.open(io.BytesIO(ann.get("/api/cutout/sync", params=asked).content)) as hdus:
            header, pixels = hdus["IMAGE"].header, hdus["IMAGE"].data
            assert hdus[0].header["DATASETI"] == str(ref.id)
            assert hdus[0].header["RELEASE"] == "u-ann"
            x, y = round(-header["LTV1"]), round(-header["LTV2"])
            box = Box.factory[y : y + pixels.shape[0], x : x + pixels.shape[1]]
            np.testing.assert_array_equal(pixels, original.image[box].array)
        # As a job, as a picture, its PSF, and by the services that its links describe.
        made = ann.post("/api/cutout/async", data={**asked, "PHASE": "RUN"}, follow_redirects=False)
        assert wait_for(ann, made.headers["location"], "COMPLETED", "ERROR") == "COMPLETED"
        assert ann.get(made.headers["location"] + "/results/cutout").content.startswith(b"SIMPLE")
        assert ann.get("/api/cutout/sync", params={**asked, "BAND": "1 2"}).status_code == 204
        psf = ann.get("/api/cutout/psf", params={"ID": did, "RA": ra, "DEC": dec})
        with fits.open(io.BytesIO(psf.content)) as hdus:
            assert hdus[0].data.sum() == pytest.approx(1)
        links = ann.get("/api/datalink/links", params={"ID": did}).text
        assert links.count("#cutout") == 2
        assert "/api/cutout/sync" in links
        for path in ("/api/cutout/sync", "/api/cutout/psf"):
            assert bob.get(path, params={**asked, "RA": ra, "DEC": dec}).status_code == 404
        # Without a solution for the sky there is nothing to cut out.
        plain = ann.get("/api/cutout/sync", params={**asked, "ID": rows["post_isr_image"][0]})
        assert plain.status_code == 400
        assert "no sky coordinates" in plain.text


def test_a_batch_job_can_be_stopped(batch_services: LiveServices) -> None:
    with batch_services.client() as client:
        job = start(client, PIPELINE="DRP", OUTPUT="stopped").headers["location"]
        wait_for_text(client, job, "<total>")
        client.post(job + "/phase", data={"PHASE": "ABORT"})
        assert client.get(job + "/phase").text == "ABORTED"
        again = start(client, OUTPUT="after").headers["location"]
        assert wait_for(client, again, "COMPLETED", "ERROR") == "COMPLETED"
