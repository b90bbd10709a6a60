"""ObsCore 1.1 rows of the images in a release."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from skydesk_core.errors import DataError
from skydesk_core.release.sdm import arrow_schema, load_obscore
from skydesk_core.release.wcsfit import make_pixel_to_sky

if TYPE_CHECKING:
    from lsst.daf.butler import Butler, DatasetRef
    from mocpy import MOC

__all__ = [
    "IMAGE_TYPES",
    "ImageFacts",
    "collect_image_facts",
    "make_footprint",
    "make_obscore",
    "make_publisher_did",
]

IMAGE_TYPES: dict[str, tuple[int, str]] = {
    "raw": (1, "phot.count"),
    "visit_image": (2, "phot.flux.density"),
    "difference_image": (3, "phot.flux.density"),
    "deep_coadd": (3, "phot.flux.density"),
    "template_coadd": (3, "phot.flux.density"),
}
"""Published image dataset types: ObsCore calibration level and the UCD of their pixels."""

_BANDS_M = {
    "u": (330e-9, 400e-9),
    "g": (402e-9, 552e-9),
    "r": (552e-9, 691e-9),
    "i": (691e-9, 818e-9),
    "z": (818e-9, 922e-9),
    "y": (970e-9, 1060e-9),
}
_DATALINK = "application/x-votable+xml;content=datalink"


def make_publisher_did(release: str, dataset_id: object) -> str:
    """Return the identifier by which DataLink, SODA and ObsCore know a dataset."""
    return f"ivo://skydesk/{release}?repo={release}&id={dataset_id}"


@dataclass(frozen=True)
class ImageFacts:
    """What ObsCore needs to know of one image.

    Parameters
    ----------
    dataset_id, dataset_type, data_id
        Identity in the Butler.
    corners
        Sky positions of the outer corners of the four corner pixels, ICRS degrees, shape (4, 2); None without WCS.
    shape
        Rows and columns.
    pixel_scale_arcsec, fwhm_arcsec
        Scale at the centre and width of the PSF; None when unknown.
    size_bytes
        Size of the file.
    t_min, t_max
        Start and end, MJD TAI; None for coadds.
    exposure_s
        Exposure time in seconds.
    band, physical_filter, target
        As the dimension records say.
    unit
        Unit of the pixels.
    """

    dataset_id: str
    dataset_type: str
    data_id: Mapping[str, Any]
    corners: Any
    shape: tuple[int, int]
    pixel_scale_arcsec: float | None
    fwhm_arcsec: float | None
    size_bytes: int
    t_min: float | None
    t_max: float | None
    exposure_s: float | None
    band: str | None
    physical_filter: str | None
    target: str | None
    unit: str | None


def _corners_of(projection: Any, bbox: Any) -> tuple[Any, float]:
    ny, nx = bbox.shape
    x = np.array([-0.5, nx - 0.5, nx - 0.5, -0.5, (nx - 1) / 2, (nx - 1) / 2 + 1])
    y = np.array([-0.5, -0.5, ny - 0.5, ny - 0.5, (ny - 1) / 2, (ny - 1) / 2])
    ra, dec = make_pixel_to_sky(projection, bbox)(x, y)
    return np.stack([ra[:4], dec[:4]], axis=1), 3600 * _separation_deg((ra[4], dec[4]), (ra[5], dec[5]))


def _polygon_of(region: Any) -> Any:
    from lsst.sphgeom import LonLat

    points = [LonLat(v) for v in region.getVertices()]
    return np.array([(p.getLon().asDegrees() % 360, p.getLat().asDegrees()) for p in points])


def _time_range(record: Any) -> tuple[float | None, float | None]:
    span = getattr(record, "timespan", None)
    if span is None or span.begin is None or span.end is None:
        return None, None
    return float(span.begin.tai.mjd), float(span.end.tai.mjd)


def _coadd_fwhm(butler: Butler, ref: DatasetRef, bbox: Any, scale_arcsec: float) -> float | None:
    """Return the width of a coadd's PSF, that of a Gaussian with its effective area, arcsec."""
    from lsst.images import BoundsError

    psf = butler.get(ref.makeComponentRef("psf"))
    for part in (0.5, 0.25, 0.75):
        x = int(bbox.x.start + part * (bbox.x.stop - bbox.x.start))
        y = int(bbox.y.start + part * (bbox.y.stop - bbox.y.start))
        try:
            kernel = psf.compute_kernel_image(x=x, y=y).array
        except BoundsError:
            # No visit reaches this cell; another one may do.
            continue
        return 0.664 * scale_arcsec * float(kernel.sum() / np.sqrt((kernel**2).sum()))
    return None


