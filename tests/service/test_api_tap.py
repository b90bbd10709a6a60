"""TAP over HTTP in one process: queries, formats, errors, limits."""

from __future__ import annotations

import io
import time
import xml.etree.ElementTree as ET

import httpx
import pyarrow.parquet as pq
import pytest
from astropy.io.votable import parse

from tests.support.services import ANN, LiveServices

SYNC = "/api/tap/sync"


def ask(live: LiveServices, query: str, **more: str) -> httpx.Response:
    with live.client() as client:
        return client.post(SYNC, data={"LANG": "ADQL", "QUERY": query, **more})


def rows(live: LiveServices, query: str) -> list[dict[str, str]]:
    response = ask(live, query, RESPONSEFORMAT="json")
    assert response.status_code == 200, response.text
    document = response.json()
    names = [column["name"] for column in document["metadata"]]
    return [dict(zip(names, row, strict=True)) for row in document["data"]]


def status_of(response: httpx.Response) -> tuple[str, str]:
    infos = ET.fromstring(response.content).findall(".//{*}INFO[@name='QUERY_STATUS']")
    return infos[-1].get("value") or "", (infos[-1].text or "")


@pytest.mark.requirement("DMS-API-REQ-0013")
def test_a_query_gives_typed_columns_and_exact_identifiers(live_services: LiveServices) -> None:
    response = ask(
        live_services,
        "SELECT TOP 20 objectId, coord_ra, g_psfFlux, refBand FROM demo.Object ORDER BY objectId DESC",
    )
    assert response.headers["content-type"].startswith("application/x-votable+xml")
    table = parse(io.BytesIO(response.content)).get_first_table()
    assert [(f.name, f.datatype, str(f.unit or "")) for f in table.fields][:3] == [
        ("objectId", "long", ""),
        ("coord_ra", "double", "deg"),
        ("g_psfFlux", "float", "nJy"),
    ]
    by_json = [
        int(row["objectId"])
        for row in rows(live_services, "SELECT TOP 20 objectId FROM demo.Object ORDER BY objectId DESC")
    ]
    assert table.array["objectId"].tolist() == by_json
    assert max(by_json) > 1 << 31


@pytest.mark.requirement("DMS-API-REQ-0009")
def test_every_way_to_write_a_cone_gives_the_same_objects(live_services: LiveServices) -> None:
    center, radius = "53.13, -28.1", 0.008
    point = "POINT('ICRS', coord_ra, coord_dec)"
    conditions = [
        f"1 = CONTAINS({point}, CIRCLE('ICRS', {center}, {radius}))",
        f"0 <> CONTAINS({point}, CIRCLE({center}, {radius}))",
        f"DISTANCE({point}, POINT({center})) <= {radius}",
        f"scisql_angSep(coord_ra, coord_dec, {center}) <= {radius}",
        f"INTERSECTS({point}, CIRCLE({center}, {radius})) = 1",
        f"NOT CONTAINS({point}, CIRCLE({center}, {radius})) = 0",
    ]
    counts = {
        rows(live_services, f"SELECT COUNT(*) AS n FROM demo.Object WHERE {condition}")[0]["n"]
        for condition in conditions
    }
    assert len(counts) == 1
    assert 10 < int(counts.pop()) < 2000


@pytest.mark.requirement("DMS-API-REQ-0009")
def test_groups_joins_and_subqueries_agree_with_each_other(live_services: LiveServices) -> None:
    total = int(rows(live_services, "SELECT COUNT(*) AS n FROM demo.ForcedSource")[0]["n"])
    by_band = rows(
        live_services, "SELECT band, COUNT(*) AS n FROM demo.ForcedSource GROUP BY band ORDER BY band"
    )
    assert [row["band"] for row in by_band] == ["g", "i", "r"]
    assert sum(int(row["n"]) for row in by_band) == total
    joined = "SELECT COUNT(*) AS n FROM demo.Object o JOIN demo.ForcedSource f ON o.objectId = f.objectId"
    assert int(rows(live_services, joined)[0]["n"]) == total
    inner = "SELECT COUNT(*) AS n FROM (SELECT objectId FROM demo.ForcedSource GROUP BY objectId) AS x"
    assert int(rows(live_services, inner)[0]["n"]) == int(
        rows(live_services, "SELECT COUNT(*) AS n FROM demo.Object")[0]["n"]
    )


