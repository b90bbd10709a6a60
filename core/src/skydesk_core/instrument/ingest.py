"""Take raw files into a Butler repository: all of a call or nothing, with errors that name file and card."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import astropy.units as u
from lsst.daf.butler import Butler, CollectionType, DatasetRef, DatasetType, FileDataset, Timespan

from skydesk_core.errors import DataError, NotFoundError, UsageError
from skydesk_core.home import Home
from skydesk_core.instrument.base import SkydeskInstrument
from skydesk_core.instrument.fits_camera import (
    FitsCamera,
    find_camera_path,
    make_fits_camera,
    read_camera_file,
)
from skydesk_core.instrument.observation import Observation, read_observation
from skydesk_core.instrument.raw import RawFormatter, read_raw
from skydesk_core.instrument.simcam import SimCam
from skydesk_core.instrument.visits import define_visits, extend_camera_skymap
from skydesk_core.repo import register_chain, register_dataset_types

__all__ = ["IngestReport", "find_raw_files", "get_instrument", "ingest_raws", "register_instrument"]

_SUFFIXES = (".fits", ".fit", ".fts", ".fits.gz", ".fit.gz", ".fits.fz")


@dataclass(frozen=True)
class IngestReport:
    """What an ingest did.

    Attributes
    ----------
    instrument
        Name of the instrument.
    ingested
        Number of files taken in.
    known
        Number of files that had been taken in before.
    visits
        Identifiers of the visits defined now.
    """

    instrument: str
    ingested: int
    known: int
    visits: list[int]


def get_instrument(home: Home, name: str) -> SkydeskInstrument:
    """Return an instrument by name.

    Raises
    ------
    NotFoundError
        If the name is neither SimCam nor that of a registered camera.
    """
    if name == SimCam.getName():
        return SimCam()
    path = find_camera_path(home, name)
    if path is None:
        raise NotFoundError(f"no camera {name}; register it with: skydesk camera add FILE")
    return make_fits_camera(read_camera_file(path))


def register_instrument(butler: Butler, instrument: SkydeskInstrument) -> None:
    """Register an instrument, its collections and its camera description.

    Repeating the call changes nothing unless the description changed.

    Parameters
    ----------
    butler
        A writeable Butler.
    instrument
        The instrument.
    """
    name = instrument.getName()
    raws, calib, run = f"{name}/raw/all", f"{name}/calib", f"{name}/calib/camera"
    register_dataset_types(butler, ["raw", "camera", "bias", "dark", "flat", "defects"])
    instrument.register(butler.registry, update=True)
    with butler.transaction():
        butler.collections.register(raws)
        butler.collections.register(calib, CollectionType.CALIBRATION)
        for common in ("refcats", "skymaps"):
            butler.collections.register(
                common, CollectionType.CHAINED if common == "refcats" else CollectionType.RUN
            )
        register_chain(butler, f"{name}/defaults", [raws, calib, "refcats", "skymaps"])
        _put_camera(butler, instrument, run, calib)


def _put_camera(butler: Butler, instrument: SkydeskInstrument, run: str, calib: str) -> None:
    camera = instrument.describe()
    butler.collections.register(run)
    ref = butler.find_dataset("camera", instrument=camera.name, collections=run)
    if ref is not None:
        if butler.get(ref) == camera:
            return
        butler.pruneDatasets([ref], disassociate=True, unstore=True, purge=True)
    ref = butler.put(camera, "camera", run=run, instrument=camera.name)
    butler.registry.certify(calib, [ref], Timespan(None, None))


def find_raw_files(paths: Iterable[Path | str]) -> list[Path]:
    """List the files to ingest: files as given, and FITS files inside folders.

    Raises
    ------
    NotFoundError
        If a path does not exist, or nothing was found.
    """
    found: list[Path] = []
    for item in paths:
        path = Path(item)
        if path.is_dir():
            found += sorted(p for p in path.rglob("*") if p.is_file() and p.name.lower().endswith(_SUFFIXES))
        elif path.exists():
            found.append(path)
        else:
            raise NotFoundError(f"{path}: no such file or folder")
    if not found:
        raise NotFoundError(f"no FITS file in {', '.join(str(p) for p in paths)}")
    return found


def _read(instrument: SkydeskInstrument, path: Path) -> Observation:
    raw = read_raw(path, pixels=False)
    observation = read_observation(
        raw.header,
        instrument.cards(),
        str(path),
        types=dict(instrument.frame_types),
        rotation_deg=instrument.rotation_deg,
    )
    camera = instrument.describe()
    try:
        detector = camera.detector(observation.detector)
    except NotFoundError as error:
        raise DataError(f"{path}: card {instrument.cards().detector}: {error}") from None
    shape = (raw.header["NAXIS2"], raw.header["NAXIS1"])
    if "ZNAXIS1" in raw.header:
        shape = (raw.header["ZNAXIS2"], raw.header["ZNAXIS1"])
    if shape != detector.raw_shape:
        raise DataError(
            f"{path}: image is {shape[1]} x {shape[0]} pixels; "
            f"{camera.name} has {detector.raw_shape[1]} x {detector.raw_shape[0]}"
        )
    return observation


def _exposure_record(instrument: SkydeskInstrument, o: Observation, path: Path) -> dict[str, Any]:
    name = instrument.getName()
    obs_id = f"{name}_{o.day_obs}_{o.seq_num:05d}"
    return {
        "instrument": name,
        "id": o.exposure_id,
        "obs_id": obs_id,
        "physical_filter": instrument.physical_filter(o.filter, str(path)),
        "group": obs_id,
        "day_obs": o.day_obs,
        "exposure_time": o.exposure_s,
        "dark_time": o.dark_s,
        "observation_type": o.kind,
        "observation_reason": o.kind,
        "seq_num": o.seq_num,
        "seq_start": o.seq_num,
        "seq_end": o.seq_num,
        "target_name": o.target or "unknown",
        "science_program": "unknown",
        "tracking_ra": o.ra_deg,
        "tracking_dec": o.dec_deg,
        "sky_angle": o.rotation_deg if o.kind == "science" else None,
        "azimuth": o.azimuth_deg,
        "zenith_angle": o.zenith_deg,
        "has_simulated": instrument.has_simulated,
        "can_see_sky": o.kind == "science",
        "timespan": Timespan(o.begin, o.begin + max(o.exposure_s, 1e-3) * u.s),
    }


def _check_unique(observations: list[tuple[Path, Observation]]) -> None:
    seen: dict[tuple[int, int], Path] = {}
    for path, o in observations:
        key = (o.exposure_id, o.detector)
        if key in seen:
            raise DataError(f"{path}: same exposure {o.exposure_id} and detector {o.detector} as {seen[key]}")
        seen[key] = path


def _insert_exposures(
    butler: Butler, instrument: SkydeskInstrument, observations: list[tuple[Path, Observation]]
) -> None:
    registry, name = butler.registry, instrument.getName()
    bands = instrument.describe().bands
    exposures: dict[int, dict[str, Any]] = {}
    for path, o in observations:
        record = _exposure_record(instrument, o, path)
        if record["physical_filter"] not in bands:
            card = instrument.cards().filter
            known = ", ".join(bands)
            raise DataError(f"{path}: card {card} names the unknown filter {o.filter!r}; known: {known}")
        exposures.setdefault(o.exposure_id, record)
    records = list(exposures.values())
    nights = sorted({r["day_obs"] for r in records})
    registry.insertDimensionData(
        "day_obs", *({"instrument": name, "id": n} for n in nights), skip_existing=True
    )
    registry.insertDimensionData(
        "group", *({"instrument": name, "name": r["group"]} for r in records), skip_existing=True
    )
    registry.insertDimensionData("exposure", *records, skip_existing=True)


def ingest_raws(
    butler: Butler,
    instrument: SkydeskInstrument,
    paths: Iterable[Path | str],
    *,
    transfer: str = "copy",
    progress: Callable[[int, int], None] | None = None,
) -> IngestReport:
    """Ingest raw files and define their visits.

    Everything is read and checked before anything is written, and what is
    written is one transaction.

    Parameters
    ----------
    butler
        A writeable Butler.
    instrument
        The instrument that took the files.
    paths
        Files and folders.
    transfer
        How files get into the repository: ``copy``, ``move``, ``hardlink``,
        ``symlink`` or ``direct``.
    progress
        Called with the number of files read so far and in all.

    Returns
    -------
    IngestReport
        What was done; files ingested before are left alone.

    Raises
    ------
    DataError
        If a file is not FITS, lacks a card or does not fit the camera, or if
        the disk is full.
    NotFoundError
        If a path does not exist.
    UsageError
        If an exposure is already there with other facts.
    """
    files = find_raw_files(paths)
    observations: list[tuple[Path, Observation]] = []
    for i, path in enumerate(files):
        observations.append((path, _read(instrument, path)))
        if progress is not None:
            progress(i + 1, len(files))
    _check_unique(observations)
    register_instrument(butler, instrument)
    name = instrument.getName()
    run = f"{name}/raw/all"
    raw: DatasetType = butler.get_dataset_type("raw")
    with butler.query() as query:
        known = {
            (ref.dataId["exposure"], ref.dataId["detector"])
            for ref in query.datasets("raw", collections=run, find_first=False)
        }
    new = [(p, o) for p, o in observations if (o.exposure_id, o.detector) not in known]
    if not new:
        return IngestReport(name, 0, len(observations), [])
    try:
        visits = _write(butler, instrument, raw, run, new, transfer)
    except OSError as error:
        raise DataError(f"{name}: nothing was ingested: {error.strerror or error}") from error
    return IngestReport(name, len(new), len(observations) - len(new), visits)


def _write(
    butler: Butler,
    instrument: SkydeskInstrument,
    raw: DatasetType,
    run: str,
    new: list[tuple[Path, Observation]],
    transfer: str,
) -> list[int]:
    name = instrument.getName()
    with butler.transaction():
        _insert_exposures(butler, instrument, new)
        datasets = []
        for path, o in new:
            data_id = butler.registry.expandDataId(
                instrument=name, exposure=o.exposure_id, detector=o.detector
            )
            if abs((data_id.records["exposure"].timespan.begin - o.begin).sec) > 1e-3:
                raise UsageError(f"{path}: exposure {o.exposure_id} is known with another time")
            ref = DatasetRef(raw, data_id, run=run)
            datasets.append(FileDataset(path=str(path.absolute()), refs=[ref], formatter=RawFormatter))
        if isinstance(instrument, FitsCamera):
            extend_camera_skymap(butler, instrument, [o for _, o in new])
        visits = define_visits(butler, instrument, [o for _, o in new])
        butler.ingest(*datasets, transfer=transfer)
    return visits
