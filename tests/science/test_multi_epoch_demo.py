"""Coadds, objects, light curves and difference sources of the tiny demo against the simulator's truth."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.table import Table
from scipy.spatial import cKDTree

SKY = {"skymap": "skydesk_demo", "tract": 0}
BANDS = "gri"


def robust_std(values: np.ndarray) -> float:
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


def match(ra: Any, dec: Any, other_ra: Any, other_dec: Any) -> tuple[np.ndarray, np.ndarray]:
    """Distance in arcsec to the nearest of the others, and which it is."""
    shrink = np.cos(np.radians(np.median(other_dec)))
    tree = cKDTree(np.column_stack([np.asarray(other_ra) * shrink, other_dec]) * 3600)
    return tree.query(np.column_stack([np.asarray(ra) * shrink, dec]) * 3600)


@pytest.fixture(scope="module")
def butler(demo_home: Path) -> Iterator[Any]:
    from skydesk_core.repo import open_repo

    with open_repo(demo_home / "butler", collections=["demo/DRP", "demo/truth", "SimCam/defaults"]) as opened:
        yield opened


@pytest.fixture(scope="module")
def objects(butler: Any) -> tuple[Table, Table, np.ndarray, np.ndarray]:
    """Objects, the truth, the true object of each and whether it is a constant, isolated star."""
    table, truth = butler.get("object", **SKY), butler.get("truth_object", **SKY)
    distance, index = match(table["coord_ra"], table["coord_dec"], truth["ra"], truth["dec"])
    star = np.asarray(truth["is_star"])[index] & ~np.asarray(truth["is_variable"])[index]
    return table, truth, index, star & (distance < 0.3) & np.asarray(table["detect_isIsolated"])


def test_objects_are_real_and_none_is_there_twice(objects: Any) -> None:
    table, truth, index, _ = objects
    distance, _ = match(table["coord_ra"], table["coord_dec"], truth["ra"], truth["dec"])
    assert len(table) > 300
    assert (distance < 0.6).mean() > 0.97
    assert np.median(distance[distance < 0.6]) < 0.08
    assert len(np.unique(table["objectId"])) == len(table)
    assert len(np.unique(index[distance < 0.3])) > 0.97 * (distance < 0.3).sum()


@pytest.mark.parametrize("band", BANDS)
def test_object_fluxes(objects: Any, band: str, record_property: Any) -> None:
    table, truth, index, star = objects
    flux, error = (np.asarray(table[f"{band}_psfFlux{e}"], float) for e in ("", "Err"))
    true = np.asarray(truth[f"{band}_flux"], float)[index]
    chosen = (
        star & np.isfinite(flux) & (true > 20 * error) & ~np.asarray(table[f"{band}_pixelFlags_saturated"])
    )
    ratio = flux[chosen] / true[chosen]
    record_property("median_ratio", float(np.median(ratio)))
    record_property("scatter", robust_std(ratio))
    assert chosen.sum() > 40
    assert np.median(ratio) == pytest.approx(1.0, abs=0.02)
    assert robust_std(ratio) < 0.03


def test_stars_and_galaxies_are_told_apart(objects: Any) -> None:
    table, truth, index, star = objects
    snr = np.asarray(table["i_psfFlux"] / table["i_psfFluxErr"], float)
    extended = np.asarray(table["refExtendedness"], float)
    galaxy = ~np.asarray(truth["is_star"])[index] & np.asarray(table["detect_isIsolated"])
    assert np.nanmean(extended[star & (snr > 30)]) < 0.2
    assert np.nanmean(extended[galaxy & (snr > 30)]) > 0.8


def test_forced_photometry_has_honest_errors(butler: Any, objects: Any, record_property: Any) -> None:
    table, truth, index, star = objects
    forced = butler.get("object_forced_source", **SKY)
    order = np.argsort(table["objectId"])
    row = order[np.searchsorted(table["objectId"], forced["objectId"], sorter=order)]
    columns = np.stack([np.asarray(truth[f"{b}_flux"], float) for b in BANDS])
    band = np.array([BANDS.index(b) for b in np.asarray(forced["band"]).astype(str)])
    true = columns[band, index[row]]
    flux, error = np.asarray(forced["psfFlux"], float), np.asarray(forced["psfFluxErr"], float)
    good = star[row] & np.isfinite(flux)
    for flag in ("saturated", "edge", "interpolated", "cr"):
        good &= ~np.asarray(forced[f"pixelFlags_{flag}"])
    faint = good & (true < 30 * error)
    pull = (flux[faint] - true[faint]) / error[faint]
    record_property("pull_median", float(np.median(pull)))
    record_property("pull_width", robust_std(pull))
    assert faint.sum() > 300
    assert abs(np.median(pull)) < 0.15
    assert 0.8 < robust_std(pull) < 1.3
    bright = good & (true > 50 * error)
    assert np.median(flux[bright] / true[bright]) == pytest.approx(1.0, abs=0.01)


def test_light_curve_of_the_brightest_variables_follows_the_truth(butler: Any, objects: Any) -> None:
    table, truth, index, _ = objects
    forced = butler.get("object_forced_source", **SKY)
    source = butler.get("truth_source", instrument="SimCam")
    variable = np.flatnonzero(
        np.asarray(truth["is_variable"])[index] & np.asarray(table["detect_isIsolated"])
    )
    checked = 0
    for row in variable:
        own = forced[(forced["objectId"] == table["objectId"][row]) & ~forced["pixelFlags_saturated"]]
        curve = source[source["id"] == truth["id"][index[row]]]
        flux_of = dict(zip(np.asarray(curve["visit"]), np.asarray(curve["flux"], float), strict=True))
        known = np.array([int(v) in flux_of for v in own["visit"]], bool)
        own = own[known]
        if len(own) < 8:
            continue
        true = np.array([flux_of[int(v)] for v in own["visit"]])
        measured, error = np.asarray(own["psfFlux"], float), np.asarray(own["psfFluxErr"], float)
        spread = np.std(true / np.mean(true))
        if np.median(true / error) < 20 or spread < 0.05:
            continue
        good = np.isfinite(measured)
        assert np.median(np.abs(measured[good] / true[good] - 1)) < max(0.03, 2 * np.median(error / true))
        checked += 1
    assert checked >= 3


def test_difference_sources_are_complete_and_mostly_real(butler: Any, record_property: Any) -> None:
    found, truth = butler.get("dia_source", **SKY), butler.get("truth_dia", instrument="SimCam")
    real = np.zeros(len(found), bool)
    seen: dict[str, list[bool]] = {"transient": [], "mover": []}
    limit = 8 * np.median(np.asarray(found["psfFluxErr"], float))
    inside = (truth["x"] > 25) & (truth["y"] > 25) & (truth["x"] < 999) & (truth["y"] < 999)
    for visit in np.unique(found["visit"]):
        own, true = np.flatnonzero(found["visit"] == visit), truth[truth["visit"] == visit]
        distance, _ = match(found["ra"][own], found["dec"][own], true["ra"], true["dec"])
        real[own] = distance < 0.6
    for row in truth[inside]:
        if row["kind"] in seen and abs(row["flux"] - row["flux_mean"]) > limit:
            own = found[found["visit"] == row["visit"]]
            near = len(own) > 0 and match([row["ra"]], [row["dec"]], own["ra"], own["dec"])[0][0] < 0.6
            seen[row["kind"]].append(bool(near))
    record_property("purity", float(real.mean()))
    record_property("transients", f"{sum(seen['transient'])} of {len(seen['transient'])}")
    record_property("movers", f"{sum(seen['mover'])} of {len(seen['mover'])}")
    assert len(seen["transient"]) >= 5
    assert np.mean(seen["transient"] + seen["mover"]) > 0.95
    assert real.mean() > 0.65


def test_dia_objects_hold_their_sources(butler: Any) -> None:
    sources, things = butler.get("dia_source", **SKY), butler.get("dia_object", **SKY)
    # Known small bodies belong to no object that stands still.
    sources = sources[sources["ssObjectId"] == 0]
    ids, count = np.unique(np.asarray(sources["diaObjectId"]), return_counts=True)
    order = np.argsort(things["diaObjectId"])
    assert np.array_equal(np.asarray(things["diaObjectId"])[order], ids)
    assert np.array_equal(np.asarray(things["nDiaSources"])[order], count)
    row = order[np.searchsorted(ids, sources["diaObjectId"])]
    shrink = np.cos(np.radians(sources["dec"]))
    offset = (
        np.hypot((sources["ra"] - things["ra"][row]) * shrink, sources["dec"] - things["dec"][row]) * 3600
    )
    assert offset.max() < 1.5
    forced = butler.get("dia_object_forced_source", **SKY)
    assert set(np.unique(forced["diaObjectId"])) <= set(ids)
    assert np.isfinite(np.asarray(forced["psfDiffFlux"], float)).mean() > 0.8


@pytest.mark.parametrize("kind", ["deep_coadd", "template_coadd"])
def test_no_data_of_a_coadd_lies_exactly_where_no_input_reaches(butler: Any, kind: str) -> None:
    from skydesk_core.algorithms.planes import NO_DATA, SAT
    from skydesk_core.tasks.bridge import planes_of, sky_to_pixel

    patch = butler.get("skyMap", skymap="skydesk_demo").patch(0, 0)
    coadd = butler.get(kind, **SKY, patch=0, band="r")
    label = "assembleDeepCoadd" if kind == "deep_coadd" else "assembleTemplateCoadd"
    metadata = butler.get(f"{label}_metadata", **SKY, patch=0, band="r")
    visits = (
        metadata[label].getArray("visits")
        if hasattr(metadata[label], "getArray")
        else metadata[label]["visits"]
    )
    box = coadd.bbox
    x, y = np.meshgrid(box.x.start + np.arange(box.x.size), box.y.start + np.arange(box.y.size))
    ra, dec = patch.wcs.pixel_to_world_values(x.ravel(), y.ravel())
    reached = np.zeros(x.size, bool)
    saturated = np.zeros(x.size, bool)
    # A centre within a thousandth of an input pixel's border may fall to either side.
    sure = np.ones(x.size, bool)
    for visit in visits:
        image = butler.get("visit_image", instrument="SimCam", visit=int(visit), detector=0)
        px, py = sky_to_pixel(image.sky_projection, np.asarray(ra), np.asarray(dec))
        bits = planes_of(image).mask
        with np.errstate(invalid="ignore"):
            on = (px > -0.5) & (py > -0.5) & (px < image.bbox.x.size - 0.5) & (py < image.bbox.y.size - 0.5)
            for p in (px, py):
                sure &= ~(np.abs(p + 0.5 - np.round(p + 0.5)) < 1e-3)
        # The inverse of the distortion may return from far outside: only where it is its own inverse.
        back = image.sky_projection.pixel_to_sky_transform.apply_forward(x=px[on], y=py[on])
        on[on] &= np.abs(np.degrees(back.y) - np.asarray(dec)[on]) < 1e-6
        value = bits[np.floor(py[on] + 0.5).astype(int), np.floor(px[on] + 0.5).astype(int)]
        reached[on] |= (value & NO_DATA) == 0
        saturated[on] |= (value & SAT) != 0
    mask = planes_of(coadd).mask.ravel()
    assert reached.any()
    assert not reached.all()
    assert sure.mean() > 0.95
    assert not (sure & (((mask & NO_DATA) == 0) != reached)).any()
    assert ((mask[saturated & sure] & SAT) != 0).all()
    assert np.isfinite(coadd.image.array.ravel()[reached & sure]).all()
