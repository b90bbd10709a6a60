"""People's own tables over HTTP: by our addresses and by pyvo's, joined, indexed, shared, dropped, kept apart."""

from __future__ import annotations

import csv
import io
import os
import secrets
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import pyvo
import requests
from astropy.table import Table

from skydesk_portal.config import PortalConfig, PortalSettings
from skydesk_portal.exceptions import FileConflictError, NotFoundError, QuotaError, UsageError
from skydesk_portal.factory import Factory, create_factory
from skydesk_portal.models.identity import SCOPES, Identity
from skydesk_portal.models.jobs import JobKind, Phase
from skydesk_portal.models.tap import TapRequest
from skydesk_portal.models.user_tables import find_position
from skydesk_portal.services.tables_jobs import TableExecutor
from skydesk_portal.testing import FakeIdentityClient
from skydesk_portal.uws.runner import JobRunner
from tests.support.services import ANN, BOB, LiveServices

API = "/api/tables"
SYNC = "/api/tap/sync"
EVE = "token-eve"


@pytest.fixture
def ann(live_services: LiveServices) -> Iterator[httpx.Client]:
    with live_services.client() as client:
        yield client


@pytest.fixture
def bob(live_services: LiveServices) -> Iterator[httpx.Client]:
    with live_services.client(BOB) as client:
        yield client


@pytest.fixture
def eve(live_services: LiveServices) -> Iterator[httpx.Client]:
    known = live_services.factory.create_identity_client()
    assert isinstance(known, FakeIdentityClient)
    known.tokens[EVE] = Identity("eve", frozenset(SCOPES), frozenset({"lensing"}))
    with live_services.client(EVE) as client:
        yield client


@pytest.fixture
def name(ann: httpx.Client) -> Iterator[str]:
    """A name that no other test uses; the table is gone afterwards."""
    found = f"t_{secrets.token_hex(4)}"
    yield found
    ann.delete(f"{API}/{found}", params={"for_good": "true"})


def ask(client: httpx.Client, query: str) -> list[list[str]]:
    answer = client.post(SYNC, data={"QUERY": query, "RESPONSEFORMAT": "csv"})
    assert answer.status_code == 200, answer.text
    return list(csv.reader(answer.text.splitlines()[1:]))


def refused(client: httpx.Client, query: str) -> str:
    answer = client.post(SYNC, data={"QUERY": query})
    assert answer.status_code == 400, answer.text
    return ET.fromstring(answer.content).findall(".//{*}INFO[@name='QUERY_STATUS']")[-1].text or ""


def positions(ann: httpx.Client, n: int = 400) -> Table:
    rows = ask(ann, f"SELECT TOP {n} objectId, coord_ra, coord_dec FROM demo.Object")
    table = Table(
        {
            "objectId": np.array([int(row[0]) for row in rows]),
            "ra": np.array([float(row[1]) for row in rows]),
            "dec": np.array([float(row[2]) for row in rows]) + 0.3 / 3600,
            "note": [f"n{i % 7}" for i in range(len(rows))],
        }
    )
    table["ra"].unit = table["dec"].unit = "deg"
    table["ra"].info.description = "where it was seen"
    return table


def parquet(**columns: object) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


def votable(table: Table) -> bytes:
    out = io.BytesIO()
    table.write(out, format="votable", tabledata_format="binary2")
    return out.getvalue()