@pytest.mark.requirement("DMS-API-REQ-0014")
@pytest.mark.requirement("DMS-API-REQ-0011")
@pytest.mark.requirement("DMS-API-REQ-0012")
def test_formats_are_what_they_say(live_services: LiveServices) -> None:
    query = "SELECT TOP 7 objectId, coord_ra FROM demo.Object ORDER BY objectId"
    csv = ask(live_services, query, RESPONSEFORMAT="csv")
    assert csv.headers["content-type"].startswith("text/csv")
    assert len(csv.text.strip().splitlines()) == 8
    assert ask(live_services, query, FORMAT="tsv").text.splitlines()[0] == "objectId\tcoord_ra"
    assert (
        pq.read_table(io.BytesIO(ask(live_services, query, RESPONSEFORMAT="parquet").content)).num_rows == 7
    )
    assert b"BINARY2" in ask(live_services, query, RESPONSEFORMAT="votable").content
    assert b"TABLEDATA" in ask(live_services, query, RESPONSEFORMAT="votable/td").content
    assert ask(live_services, query, RESPONSEFORMAT="pdf").status_code == 400


@pytest.mark.parametrize(
    ("maxrec", "top", "overflow"), [(3, 5, True), (5, 5, False), (0, 5, True), (9, 5, False)]
)
def test_maxrec_cuts_and_says_so(live_services: LiveServices, maxrec: int, top: int, overflow: bool) -> None:
    response = ask(
        live_services,
        f"SELECT TOP {top} objectId FROM demo.Object",
        MAXREC=str(maxrec),
        RESPONSEFORMAT="votable/td",
    )
    assert response.text.count("<TR>") == min(maxrec, top)
    assert status_of(response)[0] == ("OVERFLOW" if overflow else "OK")


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        (
            {"QUERY": "SELECT coord_raa FROM demo.Object"},
            "line 1, column 8: unknown column `coord_raa` (did you mean `coord_ra`?)",
        ),
        ({"QUERY": "SELECT * FROM demo.Object WHERE"}, "line 1"),
        ({}, "QUERY is missing"),
        ({"QUERY": "SELECT 1", "LANG": "SQL"}, "LANG"),
        ({"QUERY": "SELECT 1", "MAXREC": "many"}, "MAXREC"),
        ({"QUERY": "SELECT 1", "UPLOAD": "x"}, "UPLOAD"),
        ({"QUERY": "SELECT 1", "UPLOAD": "x,http://127.0.0.1:1/secret"}, "one of your own jobs"),
        ({"QUERY": "SELECT 1", "UPLOAD": "x,file:///etc/passwd"}, "one of your own jobs"),
        ({"QUERY": "SELECT 1", "REQUEST": "drop"}, "REQUEST"),
        ({"QUERY": "SELECT CAST(refBand AS INTEGER) FROM demo.Object"}, "cannot be converted"),
        ({"QUERY": "SELECT * FROM demo.Object ORDER BY 99"}, "columns"),
    ],
)
def test_a_wrong_request_gets_the_error_document(
    live_services: LiveServices, parameters: dict[str, str], words: str
) -> None:
    with live_services.client() as client:
        response = client.post(SYNC, data=parameters)
    assert response.status_code == 400
    status, message = status_of(response)
    assert status == "ERROR"
    assert words in message
    assert "duckdb" not in response.text.lower()


