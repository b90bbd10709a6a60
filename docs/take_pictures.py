"""Takes the pictures of the product that README and documentation show, from a running platform with a demo release."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from bench.browser import PAINTED, choose_password, make_link, open_browser
from bench.stack import Stack, running

IMAGES = Path(__file__).resolve().parent / "images"


def main() -> None:
    """Start the platform on a copy of a home folder and photograph its pages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("home", type=Path, help="a home folder with a demo release; it is copied")
    home = parser.parse_args().home
    with tempfile.TemporaryDirectory(prefix="sky-") as folder:
        Path(folder).chmod(0o711)
        # Releases hold databases of their own; only the people and what they did stay behind.
        for name in ("releases", "cache"):
            shutil.copytree(home / name, Path(folder) / "home" / name)
        with running(Path(folder) / "home") as stack:
            photograph(stack)


def photograph(stack: Stack) -> None:
    """Take every picture.

    Parameters
    ----------
    stack
        A platform that is up.
    """
    with open_browser() as page:
        choose_password(page, make_link(stack, "ada"))
        page.goto(f"{stack.url}/portal/app/images?release=demo")
        page.locator(PAINTED).first.wait_for()
        page.get_by_label("Sources", exact=True).select_option("Object")
        view = page.locator(".viewer").bounding_box()
        assert view is not None
        page.mouse.move(view["x"] + view["width"] / 2, view["y"] + view["height"] / 2)
        for _ in range(2):
            page.mouse.wheel(0, -240)
            page.wait_for_timeout(1500)
        page.screenshot(path=IMAGES / "portal-image.png")
    sys.stdout.write(f"pictures are in {IMAGES.name}\n")


if __name__ == "__main__":
    main()
