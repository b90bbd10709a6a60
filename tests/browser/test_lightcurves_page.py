"""The Light curves page in a browser: fold by dragging, periods, stamps, colours, own files, exports, addresses."""

import re

import duckdb
import numpy as np
import pytest
from browser.test_portal_pages import browser, datasets, home, page, portal
from playwright.sync_api import Page, expect

__all__ = ["browser", "home", "page", "portal"]

AXIS = """() => { for (const d of Bokeh.documents) for (const m of d._all_models.values())
  if (m.type === 'LinearAxis' && String(m.axis_label).match(/^(Time|Phase)/)) return m.axis_label; }"""
POINTS = """() => { const out = []; for (const d of Bokeh.documents) for (const m of d._all_models.values())
  if (m.type === 'ColumnDataSource' && m.data.lo && m.data.x.length) out.push([Array.from(m.data.x), Array.from(m.data.y)]);
  return out; }"""


@pytest.fixture(scope="module")
def variable(home):
    """A DIA object, its true period in days, and its amplitude."""
    with duckdb.connect(str(home / "releases/demo/catalogs.duckdb"), read_only=True) as catalog:
        rows = catalog.sql(
            "SELECT d.diaObjectId, t.period_day FROM truth_variable AS t JOIN DiaObject AS d "
            "ON abs(d.ra - t.ra) < 1e-5 AND abs(d.dec - t.dec) < 1e-5 WHERE t.period_day > 0.5 "
            "ORDER BY t.amplitude_mag DESC LIMIT 1"
        ).fetchall()
    return rows[0]


def open_curve(page: Page, portal: str, fields: str) -> None:
    page.goto(f"{portal}/lightcurves?release=demo&{fields}")
    expect(page.get_by_label("Period (days)")).to_be_visible()
    expect(page.locator(".bk-Figure").first).to_be_visible()


def drawn_axis(page: Page, pattern: str) -> str:
    page.wait_for_function(f"() => /{pattern}/.test(({AXIS})() || '')")
    return page.evaluate(AXIS)


def drawn_period(page: Page, period_day: float) -> None:
    page.wait_for_function(
        f"p => Math.abs(({AXIS})().match(/period (.*) d/)[1] / p - 1) < 1e-6", arg=period_day
    )


@pytest.mark.requirement("DMS-PRTL-REQ-0105")
def test_dragging_changes_the_period_without_asking_the_server(page, portal, variable):
    object_id, period_day = variable
    open_curve(page, portal, f"diaobject={object_id}&fold=1&period={period_day:.8f}")
    start = drawn_axis(page, "^Phase")
    page.get_by_label("Dragging").select_option("changes the period")
    # The tool of the plot follows on the server's word.
    page.wait_for_function("""() => { for (const d of Bokeh.documents) for (const m of d._all_models.values())
      if (m.type === 'PanTool' && m.active) return false; return true; }""")
    box = page.locator(".bk-Figure").first.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    before = page.evaluate(POINTS)
    page.evaluate("""() => { window.sent = 0; const send = WebSocket.prototype.send;
      WebSocket.prototype.send = function (d) {
        // The page's tie to programs tells its address a little later than it changed.
        if (String(d).includes('"events"') && !String(d).includes('"attr":"address"')) window.sent++;
        return send.call(this, d); }; }""")
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 20, y, steps=2)
    page.mouse.move(x + 70, y, steps=10)
    page.wait_for_function(f"start => ({AXIS})() !== start", arg=start)
    assert page.evaluate("() => window.sent") == 0
    page.mouse.up()
    expect(page).to_have_url(re.compile(r"fold=1&period=(?!" + re.escape(f"{period_day:.6f}") + ")"))
    period = float(page.get_by_label("Period (days)").input_value())
    after = page.evaluate(POINTS)
    # Two cycles are drawn, and the fold is that of the new period.
    assert period != pytest.approx(period_day, rel=1e-9)
    assert sum(len(p[0]) for p in after) == sum(len(p[0]) for p in before) == 40
    assert not np.allclose(before[0][0], after[0][0])
    assert np.allclose(np.sort(before[0][1]), np.sort(after[0][1]))