def _geometry(
    butler: Butler, ref: DatasetRef, raw_shapes: dict[Any, tuple[int, int]]
) -> tuple[Any, Any, Any, Any]:
    """Return corners, shape, pixel scale and unit of one image."""
    if "exposure" in ref.dimensions and ref.datasetType.storageClass_name == "RawImage":
        key = ref.dataId["detector"]
        if key not in raw_shapes:
            raw_shapes[key] = butler.get(ref).array.shape
        data = {"instrument": ref.dataId["instrument"], "visit": ref.dataId["exposure"], "detector": key}
        with butler.query() as query:
            regions = list(query.dimension_records("visit_detector_region").where(data))
        corners = _polygon_of(regions[0].region) if regions and regions[0].region is not None else None
        return corners, raw_shapes[key], None, "adu"
    parts = butler.get(
        ref.makeComponentRef("components"), parameters={"components": ["sky_projection", "bbox", "unit"]}
    )
    bbox = parts["bbox"]
    unit = None if parts["unit"] is None else parts["unit"].to_string()
    if parts["sky_projection"] is None:
        return None, bbox.shape, None, unit
    corners, scale = _corners_of(parts["sky_projection"], bbox)
    return corners, bbox.shape, scale, unit


def collect_image_facts(
    butler: Butler, refs: Iterable[DatasetRef], seeing_arcsec: Mapping[tuple[int, int], float]
) -> list[ImageFacts]:
    """Read what ObsCore needs of each image from its file's header and the dimension records.

    Parameters
    ----------
    butler
        The release's Butler.
    refs
        Expanded references of published image types.
    seeing_arcsec
        Width of the PSF by visit and detector.

    Returns
    -------
    list of ImageFacts
        One entry per image.
    """
    facts = []
    raw_shapes: dict[Any, tuple[int, int]] = {}
    for ref in refs:
        data_id = butler.registry.expandDataId(ref.dataId)
        records = data_id.records
        corners, shape, scale, unit = _geometry(butler, ref, raw_shapes)
        moment = (
            records["visit"] if "visit" in data_id else records["exposure"] if "exposure" in data_id else None
        )
        t_min, t_max = _time_range(moment)
        required: dict[str, Any] = {k: data_id[k] for k in data_id.dimensions.required}
        implied: dict[str, Any] = dict(data_id.mapping)
        fwhm = seeing_arcsec.get((required.get("visit", -1), required.get("detector", -1)))
        if ref.datasetType.storageClass_name == "CellCoadd" and scale is not None:
            fwhm = _coadd_fwhm(butler, ref, butler.get(ref.makeComponentRef("bbox")), scale)
        facts.append(
            ImageFacts(
                dataset_id=str(ref.id),
                dataset_type=ref.datasetType.name,
                data_id=required,
                corners=corners,
                shape=(int(shape[0]), int(shape[1])),
                pixel_scale_arcsec=scale,
                fwhm_arcsec=fwhm,
                size_bytes=butler.getURI(ref).size(),
                t_min=t_min,
                t_max=t_max,
                exposure_s=None if moment is None else moment.exposure_time,
                band=implied.get("band"),
                physical_filter=implied.get("physical_filter"),
                target=None if moment is None else moment.target_name,
                unit=unit,
            )
        )
    return facts


