"""The image view's tools against independent answers: numpy, scipy, sep, astropy and published pictures."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from browser.test_portal_pages import ROOT, browser, datasets, home, open_image, page, portal, read_at
from PIL import Image
from playwright.sync_api import Page, expect

from bench.focal_plane import GeneratedCamera, make_focal_plane_release

__all__ = ["browser", "home", "page", "portal"]

DATA = Path(os.environ.get("SKYDESK_TEST_DATA", ROOT.parent / "shared" / "data"))


@pytest.fixture(scope="module")
def found(home):
    """Identifier and image of some datasets by kind, the coadds by band."""
    images = {kind: datasets(home, kind) for kind in ("visit_image", "deep_coadd", "template_coadd")}
    return {kind: [(d[0], d[2]) for d in group] for kind, group in images.items()}


def panel(page: Page, key: str) -> None:
    page.locator(".map").first.focus()
    page.keyboard.press(key)


def choose_tool(page: Page, name: str) -> None:
    if not page.locator(".panel").get_by_label("Tool", exact=True).is_visible():
        panel(page, "t")
    page.get_by_label("Tool", exact=True).select_option(name)


def result(page: Page) -> dict[str, str]:
    """The values of the measurement that was made last."""
    return json.loads(page.locator(".result").get_attribute("data-values"))


def points_to(page: Page, x: float, y: float, r: float, at: tuple[float, float]) -> tuple[float, float]:
    """Place on the page of an array pixel in a view with this centre and resolution."""
    box = page.locator(".map").first.bounding_box()
    return (
        box["x"] + box["width"] / 2 + (at[0] - x) / r,
        box["y"] + box["height"] / 2 - (at[1] - y) / r,
    )


def drag(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
    page.mouse.move(*end)
    page.mouse.up()


def place_at_centre(page: Page) -> None:
    page.locator(".map").focus()
    page.keyboard.press("Space")


def number(text: str) -> float:
    return float(text.split()[0])


def picture(page: Page) -> np.ndarray:
    content = page.locator(".map").first.screenshot()
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), int)


def wait_until(page: Page, holds, what: str) -> None:
    """Look again until something holds; drawing has no end that the page could wait for."""
    for _ in range(300):
        if holds():
            return
        page.wait_for_timeout(100)
    pytest.fail(what)


def wait_for_picture(page: Page, expected: np.ndarray, corner: tuple[int, int]) -> np.ndarray:
    """Wait until the pixels of the view from a corner on are those expected, but for rounding; return them."""
    best = np.zeros(0)
    for _ in range(150):
        shown = picture(page)
        # The element may begin between two pixels of the page: the cut of the screenshot is then rounded.
        tops = (corner[0] - 1, corner[0], corner[0] + 1)
        right = corner[1] + expected.shape[1]
        parts = [shown[top : top + expected.shape[0], corner[1] : right] for top in tops]
        best = min(parts, key=lambda part: np.abs(part - expected).mean())
        if np.quantile(np.abs(best - expected), 0.99) <= 1:
            return best
        page.wait_for_timeout(100)
    off = np.quantile(np.abs(best - expected), [0.5, 0.9, 0.99, 1])
    pytest.fail(f"the picture is not the expected one: quantiles of the difference are {off}")


@pytest.mark.requirement("DMS-PRTL-REQ-0074")
def test_brightness_and_orientation_change_without_a_request_and_are_in_the_address(page, portal, found):
    open_image(page, portal, f"release=demo&id={found['visit_image'][0][0]}")
    page.wait_for_load_state("networkidle")
    requests: list[str] = []
    page.on("request", lambda r: requests.append(r.url))
    page.locator(".map").focus()
    pictures = [picture(page)]

    def changed() -> None:
        pictures.append(pictures[-1])

        def differs() -> bool:
            pictures[-1] = picture(page)
            return bool(np.abs(pictures[-1] - pictures[-2]).mean() > 0.3)

        wait_until(page, differs, "the picture did not change")

    for stretch in ("gamma", "histogram"):
        page.get_by_label("Stretch", exact=True).select_option(stretch)
        changed()
    page.get_by_label("Limits", exact=True).select_option("min–max")
    changed()
    page.locator(".map").focus()
    for key in ("i", "]"):
        page.keyboard.press(key)
        changed()
    page.keyboard.press("b")
    box = page.locator(".map").bounding_box()
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    drag(page, middle, (middle[0] - 150, middle[1] - 60))
    changed()
    page.keyboard.press("b")
    # The pointer reads pixels on its way and the bell looks for notices now and then; nothing else is asked for.
    assert [r for r in requests if "/pixel?" not in r and not r.endswith("/notices")] == []
    for part in ("s=histogram", "inv=1", "rot=5", r"b=0\.\d+", r"k=1\.\d+"):
        assert re.search(part, page.url), (part, page.url)
    page.keyboard.press("d")
    page.get_by_label("Mirrored").check()
    expect(page).to_have_url(re.compile("flip=1"))
    page.get_by_label("Plane", exact=True).select_option("signal to noise")
    expect(page).to_have_url(re.compile("p=signal"))
    address, before = page.url, None
    page.wait_for_load_state("networkidle")
    before = picture(page)
    page.goto("about:blank")
    page.goto(address)
    page.wait_for_selector(".viewer[data-drawn][data-image]")
    expect(page).to_have_url(re.compile("p=signal"))
    page.wait_for_load_state("networkidle")
    panel(page, "d")
    expect(page.get_by_label("Mirrored")).to_be_checked()
    expect(page.get_by_label("Plane", exact=True)).to_have_value("signal to noise")
    page.keyboard.press("Escape")
    assert page.get_by_label("Stretch", exact=True).input_value() == "histogram"
    right = before.shape[1] // 2

    def restored() -> bool:
        return bool(np.median(np.abs(picture(page) - before)[:, right:]) <= 2)

    wait_until(page, restored, "the address does not restore the picture")


def test_extremes_of_the_limits_are_those_of_all_pixels(page, portal, found):
    dataset_id, image = found["deep_coadd"][0]
    open_image(page, portal, f"release=demo&id={dataset_id}")
    page.get_by_label("Limits", exact=True).select_option("min–max")
    for name, value in (
        ("Lower limit", np.nanmin(image.image.array)),
        ("Upper limit", np.nanmax(image.image.array)),
    ):
        assert float(page.get_by_label(name).input_value()) == pytest.approx(float(value), rel=1e-4)


def test_the_readout_shows_what_was_chosen_and_keeps_the_choice(page, portal, found):
    dataset_id, image = found["visit_image"][0]
    open_image(page, portal, f"release=demo&id={dataset_id}&x=260&y=240&r=0.25")
    page.get_by_role("button", name="Choose what the readout shows").click()
    for part in ("Galactic", "Ecliptic", "Noise (σ)", "Surface brightness"):
        page.get_by_label(part).check()
    page.keyboard.press("Escape")
    good = np.argwhere(image.image.array[230:250, 230:290] > 5)[0] + (230, 230)
    at = points_to(page, 260, 240, 0.25, (float(good[1]), float(good[0])))
    values = read_at(page, *at)
    readout = page.locator(".readout")
    noise = float(np.sqrt(image.variance.array[int(values["y"]), int(values["x"])]))
    expect(readout.locator(".noise")).to_have_text(re.compile(re.escape(f"{noise:.4g}"[:4])))
    position = SkyCoord(float(values["ra"]), float(values["dec"]), unit="deg")
    shown = [float(v) for v in re.findall(r"-?\d+\.\d+", readout.locator(".galactic").inner_text())]
    assert SkyCoord(*shown, unit="deg", frame="galactic").separation(position.galactic).mas < 4
    shown = [float(v) for v in re.findall(r"-?\d+\.\d+", readout.locator(".ecliptic").inner_text())]
    ecliptic = position.barycentricmeanecliptic
    assert np.allclose(shown, [ecliptic.lon.deg, ecliptic.lat.deg], atol=1.1e-6)
    magnitude = (float(values["value"]) * u.nJy).to_value(u.ABmag)
    assert number(readout.locator(".magnitude").inner_text()) == pytest.approx(magnitude, abs=0.006)
    page.mouse.click(*at)
    expect(readout).to_have_class(re.compile("locked"))
    page.mouse.move(at[0] + 80, at[1] + 30)
    assert readout.evaluate("e => e.dataset.x") == values["x"]
    page.locator(".map").focus()
    page.keyboard.press("y")
    expect(page.locator(".message")).to_contain_text(f"SkyCoord({float(values['ra']):.8f}, ")
    page.keyboard.press("Escape")
    expect(readout).not_to_have_class(re.compile("locked"))
    page.reload()
    page.wait_for_selector(".viewer[data-drawn][data-image]")
    page.get_by_role("button", name="Choose what the readout shows").click()
    expect(page.get_by_label("Galactic")).to_be_checked()


@pytest.mark.requirement("DMS-PRTL-REQ-0085")
@pytest.mark.requirement("DMS-PRTL-REQ-0097")
def test_measurements_are_those_of_numpy_scipy_sep_and_astropy(page, portal, found):
    import sep
    from scipy.ndimage import map_coordinates

    dataset_id, image = found["deep_coadd"][0]
    pixels = image.image.array.astype(float)
    open_image(page, portal, f"release=demo&id={dataset_id}&x=250.25&y=250.25&r=0.5")

    def place(first: str = "", second: str = "") -> None:
        """Put points by the keyboard: exact places, whatever the screen."""
        page.locator(".map").focus()
        for keys in (first, second):
            for key in keys.split():
                page.keyboard.press(key)
            page.keyboard.press("Space")

    # One arrow key is 60 screen pixels: 30 of the image.
    start = (250.25, 250.25)
    choose_tool(page, "box")
    place("", "ArrowRight ArrowRight ArrowUp")
    expect(page.locator(".result")).to_contain_text("median")
    values = result(page)
    part = pixels[221:281, 191:311]
    assert int(values["pixels"]) == part.size
    for name, expected in (("mean", part.mean()), ("median", np.median(part)), ("std", part.std()), ("sum", part.sum()),
                           ("min", part.min()), ("max", part.max())):  # fmt: skip
        assert number(values[name]) == pytest.approx(float(expected), rel=2e-5), name

    choose_tool(page, "distance")
    place("", "ArrowUp ArrowUp")
    expect(page.locator(".result")).to_contain_text("position angle")
    values = result(page)
    sky = image.sky_projection.as_astropy(image.bbox)
    points = ((start[0] + 60, start[1] + 30), (start[0] + 60, start[1] + 90))
    ends = [SkyCoord(*(np.degrees(v) for v in sky.pixel_to_world_values(*p)), unit="deg") for p in points]
    assert float(values["distance"].rstrip("″")) == pytest.approx(
        ends[0].separation(ends[1]).arcsec, rel=1e-4
    )
    assert float(values["position angle"].split("°")[0]) == pytest.approx(
        ends[0].position_angle(ends[1]).deg, abs=0.01
    )

    choose_tool(page, "profile")
    place("", "ArrowRight ArrowDown ArrowDown ArrowDown")
    expect(page.locator(".result svg")).to_be_visible()
    values = result(page)
    steps = np.linspace(0, 1, len(values["value"]))
    line = map_coordinates(pixels, [points[1][1] - 90 * steps, points[1][0] + 30 * steps], order=1)
    assert np.allclose(values["value"], line, rtol=1e-6, atol=1e-4)

    star = np.unravel_index(
        np.argmax(np.where(np.indices(pixels.shape)[1] > 200, pixels, 0)[60:500, :440]), (440, 440)
    )
    y, x = float(star[0] + 60), float(star[1])
    page.goto("about:blank")
    open_image(page, portal, f"release=demo&id={dataset_id}&x={x}&y={y}&r=0.25")
    choose_tool(page, "aperture")
    page.get_by_label("Radius (pixels)").fill("5.5")
    page.get_by_label("Sky from").fill("9")
    page.get_by_label("Sky to").fill("14")
    page.get_by_label("Sky to").press("Enter")
    place_at_centre(page)
    box = page.locator(".result")
    expect(box).to_have_attribute("data-flux", re.compile("."))
    flux, level = float(box.get_attribute("data-flux")), float(box.get_attribute("data-sky"))
    cx, cy = x, y
    rows, columns = np.indices(pixels.shape)
    distance = np.hypot(rows - cy, columns - cx)
    sky_level = np.median(pixels[(distance >= 9) & (distance <= 14)])
    assert level == pytest.approx(float(sky_level), rel=1e-5)
    expected, error, _ = sep.sum_circle(
        pixels - sky_level, [cx], [cy], 5.5, var=image.variance.array.astype(float), subpix=0
    )
    assert flux == pytest.approx(float(expected[0]), rel=1e-4)
    shown = float(result(page)["flux"].split("±")[1].split()[0])
    assert shown == pytest.approx(float(error[0]), rel=0.01)


@pytest.mark.requirement("DMS-PRTL-REQ-0101")
def test_ds9_regions_come_in_and_go_out_and_a_coverage_map_is_drawn(page, portal, found, tmp_path):
    dataset_id, image = found["deep_coadd"][0]
    open_image(page, portal, f"release=demo&id={dataset_id}&r=1")
    sky = image.sky_projection.as_astropy(image.bbox)
    ra, dec = (float(np.degrees(v)) for v in sky.pixel_to_world_values(300.0, 200.0))
    panel(page, "g")
    expect(page).to_have_url(re.compile("g=ICRS"))
    page.get_by_role("button", name="Overlays").click()
    before = picture(page)
    page.get_by_label("Regions in DS9's form").fill(
        f'icrs\ncircle({ra},{dec},4") # color=red\nannulus(1,2,3,4)'
    )
    page.get_by_role("button", name="Draw the regions").click()
    expect(page.get_by_text(re.compile(r"1 region drawn\. Not drawn: “annulus"))).to_be_visible()
    assert np.abs(picture(page) - before).max() > 100
    with page.expect_download() as download:
        page.get_by_role("button", name="Save all regions").click()
    saved = Path(download.value.path()).read_text(encoding="utf-8")
    shape = re.search(r"circle\(([\d.]+),(-?[\d.]+),([\d.]+)\"\) # color=#ff5d5d", saved)
    assert shape is not None, saved
    assert np.allclose([float(v) for v in shape.groups()], [ra, dec, 4.0], atol=1e-4)
    moc = tmp_path / "half.moc"
    moc.write_text("0/0-5", encoding="utf-8")
    page.get_by_label("Open a coverage map (MOC)").locator("visible=false").set_input_files(moc)
    expect(page.get_by_text("covers 50.000 % of the sky")).to_be_visible()
    broken = tmp_path / "broken.moc"
    broken.write_text("what is this", encoding="utf-8")
    page.get_by_label("Open a coverage map (MOC)").locator("visible=false").set_input_files(broken)
    expect(page.get_by_text(re.compile("broken.moc cannot be used: “what” does not belong"))).to_be_visible()


@pytest.mark.requirement("DMS-PRTL-REQ-0069")
def test_sheets_psf_and_files_of_an_image(page, portal, found):
    dataset_id, image = found["visit_image"][0]
    open_image(page, portal, f"release=demo&id={dataset_id}&x=300&y=200&r=0.5")
    panel(page, "h")
    page.get_by_role("button", name="The cards of the image's file").click()
    page.get_by_label("Search in header").fill("bunit")
    expect(page.locator(".sheet tr:visible").filter(has_text="BUNIT").first).to_contain_text("nJy")
    assert page.locator(".sheet tr:visible").filter(has_text="SIMPLE").count() == 0
    page.get_by_role("button", name="The point spread function").click()
    expect(page.locator(".sheet")).to_contain_text("FWHM")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save the pixels in view as FITS").click()
    with fits.open(download.value.path()) as file:
        part = next(unit for unit in file if unit.header.get("NAXIS") == 2)
        x0, y0 = -int(part.header["LTV1"]), -int(part.header["LTV2"])
        ny, nx = part.data.shape
        assert np.array_equal(part.data, image.image.array[y0 : y0 + ny, x0 : x0 + nx], equal_nan=True)
    with page.expect_download() as download:
        page.get_by_role("button", name="Save the view as a picture").click()
    saved = np.asarray(Image.open(download.value.path()).convert("RGB"), int)
    assert saved[:, saved.shape[1] // 2 :].std() > 10
    page.get_by_role("button", name="Copy code").click()
    expect(page.locator(".sheet pre")).to_contain_text(dataset_id)


def test_a_difference_on_another_grid_is_that_of_interpolated_pixels(page, portal, found):
    from scipy.ndimage import map_coordinates

    first_id, first = found["visit_image"][0]
    second_id, second = found["deep_coadd"][0]
    at = second.sky_projection.as_astropy(second.bbox)
    own = first.sky_projection.as_astropy(first.bbox)
    x, y = (float(v) for v in own.world_to_pixel_values(*at.pixel_to_world_values(250.0, 250.0)))
    open_image(
        page, portal, f"release=demo&id={first_id}&x={round(x)}&y={round(y)}&r=1&p=difference:{second_id}"
    )
    expect(page).to_have_url(re.compile("p=difference"))
    page.wait_for_load_state("networkidle")
    checked = 0
    for dx, dy in ((-60, 20), (35, -80), (90, 60), (10, 10)):
        values = read_at(page, *points_to(page, round(x), round(y), 1, (round(x) + dx, round(y) + dy)))
        px, py = int(values["x"]), int(values["y"])
        shown = page.locator(".readout .shown")
        expect(shown).to_be_visible()
        u_, v_ = (
            float(v) for v in at.world_to_pixel_values(*own.pixel_to_world_values(float(px), float(py)))
        )
        other = map_coordinates(second.image.array.astype(float), [[v_], [u_]], order=1)[0]
        expected = float(first.image.array[py, px]) - float(other)
        if np.isfinite(expected):
            checked += 1
            found_value = float(shown.inner_text().split()[-1])
            assert found_value == pytest.approx(expected, abs=max(0.02 * abs(float(other)), 0.05))
    assert checked >= 2


@pytest.mark.requirement("DMS-PRTL-REQ-0073")
def test_several_images_stay_on_the_same_sky_and_blink_without_a_request(page, portal, found):
    first, second = found["visit_image"][0][0], found["deep_coadd"][0][0]
    open_image(page, portal, f"release=demo&id={first}&with={second}&lay=side+by+side")
    expect(page.locator(".pane")).to_have_count(2)
    expect(page.locator(".caption:visible")).to_have_count(2)
    positions = []
    for n in range(2):
        box = page.locator(".map").nth(n).bounding_box()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.mouse.move(box["x"] + box["width"] / 2 + 3, box["y"] + box["height"] / 2 + 2)
        readout = page.locator(".readout")
        expect(readout).to_have_attribute("data-value", re.compile(".+"))
        values = readout.evaluate("e => ({...e.dataset})")
        positions.append(SkyCoord(float(values["ra"]), float(values["dec"]), unit="deg"))
    assert positions[0].separation(positions[1]).arcsec < 0.5
    panel(page, "k")
    page.get_by_label("Layout").select_option("blink")
    page.wait_for_load_state("networkidle")
    requests: list[str] = []
    page.on("request", lambda r: requests.append(r.url))
    shown = page.locator(".pane:visible .caption")
    name = shown.first.inner_text()
    page.get_by_role("button", name="The next image").click()
    expect(page.locator(".caption:visible")).not_to_have_text(name)
    page.get_by_role("button", name="The next image").click()
    expect(page.locator(".caption:visible")).to_have_text(name)
    assert [r for r in requests if "/tiles/" in r] == []
    page.get_by_label("Layout").select_option("curtain")
    handle = page.get_by_role("slider", name="Curtain")
    handle.focus()
    page.keyboard.press("ArrowRight")
    expect(handle).to_have_attribute("aria-valuenow", "52")
    expect(page).to_have_url(re.compile("lay=curtain"))


def upload(page: Page, files: list[Path]) -> list[str]:
    """Open files of the person's own; return the identifiers of the images."""
    panel(page, "f")
    out = []
    for file in files:
        page.get_by_label("FITS file", exact=True).set_input_files(file)
        out.append(f"{hashlib.sha256(file.read_bytes()).hexdigest()[:24]}-0-0")
        page.wait_for_selector(f".viewer[data-image='{out[-1]}']")
    return out