@pytest.mark.requirement("DMS-LSP-REQ-0012")
def test_a_table_is_made_described_joined_and_dropped(ann: httpx.Client, name: str) -> None:
    made = ann.put(f"{API}/{name}", content=votable(positions(ann)), params={"description": "seen twice"})
    assert made.status_code == 200, made.text
    document = made.json()
    assert (document["name"], document["rows"], document["version"]) == (f"user_ann.{name}", 400, 1)
    assert document["position"] == {"ra": "ra", "dec": "dec"}
    assert document["columns"][1] | {"indexed": None} == {
        "name": "ra", "datatype": "double", "arraysize": None, "unit": "deg", "ucd": "", "utype": "",
        "description": "where it was seen", "indexed": None,
    }  # fmt: skip
    assert ann.get(f"{API}/{name}").json() == document
    assert document["name"] in [t["name"] for t in ann.get(API).json()["tables"]]
    by_id = f"SELECT COUNT(*) AS n FROM user_ann.{name} AS t JOIN demo.Object AS o ON o.objectId = t.objectId"
    assert ask(ann, by_id) == [["400"]]
    near = (
        f"SELECT COUNT(*) AS n, MAX(DISTANCE(o.coord_ra, o.coord_dec, t.ra, t.dec)) AS far FROM {name} AS t,"
        " demo.Object AS o WHERE t.objectId = o.objectId AND DISTANCE(o.coord_ra, o.coord_dec, t.ra, t.dec) < 0.0003"
    )
    ((count, far),) = ask(ann, near)
    assert (int(count), float(far)) == (400, pytest.approx(0.3 / 3600, rel=1e-3))
    described = ask(
        ann, f"SELECT column_name, unit, indexed FROM tap_schema.columns WHERE table_name = 'user_ann.{name}'"
    )
    assert described == [["objectId", "", "0"], ["ra", "deg", "1"], ["dec", "deg", "1"], ["note", "", "0"]]
    assert f"user_ann.{name}" in ann.get("/api/tap/tables").text
    assert ann.delete(f"{API}/{name}").status_code == 204
    assert f"unknown table `user_ann.{name}`" in refused(ann, by_id)
    assert ann.get(f"{API}/{name}").status_code == 404


def test_a_cone_on_an_own_table_reads_the_index(
    ann: httpx.Client, live_services: LiveServices, name: str
) -> None:
    table = positions(ann)
    ann.put(f"{API}/{name}", content=votable(table))
    ra, dec = float(table["ra"][5]), float(table["dec"][5])
    query = f"SELECT objectId FROM {name} WHERE 1=CONTAINS(POINT(ra, dec), CIRCLE({ra}, {dec}, 0.0005))"
    sql = live_services.factory.create_tap_service().check(Identity("ann"), query).sql
    assert "hp29" in sql
    assert [str(table["objectId"][5])] in ask(ann, query)
    assert "unknown column" in refused(ann, f"SELECT hp29 FROM {name}")


@pytest.mark.requirement("DMS-API-REQ-0032")
def test_a_table_is_made_from_a_query_a_result_a_file_and_columns(worker: LiveServices, name: str) -> None:
    with worker.client() as client:
        query = "SELECT TOP 50 objectId, coord_ra, coord_dec, r_psfFlux FROM demo.Object ORDER BY objectId"
        made = client.post(API, json={"name": name, "query": query}).json()
        assert (made["rows"], made["columns"][3]["unit"]) == (50, "nJy")
        assert made["position"] == {"ra": "coord_ra", "dec": "coord_dec"}
        assert client.post(API, json={"name": name.upper(), "query": query}).status_code == 409
        job = client.post(
            "/api/tap/async",
            data={"QUERY": query, "PHASE": "RUN", "RESPONSEFORMAT": "parquet"},
            follow_redirects=False,
        ).headers["location"]
        wait(client, job)
        again = {"name": name, "source": f"{job}/results/result", "replace": True}
        replaced = client.post(API, json=again).json()
        assert (replaced["rows"], replaced["version"]) == (50, 2)
        assert replaced["columns"] == made["columns"]
        home = worker.home / "users" / "ann" / "home"
        home.mkdir(parents=True, exist_ok=True)
        (home / "list.vot").write_bytes(votable(positions(client, 100)))
        from_file = client.post(
            API, json={"name": name, "source": "vos:ann/list.vot", "replace": True}
        ).json()
        assert [c["name"] for c in from_file["columns"]] == ["objectId", "ra", "dec", "note"]
        near = (
            f"SELECT COUNT(DISTINCT t.objectId) AS n FROM {name} AS t JOIN demo.Object AS o"
            " ON 1=CONTAINS(POINT(o.coord_ra, o.coord_dec), CIRCLE(t.ra, t.dec, 1/3600.))"
        )
        assert ask(client, near) == [["100"]]
        columns = [{"name": "a", "datatype": "long"}, {"name": "s", "datatype": "char", "ucd": "meta.id"}]
        empty = client.post(API, json={"name": name, "columns": columns, "replace": True}).json()
        assert (empty["rows"], empty["columns"][1]["ucd"]) == (0, "meta.id")
        assert ask(client, f"SELECT * FROM user_ann.{name}") == []
        assert client.post(API, json={"name": name, "source": "http://127.0.0.1:1/x"}).status_code == 400
        assert client.post(API, json={"name": name}).status_code == 400


