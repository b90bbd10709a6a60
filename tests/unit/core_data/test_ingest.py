"""Raw ingest: real frames of a real camera, simulated ones, and files that must be refused whole."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.time import Time
from lsst.pipe.base import Instrument

from skydesk_core.errors import DataError, NotFoundError
from skydesk_core.home import Home
from skydesk_core.instrument.calibs import certify_calibrations
from skydesk_core.instrument.cameras import add_camera
from skydesk_core.instrument.ingest import get_instrument, ingest_raws
from skydesk_core.instrument.observation import make_observation_info
from skydesk_core.instrument.simcam import SimCam
from skydesk_core.repo import ensure_repo, open_repo

CAMERA = "MicroObservatory"


@pytest.fixture
def home(tmp_path, monkeypatch) -> Home:
    home = Home(tmp_path / "home")
    monkeypatch.setenv("SKYDESK_HOME", str(home.root))
    add_camera(home, "microobservatory")
    return home


@pytest.fixture
def frames(test_data, tmp_path) -> list[Path]:
    folder = tmp_path / "frames"
    folder.mkdir()
    names = sorted((test_data / "drift_field_raw").glob("*.fits.gz"))[:3]
    return [Path(shutil.copy(n, folder)) for n in names]


def count(home: Home) -> tuple[int, int]:
    with ensure_repo(home) as butler:
        exposures = butler.query_dimension_records("exposure", instrument=CAMERA, explain=False)
        raws = butler.query_datasets("raw", collections="*", find_first=False, explain=False)
        return len(exposures), len(raws)


def test_real_frames_become_visits_that_overlap_their_own_skymap(home, frames):
    camera = get_instrument(home, CAMERA)
    with ensure_repo(home) as butler:
        report = ingest_raws(butler, camera, [frames[0].parent])
        assert (report.ingested, len(report.visits)) == (3, 3)
        again = ingest_raws(butler, camera, frames)
        assert (again.ingested, again.known, again.visits) == (0, 3, [])
        record = butler.query_dimension_records("exposure", instrument=CAMERA, exposure=report.visits[0])[0]
        # UT-OBS, not the rounded MJD-OBS nor local time; the night began on the 19th.
        assert record.timespan.begin.utc.isot.startswith("2017-12-20T01:33:43.3")
        assert record.day_obs == 20171219
        assert record.exposure_time == 60.0
        assert (record.tracking_ra, record.tracking_dec) == pytest.approx((31.312099, 46.769087))
        raw = butler.get(
            "raw",
            instrument=CAMERA,
            exposure=report.visits[0],
            detector=0,
            collections=f"{CAMERA}/defaults",
        )
        assert raw.array.shape == (500, 650)
        assert raw.array.dtype == np.float32
        assert 300 < np.median(raw.array) < 450
        assert raw.header["OBJECT"] == "FIELD-A"
        with butler.query() as query:
            places = query.where(skymap=CAMERA, tract=0, instrument=CAMERA).data_ids(["visit", "patch"])
            assert len(list(places)) == 12
        assert type(Instrument.fromName(CAMERA, butler.registry)).__name__ == CAMERA


def test_a_second_pointing_gets_its_own_tract(home, frames):
    with fits.open(frames[0]) as hdus:
        data = hdus[0].data
        header = fits.Header([(c, hdus[0].header[c]) for c in ("EXPTIME", "FILTER", "DEC")])
    header["RA"], header["UT-OBS"] = 200.0, "2017-12-21T03:00:00-0000"
    other = frames[0].with_name("other.fits")
    fits.PrimaryHDU(data, header).writeto(other)
    camera = get_instrument(home, CAMERA)
    with ensure_repo(home) as butler:
        ingest_raws(butler, camera, frames)
        first = butler.get("skyMap", skymap=CAMERA, collections="skymaps")
        ingest_raws(butler, camera, [other])
        second = butler.get("skyMap", skymap=CAMERA, collections="skymaps")
        assert len(first.tracts) == 1
        assert second.tracts[0] == first.tracts[0]
        assert second.tracts[1].ra_deg == 200.0
        with butler.query() as query:
            places = query.where(skymap=CAMERA, tract=1, instrument=CAMERA).data_ids(["visit", "patch"])
            assert len(list(places)) == 4


@pytest.mark.parametrize("card", ["UT-OBS", "EXPTIME", "FILTER", "RA"])
def test_a_missing_card_is_named_with_its_file_and_nothing_is_written(home, frames, card):
    with fits.open(frames[1]) as hdus:
        del hdus[0].header[card]
        hdus[0].header.remove("IM_SCALE", ignore_missing=True)
        frames[1].unlink()
        hdus.writeto(frames[1], output_verify="ignore")
    before = count(home)
    with ensure_repo(home) as butler, pytest.raises(DataError) as error:
        ingest_raws(butler, get_instrument(home, CAMERA), frames)
    assert str(frames[1]) in str(error.value)
    assert f"no card {card}" in str(error.value)
    assert count(home) == before == (0, 0)


def test_files_that_are_not_fits_are_refused(home, test_data, frames):
    camera = get_instrument(home, CAMERA)
    bad = sorted(p for p in (test_data / "bad_inputs").rglob("*") if p.is_file())
    assert bad
    for path in bad:
        with ensure_repo(home) as butler, pytest.raises(DataError) as error:
            ingest_raws(butler, camera, [frames[0], path])
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)
    assert count(home) == (0, 0)


def test_truncated_unknown_and_repeated_files(home, frames, tmp_path):
    camera = get_instrument(home, CAMERA)
    cut = tmp_path / "cut.fits.gz"
    cut.write_bytes(frames[0].read_bytes()[:500])
    copied = shutil.copy(frames[0], tmp_path / "copy.fits.gz")
    cases = [
        ([cut], DataError, "cut.fits.gz"),
        ([frames[0], copied], DataError, "same exposure"),
        ([tmp_path / "none.fits"], NotFoundError, "no such file"),
        ([home.cameras], NotFoundError, "no FITS file"),
    ]
    for paths, kind, message in cases:
        with ensure_repo(home) as butler, pytest.raises(kind, match=message):
            ingest_raws(butler, camera, paths)
    with pytest.raises(NotFoundError, match="no camera Nobody"):
        get_instrument(home, "Nobody")
    assert count(home) == (0, 0)


def test_a_full_disk_leaves_nothing_behind(home, frames, monkeypatch):
    import errno

    camera = get_instrument(home, CAMERA)
    with ensure_repo(home) as butler:

        def full(*_: object, **__: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(type(butler), "ingest", full)
            with pytest.raises(DataError, match="nothing was ingested: No space left on device"):
                ingest_raws(butler, camera, frames)
        assert count(home) == (0, 0)
        assert ingest_raws(butler, camera, frames).ingested == 3


def test_simulated_frames_of_all_kinds(sim_repo):
    with open_repo(sim_repo, collections="SimCam/defaults") as butler:
        records = butler.query_dimension_records("exposure", instrument="SimCam")
        kinds = sorted(r.observation_type for r in records)
        assert kinds == sorted(["bias", "dark", "flat", "flat", "flat"] + ["science"] * 7)
        assert len(butler.query_dimension_records("visit", instrument="SimCam")) == 7
        science = next(r for r in records if r.observation_type == "science")
        raw = butler.get("raw", instrument="SimCam", exposure=science.id, detector=0)
        camera = butler.get("camera", instrument="SimCam", collections="SimCam/calib/camera")
        assert raw.array.shape == camera.detector(0).raw_shape
        assert camera == SimCam.describe()
        info = make_observation_info(science, 0)
        assert info.physical_filter == science.physical_filter
        assert info.exposure_time.value == 30
        assert info.tracking_radec.ra.deg == pytest.approx(science.tracking_ra)
        assert len(butler.query_dimension_records("patch", skymap="skydesk_demo", tract=0)) == 2


def test_calibrations_are_certified_for_a_span_and_replaced(sim_repo):
    from skydesk_core.sim.detector import make_detector_model

    table = make_detector_model(SimCam.describe(), 0, ("r",), 5).defects[:7]
    with open_repo(sim_repo, writeable=True) as butler:
        butler.collections.register("new")
        butler.put(table, "defects", run="new", instrument="SimCam", detector=0)
        when = Time("2025-12-01T00:00:00", scale="tai")
        assert certify_calibrations(butler, "new", ["defects"], begin=when) == {"defects": 1}
        assert certify_calibrations(butler, "new", begin=when) == {"defects": 1}
        visits = sorted(r.id for r in butler.query_dimension_records("visit", instrument="SimCam"))
        before, after = (
            butler.get("defects", instrument="SimCam", detector=0, exposure=v, collections="SimCam/calib")
            for v in (visits[0], visits[-1])
        )
        assert len(before) == 45
        assert len(after) == 7
        with pytest.raises(NotFoundError, match="holds no flat"):
            certify_calibrations(butler, "new", ["flat"])
        with pytest.raises(NotFoundError, match="no collection nowhere"):
            certify_calibrations(butler, "nowhere")
