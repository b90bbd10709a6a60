"""Moving objects of the tiny demo in a browser: from the search box to light curve, phase curve, stamps and tracks."""

import re

import duckdb
import numpy as np
import pytest
from browser.test_portal_pages import browser, page, serve, stop
from playwright.sync_api import Page, expect

from skydesk_core.release import Release

__all__ = ["browser", "page"]


@pytest.fixture(scope="module")
def moving_home(demo_home, tmp_path_factory):
    folder = tmp_path_factory.mktemp("moving-pages")
    (folder / "releases").symlink_to(demo_home / "releases", target_is_directory=True)
    return folder


@pytest.fixture(scope="module")
def moving_portal(moving_home, wait_for_server):
    process, url = serve(moving_home, moving_home / "portal.log", wait_for_server)
    yield url
    stop(process)


@pytest.fixture(scope="module")
def body(moving_home):
    """Identifier, name, and a visit image with the position of its detection there."""
    with duckdb.connect(str(moving_home / "releases/demo/catalogs.duckdb"), read_only=True) as catalog:
        return catalog.execute(
            "SELECT s.ssObjectId, s.designation, o.dataset_id, d.ra, d.dec FROM SSSource s "
            "JOIN DiaSource d USING (diaSourceId) JOIN ObsCore o ON o.lsst_visit = d.visit "
            "AND o.lsst_detector = d.detector AND o.dataset_type = 'visit_image' ORDER BY s.ssObjectId, d.visit LIMIT 1"
        ).fetchone()


def open_curve(page: Page, url: str, fields: str) -> None:
    page.goto(f"{url}/lightcurves?release=demo&{fields}")
    expect(page.get_by_text("Fitted phase curves")).to_be_visible()
    expect(page.locator(".bk-Figure")).to_have_count(2)


@pytest.mark.requirement("DMS-PRTL-REQ-0030")
def test_the_search_box_leads_to_the_light_curve_and_phase_curve(page, moving_portal, body):
    number, name = body[:2]
    page.goto(f"{moving_portal}/find?q={name}")
    page.get_by_role("link", name=re.compile(f"Moving object {name}")).first.click()
    page.wait_for_url(re.compile(f"lightcurves.*ssobject={number}"))
    expect(page.get_by_role("heading", name=name)).to_be_visible()
    expect(page.get_by_role("row", name=re.compile(r"^r .*kept fixed"))).to_be_visible()
    # The table below has the same points.
    expect(page.get_by_role("columnheader", name=re.compile("reducedMag")).first).to_be_attached()


@pytest.mark.requirement("DMS-PRTL-REQ-0103")
def test_stamps_follow_the_body_and_the_address_restores_them(page, moving_portal, body):
    open_curve(page, moving_portal, f"ssobject={body[0]}&from=60000&to=62000")
    stamps = page.locator("[data-stamps=strip] img")
    expect(stamps).to_have_count(6)
    places = {
        re.search(r"ra=([\d.]+)&dec=(-?[\d.]+)", stamps.nth(n).get_attribute("src")).groups()
        for n in range(6)
    }
    assert len(places) == 6
    stamps.first.scroll_into_view_if_needed()
    expect(stamps.first).to_have_js_property("complete", True)
    assert stamps.first.evaluate("(i) => i.naturalWidth") > 100
    expect(page.get_by_label("Axis")).to_have_value("AB magnitude")


@pytest.mark.requirement("DMS-PRTL-REQ-0099")
def test_the_track_over_an_image_marks_the_detection(page, moving_portal, moving_home, body):
    number, name, dataset, ra, dec = body
    with Release.open(moving_home / "releases/demo").get_butler() as butler:
        image = butler.get(butler.get_dataset(dataset))
    sky = image.sky_projection.as_astropy(image.bbox)
    x, y = sky.world_to_pixel_values(np.radians(ra), np.radians(dec))
    page.goto(f"{moving_portal}/images?release=demo&id={dataset}&moving={number}")
    pane = page.locator(".pane[data-orbits]")
    expect(pane).to_have_attribute("data-orbits", re.compile(name))
    at = re.search(rf"{name}:([\d.-]+),([\d.-]+)", pane.get_attribute("data-orbits"))
    # 0.2 arcsec a pixel: one arcsecond is five.
    assert np.hypot(float(at[1]) - x, float(at[2]) - y) < 5
    colours = pane.locator("canvas.overlay").evaluate(
        "(c) => { const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; let n = 0;"
        "for (let i = 0; i < d.length; i += 4) if (d[i] > 200 && d[i + 1] > 170 && d[i + 2] < 150 && d[i + 3] > 200) n++; return n; }"
    )
    assert colours > 200
    page.get_by_role("button", name="Overlays").click()
    tick = page.get_by_label("Known moving objects", exact=True)
    expect(tick).to_be_checked()
    expect(page.get_by_role("link", name=name)).to_have_attribute("href", re.compile(f"ssobject={number}"))
    tick.uncheck()
    expect(page.locator(".pane[data-orbits]")).to_have_count(0)
    assert "moving=" not in page.url
    tick.check()
    expect(page.locator(".pane[data-orbits]")).to_have_count(1)
    page.wait_for_url(re.compile("moving=all"))