def wait(client: httpx.Client, job: str) -> None:
    deadline = time.monotonic() + 60
    while (phase := client.get(job + "/phase").text) in {"PENDING", "QUEUED", "EXECUTING"}:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert phase == "COMPLETED", client.get(job + "/error").text


def test_rows_are_appended_and_columns_fitted(ann: httpx.Client, name: str) -> None:
    ann.put(f"{API}/{name}", content=b"id,ra,dec,s\n2,10.5,1.0,x\n1,10.25,2.0,y\n")
    more = ann.post(f"{API}/{name}/rows", content=b"DEC\tra\tid\n3.5\t11\t3\n")
    assert (more.json()["rows"], more.json()["version"]) == (3, 2)
    more = ann.post(f"{API}/{name}/rows", content=parquet(id=pa.array([4], pa.int32()), s=["z"]))
    assert more.json()["rows"] == 4
    rows = ask(ann, f"SELECT id, ra, dec, s FROM {name} ORDER BY id")
    assert rows == [
        ["1", "10.25", "2", "y"],
        ["2", "10.5", "1", "x"],
        ["3", "11", "3.5", ""],
        ["4", "", "", "z"],
    ]
    for content, words in (
        (b"id,strange\n1,2\n", "no column strange"), (parquet(s=[5]), "holds strings"),
        (b"id\nabc\n", "id"), (b"ra\n1\n2,3\n", "CSV"),
    ):  # fmt: skip
        answer = ann.post(f"{API}/{name}/rows", content=content)
        assert answer.status_code == 400
        assert words in answer.json()["message"]
    # What is a string in the table is read as one, leading zeros and all.
    assert ann.post(f"{API}/{name}/rows", content=b"id,s\n5,007\n").status_code == 200
    assert ask(ann, f"SELECT s FROM {name} WHERE id = 5") == [["007"]]
    for i in range(26):
        assert ann.post(f"{API}/{name}/rows", content=f"id\n{100 + i}\n".encode()).status_code == 200
    assert ask(ann, f"SELECT COUNT(*) AS n, SUM(id) AS s FROM {name}") == [
        ["31", str(15 + sum(range(100, 126)))]
    ]


def test_an_index_sorts_and_can_demand_unique_values(ann: httpx.Client, name: str) -> None:
    table = positions(ann)
    ann.put(f"{API}/{name}", content=votable(table))
    indexed = ann.post(f"{API}/{name}/index", json={"column": "OBJECTID", "unique": True}).json()
    assert [c["name"] for c in indexed["columns"] if c["indexed"]] == ["objectId", "ra", "dec"]
    assert indexed["rows"] == 400
    twice = ann.post(f"{API}/{name}/index", json={"column": "note", "unique": True})
    assert twice.status_code == 400
    assert "repeat" in twice.json()["message"]
    assert ann.post(f"{API}/{name}/index", json={"column": "nothing"}).status_code == 400
    back = ann.post(f"{API}/{name}/index", json={"column": "ra"}).json()
    assert [c["name"] for c in back["columns"] if c["indexed"]] == ["ra", "dec"]
    some = int(table["objectId"][17])
    assert ask(ann, f"SELECT note FROM {name} WHERE objectId = {some}") == [[str(table["note"][17])]]


def test_columns_can_be_described_and_the_position_named(ann: httpx.Client, name: str) -> None:
    ann.put(f"{API}/{name}", content=b"id,lon,lat\n1,10.5,-1.5\n2,300.0,0.5\n")
    assert ann.get(f"{API}/{name}").json()["position"] is None
    change = {
        "description": "mine",
        "columns": {"LON": {"unit": "deg", "ucd": "pos.eq.ra"}},
        "position": {"ra": "lon", "dec": "lat"},
    }
    changed = ann.patch(f"{API}/{name}", json=change).json()
    assert (changed["description"], changed["columns"][1]["unit"]) == ("mine", "deg")
    assert changed["position"] == {"ra": "lon", "dec": "lat"}
    query = f"SELECT id FROM {name} WHERE 1=CONTAINS(POINT(lon, lat), CIRCLE(10.5, -1.5, 0.1))"
    assert ask(ann, query) == [["1"]]
    assert ann.patch(f"{API}/{name}", json={"columns": {"x": {"unit": "m"}}}).status_code == 400
    assert ann.patch(f"{API}/{name}", json={"position": {"ra": "id", "dec": "lat"}}).status_code == 400


