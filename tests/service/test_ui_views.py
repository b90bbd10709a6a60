"""The channel between programs and open pages: only the owner's token opens it, and only what the schema knows passes."""

from __future__ import annotations

import asyncio
import json
import threading
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa
import pytest
from starlette.testclient import TestClient
from support.portal import make_portal

from skydesk_portal.exceptions import BusyError, NotFoundError, UsageError
from skydesk_portal.models.identity import Identity
from skydesk_portal.models.tables import ColumnInfo
from skydesk_portal.models.views import MAX_COMMAND_BYTES, MAX_POINTS, MAX_SELECTED, parse_command
from skydesk_portal.services.views import MAX_VIEWS, ViewRegistry
from skydesk_portal.ui import gate
from skydesk_portal.ui.gate import OAuthSettings

VIEWS = "/portal/app/views"
URL = "http://testserver"
OAUTH = OAuthSettings("service-portal", "a-secret", URL, "http+unix://%2Ftmp%2Fnone.sock/nb/hub/api")
PAGE = {"accept": "text/html"}
ADA, BOB = Identity("ada"), Identity("bob")
GO = parse_command(b'{"do": "go", "page": "jobs"}')


def bearer(token):
    return {"authorization": f"Bearer {token}"}


def sign_in(client, monkeypatch):
    """Get the cookie that a browser has after its sign-in at the hub."""

    async def exchange(*_arguments):
        return "token-of-anna"

    monkeypatch.setattr(gate, "_exchange", exchange)
    location = client.get("/portal/app/images", headers=PAGE).headers["location"]
    state = parse_qs(urlsplit(location).query)["state"][0]
    client.get(f"/portal/app/oauth_callback?code=the-code&state={state}", headers=PAGE)


@pytest.fixture
def client(tmp_path):
    (tmp_path / "releases").mkdir()
    app, factory = make_portal(tmp_path, URL, OAUTH)
    with TestClient(app, base_url=URL, follow_redirects=False) as found:
        yield found
    factory.close()


def test_a_signed_in_browser_cannot_be_made_to_use_the_channel(client, monkeypatch):
    sign_in(client, monkeypatch)
    assert client.get("/portal/app/tiles/demo/x/meta").status_code in (
        400,
        404,
    )  # the cookie is good for pages
    for answer in (
        client.get(VIEWS),
        client.post(f"{VIEWS}/images-1/commands", json={"do": "go", "page": "jobs"}),
        client.get(f"{VIEWS}/images-1/selection"),
    ):
        assert answer.status_code == 401
        assert "Authorization" in answer.json()["detail"]
    assert client.get(VIEWS, headers=bearer("token-of-anna")).json() == {"version": 1, "views": []}


def test_pages_that_are_not_open_and_bodies_that_are_too_large_are_refused(client):
    headers = bearer("token-of-anna")
    assert client.get(f"{VIEWS}/images-1", headers=headers).status_code == 404
    assert client.get(f"{VIEWS}/images-1/selection", headers=headers).status_code == 404
    assert client.post(f"{VIEWS}/images-1/commands", headers=headers, content=b"{}").status_code == 404
    assert client.get(VIEWS, headers=bearer("token-without-portal")).status_code == 403
    assert client.get(VIEWS, headers=PAGE).status_code == 302
    assert MAX_COMMAND_BYTES < 8 << 20


@pytest.mark.parametrize(
    "command",
    [
        {"do": "eval", "code": "1"},
        {"do": "go", "page": "../../nb/hub/logout"},
        {"do": "go", "page": "images", "query": {"a b": "1"}},
        {"do": "go", "page": "images", "query": {"q": 1}},
        {"do": "go", "page": "catalogs", "query": {"query": "SELECT " + "x" * 2000}},
        {"do": "go", "page": "images", "extra": 1},
        {"do": "set", "query": {}},
        {"do": "overlay", "name": "a", "ra_deg": [1], "dec_deg": [1, 2]},
        {"do": "overlay", "name": "a", "ra_deg": [1], "dec_deg": [91]},
        {"do": "overlay", "name": "a", "ra_deg": [1], "dec_deg": [1], "labels": ["a", "b"]},
        {"do": "overlay", "name": "a", "colour": "red;x", "ra_deg": [], "dec_deg": []},
        {"do": "overlay", "name": "a\n", "ra_deg": [], "dec_deg": []},
        {"do": "overlay", "name": "a", "ra_deg": [0] * (MAX_POINTS + 1), "dec_deg": [0] * (MAX_POINTS + 1)},
        [],
    ],
)
def test_what_is_no_command_is_refused_with_the_reason(command):
    with pytest.raises(UsageError, match="this is no command"):
        parse_command(json.dumps(command).encode())


