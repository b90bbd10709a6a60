"""Rate limits, quotas, the size of requests, the access log and the counters."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
from fastapi.testclient import TestClient
from starlette.requests import ClientDisconnect

from skydesk_portal.api.app import create_app
from skydesk_portal.config import GrantConfig, PortalConfig, PortalSettings, QuotaConfig
from skydesk_portal.exceptions import RateLimitError
from skydesk_portal.factory import Factory
from skydesk_portal.models.identity import SCOPES, Identity
from skydesk_portal.models.quota import Quota
from skydesk_portal.services.limits import LimitService, service_of
from skydesk_portal.storage.limits import Counters
from skydesk_portal.testing import FakeIdentityClient

PEOPLE = {
    "token-ann": Identity("ann", frozenset(SCOPES)),
    "token-eve": Identity("eve", frozenset(SCOPES), frozenset({"staff"})),
    "token-root": Identity("root", frozenset(SCOPES), admin=True),
}


@contextmanager
def serve(home: Path, run: Path, **portal: Any) -> Iterator[TestClient]:
    settings = PortalSettings(
        home=home, run=run, url="http://services.example", portal=PortalConfig(**portal)
    )
    app = create_app(settings, Factory(settings, FakeIdentityClient(PEOPLE)))
    with TestClient(app, base_url=settings.url, raise_server_exceptions=False) as client:
        yield client


def bearer(name: str = "ann") -> dict[str, str]:
    return {"Authorization": f"Bearer token-{name}"}


def test_who_asks_too_often_is_told_when_to_come_back(synthetic_home: Path, tmp_path: Path) -> None:
    quota = QuotaConfig(requests_per_minute={"default": 3, "sia": 100})
    with serve(synthetic_home, tmp_path, quota=quota, unlimited_groups=("staff",)) as client:
        answers = [client.get("/api/tap/capabilities", headers=bearer()) for _ in range(5)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
        first, refused = answers[0].headers, answers[3].headers
        assert (first["x-ratelimit-limit"], first["x-ratelimit-used"], first["x-ratelimit-remaining"]) == (
            "3",
            "1",
            "2",
        )
        assert first["x-ratelimit-resource"] == "tap"
        assert 1 <= int(refused["retry-after"]) <= 120
        assert refused["x-ratelimit-remaining"] == "0"
        assert "QUERY_STATUS' value='ERROR'" in answers[3].text
        # Another service and another person are not held up, and whoever is in a free group never.
        assert client.get("/api/sia/demo/capabilities", headers=bearer()).status_code == 200
        assert client.get("/api/tap/capabilities", headers=bearer("root")).status_code == 200
        for _ in range(5):
            answer = client.get("/api/tap/capabilities", headers=bearer("eve"))
            assert answer.status_code == 200
            assert "x-ratelimit-limit" not in answer.headers


def test_the_window_slides(tmp_path: Path) -> None:
    counters = Counters(tmp_path / "limits.sqlite")
    for _ in range(10):
        counters.hit("ann/tap", 60.0)
    # Half a minute into the next window half of the old requests still count.
    hits = counters.hit("ann/tap", 150.0)
    assert hits.used == pytest.approx(1 + 0.5 * 10)
    assert hits.reset == 180.0
    assert counters.hit("ann/tap", 300.0).used == 1
    assert counters.hit("bob/tap", 60.0).used == 1


@pytest.mark.parametrize("at", [60.0, 75.5, 119.0])
@pytest.mark.parametrize("before", [0, 4, 9, 10])
def test_coming_back_when_told_is_early_enough_and_not_too_late(
    tmp_path: Path, at: float, before: int
) -> None:
    limit, counters = 10, Counters(tmp_path / "limits.sqlite")
    for _ in range(before):
        counters.hit("k", 30.0)
    while (hits := counters.hit("k", at)).used <= limit:
        pass
    counters.take_back("k")
    wait_s = hits.wait_s(limit)
    assert 0 < wait_s <= 120
    assert counters.hit("k", at + wait_s + 0.01).used <= limit


def test_processes_share_what_they_count_and_a_dead_one_holds_no_place(tmp_path: Path) -> None:
    path = tmp_path / "limits.sqlite"
    one, other = Counters(path), Counters(path)
    place = one.enter("ann/tap", 2, 60)
    assert place is not None
    assert other.enter("ann/tap", 2, -1) is not None
    assert other.enter("ann/tap", 2, 60) is not None
    assert one.enter("ann/tap", 2, 60) is None
    assert one.enter("bob/tap", 2, 60) is not None
    one.leave(place)
    assert other.enter("ann/tap", 2, 60) is not None
    one.sweep()
    counted = [other.hit("ann/tap", 10.0).hits for _ in range(2)]
    threads = [
        threading.Thread(target=lambda: [one.hit("ann/tap", 10.0) for _ in range(50)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert other.hit("ann/tap", 10.0).hits == counted[-1] + 201


def test_counters_that_fail_keep_nobody_out(synthetic_home: Path, tmp_path: Path) -> None:
    (tmp_path / "limits.sqlite").write_bytes(b"no database at all, and rather long for one" * 100)
    with serve(synthetic_home, tmp_path) as client:
        assert client.get("/api/tap/capabilities", headers=bearer()).headers["x-ratelimit-used"] == "1"
        with sqlite3.connect(tmp_path / "limits.sqlite") as db:
            db.execute("DROP TABLE hits")
        with structlog.testing.capture_logs() as lines:
            assert client.get("/api/tap/capabilities", headers=bearer()).status_code == 200
        assert any(line["event"] == "requests are not counted" for line in lines)


def test_only_so_many_queries_of_one_person_run_at_once(tmp_path: Path) -> None:
    config = PortalConfig(quota=QuotaConfig(concurrent={"tap": 1}))
    limits = LimitService(config, Counters(tmp_path / "limits.sqlite"))
    ann = PEOPLE["token-ann"]
    ticket = limits.enter(ann, "tap", query=True)
    limits.enter(ann, "tap", query=False)
    limits.enter(ann, "cutout", query=True)
    with pytest.raises(RateLimitError, match="1 of your requests to tap are running"):
        limits.enter(ann, "tap", query=True)
    limits.leave(ticket)
    limits.enter(ann, "tap", query=True)


def test_a_query_gives_its_place_back(synthetic_home: Path, tmp_path: Path) -> None:
    with serve(synthetic_home, tmp_path, quota=QuotaConfig(concurrent={"tap": 1})) as client:
        for query in ("SELECT TOP 3 * FROM demo.Object", "SELECT nonsense", "SELECT 1"):
            answer = client.get("/api/tap/sync", params={"QUERY": query}, headers=bearer())
            assert answer.status_code in {200, 400}, answer.text


def test_quotas_come_from_settings_groups_and_administrators() -> None:
    config = PortalConfig(
        quota=QuotaConfig(requests_per_minute={"default": 100, "hips": 0}, active_jobs=10),
        group_quotas={"survey": GrantConfig(requests_per_minute={"tap": 50, "hips": 5}, active_jobs=5)},
        unlimited_groups=("staff",),
    )
    limits = LimitService(config, None)
    assert limits.quota_for(Identity("ann")).requests_for("tap") == 100
    member = limits.quota_for(Identity("ann", groups=frozenset({"survey"})))
    assert (member.requests_for("tap"), member.requests_for("sia"), member.requests_for("hips")) == (
        150,
        100,
        0,
    )
    assert member.active_jobs == 15
    own = {
        "api": {"tap": 7},
        "concurrent": {"tap": 2},
        "jobs": {"active": 3, "result_bytes": 10},
        "notebook": {"memory": 4.0},
    }
    given = limits.quota_for(Identity("ann", groups=frozenset({"survey"}), quota=own))
    assert (given.requests_for("tap"), given.concurrent_for("tap")) == (7, 2)
    assert (given.active_jobs, given.result_bytes) == (3, 10)
    assert limits.quota_for(Identity("ann", groups=frozenset({"staff"}))) == Quota()
    assert [service_of(p) for p in ("/api/tap/sync", "/files/ann/x", "/api/hips/v2/demo/list")] == [
        "tap",
        "files",
        "hips",
    ]


def test_people_see_what_they_may_use_and_do(synthetic_home: Path, tmp_path: Path) -> None:
    quota = QuotaConfig(requests_per_minute={"default": 9}, concurrent={"tap": 2}, active_jobs=3, kept_jobs=4)
    with serve(synthetic_home, tmp_path, quota=quota) as client:
        before = client.get("/api/quota", headers=bearer("root")).json()
        assert before["api"] == {"default": 9}
        assert before["concurrent"] == {"tap": 2}
        assert before["jobs"] == {"active": 3, "kept": 4, "result_bytes": quota.result_bytes}
        run = {"QUERY": "SELECT 1", "PHASE": "RUN"}
        made = client.post("/api/tap/async", data=run, headers=bearer("root"), follow_redirects=False)
        used = client.get("/api/quota", headers=bearer("root")).json()["used"]
        assert used == {
            **before["used"],
            "active": before["used"]["active"] + 1,
            "kept": before["used"]["kept"] + 1,
        }
        client.delete(made.headers["location"], headers=bearer("root"))
        assert client.get("/api/quota").status_code == 401


def test_a_request_that_is_too_large_is_refused(synthetic_home: Path, tmp_path: Path) -> None:
    with serve(synthetic_home, tmp_path, request_bytes=100_000) as client:
        large = client.post("/api/tap/sync", data={"QUERY": "x" * 200_000}, headers=bearer())
        assert large.status_code == 413
        assert "QUERY_STATUS' value='ERROR'" in large.text
        assert large.headers["x-request-id"]
        # Chunks announce no size.
        chunks = client.post(
            "/api/batch",
            content=(b"PIPELINE=" + b"x" * 20_000 for _ in range(10)),
            headers={**bearer(), "Content-Type": "application/x-www-form-urlencoded"},
        )
        assert chunks.status_code == 413
        assert chunks.json()["code"] == "too_large"
        # Of the files only their content has a limit of its own.
        head = b'--x\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'
        parts = client.post(
            "/api/files/transfers",
            content=(part for part in (head, *[b"x" * 20_000] * 10, b"\r\n--x--\r\n")),
            headers={**bearer(), "Content-Type": "multipart/form-data; boundary=x"},
        )
        assert parts.status_code == 413
    with serve(synthetic_home, tmp_path) as client:
        many = client.post(
            "/api/tap/sync",
            content=b"&" * 2_000_000,
            headers={**bearer(), "Content-Type": "application/x-www-form-urlencoded"},
        )
        assert many.status_code == 413
        assert "fields" in many.text
        nested = client.put(
            "/api/sharing/u-ann",
            content=b"[" + b"[]," * 3_000_000 + b"[]]",
            headers={**bearer(), "Content-Type": "application/json"},
        )
        assert nested.status_code == 413


def test_the_log_tells_who_asked_what_without_secrets(synthetic_home: Path, tmp_path: Path) -> None:
    with serve(synthetic_home, tmp_path) as client, structlog.testing.capture_logs() as lines:
        position = "SELECT 1 FROM demo.Object WHERE coord_ra < 53.1234"
        answer = client.get(
            "/api/tap/sync",
            params={"QUERY": position, "s": "signature"},
            headers={
                **bearer(),
                "X-Request-ID": "mine-1",
                "User-Agent": "pyvo/1.9",
                "Accept-Encoding": "identity",
            },
        )
        assert answer.headers["x-request-id"] == "mine-1"
        client.get("/api/tap/sync", headers={"Authorization": "Bearer stolen", "X-Request-ID": "no good\x7f"})
        client.get("/api/health")
    logged = [line for line in lines if line["event"] == "request"]
    assert len(logged) == 2
    first, refused = logged
    assert (first["method"], first["route"], first["status"], first["user"]) == (
        "GET",
        "/api/tap/sync",
        200,
        "ann",
    )
    assert first["bytes"] == len(answer.content)
    assert first["agent"] == "pyvo/1.9"
    assert first["ms"] > 0
    assert (refused["status"], refused["user"]) == (401, None)
    text = str(lines)
    for secret in ("53.1234", "signature", "stolen", "token-ann"):
        assert secret not in text


def test_the_counters_are_for_administrators(synthetic_home: Path, tmp_path: Path) -> None:
    with serve(synthetic_home, tmp_path) as client:
        assert client.get("/api/metrics").status_code == 401
        assert client.get("/api/metrics", headers=bearer()).status_code == 403
        made = client.post(
            "/api/tap/async", data={"QUERY": "SELECT 1"}, headers=bearer(), follow_redirects=False
        )
        client.request("NONSENSE", "/api/tap/async", headers=bearer())
        text = client.get("/api/metrics", headers=bearer("root")).text
        client.delete(made.headers["location"], headers=bearer())
    assert 'skydesk_api_requests_total{method="POST",route="/api/tap/async",status="303"} 1.0' in text
    assert 'skydesk_jobs{kind="tap",phase="PENDING"}' in text
    assert "NONSENSE" not in text
    assert made.headers["location"].rsplit("/", 1)[1] not in text


def test_a_caller_who_goes_away_is_logged_and_gives_its_place_back(
    synthetic_home: Path, tmp_path: Path
) -> None:
    settings = PortalSettings(
        home=synthetic_home,
        run=tmp_path,
        url="http://services.example",
        portal=PortalConfig(quota=QuotaConfig(concurrent={"tap": 1})),
    )
    factory = Factory(settings, FakeIdentityClient(PEOPLE))
    app = create_app(settings, factory)
    query = b"QUERY=SELECT+a.*+FROM+demo.ForcedSource+a,+demo.Object+b"
    scope = {
        "type": "http", "method": "GET", "path": "/api/tap/sync", "raw_path": b"/api/tap/sync", "root_path": "",
        "query_string": query, "headers": [(b"authorization", b"Bearer token-ann")], "scheme": "http",
        "server": ("services.example", 80), "client": ("127.0.0.1", 1), "http_version": "1.1", "asgi": {"version": "3.0", "spec_version": "2.4"},
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.body":
            raise OSError("the caller has gone")

    async def ask() -> None:
        async with app.router.lifespan_context(app):
            for _ in range(2):
                with pytest.raises(ClientDisconnect):
                    await app(dict(scope), receive, send)

    with structlog.testing.capture_logs() as lines:
        asyncio.run(ask())
    logged = [line for line in lines if line["event"] == "request"]
    assert [line["status"] for line in logged] == [200, 200]
    assert all(line["complete"] is False for line in logged)
