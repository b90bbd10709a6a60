"""Small pictures of the epochs of a light curve: science image, template and difference at one position."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from skydesk_portal.exceptions import UsageError
from skydesk_portal.models.cutouts import CutoutDetail, PictureStyle
from skydesk_portal.models.datasets import DatasetId
from skydesk_portal.models.regions import Region
from skydesk_portal.pipeline.stamps import Stamp
from skydesk_portal.services.imagerows import contains_position
from skydesk_portal.services.pictures import render_picture

if TYPE_CHECKING:
    from skydesk_portal.models.identity import Identity
    from skydesk_portal.services.imagerows import ImageRow
    from skydesk_portal.services.images import ImageService
    from skydesk_portal.services.soda import SodaService

__all__ = ["STAMPS", "draw_stamp", "find_stamps"]

STAMPS = {"science": "visit_image", "template": "template_coadd", "difference": "difference_image"}
"""Stamps of an epoch and the type of image each is cut from."""

_SIZE_PX = 180
_KEPT_PERCENT = 99.5
_LARGEST_ARCSEC = 300.0


def find_stamps(
    images: ImageService,
    identity: Identity,
    release: str,
    visit: int,
    detector: int,
    position: tuple[float, float],
) -> dict[str, str]:
    """Find the images that belong to an epoch.

    Parameters
    ----------
    images
        Lists images.
    identity
        The caller.
    release, visit, detector
        Which epoch.
    position
        ICRS degrees, for the template.

    Returns
    -------
    dict
        Dataset identifier by stamp, in the order of `STAMPS`; stamps without an image are left out.
    """
    rows = images.list_images(identity, release)
    mine = {r.dataset_type: r for r in rows if r.visit == visit and r.detector == detector}
    found: dict[str, str] = {}
    band = next((r.band for r in mine.values() if r.band), "")
    for name, kind in STAMPS.items():
        row: ImageRow | None = mine.get(kind)
        if name == "template":
            row = next(
                (
                    r
                    for r in rows
                    if r.dataset_type == kind and r.band == band and contains_position(r, *position)
                ),
                None,
            )
        if row is not None:
            found[name] = row.dataset_id
    return found


def draw_stamp(
    soda: SodaService,
    identity: Identity,
    release: str,
    dataset_id: str,
    position: tuple[float, float],
    size_arcsec: float,
    like: str | None = None,
    like_position: tuple[float, float] | None = None,
) -> bytes:
    """Draw a stamp, north up.

    Parameters
    ----------
    soda
        Cuts images.
    identity
        The caller.
    release, dataset_id
        Which image.
    position
        Centre, ICRS degrees.
    size_arcsec
        Width.
    like
        Another image whose stamp gives the range of brightness, so that several can be compared.
    like_position
        Centre of that stamp, if it is not the same: what moves is elsewhere on another image.

    Returns
    -------
    bytes
        PNG with the position in the middle; black beyond the edge of the image.

    Raises
    ------
    UsageError
        If the identifier is no UUID or the size is out of range.
    NotFoundError
        If the caller may read no such image.
    """
    if not 0 < size_arcsec <= _LARGEST_ARCSEC:
        raise UsageError(f"a stamp is more than 0 and at most {_LARGEST_ARCSEC:g} arcsec wide")
    picture, wcs = _cut(soda, identity, release, dataset_id, position, size_arcsec)
    limits: float | tuple[float, float] = _KEPT_PERCENT
    if like is not None:
        other, _ = _cut(soda, identity, release, like, like_position or position, size_arcsec)
        finite = other[np.isfinite(other)]
        if finite.size:
            rest = (100 - _KEPT_PERCENT) / 2
            low, high = (float(v) for v in np.percentile(finite, [rest, 100 - rest]))
            limits = (low, high)
    return render_picture(picture, PictureStyle("asinh", limits, _SIZE_PX, True), "png", wcs)


def _cut(
    soda: SodaService,
    identity: Identity,
    release: str,
    dataset_id: str,
    position: tuple[float, float],
    size_arcsec: float,
) -> tuple[NDArray[np.float32], str]:
    """Cut a square around a position; returns it with the cards of its sky coordinates."""
    try:
        dataset = DatasetId(release, UUID(dataset_id))
    except ValueError as error:
        raise UsageError(f"{dataset_id[:60]!r} is not a dataset identifier (UUID)") from error
    region = Region((position,), size_arcsec / 7200)
    stamp = soda.pixels.cut(soda.open_image(identity, dataset), region, CutoutDetail.IMAGE)
    return _centre(stamp, position, size_arcsec), stamp.wcs


def _centre(stamp: Stamp, position: tuple[float, float], size_arcsec: float) -> NDArray[np.float32]:
    """Put a cut-out, which ends where its image ends, into a square around the position; NaN beyond the edge."""
    from astropy.io import fits
    from astropy.wcs import WCS
    from astropy.wcs.utils import proj_plane_pixel_scales

    wcs = WCS(fits.Header.fromstring(stamp.wcs))
    scale_arcsec = 3600 * float(np.mean(proj_plane_pixel_scales(wcs)))
    half = max(int(np.ceil(size_arcsec / 2 / scale_arcsec)), 1)
    x, y = (int(np.round(v)) for v in wcs.all_world2pix(*position, 0))
    image = stamp.planes["image"]
    out = np.full((2 * half + 1, 2 * half + 1), np.nan, np.float32)
    rows = slice(max(y - half, 0), min(y + half + 1, image.shape[0]))
    columns = slice(max(x - half, 0), min(x + half + 1, image.shape[1]))
    if rows.start < rows.stop and columns.start < columns.stop:
        top, left = rows.start - y + half, columns.start - x + half
        part = image[rows, columns]
        out[top : top + part.shape[0], left : left + part.shape[1]] = part
    return out
