"""The Catalogs page in a browser: whole results, linked views, addresses that restore them, sentences for bad input."""

from __future__ import annotations

import csv
import io
import re

import duckdb
import numpy as np
import pytest
import shapely
from browser import test_portal_pages as pages
from playwright.sync_api import Page, expect

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
    page.get_by_role("button", name="Abort").click()
    expect(page.get_by_role("alert").filter(has_text="The query was aborted")).to_be_visible()
    expect(page.locator(".pagetable tbody tr")).to_have_count(50)


FORCED = (
    "SELECT TOP 400 visit, band, psfFlux, psfFluxErr, psfDiffFlux, psfDiffFluxErr, 3 * psfFluxErr AS limit_flux, "
    "CASE WHEN psfFlux < 3 * psfFluxErr THEN 1 ELSE 0 END AS undetected FROM demo.ForcedSource"
)
# Figures that were replaced stay among the page's models for a while: the one made last is the one that is seen.
READ_GLYPHS = """() => {
  const list = (v) => Array.from(v ?? []);
  const figures = Bokeh.documents.flatMap((d) => [...d._all_models.values()])
    .filter((m) => m.type === "Figure" && m.left[0].axis_label.includes("psfFlux"))
    .sort((a, b) => Number(a.id.slice(1)) - Number(b.id.slice(1)));
  const figure = figures.at(-1);
  if (!figure) return [];
  const legend = figure.center.filter((m) => m.type === "Legend").flatMap((l) => l.items.map((i) => i.label.value));
  return figure.renderers.map((r) => ({
    below: figure.below[0].axis_label, left: figure.left[0].axis_label, glyph: r.glyph.type, legend,
    marker: r.glyph.marker?.value ?? "", dash: list(r.glyph.line_dash?.value), fill: r.glyph.fill_color?.value ?? "",
    line: r.glyph.line_color?.value ?? "", text: r.glyph.text?.value ?? "", baseline: r.glyph.text_baseline?.value ?? "",
    data: Object.fromEntries(Object.entries(r.data_source.data).map(([k, v]) => [k, list(v)])),
  }));
}"""


@pytest.fixture(scope="module")
def forced(home):
    """The rows of `FORCED`, in the same order, straight from the release."""
    columns = "visit, band, psfFlux, psfFluxErr, psfDiffFlux, psfDiffFluxErr"
    with duckdb.connect(str(home / "releases/demo/catalogs.duckdb"), read_only=True) as catalog:
        rows = catalog.sql(f"SELECT {columns} FROM ForcedSource LIMIT 400").df()
    rows["limit_flux"] = 3 * rows.psfFluxErr
    rows["undetected"] = (rows.psfFlux < 3 * rows.psfFluxErr).astype(int)
    return rows


@pytest.fixture
def plotted(page, portal):
    """Forced photometry against time, with what points can show opened."""
    run(page, portal, FORCED)
    expect(page.get_by_text("All 400 rows are chosen")).to_be_visible()
    page.get_by_role("button", name=re.compile("^More: coding")).first.click()
    select(page, "Horizontal", "visit")
    select(page, "Vertical", "psfFlux")
    return page


def select(page: Page, label: str, value: str) -> None:
    page.get_by_label(label, exact=True).first.select_option(value)


def glyphs(page: Page, kind: str, ready) -> list[dict]:
    """Return what the browser draws of a kind in the plot of points, once that is as wanted."""
    found: list[dict] = []

    def is_ready() -> bool:
        found[:] = [g for g in page.evaluate(READ_GLYPHS) if g["glyph"] == kind]
        return ready(found)

    for _ in range(300):
        if is_ready():
            return found
        page.wait_for_timeout(150)
    raise AssertionError(f"not drawn: {[(g['glyph'], g['marker'], g['legend']) for g in found]}")


