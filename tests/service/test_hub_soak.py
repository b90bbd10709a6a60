"""Processes of the whole platform killed at random for a long time: all come back, and no job is lost or done twice."""

from __future__ import annotations

import os
import random
import re
import signal
import time

import httpx
import pytest
from support.stack import Stack

ROUNDS = int(os.environ.get("SKYDESK_SOAK_ROUNDS", "30"))
NAMES = ("proxy", "identity", "hub", "api", "butler", "portal", "worker-1", "worker-2")
BACK_LIMIT_S = 120
JOB_LIMIT_S = 180
END = re.compile(r"<uws:endTime[^>]*>([^<]+)<")


def wait_for_return(stack: Stack, name: str, old_pid: int) -> None:
    deadline = time.monotonic() + BACK_LIMIT_S
    while True:
        service = stack.status()["services"][name]
        if service["health"] == "healthy" and service["pid"] not in (None, old_pid):
            break
        assert time.monotonic() < deadline, f"{name} does not come back: {stack.log(name)}"
        time.sleep(0.3)
    stack.wait_healthy(timeout_s=BACK_LIMIT_S)


def submit(client: httpx.Client, number: int) -> str:
    data = {
        "QUERY": f"SELECT COUNT(*) + {number} AS n FROM demo.Object",
        "PHASE": "RUN",
        "RESPONSEFORMAT": "csv",
    }
    response = client.post("/api/tap/async", data=data, follow_redirects=False)
    assert response.status_code == 303, response.text
    return httpx.URL(response.headers["location"]).path


def wait_for_end(client: httpx.Client, job: str) -> str:
    deadline = time.monotonic() + JOB_LIMIT_S
    while (phase := client.get(f"{job}/phase").text) in ("PENDING", "QUEUED", "EXECUTING"):
        assert time.monotonic() < deadline, f"the job is still {phase}"
        time.sleep(0.3)
    return phase


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_no_kill_loses_a_service_or_a_job(running_stack: Stack) -> None:
    rng = random.Random(30)
    client = running_stack.client("sisyphus")
    query = {"QUERY": "SELECT COUNT(*) AS n FROM demo.Object", "RESPONSEFORMAT": "csv"}
    total = int(client.get("/api/tap/sync", params=query).text.split()[1])
    ended: dict[str, str] = {}
    for number in range(ROUNDS):
        state = running_stack.wait_healthy()
        name = rng.choice(NAMES)
        job = submit(client, number)
        time.sleep(rng.uniform(0, 0.5))
        old_pid = state["services"][name]["pid"]
        os.kill(old_pid, signal.SIGKILL)
        wait_for_return(running_stack, name, old_pid)
        assert wait_for_end(client, job) == "COMPLETED", f"round {number}, {name}: {client.get(job).text}"
        assert client.get(f"{job}/results/result").text.split() == ["n", str(total + number)]
        found = END.search(client.get(job).text)
        assert found is not None
        ended[job] = found[1]
    # A job that was done twice would have another end by now, or a second result.
    for job, end in ended.items():
        document = client.get(job).text
        assert END.findall(document) == [end]
        assert document.count("<uws:result ") == 1
