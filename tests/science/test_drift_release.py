"""The main job on real input: from 24 raw exposures without a WCS to a published release, by the command alone.

Every figure is computed here anew, from the files and tables a user gets, against the frames themselves and Tycho-2.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pytest
from astropy.table import Table
from scipy.spatial import cKDTree

ROOT = Path(__file__).resolve().parents[2]
INSTRUMENT = "MicroObservatory"
SKYDESK = Path(sys.executable).with_name("skydesk")


class Drift(NamedTuple):
    home: Path
    release: Path


def skydesk(home: Path, *arguments: str) -> str:
    done = subprocess.run(
        [str(SKYDESK), "--home", str(home), *arguments],
        capture_output=True,
        text=True,
        timeout=900,
        env={**os.environ, "SKYDESK_HOME": str(home)},
    )
    assert done.returncode == 0, f"skydesk {' '.join(arguments)}: {done.stderr[-3000:]}{done.stdout[-1000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def drift(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Drift:
    if given := os.environ.get("SKYDESK_TEST_DRIFT"):
        return Drift(Path(given), Path(given) / "releases" / "drift")
    home = tmp_path_factory.mktemp("drift")
    camera = ROOT / "core/src/skydesk_core/cameras/microobservatory.yaml"
    skydesk(home, "camera", "add", str(camera))
    skydesk(home, "refcat", "load", "tycho2", str(test_data / "reference_catalogs/tycho2/drift_field.csv"))
    skydesk(home, "ingest", str(test_data / "drift_field_raw"), "--instrument", INSTRUMENT)
    skydesk(home, "run", "SingleBand", "-i", f"{INSTRUMENT}/defaults", "-o", "runs/drift")
    skydesk(home, "publish", "--release", "drift", "--collection", "runs/drift")
    return Drift(home, home / "releases" / "drift")


@pytest.fixture(scope="module")
def figures() -> Iterator[dict[str, float]]:
    """What was measured; written to ``test-results/drift.json`` as this test's report."""
    measured: dict[str, float] = {}
    yield measured
    report = ROOT / "test-results" / "drift.json"
    report.parent.mkdir(exist_ok=True)
    report.write_text(json.dumps({name: float(value) for name, value in measured.items()}, indent=2) + "\n")


@pytest.fixture(scope="module")
def tables(drift: Drift) -> duckdb.DuckDBPyConnection:
    return duckdb.connect(str(drift.release / "catalogs.duckdb"), read_only=True)


@pytest.fixture(scope="module")
def butler(drift: Drift) -> Any:
    from lsst.daf.butler import Butler

    manifest = json.loads((drift.release / "manifest.json").read_text())
    return Butler.from_config(str(drift.release / "butler"), collections=manifest["collection"])


def unit_vectors(ra_deg: Any, dec_deg: Any) -> Any:
    ra, dec = np.radians(np.asarray(ra_deg)), np.radians(np.asarray(dec_deg))
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)


def test_all_exposures_are_ingested_with_their_time_and_pointing(drift: Drift) -> None:
    from lsst.daf.butler import Butler

    operator = Butler.from_config(str(drift.home / "butler"))
    records = list(operator.query_dimension_records("exposure", instrument=INSTRUMENT))
    assert len(records) == 24
    starts = sorted(record.timespan.begin.utc.isot for record in records)
    assert starts[0].startswith("2017-12-20T01:33:43")


def test_astrometry_solves_nearly_every_frame_below_the_bar(
    tables: duckdb.DuckDBPyConnection, test_data: Path, figures: dict[str, float]
) -> None:
    reference = Table.read(test_data / "reference_catalogs/tycho2/drift_field.csv")
    stars = unit_vectors(reference["ra"], reference["dec"])
    sources = tables.execute(
        "SELECT visit, coord_ra AS ra, coord_dec AS dec FROM Source WHERE coord_ra IS NOT NULL"
    ).fetchnumpy()
    solved, medians = 0, []
    for visit in np.unique(sources["visit"]):
        # Some 2500 sources a frame: within 3 arcsec of a star, 0.01 of them lie by chance.
        rows = np.flatnonzero(sources["visit"] == visit)
        found = unit_vectors(sources["ra"][rows], sources["dec"][rows])
        chord, _ = cKDTree(found).query(stars)
        separation_arcsec = np.degrees(2 * np.arcsin(chord / 2)) * 3600
        near = separation_arcsec[separation_arcsec < 3]
        if len(near) >= 30:
            solved += 1
            medians.append(np.median(near))
    figures["frames_solved"] = solved
    figures["median_residual_arcsec"] = float(np.median(medians))
    assert solved >= 22
    assert np.median(medians) < 0.8
    assert max(medians) < 1.5


def test_parity_is_that_of_the_mirrored_sky(butler: Any) -> None:
    for ref in butler.query_datasets("visit_image"):
        wcs = butler.get(ref.makeComponentRef("sky_projection")).as_astropy()
        ra, dec = (wcs.pixel_to_world([325, 326, 325], [250, 250, 251]).ra.deg, None)
        dec = wcs.pixel_to_world([325, 326, 325], [250, 250, 251]).dec.deg
        east = (
            np.diff(ra[[0, 1]])[0] * np.cos(np.radians(dec[0])),
            np.diff(ra[[0, 2]])[0] * np.cos(np.radians(dec[0])),
        )
        north = np.diff(dec[[0, 1]])[0], np.diff(dec[[0, 2]])[0]
        # The optics flip the sky: the determinant of d(east, north)/d(x, y) is positive.
        assert east[0] * north[1] - east[1] * north[0] > 0


