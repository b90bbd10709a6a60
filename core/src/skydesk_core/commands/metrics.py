"""The command ``skydesk metrics``."""

from __future__ import annotations

import json

import click

__all__ = ["metrics"]


@click.command()
@click.option("--release", "name", required=True, help="Name of the release.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON (version 1).")
def metrics(name: str, as_json: bool) -> None:
    """Show the quality figures of a release."""
    from dataclasses import asdict

    from skydesk_core.home import get_home
    from skydesk_core.qa import measure_release
    from skydesk_core.release import get_release

    found = measure_release(get_release(get_home(), name))
    if as_json:
        click.echo(json.dumps({"version": 1, "release": name, "metrics": [asdict(m) for m in found]}))
        return
    for m in found:
        value = "–" if m.value is None else f"{m.value:.4g}"
        click.echo(f"{m.name:32} {value:>10} {m.unit:7} n={m.count:<7} {m.description}")
