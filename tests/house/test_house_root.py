"""The files at the root keep what they promise: README, Makefile, locks, documentation."""

from __future__ import annotations

import importlib.metadata
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import UnionType

import click
import pytest
from pydantic import BaseModel

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
REFERENCE = ROOT / "docs" / "reference"


def _make_targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.M))


def test_readme_is_short_and_has_a_picture() -> None:
    assert len(README.splitlines()) <= 120
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)
    assert pictures
    for picture in pictures:
        assert (ROOT / picture).is_file(), f"README shows {picture}, which does not exist"


def test_readme_names_only_make_targets_that_exist() -> None:
    named = set(re.findall(r"\bmake ([a-z][a-z-]*)", README))
    assert {"up", "test"} <= named
    assert named <= _make_targets()


def test_readme_links_lead_somewhere() -> None:
    for link in re.findall(r"(?<!!)\[[^\]]+\]\(([^)#]+)", README):
        assert link.startswith("http") or (ROOT / link).exists(), f"README links {link}, which does not exist"


def test_makefile_has_every_promised_target() -> None:
    assert {
        "up",
        "down",
        "test",
        "lint",
        "bench",
        "soak",
        "docs",
        "develop",
        "lock",
        "clean",
    } <= _make_targets()


def test_locks_hold_no_download_addresses() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert "--hash=sha256:" in lock
    assert not re.search(r"https?://|--index-url|--find-links| @ ", lock)
    package_locks = [ROOT / "package-lock.json", *ROOT.glob("hub/src/skydesk_hub/proxy/package-lock.json")]
    for path in package_locks:
        for name, package in json.loads(path.read_text())["packages"].items():
            assert "://" not in package.get("resolved", ""), f"{path.name}: {name}"


def test_lock_knows_every_dependency_of_the_packages() -> None:
    locked = set(re.findall(r"^([A-Za-z0-9._-]+)==", (ROOT / "requirements.lock").read_text(), re.M))
    for package in ("core", "portal", "hub", "extensions"):
        project = tomllib.loads((ROOT / package / "pyproject.toml").read_text())["project"]
        for requirement in project["dependencies"]:
            name = re.split(r"[\[<>=!~; ]", requirement)[0].lower().replace("_", "-")
            assert name in locked, f"{package} needs {name}, which the lock does not have: run make lock"


def _commands(
    command: click.Command, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None, f"{' '.join(path)} lists {name} but does not have it"
            yield from _commands(child, (*path, name))


def test_every_command_and_option_is_documented() -> None:
    from skydesk_hub.cli import skydesk

    text = (REFERENCE / "command.md").read_text()
    missing = []
    for path, command in _commands(skydesk, ("skydesk",)):
        if " ".join(path) not in text:
            missing.append(" ".join(path))
        shown = [p for p in command.params if isinstance(p, click.Option) and not p.hidden]
        options = [option for p in shown for option in p.opts if option.startswith("--")]
        missing += [f"{' '.join(path)} {option}" for option in options if option not in text]
    assert not missing, "run make docs"


def _settings(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, str | None]]:
    for name, field in model.model_fields.items():
        yield f"{prefix}.{name}", field.description
        nested = field.annotation.__args__[0] if isinstance(field.annotation, UnionType) else field.annotation
        if isinstance(nested, type) and issubclass(nested, BaseModel):
            yield from _settings(nested, f"{prefix}.{name}")


def test_every_setting_is_described_and_documented() -> None:
    text = (REFERENCE / "configuration.md").read_text()
    sections = list(importlib.metadata.entry_points(group="skydesk.config"))
    assert {section.name for section in sections} == {"core", "portal", "hub"}
    for section in sections:
        for name, description in _settings(section.load(), section.name):
            assert description, f"the setting {name} has no description"
            assert f"`{name}`" in text, f"the setting {name} is not in docs/reference: run make docs"


def test_every_tutorial_is_linked() -> None:
    text = (ROOT / "docs" / "tutorials" / "index.md").read_text()
    for notebook in (ROOT / "tutorials").glob("*.ipynb"):
        assert notebook.name in text, f"docs/tutorials/index.md does not link {notebook.name}"


def test_every_error_code_is_documented() -> None:
    text = (REFERENCE / "errors.md").read_text()
    codes = set()
    for path in [
        *ROOT.glob("core/src/**/*.py"),
        *ROOT.glob("portal/src/**/*.py"),
        *ROOT.glob("hub/src/**/*.py"),
    ]:
        codes |= set(
            re.findall(r"^    code(?:: ClassVar\[str\]|: str)? = \"([a-z_]+)\"", path.read_text(), re.M)
        )
    assert codes
    missing = sorted(code for code in codes if f"`{code}`" not in text)
    assert not missing, "run make docs"


@pytest.mark.parametrize("kind", ["tutorials", "how-to", "reference", "explanation"])
def test_every_page_is_in_a_table_of_contents(kind: str) -> None:
    index = (ROOT / "docs" / kind / "index.md").read_text()
    for page in (ROOT / "docs" / kind).glob("*.md"):
        if page.name != "index.md":
            assert re.search(rf"\b{re.escape(page.stem)}\b", index), (
                f"docs/{kind}/index.md does not list {page.name}"
            )