@pytest.mark.requirement("DMS-PRTL-REQ-0055")
@pytest.mark.requirement("DMS-PRTL-REQ-0057")
def test_size_shape_and_colour_of_points_follow_columns(plotted, forced):
    select(plotted, "Size by", "psfFluxErr")
    select(plotted, "Shape by", "band")
    select(plotted, "Colour by", "psfDiffFlux")
    bands = sorted(forced.band.unique())
    found = glyphs(
        plotted, "Scatter", lambda g: len(g) == len(bands) and all("colour" in s["data"] for s in g)
    )
    assert (found[0]["below"], found[0]["left"]) == ("visit", "psfFlux (nJy)")
    assert found[0]["legend"] == [f"band: {band}" for band in bands]
    assert len({series["marker"] for series in found}) == len(bands)
    low, high = forced.psfFluxErr.min(), forced.psfFluxErr.max()
    for band, series in zip(bands, found, strict=True):
        rows = forced[forced.band == band]
        np.testing.assert_array_equal(series["data"]["x"], rows.visit)
        np.testing.assert_allclose(series["data"]["y"], rows.psfFlux)
        np.testing.assert_allclose(series["data"]["colour"], rows.psfDiffFlux)
        np.testing.assert_allclose(
            series["data"]["size"], 4 + 12 * (rows.psfFluxErr - low) / (high - low), rtol=1e-5
        )
    expect(plotted.locator(".bk-Figure").first).to_be_visible()


@pytest.mark.requirement("DMS-PRTL-REQ-0058")
@pytest.mark.requirement("DMS-PRTL-REQ-0059")
def test_uncertainties_are_as_long_as_their_columns_say(plotted, forced):
    select(plotted, "Uncertainty upwards", "psfFluxErr")

    def bars(ready) -> tuple[np.ndarray, np.ndarray]:
        data = glyphs(plotted, "Segment", lambda g: len(g) == 1 and ready(g[0]["data"]))[0]["data"]
        np.testing.assert_array_equal(data["x0"], forced.visit)
        np.testing.assert_array_equal(data["x1"], forced.visit)
        y = forced.psfFlux.to_numpy(float)
        return y - np.array(data["y0"]), np.array(data["y1"]) - y

    down, up = bars(lambda data: True)
    np.testing.assert_allclose(down, forced.psfFluxErr, atol=1e-3)
    np.testing.assert_allclose(up, forced.psfFluxErr, atol=1e-3)
    select(plotted, "Uncertainty downwards", "psfDiffFluxErr")
    expected = forced.psfFlux[0] - forced.psfDiffFluxErr[0]
    down, up = bars(lambda data: abs(data["y0"][0] - expected) < 1e-3)
    np.testing.assert_allclose(down, forced.psfDiffFluxErr, atol=1e-3)
    np.testing.assert_allclose(up, forced.psfFluxErr, atol=1e-3)


@pytest.mark.requirement("DMS-PRTL-REQ-0060")
def test_limits_are_arrows_at_the_limit_that_point_where_the_value_may_be(plotted, forced):
    select(plotted, "Limits where not 0", "undetected")
    select(plotted, "Values of limits", "limit_flux")
    limits = forced[forced.undetected == 1]
    assert 0 < len(limits) < 400
    found = glyphs(
        plotted,
        "Text",
        lambda g: (
            len(g) == 1
            and len(g[0]["data"]["y"]) == len(limits)
            and g[0]["data"]["y"][0] == pytest.approx(limits.limit_flux.iloc[0], rel=1e-5)
        ),
    )[0]
    np.testing.assert_array_equal(found["data"]["x"], limits.visit)
    np.testing.assert_allclose(found["data"]["y"], limits.limit_flux, rtol=1e-5)
    assert found["text"] == "↓"
    assert found["baseline"] == "top"
    detected = glyphs(
        plotted, "Scatter", lambda g: len(g) == 1 and len(g[0]["data"]["y"]) == 400 - len(limits)
    )[0]
    np.testing.assert_allclose(detected["data"]["y"], forced.psfFlux[forced.undetected == 0])
    select(plotted, "Limits are", "lower")
    found = glyphs(plotted, "Text", lambda g: len(g) == 1 and g[0]["text"] == "↑")[0]
    assert found["baseline"] == "bottom"
    assert found["legend"] == ["↑ lower limit"]


