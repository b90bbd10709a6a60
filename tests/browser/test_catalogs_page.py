"""The Catalogs page in a browser: whole results, linked views, addresses that restore them, sentences for bad input."""

from __future__ import annotations

import csv
import html
import io
import re

import astropy.units as u
import duckdb
import numpy as np
import pytest
import shapely
from astropy.coordinates import EarthLocation, SkyCoord
from astropy.time import Time, TimeDelta
from browser import test_portal_pages as pages
from mocpy import MOC
from playwright.sync_api import Page, expect

from skydesk_portal.exceptions import PortalError
from skydesk_portal.ui.query_panel import QueryPanel
from skydesk_portal.ui.services import create_services
from skydesk_portal.ui.shell import PageRequest
from tests.support import pages as pages_people
from tests.support.portal import make_portal

browser, home, page, portal = pages.browser, pages.home, pages.page, pages.portal
QUERY = "SELECT objectId, coord_ra, coord_dec, g_psfFlux, r_psfFlux, r_psfFluxErr FROM demo.Object"


@pytest.fixture(scope="module")
def frame(home):
    """The rows of `QUERY` straight from the release."""
    with duckdb.connect(str(home / "releases/demo/catalogs.duckdb"), read_only=True) as catalog:
        return catalog.sql(QUERY.replace("demo.", "")).df()


def run(page: Page, portal: str, adql: str) -> None:
    page.goto(f"{portal}/catalogs")
    pages.run_query(page, adql)


def figure(page: Page, number: int):
    found = page.locator(".bk-Figure").nth(number)
    found.scroll_into_view_if_needed()
    # The frame is known once the figure has been drawn.
    expect(found.locator("canvas").first).to_be_visible()
    return found


def write(page: Page, label: str, text: str) -> None:
    field = page.get_by_label(label, exact=True)
    field.fill(text)
    field.press("Enter")


def chosen(page: Page, number: int, total: int):
    return expect(page.get_by_text(f"{number:,} of {total:,} rows are chosen"))


@pytest.mark.requirement("DMS-PRTL-REQ-0050")
@pytest.mark.requirement("DMS-PRTL-REQ-0047")
@pytest.mark.requirement("DMS-PRTL-REQ-0056")
def test_conditions_columns_and_boxes_choose_the_same_rows_in_all_views(page, portal, frame):
    run(page, portal, QUERY)
    expect(page.get_by_text("1–50 of 2,000")).to_be_visible()
    write(page, "Filter r_psfFlux", "> 200")
    bright = frame[frame.r_psfFlux > 200]
    expect(page.get_by_text(f"1–50 of {len(bright):,}")).to_be_visible()
    expect(
        page.get_by_text(re.compile(rf"r_psfFlux: 2,000 rows in 60 bins, {len(bright):,} chosen"))
    ).to_be_visible()
    page.get_by_role("button", name="Conditions, columns, statistics").click()
    page.get_by_label("New column").fill("ratio")
    page.get_by_label("Its expression (ADQL)").fill("g_psfFlux / r_psfFlux")
    page.get_by_role("button", name="Compute column").click()
    expect(page.locator(".pagetable thead th").filter(has_text="ratio")).to_be_visible()
    write(page, "Condition for rows (ADQL)", "ratio < 0.5 AND nothing > 1")
    expect(
        page.get_by_role("alert").filter(has_text="unknown column `nothing` (line 1, column 17)")
    ).to_be_visible()
    write(page, "Condition for rows (ADQL)", "ratio < 0.5")
    red = bright[bright.g_psfFlux / bright.r_psfFlux < 0.5]
    assert 0 < len(red) < len(bright)
    chosen(page, len(red), 2000).to_be_visible()
    # A box by numbers in the plot of positions.
    page.get_by_role("button", name=re.compile("^More: coding")).first.click()
    middle = float(frame.coord_ra.median())
    write(page, "Choose by numbers in plot 1", f"..{middle!r}; ..")
    west = red[red.coord_ra <= middle]
    chosen(page, len(west), 2000).to_be_visible()
    page.get_by_label("Table shows").select_option("chosen rows only")
    expect(page.locator(".pager").get_by_text(f"of {len(west):,}")).to_be_visible()
    link = page.get_by_role("link", name="CSV", exact=True)
    expect(link).to_have_attribute("href", re.compile("subset"))
    answer = page.request.get(page.url.split("/portal/")[0] + link.get_attribute("href"))
    rows = list(csv.DictReader(io.StringIO(answer.text())))
    assert [int(row["objectId"]) for row in rows] == west.objectId.tolist()
    np.testing.assert_allclose([float(r["ratio"]) for r in rows], west.g_psfFlux / west.r_psfFlux, rtol=1e-5)
    page.locator(".pagetable tbody tr").first.click()
    sheet = page.get_by_role("region", name=re.compile("^Row "))
    expect(sheet).to_contain_text("±")
    expect(sheet).to_contain_text("nJy")


