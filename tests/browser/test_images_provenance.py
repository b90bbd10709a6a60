"""From image to image of the demo release: inputs, calibrations, what the camera says of a pixel; against SQL, files, Butler."""

from __future__ import annotations

import io
import re
from uuid import UUID

import duckdb
import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from browser.test_images_view import panel, picture, wait_until
from browser.test_portal_pages import browser, open_image, page, read_at, serve, stop
from playwright.sync_api import Page, expect
from starlette.testclient import TestClient

from skydesk_core.config import PublishConfig
from skydesk_core.instrument.simcam import SimCam
from skydesk_core.release import Release
from skydesk_core.release.publish import publish
from skydesk_core.release.testing import make_synthetic_release
from skydesk_portal.api.app import create_app
from skydesk_portal.config import PortalSettings
from skydesk_portal.factory import create_factory
from skydesk_portal.testing import FakeIdentityClient
from tests.support.services import ANN, IDENTITIES

__all__ = ["browser", "page"]


@pytest.fixture(scope="module")
def home(demo_home, tmp_path_factory):
    """A home with the demo release, its calibrations published as ``frames`` with their exposures, and two ``rafts``."""
    folder = tmp_path_factory.mktemp("provenance-pages")
    (folder / "butler").symlink_to(demo_home / "butler", target_is_directory=True)
    settings = PublishConfig(hips=False, alerts=False, calibration_exposures=True)
    publish(folder, "frames", "demo/CPP", settings=settings)
    make_synthetic_release(folder / "releases" / "rafts", "rafts", objects=60, visits=4, detectors=2)
    (folder / "releases" / "demo").symlink_to(demo_home / "releases" / "demo", target_is_directory=True)
    return folder


@pytest.fixture(scope="module")
def portal(home, wait_for_server):
    process, url = serve(home, home / "portal.log", wait_for_server)
    yield url
    stop(process)


@pytest.fixture(scope="module")
def catalog(home):
    with duckdb.connect(str(home / "releases/demo/catalogs.duckdb"), read_only=True) as found:
        yield found


@pytest.fixture(scope="module")
def butler(home):
    with Release.open(home / "releases/demo").get_butler() as found:
        yield found


@pytest.fixture(scope="module")
def services(home):
    """The data services over the same releases, in this process."""
    settings = PortalSettings(home=home, run=home / "run", url="http://services.example")
    factory = create_factory(settings, FakeIdentityClient(IDENTITIES))
    with TestClient(create_app(settings, factory), base_url=settings.url) as client:
        client.headers["Authorization"] = f"Bearer {ANN}"
        yield client


def show_provenance(page: Page) -> None:
    panel(page, "h")
    page.get_by_role("button", name="What the image was made of").click()


def related(page: Page, part: str) -> set[tuple[str, str]]:
    """Type and title of what one part of the sheet lists."""
    expect(page.locator(".sheet-table")).to_be_visible()
    rows = page.locator(".sheet-table tr").evaluate_all(
        "rows => rows.map(r => [r.querySelector('.part')?.textContent ?? '', ...[...r.children].map(c => c.textContent)])"
    )
    found, inside = set(), False
    for heading, *cells in rows:
        if heading:
            inside = heading == part
        elif inside and len(cells) == 3:
            found.add((cells[0], cells[1]))
    return found


def expect_image(page: Page, dataset_id: str) -> None:
    expect(page.locator(f".viewer[data-drawn][data-image='{dataset_id}']")).to_be_visible()


