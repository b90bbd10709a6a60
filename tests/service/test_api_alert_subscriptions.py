"""Subscriptions to alerts: who gets which, once, by which ways, and what is said when it fails."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import duckdb
import fastavro
import httpx
import pytest
from starlette.testclient import TestClient

from skydesk_portal.api.app import create_app
from skydesk_portal.config import PortalConfig, PortalSettings, load_config
from skydesk_portal.exceptions import ConfigError, ForbiddenError, UpstreamError, UsageError
from skydesk_portal.factory import Factory, create_factory
from skydesk_portal.models.identity import SCOPES, Identity
from skydesk_portal.services.alert_replay import replay_alerts
from skydesk_portal.services.alert_webhooks import AlertWebhooks
from skydesk_portal.testing import FakeIdentityClient
from tests.support.services import ANN, BOB, IDENTITIES, JOE

URL = "http://services.example"
SUBSCRIPTIONS = "/api/alerts/subscriptions"
NIGHT = 100
ATOM = "{http://www.w3.org/2005/Atom}"


@dataclass
class Stream:
    """The services over a release with alerts, and what plays its alerts."""

    home: Path
    factory: Factory
    client: TestClient

    def subscribe(self, token: str = ANN, **wish: Any) -> dict[str, Any]:
        answer = self.client.post(SUBSCRIPTIONS, json=wish, headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 201, answer.text
        return answer.json()

    def show(self, subscription: dict[str, Any]) -> dict[str, Any]:
        return self.client.get(f"{SUBSCRIPTIONS}/{subscription['id']}").json()

    def delivered(self, subscription: dict[str, Any]) -> list[int]:
        found = self.client.get(f"{SUBSCRIPTIONS}/{subscription['id']}/alerts?LAST=10000").json()["alerts"]
        return [int(one["alert_id"]) for one in reversed(found)]

    def log(self, subscription: dict[str, Any]) -> list[dict[str, Any]]:
        return self.client.get(f"{SUBSCRIPTIONS}/{subscription['id']}/log").json()["log"]

    def play(self, count: int = NIGHT) -> None:
        """Let the first alerts of the release come by once more."""
        release = self.factory.create_release_store().list_all()[0]
        alerts, stream = self.factory.create_alert_service(), self.factory.create_alert_stream()
        assert sum(i.count for i in replay_alerts(alerts, stream, release, speed=0, count=count)) == count
        self.deliver()

    def deliver(self) -> None:
        delivery = self.factory.create_alert_delivery()
        while delivery.work():
            pass


def make_home(folder: Path, products_home: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "releases").symlink_to(products_home / "releases", target_is_directory=True)
    (folder / "run").mkdir()
    return folder


def make_factory(home: Path, **portal: Any) -> Factory:
    settings = PortalSettings(home=home, run=home / "run", url=URL, portal=PortalConfig(**portal))
    return create_factory(settings, FakeIdentityClient(IDENTITIES))


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory, products_home: Path) -> Iterator[Stream]:
    home = make_home(tmp_path_factory.mktemp("subscriptions"), products_home)
    factory = make_factory(home)
    with TestClient(create_app(factory.settings, factory), base_url=URL) as client:
        client.headers["Authorization"] = f"Bearer {ANN}"
        yield Stream(home, factory, client)


@pytest.fixture(scope="module")
def night(products_home: Path) -> list[dict[str, Any]]:
    """The first DIA sources of the release, by time: what a replay of so many alerts consists of."""
    with duckdb.connect(str(products_home / "releases/maps/catalogs.duckdb"), read_only=True) as catalog:
        found = catalog.sql('SELECT * FROM "DiaSource" ORDER BY midpointMjdTai, diaSourceId')
        return found.to_arrow_table().to_pylist()[:NIGHT]


@pytest.mark.requirement("DMS-PRTL-REQ-0119")
def test_a_rights_holder_gets_the_alerts_of_a_stream_and_others_get_403(
    stream: Stream, night: list[dict[str, Any]]
) -> None:
    mine = stream.subscribe(name="everything", release="maps")
    theirs = stream.subscribe(BOB, name="everything", release="maps")
    assert stream.delivered(mine) == []
    stream.play()
    assert stream.delivered(mine) == [row["diaSourceId"] for row in night]
    assert stream.client.get(mine["url"].removeprefix(URL)).status_code == 200
    refused = stream.client.get(theirs["url"].removeprefix(URL))
    assert (refused.status_code, refused.json()["code"]) == (404, "not_found")
    for method, path, body in (
        ("GET", SUBSCRIPTIONS, None),
        ("POST", SUBSCRIPTIONS, {"name": "no rights"}),
        ("GET", mine["url"].removeprefix(URL), None),
    ):
        headers = {"Authorization": f"Bearer {JOE}"}
        answer = stream.client.request(method, path, json=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    notices = stream.client.get("/api/notices").json()
    told = [one for one in notices["notices"] if one["subject"] == f"alerts/{mine['id']}"]
    assert [one["text"] for one in told] == [f"The subscription everything has new alerts: {NIGHT}"]


@pytest.mark.requirement("DMS-PRTL-REQ-0120")
@pytest.mark.parametrize(
    ("name", "passes"),
    [
        ("bright", lambda row: row["snr"] is not None and row["snr"] >= 20),
        ("all", lambda _row: True),
    ],
    ids=["bright", "all"],
)
def test_a_supplied_filter_delivers_exactly_its_alerts(
    stream: Stream, night: list[dict[str, Any]], name: str, passes: Callable[[dict[str, Any]], bool]
) -> None:
    offered = {f["name"] for f in stream.client.get("/api/alerts/filters?RELEASE=maps").json()["filters"]}
    if name not in offered:
        pytest.fail(f"the release has no filter {name}: {offered}")
    made = stream.subscribe(name=f"supplied {name}", release="*", filter=name)
    stream.play()
    wanted = [row["diaSourceId"] for row in night if passes(row)]
    assert wanted
    assert stream.delivered(made) == wanted


@pytest.mark.requirement("DMS-PRTL-REQ-0121")
def test_an_own_filter_delivers_what_it_means_and_a_wrong_one_is_refused(
    stream: Stream, night: list[dict[str, Any]]
) -> None:
    # A cut at magnitude 23: 31.4 - 2.5 log10(flux in nJy) < 23.
    limit_njy = 10 ** ((31.4 - 23) / 2.5)
    made = stream.subscribe(name="brighter than 23", release="maps", condition=f"psfFlux > {limit_njy:.6f}")
    stream.play()
    wanted = [r["diaSourceId"] for r in night if r["psfFlux"] is not None and r["psfFlux"] > limit_njy]
    assert 0 < len(wanted) < NIGHT
    assert stream.delivered(made) == wanted
    for condition, words in (
        ("magnitude < 23", "magnitude"),
        ("psfFlux >", "something is missing"),
        ("1 = 1) OR (2 = 2", "parentheses"),
        ("snr > 3; DROP TABLE x", "semicolon"),
    ):
        answer = stream.client.post(SUBSCRIPTIONS, json={"name": "wrong", "condition": condition})
        assert answer.status_code == 400, condition
        assert "line" not in answer.json()  # of a query that nobody has written
        assert words in answer.json()["message"], answer.text
    wish = {"name": "none", "filter": "nothing"}
    assert "has no filter 'nothing'" in stream.client.post(SUBSCRIPTIONS, json=wish).json()["message"]
    again = stream.client.post(SUBSCRIPTIONS, json={"name": "brighter than 23", "condition": "snr > 3"})
    assert (again.status_code, again.json()["code"]) == (409, "file_conflict")


@pytest.mark.requirement("DMS-PRTL-REQ-0127")
def test_figures_agree_with_the_log_and_a_failing_filter_shows_its_error(stream: Stream) -> None:
    table = "/api/tables/watched"
    wish = {"name": "watched", "query": "SELECT TOP 2 diaObjectId AS source FROM maps.DiaObject"}
    made = stream.client.post("/api/tables", json=wish)
    assert made.status_code == 201, made.text
    name = "user_ann.watched"
    watching = stream.subscribe(
        name="watched", release="maps", condition=f"diaObjectId NOT IN (SELECT source FROM {name})"
    )
    bright = stream.subscribe(name="bright ones", release="maps", filter="bright")
    stream.play()
    for subscription in (watching, bright):
        shown, log = stream.show(subscription), stream.log(subscription)
        assert shown["seen"] == sum(line["seen"] for line in log) == NIGHT
        assert shown["sent"] == sum(line["sent"] for line in log) == len(stream.delivered(subscription))
        assert (shown["failed"], shown["error"]) == (0, "")
    assert stream.client.delete(table).status_code == 204
    stream.play(10)
    shown, log = stream.show(watching), stream.log(watching)
    assert "watched" in shown["error"]
    assert shown["failed"] == sum(line["failed"] for line in log) == 10
    assert log[0]["reason"] == shown["error"]
    told = stream.client.get("/api/notices").json()["notices"]
    assert any(n["kind"] == "error" and "The subscription watched has a problem" in n["text"] for n in told)
    assert stream.show(bright)["error"] == ""


def test_alerts_that_publish_makes_are_delivered_once_they_are_there(
    tmp_path: Path, products_home: Path, night: list[dict[str, Any]]
) -> None:
    home = make_home(tmp_path, products_home)
    # A release is a folder that appears whole.
    (home / "releases").unlink()
    shutil.copytree(products_home / "releases/maps", home / "aside", copy_function=os.link, symlinks=True)
    (home / "releases").mkdir()
    factory = make_factory(home)
    ann, service = IDENTITIES[ANN], factory.create_alert_subscription_service()
    with pytest.raises(Exception, match="no release with alerts"):
        service.create(ann, wish("too early"))
    (home / "aside").rename(home / "releases/maps")
    made = service.create(ann, wish("from now on"))
    stream = Stream(home, factory, None)  # type: ignore[arg-type]
    stream.deliver()
    # What was published before anybody was subscribed is not sent.
    assert service.get(ann, made.id).seen == 0
    manifest = home / "releases/maps/manifest.json"
    fresh = json.loads(manifest.read_text())
    assert fresh["created"]
    content = json.dumps(fresh | {"created": "2030-01-01T00:00:00Z"})
    manifest.unlink()
    manifest.write_text(content)
    stream.deliver()
    found = service.get(ann, made.id)
    assert found.seen == found.sent == fresh["alerts"]["count"] > len(night)
    ids = [one.alert_id for one in reversed(service.list_deliveries(ann, made.id, 10_000))]
    assert ids[: len(night)] == [row["diaSourceId"] for row in night]
    assert len(set(ids)) == len(ids) == found.sent
    stream.deliver()
    assert service.get(ann, made.id).seen == found.seen
    factory.close()


def wish(name: str, **more: Any) -> Any:
    from skydesk_portal.models.alert_subscriptions import SubscriptionWish

    return SubscriptionWish(name, **more)


class _KilledError(BaseException):
    """Ends the process, as far as the code can tell."""


def test_each_alert_is_delivered_once_whatever_ends_the_process(tmp_path: Path, products_home: Path) -> None:
    home = make_home(tmp_path, products_home)
    factory = make_factory(home)
    ann, service = IDENTITIES[ANN], factory.create_alert_subscription_service()
    made = service.create(ann, wish("to my files", release="maps", to_files=True))
    release = factory.create_release_store().list_all()[0]
    played = list(
        replay_alerts(
            factory.create_alert_service(), factory.create_alert_stream(), release, speed=0, count=NIGHT
        )
    )
    batches = len(played)
    assert batches > 1
    for step in ("write_packets", "deliver", "_tell", "_tell"):
        # A new process each time, which dies at another place.
        killed = make_factory(home)
        delivery = killed.create_alert_delivery()
        place = {"write_packets": delivery._alerts, "deliver": delivery._store}.get(step, delivery)
        honest = getattr(place, step)

        def die(*given: Any, honest: Any = honest, step: str = step, **named: Any) -> None:
            if step == "write_packets":
                honest(*given, **named)
            raise _KilledError

        setattr(place, step, die)
        with pytest.raises(_KilledError):
            delivery.work()
        killed.close()
    # Two that deliver at the same time do not deliver twice either.
    others = [make_factory(home) for _ in range(2)]
    deliveries = [other.create_alert_delivery() for other in others]
    threads = [threading.Thread(target=lambda d=d: [None for _ in iter(d.work, False)]) for d in deliveries]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    found = service.get(ann, made.id)
    ids = [one.alert_id for one in service.list_deliveries(ann, made.id, 10_000)]
    assert found.seen == found.sent == len(ids) == len(set(ids)) == NIGHT
    assert (found.failed, found.error) == (0, "")
    files = sorted((home / "users/ann/home/alerts/to-my-files").glob("*.avro"))
    assert len(files) == batches == len(service.list_notes(ann, made.id))
    stored: list[int] = []
    for path in files:
        with path.open("rb") as content:
            stored += [record["diaSourceId"] for record in fastavro.reader(content)]
    assert sorted(stored) == sorted(ids)
    assert [p for p in path.parent.iterdir() if p.suffix != ".avro"] == []
    for one in (factory, *others):
        one.close()


def test_a_paused_subscription_gets_what_was_issued_meanwhile_when_it_goes_on(stream: Stream) -> None:
    made = stream.subscribe(name="paused", release="maps")
    change = lambda state: stream.client.patch(f"{SUBSCRIPTIONS}/{made['id']}", json={"state": state})  # noqa: E731
    assert change("paused").json()["state"] == "paused"
    stream.play(20)
    assert stream.show(made)["seen"] == 0
    assert change("active").json()["state"] == "active"
    stream.deliver()
    assert stream.show(made)["sent"] == 20
    # The newest alerts once more, for this subscription alone.
    other = stream.subscribe(name="does not hear", release="maps")
    answer = stream.client.post(f"{SUBSCRIPTIONS}/{made['id']}/replay", json={"count": 7})
    assert (answer.status_code, answer.json()["alerts"]) == (202, 7)
    stream.deliver()
    assert stream.show(made)["sent"] == 27
    assert stream.show(other)["seen"] == 0
    assert stream.client.post(f"{SUBSCRIPTIONS}/{made['id']}/replay", json={"count": 0}).status_code == 400
    assert stream.client.delete(f"{SUBSCRIPTIONS}/{made['id']}").status_code == 204
    assert stream.client.get(f"{SUBSCRIPTIONS}/{made['id']}").status_code == 404


def test_feeds_open_by_their_address_alone_and_only_as_long_as_it_is_good(
    stream: Stream, night: list[dict[str, Any]]
) -> None:
    made = stream.subscribe(name="a <feed> & more", release="maps")
    stream.play(12)
    wanted = [str(row["diaSourceId"]) for row in reversed(night[:12])]
    nobody = {"Authorization": ""}
    atom = stream.client.get(made["feeds"]["atom"].removeprefix(URL), headers=nobody)
    assert atom.headers["content-type"].startswith("application/atom+xml")
    root = ElementTree.fromstring(atom.content)
    assert root.findtext(f"{ATOM}title") == "Alerts: a <feed> & more"
    entries = root.findall(f"{ATOM}entry")
    assert [e.findtext(f"{ATOM}id", "").rpartition(":")[2] for e in entries] == wanted
    assert len({e.findtext(f"{ATOM}id") for e in entries}) == 12
    feed = stream.client.get(made["feeds"]["json"].removeprefix(URL), headers=nobody).json()
    assert feed["version"] == "https://jsonfeed.org/version/1.1"
    assert [item["_skydesk"]["alert_id"] for item in feed["items"]] == wanted
    assert feed["items"][-1]["_skydesk"]["ra_deg"] == pytest.approx(night[0]["ra"])
    bad = made["feeds"]["json"].removeprefix(URL)[:-1] + "x"
    assert stream.client.get(bad, headers=nobody).status_code == 403
    bare = bad.partition("?")[0]
    assert stream.client.get(bare, headers=nobody).status_code == 401
    assert stream.client.get(bare, headers={"Authorization": f"Bearer {BOB}"}).status_code == 404
    assert [item["_skydesk"]["alert_id"] for item in stream.client.get(bare).json()["items"]] == wanted
    assert stream.client.get(bare.replace("feed.json", "feed.txt")).status_code == 404
    fresh = stream.client.post(f"{SUBSCRIPTIONS}/{made['id']}/feed").json()["feeds"]
    assert stream.client.get(made["feeds"]["atom"].removeprefix(URL), headers=nobody).status_code == 403
    assert stream.client.get(fresh["atom"].removeprefix(URL), headers=nobody).status_code == 200


def test_the_command_replays_a_release_at_a_speed(
    tmp_path: Path, products_home: Path, night: list[dict[str, Any]]
) -> None:
    home = make_home(tmp_path, products_home)
    factory = make_factory(home)
    ann, service = IDENTITIES[ANN], factory.create_alert_subscription_service()
    made = service.create(ann, wish("class", release="maps"))
    command = [str(Path(sys.executable).with_name("skydesk")), "--home", str(home), "alerts", "replay"]
    run = subprocess.run(
        [*command, "--release", "maps", "--speed", "1e9", "--count", "30", "--json"],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    told = json.loads(run.stdout)
    assert (told["version"], told["release"], told["alerts"]) == (1, "maps", 30)
    Stream(home, factory, None).deliver()  # type: ignore[arg-type]
    found = [one.alert_id for one in reversed(service.list_deliveries(ann, made.id))]
    assert found == [row["diaSourceId"] for row in night[:30]]
    wrong = subprocess.run(
        [*command, "--release", "nothing"], capture_output=True, text=True, timeout=300, check=False
    )
    assert wrong.returncode == 1
    assert "there is no release 'nothing' with alerts; there are: maps [not_found]" in wrong.stderr
    factory.close()


def test_a_replay_keeps_the_rhythm_of_the_visits(stream: Stream, night: list[dict[str, Any]]) -> None:
    now, pauses = 0.0, []

    def wait(seconds: float) -> None:
        nonlocal now
        now += seconds
        pauses.append(seconds)

    release = stream.factory.create_release_store().list_all()[0]
    found = list(
        replay_alerts(
            stream.factory.create_alert_service(), stream.factory.create_alert_stream(), release,
            speed=1000, count=NIGHT, wait=wait, clock=lambda: now,
        )
    )  # fmt: skip
    times = sorted({row["midpointMjdTai"] for row in night})
    assert [i.midpoint_mjd_tai for i in found] == times
    assert len(times) > 1
    assert now == pytest.approx((times[-1] - times[0]) * 86.4, rel=1e-6)
    assert len(pauses) == len(times) - 1
    with pytest.raises(UsageError):
        list(
            replay_alerts(
                stream.factory.create_alert_service(), stream.factory.create_alert_stream(), release, speed=-1
            )
        )


def test_webhooks_go_nowhere_but_to_the_named_hosts_in_the_open() -> None:
    seen: list[httpx.Request] = []
    status = 204

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(status, headers={"location": "http://127.0.0.1/"} if status == 302 else {})

    def hooks(*addresses: str) -> AlertWebhooks:
        return AlertWebhooks(
            ["https://hooks.example.org/a/"], lambda _h, _p: list(addresses), httpx.MockTransport(answer)
        )

    good = "https://hooks.example.org/a/b?c=1"
    hooks("93.184.216.34").send(good, {"alerts": ["1"]}, "key-1")
    (request,) = seen
    assert str(request.url) == "https://93.184.216.34/a/b?c=1"
    assert (request.headers["host"], request.headers["idempotency-key"]) == ("hooks.example.org", "key-1")
    assert request.extensions["sni_hostname"] == "hooks.example.org"
    for private in (
        "127.0.0.1",
        "10.1.2.3",
        "169.254.169.254",
        "::1",
        "fd00::1",
        "0.0.0.0",
        "::ffff:10.0.0.1",
    ):
        with pytest.raises(ForbiddenError, match="private network"):
            hooks("93.184.216.34", private).send(good, {}, "k")
    for other in ("https://hooks.example.org.evil.example/a/", "https://hooks.example.org/b"):
        with pytest.raises(ForbiddenError, match="does not send"):
            hooks().check(other)
    for wrong in (
        "http://hooks.example.org/a/",
        "https://me@hooks.example.org/a/",
        "https://hooks.example.org/a/../b",
        "ftp://x",
    ):
        with pytest.raises(UsageError):
            hooks().check(wrong)
    for status, kind in ((500, UpstreamError), (429, UpstreamError), (404, UsageError), (302, UsageError)):
        with pytest.raises(kind, match=str(status)):
            hooks("93.184.216.34").send(good, {}, "k")
    with pytest.raises(ForbiddenError):
        AlertWebhooks(()).check(good)


def test_a_webhook_that_fails_is_tried_again_and_then_told(tmp_path: Path, products_home: Path) -> None:
    home = make_home(tmp_path, products_home)
    factory = make_factory(home, alert_webhooks=["https://hooks.example.org/"])
    ann, service = IDENTITIES[ANN], factory.create_alert_subscription_service()
    made = service.create(ann, wish("hook", release="maps", webhook="https://hooks.example.org/x"))
    status, keys = 503, []

    def answer(request: httpx.Request) -> httpx.Response:
        keys.append(request.headers["idempotency-key"])
        return httpx.Response(status)

    service.webhooks = AlertWebhooks(
        ["https://hooks.example.org/"], lambda _h, _p: ["93.184.216.34"], httpx.MockTransport(answer)
    )
    service.replay(ann, made.id, 5)
    delivery = factory.create_alert_delivery()
    assert delivery.work()
    waiting = service.get(ann, made.id)
    assert (waiting.seen, waiting.tries) == (0, 1)
    assert "it is tried again" in waiting.error
    assert not delivery.work()
    service.store.change(made.id, retry_s=0.0)
    status = 204
    assert delivery.work()
    done = service.get(ann, made.id)
    assert (done.seen, done.sent, done.failed, done.error, done.tries) == (5, 5, 0, "", 0)
    assert len(keys) == 2
    assert len(set(keys)) == 1
    status = 410
    service.replay(ann, made.id, 5)
    delivery.work()
    gone = service.get(ann, made.id)
    assert (gone.seen, gone.sent, gone.failed) == (10, 10, 5)
    assert "410" in gone.error
    factory.close()


@pytest.mark.parametrize("beginning", ["http://hooks.example.org/", "https://hooks.example.org", "https:///"])
def test_a_setting_that_would_open_more_than_it_says_is_refused(tmp_path: Path, beginning: str) -> None:
    (tmp_path / "config.yaml").write_text(json.dumps({"portal": {"alert_webhooks": [beginning]}}))
    with pytest.raises(ConfigError, match="alert_webhooks"):
        load_config({"SKYDESK_HOME": str(tmp_path)})


def test_a_reader_who_may_not_read_a_release_hears_nothing_of_it(tmp_path: Path, products_home: Path) -> None:
    home = make_home(tmp_path, products_home)
    (home / "releases").unlink()
    shutil.copytree(
        products_home / "releases/maps", home / "releases/maps", copy_function=os.link, symlinks=True
    )
    manifest = home / "releases/maps/manifest.json"
    facts = json.loads(manifest.read_text())
    factory = make_factory(home)
    service = factory.create_alert_subscription_service()
    team = Identity("tess", frozenset(SCOPES), frozenset({"g_team"}))
    ann = IDENTITIES[ANN]
    made = {who.name: service.create(who, wish("all")) for who in (team, ann)}
    manifest.unlink()
    manifest.write_text(json.dumps(facts | {"access_groups": ["g_team"]}))
    release = factory.create_release_store().list_all()[0]
    list(
        replay_alerts(
            factory.create_alert_service(), factory.create_alert_stream(), release, speed=0, count=10
        )
    )
    Stream(home, factory, None).deliver()  # type: ignore[arg-type]
    assert service.get(team, made["tess"].id).sent == 10
    assert (service.get(ann, made["ann"].id).seen, service.list_notes(ann, made["ann"].id)) == (0, [])
    factory.close()