def test_coadd_has_no_data_exactly_where_no_input_reaches_and_saturation_wherever_an_input_has_it(
    butler: Any, figures: dict[str, float]
) -> None:
    visits = []
    for ref in butler.query_datasets("visit_image"):
        mask = butler.get(ref.makeComponentRef("mask"))
        wcs = butler.get(ref.makeComponentRef("sky_projection")).as_astropy()
        visits.append((np.asarray(mask.get("NO_DATA")), np.asarray(mask.get("SAT")), wcs))
    assert len(visits) >= 22
    wrong, total, saturated_pixels, saturated_kept = 0, 0, 0, 0
    for ref in butler.query_datasets("deep_coadd"):
        mask = butler.get(ref.makeComponentRef("mask"))
        wcs = butler.get(ref.makeComponentRef("sky_projection")).as_astropy()
        box = mask.bbox
        y, x = np.mgrid[box.y.start : box.y.stop, box.x.start : box.x.stop]
        sky = wcs.pixel_to_world(x.ravel(), y.ravel())
        reached = np.zeros(x.size, bool)
        saturated = np.zeros(x.size, bool)
        sure = np.ones(x.size, bool)
        for no_data, sat, visit_wcs in visits:
            px, py = visit_wcs.world_to_pixel(sky)
            ix, iy = np.floor(px + 0.5).astype(int), np.floor(py + 0.5).astype(int)
            ny, nx = no_data.shape
            inside = (ix >= 0) & (ix < nx) & (iy >= 0) & (iy < ny)
            ix, iy = np.clip(ix, 0, nx - 1), np.clip(iy, 0, ny - 1)
            reached |= inside & ~no_data[iy, ix]
            saturated |= inside & sat[iy, ix] & ~no_data[iy, ix]
            # A centre within a hundredth of a pixel of an edge may fall to either side by rounding.
            edge = np.minimum(np.abs(px + 0.5 - np.round(px + 0.5)), np.abs(py + 0.5 - np.round(py + 0.5)))
            sure &= edge > 0.01
        marked = np.asarray(mask.get("NO_DATA")).ravel()
        wrong += int(np.sum((marked == reached) & sure))
        total += int(sure.sum())
        saturated_pixels += int((saturated & sure).sum())
        saturated_kept += int((saturated & sure & np.asarray(mask.get("SAT")).ravel()).sum())
    figures["coadd_pixels_with_wrong_no_data"] = wrong
    figures["coadd_pixels_checked"] = total
    assert total > 200_000
    assert wrong == 0
    assert saturated_pixels > 100
    assert saturated_kept == saturated_pixels


def test_forced_light_curves_of_bright_isolated_stars_are_good_to_one_percent(
    tables: duckdb.DuckDBPyConnection, figures: dict[str, float]
) -> None:
    rows = tables.execute(
        """
        SELECT f.objectId AS id, f.psfFlux AS flux, f.psfFluxErr AS error, f.pixelFlags_saturatedCenter AS sat,
               f.psfFlux_flag AS bad, o.coord_ra AS ra, o.coord_dec AS dec
        FROM ForcedSource f JOIN Object o USING (objectId)
        """
    ).fetchnumpy()
    objects, first, inverse = np.unique(rows["id"], return_index=True, return_inverse=True)
    vectors = unit_vectors(rows["ra"][first], rows["dec"][first])
    flux = np.where(np.ma.getmaskarray(rows["flux"]), np.nan, np.asarray(rows["flux"], float))
    error = np.where(np.ma.getmaskarray(rows["error"]), np.nan, np.asarray(rows["error"], float))
    good = np.isfinite(flux) & (error > 0) & ~np.asarray(rows["bad"], bool)
    saturated = np.zeros(len(objects), bool)
    np.logical_or.at(saturated, inverse, np.asarray(rows["sat"], bool))
    mean = np.array(
        [
            np.median(flux[good & (inverse == k)]) if (good & (inverse == k)).any() else 0
            for k in range(len(objects))
        ]
    )
    isolation_arcsec = 25.0
    tree = cKDTree(vectors)
    chord = 2 * np.sin(np.radians(isolation_arcsec / 3600) / 2)
    isolated = np.array(
        [
            not any(j != k and mean[j] > 0.05 * mean[k] for j in tree.query_ball_point(v, chord))
            for k, v in enumerate(vectors)
        ]
    )
    scatter, ratio = [], []
    for k in np.flatnonzero(~saturated & isolated):
        use = good & (inverse == k)
        if use.sum() < 18 or np.median(flux[use] / error[use]) < 100:
            continue
        scatter.append(np.std(flux[use], ddof=1) / np.mean(flux[use]))
        ratio.append(scatter[-1] / np.median(error[use] / flux[use]))
    figures["bright_isolated_stars"] = len(scatter)
    figures["median_scatter"] = float(np.median(scatter))
    figures["median_scatter_over_noise"] = float(np.median(ratio))
    assert len(scatter) >= 20
    assert np.median(scatter) <= 0.01
    assert np.median(ratio) <= 1.3


def test_metrics_command_reports_the_same_release(drift: Drift) -> None:
    figures = json.loads(skydesk(drift.home, "metrics", "--release", "drift", "--json"))
    assert figures["version"] == 1
    assert figures["release"] == "drift"


def test_release_is_complete(drift: Drift) -> None:
    skydesk(drift.home, "release", "check", "drift")
    manifest = json.loads((drift.release / "manifest.json").read_text())
    names = {entry["name"] for entry in manifest["tables"]}
    assert {"Source", "Object", "ForcedSource", "Visit", "CcdVisit", "ObsCore"} <= names
    assert manifest["bands"] == ["clear"]
