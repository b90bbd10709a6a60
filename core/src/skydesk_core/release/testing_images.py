"""The Butler repository of the synthetic release: dimension records and rendered ``lsst.images`` files."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
import pyarrow as pa
from astro_metadata_translator import ObservationInfo
from astropy.io import fits
from astropy.time import Time
from astropy.wcs import WCS, Sip
from lsst.daf.butler import (
    Butler,
    CollectionType,
    DatasetProvenance,
    DatasetRef,
    DatasetType,
    FileDataset,
    Timespan,
)
from lsst.images import (
    Box,
    DetectorFrame,
    DifferenceImage,
    Image,
    MaskedImage,
    MaskPlane,
    MaskSchema,
    SkyProjection,
    TractFrame,
    VisitImage,
)
from lsst.images.psfs import GaussianPointSpreadFunction
from numpy.typing import NDArray

from skydesk_core.instrument.simcam import SimCam
from skydesk_core.release.sdm import from_numpy
from skydesk_core.repo import create_repo
from skydesk_core.skymap import make_polygon, make_skymap, register_skymap

if TYPE_CHECKING:
    from skydesk_core.release.testing import Scene

__all__ = ["BANDS", "CENTER", "SEEING_ARCSEC", "SKYMAP", "SyntheticRepo", "SyntheticVisit", "make_detector"]

BANDS = ("g", "r", "i")
CENTER = (53.13, -28.10)
"""ICRS degrees of the middle of the field."""
SKYMAP = "skydesk_demo"
SEEING_ARCSEC = 0.8

_SCALE_ARCSEC = 0.2
_SIZE = 1024
_RUN = "runs/synthetic"
_COLLECTION = "demo/DRP"
_CALIB = "SimCam/calib"
_PLANES = ("BAD", "SAT", "INTRP", "CR", "EDGE", "DETECTED", "DETECTED_NEGATIVE", "NO_DATA", "SUSPECT")
_SATURATION_NJY = 60_000.0
_IMAGE_TYPES = {
    "visit_image": (("instrument", "visit", "detector"), "VisitImage"),
    "difference_image": (("instrument", "visit", "detector"), "DifferenceImage"),
    "deep_coadd": (("skymap", "tract", "patch", "band"), "MaskedImageV2"),
    "template_coadd": (("skymap", "tract", "patch", "band"), "MaskedImageV2"),
}


@dataclass(frozen=True)
class SyntheticVisit:
    """One visit: identifier, middle of the exposure (MJD TAI), band, exposure time in seconds."""

    id: int
    mjd: float
    band: str
    exposure_s: float

    @staticmethod
    def make(number: int, mjd: float, band: str, exposure_s: float) -> SyntheticVisit:
        """Make a visit whose identifier begins with its night."""
        night = date(1858, 11, 17) + timedelta(days=int(mjd - 0.5))
        day = night.year * 10000 + night.month * 100 + night.day
        return SyntheticVisit(day * 100000 + number + 1, mjd, band, exposure_s)

    @property
    def day_obs(self) -> int:
        """Night as YYYYMMDD."""
        return self.id // 100000

    @property
    def timespan(self) -> Timespan:
        """Begin and end of the exposure."""
        half = self.exposure_s / 2 / 86400
        return Timespan(
            Time(self.mjd - half, format="mjd", scale="tai"), Time(self.mjd + half, format="mjd", scale="tai")
        )


def _detector_wcs(number: int = 0) -> WCS:
    """Make a TAN-SIP WCS of a detector, so that readers meet a distorted image."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN-SIP", "DEC--TAN-SIP"]
    wcs.wcs.cunit = ["deg", "deg"]
    wcs.wcs.radesys = "ICRS"
    wcs.wcs.crval = list(CENTER)
    offset = SimCam.describe().detector(number).offset_x
    wcs.wcs.crpix = [_SIZE / 2 + 0.5 - offset, _SIZE / 2 + 0.5]
    turn = np.radians(12.0)
    step = _SCALE_ARCSEC / 3600
    wcs.wcs.cd = step * np.array([[-np.cos(turn), np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    a, b = np.zeros((4, 4)), np.zeros((4, 4))
    a[3, 0], a[1, 2], b[0, 3], b[2, 1] = (3e-9,) * 4
    wcs.sip = Sip(a, b, None, None, wcs.wcs.crpix)
    wcs.wcs.set()
    return wcs


def make_detector(box: Any, visit: int, number: int = 0) -> Any:
    """Describe a detector: the smallest camera that a VisitImage accepts.

    Parameters
    ----------
    box
        The detector's pixels, an ``lsst.images.Box``.
    visit
        Identifier of the visit.
    number
        Identifier of the detector.

    Returns
    -------
    lsst.images.cameras.Detector
        The description.
    """
    from lsst.images._transforms import _ast as ast
    from lsst.images.cameras import (
        CameraFrameSet,
        Detector,
        DetectorAttributes,
        DetectorType,
        Orientation,
    )

    frames = ast.FrameSet(ast.Frame(2, "Ident=FOCAL_PLANE, Unit(1)=mm, Unit(2)=mm"))
    frames.addFrame(1, ast.ZoomMap(2, 1e-3), ast.Frame(2, "Ident=FIELD_ANGLE, Unit(1)=rad, Unit(2)=rad"))
    frames.addFrame(1, ast.ZoomMap(2, 100.0), ast.Frame(2, f"Ident=DETECTOR_{number}"))
    attributes = DetectorAttributes(
        name=f"S{number:03d}" if number else "S11",
        id=number,
        type=next(iter(DetectorType)),
        serial="S11",
        bbox=box,
        pixel_size=0.01,
        physical_type="CCD",
        orientation=Orientation(
            focal_plane_x=0, focal_plane_y=0, focal_plane_z=0, pixel_reference_x=0, pixel_reference_y=0
        ),
    )
    return Detector(attributes, [], CameraFrameSet("SimCam", frames), visit=visit)


def _render(shape: tuple[int, int], x: Any, y: Any, flux: Any, sigma: float) -> NDArray[np.float32]:
    """Add Gaussians to an empty image."""
    image = np.zeros(shape, np.float32)
    half = int(6 * sigma) + 1
    for xi, yi, f in zip(x, y, flux, strict=True):
        x0, y0 = max(0, int(xi) - half), max(0, int(yi) - half)
        x1, y1 = min(shape[1], int(xi) + half + 1), min(shape[0], int(yi) + half + 1)
        if x1 <= x0 or y1 <= y0:
            continue
        gx = np.exp(-((np.arange(x0, x1) - xi) ** 2) / (2 * sigma**2))
        gy = np.exp(-((np.arange(y0, y1) - yi) ** 2) / (2 * sigma**2))
        image[y0:y1, x0:x1] += (f / (2 * np.pi * sigma**2)) * gy[:, None] * gx[None, :]
    return image


class SyntheticRepo:
    """The repository of a synthetic release; used as a context manager.

    Parameters
    ----------
    root
        Folder of the new repository.
    visits
        Visits to register.
    detectors
        How many detectors of the camera have visit images.
    """

    collection = _COLLECTION

    def __init__(self, root: Path, visits: Sequence[SyntheticVisit], detectors: int = 1) -> None:
        self._detectors = detectors
        self.skymap = make_skymap(SKYMAP, *CENTER, _SCALE_ARCSEC, (2, 2), (500, 500), border=30)
        self._detector_wcs = _detector_wcs()
        self._psf_sigma = SEEING_ARCSEC / _SCALE_ARCSEC / 2.355
        create_repo(root)
        self.butler = Butler.from_config(str(root), writeable=True, run=_RUN, collections=[_RUN])
        SimCam().register(self.butler.registry)
        register_skymap(self.butler, self.skymap)
        self._register_visits(visits)
        for name, (dimensions, storage) in _IMAGE_TYPES.items():
            self.butler.registry.registerDatasetType(
                DatasetType(name, dimensions, storage, universe=self.butler.dimensions)
            )
        self.butler.collections.register(_COLLECTION, CollectionType.CHAINED)
        self.butler.collections.register(_CALIB, CollectionType.CALIBRATION)
        self.butler.collections.redefine_chain(_COLLECTION, [_RUN, _CALIB, "skymaps"])

    def __enter__(self) -> SyntheticRepo:
        return self

    def __exit__(self, *exc: object) -> None:
        self.butler.close()

    def _register_visits(self, visits: Sequence[SyntheticVisit]) -> None:
        registry = self.butler.registry
        region = make_polygon(*np.array(self.detector_corners()).T)
        same = {"instrument": "SimCam"}
        for v in visits:
            registry.syncDimensionData("day_obs", {**same, "id": v.day_obs})
            registry.syncDimensionData("group", {**same, "name": str(v.id)})
            shared = {
                **same,
                "id": v.id,
                "physical_filter": f"{v.band}_sim",
                "day_obs": v.day_obs,
                "seq_num": v.id % 100000,
                "exposure_time": v.exposure_s,
                "target_name": "ECDFS",
                "observation_reason": "science",
                "science_program": "synthetic",
                "azimuth": 180.0,
                "zenith_angle": 22.0,
                "timespan": v.timespan,
            }
            registry.insertDimensionData(
                "exposure",
                {
                    **shared,
                    "obs_id": str(v.id),
                    "group": str(v.id),
                    "dark_time": v.exposure_s,
                    "observation_type": "science",
                    "seq_start": v.id % 100000,
                    "seq_end": v.id % 100000,
                    "tracking_ra": CENTER[0],
                    "tracking_dec": CENTER[1],
                    "sky_angle": 12.0,
                    "has_simulated": True,
                    "can_see_sky": True,
                },
            )
            registry.insertDimensionData("visit", {**shared, "name": str(v.id), "region": region})
            registry.insertDimensionData("visit_definition", {**same, "visit": v.id, "exposure": v.id})
            registry.insertDimensionData(
                "visit_system_membership", {**same, "visit": v.id, "visit_system": 0}
            )
            for number in range(self._detectors):
                registry.insertDimensionData(
                    "visit_detector_region", {**same, "visit": v.id, "detector": number, "region": region}
                )

    def find_patches(self, ra: Any, dec: Any) -> NDArray[np.int64]:
        """Return the patch of each position."""
        return np.clip(self.skymap.tract(0).find_patches(ra, dec), 0, None)

    def tract_pixels(self, ra: Any, dec: Any) -> tuple[Any, Any]:
        """Return tract pixels of sky positions."""
        return tuple(self.skymap.tract(0).wcs.world_to_pixel_values(ra, dec))

    def detector_pixels(self, ra: Any, dec: Any) -> tuple[Any, Any]:
        """Return detector pixels of sky positions."""
        return tuple(self._detector_wcs.all_world2pix(ra, dec, 0))

    def detector_corners(self) -> list[tuple[float, float]]:
        """Return ICRS degrees of the corners: lower left, lower right, upper right, upper left."""
        low, high = -0.5, _SIZE - 0.5
        sky = self._detector_wcs.all_pix2world([low, high, high, low], [low, low, high, high], 0)
        return [(float(r), float(d)) for r, d in zip(*sky, strict=True)]

    def coadd_patches(self) -> pa.Table:
        """Make CoaddPatches."""
        rows: dict[str, list[Any]] = {
            k: [] for k in ("lsst_tract", "lsst_patch", "s_ra", "s_dec", "s_region")
        }
        for patch in self.skymap.tract(0).patches:
            b = patch.bbox
            x = np.array([b.x.start - 0.5, b.x.stop - 0.5, b.x.stop - 0.5, b.x.start - 0.5])
            y = np.array([b.y.start - 0.5, b.y.start - 0.5, b.y.stop - 0.5, b.y.stop - 0.5])
            ra, dec = patch.wcs.pixel_to_world_values(x, y)
            rows["lsst_tract"].append(0)
            rows["lsst_patch"].append(patch.id)
            rows["s_ra"].append(float(ra.mean()))
            rows["s_dec"].append(float(dec.mean()))
            rows["s_region"].append(
                "POLYGON ICRS " + " ".join(f"{r:.7f} {d:.7f}" for r, d in zip(ra, dec, strict=True))
            )
        return from_numpy(dict(rows), {"s_ra": "deg", "s_dec": "deg"})

    def put_images(
        self, scene: Scene, visits: Sequence[SyntheticVisit], sky_njy: Mapping[str, float], seed: int
    ) -> list[DatasetRef]:
        """Store raws, calibrations, visit and difference images of some visits, and coadds of two patches.

        Each dataset records what a pipeline would have read to make it.

        Returns
        -------
        list of lsst.daf.butler.DatasetRef
            The stored images, with dimension records.
        """
        rng = np.random.default_rng(seed + 2)
        raws = {v.id: self._put_raw(v) for v in visits}
        calibrations = self._put_calibrations({v.band for v in visits})
        done: dict[int, DatasetRef] = {}
        differences = []
        for v in visits:
            flux, mean = scene.flux_at(v), scene.flux[v.band]
            image = self._visit_image(scene, v, flux, sky_njy[v.band], False, rng)
            inputs = [raws[v.id], calibrations["bias"], calibrations[v.band]]
            done[v.id] = self._put(image, "visit_image", self._data_id(v), inputs)
            differences.append(self._visit_image(scene, v, flux - mean, sky_njy[v.band], True, rng))
        coadds = []
        for name, band, patch in (("deep_coadd", "r", 0), ("deep_coadd", "i", 3), ("template_coadd", "r", 0)):
            image = self._coadd(scene, band, patch, sky_njy[band] / 2.5, rng)
            data_id = {"skymap": SKYMAP, "tract": 0, "patch": patch, "band": band}
            inputs = [done[v.id] for v in visits if v.band == band]
            coadds.append(self._put(image, name, data_id, inputs))
        refs = [*raws.values(), *calibrations.values(), *done.values(), *coadds]
        for number in range(1, self._detectors):
            for v in visits:
                image = self._visit_image(scene, v, scene.flux_at(v), sky_njy[v.band], False, rng, number)
                refs.append(self._put(image, "visit_image", {**self._data_id(v), "detector": number}, []))
        for v, image in zip(visits, differences, strict=True):
            inputs = [done[v.id], *([coadds[2]] if v.band == "r" else [])]
            refs.append(self._put(image, "difference_image", self._data_id(v), inputs))
        return [r.expanded(self.butler.registry.expandDataId(r.dataId)) for r in refs]

    @staticmethod
    def _data_id(visit: SyntheticVisit) -> dict[str, Any]:
        return {"instrument": "SimCam", "visit": visit.id, "detector": 0}

    def _put(self, image: Any, name: str, data_id: Mapping[str, Any], inputs: list[DatasetRef]) -> DatasetRef:
        provenance = DatasetProvenance()
        for ref in inputs:
            provenance.add_input(ref)
        return self.butler.put(image, name, dict(data_id), provenance=provenance)

    def _put_raw(self, visit: SyntheticVisit) -> DatasetRef:
        """Store a readout of a few pixels."""
        kind = self.butler.get_dataset_type("raw")
        data_id = self.butler.registry.expandDataId(instrument="SimCam", exposure=visit.id, detector=0)
        ref = DatasetRef(kind, data_id, run=_RUN)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"raw-{visit.id}.fits"
            fits.PrimaryHDU(np.full((24, 32), 1000, np.uint16)).writeto(path)
            self.butler.ingest(FileDataset(path=str(path), refs=[ref]), transfer="copy")
        return ref

    def _put_calibrations(self, bands: set[str]) -> dict[str, DatasetRef]:
        """Store a bias and the flats of some bands, valid for ever."""
        box = Box.factory[0:64, 0:64]
        found = {}
        same = {"instrument": "SimCam", "detector": 0}
        wanted = [("bias", "bias", same, 0.0)]
        wanted += [(b, "flat", {**same, "physical_filter": f"{b}_sim"}, 1.0) for b in sorted(bands)]
        for key, name, data_id, level in wanted:
            image = Image(np.full(box.shape, level, np.float32), bbox=box)
            variance = Image(np.full(box.shape, 0.01, np.float32), bbox=box)
            schema = MaskSchema([MaskPlane(p, p) for p in _PLANES])
            masked = MaskedImage(image, variance=variance, mask_schema=schema)
            found[key] = self._put(masked, name, data_id, [])
        self.butler.registry.certify(_CALIB, found.values(), Timespan(None, None))
        return found

    def _planes(self, pixels: Any, sky: float, rng: Any, projection: Any, box: Any) -> dict[str, Any]:
        pixels = pixels + rng.normal(0, sky, pixels.shape).astype(np.float32)
        saturated = pixels > _SATURATION_NJY
        missing = np.zeros(pixels.shape, bool)
        missing[:, 700:702] = missing[40:44, 100:300] = True
        pixels[missing] = np.nan
        image = Image(pixels, bbox=box, unit=u.nJy, sky_projection=projection)
        variance = Image(
            np.where(missing, np.nan, sky**2 + np.clip(pixels, 0, None)).astype(np.float32),
            bbox=box,
            unit=u.nJy**2,
        )
        schema = MaskSchema([MaskPlane(p, p) for p in _PLANES])
        masked = MaskedImage(image, variance=variance, mask_schema=schema)
        masked.mask.set("SAT", saturated)
        masked.mask.set("NO_DATA", missing)
        masked.mask.set("DETECTED", np.nan_to_num(pixels) > 5 * sky)
        masked.mask.set("DETECTED_NEGATIVE", np.nan_to_num(pixels) < -5 * sky)
        return {"image": masked.image, "variance": masked.variance, "mask": masked.mask}

    def _visit_image(
        self,
        scene: Scene,
        visit: SyntheticVisit,
        flux: Any,
        sky: float,
        difference: bool,
        rng: Any,
        number: int = 0,
    ) -> Any:
        box = Box.factory[0:_SIZE, 0:_SIZE]
        frame = DetectorFrame(instrument="SimCam", detector=number, visit=visit.id, bbox=box)
        wcs = _detector_wcs(number)
        projection = SkyProjection.from_fits_wcs(wcs, frame, pixel_bounds=box)
        x, y = wcs.all_world2pix(scene.ra, scene.dec, 0, quiet=True)
        planes = self._planes(_render(box.shape, x, y, flux, self._psf_sigma), sky, rng, projection, box)
        span = visit.timespan
        info = ObservationInfo.makeObservationInfo(
            instrument="SimCam",
            physical_filter=f"{visit.band}_sim",
            exposure_id=visit.id,
            visit_id=visit.id,
            datetime_begin=span.begin,
            datetime_end=span.end,
            exposure_time=visit.exposure_s * u.s,
        )
        made = DifferenceImage if difference else VisitImage
        return made(
            planes["image"],
            variance=planes["variance"],
            mask=planes["mask"],
            obs_info=info,
            psf=GaussianPointSpreadFunction(self._psf_sigma, bounds=box, stamp_size=25),
            detector=make_detector(box, visit.id, number),
            band=visit.band,
        )

    def _coadd(self, scene: Scene, band: str, patch: int, sky: float, rng: Any) -> MaskedImage:
        tract = self.skymap.tract(0)
        box = tract.patch(patch).bbox
        frame = TractFrame(skymap=SKYMAP, tract=0, bbox=tract.bbox)
        projection = SkyProjection.from_fits_wcs(tract.wcs, frame, pixel_bounds=box)
        x, y = self.tract_pixels(scene.ra, scene.dec)
        pixels = _render(box.shape, x - box.x.start, y - box.y.start, scene.flux[band], self._psf_sigma)
        planes = self._planes(pixels, sky, rng, projection, box)
        return MaskedImage(planes["image"], variance=planes["variance"], mask=planes["mask"])