def test_a_table_is_open_to_those_it_is_shared_with_and_nobody_else(
    ann: httpx.Client, bob: httpx.Client, eve: httpx.Client, name: str
) -> None:
    ann.put(f"{API}/{name}", content=b"id\n1\n")
    query = f"SELECT id FROM user_ann.{name}"
    for other in (bob, eve):
        # Word for word what is said of a table that does not exist.
        assert refused(other, query) == refused(other, query.replace(name, "nothing_x")).replace(
            "nothing_x", name
        )
        assert name not in other.get("/api/tap/tables").text
        assert name not in other.get(API).text
        assert ask(other, f"SELECT table_name FROM tap_schema.tables WHERE table_name LIKE '%{name}%'") == []
        assert "did you mean" not in refused(other, f"SELECT id FROM user_ann.{name[:-1]}")
        for method, path in (
            ("GET", f"{API}/user_ann.{name}"), ("POST", f"{API}/user_ann.{name}/rows"),
            ("POST", f"/api/tap/load/user_ann.{name}"), ("DELETE", f"{API}/user_ann.{name}"),
            ("POST", f"{API}/user_ann.{name}/restore"), ("DELETE", f"/api/tap/tables/user_ann.{name}"),
        ):  # fmt: skip
            answer = other.request(method, path, content=b"id\n2\n" if method == "POST" else None)
            unknown = other.request(
                method, path.replace(name, "nothing_x"), content=b"id\n2\n" if method == "POST" else None
            )
            assert answer.status_code == unknown.status_code == 404, (method, path)
            assert answer.text == unknown.text.replace("nothing_x", name)
    shared = ann.put(f"{API}/{name}/shares", json={"users": ["bob"], "groups": ["lensing"]}).json()
    assert shared["shared"] == {"users": ["bob"], "groups": ["lensing"]}
    for other in (bob, eve):
        assert ask(other, query) == [["1"]]
        seen = other.get(f"{API}/user_ann.{name}").json()
        assert seen["shared"] is None
        assert f"user_ann.{name}" in other.get("/api/tap/tables").text
        assert other.post(f"{API}/user_ann.{name}/rows", content=b"id\n2\n").status_code == 403
        assert other.delete(f"{API}/user_ann.{name}").status_code == 403
        assert other.put(f"{API}/user_ann.{name}", content=b"id\n2\n").status_code == 403
    ann.post(f"{API}/{name}/rows", content=b"id\n2\n")
    assert len(ask(bob, query)) == 2
    ann.put(f"{API}/{name}/shares", json={"users": ["bob"]})
    assert "unknown table" in refused(eve, query)
    ann.delete(f"{API}/{name}")
    assert "unknown table" in refused(bob, query)
    assert ann.put(f"{API}/{name}/shares", json={"users": ["no name"]}).status_code == 404


def test_a_dropped_table_can_be_restored(ann: httpx.Client, name: str) -> None:
    ann.put(f"{API}/{name}", content=b"id\n1\n")
    ann.delete(f"{API}/{name}")
    assert f"user_ann.{name}" in [t["name"] for t in ann.get(API).json()["dropped"]]
    assert ann.post(f"{API}/{name}/restore").json()["rows"] == 1
    assert ask(ann, f"SELECT id FROM {name}") == [["1"]]
    assert ann.post(f"{API}/{name}/restore").status_code == 404
    ann.delete(f"{API}/{name}")
    ann.put(f"{API}/{name}", content=b"id\n2\n")
    assert ann.post(f"{API}/{name}/restore").status_code == 409
    assert ann.delete(f"{API}/{name}", params={"for_good": "true"}).status_code == 204
    assert ask(ann, f"SELECT id FROM {name}") == [["2"]]


@pytest.mark.parametrize("bad", ["select", "1a", "a b", "a'b", "user_bob.x", "x.y.z", "a" * 70, "ä"])
def test_a_name_that_queries_could_not_use_is_refused(ann: httpx.Client, bad: str) -> None:
    answer = ann.put(f"{API}/{bad}", content=b"id\n1\n")
    assert answer.status_code in {400, 403}, answer.text


