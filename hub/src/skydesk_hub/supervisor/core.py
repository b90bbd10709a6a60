"""The supervisor itself: the services together, their routes, their end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import structlog

from skydesk_hub.layout import find_releases
from skydesk_hub.supervisor.control import serve_control
from skydesk_hub.supervisor.routes import add_routes, ask_hub_for_routes
from skydesk_hub.supervisor.service import Service
from skydesk_hub.supervisor.table import Platform, make_specs
from skydesk_hub.supervisor.tree import reap_adopted, sweep

__all__ = ["Supervisor"]

STOP_WITHIN_S = 5.0
SERVICE_GRACE_S = 2.5
PROXY_GRACE_S = 0.7
REAP_EVERY_S = 0.5
ISOLATION = "bubblewrap, private network, limits on processes and address space, memory watchdog"

log = structlog.get_logger()


class Supervisor:
    """Keeps the processes of one platform running until it is told to stop.

    Parameters
    ----------
    platform
        What is known.
    say
        Called with each line for the person at the terminal.
    """

    def __init__(self, platform: Platform, say: Callable[[str], None]) -> None:
        self.platform = platform
        self.say = say
        self.stop_wanted = asyncio.Event()
        self.services: dict[str, Service] = {}
        self.lifelines: set[asyncio.StreamWriter] = set()
        self.started = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        self.started_s = time.monotonic()
        for spec in make_specs(platform):
            self.services[spec.name] = Service(
                spec, platform.layout.logs / f"{spec.name}.log", on_change=self.note
            )
        self.services["proxy"].on_ready = self.connect_routes
        self.services["hub"].on_ready = self.connect_hub

    def describe(self) -> dict[str, object]:
        """Return the status of the platform (`skydesk status --json`, version 1)."""
        return {
            "version": 1,
            "url": self.platform.url,
            "home": str(self.platform.layout.root),
            "pid": os.getpid(),
            "since": self.started,
            "single_user": self.platform.single_user,
            "isolation": self.platform.single_reason or ISOLATION,
            "services": {name: service.describe() for name, service in self.services.items()},
            "releases": find_releases(self.platform.layout.root),
        }

    def note(self, service: Service) -> None:
        """Write down and say that a service's status changed.

        Parameters
        ----------
        service
            The service.
        """
        took = f" after {time.monotonic() - service.started_s:.1f} s" if service.health == "healthy" else ""
        if service.health in ("healthy", "failed", "unhealthy"):
            self.say(
                f"{service.spec.name}: {service.health}{took}{' – ' + service.detail if service.detail else ''}"
            )
        log.info(
            "service", name=service.spec.name, health=service.health, detail=service.detail, pid=service.pid
        )
        self.write_status()

    def write_status(self) -> None:
        """Write the status file in one step."""
        path = self.platform.layout.status_file
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(self.describe()))
        fresh.rename(path)

    async def connect_routes(self) -> None:
        """Give a fresh proxy all its routes."""
        await add_routes(self.platform)
        if self.services["hub"].health == "healthy":
            await self.connect_hub()

    async def connect_hub(self) -> None:
        """Let the hub give the proxy its routes."""
        with contextlib.suppress(OSError, TimeoutError):  # the hub's own periodic check repairs it
            await ask_hub_for_routes(self.platform)

    async def hold_lifeline(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Keep a lab's connection open: its end tells the lab that the platform is gone.

        Parameters
        ----------
        reader, writer
            The connection.
        """
        self.lifelines.add(writer)
        try:
            while await reader.read(64):
                continue
        except ConnectionError:
            log.debug("lifeline broke")
        finally:
            self.lifelines.discard(writer)
            writer.close()

    async def wait_started(self) -> bool:
        """Wait until every service has become healthy or failed for the first time.

        Returns
        -------
        bool
            Whether all are healthy.
        """
        for service in self.services.values():
            while service.health in ("starting", "stopped"):
                service.changed.clear()
                await service.changed.wait()
        return all(service.health == "healthy" for service in self.services.values())

    async def run(self, on_started: Callable[[bool], None]) -> None:
        """Start everything, wait for the wish to stop, stop everything.

        Parameters
        ----------
        on_started
            Called once when every service is up (True) or some failed (False).
        """
        layout = self.platform.layout
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self.stop_wanted.set)
        lifeline = layout.run / "lifeline.sock"
        for path in (lifeline, layout.control_socket):
            path.unlink(missing_ok=True)
        control = await serve_control(self, layout.control_socket)
        lifelines = await asyncio.start_unix_server(self.hold_lifeline, str(lifeline))
        lifeline.chmod(0o600)
        tasks = [asyncio.create_task(service.run()) for service in self.services.values()]
        tasks.append(asyncio.create_task(self.reap()))
        starting = asyncio.create_task(self.wait_started())
        starting.add_done_callback(lambda task: None if task.cancelled() else on_started(task.result()))
        await self.stop_wanted.wait()
        starting.cancel()
        begun_s = time.monotonic()
        lifelines.close()
        await self.stop_services()
        control.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        left = sweep(begun_s + STOP_WITHIN_S)
        for path in (lifeline, layout.control_socket):
            path.unlink(missing_ok=True)
        self.write_status()
        self.say(f"stopped in {time.monotonic() - begun_s:.1f} s" + (f"; left: {left}" if left else ""))

    async def stop_services(self) -> None:
        """End labs and services together, the proxy last."""
        rest = [service for name, service in self.services.items() if name != "proxy"]
        self.services["proxy"].stopping = True
        for service in rest:
            service.stopping = True
        ends = [asyncio.create_task(service.stop(SERVICE_GRACE_S)) for service in rest]
        for writer in list(self.lifelines):
            writer.close()
        await asyncio.gather(*ends)
        await self.services["proxy"].stop(PROXY_GRACE_S)

    async def reap(self) -> None:
        """Collect what others left to us, again and again."""
        while True:
            await asyncio.sleep(REAP_EVERY_S)
            own = [s.process.pid for s in self.services.values() if s.process]
            reap_adopted(own)


def log_to(path: Path) -> None:
    """Send the supervisor's own log to a file as JSON lines.

    Parameters
    ----------
    path
        The file, appended to.
    """
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(path.open("a", buffering=1)),
    )
