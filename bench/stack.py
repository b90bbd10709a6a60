"""The running product as the benchmarks use it: started by its own command, stopped by its own command."""

from __future__ import annotations

import contextlib
import json
import math
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Stack", "run_skydesk", "running"]

COMMAND = str(Path(sys.executable).with_name("skydesk"))
START_LIMIT_S = 180.0


@dataclass
class Stack:
    """A platform that is up."""

    home: Path
    url: str
    start_s: float
    """Seconds from the command until every process was healthy."""
    stop_s: float = math.nan
    """Seconds that stopping took; known when the platform is down."""

    def status(self) -> dict[str, object]:
        """Return what ``skydesk status --json`` says."""
        run = run_skydesk(self.home, "status", "--json", check=False)
        return dict(json.loads(run.stdout))

    def make_token(self, user: str, *scopes: str) -> str:
        """Make a token for a user."""
        arguments = [word for scope in scopes for word in ("--scope", scope)]
        return run_skydesk(self.home, "token", "create", "--user", user, *arguments).stdout.split()[-1]


def run_skydesk(home: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run the command on a home folder."""
    run = subprocess.run(
        [COMMAND, "--home", str(home), *arguments],
        env={**os.environ, "SKYDESK_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    if check and run.returncode != 0:
        raise RuntimeError(f"skydesk {' '.join(arguments)} ended with {run.returncode}: {run.stderr[-2000:]}")
    return run


@contextlib.contextmanager
def running(home: Path) -> Iterator[Stack]:
    """Start the platform on a home folder with the releases it has, and stop it at the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = home / "bench-up.log"
    begun = time.monotonic()
    with log.open("w") as output:
        process = subprocess.Popen(
            [COMMAND, "up", "--home", str(home), "--port", str(port), "--no-demo"],
            env={**os.environ, "SKYDESK_HOME": str(home)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    stack = Stack(home, f"http://127.0.0.1:{port}", 0.0)
    try:
        _wait_until_healthy(stack, process, log)
        stack.start_s = time.monotonic() - begun
        yield stack
    finally:
        begun = time.monotonic()
        run_skydesk(home, "down", check=False)
        try:
            process.wait(timeout=15)
            stack.stop_s = time.monotonic() - begun
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_healthy(stack: Stack, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"skydesk up ended with {process.returncode}:\n{log.read_text()[-3000:]}")
        run = run_skydesk(stack.home, "status", "--json", check=False)
        with contextlib.suppress(json.JSONDecodeError):
            services = json.loads(run.stdout)["services"]
            if services and all(service["health"] == "healthy" for service in services.values()):
                return
        time.sleep(0.2)
    raise RuntimeError(f"not all healthy within {START_LIMIT_S:g} s: {run.stdout[-2000:]}")
