"""Signing in through the embedded provider, over HTTP, as a browser does; and what a wrong attempt gets."""

from __future__ import annotations

import json
import time

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet
from support.stack import Stack, form_token


def test_from_authorize_to_the_hub(bare_stack: Stack) -> None:
    client = bare_stack.browser("vera")
    answer = client.get("/nb/hub/home")
    assert answer.status_code == 200
    assert str(answer.url) == f"{bare_stack.url}/nb/hub/home"
    steps = [str(step.url) for step in answer.history]
    assert any("/auth/oidc/authorize?" in step and "code_challenge_method=S256" in step for step in steps)
    assert any("/nb/hub/oauth_callback?code=" in step for step in steps)
    assert client.get("/auth/api/v1/user-info").json()["username"] == "vera"


def test_without_a_session_the_hub_leads_to_the_form(bare_stack: Stack) -> None:
    answer = httpx.get(f"{bare_stack.url}/nb/hub/home", follow_redirects=True)
    assert answer.url.path == "/auth/login"
    assert "Sign in" in answer.text


def test_one_time_link_sets_a_password_once(bare_stack: Stack) -> None:
    line = bare_stack.command("user", "add", "edwin").stdout
    link = line.split()[-1]
    with httpx.Client(follow_redirects=True) as client:
        page = client.get(link)
        data = {"password": "andromeda 1", "again": "andromeda 2", "form_token": form_token(page)}
        assert client.post(link, data=data).status_code == 400
        assert client.post(link, data=data | {"password": "short", "again": "short"}).status_code == 400
        assert client.post(link, data=data | {"again": "andromeda 1"}).status_code == 200
        assert client.get(f"{bare_stack.url}/auth/api/v1/user-info").json()["username"] == "edwin"
        assert client.get(link).status_code == 404
    bare_stack.passwords["edwin"] = "andromeda 1"
    assert bare_stack.browser("edwin").get("/nb/hub/home").status_code == 200


def test_wrong_passwords_are_slowed_down(bare_stack: Stack) -> None:
    bare_stack.add_user("henrietta")
    with httpx.Client(base_url=bare_stack.url) as client:
        data = {"name": "henrietta", "password": "wrong", "form_token": form_token(client.get("/auth/login"))}
        codes = [client.post("/auth/login", data=data).status_code for _ in range(11)]
    assert codes == [401] * 10 + [429]


def test_a_form_sent_from_elsewhere_is_refused(bare_stack: Stack) -> None:
    data = {"name": "vera", "password": bare_stack.add_user("vera"), "form_token": "0" * 64}
    assert httpx.post(f"{bare_stack.url}/auth/login", data=data).status_code == 403
    with httpx.Client(base_url=bare_stack.url) as client:
        genuine = data | {"form_token": form_token(client.get("/auth/login"))}
        headers = {"Origin": "http://evil.example"}
        assert client.post("/auth/login", data=genuine, headers=headers).status_code == 403


@pytest.mark.parametrize("goal", ["//evil.example/", "https://evil.example/", "/\\evil.example"])
def test_sign_in_leads_to_no_other_site(bare_stack: Stack, goal: str) -> None:
    answer = bare_stack.browser("vera").get("/auth/login", params={"next": goal}, follow_redirects=False)
    assert answer.headers["location"] == "/"


@pytest.mark.parametrize(
    "change",
    [
        {"redirect_uri": "http://evil.example/"},
        {"client_id": "nobody"},
        {"code_challenge": None, "code_challenge_method": None},
        {"code_challenge_method": "plain"},
        {"response_type": "token"},
    ],
    ids=["redirect", "client", "no-pkce", "plain-pkce", "implicit"],
)
def test_authorize_gives_no_code_to_a_bad_request(bare_stack: Stack, change: dict[str, str | None]) -> None:
    good = {
        "response_type": "code",
        "client_id": "jupyterhub",
        "redirect_uri": f"{bare_stack.url}/nb/hub/oauth_callback",
        "scope": "openid profile",
        "state": "abc",
        "code_challenge": "A" * 43,
        "code_challenge_method": "S256",
    }
    query = {key: value for key, value in (good | change).items() if value is not None}
    client = bare_stack.browser("vera")
    answer = client.get("/auth/oidc/authorize", params=query, follow_redirects=False)
    assert "code=" not in answer.headers.get("location", "")
    assert answer.status_code in (302, 400, 401), answer.text
    if answer.status_code == 302:
        assert answer.headers["location"].startswith(good["redirect_uri"] + "?error=")


