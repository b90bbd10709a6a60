"""Alerts over HTTP, read with the libraries of the alert stream, astropy and pyvo."""

from __future__ import annotations

import base64
import hashlib
import io
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import duckdb
import fastavro
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.io.votable import parse_single_table
from astropy.nddata import CCDData
from lsst.alert.packet import Schema, retrieve_alerts
from starlette.testclient import TestClient

from tests.support.services import JOE

ALERTS = "/api/alerts"


@pytest.fixture(scope="module")
def rows(products_home: Path) -> dict[int, dict[str, Any]]:
    """The DIA sources by identifier, by time."""
    with duckdb.connect(str(products_home / "releases/maps/catalogs.duckdb"), read_only=True) as con:
        found = con.sql('SELECT * FROM "DiaSource" ORDER BY midpointMjdTai, diaSourceId').to_arrow_table()
    return {row["diaSourceId"]: row for row in found.to_pylist()}


@pytest.fixture(scope="module")
def pictured(products: TestClient, rows: dict[int, dict[str, Any]]) -> int:
    """An alert with cut-outs and a history."""
    for alert_id in list(rows)[:200]:
        record = products.get(ALERTS, params={"ID": alert_id, "RESPONSEFORMAT": "json"}).json()
        if record["cutoutDifference"] and record["prvDiaForcedSources"]:
            return alert_id
    raise AssertionError("no alert has cut-outs")


def search(products: TestClient, **parameters: Any) -> list[int]:
    answer = products.get(f"{ALERTS}/search", params={"MAXREC": 10000, **parameters})
    assert answer.status_code == 200, answer.text
    return [alert["alert_id"] for alert in answer.json()["alerts"]]


def test_an_alert_comes_as_an_avro_file_with_its_schema(
    products: TestClient, rows: dict[int, dict[str, Any]], pictured: int
) -> None:
    for name in (str(pictured), f"LSST-AP-DS-{pictured}"):
        answer = products.get(ALERTS, params={"ID": name})
        assert answer.headers["content-type"] == "application/x-avro-ocf"
        assert f"alert-{pictured}.avro" in answer.headers["content-disposition"]
        _, records = retrieve_alerts(io.BytesIO(answer.content))
        (record,) = records
        assert record["diaSourceId"] == pictured
        assert Schema.from_uri().validate(record)
        for column in ("ra", "dec", "midpointMjdTai", "psfFlux"):
            assert record["diaSource"][column] == pytest.approx(rows[pictured][column], rel=1e-6)


def test_the_packet_is_the_one_that_was_issued(products: TestClient, pictured: int) -> None:
    answer = products.get(ALERTS, params={"ID": pictured, "RESPONSEFORMAT": "confluent"})
    listed = products.get(f"{ALERTS}/search", params={"ID": pictured}).json()["alerts"][0]
    assert hashlib.sha256(answer.content).hexdigest() == listed["sha256"]
    schema = products.get(f"{ALERTS}/schema", params={"ID": pictured}).json()
    assert int.from_bytes(answer.content[1:5], "big") == 1101
    record = fastavro.schemaless_reader(io.BytesIO(answer.content[5:]), fastavro.parse_schema(schema), None)
    assert record["diaSourceId"] == pictured


def test_json_and_fits_say_the_same(products: TestClient, pictured: int) -> None:
    record = products.get(ALERTS, params={"ID": pictured, "RESPONSEFORMAT": "application/json"}).json()
    answer = products.get(ALERTS, params={"ID": pictured, "RESPONSEFORMAT": "fits"})
    assert answer.headers["content-type"] == "application/fits"
    with fits.open(io.BytesIO(answer.content), checksum=True) as hdus:
        hdus.verify("exception")
        names = [hdu.name for hdu in hdus[1:]]
        assert names[0] == "ALERT"
        assert {"DIFFIM", "SCIENCE", "DIASOURCE", "FORCEDPHOT", "DIAOBJECT", "SSSOURCE", "MPCORBIT"} <= {
            *names
        }
        source = hdus["DIASOURCE"].data
        assert len(source) == 1 + len(record["prvDiaSources"] or ())
        assert source["diaSourceId"][0] == record["diaSourceId"] == hdus["ALERT"].data["diaSourceId"][0]
        assert source["ra"][0] == record["diaSource"]["ra"]
        assert hdus["DIASOURCE"].columns["psfFlux"].unit == "nJy"
        assert np.isnan(source["trailFlux"][0])
        assert record["diaSource"]["trailFlux"] is None
        assert len(hdus["FORCEDPHOT"].data) == len(record["prvDiaForcedSources"])
        assert len(hdus["SSSOURCE"].data) == 0
        stamp = fits.getdata(io.BytesIO(base64.b64decode(record["cutoutDifference"])))
        assert np.array_equal(hdus["DIFFIM"].data, stamp, equal_nan=True)


