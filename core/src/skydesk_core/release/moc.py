"""Coverage maps (MOC 2.0) of a release, made from the pixels that hold data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skydesk_core.release.healpix import ORDER, to_hp29
from skydesk_core.release.hips_pixels import band_folder, find_data, make_wcs
from skydesk_core.release.manifest import MocEntry

if TYPE_CHECKING:
    from mocpy import MOC

    from skydesk_core.release.pyramid import Pyramid

__all__ = ["SURVEY_FILE", "make_pixel_moc", "read_footprint", "write_mocs"]

SURVEY_FILE = "moc/survey.fits"
"""Path of the survey's MOC inside a release."""

_CELL_PIXELS = 8
_BLOCK = 4
_MAX_ORDER = 24
_FOOTPRINT_ORDER = 13


def _fine_order(pixel_arcsec: float) -> int:
    """Return the order whose cells are about eight pixels wide."""
    width_deg = _CELL_PIXELS * pixel_arcsec / 3600
    return int(np.clip(round(np.log2(58.63 / width_deg)), 0, _MAX_ORDER))


def make_pixel_moc(pyramid: Pyramid, order: int | None = None) -> MOC:
    """Make the MOC of the pixels of one image that hold data.

    Parameters
    ----------
    pyramid
        The image, with a sky projection.
    order
        HEALPix order; by default that of cells about eight pixels wide.

    Returns
    -------
    mocpy.MOC
        Every cell in which a block of 4 × 4 pixels with data has its centre.
    """
    from mocpy import MOC

    fit = pyramid.wcs_fit
    assert fit is not None, "the caller leaves out images without a sky projection"
    order = _fine_order(float(fit["pixel_scale_arcsec"])) if order is None else order
    good = find_data(pyramid, slice(None), slice(None))
    ny, nx = good.shape
    padded = np.zeros((-(-ny // _BLOCK) * _BLOCK, -(-nx // _BLOCK) * _BLOCK), bool)
    padded[:ny, :nx] = good
    blocks = padded.reshape(padded.shape[0] // _BLOCK, _BLOCK, padded.shape[1] // _BLOCK, _BLOCK)
    rows, columns = np.nonzero(blocks.any(axis=(1, 3)))
    middle = (_BLOCK - 1) / 2
    x = np.minimum(columns * _BLOCK + middle, nx - 1)
    y = np.minimum(rows * _BLOCK + middle, ny - 1)
    ra, dec = make_wcs(pyramid).to_sky(x, y)
    cells = np.unique(to_hp29(ra, dec) >> (2 * (ORDER - order))).astype(np.uint64)
    if cells.size == 0:
        return MOC.new_empty(order)
    return MOC.from_healpix_cells(cells, np.full(cells.size, order, np.uint8), order)


def _unite(mocs: Sequence[Any]) -> Any:
    return mocs[0].union(*mocs[1:]) if len(mocs) > 1 else mocs[0]


def write_mocs(
    folder: Path, coadds: Sequence[Pyramid], outline: MOC | None
) -> tuple[tuple[MocEntry, ...], Mapping[str, MOC]]:
    """Write the MOC of the survey and of each band of its coadds.

    Parameters
    ----------
    folder
        The release being built; the files go to ``moc/`` in it.
    coadds
        Pyramids of the coadds.
    outline
        Coverage from the outlines of the images, which serves where there are no coadds; None without any.

    Returns
    -------
    tuple
        Entries for the manifest, the survey's first, and the MOC of each band. No entry without any image.
    """
    by_band: dict[str, list[Any]] = {}
    for pyramid in coadds:
        if pyramid.wcs_fit is not None and pyramid.band is not None:
            by_band.setdefault(pyramid.band, []).append(make_pixel_moc(pyramid))
    bands = {band: _unite(mocs) for band, mocs in by_band.items()}
    whole = _unite(list(bands.values())) if bands else outline
    if whole is None:
        return (), {}
    path = folder / "moc" / "deep_coadd"
    (path if bands else path.parent).mkdir(parents=True)
    made = "pixels" if bands else "outlines"
    entries = [_write(folder, SURVEY_FILE, whole, None, made)]
    for band, moc in bands.items():
        entries.append(_write(folder, f"moc/deep_coadd/{band_folder(band)}.fits", moc, band, made))
    return tuple(entries), bands


def read_footprint(folder: Path) -> str:
    """Read the survey's MOC as the manifest holds it: in ASCII, in cells of 26 arcsec at the finest.

    Parameters
    ----------
    folder
        The release.
    """
    from mocpy import MOC

    moc = MOC.load(str(folder / SURVEY_FILE))
    if moc.max_order > _FOOTPRINT_ORDER:
        moc = moc.degrade_to_order(_FOOTPRINT_ORDER)
    return str(moc.to_string(format="ascii")).strip()


def _write(folder: Path, file: str, moc: Any, band: str | None, made: str) -> MocEntry:
    moc.save(str(folder / file), format="fits")
    return MocEntry(file, band, int(moc.max_order), float(moc.sky_fraction), made)
