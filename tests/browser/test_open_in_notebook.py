"""A page's code becomes a notebook that JupyterLab shows; nothing runs before the person runs it."""

from __future__ import annotations

import re

import nbformat
import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.timeout(600)

NOTEBOOKS = "/files/tester/notebooks/from-portal/"
ADQL = "SELECT TOP 7 objectId, coord_ra, coord_dec FROM demo.Object WHERE r_psfFlux > 0 AND 'a''b' <> 'c'"


def open_in_notebook(page):
    """Press the button and return the page with JupyterLab, the notebook's name and its cells."""
    with page.expect_popup() as popup:
        page.get_by_role("button", name="Open in notebook").click()
    lab = popup.value
    lab.set_default_timeout(120_000)
    lab.wait_for_url(re.compile(r"/nb/user/tester/lab/tree/notebooks/from-portal/.+\.ipynb"))
    link = page.locator("a", has_text="notebooks/from-portal/")
    expect(link).to_be_visible()
    name = link.inner_text().removeprefix("notebooks/from-portal/")
    expect(lab.get_by_role("tab", name=re.compile(re.escape(name)))).to_be_visible(timeout=120_000)
    return lab, name


def run_all_cells(lab):
    """Run the open notebook as the person does, by the menu."""
    expect(lab.get_by_text("Python 3 (ipykernel) | Idle")).to_be_visible(timeout=120_000)
    lab.get_by_role("menuitem", name="Run", exact=True).click()
    lab.get_by_role("menuitem", name="Run All Cells", exact=True).click()


@pytest.fixture
def files(running_stack):
    with running_stack.client(scopes=["write:files"]) as client:
        yield client


def test_a_query_is_opened_in_the_lab_and_gives_its_rows_when_the_person_runs_it(
    signed_in_page, running_stack, files
):
    page = signed_in_page
    page.goto(f"{running_stack.url}/portal/app/catalogs")
    page.get_by_label("ADQL", exact=True).fill(ADQL)
    page.get_by_label("ADQL", exact=True).blur()
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.locator("tbody tr").first).to_be_visible(timeout=60_000)
    lab, name = open_in_notebook(page)

    written = nbformat.reads(files.get(NOTEBOOKS + name).text, as_version=4)
    nbformat.validate(written)
    assert [c.cell_type for c in written.cells] == ["markdown", "code", "code"]
    assert f"{running_stack.url}/portal/app/catalogs?query=" in written.cells[0].source
    assert all(c.execution_count is None and not c.outputs for c in written.cells[1:])

    expect(lab.locator(".jp-Notebook .jp-CodeCell")).to_have_count(2)
    expect(lab.locator(".jp-OutputArea-output")).to_have_count(0)
    run_all_cells(lab)
    output = lab.locator(".jp-OutputArea-output table")
    expect(output).to_contain_text("objectId", timeout=120_000)
    expect(output).to_contain_text("coord_dec")
    assert "length=7" in lab.locator(".jp-OutputArea-output").last.inner_text()


def test_a_light_curve_is_opened_in_the_lab_and_plotted(signed_in_page, running_stack, files):
    with running_stack.client() as client:
        rows = client.get(
            "/api/tap/sync",
            params={"LANG": "ADQL", "FORMAT": "csv", "QUERY": "SELECT TOP 1 objectId FROM demo.Object WHERE r_psfFlux > 0 ORDER BY r_psfFlux DESC"},
        )  # fmt: skip
    number = rows.text.split()[1]
    page = signed_in_page
    page.goto(f"{running_stack.url}/portal/app/lightcurves?release=demo&object={number}")
    expect(page.get_by_role("heading", name=f"Object {number}")).to_be_visible(timeout=60_000)
    lab, name = open_in_notebook(page)
    written = nbformat.reads(files.get(NOTEBOOKS + name).text, as_version=4)
    nbformat.validate(written)
    assert f"platform.light_curve({number}, release='demo', difference=False)" in written.cells[2].source
    run_all_cells(lab)
    expect(lab.locator(".jp-OutputArea-output img")).to_be_visible(timeout=120_000)


def test_an_image_is_opened_in_the_lab_and_shown_there(signed_in_page, running_stack):
    page = signed_in_page
    page.goto(f"{running_stack.url}/portal/app/images?release=demo&kind=deep_coadd")
    page.wait_for_selector(".viewer[data-drawn][data-image]")
    number = page.locator(".viewer").get_attribute("data-image")
    lab, _ = open_in_notebook(page)
    run_all_cells(lab)
    frame = lab.frame_locator("iframe[src*='/portal/app/images']")
    expect(frame.locator(f".viewer[data-image='{number}']")).to_be_visible(timeout=120_000)
    expect(lab.locator(".jp-OutputArea-output").filter(has_text="Traceback")).to_have_count(0)


CELLS = (
    """from skydesk_lab import client
platform = client.Platform()
star = platform.query(f"SELECT TOP 1 objectId, coord_ra, coord_dec FROM {platform.release}.Object "
                      "WHERE r_psfFlux > 0 ORDER BY r_psfFlux DESC")[0]
view = client.ImageView(ra_deg=star["coord_ra"], dec_deg=star["coord_dec"], radius_arcsec=20,
                        sources="Object", height=560)
view""",
    """view.wait_open()
view.stretch("log", 0, 500)
rows = view.wait_selection()
while len(rows) == 0:
    rows = view.wait_selection()
print("chosen", rows["objectId"][0] == star["objectId"], view.describe()["page"])""",
    """table = client.TableView("SELECT TOP 4 objectId, r_psfFlux FROM demo.Object", height=600)
table""",
    """import httpx
headers = {"Authorization": f"Bearer {platform.token}"}
inside = httpx.get(f"{platform.url}/portal/app/views", headers=headers).status_code
outside = httpx.get(f"{platform.url}/portal/app/", headers=headers).status_code
table.wait_open()
print("open", table.describe()["page"], len(client.Portal().list_views()), inside, outside)""",
)


@pytest.mark.requirement("DMS-PRTL-REQ-0115")
def test_image_view_and_table_work_inside_cells_and_obey_the_kernel(signed_in_page, running_stack, files):
    kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    cells = [nbformat.v4.new_code_cell(text) for text in CELLS]
    book = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    assert files.put("/files/tester/frames.ipynb", content=nbformat.writes(book)).is_success
    lab = signed_in_page
    complaints = []
    lab.on("console", lambda m: complaints.append(m.text) if "Content Security Policy" in m.text else None)
    lab.set_default_timeout(120_000)
    # A workspace of its own: in the usual one JupyterLab puts notebooks of earlier visits in front again.
    lab.goto(f"{running_stack.url}/nb/hub/user-redirect/lab/workspaces/frames/tree/frames.ipynb?reset")
    run_all_cells(lab)

    image = lab.frame_locator("iframe[src*='/portal/app/images']")
    expect(image.locator(".viewer[data-image]")).to_be_visible(timeout=120_000)
    expect(image.get_by_role("navigation", name="Portal")).to_be_hidden()
    image.locator(".map").press("Enter")
    output = lab.locator(".jp-OutputArea-output")
    expect(output.filter(has_text="chosen")).to_have_text(re.compile("chosen True images"), timeout=120_000)
    expect(image.get_by_label("Stretch", exact=True)).to_have_value("log")

    table = lab.frame_locator("iframe[src*='/portal/app/catalogs']")
    expect(table.locator("tbody tr")).to_have_count(4, timeout=120_000)
    expect(output.filter(has_text="open catalogs")).to_have_text(
        re.compile("open catalogs [2-9] 200 403"), timeout=120_000
    )
    assert complaints == []
