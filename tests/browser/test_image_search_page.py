"""The image search finds what SQL finds, says what it does not understand, and opens images."""

import re

import duckdb
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales
from playwright.sync_api import Page, expect

from skydesk_core.release import Release
from skydesk_portal.exceptions import UsageError
from skydesk_portal.models.instants import parse_instant
from skydesk_portal.models.jobs import Phase
from skydesk_portal.ui.image_query import ImageQuery, write_query
from skydesk_portal.uws.runner import JobRunner
from tests.support.pages import ANNA, ANNA_TOKEN, Pages, open_context
from tests.support.portal import PEOPLE


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
        ({"visits": (visit,)}, f"lsst_visit = {visit}"),
        (
            {"visits": (visit,), "detector": detector, "kind": "visit_image"},
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
    page.get_by_label("Visit, or several").fill("not a number")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("alert").filter(has_text="is not a whole number")).to_be_visible()
    page.get_by_label("Visit, or several").fill(str(visit))
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_text(f"{n} images, ")).to_be_visible()
    expect(page).to_have_url(re.compile(f"visit={visit}"))
    page.goto(page.url)
    expect(page.get_by_text(f"{n} images, ")).to_be_visible()
    expect(page.get_by_label("Visit, or several")).to_have_value(str(visit))
    page.locator("tbody tr").filter(has_text="visit_image").first.click()
    page.get_by_role("link", name=re.compile(f"Open visit_image visit {visit}")).click()
    page.wait_for_selector(".viewer[data-drawn][data-image]")
    expect(page.get_by_label("Kind")).to_have_value("visit_image")


@pytest.mark.requirement("DMS-PRTL-REQ-0035")
def test_images_of_one_kind_of_some_visits_are_those_of_the_registry(search, products_home):
    with Release.open(products_home / "releases/maps").get_butler() as butler:
        refs = butler.query_datasets("difference_image", limit=None)
        visits = sorted({ref.dataId["visit"] for ref in refs})[:3]
        wanted = sorted(str(ref.id) for ref in refs if ref.dataId["visit"] in visits)
    assert len(visits) == 3
    assert search(visits=tuple(visits), kind="difference_image") == wanted
    assert search(visits=(*visits, 1), kind="difference_image") == wanted


@pytest.mark.requirement("DMS-PRTL-REQ-0038")
def test_position_date_band_and_a_condition_on_the_visits_hold_together(search, catalog):
    rows = catalog.sql(
        "SELECT o.dataset_id::VARCHAR, o.t_min, o.lsst_band, v.airmass, o.s_ra, o.s_dec, v.expTime"
        ' FROM "ObsCore" o JOIN "Visit" v ON o.lsst_visit = v.visit WHERE o.dataset_type = \'visit_image\' ORDER BY o.t_min'
    ).fetchall()
    (_, begin, band, airmass, ra, dec, exposure_s), (*_,) = rows[0], rows[-1]
    end = rows[1][1]
    wanted = catalog.sql(
        'SELECT o.dataset_id::VARCHAR FROM "ObsCore" o JOIN "Visit" v ON o.lsst_visit = v.visit'
        f" WHERE o.dataset_type = 'visit_image' AND o.t_max >= {begin!r} AND o.t_min <= {end!r} AND o.lsst_band = '{band}'"
        f" AND v.airmass <= {airmass!r} AND v.expTime >= {exposure_s!r}"
    ).fetchall()
    # Every image of the field holds its middle.
    conditions = {
        "position": f"{ra} {dec}",
        "begin": f"{begin!r}",
        "end": f"{end!r}",
        "band": band,
        "kind": "visit_image",
        "visit_conditions": f"airmass <= {airmass!r}; expTime >= {exposure_s!r}",
    }
    assert search(**conditions) == sorted(i for (i,) in wanted) != []
    assert search(**conditions | {"visit_conditions": f"airmass < {airmass!r}"}) == sorted(
        row[0] for row in rows if row[3] < airmass and row[1] <= end and row[2] == band
    )
    with pytest.raises(UsageError, match="is not a constraint"):
        search(visit_conditions="DROP TABLE Visit")


@pytest.mark.requirement("DMS-PRTL-REQ-0039")
def test_coadds_are_found_by_what_they_were_made_of(search, catalog):
    coadds = catalog.sql(
        'SELECT o.dataset_id::VARCHAR, o.lsst_band, o.t_exptime, o.t_min, o.s_ra, o.s_dec, count(p.input_id) FROM "ObsCore" o'
        " LEFT JOIN \"Provenance\" p ON o.dataset_id = p.dataset_id AND p.role = 'science' AND p.input_type = 'visit_image'"
        " WHERE o.dataset_type = 'deep_coadd' GROUP BY ALL"
    ).fetchall()
    assert coadds
    counts = sorted({row[6] for row in coadds})
    for least in (*counts, counts[-1] + 1):
        wanted = sorted(row[0] for row in coadds if row[6] >= least)
        assert search(kind="deep_coadd", inputs=least) == wanted, least
    for dataset, band, depth_s, first, ra, dec, number in coadds:
        found = search(
            kind="deep_coadd",
            inputs=number,
            band=band,
            position=f"{ra} {dec}",
            exposure_s=depth_s,
            end=f"{first!r}",
        )
        assert dataset in found
        assert dataset not in search(kind="deep_coadd", exposure_s=depth_s + 1)


