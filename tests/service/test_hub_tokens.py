"""Tokens: scopes, expiry, revocation and the epoch, disabling of users, the token endpoints of the RSP."""

from __future__ import annotations

import json
import struct
import time

import httpx
from support.stack import Stack


def ask_hub(stack: Stack, token: str) -> httpx.Response:
    transport = httpx.HTTPTransport(uds=str(stack.home / "run" / "hub.sock"))
    with httpx.Client(transport=transport, base_url="http://hub") as client:
        return client.get("/nb/hub/api/user", headers={"Authorization": f"Bearer {token}"})


def epoch(stack: Stack) -> int:
    return int(struct.unpack("<Q", (stack.home / "run" / "epoch").read_bytes())[0])


def test_a_token_has_the_scopes_it_was_given_and_no_other(bare_stack: Stack) -> None:
    answer = ask_hub(bare_stack, bare_stack.token("annie", ["read:tap", "read:image"]))
    assert answer.status_code == 200
    custom = {s.split("!")[0] for s in answer.json()["scopes"] if s.startswith("custom:skydesk:")}
    assert custom == {"custom:skydesk:read:tap", "custom:skydesk:read:image"}


def test_no_token_garbage_and_too_small_a_scope(bare_stack: Stack) -> None:
    url = f"{bare_stack.url}/auth/api/v1/users/annie/tokens"
    assert httpx.get(url).status_code == 401
    bad = httpx.get(url, headers={"Authorization": "Bearer nonsense"})
    assert bad.status_code == 401
    assert bad.headers["www-authenticate"] == 'Bearer realm="skydesk"'
    small = bare_stack.token("annie", ["read:tap"])
    assert httpx.get(url, headers={"Authorization": f"Bearer {small}"}).status_code == 403
    right = bare_stack.token("annie", ["user:token"])
    assert httpx.get(url, headers={"Authorization": f"Bearer {right}"}).status_code == 200
    assert httpx.get(url, auth=("x-oauth-basic", right)).status_code == 200
    assert httpx.get(url, auth=(right, "x-oauth-basic")).status_code == 200
    others = f"{bare_stack.url}/auth/api/v1/users/vera/tokens"
    bare_stack.add_user("vera")
    assert httpx.get(others, headers={"Authorization": f"Bearer {right}"}).status_code == 403


def test_make_and_revoke_through_the_endpoints_of_the_rsp(bare_stack: Stack) -> None:
    url = f"{bare_stack.url}/auth/api/v1/users/annie/tokens"
    headers = {"Authorization": f"Bearer {bare_stack.token('annie', ['user:token', 'read:tap'])}"}
    wish = {"token_name": "laptop", "scopes": ["read:tap"], "expires": int(time.time()) + 3600}
    too_much = httpx.post(url, json=wish | {"scopes": ["exec:batch"]}, headers=headers)
    assert too_much.status_code == 422
    assert httpx.post(url, json=wish | {"expires": 1}, headers=headers).status_code == 422
    made = httpx.post(url, json=wish, headers=headers)
    assert made.status_code == 201
    assert ask_hub(bare_stack, made.json()["token"]).status_code == 200
    shown = httpx.get(f"{bare_stack.url}{made.headers['location']}", headers=headers).json()
    assert (shown["token_name"], shown["scopes"]) == ("laptop", ["read:tap"])
    before = epoch(bare_stack)
    begun = time.monotonic()
    assert httpx.delete(f"{bare_stack.url}{made.headers['location']}", headers=headers).status_code == 204
    assert ask_hub(bare_stack, made.json()["token"]).status_code == 403
    assert epoch(bare_stack) > before, "services learn of a revocation through the epoch"
    assert time.monotonic() - begun < 1


def test_the_session_needs_its_csrf_token_for_a_change(bare_stack: Stack) -> None:
    client = bare_stack.browser("annie")
    wish = {"token_name": "page", "scopes": ["read:tap"]}
    assert client.post("/auth/api/v1/users/annie/tokens", json=wish).status_code == 403
    csrf = client.get("/auth/api/v1/login").json()["csrf"]
    headers = {"X-CSRF-Token": csrf}
    assert client.post("/auth/api/v1/users/annie/tokens", json=wish, headers=headers).status_code == 201
    assert client.get("/auth/tokens").status_code == 200


