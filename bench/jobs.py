"""Benchmarks of jobs: how soon an abort frees the worker, what a short job costs, what the limits cost a request."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import httpx

from bench.record import Measurement
from bench.services import find_first_user
from bench.stack import Stack

__all__ = ["measure_jobs", "measure_limits"]

ABORTS = 10
JOBS = 20
REQUESTS = 5000
LIMIT_S = 60.0


def measure_jobs(stack: Stack, release: str) -> list[Measurement]:
    """Measure jobs from their making to their result, and from an abort to the end of the engine's work.

    Parameters
    ----------
    stack
        The platform.
    release
        Name of a release with a table ForcedSource.
    """
    token = stack.make_token(find_first_user(stack), "read:tap")
    sources = ", ".join(f"{release}.ForcedSource {name}" for name in "abc")
    endless = f"SELECT COUNT(*) FROM {sources} WHERE a.psfFlux + b.psfFlux > c.psfFlux"
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=stack.url, headers=headers, timeout=LIMIT_S) as client:
        short_ms = [1000 * _run(client, "SELECT 1 AS one") for _ in range(JOBS)]
        aborts_ms = [1000 * _abort(client, stack, endless) for _ in range(ABORTS)]
    return [
        Measurement(
            "job_short_p50",
            statistics.median(short_ms),
            "ms",
            "TAP job of one row, made to completed, median",
        ),
        Measurement(
            "job_abort_worst",
            max(aborts_ms),
            "ms",
            f"abort until the worker is free, worst of {ABORTS}",
            "promise",
            1000.0,
        ),
    ]


def measure_limits() -> list[Measurement]:
    """Measure what counting a request and its place costs."""
    from skydesk_portal.config import PortalConfig
    from skydesk_portal.models.identity import Identity
    from skydesk_portal.services.limits import LimitService
    from skydesk_portal.storage.limits import Counters

    ann, times_us = Identity("ann"), []
    with tempfile.TemporaryDirectory() as folder:
        limits = LimitService(PortalConfig(), Counters(Path(folder) / "limits.sqlite"))
        for _ in range(REQUESTS):
            begin = time.perf_counter()
            limits.leave(limits.enter(ann, "tap", query=True))
            times_us.append(1e6 * (time.perf_counter() - begin))
    return [
        Measurement(
            "limit_cost_p50", statistics.median(times_us), "µs", "counting a query against its limits, median"
        )
    ]


def _start(client: httpx.Client, query: str) -> str:
    answer = client.post("/api/tap/async", data={"QUERY": query, "PHASE": "RUN"})
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def _run(client: httpx.Client, query: str) -> float:
    begin = time.perf_counter()
    job = _start(client, query)
    while "COMPLETED" not in (text := client.get(job, params={"WAIT": "10"}).text):
        assert "ERROR" not in text, text
        assert time.perf_counter() - begin < LIMIT_S
    took_s = time.perf_counter() - begin
    client.delete(job)
    return took_s


def _abort(client: httpx.Client, stack: Stack, query: str) -> float:
    job = _start(client, query)
    end = time.perf_counter() + LIMIT_S
    while client.get(job + "/phase").text != "EXECUTING" or not _is_busy(stack, job):
        assert time.perf_counter() < end
        time.sleep(0.05)
    begin = time.perf_counter()
    client.post(job + "/phase", data={"PHASE": "ABORT"})
    while _is_busy(stack, job):
        assert time.perf_counter() - begin < LIMIT_S
        time.sleep(0.005)
    took_s = time.perf_counter() - begin
    client.delete(job)
    return took_s


def _is_busy(stack: Stack, job: str) -> bool:
    # A worker has a folder for what it is doing, and removes it when nothing of an aborted job runs any more.
    return any((stack.home / "results" / job.rsplit("/", 1)[1]).glob("attempt-*"))
