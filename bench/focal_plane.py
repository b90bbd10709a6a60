"""Benchmark of the whole focal plane of a visit: a generated camera of 189 detectors, seen for the first time and again."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import astropy.units as u
import numpy as np
from astro_metadata_translator import ObservationInfo
from astropy.time import Time
from astropy.wcs import WCS
from lsst.daf.butler import Butler, DatasetType, Timespan
from lsst.images import Box, DetectorFrame, Image, MaskPlane, MaskSchema, SkyProjection, VisitImage
from lsst.images.psfs import GaussianPointSpreadFunction

from bench.browser import choose_password, make_link, open_browser
from bench.image_view import look, measure_views
from bench.record import Measurement
from bench.stack import running
from skydesk_core.release.testing_images import make_detector
from skydesk_core.release.writer import ReleaseBuilder
from skydesk_core.repo import create_repo
from skydesk_core.skymap import make_polygon

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["GeneratedCamera", "make_focal_plane_release", "measure_focal_plane"]

NAME = "focalplane"
FIRST_BAR_S, CACHED_BAR_MS = 5.0, 500.0
_INSTRUMENT, _FILTER, _BAND, _RUN = "BenchCam", "r_sim", "r", "runs/benchmark"
_CLASS = "skydesk_core.instrument.simcam.SimCam"
"""Lends its description of filters."""
_VISIT, _DAY, _MJD, _EXPOSURE_S = 2026112900001, 20261129, 61373.2, 30.0
_CENTRE_DEG, _SCALE_ARCSEC, _TURN_DEG, _GAP = (53.13, -28.10), 0.2, 20.0, 24
_SKY_NJY, _STARS = 40.0, 60
_PLANES = ("BAD", "SAT", "CR", "EDGE", "DETECTED", "NO_DATA")


@dataclass(frozen=True)
class GeneratedCamera:
    """Where the detectors of a camera like Rubin's lie: rafts of 3 × 3 in a square of 5 × 5 without its corners.

    Parameters
    ----------
    size
        Pixels along a side of each detector.
    """

    size: int

    @property
    def places(self) -> list[tuple[int, int]]:
        """Column and row of each of the 189 detectors, counted from the middle one."""
        rafts = [(i, j) for j in range(-2, 3) for i in range(-2, 3) if abs(i) + abs(j) < 4]
        return [(3 * i + di, 3 * j + dj) for i, j in rafts for dj in (-1, 0, 1) for di in (-1, 0, 1)]

    def make_wcs(self, column: int, row: int) -> WCS:
        """Make the gnomonic mapping of one detector."""
        wcs = WCS(naxis=2)
        wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
        wcs.wcs.cunit = ["deg", "deg"]
        wcs.wcs.radesys = "ICRS"
        wcs.wcs.crval = list(_CENTRE_DEG)
        pitch = self.size + _GAP
        wcs.wcs.crpix = [self.size / 2 + 0.5 - pitch * column, self.size / 2 + 0.5 - pitch * row]
        angle = np.radians(_TURN_DEG)
        turn = np.array([[-np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        wcs.wcs.cd = _SCALE_ARCSEC / 3600 * turn
        wcs.wcs.set()
        return wcs


def make_focal_plane_release(path: Path, camera: GeneratedCamera, seed: int = 20261129) -> None:
    """Write a release that holds one visit, stored as pipelines store it.

    Parameters
    ----------
    path
        Folder of the new release.
    camera
        The detectors.
    seed
        Seed of the noise and the stars.
    """
    title = f"Generated visit of {len(camera.places)} detectors of {camera.size} × {camera.size} pixels"
    with ReleaseBuilder(path, path.name, title, (_BAND,)) as builder:
        create_repo(builder.butler_path)
        with Butler.from_config(
            str(builder.butler_path), writeable=True, run=_RUN, collections=[_RUN]
        ) as butler:
            _register(butler, camera)
            kind = DatasetType(
                "visit_image", ("instrument", "visit", "detector"), "VisitImage", universe=butler.dimensions
            )
            butler.registry.registerDatasetType(kind)
            refs = [
                butler.put(image, kind, instrument=_INSTRUMENT, visit=_VISIT, detector=number)
                for number, image in enumerate(_make_images(camera, np.random.default_rng(seed)))
            ]
            refs = [r.expanded(butler.registry.expandDataId(r.dataId)) for r in refs]
            builder.add_images(butler, refs, "synthetic", _INSTRUMENT)
        builder.finish(_RUN, None, _INSTRUMENT)


def _register(butler: Butler, camera: GeneratedCamera) -> None:
    """Insert the dimension records of the camera and its one visit."""
    registry = butler.registry
    same = {"instrument": _INSTRUMENT}
    limits = {"visit_max": 10**13, "exposure_max": 10**13, "detector_max": 256, "visit_system": 0}
    registry.insertDimensionData("instrument", {"name": _INSTRUMENT, "class_name": _CLASS, **limits})
    registry.insertDimensionData("physical_filter", {**same, "name": _FILTER, "band": _BAND})
    registry.insertDimensionData("day_obs", {**same, "id": _DAY})
    outlines = [_outline(camera, *place) for place in camera.places]
    everything = np.concatenate(outlines)
    low, high = everything.min(axis=0), everything.max(axis=0)
    around = np.array([[low[0], low[1]], [high[0], low[1]], [high[0], high[1]], [low[0], high[1]]])
    registry.insertDimensionData(
        "visit",
        {
            **same,
            "id": _VISIT,
            "name": str(_VISIT),
            "physical_filter": _FILTER,
            "day_obs": _DAY,
            "seq_num": 1,
            "exposure_time": _EXPOSURE_S,
            "target_name": "benchmark",
            "observation_reason": "science",
            "science_program": "benchmark",
            "timespan": _timespan(),
            "region": make_polygon(*around.T),
        },
    )
    for number, outline in enumerate(outlines):
        name = f"D{number:03d}"
        registry.insertDimensionData(
            "detector", {**same, "id": number, "full_name": name, "name_in_raft": name, "purpose": "SCIENCE"}
        )
        registry.insertDimensionData(
            "visit_detector_region",
            {**same, "visit": _VISIT, "detector": number, "region": make_polygon(*outline.T)},
        )


def _timespan() -> Timespan:
    half_day = _EXPOSURE_S / 2 / 86400
    begin, end = (Time(_MJD + d, format="mjd", scale="tai") for d in (-half_day, half_day))
    return Timespan(begin, end)


def _outline(camera: GeneratedCamera, column: int, row: int) -> NDArray[np.float64]:
    """Return the corners of a detector in ICRS degrees, shape (4, 2)."""
    low, high = -0.5, camera.size - 0.5
    corners = camera.make_wcs(column, row).all_pix2world([low, high, high, low], [low, low, high, high], 0)
    return np.stack(corners, axis=1)


def _make_images(camera: GeneratedCamera, rng: np.random.Generator) -> Iterator[VisitImage]:
    """Make the calibrated images one after the other: noise, stars, a bad column, masks, PSF and mapping."""
    size = camera.size
    box = Box.factory[0:size, 0:size]
    span = _timespan()
    info = ObservationInfo.makeObservationInfo(
        instrument=_INSTRUMENT,
        physical_filter=_FILTER,
        exposure_id=_VISIT,
        visit_id=_VISIT,
        datetime_begin=span.begin,
        datetime_end=span.end,
        exposure_time=_EXPOSURE_S * u.s,
    )
    star_y, star_x = np.mgrid[-12:13, -12:13]
    star = np.exp(-(star_x**2 + star_y**2) / (2 * 1.7**2)).astype(np.float32)
    for number, place in enumerate(camera.places):
        pixels = rng.normal(0, _SKY_NJY, (size, size)).astype(np.float32)
        for x, y in rng.integers(12, size - 13, (_STARS, 2)):
            pixels[y - 12 : y + 13, x - 12 : x + 13] += np.float32(100 * rng.pareto(0.8) + 100) * star
        pixels[:, 700:702] = np.nan
        frame = DetectorFrame(instrument=_INSTRUMENT, detector=number, visit=_VISIT, bbox=box)
        projection = SkyProjection.from_fits_wcs(camera.make_wcs(*place), frame, pixel_bounds=box)
        variance = (_SKY_NJY**2 + np.clip(pixels, 0, None)).astype(np.float32)
        image = Image(pixels, bbox=box, unit=u.nJy, sky_projection=projection)
        made = VisitImage(
            image,
            variance=Image(variance, bbox=box, unit=u.nJy**2),
            mask_schema=MaskSchema([MaskPlane(p, p) for p in _PLANES]),
            obs_info=info,
            psf=GaussianPointSpreadFunction(1.7, bounds=box, stamp_size=25),
            detector=make_detector(box, _VISIT, number),
            band=_BAND,
        )
        made.mask.set("NO_DATA", np.isnan(pixels))
        made.mask.set("DETECTED", np.nan_to_num(pixels) > 5 * _SKY_NJY)
        yield made


def measure_focal_plane(home: Path, side: int = 1024) -> list[Measurement]:
    """Open the focal plane of a visit that nobody has looked at, then again in another page.

    Parameters
    ----------
    home
        Home folder that the release is generated in, unless it is there.
    side
        Pixels along a side of each detector: 1024, or 4096 for the 3.2 gigapixels of Rubin's camera.
    """
    camera = GeneratedCamera(side)
    release = home / "releases" / f"{NAME}{side}"
    if not release.exists():
        release.parent.mkdir(parents=True, exist_ok=True)
        make_focal_plane_release(release, camera)
    shutil.rmtree(home / "cache" / "pyramids" / release.name, ignore_errors=True)
    with running(home) as stack, open_browser() as page:
        choose_password(page, make_link(stack, "benchmark-focal-plane"))
        base = f"{stack.url}/portal/app"
        page.goto(f"{base}/")
        page.wait_for_load_state("networkidle")
        address = f"{base}/images?release={release.name}&id=visit-visit_image-{_VISIT}"
        first_ms, _ = look(page, address)
        cached_ms, complete_ms = measure_views(page, address)
    what = f"focal plane of {len(camera.places)} detectors of {side} × {side} pixels"
    again = f"{what}: seen before, 95th percentile,"
    return [
        Measurement(
            f"focal_plane_first_{side}",
            first_ms / 1e3,
            "s",
            f"{what}: never seen, coarse view to move and read",
            "bar",
            FIRST_BAR_S,
        ),
        Measurement(
            f"focal_plane_cached_{side}",
            cached_ms,
            "ms",
            f"{again} coarse view to move and read",
            "bar",
            CACHED_BAR_MS,
        ),
        Measurement(f"focal_plane_complete_{side}", complete_ms, "ms", f"{again} all tiles of the window"),
    ]
