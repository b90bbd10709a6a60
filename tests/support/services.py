"""The data services over a small synthetic release, in this process and as a server on a free port."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from skydesk_core.release.testing import make_synthetic_release
from skydesk_portal.api.app import create_app
from skydesk_portal.config import PortalConfig, PortalSettings
from skydesk_portal.factory import Factory, create_factory
from skydesk_portal.models.identity import SCOPES, Identity
from skydesk_portal.testing import FakeIdentityClient

ANN, BOB, JOE = "token-ann", "token-bob", "token-joe"
IDENTITIES = {
    ANN: Identity("ann", frozenset(SCOPES)),
    BOB: Identity("bob", frozenset(SCOPES)),
    JOE: Identity("joe", frozenset({"user:token"})),
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def serve_app(make: Callable[[str], Any], health: str) -> Iterator[str]:
    """Serve an application, made for its address, on a free port of 127.0.0.1."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    config = uvicorn.Config(make(url), host="127.0.0.1", port=port, log_config=None, access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
    thread.start()
    deadline = time.monotonic() + 120
    while True:
        try:
            if httpx.get(f"{url}{health}").status_code == 200:
                break
        except httpx.TransportError:
            pass
        assert thread.is_alive(), "the application does not start"
        assert time.monotonic() < deadline, "the application does not get ready"
        time.sleep(0.1)
    yield url
    server.should_exit = True
    thread.join(timeout=10)


@dataclass
class LiveServices:
    """A running api process's application, with workers as real processes."""

    url: str
    home: Path
    factory: Factory
    workers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def client(self, token: str | None = ANN) -> httpx.Client:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60, follow_redirects=True)

    def start_worker(
        self, name: str, *, lease_s: float = 3.0, portal: dict[str, object] | None = None
    ) -> subprocess.Popen[bytes]:
        (self.home / "config.yaml").write_text(json.dumps({"portal": portal or {"lease_seconds": lease_s}}))
        health = self.home / "run" / f"{name}.health"
        health.unlink(missing_ok=True)
        environment = {**os.environ, "SKYDESK_HOME": str(self.home), "SKYDESK_URL": self.url}
        log = (self.home / f"{name}.log").open("wb")
        process = subprocess.Popen(
            [sys.executable, "-m", "skydesk_portal.workers", "--name", name],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        self.workers[name] = process
        deadline = time.monotonic() + 120
        while not health.exists():
            assert process.poll() is None, (self.home / f"{name}.log").read_text()[-3000:]
            assert time.monotonic() < deadline, "the worker does not get ready"
            time.sleep(0.1)
        return process

    def stop_workers(self) -> None:
        for process in self.workers.values():
            if process.poll() is None:
                process.terminate()
        for process in self.workers.values():
            process.wait(timeout=10)
        self.workers.clear()


@pytest.fixture(scope="session")
def synthetic_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the synthetic release ``demo``; its jobs and users may be written."""
    home = tmp_path_factory.mktemp("services")
    (home / "releases").mkdir()
    (home / "run").mkdir()
    make_synthetic_release(home / "releases" / "demo")
    return home


@pytest.fixture(scope="session")
def live_home(synthetic_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the same release whose jobs belong to the live services alone.

    Their workers go on between the tests; in a home that others use they would do jobs that a test wants to find queued.
    """
    home = tmp_path_factory.mktemp("live")
    shutil.copytree(synthetic_home / "releases", home / "releases", symlinks=True, copy_function=os.link)
    (home / "run").mkdir()
    return home


@pytest.fixture(scope="session")
def live_services(live_home: Path) -> Iterator[LiveServices]:
    """The api application on a free port of 127.0.0.1; tests start workers as they need them."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    settings = PortalSettings(
        home=live_home, run=live_home / "run", url=url, portal=PortalConfig(lease_seconds=3.0)
    )
    factory = create_factory(settings, FakeIdentityClient(IDENTITIES))
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(settings, factory), host="127.0.0.1", port=port, log_config=None, access_log=False
        )
    )
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
    thread.start()
    live = LiveServices(url, live_home, factory)
    deadline = time.monotonic() + 120
    while True:
        try:
            if httpx.get(f"{url}/api/health").status_code == 200:
                break
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline, "the api does not get ready"
        time.sleep(0.1)
    yield live
    live.stop_workers()
    server.should_exit = True
    thread.join(timeout=10)


@pytest.fixture
def worker(live_services: LiveServices) -> Iterator[LiveServices]:
    """The services with one worker process."""
    if "worker-1" not in live_services.workers or live_services.workers["worker-1"].poll() is not None:
        live_services.start_worker("worker-1")
    yield live_services
