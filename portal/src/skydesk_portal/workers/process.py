"""One worker process: slots for short jobs, a slot of its own for batch, and a sign of life."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from skydesk_portal.config import PortalSettings
from skydesk_portal.factory import Factory, create_factory
from skydesk_portal.log import get_logger
from skydesk_portal.models.jobs import Job, JobKind
from skydesk_portal.uws.runner import JobExecutor, JobRunner
from skydesk_portal.uws.store import JobStore

__all__ = ["run_worker"]

_BEAT_S = 2.0
_QUERY_SLOTS = 2


def _beat(path: Path, runners: list[JobRunner], stop: threading.Event) -> None:
    while not stop.is_set():
        state = {
            "status": "healthy",
            "pid": os.getpid(),
            "time": time.time(),
            "jobs": [runner.current for runner in runners if runner.current],
        }
        # Renamed into place, so that no reader ever sees half of it.
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(state))
        fresh.replace(path)
        stop.wait(_BEAT_S)


def _create_runners(
    name: str,
    settings: PortalSettings,
    store: JobStore,
    executors: Mapping[JobKind, JobExecutor],
    on_end: Callable[[Job], None],
) -> list[JobRunner]:
    # Queries and cut-outs never wait behind a pipeline: batch has a slot of its own. Short ones do not wait behind
    # long ones: one slot gives up what turns out to be long.
    queries = {
        kind: executors[kind]
        for kind in (JobKind.TAP, JobKind.TABLE, JobKind.CUTOUT, JobKind.TRANSFER)
        if kind in executors
    }
    lanes: list[tuple[dict[JobKind, JobExecutor], float | None]] = [(queries, settings.portal.short_seconds)]
    lanes += [(queries, None)] * (_QUERY_SLOTS - 1)
    if JobKind.BULK in executors:
        # Thousands of cut-outs take their time, but do not wait for pipelines.
        lanes.append(({JobKind.BULK: executors[JobKind.BULK]}, None))
    if JobKind.BATCH in executors:
        lanes.append(({JobKind.BATCH: executors[JobKind.BATCH]}, None))
    return [
        JobRunner(
            f"{name}-{i}", store, settings.results, lane, settings.portal.lease_seconds, short_s, on_end
        )
        for i, (lane, short_s) in enumerate(lanes)
    ]


def run_worker(name: str, settings: PortalSettings, factory: Factory | None = None) -> None:
    """Do jobs until the process is told to end.

    Parameters
    ----------
    name
        Name of the process, such as ``worker-1``.
    settings
        What the process has to know.
    factory
        Replaces the usual services.
    """
    services = factory or create_factory(settings)
    services.warm()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    executors = services.create_executors()
    store = services.create_job_service().store
    runners = _create_runners(name, settings, store, executors, services.create_notice_service().add_job)
    delivery = services.create_alert_delivery()
    loops = [*(runner.loop for runner in runners), delivery.loop]
    threads = [threading.Thread(target=loop, args=(stop,), daemon=True) for loop in loops]
    for thread in threads:
        thread.start()
    settings.run.mkdir(parents=True, exist_ok=True)
    health = settings.run / f"{name}.health"
    get_logger().info("worker ready", name=name, slots=len(runners))
    _beat(health, runners, stop)
    for runner in runners:
        runner.give_back()
    deadline = time.monotonic() + 2.0
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    for runner in runners:
        runner.let_go()
    health.unlink(missing_ok=True)
