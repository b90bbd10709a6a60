"""The job store and the runner: nothing lost, nothing done twice, nobody sees another's."""

from __future__ import annotations

import multiprocessing
import sqlite3
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from skydesk_portal.config import PortalConfig
from skydesk_portal.exceptions import ConfigError, JobPhaseError, NotFoundError, UsageError
from skydesk_portal.models.identity import Identity
from skydesk_portal.models.jobs import Job, JobKind, Phase
from skydesk_portal.services.jobs import JobService
from skydesk_portal.storage.jobs import SqliteJobStore
from skydesk_portal.uws.runner import JobContext, JobRunner

ANN, BOB = Identity("ann", groups=frozenset({"g"})), Identity("bob")


@pytest.fixture
def jobs(tmp_path: Path) -> JobService:
    return JobService(SqliteJobStore(tmp_path / "jobs.sqlite"), tmp_path / "results", PortalConfig())


def submit(jobs: JobService, identity: Identity = ANN, kind: JobKind = JobKind.TAP, **more: object) -> Job:
    return jobs.create_job(identity, kind=kind, parameters=[("query", "SELECT 1")], run=True, **more)  # type: ignore[arg-type]


def claim_all(path: Path, name: str, out: multiprocessing.Queue[list[str]]) -> None:
    store = SqliteJobStore(path)
    found = []
    while (job := store.claim(name, [JobKind.TAP], 60)) is not None:
        found.append(job.id)
    out.put(found)


def test_processes_that_claim_at_once_never_get_the_same_job(jobs: JobService, tmp_path: Path) -> None:
    made = {submit(jobs, Identity(f"user{i % 3}")).id for i in range(60)}
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    processes = [
        context.Process(target=claim_all, args=(tmp_path / "jobs.sqlite", f"w{i}", queue)) for i in range(3)
    ]
    for process in processes:
        process.start()
    found = [job for _ in processes for job in queue.get(timeout=60)]
    for process in processes:
        process.join(timeout=20)
    assert sorted(found) == sorted(made)


def test_a_person_with_much_running_waits_for_one_with_little(jobs: JobService) -> None:
    first, _, third = submit(jobs), submit(jobs), submit(jobs, BOB)
    order = [jobs.store.claim("w", [JobKind.TAP], 60) for _ in range(2)]
    assert [job.id for job in order if job] == [first.id, third.id]


def test_a_lost_job_goes_back_to_the_queue_and_in_the_end_fails(jobs: JobService) -> None:
    job = submit(jobs)
    for attempt in (1, 2, 3):
        taken = jobs.store.claim("w", [JobKind.TAP], 0.01)
        assert taken is not None
        assert taken.attempt == attempt
        time.sleep(0.03)
        assert jobs.store.release_expired(3) == [job.id]
    lost = jobs.get_job(ANN, job.id)
    assert lost.phase == Phase.ERROR
    assert lost.error is not None
    assert lost.error.code == "worker_lost"


def test_a_worker_that_lost_its_job_cannot_finish_it(jobs: JobService) -> None:
    job = submit(jobs)
    jobs.store.claim("slow", [JobKind.TAP], 0.01)
    time.sleep(0.03)
    jobs.store.release_expired(3)
    jobs.store.claim("quick", [JobKind.TAP], 60)
    assert not jobs.store.renew("slow", job.id, 60)
    assert not jobs.store.finish("slow", job.id, [], None)
    assert jobs.store.finish("quick", job.id, [], None)
    assert jobs.get_job(ANN, job.id).phase == Phase.COMPLETED


def test_an_aborted_job_stays_aborted(jobs: JobService) -> None:
    job = submit(jobs)
    jobs.store.claim("w", [JobKind.TAP], 60)
    assert jobs.abort(ANN, job.id).phase == Phase.ABORTED
    assert not jobs.store.finish("w", job.id, [], None)
    assert jobs.abort(ANN, job.id).phase == Phase.ABORTED


def test_nobody_sees_or_touches_the_job_of_another(jobs: JobService) -> None:
    job = submit(jobs)
    assert jobs.list_jobs(BOB) == []
    for action in (jobs.get_job, jobs.abort, jobs.delete, jobs.run, jobs.archive):
        with pytest.raises(NotFoundError):
            action(BOB, job.id)
    with pytest.raises(NotFoundError):
        jobs.get_job(ANN, "../../etc/passwd")
    assert jobs.get_job(ANN, job.id).groups == ("g",)


def test_lists_can_be_filtered(jobs: JobService) -> None:
    old = submit(jobs)
    between = datetime.now(UTC)
    new = submit(jobs, kind=JobKind.BATCH)
    jobs.abort(ANN, old.id)
    assert [j.id for j in jobs.list_jobs(ANN)] == [new.id, old.id]
    assert [j.id for j in jobs.list_jobs(ANN, JobKind.TAP)] == [old.id]
    assert [j.id for j in jobs.list_jobs(ANN, phases=[Phase.ABORTED])] == [old.id]
    assert [j.id for j in jobs.list_jobs(ANN, after=between)] == [new.id]
    assert [j.id for j in jobs.list_jobs(ANN, last=1)] == [new.id]