@pytest.mark.parametrize(
    "text", [b"", b"{", b'{"do": "overlay", "name": "a", "ra_deg": [NaN], "dec_deg": [1]}']
)
def test_broken_documents_are_refused(text):
    with pytest.raises(UsageError, match="this is no command"):
        parse_command(text)


def open_view(views, owner="ada", name="", page="images", connected=lambda: True):
    sent = []
    view = views.attach(owner, name, page, f"/portal/app/{page}", sent.append, connected)
    return view, sent


def test_a_view_belongs_to_its_owner_and_exists_while_a_browser_shows_it():
    views, there = ViewRegistry(), [True]
    view, _ = open_view(views, connected=lambda: there[0])
    assert view.name == "images-1"
    assert open_view(views, "bob")[0].name == "images-1"
    assert open_view(views, name="../x")[0].name == "images-2"
    assert [v.name for v in views.list_views(ADA)] == ["images-2", "images-1"]
    with pytest.raises(NotFoundError):
        views.get_view(BOB, "images-2")
    there[0] = False
    with pytest.raises(NotFoundError):
        views.get_view(ADA, "images-1")
    for _ in range(MAX_VIEWS + 5):
        open_view(views)
    assert len(views.list_views(ADA)) == MAX_VIEWS
    assert len(views.list_views(BOB)) == 1


def test_a_page_that_is_loaded_again_keeps_its_name_and_the_old_one_cannot_take_it_away():
    views = ViewRegistry()
    old, _ = open_view(views, name="cell-1")
    new, _ = open_view(views, name="cell-1", page="catalogs")
    views.detach(old)
    assert views.get_view(ADA, "cell-1") is new
    views.detach(new)
    with pytest.raises(NotFoundError):
        views.get_view(ADA, "cell-1")


def test_a_command_ends_with_the_answer_of_the_page_or_with_the_page_that_comes_next():
    async def run():
        views = ViewRegistry(answer_s=60)
        view, sent = open_view(views)
        going = asyncio.create_task(views.send(ADA, view.name, GO))
        while not sent:
            await asyncio.sleep(0)
        with pytest.raises(BusyError, match="another command"):
            await views.send(ADA, view.name, GO)
        assert sent[0] == {"serial": sent[0]["serial"], "do": "go", "page": "jobs", "query": {}}
        views.answer(view, sent[0]["serial"] + 1, None)  # an answer to something else
        threading.Thread(target=lambda: views.answer(view, sent[0]["serial"], None)).start()
        assert await going is view

        going = asyncio.create_task(views.send(ADA, view.name, GO))
        while len(sent) < 2:
            await asyncio.sleep(0)
        following, _ = open_view(views, name=view.name, page="jobs")
        assert await going is following

    asyncio.run(run())


def test_a_page_that_cannot_or_does_not_answer_is_an_error():
    async def run():
        views = ViewRegistry(answer_s=0.05)
        view, sent = open_view(views)
        with pytest.raises(BusyError, match="does not answer"):
            await views.send(ADA, view.name, GO)
        slow = ViewRegistry()
        view, sent = open_view(slow)
        going = asyncio.create_task(slow.send(ADA, view.name, GO))
        while not sent:
            await asyncio.sleep(0)
        slow.answer(view, sent[0]["serial"], "this page has no image to draw on")
        with pytest.raises(UsageError, match="no image"):
            await going

    asyncio.run(run())


def test_a_selection_wakes_whoever_waits_and_is_cut_to_its_limit():
    async def run():
        views = ViewRegistry()
        view, _ = open_view(views)
        assert await views.wait_selection(ADA, view.name) is None
        waiting = asyncio.create_task(views.wait_selection(ADA, view.name, 0, 20))
        await asyncio.sleep(0)
        table = pa.table({"a": range(MAX_SELECTED + 3)})
        columns = (ColumnInfo("a", "long"),)
        threading.Thread(target=lambda: views.select(view, table, columns, "all")).start()
        found = await waiting
        assert found.total == MAX_SELECTED + 3
        assert found.table.num_rows == MAX_SELECTED
        assert await views.wait_selection(ADA, view.name, found.serial, 0.01) is None
        assert (await views.wait_selection(ADA, view.name, 0)).serial == found.serial
        waiting = asyncio.create_task(views.wait_selection(ADA, view.name, found.serial, 20))
        await asyncio.sleep(0)
        views.detach(view)
        with pytest.raises(NotFoundError):
            await waiting

    asyncio.run(run())