def test_the_fine_tuning_folds_by_keys_and_by_dragging(page, portal, home, variable):
    object_id, period_day = variable
    with duckdb.connect(str(home / "releases/demo/catalogs.duckdb"), read_only=True) as catalog:
        mjd = catalog.sql(
            "SELECT v.expMidptMJD FROM ForcedSourceOnDiaObject AS f JOIN Visit AS v USING (visit) "
            f"WHERE f.diaObjectId = {object_id}"
        ).fetchnumpy()["expMidptMJD"]
    open_curve(page, portal, f"diaobject={object_id}&fold=1&period={period_day:.8f}")
    start = drawn_axis(page, "^Phase")
    slider = page.get_by_role("slider", name="Fine tuning (cycles)")
    slider.focus()
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    expect(slider).to_have_js_property("value", "0.1")
    expect(slider).to_have_attribute("aria-valuetext", "0.100")
    # A tenth of a cycle more from the first epoch to the last.
    frequency = 1 / round(period_day, 8) + 0.1 / np.ptp(mjd)
    drawn_period(page, 1 / frequency)
    epoch = float(page.get_by_label("Epoch of phase 0 (MJD)").input_value().replace(" ", ""))
    phase = ((mjd - epoch) * frequency) % 1
    drawn = np.concatenate([p[0] for p in page.evaluate(POINTS)])
    np.testing.assert_allclose(np.sort(drawn), np.sort([*phase, *phase + 1]), atol=1e-5)
    box = slider.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 2, box["y"] + box["height"] / 2, steps=5)
    # It is folded while the button is still held.
    drawn_period(page, 1 / (1 / round(period_day, 8) + 3 / np.ptp(mjd)))
    page.mouse.up()
    page.get_by_role("button", name="back to 0").click()
    page.wait_for_function(f"start => ({AXIS})() === start", arg=start)
    expect(slider).to_have_js_property("value", "0")


@pytest.mark.requirement("DMS-PRTL-REQ-0105")
def test_the_search_lists_peaks_and_a_peak_folds(page, portal, variable):
    object_id, period_day = variable
    open_curve(page, portal, f"diaobject={object_id}")
    page.get_by_label("Shortest (days)").fill("0.3")
    page.get_by_label("Longest (days)").fill("6")
    page.get_by_label("Longest (days)").press("Enter")
    page.get_by_role("button", name="Find the period").click()
    expect(page.get_by_text(re.compile("Best period"))).to_be_visible()
    expect(page.get_by_text(re.compile("false-alarm probability"))).to_be_visible()
    drawn_axis(page, "^Phase")
    rows = page.locator("table").filter(has_text="relation").locator("tbody tr")
    expect(rows.first).to_contain_text("best")
    periods = [float(t) for t in rows.locator("td:first-child").all_inner_texts()]
    assert min(abs(p / period_day - 1) for p in periods) < 0.01
    chosen = periods[2]
    rows.nth(2).click()
    drawn_axis(page, "period " + re.escape(f"{chosen:.6g}"[:6]))
    page.get_by_role("button", name="2 P").click()
    drawn_axis(page, "period " + re.escape(f"{2 * chosen:.6g}"[:5]))
    # Too narrow a range is a sentence, and the plot stays.
    page.get_by_label("Longest (days)").fill("0.2")
    page.get_by_label("Longest (days)").press("Enter")
    page.get_by_role("button", name="Find the period").click()
    expect(page.get_by_text(re.compile("less than the longest"))).to_be_visible()


@pytest.mark.requirement("DMS-PRTL-REQ-0103")
def test_an_epoch_and_a_range_of_time_show_stamps(page, portal, home, variable):
    _, data_id, _ = datasets(home, "difference_image")[0]
    open_curve(page, portal, f"diaobject={variable[0]}&from=61000&to=61100")
    strip = page.locator("[data-stamps=strip] figure")
    expect(strip).to_have_count(20)
    pictures = page.locator("[data-stamps=strip] img")
    expect(pictures.first).to_be_visible()
    page.locator("tbody tr").filter(has_text=str(data_id["visit"])).first.click()
    triplet = page.locator("[data-stamps=triplet] figure")
    expect(triplet).to_have_count(3)
    shown = page.locator("[data-stamps=triplet] img")
    expect(shown.first).to_be_visible()
    assert shown.count() >= 2
    page.wait_for_function(
        """() => { const walk = r => [...r.querySelectorAll('*')].flatMap(e => [e, ...(e.shadowRoot ? walk(e.shadowRoot) : [])]);
        const i = walk(document).filter(e => e.matches('[data-stamps=triplet] img'));
        return i.length > 1 && i.every(e => e.complete && e.naturalWidth > 100); }"""
    )
    page.get_by_label("Stamps", exact=True).select_option("science")
    expect(page.locator("[data-stamps=strip] .none").first).to_contain_text("no visit image")
    page.get_by_role("link", name=f"Visit {data_id['visit']}").click()
    page.wait_for_selector(".viewer[data-drawn][data-image]")


