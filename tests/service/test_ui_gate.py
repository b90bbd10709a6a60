"""Nobody passes the Portal's gate who may not, over http and websocket alike."""

from urllib.parse import parse_qs, urlsplit

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from support.portal import make_portal

from skydesk_portal.ui import gate
from skydesk_portal.ui.gate import OAuthSettings

URL = "http://testserver"
OAUTH = OAuthSettings("service-portal", "a-secret", URL, "http+unix://%2Ftmp%2Fnone.sock/nb/hub/api")
PAGE = {"accept": "text/html"}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gate-home")
    (folder / "releases").mkdir()
    return folder


@pytest.fixture
def client(home):
    app, factory = make_portal(home, URL, OAUTH)
    with TestClient(app, base_url=URL, follow_redirects=False) as found:
        yield found
    factory.close()


def bearer(token):
    return {"authorization": f"Bearer {token}"}


def test_health_needs_no_credentials(client):
    assert client.get("/portal/app/health").json() == {"status": "healthy"}


def test_a_browser_is_sent_to_sign_in_with_pkce(client):
    answer = client.get("/portal/app/images?release=demo", headers=PAGE)
    assert answer.status_code == 302
    target = urlsplit(answer.headers["location"])
    query = parse_qs(target.query)
    assert target.path == "/nb/hub/api/oauth2/authorize"
    assert query["client_id"] == ["service-portal"]
    assert query["redirect_uri"] == [f"{URL}/portal/app/oauth_callback"]
    assert query["code_challenge_method"] == ["S256"]


def test_a_program_without_a_token_gets_401(client):
    answer = client.get("/portal/app/tiles/demo/x/image/0/0/0")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Bearer realm="skydesk"'


@pytest.mark.parametrize("name", ["X-Skydesk-Identity", "x-skydesk-user", "X-SKYDESK-IDENTITY"])
def test_nobody_can_claim_to_be_somebody_by_a_header(client, name):
    claim = '{"name": "anna", "scopes": ["exec:portal", "read:image"], "groups": [], "admin": true}'
    assert client.get("/portal/app/tiles/demo/x/meta", headers={name: claim}).status_code == 401


def test_a_wrong_token_is_nobody(client):
    assert client.get("/portal/app/preview/demo.png", headers=bearer("forged")).status_code == 401


def test_a_token_without_the_portal_scope_is_refused(client):
    answer = client.get("/portal/app/preview/demo.png", headers=bearer("token-without-portal"))
    assert answer.status_code == 403
    assert "exec:portal" in answer.json()["detail"]


def test_a_token_without_images_gets_no_pixels(client):
    answer = client.get("/portal/app/preview/demo.png", headers=bearer("token-without-images"))
    assert answer.status_code == 403
    assert "read:image" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("headers", "code"), [({}, 4401), (bearer("forged"), 4401), (bearer("token-without-portal"), 4403)]
)
def test_the_websocket_is_guarded_too(client, headers, code):
    with (
        pytest.raises(WebSocketDisconnect) as closed,
        client.websocket_connect("/portal/app/images/ws", headers=headers),
    ):
        pass
    assert closed.value.code == code


def sign_in(client, monkeypatch, wanted="/portal/app/images?release=demo"):
    async def exchange(_oauth, code, verifier):
        assert code == "the-code"
        assert len(verifier) > 40
        return "token-of-anna"

    monkeypatch.setattr(gate, "_exchange", exchange)
    location = client.get(wanted, headers=PAGE).headers["location"]
    state = parse_qs(urlsplit(location).query)["state"][0]
    return client.get(f"/portal/app/oauth_callback?code=the-code&state={state}", headers=PAGE)


def test_signing_in_leads_back_and_sets_a_sealed_cookie(client, monkeypatch):
    answer = sign_in(client, monkeypatch)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/portal/app/images?release=demo"
    cookie = next(c for c in answer.headers.get_list("set-cookie") if c.startswith("skydesk-portal="))
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Path=/portal/app" in cookie
    assert "token-of-anna" not in cookie
    assert client.get("/portal/app/tiles/demo/x/meta").status_code in (400, 404)


def test_signing_out_drops_the_cookie(client, monkeypatch):
    sign_in(client, monkeypatch)
    answer = client.get("/portal/app/logout")
    assert answer.headers["location"] == "/auth/logout"
    assert client.get("/portal/app/tiles/demo/x/meta").status_code == 401


def test_an_answer_to_another_sign_in_is_refused(client):
    client.get("/portal/app/images", headers=PAGE)
    answer = client.get("/portal/app/oauth_callback?code=the-code&state=wrong", headers=PAGE)
    assert answer.status_code == 400
    assert "does not belong" in answer.text


def test_an_answer_without_a_sign_in_is_refused(client):
    assert client.get("/portal/app/oauth_callback?code=a&state=b").status_code == 400


def test_pages_bring_their_policy_and_say_that_there_is_no_release(client):
    answer = client.get("/portal/app/images", headers={**PAGE, **bearer("token-of-anna")})
    assert answer.status_code == 200
    assert "connect-src 'self'" in answer.headers["content-security-policy"]


def test_a_page_that_does_not_exist_leads_back(client):
    answer = client.get("/portal/app/nothing", headers={**PAGE, **bearer("token-of-anna")})
    assert answer.status_code == 404
    assert "The Portal has no such page" in answer.text
    assert 'href="/portal/app/"' in answer.text
    assert client.get("/portal/app/nothing", headers=bearer("token-of-anna")).json()["detail"]


def test_the_page_does_not_hold_the_sealed_cookie(client, monkeypatch):
    sign_in(client, monkeypatch)
    sealed = client.cookies["skydesk-portal"]
    page = client.get("/portal/app/images", headers=PAGE).text
    import base64
    import re

    tokens = re.findall(r'"token":\s*"([^"]+)"', page)
    assert tokens
    for token in tokens:
        decoded = b"".join(base64.urlsafe_b64decode(p + "=" * (-len(p) % 4)) for p in token.split("."))
        assert sealed.encode() not in decoded