@pytest.mark.requirement("DMS-PRTL-REQ-0107")
@pytest.mark.requirement("DMS-PRTL-REQ-0106")
def test_a_lasso_chooses_its_rows_and_the_address_restores_it(page, portal, frame):
    run(page, portal, QUERY)
    expect(page.get_by_text("All 2,000 rows are chosen")).to_be_visible()
    plane = figure(page, 0)
    plane.get_by_title("Lasso Select").click()
    box = plane.bounding_box()
    corners = [(0.30, 0.25), (0.62, 0.30), (0.70, 0.62), (0.45, 0.45), (0.28, 0.70)]
    at = [(box["x"] + fx * box["width"], box["y"] + fy * box["height"]) for fx, fy in corners]
    page.mouse.move(*at[0])
    page.mouse.down()
    count = page.get_by_text(re.compile(r"^(All )?[\d,]+ (of 2,000 )?rows are chosen"))
    for x, y in [*at[1:], at[0]]:
        before = count.inner_text()
        page.mouse.move(x, y, steps=3)
        # All views follow while the lasso is still being drawn.
        expect(count).not_to_have_text(before)
    page.mouse.up()
    outline = page.wait_for_function("""() => { for (const d of Bokeh.documents) for (const m of d._all_models.values())
      if (m.type === 'ColumnDataSource' && m.data.x && m.data.x.length === 1 && m.data.x[0].length > 4)
        return [Array.from(m.data.x[0]), Array.from(m.data.y[0])]; }""").json_value()
    shape = shapely.Polygon(list(zip(*outline, strict=True)))
    inside = shapely.contains_xy(shape, frame.coord_ra, frame.coord_dec)
    number = int(inside.sum())
    assert 0 < number < 2000
    chosen(page, number, 2000).to_be_visible()
    expect(page.get_by_text(re.compile(rf"HEALPix cells.*{number:,} of them chosen"))).to_be_visible()
    address = page.url
    assert len(address) <= 2000
    page.goto("about:blank")
    page.goto(address)
    chosen(page, number, 2000).to_be_visible()
    page.get_by_label("Rows are chosen").select_option("outside of them")
    chosen(page, 2000 - number, 2000).to_be_visible()
    page.get_by_role("button", name="Choose all rows again").click()
    expect(page.get_by_text("All 2,000 rows are chosen")).to_be_visible()


@pytest.mark.requirement("DMS-PRTL-REQ-0053")
@pytest.mark.requirement("DMS-PRTL-REQ-0108")
def test_subsets_are_combined_and_saved_as_a_table(page, portal, frame):
    run(page, portal, QUERY)
    expect(page.get_by_text("All 2,000 rows are chosen")).to_be_visible()
    page.get_by_role("button", name="Subsets: keep, combine, save").click()
    page.get_by_role("button", name=re.compile("^More: coding")).nth(1).click()

    def keep(name: str, interval: str) -> None:
        write(page, "Choose by numbers in plot 2", interval)
        expect(page.get_by_text(re.compile(r"^[\d,]+ of 2,000 rows are chosen"))).to_be_visible()
        page.get_by_label("Name of the subset").fill(name)
        page.get_by_role("button", name="Keep the chosen rows").click()
        expect(page.get_by_text(f"rows are kept as {name}.")).to_be_visible()

    keep("bright", "1000..")
    keep("middle", "500..2000")
    page.get_by_role("button", name="Choose all rows again").click()
    write(page, "Combine subsets", "bright and not middle")
    page.get_by_role("button", name="Choose the combination").click()
    number = int((frame.r_psfFlux > 2000).sum())
    chosen(page, number, 2000).to_be_visible()
    page.get_by_label("Name of the table").fill("brightest")
    page.get_by_role("button", name="Save the chosen rows as my table").click()
    expect(page.get_by_text(f"{number:,} rows are your table user_anna.brightest")).to_be_visible()
    pages.run_query(page, "SELECT COUNT(*) AS n, MIN(r_psfFlux) AS least FROM user_anna.brightest")
    expect(page.locator(".pagetable tbody tr td").nth(1)).to_have_text(f"{number}")