def test_bands_flags_magnitudes_and_colours_are_in_the_address(page, portal, variable):
    open_curve(page, portal, f"diaobject={variable[0]}")
    expect(page.get_by_label("g - r")).to_be_visible()
    page.get_by_label("Axis", exact=True).select_option("AB magnitude")
    page.get_by_label("i", exact=True).uncheck()
    page.get_by_label("flagged points").uncheck()
    page.get_by_label("Bin of colours (days)").fill("4")
    page.get_by_label("Bin of colours (days)").press("Enter")
    page.get_by_label("g - r").check()
    expect(page.locator(".bk-Figure")).to_have_count(2)
    expect(page).to_have_url(re.compile("colours=g-r"))
    expect(page.get_by_text("Colours in bins of 4 days")).to_be_visible()
    expect(page.locator("tbody tr").filter(has_text="g - r").first).to_be_visible()
    url = page.url
    assert len(url) < 2000
    page.goto(f"{portal}/lightcurves")
    page.goto(url)
    expect(page.locator(".bk-Figure")).to_have_count(2)
    expect(page.get_by_label("Axis", exact=True)).to_have_value("AB magnitude")
    expect(page.get_by_label("i", exact=True)).not_to_be_checked()
    expect(page.get_by_label("flagged points")).not_to_be_checked()
    magnitudes = [v for _, ys in page.evaluate(POINTS) for v in ys]
    assert max(magnitudes) < 30


def test_two_objects_and_own_photometry_share_the_plot(page, portal, variable, tmp_path, home):
    with duckdb.connect(str(home / "releases/demo/catalogs.duckdb"), read_only=True) as catalog:
        other = catalog.sql(
            f"SELECT diaObjectId FROM DiaObject WHERE diaObjectId <> {variable[0]} LIMIT 1"
        ).fetchall()[0][0]
    open_curve(page, portal, f"diaobject={variable[0]}&with={other}")
    expect(page.get_by_text(f"beside DiaObject {other}")).to_be_visible()
    assert sum(len(x) for x, _ in page.evaluate(POINTS)) == 40
    page.get_by_text("Own photometry").click()
    own, broken = tmp_path / "own.csv", tmp_path / "broken.csv"
    own.write_text("HJD,filt,m,em\n2461050.5,g,18.5,0.02\n2461051.5,g,18.7,0.02\n2461052.5,g,,\n")
    broken.write_bytes(b"\x00\x01\x02\x03")
    page.locator("input[type=file]").set_input_files(broken)
    expect(page.get_by_role("alert").filter(has_text="neither VOTable")).to_be_visible()
    page.locator("input[type=file]").set_input_files(own)
    expect(page.get_by_text("own.csv: 3 rows")).to_be_visible()
    page.get_by_role("button", name="Add to the plot").click()
    expect(page.get_by_text(re.compile("choose the column of the value", re.IGNORECASE))).to_be_visible()
    page.get_by_label("Column of the value").select_option("m")
    page.get_by_label("Column of the error").select_option("em")
    page.get_by_label("Column of the band").select_option("filt")
    page.get_by_role("button", name="Add to the plot").click()
    expect(page.get_by_text("Added 2 points of own.csv")).to_be_visible()
    page.wait_for_function(f"() => ({POINTS})().some(p => p[0].includes(61050))")
    (mine,) = [p for p in page.evaluate(POINTS) if 61050 in p[0]]
    assert mine[0] == [61050, 61051]
    np.testing.assert_allclose(mine[1], [10 ** (0.4 * (31.4 - m)) for m in (18.5, 18.7)])


def test_what_is_shown_can_be_taken_away(page, portal, variable):
    open_curve(page, portal, f"diaobject={variable[0]}")
    page.get_by_text("Export and code").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV", exact=True).or_(
            page.get_by_role("button", name="CSV", exact=True)
        ).click()
    table = np.genfromtxt(download.value.path(), delimiter=",", names=True, dtype=None, encoding="utf-8")
    assert table.size == 20
    assert download.value.suggested_filename == f"DiaObject-{variable[0]}.csv"
    with page.expect_download() as picture:
        page.get_by_role("button", name="Save as SVG").click()
    svg = picture.value.path().read_text()
    assert svg.lstrip().startswith("<svg")
    assert "Flux density" in svg
    adql = page.get_by_label("ADQL", exact=True).input_value()
    assert str(variable[0]) in adql
    assert repr(adql) in page.get_by_label("Python", exact=True).input_value()
    page.goto(f"{portal}/catalogs?query={adql}")
    expect(page.get_by_text("1–20 of 20")).to_be_visible()


def test_an_object_without_epochs_says_so_and_the_page_goes_on(page, portal, variable):
    page.goto(f"{portal}/lightcurves?release=demo&diaobject=999")
    expect(page.get_by_role("alert")).to_contain_text("has no DiaObject 999")
    page.get_by_label("Object ID or position (RA Dec)").fill(str(variable[0]))
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_role("heading", name=f"DiaObject {variable[0]}")).to_be_visible()
    page.get_by_label("Fluxes", exact=True).select_option("detections, total")
    expect(page.get_by_role("alert")).to_contain_text("has no detections, total fluxes")
