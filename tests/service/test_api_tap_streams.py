"""Answers as streams: memory stays bounded, failures are told, nobody works for a client that has gone."""

from __future__ import annotations

import gc
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
import pyvo

from skydesk_portal.exceptions import TooLargeError
from skydesk_portal.models.identity import Identity
from skydesk_portal.storage.duckdb_engine import DuckdbQuery
from skydesk_portal.testing import FakeIdentityClient
from tests.support.services import ANN, BOB, LiveServices

SYNC = "/api/tap/sync"
ALL = "SELECT a.objectId, a.coord_ra, a.coord_dec, a.g_psfFlux, a.r_psfFlux, a.i_psfFlux, b.coord_ra AS ra2, b.coord_dec AS dec2, b.refBand FROM demo.Object a, demo.Object b WHERE b.objectId > 0"
ROWS = 3_600_000


def _status_kb(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name + ":"))


def _stream(live: LiveServices, form: str, rows: int) -> int:
    parameters = {"QUERY": ALL, "MAXREC": str(rows), "RESPONSEFORMAT": form}
    headers = {"Accept-Encoding": "identity", "Cache-Control": "no-cache"}
    size = 0
    with live.client() as client, client.stream("GET", SYNC, params=parameters, headers=headers) as response:
        assert response.status_code == 200
        for part in response.iter_raw():
            size += len(part)
    return size


@pytest.mark.parametrize("form", ["votable", "fits"])
def test_memory_does_not_grow_with_the_rows(
    live_services: LiveServices, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What the process loads in its first seconds is not the answer's.
    live_services.factory.warm_pixels()
    _stream(live_services, form, 200_000)
    gc.collect()
    pa.default_memory_pool().release_unused()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before_kb = _status_kb("VmRSS")
    size = _stream(live_services, form, ROWS)
    assert size > 180e6
    grown_kb = _status_kb("VmHWM") - before_kb
    assert grown_kb < 130_000, f"{size / 1e6:.0f} MB were sent and memory grew by {grown_kb / 1e3:.0f} MB"


def _break_after(batches: int, monkeypatch: pytest.MonkeyPatch, failure: Exception) -> None:
    real = DuckdbQuery.batches

    def failing(self: DuckdbQuery) -> Iterator[pa.RecordBatch]:
        for number, batch in enumerate(real(self)):
            if number == batches:
                raise failure
            yield batch

    monkeypatch.setattr(DuckdbQuery, "batches", failing)


def _ask(live: LiveServices, form: str) -> httpx.Response:
    with live.client() as client:
        return client.post(
            SYNC,
            data={"QUERY": ALL, "MAXREC": "100000", "RESPONSEFORMAT": form},
            headers={"Cache-Control": "no-cache"},
        )


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (TooLargeError("needs more memory"), "needs more memory"),
        (RuntimeError("secret"), "something went wrong"),
    ],
)
def test_a_stream_that_fails_says_so_in_its_end(
    live_services: LiveServices, monkeypatch: pytest.MonkeyPatch, failure: Exception, words: str
) -> None:
    _break_after(1, monkeypatch, failure)
    for form in ("votable", "votable/td"):
        response = _ask(live_services, form)
        infos = ET.fromstring(response.content).findall(".//{*}INFO[@name='QUERY_STATUS']")
        assert infos[-1].get("value") == "ERROR"
        assert words in (infos[-1].text or "")
    assert _ask(live_services, "csv").text.splitlines()[-1].startswith("# ERROR")
    assert '"status": "ERROR"' in _ask(live_services, "json").text
    # What waits for the last row has not begun: the failure gets its own status.
    for form in ("fits", "sqlite"):
        response = _ask(live_services, form)
        assert response.status_code in (413, 500)
        assert words in response.text
    # What has no place for an error breaks off, and every client notices.
    for form in ("parquet", "arrow"):
        with pytest.raises(httpx.RemoteProtocolError):
            _ask(live_services, form)
    monkeypatch.undo()
    # Nothing of it is kept: the next answer is whole.
    assert "ERROR" not in _ask(live_services, "votable").text[-300:]


def _history(live: LiveServices, token: str = ANN) -> list[dict[str, Any]]:
    with live.client(token) as client:
        found: list[dict[str, Any]] = client.get("/api/tap/history").json()["queries"]
    return found


def _wait_for(what: Any) -> Any:
    deadline = time.monotonic() + 60
    while not (found := what()):
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.05)
    return found


