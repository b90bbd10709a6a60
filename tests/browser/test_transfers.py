"""Results and images sent to the disk, into storage and into tables: the same bytes and rows whichever way."""

from __future__ import annotations

import csv
import hashlib
import io
import re
import tarfile
import zipfile
from pathlib import Path
from uuid import UUID

import duckdb
import pytest
from playwright.sync_api import Page, expect

from skydesk_portal.models.datasets import DatasetId
from skydesk_portal.models.jobs import JobKind
from skydesk_portal.services.download_archives import Member, stream_archive, stream_members_of_tar
from skydesk_portal.uws.runner import JobRunner
from tests.support.pages import ANNA, Pages

ROWS = 23
QUERY = f"SELECT TOP {ROWS} objectId, coord_ra, coord_dec FROM maps.Object ORDER BY objectId"


@pytest.mark.requirement("DMS-PRTL-REQ-0110")
def test_a_result_goes_to_the_disk_storage_a_new_and_an_old_table(calm_page: Page, pages: Pages):
    page, tables = calm_page, pages.factory.create_table_service()
    for old in [t.name for t in tables.list_tables(ANNA) if t.name in {"sent", "kept"}]:
        tables.drop_table(ANNA, old, for_good=True)
    queries = pages.factory.create_tap_service()
    first = queries.run_query(ANNA, QUERY.replace(f"TOP {ROWS}", "TOP 4"))
    tables.create_table(ANNA, "kept", (first.columns, first.table.to_batches()))
    page.goto(f"{pages.url}/catalogs?query={QUERY.replace(' ', '+')}")
    send = page.get_by_role("button", name="Send", exact=True)
    expect(send).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    with download.value.path().open() as file:
        on_disk = list(csv.reader(file))[1:]
    page.get_by_label("Path of the file").fill("out/sent.parquet")
    send.click()
    expect(page.get_by_text(re.compile("The file out/sent.parquet of .* is in your storage"))).to_be_visible()
    stored = pages.home / "users/anna/home/out/sent.parquet"
    in_storage = duckdb.sql(f"SELECT objectId FROM '{stored}'").fetchall()
    page.get_by_label("Send it to").select_option("a new table of mine")
    send.click()
    expect(page.get_by_role("alert").filter(has_text="Type a name for the table")).to_be_visible()
    page.get_by_label("Name of the new table").fill("sent")
    send.click()
    expect(
        page.get_by_text(f"{ROWS} rows went into the table user_anna.sent, which has {ROWS} now")
    ).to_be_visible()
    page.get_by_label("Send it to").select_option("a table that I have")
    page.get_by_label("My table", exact=True).select_option("kept")
    send.click()
    expect(
        page.get_by_text(f"{ROWS} rows went into the table user_anna.kept, which has {ROWS + 4} now")
    ).to_be_visible()
    made = queries.run_query(ANNA, "SELECT objectId FROM user_anna.sent").table
    grown = queries.run_query(ANNA, "SELECT objectId FROM user_anna.kept").table
    assert len(on_disk) == len(in_storage) == made.num_rows == grown.num_rows - 4 == ROWS
    assert (
        {int(row[0]) for row in on_disk} == {row[0] for row in in_storage} == set(made.column(0).to_pylist())
    )
    page.get_by_label("Send it to").select_option("a file of mine")
    page.get_by_label("Path of the file").fill("../out.exe")
    send.click()
    expect(page.get_by_role("alert").filter(has_text="no steps like")).to_be_visible()


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def list_images(pages: Pages, where: str = "") -> list[dict[str, str]]:
    """List images of the release, each with the hash of its file in the release."""
    soda = pages.factory.create_soda_service()
    query = f"SELECT dataset_id FROM ivoa.ObsCore WHERE obs_collection = 'maps'{where} ORDER BY dataset_id"
    found = []
    for row in pages.factory.create_tap_service().run_query(ANNA, query).table.to_pylist():
        path = Path(soda.get_facts(ANNA, DatasetId("maps", UUID(row["dataset_id"]))).path)
        found.append({"id": row["dataset_id"], "name": path.name, "sha": digest(path.read_bytes())})
    return found


