"""Writes the pages of docs/reference that follow from the code: the command, the settings, the errors, the verification."""

from __future__ import annotations

import ast
import importlib.metadata
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any

import click
import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "docs" / "reference"
ASPECTS = {"LSP": "The platform", "PRTL": "The Portal", "NB": "Notebooks", "API": "Web interfaces"}
NOTE = "<!-- Written by docs/generate.py from the code: change it there. -->\n"


def main() -> None:
    """Write every generated page; a page that would not change is left alone."""
    for name, text in (
        ("command.md", describe_commands()),
        ("configuration.md", describe_settings()),
        ("errors.md", describe_errors()),
        ("verification.md", describe_verification()),
    ):
        path = REFERENCE / name
        text = re.sub(r"\n{3,}", "\n\n", text)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            sys.stdout.write(f"wrote {path.relative_to(ROOT)}\n")


def describe_commands() -> str:
    """Describe the command with every subcommand, argument and option, as click knows them."""
    from skydesk_hub.cli import skydesk

    parts = [
        "# The command\n",
        NOTE,
        "Every command prints a clear one-line error and ends with a code other than 0 on bad input: "
        "1 when something went wrong (the [code of the error](errors.md) stands in brackets), "
        "2 when the command line itself is wrong.\n",
    ]
    for path, command in list_commands(skydesk, ("skydesk",)):
        level = "#" * min(len(path) + 1, 4)
        parts.append(f"{level} `{' '.join(path)}`\n")
        help_text = inspect.cleandoc(command.help or command.short_help or "")
        parts.append(help_text.replace("\b", "") + "\n")
        arguments = [p.human_readable_name for p in command.params if isinstance(p, click.Argument)]
        if arguments:
            parts.append("Arguments: " + ", ".join(f"`{name}`" for name in arguments) + "\n")
        options = [p for p in command.params if isinstance(p, click.Option) and not p.hidden]
        if options:
            rows = ["| option | what |", "|---|---|"]
            rows += [f"| {_option_names(option)} | {_cell(option.help or '')} |" for option in options]
            parts.append("\n".join(rows) + "\n")
    return "\n".join(parts)


def list_commands(
    command: click.Command, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield a command and all below it with the words that call them."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None and not child.hidden:
                yield from list_commands(child, (*path, name))


def _option_names(option: click.Option) -> str:
    value = (
        "" if option.is_flag or option.count else " " + option.make_metavar(click.Context(click.Command("x")))
    )
    return ", ".join(f"`{name}{value}`" for name in [*option.opts, *option.secondary_opts]).replace(
        "|", "\\|"
    )


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def describe_settings() -> str:
    """Describe the configuration file's sections from the models that read it."""
    parts = [
        "# Settings\n",
        NOTE,
        "The file `config.yaml` in the home folder (or the one that `skydesk up --config` names) "
        "holds the sections below. "
        "It need not exist: every setting has a default. "
        "Secrets are not settings; they lie in `secrets.json` of the home folder, "
        "which only the platform's account can read.\n",
        "The home folder itself is named by the environment variable `SKYDESK_HOME` or by `skydesk --home`. "
        "Tests take the folder of real data from `SKYDESK_TEST_DATA`.\n",
    ]
    for section in sorted(importlib.metadata.entry_points(group="skydesk.config"), key=lambda e: e.name):
        model = section.load()
        parts.append(f"## Section `{section.name}`\n")
        parts.append(_first_line(model) + "\n")
        rows = ["| setting | default | what |", "|---|---|---|"]
        rows += [f"| `{n}` | {_cell(d)} | {_cell(t)} |" for n, d, t in list_settings(model, section.name)]
        parts.append("\n".join(rows) + "\n")
    return "\n".join(parts)


def list_settings(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, str, str]]:
    """Yield name, default and description of each setting of a section and of the sections in it."""
    for name, field in model.model_fields.items():
        optional = isinstance(field.annotation, UnionType)
        nested = field.annotation.__args__[0] if isinstance(field.annotation, UnionType) else field.annotation
        if isinstance(nested, type) and issubclass(nested, BaseModel):
            yield (
                f"{prefix}.{name}",
                "none" if optional else "section",
                field.description or _first_line(nested),
            )
            yield from list_settings(nested, f"{prefix}.{name}")
            continue
        yield f"{prefix}.{name}", _default(field), field.description or ""


def _default(field: Any) -> str:
    if field.default is not PydanticUndefined:
        return "none" if field.default is None else f"`{field.default}`"
    if field.default_factory is not None:
        value = field.default_factory()
        return f"`{value}`" if value else "empty"
    return "required"


def _first_line(thing: type) -> str:
    return (inspect.getdoc(thing) or "").split("\n")[0]


def describe_errors() -> str:
    """Describe every error that carries a stable code, read from the sources of the packages."""
    parts = [
        "# Errors\n",
        NOTE,
        "Every error that skydesk raises on purpose carries a stable code. "
        "The command prints it in brackets, the services put it into their error documents.\n",
    ]
    rows: dict[str, list[str]] = {}
    for package in ("core", "portal", "hub", "extensions"):
        folder = ROOT / package / ("skydesk_lab" if package == "extensions" else "src")
        for path in sorted(folder.rglob("*.py")):
            for code, name, text in _errors_in(path):
                rows.setdefault(code, []).append(f"| `{code}` | {package} | `{name}` | {_cell(text)} |")
    lines = ["| code | package | class | when |", "|---|---|---|---|"]
    for code in sorted(rows):
        lines += sorted(set(rows[code]))
    return "\n".join([*parts, *lines]) + "\n"


def _errors_in(path: Path) -> Iterator[tuple[str, str, str]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ClassDef):
            continue
        for item in node.body:
            target = item.target if isinstance(item, ast.AnnAssign) else None
            target = item.targets[0] if isinstance(item, ast.Assign) else target
            value = getattr(item, "value", None)
            is_code = isinstance(target, ast.Name) and target.id == "code" and isinstance(value, ast.Constant)
            if is_code and isinstance(value.value, str):
                yield value.value, node.name, (ast.get_docstring(node) or "").split("\n")[0]


def describe_verification() -> str:
    """Describe which test shows which requirement, read from the marks of the tests."""
    titles: dict[str, str] = yaml.safe_load((ROOT / "docs" / "requirements.yaml").read_text())
    marks = collect_requirement_marks()
    parts = [
        "# Verification\n",
        NOTE,
        "The tests below drive the running product as a person or a client would, "
        "and show these requirements of the Rubin Science Platform (LDM-554). "
        "A mark may show only the part of a requirement that one machine can show. "
        "A requirement that is not listed is not shown by a test; it may be met or not.\n",
    ]
    for aspect, heading in ASPECTS.items():
        rows = [
            f"| `{key}` | {_cell(titles[key])} | {'<br>'.join(f'`{test}`' for test in marks[key])} |"
            for key in sorted(marks)
            if key.startswith(f"DMS-{aspect}-")
        ]
        if rows:
            parts.append(f"## {heading}\n")
            parts.append("\n".join(["| requirement | about | tests |", "|---|---|---|", *rows]) + "\n")
    return "\n".join(parts)


def collect_requirement_marks() -> dict[str, list[str]]:
    """Return for each marked requirement the tests that show it, as ``file::function`` below tests/."""
    found: dict[str, list[str]] = {}
    folder = ROOT / "tests"
    for path in sorted(folder.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.FunctionDef):
                continue
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.requirement":
                    key = ast.literal_eval(mark.args[0])
                    found.setdefault(key, []).append(f"{path.relative_to(folder).as_posix()}::{node.name}")
    return found


if __name__ == "__main__":
    main()
