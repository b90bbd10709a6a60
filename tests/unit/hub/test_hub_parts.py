"""Parts of the hub by themselves: names, settings, home folders, durations, throttling, the relay's allow-list."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import click
import pytest

from skydesk_hub import account, cli, layout
from skydesk_hub.commands.people import parse_duration
from skydesk_hub.config import HubConfig, load_config
from skydesk_hub.errors import ConfigError, HomeError, UserError
from skydesk_hub.identity.signin import Throttle, is_own_path
from skydesk_hub.identity.store import Store
from skydesk_hub.identity.tokens import read_credential
from skydesk_hub.keys import load_keys
from skydesk_hub.lab import relay
from skydesk_hub.scopes import from_custom, to_custom


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "identity.sqlite")


def test_scopes_come_back_without_filter_and_prefix() -> None:
    given = [
        *to_custom(["read:tap", "exec:batch"]),
        "custom:skydesk:read:image!user=vera",
        "self",
        "access:servers!server",
    ]
    assert from_custom(given) == ["exec:batch", "read:image", "read:tap"]


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("15m", 900), ("1h", 3600), ("7d", 604800), ("2w", 1209600)]
)
def test_durations(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "0h", "-1h", "1.5h", "1y", "1 h", "9999999s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(click.BadParameter):
        parse_duration(text)


@pytest.mark.parametrize("name", ["vera", "a", "a-1", "a" * 31])
def test_user_names(name: str) -> None:
    assert Store.is_name(name)


@pytest.mark.parametrize("name", ["", "Vera", "1a", "-a", "a_b", "a.b", "a/b", "a" * 32, "vera\n", "ä"])
def test_what_is_no_user_name(name: str) -> None:
    assert not Store.is_name(name)


def test_passwords_are_hashed_and_checked(store: Store) -> None:
    store.add_user("vera", password="correct horse")
    assert b"correct horse" not in store.path.read_bytes()
    assert store.check_password("vera", "correct horse") is not None
    assert store.check_password("vera", "wrong horse") is None
    assert store.check_password("nobody", "correct horse") is None
    store.add_user("edwin")
    assert store.check_password("edwin", "") is None, "no password is no empty password"
    store.disable_user("vera")
    assert store.check_password("vera", "correct horse") is None


def test_secrets_are_stored_as_hashes_and_end(store: Store) -> None:
    store.add_user("vera")
    secret = store.make_secret("session", "vera", 60)
    assert secret.encode() not in store.path.read_bytes()
    assert store.find_secret("session", secret) is not None
    assert store.find_secret("once", secret) is None, "a session is no one-time link"
    late = store.make_secret("code", "vera", -1)
    assert store.find_secret("code", late) is None
    once = store.make_once("vera")
    assert store.find_secret("once", once, take=True) is not None
    assert store.find_secret("once", once, take=True) is None
    store.set_password("vera", "new password")
    assert store.find_secret("session", secret) is None, "a new password ends the sessions"


def test_one_person_only(store: Store) -> None:
    with pytest.raises(UserError, match="one local person only"):
        store.add_user("edwin", only="vera")
    store.add_user("vera", only="vera")
    with pytest.raises(UserError, match="one local person only"):
        store.add_user("edwin", only="vera")


def test_first_administrator_is_made_once(store: Store) -> None:
    assert store.ensure_first_user("admin") == ["admin"]
    assert store.get_user("admin").groups == ["users", "admins"]
    store.set_password("admin", "long enough")
    assert store.ensure_first_user("admin") == []


def test_throttle_counts_pairs_sooner_than_addresses() -> None:
    throttle = Throttle()
    for number in range(10):
        assert throttle.wait_s("vera|10.0.0.1", "address:10.0.0.1") == 0, number
        throttle.note("vera|10.0.0.1", "address:10.0.0.1")
    assert 290 < throttle.wait_s("vera|10.0.0.1") <= 301
    assert throttle.wait_s("edwin|10.0.0.1", "address:10.0.0.1") == 0


@pytest.mark.parametrize("path", ["/", "/nb/", "/portal/app/?a=b&c=%2Fx"])
def test_own_addresses(path: str) -> None:
    assert is_own_path(path)


@pytest.mark.parametrize(
    "path", ["", "x", "//evil", "https://evil", "/\\evil", "/a\tb", "/a\nb", "javascript:alert(1)"]
)
def test_foreign_addresses(path: str) -> None:
    assert not is_own_path(path)


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("Bearer abc", "abc"),
        ("bearer abc", "abc"),
        ("Basic eC1vYXV0aC1iYXNpYzphYmM=", "abc"),
        ("Basic YWJjOngtb2F1dGgtYmFzaWM=", "abc"),
        ("Basic !!!", ""),
        ("Digest abc", None),
        ("", None),
    ],
)
def test_where_a_token_may_stand(header: str, token: str | None) -> None:
    assert read_credential(SimpleNamespace(headers={"authorization": header})) == token  # type: ignore[arg-type]


ALLOWED = ["/api", "/repertoire", "/nb/user/vera"]


@pytest.mark.parametrize(
    "target",
    [
        "/api",
        "/api/tap/sync?QUERY=a..b",
        "/repertoire/discovery",
        "/nb/user/vera/lab",
        "/api/a%20b",
        "/api/x.y",
    ],
)
def test_targets_a_lab_may_reach(target: str) -> None:
    assert relay.is_allowed(target, ALLOWED)


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/apis",
        "/api/../auth",
        "/api/%2e%2e/auth",
        "/api/%2E./auth",
        "/api/%252e%252e/auth",
        "/api//x",
        "/api/\\..\\x",
        "/nb/user/edwin/lab",
        "/nb/user/vera/../edwin",
        "http://host/api",
        "*",
        "",
        "/api/%00",
        "/api/%0d%0aX",
    ],
)
def test_targets_a_lab_may_not_reach(target: str) -> None:
    assert not relay.is_allowed(target, ALLOWED)


@pytest.mark.parametrize(
    "headers",
    [
        [(b"content-length", b"1"), (b"content-length", b"2")],
        [(b"content-length", b"1"), (b"transfer-encoding", b"chunked")],
        [(b"transfer-encoding", b"gzip, chunked")],
        [(b"content-length", b"+1")],
    ],
)
def test_bodies_that_can_be_read_in_two_ways(headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(ValueError, match="length"):
        relay.check_framing(headers)


def test_the_relay_opens_sockets_but_no_links(tmp_path: Path) -> None:
    async def check() -> None:
        server = await asyncio.start_unix_server(lambda r, w: w.close(), str(tmp_path / "real.sock"))
        _, writer = await relay.open_real_socket(str(tmp_path / "real.sock"))
        writer.close()
        await writer.wait_closed()
        (tmp_path / "link.sock").symlink_to(tmp_path / "real.sock")
        (tmp_path / "file.sock").write_text("")
        for name in ("link.sock", "file.sock"):
            with pytest.raises(ConnectionError):
                await relay.open_real_socket(str(tmp_path / name))
        server.close()
        await server.wait_closed()

    asyncio.run(check())


def test_keys_are_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    first = load_keys(path)
    assert load_keys(path) == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    with pytest.raises(HomeError, match="readable by other accounts"):
        load_keys(path)
    path.chmod(0o600)
    path.write_text("{")
    with pytest.raises(HomeError, match="damaged key file"):
        load_keys(path)


def test_home_is_made_and_checked(tmp_path: Path) -> None:
    home = Path("/tmp") / f"sky-{os.getpid()}"  # short: unix sockets lie below it
    try:
        made = layout.prepare_home(home)
        assert json.loads((home / "home.json").read_text()) == {"version": 1}
        assert stat.S_IMODE(made.run.stat().st_mode) == 0o700
        layout.prepare_home(home)
        (home / "home.json").write_text("{}")
        with pytest.raises(HomeError, match="not a version file"):
            layout.prepare_home(home)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def test_a_full_disk_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    home = Path("/tmp") / f"sky-{os.getpid()}"
    try:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1 << 20))
        with pytest.raises(HomeError, match=r"the disk is full \(1 MiB free, 64 MiB needed\)"):
            layout.prepare_home(home)
        assert not (home / "home.json").exists()
    finally:
        shutil.rmtree(home, ignore_errors=True)


def test_errors_of_the_system_are_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @cli.skydesk.command("burst")
    def burst() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/home/x")

    monkeypatch.setattr(cli.LazyGroup, "get_command", lambda *_: burst)
    with pytest.raises(SystemExit) as end:
        cli.main(["burst"])
    assert end.value.code == 1
    assert capsys.readouterr().err == "skydesk: /home/x: No space left on device [system]\n"


def test_settings_are_read_and_wrong_ones_named(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    assert load_config(path) == HubConfig()
    with pytest.raises(ConfigError, match="No such file"):
        load_config(path, required=True)
    path.write_text("hub: {port: 9000}\ncore: {x: 1}\n")
    assert load_config(path).port == 9000
    path.write_text("hub: {external_url: 'https://sky.example/with/path'}\n")
    with pytest.raises(ConfigError, match=r"config\.yaml: hub\.external_url: "):
        load_config(path)


def test_hand_over_leaves_hard_links_and_targets_of_links_alone(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root gives files away")
    outside = tmp_path / "raw.fits"
    outside.write_text("x")
    home = tmp_path / "home"
    (home / "butler").mkdir(parents=True)
    (home / "butler" / "own").write_text("x")
    os.link(outside, home / "butler" / "linked")
    (home / "butler" / "pointing").symlink_to(outside)
    assert account.hand_over(home, account.Account(990, 990, "skydesk")) == 4
    assert outside.stat().st_uid == 0
    assert (home / "butler" / "own").stat().st_uid == 990
    assert (home / "butler" / "pointing").lstat().st_uid == 990


def test_closed_parents_are_found(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    inside = closed / "open"
    inside.mkdir(parents=True)
    for folder in (*reversed(tmp_path.parents), tmp_path):
        if not folder.stat().st_mode & stat.S_IXOTH:
            closed = folder
            break
    else:
        closed.chmod(0o700)
    stranger = account.Account(64321, 64321, "stranger")
    assert account.find_closed_parent(inside, stranger) == closed
    owner = account.Account(os.geteuid(), os.getegid(), "me")
    assert account.find_closed_parent(inside, owner) is None


def test_help_and_status_import_nothing_heavy() -> None:
    code = (
        "import sys\nfrom skydesk_hub import cli\nfrom skydesk_hub.commands import platform\n"
        "print(*[m for m in ('jupyterhub', 'fastapi', 'authlib', 'httpx', 'pydantic', 'numpy', 'lsst') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
