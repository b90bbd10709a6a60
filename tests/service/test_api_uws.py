"""UWS 1.1 as a client sees it, for each service that has jobs."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from random import Random
from xml.etree import ElementTree

import httpx
import pytest
import pyvo
import requests
from pyvo.io.uws import parse_job, parse_job_list

from skydesk_portal.config import PortalConfig, PortalSettings
from skydesk_portal.factory import Factory
from skydesk_portal.models.jobs import JobError, JobKind, JobResult
from skydesk_portal.services.jobs import JobService
from skydesk_portal.testing import FakeIdentityClient
from tests.support.services import ANN, BOB, IDENTITIES, LiveServices

LISTS = ("/api/tap/async", "/api/cutout/async", "/api/cutout/jobs", "/api/batch")
UWS = "{http://www.ivoa.net/xml/UWS/v1.0}"


@pytest.fixture
def ann(live_services: LiveServices) -> Iterator[httpx.Client]:
    live_services.stop_workers()
    with live_services.client() as client:
        client.follow_redirects = False
        yield client
    jobs = live_services.factory.create_job_service()
    for job in jobs.list_jobs(IDENTITIES[ANN]):
        jobs.delete(IDENTITIES[ANN], job.id)


def make(client: httpx.Client, path: str = LISTS[0], **parameters: str) -> str:
    answer = client.post(path, data={"QUERY": "SELECT 1", **parameters})
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"])


def finish(jobs: JobService, url: str, error: JobError | None = None) -> Path:
    """Do a job as a worker does."""
    job_id = url.rsplit("/", 1)[1]
    taken = jobs.store.claim("test", sorted(JobKind), 60)
    assert taken is not None
    assert taken.id == job_id
    path = jobs.results / job_id / "out.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("the result")
    jobs.store.renew("test", job_id, 60, {"rows": "3", "step": "<end>"})
    results = [JobResult("result", f"{job_id}/out.txt", "text/plain", 10)]
    assert jobs.store.finish("test", job_id, [] if error else results, error)
    return path


@pytest.mark.parametrize("path", LISTS)
def test_every_service_has_the_same_resources(ann: httpx.Client, path: str) -> None:
    job = make(ann, path, RUNID="mine & <yours>")
    document = parse_job(BytesIO(ann.get(job).content))
    assert (document.phase, document.ownerid, document.runid) == ("PENDING", "ann", "mine & <yours>")
    assert job.startswith(str(ann.base_url).rstrip("/") + path)
    for detail in ("phase", "executionduration", "destruction", "quote", "owner", "parameters", "results"):
        assert ann.get(f"{job}/{detail}").status_code == 200, detail
    assert ann.get(job + "/error").status_code == 404
    assert document.jobid in [j.jobid for j in parse_job_list(BytesIO(ann.get(path).content))]
    assert ann.delete(job).headers["location"].endswith(path)
    assert ann.get(job).status_code == 404


def test_a_job_tells_everything_about_its_end(ann: httpx.Client, live_services: LiveServices) -> None:
    jobs = live_services.factory.create_job_service()
    job = make(ann, PHASE="RUN")
    assert ann.get(job + "/phase").text == "QUEUED"
    path = finish(jobs, job)
    document = ElementTree.fromstring(ann.get(job).content)
    result = document.find(f"{UWS}results/{UWS}result")
    assert result is not None
    assert (result.get("size"), result.get("mime-type")) == ("10", "text/plain")
    assert ann.get(str(result.get("{http://www.w3.org/1999/xlink}href"))).text == "the result"
    info = document.find(f"{UWS}jobInfo")
    assert info is not None
    assert {fact.tag: fact.text for fact in info} == {"rows": "3", "step": "<end>"}
    # Archived: the record stays, the results go, and only who asks for archived jobs sees it in the list.
    assert ann.post(job + "/phase", data={"PHASE": "ARCHIVE"}).status_code == 303
    assert not path.exists()
    assert ann.get(job + "/phase").text == "ARCHIVED"
    assert parse_job_list(BytesIO(ann.get(LISTS[0]).content)) == []
    assert len(parse_job_list(BytesIO(ann.get(LISTS[0], params={"PHASE": "ARCHIVED"}).content))) == 1
    assert ann.get(job + "/results/result").status_code == 404
    assert ann.post(job + "/phase", data={"PHASE": "RUN"}).status_code == 400


@pytest.mark.parametrize("transient", [True, False])
def test_a_failure_is_summed_up_and_told_in_full(
    ann: httpx.Client, live_services: LiveServices, transient: bool
) -> None:
    job = make(ann, PHASE="RUN")
    finish(
        live_services.factory.create_job_service(), job, JobError("a < b\x00 & c", "x", transient=transient)
    )
    summary = ElementTree.fromstring(ann.get(job).content).find(f"{UWS}errorSummary")
    assert summary is not None
    assert summary.get("type") == ("transient" if transient else "fatal")
    assert summary.findtext(f"{UWS}message") == "a < b\ufffd & c"
    assert ann.get(job + "/error").headers["content-type"].startswith("application/x-votable+xml")


def test_parameters_are_changed_only_before_the_job_is_queued(ann: httpx.Client) -> None:
    job = make(ann, LANG="ADQL")
    sent = {"file one": ("a.vot", b"\x00content")}
    assert ann.post(job + "/parameters", data={"QUERY": "SELECT 2"}, files=sent).status_code == 303
    assert ann.post(job, data={"MAXREC": "5"}).status_code == 303
    found = ElementTree.fromstring(ann.get(job + "/parameters").content).findall(f"{UWS}parameter")
    given = {p.get("id"): p.text for p in found if p.get("byReference") != "true"}
    assert given == {"LANG": "ADQL", "QUERY": "SELECT 2", "MAXREC": "5"}
    reference = next(p.text for p in found if p.get("byReference") == "true")
    fetched = ann.get(str(reference))
    assert fetched.content == b"\x00content"
    assert fetched.headers["x-content-type-options"] == "nosniff"
    assert ann.get(job + "/parameters/other").status_code == 404
    ann.post(job + "/phase", data={"PHASE": "RUN"})
    for tail in ("", "/parameters"):
        assert ann.post(job + tail, data={"QUERY": "SELECT 3"}).status_code == 400
    assert "SELECT 2" in ann.get(job + "/parameters").text


def test_limits_of_time_are_kept(ann: httpx.Client, live_services: LiveServices) -> None:
    settings = live_services.factory.settings.portal
    job = make(ann, EXECUTIONDURATION="99999999")
    assert ann.get(job + "/executionduration").text == str(settings.execution_seconds)
    assert ann.post(job + "/executionduration", data={"EXECUTIONDURATION": "7"}).headers["location"] == job
    assert ann.get(job + "/executionduration").text == "7"
    late = datetime.now(UTC) + timedelta(days=4000)
    assert ann.post(job + "/destruction", data={"DESTRUCTION": late.isoformat()}).headers["location"] == job
    kept = datetime.fromisoformat(ann.get(job + "/destruction").text)
    assert kept < datetime.now(UTC) + timedelta(days=2 * settings.retention_days + 1)
    for detail, value in (
        ("executionduration", "-1"), ("executionduration", "1e400"), ("executionduration", "9" * 40), ("executionduration", "٣"),
        ("destruction", "9999-99-99"), ("destruction", ""), ("phase", ""), ("phase", "HELD"),
    ):  # fmt: skip
        answer = ann.post(f"{job}/{detail}", data={detail.upper(): value})
        assert answer.status_code == 400, (detail, value)
    ann.post(job + "/phase", data={"PHASE": "ABORT"})
    assert ann.post(job + "/executionduration", data={"EXECUTIONDURATION": "9"}).status_code == 400


@pytest.mark.requirement("DMS-API-REQ-0008")
def test_waiting_ends_with_the_phase_or_the_time(ann: httpx.Client, live_services: LiveServices) -> None:
    job = make(ann)
    # A phase that the job is not in, or that nothing follows without its owner, is not waited for.
    begin = time.monotonic()
    for parameters in ({"WAIT": "60", "PHASE": "EXECUTING"}, {"WAIT": "0"}, {"WAIT": "60", "PHASE": "HELD"}):
        assert "PENDING" in ann.get(job, params=parameters).text
    assert time.monotonic() - begin < 30
    for bad in ({"WAIT": "soon"}, {"WAIT": "1", "PHASE": "NONSENSE"}):
        assert ann.get(job, params=bad).status_code == 400
    begin = time.monotonic()
    assert "PENDING" in ann.get(job, params={"WAIT": "1"}).text
    assert time.monotonic() - begin >= 1
    later = threading.Timer(0.3, lambda: ann.post(job + "/phase", data={"PHASE": "ABORT"}))
    later.start()
    assert "ABORTED" in ann.get(job, params={"WAIT": "-1", "PHASE": "PENDING"}).text
    later.join()
    assert "ABORTED" in ann.get(job, params={"WAIT": "-1"}).text


def test_lists_can_be_filtered_in_every_way(ann: httpx.Client) -> None:
    first = make(ann)
    between = datetime.now(UTC).isoformat()
    second, third = make(ann, PHASE="RUN"), make(ann)
    ann.post(third + "/phase", data={"PHASE": "ABORT"})

    def listed(**parameters: object) -> list[str]:
        answer = ann.get(LISTS[0], params=parameters)  # type: ignore[arg-type]
        assert answer.status_code == 200, answer.text
        return [str(ref.get("id")) for ref in ElementTree.fromstring(answer.content)]

    one, two, three = (url.rsplit("/", 1)[1] for url in (first, second, third))
    assert listed() == [three, two, one]
    assert listed(PHASE=["PENDING", "ABORTED"]) == [three, one]
    assert listed(phase="queued") == [two]
    assert listed(AFTER=between) == [three, two]
    assert listed(LAST=2) == [three, two]
    assert listed(LAST=0) == []
    assert listed(AFTER=between, PHASE="ABORTED", LAST=5) == [three]
    for bad in ({"LAST": "-1"}, {"LAST": "x"}, {"LAST": "9" * 30}, {"AFTER": "yesterday"}, {"PHASE": "DONE"}):
        assert ann.get(LISTS[0], params=bad).status_code == 400, bad


def test_the_job_of_another_and_no_job_are_answered_alike(
    ann: httpx.Client, live_services: LiveServices
) -> None:
    job = make(ann)
    known, unknown = job.rsplit("/", 1)[1], "f" * 20
    with live_services.client(BOB) as bob:
        for tail in ("", "/phase", "/parameters", "/results/result", "/owner", "/nonsense"):
            answers = []
            for job_id in (known, unknown):
                answer = bob.get(f"{LISTS[0]}/{job_id}{tail}")
                headers = {k: v for k, v in answer.headers.items() if not k.startswith("x-r") and k != "date"}
                answers.append((answer.status_code, answer.text.replace(job_id, ""), headers))
            assert answers[0] == answers[1]
            assert answers[0][0] == 404
        # The right owner under the wrong service finds nothing either.
        assert ann.get(f"/api/batch/{known}").status_code == 404


def test_pyvo_steers_a_job(ann: httpx.Client, live_services: LiveServices) -> None:
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {ANN}"
    tap = pyvo.dal.TAPService(live_services.url + "/api/tap", session=session)
    job = tap.submit_job("SELECT TOP 2 objectId FROM demo.Object", runid="from pyvo")
    job.execution_duration = 60
    job.destruction = datetime.now(UTC) + timedelta(days=1)
    job.query = "SELECT TOP 3 objectId FROM demo.Object"
    assert (job.phase, job.owner, job.execution_duration.to_value("s")) == ("PENDING", "ann", 60)
    assert [j.jobid for j in tap.get_job_list(phases=["PENDING"])] == [job.job_id]
    assert [j.jobid for j in tap.get_job_list(last=1)] == [job.job_id]
    job.run()
    live_services.start_worker("worker-1")
    job.wait(timeout=60)
    job.raise_if_error()
    assert len(job.fetch_result()) == 3
    aborted = tap.submit_job("SELECT 1").run().abort()
    assert aborted.phase in {"ABORTED", "COMPLETED"}
    job.delete()
    failed = tap.submit_job("SELECT nonsense FROM demo.Object").run().wait(phases=["ERROR"], timeout=60)
    with pytest.raises(pyvo.DALQueryError, match="nonsense"):
        failed.raise_if_error()


def test_the_log_of_the_worker_names_the_request(ann: httpx.Client, live_services: LiveServices) -> None:
    answer = ann.post(
        LISTS[0], data={"QUERY": "SELECT 1", "PHASE": "RUN"}, headers={"X-Request-ID": "follow-me-1"}
    )
    live_services.start_worker("worker-1")
    end = time.monotonic() + 60
    while ann.get(answer.headers["location"] + "/phase").text in {"QUEUED", "EXECUTING"}:
        assert time.monotonic() < end
        time.sleep(0.1)
    log = (live_services.home / "worker-1.log").read_text()
    assert '"request_id": "follow-me-1"' in log


def test_workers_share_jobs_in_postgresql_and_a_kill_loses_none(
    synthetic_home: Path, tmp_path: Path, postgres: str
) -> None:
    (tmp_path / "releases").symlink_to(synthetic_home / "releases")
    portal = {"jobs_database": postgres, "lease_seconds": 2.0}
    settings = PortalSettings(
        home=tmp_path, run=tmp_path / "run", url="http://services.example", portal=PortalConfig(**portal)
    )
    factory = Factory(settings, FakeIdentityClient(IDENTITIES))
    live = LiveServices(settings.url, tmp_path, factory)
    jobs, ann = factory.create_job_service(), IDENTITIES[ANN]
    query = "SELECT COUNT(*) FROM demo.ForcedSource a, demo.ForcedSource b, demo.Object c WHERE a.psfFlux + b.psfFlux > c.coord_ra"

    def submit(text: str) -> str:
        return jobs.create_job(ann, kind=JobKind.TAP, parameters=[("QUERY", text)], run=True).id

    def wait_for(job_id: str, *phases: str) -> None:
        end = time.monotonic() + 60
        while jobs.get_job(ann, job_id).phase not in phases:
            assert time.monotonic() < end, jobs.get_job(ann, job_id)
            time.sleep(0.05)

    try:
        long = submit(query)
        first = live.start_worker("worker-1", portal=portal)
        wait_for(long, "EXECUTING")
        first.kill()
        first.wait()
        short = submit("SELECT COUNT(*) AS n FROM demo.Object")
        live.start_worker("worker-2", portal=portal)
        wait_for(short, "COMPLETED")
        end = time.monotonic() + 60
        while jobs.get_job(ann, long).attempt < 2:
            assert time.monotonic() < end
            time.sleep(0.05)
        jobs.abort(ann, long)
        assert jobs.get_job(ann, long).phase == "ABORTED"
        assert not (tmp_path / "jobs.sqlite").exists()
    finally:
        live.stop_workers()
        factory.close()


SOAK_ROUNDS = 60


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_killing_workers_again_and_again_loses_no_job_and_does_none_twice(
    synthetic_home: Path, tmp_path: Path
) -> None:
    (tmp_path / "releases").symlink_to(synthetic_home / "releases")
    portal = {"lease_seconds": 1.5}
    settings = PortalSettings(
        home=tmp_path, run=tmp_path / "run", url="http://services.example", portal=PortalConfig(**portal)
    )
    factory = Factory(settings, FakeIdentityClient(IDENTITIES))
    live = LiveServices(settings.url, tmp_path, factory)
    jobs, ann = factory.create_job_service(), IDENTITIES[ANN]
    random, made, longest_s = Random(1), {}, 60.0
    try:
        live.start_worker("worker-0", portal=portal)
        for number in range(SOAK_ROUNDS):
            for _ in range(3):
                query = f"SELECT COUNT(*) + {len(made)} AS n FROM demo.ForcedSource a, demo.Visit b"
                given = [("QUERY", query), ("RESPONSEFORMAT", "csv")]
                made[jobs.create_job(ann, kind=JobKind.TAP, parameters=given, run=True).id] = len(made)
            time.sleep(random.uniform(0.0, 0.6))
            old = live.workers[f"worker-{number}"]
            old.kill()
            old.wait()
            live.start_worker(f"worker-{number + 1}", portal=portal)
        counts = set()
        for job_id, number in made.items():
            end = time.monotonic() + longest_s
            while (job := jobs.get_job(ann, job_id)).phase in {"QUEUED", "EXECUTING"}:
                assert time.monotonic() < end, job
                time.sleep(0.05)
            if job.phase == "ERROR":
                # Whose worker died every time is not begun for ever; that must say so.
                assert job.error is not None, job
                assert (job.error.code, job.attempt) == ("worker_lost", 3)
                continue
            assert job.phase == "COMPLETED", job
            counts.add(int(jobs.result_path(ann, job_id, "result")[0].read_text().split()[1]) - number)
            assert len(list((jobs.results / job_id).glob("attempt-*"))) == 1
        assert len(counts) == 1
    finally:
        live.stop_workers()
        factory.close()