@pytest.mark.requirement("DMS-PRTL-REQ-0096")
@pytest.mark.requirement("DMS-PRTL-REQ-0068")
def test_a_colour_picture_of_own_files_is_astropys_and_the_published_one(page, portal):
    from astropy.visualization import make_lupton_rgb
    from scipy.ndimage import uniform_filter

    folder = DATA / "portal_images"
    if not folder.is_dir():
        pytest.skip("the folder with real data is absent")
    open_image(page, portal, "release=demo")
    names = {band: folder / f"reprojected_sdss_{band}.fits.bz2" for band in "irg"}
    ids = dict(zip("irg", upload(page, list(names.values())), strict=True))
    planes = {band: fits.getdata(path) for band, path in names.items()}
    ny, nx = planes["r"].shape
    width, height = page.locator(".map").evaluate("e => [e.clientWidth, e.clientHeight]")
    # Image pixels lie exactly on screen pixels.
    left, top = (width - nx) // 2, (height - ny) // 2
    x, y = width / 2 - left - 0.5, ny - 0.5 - (height / 2 - top)
    rows, columns = slice(max(1 - top, 1), min(height - top, ny) - 60), slice(110, nx - 10)
    for stretch, q, published in ((5, 8, "ngc6976-default.jpeg"), (0.5, 10, None)):
        page.goto("about:blank")
        names_of = ",".join(ids[band] for band in "irg")
        query = f"release=my-files&id={ids['r']}&x={x}&y={y}&r=1&p=colour:{names_of}:0,{stretch},{q}"
        open_image(page, portal, query)
        expect(page).to_have_url(re.compile("p=colour"))
        mixed = make_lupton_rgb(planes["i"], planes["r"], planes["g"], stretch=stretch, Q=q)[::-1]
        part = wait_for_picture(
            page, mixed.astype(int)[rows, columns], (top + rows.start, left + columns.start)
        )
        if published:
            small = Image.open(folder / published).resize((nx, ny), Image.Resampling.BOX)
            jpeg = np.asarray(small, int)[rows, columns]
            assert np.median(np.abs(part - jpeg)) <= 3
            # The published picture was made of frames with nine times as many pixels, each noisier: compare averages.
            ours, theirs = (uniform_filter(p.astype(float), (9, 9, 1)) for p in (part, jpeg))
            bright = theirs.max(axis=2) > 20
            assert bright.sum() > 1000
            assert np.median(np.abs(ours - theirs)[bright]) <= 3