@pytest.mark.requirement("DMS-PRTL-REQ-0018")
def test_the_editor_completes_validates_and_estimates(page, portal, frame):
    page.goto(f"{portal}/catalogs")
    editor = page.get_by_label("ADQL", exact=True)
    editor.fill("SELECT objectId, r_psf FROM demo.Object WHERE r_psfFlux > 500")
    expect(page.get_by_text(re.compile("line 1, column 18: unknown column `r_psf`"))).to_be_visible()
    editor.evaluate("e => e.setSelectionRange(22, 22)")
    editor.press("Control+Space")
    expect(page.get_by_role("listbox", name="Suggestions")).to_contain_text("r_psfFlux")
    editor.press("Enter")
    expect(editor).to_have_value("SELECT objectId, r_psfFlux FROM demo.Object WHERE r_psfFlux > 500")
    expect(page.get_by_text("This query can run.")).to_be_visible()
    page.get_by_role("button", name="Estimate").click()
    number = int((frame.r_psfFlux > 500).sum())
    expect(page.get_by_text(f"This query gives {number:,} rows")).to_be_visible()
    page.get_by_role("button", name="Tables and columns").click()
    page.get_by_label("Search tables and columns").fill("declination forcedsource")
    found = page.locator("details[open]").first
    expect(found).to_contain_text("demo.ForcedSource")
    expect(found).to_contain_text("coord_dec")


def test_bad_input_gets_a_sentence_and_the_page_goes_on(page, portal):
    run(page, portal, "SELECT objectId, coord_ra FROM demo.Object WHERE coord_ra > 400")
    expect(page.get_by_text("No row fulfils the query")).to_be_visible()
    expect(page.locator(".pager")).to_contain_text("No rows")
    pages.run_query(page, "SELECT table_name, description FROM tap_schema.tables")
    expect(page.locator(".pagetable tbody")).to_contain_text("demo.Object")
    expect(page.get_by_role("button", name="Add histogram")).to_be_hidden()
    pages.run_query(page, "SELECT x, SQRT(-1 - ABS(x)) AS nowhere FROM demo.Object")
    expect(page.get_by_role("alert").filter(has_text="No row has a value in nowhere")).to_be_visible()
    expect(page.get_by_role("button", name="Add sky map")).to_be_disabled()
    triple = "demo.ForcedSource AS a, demo.ForcedSource AS b, demo.ForcedSource AS c"
    pages.run_query(page, f"SELECT COUNT(*) AS n FROM {triple} WHERE a.psfFlux + b.psfFlux > c.psfFlux")
    page.get_by_role("button", name="Run here all the same").click()
    page.get_by_role("button", name="Abort").click()
    expect(page.get_by_role("alert").filter(has_text="The query was aborted")).to_be_visible()
    expect(page.locator(".pagetable tbody tr")).to_have_count(50)


# Where on the sky, when, and on which images


@pytest.fixture(scope="module")
def services(home):
    """The services on the same home folder, in this process."""
    factory = make_portal(home, "http://127.0.0.1:1")[1]
    yield create_services(factory)
    factory.close()


def write_form(page: Page) -> None:
    page.get_by_role("button", name="Write ADQL from the form").click()


def result_rows(page: Page) -> list[dict[str, str]]:
    """Run what is written and return the whole result."""
    link = page.get_by_role("link", name="CSV", exact=True)
    before = link.get_attribute("href") if link.is_visible() else ""
    page.get_by_role("button", name="Run", exact=True).click()
    expect(link).to_be_visible()
    expect(link).not_to_have_attribute("href", before)
    answer = page.request.get(page.url.split("/portal/")[0] + link.get_attribute("href"))
    return list(csv.DictReader(io.StringIO(answer.text())))


