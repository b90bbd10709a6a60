"""The command ``skydesk publish``."""

from __future__ import annotations

import json

import click

__all__ = ["publish"]


@click.command()
@click.option(
    "--release", "name", required=True, help="Name of the release: its Butler label and schema in TAP."
)
@click.option("--collection", required=True, help="Collection of the working repository to publish.")
@click.option("--title", help="Title for people.")
@click.option(
    "--group", "groups", multiple=True, help="Group that may read it (repeatable); everybody by default."
)
@click.option(
    "--hips/--no-hips",
    default=None,
    help="Make HiPS of the coadds; without it the setting core.publish.hips.",
)
@click.option(
    "--alerts/--no-alerts",
    default=None,
    help="Make alert packets of the DIA sources; without it the setting core.publish.alerts.",
)
@click.option(
    "--calibration-exposures/--no-calibration-exposures",
    default=None,
    help="Publish the raws that bias, dark and flat were made of; without it the setting core.publish.calibration_exposures.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON (version 1).")
def publish(
    name: str,
    collection: str,
    title: str | None,
    groups: tuple[str, ...],
    hips: bool | None,
    alerts: bool | None,
    calibration_exposures: bool | None,
    as_json: bool,
) -> None:
    """Publish a collection as a release."""
    from skydesk_core.commands.progress import ProgressLine
    from skydesk_core.config import load_config
    from skydesk_core.home import get_home
    from skydesk_core.release.publish import publish as make_release

    home = get_home()
    given = {"hips": hips, "alerts": alerts, "calibration_exposures": calibration_exposures}
    update = {key: value for key, value in given.items() if value is not None}
    settings = load_config(home).publish.model_copy(update=update)
    line = ProgressLine()
    try:
        release = make_release(
            home,
            name,
            collection,
            title,
            groups or ("*",),
            lambda what, fraction: line.update(what, fraction, None),
            settings,
        )
    finally:
        line.close()
    rows = {t.name: t.rows for t in release.manifest.tables}
    images = {t.dataset_type: t.count for t in release.manifest.image_types}
    maps = [h.name for h in release.manifest.hips]
    packets = 0 if release.manifest.alerts is None else release.manifest.alerts.count
    if as_json:
        made = {"tables": rows, "images": images, "hips": maps, "alerts": packets}
        click.echo(json.dumps({"version": 1, "release": name, **made}))
        return
    click.echo(f"Release {name}: " + ", ".join(f"{count} {kind}" for kind, count in images.items()))
    click.echo("  ".join(f"{table} {count}" for table, count in rows.items()))
    click.echo(f"{len(maps)} HiPS  {packets} alerts")
