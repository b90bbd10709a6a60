"""HiPS tiles and coverage maps over HTTP, as an independent client reads them."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from mocpy import MOC
from PIL import Image
from starlette.testclient import TestClient

from tests.support.services import JOE

BAND = "/api/hips/v2/maps/deep_coadd/band_r"


def parse(text: str) -> dict[str, str]:
    pairs = [line.partition("=") for line in text.splitlines() if line]
    return {key.strip(): value.strip() for key, _, value in pairs}


def read_moc(content: bytes, tmp_path: Path) -> MOC:
    (tmp_path / "moc.fits").write_bytes(content)
    return MOC.load(tmp_path / "moc.fits")


def test_a_client_walks_from_the_list_to_the_pixels(products: TestClient, tmp_path: Path) -> None:
    answer = products.get("/api/hips/v2/maps/list")
    assert answer.headers["content-type"].startswith("text/plain")
    records = [parse(block) for block in answer.text.split("\n\n")]
    assert {r["hips_service_url"].rpartition("/")[2] for r in records} == {"band_r", "band_i"}
    assert answer.text == products.get("/api/hips/list").text
    for record in records:
        place = urlsplit(record["hips_service_url"]).path
        known = parse(products.get(f"{place}/properties").text)
        assert known["creator_did"] == record["creator_did"]
        assert known["hips_service_url"] == record["hips_service_url"]
        order = int(known["hips_order"])
        moc = read_moc(products.get(urlsplit(known["moc_access_url"]).path).content, tmp_path)
        good = 0
        for cell in moc.degrade_to_order(order).flatten().tolist():
            address = f"{place}/Norder{order}/Dir{cell // 10000 * 10000}/Npix{cell}"
            tile = products.get(f"{address}.fits")
            if tile.status_code == 404:
                continue
            with fits.open(io.BytesIO(tile.content)) as hdus:
                good += int(np.isfinite(hdus[0].data).sum())
                ra, dec = WCS(hdus[0].header).wcs_pix2world([[255.5, 255.5]], 0)[0]
            assert abs(ra - 53.13) < 0.1
            assert abs(dec + 28.1) < 0.1
            picture = products.get(f"{address}.png")
            assert picture.headers["content-type"] == "image/png"
            assert Image.open(io.BytesIO(picture.content)).size == (512, 512)
        pixel_deg = float(known["hips_pixel_scale"])
        assert good * pixel_deg**2 / 41252.96 == pytest.approx(moc.sky_fraction, rel=0.06)


def test_coverage_comes_in_three_forms(products: TestClient, tmp_path: Path) -> None:
    for place in ("/api/hips/v2/maps", BAND):
        moc = read_moc(products.get(f"{place}/Moc.fits").content, tmp_path)
        text, document = products.get(f"{place}/Moc.txt"), products.get(f"{place}/Moc.json")
        assert MOC.from_string(text.text, format="ascii") == moc
        assert MOC.from_json(document.json()) == moc
        assert document.headers["content-type"] == "application/json"


def test_tiles_are_kept_by_clients_and_asked_for_again_cheaply(products: TestClient) -> None:
    first = products.get(f"{BAND}/Norder3/Allsky.png")
    assert first.status_code == 200
    assert "private" in first.headers["cache-control"]
    again = products.get(f"{BAND}/Norder3/Allsky.png", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert products.get(f"{BAND}/properties").headers["etag"] != first.headers["etag"]
    head = products.head(f"{BAND}/Norder3/Allsky.png")
    assert (head.status_code, head.content) == (200, b"")
    whole = products.get(f"{BAND}/Norder3/Allsky.fits")
    assert whole.headers["content-encoding"] == "gzip"
    assert np.isfinite(fits.getdata(io.BytesIO(whole.content))).sum() > 0


@pytest.mark.parametrize(
    "path",
    [
        "Norder11/Dir0/Npix1.fits",
        "Norder99/Dir0/Npix1.fits",
        "Norder11/Dir0/Npix1.jpg",
        "Norder11/Dir0/%2e%2e/%2e%2e/properties",
        "%2e%2e/%2e%2e/%2e%2e/manifest.json",
        "..%2f..%2f..%2fmanifest.json",
        "properties%00",
        "properties/",
        "Norder3/Dir0",
        "Moc.fits/x",
        "Norder11/Dir0/Npix1.fits%0a",
        "Norder١/Dir0/Npix1.fits",
    ],
)
def test_nothing_but_the_files_of_a_hips_is_served(products: TestClient, path: str) -> None:
    answer = products.get(f"{BAND}/{path}")
    assert answer.status_code == 404
    assert answer.json()["code"] in {"not_found", "http"}
    assert len(answer.content) < 300


def test_maps_of_a_release_need_the_scope_and_the_release(products: TestClient) -> None:
    for path in (
        f"{BAND}/properties",
        "/api/hips/v2/maps/list",
        "/api/hips/list",
        "/api/hips/v2/maps/Moc.fits",
    ):
        assert products.get(path, headers={"Authorization": ""}).status_code == 401
        assert products.get(path, headers={"Authorization": f"Bearer {JOE}"}).status_code == 403
    assert products.get("/api/hips/v2/none/list").status_code == 404
    assert products.get("/api/hips/v2/maps/deep_coadd/band_z/properties").status_code == 404
    assert products.get("/api/hips/v2/maps/other/list").status_code == 404


def test_the_page_of_a_hips_loads_nothing_from_elsewhere(products: TestClient) -> None:
    page = products.get(f"{BAND}/index.html")
    assert page.headers["content-type"].startswith("text/html")
    assert "http" not in page.text.replace("<!DOCTYPE html>", "")


@pytest.mark.parametrize("path", ["/api/hips", "/api/hips/v2/maps", "/api/alerts"])
def test_the_service_says_what_it_can_do(products: TestClient, path: str) -> None:
    told = products.get(f"{path}/capabilities")
    assert told.headers["content-type"].startswith("text/xml")
    urls = [str(element.text) for element in ET.fromstring(told.content).iter("accessURL")]
    assert {urlsplit(url).path for url in urls} >= {f"{path}/capabilities", f"{path}/availability"}
    assert ("hipslist-1.0" in told.text) is path.startswith("/api/hips")
    available = ET.fromstring(products.get(f"{path}/availability", headers={"Authorization": ""}).content)
    assert [element.text for element in available.iter() if element.tag.endswith("}available")] == ["true"]
    assert products.get(f"{path}/capabilities", headers={"Authorization": ""}).status_code == 401


def test_discovery_names_what_tells_of_each_service(products: TestClient) -> None:
    datasets = products.get("/repertoire/discovery").json()["datasets"]
    versions = datasets["maps"]["services"]["hips"]["versions"]
    for name in ("hipslist-1.0", "vosi-capabilities-1.1", "vosi-availability-1.1"):
        assert products.get(urlsplit(versions[name]["url"]).path).status_code == 200
