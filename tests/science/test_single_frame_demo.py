"""Visit images and sources of the tiny demo against the simulator's truth; the figures go into the report."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from astropy.table import Table
from scipy.spatial import cKDTree

EDGE_PIXEL = 25
SIZE_PIXEL = 1024


class Scored(NamedTuple):
    visit: int
    sources: Table
    truth: Table
    index: np.ndarray
    matched: np.ndarray
    star: np.ndarray
    isolated: np.ndarray


def robust_std(values: np.ndarray) -> float:
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


@pytest.fixture(scope="module")
def butler(demo_home: Path) -> Iterator[Any]:
    from skydesk_core.repo import open_repo

    with open_repo(demo_home / "butler", collections=["demo/DRP", "demo/truth"]) as opened:
        yield opened


@pytest.fixture(scope="module")
def scored(butler: Any) -> list[Scored]:
    """Every visit's sources with the nearest true source within one arcsec."""
    truth = butler.get("truth_source", instrument="SimCam")
    objects = butler.get("truth_object", skymap="skydesk_demo", tract=0)
    constant_stars = set(objects["id"][objects["is_star"] & ~objects["is_variable"]])
    result = []
    for ref in sorted(butler.query_datasets("source"), key=lambda r: r.dataId["visit"]):
        sources = butler.get(ref)
        true = truth[(truth["visit"] == ref.dataId["visit"]) & (truth["detector"] == 0)]
        shrink = np.cos(np.radians(np.median(true["dec"])))
        tree = cKDTree(np.column_stack([true["ra"] * shrink, true["dec"]]) * 3600)
        distance, index = tree.query(np.column_stack([sources["ra"] * shrink, sources["dec"]]) * 3600)
        neighbour = cKDTree(np.column_stack([true["x"], true["y"]])).query(
            np.column_stack([true["x"], true["y"]]), k=2
        )[0][:, 1]
        star = np.array([i in constant_stars for i in true["id"]])
        result.append(
            Scored(int(ref.dataId["visit"]), sources, true, index, distance < 1, star, neighbour > 12)
        )
    return result


def clean(s: Scored) -> np.ndarray:
    t = s.sources
    bad = t["psfFlux_flag"] | t["pixelFlags_saturated"] | t["pixelFlags_suspect"] | t["pixelFlags_bad"]
    return s.matched & s.star[s.index] & s.isolated[s.index] & ~np.asarray(bad)


def signal_to_noise(s: Scored) -> np.ndarray:
    return np.asarray(s.sources["psfFlux"] / s.sources["psfFluxErr"])


def test_every_visit_is_calibrated(butler: Any, scored: list[Scored], record_property: Any) -> None:
    table = butler.get("visit_detector_table", instrument="SimCam")
    assert len(scored) == len(table) >= 12
    record_property("astrometry_matches_min", int(table["nMatches"].min()))
    record_property("seeing_median_arcsec", float(np.median(table["seeing"])))
    assert table["nMatches"].min() >= 20
    assert np.all(~np.asarray(table["mirrored"]))
    assert np.allclose(table["pixelScale"], 0.2, rtol=0.01)
    assert len(butler.get("visit_table", instrument="SimCam")) == len(table)


def test_positions_of_bright_stars_are_good_to_20_mas(scored: list[Scored], record_property: Any) -> None:
    medians = []
    for s in scored:
        use = clean(s) & (signal_to_noise(s) > 50)
        near = s.truth[s.index[use]]
        east = (s.sources["ra"][use] - near["ra"]) * np.cos(np.radians(near["dec"])) * 3.6e6
        north = (s.sources["dec"][use] - near["dec"]) * 3.6e6
        medians.append(float(np.median(np.hypot(east, north))))
    record_property("position_error_median_mas", float(np.median(medians)))
    record_property("position_error_worst_visit_mas", max(medians))
    assert np.median(medians) < 10
    assert max(medians) < 20


