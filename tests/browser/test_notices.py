"""The bell on every page, the end of jobs, and downloads that are followed."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect

from skydesk_portal.models.jobs import JobKind
from skydesk_portal.uws.runner import JobRunner
from tests.support.pages import ANNA, Pages
from tests.support.throttle import throttled_line

QUERY = [("LANG", "ADQL"), ("QUERY", "SELECT TOP 3 objectId FROM maps.Object")]
BIG_BYTES = 20_000_000


@pytest.fixture
def notices(pages: Pages):
    """The notices of anna, who has none at first."""
    service = pages.factory.create_notice_service()
    service.remove(ANNA)
    return service


def run_one(pages: Pages, notices) -> None:
    jobs = pages.factory.create_job_service()
    runner = JobRunner(
        "test", jobs.store, jobs.results, pages.factory.create_executors(), 30.0, on_end=notices.add_job
    )
    assert runner.run_one()


def test_who_asked_is_told_of_the_end_of_a_job_on_any_page(calm_page: Page, pages: Pages, notices):
    page, jobs = calm_page, pages.factory.create_job_service()
    for job in jobs.list_jobs(ANNA):
        jobs.delete(ANNA, job.id)
    silent, told = (
        jobs.create_job(ANNA, kind=JobKind.TAP, parameters=QUERY, run=True, run_id=label)
        for label in ("silent", "told <b>of</b>")
    )
    page.goto(f"{pages.url}/jobs?job={told.id}")
    page.get_by_role("button", name="Tell me when it ends").click()
    expect(page.get_by_role("button", name="Do not tell me")).to_be_visible()
    expect(page.get_by_role("button", name="Notices", exact=True)).to_be_visible()
    page.goto(f"{pages.url}/files")
    for _ in range(2):
        run_one(pages, notices)
    bell = page.get_by_role("button", name="Notices: 1 unread")
    expect(bell).to_be_visible()
    expect(page.locator("#sd-announce")).to_have_text("Your query told <b>of</b> is done.")
    bell.focus()
    page.keyboard.press("Enter")
    panel = page.get_by_role("region", name="Notices")
    expect(panel).to_be_focused()
    expect(panel.get_by_role("listitem")).to_have_count(1)
    page.keyboard.press("Escape")
    expect(panel).to_be_hidden()
    expect(bell).to_be_focused()
    # It is kept on the server: the same in every browser, read or not.
    assert [n.is_read for n in notices.list_notices(ANNA)] == [False]
    bell.click()
    panel.get_by_role("button", name="Mark as read").click()
    expect(page.get_by_role("button", name="Notices", exact=True)).to_be_visible()
    assert [n.is_read for n in notices.list_notices(ANNA)] == [True]
    panel.get_by_role("link", name=re.compile("is done")).click()
    expect(page).to_have_url(re.compile(f"job={told.id}"))
    assert jobs.get_job(ANNA, silent.id).phase == "COMPLETED"
    page.get_by_role("button", name="Notices", exact=True).click()
    page.get_by_role("button", name="Clear").click()
    expect(page.get_by_text("There are no notices.")).to_be_visible()
    assert notices.list_notices(ANNA) == []


def begin_download(page: Page) -> None:
    page.locator("tbody tr").filter(has_text="big.bin").click()
    page.get_by_role("link", name=re.compile("Download")).click()
    shown = page.get_by_role("region", name="Downloads")
    expect(shown).to_contain_text(re.compile(r"of 20 MB, .+/s, about \d+ (s|min) left"))


@pytest.mark.requirement("DMS-PRTL-REQ-0114")
def test_a_long_download_is_estimated_followed_and_its_end_told_if_wanted(
    calm_page: Page, pages: Pages, notices
):
    page = calm_page
    with (pages.home / "users/anna/home/big.bin").open("wb") as file:
        file.truncate(BIG_BYTES)
    port = urlsplit(pages.url).port
    assert port is not None
    for wanted in (False, True):
        with throttled_line(port, b"/files/content/big.bin", 2_000_000) as line:
            page.goto(f"http://127.0.0.1:{line.port}/portal/app/files")
            with page.expect_download() as download:
                begin_download(page)
            bar = page.get_by_role("progressbar", name="Download of big.bin")
            assert 0 < float(bar.get_attribute("value")) < BIG_BYTES == int(bar.get_attribute("max"))
            if wanted:
                # It goes on while the reader looks at something else.
                page.goto(f"http://127.0.0.1:{line.port}/portal/app/account")
                with page.expect_response(re.compile("/notice$")):
                    page.get_by_label("Tell me when it is complete").check()
            line.go_on.set()
            assert download.value.path().stat().st_size == BIG_BYTES
            expect(page.get_by_role("region", name="Downloads")).to_contain_text("20 MB, complete")
            if wanted:
                expect(page.get_by_role("button", name="Notices: 1 unread")).to_be_visible()
            found = [n.text for n in notices.list_notices(ANNA)]
            assert found == (["The download of big.bin is complete"] if wanted else [])
    (pages.home / "users/anna/home/big.bin").unlink()