@pytest.mark.requirement("DMS-PRTL-REQ-0040")
@pytest.mark.requirement("DMS-PRTL-REQ-0041")
def test_cutouts_of_what_was_found_are_centred_and_described(calm_page, pages, catalog):
    row = catalog.sql(
        "SELECT lsst_visit, lsst_band, t_min, t_max FROM \"ObsCore\" WHERE dataset_type = 'visit_image' ORDER BY t_min"
    ).fetchall()
    # The middle of a patch, which lies inside of every visit image too.
    ((ra, dec),) = catalog.sql(
        "SELECT s_ra, s_dec FROM \"ObsCore\" WHERE dataset_type = 'deep_coadd' LIMIT 1"
    ).fetchall()
    place = SkyCoord(ra, dec, unit="deg")
    jobs = pages.factory.create_job_service()
    page = calm_page
    for kind in ("visit_image", "deep_coadd"):
        page.goto(f"{pages.url}/imagesearch?kind={kind}")
        expect(page.get_by_label("Kind")).to_have_value(kind)
        page.get_by_label("Position", exact=True).fill(f"{place.ra.deg:.8f} {place.dec.deg:.8f}")
        if kind == "visit_image":
            page.get_by_label("From (UTC, MJD, JD or BJD)").fill(f"{row[0][2] - 0.01:.6f}")
            page.get_by_label("To (UTC, MJD, JD or BJD)").fill(f"{row[1][3] + 0.001:.6f}")
        page.get_by_label("Radius (arcsec), 0 contains it").press("Tab")
        page.get_by_role("button", name="Search", exact=True).click()
        expect(page.get_by_text(re.compile(r"^\d+ images, "))).to_be_visible()
        page.get_by_label("Side (arcsec)").fill("30")
        page.get_by_label("Side (arcsec)").press("Tab")
        page.get_by_role("button", name="Cut them out around the position").click()
        expect(page.get_by_text(re.compile(r"\d+ cut-outs are job"))).to_be_visible()
        job = jobs.list_jobs(ANNA)[0]
        runner = JobRunner("test", jobs.store, jobs.results, pages.factory.create_executors(), 30.0)
        assert runner.run_one()
        done = jobs.get_job(ANNA, job.id)
        assert done.phase is Phase.COMPLETED, done.error
        asked = [value for name, value in job.parameters if name == "ID"]
        if kind == "visit_image":
            wanted = catalog.sql(
                "SELECT count(*) FROM \"ObsCore\" WHERE dataset_type = 'visit_image'"
                f" AND t_max >= {row[0][2] - 0.01} AND t_min <= {row[1][3] + 0.001}"
            ).fetchall()[0][0]
            assert len(asked) == wanted == 2
        files = [
            jobs.result_path(ANNA, job.id, result.name)[0]
            for result in done.results
            if "warning" not in result.name
        ]
        assert len(files) == len(asked)
        for path in files:
            with fits.open(path) as hdus:
                hdu = next(h for h in hdus if h.data is not None and h.data.ndim == 2)
                x, y = WCS(hdu.header).world_to_pixel(place)
                height, width = hdu.data.shape
                assert abs(x - (width - 1) / 2) <= 1, kind
                assert abs(y - (height - 1) / 2) <= 1, kind
                side = proj_plane_pixel_scales(WCS(hdu.header).celestial)[0] * 3600
                assert abs(width * side - 30) <= 2 * side
                words = " ".join(str(card) for h in hdus for card in h.header.cards)
                assert any(dataset.rpartition("id=")[2] in words for dataset in asked), kind
                assert ("VISIT" if kind == "visit_image" else "TRACT") in words.upper()


def check_options(page: Page, label: str, wanted: set[str]) -> None:
    options = page.get_by_label(label, exact=True).locator("option:not(:empty)")
    expect(options).to_have_count(len(wanted))
    assert set(options.all_inner_texts()) == wanted


@pytest.mark.requirement("DMS-PRTL-REQ-0002")
def test_two_people_find_each_table_and_image_collection_that_they_may_read(pages: Pages, pages_browser):
    tables, tap = pages.factory.create_table_service(), pages.factory.create_tap_service()
    own = {t.name for t in tables.list_tables(ANNA)}
    for name in ("seen_by_both", "seen_by_me"):
        if name not in own:
            tables.create_table(ANNA, name, tables.read_content("a.csv", b"id,ra,dec\n1,53.1,-28.1\n"))
    tables.share_table(ANNA, "seen_by_both", (), ("g_team",))
    seen: dict[str, set[str]] = {}
    for token in (ANNA_TOKEN, "token-of-dora"):
        who, context = PEOPLE[token], open_context(pages_browser, token)
        page = context.new_page()
        names = tap.run_query(who, "SELECT table_name FROM tap_schema.tables").table
        seen[who.name] = set(names.column(0).to_pylist())
        page.goto(f"{pages.url}/catalogs")
        page.get_by_role("button", name="Tables and columns").click()
        check_options(page, "Use the table", seen[who.name])
        images = tap.run_query(who, "SELECT DISTINCT obs_collection, dataset_type FROM ivoa.ObsCore").table
        kinds: dict[str, set[str]] = {}
        for row in images.to_pylist():
            kinds.setdefault(row["obs_collection"], {"all"}).add(row["dataset_type"])
        page.goto(f"{pages.url}/imagesearch")
        check_options(page, "Release", set(kinds))
        for release, wanted in kinds.items():
            page.get_by_label("Release", exact=True).select_option(release)
            check_options(page, "Kind", wanted)
        context.close()
    # Other tests share tables of the same person.
    assert seen["anna"] - seen["dora"] >= {"user_anna.seen_by_me"}
    assert "user_anna.seen_by_both" in seen["anna"] & seen["dora"]