def test_files_that_cannot_be_shown_give_a_sentence_and_the_page_goes_on(browser, portal, found, tmp_path):
    # Refusals are answers with 400 here, which the page of the other tests takes for failures.
    context = browser.new_context(
        viewport={"width": 1400, "height": 900}, extra_http_headers={"Authorization": "Bearer token-of-anna"}
    )
    page = context.new_page()
    open_image(page, portal, f"release=demo&id={found['deep_coadd'][0][0]}")
    many = fits.HDUList(
        [
            fits.PrimaryHDU(),
            *(fits.ImageHDU(np.full((4, 6), n, np.float32), name=f"E{n}") for n in range(100)),
        ]
    )
    many.writeto(tmp_path / "many.fits")
    fits.PrimaryHDU(np.arange(2 * 3 * 5, dtype=np.int16).reshape(2, 3, 5)).writeto(tmp_path / "cube.fits")
    fits.PrimaryHDU(np.full((8, 8), np.nan, np.float32)).writeto(tmp_path / "nothing.fits")
    (tmp_path / "table.fits").write_bytes(b"")
    panel(page, "f")
    status = page.locator(".panel p[role=status]")
    picker = page.get_by_label("FITS file", exact=True)
    picker.set_input_files(
        {"name": "broken.fits", "mimeType": "", "buffer": b"SIMPLE  =                    T" + b" " * 3000}
    )
    expect(status).to_contain_text("The file cannot be shown:")
    picker.set_input_files(tmp_path / "many.fits")
    expect(status).to_contain_text("100 of 101 parts can be shown")
    page.get_by_label("Part of the file").select_option("57")
    page.wait_for_selector(".viewer[data-image$='-57-0']")
    page.get_by_label("Limits", exact=True).select_option("min–max")
    assert float(page.get_by_label("Lower limit").input_value()) == pytest.approx(55)
    picker.set_input_files(tmp_path / "cube.fits")
    page.get_by_label("Plane (0 to 1)").fill("1")
    page.get_by_label("Plane (0 to 1)").press("Enter")
    page.wait_for_selector(".viewer[data-image$='-0-1']")
    page.locator(".map").focus()
    page.keyboard.press("r")
    expect(page.locator(".message")).to_contain_text("Centre: 22")
    page.keyboard.press("g")
    expect(page.locator(".message")).to_contain_text("no sky coordinates")
    picker.set_input_files(tmp_path / "nothing.fits")
    expect(page.locator(".message")).to_contain_text("No pixel of this image has a value")
    context.close()


