"""The commands ``skydesk release list``, ``check`` and ``remove``."""

from __future__ import annotations

import json
import sys

import click

__all__ = ["release"]


@click.group()
def release() -> None:
    """List, check or remove releases."""


@release.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON (version 1).")
def list_command(as_json: bool) -> None:
    """List the releases of this home."""
    from skydesk_core.home import get_home
    from skydesk_core.release import list_releases

    found = [r.manifest for r in list_releases(get_home())]
    if as_json:
        rows = [
            {
                "name": m.name,
                "title": m.title,
                "created": m.created,
                "bands": m.bands,
                "collection": m.collection,
                "tables": {t.name: t.rows for t in m.tables},
                "images": {t.dataset_type: t.count for t in m.image_types},
            }
            for m in found
        ]
        click.echo(json.dumps({"version": 1, "releases": rows}))
        return
    for m in found:
        images = sum(t.count for t in m.image_types)
        click.echo(f"{m.name}\t{m.created}\t{len(m.tables)} tables\t{images} images\t{m.title}")
    if not found:
        click.echo("There is no release yet.")


@release.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON (version 1).")
def check(name: str, as_json: bool) -> None:
    """Check hashes, schema, counts and every image of release NAME."""
    from dataclasses import asdict

    from skydesk_core.home import get_home
    from skydesk_core.release import get_release
    from skydesk_core.release.check import check_release

    report = check_release(get_release(get_home(), name).path)
    if as_json:
        click.echo(json.dumps({"version": 1, "ok": report.ok, **asdict(report)}))
    else:
        click.echo(
            f"{name}: {report.files} files, {report.tables} tables, {report.rows} rows, {report.images} images"
        )
        for problem in report.problems:
            click.echo(f"  {problem}")
        click.echo("sound" if report.ok else f"{len(report.problems)} problems")
    if not report.ok:
        sys.exit(1)


@release.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON (version 1).")
def remove(name: str, as_json: bool) -> None:
    """Remove release NAME; the working repository keeps its datasets."""
    from skydesk_core.home import get_home
    from skydesk_core.release.remove import remove_release

    remove_release(get_home(), name)
    click.echo(json.dumps({"version": 1, "removed": name}) if as_json else f"Release {name} is removed.")
