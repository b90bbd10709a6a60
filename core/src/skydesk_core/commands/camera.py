"""``skydesk camera``: cameras that a YAML file describes."""

from __future__ import annotations

import click

__all__ = ["camera"]


@click.group()
def camera() -> None:
    """Register cameras that a YAML file describes."""


@camera.command("add")
@click.argument("file")
def add(file: str) -> None:
    """Check the camera description FILE and register it.

    FILE is a path, or the name of a camera that comes with skydesk
    (microobservatory).
    """
    from skydesk_core.home import get_home
    from skydesk_core.instrument.cameras import add_camera

    described = add_camera(get_home(), file)
    height, width = described.pixels.shape
    click.echo(
        f"camera {described.name}: {width} x {height} pixels of {described.sky.scale_arcsec:g} arcsec, "
        f"bands {', '.join(dict.fromkeys(described.filters.values()))}"
    )


@camera.command("list")
def list_() -> None:
    """List the registered cameras."""
    from skydesk_core.home import get_home
    from skydesk_core.instrument.cameras import list_cameras

    for name in list_cameras(get_home()):
        click.echo(name)
