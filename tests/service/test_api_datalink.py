"""DataLink 1.1: links of images and rows, what each was made of, descriptors, errors for each identifier."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import pytest
import requests
from astropy.io import fits
from astropy.io.votable import parse
from astropy.table import Table
from pyvo.dal.adhoc import DatalinkResults, SodaQuery

from tests.support.services import ANN, JOE, LiveServices

TERMS = {
    "#this", "#preview-image", "#cutout", "#proc", "#progenitor", "#derivation", "#bias", "#dark", "#flat",
    "#calibration", "#auxiliary",
}  # fmt: skip


@pytest.fixture(scope="module")
def client(live_services: LiveServices) -> Iterator[httpx.Client]:
    with live_services.client() as made:
        yield made


def query(client: httpx.Client, text: str) -> list[list[Any]]:
    response = client.get("/api/tap/sync", params={"QUERY": text, "RESPONSEFORMAT": "json"})
    assert response.status_code == 200, response.text
    # JSON carries 64-bit numbers as text.
    return [
        [int(v) if isinstance(v, str) and v.isdigit() else v for v in row] for row in response.json()["data"]
    ]


@pytest.fixture(scope="module")
def images(client: httpx.Client) -> dict[str, list[str]]:
    """Identifiers by dataset type; in the r band where there is a choice."""
    found: dict[str, list[str]] = {}
    for kind, did in query(
        client,
        "SELECT dataset_type, obs_publisher_did FROM ivoa.ObsCore ORDER BY CASE lsst_band WHEN 'r' THEN 0 ELSE 1 END",
    ):
        found.setdefault(kind, []).append(did)
    return found


def fetch(client: httpx.Client, *ids: str, **more: str) -> Table:
    response = client.get("/api/datalink/links", params={"ID": list(ids), **more})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("application/x-votable+xml;content=datalink")
    return parse(io.BytesIO(response.content)).get_first_table().to_table(use_names_over_ids=True)


def local(table: Table) -> list[tuple[str, str]]:
    return [(str(row["semantics"]), str(row["local_semantics"])) for row in table]


def followed(client: httpx.Client, row: Any) -> str:
    """Return the dataset that a link to links is about."""
    table = fetch_url(client, str(row["access_url"]))
    return str(table["ID"][0])


def fetch_url(client: httpx.Client, url: str) -> Table:
    response = client.get(url)
    assert response.status_code == 200, response.text
    return parse(io.BytesIO(response.content)).get_first_table().to_table(use_names_over_ids=True)


@pytest.mark.requirement("DMS-API-REQ-0017")
def test_an_image_leads_to_what_it_was_made_of_and_back(
    client: httpx.Client, images: dict[str, list[str]]
) -> None:
    visit, coadd = images["visit_image"][0], images["deep_coadd"][0]
    links = fetch(client, visit)
    assert {str(s) for s in links["semantics"]} <= TERMS
    kinds = local(links)
    for wanted in (
        ("#progenitor", "raw"), ("#bias", "bias"), ("#flat", "flat"), ("#derivation", "deep_coadd"),
        ("#derivation", "template_coadd"), ("#derivation", "difference_image"), ("#derivation", "Source"),
        ("#this", "visit_image"),
    ):  # fmt: skip
        assert kinds.count(wanted) == 1, wanted
    back = links[kinds.index(("#derivation", "deep_coadd"))]
    assert followed(client, back) == coadd
    of_coadd = fetch(client, coadd)
    inputs = [row for row in of_coadd if row["semantics"] == "#progenitor"]
    assert [followed(client, row) for row in inputs] == [visit]
    of_difference = fetch(client, images["difference_image"][0])
    assert {k for k in local(of_difference) if k[0] == "#progenitor"} == {
        ("#progenitor", "visit_image"),
        ("#progenitor", "template_coadd"),
    }
    raw = fetch(client, images["raw"][0])
    assert ("#derivation", "visit_image") in local(raw)
    assert "#cutout" not in set(raw["semantics"])
    assert "#bias" not in set(raw["semantics"])
    flat = fetch(client, images["flat"][0])
    assert ("#derivation", "visit_image") in local(flat)
    # Calibrations have no place on the sky and are shown all the same.
    uuid = images["flat"][0].rpartition("id=")[2]
    assert (
        sum(str(row["access_url"]).endswith(f"/portal/app/images?release=demo&id={uuid}") for row in flat)
        == 1
    )


def test_files_and_pictures_need_no_token(client: httpx.Client, images: dict[str, list[str]]) -> None:
    for kind, (did, *_) in images.items():
        links = fetch(client, did)
        for row in links:
            if row["link_auth"] != "false" or row["semantics"] == "#auxiliary":
                continue
            response = httpx.get(str(row["access_url"]), timeout=60)
            assert response.status_code == 200, (kind, row["semantics"], response.text)
            assert response.headers["content-type"] == row["content_type"]
            if row["semantics"] == "#this":
                assert len(response.content) == row["content_length"]
                assert response.content.startswith(b"SIMPLE")
            else:
                assert response.content.startswith(b"\x89PNG")


def test_measured_rows_are_those_of_the_image(client: httpx.Client, images: dict[str, list[str]]) -> None:
    for kind, table in (
        ("visit_image", "Source"),
        ("difference_image", "DiaSource"),
        ("deep_coadd", "Object"),
    ):
        did = images[kind][0]
        uuid = did.rsplit("=", 1)[1]
        visit, detector, tract, patch = query(
            client,
            f"SELECT lsst_visit, lsst_detector, lsst_tract, lsst_patch FROM ivoa.ObsCore WHERE dataset_id = '{uuid}'",
        )[0]
        links = fetch(client, did)
        row = links[local(links).index(("#derivation", table))]
        assert row["link_auth"] == "true"
        assert row["link_authorized"]
        rows = fetch_url(client, str(row["access_url"]))
        assert len(rows) > 0
        if table == "Object":
            assert set(rows["tract"]) == {tract}
            assert set(rows["patch"]) == {patch}
        else:
            assert set(rows["visit"]) == {visit}
            assert set(rows["detector"]) == {detector}


def test_descriptors_hold_for_their_own_dataset(
    live_services: LiveServices, client: httpx.Client, images: dict[str, list[str]]
) -> None:
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {ANN}"
    wanted = [images["visit_image"][0], images["deep_coadd"][0]]
    url = f"{live_services.url}/api/datalink/links?" + "&".join(f"ID={quote(did)}" for did in wanted)
    links = DatalinkResults.from_result_url(url, session=session)
    services = {did: [r for r in links if r["ID"] == did and r["service_def"]] for did in wanted}
    assert {len([r for r in rows if r["semantics"] == "#cutout"]) for rows in services.values()} == {2}
    for did, rows in services.items():
        adhoc = links.get_adhocservice_by_id(rows[0]["service_def"])
        inputs = {p.name: p for p in adhoc.groups[0].entries}
        assert inputs["ID"].value == did
        ra, dec, radius = map(float, str(inputs["CIRCLE"].values.max).replace(",", " ").strip("[]").split())
        low, high = float(inputs["BAND"].values.min), float(inputs["BAND"].values.max)
        assert low < high < 1e-6
        soda = SodaQuery.from_resource(links, adhoc, session=session)
        soda.circle = (ra, dec, min(radius, 0.002))
        with fits.open(io.BytesIO(soda.execute_stream().read())) as hdus:
            assert hdus[0].data.ndim == 2
    psf = next(r for r in services[wanted[0]] if r["semantics"] == "#proc")
    adhoc = links.get_adhocservice_by_id(psf["service_def"])
    values = {p.name: p.value for p in adhoc.groups[0].entries}
    address = next(p.value for p in adhoc.params if p.name == "accessURL")
    response = client.get(address, params={k: str(v) for k, v in values.items()})
    assert response.status_code == 200, response.text
    with fits.open(io.BytesIO(response.content)) as hdus:
        stamp = next(h.data for h in hdus if h.data is not None)
    assert stamp.sum() == pytest.approx(1, abs=1e-3)


@pytest.mark.requirement("DMS-API-REQ-0017")
@pytest.mark.parametrize("table", ["Object", "DiaObject"])
def test_the_light_curve_of_an_object(client: httpx.Client, table: str) -> None:
    key = table[0].lower() + table[1:] + "Id"
    number = query(client, f"SELECT TOP 1 {key} FROM demo.{table} ORDER BY {key}")[0][0]
    did = f"ivo://skydesk/demo?table={table}&id={number}"
    links = fetch(client, did)
    assert {str(s) for s in links["semantics"]} <= TERMS
    assert local(fetch(client, str(number), TABLE=f"demo.{table}")) == local(links)
    row = next(r for r in links if r["content_qualifier"] == "#timeseries" and r["access_url"])
    assert row["content_qualifier"] == "#timeseries"
    curve = fetch_url(client, str(row["access_url"]))
    forced = {"Object": "ForcedSource", "DiaObject": "ForcedSourceOnDiaObject"}[table]
    counted = query(client, f"SELECT COUNT(*) FROM demo.{forced} WHERE {key} = {number}")[0][0]
    assert len(curve) == counted > 5
    assert (np.diff(curve["expMidptMJD"]) >= 0).all()
    assert str(curve["psfFlux"].unit) == "nJy"
    red = client.get(
        "/api/datalink/timeseries", params={"ID": did, "BAND": ["r", "o'x"], "RESPONSEFORMAT": "csv"}
    )
    same = {"ID": str(number), "TABLE": f"demo.{table}", "BAND": "r", "RESPONSEFORMAT": "csv"}
    assert client.get("/api/datalink/timeseries", params=same).text == red.text
    rows = red.text.splitlines()
    assert 1 < len(rows) < counted
    assert all(line.split(",")[1].strip('"') == "r" for line in rows[1:])
    this = fetch_url(client, str(next(r for r in links if r["semantics"] == "#this")["access_url"]))
    assert [str(v) for v in this[key]] == [str(number)]


def test_rows_lead_to_the_images_they_were_measured_on(
    client: httpx.Client, images: dict[str, list[str]]
) -> None:
    for table, key, kind in (
        ("Source", "sourceId", "visit_image"),
        ("DiaSource", "diaSourceId", "difference_image"),
        ("Object", "objectId", "deep_coadd"),
    ):
        image = images[kind][0].rsplit("=", 1)[1]
        names = ("tract", "patch") if table == "Object" else ("visit", "detector")
        number = query(
            client,
            f"SELECT TOP 1 t.{key} FROM demo.{table} t, ivoa.ObsCore o WHERE o.dataset_id = '{image}' AND "
            + " AND ".join(f"t.{n} = o.lsst_{n}" for n in names),
        )[0][0]
        links = fetch(client, f"ivo://skydesk/demo?table={table}&id={number}")
        row = next(r for r in links if r["semantics"] == "#progenitor" and r["local_semantics"] == kind)
        assert followed(client, row) == images[kind][0]
        stamp = next(r for r in links if r["semantics"] == "#cutout" and r["local_semantics"] == kind)
        content = client.get(str(stamp["access_url"])).content
        with fits.open(io.BytesIO(content)) as hdus:
            assert min(hdus[0].data.shape) > 20
    visit = query(client, "SELECT lsst_visit FROM ivoa.ObsCore WHERE dataset_type = 'visit_image'")[0][0]
    links = fetch(client, f"ivo://skydesk/demo?table=Visit&id={visit}")
    assert {("#derivation", "visit_image"), ("#derivation", "Source")} <= set(local(links))


def test_each_identifier_has_its_own_error(client: httpx.Client, images: dict[str, list[str]]) -> None:
    good = images["visit_image"][0]
    nobody = "01a1f8b0-7a93-76d6-8e4d-0d938f592f41"
    bad = {
        "nonsense": "UsageFault",
        "ivo://[x": "UsageFault",
        "ivo://[::1/?table=Object&id=1": "UsageFault",
        f"ivo://skydesk/demo?repo=demo&id={nobody}": "NotFoundFault",
        good.replace("demo", "other"): "NotFoundFault",
        "ivo://skydesk/demo?table=Object&id=-5": "NotFoundFault",
        "ivo://skydesk/other?table=Object&id=5": "NotFoundFault",
        "ivo://skydesk/demo?table=Object&id=x": "UsageFault",
        "ivo://skydesk/demo?table=Object&id=99999999999999999999": "UsageFault",
        "ivo://skydesk/demo?table=Planet&id=5": "UsageFault",
        "ivo://skydesk/demo?table=Object&id=5 OR 1=1": "UsageFault",
        "ivo://skydesk/d'o?table=Object&id=5": "UsageFault",
    }
    table = fetch(client, *bad, good, good)
    for text, fault in bad.items():
        (row,) = (r for r in table if r["ID"] == text)
        assert str(row["error_message"]).startswith(f"{fault}: "), row
        assert row["access_url"] == ""
        assert row["semantics"] == "#this"
    assert sum(r["ID"] == good and r["semantics"] == "#this" for r in table) == 1
    assert len(fetch(client)) == 0
    assert client.get("/api/datalink/links", params={"ID": good, "RESPONSEFORMAT": "csv"}).status_code == 400
    posted = client.post("/api/datalink/links", data={"id": [good, "nonsense"], "RESPONSEFORMAT": "votable"})
    assert b"UsageFault" in posted.content
    for text, status in ((good, 400), ("ivo://skydesk/demo?table=Source&id=1", 400), ("", 400)):
        assert client.get("/api/datalink/timeseries", params={"ID": text}).status_code == status


def test_links_expire_and_belong_to_one_file(
    live_services: LiveServices, client: httpx.Client, images: dict[str, list[str]]
) -> None:
    this = str(fetch(client, images["raw"][0])["access_url"][0])
    other = str(fetch(client, images["raw"][1])["access_url"][0])
    assert httpx.get(this).status_code == 200
    assert httpx.get(this.split("?")[0] + "?" + other.split("?")[1]).status_code == 403
    assert httpx.get(this.replace("?e=", "?e=1")).status_code == 403
    assert httpx.get(this.split("?")[0]).status_code == 401
    with live_services.client(JOE) as joe:
        assert joe.get(this.split("?")[0]).status_code == 403
        assert joe.get("/api/datalink/timeseries", params={"ID": "x"}).status_code == 403


def test_datalinklint_finds_nothing_in_images_and_rows(
    client: httpx.Client, images: dict[str, list[str]], tmp_path: Path
) -> None:
    stilts = shutil.which("stilts")
    if stilts is None:
        pytest.skip("there is no stilts: run make tools")
    number = query(client, "SELECT TOP 1 objectId FROM demo.Object")[0][0]
    ids = [images[k][0] for k in images] + [f"ivo://skydesk/demo?table=Object&id={number}", "nonsense"]
    path = tmp_path / "links.vot"
    path.write_bytes(client.get("/api/datalink/links", params={"ID": ids}).content)
    for task in (["datalinklint", f"votable={path}"], ["votlint", str(path)]):
        done = subprocess.run([stilts, *task], capture_output=True, text=True, timeout=120, check=False)
        found = [line for line in (done.stdout + done.stderr).splitlines() if not line.startswith("I-")]
        # What is left of datalinklint are its title and its totals.
        assert not any(re.match(r"(INFO|WARNING|ERROR|[WEF]-)", line) for line in found), found
        assert task[0] != "votlint" or not found, found
