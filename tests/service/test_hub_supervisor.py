"""The supervisor: what is killed comes back, labs survive the hub, a stop leaves nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from support.lab import Kernel
from support.stack import SKYDESK, Stack, form_token, start_stack

CORE_SERVICES = ("proxy", "identity", "hub")


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with start_stack(config="hub: {workers: 0}\n") as stack:
        yield stack


def belonging_to(home: Path) -> list[int]:
    """Return the processes whose environment or command names a home folder."""
    mark, found = os.fsencode(home), []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            with contextlib.suppress(OSError):
                here = Path("/proc", entry)
                if mark in (here / "environ").read_bytes() or mark in (here / "cmdline").read_bytes():
                    found.append(int(entry))
    return found


def wait_gone(home: Path, within_s: float) -> float:
    begun = time.monotonic()
    while belonging_to(home):
        assert time.monotonic() - begun < within_s, [
            Path(f"/proc/{p}/cmdline").read_bytes() for p in belonging_to(home)
        ]
        time.sleep(0.05)
    return time.monotonic() - begun


@pytest.mark.parametrize("name", CORE_SERVICES)
def test_a_killed_service_comes_back(stack: Stack, name: str) -> None:
    before = stack.wait_healthy(*CORE_SERVICES)["services"][name]
    os.kill(before["pid"], signal.SIGKILL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        after = stack.status()["services"][name]
        if after["pid"] not in (None, before["pid"]) and after["health"] == "healthy":
            break
        time.sleep(0.1)
    assert after["health"] == "healthy"
    assert after["restarts"] == before["restarts"] + 1
    assert wait_answer(f"{stack.url}/nb/hub/login", 60) == 302, "the hub's own route is there again"
    assert httpx.get(f"{stack.url}/").status_code == 200


def wait_answer(url: str, within_s: float) -> int:
    deadline = time.monotonic() + within_s
    status = 0
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.HTTPError):
            status = httpx.get(url).status_code
            if status < 500 and status != 404:
                return status
        time.sleep(0.1)
    return status


def test_lab_and_kernel_survive_the_hub_and_the_proxy(stack: Stack) -> None:
    client = stack.browser("maria")
    stack.start_lab(client, "maria")
    kernel = Kernel(stack, client, "maria")
    kernel.run("x = 41")
    for name in ("hub", "proxy"):
        os.kill(stack.status()["services"][name]["pid"], signal.SIGKILL)
        time.sleep(1)
        stack.wait_healthy(*CORE_SERVICES)
        assert wait_answer(f"{stack.url}/nb/user/maria/api", 60) == 200
    again = httpx.Client(base_url=stack.url, cookies=client.cookies, timeout=30, follow_redirects=True)
    listed = again.get("/nb/user/maria/api/kernels").json()
    assert [k["id"] for k in listed] == [kernel.id]
    kernel.reconnect()  # the proxy's death closed the websocket; the kernel itself lives
    assert kernel.run("print(x + 1)").strip() == "42"
    kernel.close()


def test_a_second_up_on_one_home_is_refused(stack: Stack) -> None:
    done = run_up(stack.home)
    assert done.returncode == 1
    assert "already running on this home folder" in done.stderr
    assert stack.status()["services"]["hub"]["health"] == "healthy"


def test_status_is_complete(stack: Stack) -> None:
    stack.wait_healthy(*CORE_SERVICES)
    state = stack.status()
    assert state["version"] == 1
    assert state["url"] == stack.url
    assert state["home"] == str(stack.home)
    assert {"proxy", "identity", "hub", "api", "butler", "portal"} <= set(state["services"])
    assert set(state["services"]["hub"]) >= {"health", "url", "pid", "since"}
    assert state["services"]["hub"]["url"] == f"{stack.url}/nb/"


def test_a_service_that_ignores_sigterm_is_ended_in_time(stack: Stack) -> None:
    os.kill(stack.status()["services"]["identity"]["pid"], signal.SIGSTOP)
    home = stack.home
    took_s = stack.stop()
    # The promise of 5 s is measured by `make bench`; here other tests use the machine.
    assert took_s < 20
    wait_gone(home, 20)
    assert not (home / "run" / "supervisor.sock").exists()


def test_sigkill_of_the_supervisor_leaves_nothing() -> None:
    with start_stack(config="hub: {workers: 0}\n") as stack:
        client = stack.browser("cecilia")
        stack.start_lab(client, "cecilia")
        assert len(belonging_to(stack.home)) >= 7
        os.kill(stack.status()["pid"], signal.SIGKILL)
        stack.process.wait(30)
        wait_gone(stack.home, 20)


def test_down_with_a_lab_and_up_again() -> None:
    with start_stack(config="hub: {workers: 0}\n") as stack:
        client = stack.browser("cecilia")
        stack.start_lab(client, "cecilia")
        assert stack.command("down").stdout.startswith("stopped in ")
        stack.process.wait(30)
        assert not belonging_to(stack.home)
        port = str(free_port())
        done = run_up(stack.home, "--detach", "--no-demo", "--port", port, timeout_s=90)
        try:
            assert "skydesk is" in done.stdout, done.stdout + done.stderr
            answer = httpx.get(f"http://127.0.0.1:{port}/nb/user/cecilia/lab", follow_redirects=False)
            assert answer.status_code == 302, "the lab of the earlier start is not taken for a running one"
        finally:
            stack.command("down")
        wait_gone(stack.home, 2)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run_up(home: Path, *arguments: str, timeout_s: float = 30) -> subprocess.CompletedProcess[str]:
    argv = [SKYDESK, "up", "--home", str(home), *arguments]
    return subprocess.run(argv, capture_output=True, text=True, timeout=timeout_s, check=False)


@pytest.fixture
def home() -> Iterator[Path]:
    top = Path(tempfile.mkdtemp(prefix="sky", dir="/tmp"))
    yield top / "h"
    shutil.rmtree(top)


def refused(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1, done.stdout + done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


def test_a_port_in_use(home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = refused(run_up(home, "--port", str(port), "--no-demo"))
    assert (
        line
        == f"skydesk: port {port} of 127.0.0.1: Address already in use (setting hub.port or --port) [config]"
    )


def test_a_home_of_a_newer_version(home: Path) -> None:
    home.mkdir()
    (home / "home.json").write_text('{"version": 99}')
    assert "home.json: home folder of version 99, this skydesk knows up to version 1 [home]" in refused(
        run_up(home)
    )
    assert sorted(p.name for p in home.iterdir()) == ["home.json"], "nothing half-written"


def test_a_home_that_is_a_file_or_lies_too_deep(home: Path) -> None:
    home.write_text("x")
    done = run_up(home)
    assert done.returncode == 2
    assert "is a file" in done.stderr
    assert "path too long for unix sockets" in refused(run_up(home.parent / ("d" * 90)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hub: {prot: 1}", "hub.prot: Extra inputs are not permitted"),
        ("hub: {port: many}", "hub.port: Input should be a valid integer"),
        ("hubb: {}", "unknown section 'hubb'"),
        ("{", "not YAML"),
        ("hub: {run_as: nobody-of-that-name}", "no account 'nobody-of-that-name'"),
    ],
)
def test_a_bad_configuration(home: Path, text: str, message: str) -> None:
    home.mkdir()
    (home / "config.yaml").write_text(text)
    if "run_as" in text and os.geteuid() != 0:
        pytest.skip("only root drops to another account")
    line = refused(run_up(home))
    assert message in line
    assert line.endswith(" [config]")


def test_one_local_person_where_labs_cannot_be_isolated(home: Path) -> None:
    """Root that stays root, or a machine without bubblewrap, serves one person and refuses a second."""
    env = {**os.environ, "PATH": "/nonexistent"}
    config = "hub: {workers: 0, run_as: root}\n" if os.geteuid() == 0 else "hub: {workers: 0}\n"
    home.mkdir()
    (home / "config.yaml").write_text(config)
    argv = [SKYDESK, "up", "--home", str(home), "--port", "0", "--no-demo", "--detach"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False, env=env)
    stack = Stack(home, None)  # type: ignore[arg-type]  # detached
    try:
        assert "serving one local person only: " in done.stdout, done.stdout + done.stderr
        state = stack.status()
        stack.url = state["url"]
        name = state["single_user"]
        second = stack.command("user", "add", "second", "--password-stdin", text="long enough\n", check=False)
        assert second.returncode == 1
        assert f"serves one local person only ({name})" in second.stderr
        link = done.stdout.split("/auth/once/")[1].split()[0]
        with httpx.Client(base_url=stack.url, follow_redirects=True, timeout=60) as client:
            page = client.get(f"/auth/once/{link}")
            data = {"password": "long enough", "again": "long enough", "form_token": form_token(page)}
            assert client.post(f"/auth/once/{link}", data=data).status_code == 200
            stack.passwords[name] = "long enough"
            stack.start_lab(client, name)
            kernel = Kernel(stack, client, name)
            assert kernel.run("print(6 * 7)").strip() == "42"
            assert kernel.run("import os; print(os.environ['DAF_BUTLER_REPOSITORIES'])").strip() == "{}"
            kernel.close()
    finally:
        stack.command("down", check=False)
    wait_gone(home, 2)


def test_commands_without_a_platform(home: Path) -> None:
    stack = Stack(home, None)  # type: ignore[arg-type]  # nothing runs
    home.mkdir()
    for words in (
        ["down"],
        ["token", "create", "--user", "x", "--scope", "read:tap"],
        ["user", "disable", "x"],
        ["status"],
    ):
        done = stack.command(*words, check=False)
        assert done.returncode == 1
        assert (
            done.stderr == f"skydesk: {home}: skydesk is not running (start it: skydesk up) [not_running]\n"
        )
    state = json.loads(stack.command("status", "--json", check=False).stdout)
    assert (state["version"], state["services"], state["releases"]) == (1, {}, [])


def test_bad_arguments_of_users_and_tokens(bare_stack: Stack) -> None:
    def error(*words: str, text: str | None = None) -> str:
        done = bare_stack.command(*words, check=False, text=text)
        assert done.returncode != 0
        return done.stderr

    assert "a lower case letter, then at most 30" in error("user", "add", "Vera Rubin")
    assert "a lower case letter, then at most 30" in error("user", "add", "a" * 32)
    assert "at least 8 characters" in error("user", "add", "shorty", "--password-stdin", text="short\n")
    bare_stack.add_user("vera")
    assert "user 'vera' exists already" in error("user", "add", "vera")
    assert "no user 'nobody'" in error("token", "create", "--user", "nobody", "--scope", "read:tap")
    assert "unknown scope 'read:mind'" in error("token", "create", "--user", "vera", "--scope", "read:mind")
    assert "cannot have scope 'admin:users'" in error(
        "token", "create", "--user", "vera", "--scope", "admin:users"
    )
    wrong = error("token", "create", "--user", "vera", "--scope", "read:tap", "--expires", "soon")
    assert "'soon' is not a duration" in wrong
