"""What lies over the images: catalogs, grids, compass, figures; their places after astropy, and addresses that keep them."""

from __future__ import annotations

import base64
import io
import json
import re

import duckdb
import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import BarycentricMeanEcliptic, Galactic, SkyCoord
from astropy.io import fits
from astropy.utils import iers
from browser.test_images_view import DATA, choose_tool, panel, picture, points_to, result, upload, wait_until
from browser.test_portal_pages import browser, datasets, home, open_image, page, portal, read_at, run_query
from PIL import Image
from playwright.sync_api import Page, expect
from scipy.ndimage import find_objects, label

__all__ = ["browser", "home", "page", "portal"]

iers.conf.auto_download = False
FRAMES = {"ICRS": "icrs", "galactic": Galactic(), "ecliptic": BarycentricMeanEcliptic()}


@pytest.fixture(scope="module")
def visit_image(home):
    """Identifier, data ID and image of a visit."""
    return datasets(home, "visit_image")[0]


@pytest.fixture(scope="module")
def catalog(home):
    with duckdb.connect(str(home / "releases/demo/catalogs.duckdb"), read_only=True) as found:
        yield found


def to_sky(image, x, y) -> SkyCoord:
    ra, dec = image.sky_projection.as_astropy(image.bbox).pixel_to_world_values(np.asarray(x), np.asarray(y))
    return SkyCoord(ra, dec, unit="rad")


def to_pixel(image, sky: SkyCoord) -> np.ndarray:
    wcs = image.sky_projection.as_astropy(image.bbox)
    return np.stack(wcs.world_to_pixel_values(sky.icrs.ra.rad, sky.icrs.dec.rad), axis=-1)


def symbols(page: Page, title: str, view: tuple[float, float, float]) -> np.ndarray:
    """Middles of the symbols on a catalog's own canvas, in array pixels, shape (n, 2)."""
    canvas = page.locator(f"canvas.sd-sources[data-title='{title}']")
    expect(canvas).to_have_attribute("data-drawn", re.compile(r"^[1-9]"))
    content = canvas.evaluate("e => e.toDataURL('image/png')").split(",")[1]
    alpha = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))).convert("RGBA"))[:, :, 3]
    boxes = find_objects(label(alpha > 40, np.ones((3, 3)))[0])
    height, width = alpha.shape
    x, y, resolution = view
    middles = np.array([[(b[1].start + b[1].stop) / 2, (b[0].start + b[0].stop) / 2] for b in boxes])
    return np.stack(
        [x + (middles[:, 0] - width / 2) * resolution, y - (middles[:, 1] - height / 2) * resolution], axis=1
    )


