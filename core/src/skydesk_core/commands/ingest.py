"""``skydesk ingest``: take raw files into the working repository."""

from __future__ import annotations

import click

__all__ = ["ingest"]


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH…")
@click.option(
    "--instrument", metavar="I", help="Camera that took the files; the only registered one if not given."
)
@click.option(
    "--transfer",
    type=click.Choice(["copy", "move", "hardlink", "symlink", "direct"]),
    default="copy",
    show_default=True,
    help="How files get into the repository.",
)
def ingest(paths: tuple[str, ...], instrument: str | None, transfer: str) -> None:
    """Ingest raw FITS files, or folders of them, and define their visits.

    All files of a call are taken in, or none of them.
    """
    from skydesk_core.commands.progress import ProgressLine
    from skydesk_core.home import get_home
    from skydesk_core.instrument.cameras import choose_instrument
    from skydesk_core.instrument.ingest import get_instrument, ingest_raws
    from skydesk_core.repo import ensure_repo

    home = get_home()
    camera = get_instrument(home, choose_instrument(home, instrument))
    line = ProgressLine()
    try:
        with ensure_repo(home) as butler:
            report = ingest_raws(
                butler,
                camera,
                paths,
                transfer=transfer,
                progress=lambda done, total: line.update("reading headers", done / total, None),
            )
    finally:
        line.close()
    known = f", {report.known} known before" if report.known else ""
    click.echo(
        f"{report.instrument}: {report.ingested} files ingested{known}, {len(report.visits)} visits defined"
    )
