"""Tables that come with a query over HTTP: every format and source, joined by identifier and by position."""

from __future__ import annotations

import io
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import pyvo
import requests
from astropy.coordinates import SkyCoord
from astropy.table import Table

from skydesk_portal.models.identity import SCOPES, Identity
from skydesk_portal.testing import FakeIdentityClient
from tests.support.services import ANN, LiveServices

SYNC = "/api/tap/sync"
MATCH = (
    "SELECT t.n, o.objectId FROM TAP_UPLOAD.mine AS t JOIN demo.Object AS o"
    " ON 1=CONTAINS(POINT('ICRS', o.coord_ra, o.coord_dec), CIRCLE('ICRS', t.ra, t.dec, 1/3600.))"
)


@pytest.fixture(scope="module")
def sky(live_services: LiveServices) -> Table:
    """Positions of all objects."""
    with live_services.client() as client:
        query = "SELECT objectId, coord_ra, coord_dec FROM demo.Object"
        answer = client.post(SYNC, data={"QUERY": query, "RESPONSEFORMAT": "csv"})
    return Table.read(answer.text, format="ascii.csv")


@pytest.fixture(scope="module")
def mine(sky: Table) -> Table:
    """A thousand positions, half of them near objects."""
    rng = np.random.default_rng(4)
    rows = rng.integers(0, len(sky), 1000)
    shift = np.where(np.arange(1000) % 2, 0.5, 30.0) / 3600
    dec = np.array(sky["coord_dec"])[rows] + shift * rng.normal(0, 0.5, 1000)
    return Table({"n": np.arange(1000), "ra": np.array(sky["coord_ra"])[rows], "dec": dec})


@pytest.fixture(scope="module")
def service(live_services: LiveServices) -> Iterator[pyvo.dal.TAPService]:
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {ANN}"
    yield pyvo.dal.TAPService(f"{live_services.url}/api/tap", session=session)


def _offline(mine: Table, sky: Table) -> set[tuple[int, int]]:
    a = SkyCoord(mine["ra"], mine["dec"], unit="deg")
    b = SkyCoord(sky["coord_ra"], sky["coord_dec"], unit="deg")
    first, second, _, _ = b.search_around_sky(a, 1 / 3600 * np.array(1) * a.ra.unit)
    return {(int(mine["n"][i]), int(sky["objectId"][j])) for i, j in zip(first, second, strict=True)}


def test_a_cross_match_by_position_finds_what_an_independent_one_finds(
    service: pyvo.dal.TAPService, mine: Table, sky: Table
) -> None:
    found = service.search(MATCH, uploads={"mine": mine})
    pairs = {(int(row["n"]), int(row["objectId"])) for row in found}
    assert pairs == _offline(mine, sky)
    assert len(pairs) > 300
    by_id = Table({"objectId": sky["objectId"][:10], "n": np.arange(10)})
    query = (
        "SELECT t.n, o.coord_ra FROM TAP_UPLOAD.mine AS t JOIN demo.Object AS o ON o.objectId = t.objectId"
    )
    assert len(service.search(query, uploads={"mine": by_id})) == 10


def test_positions_without_a_partner_stay_in_a_left_join(
    service: pyvo.dal.TAPService, mine: Table, sky: Table
) -> None:
    found = service.search(MATCH.replace(" JOIN", " LEFT OUTER JOIN"), uploads={"mine": mine})
    alone = set(range(1000)) - {n for n, _ in _offline(mine, sky)}
    assert alone
    assert {int(row["n"]) for row in found.to_table() if np.ma.is_masked(row["objectId"])} == alone


@pytest.mark.parametrize("form", ["votable", "csv", "parquet", "fits"])
def test_a_table_of_any_format_is_taken(live_services: LiveServices, mine: Table, form: str) -> None:
    out: io.BytesIO | io.StringIO = io.StringIO() if form == "csv" else io.BytesIO()
    if form == "parquet":
        pq.write_table(pa.table({name: np.array(mine[name][:50]) for name in mine.colnames}), out)
    else:
        mine[:50].write(out, format=form)
    content = out.getvalue()
    files = {"file1": ("mine", content.encode() if isinstance(content, str) else content)}
    with live_services.client() as client:
        query = "SELECT COUNT(*) AS n, SUM(dec) AS s FROM TAP_UPLOAD.mine"
        data = {"QUERY": query, "UPLOAD": "mine,param:file1", "RESPONSEFORMAT": "csv"}
        answer = client.post(SYNC, data=data, files=files)
    assert answer.status_code == 200, answer.text
    count, total = answer.text.splitlines()[1].split(",")
    assert (int(count), float(total)) == (50, pytest.approx(mine["dec"][:50].sum()))


