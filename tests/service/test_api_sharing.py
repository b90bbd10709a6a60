"""Butler repositories of people: who reads them, what discovery says of them, links that stay inside."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from lsst.daf.butler import Butler

from skydesk_core.release import Release
from skydesk_core.release.testing import make_synthetic_release
from skydesk_core.repo import create_repo
from skydesk_portal.api.app import create_app
from skydesk_portal.butler import create_butler_app
from skydesk_portal.config import PortalSettings
from skydesk_portal.factory import create_factory
from skydesk_portal.pipeline.batch import link_release
from skydesk_portal.testing import FakeIdentityClient
from tests.support.services import ANN, BOB, IDENTITIES, serve_app

CARL = "token-carl"


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str, Path]]:
    """Addresses of api and butler over a home with a closed release and ann's own repository."""
    home = tmp_path_factory.mktemp("sharing")
    release = home / "releases" / "closed"
    make_synthetic_release(release, name="closed")
    document = json.loads((release / "manifest.json").read_text())
    (release / "manifest.json").write_text(json.dumps({**document, "access_groups": ["members"]}))
    own = home / "users" / "ann" / "butler"
    create_repo(own)
    with Butler.from_config(str(own), writeable=True) as butler:
        link_release(Release.open(release), butler)
    members = frozenset({"members", "survey"})
    people = {
        ANN: replace(IDENTITIES[ANN], groups=members),
        BOB: replace(IDENTITIES[BOB], groups=frozenset({"survey"})),
        CARL: replace(IDENTITIES[BOB], name="carl", groups=members),
    }
    settings = PortalSettings(home=home, run=home / "run", url="http://to-be-set")
    with (
        serve_app(lambda url: create_app(settings.model_copy(update={"url": url}), create_factory(
            settings.model_copy(update={"url": url}), FakeIdentityClient(people))), "/api/health") as api,
        serve_app(lambda url: create_butler_app(settings.model_copy(update={"url": url}), create_factory(
            settings.model_copy(update={"url": url}), FakeIdentityClient(people))), "/api/butler/health") as butler_url,
    ):  # fmt: skip
        yield api, butler_url, home