def test_limits_are_kept(jobs: JobService) -> None:
    far = datetime.now(UTC) + timedelta(days=4000)
    job = jobs.create_job(ANN, kind=JobKind.TAP, parameters=[], execution_seconds=10**9, destruction=far)
    assert job.execution_seconds == PortalConfig().execution_seconds
    assert job.destruction < datetime.now(UTC) + timedelta(days=15)
    with pytest.raises(UsageError):
        jobs.set_duration(ANN, job.id, -1)
    jobs.run(ANN, job.id)
    with pytest.raises(JobPhaseError):
        jobs.set_parameters(ANN, job.id, [("QUERY", "SELECT 2")])


def test_what_is_over_its_time_is_swept_with_its_files(jobs: JobService) -> None:
    job = jobs.create_job(
        ANN,
        kind=JobKind.TAP,
        parameters=[],
        files={"a": b"x"},
        destruction=datetime.now(UTC) - timedelta(seconds=1),
    )
    assert (jobs.results / job.id).exists()
    assert jobs.sweep() == 1
    assert not (jobs.results / job.id).exists()
    with pytest.raises(NotFoundError):
        jobs.get_job(ANN, job.id)


def test_a_file_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite"
    sqlite3.connect(path).execute("PRAGMA user_version=99").close()
    with pytest.raises(ConfigError, match="newer"):
        SqliteJobStore(path)


class Writer:
    """Writes a file; waits for `release` first."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.stopped = False

    def execute(self, job: Job, context: JobContext) -> list[tuple[str, Path, str]]:
        context.report(step="wait")
        while not self.release.wait(0.02):
            if context.stopped:
                self.stopped = True
                raise UsageError("stopped")
        path = context.folder / "out.txt"
        path.write_text("done")
        return [("result", path, "text/plain")]


def make_runner(jobs: JobService, writer: Writer) -> JobRunner:
    return JobRunner("w", jobs.store, jobs.results, {JobKind.TAP: writer}, lease_s=1.0)


def test_the_runner_keeps_results_where_the_job_says(jobs: JobService) -> None:
    job, writer = submit(jobs), Writer()
    writer.release.set()
    assert make_runner(jobs, writer).run_one()
    path, media_type = jobs.result_path(ANN, job.id, "result")
    assert path.read_text() == "done"
    assert media_type == "text/plain"
    with pytest.raises(NotFoundError):
        jobs.result_path(BOB, job.id, "result")
    jobs.delete(ANN, job.id)
    assert not path.exists()


def test_the_runner_renews_its_lease_and_reports(jobs: JobService) -> None:
    job, writer = submit(jobs), Writer()
    runner = make_runner(jobs, writer)
    thread = threading.Thread(target=runner.run_one)
    thread.start()
    time.sleep(1.6)
    assert jobs.store.release_expired(3) == []
    assert jobs.get_job(ANN, job.id).progress == {"step": "wait"}
    writer.release.set()
    thread.join(timeout=10)
    assert jobs.get_job(ANN, job.id).phase == Phase.COMPLETED


@pytest.mark.parametrize("how", ["abort", "delete", "timeout"])
def test_the_runner_stops_within_a_second(jobs: JobService, how: str) -> None:
    job, writer = submit(jobs, execution_seconds=1 if how == "timeout" else 100), Writer()
    thread = threading.Thread(target=make_runner(jobs, writer).run_one)
    thread.start()
    time.sleep(0.3)
    begin = time.monotonic()
    if how == "abort":
        jobs.abort(ANN, job.id)
    elif how == "delete":
        jobs.delete(ANN, job.id)
    thread.join(timeout=10)
    assert writer.stopped
    assert time.monotonic() - begin < 2.0
    if how == "abort":
        assert jobs.get_job(ANN, job.id).phase == Phase.ABORTED
    elif how == "timeout":
        ended = jobs.get_job(ANN, job.id)
        assert ended.phase == Phase.ERROR
        assert ended.error is not None
        assert ended.error.code == "query_timeout"


def test_a_worker_that_ends_gives_its_job_back(jobs: JobService) -> None:
    job, writer = submit(jobs), Writer()
    runner = make_runner(jobs, writer)
    thread = threading.Thread(target=runner.run_one)
    thread.start()
    time.sleep(0.3)
    runner.give_back()
    thread.join(timeout=10)
    assert jobs.get_job(ANN, job.id).phase == Phase.QUEUED
    writer.release.set()
    assert make_runner(jobs, writer).run_one()
    assert jobs.get_job(ANN, job.id).phase == Phase.COMPLETED