@pytest.mark.requirement("DMS-PRTL-REQ-0061")
def test_series_on_the_same_axes_differ_in_colour_symbol_and_line(plotted, forced):
    select(plotted, "Few rows as", "points and lines")
    further = plotted.locator(".choices").filter(has=plotted.get_by_label("Further vertical columns")).first
    further.click()
    further.get_by_role("option", name="psfDiffFlux", exact=True).click()

    def are_both(found: list[dict]) -> bool:
        return len(found) == 2 and all("psfDiffFlux" in series["left"] for series in found)

    points, lines = glyphs(plotted, "Scatter", are_both), glyphs(plotted, "Line", are_both)
    assert points[0]["left"] == "psfFlux (nJy), psfDiffFlux"
    assert points[0]["legend"] == ["psfFlux", "psfDiffFlux"]
    order = np.argsort(forced.visit.to_numpy(), kind="stable")
    for name, point, line in zip(("psfFlux", "psfDiffFlux"), points, lines, strict=True):
        np.testing.assert_allclose(point["data"]["y"], forced[name])
        np.testing.assert_allclose(line["data"]["y"], forced[name].to_numpy()[order])
    assert points[0]["marker"] != points[1]["marker"]
    assert points[0]["fill"] != points[1]["fill"]
    assert lines[0]["line"] != lines[1]["line"]
    assert lines[0]["dash"] != lines[1]["dash"]


@pytest.mark.requirement("DMS-PRTL-REQ-0051")
def test_columns_are_dragged_into_another_order_that_stays(page, portal, frame):
    run(page, portal, QUERY)
    heads = page.locator(".pagetable thead th button")
    expect(heads).to_have_text(list(frame.columns))
    heads.nth(2).drag_to(heads.nth(0))
    wanted = ["coord_dec", "objectId", "coord_ra", "g_psfFlux", "r_psfFlux", "r_psfFluxErr"]
    expect(heads).to_have_text(wanted)
    heads.nth(4).click()
    expect(heads).to_have_text([f"{name} ↑" if name == "r_psfFlux" else name for name in wanted])
    page.get_by_role("button", name="Next", exact=True).click()
    expect(page.get_by_text("51–100 of 2,000")).to_be_visible()
    expect(heads).to_have_text([f"{name} ↑" if name == "r_psfFlux" else name for name in wanted])
    place = frame.r_psfFlux.sort_values(kind="stable").index[50]
    cells = page.locator(".pagetable tbody tr").first.locator("td.number").all_inner_texts()
    assert float(cells[0]) == pytest.approx(frame.coord_dec[place], abs=1e-6)
    assert int(cells[1]) == frame.objectId[place]
    # By keyboard the first column goes back to its place.
    heads.nth(0).focus()
    page.keyboard.press("Alt+ArrowRight")
    expect(heads).to_have_text(
        [f"{n} ↑" if n == "r_psfFlux" else n for n in ["objectId", "coord_dec", *wanted[2:]]]
    )
    address = page.url
    page.goto("about:blank")
    page.goto(address)
    expect(heads).to_have_text(
        [f"{n} ↑" if n == "r_psfFlux" else n for n in ["objectId", "coord_dec", *wanted[2:]]]
    )


@pytest.mark.requirement("DMS-PRTL-REQ-0052")
def test_a_block_of_cells_is_copied_as_it_is_displayed(page, portal):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    run(page, portal, QUERY)
    expect(page.get_by_text("1–50 of 2,000")).to_be_visible()
    rows = page.locator(".pagetable tbody tr")
    shown = [rows.nth(n).locator("td.number").all_inner_texts() for n in range(5)]
    rows.nth(1).locator("td.number").nth(2).hover()
    page.mouse.down()
    rows.nth(3).locator("td.number").nth(3).hover()
    page.mouse.up()
    expect(page.get_by_text("6 cells are marked")).to_be_visible()
    page.keyboard.press("Control+c")
    expected = "\n".join("\t".join(row[2:4]) for row in shown[1:4])
    assert page.evaluate("navigator.clipboard.readText()") == expected
    rows.nth(0).focus()
    page.keyboard.press("Escape")
    page.keyboard.press("Shift+ArrowDown")
    page.keyboard.press("Control+c")
    assert page.evaluate("navigator.clipboard.readText()") == "\n".join("\t".join(row) for row in shown[:2])
