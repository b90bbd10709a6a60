"""The sky map: the HiPS of a release on the whole sky, against the tiles' own coordinates, astropy, mocpy and SQL."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import duckdb
import hpgeom
import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from browser.test_images_view import wait_until
from mocpy import MOC
from playwright.sync_api import Page, expect

from tests.support.pages import Pages

HIPS = "deep_coadd/band_r"


@pytest.fixture(scope="module")
def folder(pages: Pages) -> Path:
    return pages.home / "releases/maps/hips" / HIPS


@pytest.fixture(scope="module")
def properties(folder: Path) -> dict[str, str]:
    pairs = [line.split("=", 1) for line in (folder / "properties").read_text().splitlines()]
    return {key.strip(): value.strip() for key, value in pairs}


@pytest.fixture(scope="module")
def centre(properties) -> SkyCoord:
    return SkyCoord(float(properties["hips_initial_ra"]), float(properties["hips_initial_dec"]), unit="deg")


def open_map(page: Page, pages: Pages, query: str = "") -> None:
    page.goto(f"{pages.url}/skymap?release=maps&hips={HIPS}{query}")
    page.wait_for_selector(".skymap[data-drawn]")
    page.wait_for_load_state("networkidle")


def facts(page: Page) -> dict[str, float]:
    found = page.locator(".skymap").evaluate("e => ({...e.dataset})")
    return {key: float(found[key]) for key in ("ra", "dec", "fov")}


def read_at(page: Page, x: float, y: float) -> dict[str, str]:
    """Put the pointer on a place of the map, as fractions of it, and return what is read there."""
    box = page.locator(".sky").bounding_box()
    page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
    return page.locator(".skymap .readout").evaluate("e => ({...e.dataset})")


@pytest.mark.requirement("DMS-PRTL-REQ-0078")
def test_the_readout_is_the_pixel_of_the_tile_there(
    calm_page: Page, pages: Pages, folder, properties, centre
):
    order, scale_deg = int(properties["hips_order"]), float(properties["hips_pixel_scale"])
    # A pixel of the finest tiles is four of the screen, so that the pointer is well inside it.
    open_map(calm_page, pages, f"&ra={centre.ra.deg}&dec={centre.dec.deg}&fov={1300 / 4 * scale_deg}")
    right = wrong = 0
    for x, y in np.random.default_rng(3).uniform(0.3, 0.7, (14, 2)):
        wait_until(
            calm_page,
            lambda x=x, y=y: read_at(calm_page, x, y)["value"] not in ("", "NaN"),
            "nothing is read",
        )
        found = read_at(calm_page, x, y)
        ra_deg, dec_deg = float(found["ra"]), float(found["dec"])
        tile = int(hpgeom.angle_to_pixel(2**order, ra_deg, dec_deg, nest=True, lonlat=True))
        with fits.open(folder / f"Norder{order}/Dir{tile // 10000 * 10000}/Npix{tile}.fits") as content:
            at = WCS(content[0].header).world_to_pixel(SkyCoord(ra_deg, dec_deg, unit="deg"))
            column, row = (round(float(v)) for v in at)
            if max(abs(float(at[0]) - column), abs(float(at[1]) - row)) > 0.35:
                continue  # near the edge of a pixel either one is right
            if float(found["value"]) == pytest.approx(float(content[0].data[row, column]), rel=1e-5):
                right += 1
            else:
                wrong += 1
    assert (right >= 5, wrong) == (True, 0)


@pytest.mark.requirement("DMS-PRTL-REQ-0079")
@pytest.mark.requirement("DMS-PRTL-REQ-0080")
def test_zooming_and_dragging_change_the_view_as_they_should_and_the_address_keeps_it(
    calm_page: Page, pages: Pages, centre
):
    tiles: list[int] = []
    calm_page.on("request", lambda r: tiles.extend(int(n) for n in re.findall(r"/Norder(\d+)/Dir", r.url)))
    open_map(calm_page, pages, f"&ra={centre.ra.deg}&dec={centre.dec.deg}&fov=4")
    begin, coarse = facts(calm_page), max(tiles, default=3)
    calm_page.locator(".map").focus()
    for n, key in enumerate(("+", "+", "-", "-")):
        calm_page.keyboard.press(key)
        expected = begin["fov"] / (2, 4, 2, 1)[n]
        wait_until(
            calm_page, lambda e=expected: abs(facts(calm_page)["fov"] / e - 1) < 0.01, f"{key} does not zoom"
        )
        if n == 1:
            wait_until(calm_page, lambda: max(tiles, default=0) > coarse, "no finer tiles are asked for")
    # What is under the pointer when it is pressed is so still when it is let go.
    start = read_at(calm_page, 0.5, 0.5)
    box = calm_page.locator(".sky").bounding_box()
    calm_page.mouse.down()
    for step in (0.55, 0.6, 0.65):
        calm_page.mouse.move(box["x"] + step * box["width"], box["y"] + 0.5 * box["height"])
    calm_page.mouse.up()
    moved = read_at(calm_page, 0.65, 0.5)
    places = [SkyCoord(float(f["ra"]), float(f["dec"]), unit="deg") for f in (start, moved)]
    assert places[0].separation(places[1]).deg < 0.01 * begin["fov"]

    def away() -> float:
        now = facts(calm_page)
        return float(SkyCoord(now["ra"], now["dec"], unit="deg").separation(centre).deg)

    wait_until(
        calm_page,
        lambda: abs(away() / (0.15 * begin["fov"]) - 1) < 0.05,
        "the middle has not moved as far as the pointer",
    )
    after = facts(calm_page)
    assert after["fov"] == pytest.approx(begin["fov"], rel=0.01)
    calm_page.get_by_label("Projection", exact=True).select_option("Mollweide")
    calm_page.get_by_label("Coverage", exact=True).select_option("whole release")
    expect(calm_page.locator(".skymap")).to_have_attribute("data-coverage", "whole release")
    expect(calm_page).to_have_url(re.compile("p=Mollweide&cov=whole"))
    wait_until(calm_page, lambda: f"ra={after['ra']:.4f}"[:9] in calm_page.url, "the address does not follow")
    address = calm_page.url
    calm_page.goto("about:blank")
    calm_page.goto(address)
    calm_page.wait_for_selector(".skymap[data-drawn]")
    again = facts(calm_page)
    assert (
        SkyCoord(again["ra"], again["dec"], unit="deg")
        .separation(SkyCoord(after["ra"], after["dec"], unit="deg"))
        .arcsec
        < 1
    )
    expect(calm_page.get_by_label("Projection", exact=True)).to_have_value("Mollweide")
    calm_page.get_by_label("Position", exact=True).fill("10:00:00 +02:12:21")
    calm_page.get_by_label("Position", exact=True).press("Enter")
    goal = SkyCoord("10h00m00s +02d12m21s")
    wait_until(
        calm_page,
        lambda: (
            SkyCoord(facts(calm_page)["ra"], facts(calm_page)["dec"], unit="deg").separation(goal).deg < 0.01
        ),
        "the map does not go there",
    )


@pytest.mark.requirement("DMS-PRTL-REQ-0081")
@pytest.mark.requirement("DMS-PRTL-REQ-0082")
def test_cells_are_chosen_told_as_a_coverage_map_and_searched(calm_page: Page, pages: Pages, centre):
    catalog = pages.home / "releases/maps/catalogs.duckdb"
    with duckdb.connect(str(catalog), read_only=True) as database:
        objects = database.sql('SELECT objectId, coord_ra, coord_dec FROM "Object"').df()
    middle = objects.iloc[(objects.coord_ra - centre.ra.deg).abs().add((objects.coord_dec - centre.dec.deg).abs()).argmin()]  # fmt: skip
    open_map(calm_page, pages, f"&ra={middle.coord_ra}&dec={middle.coord_dec}&fov=0.2")
    calm_page.get_by_label("Choose cells").check()
    box = calm_page.locator(".sky").bounding_box()
    chosen = []
    for x, y in ((0.5, 0.5), (0.3, 0.4), (0.6, 0.7)):
        chosen.append(read_at(calm_page, x, y))
        calm_page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])
        expect(calm_page.locator(".card tr")).to_have_count(len(chosen))
    told = MOC.from_string(calm_page.locator(".skymap").get_attribute("data-cells"), format="ascii")
    order = told.max_order
    numbers = hpgeom.angle_to_pixel(
        2**order, [float(c["ra"]) for c in chosen], [float(c["dec"]) for c in chosen], nest=True, lonlat=True
    )
    assert set(told.flatten().tolist()) == {int(n) for n in numbers}
    expect(calm_page).to_have_url(re.compile("cells="))
    # The middle one alone, by keyboard: choosing it again gives it up.
    calm_page.locator(".map").focus()
    calm_page.keyboard.press("Space")
    expect(calm_page.locator(".card tr")).to_have_count(2)
    calm_page.keyboard.press("Space")
    expect(calm_page.locator(".card tr")).to_have_count(3)
    inside = objects[
        told.contains_lonlat(objects.coord_ra.to_numpy() * u.deg, objects.coord_dec.to_numpy() * u.deg)
    ]
    link = calm_page.get_by_role("link", name="Objects in these cells")
    query = parse_qs(urlsplit(link.get_attribute("href")).query)["query"][0]
    link.click()
    expect(calm_page.get_by_label("ADQL", exact=True)).to_have_value(query)
    calm_page.get_by_role("button", name="Run", exact=True).click()
    expect(calm_page.get_by_text(f"{len(inside)} row").first).to_be_visible()
    answer = calm_page.request.get(f"{pages.url}/download", params={"query": query, "format": "csv"})
    ids = {int(line.split(",")[0]) for line in answer.text().splitlines()[1:]}
    assert len(inside) >= 1
    assert ids == set(inside.objectId)


def test_the_map_leads_to_the_image_there_and_back_in_the_history(calm_page: Page, pages: Pages, centre):
    open_map(calm_page, pages, f"&ra={centre.ra.deg}&dec={centre.dec.deg}&fov=1")
    calm_page.get_by_role("button", name="Open the image in the middle of the map").click()
    calm_page.wait_for_selector(".viewer[data-drawn][data-image]")
    calm_page.go_back()
    calm_page.wait_for_selector(".skymap[data-drawn]")
