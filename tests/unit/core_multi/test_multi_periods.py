"""Period searches agree with Astropy, with simulated truth and with bootstraps of noise."""

import numpy as np
import pytest
from astropy.timeseries import BoxLeastSquares, LombScargle, LombScargleMultiband

from skydesk_core.algorithms.boxes import compute_box_power, search_boxes
from skydesk_core.algorithms.periods import (
    compute_power,
    describe_alias,
    find_false_alarm_level,
    make_series,
    search_periods,
)
from skydesk_core.errors import UsageError


def sparse_curve(seed, count=300, bands="gri", span_day=400.0):
    rng = np.random.default_rng(seed)
    time = 61000 + np.sort(rng.uniform(0, span_day, count))
    band = np.array(list(bands))[np.arange(count) % len(bands)]
    return rng, time, band, rng.uniform(0.02, 0.06, count)


def test_one_band_is_the_generalised_periodogram_of_astropy():
    rng, time, band, error = sparse_curve(1, bands="r")
    values = 18 + 0.1 * np.sin(2 * np.pi * time / 3.3) + rng.normal(0, error)
    power, _ = compute_power(make_series(time, values, error, band), 0.01, 1e-3, 3000)
    oracle = LombScargle(time, values, error, fit_mean=True).power(
        0.01 + 1e-3 * np.arange(3000), method="cython"
    )
    np.testing.assert_allclose(power, oracle, atol=1e-8)


def test_several_bands_are_the_shared_sinusoid_of_astropy():
    rng, time, band, error = sparse_curve(2)
    values = 18 + 0.4 * (band == "r") + 0.1 * np.sin(2 * np.pi * time / 3.1) + rng.normal(0, error)
    power, _ = compute_power(make_series(time, values, error, band), 0.05, 0.01, 100)
    oracle = LombScargleMultiband(
        time - 61000, values, band, error, nterms_base=1, nterms_band=0, reg_base=0, reg_band=0
    )
    theirs = oracle.power(0.05 + 0.01 * np.arange(100), method="flexible")
    assert np.abs(power - theirs).max() < 0.02
    assert np.argmax(power) == np.argmax(theirs)


def test_the_window_is_the_transform_of_the_sampling():
    _, time, band, error = sparse_curve(3, count=70)
    series = make_series(time, np.sin(time), error, band)
    _, window = compute_power(series, 0.0, 0.13, 50)
    turns = np.exp(2j * np.pi * np.outer(0.13 * np.arange(50), time - time.min()))
    np.testing.assert_allclose(window, np.abs(turns @ (error**-2 / (error**-2).sum())) ** 2, atol=1e-9)
    assert window[0] == pytest.approx(1)


def test_noise_exceeds_the_false_alarm_level_as_often_as_stated():
    _, time, band, error = sparse_curve(4, count=60, span_day=40)
    rng = np.random.default_rng(5)
    highest = np.empty(250)
    for n in range(highest.size):
        series = make_series(time, rng.normal(0, error), error, band)
        power, _ = compute_power(series, 0.01, 1 / 400, 2000)
        highest[n] = power.max()
    for probability, least in ((0.3, 0.18), (0.1, 0.05)):
        level = find_false_alarm_level(probability, series, 5.01)
        assert least < (highest > level).mean() < 1.25 * probability


def test_the_error_of_a_period_is_its_scatter():
    _, time, band, error = sparse_curve(6, count=120, span_day=60)
    rng = np.random.default_rng(7)
    found, stated = [], []
    for _ in range(24):
        values = 0.2 * np.sin(2 * np.pi * time / 2.345) + rng.normal(0, error)
        best = search_periods(make_series(time, values, error, band), 2.0, 3.0).peaks[0]
        found.append(best.period_day)
        stated.append(best.period_error_day)
    assert np.mean(found) == pytest.approx(2.345, abs=3 * np.std(found) / 4.5)
    assert np.std(found) == pytest.approx(np.median(stated), rel=0.35)


def test_nightly_sampling_shows_its_aliases_and_they_are_marked():
    rng = np.random.default_rng(8)
    time = 61000.3 + np.arange(150) + rng.uniform(-0.05, 0.05, 150)
    values = 0.3 * np.sin(2 * np.pi * time / 0.62) + rng.normal(0, 0.02, 150)
    search = search_periods(make_series(time, values, np.full(150, 0.02), np.full(150, "g")))
    assert search.peaks[0].period_day == pytest.approx(0.62, rel=1e-3)
    assert search.peaks[0].false_alarm < 1e-20
    relations = {p.relation for p in search.peaks[1:]}
    assert {"+1 / day", "-1 / day"} & relations
    day = np.abs(search.frequency_per_day - 1) < 0.005
    assert search.window[day].max() > 0.9


