"""Programs steer a page that is open in a browser and read what is selected in it, with the client that notebooks import."""

from __future__ import annotations

import re
import threading

import httpx
import numpy as np
import pytest
from astropy.table import Table
from playwright.sync_api import expect, sync_playwright
from support.portal import make_portal
from support.services import serve_app

from skydesk_core.release.testing import make_synthetic_release
from skydesk_lab import client
from skydesk_lab.portal import STRETCHES
from skydesk_portal.ui.gate import PREFIX

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
PATIENCE_MS = 90_000


@pytest.fixture(scope="module")
def portal_url(tmp_path_factory):
    home = tmp_path_factory.mktemp("views-home")
    (home / "releases").mkdir()
    make_synthetic_release(home / "releases" / "demo")
    made = []

    def make(url):
        app, factory = make_portal(home, url)
        made.append(factory)
        return app

    with serve_app(make, f"{PREFIX}/health") as url:
        yield url
    made[0].close()


@pytest.fixture(scope="module")
def browser(chromium):
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield found
        found.close()


@pytest.fixture
def page(browser):
    context = browser.new_context(
        viewport={"width": 1300, "height": 900}, extra_http_headers={"Authorization": "Bearer token-of-anna"}
    )
    found = context.new_page()
    found.set_default_timeout(PATIENCE_MS)
    complaints = []
    found.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    found.on("pageerror", lambda e: complaints.append(str(e)))
    yield found
    context.close()
    assert complaints == []


@pytest.fixture
def portal(portal_url):
    return client.Portal(url=portal_url, token="token-of-anna")


def open_page(page, portal_url, path):
    """Open a page and return its name once it is known to programs."""
    page.goto(f"{portal_url}{PREFIX}/{path}")
    page.wait_for_function("window.name.startsWith('skydesk-view:')")
    return page.evaluate("window.name.slice('skydesk-view:'.length)")


def wait_for_image(page):
    page.wait_for_selector(".viewer[data-drawn][data-image]")


def objects_of(portal_url):
    """The brightest objects of the release, read through the page's own download."""
    adql = "SELECT TOP 40 objectId, coord_ra, coord_dec, r_psfFlux FROM demo.Object WHERE r_psfFlux > 0 ORDER BY r_psfFlux DESC"
    answer = httpx.get(
        f"{portal_url}{PREFIX}/download", params={"query": adql, "format": "csv"},
        headers={"Authorization": "Bearer token-of-anna"}, timeout=60,
    )  # fmt: skip
    return Table.read(answer.text, format="ascii.csv")


def centre_of(page):
    """Sky position under the middle of the map, from the readout."""
    box = page.locator(".map").bounding_box()
    page.mouse.move(box["x"] + 3, box["y"] + 3)
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    readout = page.locator(".readout")
    expect(readout).to_have_attribute("data-ra", re.compile(r"\d"), timeout=PATIENCE_MS)
    return float(readout.get_attribute("data-ra")), float(readout.get_attribute("data-dec"))


@pytest.mark.requirement("DMS-PRTL-REQ-0115")
def test_a_program_moves_stretches_and_marks_an_image_and_reads_the_selected_source(page, portal_url, portal):
    name = open_page(page, portal_url, "images?release=demo&kind=deep_coadd&src=Object")
    wait_for_image(page)
    view = portal.find_view("images")
    assert view.name == name
    rows = objects_of(portal_url)
    target = rows[0]

    view.show(target["coord_ra"], target["coord_dec"], radius_arcsec=15)
    wait_for_image(page)
    ra_deg, dec_deg = centre_of(page)
    scale = 3600 * np.cos(np.radians(dec_deg))
    assert np.hypot((ra_deg - target["coord_ra"]) * scale, (dec_deg - target["coord_dec"]) * 3600) < 0.5

    height_px = min(page.locator(".map").bounding_box()[side] for side in ("width", "height"))
    resolution = page.wait_for_function("new URLSearchParams(location.search).get('r')").json_value()
    assert float(resolution) == pytest.approx(2 * 15 / 0.2 / height_px, rel=0.02)

    view.stretch("log", -5, 250)
    expect(page.get_by_label("Stretch", exact=True)).to_have_value("log")
    assert re.search(r"[?&]s=log&.*lo=-5&hi=250", view.describe()["address"])
    view.colours("viridis")
    expect(page.get_by_label("Colours", exact=True)).to_have_value("viridis")
    page.evaluate("window.stays = true")
    for kind in STRETCHES:
        view.stretch(kind)
        expect(page.get_by_label("Stretch", exact=True)).to_have_value(kind)
    view.stretch("gamma", gamma=3)
    page.wait_for_function("new URLSearchParams(location.search).get('gam') === '3'")
    assert page.evaluate("window.stays"), "the page was loaded again"
    with pytest.raises(ValueError, match="no stretch"):
        view.stretch("magic")
    with pytest.raises(ValueError, match="gamma"):
        view.stretch("gamma", gamma=0)

    here = rows[np.hypot((rows["coord_ra"] - ra_deg) * scale, (rows["coord_dec"] - dec_deg) * 3600) < 10]
    assert view.add_catalog(rows, label="objectId") == len(rows)
    marks = page.locator("canvas.marks")
    expect(marks).to_have_attribute("data-drawn", re.compile(r"^[1-9]\d*$"))
    assert int(marks.get_attribute("data-drawn")) >= len(here) >= 1
    view.remove_catalog()
    expect(marks).to_have_attribute("data-drawn", "0")

    found = {}
    waiting = threading.Thread(target=lambda: found.update(rows=view.wait_selection(60)))
    waiting.start()
    page.locator(".map").press("Enter")
    expect(page.get_by_role("region", name="Selected source")).to_contain_text(str(target["objectId"]))
    while waiting.is_alive():
        page.wait_for_timeout(50)
    assert list(found["rows"]["objectId"]) == [target["objectId"]]
    assert found["rows"]["coord_ra"].unit == "deg"
    np.testing.assert_allclose(found["rows"]["r_psfFlux"], target["r_psfFlux"], rtol=1e-6)
    assert list(view.selection()["objectId"]) == [target["objectId"]]


