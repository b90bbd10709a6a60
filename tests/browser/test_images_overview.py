"""The first picture of an image: its coarsest tile, before the finer ones and the graphics process are ready."""

from __future__ import annotations

import numpy as np
from astropy.visualization import AsinhStretch
from browser.test_images_view import wait_until
from browser.test_portal_pages import browser, datasets, home, open_image, page, portal, read_at
from playwright.sync_api import expect

__all__ = ["browser", "home", "page", "portal"]

FIRST = "() => performance.getEntriesByName('skydesk.image.first').at(-1)?.duration > 0"
PIXELS = """(canvas) => ({
  width: canvas.width, height: canvas.height,
  red: Array.from(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.filter((_, n) => n % 4 === 0)),
  opaque: Array.from(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.filter((_, n) => n % 4 === 3)),
})"""


def test_the_coarsest_tile_is_seen_moved_and_read_while_the_rest_is_on_its_way(page, portal, home):
    dataset_id, _, image = datasets(home, "deep_coadd")[0]
    held, holding = [], True

    def hold(route) -> None:
        if route.request.url.split("/image/")[1].startswith("0/") or not holding:
            route.continue_()
        else:
            held.append(route)

    page.route("**/tiles/**/image/*/*/*", hold)
    page.goto(f"{portal}/images?release=demo&id={dataset_id}&lo=0&hi=100&s=asinh")
    page.wait_for_function(FIRST)
    sketch = page.locator(".sd-overview")
    expect(sketch).to_be_visible()
    expect(page.locator(".viewer")).not_to_have_attribute("data-drawn", "true")
    assert held
    found = sketch.evaluate(PIXELS)
    shape = (found["height"], found["width"])
    # Means of blocks of the archive's pixels, from the bottom row on; what is left at the far edges is not compared.
    pixels = np.asarray(image.image.array, float)
    block = round(pixels.shape[0] / shape[0])
    rows, columns = (length // block for length in pixels.shape)
    means = pixels[: rows * block, : columns * block].reshape(rows, block, columns, block).mean(axis=(1, 3))
    expected = np.round(255 * AsinhStretch(0.02)(np.clip(means / 100, 0, 1)))
    shown = np.array(found["red"]).reshape(shape)[::-1][:rows, :columns]
    seen = np.array(found["opaque"]).reshape(shape)[::-1][:rows, :columns] > 0
    whole = np.isfinite(means)
    assert whole.mean() > 0.5
    assert seen[whole].all()
    assert np.abs(shown - expected)[whole].max() <= 1
    # It is moved and read as the whole picture would be.
    box = sketch.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(page.locator(".readout")).to_contain_text("mean of")
    page.locator(".map").focus()
    page.keyboard.press("ArrowRight")
    wait_until(page, lambda: sketch.bounding_box()["x"] < box["x"] - 5, "the picture did not move")
    expect(sketch).to_be_visible()
    holding = False
    for route in held:
        route.continue_()
    page.wait_for_selector(".viewer[data-drawn][data-image]")
    expect(sketch).to_be_hidden()


def test_without_graphics_the_coarsest_level_stays_and_the_page_says_so(page, portal, home):
    dataset_id, _, image = datasets(home, "visit_image")[0]
    page.add_init_script("""
      const known = HTMLCanvasElement.prototype.getContext;
      HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
        return kind.includes('webgl') ? null : known.call(this, kind, ...rest);
      };""")
    open_image(page, portal, f"release=demo&id={dataset_id}&x=260&y=240&r=0.25")
    expect(page.locator(".message")).to_contain_text("This browser has no WebGL")
    expect(page.locator(".sd-overview")).to_be_visible()
    box = page.locator(".map").bounding_box()
    values = read_at(page, box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    pixel = image.image.array[int(values["y"]), int(values["x"])]
    assert float(values["value"]) == pixel
    page.get_by_label("Colours", exact=True).select_option("viridis")
    found = page.locator(".sd-overview").evaluate(PIXELS)
    assert len(set(found["red"])) > 1