@pytest.mark.requirement("DMS-PRTL-REQ-0111")
def test_an_image_is_the_same_from_viewer_and_list_on_disk_and_in_storage(calm_page: Page, pages: Pages):
    page, image = calm_page, list_images(pages, " AND dataset_type = 'visit_image'")[0]
    home, sums = pages.home / "users/anna/home", []
    for place in ("viewer", "list"):
        if place == "viewer":
            page.goto(f"{pages.url}/images?release=maps&id={image['id']}")
        else:
            page.goto(f"{pages.url}/imagesearch?release=maps&kind=visit_image&run=1")
            page.locator("tbody tr").filter(has_text=image["id"]).get_by_role("checkbox").check()
        with page.expect_download() as download:
            page.get_by_role("link", name=f"Download {image['name']}").click()
        sums.append(digest(download.value.path().read_bytes()))
        page.get_by_label("Folder of my files").fill(f"from/{place}")
        page.get_by_role("button", name="Keep in my files").click()
        expect(page.get_by_text(f"Kept in your files: from/{place}/{image['name']}")).to_be_visible()
        sums.append(digest((home / "from" / place / image["name"]).read_bytes()))
    assert sums == [image["sha"]] * 4


@pytest.mark.requirement("DMS-PRTL-REQ-0112")
def test_only_ticked_images_are_in_the_archive(calm_page: Page, pages: Pages):
    page, images = calm_page, list_images(pages)
    assert len(images) >= 10
    page.goto(f"{pages.url}/imagesearch?release=maps&run=1")
    expect(page.get_by_role("button", name="Keep in my files")).to_be_hidden()
    wanted = {image["name"]: image["sha"] for image in (images[1], images[4], images[8])}
    for n in (1, 4, 8, 9):
        page.locator("tbody tr").filter(has_text=images[n]["id"]).get_by_role("checkbox").check()
    expect(page.get_by_text(re.compile(r"Download 4 images \("))).to_be_visible()
    page.locator("tbody tr").filter(has_text=images[9]["id"]).get_by_role("checkbox").uncheck()
    expect(page.get_by_text(re.compile(r"Download 3 images \("))).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="as zip").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        assert archive.testzip() is None
        assert {name: digest(archive.read(name)) for name in archive.namelist()} == wanted
    with page.expect_download() as download:
        page.get_by_role("link", name="as tar").click()
    with tarfile.open(download.value.path()) as archive:
        found = {info.name: digest(archive.extractfile(info).read()) for info in archive}  # type: ignore[union-attr]
    assert found == wanted
    page.get_by_label("Folder of my files").fill("three")
    page.get_by_role("button", name="Keep in my files").click()
    expect(page.get_by_text("3 images")).to_have_count(2)
    stored = {p.name: digest(p.read_bytes()) for p in (pages.home / "users/anna/home/three").iterdir()}
    assert stored == wanted


def test_a_bulk_archive_is_offered_as_zip_too(calm_page: Page, pages: Pages):
    jobs = pages.factory.create_job_service()
    parameters = [
        ("QUERY", "SELECT TOP 3 coord_ra AS ra, coord_dec AS dec FROM maps.Object"),
        ("RELEASE", "maps"), ("TYPE", "deep_coadd"), ("SIZE", "4"),
    ]  # fmt: skip
    job = jobs.create_job(ANNA, kind=JobKind.BULK, parameters=parameters, run=True)
    executors = {JobKind.BULK: pages.factory.create_executors()[JobKind.BULK]}
    assert JobRunner("bulk", jobs.store, jobs.results, executors, 60.0).run_one()
    done = jobs.get_job(ANNA, job.id)
    assert done.phase == "COMPLETED", done.error
    calm_page.goto(f"{pages.url}/jobs?job={job.id}")
    with calm_page.expect_download() as download:
        calm_page.get_by_role("link", name="Download archive as zip").click()
    path, _ = jobs.result_path(ANNA, job.id, "archive")
    with tarfile.open(path) as tar, zipfile.ZipFile(download.value.path()) as archive:
        wanted = {info.name: tar.extractfile(info).read() for info in tar if info.isfile()}  # type: ignore[union-attr]
        assert len(wanted) > 3
        assert {name: archive.read(name) for name in archive.namelist()} == wanted


def test_archives_are_read_by_others_and_do_not_depend_on_the_day(tmp_path: Path):
    contents = {"a.txt": b"", "deep/b.bin": bytes(range(256)) * 9000, "c d é.txt": b"x" * 513}
    members = [Member(name, len(c), lambda c=c: io.BytesIO(c)) for name, c in contents.items()]
    made = {form: b"".join(stream_archive(members, form)) for form in ("zip", "tar")}
    assert made == {form: b"".join(stream_archive(members, form)) for form in made}
    (tmp_path / "x.tar").write_bytes(made["tar"])
    assert b"".join(stream_archive(stream_members_of_tar(tmp_path / "x.tar"), "zip")) == made["zip"]
    with zipfile.ZipFile(io.BytesIO(made["zip"])) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == contents