@pytest.mark.requirement("DMS-PRTL-REQ-0063")
def test_the_focal_plane_of_a_visit_reads_the_detectors_pixels(page, portal, home):
    _, data_id, image = datasets(home, "visit_image")[0]
    open_image(page, portal, f"release=demo&id=visit-visit_image-{data_id['visit']}")
    page.wait_for_load_state("networkidle")
    box = page.locator(".map").bounding_box()
    own = image.sky_projection.as_astropy(image.bbox)
    for dx, dy in ((0, 0), (70, 40), (-60, 90)):
        values = read_at(page, box["x"] + box["width"] / 2 + dx, box["y"] + box["height"] / 2 + dy)
        expect(page.locator(".readout .detector")).to_have_text(f"det {data_id['detector']}")
        ra, dec = np.radians([float(values["ra"]), float(values["dec"])])
        x, y = (float(v) for v in own.world_to_pixel_values(ra, dec))
        near = image.image.array[round(y) - 1 : round(y) + 2, round(x) - 1 : round(x) + 2]
        # The pixel under the pointer is told by its middle: its nearest archive pixel is one of these.
        assert np.float32(float(values["value"])) in near.astype(np.float32)


class FourDetectors(GeneratedCamera):
    """A camera whose focal plane is far larger than a detector."""

    @property
    def places(self) -> list[tuple[int, int]]:
        """Column and row of each."""
        return [(-2, -1), (-1, 1), (1, -1), (2, 1)]


