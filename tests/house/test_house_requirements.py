"""The marks of the tests, the titles of the requirements and the page of the documentation agree."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_mark_has_a_title_and_every_title_a_mark(generator: ModuleType) -> None:
    titles = yaml.safe_load((ROOT / "docs" / "requirements.yaml").read_text())
    marks = generator.collect_requirement_marks()
    assert set(marks) == set(titles)
    assert all(re.fullmatch(r"DMS-(LSP|PRTL|NB|API)-REQ-\d{4}", key) for key in marks)


def test_the_verification_page_is_up_to_date(generator: ModuleType) -> None:
    text = re.sub(r"\n{3,}", "\n\n", generator.describe_verification())
    assert (ROOT / "docs" / "reference" / "verification.md").read_text() == text, "run make docs"