def _separation_deg(a: Any, b: Any) -> float:
    (ra1, dec1), (ra2, dec2) = np.radians(a), np.radians(b)
    h = np.sin((dec2 - dec1) / 2) ** 2 + np.cos(dec1) * np.cos(dec2) * np.sin((ra2 - ra1) / 2) ** 2
    return float(np.degrees(2 * np.arcsin(np.sqrt(min(1.0, h)))))


def _middle(corners: Any) -> tuple[float, float]:
    ra, dec = np.radians(corners[:, 0]), np.radians(corners[:, 1])
    vector = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)]).mean(axis=1)
    vector /= np.linalg.norm(vector)
    return float(np.degrees(np.arctan2(vector[1], vector[0])) % 360), float(np.degrees(np.arcsin(vector[2])))


def _sky_columns(fact: ImageFacts) -> dict[str, Any]:
    if fact.corners is None:
        return {}
    center = _middle(fact.corners)
    region = "POLYGON ICRS " + " ".join(f"{ra:.7f} {dec:.7f}" for ra, dec in fact.corners)
    return {
        "s_ra": center[0],
        "s_dec": center[1],
        "s_fov": 2 * max(_separation_deg(center, c) for c in fact.corners),
        "s_region": region,
    }


def _observation_name(fact: ImageFacts) -> str:
    if "tract" in fact.data_id:
        return "{skymap}-{tract}-{patch}-{band}".format(**fact.data_id)
    visit = fact.data_id.get("visit", fact.data_id.get("exposure"))
    return f"{fact.data_id['instrument']}-{visit}-{fact.data_id['detector']}"


def make_obscore(
    release: str, facts: Sequence[ImageFacts], facility: str, instrument: str | None
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

    Returns
    -------
    pyarrow.Table
        Columns and types of `skydesk_core.release.sdm.load_obscore`.

    Raises
    ------
    DataError
        If an image is of a type that is not published.
    """
    rows: list[dict[str, Any]] = []
    for fact in facts:
        if fact.dataset_type not in IMAGE_TYPES:
            raise DataError(f"dataset type {fact.dataset_type} is not a published image type")
        level, ucd = IMAGE_TYPES[fact.dataset_type]
        em_min, em_max = _BANDS_M.get(fact.band or "", (None, None))
        did = make_publisher_did(release, fact.dataset_id)
        name = _observation_name(fact)
        rows.append(
            {
                "dataproduct_type": "image",
                "dataproduct_subtype": f"lsst.{fact.dataset_type}",
                "obs_title": f"{fact.dataset_type} {name}",
                "facility_name": facility,
                "calib_level": level,
                "target_name": fact.target,
                "obs_id": name,
                "obs_collection": release,
                "obs_publisher_did": did,
                "access_url": "/api/datalink/links?ID=" + _quote_did(did),
                "access_format": _DATALINK,
                "access_estsize": max(1, round(fact.size_bytes / 1024)),
                **_sky_columns(fact),
                "s_resolution": fact.fwhm_arcsec,
                "s_xel1": fact.shape[1],
                "s_xel2": fact.shape[0],
                "t_xel": 1,
                "t_min": fact.t_min,
                "t_max": fact.t_max,
                "t_exptime": fact.exposure_s,
                "t_resolution": fact.exposure_s,
                "em_xel": 1,
                "em_min": em_min,
                "em_max": em_max,
                "em_res_power": None
                if em_min is None or em_max is None
                else (em_min + em_max) / 2 / (em_max - em_min),
                "o_ucd": ucd,
                "pol_xel": 0,
                "instrument_name": fact.data_id.get("instrument", instrument),
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


def _quote_did(did: str) -> str:
    from urllib.parse import quote

    return quote(did, safe="")


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
    return whole, _middle(np.concatenate([f.corners for f in chosen]))