def nearest(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Distance of each point to the nearest of the others."""
    return np.hypot(*(points[:, None, :] - others[None, :, :]).transpose(2, 0, 1)).min(axis=1)


def address_holds(page: Page, part: str) -> None:
    expect(page).to_have_url(re.compile(rf"[?&]{part}"))


@pytest.mark.requirement("DMS-PRTL-REQ-0100")
@pytest.mark.requirement("DMS-PRTL-REQ-0076")
def test_twenty_rows_of_a_users_csv_are_twenty_symbols_within_a_pixel(page, portal, visit_image):
    dataset_id, _, image = visit_image
    view = (250.0, 250.0, 1.0)
    open_image(page, portal, f"release=demo&id={dataset_id}&x=250&y=250&r=1")
    rng = np.random.default_rng(5)
    x, y = (v.ravel() for v in np.meshgrid(np.linspace(60, 440, 5), np.linspace(80, 420, 4)))
    places = np.stack([x, y], axis=1) + rng.uniform(-15, 15, (20, 2))
    sky = to_sky(image, *places.T)
    lines = [f"star {n},{s.ra.deg:.9f},{s.dec.deg:.9f}" for n, s in enumerate(sky)]
    table = "\n".join(["name,RAJ2000,DEJ2000", *lines, "far away,233.0,28.0", "nowhere,,"])
    panel(page, "a")
    page.get_by_label("Table file").set_input_files(
        {"name": "my list.csv", "mimeType": "text/csv", "buffer": table.encode()}
    )
    expect(page.locator(".panel p[role=status]")).to_have_text("20 rows of my_list on this image.")
    shown = symbols(page, "my_list", view)
    assert len(shown) == 20
    assert nearest(places, shown).max() < 1
    # The same rows by the pixels of the file, counted from 1.
    pixels = "\n".join(["x_image,y_image", *(f"{a + 1:.4f},{b + 1:.4f}" for a, b in places)])
    page.get_by_label("Table file").set_input_files(
        {"name": "pixels.csv", "mimeType": "text/csv", "buffer": pixels.encode()}
    )
    expect(page.locator(".panel p[role=status]")).to_have_text("20 rows of pixels on this image.")
    shown = symbols(page, "pixels", view)
    assert len(shown) == 20
    assert nearest(places, shown).max() < 1
    page.keyboard.press("Escape")
    page.mouse.click(*points_to(page, *view, tuple(places[7])))
    card = page.get_by_role("region", name="Selected source")
    expect(card).to_contain_text(re.compile(r"(my_list|pixels), row 8"))


@pytest.mark.requirement("DMS-PRTL-REQ-0098")
@pytest.mark.requirement("DMS-PRTL-REQ-0044")
@pytest.mark.requirement("DMS-PRTL-REQ-0076")
def test_rows_of_the_catalogs_page_lie_on_the_image_and_a_click_finds_them_again(
    page, portal, visit_image, catalog
):
    dataset_id, data_id, image = visit_image
    xy0 = np.array([image.bbox.x.start, image.bbox.y.start])
    page.goto(f"{portal}/catalogs")
    run_query(page, "SELECT sourceId, x, y, psfFlux, visit, detector FROM demo.Source WHERE psfFlux > 2000")
    expect(page.get_by_text(re.compile("1–50 of"))).to_be_visible()
    run_query(page, "SELECT objectId, coord_ra, coord_dec, r_psfFlux FROM demo.Object WHERE r_psfFlux > 300")
    expect(page.get_by_text(re.compile(r"rows in [\d.]+ s"))).to_be_visible()
    page.get_by_label("Filter r_psfFlux", exact=True).fill("> 800")
    page.get_by_label("Filter r_psfFlux", exact=True).press("Enter")
    rows = catalog.sql("SELECT objectId, coord_ra, coord_dec FROM Object WHERE r_psfFlux > 800").df()
    expect(page.get_by_text(f"of {len(rows):,}", exact=False).first).to_be_visible()
    # The rows that the table shows, on the image that shows the first of them.
    link = page.get_by_role("link", name="Show on an image")
    expect(link).to_have_attribute("href", re.compile("where="))
    link.click()
    page.wait_for_selector(".viewer[data-drawn][data-image]")
    expect(page.locator("canvas.sd-sources[data-title='Object']")).to_have_attribute(
        "data-drawn", re.compile("^[1-9]")
    )
    address_holds(page, "o=")
    assert "result=" not in page.url

    open_image(page, portal, f"release=demo&id={dataset_id}&x=250&y=250&r=1")
    panel(page, "a")
    kept = page.get_by_label("Kept result")
    for name in ("Source", "Object"):
        option = kept.locator("option", has_text=re.compile(rf"^{name} "))
        expect(option).to_have_count(1)
        kept.select_option(value=option.get_attribute("value"))
        page.get_by_role("button", name="Draw the rows of this result over the image").click()
        expect(page.locator(".panel p[role=status]")).to_contain_text(f"rows of {name} on this image")
    here = catalog.sql(
        f"SELECT sourceId, x, y FROM Source WHERE psfFlux > 2000 AND visit = {data_id['visit']} "
        f"AND detector = {data_id['detector']}"
    ).df()
    places = here[["x", "y"]].to_numpy() - xy0
    shown = symbols(page, "Source", (250.0, 250.0, 1.0))
    inside = places[((places > 20) & (places < 480)).all(axis=1)]
    alone = inside[[(np.hypot(*(p - places).T) < 25).sum() == 1 for p in inside]]
    assert len(alone) > 5
    assert nearest(alone, shown).max() < 1
    objects = catalog.sql("SELECT coord_ra, coord_dec FROM Object WHERE r_psfFlux > 300").df().to_numpy()
    places = to_pixel(image, SkyCoord(*objects.T, unit="deg"))
    inside = places[((places > 20) & (places < 480)).all(axis=1)]
    alone = inside[[(np.hypot(*(p - places).T) < 25).sum() == 1 for p in inside]]
    assert len(alone) > 5
    assert nearest(alone, symbols(page, "Object", (250.0, 250.0, 1.0))).max() < 1
    for name in ("Object",):
        page.get_by_role("button", name=f"Remove {name} from the image").click()
    page.keyboard.press("Escape")
    star = here.iloc[int(np.argmin(np.hypot(*(here[["x", "y"]].to_numpy() - xy0 - 250).T)))]
    page.mouse.click(*points_to(page, 250, 250, 1, (star.x - xy0[0], star.y - xy0[1])))
    expect(page.get_by_role("region", name="Selected source")).to_contain_text(str(here.sourceId[star.name]))


@pytest.mark.requirement("DMS-PRTL-REQ-0077")
def test_places_colours_opacity_and_words_change_and_the_address_keeps_them(page, portal, home, tmp_path):
    dataset_id, _, image = datasets(home, "deep_coadd")[0]
    open_image(page, portal, f"release=demo&id={dataset_id}&x=250&y=250&r=1&src=Object")
    sky = to_sky(image, [200.0, 300.0], [200.0, 330.0])
    panel(page, "a")
    rows = "\n".join(["id,ra,dec", *(f"{n},{s.ra.deg},{s.dec.deg}" for n, s in enumerate(sky))])
    page.get_by_label("Table file").set_input_files(
        {"name": "two.csv", "mimeType": "text/csv", "buffer": rows.encode()}
    )
    canvas = page.locator("canvas.sd-sources[data-title='two']")
    expect(canvas).to_have_attribute("data-drawn", "2")

    def colours() -> np.ndarray:
        """Colour where it is purest, opacity and number of pixels of the catalog's symbols."""
        content = canvas.evaluate("e => e.toDataURL('image/png')").split(",")[1]
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))).convert("RGBA")).reshape(-1, 4)
        bright = pixels[(pixels[:, :3].max(axis=1) > 120)]
        return np.array([*bright[np.argmax(bright[:, 3])].astype(float), len(bright)])

    page.get_by_label("Colour of the symbols").fill("#00ff00")
    wait_until(
        page, lambda: bool(np.abs(colours()[:3] - [0, 255, 0]).max() < 15), "the colour did not change"
    )
    before = colours()
    page.get_by_label("Size of the symbols").fill("4")
    wait_until(page, lambda: bool(colours()[4] > 1.5 * before[4]), "the size did not change")
    page.get_by_label("Opacity of the symbols").fill("0.4")
    wait_until(page, lambda: bool(colours()[3] < 200), "the opacity did not change")
    page.get_by_label("Symbol", exact=True).select_option("triangle")
    page.get_by_label("Words").select_option("id")
    page.get_by_role("button", name="Overlays").click()
    page.get_by_label("Symbol of the sources").select_option("square")
    page.get_by_label("Fainter than (mag)").fill("20")
    page.get_by_label("Fainter than (mag)").press("Enter")
    page.get_by_label("Compass and scale").select_option("top right")
    furniture = page.locator(".furniture").bounding_box()
    frame = page.locator(".map").bounding_box()
    assert furniture["x"] > frame["x"] + frame["width"] / 2
    assert furniture["y"] < frame["y"] + frame["height"] / 2
    moc = tmp_path / "half.moc"
    moc.write_text("0/0-5 7/100000-100200", encoding="utf-8")
    page.get_by_label("Open a coverage map (MOC)").locator("visible=false").set_input_files(moc)
    where = f"{sky[0].ra.deg},{sky[0].dec.deg}"
    page.get_by_label("Regions in DS9's form").fill(
        f'icrs\ncircle({where},4") # color=red text={{here it is}}'
    )
    page.get_by_role("button", name="Draw the regions").click()
    for grid in ("ICRS", "ecliptic"):
        page.get_by_label(f"{grid} grid").check()
    address_holds(page, "g=ICRS%2Cecliptic")
    address_holds(page, r"o=[A-Za-z0-9_-]{100}")
    page.wait_for_load_state("networkidle")
    page.keyboard.press("Escape")
    before, address = picture(page), page.url
    assert len(address) <= 2000
    page.goto("about:blank")
    page.goto(address)
    page.wait_for_selector(".viewer[data-drawn][data-image]")
    expect(canvas).to_have_attribute("data-drawn", "2")
    wait_until(
        page,
        lambda: bool((np.abs(picture(page) - before).max(axis=2) > 8).mean() < 0.002),
        "it looks otherwise",
    )
    page.get_by_role("button", name="Overlays").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Save all regions").click()
    assert "text={here it is}" in download.value.path().read_text(encoding="utf-8")
    expect(page.get_by_label("Compass and scale")).to_have_value("top right")


