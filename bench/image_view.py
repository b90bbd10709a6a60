"""Benchmarks of the image view in a browser with software rendering: script time of display changes, warm images, overlays."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

from bench.record import Measurement

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

__all__ = ["look", "measure_image_view", "measure_views"]

SETTLE_S = 3.0
"""Longer than the browser takes to put away the page before."""

_TURNS = 20
_UPLOAD = """async ([base, side]) => {
  // A FITS file of sky noise and stars, made here: nothing has to be shipped for it.
  const card = (text) => text.padEnd(80);
  const facts = { SIMPLE: 'T', BITPIX: -32, NAXIS: 2, NAXIS1: side, NAXIS2: side };
  const lines = Object.entries(facts).map(([key, value]) => card(`${key.padEnd(8)}= ${String(value).padStart(20)}`));
  const header = [...lines, card('END')].join('').padEnd(2880);
  const bytes = new ArrayBuffer(2880 + Math.ceil(side * side * 4 / 2880) * 2880);
  new Uint8Array(bytes).set(new TextEncoder().encode(header));
  const view = new DataView(bytes, 2880);
  let seed = 12345;
  const random = () => (seed = (seed * 1103515245 + 12345) % 2147483648) / 2147483648;
  const noise = () => 10 * (random() + random() + random() - 1.5);
  for (let n = 0; n < side * side; n++) view.setFloat32(n * 4, noise() + (random() > 0.9999 ? 5000 : 0));
  const answer = await fetch(`${base}/fitsfiles?name=benchmark.fits`, { method: 'POST', body: bytes });
  return (await answer.json()).first;
}"""
_CHANGES = """async (control, [turns, values]) => {
  for (let n = 0; n < turns; n++) {
    if (values.length > 0) {
      control.value = values[n % values.length];
      control.dispatchEvent(new Event('change', { bubbles: true }));
    } else control.click();
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  }
}"""
"""Choose or press something so many times, each until it was drawn."""
_LATER = 8
"""How often an image is opened again."""
_FIRST_BAR_MS = 300.0
_SPENT = "(name) => performance.getEntriesByName(name).at(-1)?.duration ?? null"


def _script_ms(control: Locator, values: tuple[str, ...] = ()) -> float:
    """Return the mean time that scripts ran for each of some changes, drawing included.

    The changes are made within the page: a browser that is steered from outside runs scripts of its own for each step.
    """
    session = control.page.context.new_cdp_session(control.page)
    session.send("Performance.enable")

    def spent() -> float:
        metrics = session.send("Performance.getMetrics")["metrics"]
        return float(next(m["value"] for m in metrics if m["name"] == "ScriptDuration"))

    found = control.element_handle()
    found.evaluate(_CHANGES, [1, list(values)])  # what steers the browser prepares itself at its first step
    before = spent()
    found.evaluate(_CHANGES, [_TURNS, list(values)])
    used = 1e3 * (spent() - before) / _TURNS
    session.detach()
    return used


def measure_image_view(page: Page, url: str, side: int = 4096) -> list[Measurement]:
    """Change the display of an image many times, and open an image of 4096 x 4096 pixels again.

    Parameters
    ----------
    page
        A page of a person who is signed in.
    url
        Base address of the Portal's pages, ``…/portal/app``.
    side
        Pixels along a side of the image that is opened again.
    """
    painted = ".viewer[data-drawn][data-image]"
    page.goto(f"{url}/images")
    page.locator(painted).first.wait_for()
    page.wait_for_load_state("networkidle")
    out = []

    def keep(name: str, what: str, control: Locator, *values: str) -> None:
        out.append(
            Measurement(
                name,
                _script_ms(control, values),
                "ms",
                f"image view: script time of {what}, no request; bar 16 ms",
            )
        )

    stretch, colours = (page.get_by_label(label, exact=True) for label in ("Stretch", "Colours"))
    keep("image_stretch_script", "another stretch", stretch, "log", "histogram")
    keep("image_colours_script", "other colours", colours, "viridis", "grey")
    page.get_by_role("button", name="Masks", exact=True).click()
    page.get_by_role("button", name="Show all planes").click()
    page.wait_for_load_state("networkidle")
    keep("image_mask_script", "a mask plane", page.locator(".mask-line input[type=checkbox]").first)
    page.locator(".map").first.focus()
    page.keyboard.press("k")
    page.locator(".panel [data-images], .panel[data-images], .panel .rows[data-images]").first.wait_for()
    page.get_by_role("button", name="Show this image beside").click()
    page.locator(".pane").nth(1).wait_for()
    page.get_by_label("Layout").select_option("blink")
    page.wait_for_load_state("networkidle")
    keep("image_blink_script", "blinking", page.get_by_role("button", name="The next image"))

    found = page.evaluate(_UPLOAD, [url, side])
    first_ms, complete_ms = measure_views(page, f"{url}/images?release=my-files&id={found}")
    what = f"image view: warm {side} x {side} image, 95th percentile, asked →"
    out.append(
        Measurement("image_warm_4k_first", first_ms, "ms", f"{what} first pixels", "bar", _FIRST_BAR_MS)
    )
    out.append(Measurement("image_warm_4k", complete_ms, "ms", f"{what} complete"))
    return out


def measure_views(page: Page, address: str) -> tuple[float, float]:
    """Open an image again and again, each time in a page of its own.

    Parameters
    ----------
    page
        A page of a person who is signed in.
    address
        The image, which is opened once more before the clock counts.

    Returns
    -------
    tuple
        95th percentiles of the milliseconds from asking for the image until its first picture is on the screen, which
        can be moved and read, and until all its pixels are.
    """
    seen = []
    for _ in range(_LATER + 1):
        seen.append(look(page, address))
        page.wait_for_load_state("networkidle")
        page.goto("about:blank")
        time.sleep(SETTLE_S)
    first_ms, complete_ms = (
        statistics.quantiles(kind, n=20, method="inclusive")[-1] for kind in zip(*seen[1:], strict=True)
    )
    return first_ms, complete_ms


def look(page: Page, address: str) -> tuple[float, float]:
    """Open an image; return the milliseconds until its first picture and until it was complete, as the view tells them."""
    page.goto(address)
    page.wait_for_function(_SPENT, arg="skydesk.image")
    first, complete = (
        float(page.evaluate(_SPENT, name)) for name in ("skydesk.image.first", "skydesk.image")
    )
    return first, complete
