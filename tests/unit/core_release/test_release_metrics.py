import numpy as np
import pytest

from skydesk_core.qa import measure_release
from skydesk_core.qa.matching import count_neighbours, match_nearest
from skydesk_core.qa.metrics import measure_scatter
from skydesk_core.qa.truth import find_period


def make_curves(stars=60, epochs=24, noise=0.005, quoted=0.005, zero_point=0.0, seed=4):
    rng = np.random.default_rng(seed)
    mean = rng.uniform(1e4, 1e5, stars)
    offset = rng.normal(0, zero_point, epochs)
    flux = mean[:, None] * 10 ** (-0.4 * (offset[None, :] + rng.normal(0, noise * 1.0857, (stars, epochs))))
    ids, visits = np.meshgrid(np.arange(stars), np.arange(epochs), indexing="ij")
    return ids.ravel(), visits.ravel(), flux.ravel(), (quoted * np.repeat(mean, epochs))


@pytest.mark.parametrize("zero_point", [0.0, 0.1])
def test_scatter_is_measured_after_the_zero_point(zero_point):
    ids, visits, flux, error = make_curves(zero_point=zero_point)
    scatter, ratio, count = measure_scatter(ids, visits, flux, error, np.unique(ids))
    assert count == 60
    assert scatter == pytest.approx(0.5, rel=0.08)
    assert ratio == pytest.approx(1.0, rel=0.08)


def test_underestimated_noise_shows_in_the_ratio():
    ids, visits, flux, error = make_curves(quoted=0.0025)
    assert measure_scatter(ids, visits, flux, error, np.unique(ids))[1] == pytest.approx(2.0, rel=0.08)


def test_faint_or_excluded_stars_do_not_count():
    ids, visits, flux, error = make_curves()
    assert measure_scatter(ids, visits, flux, 0.02 * flux, np.unique(ids)) == (None, None, 0)
    assert measure_scatter(ids, visits, flux, error, np.array([3, 4]))[2] == 2


def test_nearest_matches_are_mutual():
    rows, found, separation = match_nearest([10, 10], [0, 0.0001], [10, 50], [0.00002, 0], 1.0)
    assert (rows.tolist(), found.tolist()) == ([0], [0])
    assert separation[0] == pytest.approx(0.072, abs=1e-3)
    assert match_nearest([], [], [1.0], [1.0], 1.0)[0].size == 0


def test_neighbours_count_when_bright_enough():
    counts = count_neighbours([10, 10, 10], [0, 1e-4, 5], [100, 1, 100], 1.0, 0.02)
    assert counts.tolist() == [0, 1, 0]


def test_a_period_is_found_over_bands():
    rng = np.random.default_rng(9)
    mjd = 61000 + np.sort(rng.uniform(0, 60, 60))
    band = np.array(list("gri"))[np.arange(60) % 3]
    mean = np.array([{"g": 100.0, "r": 300.0, "i": 500.0}[b] for b in band])
    flux = mean * (1 + 0.3 * np.sin(2 * np.pi * mjd / 0.6237)) + rng.normal(0, 3, 60)
    assert find_period(mjd, flux, np.full(60, 3.0), band, 0.1, 30) == pytest.approx(0.6237, rel=0.001)
    assert find_period(mjd[:5], flux[:5], np.full(5, 3.0), band[:5], 0.1, 30) is None


def test_figures_of_the_synthetic_release(synthetic_release):
    found = {m.name: m for m in measure_release(synthetic_release)}
    assert found["object_purity"].value == 1.0
    assert found["object_astrometric_residual"].value == pytest.approx(0.0, abs=0.01)
    assert found["object_flux_pull_width"].value == pytest.approx(1.0, abs=0.25)
    assert "frames_solved" not in found
