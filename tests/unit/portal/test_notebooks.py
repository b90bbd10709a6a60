"""Notebooks from the Portal: valid, never run, never replacing a file, and no text of an address becomes code."""

from __future__ import annotations

import ast
import json
import re
from datetime import UTC, datetime

import nbformat
import pytest

from skydesk_portal.exceptions import FileSpaceError, ForbiddenError, TooLargeError
from skydesk_portal.models.identity import SCOPES, Identity
from skydesk_portal.services.files import FilesService
from skydesk_portal.services.notebooks import MAX_CODE_BYTES, NotebookService, make_notebook
from skydesk_portal.services.snippets import light_curve_cells, query_cells
from skydesk_portal.storage.claims import ClaimStore
from skydesk_portal.storage.vospace import NodePropertyStore

ADA = Identity("ada", frozenset(SCOPES))
WHEN = datetime(2026, 3, 1, 12, 30, 5, tzinfo=UTC)
URL = "http://127.0.0.1:8000"


def make_service(tmp_path, limit_bytes=10_000_000):
    store, claims = NodePropertyStore(tmp_path / "files.sqlite"), ClaimStore(tmp_path / "claims.sqlite")
    files = FilesService(tmp_path / "users", limit_bytes, URL, store, claims)
    return NotebookService(files, URL)


def test_a_notebook_is_valid_and_has_not_been_run(tmp_path):
    made = make_service(tmp_path).write(
        ADA, "Light curve of Object 7", ["a = 1", "a"], "/portal/app/x?q=1", WHEN
    )
    assert made.path == "notebooks/from-portal/light-curve-of-object-7-20260301-123005.ipynb"
    assert made.address == f"/nb/hub/user-redirect/lab/tree/{made.path}"
    found = nbformat.read(tmp_path / "users/ada/home" / made.path, as_version=4)
    nbformat.validate(found)
    assert [c.source for c in found.cells[1:]] == ["a = 1", "a"]
    assert all(c.execution_count is None and c.outputs == [] for c in found.cells[1:])
    assert f"{URL}/portal/app/x?q=1" in found.cells[0].source
    assert "2026-03-01 12:30 UTC" in found.cells[0].source


def test_a_file_is_never_replaced(tmp_path):
    service = make_service(tmp_path)
    paths = {service.write(ADA, "Query", [f"{n}"], "/portal/app/", WHEN).path for n in range(3)}
    assert len(paths) == 3
    sources = {json.loads((tmp_path / "users/ada/home" / p).read_text())["cells"][1]["source"] for p in paths}
    assert sources == {"0", "1", "2"}


@pytest.mark.parametrize("scope", ["write:files", "exec:notebook"])
def test_who_may_not_write_files_or_use_notebooks_gets_none(tmp_path, scope):
    who = Identity("ada", frozenset(SCOPES) - {scope})
    with pytest.raises(ForbiddenError, match=scope):
        make_service(tmp_path).write(who, "Query", ["1"], "/portal/app/")
    assert not (tmp_path / "users/ada").exists()


def test_a_link_in_the_home_folder_leads_nowhere(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    home = tmp_path / "users/ada/home"
    home.mkdir(parents=True)
    (home / "notebooks").symlink_to(outside)
    with pytest.raises(ForbiddenError):
        make_service(tmp_path).write(ADA, "Query", ["1"], "/portal/app/")
    assert list(outside.iterdir()) == []


def test_too_much_code_and_a_full_home_are_refused(tmp_path):
    with pytest.raises(TooLargeError):
        make_service(tmp_path).write(ADA, "Query", ["x" * (MAX_CODE_BYTES + 1)], "/portal/app/")
    with pytest.raises(FileSpaceError):
        make_service(tmp_path, limit_bytes=100).write(ADA, "Query", ["1"], "/portal/app/")


def test_a_title_and_an_address_stay_text(tmp_path):
    title = "](javascript:alert(1)) <img src=x onerror=alert(1)>\n# more"
    cell = make_notebook(title, [], f"{URL}/portal/app/?a=>)\n[x](javascript:y)", WHEN)["cells"][0]["source"]
    lines = cell.splitlines()
    assert len(lines) == 3
    assert re.search(r"(?<!\\)[<\[]", lines[0]) is None
    assert lines[2].count(">") == 1
    assert lines[2].count("](") == 1


@pytest.mark.parametrize(
    "adql",
    [
        "SELECT 1",
        "SELECT a\nFROM b\nWHERE c = 'd'",
        'SELECT "a"\nFROM "b"',
        '"""\nimport os; os.system("x")\n"""',
        "a\\\nb",
        "'''\n__import__('os')",
        "x\u202e\ny",
        "a\r\nb",
    ],
)
def test_a_query_is_one_literal_whatever_is_in_it(adql):
    tree = ast.parse("\n".join(query_cells(adql)))
    literals = [
        n.value.value
        for n in ast.walk(tree)
        if isinstance(n, ast.Assign) and isinstance(n.value, ast.Constant)
    ]
    assert [text.replace("\r\n", "\n") for text in literals] == [adql.replace("\r\n", "\n")]
    calls = {ast.unparse(n.func) for n in ast.walk(tree) if isinstance(n, ast.Call)}
    assert calls == {"client.Platform", "platform.query"}


def test_a_release_of_a_light_curve_is_a_literal():
    code = "\n".join(light_curve_cells("x', evil()), ('", "DiaObject", 12, "difference"))
    calls = {ast.unparse(n.func) for n in ast.walk(ast.parse(code)) if isinstance(n, ast.Call)}
    assert "evil" not in calls
    assert "platform.light_curve(12, release=" in code
    assert "difference=True" in code
    assert 'rows["diff_njy"]' in code