@pytest.mark.parametrize("form", ["votable", "fits"])
def test_a_client_that_leaves_ends_its_query(live_services: LiveServices, form: str) -> None:
    endless = f"{ALL} AND a.coord_dec < {90 + len(form)}"
    parameters = {"QUERY": endless, "MAXREC": "100000000", "RESPONSEFORMAT": form}
    if form == "votable":
        with live_services.client() as client, client.stream("GET", SYNC, params=parameters) as response:
            assert next(response.iter_raw())
    else:
        slow = "SELECT COUNT(*) FROM demo.ForcedSource a, demo.ForcedSource b, demo.Object c WHERE a.psfFlux + b.psfFlux > c.coord_ra"
        endless = parameters["QUERY"] = slow
        with live_services.client() as client, pytest.raises(httpx.ReadTimeout):
            client.get(SYNC, params=parameters, timeout=1.5)
    ended = _wait_for(lambda: [q for q in _history(live_services) if q["query"] == endless])[0]
    assert ended["status"] in {"ABORTED", "ERROR"}
    with live_services.client() as client:
        assert client.get(SYNC, params={"QUERY": "SELECT COUNT(*) FROM demo.Object"}).status_code == 200


def test_the_second_answer_is_the_first_one_again(live_services: LiveServices) -> None:
    query = "SELECT TOP 11 objectId, coord_ra, 'kept' AS word FROM demo.Object ORDER BY objectId"

    def get(token: str = ANN, query: str = query, **headers: str) -> httpx.Response:
        with live_services.client(token) as client:
            response = client.get(SYNC, params={"QUERY": query}, headers=headers)
        assert response.status_code == 200
        return response

    first = get()
    assert first.headers["cache-status"] == "skydesk; fwd=miss"
    second = get(BOB)
    assert second.headers["cache-status"].startswith("skydesk; hit; ttl=")
    assert second.content == first.content
    assert int(second.headers["age"]) >= 0
    assert get(**{"Cache-Control": "no-cache"}).headers["cache-status"] == "skydesk; fwd=request"
    assert _history(live_services, BOB)[0]["cached"] is True
    # What depends on the caller or on chance is never taken from elsewhere.
    for text in (
        "SELECT TOP 3 table_name FROM tap_schema.tables",
        "SELECT TOP 3 obs_id FROM ivoa.ObsCore",
        "SELECT TOP 3 RAND() AS r FROM demo.Object",
    ):
        for _ in range(2):
            assert get(query=text).headers["cache-status"] == "skydesk; fwd=bypass"


def test_nothing_is_kept_of_the_tables_of_people(live_services: LiveServices) -> None:
    query = "SELECT COUNT(*) AS n FROM {schema}.kept_secret AS k JOIN demo.Object AS o ON k.n < o.coord_ra"
    with live_services.client() as ann, live_services.client(BOB) as bob:
        made = ann.put("/api/tables/kept_secret", content="n\n1\n2\n", headers={"Content-Type": "text/csv"})
        assert made.status_code == 200, made.text
        text = query.format(schema=made.json()["name"].split(".")[0])
        for _ in range(2):
            answer = ann.get(SYNC, params={"QUERY": text, "RESPONSEFORMAT": "csv"})
            assert answer.text.split() == ["n", "4000"]
            assert answer.headers["cache-status"] == "skydesk; fwd=bypass"
        assert ann.get("/api/tap/estimate", params={"QUERY": text}).json()["rows"] == 1
        for path in (SYNC, "/api/tap/estimate"):
            refused = bob.get(path, params={"QUERY": text})
            assert refused.status_code == 400
            assert "unknown table" in refused.text
        assert ann.delete("/api/tables/kept_secret").status_code in {200, 204}


def test_the_history_is_ones_own(live_services: LiveServices) -> None:
    with live_services.client() as ann, live_services.client(BOB) as bob:
        ann.get(
            SYNC,
            params={"QUERY": "SELECT TOP 2 objectId FROM demo.Object WHERE 1 = 1", "RESPONSEFORMAT": "csv"},
        )
        ann.get(SYNC, params={"QUERY": "SELECT nothing FROM demo.Object"})
        failed, done, *_ = _history(live_services)
        assert (failed["status"], done["status"], done["rows"]) == ("ERROR", "COMPLETED", 2)
        assert "unknown column" in failed["error"]
        assert ["RESPONSEFORMAT", "csv"] in done["parameters"]
        path = f"/api/tap/history/{done['id']}"
        assert ann.get(path).json()["query"] == done["query"]
        for method, tail in (("GET", ""), ("DELETE", ""), ("POST", "/rerun")):
            assert bob.request(method, path + tail).status_code == 404
        assert done["id"] not in [q["id"] for q in _history(live_services, BOB)]
        page = ann.get("/api/tap/history", params={"LAST": 1}).json()
        assert page["queries"][0]["id"] == failed["id"]
        assert (
            ann.get("/api/tap/history", params={"LAST": 1, "BEFORE": page["next"]}).json()["queries"][0]["id"]
            == done["id"]
        )
        assert ann.delete(path).status_code == 204
        assert ann.get(path).status_code == 404


