"""The Files page shows what a person's lab and programs have stored, no more and no less."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import Page, expect
from support.lab import Kernel, open_kernel
from support.stack import Stack

pytestmark = pytest.mark.timeout(600)

SEED = """import pathlib, shutil
night = pathlib.Path.home() / "night"
shutil.rmtree(night, ignore_errors=True)
(night / "raw" / "empty").mkdir(parents=True)
for name in ("log.txt", "raw/a.fits", "raw/b & c.txt"):
    (night / name).write_text("1")"""
LIST = """import json, os
print(json.dumps({os.path.relpath(f, os.environ["HOME"]): sorted([n + "/" for n in names] + files)
                  for f, names, files in os.walk(os.environ["HOME"])}))"""


def list_home(kernel: Kernel) -> dict[str, list[str]]:
    """Return the names in each folder, as the lab sees them."""
    found: dict[str, list[str]] = json.loads(kernel.run(LIST).strip().splitlines()[-1])
    return found


def list_page(page: Page, address: str, caption: str) -> list[str]:
    """Return the first cells of the table of a page."""
    page.goto(address)
    expect(page.locator("caption").filter(has_text=re.compile(caption))).to_be_visible()
    return sorted(t.strip() for t in page.locator("tbody tr td:first-child").all_inner_texts())


@pytest.mark.requirement("DMS-PRTL-REQ-0003")
def test_the_page_lists_what_is_stored_and_what_a_notebook_writes_then(
    signed_in_page: Page, running_stack: Stack
):
    page, address = signed_in_page, f"{running_stack.url}/portal/app/files"
    with running_stack.client() as client, open_kernel(running_stack, "tester") as kernel:
        kernel.run(SEED)
        made = client.put(
            "/api/tables/measured", content=b"id,flux\n1,2.5\n2,3.5\n", params={"replace": True}
        )
        assert made.is_success, made.text
        folders = list_home(kernel)
        assert folders["night"] == ["log.txt", "raw/"]
        for folder in ("night", "night/raw"):
            assert list_page(page, f"{address}?path={folder}", f"^/{folder}: ") == folders[folder]
        assert list_page(page, address, "^/: ") == folders["."]
        page.goto(f"{address}?path=night/raw/empty")
        expect(page.get_by_text("/night/raw/empty is empty")).to_be_visible()
        tables = [t["name"] for t in client.get("/api/tables").json()["tables"]]
        assert "user_tester.measured" in tables
        assert list_page(page, f"{address}?view=tables", "^Your tables") == sorted(tables)
        kernel.run("pathlib.Path.home().joinpath('night', 'from the notebook.csv').write_text('a\\n17\\n')")
        after = list_page(page, f"{address}?path=night", "^/night: 3 entries")
        assert after == list_home(kernel)["night"] == ["from the notebook.csv", "log.txt", "raw/"]
        # What the page gives as Python reads the file from where it lies.
        page.goto(f"{address.replace('files', 'catalogs')}?file=night/from+the+notebook.csv")
        page.get_by_role("button", name="Copy as Python").click()
        program = page.get_by_label("This Python gives the same rows").input_value()
        assert kernel.run(program, timeout_s=400).split()[-1] == "17"
