"""A cluster that loses parts, is asked to stop, is locked, is away: what people notice of it."""

from __future__ import annotations

import csv
import io
import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx
import psutil
import pytest
from pyspark.errors import AnalysisException
from pyspark.errors.exceptions.connect import SparkConnectException

from skydesk_portal.exceptions import QueryTimeoutError, UpstreamError
from skydesk_portal.factory import create_factory
from skydesk_portal.models.identity import SCOPES, Identity
from skydesk_portal.models.tap import TapRequest
from skydesk_portal.storage.spark_connection import SparkConnection
from skydesk_portal.testing import FakeIdentityClient
from tests.support.services import ANN as TOKEN
from tests.support.services import IDENTITIES, LiveServices, free_port
from tests.support.spark import DistributedServices, SparkCluster, distribute

ANN = Identity("ann", frozenset(SCOPES))
SYNC = "/api/tap/sync"
LONG = "SELECT COUNT(*) AS n, SUM(a.psfFlux + b.psfFlux) AS s FROM demo.ForcedSource a, demo.ForcedSource b WHERE a.band = 'r' AND b.band = 'g' AND a.psfFlux * b.psfFluxErr > {limit}"
"""Looks at 2e8 pairs, which takes a while."""
ENDLESS = "SELECT COUNT(*) AS n FROM demo.ForcedSource a, demo.ForcedSource b, demo.ForcedSource c WHERE a.psfFlux + b.psfFlux > c.psfFlux * {factor}"

NESTED = "SELECT o.objectId, t.n FROM demo.Object o, (SELECT a.band AS band, COUNT(*) AS n FROM demo.ForcedSource a, demo.ForcedSource b, demo.ForcedSource c WHERE a.psfFlux + b.psfFlux > c.psfFlux * {factor} GROUP BY a.band) t WHERE t.n > o.objectId AND (SELECT COUNT(*) FROM demo.ForcedSource a, demo.ForcedSource b, demo.ForcedSource c WHERE a.psfFlux + b.psfFlux > c.psfFlux * {factor}) > t.n"
"""Has jobs that the cluster begins from several threads."""


def _wait_for(what: Callable[[], Any], limit_s: float = 120) -> Any:
    deadline = time.monotonic() + limit_s
    while not (found := what()):
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.05)
    return found


def _values(response: httpx.Response) -> list[float]:
    assert response.status_code == 200, response.text
    _, row = csv.reader(io.StringIO(response.text))
    return [float(value) for value in row]


@pytest.fixture
def idle(spark_cluster: SparkCluster) -> Iterator[SparkCluster]:
    """The cluster while nothing runs on it, before and after a test."""
    _wait_for(lambda: spark_cluster.count_running() == 0)
    yield spark_cluster
    _wait_for(lambda: spark_cluster.count_running() == 0)


def _ask_aside(live: LiveServices, query: str) -> tuple[threading.Thread, list[httpx.Response]]:
    answers: list[httpx.Response] = []

    def ask() -> None:
        with live.client() as client:
            answers.append(client.get(SYNC, params={"QUERY": query, "RESPONSEFORMAT": "csv"}, timeout=280))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    return thread, answers


def _lose_during(
    live: DistributedServices, cluster: SparkCluster, query: str, lose: Callable[[], object]
) -> list[float]:
    thread, answers = _ask_aside(live, query)
    _wait_for(lambda: cluster.count_running() > 0 and len(cluster.list_executors()) > 0)
    lose()
    thread.join(280)
    assert answers, "there is no answer"
    assert answers[0].headers["Skydesk-Engine"] == "distributed"
    return _values(answers[0])


def test_killed_executors_lose_no_query(
    distributed_services: DistributedServices, live_services: LiveServices, idle: SparkCluster
) -> None:
    query = LONG.format(limit=1e5)
    _wait_for(lambda: len(idle.list_executors()) == 2)
    victims = idle.list_executors()
    found = _lose_during(distributed_services, idle, query, lambda: [victim.kill() for victim in victims])
    assert not any(victim.is_running() for victim in victims)
    with live_services.client() as client:
        wanted = _values(client.get(SYNC, params={"QUERY": query, "RESPONSEFORMAT": "csv"}, timeout=280))
    assert found == pytest.approx(wanted, rel=1e-12)
    _wait_for(lambda: len(idle.list_executors()) == 2)


