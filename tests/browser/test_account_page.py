"""The Account page and the first page: who, how much, preferences, announcements, state of the services."""

import re

import pytest
from playwright.sync_api import expect

from skydesk_portal.models.identity import SCOPES
from tests.support.pages import ANNA, Pages, open_context


@pytest.fixture
def plain(pages: Pages):
    """Anna without preferences, before and after."""
    service = pages.factory.create_preference_service()
    usual = {"theme": "", "text_percent": 100, "release": "", "coordinates": "degrees"}
    service.change(ANNA, **usual)
    yield service
    service.change(ANNA, **usual)


@pytest.mark.requirement("DMS-PRTL-REQ-0117")
def test_the_account_shows_who_one_is_and_what_is_used(calm_page, pages, plain):
    (pages.home / "users/anna/home/ten.bin").write_bytes(b"x" * 10_000_000)
    pages.factory.create_files_service().note_change(ANNA)
    calm_page.goto(f"{pages.url}/")
    calm_page.get_by_role("link", name="anna").click()
    expect(calm_page.get_by_role("heading", name="Account")).to_be_visible()
    for scope in SCOPES:
        expect(calm_page.get_by_role("main")).to_contain_text(scope)
    for name in ("Home folder", "Own tables", "Jobs kept", "Results of jobs"):
        expect(calm_page.get_by_role("meter", name=name)).to_be_visible()
    expect(calm_page.get_by_role("row", name=re.compile("^default"))).to_contain_text("6,000")
    (pages.home / "users/anna/home/ten.bin").unlink()


@pytest.mark.requirement("DMS-PRTL-REQ-0118")
def test_preferences_hold_in_every_browser(calm_page, pages, plain, pages_browser):
    calm_page.goto(f"{pages.url}/account")
    calm_page.get_by_label("Theme").select_option("dark")
    calm_page.get_by_label("Size of text").select_option("150 %")
    calm_page.get_by_label("Positions in").select_option("sexagesimal")
    calm_page.get_by_label("Release to begin with").select_option("maps")
    calm_page.get_by_role("button", name="Save").click()
    expect(calm_page.get_by_text("Your preferences are saved")).to_be_visible()
    found = plain.find(ANNA)
    assert (found.theme, found.text_percent, found.coordinates, found.release) == (
        "dark",
        150,
        "sexagesimal",
        "maps",
    )
    context = open_context(pages_browser)
    fresh = context.new_page()
    fresh.goto(f"{pages.url}/")
    expect(fresh.locator("html")).to_have_attribute("data-theme", "dark")
    expect(fresh.get_by_role("main")).to_contain_text(re.compile(r"RA \d\d:\d\d:\d\d\.\d{3}, Dec -\d\d:\d\d"))
    assert float(
        fresh.locator("body").evaluate("e => parseFloat(getComputedStyle(e).fontSize)")
    ) == pytest.approx(22.5)
    fresh.get_by_role("button", name="Light / dark").click()
    expect(fresh.locator("html")).to_have_attribute("data-theme", "light")
    context.close()
    assert plain.find(ANNA).theme == "light"


def test_announcements_are_text_and_each_service_tells_its_state(calm_page, pages, plain):
    calm_page.goto(f"{pages.url}/")
    expect(calm_page.get_by_role("region", name="Announcements")).to_contain_text(
        "Maintenance on <b>Monday</b>"
    )
    services = calm_page.locator("ul.services li")
    expect(services).to_have_count(7)
    expect(services.filter(has_text="Catalogs")).to_contain_text("works")
    expect(services.filter(has_text="Workers")).to_contain_text("no worker runs, so jobs wait until one does")


@pytest.mark.requirement("DMS-PRTL-REQ-0126")
def test_a_service_that_is_down_is_named_and_the_rest_goes_on(calm_page, pages, plain):
    folder = pages.home / "users/anna/home"
    folder.rename(pages.home / "users/anna/away")
    folder.write_text("in the way")
    try:
        pages.factory.create_files_service().note_change(ANNA)
        calm_page.goto(f"{pages.url}/files")
        told = calm_page.get_by_role("alert").filter(has_text="the home folder /home/anna is a file")
        expect(told).to_be_visible()
        calm_page.goto(f"{pages.url}/catalogs?query=SELECT+TOP+3+objectId+FROM+maps.Object")
        expect(calm_page.get_by_text("1–3 of 3")).to_be_visible()
    finally:
        folder.unlink()
        (pages.home / "users/anna/away").rename(folder)
    calm_page.goto(f"{pages.url}/files")
    expect(calm_page.get_by_text("home", exact=True)).to_be_visible()
