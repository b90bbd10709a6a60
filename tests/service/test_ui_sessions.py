"""Files that every page loads are kept by browsers; a page's session belongs to its owner and is made by its page alone."""

from __future__ import annotations

import re
import time

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from tests.support.portal import make_portal

ANNA = {"authorization": "Bearer token-of-anna"}
DORA = {"authorization": "Bearer token-of-dora"}
PREFIX = "/portal/app"
SCRIPT = f"{PREFIX}/static/js/bokeh.min.js"


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    home = tmp_path_factory.mktemp("sessions")
    (home / "releases").mkdir()
    app, factory = make_portal(home, "http://testserver")
    with TestClient(app, base_url="http://testserver", headers=ANNA) as found:
        yield found
    factory.close()


def open_page(client) -> tuple[str, str]:
    """Return session and token of a new page of anna."""
    page = client.get(f"{PREFIX}/jobs").text
    session, token = re.search(r'data-session="([^"]+)"', page), re.search(r'"token":"([^"]+)"', page)
    assert session
    assert token
    return session[1], token[1]


def connect(client, token: str, headers: dict[str, str]) -> list[str]:
    with client.websocket_connect(
        f"ws://testserver{PREFIX}/jobs/ws",
        subprotocols=["bokeh", token],
        headers={"origin": "http://testserver", **headers},
    ) as socket:
        return [socket.receive_text() for _ in range(3)]


def test_scripts_are_loaded_once(client):
    first = client.get(f"{SCRIPT}?v=3", headers={"accept-encoding": "gzip"})
    assert first.status_code == 200
    assert first.headers["content-encoding"] == "gzip"
    assert "immutable" in first.headers["cache-control"]
    assert b"Bokeh" in first.content
    plain = client.get(SCRIPT, headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.headers["cache-control"] == "no-cache"
    assert plain.content == first.content
    again = client.get(SCRIPT, headers={"if-none-match": first.headers["etag"]})
    assert again.status_code == 304
    assert again.content == b""
    page = client.get(f"{PREFIX}/jobs").text
    scripts = re.findall(r'<script[^>]+src="(static/[^"]+)"', page)
    assert scripts
    assert all("?v=" in script for script in scripts)


@pytest.mark.parametrize(
    "path",
    [
        "static/../../../app.py",
        "static/js/%2e%2e/%2e%2e/core.py",
        "static/extensions/panel/%2e%2e/config.py",
        "static/extensions/nothing/panel.js",
        "components/skydesk_portal.ui.components/SkyTable/_bundle_path/assets/../app.py",
    ],
)
def test_nothing_outside_the_folders_of_scripts_is_served(client, path):
    assert client.get(f"{PREFIX}/{path}").status_code in (403, 404)


def test_scripts_are_for_people_who_are_signed_in(client):
    assert client.get(SCRIPT, headers={"authorization": "Bearer nobody"}).status_code == 401


def test_a_session_is_known_to_its_owner_alone(client):
    session, token = open_page(client)
    assert client.get(f"{PREFIX}/page-sessions/{session}").json()["calm_ms"] > 0
    assert client.get(f"{PREFIX}/page-sessions/{session}", headers=DORA).status_code == 404
    assert client.post(f"{PREFIX}/page-sessions/{session}/closed", headers=DORA).status_code == 404
    assert "ACK" in connect(client, token, ANNA)[0]
    with pytest.raises(WebSocketDisconnect) as refused:
        connect(client, token, DORA)
    assert refused.value.code == 4404


def test_a_token_makes_no_session_anew(client):
    session, token = open_page(client)
    client.post(f"{PREFIX}/page-sessions/{session}/closed")
    limit = time.monotonic() + 60
    while client.get(f"{PREFIX}/page-sessions/{session}").status_code != 404:
        assert time.monotonic() < limit
        time.sleep(0.3)
    with pytest.raises(WebSocketDisconnect) as refused:
        connect(client, token, ANNA)
    assert refused.value.code == 4404
    assert client.get(f"{PREFIX}/page-sessions/{session}").status_code == 404