@pytest.mark.requirement("DMS-PRTL-REQ-0020")
@pytest.mark.requirement("DMS-PRTL-REQ-0021")
def test_a_list_of_positions_and_one_of_identifiers_find_what_astropy_matches(page, portal, frame, tmp_path):
    rng = np.random.default_rng(4)
    some = frame.iloc[rng.choice(len(frame), 50, replace=False)]
    places = SkyCoord(
        some.coord_ra + rng.normal(0, 3e-4, 50), some.coord_dec + rng.normal(0, 3e-4, 50), unit="deg"
    )
    radii = np.where(np.arange(50) % 3 == 0, 5.0, 2.5)
    notations = (
        lambda c: f"{c.ra.deg:.8f} {c.dec.deg:.8f}",
        lambda c: c.to_string("hmsdms", precision=7),
        lambda c: f"gal {c.galactic.l.deg:.8f} {c.galactic.b.deg:.8f}",
    )
    lines = [
        notations[n % 3](place) + (f" | {radius}" if radius == 5 else "")
        for n, (place, radius) in enumerate(zip(places, radii, strict=True))
    ]
    (tmp_path / "list.txt").write_text("# fifty\n" + "\n".join(lines))
    objects = SkyCoord(frame.coord_ra, frame.coord_dec, unit="deg")
    mine, theirs, apart, _ = objects.search_around_sky(places, 5 * u.arcsec)
    close = apart.arcsec <= radii[mine]
    expected = {(int(m) + 1, int(frame.objectId[t])) for m, t in zip(mine[close], theirs[close], strict=True)}
    assert len(expected) > 50
    page.goto(f"{portal}/catalogs")
    page.get_by_label("Search in").select_option("circles around a list of positions")
    page.get_by_label("Radius (arcsec)").fill("2.5")
    page.get_by_label("… or a file with them").set_input_files(tmp_path / "list.txt")
    write_form(page)
    expect(page.get_by_text("50 positions of the list")).to_be_visible()
    rows = result_rows(page)
    assert {(int(r["input_row"]), int(r["objectId"])) for r in rows} == expected
    assert next(r["input_text"] for r in rows if r["input_row"] == "4") == lines[3].partition(" |")[0]
    for row in rows:
        place, other = places[int(row["input_row"]) - 1], SkyCoord(float(row["coord_ra"]), float(row["coord_dec"]), unit="deg")  # fmt: skip
        assert float(row["separation_arcsec"]) == pytest.approx(place.separation(other).arcsec, abs=1e-4)
    # The nearest of each entry that is a position is the object it was made of, or one that is nearer still.
    nearest, _, _ = places.match_to_catalog_sky(objects)
    for entry, index in enumerate(nearest, 1):
        of_entry = [r for r in rows if int(r["input_row"]) == entry]
        if of_entry:
            best = min(of_entry, key=lambda r: float(r["separation_arcsec"]))
            assert int(best["objectId"]) == int(frame.objectId[index])
    # The same page, now with identifiers.
    page.goto(f"{portal}/catalogs")
    page.get_by_label("Search in").select_option("circles around a list of positions")
    page.get_by_label("Radius (arcsec)").fill("0.5")
    page.get_by_label("Positions").fill("\n".join(str(i) for i in some.objectId))
    write_form(page)
    expect(page.get_by_text("50 positions of the list")).to_be_visible()
    rows = result_rows(page)
    own = SkyCoord(some.coord_ra, some.coord_dec, unit="deg")
    mine, theirs, _, _ = objects.search_around_sky(own, 0.5 * u.arcsec)
    assert {(int(r["input_text"]), int(r["objectId"])) for r in rows} == {
        (int(some.objectId.iloc[m]), int(frame.objectId[t])) for m, t in zip(mine, theirs, strict=True)
    }
    page.get_by_label("Positions").fill("53.1 -28.1\nnowhere at all")
    write_form(page)
    expect(
        page.get_by_role("alert").filter(has_text="entry 2: 'nowhere at all' is no position")
    ).to_be_visible()