def test_cutouts_lie_on_the_sky(products: TestClient, pictured: int, tmp_path: Path) -> None:
    answer = products.get(f"{ALERTS}/cutouts", params={"ID": pictured})
    (tmp_path / "cutouts.fits").write_bytes(answer.content)
    listed = products.get(f"{ALERTS}/search", params={"ID": pictured}).json()["alerts"][0]
    at = SkyCoord(listed["ra"], listed["dec"], unit="deg")
    for name in ("DIFFIM", "SCIENCE"):
        stamp = CCDData.read(tmp_path / "cutouts.fits", hdu=name)
        assert str(stamp.unit) == "nJy"
        x, y = stamp.wcs.world_to_pixel(at)
        assert np.hypot(x - 20, y - 20) < 0.8


def test_links_are_a_datalink_document(products: TestClient, pictured: int) -> None:
    answer = products.get(f"{ALERTS}/links", params={"ID": [pictured, "x", 17]})
    table = parse_single_table(io.BytesIO(answer.content)).to_table()
    errors = {str(r["ID"]): str(r["error_message"]) for r in table if r["error_message"]}
    assert errors["x"].startswith("UsageFault")
    assert errors["17"].startswith("NotFoundFault")
    good = [r for r in table if str(r["ID"]) == str(pictured)]
    assert {str(r["semantics"]) for r in good} == {"#this", "#cutout", "#detached-header"}
    for row in good:
        parts = urlsplit(str(row["access_url"]))
        found = products.get(f"{parts.path}?{parts.query}")
        assert found.status_code == 200
        assert found.headers["content-type"] == str(row["content_type"])


def test_search_by_place_time_band_object_and_brightness(
    products: TestClient, rows: dict[int, dict[str, Any]]
) -> None:
    listed = list(rows.values())
    assert search(products) == [r["diaSourceId"] for r in listed]
    middle = listed[len(listed) // 2]
    places = SkyCoord([r["ra"] for r in listed], [r["dec"] for r in listed], unit="deg")
    near = places.separation(SkyCoord(middle["ra"], middle["dec"], unit="deg")).deg
    for radius in (0.0005, 0.02, 0.05):
        expected = [r["diaSourceId"] for r, d in zip(listed, near, strict=True) if d <= radius]
        assert search(products, POS=f"CIRCLE {middle['ra']} {middle['dec']} {radius}") == expected
    ra, dec = middle["ra"], middle["dec"]
    square = f"POLYGON {ra - 0.03} {dec - 0.02} {ra + 0.03} {dec - 0.02} {ra + 0.03} {dec + 0.02} {ra - 0.03} {dec + 0.02}"
    inside = [r["diaSourceId"] for r in listed if abs(r["ra"] - ra) < 0.03 and abs(r["dec"] - dec) < 0.0199]
    assert set(search(products, POS=square)) >= {*inside}
    cases: list[tuple[dict[str, Any], Any]] = [
        ({"BAND": "r"}, lambda r: r["band"] == "r"),
        ({"BAND": ["g", "i"]}, lambda r: r["band"] in "gi"),
        ({"DIAOBJECTID": middle["diaObjectId"]}, lambda r: r["diaObjectId"] == middle["diaObjectId"]),
        ({"VISIT": middle["visit"], "DETECTOR": 0}, lambda r: r["visit"] == middle["visit"]),
        (
            {"TIME": f"0 {middle['midpointMjdTai']!r}"},
            lambda r: r["midpointMjdTai"] <= middle["midpointMjdTai"],
        ),
        ({"SNR": "10 inf"}, lambda r: r["snr"] >= 10),
        ({"PSFFLUX": "-inf 0", "BAND": "r"}, lambda r: r["psfFlux"] <= 0 and r["band"] == "r"),
        ({"ID": [middle["diaSourceId"], 5]}, lambda r: r["diaSourceId"] == middle["diaSourceId"]),
        ({"POS": "CIRCLE 10 10 1"}, lambda r: False),
    ]
    for parameters, keep in cases:
        assert search(products, **parameters) == [r["diaSourceId"] for r in listed if keep(r)], parameters


def test_pages_follow_each_other_without_gap_or_repetition(
    products: TestClient, rows: dict[int, dict[str, Any]]
) -> None:
    address: str | None = f"{ALERTS}/search?MAXREC=7&BAND=r&RELEASE=maps"
    seen: list[int] = []
    while address is not None:
        page = products.get(address).json()
        assert len(page["alerts"]) <= 7
        seen += [alert["alert_id"] for alert in page["alerts"]]
        address = page["next"]
    assert seen == [i for i, r in rows.items() if r["band"] == "r"]
    assert len(seen) > 14


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("", 400),
        ("?ID=abc", 400),
        ("?ID=1&ID=2", 400),
        ("?ID=99999999999999999999", 400),
        ("?ID=-1", 400),
        ("?ID=17", 404),
        ("?ID=17&RELEASE=none", 404),
        ("?ID=17&RESPONSEFORMAT=pdf", 400),
        ("?ID=17&COLOUR=red", 400),
        ("/cutouts?ID=17", 404),
        ("/schema?ID=17", 404),
        ("/links", 400),
        ("/search?POS=CIRCLE+1+2", 400),
        ("/search?POS=CIRCLE+nan+2+3", 400),
        ("/search?TIME=x", 400),
        ("/search?TIME=3+2", 400),
        ("/search?MAXREC=0", 400),
        ("/search?MAXREC=1e9", 400),
        ("/search?CURSOR=%00", 400),
        ("/search?CURSOR=eyJhIjoxfQ", 400),
        ("/search?CURSOR=WzEsIDFlOTldCg", 400),
        ("/search?CURSOR=%C3%A9", 400),
        (f"/search?CURSOR={8000 * 'W1tb'}", 400),
        ("/search?VISIT=1.5", 400),
        ("/search?DIAOBJECTID=9999999999999999999999", 400),
        ("/search?WHERE=1%3D1", 400),
        ("/search?RELEASE=none", 404),
    ],
)
def test_bad_questions_get_a_clear_answer(products: TestClient, path: str, status: int) -> None:
    answer = products.get(f"{ALERTS}{path}")
    assert answer.status_code == status, answer.text
    assert answer.json()["code"] in {"usage", "query", "not_found"}


