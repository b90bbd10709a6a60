"""``skydesk demo``: build the demo release from simulated raw exposures."""

from __future__ import annotations

import click

__all__ = ["demo"]


@click.group()
def demo() -> None:
    """Build the demo release."""


@demo.command("build")
@click.option(
    "--preset",
    type=click.Choice(["tiny", "standard"]),
    help="Size of the simulated survey; without it the setting core.demo.preset.",
)
@click.option(
    "-j", "--jobs", type=click.IntRange(1, 256), help="Worker processes; without it the setting core.jobs."
)
@click.option("--release", help="Name of the release; without it the setting core.demo.release.")
def build(preset: str | None, jobs: int | None, release: str | None) -> None:
    """Simulate a survey, reduce it with the pipelines and publish it.

    Repeating a call continues where the last one stopped; a finished release
    is left as it is.
    """
    from skydesk_core.commands.progress import ProgressLine, format_seconds
    from skydesk_core.config import DemoConfig, load_config
    from skydesk_core.demo import build_demo
    from skydesk_core.home import get_home

    home = get_home()
    config = load_config(home)
    given = {k: v for k, v in (("preset", preset), ("release", release)) if v is not None}
    settings = DemoConfig.model_validate({**config.demo.model_dump(), **given})
    line = ProgressLine()
    try:
        report = build_demo(home, settings, workers=jobs or config.jobs, progress=line.update)
    finally:
        line.close()
    if not report.steps:
        click.echo(f"release {report.release} is there already; remove it first to build it again")
        return
    for step in report.steps:
        click.echo(f"  {step.name:<28} {step.wall_s:6.1f} s")
    click.echo(f"release {report.release}: built in {format_seconds(report.elapsed_s)}")
