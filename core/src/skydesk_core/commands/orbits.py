"""``skydesk orbits``: the catalog of known orbits."""

from __future__ import annotations

import click

__all__ = ["orbits"]


@click.group()
def orbits() -> None:
    """Load known orbits, with which the pipelines recognise asteroids and comets."""


@orbits.command("load")
@click.argument("file", type=click.Path())
def load(file: str) -> None:
    """Load FILE as the catalog of known orbits; it replaces the one before.

    MPCORB.DAT of the Minor Planet Center, or CSV, ECSV, FITS or parquet with columns designation, q, e, i, node,
    argperi, peri_time (MJD, TT) and h.
    """
    from skydesk_core.home import get_home
    from skydesk_core.orbitcat import load_orbit_table, read_orbit_file
    from skydesk_core.repo import ensure_repo

    table = read_orbit_file(file)
    with ensure_repo(get_home()) as butler:
        load_orbit_table(butler, table)
    click.echo(f"{len(table)} known orbits")