def test_what_is_too_long_for_an_address_is_kept_for_its_owner(page, portal, browser, home):
    dataset_id, _, image = datasets(home, "deep_coadd")[0]
    open_image(page, portal, f"release=demo&id={dataset_id}&x=250&y=250&r=1")
    rng = np.random.default_rng(2)
    sky = to_sky(image, rng.uniform(20, 480, 400), rng.uniform(20, 480, 400))
    page.get_by_role("button", name="Overlays").click()
    text = "icrs\n" + "\n".join(f'circle({s.ra.deg:.8f},{s.dec.deg:.8f},1.5")' for s in sky)
    page.get_by_label("Regions in DS9's form").fill(text)
    page.get_by_role("button", name="Draw the regions").click()
    address_holds(page, r"o=\.[0-9a-f]{24}(&|$)")
    address = page.url
    assert len(address) <= 2000
    page.goto("about:blank")
    page.goto(address)
    page.wait_for_selector(".viewer[data-drawn][data-image]")
    page.get_by_role("button", name="Overlays").click()

    def saved() -> str:
        with page.expect_download() as download:
            page.get_by_role("button", name="Save all regions").click()
        return download.value.path().read_text(encoding="utf-8")

    wait_until(page, lambda: saved().count("circle(") == 400, "the regions are not those of the address")
    numbers = np.array(re.findall(r"circle\(([\d.]+),(-[\d.]+)", saved()), float)
    assert SkyCoord(*numbers.T, unit="deg").separation(sky).mas.max() < 1
    other = browser.new_context(extra_http_headers={"Authorization": "Bearer token-of-dora"})
    stranger = other.new_page()
    stranger.goto(address)
    stranger.wait_for_selector(".viewer[data-drawn][data-image]")
    expect(stranger.locator(".message")).to_contain_text("belongs to the view of somebody else")
    other.close()


