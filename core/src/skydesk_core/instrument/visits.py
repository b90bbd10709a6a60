"""Turn science exposures into visits with regions on the sky, and give FITS cameras a skymap that covers them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from lsst.daf.butler import Butler
from lsst.sphgeom import ConvexPolygon

from skydesk_core.instrument.base import SkydeskInstrument
from skydesk_core.instrument.camera import CameraDescription
from skydesk_core.instrument.fits_camera import FitsCamera
from skydesk_core.instrument.observation import Observation
from skydesk_core.skymap import SkyMap, make_polygon, register_skymap

__all__ = ["define_visits", "extend_camera_skymap", "make_detector_region"]


def make_detector_region(
    camera: CameraDescription,
    detector: int,
    ra_deg: float,
    dec_deg: float,
    sky_angle_deg: float,
    margin_deg: float,
) -> ConvexPolygon:
    """Make the region that a detector may have seen, as far as the pointing tells.

    Parameters
    ----------
    camera
        The camera.
    detector
        Number of the detector.
    ra_deg, dec_deg, sky_angle_deg
        Pointing, ICRS, and position angle of +y.
    margin_deg
        By how much to extend the footprint on every side.

    Returns
    -------
    lsst.sphgeom.ConvexPolygon
        The detector's footprint and the margin; a square around its
        circumscribed circle if the rotation is not known.
    """
    height, width = camera.detector(detector).bbox.shape
    margin = margin_deg * 3600 / camera.scale_arcsec
    wcs = camera.make_wcs(detector, ra_deg, dec_deg, sky_angle_deg)
    half_x, half_y = width / 2 + margin, height / 2 + margin
    if camera.rotation_tolerance_deg > 45:
        half_x = half_y = float(np.hypot(width, height)) / 2 + margin
    cx, cy = (width - 1) / 2, (height - 1) / 2
    x = np.array([cx - half_x, cx + half_x, cx + half_x, cx - half_x])
    y = np.array([cy - half_y, cy - half_y, cy + half_y, cy + half_y])
    return make_polygon(*wcs.pixel_to_world_values(x, y))


def define_visits(
    butler: Butler, instrument: SkydeskInstrument, observations: Iterable[Observation]
) -> list[int]:
    """Define one visit for every science exposure.

    Parameters
    ----------
    butler
        A writeable Butler in which the exposures are registered.
    instrument
        The instrument.
    observations
        Facts about the raw files; other kinds of frame are left out.

    Returns
    -------
    list of int
        Identifiers of the visits, equal to those of the exposures.
    """
    registry, name, camera = butler.registry, instrument.getName(), instrument.describe()
    by_exposure: dict[int, list[Observation]] = {}
    for o in observations:
        if o.kind == "science":
            by_exposure.setdefault(o.exposure_id, []).append(o)
    rows: dict[str, list[dict[str, Any]]] = {
        "visit": [],
        "visit_definition": [],
        "visit_system_membership": [],
        "visit_detector_region": [],
    }
    for visit, group in by_exposure.items():
        exposure = registry.expandDataId(instrument=name, exposure=visit).records["exposure"]
        vertices = []
        for o in group:
            region = make_detector_region(
                camera,
                o.detector,
                exposure.tracking_ra,
                exposure.tracking_dec,
                exposure.sky_angle,
                instrument.region_margin_deg,
            )
            vertices += region.getVertices()
            rows["visit_detector_region"].append(
                {"instrument": name, "visit": visit, "detector": o.detector, "region": region}
            )
        rows["visit"].append(
            {
                "instrument": name,
                "id": visit,
                "name": exposure.obs_id,
                "physical_filter": exposure.physical_filter,
                "day_obs": exposure.day_obs,
                "seq_num": exposure.seq_num,
                "exposure_time": exposure.exposure_time,
                "target_name": exposure.target_name,
                "observation_reason": exposure.observation_reason,
                "science_program": exposure.science_program,
                "azimuth": exposure.azimuth,
                "zenith_angle": exposure.zenith_angle,
                "timespan": exposure.timespan,
                "region": ConvexPolygon.convexHull(vertices),
            }
        )
        rows["visit_definition"].append({"instrument": name, "visit": visit, "exposure": visit})
        rows["visit_system_membership"].append({"instrument": name, "visit": visit, "visit_system": 0})
    for element, records in rows.items():
        if records:
            registry.insertDimensionData(
                element, *records, skip_existing=element != "visit", replace=element == "visit"
            )
    return sorted(by_exposure)


def extend_camera_skymap(butler: Butler, instrument: FitsCamera, observations: Iterable[Observation]) -> None:
    """Add tracts to a FITS camera's skymap until every pointing lies in one.

    Parameters
    ----------
    butler
        A writeable Butler.
    instrument
        The instrument, whose name is also that of the skymap.
    observations
        Facts about the raw files.
    """
    name = instrument.getName()
    ref = None
    if list(butler.query_dimension_records("skymap", skymap=name, explain=False)):
        ref = butler.find_dataset("skyMap", skymap=name, collections="skymaps")
    old = butler.get(ref) if ref is not None else SkyMap(name=name, tracts=())
    tracts = list(old.tracts)
    for o in observations:
        if o.ra_deg is None or o.dec_deg is None:
            continue
        if SkyMap(name=name, tracts=tuple(tracts)).find_tract(o.ra_deg, o.dec_deg) is None:
            tracts.append(instrument.camera_file.make_tract(len(tracts), o.ra_deg, o.dec_deg))
    if len(tracts) > len(old.tracts):
        register_skymap(butler, SkyMap(name=name, tracts=tuple(tracts)), replaced=ref)
