"""The project's files keep the project's rules: sizes, names, words, and no trace of any one machine."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = (
    "core/src/skydesk_core",
    "portal/src/skydesk_portal",
    "hub/src/skydesk_hub",
    "extensions/skydesk_lab",
)
MAX_FILE_LINES = 600
MAX_TEST_FILE_LINES = 800
MAX_FUNCTION_LINES = 80
GRAB_BAGS = {"utils", "util", "helpers", "helper", "manager", "managers", "common", "misc", "base"}
SHADOWS = {"types", "io", "logging", "json", "queue", "operator"}
# The base classes of instruments are the one place where "base" says something.
NAME_EXCEPTIONS = {"core/src/skydesk_core/instrument/base.py"}
GENERATED = {"package-lock.json", "requirements.lock"}


def _tracked() -> list[Path]:
    """List the project's own files: what git knows, or everything when the tree is no git checkout."""
    run = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-co", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode != 0:
        pytest.fail(f"git could not list the files: {run.stderr}")
    return [ROOT / name for name in run.stdout.splitlines() if (ROOT / name).is_file()]


TRACKED = _tracked()
PYTHON = [path for path in TRACKED if path.suffix == ".py"]
PRODUCT = [path for path in PYTHON if str(path.relative_to(ROOT)).startswith(PACKAGES)]
SCRIPT = [path for path in TRACKED if path.suffix in {".ts", ".js", ".mjs", ".css"}]


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_the_tree_is_not_empty() -> None:
    assert len(PRODUCT) > 20
    assert len(SCRIPT) > 2


def test_no_file_is_longer_than_one_reads_in_a_sitting() -> None:
    too_long = {}
    for path in [*PYTHON, *SCRIPT]:
        lines = len(path.read_text().splitlines())
        limit = MAX_TEST_FILE_LINES if _name(path).startswith("tests/") else MAX_FILE_LINES
        if lines > limit:
            too_long[_name(path)] = lines
    assert not too_long


def test_no_function_is_longer_than_a_screen_or_two() -> None:
    too_long = {}
    for path in PRODUCT:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = _body_lines(node)
                if lines > MAX_FUNCTION_LINES:
                    too_long[f"{_name(path)}:{node.name}"] = lines
    assert not too_long


def _body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    assert node.end_lineno is not None
    first = node.body[0]
    has_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    docstring = (first.end_lineno or 0) - first.lineno + 1 if has_docstring else 0
    return node.end_lineno - node.lineno + 1 - docstring


def test_no_module_is_a_grab_bag_or_shadows_the_standard_library() -> None:
    bad = [
        _name(path)
        for path in PRODUCT
        if path.stem in GRAB_BAGS | SHADOWS and _name(path) not in NAME_EXCEPTIONS
    ]
    assert not bad


def test_test_files_have_unique_names() -> None:
    names = [
        path.name for path in PYTHON if _name(path).startswith("tests/") and path.name.startswith("test_")
    ]
    assert sorted({name for name in names if names.count(name) > 1}) == []


# The words are put together here so that this file does not contain them itself.
FORBIDDEN = {
    "a path of one machine": re.compile(r"(?<![\w.])/(?:wo" + r"rk|ro" + r"ot)/(?!\*)"),
    "a registry's host": re.compile(r"registry\.npm" + r"js|files\.python" + r"hosted|pypi\.o" + r"rg"),
    "words about how it was written": re.compile(
        r"\bcla" + r"ude\b|\banth" + r"ropic\b|\bchat" + r"gpt\b", re.I
    ),
    "unfinished work": re.compile(r"\bTO" + r"DO\b|\bFIX" + r"ME\b|\bXX" + r"X\b"),
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_contains(what: str) -> None:
    found = []
    for path in TRACKED:
        if path.name in GENERATED and what != "a registry's host":
            continue
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        found += [
            f"{_name(path)}:{number}"
            for number, line in enumerate(text.splitlines(), 1)
            if FORBIDDEN[what].search(line)
        ]
    assert not found


def test_product_code_contains_no_placeholders() -> None:
    word = re.compile(r"\b(?:place" + r"holder|mo" + r"ck|st" + r"ub|dum" + r"my)(?:s|ed)?\b", re.I)
    # A text field's placeholder is the name of an HTML attribute and of a Panel parameter.
    attribute = re.compile(r"placeholder\s*[=:]|[\"']placeholder[\"']|::placeholder")
    found = []
    for path in [*PRODUCT, *SCRIPT]:
        if "__tests__" in _name(path) or "/tests/" in _name(path):
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if word.search(attribute.sub("", line)):
                found.append(f"{_name(path)}:{number}")
    assert not found


def test_notebooks_carry_no_outputs() -> None:
    notebooks = [path for path in TRACKED if path.suffix == ".ipynb"]
    assert notebooks
    for path in notebooks:
        for cell in json.loads(path.read_text())["cells"]:
            if cell["cell_type"] == "code":
                assert cell["outputs"] == [], f"{_name(path)} carries outputs"
                assert cell["execution_count"] is None, f"{_name(path)} carries execution counts"


def test_importing_the_core_is_light() -> None:
    assert _heavy_modules_after("import skydesk_core") == "[]"


def test_importing_the_commands_loads_no_middleware() -> None:
    load = "import importlib.metadata as m; [e.load() for e in m.entry_points(group='skydesk.commands')]"
    assert _heavy_modules_after(load) == "[]"


def _heavy_modules_after(statement: str) -> str:
    heavy = {"lsst", "numpy", "astropy", "panel", "jupyterhub", "pandas"}
    code = f"import sys\n{statement}\nprint(sorted(n for n in sys.modules if n.split('.')[0] in {heavy!r}))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()
