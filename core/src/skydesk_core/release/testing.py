"""A small synthetic release for tests of everything that reads releases.

It is made of in-memory tables and images, in a second or two and without the pipelines, but it is a real release:
SDM tables with consistent relations, light curves of known period, and a Butler repository with ``lsst.images`` files.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from skydesk_core.ids import pack_object_ids, pack_source_ids
from skydesk_core.release.alerts_stamps import StampImages
from skydesk_core.release.opened import Release
from skydesk_core.release.provenance import trace_provenance
from skydesk_core.release.sdm import from_numpy
from skydesk_core.release.testing_images import (
    BANDS,
    CENTER,
    SEEING_ARCSEC,
    SKYMAP,
    SyntheticRepo,
    SyntheticVisit,
)
from skydesk_core.release.writer import ReleaseBuilder

__all__ = ["Scene", "SceneTables", "make_scene", "make_synthetic_release"]

type FloatArray = NDArray[np.float64]

_EXPOSURE_S = 30.0
_DEPTH_NJY = {"g": 95.0, "r": 110.0, "i": 150.0}
_SKY_NJY = {"g": 9.0, "r": 12.0, "i": 18.0}
_VISITS_WITH_IMAGES = 3


@dataclass(frozen=True)
class Scene:
    """The invented sky and the visits to it.

    Parameters
    ----------
    ra, dec
        Positions in ICRS degrees.
    flux
        True mean flux in nJy by band.
    extended
        Whether the object is a galaxy.
    period_day, amplitude_mag, phase
        Variability; period 0 for constant objects.
    visits
        The visits in order of time.
    """

    ra: FloatArray
    dec: FloatArray
    flux: dict[str, FloatArray]
    extended: NDArray[np.bool_]
    period_day: FloatArray
    amplitude_mag: FloatArray
    phase: FloatArray
    visits: tuple[SyntheticVisit, ...]

    def flux_at(self, visit: SyntheticVisit) -> FloatArray:
        """Return the true flux of every object in one visit, nJy."""
        period = np.where(self.period_day > 0, self.period_day, 1.0)
        wave = np.sin(2 * np.pi * (visit.mjd / period + self.phase))
        return self.flux[visit.band] * 10 ** (-0.4 * self.amplitude_mag * wave)


def make_scene(objects: int, visits: int, seed: int) -> Scene:
    """Invent a sky and a survey of it.

    Parameters
    ----------
    objects, visits
        How many.
    seed
        Seed of everything random.
    """
    rng = np.random.default_rng(seed)
    half = 0.0285
    dec = CENTER[1] + rng.uniform(-half, half, objects)
    ra = CENTER[0] + rng.uniform(-half, half, objects) / np.cos(np.radians(dec))
    magnitude = np.clip(18.0 + 7.5 * rng.power(3.0, objects), 17.5, 25.6)
    color = rng.normal(0.6, 0.25, objects)
    flux = {
        b: 10 ** (-0.4 * (magnitude + k * color - 31.4)) for b, k in zip(BANDS, (1.0, 0.0, -0.5), strict=True)
    }
    extended = rng.random(objects) < 0.55
    period, amplitude = np.zeros(objects), np.zeros(objects)
    variable = np.flatnonzero(~extended & (magnitude < 22.0))[:24]
    period[variable] = rng.uniform(0.25, 4.0, variable.size)
    amplitude[variable] = rng.uniform(0.15, 0.5, variable.size)
    made = []
    for i in range(visits):
        night = i // 2
        mjd = 61041.05 + 3.0 * night + 0.021 * (i % 2) + 0.0137 * (i % 7)
        made.append(SyntheticVisit.make(i, mjd, BANDS[i % len(BANDS)], _EXPOSURE_S))
    return Scene(ra, dec, flux, extended, period, amplitude, rng.random(objects), tuple(made))


def _ab(flux: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return 31.4 - 2.5 * np.log10(flux)


def _error(flux: FloatArray, band: str) -> FloatArray:
    return np.sqrt(_DEPTH_NJY[band] ** 2 + (0.002 * flux) ** 2 + 3.0 * np.clip(flux, 0, None))


class SceneTables:
    """The tables of a scene, each a method.

    Parameters
    ----------
    scene
        The sky and its visits.
    repo
        The repository with the pixel grids.
    seed
        Seed of the noise.
    """

    def __init__(self, scene: Scene, repo: SyntheticRepo, seed: int) -> None:
        self.scene = scene
        self.rng = np.random.default_rng(seed + 1)
        self.patch = repo.find_patches(scene.ra, scene.dec)
        self.object_id = np.zeros(scene.ra.size, np.int64)
        for patch in np.unique(self.patch):
            rows = np.flatnonzero(self.patch == patch)
            self.object_id[rows] = pack_object_ids(0, int(patch), rows.size)
        self.repo = repo
        self.dia = np.flatnonzero(scene.period_day > 0)
        self.dia_id = np.array(pack_object_ids(0, 0, self.dia.size, start=1 << 20))

    def object(self) -> pa.Table:
        """Make Object: one measurement of each object in each band."""
        s, n, rng = self.scene, self.scene.ra.size, self.rng
        x, y = self.repo.tract_pixels(s.ra, s.dec)
        columns: dict[str, Any] = {
            "objectId": self.object_id,
            "tract": np.zeros(n, np.int64),
            "patch": self.patch.astype(np.int64),
            "coord_ra": s.ra,
            "coord_dec": s.dec,
            "coord_raErr": np.full(n, 3e-6, np.float32),
            "coord_decErr": np.full(n, 3e-6, np.float32),
            "refBand": ["r"] * n,
            "refExtendedness": s.extended.astype(np.float32),
            "x": x,
            "y": y,
            "detect_isIsolated": rng.random(n) < 0.7,
            "shape_xx": np.where(s.extended, 12.0, 4.1).astype(np.float32),
            "shape_yy": np.where(s.extended, 10.0, 4.1).astype(np.float32),
            "shape_xy": np.zeros(n, np.float32),
            "ebv": np.full(n, 0.008, np.float32),
        }
        units = {"coord_ra": "deg", "coord_dec": "deg", "coord_raErr": "deg", "coord_decErr": "deg"}
        units |= {"x": "pixel", "y": "pixel", "ebv": "mag"}
        for band in BANDS:
            visits = sum(v.band == band for v in s.visits)
            error = _error(s.flux[band], band) / np.sqrt(max(visits, 1))
            flux = s.flux[band] + rng.normal(0, error)
            model = flux * np.where(s.extended, 1.25, 1.0)
            columns |= {
                f"{band}_psfFlux": flux.astype(np.float32),
                f"{band}_psfFluxErr": error.astype(np.float32),
                f"{band}_psfFlux_flag": np.zeros(n, bool),
                f"{band}_psfMag": _ab(flux).astype(np.float32),
                f"{band}_psfMagErr": (1.0857 * error / np.abs(flux)).astype(np.float32),
                f"{band}_cModelFlux": model.astype(np.float32),
                f"{band}_cModelFluxErr": (1.2 * error).astype(np.float32),
                f"{band}_cModelMag": _ab(model).astype(np.float32),
                f"{band}_extendedness": s.extended.astype(np.float32),
                f"{band}_inputCount": np.full(n, visits, np.int32),
                f"{band}_pixelFlags_saturated": flux > 8e5,
            }
            units |= {
                f"{band}_{name}": "nJy" for name in ("psfFlux", "psfFluxErr", "cModelFlux", "cModelFluxErr")
            }
            units |= {f"{band}_{name}": "mag" for name in ("psfMag", "psfMagErr", "cModelMag")}
        return from_numpy(columns, units)

    def source(self) -> pa.Table:
        """Make Source: what a single visit detects above five sigma."""
        parts = []
        for v in self.scene.visits:
            truth = self.scene.flux_at(v)
            error = _error(truth, v.band)
            rows = np.flatnonzero(truth > 5 * error)
            flux = truth[rows] + self.rng.normal(0, error[rows])
            ra = self.scene.ra[rows] + self.rng.normal(0, 4e-6, rows.size)
            dec = self.scene.dec[rows] + self.rng.normal(0, 4e-6, rows.size)
            x, y = self.repo.detector_pixels(ra, dec)
            parts.append(
                {
                    "sourceId": np.array(pack_source_ids(v.id, 0, rows.size), np.int64),
                    "visit": np.full(rows.size, v.id),
                    "detector": np.zeros(rows.size, np.int16),
                    "band": [v.band] * rows.size,
                    "physical_filter": [f"{v.band}_sim"] * rows.size,
                    "coord_ra": ra,
                    "coord_dec": dec,
                    "ra": ra,
                    "dec": dec,
                    "x": x,
                    "y": y,
                    "psfFlux": flux,
                    "psfFluxErr": error[rows],
                    "psfFlux_flag": np.zeros(rows.size, bool),
                    "extendedness": self.scene.extended[rows].astype(float),
                }
            )
        units = {"coord_ra": "deg", "coord_dec": "deg", "ra": "deg", "dec": "deg", "x": "pixel", "y": "pixel"}
        return _stack(parts, units | {"psfFlux": "nJy", "psfFluxErr": "nJy"})

    def _forced(self, rows: NDArray[np.int64], key: str, ids: NDArray[np.int64]) -> pa.Table:
        parts = []
        for v in self.scene.visits:
            truth = self.scene.flux_at(v)[rows]
            error = _error(truth, v.band)
            noise = self.rng.normal(0, error)
            parts.append(
                {
                    key: ids,
                    "coord_ra": self.scene.ra[rows],
                    "coord_dec": self.scene.dec[rows],
                    "visit": np.full(rows.size, v.id),
                    "detector": np.zeros(rows.size, np.int64),
                    "band": [v.band] * rows.size,
                    "psfFlux": (truth + noise).astype(np.float32),
                    "psfFluxErr": error.astype(np.float32),
                    "psfFlux_flag": np.zeros(rows.size, bool),
                    "psfDiffFlux": (truth + noise - self.scene.flux[v.band][rows]).astype(np.float32),
                    "psfDiffFluxErr": (1.1 * error).astype(np.float32),
                    "psfDiffFlux_flag": np.zeros(rows.size, bool),
                    "pixelFlags_saturated": np.zeros(rows.size, bool),
                    "tract": np.zeros(rows.size, np.int64),
                    "patch": self.patch[rows].astype(np.int64),
                }
            )
        fluxes = ("psfFlux", "psfFluxErr", "psfDiffFlux", "psfDiffFluxErr")
        return _stack(parts, {"coord_ra": "deg", "coord_dec": "deg"} | dict.fromkeys(fluxes, "nJy"))

    def forced_source(self) -> pa.Table:
        """Make ForcedSource: every object in every visit."""
        return self._forced(np.arange(self.scene.ra.size), "objectId", self.object_id)

    def forced_source_on_dia_object(self) -> pa.Table:
        """Make ForcedSourceOnDiaObject: every DIA object in every visit."""
        return self._forced(self.dia, "diaObjectId", self.dia_id)

    def dia_source(self) -> pa.Table:
        """Make DiaSource: variables that differ from their mean by five sigma."""
        parts = []
        for v in self.scene.visits:
            truth = (self.scene.flux_at(v) - self.scene.flux[v.band])[self.dia]
            error = 1.1 * _error(self.scene.flux[v.band][self.dia], v.band)
            keep = np.abs(truth) > 5 * error
            rows, n = self.dia[keep], int(keep.sum())
            flux = truth[keep] + self.rng.normal(0, error[keep])
            x, y = self.repo.detector_pixels(self.scene.ra[rows], self.scene.dec[rows])
            parts.append(
                {
                    "diaSourceId": np.array(pack_source_ids(v.id, 0, n), np.int64),
                    "diaObjectId": self.dia_id[keep],
                    "visit": np.full(n, v.id),
                    "detector": np.zeros(n, np.int64),
                    "band": [v.band] * n,
                    "midpointMjdTai": np.full(n, v.mjd),
                    "ra": self.scene.ra[rows],
                    "dec": self.scene.dec[rows],
                    "x": x,
                    "y": y,
                    "psfFlux": flux.astype(np.float32),
                    "psfFluxErr": error[keep].astype(np.float32),
                    "snr": flux / error[keep],
                    "scienceFlux": self.scene.flux_at(v)[rows].astype(np.float32),
                    "psfFlux_flag": np.zeros(n, bool),
                }
            )
        units = {"midpointMjdTai": "d", "ra": "deg", "dec": "deg", "x": "pixel", "y": "pixel"}
        return _stack(parts, units | dict.fromkeys(("psfFlux", "psfFluxErr", "scienceFlux"), "nJy"))

    def dia_object(self, sources: pa.Table) -> pa.Table:
        """Make DiaObject: summaries of the DIA sources."""
        ids, counts = np.unique(sources["diaObjectId"].to_numpy(), return_counts=True)
        number = dict(zip(ids.tolist(), counts.tolist(), strict=True))
        keep = np.array([number.get(i, 0) > 0 for i in self.dia_id.tolist()])
        rows, kept = self.dia[keep], self.dia_id[keep]
        columns: dict[str, Any] = {
            "diaObjectId": kept,
            "ra": self.scene.ra[rows],
            "dec": self.scene.dec[rows],
            "nDiaSources": np.array([number[i] for i in kept.tolist()], np.int64),
        }
        for band in BANDS:
            chosen = sources.filter(pa.array([b == band for b in sources["band"].to_pylist()]))
            who, flux = chosen["diaObjectId"].to_numpy(), chosen["psfFlux"].to_numpy()
            columns[f"{band}_psfFluxMean"] = np.array(
                [flux[who == i].mean() if (who == i).any() else np.nan for i in kept], float
            )
            columns[f"{band}_psfFluxNdata"] = np.array([(who == i).sum() for i in kept], float)
        units = {"ra": "deg", "dec": "deg"} | {f"{b}_psfFluxMean": "nJy" for b in BANDS}
        return from_numpy(columns, units)

    def visit(self) -> pa.Table:
        """Make Visit."""
        visits = self.scene.visits
        columns = _visit_columns(visits) | {"visit": np.array([v.id for v in visits])}
        columns["airmass"] = np.full(len(visits), 1.08)
        return from_numpy(columns, _VISIT_UNITS)

    def visit_detector(self, name: str) -> pa.Table:
        """Make CcdVisit or VisitDetector."""
        visits = self.scene.visits
        n = len(visits)
        columns = _visit_columns(visits) | {
            "visitId": np.array([v.id for v in visits]),
            "detector": np.zeros(n, np.int64),
            "pixelScale": np.full(n, 0.2, np.float32),
            "psfSigma": np.full(n, SEEING_ARCSEC / 0.2 / 2.355, np.float32),
            "seeing": np.full(n, SEEING_ARCSEC),
            "zeroPoint": np.full(n, 31.4, np.float32),
            "nPsfStar": np.full(n, 140, np.int32),
            "xSize": np.full(n, 1024, np.int64),
            "ySize": np.full(n, 1024, np.int64),
        }
        for corner, (ra, dec) in zip(("llc", "lrc", "urc", "ulc"), self.repo.detector_corners(), strict=True):
            columns |= {f"{corner}ra": np.full(n, ra), f"{corner}dec": np.full(n, dec)}
        if name == "CcdVisit":
            columns["ccdVisitId"] = np.array([v.id * 256 for v in visits])
        return from_numpy(columns, _VISIT_UNITS | {"pixelScale": "arcsec/pixel", "seeing": "arcsec"})

    def truth(self) -> dict[str, pa.Table]:
        """Make the truth tables."""
        s, n = self.scene, self.scene.ra.size
        columns: dict[str, Any] = {
            "truth_id": np.arange(n),
            "ra": s.ra,
            "dec": s.dec,
            "is_galaxy": s.extended,
        }
        columns |= {f"{b}_flux": s.flux[b] for b in BANDS}
        units = {"ra": "deg", "dec": "deg"} | {f"{b}_flux": "nJy" for b in BANDS}
        variable = {
            "truth_id": self.dia,
            "objectId": self.object_id[self.dia],
            "ra": s.ra[self.dia],
            "dec": s.dec[self.dia],
            "period_day": s.period_day[self.dia],
            "amplitude_mag": s.amplitude_mag[self.dia],
        }
        degrees = {"ra": "deg", "dec": "deg", "period_day": "d", "amplitude_mag": "mag"}
        return {"truth_object": from_numpy(columns, units), "truth_variable": from_numpy(variable, degrees)}


_VISIT_UNITS = {
    "ra": "deg",
    "dec": "deg",
    "skyRotation": "deg",
    "expTime": "s",
    "expMidptMJD": "d",
    "obsStartMJD": "d",
}


def _visit_columns(visits: tuple[SyntheticVisit, ...]) -> dict[str, Any]:
    n = len(visits)
    middle = np.array([v.mjd for v in visits])
    start = middle - _EXPOSURE_S / 2 / 86400
    epoch = np.datetime64("1858-11-17T00:00:00", "us")
    return {
        "physical_filter": [f"{v.band}_sim" for v in visits],
        "band": [v.band for v in visits],
        "ra": np.full(n, CENTER[0]),
        "dec": np.full(n, CENTER[1]),
        "skyRotation": np.zeros(n),
        "expTime": np.full(n, _EXPOSURE_S),
        "expMidpt": epoch + (middle * 86400e6).astype("timedelta64[us]"),
        "expMidptMJD": middle,
        "obsStart": epoch + (start * 86400e6).astype("timedelta64[us]"),
        "obsStartMJD": start,
    }


def _stack(parts: list[dict[str, Any]], units: dict[str, str]) -> pa.Table:
    return pa.concat_tables([from_numpy(part, units) for part in parts])


def make_synthetic_release(
    path: Path | str,
    name: str = "demo",
    objects: int = 2000,
    visits: int = 20,
    seed: int = 20261120,
    products: bool = False,
    detectors: int = 1,
) -> Release:
    """Make a small release without the pipelines.

    Parameters
    ----------
    path
        Folder of the new release (``HOME/releases/NAME`` for services).
    name
        Name of the release.
    objects, visits
        Size of the survey; three of the visits have images.
    seed
        Seed of everything random; equal arguments give equal tables.
    products
        Whether HiPS and alerts are made too, which takes a few seconds.
    detectors
        How many detectors have visit images; tables have rows of the first.

    Returns
    -------
    Release
        The opened release.
    """
    scene = make_scene(objects, visits, seed)
    with ReleaseBuilder(Path(path), name, "Synthetic release for tests", BANDS) as builder:
        with SyntheticRepo(builder.butler_path, scene.visits, detectors) as repo:
            refs = repo.put_images(scene, scene.visits[:_VISITS_WITH_IMAGES], _SKY_NJY, seed)
            tables = SceneTables(scene, repo, seed)
            dia_sources = tables.dia_source()
            builder.add_table("Object", tables.object())
            builder.add_table("Source", tables.source())
            builder.add_table("ForcedSource", tables.forced_source())
            builder.add_table("DiaObject", tables.dia_object(dia_sources))
            builder.add_table("DiaSource", dia_sources)
            builder.add_table("ForcedSourceOnDiaObject", tables.forced_source_on_dia_object())
            builder.add_table("Visit", tables.visit())
            builder.add_table("CcdVisit", tables.visit_detector("CcdVisit"))
            builder.add_table("VisitDetector", tables.visit_detector("VisitDetector"))
            builder.add_table("CoaddPatches", repo.coadd_patches())
            words = {
                "truth_object": "Every object of the invented sky",
                "truth_variable": "The periodic variables",
            }
            for label, table in tables.truth().items():
                builder.add_extra_table(label, words[label], table)
            calibrations = [r for r in refs if r.datasetType.isCalibration()]
            provenance = trace_provenance(repo.butler, refs, calibrations)
            builder.add_images(repo.butler, refs, "synthetic", "SimCam", provenance)
            if products:
                kinds = (("difference", "difference_image"), ("science", "visit_image"))
                images = {
                    kind: (repo.butler, [r for r in refs if r.datasetType.name == name])
                    for kind, name in kinds
                }
                builder.add_hips()
                builder.add_alerts(StampImages(images, 41), 100_000)
        return builder.finish(repo.collection, SKYMAP, "SimCam")
