"""The files that describe a HiPS: ``properties`` with the keywords of HiPS 1.0, and a page for people."""

from __future__ import annotations

import html
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from skydesk_core.release.hips_pixels import band_folder
from skydesk_core.release.obscore import find_wavelengths_m

if TYPE_CHECKING:
    from mocpy import MOC

__all__ = ["HipsFacts", "format_index", "format_properties"]

_KEY_WIDTH = 21


@dataclass(frozen=True)
class HipsFacts:
    """What there is to say about one HiPS.

    Parameters
    ----------
    release, name
        Release, and the HiPS's path in it such as ``deep_coadd/band_r``.
    title
        Title for people.
    bands
        One band, or red, green and blue.
    order, order_min, tile_width
        Deepest and coarsest order, pixels along the side of a tile.
    formats
        Endings of the tiles, the preferred one first.
    cut, value_range
        Values shown black and white, and those that occur; None for colour.
    unit
        Unit of the pixels.
    pixel_deg, image_pixel_deg
        Size of a pixel of the deepest order, and of the coadds.
    size_kb, tiles
        Size and number of the tiles.
    """

    release: str
    name: str
    title: str
    bands: tuple[str, ...]
    order: int
    order_min: int
    tile_width: int
    formats: tuple[str, ...]
    cut: tuple[float, float] | None
    value_range: tuple[float, float] | None
    unit: str | None
    pixel_deg: float
    image_pixel_deg: float
    size_kb: int
    tiles: int


def _view(moc: MOC) -> tuple[float, float, float]:
    """Return a centre in ICRS degrees and a field of view in degrees that show the whole coverage."""
    centre = moc.barycenter()
    radius = moc.largest_distance_from_coo_to_vertices(centre)
    fov = float(np.clip(2.2 * radius.to_value("deg"), 0.01, 180.0))
    return float(centre.ra.deg), float(centre.dec.deg), fov


def format_properties(facts: HipsFacts, moc: MOC) -> str:
    """Write the ``properties`` file.

    Parameters
    ----------
    facts
        What there is to say.
    moc
        Coverage.

    Returns
    -------
    str
        Keywords of HiPS 1.0, section 4.4. ``hips_service_url`` is left to the service, which knows its address.
    """
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ")
    ra_deg, dec_deg, fov_deg = _view(moc)
    spans = [span for b in facts.bands if (span := find_wavelengths_m(b, None)) is not None]
    entries: dict[str, object] = {
        "creator_did": f"ivo://skydesk/{facts.release}/hips/{facts.name}",
        "obs_collection": facts.release,
        "obs_title": facts.title,
        "obs_description": _describe(facts),
        "prov_progenitor": f"ivo://skydesk/{facts.release}",
        "obs_regime": "Optical",
        "hips_version": "1.4",
        "hips_builder": "skydesk",
        "hips_creation_date": now,
        "hips_release_date": now,
        "hips_status": "private master unclonable",
        "hips_frame": "equatorial",
        "hips_order": facts.order,
        "hips_order_min": facts.order_min,
        "hips_tile_width": facts.tile_width,
        "hips_tile_format": " ".join(f for f in facts.formats),
        "hips_initial_ra": f"{ra_deg:.6f}",
        "hips_initial_dec": f"{dec_deg:.6f}",
        "hips_initial_fov": f"{fov_deg:.5f}",
        "hips_pixel_scale": f"{facts.pixel_deg:.6g}",
        "s_pixel_scale": f"{facts.image_pixel_deg:.6g}",
        "hips_estsize": facts.size_kb,
        "hips_nb_tiles": facts.tiles,
        "moc_order": int(moc.max_order),
        "moc_sky_fraction": f"{moc.sky_fraction:.6g}",
        "dataproduct_type": "image",
    }
    if spans:
        entries["em_min"] = f"{min(s[0] for s in spans):.6g}"
        entries["em_max"] = f"{max(s[1] for s in spans):.6g}"
    if facts.cut is not None and facts.value_range is not None:
        entries["hips_pixel_bitpix"] = -32
        entries["hips_pixel_cut"] = f"{facts.cut[0]:.6g} {facts.cut[1]:.6g}"
        entries["hips_data_range"] = f"{facts.value_range[0]:.6g} {facts.value_range[1]:.6g}"
        entries["data_ucd"] = "phot.flux.density"
        if facts.unit:
            entries["data_unit"] = facts.unit
    else:
        entries["dataproduct_subtype"] = "color"
        for colour, band in zip(("red", "green", "blue"), facts.bands, strict=True):
            entries[f"hips_rgb_{colour}"] = f"deep_coadd/{band_folder(band)}"
    return "".join(f"{key:<{_KEY_WIDTH}}= {value}\n" for key, value in entries.items())


def _describe(facts: HipsFacts) -> str:
    if len(facts.bands) == 1:
        return (
            f"Deep coadds of the release {facts.release} in band {facts.bands[0]}, "
            f"linearly interpolated; flux per coadd pixel in {facts.unit or 'unknown units'}"
        )
    return (
        f"Deep coadds of the release {facts.release} in the bands {', '.join(facts.bands)} as red, green and blue, "
        "scaled after Lupton et al. (2004)"
    )


def format_index(facts: HipsFacts) -> str:
    """Write the page for people that opens the address of a HiPS; it loads nothing from elsewhere."""
    title = html.escape(facts.title)
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title></head><body>\n'
        f"<h1>{title}</h1>\n<p>{html.escape(_describe(facts))}.</p>\n"
        f"<p>HiPS 1.0, orders {facts.order_min} to {facts.order}, {facts.tiles} tiles "
        f"({html.escape(' and '.join(facts.formats))}). Give the address of this page to Aladin or any HiPS client.</p>\n"
        '<ul><li><a href="properties">properties</a></li><li><a href="Moc.fits">coverage (MOC)</a></li></ul>\n'
        "</body></html>\n"
    )