@pytest.mark.requirement("DMS-PRTL-REQ-0086")
def test_three_grids_together_cross_where_astropy_says(page, portal, visit_image):
    dataset_id, _, image = visit_image
    view = (250.0, 250.0, 2.5)
    query = f"release=demo&id={dataset_id}&x=250&y=250&r=2.5&hi=1e9&lo=-1e9&s=linear"
    open_image(page, portal, query)
    before = picture(page)
    page.get_by_role("button", name="Overlays").click()
    for frame in FRAMES:
        page.get_by_label(f"{frame} grid").check()
    page.keyboard.press("Escape")
    page.mouse.move(5, 5)
    overlay = page.locator("canvas.overlay").first
    expect(overlay).to_have_attribute("data-grid", re.compile("ICRS.*galactic.*ecliptic"))
    changed = np.zeros(0)

    def settled() -> bool:
        nonlocal changed
        last, changed = changed, np.abs(picture(page) - before).max(axis=2)
        return last.shape == changed.shape and bool((last == changed).all()) and bool((changed > 25).any())

    wait_until(page, settled, "the grids are not drawn")
    # Lines are narrow: what is asked of the crossings holds nearly nowhere else.
    assert (changed > 25).mean() < 0.1
    height, width = changed.shape
    for name, frame in FRAMES.items():
        lines = json.loads(overlay.get_attribute("data-grid"))[name]
        lons = [value for kind, value in lines if kind == "lon"]
        lats = [value for kind, value in lines if kind == "lat"]
        met = 0
        for lon in lons:
            for lat in lats:
                x, y = to_pixel(image, SkyCoord(lon * u.deg, lat * u.deg, frame=frame))
                px = width / 2 + (x - view[0]) / view[2]
                py = height / 2 - (y - view[1]) / view[2]
                if not (20 < px < width - 20 and 20 < py < height - 20):
                    continue
                column, row = round(px - 0.5), round(py - 0.5)
                near = changed[row - 1 : row + 2, column - 1 : column + 2]
                assert near.max() > 25, (name, lon, lat)
                met += 1
        assert met >= 3, name