def test_a_code_counts_once_and_needs_secret_and_verifier(bare_stack: Stack) -> None:
    query = {
        "response_type": "code",
        "client_id": "jupyterhub",
        "redirect_uri": f"{bare_stack.url}/nb/hub/oauth_callback",
        "scope": "openid profile groups",
        "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",  # RFC 7636, appendix B
        "code_challenge_method": "S256",
    }
    client = bare_stack.browser("vera")
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    secret = json.loads((bare_stack.home / "secrets.json").read_text())["oidc_secret"]

    def redeem(password: str, word: str) -> httpx.Response:
        answer = client.get("/auth/oidc/authorize", params=query, follow_redirects=False)
        code = httpx.URL(answer.headers["location"]).params["code"]
        data = {"grant_type": "authorization_code", "code": code, "code_verifier": word}
        data["redirect_uri"] = query["redirect_uri"]
        first = httpx.post(f"{bare_stack.url}/auth/oidc/token", data=data, auth=("jupyterhub", password))
        again = httpx.post(f"{bare_stack.url}/auth/oidc/token", data=data, auth=("jupyterhub", password))
        assert again.status_code >= 400
        return first

    assert redeem("wrong", verifier).status_code == 401
    assert redeem(secret, "x" * 43).status_code == 400
    tokens = redeem(secret, verifier).json()
    keys = KeySet.import_key_set(httpx.get(f"{bare_stack.url}/auth/oidc/jwks").json())
    claims = jwt.decode(tokens["id_token"], keys, algorithms=["RS256"]).claims
    assert claims["sub"] == "vera"
    assert claims["iss"] == f"{bare_stack.url}/auth/oidc"
    assert claims["exp"] > time.time()
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    about = httpx.get(f"{bare_stack.url}/auth/oidc/userinfo", headers=headers).json()
    assert about == {"sub": "vera", "preferred_username": "vera", "name": "vera", "groups": ["users"]}


def test_the_session_cookie_stays_below_auth(bare_stack: Stack) -> None:
    client = bare_stack.browser("vera")
    cookie = next(c for c in client.cookies.jar if c.name == "skydesk_session")
    assert cookie.path == "/auth"
    assert "HttpOnly" in cookie._rest  # type: ignore[attr-defined]


def test_front_pages_answer(bare_stack: Stack) -> None:
    home = httpx.get(f"{bare_stack.url}/")
    assert home.status_code == 200
    assert "default-src 'self'" in home.headers["content-security-policy"]
    other_name = httpx.get(f"{bare_stack.url}/", headers={"Host": "localhost:1"})
    assert other_name.headers["location"] == f"{bare_stack.url}/"
    status = httpx.get(f"{bare_stack.url}/status", headers={"Accept": "application/json"}).json()
    assert status["services"]["hub"]["health"] == "healthy"
    assert 'skydesk_service_up{name="hub"} 1' in httpx.get(f"{bare_stack.url}/metrics").text
    assert httpx.get(f"{bare_stack.url}/docs/../../secrets.json").status_code == 404
    assert httpx.get(f"{bare_stack.url}/docs/%2e%2e/%2e%2e/README.md").status_code == 404
    assert httpx.get(f"{bare_stack.url}/auth/static/skydesk.css").status_code == 200


def test_signing_out_ends_the_sessions_here_and_at_the_hub(bare_stack: Stack) -> None:
    client = bare_stack.browser("grace")
    assert client.get("/nb/hub/home").url.path == "/nb/hub/home"
    assert client.get("/auth/session").json() == {"username": "grace"}
    page = client.get("/auth/logout")
    assert client.post("/auth/logout", data={"form_token": "0" * 64}).status_code == 403
    assert client.post("/auth/logout", data={"form_token": form_token(page)}).url.path == "/"
    assert client.get("/auth/session").json() == {"username": None}
    assert client.get("/nb/hub/home").url.path == "/auth/login"