def test_from_a_detector_to_all_of_them_shows_the_whole_focal_plane(page, portal, home):
    camera = FourDetectors(128)
    make_focal_plane_release(home / "releases" / "fourfold", camera)
    open_image(page, portal, "release=fourfold&kind=visit_image&detector=2&x=100&y=20&r=0.25")
    page.get_by_label("Detector", exact=True).select_option("all")
    page.wait_for_selector(".viewer[data-drawn][data-image^='visit-visit_image-']")
    box = page.locator(".map").bounding_box()
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    # The view is a gnomonic projection, linear over this field: three places give all others.
    readout, seen = page.locator(".readout"), [("", "")]
    for dx, dy in ((0, 0), (90, 0), (0, 90)):
        page.mouse.move(middle[0] + dx, middle[1] + dy)
        expect(readout).to_have_attribute("data-ra", re.compile(r"\d"))
        expect(readout).not_to_have_attribute("data-ra", seen[-1][0])
        seen.append(tuple(readout.evaluate("e => [e.dataset.ra, e.dataset.dec]")))
    places = SkyCoord([(float(ra), float(dec)) for ra, dec in seen[1:]], unit="deg")
    steps = np.array([a.arcsec for a in places[0].spherical_offsets_to(places[1:])]) / 90
    edges = np.array([[-0.5, 127.5, 127.5, -0.5], [-0.5, -0.5, 127.5, 127.5]])
    corners = np.hstack([camera.make_wcs(*place).all_pix2world(*edges, 0) for place in camera.places])
    offsets = [a.arcsec for a in places[0].spherical_offsets_to(SkyCoord(*corners, unit="deg"))]
    reach = np.abs(np.linalg.solve(steps, offsets)).max(axis=1) / [box["width"] / 2, box["height"] / 2]
    # All corners are inside, and the longer side fills most of the view.
    assert 0.7 < reach.max() <= 1
