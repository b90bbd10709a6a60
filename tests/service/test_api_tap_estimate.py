"""What a query would cost, and what TAP tells about its tables."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import pytest

from tests.support.services import LiveServices

CONE = (
    "SELECT objectId, coord_ra FROM demo.Object"
    " WHERE CONTAINS(POINT('ICRS', coord_ra, coord_dec), CIRCLE('ICRS', 53.13, -28.1, 0.005)) = 1"
)


def estimate(live: LiveServices, query: str, **more: str) -> dict[str, Any]:
    with live.client() as client:
        response = client.get("/api/tap/estimate", params={"QUERY": query, **more})
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def count(live: LiveServices, query: str) -> int:
    with live.client() as client:
        return int(
            client.get("/api/tap/sync", params={"QUERY": query, "RESPONSEFORMAT": "csv"}).text.split()[1]
        )


def test_an_estimate_tells_rows_tables_and_bytes(live_services: LiveServices) -> None:
    whole = estimate(live_services, "SELECT objectId, coord_ra FROM demo.Object WHERE refBand <> 'y'")
    total = count(live_services, "SELECT COUNT(*) AS n FROM demo.Object")
    assert (whole["rows"], whole["exact"], whole["overflow"]) == (total, True, False)
    assert whole["result_bytes"] == total * 16
    table = whole["tables"][0]
    assert (table["name"], table["rows"], table["scanned_rows"]) == ("demo.Object", total, total)
    assert table["scanned_bytes"] >= total * 16
    assert "reads all 2,000 rows of demo.Object" in whole["warnings"][0]


def test_a_region_and_a_top_need_no_warning(live_services: LiveServices) -> None:
    cone = estimate(live_services, CONE)
    assert cone["rows"] == count(live_services, f"SELECT COUNT(*) AS n FROM ({CONE}) AS x")
    assert cone["warnings"] == []
    one = estimate(live_services, "SELECT coord_ra FROM demo.Object WHERE objectId IN (5, 7)")
    assert (one["rows"], one["warnings"]) == (2, [])
    top = estimate(live_services, "SELECT TOP 5 objectId FROM demo.Object")
    assert (top["rows"], top["warnings"]) == (5, [])
    assert top["tables"][0]["scanned_rows"] <= 10


def test_what_takes_long_is_guessed_and_warned_of(live_services: LiveServices) -> None:
    query = "SELECT COUNT(*) FROM demo.ForcedSource a, demo.ForcedSource b, demo.Object c WHERE a.psfFlux + b.psfFlux > c.coord_ra"
    found = estimate(live_services, query)
    assert found["exact"] is False
    assert any("compared with every row of another" in text for text in found["warnings"])
    cut = estimate(live_services, "SELECT objectId FROM demo.Object", MAXREC="7")
    assert (cut["rows"], cut["overflow"]) == (7, True)
    assert "MAXREC leaves out" in cut["warnings"][-1]


def test_an_estimate_says_nothing_of_the_engine_and_refuses_what_a_query_would(
    live_services: LiveServices,
) -> None:
    with live_services.client() as client:
        text = client.post(
            "/api/tap/estimate",
            data={
                "QUERY": f"SELECT o.refBand, COUNT(*) FROM ({CONE}) AS x JOIN demo.Object o ON o.objectId = x.objectId GROUP BY o.refBand"
            },
        ).text
        for word in ("SCAN", "hp29", "r_demo", "duckdb", "HASH"):
            assert word not in text
        for query in ("SELECT nothing FROM demo.Object", "EXPLAIN SELECT 1", "DROP TABLE demo.Object"):
            assert client.get("/api/tap/estimate", params={"QUERY": query}).status_code == 400


def test_tables_are_described_briefly_on_request(live_services: LiveServices) -> None:
    with live_services.client() as client:
        whole = ET.fromstring(client.get("/api/tap/tables").content)
        brief = ET.fromstring(client.get("/api/tap/tables", params={"detail": "min"}).content)
        forgetful = client.get(
            "/api/tap/tables", params={"detail": "min"}, headers={"User-Agent": "python-pyvo/1.9"}
        )
    names = [table.findtext("name") for table in whole.iter("table")]
    assert [table.findtext("name") for table in brief.iter("table")] == names
    assert not list(brief.iter("column"))
    assert list(ET.fromstring(forgetful.content).iter("column"))


@pytest.mark.requirement("DMS-API-REQ-0006")
def test_tap_schema_describes_a_release_completely(live_services: LiveServices) -> None:
    def ask(query: str) -> list[dict[str, Any]]:
        with live_services.client() as client:
            document = client.get("/api/tap/sync", params={"QUERY": query, "RESPONSEFORMAT": "json"}).json()
        names = [column["name"] for column in document["metadata"]]
        return [dict(zip(names, row, strict=True)) for row in document["data"]]

    columns = ask("SELECT * FROM tap_schema.columns WHERE table_name LIKE 'demo.%'")
    tables = {row["table_name"] for row in columns}
    for name in tables:
        mine = [row for row in columns if row["table_name"] == name]
        assert sorted(row["column_index"] for row in mine) == list(range(len(mine)))
        assert all(row["description"] and row["datatype"] for row in mine), name
    objects = {row["column_name"]: row for row in columns if row["table_name"] == "demo.Object"}
    assert objects["coord_ra"]["ucd"].startswith("pos.eq.ra")
    assert (objects["coord_ra"]["unit"], objects["coord_ra"]["principal"]) == ("deg", 1)
    assert objects["objectId"]["indexed"] == 1
    assert objects["r_psfFlux"]["unit"] == "nJy"
    keys = ask(
        "SELECT k.from_table, k.target_table, c.from_column, c.target_column FROM tap_schema.keys k"
        " JOIN tap_schema.key_columns c ON k.key_id = c.key_id WHERE k.from_table LIKE 'demo.%'"
    )
    assert ("demo.ForcedSource", "demo.Object") in {(k["from_table"], k["target_table"]) for k in keys}
    known = {(row["table_name"], row["column_name"]) for row in columns}
    assert all((k["from_table"], k["from_column"]) in known for k in keys)
    assert all((k["target_table"], k["target_column"]) in known for k in keys)
    indexed = {row["table_name"] for row in columns if row["indexed"]}
    assert {"demo.Object", "demo.ForcedSource"} <= indexed