def test_a_coverage_map_of_any_origin_and_size_restricts_the_rows(page, portal, home, frame, tmp_path):
    cone = MOC.from_cone(53.13 * u.deg, -28.11 * u.deg, radius=0.02 * u.deg, max_depth=13)
    # A map of thousands of cells, too many to be written into the query.
    rng = np.random.default_rng(1)
    near = np.column_stack([rng.normal(53.13, 0.03, 4000), rng.normal(-28.11, 0.03, 4000)])
    dust = MOC.from_lonlat(near[:, 0] * u.deg, near[:, 1] * u.deg, max_norder=17)
    assert len(dust.to_depth29_ranges) > 2000
    dust.save(str(tmp_path / "dust.fits"), format="fits")
    inside = {n: m.contains_lonlat(frame.coord_ra.to_numpy() * u.deg, frame.coord_dec.to_numpy() * u.deg) for n, m in (("cone", cone), ("dust", dust))}  # fmt: skip
    assert all(0 < found.sum() < len(frame) for found in inside.values())
    page.goto(f"{portal}/catalogs")
    page.get_by_label("Search in").select_option("a coverage map (MOC)")
    write_form(page)
    expect(page.get_by_role("alert").filter(has_text="choose a coverage map")).to_be_visible()
    page.get_by_label("… or its cells as text").fill(cone.to_string())
    write_form(page)
    editor = page.get_by_label("ADQL", exact=True)
    expect(editor).to_have_value(re.compile(r"MOC\('[\d/ -]+'\)\) = 1"))
    expect(page.get_by_text("The map covers")).to_be_visible()
    rows = result_rows(page)
    assert {int(r["objectId"]) for r in rows} == set(frame.objectId[inside["cone"]])
    page.get_by_label("… or a file with a map").set_input_files(tmp_path / "dust.fits")
    expect(page.get_by_label("… or its cells as text")).to_have_value("")
    write_form(page)
    expect(editor).to_have_value(re.compile(r"TAP_UPLOAD\.coverage WHERE norder = \d+"))
    rows = result_rows(page)
    assert {int(r["objectId"]) for r in rows} == set(frame.objectId[inside["dust"]])
    # The survey's own map after the file; the query that is read back fills the form.
    page.get_by_label("Coverage map of the release").select_option("whole survey")
    write_form(page)
    expect(page.get_by_text("This query can run.")).to_be_visible()
    survey = MOC.load(str(home / "releases/demo/moc/survey.fits"), format="fits")
    seen = survey.contains_lonlat(frame.coord_ra.to_numpy() * u.deg, frame.coord_dec.to_numpy() * u.deg)
    assert {int(r["objectId"]) for r in result_rows(page)} == set(frame.objectId[seen])
    editor.fill(
        "SELECT objectId FROM demo.Object WHERE CONTAINS(POINT('ICRS', coord_ra, coord_dec), MOC('5/1-2 7')) = 1"
    )
    page.get_by_role("button", name="Fill the form from ADQL").click()
    expect(page.get_by_label("… or its cells as text")).to_have_value("5/1-2 7")


@pytest.mark.requirement("DMS-PRTL-REQ-0019")
def test_one_interval_in_every_scale_finds_the_visits_that_sql_finds(page, portal, home):
    with duckdb.connect(str(home / "releases/demo/catalogs.duckdb"), read_only=True) as catalog:
        visits = catalog.sql('SELECT visit, expMidptMJD FROM "Visit" ORDER BY expMidptMJD').fetchall()
    # Both ends are midpoints of visits, which belong to the interval.
    inside = {visit for visit, _ in visits[4:13]}
    ends = Time([visits[4][1], visits[12][1]], format="mjd", scale="tai")
    target = SkyCoord(53.13, -28.1, unit="deg")
    ground = EarthLocation.from_geocentric(0 * u.m, 0 * u.m, 0 * u.m)
    there = Time(ends, location=ground)
    late = there.light_travel_time(target, ephemeris="builtin")
    # An end of a microsecond more, for what is typed has no more digits than these.
    step = TimeDelta(np.array([-1e-4, 1e-4]), format="sec")
    wide = ends + step
    barycentric = there.tdb + late + step
    typed = {
        "UT": [t.utc.isot[:19] + f".{round(t.utc.datetime.microsecond):06d}" for t in wide],
        "MJD": [f"{t.mjd:.10f}" for t in wide],
        "JD": [f"JD {t.utc.to_value('jd', 'str')}" for t in wide],
        "BJD": [f"BJD {t.to_value('jd', 'str')}" for t in barycentric],
    }
    page.goto(f"{portal}/catalogs")
    page.get_by_role("combobox", name="Table", exact=True).select_option("demo.Visit")
    page.get_by_label("Not before (UTC, MJD, JD or BJD)").fill("BJD 2461041.5")
    write_form(page)
    expect(page.get_by_role("alert").filter(has_text="say around which position")).to_be_visible()
    page.get_by_label("Around (RA Dec)").fill("53.13 -28.1")
    page.get_by_label("Radius (arcsec)").fill("3600")
    for begin, end in typed.values():
        page.get_by_label("Not before (UTC, MJD, JD or BJD)").fill(begin)
        page.get_by_label("Not after (UTC, MJD, JD or BJD)").fill(end)
        page.get_by_label("Not after (UTC, MJD, JD or BJD)").press("Enter")
        before = page.get_by_label("ADQL", exact=True).input_value()
        write_form(page)
        expect(page.get_by_label("ADQL", exact=True)).not_to_have_value(before)
        assert {int(r["visit"]) for r in result_rows(page)} == inside, begin


