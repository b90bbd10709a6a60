"""Jobs end to end: worker processes, kills, aborts, time limits, results."""

from __future__ import annotations

import os
import signal
import time

import httpx
import pytest

from tests.support.services import LiveServices

ASYNC = "/api/tap/async"
# Far too much to finish: three tables multiplied with each other.
ENDLESS = "SELECT COUNT(*) FROM demo.ForcedSource a, demo.ForcedSource b, demo.Object c WHERE a.psfFlux + b.psfFlux > c.coord_ra"


def start(client: httpx.Client, query: str, **more: str) -> str:
    response = client.post(ASYNC, data={"QUERY": query, "PHASE": "RUN", **more}, follow_redirects=False)
    assert response.status_code == 303, response.text
    return response.headers["location"]


def wait_for(client: httpx.Client, job: str, *phases: str, limit_s: float = 60) -> str:
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        phase = client.get(job + "/phase").text
        if phase in phases:
            return phase
        time.sleep(0.1)
    raise AssertionError(f"the job does not get {phases}, it is {phase}:\n{client.get(job).text}")


@pytest.mark.requirement("DMS-API-REQ-0008")
@pytest.mark.requirement("DMS-API-REQ-0039")
def test_a_job_gives_its_result(worker: LiveServices) -> None:
    with worker.client() as client:
        job = start(client, "SELECT COUNT(*) AS n FROM demo.Object", RESPONSEFORMAT="csv", RUNID="mine")
        begin = time.monotonic()
        document = client.get(job, params={"WAIT": "30"}).text
        while "EXECUTING" in document or "QUEUED" in document:
            assert time.monotonic() - begin < 60
            document = client.get(job, params={"WAIT": "30"}).text
        assert "<uws:phase>COMPLETED" in document
        assert "<uws:runId>mine" in document
        assert client.get(job + "/results/result").text.split() == ["n", "2000"]
        assert client.get(job + "/parameters").text.count("<uws:parameter ") == 2
        assert job.rsplit("/", 1)[1] in client.get(ASYNC, params={"PHASE": "COMPLETED", "LAST": "5"}).text
        assert client.get(ASYNC, params={"PHASE": "NONSENSE"}).status_code == 400


def test_a_failed_job_tells_why(worker: LiveServices) -> None:
    with worker.client() as client:
        job = start(client, "SELECT nothing FROM demo.Object")
        assert wait_for(client, job, "ERROR", "COMPLETED") == "ERROR"
        assert "unknown column `nothing`" in client.get(job).text
        assert "QUERY_STATUS' value='ERROR'" in client.get(job + "/error").text


def test_abort_stops_the_engine(worker: LiveServices) -> None:
    with worker.client() as client:
        jobs = [start(client, ENDLESS) for _ in range(2)]
        for job in jobs:
            wait_for(client, job, "EXECUTING")
        time.sleep(0.5)
        for job in jobs:
            client.post(job + "/phase", data={"PHASE": "ABORT"})
            assert client.get(job + "/phase").text == "ABORTED"
        # Both slots of the only worker are free again, so that a new query ends; `make bench` has how soon.
        quick = start(client, "SELECT 1 AS one")
        wait_for(client, quick, "COMPLETED")


def test_a_job_that_runs_too_long_is_stopped(worker: LiveServices) -> None:
    with worker.client() as client:
        job = start(client, ENDLESS, EXECUTIONDURATION="1")
        assert wait_for(client, job, "ERROR", limit_s=20) == "ERROR"
        assert "stopped after its 1 s" in client.get(job).text


def test_a_killed_worker_loses_no_job_and_none_is_done_twice(worker: LiveServices) -> None:
    with worker.client() as client:
        held = [start(client, ENDLESS) for _ in range(2)]
        for job in held:
            wait_for(client, job, "EXECUTING")
        waiting = [
            start(client, f"SELECT COUNT(*) + {i} AS n FROM demo.Object", RESPONSEFORMAT="csv")
            for i in range(3)
        ]
        os.kill(worker.workers["worker-1"].pid, signal.SIGKILL)
        worker.workers["worker-1"].wait()
        for job in waiting:
            assert client.get(job + "/phase").text == "QUEUED"
        worker.start_worker("worker-2")
        # The two that ran are taken up again when the leases of the dead worker end.
        end = time.monotonic() + 90
        while not all(
            "worker" in client.get(job).text or client.get(job + "/phase").text == "EXECUTING" for job in held
        ):
            assert time.monotonic() < end
            time.sleep(0.2)
        time.sleep(4)
        for job in held:
            assert wait_for(client, job, "EXECUTING") == "EXECUTING"
            client.post(job + "/phase", data={"PHASE": "ABORT"})
        for i, job in enumerate(waiting):
            assert wait_for(client, job, "COMPLETED", "ERROR") == "COMPLETED"
            assert client.get(job + "/results/result").text.split() == ["n", str(2000 + i)]
        folders = {job.rsplit("/", 1)[1] for job in waiting}
        for name in folders:
            assert len(list((worker.home / "results" / name).glob("attempt-*"))) == 1


def test_a_worker_that_is_told_to_end_gives_its_job_back(worker: LiveServices) -> None:
    with worker.client() as client:
        job = start(client, ENDLESS)
        wait_for(client, job, "EXECUTING")
        running = [name for name, process in worker.workers.items() if process.poll() is None]
        for name in running:
            worker.workers[name].terminate()
        for name in running:
            worker.workers[name].wait(timeout=60)
        assert client.get(job + "/phase").text == "QUEUED"
        client.delete(job)


def test_the_properties_of_a_job_can_be_read_and_set(live_services: LiveServices) -> None:
    with live_services.client() as client:
        job = client.post(ASYNC, data={"QUERY": "SELECT 1"}, follow_redirects=False).headers["location"]
        client.post(job + "/executionduration", data={"EXECUTIONDURATION": "7"})
        assert client.get(job + "/executionduration").text == "7"
        client.post(job + "/destruction", data={"DESTRUCTION": "2026-11-21T00:00:00Z"})
        assert client.get(job + "/destruction").text.startswith("2026-11-21T00:00:00")
        client.post(job + "/parameters", data={"QUERY": "SELECT 2", "MAXREC": "5"})
        assert "SELECT 2" in client.get(job + "/parameters").text
        assert client.get(job + "/owner").text == "ann"
        for tail, data in (
            ("/executionduration", {"EXECUTIONDURATION": "x"}),
            ("/destruction", {"DESTRUCTION": "soon"}),
            ("/phase", {"PHASE": "JUMP"}),
            ("/nonsense", {}),
        ):
            assert client.post(job + tail, data=data).status_code == 400
        assert client.get(job + "/nonsense").status_code == 404
        assert client.post(job, data={"ACTION": "DELETE"}, follow_redirects=False).status_code == 303
        assert client.get(job).status_code == 404


@pytest.fixture(autouse=True)
def no_leftovers(live_services: LiveServices) -> None:
    """Each test starts with an empty queue."""
    jobs = live_services.factory.create_job_service()
    from tests.support.services import ANN, IDENTITIES

    for job in jobs.list_jobs(IDENTITIES[ANN]):
        jobs.delete(IDENTITIES[ANN], job.id)
