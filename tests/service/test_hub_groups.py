"""Groups that operators and administrators make: by command and over HTTP, for what people share and are given."""

from __future__ import annotations

import json
import re

import httpx
import pytest
from support.stack import Stack

TABLES = "/api/tables"
QUERY = {"QUERY": "SELECT COUNT(*) AS n FROM user_ida.stars", "RESPONSEFORMAT": "csv"}


def groups_of(client: httpx.Client) -> list[str]:
    return [group["name"] for group in client.get("/auth/api/v1/user-info").json()["groups"]]


@pytest.mark.requirement("DMS-LSP-REQ-0027")
def test_a_group_reaches_tokens_and_sessions_at_once(bare_stack: Stack) -> None:
    for name in ("ida", "max", "kim"):
        bare_stack.add_user(name)
    made = bare_stack.command("group", "add", "g_lens", "max", "--description", "Strong lenses")
    assert made.stdout == "g_lens: max (Strong lenses)\n"
    with bare_stack.client("ida") as ida, bare_stack.client("max") as max_, bare_stack.client("kim") as kim:
        assert ida.put(f"{TABLES}/stars", content=b"id,ra,dec\n1,2,3\n").status_code == 200
        # The services have seen both tokens before the share and before each change.
        assert max_.post("/api/tap/sync", data=QUERY).status_code == 400
        assert kim.post("/api/tap/sync", data=QUERY).status_code == 400
        shared = ida.put(f"{TABLES}/stars/shares", json={"groups": ["g_lens"]})
        assert shared.status_code == 200, shared.text
        assert max_.post("/api/tap/sync", data=QUERY).text.split() == ["n", "1"]
        assert kim.post("/api/tap/sync", data=QUERY).status_code == 400
        assert groups_of(max_) == ["users", "g_lens"]
        bare_stack.command("group", "add", "g_lens", "kim")
        assert kim.post("/api/tap/sync", data=QUERY).text.split() == ["n", "1"]
        bare_stack.command("group", "remove", "g_lens", "kim")
        assert kim.post("/api/tap/sync", data=QUERY).status_code == 400
        assert max_.post("/api/tap/sync", data=QUERY).status_code == 200
        listed = json.loads(bare_stack.command("group", "list", "--json").stdout)
        assert listed == {
            "version": 1,
            "groups": [{"name": "g_lens", "description": "Strong lenses", "members": ["max"]}],
        }
        people = bare_stack.command("user", "list").stdout.splitlines()
        assert [line.split()[1:] for line in people if line.split()[0] in {"max", "kim"}] == [
            [],
            ["in", "g_lens"],
        ]
        gone = bare_stack.command("group", "remove", "g_lens").stdout
        assert gone == "group g_lens removed; it had 1 members\n"
        assert max_.post("/api/tap/sync", data=QUERY).status_code == 400
        assert groups_of(max_) == ["users"]


def test_sharing_with_nobody_is_told(bare_stack: Stack) -> None:
    bare_stack.add_user("max")
    bare_stack.command("group", "add", "g_survey", "max")
    with bare_stack.client("ida") as ida:
        ida.put(f"{TABLES}/mine", content=b"id\n1\n")
        for path in (f"{TABLES}/mine/shares", "/api/sharing/u-ida"):
            wrong = ida.put(path, json={"users": ["maxx"], "groups": ["g_surwey"]})
            assert wrong.status_code == 400
            assert "there is no user 'maxx' (did you mean 'max'?)" in wrong.text
            assert "there is no group 'g_surwey' (did you mean 'g_survey'?)" in wrong.text
            assert ida.put(path, json={"users": ["max"], "groups": ["g_survey", "users"]}).status_code == 200
        # Whoever was named before the group went stays named, and somebody else can still be added.
        bare_stack.command("group", "remove", "g_survey")
        kept = ida.put(f"{TABLES}/mine/shares", json={"groups": ["g_survey", "admins"]})
        assert kept.status_code == 200


def test_mistakes_on_the_command_line_change_nothing(bare_stack: Stack) -> None:
    bare_stack.add_user("max")
    before = bare_stack.command("group", "list").stdout
    for arguments, message in (
        (("add", "Upper"), r"group name 'Upper': .* \[user\]"),
        (("add", "admins", "max"), r"group 'admins' is the platform's own.* \[user\]"),
        (("add", "g_new", "mox"), r"no user 'mox': did you mean 'max'\? \[user\]"),
        (("remove", "g_nothing"), r"no group 'g_nothing'.* \[user\]"),
    ):
        done = bare_stack.command("group", *arguments, check=False)
        assert done.returncode == 1
        assert re.fullmatch(rf"skydesk: {message}\n", done.stderr), done.stderr
    assert bare_stack.command("group", "list").stdout == before


def test_administrators_change_groups_over_http_and_others_do_not(bare_stack: Stack) -> None:
    bare_stack.add_user("max")
    bare_stack.add_user("boss", admin=True)
    url = "/auth/api/v1/groups"
    boss = bare_stack.browser("boss")
    csrf = {"X-CSRF-Token": boss.get("/auth/api/v1/login").json()["csrf"]}
    wish = {"description": "Supernovae", "members": ["max"]}
    assert boss.put(f"{url}/g_sn", json=wish).status_code == 403
    assert boss.put(f"{url}/g_sn", json={"members": ["nobody"]}, headers=csrf).status_code == 422
    assert boss.put(f"{url}/g_sn", json=wish, headers=csrf).json() == {"name": "g_sn", **wish}
    assert boss.put(f"{url}/g_sn/members/boss", headers=csrf).json()["members"] == ["boss", "max"]
    assert boss.put(f"{url}/g_none/members/boss", headers=csrf).status_code == 404
    assert boss.delete(f"{url}/g_sn/members/boss", headers=csrf).status_code == 204
    assert [g["name"] for g in boss.get(url).json()] == ["users", "admins", "g_sn"]
    with bare_stack.client("max") as max_, bare_stack.client("ida") as ida:
        assert {g["name"]: g["members"] for g in max_.get(url).json()} == {"users": None, "g_sn": ["max"]}
        assert [g["name"] for g in ida.get(url).json()] == ["users"]
        assert ida.put(f"{url}/g_sn/members/ida").status_code == 403
        assert ida.delete(f"{url}/g_sn").status_code == 403
    assert httpx.get(f"{bare_stack.url}{url}").status_code == 401
    assert (
        httpx.post(f"{bare_stack.url}/auth/api/v1/names/unknown", json={"users": ["max"]}).status_code == 401
    )
    # A token of an administrator that lacks the scope does not do, either.
    with bare_stack.client("boss") as plain:
        assert plain.delete(f"{url}/g_sn").status_code == 403
    assert boss.delete(f"{url}/g_sn", headers=csrf).status_code == 204
    assert boss.delete(f"{url}/g_sn", headers=csrf).status_code == 404
