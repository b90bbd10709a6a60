"""The Files page: browse, upload, look, rename, delete; tables and sharing."""

import base64
import io
import re

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from playwright.sync_api import Page, expect

from tests.support.pages import ANNA, Pages, open_context

CSV = "name,ra,dec\n" + "".join(f"star {n},{53 + n / 100},{-28 - n / 100}\n" for n in range(12))


@pytest.fixture
def own(pages: Pages):
    """The home folder of anna, empty at first."""
    files = pages.factory.create_files_service()
    for facts in files.open_home(ANNA).list_facts(()):
        files.remove(ANNA, f"/anna/{facts.name}")
    return pages.home / "users/anna/home"


@pytest.mark.requirement("DMS-PRTL-REQ-0116")
def test_files_are_uploaded_shown_renamed_and_deleted(calm_page, pages, own, tmp_path):
    (tmp_path / "stars.csv").write_text(CSV)
    calm_page.goto(f"{pages.url}/files")
    expect(calm_page.get_by_text("/ is empty")).to_be_visible()
    expect(calm_page.get_by_text(re.compile("of 50 MB"))).to_be_visible()
    calm_page.get_by_label("Files to upload").set_input_files(tmp_path / "stars.csv")
    expect(calm_page.get_by_text("uploaded, ")).to_be_visible()
    assert (own / "stars.csv").read_text() == CSV
    calm_page.get_by_role("button", name="Show content").click()
    expect(calm_page.get_by_text("1–12 of 12")).to_be_visible()
    calm_page.get_by_label("New name").fill("bright stars.csv")
    calm_page.get_by_role("button", name="Rename").click()
    expect(calm_page.get_by_text("stars.csv is bright stars.csv now.")).to_be_visible()
    with calm_page.expect_download() as download:
        calm_page.get_by_role("link", name=re.compile("Download")).click()
    assert download.value.suggested_filename == "bright stars.csv"
    assert download.value.path().read_text() == CSV
    calm_page.get_by_role("button", name="Delete…").click()
    calm_page.get_by_role("button", name="No, keep it").click()
    assert (own / "bright stars.csv").exists()
    calm_page.get_by_role("button", name="Delete…").click()
    calm_page.get_by_role("button", name="Delete it").click()
    expect(calm_page.get_by_text("bright stars.csv was deleted.")).to_be_visible()
    assert not (own / "bright stars.csv").exists()


@pytest.mark.requirement("DMS-PRTL-REQ-0046")
def test_each_kind_of_file_opens_in_the_view_that_fits(calm_page, pages, own):
    stars = Table({"id": [1, 2, 3], "ra": [53.1, 53.2, 53.3]})
    stars.write(own / "stars.csv")
    stars.write(own / "stars.vot", format="votable", tabledata_format="binary2")
    stars.write(own / "stars.fits")
    fits.PrimaryHDU(np.full((40, 50), 7.5, np.float32)).writeto(own / "sky.fits")
    for name in ("stars.csv", "stars.vot", "stars.fits"):
        calm_page.goto(f"{pages.url}/files")
        calm_page.locator("tbody tr").filter(has_text=name).click()
        calm_page.get_by_role("button", name="Show content").click()
        expect(calm_page.get_by_text("1–3 of 3")).to_be_visible()
    calm_page.get_by_role("link", name="Open as an image").click()
    expect(calm_page.get_by_role("alert").filter(has_text="stars.fits holds no image")).to_be_visible()
    calm_page.goto(f"{pages.url}/files")
    calm_page.locator("tbody tr").filter(has_text="sky.fits").click()
    calm_page.get_by_role("link", name="Open as an image").click()
    calm_page.locator(".viewer[data-drawn][data-image]").wait_for()
    expect(calm_page).to_have_url(re.compile("release=my-files"))
    calm_page.locator(".map").focus()
    calm_page.keyboard.press("r")
    expect(calm_page.locator(".message")).to_contain_text("Centre: 7.5")


def drop_file(page: Page, name: str, content: bytes) -> None:
    """Drop a file on the page's place for uploads, as a person does from a window of files."""
    files = page.evaluate_handle(
        """([name, code]) => { const bytes = Uint8Array.from(atob(code), c => c.charCodeAt(0));
        const data = new DataTransfer(); data.items.add(new File([bytes], name)); return data; }""",
        [name, base64.b64encode(content).decode()],
    )
    page.locator(".upload").dispatch_event("drop", {"dataTransfer": files})
    expect(page.get_by_role("heading", name=name, exact=True)).to_be_visible()


@pytest.mark.requirement("DMS-PRTL-REQ-0045")
def test_what_was_just_dropped_is_shown_after_one_click(calm_page, pages, own):
    row = calm_page.locator("tbody tr")
    calm_page.goto(f"{pages.url}/files")
    drop_file(calm_page, "a & b.csv", CSV.encode())
    calm_page.get_by_role("link", name="Open as a table").click()
    expect(calm_page.get_by_role("status").filter(has_text="12 rows in")).to_be_visible()
    expect(row.first).to_contain_text("star 0")
    cells = [[c.strip() for c in r.locator("td").all_inner_texts()[-3:]] for r in row.all()]
    shown = [(name, float(ra), float(dec.replace("−", "-"))) for name, ra, dec in cells]
    assert shown == list(Table.read(CSV, format="ascii.csv").iterrows())
    expect(calm_page.locator(".bk-Figure").first).to_be_visible()
    # The address restores it, with what was asked of the file since.
    expect(calm_page).to_have_url(re.compile("file=a\\+%26\\+b.csv&query="))
    address = calm_page.url.replace("mine", "mine+WHERE+ra+<+53.045")
    calm_page.goto(f"{pages.url}/files")
    calm_page.goto(address.partition("&s=")[0])
    expect(calm_page.get_by_role("status").filter(has_text="5 rows in")).to_be_visible()
    pixels = io.BytesIO()
    fits.PrimaryHDU(np.full((40, 50), 11.25, np.float32)).writeto(pixels)
    calm_page.goto(f"{pages.url}/files")
    drop_file(calm_page, "sky.fits", pixels.getvalue())
    calm_page.get_by_role("link", name="Open as an image").click()
    calm_page.locator(".viewer[data-drawn][data-image]").wait_for()
    calm_page.locator(".map").focus()
    calm_page.keyboard.press("r")
    expect(calm_page.locator(".message")).to_contain_text("Centre: 11.25")
    calm_page.goto(f"{pages.url}/catalogs?file=none.csv")
    expect(calm_page.get_by_role("alert")).to_contain_text("The file none.csv cannot be shown")


