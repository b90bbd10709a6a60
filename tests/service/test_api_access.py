"""Every address without credentials, with the wrong scope or for another's things is refused."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import httpx
import pytest
from fastapi import APIRouter

from skydesk_portal.api.routes import ALL_ROUTERS
from skydesk_portal.models.identity import SCOPES, Identity
from skydesk_portal.testing import FakeIdentityClient
from tests.support.services import ANN, BOB, JOE, LiveServices

# Clients of the files ask what the service is and can do before they sign in.
PUBLIC = {"/api/health", "/repertoire/discovery", "/api/files/capabilities", "/reg/resource-caps"}
FILLED = {
    "job_id": "a" * 20,
    "name": "result",
    "detail": "owner",
    "release": "demo",
    "dataset_id": "01a1f8b0-7a93-76d6-8e4d-0d938f592f41",
    "user": "ann",
    "username": "ann",
}


def walk(routers: Iterable[APIRouter]) -> Iterator[tuple[str, str]]:
    for router in routers:
        for route in router.routes:
            inner = getattr(route, "original_router", None)
            if inner is not None:
                yield from walk([inner])
            for method in getattr(route, "methods", None) or ():
                yield method, str(getattr(route, "path", ""))


def all_routes() -> list[tuple[str, str]]:
    """Every method of every address, also of those that the description leaves out, with something in each gap."""
    gap = re.compile(r"\{(\w+)(?::\w+)?\}")
    return sorted({(m, gap.sub(lambda g: FILLED.get(g[1], "x"), path)) for m, path in walk(ALL_ROUTERS)})


PRIVATE = [(m, p) for m, p in all_routes() if p not in PUBLIC and not p.endswith("/availability")]


def test_there_are_routes_to_try() -> None:
    assert len(PRIVATE) > 80
    assert {p for _, p in all_routes() if p in PUBLIC} == PUBLIC


@pytest.mark.requirement("DMS-API-REQ-0003")
@pytest.mark.requirement("DMS-API-REQ-0004")
@pytest.mark.parametrize("token", [None, "wrong", JOE])
def test_no_route_lets_the_wrong_people_in(live_services: LiveServices, token: str | None) -> None:
    wanted = 403 if token == JOE else 401
    with live_services.client(token) as client:
        for method, path in PRIVATE:
            response = client.request(method, path, follow_redirects=False)
            assert response.status_code == wanted, f"{method} {path}: {response.status_code}"
            if wanted == 401:
                assert response.headers["www-authenticate"].startswith("Bearer")
            assert "wrong" not in response.text.replace("it is wrong", "")


def test_basic_credentials_with_a_token_are_as_good(live_services: LiveServices) -> None:
    url = live_services.url + "/api/tap/tables"
    assert httpx.get(url, auth=("x-oauth-basic", ANN)).status_code == 200
    assert httpx.get(url, auth=(ANN, "x-oauth-basic")).status_code == 200
    assert httpx.get(url, auth=("x-oauth-basic", "wrong")).status_code == 401


def test_a_page_of_another_site_changes_nothing_with_remembered_credentials(
    live_services: LiveServices,
) -> None:
    url, own = live_services.url + "/api/tap/async", live_services.url
    # Browsers send Basic credentials that they remember with the forms of every site.
    for origin, status in (("https://evil.example", 403), ("null", 403), (own, 303), (None, 303)):
        headers = {} if origin is None else {"Origin": origin}
        made = httpx.post(url, data={"QUERY": "SELECT 1"}, auth=("ann", ANN), headers=headers)
        assert made.status_code == status, origin
    # A script that knows the token and sends it itself may come from anywhere.
    headers = {"Origin": "https://notebook.example", "Authorization": f"Bearer {ANN}"}
    assert httpx.post(url, data={"QUERY": "SELECT 1"}, headers=headers).status_code == 303


def test_a_job_runs_with_the_groups_of_today(live_services: LiveServices) -> None:
    known = live_services.factory.create_identity_client()
    assert isinstance(known, FakeIdentityClient)
    jobs = live_services.factory.create_job_service()
    known.tokens["token-eve"] = Identity("eve", frozenset(SCOPES), frozenset({"team"}))
    with live_services.client("token-eve") as eve:
        job = eve.post("/api/tap/async", data={"QUERY": "SELECT 1"}, follow_redirects=False).headers[
            "location"
        ]
        assert jobs.get_job(Identity("eve"), job.rsplit("/", 1)[1]).groups == ("team",)
        # Who has left a group must not read its releases through a job that was made before.
        known.tokens["token-eve"] = Identity("eve", frozenset(SCOPES))
        eve.post(job + "/phase", data={"PHASE": "RUN"})
        assert jobs.get_job(Identity("eve"), job.rsplit("/", 1)[1]).groups == ()
        eve.delete(job)


@pytest.mark.requirement("DMS-LSP-REQ-0027")
def test_the_job_of_another_does_not_exist(live_services: LiveServices) -> None:
    with live_services.client(ANN) as ann, live_services.client(BOB) as bob:
        for path, parameters in (
            ("/api/tap/async", {"QUERY": "SELECT 1"}),
            ("/api/cutout/jobs", {"ID": "x"}),
            ("/api/batch", {}),
        ):
            made = ann.post(path, data=parameters, follow_redirects=False)
            assert made.status_code == 303
            job = made.headers["location"]
            assert ann.get(job).status_code == 200
            for method, tail, data in (
                ("GET", "", None), ("GET", "/phase", None), ("GET", "/parameters", None), ("GET", "/results/result", None),
                ("POST", "/phase", {"PHASE": "ABORT"}), ("POST", "/destruction", {"DESTRUCTION": "2030-01-01T00:00:00Z"}),
                ("POST", "", {"ACTION": "DELETE"}), ("DELETE", "", None),
            ):  # fmt: skip
                assert bob.request(method, job + tail, data=data).status_code == 404, f"{method} {job}{tail}"
            assert job.rsplit("/", 1)[1] not in bob.get(path).text
            assert ann.get(job + "/phase").text == "PENDING"
            assert ann.delete(job, follow_redirects=False).status_code == 303
            assert ann.get(job).status_code == 404


def test_an_upload_cannot_read_the_result_of_another(live_services: LiveServices) -> None:
    with live_services.client(BOB) as bob:
        source = f"{live_services.url}/api/tap/async/{'a' * 20}/results/result"
        response = bob.post("/api/tap/sync", data={"QUERY": "SELECT 1", "UPLOAD": f"t,{source}"})
    assert response.status_code == 404


def test_addresses_that_do_not_exist_say_so(live_services: LiveServices) -> None:
    with live_services.client() as client:
        assert client.get("/api/nothing").json()["code"] == "http"
        assert "below /api/tap there are async, availability, " in client.get("/api/tap").text
        assert "below /api there are alerts, batch, " in client.get("/api/nothing").json()["message"]
        assert "below /api/sia/{release} there are " in client.get("/api/sia/demo").text
        assert (
            "below /api/hips there are availability, capabilities, list, v2"
            in client.get("/api/hips/nope").json()["message"]
        )
        assert client.put("/api/tap/sync").status_code == 405
        assert client.get("/api/sia/nothing/query").status_code == 404