def test_a_token_for_reading_changes_nothing(
    live_services: LiveServices, ann: httpx.Client, name: str
) -> None:
    known = live_services.factory.create_identity_client()
    assert isinstance(known, FakeIdentityClient)
    known.tokens["token-reads-tap"] = Identity("ann", frozenset({"read:tap"}))
    ann.put(f"{API}/{name}", content=b"id\n1\n")
    with live_services.client("token-reads-tap") as client:
        assert client.get(f"{API}/{name}").status_code == 200
        assert ask(client, f"SELECT id FROM {name}") == [["1"]]
        assert client.delete(f"{API}/{name}").status_code == 403
        assert client.put(f"{API}/{name}", content=b"id\n1\n").status_code == 403


def test_a_token_for_files_alone_makes_no_query(live_services: LiveServices, name: str) -> None:
    known = live_services.factory.create_identity_client()
    assert isinstance(known, FakeIdentityClient)
    known.tokens["token-writes"] = Identity("ann", frozenset({"write:files"}))
    query = "SELECT TOP 1 objectId FROM demo.Object"
    with live_services.client("token-writes") as client:
        assert client.post(API, json={"name": name, "query": query}).status_code == 403
        job = {"TABLE": name, "QUERY": query, "PHASE": "RUN"}
        assert client.post("/api/tap/table-update", data=job).status_code == 403


# pyvo


@pytest.fixture
def youcat(worker: LiveServices, monkeypatch: pytest.MonkeyPatch) -> Iterator[pyvo.dal.TAPService]:
    monkeypatch.setattr(pyvo.utils.prototype.features["cadc-tb-upload"], "on", True)
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {ANN}"
    yield pyvo.dal.TAPService(f"{worker.url}/api/tap", session=session)


DEFINITION = """<?xml version="1.0" encoding="UTF-8"?>
<vosi:table xmlns:vosi="http://www.ivoa.net/xml/VOSITables/v1.0" xmlns:vod="http://www.ivoa.net/xml/VODataService/v1.1"
 xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" type="output"><name>x</name><description>made by pyvo</description>
<column><name>article</name><description>the article</description><dataType xsi:type="vod:VOTableType" arraysize="30*">char</dataType></column>
<column><name>count</name><unit>1</unit><dataType xsi:type="vod:VOTableType">long</dataType></column>
<column><name>price</name><dataType xsi:type="vod:TAPType">DOUBLE</dataType></column></vosi:table>"""


def test_pyvo_creates_loads_indexes_and_removes(
    youcat: pyvo.dal.TAPService, ann: httpx.Client, name: str
) -> None:
    full = f"user_ann.{name}"
    youcat.create_table(full, io.BytesIO(DEFINITION.encode()))
    assert ann.get(f"{API}/{name}").json()["description"] == "made by pyvo"
    youcat.load_table(full, io.BytesIO(b"article\tcount\tprice\nart1\t1\t1.5\nart2\t2\t2.5\n"))
    youcat.load_table(full, io.BytesIO(b"article,count\nart3,3\n"), format="csv")
    out = io.BytesIO()
    Table({"article": ["art4"], "count": [4], "price": [4.5]}).write(out, format="fits")
    youcat.load_table(full, io.BytesIO(out.getvalue()), format="FITSTable")
    youcat.create_index(full, "count", unique=True)
    assert [c["name"] for c in ann.get(f"{API}/{name}").json()["columns"] if c["indexed"]] == ["count"]
    found = youcat.search(f'SELECT article, "count", price FROM {full} ORDER BY article')
    assert [str(row["article"]) for row in found] == ["art1", "art2", "art3", "art4"]
    assert found["count"].tolist() == [1, 2, 3, 4]
    with pytest.raises(pyvo.dal.DALQueryError):
        youcat.create_index(full, "nothing")
    youcat.remove_table(full)
    assert ann.get(f"{API}/{name}").status_code == 404


def test_pyvo_creates_from_a_votable_with_its_rows(
    youcat: pyvo.dal.TAPService, ann: httpx.Client, name: str
) -> None:
    youcat.create_table(name, io.BytesIO(votable(positions(ann, 20))), format="VOTable")
    assert ask(ann, f"SELECT COUNT(*) AS n FROM {name}") == [["20"]]
    job = ann.post(
        "/api/tap/table-update",
        data={"TABLE": f"{name}_q", "QUERY": f"SELECT objectId FROM {name}", "PHASE": "RUN"},
        follow_redirects=False,
    ).headers["location"]
    wait(ann, job)
    assert ask(ann, f"SELECT COUNT(*) AS n FROM {name}_q") == [["20"]]
    ann.delete(f"{API}/{name}_q", params={"for_good": "true"})


