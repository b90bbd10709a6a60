"""The Jobs page: follow, filter, look at results, run again, archive, delete; and the queries of the past."""

import re

import pytest
from playwright.sync_api import expect

from skydesk_portal.models.jobs import JobKind
from skydesk_portal.uws.runner import JobRunner
from tests.support.pages import ANNA, Pages

QUERY = "SELECT TOP 7 objectId, coord_ra FROM maps.Object"


@pytest.fixture
def jobs(pages: Pages):
    """The jobs of anna, who has none at first."""
    service = pages.factory.create_job_service()
    for job in service.list_jobs(ANNA):
        service.delete(ANNA, job.id)
    return service


def run_one(pages: Pages) -> None:
    service = pages.factory.create_job_service()
    assert JobRunner("test", service.store, service.results, pages.factory.create_executors(), 30.0).run_one()


@pytest.mark.requirement("DMS-PRTL-REQ-0011")
def test_a_job_is_followed_to_its_end_without_a_reload(calm_page, pages, jobs):
    job = jobs.create_job(
        ANNA,
        kind=JobKind.TAP,
        parameters=[("LANG", "ADQL"), ("QUERY", QUERY)],
        run=True,
        run_id="seven objects",
    )
    calm_page.goto(f"{pages.url}/jobs")
    row = calm_page.locator("tbody tr").first
    expect(row).to_contain_text("QUEUED")
    expect(row).to_contain_text("seven objects")
    row.click()
    expect(calm_page).to_have_url(re.compile(f"job={job.id}"))
    run_one(pages)
    expect(row).to_contain_text("COMPLETED")
    expect(
        calm_page.get_by_role("status").filter(has_text="Query seven objects has completed")
    ).to_be_visible()
    expect(calm_page.get_by_role("button", name="Abort")).to_be_hidden()
    with calm_page.expect_download() as download:
        calm_page.get_by_role("link", name=re.compile("Download result")).click()
    assert download.value.path().stat().st_size > 100
    calm_page.get_by_role("button", name="Show result").click()
    expect(calm_page.get_by_text("1–7 of 7")).to_be_visible()
    calm_page.get_by_role("link", name="Open in Catalogs").click()
    expect(calm_page.get_by_label("ADQL", exact=True)).to_have_value(QUERY)


def test_jobs_are_filtered_run_again_archived_and_deleted(calm_page, pages, jobs):
    bad = "SELECT nothing FROM maps.Object"
    for query, label in ((QUERY, "good"), (bad, "bad")):
        jobs.create_job(
            ANNA, kind=JobKind.TAP, parameters=[("LANG", "ADQL"), ("QUERY", query)], run=True, run_id=label
        )
        run_one(pages)
    calm_page.goto(f"{pages.url}/jobs")
    rows = calm_page.locator("tbody tr")
    expect(rows).to_have_count(2)
    calm_page.get_by_label("State").select_option("failed or aborted")
    expect(rows).to_have_count(1)
    rows.first.click()
    expect(calm_page.get_by_role("alert").filter(has_text="nothing")).to_be_visible()
    calm_page.get_by_label("State").select_option("all but archived")
    calm_page.get_by_label("Filter by text").fill("coord_ra")
    calm_page.get_by_label("Filter by text").press("Enter")
    expect(rows).to_have_count(1)
    rows.first.click()
    calm_page.get_by_role("button", name="Run again").click()
    expect(rows).to_have_count(2)
    again = jobs.list_jobs(ANNA)[0]
    old = next(job for job in jobs.list_jobs(ANNA) if job.run_id == "good" and job.id != again.id)
    assert (again.parameters, again.run_id, again.execution_seconds) == (
        old.parameters,
        "good",
        old.execution_seconds,
    )
    calm_page.locator("tbody tr").filter(has_text=old.id).click()
    calm_page.get_by_role("button", name="Archive", exact=True).click()
    calm_page.get_by_role("button", name="Archive it").click()
    expect(rows).to_have_count(1)
    calm_page.get_by_label("State").select_option("archived")
    expect(rows.first).to_contain_text("ARCHIVED")
    assert jobs.get_job(ANNA, old.id).results == ()
    calm_page.get_by_label("State").select_option("all but archived")
    calm_page.locator("tbody tr").filter(has_text=again.id).click()
    calm_page.get_by_role("button", name="Delete").click()
    expect(rows).to_have_count(0)
    assert again.id not in [job.id for job in jobs.list_jobs(ANNA)]


@pytest.mark.requirement("DMS-PRTL-REQ-0014")
def test_past_queries_are_listed_opened_run_again_and_forgotten(calm_page, pages, jobs):
    history = pages.factory.create_history_service()
    history.forget(ANNA)
    jobs.create_job(ANNA, kind=JobKind.TAP, parameters=[("LANG", "ADQL"), ("QUERY", QUERY)], run=True)
    run_one(pages)
    calm_page.goto(f"{pages.url}/jobs")
    calm_page.get_by_role("link", name="Past queries").click()
    row = calm_page.locator("tbody tr").first
    expect(row).to_contain_text("COMPLETED")
    row.click()
    expect(calm_page.get_by_role("link", name="Open in Catalogs")).to_have_attribute(
        "href", re.compile("SELECT%20TOP%207")
    )
    calm_page.get_by_role("button", name="Run again as a job").click()
    expect(calm_page.get_by_text("It runs again as")).to_be_visible()
    assert jobs.list_jobs(ANNA)[0].find_value("QUERY") == QUERY
    calm_page.get_by_role("button", name="Forget all queries").click()
    assert len(history.list_queries(ANNA)) == 1
    calm_page.get_by_role("button", name="Forget all", exact=True).click()
    expect(calm_page.get_by_text("You have asked no queries yet")).to_be_visible()
    assert history.list_queries(ANNA) == []
