"""Queries of the Catalogs page that are saved, shared, remembered, too long or too large; and archives outside."""

from __future__ import annotations

import hashlib
import io
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.io.votable.tree import VOTableFile
from astropy.table import Table
from astropy.wcs import WCS
from browser import test_portal_pages as portal_pages
from playwright.sync_api import expect

from skydesk_portal.models.tap import TapRequest
from skydesk_portal.uws.runner import JobRunner
from tests.support.pages import ANNA, open_context
from tests.support.portal import make_portal

browser, home, page = portal_pages.browser, portal_pages.home, portal_pages.page
QUERY = "SELECT objectId, coord_ra, coord_dec, r_psfFlux FROM demo.Object WHERE r_psfFlux > 1000"
CAP = 1000


STARS = Table(
    {
        "id": ["a", "b", "c"],
        "ra": [53.13, 53.14, 54.0],
        "dec": [-28.1, -28.11, -28.1],
        "mag": [18.5, 20.25, 12.0],
    },
    descriptions={"id": "Name", "ra": "Right ascension", "dec": "Declination", "mag": "Magnitude"},
    units={"ra": "deg", "dec": "deg", "mag": "mag"},
)


def votable(table: Table) -> bytes:
    document = VOTableFile.from_table(table)
    for field in document.get_first_table().fields:
        field.ucd = {"access_url": "meta.ref.url", "ra": "pos.eq.ra;meta.main"}.get(field.name)
    out = io.BytesIO()
    document.to_xml(out)
    return out.getvalue()


def write_image() -> bytes:
    wcs = WCS(naxis=2)
    wcs.wcs.crpix, wcs.wcs.crval, wcs.wcs.cdelt = (32, 32), (53.13, -28.1), (-1e-4, 1e-4)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    out = io.BytesIO()
    data = np.arange(64 * 64, dtype=np.float32).reshape(64, 64)
    fits.PrimaryHDU(data, wcs.to_header()).writeto(out)
    return out.getvalue()