@pytest.mark.requirement("DMS-PRTL-REQ-0006")
def test_a_coadd_leads_to_the_visits_in_it_and_they_lead_back(page, portal, catalog):
    coadd, title = catalog.execute(
        "SELECT dataset_id, obs_title FROM ObsCore WHERE dataset_type = 'deep_coadd' ORDER BY obs_title LIMIT 1"
    ).fetchone()
    visits = catalog.execute(
        "SELECT o.obs_title, o.dataset_id, o.lsst_visit FROM Provenance p JOIN ObsCore o ON o.dataset_id = p.input_id "
        "WHERE p.dataset_id = ? AND p.input_type = 'visit_image' ORDER BY o.lsst_visit",
        [coadd],
    ).fetchall()
    assert len(visits) > 1
    open_image(page, portal, f"release=demo&id={coadd}")
    show_provenance(page)
    assert related(page, "Made of") == {("visit_image", name) for name, _, _ in visits}
    name, dataset_id, visit = visits[-1]
    page.get_by_role("button", name=name, exact=True).click()
    expect_image(page, dataset_id)
    expect(page).to_have_url(re.compile(f"id={dataset_id}"))
    expect(page.get_by_label("Visit", exact=True)).to_have_value(f"visit {visit}")
    # The sheet of the visit image opens by itself and leads back.
    back = page.get_by_role("button", name=title, exact=True)
    expect(back).to_be_visible()
    used = catalog.execute(
        "SELECT p.dataset_type, o.obs_title FROM Provenance p JOIN ObsCore o USING (dataset_id) WHERE p.input_id = ?",
        [dataset_id],
    ).fetchall()
    assert related(page, "Used for") == set(used)
    back.click()
    expect_image(page, coadd)
    expect(page.get_by_label("Patch", exact=True)).to_have_value(re.compile("tract 0, patch"))


@pytest.mark.requirement("DMS-PRTL-REQ-0005")
def test_a_bias_is_reached_by_browsing_and_from_an_image_made_with_it(page, portal, catalog, butler):
    visit = catalog.execute(
        "SELECT dataset_id FROM ObsCore WHERE dataset_type = 'visit_image' ORDER BY lsst_visit LIMIT 1"
    ).fetchone()[0]
    inputs = catalog.execute(
        "SELECT p.input_type, coalesce(o.obs_title, ''), p.input_id FROM Provenance p "
        "LEFT JOIN ObsCore o ON o.dataset_id = p.input_id WHERE p.dataset_id = ?",
        [visit],
    ).fetchall()
    bias = next(i for kind, _, i in inputs if kind == "bias")
    open_image(page, portal, f"release=demo&id={visit}")
    show_provenance(page)
    listed = related(page, "Made of")
    assert {kind for kind, _ in listed} == {kind for kind, _, _ in inputs}
    assert {("bias", name) for kind, name, _ in inputs if kind == "bias"} <= listed
    page.locator(".sheet-table tr").filter(has_text=re.compile("^bias")).get_by_role("button").click()
    expect_image(page, bias)
    # By browsing: the list of kinds of the page.
    page.goto("about:blank")
    open_image(page, portal, f"release=demo&id={visit}")
    page.get_by_label("Kind", exact=True).select_option("bias")
    expect_image(page, bias)
    expect(page.get_by_label("Calibration", exact=True)).to_have_value(re.compile("SimCam-bias-0"))
    # And it is the bias: its pixels are those of the file, in electrons.
    image = butler.get(butler.get_dataset(UUID(bias)))
    box = page.locator(".map").bounding_box()
    for dx, dy in ((0, 0), (70, 40), (-90, 65)):
        values = read_at(page, box["x"] + box["width"] / 2 + dx, box["y"] + box["height"] / 2 + dy)
        value = image.image.array[int(values["y"]), int(values["x"])]
        assert np.float32(float(values["value"])) == np.float32(value)
    expect(page.locator(".readout .value")).to_contain_text("electron")


@pytest.mark.requirement("DMS-PRTL-REQ-0084")
def test_the_readout_tells_where_a_pixel_is_in_the_camera_and_on_the_sky(page, portal, butler):
    # One page for all kinds: what the readout shows is chosen once.
    for kind in ("visit_image", "raw", "flat"):
        check_places(page, portal, butler, kind)