def test_several_tables_come_with_one_query(live_services: LiveServices) -> None:
    files = {"one": ("a.csv", b"id,v\n1,10\n2,20\n"), "two": ("b.csv", b"id\n2\n3\n")}
    data = {
        "QUERY": "SELECT a.v FROM TAP_UPLOAD.a JOIN TAP_UPLOAD.b ON a.id = b.id",
        "UPLOAD": "a,param:one;b,param:two",
        "RESPONSEFORMAT": "csv",
    }
    with live_services.client() as client:
        assert client.post(SYNC, data=data, files=files).text.split() == ["v", "20"]
        twice = client.post(SYNC, data={**data, "UPLOAD": "a,param:one;A,param:two"}, files=files)
        missing = client.post(SYNC, data={**data, "UPLOAD": "a,param:nothing"}, files=files)
    assert (twice.status_code, missing.status_code) == (400, 400)
    assert "two tables are called A" in twice.text
    assert "no part called nothing" in missing.text


def test_a_result_and_a_file_can_be_named_by_their_address(worker: LiveServices) -> None:
    with worker.client() as client:
        job = client.post(
            "/api/tap/async",
            data={"QUERY": "SELECT TOP 7 objectId FROM demo.Object", "PHASE": "RUN"},
            follow_redirects=False,
        ).headers["location"]
        deadline = time.monotonic() + 60
        while (phase := client.get(job + "/phase").text) in {"PENDING", "QUEUED", "EXECUTING"}:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert phase == "COMPLETED"
        home = worker.home / "users" / "ann" / "home"
        home.mkdir(parents=True, exist_ok=True)
        (home / "mine.csv").write_text("x\n1\n2\n3\n")
        for address, rows in (
            (f"{job}/results/result", 7),
            ("vos:ann/mine.csv", 3),
            (f"{worker.url}/files/ann/mine.csv", 3),
        ):
            data = {"QUERY": "SELECT COUNT(*) AS n FROM TAP_UPLOAD.t", "UPLOAD": f"t,{address}"}
            answer = client.post(SYNC, data={**data, "RESPONSEFORMAT": "csv"})
            assert answer.text.split() == ["n", str(rows)], address
        data["UPLOAD"] = "t,vos:bob/mine.csv"
        assert client.post(SYNC, data=data).status_code == 404


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:1/x", "http://169.254.169.254/latest/meta-data", "file:///etc/passwd", "ftp://example.org/t", "http://[x",
        "https://example.org/files/ann/mine.csv", "//example.org/x", "/api/tables/x", "/etc/passwd", "vos://other!x/ann/t",
        "{url}.example.org/files/ann/mine.csv", "{url}@example.org/api/tap/async/aaaaaaaaaaaaaaaaaaaa/results/result",
    ],
)  # fmt: skip
def test_no_other_address_is_ever_fetched(live_services: LiveServices, address: str) -> None:
    upload = f"t,{address.format(url=live_services.url)}"
    with live_services.client() as client:
        for path, more in ((SYNC, {}), ("/api/tap/async", {"PHASE": "RUN"})):
            answer = client.post(
                path, data={"QUERY": "SELECT 1", "UPLOAD": upload, **more}, follow_redirects=False
            )
            assert answer.status_code == 400, answer.text
            assert "one of your own jobs or of one of your files" in answer.text


def test_a_file_needs_a_token_for_files(live_services: LiveServices) -> None:
    client_of_tokens = live_services.factory.create_identity_client()
    assert isinstance(client_of_tokens, FakeIdentityClient)
    client_of_tokens.tokens["token-reads"] = Identity("ann", frozenset(SCOPES) - {"write:files"})
    with live_services.client("token-reads") as client:
        for path, more in ((SYNC, {}), ("/api/tap/async", {"PHASE": "RUN"})):
            data = {"QUERY": "SELECT * FROM TAP_UPLOAD.t", "UPLOAD": "t,vos:ann/mine.csv", **more}
            answer = client.post(path, data=data, follow_redirects=False)
            assert answer.status_code == 403
            assert "write:files" in answer.text


def test_a_bad_table_gives_a_clear_document(live_services: LiveServices) -> None:
    bomb = b'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><VOTABLE>&b;</VOTABLE>'
    columns = b",".join(b"c%d" % i for i in range(1_000_000)) + b"\n1\n"
    with live_services.client() as client:
        for content, status in (
            (bomb, 400),
            (columns, 413),
            (b"", 400),
            (b"a,a\n1,2\n", 400),
            (b"x" * 33_000_000, 413),
        ):
            answer = client.post(
                SYNC,
                data={"QUERY": "SELECT * FROM TAP_UPLOAD.t", "UPLOAD": "t,param:f"},
                files={"f": ("t", content)},
            )
            assert answer.status_code == status, answer.text
            info = ET.fromstring(answer.content).find(".//{*}INFO[@name='QUERY_STATUS']")
            assert info is not None
            assert info.get("value") == "ERROR"
            assert "UPLOAD" in (info.text or "") or status == 413