@pytest.mark.requirement("DMS-PRTL-REQ-0087")
@pytest.mark.parametrize("turn", [0, 37])
def test_the_compass_points_north_and_east_on_a_turned_visit_image(page, portal, visit_image, turn):
    dataset_id, _, image = visit_image
    open_image(page, portal, f"release=demo&id={dataset_id}&x=250&y=250&r=1&rot={turn}")
    arrows = page.locator(".compass line")
    expect(arrows).to_have_count(2)
    here = to_sky(image, 250.0, 250.0)
    for arrow, bearing in ((arrows.nth(0), 0), (arrows.nth(1), 90)):
        ends = [float(arrow.get_attribute(key)) for key in ("x1", "y1", "x2", "y2")]
        shown = np.degrees(np.arctan2(ends[1] - ends[3], ends[2] - ends[0]))
        x, y = to_pixel(image, here.directional_offset_by(bearing * u.deg, 5 * u.arcsec))
        # The image is turned clockwise.
        true = np.degrees(np.arctan2(y - 250, x - 250)) - turn
        assert abs((shown - true + 180) % 360 - 180) < 1


@pytest.mark.requirement("DMS-PRTL-REQ-0088")
def test_a_polygon_and_a_circle_keep_their_corners_and_are_chosen_by_a_click(page, portal, visit_image):
    dataset_id, _, image = visit_image
    view = (250.0, 250.0, 1.0)
    open_image(page, portal, f"release=demo&id={dataset_id}&x=250&y=250&r=1")
    panel(page, "t")
    tool = page.get_by_label("Tool", exact=True)
    tool.select_option("polygon")
    corners = np.array([(200, 180), (260, 170), (300, 230), (250, 290), (190, 250)], float)
    for corner in corners:
        page.mouse.click(*points_to(page, *view, corner))
    page.locator(".map").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".result")).to_contain_text("pixels")
    tool.select_option("circle")
    start, rim = points_to(page, *view, (380, 300)), points_to(page, *view, (410, 340))
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*rim)
    page.mouse.up()
    tool.select_option("look")
    page.locator(".map").focus()
    page.keyboard.press("+")
    expect(page).to_have_url(re.compile(r"r=0\.5&"))
    page.wait_for_load_state("networkidle")
    page.mouse.click(*points_to(page, 250, 250, 0.5, (200 + 0.5, 181)))
    expect(page.locator(".figure strong")).to_contain_text("polygon at")
    page.get_by_label("Words at the figure").fill("my cluster")
    page.get_by_label("Colour of the figure").fill("#ff8800")
    page.get_by_role("button", name="Overlays").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Save all regions").click()
    saved = download.value.path().read_text(encoding="utf-8")
    polygon = re.search(r"polygon\(([^)]*)\) # color=#ff8800 text=\{my cluster\}", saved)
    numbers = np.array(polygon[1].split(","), float).reshape(-1, 2)
    kept = to_pixel(image, SkyCoord(*numbers.T, unit="deg"))
    assert np.abs(kept - corners).max() < 0.6
    circle = np.array(re.search(r"circle\(([\d.]+),(-[\d.]+),([\d.]+)\"", saved).groups(), float)
    assert np.abs(to_pixel(image, SkyCoord(*circle[:2], unit="deg")) - (380, 300)).max() < 0.6
    scale = to_sky(image, 380.0, 300.0).separation(to_sky(image, 381.0, 300.0)).arcsec
    assert circle[2] / scale == pytest.approx(50, abs=0.8)
    page.keyboard.press("Escape")

    def circle_is_chosen() -> bool:
        # A browser that is busy with drawing may take a press for the beginning of a drag.
        page.mouse.click(*points_to(page, 250, 250, 0.5, (380, 300)))
        page.wait_for_timeout(600)
        return "circle at" in "".join(page.locator(".figure strong").all_inner_texts())

    wait_until(page, circle_is_chosen, "a click does not choose the circle")