def test_other_regular_sampling_is_named_by_its_window():
    rng = np.random.default_rng(12)
    time = 61000 + 3.7 * np.arange(80) + rng.uniform(-0.1, 0.1, 80)
    values = 0.3 * np.sin(2 * np.pi * time / 9.1) + rng.normal(0, 0.01, 80)
    search = search_periods(make_series(time, values, np.full(80, 0.01), np.full(80, "r")), 1.5)
    assert search.peaks[0].period_day == pytest.approx(9.1, rel=1e-3)
    assert {"+0.27 / day", "mirrored 0.27 / day"} & {p.relation for p in search.peaks[1:]}


@pytest.mark.parametrize(
    ("frequency", "relation"),
    [(0.8, "2 P"), (3.2, "P / 2"), (2.6, "+1 / day"), (0.6, "-1 / day"), (1.6 + 1 / 29.53, "+1 / month"),
     (0.4, "mirrored 2 / day"), (1.9, "")],
)  # fmt: skip
def test_relations_are_named(frequency, relation):
    assert describe_alias(frequency, 1.6, 0.001) == relation


def test_a_transit_in_two_bands_is_found_with_depth_duration_and_epoch():
    rng = np.random.default_rng(9)
    time = 60000 + np.sort(rng.uniform(0, 90, 4000))
    band = np.where(rng.random(4000) < 0.5, "g", "r")
    inside = np.abs((time - 60001.2 + 1.9) % 3.8 - 1.9) < 0.06
    flux = np.where(band == "g", 500.0, 900.0) * (1 - 0.01 * inside) * (1 + rng.normal(0, 0.004, 4000))
    best = search_boxes(make_series(time, flux, 0.004 * flux, band, relative=True), 2.0, 8.0).peaks[0]
    assert best.period_day == pytest.approx(3.8, abs=4 * best.period_error_day)
    assert best.period_error_day < 0.005
    assert best.fit == pytest.approx(0.01, rel=0.15)
    assert best.duration_day == pytest.approx(0.12, rel=0.25)
    assert (best.epoch_mjd - 60001.2 + 1.9) % 3.8 - 1.9 == pytest.approx(0, abs=0.02)


def test_boxes_peak_where_astropys_do():
    rng = np.random.default_rng(10)
    time = np.sort(rng.uniform(0, 40, 800))
    flux = 1 - 0.02 * (time % 2.7 < 0.15) + rng.normal(0, 0.006, 800)
    error = np.full(800, 0.006)
    period = np.linspace(2.0, 3.5, 600)
    ours = compute_box_power(
        make_series(time, flux, error, np.full(800, "T")), period, np.array([0.1, 0.15, 0.2])
    )
    theirs = BoxLeastSquares(time, flux, error).power(period, [0.1, 0.15, 0.2], objective="likelihood")
    assert abs(period[np.argmax(ours[:, 0])] - period[np.argmax(theirs.power)]) < 0.01
    assert np.corrcoef(ours[:, 0], theirs.power)[0, 1] > 0.97
    assert ours[np.argmax(ours[:, 0]), 1] == pytest.approx(theirs.depth[np.argmax(theirs.power)], rel=0.1)


def test_minutes_of_frames_can_be_searched_too():
    rng = np.random.default_rng(4)
    mjd = 60000 + np.arange(24) / 1440
    flux = 1000 * (1 + 0.1 * np.sin(2 * np.pi * mjd * 1440 / 7.3)) + rng.normal(0, 5, 24)
    search = search_periods(make_series(mjd, flux, np.full(24, 5.0), ["clear"] * 24, relative=True))
    assert search.peaks[0].period_day * 1440 == pytest.approx(7.3, rel=0.02)


@pytest.mark.parametrize(
    ("mjd", "values", "words"),
    [([1, 2, 3], [1, 2, 3], "at least 6"), ([5.0] * 8, range(8), "over some time"), (range(8), [2.0] * 8, "do not vary"),
     (range(8), [np.nan] * 8, "there are 0"), (range(8), range(7), "equally many")],
)  # fmt: skip
def test_what_cannot_be_searched_says_why(mjd, values, words):
    with pytest.raises(UsageError, match=words):
        make_series(list(mjd), list(values), [1.0] * len(list(mjd)), ["g"] * len(list(mjd)))


def test_a_range_that_is_too_wide_says_what_would_do():
    _, time, band, error = sparse_curve(11, count=1000, span_day=4000)
    series = make_series(time, np.sin(time), error, band)
    with pytest.raises(UsageError, match="raise the shortest period to"):
        search_periods(series, 1e-4)
    with pytest.raises(UsageError, match="less than the longest"):
        search_periods(series, 3.0, 2.0)