def as_(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def share(api: str, token: str, label: str, **readers: list[str]) -> httpx.Response:
    return httpx.put(f"{api}/api/sharing/{label}", json=readers, headers=as_(token))


def status(butler: str, token: str, label: str) -> int:
    return httpx.get(f"{butler}/api/butler/repo/{label}/v1/universe", headers=as_(token)).status_code


@pytest.mark.requirement("DMS-LSP-REQ-0027")
def test_a_repository_is_shared_with_users_and_groups(platform: tuple[str, str, Path]) -> None:
    api, butler, _ = platform
    assert share(api, ANN, "u-ann", users=[], groups=[]).json() == {
        "label": "u-ann",
        "users": [],
        "groups": [],
    }
    assert [status(butler, token, "u-ann") for token in (ANN, BOB, CARL)] == [200, 404, 404]
    told = share(api, ANN, "u-ann", users=["bob", "ann"])
    assert told.json() == {"label": "u-ann", "users": ["bob"], "groups": []}
    assert [status(butler, token, "u-ann") for token in (ANN, BOB, CARL)] == [200, 200, 404]
    listed = httpx.get(f"{api}/api/sharing", headers=as_(BOB)).json()["repositories"]
    assert listed == {"u-ann": f"{api}/api/butler/repo/u-ann/butler.yaml"}
    share(api, ANN, "u-ann", groups=["members"])
    assert [status(butler, token, "u-ann") for token in (ANN, BOB, CARL)] == [200, 404, 200]
    for token, label, readers, expected in (
        (BOB, "u-ann", {"users": ["bob"]}, 404),
        (BOB, "closed", {"users": ["bob"]}, 404),
        (ANN, "u-ann", {"users": ["../x"]}, 400),
        (ANN, "u-ann", {"groups": ["a b"]}, 400),
        (ANN, "u-ann", {"people": ["bob"]}, 400),
        (ANN, "u-ann", {"users": ["bop"]}, 400),
        (ANN, "u-ann", {"groups": ["member"]}, 400),
    ):
        assert share(api, token, label, **readers).status_code == expected  # type: ignore[arg-type]
    assert httpx.get(f"{api}/api/sharing/u-ann", headers=as_(BOB)).status_code == 404
    assert httpx.delete(f"{api}/api/sharing/u-ann", headers=as_(ANN)).json()["groups"] == []
    assert status(butler, CARL, "u-ann") == 404


def test_files_of_a_closed_release_stay_closed(platform: tuple[str, str, Path]) -> None:
    api, butler, home = platform
    share(api, ANN, "u-ann", users=["bob", "carl"])
    with Butler.from_config(str(home / "users" / "ann" / "butler")) as direct:
        ref = direct.query_datasets("visit_image", "*", find_first=False)[0]
    address = f"{butler}/api/butler/repo/u-ann/v1/get_file/{ref.id}"
    # The repository refers to the file in the release, which bob may not read.
    assert httpx.get(address, headers=as_(BOB)).status_code == 404
    link = httpx.get(address, headers=as_(CARL)).json()["artifact"]["file_info"][0]["url"]
    assert link.startswith(f"{butler}/api/butler/file/closed/")
    assert httpx.get(link).status_code == 200
    assert status(butler, BOB, "closed") == 404
    assert status(butler, CARL, "closed") == 200


def test_registry_and_configuration_are_no_files(platform: tuple[str, str, Path]) -> None:
    _, butler, home = platform
    from skydesk_portal.services.signing import LinkSigner

    signer = LinkSigner(home / "links.key")
    names = [path.name for path in (home / "users" / "ann" / "butler").iterdir() if path.is_file()]
    assert "butler.yaml" in names
    for name in names:
        route = f"/api/butler/file/u-ann/{name}"
        assert httpx.get(f"{butler}{route}?{signer.sign(route, 60)}").status_code == 404


def test_discovery_tells_more_to_who_signs_in(platform: tuple[str, str, Path]) -> None:
    api, _, _ = platform
    share(api, ANN, "u-ann", users=["bob"])
    url = f"{api}/repertoire/discovery"
    nobody = httpx.get(url)
    assert nobody.json()["datasets"] == {}
    assert "butler_repositories" not in nobody.json()
    assert nobody.headers["vary"] == "Authorization"
    member = httpx.get(url, headers=as_(CARL)).json()
    assert member["datasets"]["closed"]["butler_config"] == f"{api}/api/butler/repo/closed/butler.yaml"
    assert {"tap", "sia", "cutout", "datalink"} <= set(member["datasets"]["closed"]["services"])
    assert list(httpx.get(url, headers=as_(BOB)).json()["butler_repositories"]) == ["u-ann"]
    assert httpx.get(url, headers=as_("wrong")).status_code == 401


@pytest.mark.requirement("DMS-LSP-REQ-0027")
def test_a_saved_query_is_read_by_those_it_is_shared_with_and_changed_by_its_owner(
    platform: tuple[str, str, Path],
) -> None:
    url = f"{platform[0]}/api/queries"
    table = base64.b64encode(b"ra,dec\n1,2\n").decode()
    definition = {"name": "mine", "query": "SELECT ra FROM TAP_UPLOAD.mine", "uploads": {"mine": table}}
    saved = httpx.post(url, json=definition, headers=as_(ANN))
    assert saved.status_code == 201
    own = f"{url}/{saved.json()['id']}"

    def names(token: str) -> list[str]:
        return [query["name"] for query in httpx.get(url, headers=as_(token)).json()["queries"]]

    def read(token: str) -> int:
        return httpx.get(own, headers=as_(token)).status_code

    assert (names(ANN), names(BOB), read(ANN), read(BOB)) == (["mine"], [], 200, 404)
    # Nobody but the owner learns by an attempt to change it that it exists.
    assert httpx.delete(own, headers=as_(BOB)).status_code == 404
    shared = httpx.put(f"{own}/readers", json={"groups": ["survey"]}, headers=as_(ANN))
    assert shared.json()["groups"] == ["survey"]
    assert (names(BOB), read(BOB)) == (["mine"], 200)
    document = httpx.get(own, headers=as_(BOB)).json()
    assert (document["query"], document["uploads"]) == (definition["query"], {"mine": table})
    (listed,) = httpx.get(url, headers=as_(BOB)).json()["queries"]
    assert "groups" not in listed
    assert httpx.delete(own, headers=as_(BOB)).status_code == 403
    assert httpx.put(f"{own}/readers", json={"users": ["bob"]}, headers=as_(BOB)).status_code == 403
    for wrong in (
        {"name": " "},
        {"uploads": {"mine": "?"}},
        {"uploads": {"a-b": table}},
        {"name": "x" * 101},
    ):
        assert httpx.post(url, json=definition | wrong, headers=as_(ANN)).status_code == 400, wrong
    # The same name replaces it, and it stays shared.
    again = httpx.post(url, json={"name": "mine", "query": "SELECT 1 AS one"}, headers=as_(ANN)).json()
    assert (again["id"], again["groups"]) == (saved.json()["id"], ["survey"])
    assert httpx.get(own, headers=as_(BOB)).json()["query"] == "SELECT 1 AS one"
    assert httpx.put(f"{own}/readers", json={}, headers=as_(ANN)).status_code == 200
    assert read(BOB) == 404
    assert httpx.delete(own, headers=as_(ANN)).status_code == 204
    assert read(ANN) == 404