def test_using_and_making_tokens_does_not_move_the_epoch(bare_stack: Stack) -> None:
    token = bare_stack.token("annie", ["read:tap"])
    before = epoch(bare_stack)
    for _ in range(3):
        assert ask_hub(bare_stack, token).status_code == 200
    bare_stack.token("annie", ["read:tap"])
    assert epoch(bare_stack) == before


def test_an_administrator_who_never_signed_in_is_one(bare_stack: Stack) -> None:
    bare_stack.add_user("olga", admin=True)
    early = bare_stack.command("token", "create", "--user", "olga", "--scope", "admin:users", check=False)
    assert "olga has to open Notebooks or the Portal once" in early.stderr
    for name, status in (("olga", 200), ("annie", 403)):
        headers = {"Authorization": f"Bearer {bare_stack.token(name, ['read:tap'])}"}
        assert httpx.get(f"{bare_stack.url}/api/metrics", headers=headers).status_code == status


def test_a_token_expires(bare_stack: Stack) -> None:
    token = bare_stack.token("annie", ["read:tap"], expires="2s")
    assert ask_hub(bare_stack, token).status_code == 200
    time.sleep(2.2)
    assert ask_hub(bare_stack, token).status_code == 403


def test_a_disabled_user_has_nothing_left(bare_stack: Stack) -> None:
    token = bare_stack.token("fritz")
    client = bare_stack.browser("fritz")
    before = epoch(bare_stack)
    bare_stack.command("user", "disable", "fritz")
    assert ask_hub(bare_stack, token).status_code == 403
    assert epoch(bare_stack) > before
    assert client.get("/auth/api/v1/user-info").status_code == 401
    refused = bare_stack.command("token", "create", "--user", "fritz", "--scope", "read:tap", check=False)
    assert refused.returncode == 1
    assert refused.stderr == "skydesk: user fritz is disabled [user]\n"


def test_the_key_files_are_private(bare_stack: Stack) -> None:
    for name in ("secrets.json", "identity.sqlite", "run/supervisor.sock", "run/lifeline.sock", "run/epoch"):
        assert (bare_stack.home / name).stat().st_mode & 0o077 == 0, name
    assert (bare_stack.home / "run").stat().st_mode & 0o777 == 0o700
    assert (bare_stack.home / "hub.sqlite").stat().st_mode & 0o077 == 0


def test_a_quota_of_ones_own_reaches_the_services(bare_stack: Stack) -> None:
    token = bare_stack.token("thrifty", ["read:tap"])
    bare_stack.command(
        "user", "quota", "thrifty", "--requests", "tap=2", "--jobs", "3", "--result-gib", "0.5"
    )
    shown = json.loads(bare_stack.command("user", "quota", "thrifty", "--show").stdout)
    own = {"api": {"tap": 2}, "jobs": {"active": 3, "result_bytes": 2**29}}
    assert shown == {"version": 1, "name": "thrifty", "memory_mib": None, "services": own}
    with httpx.Client(base_url=bare_stack.url, headers={"Authorization": f"Bearer {token}"}) as client:
        told = client.get("/auth/api/v1/user-info").json()["quota"]
        assert {key: told[key] for key in own} == own
        assert told["notebook"]["spawn"] is True
        answers = [client.get("/api/tap/capabilities") for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert answers[2].headers["retry-after"]
    # The memory alone leaves the rest as it is, no option at all takes everything back.
    bare_stack.command("user", "quota", "thrifty", "--memory-mib", "700")
    assert json.loads(bare_stack.command("user", "quota", "thrifty", "--show").stdout)["services"] == own
    bare_stack.command("user", "quota", "thrifty")
    shown = json.loads(bare_stack.command("user", "quota", "thrifty", "--show").stdout)
    assert (shown["memory_mib"], shown["services"]) == (None, {})
    for wrong in ("tap", "tap=many", "tap=-1", "../tap=1"):
        assert (
            bare_stack.command("user", "quota", "thrifty", "--requests", wrong, check=False).returncode == 2
        )