def test_a_slow_query_is_stopped_and_the_next_one_is_quick(
    live_services: LiveServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = "SELECT COUNT(*) FROM demo.ForcedSource a, demo.ForcedSource b, demo.Object c WHERE a.psfFlux + b.psfFlux > c.coord_ra"
    config = live_services.factory.settings.portal
    monkeypatch.setitem(config.__dict__, "sync_seconds", 1)
    begin = time.monotonic()
    response = ask(live_services, slow)
    assert response.status_code == 400
    assert "stopped after 1 s" in status_of(response)[1]
    assert time.monotonic() - begin < 10
    assert rows(live_services, "SELECT 1 AS one")[0]["one"] in (1, "1")


def test_the_description_of_the_tables_is_the_same_everywhere(live_services: LiveServices) -> None:
    with live_services.client() as client:
        document = ET.fromstring(client.get("/api/tap/tables").content)
        one = ET.fromstring(client.get("/api/tap/tables/demo.Object").content)
        assert client.get("/api/tap/tables/demo.Nothing").status_code == 404
    listed = {t.findtext("name"): len(t.findall("column")) for t in document.iter("table")}
    counted = rows(
        live_services, "SELECT table_name, COUNT(*) AS n FROM tap_schema.columns GROUP BY table_name"
    )
    assert listed == {row["table_name"]: int(row["n"]) for row in counted}
    assert len(one.findall("column")) == listed["demo.Object"]
    assert "ivoa.ObsCore" in listed


def test_an_uploaded_table_is_joined_by_position(live_services: LiveServices) -> None:
    first = rows(
        live_services, "SELECT TOP 3 objectId, coord_ra, coord_dec FROM demo.Object ORDER BY objectId"
    )
    table = "<VOTABLE version='1.4' xmlns='http://www.ivoa.net/xml/VOTable/v1.3'><RESOURCE><TABLE>"
    for name, kind in (("n", "int"), ("ra", "double"), ("dec", "double")):
        table += f"<FIELD name='{name}' datatype='{kind}'/>"
    cells = "".join(
        f"<TR><TD>{i}</TD><TD>{r['coord_ra']}</TD><TD>{r['coord_dec']}</TD></TR>" for i, r in enumerate(first)
    )
    table += f"<DATA><TABLEDATA>{cells}</TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>"
    query = (
        "SELECT u.n, o.objectId FROM TAP_UPLOAD.mine AS u JOIN demo.Object AS o"
        " ON 1 = CONTAINS(POINT(o.coord_ra, o.coord_dec), CIRCLE(u.ra, u.dec, 0.00001)) ORDER BY u.n"
    )
    with live_services.client() as client:
        response = client.post(
            SYNC,
            data={"LANG": "ADQL", "QUERY": query, "UPLOAD": "mine,param:file1", "RESPONSEFORMAT": "csv"},
            files={"file1": ("mine.vot", table)},
        )
    assert response.status_code == 200, response.text
    found = [line.split(",")[1] for line in response.text.strip().splitlines()[1:]]
    assert found == [row["objectId"] for row in first]
    assert "unknown table" in status_of(ask(live_services, "SELECT * FROM TAP_UPLOAD.mine"))[1]


def test_every_answer_has_a_request_id(live_services: LiveServices) -> None:
    with live_services.client() as client:
        assert (
            client.get("/api/tap/availability", headers={"X-Request-ID": "abc-1"}).headers["x-request-id"]
            == "abc-1"
        )
        assert client.get("/api/tap/availability", headers={"X-Request-ID": 'a b"<'}).headers[
            "x-request-id"
        ] not in {"", 'a b"<'}


def test_no_token_reaches_the_log(capfd: pytest.CaptureFixture[str], live_services: LiveServices) -> None:
    with live_services.client() as client:
        client.get(f"/api/tap/sync?QUERY=SELECT+1&token={ANN}")
    captured = capfd.readouterr()
    assert ANN not in captured.err + captured.out
