"""``skydesk run``: run a pipeline in the working repository."""

from __future__ import annotations

import click

__all__ = ["run"]


@click.command()
@click.argument("pipeline")
@click.option("-d", "--where", default="", metavar="WHERE", help="Data query that selects what to process.")
@click.option(
    "-i", "--input", "inputs", required=True, metavar="IN", help="Input collections, separated by commas."
)
@click.option(
    "-o", "--output", required=True, metavar="OUT", help="Output collection; an existing one is continued."
)
@click.option(
    "-j", "--jobs", type=click.IntRange(1, 256), help="Worker processes; without it the setting core.jobs."
)
@click.option("--log", "log_file", type=click.Path(dir_okay=False), help="File for the tasks' log.")
def run(pipeline: str, where: str, inputs: str, output: str, jobs: int | None, log_file: str | None) -> None:
    """Run PIPELINE: a packaged one (CPP, DRP, AP, …) or a file, with #label,label for a part.

    Repeating a call continues where the last one stopped.
    """
    from pathlib import Path

    from skydesk_core.commands.progress import ProgressLine, format_seconds
    from skydesk_core.config import load_config
    from skydesk_core.errors import PipelineError
    from skydesk_core.executor import Progress, run_pipeline
    from skydesk_core.home import get_home

    home = get_home()
    log = Path(log_file) if log_file else home.root / "logs" / "run.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    line = ProgressLine()

    def show(progress: Progress) -> None:
        bad = f", {progress.failed} failed" if progress.failed else ""
        stage = f"{progress.label} ({progress.done}/{progress.total}{bad})"
        line.update(stage, progress.done / progress.total, progress.remaining_s)

    try:
        names = [name.strip() for name in inputs.split(",") if name.strip()]
        report = run_pipeline(
            home,
            pipeline,
            names,
            output,
            where,
            workers=jobs or load_config(home).jobs,
            progress=show,
            log_file=log,
        )
    finally:
        line.close()
    for failure in report.failures:
        click.echo(f"failed: {failure.label} {failure.data_id}: {failure.message}", err=True)
    if not report.ok:
        raise PipelineError(
            f"{len(report.failures)} of {report.total} quanta failed, {report.blocked} could not run; see {log}"
        )
    what = f"{report.succeeded} quanta done" if report.total else "nothing left to do"
    click.echo(f"{output}: {what} in {format_seconds(report.elapsed_s)}")
