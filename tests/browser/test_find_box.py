"""The search box of every page, typed into."""

import re

import pytest
from playwright.sync_api import expect

from tests.support.pages import ANNA, Pages


@pytest.mark.parametrize("path", ["/jobs", "/catalogs?release=maps"])
def test_every_page_has_the_box(calm_page, pages: Pages, path):
    calm_page.goto(pages.url + path)
    box = calm_page.get_by_role("banner").get_by_role("searchbox")
    box.fill("object 987654321987")
    box.press("Enter")
    expect(calm_page.get_by_text("has the identifier")).to_be_visible()
    expect(calm_page.get_by_role("main").get_by_role("searchbox")).to_have_value("object 987654321987")


def test_one_meaning_opens_its_page_and_several_are_offered(calm_page, pages: Pages):
    images = pages.factory.create_tap_service()
    found = images.run_query(ANNA, "SELECT * FROM ivoa.ObsCore").table.to_pylist()
    visit = next(row for row in found if row["dataset_type"] == "visit_image")
    coadds = [row for row in found if row["lsst_tract"] is not None]
    calm_page.goto(f"{pages.url}/")
    box = calm_page.get_by_role("main").get_by_role("searchbox")
    box.fill(f"visit {visit['lsst_visit']}")
    box.press("Enter")
    expect(calm_page).to_have_url(re.compile("/images"))
    calm_page.wait_for_selector(".viewer[data-drawn][data-image]")
    expect(calm_page.get_by_label("Kind")).to_have_value("visit_image")
    calm_page.goto(f"{pages.url}/go?q=tract+{coadds[0]['lsst_tract']}")
    choices = calm_page.get_by_role("main").get_by_role("listitem")
    expect(choices).to_have_count(len({row["lsst_patch"] for row in coadds}))
    calm_page.get_by_text("What can be typed").click()
    expect(calm_page.get_by_text("IAU J033231.2-280600")).to_be_visible()


def test_what_was_typed_is_shown_and_never_run(calm_page, pages: Pages):
    calm_page.goto(f"{pages.url}/go?q=%3Cimg+src%3Dx+onerror%3Dalert(1)%3E")
    expect(calm_page.get_by_text("portal.name_resolver")).to_be_visible()
    assert calm_page.locator("main img").count() == 0