def test_a_position_on_another_image_opens_that_image_in_the_same_view(page, portal_url, portal):
    name = open_page(page, portal_url, "images?release=demo&kind=deep_coadd")
    wait_for_image(page)
    view = portal.get_view(name)
    visit = page.evaluate("location.search")
    view.go("images", {"release": "demo", "kind": "visit_image", "visit": "0"})
    assert view.describe()["page"] == "images"
    far = {"ra_deg": 0.0, "dec_deg": 80.0}
    view.show(**far)
    expect(page.get_by_text("covers RA 0.00000")).to_be_visible(timeout=PATIENCE_MS)
    assert portal.get_view(name).describe()["address"] != visit


@pytest.mark.requirement("DMS-PRTL-REQ-0115")
def test_a_program_runs_a_query_in_the_page_and_gets_the_row_that_is_chosen(page, portal_url, portal):
    name = open_page(page, portal_url, "catalogs")
    adql = "SELECT TOP 5 objectId, coord_ra, coord_dec, r_psfFlux FROM demo.Object WHERE r_psfFlux > 0 ORDER BY r_psfFlux DESC"
    view = portal.open_query(adql)
    assert view.name == name
    expect(page.locator("tbody tr")).to_have_count(5, timeout=PATIENCE_MS)
    found = {}
    waiting = threading.Thread(target=lambda: found.update(rows=view.wait_selection(60)))
    waiting.start()
    page.locator("tbody tr").nth(2).click()
    expect(page.get_by_role("link", name=re.compile("Show row"))).to_be_visible(timeout=PATIENCE_MS)
    wanted = objects_of(portal_url)[2]
    while True:
        while waiting.is_alive():
            page.wait_for_timeout(50)
        if len(found["rows"]):
            break
        waiting = threading.Thread(target=lambda: found.update(rows=view.wait_selection(60)))
        waiting.start()
    assert list(found["rows"]["objectId"]) == [wanted["objectId"]]
    assert found["rows"]["r_psfFlux"].unit == "nJy"
    assert len(view.selection()) == 1
    light = portal.open_light_curve(wanted["objectId"], release="demo", view=view)
    assert light.describe()["page"] == "lightcurves"
    expect(page.get_by_role("heading", name=f"Object {wanted['objectId']}")).to_be_visible(
        timeout=PATIENCE_MS
    )
    with pytest.raises(client.ViewError, match="no image to draw on"):
        light.add_catalog(Table({"ra": [1.0], "dec": [2.0]}))


def test_other_people_wrong_tokens_and_closed_pages_get_nothing(page, portal_url, portal):
    name = open_page(page, portal_url, "catalogs")
    dora = client.Portal(url=portal_url, token="token-of-dora")
    assert [v.name for v in portal.list_views()] == [name]
    assert dora.list_views() == []
    for call in (
        lambda: dora.get_view(name),
        lambda: client.View(dora, name).go("jobs"),
        lambda: client.View(dora, name).selection(),
    ):
        with pytest.raises(client.ViewError, match="404"):
            call()
    with pytest.raises(client.ViewError, match="read:tap"):
        client.View(client.Portal(url=portal_url, token="token-without-queries"), name).selection()
    with pytest.raises(client.ViewError, match="exec:portal"):
        client.Portal(url=portal_url, token="token-without-portal").list_views()
    with pytest.raises(client.ViewError, match="401"):
        client.Portal(url=portal_url, token="forged").list_views()
    page.goto("about:blank")
    deadline = 200
    while portal.list_views() and (deadline := deadline - 1):
        page.wait_for_timeout(100)
    assert portal.list_views() == []
    with pytest.raises(client.ViewError, match="not opened within"):
        portal.open_query("SELECT 1 AS a FROM demo.Object", wait_s=0.2)


def test_a_link_of_the_client_opens_the_view_it_waits_for(page, portal_url, portal, capsys):
    found = {}
    adql = "SELECT TOP 3 objectId FROM demo.Object"
    waiting = threading.Thread(target=lambda: found.update(view=portal.open_query(adql, wait_s=120)))
    waiting.start()
    text = ""
    while "http" not in text:
        text += capsys.readouterr().out
        page.wait_for_timeout(50)
    page.goto(re.search(r"http\S+", text)[0])
    expect(page.locator("tbody tr")).to_have_count(3, timeout=PATIENCE_MS)
    while waiting.is_alive():
        page.wait_for_timeout(50)
    assert found["view"].name in page.evaluate("window.name")