def test_an_aborted_job_stops_on_the_cluster(
    distributed_services: DistributedServices, idle: SparkCluster
) -> None:
    distributed_services.start_worker("worker-d", portal=distributed_services.portal)
    with distributed_services.client() as client:
        form = {"QUERY": ENDLESS.format(factor=2), "PHASE": "RUN"}
        job = client.post("/api/tap/async", data=form).url.path
        _wait_for(lambda: idle.count_running() > 0)
        assert client.get(f"{job}/phase").text == "EXECUTING"
        client.post(f"{job}/phase", data={"PHASE": "ABORT"})
        _wait_for(lambda: idle.count_running() == 0)
        assert _wait_for(lambda: client.get(f"{job}/phase").text) == "ABORTED"
        form = {"QUERY": "SELECT COUNT(*) AS n FROM demo.ForcedSource", "PHASE": "RUN"}
        job = client.post("/api/tap/async", data=form).url.path
        _wait_for(lambda: client.get(f"{job}/phase").text == "COMPLETED")
        assert "distributed" in client.get(job).text
    distributed_services.stop_workers()


def test_a_client_that_leaves_stops_its_query_on_the_cluster(
    distributed_services: DistributedServices, idle: SparkCluster
) -> None:
    request = f"GET {SYNC}?{urlencode({'QUERY': ENDLESS.format(factor=3)})} HTTP/1.1"
    address = urlsplit(distributed_services.url)
    with socket.create_connection((address.hostname, address.port), timeout=60) as connection:
        head = f"{request}\r\nHost: {address.netloc}\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
        connection.sendall(head.encode())
        _wait_for(lambda: idle.count_running() > 0)
    _wait_for(lambda: idle.count_running() == 0)


def test_a_query_that_takes_too_long_is_stopped(
    distributed_services: DistributedServices, idle: SparkCluster
) -> None:
    tap = distributed_services.factory.create_tap_service()
    with pytest.raises(QueryTimeoutError, match="stopped after 2 s"):
        tap.run_query(ANN, ENDLESS.format(factor=4), timeout_s=2)


def _abort_after(services: DistributedServices, cluster: SparkCluster, query: str, delay_s: float) -> None:
    """Abort a query some time after its beginning, and wait until the cluster is idle for good."""
    tap = services.factory.create_tap_service()
    stops: list[Callable[[], None]] = []

    def ask() -> None:
        with pytest.raises(QueryTimeoutError, match="aborted"):
            list(tap.open_stream(ANN, TapRequest(query, 10), timeout_s=0, on_start=stops.append).batches())

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    _wait_for(lambda: stops)
    time.sleep(delay_s)
    stops[0]()
    thread.join(120)
    calm = [False]
    _wait_for(lambda: calm.append(cluster.count_running() == 0) or all(calm[-20:]))


def test_an_abort_reaches_what_is_just_being_submitted(
    distributed_services: DistributedServices, idle: SparkCluster
) -> None:
    for delay_s in (0.05, 0.15):
        _abort_after(distributed_services, idle, NESTED.format(factor=5 + delay_s), delay_s)


@pytest.mark.soak
def test_no_abort_leaves_anything_running(
    distributed_services: DistributedServices, idle: SparkCluster
) -> None:
    moments = random.Random(20260515)
    for number in range(100):
        query = (ENDLESS, NESTED)[number % 2].format(factor=10 + number)
        _abort_after(distributed_services, idle, query, moments.random() * 0.5)


def test_errors_of_values_say_nothing_of_the_engine(
    distributed_services: DistributedServices, live_services: LiveServices
) -> None:
    for query in (
        "SELECT objectId * objectId AS x FROM demo.Object",
        "SELECT CAST(objectId AS INTEGER) AS x FROM demo.Object",
        "SELECT objectId FROM demo.Object WHERE g_psfFlux = (SELECT r_psfFlux FROM demo.Object WHERE tract = 0)",
    ):
        answers = []
        for live in (distributed_services, live_services):
            with live.client() as client:
                answers.append(client.get(SYNC, params={"QUERY": query}))
        assert [answer.status_code for answer in answers] == [400, 400]
        assert "spark" not in answers[0].text.lower()
        assert "org.apache" not in answers[0].text