def test_folders_are_made_and_entered_and_nothing_is_replaced_unasked(calm_page, pages, own, tmp_path):
    (tmp_path / "note.txt").write_text("new")
    calm_page.goto(f"{pages.url}/files")
    calm_page.get_by_label("New folder").fill("a/b")
    calm_page.get_by_role("button", name="Make folder").click()
    expect(calm_page.get_by_role("alert").filter(has_text="one name without slashes")).to_be_visible()
    calm_page.get_by_label("New folder").fill("deep")
    calm_page.get_by_role("button", name="Make folder").click()
    calm_page.locator("tbody tr").filter(has_text="deep/").click()
    calm_page.get_by_role("link", name="Open folder deep").click()
    expect(calm_page.get_by_text("/deep is empty")).to_be_visible()
    (own / "deep" / "note.txt").write_text("old")
    calm_page.get_by_label("Files to upload").set_input_files(tmp_path / "note.txt")
    expect(calm_page.get_by_text("There is such a file already.")).to_be_visible()
    assert (own / "deep" / "note.txt").read_text() == "old"
    calm_page.get_by_role("button", name="Replace note.txt").click()
    expect(calm_page.get_by_text("uploaded, ")).to_be_visible()
    assert (own / "deep" / "note.txt").read_text() == "new"


def test_two_gigabytes_are_refused_in_a_sentence(calm_page, pages, own, tmp_path):
    with (tmp_path / "huge.bin").open("wb") as stream:
        stream.truncate(2_000_000_000)
    calm_page.goto(f"{pages.url}/files")
    calm_page.get_by_label("Files to upload").set_input_files(tmp_path / "huge.bin")
    expect(
        calm_page.get_by_role("alert").filter(has_text="There is no space left for this file in your quota.")
    ).to_be_visible()
    expect(calm_page.get_by_text("/ is empty")).to_be_visible()
    assert not (own / "huge.bin").exists()


@pytest.mark.requirement("DMS-PRTL-REQ-0109")
def test_a_file_becomes_a_table_that_is_described_shared_dropped_and_restored(
    calm_page, pages, own, pages_browser
):
    tables = pages.factory.create_table_service()
    for table in [*tables.list_tables(ANNA), *tables.list_dropped(ANNA)]:
        tables.drop_table(ANNA, table.name, for_good=True)
    (own / "stars.csv").write_text(CSV)
    calm_page.goto(f"{pages.url}/files")
    calm_page.locator("tbody tr").filter(has_text="stars.csv").click()
    calm_page.get_by_role("button", name="Make a table of it").click()
    calm_page.get_by_role("link", name="user_anna.stars").click()
    calm_page.locator("tbody tr").filter(has_text="user_anna.stars").first.click()
    calm_page.get_by_label("Description").fill("twelve <stars>")
    calm_page.get_by_role("button", name="Save description").click()
    expect(calm_page.get_by_text("The description of stars was saved.")).to_be_visible()
    calm_page.get_by_label("Groups that may read it").fill("g_team")
    calm_page.get_by_role("button", name="Save sharing").click()
    expect(calm_page.get_by_text("stars is shared with g_team now.")).to_be_visible()
    context = open_context(pages_browser, "token-of-dora")
    theirs = context.new_page()
    theirs.goto(f"{pages.url}/files?view=tables")
    theirs.locator("tbody tr").filter(has_text="twelve <stars>").first.click()
    expect(theirs.get_by_role("heading", name="user_anna.stars")).to_be_visible()
    expect(theirs.get_by_role("button", name="Drop table")).to_be_hidden()
    context.close()
    calm_page.get_by_role("button", name="Drop table").click()
    expect(calm_page.get_by_text("stars was dropped")).to_be_visible()
    assert tables.list_tables(ANNA) == []
    calm_page.get_by_role("button", name="Restore").click()
    expect(calm_page.get_by_text("stars is back.")).to_be_visible()
    assert tables.get_table(ANNA, "stars").groups == ("g_team",)


def test_the_repository_is_shared(calm_page, pages):
    sharing = pages.factory.create_sharing_service()
    calm_page.goto(f"{pages.url}/files?view=sharing")
    calm_page.get_by_label("Users, with commas").fill("dora, finn")
    calm_page.get_by_role("button", name="Save").click()
    expect(calm_page.get_by_text("dora, finn may read your repository.")).to_be_visible()
    assert sharing.get_readers(ANNA, "u-anna").users == ("dora", "finn")
    calm_page.get_by_label("Users, with commas").fill("Not A Name!")
    calm_page.get_by_role("button", name="Save").click()
    expect(calm_page.get_by_role("alert").filter(has_text="is not the name of a user")).to_be_visible()