@pytest.mark.parametrize(
    "place",
    [
        "CIRCLE 0 90 180",
        "CIRCLE 53.13 -28.1 0",
        "CIRCLE 53.13 -28.1 1e-12",
        "POSITION 0 -90",
        "RANGE 0 360 -90 90",
        "RANGE 50 56 -30 -26",
        "POLYGON 53 -28 53 -28.0000001 53.0000001 -28",
        "POLYGON 53 -29 54 -27 53 -27 54 -29",
        "POLYGON 0 0 90 0 180 0 270 0",
    ],
)
def test_odd_places_are_searched_all_the_same(products: TestClient, place: str) -> None:
    answer = products.get(f"{ALERTS}/search", params={"POS": place, "MAXREC": 10})
    assert answer.status_code in (200, 400), answer.text
    if place in ("CIRCLE 0 90 180", "RANGE 0 360 -90 90", "RANGE 50 56 -30 -26"):
        assert len(answer.json()["alerts"]) == 10


def test_alerts_need_their_own_scope(products: TestClient, pictured: int) -> None:
    for tail in ("", "/cutouts", "/schema", "/links", "/search"):
        address = f"{ALERTS}{tail}?ID={pictured}"
        assert products.get(address, headers={"Authorization": ""}).status_code == 401
        assert products.get(address, headers={"Authorization": f"Bearer {JOE}"}).status_code == 403


def test_datalink_leads_from_a_dia_source_to_its_alert(products: TestClient, pictured: int) -> None:
    answer = products.get("/api/datalink/links", params={"ID": pictured, "TABLE": "maps.DiaSource"})
    table = parse_single_table(io.BytesIO(answer.content)).to_table()
    found = {str(r["content_type"]): str(r["access_url"]) for r in table if r["local_semantics"] == "alert"}
    assert {"application/x-avro-ocf", "application/fits", "application/json"} == set(found)
    parts = urlsplit(found["application/x-avro-ocf"])
    _, records = retrieve_alerts(io.BytesIO(products.get(f"{parts.path}?{parts.query}").content))
    assert next(iter(records))["diaSourceId"] == pictured
