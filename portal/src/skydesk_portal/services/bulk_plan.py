"""Which images bulk cut-outs come from: positions matched with footprints, grouped by image."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from skydesk_portal.exceptions import NotFoundError
from skydesk_portal.models.bulk import BulkRequest, ImageWork, Positions
from skydesk_portal.models.cutouts import TractId
from skydesk_portal.models.identity import Identity

if TYPE_CHECKING:
    from skydesk_portal.pipeline import Release
    from skydesk_portal.pipeline.mosaics import MosaicStore
    from skydesk_portal.services.tap import TapService

__all__ = ["BulkPlan", "make_plan"]

_MOST_IMAGES = 1_000_000
_WIDE_DEG = 30.0
_MARGIN_RAD = np.radians(5 / 3600)
_USUAL_SCALE_ARCSEC = 0.2
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")


@dataclass(frozen=True)
class BulkPlan:
    """What there is to do.

    Parameters
    ----------
    release
        Where the images are.
    images
        Images with the positions on them, always in the same order.
    bands
        Bands asked for of each dataset type.
    usable
        Which positions are positions.
    scale_arcsec
        About the size of a pixel.
    """

    release: Release
    images: tuple[ImageWork, ...]
    bands: dict[str, tuple[str, ...]]
    usable: NDArray[np.bool_]
    scale_arcsec: float = _USUAL_SCALE_ARCSEC


def _unit(ra_deg: NDArray[np.float64], dec_deg: NDArray[np.float64]) -> NDArray[np.float64]:
    ra, dec = np.radians(ra_deg), np.radians(dec_deg)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)


def _words(values: Sequence[str]) -> str:
    return ", ".join("'" + value.replace("'", "''") + "'" for value in values)


def _around(vectors: NDArray[np.float64], size_arcsec: float) -> str:
    """Return the condition that an image lies near the positions, nothing if they are all over the sky."""
    if not len(vectors):
        return ""
    middle = vectors.sum(axis=0)
    length = float(np.linalg.norm(middle))
    if length < 1e-6 * len(vectors):
        return ""
    middle /= length
    reach = float(np.degrees(np.arccos(np.clip((vectors @ middle).min(), -1, 1)))) + size_arcsec / 3600 + 0.01
    if reach > _WIDE_DEG:
        return ""
    ra = float(np.degrees(np.arctan2(middle[1], middle[0])) % 360)
    dec = float(np.degrees(np.arcsin(np.clip(middle[2], -1, 1))))
    return f" AND 1 = INTERSECTS(CIRCLE({ra!r}, {dec!r}, {reach!r}), s_region)"


def make_plan(
    tap: TapService,
    mosaics: MosaicStore,
    identity: Identity,
    release: Release,
    request: BulkRequest,
    positions: Positions,
) -> BulkPlan:
    """Find the images that positions lie on.

    Parameters
    ----------
    tap
        Asks the list of images.
    mosaics
        Tells which patch a position belongs to.
    identity, release, request, positions
        Who asks for what.

    Returns
    -------
    BulkPlan
        The work, grouped by image.
    """
    ra, dec, size = positions.ra_deg, positions.dec_deg, positions.size_arcsec
    with np.errstate(invalid="ignore"):
        usable = np.isfinite(ra + dec + size) & (np.abs(dec) <= 90) & (ra >= -360) & (ra <= 720)
        usable &= (size > 0) & (size <= 600)
    rows = np.flatnonzero(usable)
    vectors = np.full((len(positions), 3), np.nan)
    vectors[rows] = _unit(ra[rows], dec[rows])
    own = f"obs_collection = '{release.name}' AND s_region IS NOT NULL AND dataset_type IN ({_words(request.dataset_types)})"
    if request.bands:
        own += f" AND lsst_band IN ({_words(request.bands)})"
    bands = _find_bands(tap, identity, request, own)
    near = _around(vectors[rows], float(size[rows].max()) if rows.size else 0.0)
    columns = "dataset_id, dataset_type, lsst_band, lsst_visit, lsst_detector, lsst_tract, lsst_patch, s_region, t_min, t_max"
    found = (
        tap.run_query(
            identity,
            f"SELECT {columns} FROM ivoa.ObsCore WHERE {own}{near}",
            maxrec=_MOST_IMAGES,
            timeout_s=600,
        ).table.to_pylist()
        if rows.size
        else []
    )
    found = [image for image in found if _in_time(image, request.time_mjd)]
    found.sort(key=lambda image: str(image["dataset_id"]))
    coadds = [i for i in found if i["lsst_tract"] is not None and i["lsst_patch"] is not None]
    others = [i for i in found if i["lsst_tract"] is None or i["lsst_patch"] is None]
    images = [*_match_patches(mosaics, release, coadds, positions, rows)]
    images += [_work(image, on) for image in others if (on := _match_footprint(image, vectors, rows)).size]
    return BulkPlan(release, tuple(images), bands, usable)


def _find_bands(
    tap: TapService, identity: Identity, request: BulkRequest, own: str
) -> dict[str, tuple[str, ...]]:
    if request.bands:
        return dict.fromkeys(request.dataset_types, request.bands)
    query = f"SELECT DISTINCT dataset_type, lsst_band FROM ivoa.ObsCore WHERE {own}"
    found: dict[str, list[str]] = defaultdict(list)
    for row in tap.run_query(identity, query, maxrec=10_000).table.to_pylist():
        found[row["dataset_type"]].append(row["lsst_band"] or "")
    for kind in request.dataset_types:
        if kind not in found:
            raise NotFoundError(f"the release has no images of the dataset type {kind}")
    return {kind: tuple(sorted(values)) for kind, values in found.items()}


def _in_time(image: dict[str, Any], wanted: tuple[float, float] | None) -> bool:
    if wanted is None or image["t_min"] is None or image["t_max"] is None:
        return True
    # ObsCore counts in TAI, SODA in UTC.
    late = 37 / 86400
    return bool(image["t_min"] - late <= wanted[1] and wanted[0] <= image["t_max"] - late)


def _work(image: dict[str, Any], rows: NDArray[np.int64], mosaic: TractId | None = None) -> ImageWork:
    return ImageWork(
        UUID(str(image["dataset_id"])),
        image["dataset_type"],
        image["lsst_band"] or "",
        image["lsst_visit"],
        image["lsst_detector"],
        image["lsst_tract"],
        image["lsst_patch"],
        rows,
        mosaic,
    )


def _match_patches(
    mosaics: MosaicStore,
    release: Release,
    images: Sequence[dict[str, Any]],
    positions: Positions,
    rows: NDArray[np.int64],
) -> list[ImageWork]:
    """Give each position to the patch that it belongs to, in the tract whose middle is nearest."""
    groups: dict[tuple[str, str], dict[int, dict[int, dict[str, Any]]]] = defaultdict(
        lambda: defaultdict(dict)
    )
    for image in images:
        group = groups[image["dataset_type"], image["lsst_band"] or ""]
        group[image["lsst_tract"]][image["lsst_patch"]] = image
    ra, dec = positions.ra_deg[rows] % 360, positions.dec_deg[rows]
    vectors = _unit(ra, dec)
    out = []
    for (kind, band), tracts in sorted(groups.items()):
        best = np.full(rows.size, -2.0)
        chosen = np.full((rows.size, 2), -1)
        for number in tracts:
            geometry = mosaics.get_tract(release, TractId(release.name, kind, number, band)).tract
            near = vectors @ _unit(np.array(geometry.ra_deg), np.array(geometry.dec_deg))
            patches = np.full(rows.size, -1)
            # Only what is in front of the tangent plane.
            front = near > 0.5
            patches[front] = geometry.find_patches(ra[front], dec[front])
            better = (patches >= 0) & (near > best)
            best[better] = near[better]
            chosen[better] = np.stack([np.full(rows.size, number), patches], axis=1)[better]
        for number, patches_of in sorted(tracts.items()):
            for patch, image in sorted(patches_of.items()):
                on = rows[(chosen[:, 0] == number) & (chosen[:, 1] == patch)]
                if on.size:
                    out.append(_work(image, on, TractId(release.name, kind, number, band)))
    return out


def _match_footprint(
    image: dict[str, Any], vectors: NDArray[np.float64], rows: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the positions that may lie on an image; its pixels decide later."""
    numbers = [float(word) for word in _NUMBER.findall(image["s_region"].split(None, 1)[-1])]
    corners = _unit(np.array(numbers[::2]), np.array(numbers[1 : len(numbers) // 2 * 2 : 2]))
    if not image["s_region"].upper().startswith("POLYGON") or len(corners) < 3:
        return rows
    middle = corners.sum(axis=0)
    middle /= np.linalg.norm(middle)
    points = vectors[rows]
    reach = float(np.arccos(np.clip((corners @ middle).min(), -1, 1))) + _MARGIN_RAD
    inside = points @ middle >= np.cos(min(reach, np.pi))
    normals = np.cross(corners, np.roll(corners, -1, axis=0))
    normals *= np.sign(normals @ middle)[:, None]
    if (corners @ normals.T > -1e-12).all():
        # A convex outline: outside means behind one of its edges.
        length = np.linalg.norm(normals, axis=1)
        inside &= (points @ normals.T >= -_MARGIN_RAD * length).all(axis=1)
    return rows[inside]