@pytest.mark.parametrize(
    "content",
    [b"", b"<a/>", b'<!DOCTYPE a [<!ENTITY b "c">]><table>&b;</table>', b"<table><column><name>a</name></column></table>",
     b"<table><column><name>a</name><dataType>blob</dataType></column></table>", b"<table></table>",
     b"<table>" + b"<column><name>a</name><dataType>int</dataType></column>" * 3000 + b"</table>"],
)  # fmt: skip
def test_a_bad_description_is_refused(ann: httpx.Client, name: str, content: bytes) -> None:
    answer = ann.put(f"/api/tap/tables/{name}", content=content, headers={"Content-Type": "text/xml"})
    assert answer.status_code in {400, 413}, answer.text
    assert "QUERY_STATUS" in answer.text


# Without HTTP: quota, versions, crashes


@pytest.fixture
def services(synthetic_home: Path, tmp_path: Path) -> Iterator[Factory]:
    home, releases = tmp_path / "home", synthetic_home / "releases"
    home.mkdir()
    (home / "releases").symlink_to(releases)
    portal = PortalConfig(tables_bytes=20_000, tables_undo_days=0, execution_seconds=1)
    settings = PortalSettings(home=home, run=home / "run", url="http://services.example", portal=portal)
    factory = create_factory(settings, FakeIdentityClient({}))
    yield factory
    factory.close()


@pytest.mark.requirement("DMS-API-REQ-0032")
def test_a_quota_is_kept_and_its_figures_are_told(services: Factory) -> None:
    tables, who = services.create_table_service(), Identity("ann")
    rng = np.random.default_rng(1)
    text = "a\n" + "\n".join(map(str, rng.random(1200)))
    tables.create_table(who, "one", tables.read_content("x", text.encode()))
    used, limit = tables.usage_of(who)
    assert 8000 < used < limit == 20_000
    with pytest.raises(QuotaError, match=rf"{used} of the 20000 bytes"):
        tables.create_table(who, "two", tables.read_content("x", text.encode()))
    assert len(list((services.settings.tables / "ann").iterdir())) == 1
    tables.drop_table(who, "one")
    with pytest.raises(QuotaError):
        tables.create_table(who, "two", tables.read_content("x", text.encode()))
    tables.drop_table(who, "one", for_good=True)
    tables.create_table(who, "two", tables.read_content("x", text.encode()))


def _age(folder: Path) -> None:
    long_ago = datetime(2020, 1, 1, tzinfo=UTC).timestamp()
    for path in folder.iterdir():
        os.utime(path, (long_ago, long_ago))


