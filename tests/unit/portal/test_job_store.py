"""The job store and the runner: nothing lost, nothing done twice, nobody sees another's."""

from __future__ import annotations

import errno
import multiprocessing
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from skydesk_portal.config import PortalConfig, QuotaConfig, load_config
from skydesk_portal.exceptions import (
    ConfigError,
    JobPhaseError,
    NotFoundError,
    QuotaError,
    RateLimitError,
    UpstreamError,
    UsageError,
)
from skydesk_portal.models.identity import Identity
from skydesk_portal.models.jobs import Job, JobError, JobKind, JobResult, Phase
from skydesk_portal.services.jobs import JobService
from skydesk_portal.storage.jobs import SqliteJobStore, SqlJobStore
from skydesk_portal.storage.jobs_postgres import PostgresJobStore
from skydesk_portal.uws.runner import JobContext, JobRunner

ANN, BOB = Identity("ann", groups=frozenset({"g"})), Identity("bob")


def open_store(address: str) -> SqlJobStore:
    return PostgresJobStore(address) if "dbname" in address else SqliteJobStore(Path(address))


@pytest.fixture(params=["sqlite", "postgres"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where an empty job store is: each test holds for both kinds."""
    if request.param == "sqlite":
        return str(tmp_path / "jobs.sqlite")
    address: str = request.getfixturevalue("postgres")
    PostgresJobStore(address)
    with psycopg.connect(address, autocommit=True) as db:
        db.execute("TRUNCATE job")
    return address


@pytest.fixture
def jobs(address: str, tmp_path: Path) -> JobService:
    return JobService(open_store(address), tmp_path / "results", PortalConfig())


def submit(jobs: JobService, identity: Identity = ANN, kind: JobKind = JobKind.TAP, **more: object) -> Job:
    return jobs.create_job(identity, kind=kind, parameters=[("query", "SELECT 1")], run=True, **more)  # type: ignore[arg-type]


def claim_all(address: str, name: str, out: multiprocessing.Queue[list[str]]) -> None:
    store = open_store(address)
    found = []
    while (job := store.claim(name, [JobKind.TAP], 60)) is not None:
        found.append(job.id)
    out.put(found)


def test_processes_that_claim_at_once_never_get_the_same_job(jobs: JobService, address: str) -> None:
    made = {submit(jobs, Identity(f"user{i % 3}")).id for i in range(60)}
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    processes = [context.Process(target=claim_all, args=(address, f"w{i}", queue)) for i in range(3)]
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
        self.begun = self.stopped = False

    def execute(self, job: Job, context: JobContext) -> list[tuple[str, Path, str]]:
        self.begun = True
        context.report(step="wait")
        while not self.release.wait(0.02):
            if context.stopped:
                self.stopped = True
                raise UsageError("stopped")
        path = context.folder / "out.txt"
        path.write_text("done")
        return [("result", path, "text/plain")]


def make_runner(jobs: JobService, writer: Writer, lease_s: float = 1.0) -> JobRunner:
    return JobRunner("w", jobs.store, jobs.results, {JobKind.TAP: writer}, lease_s=lease_s)


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
    runner = make_runner(jobs, writer, lease_s=3.0)
    thread = threading.Thread(target=runner.run_one)
    thread.start()
    time.sleep(3.6)
    assert jobs.store.release_expired(3) == []
    assert jobs.get_job(ANN, job.id).progress == {"step": "wait"}
    writer.release.set()
    thread.join(timeout=10)
    assert jobs.get_job(ANN, job.id).phase == Phase.COMPLETED


@pytest.mark.parametrize("how", ["abort", "delete", "timeout"])
def test_the_runner_stops_soon(jobs: JobService, how: str) -> None:
    job, writer = submit(jobs, execution_seconds=1 if how == "timeout" else 100), Writer()
    thread = threading.Thread(target=make_runner(jobs, writer).run_one)
    thread.start()
    wait_until(lambda: writer.begun)
    begin = time.monotonic()
    if how == "abort":
        jobs.abort(ANN, job.id)
    elif how == "delete":
        jobs.delete(ANN, job.id)
    thread.join(timeout=60)
    assert writer.stopped
    assert time.monotonic() - begin < 10
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
    wait_until(lambda: writer.begun)
    runner.give_back()
    thread.join(timeout=10)
    assert jobs.get_job(ANN, job.id).phase == Phase.QUEUED
    writer.release.set()
    assert make_runner(jobs, writer).run_one()
    assert jobs.get_job(ANN, job.id).phase == Phase.COMPLETED


def test_the_lane_of_short_jobs_gives_up_what_is_long(jobs: JobService) -> None:
    job, writer = submit(jobs), Writer()
    short = JobRunner("w", jobs.store, jobs.results, {JobKind.TAP: writer}, lease_s=30.0, short_s=0.2)
    assert short.run_one()
    moved = jobs.get_job(ANN, job.id)
    assert (moved.phase, moved.long, moved.attempt) == (Phase.QUEUED, True, 0)
    assert not short.run_one()
    writer.release.set()
    assert make_runner(jobs, writer).run_one()
    assert jobs.get_job(ANN, job.id).phase == Phase.COMPLETED


class FullDisk:
    """Writes half a result and finds the disk full."""

    def execute(self, job: Job, context: JobContext) -> list[tuple[str, Path, str]]:
        path = context.folder / "out.txt"
        path.write_text("half")
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise RuntimeError("the writer gave up") from error


def test_a_full_disk_ends_the_job_without_half_a_result(jobs: JobService) -> None:
    job = submit(jobs)
    assert JobRunner("w", jobs.store, jobs.results, {JobKind.TAP: FullDisk()}, lease_s=30.0).run_one()
    failed = jobs.get_job(ANN, job.id)
    assert failed.phase == Phase.ERROR
    assert failed.error is not None
    assert (failed.error.code, failed.error.transient) == ("disk_full", True)
    assert failed.results == ()
    assert list(jobs.results.rglob("out.txt")) == []


def test_a_run_that_is_interrupted_is_suspended_and_goes_on(jobs: JobService) -> None:
    job, writer = submit(jobs, kind=JobKind.BATCH), Writer()
    runner = JobRunner("w", jobs.store, jobs.results, {JobKind.BATCH: writer}, lease_s=30.0)
    thread = threading.Thread(target=runner.run_one)
    thread.start()
    wait_until(lambda: jobs.get_job(ANN, job.id).phase == Phase.EXECUTING)
    begun = jobs.get_job(ANN, job.id).start_time
    wait_until(lambda: writer.begun)
    runner.give_back()
    thread.join(timeout=60)
    assert jobs.get_job(ANN, job.id).phase == Phase.SUSPENDED
    writer.release.set()
    assert JobRunner("v", jobs.store, jobs.results, {JobKind.BATCH: writer}, lease_s=30.0).run_one()
    ended = jobs.get_job(ANN, job.id)
    assert (ended.phase, ended.start_time) == (Phase.COMPLETED, begun)


def wait_until(condition: Callable[[], bool], limit_s: float = 60) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def with_quota(jobs: JobService, **figures: Any) -> JobService:
    config = PortalConfig(quota=QuotaConfig(**figures), unlimited_groups=("staff",))
    return JobService(jobs.store, jobs.results, config)


def test_who_has_too_much_under_way_is_refused_and_the_job_is_held(jobs: JobService) -> None:
    few = with_quota(jobs, active_jobs=1)
    first = submit(few)
    with pytest.raises(RateLimitError, match="1 of your tap jobs"):
        submit(few)
    assert len(few.list_jobs(ANN)) == 1
    second = few.create_job(ANN, kind=JobKind.TAP, parameters=[])
    with pytest.raises(RateLimitError):
        few.run(ANN, second.id)
    assert few.get_job(ANN, second.id).phase == Phase.HELD
    few.abort(ANN, first.id)
    few.set_parameters(ANN, second.id, [("QUERY", "SELECT 2")])
    assert few.run(ANN, second.id).phase == Phase.QUEUED
    submit(few, BOB)
    submit(few, Identity("ann", groups=frozenset({"staff"})))


def test_who_keeps_too_much_has_to_delete_some(jobs: JobService) -> None:
    few, writer = with_quota(jobs, result_bytes=4, kept_jobs=2), Writer()
    writer.release.set()
    job = submit(few)
    make_runner(few, writer).run_one()
    with pytest.raises(QuotaError, match="delete or archive"):
        submit(few)
    few.archive(ANN, job.id)
    assert few.get_job(ANN, job.id).results == ()
    for _ in range(2):
        submit(few)
    with pytest.raises(QuotaError, match="2 of your jobs are kept"):
        submit(few)


def test_no_more_of_one_person_run_than_may(jobs: JobService) -> None:
    one = with_quota(jobs, concurrent={"tap": 1})
    first, _ = submit(one), submit(one)
    taken = [one.store.claim("w", [JobKind.TAP], 60) for _ in range(2)]
    assert [job.id if job else None for job in taken] == [first.id, None]


def test_a_quote_says_when_a_job_has_usually_ended(jobs: JobService) -> None:
    writer = Writer()
    writer.release.set()
    assert submit(jobs).quote is None
    make_runner(jobs, writer).run_one()
    quote = submit(jobs).quote
    assert quote is not None
    assert abs((quote - datetime.now(UTC)).total_seconds()) < 60


def test_the_phases_are_counted(jobs: JobService) -> None:
    submit(jobs)
    jobs.create_job(BOB, kind=JobKind.BATCH, parameters=[])
    assert jobs.store.count_phases() == {
        (JobKind.TAP, Phase.QUEUED): 1,
        (JobKind.BATCH, Phase.PENDING): 1,
    }


def test_folders_without_a_job_are_removed(jobs: JobService) -> None:
    job = jobs.create_job(ANN, kind=JobKind.TAP, parameters=[], files={"a": b"x"})
    stray = jobs.results / ("b" * 20)
    stray.mkdir()
    assert jobs.sweep_orphans() == 0
    for folder in (stray, jobs.results / job.id):
        os.utime(folder, (0, 0))
    assert jobs.sweep_orphans() == 1
    assert not stray.exists()
    assert jobs.find_file(job, "a") == b"x"


def test_jobs_of_the_first_version_are_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite"
    SqliteJobStore(path)
    with sqlite3.connect(path) as db:
        for name in ("request_id", "long", "concurrent", "uploads", "result_bytes"):
            db.execute(f"ALTER TABLE job DROP COLUMN {name}")
        db.execute("PRAGMA user_version=1")
        db.execute(
            "INSERT INTO job (id, kind, owner, phase, created, destruction, execution_seconds, groups, parameters)"
            " VALUES ('a', 'tap', 'ann', 'QUEUED', 1, 9e9, 60, '[]', '[]')"
        )
    db.close()
    taken = SqliteJobStore(path).claim("w", [JobKind.TAP], 60)
    assert taken is not None
    assert (taken.id, taken.long, taken.uploads) == ("a", False, ())


def test_the_address_of_the_database_holds_no_password() -> None:
    with pytest.raises(ConfigError, match="jobs_password_file"):
        PostgresJobStore("postgresql://skydesk:secret@db.example/jobs")
    with pytest.raises(ConfigError, match="not an address"):
        PostgresJobStore("nonsense here")
    with pytest.raises(UpstreamError, match="does not answer") as failure:
        PostgresJobStore("host=/nonexistent dbname=jobs", "secret")
    assert "nonexistent" not in str(failure.value)


def test_the_password_of_the_database_comes_from_a_private_file(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("s3cret\n")
    (tmp_path / "config.yaml").write_text(f"portal: {{jobs_password_file: {secret}}}\n")
    environment = {"SKYDESK_HOME": str(tmp_path)}
    secret.chmod(0o644)
    with pytest.raises(ConfigError, match="others may read"):
        load_config(environment)
    secret.chmod(0o600)
    settings = load_config(environment)
    assert settings.jobs_password is not None
    assert settings.jobs_password.get_secret_value() == "s3cret"
    assert "s3cret" not in repr(settings)


def cut_connections(address: str) -> None:
    with psycopg.connect(address, autocommit=True) as db:
        db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name='skydesk'")


def test_a_restart_of_the_database_loses_no_result(postgres: str, tmp_path: Path) -> None:
    jobs = JobService(PostgresJobStore(postgres), tmp_path / "results", PortalConfig())
    job, writer = submit(jobs), Writer()
    thread = threading.Thread(target=make_runner(jobs, writer, lease_s=60.0).run_one)
    thread.start()
    wait_until(lambda: writer.begun)
    cut_connections(postgres)
    with pytest.raises(UpstreamError):
        jobs.get_job(ANN, job.id)
    assert jobs.get_job(ANN, job.id).phase == Phase.EXECUTING
    cut_connections(postgres)
    writer.release.set()
    thread.join(timeout=60)
    with pytest.raises(UpstreamError):
        jobs.get_job(ANN, job.id)
    assert jobs.get_job(ANN, job.id).phase == Phase.COMPLETED
    assert jobs.result_path(ANN, job.id, "result")[0].read_text() == "done"


class Forgetful(SqliteJobStore):
    """Ends a job, and its answer is lost on the way."""

    lost = 0

    def finish(self, worker: str, job_id: str, results: Sequence[JobResult], error: JobError | None) -> bool:
        done = super().finish(worker, job_id, results, error)
        if done:
            self.lost += 1
            raise UpstreamError("gone")
        return done


def test_an_answer_that_is_lost_does_not_cost_the_result(tmp_path: Path) -> None:
    jobs = JobService(Forgetful(tmp_path / "jobs.sqlite"), tmp_path / "results", PortalConfig())
    job, writer = submit(jobs), Writer()
    writer.release.set()
    make_runner(jobs, writer).run_one()
    assert jobs.result_path(ANN, job.id, "result")[0].read_text() == "done"
