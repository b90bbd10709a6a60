"""Simple Image Access 2.0: every parameter, several values, open intervals, errors that name the parameter."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import requests
from astropy import units as u
from astropy.io.votable import parse
from astropy.time import Time
from pyvo.dal.sia2 import SIA2Service

from tests.support.services import ANN, JOE, LiveServices

CENTER = (53.13, -28.10)
IMAGES = ("raw", "visit_image", "difference_image", "deep_coadd", "template_coadd")


@pytest.fixture(scope="module")
def client(live_services: LiveServices) -> Iterator[httpx.Client]:
    with live_services.client() as made:
        yield made


@pytest.fixture(scope="module")
def rows(client: httpx.Client) -> list[dict[str, Any]]:
    """All images by TAP: what answers are compared with."""
    query = {
        "QUERY": "SELECT * FROM ivoa.ObsCore WHERE obs_collection = 'demo'",
        "RESPONSEFORMAT": "votable/td",
    }
    table = read(client.get("/api/tap/sync", params=query))
    return [{name: plain(row[name]) for name in table.colnames} for row in table]


def plain(value: Any) -> Any:
    text = value.item() if hasattr(value, "item") else value
    return None if getattr(value, "mask", False) is True or str(value) == "--" or text != text else text


def read(response: httpx.Response) -> Any:
    assert response.status_code == 200, response.text
    return parse(io.BytesIO(response.content)).get_first_table().to_table(use_names_over_ids=True)


def search(client: httpx.Client, *parameters: tuple[str, str]) -> set[str]:
    table = read(client.get("/api/sia/demo/query", params=list(parameters)))
    return {str(v) for v in table["dataset_id"]}


def ids(rows: list[dict[str, Any]], fits: Any) -> set[str]:
    return {row["dataset_id"] for row in rows if fits(row)}


def between(row: dict[str, Any], name: str, low: float, high: float) -> bool:
    return row[name] is not None and low <= row[name] <= high


@pytest.mark.requirement("DMS-API-REQ-0016")
def test_intervals_and_names(client: httpx.Client, rows: list[dict[str, Any]]) -> None:
    cases: list[tuple[list[tuple[str, str]], Any]] = [
        ([("BAND", "600e-9 650e-9")], lambda r: r["lsst_band"] == "r" and r["em_min"] is not None),
        ([("BAND", "600e-9"), ("band", "7e-7")], lambda r: r["lsst_band"] in ("r", "i")),
        ([("BAND", "-Inf 5e-7")], lambda r: r["lsst_band"] == "g"),
        ([("BAND", "7e-7 +Inf")], lambda r: r["lsst_band"] == "i"),
        ([("BAND", "-Inf +Inf")], lambda r: r["em_min"] is not None),
        ([("TIME", "61041.0500")], lambda r: r["t_min"] is not None and r["t_min"] <= 61041.05 <= r["t_max"]),
        ([("TIME", "61042 +inf")], lambda r: r["t_max"] is not None and r["t_max"] >= 61042),
        ([("EXPTIME", "29 31")], lambda r: between(r, "t_exptime", 29, 31)),
        ([("EXPTIME", "31 +Inf")], lambda r: False),
        ([("TIMERES", "30")], lambda r: between(r, "t_resolution", 30, 30)),
        ([("FOV", "0.05 1")], lambda r: between(r, "s_fov", 0.05, 1)),
        ([("SPATRES", "-Inf 1.0")], lambda r: between(r, "s_resolution", -9, 1)),
        ([("SPECRP", "4 5")], lambda r: between(r, "em_res_power", 4, 5)),
        ([("CALIB", "1"), ("CALIB", "2")], lambda r: r["calib_level"] in (1, 2)),
        ([("CALIB", "3"), ("BAND", "6e-7")], lambda r: r["calib_level"] == 3 and r["lsst_band"] == "r"),
        ([("DPTYPE", "image")], lambda r: True),
        ([("DPTYPE", "cube")], lambda r: False),
        ([("DPSUBTYPE", "lsst.bias"), ("DPSUBTYPE", "lsst.raw")], lambda r: r["dataset_type"] in ("bias", "raw")),
        ([("TARGET", "ECDFS")], lambda r: r["target_name"] == "ECDFS"),
        ([("FACILITY", "synthetic"), ("INSTRUMENT", "SimCam")], lambda r: True),
        ([("INSTRUMENT", "O'Hara")], lambda r: False),
        ([("COLLECTION", "demo"), ("COLLECTION", "other")], lambda r: True),
        ([("COLLECTION", "other")], lambda r: False),
        ([("FORMAT", "application/x-votable+xml; content=datalink")], lambda r: True),
        ([("FORMAT", "image/png")], lambda r: False),
        ([("POL", "I")], lambda r: False),
        ([("ID", rows[0]["obs_publisher_did"])], lambda r: r is rows[0]),
        ([("ID", ""), ("VERSION", "2.0")], lambda r: True),
    ]  # fmt: skip
    for parameters, fits in cases:
        assert search(client, *parameters) == ids(rows, fits), parameters


@pytest.mark.requirement("DMS-API-REQ-0016")
def test_positions(client: httpx.Client, rows: list[dict[str, Any]]) -> None:
    ra, dec = CENTER
    on_sky = ids(rows, lambda r: r["dataset_type"] in IMAGES)
    here = search(client, ("POS", f"CIRCLE {ra} {dec} 0.001"))
    assert here
    assert here <= on_sky
    box = f"{ra - 0.001} {dec - 0.001} {ra + 0.001} {dec - 0.001} {ra + 0.001} {dec + 0.001}"
    assert search(client, ("POS", f"POLYGON {box} {ra - 0.001} {dec + 0.001}")) == here
    assert search(client, ("POS", f"RANGE {ra - 0.001} {ra + 0.001} {dec - 0.001} {dec + 0.001}")) == here
    far = ("POS", "CIRCLE 200 40 1")
    assert search(client, far) == set()
    assert search(client, far, ("POS", f"CIRCLE {ra} {dec} 0.001")) == here
    for words in (
        "0 360 -90 90", "-Inf +Inf -Inf +Inf", "0 360 -29 -27", "0 360 -Inf 0", "50 +Inf -90 90", "53 53.3 -90 +Inf",
    ):  # fmt: skip
        assert search(client, ("POS", f"RANGE {words}")) == on_sky, words
    for words in ("0 360 -27 90", "0 360 -90 -29", "54 360 -90 90", "0 52 -90 90", "0 360 90 90", "0 0 0 0"):
        assert search(client, ("POS", f"RANGE {words}")) == set(), words


def test_a_range_has_parallels_as_edges(client: httpx.Client, rows: list[dict[str, Any]]) -> None:
    # Great circles between the corners of a range as wide as this would pass degrees beside its parallels.
    low = min(r["s_dec"] - r["s_fov"] / 2 for r in rows if r["s_dec"] is not None)
    high = max(r["s_dec"] + r["s_fov"] / 2 for r in rows if r["s_dec"] is not None)
    assert search(client, ("POS", f"RANGE 23 83 {high + 0.01} {high + 1}")) == set()
    assert search(client, ("POS", f"RANGE 23 83 {low - 1} {low - 0.01}")) == set()
    assert search(client, ("POS", f"RANGE 23 83 {low} {high}")) == ids(rows, lambda r: r["s_dec"] is not None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("POS", "CIRCLE 1 2"), ("POS", "CIRCLE NaN 2 1"), ("POS", "CIRCLE 1 2 Inf"), ("POS", "CIRCLE 1 95 1"),
        ("POS", "SQUARE 1 2 3"), ("POS", "RANGE 10 5 0 1"), ("POS", "RANGE 1 2 3"), ("POS", "POLYGON 1 2 3 4"),
        ("POS", "RANGE 1 NaN 0 1"), ("BAND", "NaN 5e-7"), ("BAND", "5e-7 4e-7"), ("BAND", "red"), ("BAND", "1 2 3"),
        ("BAND", "+Inf +Inf"), ("TIME", "1_000"), ("EXPTIME", "0x10"), ("CALIB", "7"), ("CALIB", "two"), ("POL", "X"),
        ("MAXREC", "-1"), ("MAXREC", "many"), ("RESPONSEFORMAT", "image/gif"), ("VERSION", "1.0"), ("COLOUR", "red"),
        ("UPLOAD", "t,param:x"),
    ],
)  # fmt: skip
def test_errors_name_the_parameter(client: httpx.Client, name: str, value: str) -> None:
    for response in (
        client.get("/api/sia/demo/query", params={name: value}),
        client.post("/api/sia/demo/query", data={name: value}),
    ):
        assert response.status_code == 400
        assert response.headers["content-type"].startswith("application/x-votable+xml")
        document = parse(io.BytesIO(response.content))
        (info,) = document.resources[0].infos
        assert (info.name, info.value) == ("QUERY_STATUS", "ERROR")
        assert name in str(info.content)


def test_overflow_and_description(client: httpx.Client) -> None:
    response = client.post("/api/sia/demo/query", data={"MAXREC": "2"})
    document = parse(io.BytesIO(response.content))
    assert len(document.get_first_table().array) == 2
    assert [i.value for i in document.resources[0].infos if i.name == "QUERY_STATUS"] == ["OK", "OVERFLOW"]
    response = client.get("/api/sia/demo/query", params={"MAXREC": "0"})
    document = parse(io.BytesIO(response.content))
    table = document.get_first_table()
    assert len(table.array) == 0
    assert {f.name: f.utype for f in table.fields}["s_ra"].startswith("obscore:Char.SpatialAxis")
    (service,) = (r for r in document.resources if r.utype == "adhoc:service")
    assert {p.name: p.value for p in service.params}["standardID"] == "ivo://ivoa.net/std/SIA#query-2.0"
    inputs = {p.name: p for p in service.groups[0].entries}
    wanted = "POS BAND TIME POL FOV SPATRES SPECRP EXPTIME TIMERES ID COLLECTION FACILITY INSTRUMENT DPTYPE CALIB TARGET FORMAT"
    assert set(wanted.split()) <= set(inputs)
    assert (inputs["BAND"].unit, inputs["BAND"].xtype, inputs["BAND"].arraysize) == ("m", "interval", "2")
    assert "SimCam" in str(inputs["INSTRUMENT"].values.options)
    assert client.get("/api/sia/demo/query", params={"MAXREC": "0", "CALIB": "x"}).status_code == 400
    assert (
        client.get("/api/sia/demo/query", params={"MAXREC": "0", "RESPONSEFORMAT": "csv"}).text.count("\n")
        == 1
    )


def test_who_may_search(live_services: LiveServices, client: httpx.Client) -> None:
    assert client.get("/api/sia/nothing/query").status_code == 404
    assert client.get("/api/sia/nothing/query", params={"MAXREC": "0"}).status_code == 404
    with live_services.client(JOE) as joe:
        assert joe.get("/api/sia/demo/query", params={"MAXREC": "0"}).status_code == 403


def test_pyvo_finds_the_service_by_its_capabilities(
    live_services: LiveServices, rows: list[dict[str, Any]]
) -> None:
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {ANN}"
    service = SIA2Service(f"{live_services.url}/api/sia/demo", session=session)

    found = service.search(
        pos=(CENTER[0] * u.deg, CENTER[1] * u.deg, 0.1 * u.deg),
        band=[(0.6 * u.um, 0.65 * u.um)],
        time=(Time(61041.0, format="mjd"), Time(61042.0, format="mjd")),
        exptime=(20 * u.s, 40 * u.s),
        spatial_resolution=(0.1 * u.arcsec, 2 * u.arcsec),
        field_of_view=(0.01 * u.deg, 1 * u.deg),
        calib_level=[1, 2],
        instrument="SimCam",
        facility="synthetic",
        collection="demo",
        data_type="image",
        target_name="ECDFS",
        maxrec=50,
    )
    assert {r["dataset_type"] for r in found} == {"raw", "visit_image"}
    record = found[0]
    assert record.s_ra.unit == u.deg
    assert record.t_exptime == 30 * u.s
