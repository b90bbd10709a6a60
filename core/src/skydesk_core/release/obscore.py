"""ObsCore 1.1 rows of the images in a release."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa

from skydesk_core.errors import DataError
from skydesk_core.release.imagefacts import ImageFacts, collect_image_facts, middle_of, separation_deg
from skydesk_core.release.obscore_columns import load_obscore
from skydesk_core.release.sdm import arrow_schema

if TYPE_CHECKING:
    from mocpy import MOC

__all__ = [
    "IMAGE_TYPES",
    "ImageFacts",
    "collect_image_facts",
    "find_wavelengths_m",
    "make_footprint",
    "make_obscore",
    "make_publisher_did",
]

IMAGE_TYPES: dict[str, tuple[int, str]] = {
    "raw": (1, "phot.count"),
    "post_isr_image": (2, "phot.count"),
    "preliminary_visit_image": (2, "phot.count"),
    "visit_image": (2, "phot.flux.density"),
    "difference_image": (3, "phot.flux.density"),
    "deep_coadd": (3, "phot.flux.density"),
    "template_coadd": (3, "phot.flux.density"),
    "bias": (3, "phot.count"),
    "dark": (3, "phot.count"),
    "flat": (3, "arith.factor"),
}
"""Image dataset types that may be published: ObsCore calibration level and the UCD of their pixels."""

_WAVELENGTHS_NM: dict[str, tuple[float, float]] = {
    "u": (330, 400),
    "g": (402, 552),
    "r": (552, 691),
    "i": (691, 818),
    "z": (818, 922),
    "y": (970, 1060),
    # Half-power limits of Bessell (1990).
    "U": (333, 398),
    "B": (389, 483),
    "V": (501, 589),
    "R": (572, 710),
    "I": (724, 873),
    "L": (400, 700),
}
"""Limits of bands by name: Rubin's six, Johnson-Cousins, and the luminance filter of amateur cameras."""

_OPEN = frozenset({"clear", "open", "white", "none", "nofilter", "empty", "air", "c", "w"})
_SILICON_NM = (330.0, 1060.0)
"""What a silicon detector sees without a filter: from the atmosphere's cut-off to its own."""
_DARK_TYPES = frozenset({"bias", "dark"})
_DATALINK = "application/x-votable+xml;content=datalink"


def make_publisher_did(release: str, dataset_id: object) -> str:
    """Return the identifier by which DataLink, SODA and ObsCore know a dataset."""
    return f"ivo://skydesk/{release}?repo={release}&id={dataset_id}"


def find_wavelengths_m(band: str | None, described_nm: tuple[float, float] | None) -> Any:
    """Find the wavelengths that a band lets through.

    Parameters
    ----------
    band
        Name of the band.
    described_nm
        What the camera's description says; it comes first.

    Returns
    -------
    tuple of float or None
        Limits in metres; None if the band is not known by name either. An
        unfiltered image has the limits of silicon, 330 to 1060 nm.
    """
    limits = described_nm or _WAVELENGTHS_NM.get(band or "")
    if limits is None and band is not None and band.lower().replace("_", "") in _OPEN:
        limits = _SILICON_NM
    return None if limits is None else (round(limits[0] * 1e-9, 12), round(limits[1] * 1e-9, 12))


def _sky_columns(fact: ImageFacts) -> dict[str, Any]:
    if fact.corners is None:
        return {}
    center = middle_of(fact.corners)
    region = "POLYGON ICRS " + " ".join(f"{ra:.7f} {dec:.7f}" for ra, dec in fact.corners)
    return {
        "s_ra": center[0],
        "s_dec": center[1],
        "s_fov": 2 * max(separation_deg(center, c) for c in fact.corners),
        "s_region": region,
    }


def _spectral_columns(fact: ImageFacts) -> dict[str, Any]:
    dark = fact.dataset_type in _DARK_TYPES or fact.observation_type in _DARK_TYPES
    limits = None if dark else find_wavelengths_m(fact.band, fact.wavelengths_nm)
    if limits is None:
        return {}
    low, high = limits
    return {"em_min": low, "em_max": high, "em_res_power": (low + high) / 2 / (high - low)}


def _observation_name(fact: ImageFacts) -> str:
    data_id = fact.data_id
    if "tract" in data_id:
        return "{skymap}-{tract}-{patch}-{band}".format(**data_id)
    moment = data_id.get("visit", data_id.get("exposure"))
    if moment is not None:
        return f"{data_id['instrument']}-{moment}-{data_id['detector']}"
    # A calibration: its identifier tells it from those before and after it.
    parts = [data_id.get("instrument"), fact.dataset_type, data_id.get("detector"), fact.physical_filter]
    return "-".join(str(p) for p in (*parts, fact.dataset_id[-8:]) if p is not None)