@pytest.mark.requirement("DMS-API-REQ-0039")
def test_a_query_runs_again_as_a_job(worker: LiveServices) -> None:
    query = "SELECT TOP 4 objectId FROM demo.Object WHERE coord_ra > 0 ORDER BY objectId"
    with worker.client() as client:
        expected = client.get(SYNC, params={"QUERY": query, "RESPONSEFORMAT": "csv"}).text
        number = _history(worker)[0]["id"]
        addresses = [
            client.post(f"/api/tap/history/{number}/rerun", follow_redirects=False).headers["location"]
        ]
        addresses.append(client.post(addresses[0] + "/rerun", follow_redirects=False).headers["location"])
        assert len(set(addresses)) == 2
        for address in addresses:
            _wait_for(lambda address=address: client.get(address + "/phase").text == "COMPLETED")
            assert client.get(address + "/results/result").text == expected
        mine = [q for q in _history(worker) if q["mode"] == "async"][:2]
        assert {q["job"] for q in mine} == set(addresses)
        with worker.client(BOB) as bob:
            assert bob.post(addresses[0] + "/rerun").status_code == 404
        for address in addresses:
            client.delete(address)


def test_a_query_runs_again_only_with_the_rights_it_needs(live_services: LiveServices) -> None:
    known = live_services.factory.create_identity_client()
    assert isinstance(known, FakeIdentityClient)
    known.tokens["token-reads-tap"] = Identity("ann", frozenset({"read:tap"}))
    home = live_services.home / "users" / "ann" / "home"
    home.mkdir(parents=True, exist_ok=True)
    (home / "own.csv").write_text("a,b\n1,2\n")
    asked = {"QUERY": "SELECT a FROM TAP_UPLOAD.t", "UPLOAD": "t,vos:ann/own.csv", "RESPONSEFORMAT": "csv"}
    with live_services.client() as ann, live_services.client("token-reads-tap") as reader:
        assert ann.get(SYNC, params=asked).status_code == 200
        number = _history(live_services)[0]["id"]
        assert reader.post(f"/api/tap/history/{number}/rerun").status_code == 403
        # A history full of queries of megabytes would fit into no answer.
        ann.post(SYNC, files={"QUERY": (None, "SELECT " + 200_000 * "1")})
        assert _history(live_services)[0]["id"] == number
        for maxrec, status in (("\u00b2", 400), (5000 * "9", 200)):
            assert ann.get(SYNC, params={"QUERY": "SELECT 1", "MAXREC": maxrec}).status_code == status


def test_rows_lead_to_services(live_services: LiveServices) -> None:
    session = pyvo.auth.AuthSession().credentials.get("anonymous")
    session.headers["Authorization"] = f"Bearer {ANN}"
    tap = pyvo.dal.TAPService(f"{live_services.url}/api/tap", session=session)
    images = tap.search(
        "SELECT TOP 2 obs_publisher_did FROM ivoa.ObsCore WHERE dataproduct_subtype = 'lsst.visit_image'"
    )
    links = list(images.iter_datalinks())
    assert len(links) == 2
    for found in links:
        assert next(found.bysemantics("#this", include_narrower=False)).access_url.startswith(
            live_services.url
        )
    assert (
        images.get_adhocservice_by_ivoid("ivo://ivoa.net/std/SODA#sync-1.0").ID == "cutout-obs_publisher_did"
    )
    objects = tap.search("SELECT TOP 2 objectId, coord_ra FROM demo.Object")
    service = objects.get_adhocservice_by_ivoid("ivo://ivoa.net/std/datalink")
    inputs = {param.name: (param.ref, param.value) for param in service.groups[0].entries}
    assert inputs["TABLE"] == (None, "demo.Object")
    assert (
        objects.fieldname_with_ucd("meta.id;meta.main")
        or inputs["ID"][0] == objects.resultstable.fields[0].ID
    )
    found = objects[1].getdatalink()
    assert {str(link["ID"]) for link in found} == {str(objects[1]["objectId"])}
    assert len(list(objects.iter_datalinks(preserve_order=True))) == 2
    series = objects.get_adhocservice_by_id("timeseries-objectid")
    address = next(param.value for param in series.params if param.name == "accessURL")
    query = {"ID": str(objects[0]["objectId"]), "TABLE": "demo.Object", "RESPONSEFORMAT": "csv"}
    assert len(session.get(address, params=query).text.splitlines()) == 21
    # A result that names nothing has no descriptor.
    with pytest.raises(pyvo.dal.DALServiceError):
        tap.search("SELECT COUNT(*) AS n FROM demo.Object").get_adhocservice_by_ivoid(
            "ivo://ivoa.net/std/datalink"
        )
