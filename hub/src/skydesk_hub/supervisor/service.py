"""One supervised process: start, readiness, restart with growing pauses, end."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from skydesk_hub.errors import HubError
from skydesk_hub.wire import request

__all__ = ["Service", "ServiceSpec"]

PR_SET_PDEATHSIG = 1
FIRST_PAUSE_S, LONGEST_PAUSE_S, STABLE_AFTER_S = 0.25, 10.0, 10.0
LOG_LIMIT_BYTES = 10 << 20
HEARTBEAT_LIFE_S = 10.0

libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class ServiceSpec:
    """What the supervisor has to know about one process.

    Parameters
    ----------
    name
        Its name in status and logs.
    argv
        The command.
    env
        Its whole environment.
    url
        Its public address, or the empty string.
    socket
        The unix socket it listens on, removed before each start.
    health_path
        Path of its health page on that socket.
    health_token
        Token for the health page.
    heartbeat
        File that a process which does not listen touches every few seconds while it is usable.
    missing
        Why it cannot be started at all; None when it can.
    """

    name: str
    argv: tuple[str, ...]
    env: dict[str, str]
    url: str = ""
    socket: Path | None = None
    health_path: str = ""
    health_token: str | None = None
    heartbeat: Path | None = None
    missing: str | None = None


def die_with(parent: int) -> Callable[[], None]:
    """Return the hook that ends a child when its supervisor is gone.

    Parameters
    ----------
    parent
        Process id of the supervisor.
    """

    def hook() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # the supervisor died before the line above
            os._exit(1)

    return hook


@dataclass
class Service:
    """A supervised process and what is known about it.

    Parameters
    ----------
    spec
        How to start it.
    log_file
        Where its output goes.
    on_ready
        Awaited each time it has become healthy.
    on_change
        Called whenever its status changes.
    """

    spec: ServiceSpec
    log_file: Path
    on_ready: Callable[[], Awaitable[None]] | None = None
    on_change: Callable[[Service], None] | None = None
    health: str = "stopped"
    detail: str = ""
    restarts: int = 0
    since: str | None = None
    process: asyncio.subprocess.Process | None = None
    stopping: bool = False
    started_s: float = 0.0
    healthy_after_s: float | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def set_health(self, health: str, detail: str = "") -> None:
        """Record a new health and tell who listens.

        Parameters
        ----------
        health
            One of starting, healthy, unhealthy, failed, stopped.
        detail
            One line that says why.
        """
        if (health, detail) != (self.health, self.detail):
            self.health, self.detail = health, detail
            if self.on_change:
                self.on_change(self)
        self.changed.set()

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        alive = self.process is not None and self.process.returncode is None
        return self.process.pid if alive and self.process else None

    async def start(self) -> asyncio.subprocess.Process:
        """Start the process once."""
        for leftover in (self.spec.socket, self.spec.heartbeat):
            if leftover:
                leftover.unlink(missing_ok=True)
        if self.log_file.exists() and self.log_file.stat().st_size > LOG_LIMIT_BYTES:
            self.log_file.rename(self.log_file.with_suffix(".log.1"))
        with self.log_file.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *self.spec.argv,
                env=self.spec.env,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with(os.getpid()),
            )
        self.started_s = time.monotonic()
        self.since = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        return process

    async def run(self) -> None:
        """Keep the process running until `stopping` is set."""
        if self.spec.missing:
            self.set_health("failed", self.spec.missing)
            return
        pause_s = FIRST_PAUSE_S
        while not self.stopping:
            self.set_health("starting")
            try:
                self.process = await self.start()
            except OSError as error:
                self.set_health("failed", f"cannot start: {error.strerror}")
                await asyncio.sleep(LONGEST_PAUSE_S)
                continue
            watch = asyncio.create_task(self.watch())
            code = await self.process.wait()
            watch.cancel()
            if self.stopping:
                break
            self.kill_group()
            self.restarts += 1
            lived_s = time.monotonic() - self.started_s
            pause_s = FIRST_PAUSE_S if lived_s > STABLE_AFTER_S else min(pause_s * 2, LONGEST_PAUSE_S)
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            self.set_health("failed", f"ended with {how}; starts again in {pause_s:g} s; see {self.log_file}")
            await asyncio.sleep(pause_s)
        self.set_health("stopped")

    async def watch(self) -> None:
        """Ask for the process's health until cancelled."""
        misses = 0
        while True:
            if await self.is_healthy():
                misses = 0
                if self.health != "healthy":
                    if self.healthy_after_s is None:
                        self.healthy_after_s = time.monotonic() - self.started_s
                    self.set_health("healthy")
                    if self.on_ready:
                        await self.on_ready()
            elif self.health == "healthy":
                misses += 1
                if misses >= 3:
                    self.set_health("unhealthy", "does not answer its health page")
            await asyncio.sleep(0.15 if self.health == "starting" else 1.0 if misses else 4.0)

    async def is_healthy(self) -> bool:
        """Ask the process once whether it is usable."""
        if self.spec.heartbeat:
            try:
                return time.time() - self.spec.heartbeat.stat().st_mtime < HEARTBEAT_LIFE_S
            except FileNotFoundError:
                return False
        if self.spec.socket is None or not self.spec.socket.exists():
            return False
        try:
            answer = await request(
                self.spec.socket, "GET", self.spec.health_path, token=self.spec.health_token
            )
        except (OSError, TimeoutError, HubError):
            return False
        return answer.status == 200

    def kill_group(self, number: int = signal.SIGKILL) -> None:
        """Signal the process and all that stayed in its group.

        Parameters
        ----------
        number
            The signal.
        """
        if self.process:
            try:
                os.killpg(self.process.pid, number)
            except (ProcessLookupError, PermissionError):
                return

    async def stop(self, grace_s: float) -> None:
        """End the process: SIGTERM to it, after the grace SIGKILL to its group.

        Parameters
        ----------
        grace_s
            Seconds it has to end by itself.
        """
        self.stopping = True
        process = self.process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(grace_s):
                await process.wait()
        except TimeoutError:
            self.detail = f"did not end within {grace_s:g} s"
        self.kill_group()
        await process.wait()

    def describe(self) -> dict[str, object]:
        """Return the status of this process as it is shown to people."""
        return {
            "health": self.health,
            "url": self.spec.url,
            "pid": self.pid,
            "since": self.since,
            "restarts": self.restarts,
            "detail": self.detail,
        }