def test_a_running_query_keeps_its_version_and_a_crash_the_old_one(
    services: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables, tap, who = services.create_table_service(), services.create_tap_service(), Identity("ann")
    old = "a\n" + "\n".join(["1"] * 300)
    tables.create_table(who, "one", tables.read_content("x", old.encode()))
    folder = services.settings.tables / "ann"
    _age(folder)
    running = tap.open_stream(who, TapRequest("SELECT a FROM user_ann.one"), timeout_s=60)
    tables.create_table(who, "one", tables.read_content("x", b"a\n2\n"), replace_old=True)
    assert tables.sweep() == 0
    assert sum(batch.num_rows for batch in running.batches()) == 300
    assert tap.run_query(who, "SELECT a FROM user_ann.one").table["a"].to_pylist() == [2]

    def crash(*_: object) -> bool:
        raise KeyboardInterrupt

    more = tables.read_content("x", b"a\n3\n")
    with monkeypatch.context() as patch:
        patch.setattr(tables.store, "change", crash)
        with pytest.raises(KeyboardInterrupt):
            tables.append_rows(who, "one", more)
    assert tap.run_query(who, "SELECT a FROM user_ann.one").table["a"].to_pylist() == [2]
    with monkeypatch.context() as patch:
        patch.setattr(tables.store, "change", lambda *_: False)
        with pytest.raises(FileConflictError):
            tables.append_rows(who, "one", more)
    needed = set(tables.get_table(who, "one").parts)
    _age(folder)
    assert tables.sweep() >= 1
    assert {path.name for path in folder.iterdir()} == needed
    tables.drop_table(who, "one")
    tables.sweep()
    with pytest.raises(NotFoundError):
        tables.restore_table(who, "one")


def test_rows_that_were_added_are_not_added_again(
    services: Factory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables, jobs, who = services.create_table_service(), services.create_job_service(), Identity("ann")
    tables.create_table(who, "one", tables.read_content("x", b"a\n1\n"))
    parameters = [("TABLE", "one"), ("QUERY", "SELECT a FROM user_ann.one"), ("APPEND", "true")]
    job = jobs.create_job(who, kind=JobKind.TABLE, parameters=parameters, run=True)
    runner = JobRunner("w", jobs.store, tmp_path, {JobKind.TABLE: TableExecutor(tables)}, lease_s=30.0)
    append = tables.append_rows

    def append_and_be_told_to_end(*given: Any) -> Any:
        done = append(*given)
        runner.give_back()
        return done

    monkeypatch.setattr(tables, "append_rows", append_and_be_told_to_end)
    assert runner.run_one()
    assert not runner.run_one(), "the job went back to the queue"
    assert jobs.get_job(who, job.id).phase == Phase.COMPLETED
    assert tables.get_table(who, "one").rows == 2


WRITER = """
import sys
from pathlib import Path
from skydesk_portal.config import PortalSettings
from skydesk_portal.factory import create_factory
from skydesk_portal.models.identity import Identity
home, who = Path(sys.argv[1]), Identity("ann")
tables = create_factory(PortalSettings(home=home, run=home / "run", url="http://services.example")).create_table_service()
rows = b"id,ra,dec\\n" + b"".join(b"%d,%f,%f\\n" % (i, i / 10, i / 100) for i in range(3000))
tables.create_table(who, "k", tables.read_content("x", rows))
while True:
    tables.append_rows(who, "k", tables.read_content("x", rows))
    print(tables.get_table(who, "k").version, flush=True)
"""


def test_a_writer_that_is_killed_leaves_a_whole_version(services: Factory) -> None:
    tables, who = services.create_table_service(), Identity("ann")
    command = [sys.executable, "-c", WRITER, str(services.settings.home)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while int(process.stdout.readline()) < 5:
            pass
        process.kill()
    table = tables.get_table(who, "k")
    assert table.rows == 3000 * table.version
    query = "SELECT COUNT(*) AS n, SUM(id) AS s FROM user_ann.k"
    found = services.create_tap_service().run_query(who, query).table.to_pylist()
    assert found == [{"n": table.rows, "s": table.version * 3000 * 2999 // 2}]
    _age(services.settings.tables / "ann")
    tables.sweep()
    assert {path.name for path in (services.settings.tables / "ann").iterdir()} == set(table.parts)


def test_columns_called_like_the_index_are_not_taken_for_it(services: Factory) -> None:
    tables, tap, who = services.create_table_service(), services.create_tap_service(), Identity("ann")
    query = "SELECT TOP 30 objectId, coord_ra, coord_dec FROM demo.Object"
    made = tables.create_table(who, "plain", tables.run_query(who, query, timeout_s=60))
    assert made.has_index
    wrong = b"coord_ra,coord_dec,hp29,hp14\n53.1,-28.1,5,0\n"
    made = tables.create_table(who, "wrong", tables.read_content("x", wrong))
    assert not made.has_index
    cone = "SELECT hp29 FROM user_ann.wrong WHERE DISTANCE(coord_ra, coord_dec, 53.1, -28.1) < 0.1"
    assert tap.run_query(who, cone).table["hp29"].to_pylist() == [5]
    with pytest.raises(UsageError):
        tables.create_table(who, "none", ((), ()))


def test_positions_are_found_by_ucd_before_name() -> None:
    from skydesk_portal.models.tables import ColumnInfo

    named = [ColumnInfo("ra", "double"), ColumnInfo("dec", "double")]
    other = [
        ColumnInfo("x", "double", ucd="pos.eq.ra;meta.main"),
        ColumnInfo("y", "double", ucd="pos.eq.dec;meta.main"),
    ]
    assert find_position([*named, *other]) == ("x", "y")
    assert find_position(named) == ("ra", "dec")
    assert find_position([ColumnInfo("ra", "char"), ColumnInfo("dec", "double")]) is None
