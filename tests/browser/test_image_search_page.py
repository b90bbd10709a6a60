"""The image search finds what SQL finds, says what it does not understand, and opens images."""

import re

import duckdb
import pytest
from playwright.sync_api import expect

from skydesk_portal.exceptions import UsageError
from skydesk_portal.models.instants import parse_instant
from skydesk_portal.ui.image_query import ImageQuery, write_query
from tests.support.pages import ANNA, Pages


@pytest.fixture(scope="module")
def catalog(products_home):
    with duckdb.connect(str(products_home / "releases/maps/catalogs.duckdb"), read_only=True) as found:
        yield found


@pytest.fixture(scope="module")
def search(pages: Pages):
    """A function that runs a search and returns the identifiers of the images found."""
    tap = pages.factory.create_tap_service()

    def run(**conditions):
        table = tap.run_query(ANNA, write_query(ImageQuery("maps", **conditions), 1000), 1000).table
        return sorted(str(v) for v in table.column("dataset_id").to_pylist())

    return run


@pytest.mark.requirement("DMS-PRTL-REQ-0037")
def test_conditions_find_what_sql_finds(search, catalog):
    visit, detector, begin, seeing = catalog.sql(
        "SELECT lsst_visit, lsst_detector, t_min, s_resolution FROM \"ObsCore\" WHERE dataset_type = 'visit_image' ORDER BY t_min LIMIT 1"
    ).fetchall()[0]
    cases = [
        ({"visit": visit}, f"lsst_visit = {visit}"),
        (
            {"visit": visit, "detector": detector, "kind": "visit_image"},
            f"lsst_visit = {visit} AND lsst_detector = {detector} AND dataset_type = 'visit_image'",
        ),
        ({"band": "r", "kind": "deep_coadd"}, "lsst_band = 'r' AND dataset_type = 'deep_coadd'"),
        ({"end": f"{begin + 0.01}"}, f"t_min <= {begin + 0.01}"),
        ({"begin": f"{begin + 0.01}"}, f"t_max >= {begin + 0.01}"),
    ]
    if seeing is not None:
        cases.append(({"seeing_arcsec": seeing}, f"s_resolution <= {seeing}"))
    for conditions, sql in cases:
        wanted = sorted(
            row[0] for row in catalog.sql(f'SELECT dataset_id::VARCHAR FROM "ObsCore" WHERE {sql}').fetchall()
        )
        assert wanted, sql
        assert search(**conditions) == wanted, sql


def test_places_and_provenance_narrow_the_search(search, catalog):
    dataset, ra, dec = catalog.sql(
        "SELECT dataset_id::VARCHAR, s_ra, s_dec FROM \"ObsCore\" WHERE dataset_type = 'visit_image' LIMIT 1"
    ).fetchall()[0]
    assert dataset in search(position=f"{ra} {dec}")
    assert search(position="200 10") == []
    assert set(search(position=f"{ra} {dec}")) <= set(search(position=f"{ra} {dec}", radius_arcsec=600.0))
    rows = catalog.sql(
        'SELECT p.dataset_id::VARCHAR, o.lsst_visit FROM "Provenance" p JOIN "ObsCore" o ON p.input_id = o.dataset_id WHERE o.lsst_visit IS NOT NULL'
    ).fetchall()
    for visit in {visit for _, visit in rows}:
        assert search(input_visit=visit) == sorted({made for made, v in rows if v == visit})
    assert rows


def test_instants_are_read_in_both_scales():
    # TAI was 37 s ahead of UTC in 2026; MJD 61143 is 2026-04-13.
    assert parse_instant("61143.5") == 61143.5
    assert parse_instant("2026-04-13") == pytest.approx(61143 + 37 / 86400, abs=1e-9)
    assert parse_instant("2026-04-13 12:00") == pytest.approx(61143.5 + 37 / 86400, abs=1e-9)
    with pytest.raises(UsageError, match="is not a time"):
        parse_instant("yesterday")
    with pytest.raises(UsageError, match="ends before it begins"):
        write_query(ImageQuery("maps", begin="61144", end="61143"), 10)


def test_a_search_lists_images_that_open_and_its_address_restores_it(calm_page, pages, catalog):
    visit, n = catalog.sql(
        'SELECT lsst_visit, COUNT(*) FROM "ObsCore" WHERE lsst_visit IN (SELECT lsst_visit FROM "ObsCore" WHERE dataset_type = \'visit_image\') GROUP BY 1 LIMIT 1'
    ).fetchall()[0]
    page = calm_page
    page.goto(f"{pages.url}/imagesearch")
    page.get_by_label("Visit", exact=True).fill("not a number")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("alert").filter(has_text="is not a whole number")).to_be_visible()
    page.get_by_label("Visit", exact=True).fill(str(visit))
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_text(f"{n} images, ")).to_be_visible()
    expect(page).to_have_url(re.compile(f"visit={visit}"))
    page.goto(page.url)
    expect(page.get_by_text(f"{n} images, ")).to_be_visible()
    expect(page.get_by_label("Visit", exact=True)).to_have_value(str(visit))
    page.locator("tbody tr").filter(has_text="visit_image").first.click()
    page.get_by_role("link", name=re.compile(f"Open visit_image visit {visit}")).click()
    page.wait_for_selector(".viewer[data-drawn][data-image]")
    expect(page.get_by_label("Kind")).to_have_value("visit_image")