def _purpose(fact: ImageFacts) -> str:
    """Return what a calibration exposure was taken for, as it stands in the title."""
    return "" if fact.observation_type in (None, "science") else f" ({fact.observation_type})"


def make_obscore(
    release: str,
    facts: Sequence[ImageFacts],
    facility: str,
    instrument: str | None,
    created: datetime | None = None,
) -> pa.Table:
    """Make the rows of ``ivoa.ObsCore`` for one release.

    Parameters
    ----------
    release
        Name of the release.
    facts
        The images.
    facility, instrument
        Names for the columns of the same meaning.
    created
        When the release was made; now by default.

    Returns
    -------
    pyarrow.Table
        Columns and types of `skydesk_core.release.sdm.load_obscore`.

    Raises
    ------
    DataError
        If an image is of a type that is not published.
    """
    moment = (created or datetime.now(UTC)).astimezone(UTC).replace(tzinfo=None, microsecond=0)
    rows: list[dict[str, Any]] = []
    for fact in facts:
        if fact.dataset_type not in IMAGE_TYPES:
            raise DataError(f"dataset type {fact.dataset_type} is not a published image type")
        level, ucd = IMAGE_TYPES[fact.dataset_type]
        did = make_publisher_did(release, fact.dataset_id)
        name = _observation_name(fact)
        rows.append(
            {
                "dataproduct_type": "image",
                "dataproduct_subtype": f"lsst.{fact.dataset_type}",
                "obs_title": f"{fact.dataset_type} {name}{_purpose(fact)}",
                "facility_name": facility,
                "calib_level": level,
                "target_name": fact.target,
                "obs_id": name,
                "obs_collection": release,
                "obs_publisher_did": did,
                "obs_release_date": moment,
                "access_url": "/api/datalink/links?ID=" + quote(did, safe=""),
                "access_format": _DATALINK,
                "access_estsize": max(1, round(fact.size_bytes / 1024)),
                **_sky_columns(fact),
                "s_resolution": fact.fwhm_arcsec,
                "s_xel1": fact.shape[1],
                "s_xel2": fact.shape[0],
                "s_pixel_scale": fact.pixel_scale_arcsec,
                "t_xel": 1,
                "t_min": fact.t_min,
                "t_max": fact.t_max,
                "t_exptime": fact.exposure_s,
                "t_resolution": fact.exposure_s,
                "em_xel": 1,
                **_spectral_columns(fact),
                "o_ucd": ucd,
                "pol_xel": 0,
                "instrument_name": fact.data_id.get("instrument", instrument),
                "proposal_id": fact.program,
                "lsst_visit": fact.data_id.get("visit", fact.data_id.get("exposure")),
                "lsst_detector": fact.data_id.get("detector"),
                "lsst_tract": fact.data_id.get("tract"),
                "lsst_patch": fact.data_id.get("patch"),
                "lsst_band": fact.band,
                "lsst_filter": fact.physical_filter,
                "dataset_id": fact.dataset_id,
                "dataset_type": fact.dataset_type,
            }
        )
    return pa.Table.from_pylist(rows, schema=arrow_schema(load_obscore()))


def make_footprint(
    facts: Iterable[ImageFacts], order: int = 13
) -> tuple[MOC | None, tuple[float, float] | None]:
    """Unite the outlines of the images.

    Parameters
    ----------
    facts
        Images; coadds are preferred, calibrated visits serve when there are none.
    order
        HEALPix order of the result (13: 26 arcsec).

    Returns
    -------
    tuple
        The MOC and its middle (ICRS degrees); None twice when no image has a sky position.
    """
    import astropy.units as u
    from mocpy import MOC

    facts = [f for f in facts if f.corners is not None]
    chosen = [f for f in facts if f.dataset_type == "deep_coadd"] or facts
    if not chosen:
        return None, None
    mocs = [
        MOC.from_polygon(f.corners[:, 0] * u.deg, f.corners[:, 1] * u.deg, max_depth=order) for f in chosen
    ]
    whole = mocs[0].union(*mocs[1:]) if len(mocs) > 1 else mocs[0]
    return whole, middle_of(np.concatenate([f.corners for f in chosen]))
