"""The command ``skydesk alerts``."""

from __future__ import annotations

import json
from pathlib import Path

import click

__all__ = ["alerts"]


@click.group()
def alerts() -> None:
    """Work with the stream of alerts that people subscribe to."""


@alerts.command("replay")
@click.option("--release", "name", required=True, help="Release whose alerts are issued again.")
@click.option(
    "--speed",
    type=click.FloatRange(min=0),
    default=86_400.0,
    show_default=True,
    help="How many times faster than they were taken: 86400 makes a day of a second; 0 does not wait.",
)
@click.option("--count", type=click.IntRange(min=1), help="Stop after so many alerts.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end (version 1).")
def replay(name: str, speed: float, count: int | None, as_json: bool) -> None:
    """Issue the alerts of a release again, visit by visit, to everybody who subscribed to it.

    What is issued waits for the platform if it is not running. Ctrl-C ends the
    replay; what was issued stays issued.
    """
    from skydesk_portal.exceptions import NotFoundError
    from skydesk_portal.pipeline.releases import ReleaseStore, find_home
    from skydesk_portal.services.alert_replay import replay_alerts
    from skydesk_portal.services.alerts import AlertService
    from skydesk_portal.storage.alert_stream import AlertStream

    home: Path = find_home()
    releases = ReleaseStore(home / "releases")
    release = next((r for r in releases.list_all() if r.name == name), None)
    if release is None or release.manifest.alerts is None:
        having = ", ".join(r.name for r in releases.list_all() if r.manifest.alerts is not None)
        raise NotFoundError(f"there is no release {name!r} with alerts; there are: {having or 'none'}")
    stream, total, batches = AlertStream(home / "alerts.sqlite"), 0, 0
    for issued in replay_alerts(AlertService(releases, ""), stream, release, speed=speed, count=count):
        total, batches = total + issued.count, batches + 1
        if not as_json:
            click.echo(f"MJD {issued.midpoint_mjd_tai:.5f}  visit {issued.visit}: {issued.count} alerts")
    if as_json:
        click.echo(json.dumps({"version": 1, "release": name, "alerts": total, "batches": batches}))
    else:
        click.echo(f"{total} alerts of release {name} were issued again in {batches} batches")