@pytest.mark.requirement("DMS-PRTL-REQ-0067")
@pytest.mark.requirement("DMS-PRTL-REQ-0070")
@pytest.mark.parametrize("kind", ["bias", "flat"])
def test_calibration_images_without_sky_coordinates_have_pixel_values_and_measures(page, portal, kind):
    folder = DATA / "ccd_calibration"
    if not folder.is_dir():
        pytest.skip("the folder with real data is absent")
    path = sorted(p for p in folder.iterdir() if kind in p.name.lower())[0]
    # The headers are difficult: they say everything but where the telescope pointed.
    with fits.open(path, ignore_missing_end=True) as file:
        pixels = np.asarray(file[0].data, float)
    open_image(page, portal, "release=demo")
    dataset_id = upload(page, [path])[0]
    page.goto("about:blank")
    open_image(page, portal, f"release=my-files&id={dataset_id}&x=450&y=450&r=1&s=linear")
    rng = np.random.default_rng(4)
    for x, y in rng.integers(330, 560, (5, 2)):
        values = read_at(page, *points_to(page, 450, 450, 1, (float(x), float(y))))
        px, py = int(values["x"]), int(values["y"])
        assert (px, py) == (x, y)
        assert float(values["value"]) == np.float32(pixels[py, px])
    assert page.locator(".readout .degrees, .readout .galactic").count() == 0
    expect(page.locator(".furniture")).to_be_hidden()
    choose_tool(page, "distance")
    page.locator(".map").focus()
    for key in ("Space", "ArrowRight", "ArrowUp", "Space"):
        page.keyboard.press(key)
    expect(page.locator(".result")).to_contain_text("pixels")
    found = result(page)
    assert float(found["pixels"]) == pytest.approx(60 * 2**0.5, rel=1e-4)
    assert "position angle" not in found
    page.keyboard.press("Escape")
    page.locator(".map").focus()
    page.keyboard.press("g")
    expect(page.locator(".message")).to_contain_text("no sky coordinates: there is no grid")


@pytest.mark.requirement("DMS-PRTL-REQ-0075")
def test_a_mask_plane_lies_where_its_bit_is_set_and_the_variance_is_that_of_the_file(
    page, portal, visit_image
):
    dataset_id, _, image = visit_image
    detected = image.mask.get("DETECTED")
    rows, columns = np.nonzero(detected[200:300, 200:300])
    x, y, resolution, half = int(columns[0]) + 200, int(rows[0]) + 200, 0.0625, 15
    open_image(page, portal, f"release=demo&id={dataset_id}&x={x}&y={y}&r={resolution}")
    panel(page, "m")
    before = picture(page)
    page.locator(".mask-line").filter(has_text=re.compile("^DETECTED$")).get_by_role("checkbox").check()

    def covered() -> np.ndarray:
        """Which array pixels around the middle look different now; the middle of each is looked at."""
        change = np.abs(picture(page) - before).max(axis=2)
        at = (np.arange(-half, half + 1) / resolution).astype(int)
        return change[change.shape[0] // 2 - at[:, None], change.shape[1] // 2 + at] > 8

    expected = detected[y - half : y + half + 1, x - half : x + half + 1]
    assert 10 < expected.sum() < expected.size - 10
    wait_until(page, lambda: np.array_equal(covered(), expected), "the overlay is not the plane of the mask")
    page.get_by_role("button", name="Choose what the readout shows").click()
    page.get_by_label("Noise (σ)").check()
    page.keyboard.press("Escape")
    box = page.locator(".map").bounding_box()
    values = read_at(page, box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    noise = float(np.sqrt(image.variance.array[int(values["y"]), int(values["x"])]))
    expect(page.locator(".readout .noise")).to_have_text(re.compile(re.escape(f"{noise:.4g}"[:4])))


@pytest.mark.requirement("DMS-PRTL-REQ-0065")
def test_a_patch_of_each_band_is_shown_as_it_was_stored(page, portal, home):
    patches = {data_id["band"]: (key, image) for key, data_id, image in datasets(home, "deep_coadd")}
    assert len(patches) >= 2
    for number, (dataset_id, image) in enumerate(patches.values()):
        pixels = image.image.array
        open_image(page, portal, f"release=demo&id={dataset_id}&x=260&y=240&r=1")
        shown = page.evaluate(
            "async (id) => (await (await fetch(`tiles/demo/${id}/meta`)).json()).shape", dataset_id
        )
        assert shown == list(pixels.shape)
        box = page.locator(".map").bounding_box()
        for dx, dy in np.random.default_rng(number).uniform(-200, 200, (5, 2)):
            values = read_at(page, box["x"] + box["width"] / 2 + dx, box["y"] + box["height"] / 2 + dy)
            stored = np.float32(pixels[int(values["y"]), int(values["x"])])
            assert np.array_equal(np.float32(float(values["value"])), stored, equal_nan=True)
