"""``skydesk refcat``: reference catalogs."""

from __future__ import annotations

import click

__all__ = ["refcat"]


@click.group()
def refcat() -> None:
    """Load reference catalogs of stars."""


@refcat.command("load")
@click.argument("name")
@click.argument("file", type=click.Path())
@click.option("--band", default="vt", show_default=True, help="Band of a plain column mag.")
def load(name: str, file: str, band: str) -> None:
    """Load FILE (CSV, ECSV, FITS, parquet) as the reference catalog NAME.

    It needs columns ra and dec (degrees, ICRS) and mag, BAND_mag (AB) or BAND_flux (nJy).
    """
    from skydesk_core.home import get_home
    from skydesk_core.refcat import check_catalog_name, load_reference_table, read_reference_file
    from skydesk_core.repo import ensure_repo

    check_catalog_name(name)
    table = read_reference_file(file, band)
    with ensure_repo(get_home()) as butler:
        shards = load_reference_table(butler, name, table)
    fluxes = [c.removesuffix("_flux") for c in table.colnames if c.endswith("_flux")]
    click.echo(f"reference catalog {name}: {len(table)} stars in {shards} shards, bands {', '.join(fluxes)}")
