"""The form of the image search and the query that it means."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from skydesk_portal.exceptions import UsageError
from skydesk_portal.models.instants import parse_instant
from skydesk_portal.models.positions import parse_position
from skydesk_portal.models.sia import adql_text
from skydesk_portal.ui.adql_form import write_visits

__all__ = ["COLUMNS", "ImageQuery", "write_kinds", "write_query"]

COLUMNS = ("dataset_type", "lsst_band", "lsst_visit", "lsst_detector", "lsst_tract", "lsst_patch", "t_min", "t_exptime",
           "s_resolution", "s_ra", "s_dec", "access_estsize", "dataset_id", "obs_collection", "obs_publisher_did")  # fmt: skip
"""Columns of ObsCore that the list of images shows."""


@dataclass(frozen=True)
class ImageQuery:
    """What is asked for; empty texts and None mean no condition.

    Parameters
    ----------
    release
        Name of the release.
    kind, band
        Dataset type and band.
    visits
        Only images of these visits; none means all.
    detectors
        Only images of these detectors, for example those of a raft; none means all.
    detector, tract, patch
        Parts of the data ID.
    begin, end
        Instants as typed, see `skydesk_portal.models.instants.parse_instant`.
    seeing_arcsec
        Largest FWHM of the PSF in arcsec.
    position
        Position as typed.
    radius_arcsec
        Images that meet a circle of this radius around it; 0 asks for those that contain the position.
    input_visit
        Only images that were made of this visit.
    visit_conditions
        Comparisons of columns of the table of visits, separated by lines or semicolons.
    exposure_s
        Shortest exposure in seconds; of a coadd that is its depth, the median over its area.
    inputs
        Smallest number of exposures that a coadd was made of.
    """

    release: str
    kind: str = ""
    band: str = ""
    visits: tuple[int, ...] = ()
    detectors: tuple[int, ...] = ()
    detector: int | None = None
    tract: int | None = None
    patch: int | None = None
    begin: str = ""
    end: str = ""
    seeing_arcsec: float | None = None
    position: str = ""
    radius_arcsec: float = 0.0
    input_visit: int | None = None
    visit_conditions: str = ""
    exposure_s: float | None = None
    inputs: int | None = None


def _conditions(query: ImageQuery) -> list[str]:
    found = [f"obs_collection = {adql_text(query.release)}"]
    found += [
        f"{c} = {adql_text(v)}" for c, v in (("dataset_type", query.kind), ("lsst_band", query.band)) if v
    ]
    if query.visits:
        found.append(f"lsst_visit IN ({', '.join(str(int(visit)) for visit in query.visits)})")
    if query.detectors:
        found.append(f"lsst_detector IN ({', '.join(str(int(number)) for number in query.detectors)})")
    numbers = {"detector": query.detector, "tract": query.tract, "patch": query.patch}
    found += [f"lsst_{name} = {int(value)}" for name, value in numbers.items() if value is not None]
    place = parse_position(query.position) if query.position.strip() else None
    begin, end = (parse_instant(text, place) if text.strip() else None for text in (query.begin, query.end))
    if begin is not None and end is not None and begin > end:
        raise UsageError("the time range ends before it begins")
    if begin is not None:
        found.append(f"t_max >= {begin!r}")
    if end is not None:
        found.append(f"t_min <= {end!r}")
    if query.seeing_arcsec is not None:
        found.append(f"s_resolution <= {float(query.seeing_arcsec)!r}")
    if query.exposure_s is not None:
        found.append(f"t_exptime >= {float(query.exposure_s)!r}")
    if place is not None:
        ra_deg, dec_deg = place
        if not 0 <= query.radius_arcsec <= 36_000 or math.isnan(query.radius_arcsec):
            raise UsageError("the radius is 0 to 36000 arcsec")
        if query.radius_arcsec > 0:
            circle = f"CIRCLE('ICRS', {ra_deg!r}, {dec_deg!r}, {query.radius_arcsec / 3600!r})"
            found.append(f"INTERSECTS({circle}, s_region) = 1")
        else:
            found.append(f"CONTAINS(POINT('ICRS', {ra_deg!r}, {dec_deg!r}), s_region) = 1")
    if query.input_visit is not None:
        inputs = f"SELECT dataset_id FROM ivoa.ObsCore WHERE lsst_visit = {int(query.input_visit)}"
        made = f"SELECT dataset_id FROM {query.release}.Provenance WHERE input_id IN ({inputs})"
        found.append(f"dataset_id IN ({made})")
    if query.inputs is not None:
        made = f"SELECT dataset_id FROM {query.release}.Provenance WHERE role = 'science' AND input_type = 'visit_image'"
        found.append(f"dataset_id IN ({made} GROUP BY dataset_id HAVING COUNT(*) >= {int(query.inputs)})")
    conditions = [line.strip() for line in re.split(r"[;\n]", query.visit_conditions) if line.strip()]
    if conditions:
        found.append(write_visits("lsst_visit", f"{query.release}.Visit", "visit", conditions))
    return found


def write_kinds(release: str) -> str:
    """Write the query for the dataset types and bands that a release has, calibrations among them.

    Parameters
    ----------
    release
        Name of the release.
    """
    return f"SELECT DISTINCT dataset_type, lsst_band FROM ivoa.ObsCore WHERE obs_collection = {adql_text(release)}"


def write_query(query: ImageQuery, rows: int) -> str:
    """Write the query in ADQL.

    Parameters
    ----------
    query
        What is asked for.
    rows
        How many images at most.

    Raises
    ------
    UsageError
        If a position or a time cannot be read.
    """
    where = " AND ".join(_conditions(query))
    return f"SELECT TOP {rows} {', '.join(COLUMNS)} FROM ivoa.ObsCore WHERE {where} ORDER BY t_min, lsst_visit, lsst_detector"
