"""The Portal on the running platform: signing in once opens it, and the demo release is there to look at."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def page(signed_in_page):
    complaints: list[str] = []
    signed_in_page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    signed_in_page.on("pageerror", lambda e: complaints.append(str(e)))
    yield signed_in_page
    assert complaints == []


@pytest.mark.requirement("DMS-LSP-REQ-0002")
@pytest.mark.requirement("DMS-PRTL-REQ-0001")
def test_one_sign_in_opens_images_table_and_light_curve(page, running_stack):
    base = f"{running_stack.url}/portal/app"
    page.goto(f"{base}/")
    expect(page.get_by_role("heading", name="Portal")).to_be_visible(timeout=60_000)
    expect(page.get_by_text("tester")).to_be_visible()
    page.goto(f"{base}/images?release=demo&src=Object")
    page.wait_for_selector(".viewer[data-drawn][data-image]")
    box = page.locator(".map").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(page.locator(".readout")).to_contain_text("nJy", timeout=30_000)
    page.goto(f"{base}/catalogs?query=SELECT+objectId,coord_ra,coord_dec,r_psfFlux+FROM+demo.Object")
    expect(page.locator("tbody tr").first).to_be_visible(timeout=60_000)
    page.locator("tbody tr").first.click()
    page.get_by_role("link", name="Light curve", exact=True).click()
    expect(page.get_by_role("heading", name=re.compile("^Object"))).to_be_visible(timeout=60_000)


@pytest.mark.requirement("DMS-PRTL-REQ-0009")
def test_a_query_run_as_a_job_is_done_by_a_worker_and_can_be_fetched(page, running_stack):
    base = f"{running_stack.url}/portal/app"
    page.goto(f"{base}/catalogs")
    page.get_by_role("button", name="Run as a job").click()
    expect(page.get_by_text("is queued")).to_be_visible(timeout=60_000)
    page.goto(f"{base}/jobs")
    row = page.locator("tbody tr").filter(has_text="COMPLETED")
    expect(row.first).to_be_visible(timeout=60_000)
    row.first.click()
    with page.expect_download() as download:
        page.get_by_role("link", name=re.compile(r"result \(")).click()
    assert b"VOTABLE" in download.value.path().read_bytes()[:2000]


def test_a_token_reads_tiles_and_one_without_the_scope_does_not(running_stack):
    import httpx

    url = f"{running_stack.url}/portal/app/preview/demo.png"
    good = running_stack.token(scopes=["exec:portal", "read:image"])
    bad = running_stack.token(scopes=["read:tap"])
    assert httpx.get(url, headers={"Authorization": f"Bearer {good}"}, timeout=60).content[:4] == b"\x89PNG"
    assert httpx.get(url, headers={"Authorization": f"Bearer {bad}"}, timeout=60).status_code == 403
    assert httpx.get(url, timeout=60).status_code == 401