@pytest.fixture(scope="module")
def archive():
    """An archive with a cone search over three stars and one image, which speaks the real protocols."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked = {k: v[-1] for k, v in parse_qs(urlsplit(self.path).query).items()}
            status, content = 200, b""
            match urlsplit(self.path).path:
                case "/cone":
                    center = SkyCoord(float(asked["RA"]), float(asked["DEC"]), unit="deg")
                    near = SkyCoord(STARS["ra"], STARS["dec"]).separation(center).deg <= float(asked["SR"])
                    content = votable(STARS[near])
                case "/sia":
                    assert asked["POS"].startswith("CIRCLE ")
                    own = f"http://{self.headers['host']}/image.fits"
                    rows = {
                        "title": ["mine", "stolen"],
                        "access_url": [own, "http://localhost:1/secret"],
                        "s_ra": [53.13] * 2,
                    }
                    content = votable(Table(rows))
                case "/image.fits":
                    content = write_image()
                case "/broken":
                    content = b"<html>Sorry</html>"
                case _:
                    status = 503
            self.send_response(status)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="module")
def portal(home, archive, tmp_path_factory, wait_for_server):
    kinds = (
        ("Stars", "cone", "cone"),
        ("Pictures", "sia2", "sia"),
        ("Odd", "cone", "broken"),
        ("Gone", "sia1", "none?x=1"),
    )
    archives = [{"name": name, "kind": kind, "url": f"{archive}/{path}"} for name, kind, path in kinds]
    settings = {"maximum_rows": CAP, "archives": archives}
    (home / "config.yaml").write_text(json.dumps({"portal": settings}))
    process, url = portal_pages.serve(home, tmp_path_factory.mktemp("log") / "portal.log", wait_for_server)
    yield url
    portal_pages.stop(process)


@pytest.fixture(scope="module")
def factory(home, portal):
    found = make_portal(home, "http://127.0.0.1:1")[1]
    yield found
    found.close()


def checksum(page) -> str:
    """Run what is written and return a checksum of its rows."""
    link = page.get_by_role("link", name="CSV", exact=True)
    page.get_by_role("button", name="Run", exact=True).click()
    expect(link).to_be_visible()
    answer = page.request.get(page.url.split("/portal/")[0] + link.get_attribute("href"))
    rows = sorted(answer.text().splitlines()[1:])
    assert len(rows) > 10
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


@pytest.mark.requirement("DMS-PRTL-REQ-0014")
def test_a_query_is_saved_both_ways_shared_and_opened_in_fresh_sessions(browser, page, portal, tmp_path):
    page.goto(f"{portal}/catalogs")
    page.get_by_label("Search in").select_option("circles around a list of positions")
    page.get_by_label("Positions").fill("53.13 -28.11\n53.14 -28.12 | 20")
    page.get_by_role("button", name="Write ADQL from the form").click()
    expect(page.get_by_text("2 positions of the list")).to_be_visible()
    original = checksum(page)
    page.get_by_role("button", name="Saved queries").click()
    page.get_by_role("button", name="Save the query", exact=True).click()
    expect(page.get_by_role("alert").filter(has_text="1 to 100 printable characters")).to_be_visible()
    page.get_by_label("Save the query as").fill("two places")
    page.get_by_label("Description").fill("Objects of two places")
    page.get_by_label("Description").press("Tab")
    page.get_by_role("button", name="Save the query", exact=True).click()
    expect(page.get_by_text("The query is saved as two places.")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_text("Save as a file").click()
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)
    assert file.name == "two_places.json"
    address = page.get_by_role("link", name="Address for those who may read it").get_attribute("href")
    page.get_by_label("Shared with users").fill("dora")
    page.get_by_label("Shared with users").press("Tab")
    page.get_by_role("button", name="Share", exact=True).click()
    expect(page.get_by_text("Now dora may open two places.")).to_be_visible()
    origin = page.url.split("/portal/")[0]
    for token, way in (
        ("token-of-anna", "list"),
        ("token-of-dora", "address"),
        ("token-without-files", "file"),
    ):
        context = open_context(browser, token)
        fresh = context.new_page()
        fresh.goto(origin + address if way == "address" else f"{portal}/catalogs")
        if way != "address":
            fresh.get_by_role("button", name="Saved queries").click()
        if way == "list":
            fresh.get_by_label("Saved query").select_option("two places")
            fresh.get_by_role("button", name="Open", exact=True).click()
        if way == "file":
            expect(fresh.get_by_label("Saved query").locator("option")).to_have_count(1)
            fresh.get_by_label("Open a query from a file").set_input_files(file)
        expect(fresh.get_by_text("two places is in the ADQL field: run it.")).to_be_visible()
        assert checksum(fresh) == original, way
        if way == "address":
            expect(fresh.get_by_label("Saved query").locator("option")).to_have_text(
                ["(choose)", "two places (of anna)"]
            )
            expect(fresh.get_by_role("button", name="Share", exact=True)).to_be_hidden()
        context.close()
    page.get_by_label("Shared with users").fill("")
    page.get_by_label("Shared with users").press("Tab")
    page.get_by_role("button", name="Share", exact=True).click()
    expect(page.get_by_text("Now nobody else may open two places.")).to_be_visible()
    context = open_context(browser, "token-of-dora")
    stranger = context.new_page()
    stranger.goto(origin + address)
    expect(stranger.get_by_role("alert").filter(has_text="There is no saved query")).to_be_visible()
    stranger.get_by_label("Open a query from a file").set_input_files(Path(__file__))
    expect(stranger.get_by_role("alert").filter(has_text="it is not JSON")).to_be_visible()
    context.close()


@pytest.mark.requirement("DMS-PRTL-REQ-0013")
@pytest.mark.requirement("DMS-PRTL-REQ-0008")
def test_the_history_holds_queries_of_pages_and_programs_and_opens_their_results(page, portal, factory):
    history = factory.create_history_service()
    history.forget(ANNA)
    # One as a notebook asks it, by TAP.
    tap = factory.create_tap_service()
    from_notebook = "SELECT TOP 3 objectId FROM demo.Object"
    b"".join(tap.answer(ANNA, TapRequest(from_notebook), timeout_s=60).chunks())
    for limit in (1000, 2000):
        page.goto(f"{portal}/catalogs")
        portal_pages.run_query(page, QUERY.replace("1000", str(limit)))
        expect(page.get_by_text(re.compile(r"^[\d,]+ rows in [\d.]+ s"))).to_be_visible()
    origin = page.url.split("/portal/")[0]
    told = page.request.get(f"{origin}/portal/app/sessions/anna").json()
    assert [q["query"] for q in told["queries"]] == [QUERY.replace("1000", "2000"), QUERY, from_notebook]
    assert [q["mode"] for q in told["queries"]] == ["portal", "portal", "sync"]
    assert any(view["page"] == "catalogs" for view in told["views"])
    refused = page.context.browser.new_context(extra_http_headers={"Authorization": "Bearer token-of-dora"})
    assert refused.request.get(f"{origin}/portal/app/sessions/anna").status == 403
    assert refused.request.get(f"{origin}/portal/app/sessions/dora").json()["queries"] != told["queries"]
    refused.close()
    rows = {q["query"]: q["rows"] for q in told["queries"]}
    page.goto(f"{portal}/jobs")
    page.get_by_role("link", name="Past queries").click()
    listed = page.locator("tbody tr")
    expect(listed).to_have_count(3)
    expect(listed.nth(2)).to_contain_text("at once")
    expect(listed.nth(1)).to_contain_text("Portal")
    listed.nth(1).click()
    jobs = factory.create_job_service()
    before = len(jobs.list_jobs(ANNA))
    page.get_by_role("button", name="Run again as a job").click()
    expect(page.get_by_text("It runs again as")).to_be_visible()
    run_one(factory)
    assert history.list_queries(ANNA, last=1)[0].rows == rows[QUERY]
    page.get_by_role("link", name="Open its result").click()
    expect(page.get_by_text(re.compile(rf"{rows[QUERY]:,} rows of .* UTC, kept"))).to_be_visible()
    expect(page.get_by_label("ADQL", exact=True)).to_have_value(QUERY)
    assert len(jobs.list_jobs(ANNA)) == before + 1
    assert len(history.list_queries(ANNA)) == 4


def run_one(factory) -> None:
    service = factory.create_job_service()
    assert JobRunner("test", service.store, service.results, factory.create_executors(), 30.0).run_one()


@pytest.mark.requirement("DMS-PRTL-REQ-0010")
def test_a_query_that_should_take_long_runs_in_the_background(page, portal, factory):
    pairs = "SELECT COUNT(*) AS n FROM demo.ForcedSource AS a, demo.ForcedSource AS b, demo.Visit AS c"
    page.goto(f"{portal}/catalogs")
    page.get_by_label("ADQL", exact=True).fill(pairs)
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.get_by_text(re.compile(r"expected to take about \d+ min, more than 60 s"))).to_be_visible()
    page.get_by_role("button", name="Run in the background").click()
    expect(page.get_by_text("is queued and runs in the background")).to_be_visible()
    # The page is free: a short query runs without a warning.
    portal_pages.run_query(page, QUERY)
    expect(page.get_by_text(re.compile(r"^[\d,]+ rows in [\d.]+ s"))).to_be_visible()
    expect(page.get_by_text("expected to take")).to_be_hidden()
    run_one(factory)
    expect(page.get_by_text(re.compile("Query .* has completed"))).to_be_visible()
    page.get_by_role("link", name="Open its result").click()
    page.get_by_role("button", name="Show result").click()
    expect(page.locator("tbody").last).to_contain_text(f"{40_000**2 * 20}")


@pytest.mark.requirement("DMS-PRTL-REQ-0012")
def test_limits_of_size_are_named_before_and_after(page, portal):
    page.goto(f"{portal}/catalogs")
    page.get_by_label("ADQL", exact=True).fill("SELECT objectId FROM demo.Object")
    page.get_by_role("button", name="Run", exact=True).click()
    refusal = page.get_by_role("alert").filter(
        has_text="more than the 1,000 rows that a result may have, so it was not run"
    )
    expect(refusal).to_be_visible()
    expect(page.get_by_role("link", name="CSV", exact=True)).to_be_hidden()
    page.get_by_label("ADQL", exact=True).fill("SELECT TOP 1000 objectId FROM demo.Object")
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.get_by_text(re.compile(r"^1,000 rows in [\d.]+ s\.$"))).to_be_visible()


@pytest.mark.requirement("DMS-PRTL-REQ-0007")
def test_archives_outside_are_asked_and_their_images_shown(page, portal):
    page.goto(f"{portal}/find?q=53.13+-28.1")
    expect(page.get_by_label("Position", exact=True)).to_have_value("53.13 -28.1")
    page.get_by_label("Radius (arcsec)").fill("120")
    page.get_by_label("Radius (arcsec)").press("Tab")
    ask = page.get_by_role("button", name="Ask the archive")
    ask.click()
    expect(page.get_by_text("2 rows of Stars.")).to_be_visible()
    rows = page.locator(".pagetable tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.nth(1)).to_contain_text("20.25")
    page.get_by_label("Archive").select_option("Pictures")
    ask.click()
    expect(page.get_by_text("2 rows of Pictures.")).to_be_visible()
    rows.filter(has_text="stolen").click()
    page.get_by_role("button", name="Open the image in the viewer").click()
    expect(
        page.get_by_role("alert").filter(has_text="Images of Pictures are not fetched from 'localhost:1'")
    ).to_be_visible()
    rows.filter(has_text="mine").click()
    page.get_by_role("button", name="Open the image in the viewer").click()
    page.get_by_role("link", name="open it").click()
    page.wait_for_selector(".viewer[data-drawn][data-image]")
    page.goto(f"{portal}/find")
    for name, words in (
        ("Odd", "Odd does not answer with a VOTable"),
        ("Gone", "Gone answers with the status 503"),
    ):
        page.get_by_label("Archive").select_option(name)
        page.get_by_label("Position", exact=True).fill("53.13 -28.1")
        page.get_by_label("Position", exact=True).press("Tab")
        ask.click()
        expect(page.get_by_role("alert").filter(has_text=words)).to_be_visible()