@pytest.mark.requirement("DMS-PRTL-REQ-0032")
def test_rows_are_restricted_by_their_visits(page, portal, home):
    with duckdb.connect(str(home / "releases/demo/catalogs.duckdb"), read_only=True) as catalog:
        middle = catalog.sql('SELECT median(expMidptMJD) FROM "Visit"').fetchall()[0][0]
        wanted = catalog.sql(
            'SELECT s."sourceId" FROM "Source" s JOIN "Visit" v ON s.visit = v.visit'
            f" WHERE v.airmass < 1.2 AND v.expMidptMJD > {middle} AND s.psfFlux > 5000"
        ).fetchall()
        total = catalog.sql('SELECT count(*) FROM "Source"').fetchall()[0][0]
    assert 0 < len(wanted) < total
    page.goto(f"{portal}/catalogs")
    page.get_by_role("combobox", name="Table", exact=True).select_option("demo.Source")
    page.get_by_label("Constraints on their visits, one a line").fill(
        f"airmass < 1.2\nexpMidptMJD > {middle}"
    )
    page.get_by_label("Constraints, one a line").fill("psfFlux > 5000")
    page.get_by_label("Rows at most").fill("100000")
    write_form(page)
    expect(page.get_by_label("ADQL", exact=True)).to_have_value(
        re.compile("visit IN \\(SELECT visit FROM demo.Visit")
    )
    assert sorted(int(r["sourceId"]) for r in result_rows(page)) == sorted(i for (i,) in wanted)


# The form without a browser


def make_form(services) -> QueryPanel:
    return QueryPanel(services, PageRequest(pages_people.ANNA, {}, False), lambda: None)


@pytest.mark.requirement("DMS-PRTL-REQ-0015")
def test_every_table_is_asked_by_the_form(services):
    tables = services.queries.run_query(
        pages_people.ANNA, "SELECT table_name FROM tap_schema.tables", 1000
    ).table
    names = tables.column("table_name").to_pylist()
    form = make_form(services)
    assert len(names) > 15
    assert set(names) == set(form.table.options)
    for name in names:
        form.table.value, form.top.value = name, 5
        form.on_write(None)
        assert form.message.objects == []
        found = services.results.run(pages_people.ANNA, form.adql.text)
        assert found.rows == 5 or (found.rows < 5 and not found.overflow), name
        assert "TOP 5" in form.adql.text
        assert name in form.adql.text


@pytest.mark.requirement("DMS-PRTL-REQ-0028")
def test_an_identifier_gives_its_row(services, home):
    form = make_form(services)
    with duckdb.connect(str(home / "releases/demo/catalogs.duckdb"), read_only=True) as catalog:
        for table, column in (("Object", "objectId"), ("Source", "sourceId"), ("Visit", "visit"), ("DiaObject", "diaObjectId")):  # fmt: skip
            number = catalog.sql(
                f'SELECT "{column}" FROM "{table}" ORDER BY hash("{column}") LIMIT 1'
            ).fetchall()[0][0]
            form.table.value = f"demo.{table}"
            for value, count in ((number, 1), (-number, 0)):
                form.columns.value, form.constraints.value = [column], f"{column} = {value}"
                form.on_write(None)
                found = services.results.run(pages_people.ANNA, form.adql.text)
                assert found.rows == count, table
    form.constraints.value = "diaObjectId = twelve"
    form.on_write(None)
    with pytest.raises(PortalError, match="twelve"):
        services.queries.check(pages_people.ANNA, form.adql.text)


@pytest.mark.requirement("DMS-PRTL-REQ-0031")
@pytest.mark.parametrize("table", ["Object", "Source", "DiaObject", "DiaSource"])
def test_the_form_is_made_of_the_data_dictionary(services, table):
    query = f"SELECT column_name, unit, description FROM tap_schema.columns WHERE table_name = 'demo.{table}'"
    dictionary = services.queries.run_query(pages_people.ANNA, query, 5000).table.to_pylist()
    form = make_form(services)
    form.table.value = f"demo.{table}"
    assert set(form.columns.options.values()) == {row["column_name"] for row in dictionary}
    form.dictionary.card.collapsed = False
    listed = re.findall(r"<li><code>(.*?)</code>(?: \[(.*?)\])? <span class='soft'>(.*?)(?: · .*?)?</span></li>", form.dictionary.listed.object)  # fmt: skip
    said = {html.unescape(name): (html.unescape(unit), html.unescape(words)) for name, unit, words in listed}
    assert said == {row["column_name"]: (row["unit"] or "", row["description"] or "") for row in dictionary}
