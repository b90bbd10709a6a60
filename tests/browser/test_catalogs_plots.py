"""What plots of the Catalogs page show of a row, and its table's columns and cells, beside numpy and SQL."""

from __future__ import annotations

import re

import duckdb
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from browser import test_portal_pages as pages
from browser.test_catalogs_page import QUERY, frame, run
from playwright.sync_api import Locator, Page, expect

browser, home, page, portal = pages.browser, pages.home, pages.page, pages.portal
__all__ = ["browser", "frame", "home", "page", "portal"]

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
    # While the plots arrive the table is still moving, and a head would be let go beside its goal.
    page.wait_for_load_state("networkidle")
    heads.nth(2).drag_to(heads.nth(0))
    wanted = ["coord_dec", "objectId", "coord_ra", "g_psfFlux", "r_psfFlux", "r_psfFluxErr"]
    expect(heads).to_have_text(wanted)
    heads.nth(4).click()
    expect(heads).to_have_text([f"{name} ↑" if name == "r_psfFlux" else name for name in wanted])
    page.get_by_role("button", name="Next", exact=True).click()
    expect(page.get_by_text("51–100 of 2,000")).to_be_visible()
    expect(heads).to_have_text([f"{name} ↑" if name == "r_psfFlux" else name for name in wanted])
    place = frame.r_psfFlux.sort_values(kind="stable").index[50]
    first = page.locator(".pagetable tbody tr").first.locator("td.number")
    expect(first.nth(1)).to_have_text(str(frame.objectId[place]))
    assert float(first.nth(0).inner_text()) == pytest.approx(frame.coord_dec[place], abs=1e-6)
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


ON_PAGE = """([id, x, y]) => {
  const view = Bokeh.index.find_one_by_id(id), box = view.canvas_view.el.getBoundingClientRect();
  return [box.x + view.frame.x_scale.compute(x), box.y + view.frame.y_scale.compute(y)];
}"""
SKY_FIGURE = """() => Bokeh.documents.flatMap((d) => [...d._all_models.values()]).filter((m) => m.type === "Figure"
  && m.left[0].axis_label.startsWith("coord_dec")).sort((a, b) => Number(a.id.slice(1)) - Number(b.id.slice(1))).map((m) => m.id)[0]"""


@pytest.mark.requirement("DMS-PRTL-REQ-0083")
@pytest.mark.requirement("DMS-PRTL-REQ-0085")
def test_plots_of_the_sky_have_coordinates_and_distances_and_others_do_not(page, portal, home):
    adql = "SELECT objectId, coord_ra, coord_dec, g_psfMag - r_psfMag AS colour, r_psfMag FROM demo.Object"
    with duckdb.connect(str(home / "releases/demo/catalogs.duckdb"), read_only=True) as catalog:
        stars = catalog.sql("SELECT coord_ra, coord_dec FROM Object ORDER BY r_psfMag LIMIT 3").fetchall()
    run(page, portal, adql)
    tools = page.get_by_role("group", name="Coordinates and distances")
    expect(tools).to_have_count(2)
    first, readout = tools.first, tools.first.locator(".readout")
    first.scroll_into_view_if_needed()
    identifier = page.evaluate(SKY_FIGURE)
    at = [page.evaluate(ON_PAGE, [identifier, *star]) for star in stars]
    step = np.abs(
        np.subtract(
            page.evaluate(ON_PAGE, [identifier, 53.1, -28.1]),
            page.evaluate(ON_PAGE, [identifier, 53.11, -28.11]),
        )
    )
    pixel_deg = float((0.01 / step).max())
    for star, place in zip(stars, at, strict=True):
        page.mouse.move(*place)
        expect(readout).to_contain_text(f"ICRS {star[0]:.2f}")
        words = [word.replace("°", "") for word in readout.locator("span").all_inner_texts()]
        ra, dec = (float(v) for v in words[0].split()[1:])
        assert (ra, dec) == pytest.approx(star, abs=pixel_deg)
        here = SkyCoord(ra, dec, unit="deg")
        assert SkyCoord(words[1].replace("−", "-"), unit=("hourangle", "deg")).separation(here).arcsec < 0.01
        for text, other in ((words[2], here.galactic), (words[3], here.barycentricmeanecliptic)):
            lon, lat = (float(v) for v in text.split()[1::2])
            assert (lon, lat) == pytest.approx((other.spherical.lon.deg, other.spherical.lat.deg), abs=3e-6)
    # By clicks, and by positions that are typed.
    first.get_by_role("button", name="Measure a distance").click()
    ends = [first.get_by_label("From (RA Dec, degrees)"), first.get_by_label("to (RA Dec, degrees)")]
    for n, place in enumerate(at[:2]):
        page.mouse.click(*place)
        expect(ends[n]).not_to_have_value("")
    clicked = [tuple(float(v) for v in end.input_value().split()) for end in ends]
    np.testing.assert_allclose(clicked, stars[:2], atol=pixel_deg)
    check_distance(first, *clicked)
    ends[0].fill("359.9 89.5")
    ends[1].fill("120.25, -12")
    ends[1].press("Enter")
    check_distance(first, (359.9, 89.5), (120.25, -12.0))
    ends[1].fill("north")
    ends[1].press("Enter")
    expect(first).to_contain_text('"north" is no position')
    # Clicks were ends and nothing else; from now on they show rows again.
    sheet = page.get_by_role("region", name=re.compile("^Row "))
    expect(sheet).to_have_count(0)
    first.get_by_role("button", name="Measure a distance").click()
    page.mouse.click(*page.evaluate(ON_PAGE, [identifier, *stars[2]]))
    expect(sheet).to_contain_text(f"{stars[2][0]:.10g}"[:9])
    # A colour-magnitude diagram has none; the sky map keeps its own.
    select(page, "Horizontal", "colour")
    select(page, "Vertical", "r_psfMag")
    expect(page.get_by_text("r_psfMag against colour")).to_be_visible()
    expect(tools).to_have_count(1)
    expect(page.get_by_label("Right ascension", exact=True)).to_be_visible()
    # Plots lie below each other where there is no room beside each other.
    size = page.viewport_size
    page.set_viewport_size({"width": 900, "height": 900})
    page.wait_for_function(
        "() => document.documentElement.scrollWidth <= document.documentElement.clientWidth + 1"
    )
    page.set_viewport_size(size)
    pages.open_image(page, portal, "release=demo&kind=deep_coadd")
    box = page.locator(".map").bounding_box()
    assert pages.read_at(page, box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)["ra"]
    page.locator(".map").focus()
    page.keyboard.press("t")
    expect(page.get_by_label("Tool", exact=True).locator("option", has_text="distance")).to_have_count(1)


def check_distance(tools: Locator, start: tuple[float, float], end: tuple[float, float]) -> None:
    a, b = (SkyCoord(*place, unit="deg") for place in (start, end))
    expect(tools.locator(".distance")).to_contain_text(f"position angle {a.position_angle(b).deg:.3f}°")
    length, unit = re.match(r"([\d.]+)(.)", tools.locator(".distance").inner_text()).groups()
    scale = {"″": 1, "′": 60, "°": 3600}[unit]
    assert float(length) * scale == pytest.approx(a.separation(b).arcsec, rel=1e-5)