def test_the_server_is_locked(spark_cluster: SparkCluster, distributed_home: Path) -> None:
    token = spark_cluster.token_file.read_text().strip()
    table = (distributed_home / "releases" / "demo" / "catalogs" / "Object" / "dataset").resolve()
    session = SparkConnection(spark_cluster.url, token).open({"one": f"file://{table}"})
    assert session.sql("SELECT count(*) AS n FROM one").toArrow().column("n").to_pylist() == [2000]
    with pytest.raises(AnalysisException):
        session.sql(f"SELECT * FROM parquet.`file://{table}`").toArrow()
    for wrong in ("nonsense", None):
        with pytest.raises((UpstreamError, SparkConnectException)):
            SparkConnection(spark_cluster.url, wrong).open({})
    ports = {int(spark_cluster.url.rpartition(":")[2]), spark_cluster.ui_port}
    mine = psutil.Process(spark_cluster.processes["connect"].pid)
    listening = {c.laddr for c in mine.net_connections() if c.status == psutil.CONN_LISTEN}
    assert ports <= {address.port for address in listening}
    assert {address.ip.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}


def test_without_a_cluster_what_the_indexes_know_goes_on(
    spark_cluster: SparkCluster, synthetic_home: Path, tmp_path: Path
) -> None:
    for name in ("releases", "run"):
        (tmp_path / name).mkdir()
    (tmp_path / "releases" / "demo").symlink_to(synthetic_home / "releases" / "demo")
    settings = distribute(spark_cluster, tmp_path, 1000)
    section = settings.portal.distributed
    assert section is not None
    away = section.model_copy(update={"url": f"sc://127.0.0.1:{free_port()}"})
    portal = settings.portal.model_copy(update={"distributed": away})
    factory = create_factory(settings.model_copy(update={"portal": portal}), FakeIdentityClient(IDENTITIES))
    tap = factory.create_tap_service()
    cone = "CONTAINS(POINT(coord_ra, coord_dec), CIRCLE(53.13, -28.1, 0.002)) = 1"
    assert tap.run_query(ANN, f"SELECT objectId FROM demo.Object WHERE {cone}").table.num_rows
    with pytest.raises(UpstreamError, match="does not answer; queries by position or identifier go on"):
        tap.run_query(ANN, "SELECT band, COUNT(*) AS n FROM demo.ForcedSource GROUP BY band")
    factory.close()


@pytest.mark.soak
def test_workers_and_the_server_may_go_and_come(
    distributed_services: DistributedServices, spark_cluster: SparkCluster
) -> None:
    query = LONG.format(limit=2e5)
    whole = _lose_during(distributed_services, spark_cluster, query, lambda: None)
    for name in ("worker-1", "worker-2"):
        lost = _lose_during(
            distributed_services, spark_cluster, query, lambda name=name: spark_cluster.stop(name)
        )  # type: ignore[misc]
        assert lost == pytest.approx(whole, rel=1e-12)
        spark_cluster.start_worker(name)
        _wait_for(lambda: len(spark_cluster.list_executors()) == 2)
    for _ in range(5):
        found = _lose_during(
            distributed_services, spark_cluster, query, lambda: spark_cluster.list_executors()[0].kill()
        )
        assert found == pytest.approx(whole, rel=1e-12)
        _wait_for(lambda: len(spark_cluster.list_executors()) == 2)
    spark_cluster.stop("connect", signal.SIGTERM)
    with distributed_services.client() as client:
        away = client.get(SYNC, params={"QUERY": query})
        assert away.status_code == 503
        spark_cluster.start_connect()
        again = client.get(SYNC, params={"QUERY": query, "RESPONSEFORMAT": "csv"}, timeout=280)
        assert _values(again) == pytest.approx(whole, rel=1e-12)