def check_places(page, portal, butler, kind):
    ref = butler.query_datasets(kind, collections="*", find_first=False)[0]
    image = butler.get(ref)
    detector = next(d for d in SimCam.describe().detectors if d.id == ref.dataId["detector"])
    height, width = detector.bbox.shape
    open_image(page, portal, f"release=demo&id={ref.id}&x=512&y=500&r=1.5")
    page.get_by_role("button", name="Choose what the readout shows").click()
    for part in ("Pixel of the raw file", "Focal plane, pixels from the boresight"):
        page.get_by_label(part).check()
    page.keyboard.press("Escape")
    readout, box = page.locator(".readout"), page.locator(".map").bounding_box()
    expect(readout).to_be_visible()
    seen = set()
    for dx, dy in ((-280, 60), (-120, -90), (0, 0), (130, 40), (215, -40)):
        values = read_at(page, box["x"] + box["width"] / 2 + dx, box["y"] + box["height"] / 2 + dy)
        x, y = int(values["x"]), int(values["y"])
        expect(readout.locator(".pixel")).to_have_text(re.compile(rf"x {x}\s+y {y}"))

        def inside(part, x=x, y=y):
            area = part.raw_bbox if kind == "raw" else part.bbox
            return area.x0 <= x < area.x1 and area.y0 <= y < area.y1

        part = next((a for a in detector.amplifiers if inside(a)), None)
        if part is None:  # the prescan and the overscan of a raw see no light
            assert kind == "raw"
            expect(readout.locator(".focal")).to_have_count(0)
            continue
        seen.add(part.name)
        area = part.raw_bbox if kind == "raw" else part.bbox
        raw = (x - area.x0 + part.raw_bbox.x0, y - area.y0 + part.raw_bbox.y0)
        focal = (
            x - area.x0 + part.bbox.x0 - (width - 1) / 2 + detector.offset_x,
            y - area.y0 + part.bbox.y0 - (height - 1) / 2 + detector.offset_y,
        )
        expect(readout.locator(".detector")).to_have_text(f"det {detector.id} {part.name}")
        expect(readout.locator(".electronic")).to_have_text(f"raw x {raw[0]}  y {raw[1]}")
        expect(readout.locator(".focal")).to_have_text(f"focal plane x {focal[0]:.1f}  y {focal[1]:.1f} px")
        if kind != "visit_image":
            assert "ra" not in values
            continue
        sky = image.sky_projection.as_astropy(image.bbox)
        ra, dec = np.degrees(sky.pixel_to_world_values(float(values["px"]), float(values["py"])))
        off = np.hypot((float(values["ra"]) - ra % 360) * np.cos(np.radians(dec)), float(values["dec"]) - dec)
        assert off * 3.6e6 < 10
    assert len(seen) >= 3


def shown_at(page: Page, x: float, y: float) -> tuple[float, float]:
    """Place on the page of an array pixel, from the view that the address tells."""
    query = dict(re.findall(r"[?&](x|y|r)=([-\d.]+)", page.url))
    box = page.locator(".map").bounding_box()
    return (
        box["x"] + box["width"] / 2 + (x - float(query["x"])) / float(query["r"]),
        box["y"] + box["height"] / 2 - (y - float(query["y"])) / float(query["r"]),
    )


@pytest.mark.requirement("DMS-PRTL-REQ-0062")
def test_images_of_one_exposure_show_the_pixels_of_their_files(page, portal, home):
    for release, kind, purpose in (
        ("demo", "raw", "science"),
        ("demo", "visit_image", None),
        ("demo", "difference_image", None),
        ("frames", "raw", "bias"),
        ("frames", "raw", "flat"),
    ):
        check_pixels(page, portal, home, release, kind, purpose)


