"""The simulated survey: when and where SimCam looks, and one function for each raw file."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.time import Time

from skydesk_core.errors import UsageError
from skydesk_core.instrument.observation import night_of
from skydesk_core.instrument.simcam import SimCam
from skydesk_core.sim.detector import DetectorModel, make_detector_model
from skydesk_core.sim.optics import (
    GALAXY_OVERSAMPLING,
    STAR_OVERSAMPLING,
    Visit,
    galaxy_stamps,
    sky_electrons,
    sky_to_pixel,
    star_stamps,
    zero_point,
)
from skydesk_core.sim.painting import paint_stamps, paint_stars
from skydesk_core.sim.scene import BANDS, Scene, SceneSettings, make_scene

__all__ = ["PRESETS", "Frame", "Survey", "get_survey", "write_frame"]

PRESETS = ("tiny", "standard")


@dataclass(frozen=True)
class Frame:
    """One raw file to make.

    Attributes
    ----------
    kind
        ``science``, ``bias``, ``dark`` or ``flat``.
    detector
        Number of the detector.
    seq_num
        Counter within the night.
    mjd
        Begin, MJD (TAI).
    exposure_s
        Exposure time.
    band
        Band of the filter in place.
    visit
        Index of the visit for science frames.
    """

    kind: str
    detector: int
    seq_num: int
    mjd: float
    exposure_s: float
    band: str
    visit: int | None = None

    @property
    def name(self) -> str:
        """Name of the file."""
        return f"simcam_{night_of(self.mjd)}_{self.seq_num:05d}_{self.kind}_{self.detector}.fits"


@dataclass(frozen=True)
class Survey:
    """A whole simulated survey.

    Attributes
    ----------
    preset
        Its name.
    detectors
        Detectors that are read out.
    scene
        The sky.
    visits
        All visits in order of time.
    calibrations
        Calibration frames.
    patches, patch_pixels
        Grid of the skymap that covers the survey.
    """

    preset: str
    detectors: tuple[int, ...]
    scene: Scene
    visits: tuple[Visit, ...]
    calibrations: tuple[Frame, ...]
    patches: tuple[int, int]
    patch_pixels: tuple[int, int]
    settings: SceneSettings = field(default_factory=SceneSettings)

    @property
    def frames(self) -> list[Frame]:
        """All raw files, calibrations first."""
        science = [
            Frame("science", d, v.seq_num, v.mjd, v.exposure_s, v.band, i)
            for i, v in enumerate(self.visits)
            for d in self.detectors
        ]
        return [*self.calibrations, *science]


@dataclass(frozen=True)
class _Plan:
    epochs: tuple[float, ...]
    detectors: tuple[int, ...]
    bias: int
    dark: int
    flat: int
    patches: tuple[int, int]
    patch_pixels: tuple[int, int]
    transients: int
    variables: int


_PLANS = {
    "tiny": _Plan((0.1, 4.23, 40.17, 58.31), (0,), 5, 3, 3, (2, 1), (660, 1320), 8, 14),
    "standard": _Plan(
        (0.1, 1.13, 4.22, 9.07, 15.31, 21.18, 27.09, 33.27, 40.17, 46.24, 52.06, 58.31),
        (0, 1),
        8,
        4,
        4,
        (2, 1),
        (1200, 1320),
        16,
        30,
    ),
}


def _make_visits(plan: _Plan, settings: SceneSettings) -> tuple[Visit, ...]:
    rng = np.random.default_rng([settings.seed, 1])
    camera = SimCam.describe()
    offset = np.mean([camera.detector(d).offset_x for d in plan.detectors]) * camera.scale_arcsec / 3600
    visits = []
    for epoch in plan.epochs:
        mjd = settings.mjd_start + epoch
        seeing, clouds = rng.uniform(0.72, 1.05), abs(rng.normal(0, 0.05))
        for k, band in enumerate(BANDS):
            rotation = rng.uniform(-3, 3)
            angle = np.deg2rad(rotation)
            dx, dy = rng.uniform(-80, 80, 2) * camera.scale_arcsec / 3600
            # The boresight stands so that the detectors in use are centred on the field (East is left).
            east, north = offset * np.cos(angle) + dx, -offset * np.sin(angle) + dy
            visits.append(
                Visit(
                    mjd=mjd + k * 0.009 + rng.uniform(0, 0.001),
                    band=band,
                    seq_num=101 + k,
                    exposure_s=30.0,
                    ra_deg=settings.ra_deg + east / np.cos(np.deg2rad(settings.dec_deg)),
                    dec_deg=settings.dec_deg + north,
                    rotation_deg=rotation,
                    error_x=rng.normal(0, 8),
                    error_y=rng.normal(0, 8),
                    error_rotation_deg=rng.normal(0, 0.05),
                    fwhm_arcsec=seeing * {"g": 1.06, "r": 1.0, "i": 0.97}[band] * rng.uniform(0.97, 1.03),
                    g1=rng.normal(0, 0.015),
                    g2=rng.normal(0, 0.015),
                    clouds_mag=clouds + abs(rng.normal(0, 0.02)),
                    airmass=rng.uniform(1.02, 1.4),
                )
            )
    return tuple(visits)


def _make_calibrations(plan: _Plan, settings: SceneSettings) -> tuple[Frame, ...]:
    # Taken on the afternoon before the first night.
    mjd = np.floor(settings.mjd_start) - 0.15
    frames, seq = [], 1
    wanted = [("bias", 0.0, BANDS[1], plan.bias), ("dark", 60.0, BANDS[1], plan.dark)]
    wanted += [("flat", 5.0, band, plan.flat) for band in BANDS]
    for kind, exposure_s, band, count in wanted:
        for _ in range(count):
            for detector in plan.detectors:
                frames.append(Frame(kind, detector, seq, mjd + seq * 1e-3, exposure_s, band))
            seq += 1
    return tuple(frames)


@functools.lru_cache(maxsize=4)
def get_survey(preset: str) -> Survey:
    """Return a survey by the name of its preset.

    Raises
    ------
    UsageError
        If there is no such preset.
    """
    if preset not in _PLANS:
        raise UsageError(f"unknown preset {preset!r}; known: {', '.join(PRESETS)}")
    plan = _PLANS[preset]
    scale = SimCam.describe().scale_arcsec / 3600
    settings = SceneSettings(
        half_width_deg=(plan.patches[0] * plan.patch_pixels[0] / 2 + 60) * scale,
        half_height_deg=(plan.patches[1] * plan.patch_pixels[1] / 2 + 60) * scale,
        transients=plan.transients,
        variables=plan.variables,
    )
    visits = _make_visits(plan, settings)
    nights = np.array([settings.mjd_start + e for e in plan.epochs])
    return Survey(
        preset=preset,
        detectors=plan.detectors,
        scene=make_scene(settings, nights),
        visits=visits,
        calibrations=_make_calibrations(plan, settings),
        patches=plan.patches,
        patch_pixels=plan.patch_pixels,
        settings=settings,
    )


@functools.lru_cache(maxsize=9)
def _model(preset: str, detector: int) -> DetectorModel:
    return make_detector_model(SimCam.describe(), detector, BANDS, get_survey(preset).settings.seed)


def _paint_sky(survey: Survey, visit: Visit, detector: int) -> np.ndarray:
    camera, scene = SimCam.describe(), survey.scene
    d = camera.detector(detector)
    height, width = d.bbox.shape
    sky = sky_electrons(visit, camera.scale_arcsec)
    image = np.full((height, width), sky, np.float32)
    zero = zero_point(visit)
    middle = visit.mjd + 0.5 * visit.exposure_s / 86400
    o = scene.objects
    flux = 10 ** (-0.4 * (scene.object_mags(visit.band, middle) - zero))
    x, y = sky_to_pixel(camera, detector, visit, np.asarray(o["ra"]), np.asarray(o["dec"]))
    near = (x > -60) & (x < width + 60) & (y > -60) & (y < height + 60)
    star = np.asarray(o["is_star"])
    galaxies = near & ~star
    shapes = galaxy_stamps(visit, camera.scale_arcsec, scene.shapes)
    paint_stamps(
        image,
        shapes,
        np.asarray(o["shape"])[galaxies].astype(np.int64),
        GALAXY_OVERSAMPLING,
        x[galaxies],
        y[galaxies],
        flux[galaxies],
    )
    points = [(x[near & star], y[near & star], flux[near & star])]
    for more_ra, more_dec, mags in (
        (scene.transients["ra"], scene.transients["dec"], scene.transient_mags(visit.band, middle)),
        scene.observe_movers(visit.band, middle),
    ):
        px, py = sky_to_pixel(camera, detector, visit, np.asarray(more_ra), np.asarray(more_dec))
        seen = np.isfinite(mags) & (px > -60) & (px < width + 60) & (py > -60) & (py < height + 60)
        points.append((px[seen], py[seen], 10 ** (-0.4 * (np.asarray(mags)[seen] - zero))))
    stamps = star_stamps(visit, camera.scale_arcsec, (2 * d.offset_x / width, 2 * d.offset_y / height))
    xs, ys, fluxes = (np.concatenate(p) for p in zip(*points, strict=True))
    paint_stars(image, stamps, STAR_OVERSAMPLING, xs, ys, fluxes, 0.02 * float(np.sqrt(sky)))
    return image


def _header(survey: Survey, frame: Frame) -> fits.Header:
    begin = Time(frame.mjd, format="mjd", scale="tai")
    header = fits.Header()
    header["INSTRUME"] = ("SimCam", "camera")
    header["DATE-BEG"] = (begin.isot, "begin of exposure, TAI")
    header["TIMESYS"] = "TAI"
    header["EXPTIME"] = (frame.exposure_s, "[s] exposure time")
    header["DARKTIME"] = (frame.exposure_s, "[s] dark time")
    header["IMGTYPE"] = (frame.kind, "kind of frame")
    header["FILTER"] = (f"{frame.band}_sim", "filter in place")
    header["CHIPID"] = (frame.detector, "number of the detector")
    header["SEQNUM"] = (frame.seq_num, "counter within the night")
    header["BUNIT"] = "adu"
    if frame.visit is not None:
        visit = survey.visits[frame.visit]
        header["OBJECT"] = "ECDFS"
        header["RA"] = (visit.ra_deg, "[deg] pointing, ICRS")
        header["DEC"] = (visit.dec_deg, "[deg] pointing, ICRS")
        header["ROTPA"] = (visit.rotation_deg, "[deg] position angle of +y")
        header["ZENITH"] = (float(np.rad2deg(np.arccos(1 / visit.airmass))), "[deg] zenith angle")
    return header


def write_frame(preset: str, frame: Frame, folder: str) -> str:
    """Simulate one raw file and write it.

    Parameters
    ----------
    preset
        Name of the survey's preset.
    frame
        What to simulate.
    folder
        Existing folder to write to.

    Returns
    -------
    str
        Path of the file. A file that exists is left as it is.
    """
    path = Path(folder) / frame.name
    if path.exists():
        return str(path)
    survey = get_survey(preset)
    model = _model(preset, frame.detector)
    rng = np.random.default_rng([survey.settings.seed, 2, int(frame.mjd), frame.seq_num, frame.detector])
    if frame.visit is not None:
        light = _paint_sky(survey, survey.visits[frame.visit], frame.detector)
        light *= model.flat[frame.band]
    elif frame.kind == "flat":
        light = model.flat[frame.band] * np.float32(30000 * rng.uniform(0.95, 1.05))
    else:
        light = np.zeros(model.detector.bbox.shape, np.float32)
    raw = model.read_out(light, frame.exposure_s, rng)
    partial = path.with_suffix(".part")
    fits.PrimaryHDU(raw, _header(survey, frame)).writeto(partial, overwrite=True)
    partial.rename(path)
    return str(path)
