"""What notebooks import: rows, light curves and cutouts of the platform they run on, and the pages of its Portal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skydesk_lab.platform import Platform, PlatformError
from skydesk_lab.portal import ImageView, Portal, TableView, View, ViewError

if TYPE_CHECKING:
    from astropy.io import fits
    from astropy.table import Table

__all__ = [
    "ImageView",
    "Platform",
    "PlatformError",
    "Portal",
    "TableView",
    "View",
    "ViewError",
    "cutout",
    "light_curve",
    "query",
]


def query(adql: str, *, limit: int | None = None) -> Table:
    """Run an ADQL query on the platform of this lab; see `Platform.query`."""
    return Platform().query(adql, limit=limit)


def light_curve(object_id: int | str, *, release: str | None = None, difference: bool = False) -> Table:
    """Get the light curve of one object on the platform of this lab; see `Platform.light_curve`."""
    return Platform().light_curve(object_id, release=release, difference=difference)


def cutout(
    ra_deg: float,
    dec_deg: float,
    *,
    radius_arcsec: float = 20.0,
    dataset_type: str = "deep_coadd",
    band: str | None = None,
) -> fits.HDUList:
    """Cut a circle out of an image on the platform of this lab; see `Platform.cutout`."""
    return Platform().cutout(
        ra_deg, dec_deg, radius_arcsec=radius_arcsec, dataset_type=dataset_type, band=band
    )