def check_pixels(page, portal, home, release, kind, purpose):
    with Release.open(home / "releases" / release).get_butler() as butler:
        where = f"exposure.observation_type = '{purpose}'" if purpose else ""
        ref = butler.query_datasets(kind, where=where, limit=1)[0]
        path = butler.getURI(ref).ospath
    with fits.open(path) as file:
        pixels = next(unit.data for unit in file if unit.is_image and unit.header["NAXIS"] == 2)
    height, width = pixels.shape
    open_image(page, portal, f"release={release}&id={ref.id}")
    # What is behind it: its purpose stands in the list of exposures.
    if purpose in ("bias", "flat"):
        expect(page.get_by_label("Visit", exact=True)).to_have_value(re.compile(rf"\({purpose}\)$"))
    assert picture(page).std() > 5
    for x, y in (
        (40, 30),
        (150, height - 20),
        (width // 2, height // 2),
        (width - 60, 70),
        (width - 10, 500),
    ):
        values = read_at(page, *shown_at(page, x, y))
        px, py = int(values["x"]), int(values["y"])
        assert max(abs(px - x), abs(py - y)) <= 3
        assert np.array_equal(np.float32(float(values["value"])), np.float32(pixels[py, px]), equal_nan=True)
    if kind != "raw":
        return
    # The overscan is on the screen: between two amplifiers there is a strip that saw no light.
    first, second = SimCam.describe().detectors[0].amplifiers[:2]
    strip, light = first.overscan_bbox, second.raw_bbox
    part = pixels[:, strip.x0 : strip.x1]
    values = read_at(page, *shown_at(page, strip.x0 + 16, 300))
    assert strip.x0 <= int(values["x"]) < strip.x1
    if purpose != "bias":
        shown, box = picture(page).mean(axis=2), page.locator(".map").bounding_box()
        columns = [
            int(shown_at(page, x, 0)[0] - box["x"])
            for x in (strip.x0 + 4, strip.x1 - 4, light.x0 + 40, light.x1 - 40)
        ]
        rows = sorted(int(shown_at(page, 0, y)[1] - box["y"]) for y in (100, 900))
        dark, bright = (np.median(shown[rows[0] : rows[1], a:b]) for a, b in (columns[:2], columns[2:]))
        assert np.median(pixels[:, light.x0 : light.x1]) > np.median(part) + 20
        assert bright > dark + 20


@pytest.mark.requirement("DMS-PRTL-REQ-0064")
@pytest.mark.parametrize("kind", ["visit_image", "difference_image"])
def test_a_cut_out_has_the_pixels_of_the_cut_out_service(page, portal, catalog, services, kind):
    dataset_id, ra, dec, visit = catalog.execute(
        "SELECT o.dataset_id, s.ra, s.dec, o.lsst_visit FROM ObsCore o JOIN Source s "
        "ON s.visit = o.lsst_visit AND s.detector = o.lsst_detector WHERE o.dataset_type = ? AND s.x BETWEEN 200 AND 800 "
        "AND s.y BETWEEN 200 AND 800 ORDER BY o.lsst_visit DESC, s.psfFlux DESC LIMIT 1",
        [kind],
    ).fetchone()
    answer = services.get(
        "/api/cutout/sync",
        params={"ID": f"ivo://skydesk/demo?repo=demo&id={dataset_id}", "CIRCLE": f"{ra} {dec} {15 / 3600}"},
    )
    with fits.open(io.BytesIO(answer.content)) as file:
        part = next(unit for unit in file if unit.is_image and unit.header["NAXIS"] == 2)
        pixels, wcs, origin = (
            part.data,
            WCS(part.header),
            (-int(part.header["LTV1"]), -int(part.header["LTV2"])),
        )
    assert 100 < pixels.shape[0] < 200
    open_image(page, portal, f"release=demo&id={dataset_id}")
    page.get_by_label("Position (RA Dec)").fill(f"{ra} {dec}")
    page.get_by_label("Cut-out (arcsec)").fill("30")
    page.get_by_role("button", name="Find", exact=True).click()
    page.wait_for_selector(".viewer[data-drawn][data-image^='cutout-']")
    expect(page.get_by_label("Visit", exact=True)).to_have_value(f"visit {visit}")
    expect(page).to_have_url(re.compile("id=cutout-"))
    name = re.search(r"id=(cutout-[^&]+)", page.url)[1]
    meta = page.evaluate("u => fetch(u).then(r => r.json())", f"{portal}/tiles/demo/{name}/meta")
    assert tuple(meta["shape"]) == pixels.shape
    # All of it is in view, and the readout tells the value of the service's file everywhere.
    height, width = pixels.shape
    for x, y in ((3, 3), (width - 4, 5), (width // 2, height // 2), (7, height - 6), (width - 3, height - 3)):
        values = read_at(page, *shown_at(page, x, y))
        px, py = int(values["x"]), int(values["y"])
        assert max(abs(px - x), abs(py - y)) <= 1
        assert np.array_equal(np.float32(float(values["value"])), pixels[py, px], equal_nan=True)
        expect(page.locator(".readout .pixel")).to_have_text(f"x {px + origin[0]}  y {py + origin[1]}")
        sky = wcs.all_pix2world(float(values["px"]), float(values["py"]), 0)
        at = SkyCoord(float(values["ra"]), float(values["dec"]), unit="deg")
        assert at.separation(SkyCoord(*sky, unit="deg")).mas < 10


@pytest.mark.requirement("DMS-PRTL-REQ-0104")
def test_a_place_stays_while_exposures_change_and_a_moving_body_moves_over_it(page, portal, catalog, butler):
    body = catalog.execute(
        "SELECT id, visit // 100000 AS night FROM truth_dia WHERE kind = 'mover' GROUP BY ALL HAVING count(*) = 3 ORDER BY ALL LIMIT 1"
    ).fetchone()
    epochs = catalog.execute(
        "SELECT visit, ra, dec FROM truth_dia WHERE kind = 'mover' AND id = ? AND visit // 100000 = ? ORDER BY mjd",
        body,
    ).fetchall()
    truth = SkyCoord([e[1] for e in epochs], [e[2] for e in epochs], unit="deg")
    place = truth[1]
    assert min(place.separation(truth[i]).arcsec for i in (0, 2)) > 2
    first = catalog.execute(
        "SELECT dataset_id FROM ObsCore WHERE dataset_type = 'visit_image' ORDER BY t_min LIMIT 1"
    ).fetchone()[0]
    open_image(page, portal, f"release=demo&id={first}")
    panel(page, "e")
    page.get_by_label("Position (RA Dec in degrees)").fill(f"{place.ra.deg:.7f} {place.dec.deg:.7f}")
    page.get_by_label("Side (arcsec)").fill("30")
    page.get_by_role("button", name="Show the exposures").click()
    words = page.locator(".panel p[role=status]")
    expect(words).to_contain_text("1 of 12:")
    exposures = catalog.execute(
        "SELECT lsst_visit FROM ObsCore WHERE dataset_type = 'visit_image' ORDER BY t_min"
    ).fetchall()
    seen, slider = [], page.get_by_label("Exposure", exact=True)
    for n, (visit, _, _) in enumerate(epochs):
        step = exposures.index((visit,)) + 1
        if n == 0:
            slider.fill(str(step - 1))
        else:
            page.get_by_role("button", name="The exposure after").click()
        expect(words).to_contain_text(re.compile(rf"^{step} of 12: .* visit {visit}$"))
        page.wait_for_selector(".viewer[data-drawn][data-image^='cutout-']")
        uuid, x0, y0 = re.search(r"id=cutout-([0-9a-f-]{36})-(\d+)_(\d+)_", page.url).groups()
        ref = butler.get_dataset(UUID(uuid))
        assert ref.dataId["visit"] == visit
        x, y, r = (float(re.search(rf"[?&]{key}=([-\d.]+)", page.url)[1]) for key in "xyr")
        projection = butler.get(ref.makeComponentRef("sky_projection")).as_astropy()
        centre = [float(np.degrees(v)) for v in projection.pixel_to_world_values(x + int(x0), y + int(y0))]
        other = [float(np.degrees(v)) for v in projection.pixel_to_world_values(x + int(x0), y + int(y0) + 1)]
        centre, other = (SkyCoord(*c, unit="deg") for c in (centre, other))
        pixel = centre.separation(other).arcsec
        # The middle of the view is the place, to a fraction of a pixel.
        assert centre.separation(place).arcsec < pixel
        limits = [page.get_by_label(f"{which} limit").input_value() for which in ("Lower", "Upper")]
        seen.append((r * pixel, limits))
        # The body is where it was: north is up and east is left.
        scale = r * pixel

        def brightness(k, scale=scale):
            east, north = (v.to_value(u.arcsec) for v in place.spherical_offsets_to(truth[k]))
            shown = picture(page).mean(axis=2)
            row = round(shown.shape[0] / 2 - north / scale)
            column = round(shown.shape[1] / 2 - east / scale)
            return np.median(shown[row - 4 : row + 5, column - 4 : column + 5])

        wait_until(page, lambda n=n: brightness(n) > 200, f"the body is not at its place in visit {visit}")
        assert all(brightness(k) < 150 for k in range(3) if k != n)
    assert len(seen) == 3
    scales, limits = zip(*seen, strict=True)
    assert np.allclose(scales, scales[0], rtol=1e-3)
    assert limits[0] == limits[1] == limits[2]
    # The address shows the same exposure of the series again.
    slider.fill("0")
    expect(words).to_contain_text("1 of 12:")
    expect(page).to_have_url(re.compile(f"id=cutout-{first}.*&ep="))
    address = page.url
    page.goto("about:blank")
    page.goto(address)
    page.wait_for_selector(".viewer[data-drawn][data-image^='cutout-']")
    panel(page, "e")
    expect(words).to_contain_text("1 of 12:")
    page.get_by_role("button", name="The exposure before").click()
    expect(words).to_contain_text("12 of 12:")


@pytest.mark.requirement("DMS-PRTL-REQ-0036")
def test_a_raft_narrows_the_list_of_visit_images_to_its_detectors(page, portal, home):
    with duckdb.connect(str(home / "releases/rafts/catalogs.duckdb"), read_only=True) as found:
        counts = dict(
            found.execute(
                "SELECT lsst_detector, count(*) FROM ObsCore WHERE dataset_type = 'visit_image' GROUP BY ALL"
            ).fetchall()
        )
    with Release.open(home / "releases/rafts").get_butler() as butler:
        records = butler.query_dimension_records("detector", instrument="SimCam")
    members = {r.raft: {d.id for d in records if d.raft == r.raft} & set(counts) for r in records}
    assert sum(bool(detectors) for detectors in members.values()) == 2
    wanted, detectors = next((name, found) for name, found in members.items() if found == {1})
    page.goto(f"{portal}/imagesearch?release=rafts&kind=visit_image")
    expect(page.get_by_label("Raft", exact=True)).to_have_value("all")
    assert page.get_by_label("Raft", exact=True).locator("option").all_inner_texts() == [
        "all",
        *sorted(name for name, inside in members.items() if inside),
    ]
    page.get_by_label("Raft", exact=True).select_option(wanted)
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.get_by_text(re.compile(rf"^{counts[1]} images, "))).to_be_visible()
    expect(page).to_have_url(re.compile(f"raft={wanted}"))
    rows = page.get_by_role("row").filter(has_text="visit_image")
    expect(rows).to_have_count(sum(counts[number] for number in detectors))
    headings = page.get_by_role("columnheader").all_inner_texts()
    at = next(n for n, text in enumerate(headings) if "lsst_detector" in text)
    shown = {row.get_by_role("cell").nth(at).inner_text() for row in rows.all()}
    assert shown == {str(number) for number in detectors}
    # The address asks the same again.
    page.goto(page.url)
    expect(page.get_by_label("Raft", exact=True)).to_have_value(wanted)
    expect(page.get_by_text(re.compile(rf"^{counts[1]} images, "))).to_be_visible()
