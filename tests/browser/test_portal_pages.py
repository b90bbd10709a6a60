"""The Portal's pages in a browser: exact pixels, no needless request, linked views, no error in the console."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from playwright.sync_api import Page, expect, sync_playwright

from skydesk_core.release import Release
from skydesk_core.release.testing import make_synthetic_release

# The first look at a visit image imports the middleware, which takes seconds on a busy machine.
expect.set_options(timeout=45_000)

ROOT = Path(__file__).resolve().parents[2]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("portal-home")
    (folder / "releases").mkdir()
    make_synthetic_release(folder / "releases" / "demo")
    return folder


def serve(home: Path, log: Path, wait_for_server):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "tests/support/portal.py"), str(home), str(port)],
            stdout=output,
            stderr=output,
        )
    wait_for_server(f"http://127.0.0.1:{port}/portal/app/health", process, timeout_s=120, log=log)
    return process, f"http://127.0.0.1:{port}/portal/app"


def stop(process):
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()


@pytest.fixture(scope="module")
def portal(home, tmp_path_factory, wait_for_server):
    process, url = serve(home, tmp_path_factory.mktemp("log") / "portal.log", wait_for_server)
    yield url
    stop(process)


@pytest.fixture(scope="module")
def browser(chromium):
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield found
        found.close()


@pytest.fixture
def page(browser):
    """A page whose console must stay free of errors and whose requests must stay on the own origin."""
    context = browser.new_context(
        viewport={"width": 1400, "height": 900}, extra_http_headers={"Authorization": "Bearer token-of-anna"}
    )
    found = context.new_page()
    found.set_default_timeout(60_000)
    complaints: list[str] = []
    found.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    found.on("pageerror", lambda e: complaints.append(str(e)))
    found.on("response", lambda r: complaints.append(f"{r.status} {r.url}") if r.status >= 400 else None)
    found.on(
        "request",
        lambda r: (
            None if "127.0.0.1" in r.url or r.url.startswith(("data:", "blob:")) else complaints.append(r.url)
        ),
    )
    yield found
    context.close()
    assert complaints == []


def open_image(page: Page, url: str, query: str) -> None:
    page.goto(f"{url}/images?{query}")
    page.wait_for_selector(".viewer[data-drawn][data-image]")


def datasets(home: Path, kind: str):
    with Release.open(home / "releases" / "demo").get_butler() as butler:
        return [
            (str(ref.id), dict(ref.dataId.mapping), butler.get(ref)) for ref in butler.query_datasets(kind)
        ]


def read_at(page: Page, x: float, y: float) -> dict[str, str]:
    """Put the pointer somewhere on the image and wait for the exact value."""
    page.mouse.move(x, y)
    readout = page.locator(".readout")
    expect(readout).to_have_attribute("data-value", re.compile(".+"))
    return readout.evaluate("e => ({...e.dataset})")


@pytest.mark.requirement("DMS-PRTL-REQ-0071")
@pytest.mark.parametrize("kind", ["visit_image", "deep_coadd"])
def test_the_readout_is_bit_exact_and_on_the_sky_within_ten_milliarcseconds(page, portal, home, kind):
    dataset_id, _, image = datasets(home, kind)[0]
    array = image.image.array
    sky = image.sky_projection.as_astropy(image.bbox)
    open_image(page, portal, f"release=demo&id={dataset_id}&x=260&y=240&r=1")
    box = page.locator(".map").bounding_box()
    rng = np.random.default_rng(3)
    for _ in range(25):
        at_x = box["x"] + box["width"] / 2 + rng.uniform(-250, 250)
        at_y = box["y"] + box["height"] / 2 + rng.uniform(-220, 220)
        found = read_at(page, at_x, at_y)
        x, y = int(found["x"]), int(found["y"])
        value = np.float32(float(found["value"]))
        assert value.tobytes() == np.float32(array[y, x]).tobytes() or (
            np.isnan(value) and np.isnan(array[y, x])
        )
        ra, dec = np.degrees(sky.pixel_to_world_values(float(found["px"]), float(found["py"])))
        off = np.hypot((float(found["ra"]) - ra % 360) * np.cos(np.radians(dec)), float(found["dec"]) - dec)
        assert off * 3.6e6 < 10


def test_no_data_reads_as_no_data_with_its_mask_plane(page, portal, home):
    dataset_id, _, image = datasets(home, "visit_image")[0]
    y, x = (int(v[v.size // 2]) for v in np.nonzero(np.isnan(image.image.array)))
    open_image(page, portal, f"release=demo&id={dataset_id}&x={x}&y={y}&r=0.125")
    box = page.locator(".map").bounding_box()
    found = read_at(page, box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert (int(found["x"]), int(found["y"])) == (x, y)
    assert found["value"] == "NaN"
    assert "NO_DATA" in page.locator(".readout").inner_text()


def screenshot_of_map(page: Page) -> np.ndarray:
    import io

    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(page.locator(".map").screenshot())).convert("RGB"), float)


@pytest.mark.requirement("DMS-PRTL-REQ-0074")
def test_display_changes_ask_the_server_for_nothing_and_change_the_picture(page, portal, home):
    open_image(page, portal, f"release=demo&id={datasets(home, 'deep_coadd')[0][0]}")
    page.wait_for_timeout(500)
    requests: list[str] = []
    page.on("request", lambda r: requests.append(r.url))
    frames: list[str] = []
    page.on("websocket", lambda ws: ws.on("framesent", lambda payload: frames.append(str(payload))))
    pictures = [screenshot_of_map(page)]
    for stretch in ("linear", "sqrt", "log"):
        page.get_by_label("Stretch", exact=True).select_option(stretch)
        page.wait_for_timeout(250)
        pictures.append(screenshot_of_map(page))
    page.get_by_label("Colours", exact=True).select_option("viridis")
    page.get_by_label("Upper limit").fill("200")
    page.get_by_label("Upper limit").press("Enter")
    page.wait_for_timeout(250)
    pictures.append(screenshot_of_map(page))
    # The bell looks for notices now and then.
    assert [r for r in requests if not r.endswith("/notices")] == []
    for n, first in enumerate(pictures):
        for second in pictures[n + 1 :]:
            assert np.abs(first - second).mean() > 0.5
    assert "s=log" in page.url
    assert "c=viridis" in page.url
    assert "hi=200" in page.url


def test_an_address_restores_the_view(page, portal, home):
    dataset_id = datasets(home, "visit_image")[0][0]
    query = f"release=demo&id={dataset_id}&x=300.00&y=700.00&r=0.5&s=sqrt&lo=-5&hi=400&c=magma&m=NO_DATA&src=Source"
    open_image(page, portal, query)
    page.wait_for_timeout(1000)
    for part in query.replace(",", "%2C").split("&"):
        assert part in page.url, part
    assert page.get_by_label("Stretch", exact=True).input_value() == "sqrt"
    assert page.get_by_label("Sources", exact=True).input_value() == "Source"


@pytest.mark.requirement("DMS-PRTL-REQ-0072")
def test_keys_move_and_zoom(page, portal, home):
    open_image(page, portal, f"release=demo&id={datasets(home, 'deep_coadd')[0][0]}&x=250&y=250&r=1")
    page.locator(".map").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("+")
    page.keyboard.press("s")
    expect(page).to_have_url(re.compile(r"x=310\.00.*r=0\.5.*s=linear"))


def test_keys_read_the_centre_and_choose_the_nearest_source(page, portal, home):
    dataset_id, _, image = datasets(home, "deep_coadd")[0]
    open_image(page, portal, f"release=demo&id={dataset_id}&x=200&y=300&r=1&src=Object")
    page.locator(".map").focus()
    page.keyboard.press("r")
    value = float(image.image.array[300, 200])
    expect(page.locator(".message")).to_contain_text(f"{value:.3g}"[:4])
    page.wait_for_selector(".viewer[data-sources]")
    page.keyboard.press("Enter")
    expect(page.locator(".card")).to_contain_text("objectId")
    page.keyboard.press("Escape")
    expect(page.locator(".card")).to_be_hidden()


@pytest.mark.requirement("DMS-PRTL-REQ-0098")
@pytest.mark.requirement("DMS-PRTL-REQ-0047")
def test_a_click_on_a_source_shows_its_row_and_leads_to_its_light_curve(page, portal, home):
    dataset_id = datasets(home, "deep_coadd")[0][0]
    open_image(page, portal, f"release=demo&id={dataset_id}&src=Object")
    with page.expect_response(re.compile("/rows/demo/Object/")) as answer:
        page.wait_for_selector(".viewer[data-sources]")
        box = page.locator(".map").bounding_box()
        for n in range(1, 40):  # the field is dense: some point of a line of clicks hits a source
            page.mouse.click(box["x"] + box["width"] * 0.5 + 4 * n, box["y"] + box["height"] * 0.5)
            page.wait_for_timeout(320)
            if page.locator(".card").is_visible():
                break
    row = {c["name"]: c["value"] for c in answer.value.json()["columns"]}
    expect(page.locator(".card")).to_contain_text(row["objectId"])
    page.get_by_role("link", name="Light curve", exact=True).locator("visible=true").last.click()
    expect(page.get_by_role("heading", name=f"Object {row['objectId']}")).to_be_visible()


def test_lists_and_position_choose_the_image(page, portal, home):
    open_image(page, portal, "release=demo")
    page.get_by_label("Kind").select_option("visit_image")
    expect(page).to_have_url(re.compile("|".join(d[0] for d in datasets(home, "visit_image"))))
    page.get_by_label("Position (RA Dec)").fill("53.13 -28.10")
    page.get_by_role("button", name="Find").click()
    page.wait_for_timeout(1500)
    page.get_by_label("Position (RA Dec)").fill("200 10")
    page.get_by_role("button", name="Find").click()
    expect(page.get_by_text("No image of release demo covers")).to_be_visible()
    page.get_by_label("Position (RA Dec)").fill("nowhere")
    page.get_by_role("button", name="Find").click()
    expect(page.get_by_role("alert").filter(has_text="is not a position")).to_be_visible()


def run_query(page: Page, adql: str) -> None:
    page.get_by_label("ADQL", exact=True).fill(adql)
    page.get_by_role("button", name="Run", exact=True).click()


@pytest.mark.requirement("DMS-PRTL-REQ-0009")
@pytest.mark.requirement("DMS-PRTL-REQ-0049")
@pytest.mark.requirement("DMS-PRTL-REQ-0054")
@pytest.mark.requirement("DMS-PRTL-REQ-0055")
@pytest.mark.requirement("DMS-PRTL-REQ-0089")
@pytest.mark.requirement("DMS-PRTL-REQ-0017")
def test_a_query_gives_a_paged_sorted_table_a_plot_and_the_way_to_the_image(page, portal):
    page.goto(f"{portal}/catalogs")
    run_query(page, "SELECT objectId, coord_ra, coord_dec, r_psfFlux FROM demo.Object")
    expect(page.get_by_text("1–50 of 2,000")).to_be_visible()
    assert page.locator("tbody tr").count() == 50
    page.get_by_role("button", name="Next", exact=True).click()
    expect(page.get_by_text("51–100 of 2,000")).to_be_visible()
    page.get_by_role("button", name="r_psfFlux").click()
    expect(page.get_by_text("1–50 of 2,000")).to_be_visible()
    page.get_by_role("button", name="r_psfFlux").click()
    expect(page.locator("th[aria-sort=descending]")).to_have_count(1)
    fluxes = [float(t) for t in page.locator("tbody tr td:nth-child(5)").all_inner_texts()]
    assert fluxes == sorted(fluxes, reverse=True)
    expect(page.locator(".bk-Canvas canvas").first).to_be_visible()
    page.locator("tbody tr").first.focus()
    page.keyboard.press("Enter")
    link = page.get_by_role("link", name=re.compile("on the image"))
    expect(link).to_be_visible()
    link.click()
    page.wait_for_selector(".viewer[data-drawn][data-image]")
    assert "release=demo" in page.url


def test_a_malformed_query_shows_the_place(page, portal):
    page.goto(f"{portal}/catalogs")
    run_query(page, "SELECT objectId\nFROM demo.Object WHERE nothing > 3")
    alert = page.get_by_role("alert").filter(has_text="line 2")
    expect(alert).to_be_visible()
    expect(alert).to_contain_text("nothing")


@pytest.mark.requirement("DMS-PRTL-REQ-0016")
@pytest.mark.requirement("DMS-PRTL-REQ-0026")
def test_the_form_writes_adql_and_reads_it_back(page, portal):
    page.goto(f"{portal}/catalogs")
    page.get_by_label("Around (RA Dec)").fill("53.13 -28.1")
    page.get_by_label("Constraints, one a line").fill("r_psfFlux > 500")
    page.get_by_role("button", name="Write ADQL from the form").click()
    editor = page.get_by_label("ADQL", exact=True)
    expect(editor).to_have_value(re.compile(r"CIRCLE\('ICRS', 53.13, -28.1, 0.016666"))
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.get_by_text(re.compile(r"\d+ rows in [\d.]+ s"))).to_be_visible()
    cone = "CONTAINS(POINT('ICRS', coord_ra, coord_dec), CIRCLE('ICRS', 53.14, -28.12, 0.01)) = 1"
    editor.fill(f"SELECT TOP 7 objectId FROM demo.Object WHERE {cone}")
    page.get_by_role("button", name="Fill the form from ADQL").click()
    expect(page.get_by_label("Around (RA Dec)")).to_have_value("53.14 -28.12")
    expect(page.get_by_label("Rows at most")).to_have_value("7")


def test_many_rows_become_a_density_plot(page, portal):
    page.goto(f"{portal}/catalogs")
    run_query(page, "SELECT coord_ra, coord_dec, psfFlux FROM demo.ForcedSource")
    expect(page.get_by_text(re.compile("counted on a grid"))).to_be_visible()
    expect(page.get_by_text("1–50 of 40,000")).to_be_visible()


@pytest.mark.requirement("DMS-PRTL-REQ-0105")
def test_a_variable_folds_at_its_true_period(page, portal, home):
    import duckdb

    with duckdb.connect(str(home / "releases/demo/catalogs.duckdb"), read_only=True) as catalog:
        rows = catalog.sql(
            "SELECT objectId, period_day FROM truth_variable ORDER BY amplitude_mag DESC LIMIT 1"
        ).fetchall()
    object_id, period_day = rows[0]
    page.goto(f"{portal}/lightcurves?release=demo&object={object_id}")
    expect(page.get_by_text("1–20 of 20")).to_be_visible()
    read = """() => { for (const d of Bokeh.documents) for (const m of d._all_models.values())
      if (m.type === 'LinearAxis' && String(m.axis_label).match(/Time|Phase/)) return m.axis_label; }"""
    assert "Time" in page.evaluate(read)
    field = page.get_by_label("Period (days)")
    field.fill(f"{period_day:.6f}")
    field.press("Enter")
    page.get_by_label("Against", exact=True).select_option("phase")
    page.wait_for_timeout(500)
    assert f"{period_day:.5g}"[:5] in page.evaluate(read)
    points = page.evaluate("""() => { const out = []; for (const d of Bokeh.documents) for (const m of d._all_models.values())
      if (m.type === 'ColumnDataSource' && m.data.lo) out.push([Array.from(m.data.x), Array.from(m.data.y)]); return out; }""")
    assert sum(len(x) for x, _ in points) == 40
    for x, y in points:
        half = len(x) // 2
        phase, flux = np.array(x[:half]), np.array(y[:half])
        assert ((phase >= 0) & (phase < 1)).all()
        design = np.stack([np.ones(half), np.sin(2 * np.pi * phase), np.cos(2 * np.pi * phase)], 1)
        rest = flux - design @ np.linalg.lstsq(design, flux, rcond=None)[0]
        assert rest.std() < 0.2 * flux.std()
    page.get_by_role("button", name="Find the period").click()
    expect(page.get_by_text(re.compile("Best period"))).to_be_visible()


def test_the_light_curve_page_offers_objects_to_begin_with(page, portal):
    page.goto(f"{portal}/lightcurves")
    page.get_by_role("link", name=re.compile("^DiaObject")).first.click()
    expect(page.get_by_role("heading", name=re.compile("^DiaObject"))).to_be_visible()
    expect(page.get_by_label("Period (days)")).to_be_visible()


@pytest.mark.requirement("DMS-PRTL-REQ-0004")
def test_an_epoch_leads_to_its_visit_image(page, portal, home):
    _, data_id, _ = datasets(home, "visit_image")[0]
    page.goto(f"{portal}/lightcurves?release=demo&ra=53.13&dec=-28.10")
    if page.get_by_role("alert").is_visible():
        pytest.fail(page.get_by_role("alert").inner_text())
    row = page.locator("tbody tr").filter(has_text=str(data_id["visit"]))
    row.first.click()
    page.get_by_role("link", name=f"Visit {data_id['visit']}").click()
    page.wait_for_selector(".viewer[data-drawn][data-image]")
    expect(page.get_by_label("Kind")).to_have_value("visit_image")


@pytest.mark.requirement("DMS-PRTL-REQ-0011")
def test_a_query_run_as_a_job_appears_and_can_be_aborted(page, portal):
    page.goto(f"{portal}/jobs")
    expect(page.get_by_text("You have no jobs yet")).to_be_visible()
    page.goto(f"{portal}/catalogs")
    page.get_by_role("button", name="Run as a job").click()
    expect(page.get_by_text("is queued")).to_be_visible()
    page.goto(f"{portal}/jobs")
    row = page.locator("tbody tr").first
    expect(row).to_contain_text("QUEUED")
    row.click()
    page.get_by_role("button", name="Abort").click()
    expect(page.locator("tbody tr").first).to_contain_text("ABORTED")
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_text("You have no jobs yet")).to_be_visible()


def test_dark_and_light_are_kept(page, portal):
    page.goto(f"{portal}/")
    expect(page.get_by_role("heading", name="Portal")).to_be_visible()
    before = page.locator("html").get_attribute("data-theme")
    page.get_by_role("button", name="Light / dark").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark" if before == "light" else "light")
    page.get_by_role("link", name="Catalogs", exact=True).click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark" if before == "light" else "light")


def test_a_platform_without_a_release_says_so_on_every_page(page, tmp_path, wait_for_server):
    (tmp_path / "home" / "releases").mkdir(parents=True)
    process, url = serve(tmp_path / "home", tmp_path / "log", wait_for_server)
    try:
        for path in ("/", "/images", "/catalogs", "/lightcurves"):
            page.goto(url + path)
            expect(page.get_by_text("There is no release yet")).to_be_visible()
        page.goto(f"{url}/jobs")
        expect(page.get_by_text("You have no jobs yet")).to_be_visible()
    finally:
        stop(process)


def test_a_portal_that_nobody_uses_keeps_no_core_busy(page, home, tmp_path, wait_for_server):
    process, url = serve(home, tmp_path / "portal.log", wait_for_server)
    try:
        page.goto(f"{url}/jobs")
        page.goto(f"{url}/catalogs")
        run_query(page, "SELECT coord_ra, coord_dec FROM demo.Object")
        page.goto("about:blank")
        page.wait_for_timeout(4000)
        before = psutil.Process(process.pid).cpu_times()
        page.wait_for_timeout(4000)
        after = psutil.Process(process.pid).cpu_times()
        assert after.user + after.system - before.user - before.system < 1.0
    finally:
        stop(process)