def test_fluxes_have_the_errors_they_claim(scored: list[Scored], record_property: Any) -> None:
    pulls, offsets, scatter = [], [], []
    for s in scored:
        sn, use = signal_to_noise(s), clean(s)
        relative = np.asarray(s.sources["psfFlux"] / s.truth["flux"][s.index] - 1)
        bright = use & (sn > 100)
        offsets.append(float(np.median(relative[bright])))
        scatter.append(robust_std(relative[bright]))
        faint = use & (sn > 7) & (sn < 100)
        pulls.append((relative - offsets[-1])[faint] * sn[faint])
    pull = np.concatenate(pulls)
    record_property("flux_pull_median", float(np.median(pull)))
    record_property("flux_pull_robust_std", robust_std(pull))
    record_property("flux_offset_worst_visit", float(np.max(np.abs(offsets))))
    record_property("flux_scatter_bright_median", float(np.median(scatter)))
    assert abs(np.median(pull)) < 0.25
    assert 0.8 < robust_std(pull) < 1.35
    assert np.max(np.abs(offsets)) < 0.02
    assert np.median(scatter) < 0.012


def test_stars_are_found_down_to_the_threshold_and_little_else(
    scored: list[Scored], record_property: Any
) -> None:
    found_bright, all_bright, found_faint, all_faint, spurious, total = 0, 0, 0, 0, 0, 0
    for s in scored:
        noise = float(np.nanmedian(s.sources["psfFluxErr"]))
        inside = np.ones(len(s.truth), bool)
        for axis in ("x", "y"):
            inside &= (s.truth[axis] > EDGE_PIXEL) & (s.truth[axis] < SIZE_PIXEL - EDGE_PIXEL)
        seen = np.zeros(len(s.truth), bool)
        seen[s.index[s.matched]] = True
        eligible = inside & s.star & s.isolated
        bright = eligible & (s.truth["flux"] > 10 * noise)
        faint = eligible & (s.truth["flux"] > 6 * noise) & (s.truth["flux"] <= 10 * noise)
        found_bright, all_bright = found_bright + int(seen[bright].sum()), all_bright + int(bright.sum())
        found_faint, all_faint = found_faint + int(seen[faint].sum()), all_faint + int(faint.sum())
        here = np.ones(len(s.sources), bool)
        for axis in ("x", "y"):
            here &= np.asarray((s.sources[axis] > EDGE_PIXEL) & (s.sources[axis] < SIZE_PIXEL - EDGE_PIXEL))
        spurious, total = spurious + int((here & ~s.matched).sum()), total + int(here.sum())
    record_property("completeness_sn_above_10", found_bright / all_bright)
    record_property("completeness_sn_6_to_10", found_faint / all_faint)
    record_property("unmatched_fraction", spurious / total)
    assert found_bright / all_bright > 0.97
    assert found_faint / all_faint > 0.8
    assert spurious / total < 0.05


def test_visit_image_is_complete_and_its_noise_is_that_of_the_variance(butler: Any) -> None:
    ref = min(butler.query_datasets("visit_image"), key=lambda r: r.dataId["visit"])
    image = butler.get(ref)
    assert str(image.unit) == "nJy"
    assert image.summary_stats.psfSigma > 1
    quiet = np.ones(image.image.array.shape, bool)
    for plane in ("DETECTED", "BAD", "SAT", "CR", "NO_DATA", "INTRP", "EDGE"):
        quiet &= ~image.mask.get(plane)
    pull = image.image.array[quiet] / np.sqrt(image.variance.array[quiet])
    assert robust_std(pull) == pytest.approx(1.0, abs=0.06)
    assert abs(np.median(pull)) < 0.06
    kernel = image.psf.compute_kernel_image(x=500, y=500).array
    assert kernel.sum() == pytest.approx(1.0, abs=1e-6)
    assert image.backgrounds.subtracted is not None
    assert float(image.photometric_scaling(x=10, y=10)) > 0
