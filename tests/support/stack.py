"""A running platform for tests: started by ``skydesk up`` on a home folder and a port of its own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

SKYDESK = str(Path(sys.executable).with_name("skydesk"))
ALL_SCOPES = [
    "read:tap",
    "read:image",
    "read:alertdb",
    "exec:notebook",
    "exec:portal",
    "exec:batch",
    "write:files",
    "user:token",
]


def form_token(page: httpx.Response) -> str:
    """Return the hidden token of a form."""
    found = re.search(r'name="form_token" value="([^"]+)"', page.text)
    assert found, page.text
    return found[1]


@dataclass
class Stack:
    """A platform that runs.

    Parameters
    ----------
    home
        Its home folder.
    process
        The process ``skydesk up``.
    url
        Its public address, without a slash at the end.
    """

    home: Path
    process: subprocess.Popen[bytes]
    url: str = ""
    passwords: dict[str, str] = field(default_factory=dict)

    def command(
        self, *arguments: str, check: bool = True, text: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run ``skydesk`` on this home folder and return what it printed."""
        env = {**os.environ, "SKYDESK_HOME": str(self.home)}
        done = subprocess.run(
            [SKYDESK, *arguments],
            env=env,
            input=text,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert not check or done.returncode == 0, f"skydesk {' '.join(arguments)}: {done.stderr}{done.stdout}"
        return done

    def status(self) -> dict[str, Any]:
        """Return ``skydesk status --json``."""
        state: dict[str, Any] = json.loads(self.command("status", "--json", check=False).stdout)
        return state

    def add_user(self, name: str, *, admin: bool = False) -> str:
        """Make a user unless there is one already, and return the password."""
        if name not in self.passwords:
            password = secrets.token_urlsafe(12)
            flags = ["--admin"] if admin else []
            self.command("user", "add", name, *flags, "--password-stdin", text=password + "\n")
            self.passwords[name] = password
        return self.passwords[name]

    def token(
        self, user: str = "tester", scopes: list[str] | None = None, *, expires: str | None = None
    ) -> str:
        """Return a new token of a user, who is made if needed; all ordinary scopes unless some are named."""
        self.add_user(user)
        flags = [part for scope in scopes or ALL_SCOPES for part in ("--scope", scope)]
        flags += ["--expires", expires] if expires else []
        return self.command("token", "create", "--user", user, *flags).stdout.split()[-1]

    def client(self, user: str = "tester", scopes: list[str] | None = None) -> httpx.Client:
        """Return a client that sends a token with each request."""
        headers = {"Authorization": f"Bearer {self.token(user, scopes)}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60)

    def browser(self, user: str = "tester") -> httpx.Client:
        """Return a client with cookies that has signed in through the form, as a browser does."""
        password = self.add_user(user)
        headers = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
        client = httpx.Client(base_url=self.url, follow_redirects=True, timeout=60, headers=headers)
        token = form_token(client.get("/auth/login?next=/auth/tokens"))
        data = {"name": user, "password": password, "form_token": token, "goal": "/auth/tokens"}
        answer = client.post("/auth/login", data=data)
        assert answer.status_code == 200, answer.text
        return client

    def start_lab(self, client: httpx.Client, user: str = "tester", *, timeout_s: float = 120) -> float:
        """Start a signed-in person's lab and return the seconds until it answered."""
        begun = time.monotonic()
        client.get("/nb/hub/spawn")
        while time.monotonic() - begun < timeout_s:
            answer = client.get(f"/nb/user/{user}/lab")
            if answer.status_code == 200 and f"/user/{user}/lab" in str(answer.url):
                return time.monotonic() - begun
            time.sleep(0.1)
        raise AssertionError(f"the lab of {user} did not start within {timeout_s:g} s:\n{self.log('hub')}")

    def log(self, name: str) -> str:
        """Return the end of a process's log."""
        path = self.home / "logs" / f"{name}.log"
        return path.read_text(errors="replace")[-4000:] if path.exists() else ""

    def wait_healthy(self, *names: str, timeout_s: float = 180) -> dict[str, Any]:
        """Wait until the named services (all when none is named) are healthy, and return the status."""
        deadline = time.monotonic() + timeout_s
        state: dict[str, Any] = {}
        while time.monotonic() < deadline:
            state = self.status()
            services = state["services"]
            if services and all(services[n]["health"] == "healthy" for n in names or services):
                return state
            time.sleep(0.2)
        bad = {n: s for n, s in state.get("services", {}).items() if s["health"] != "healthy"}
        raise AssertionError(f"not healthy within {timeout_s:g} s: {bad}\n" + "\n".join(map(self.log, bad)))

    def stop(self) -> float:
        """Stop the platform as ``skydesk down`` does and return the seconds it took."""
        begun = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        return time.monotonic() - begun


@contextlib.contextmanager
def start_stack(
    source: Path | None = None, *, config: str = "", needs: tuple[str, ...] = ("proxy", "identity", "hub")
) -> Iterator[Stack]:
    """Run a platform on a fresh home folder and end it afterwards.

    Parameters
    ----------
    source
        A home folder whose contents are copied first, e.g. one with a release.
    config
        Text of ``config.yaml``; ``HOME`` in it stands for the home folder.
    needs
        Services that have to be healthy before the body runs.
    """
    top = Path(tempfile.mkdtemp(prefix="sky", dir="/tmp"))  # short: unix sockets lie below it
    home = top / "h"
    try:
        if source:
            shutil.copytree(source, home, symlinks=True, ignore=shutil.ignore_patterns("run", "logs"))
        home.mkdir(exist_ok=True)
        if config:
            (home / "config.yaml").write_text(config.replace("HOME", str(home)))
        with (top / "up.log").open("wb") as output:
            process = subprocess.Popen(
                [SKYDESK, "up", "--home", str(home), "--port", "0", "--no-demo"],
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
            )
        stack = Stack(home, process)
        try:
            deadline = time.monotonic() + 180
            while not (home / "run" / "supervisor.sock").exists():
                assert process.poll() is None, (top / "up.log").read_text()
                assert time.monotonic() < deadline, (top / "up.log").read_text()
                time.sleep(0.05)
            stack.url = stack.wait_healthy(*needs, timeout_s=180)["url"]
            yield stack
        finally:
            if process.poll() is None:
                stack.stop()
    finally:
        shutil.rmtree(top, ignore_errors=True)


@pytest.fixture(scope="session")
def running_stack(demo_home: Path) -> Iterator[Stack]:
    """The whole platform with the tiny demo release, every service healthy; shared by all tests of a session."""
    with start_stack(demo_home, needs=()) as stack:
        yield stack


@pytest.fixture(scope="session")
def bare_stack() -> Iterator[Stack]:
    """Proxy, identity and hub without any release or other service needed; shared by all tests of a session."""
    with start_stack(config="hub: {workers: 0, docs_dir: HOME/docs}\n") as stack:
        yield stack


@pytest.fixture(scope="session")
def stack_factory() -> Callable[..., contextlib.AbstractContextManager[Stack]]:
    """The function `start_stack`, for tests that break what they start."""
    return start_stack
