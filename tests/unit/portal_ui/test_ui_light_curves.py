"""Periods and magnitudes."""

import numpy as np
import pytest

from skydesk_portal.exceptions import UsageError
from skydesk_portal.services.lightcurves import find_period, multiband_power, to_ab_magnitude


@pytest.mark.parametrize("period_day", [0.4321, 1.98983, 7.3])
def test_the_period_of_a_sparse_multi_band_curve_is_found(period_day):
    rng = np.random.default_rng(5)
    mjd = 61000 + np.sort(rng.uniform(0, 60, 60))
    band = np.array(["g", "r", "i"])[np.arange(60) % 3]
    mean = np.array([800.0, 1500.0, 2100.0])[np.arange(60) % 3]
    flux = mean * (1 + 0.25 * np.sin(2 * np.pi * mjd / period_day)) + rng.normal(0, 15, 60)
    period, power = find_period(mjd, flux, np.full(60, 15.0), band)
    assert period == pytest.approx(period_day, rel=2e-3)
    assert power > 0.9


def test_too_few_points_say_so():
    with pytest.raises(UsageError, match="at least 6"):
        find_period(np.arange(3.0), np.ones(3), np.ones(3), np.array(["g"] * 3))


def test_magnitudes_are_ab_and_negative_fluxes_have_none():
    magnitude, error = to_ab_magnitude([3631e9, -5.0, 100.0], [3631e7, 1.0, 10.0])
    assert magnitude[0] == pytest.approx(0.0, abs=1e-3)
    assert error[0] == pytest.approx(0.010857, rel=1e-3)
    assert np.isnan(magnitude[1])
    assert magnitude[2] == pytest.approx(26.4)


def test_the_periodogram_agrees_with_astropy():
    from astropy.timeseries import LombScargleMultiband

    rng = np.random.default_rng(2)
    time, band = np.sort(rng.uniform(0, 40, 50)), np.arange(50) % 3
    values = 1 + 0.2 * np.sin(2 * np.pi * time / 3.1) + 0.3 * band + rng.normal(0, 0.05, 50)
    error = rng.uniform(0.03, 0.08, 50)
    frequency = np.linspace(0.05, 2, 60)
    ours = multiband_power(time, values, error**-2, band, frequency)
    oracle = LombScargleMultiband(
        time, values, band, error, nterms_base=1, nterms_band=0, reg_base=0, reg_band=0
    )
    theirs = oracle.power(frequency, method="flexible")
    assert np.abs(ours - theirs).max() < 0.02
    assert np.argmax(ours) == np.argmax(theirs)


def test_minutes_of_frames_can_be_searched_too():
    rng = np.random.default_rng(4)
    mjd = 60000 + np.arange(24) / 1440
    flux = 1000 * (1 + 0.1 * np.sin(2 * np.pi * mjd * 1440 / 7.3)) + rng.normal(0, 5, 24)
    period, _ = find_period(mjd, flux, np.full(24, 5.0), np.array(["clear"] * 24))
    assert period * 1440 == pytest.approx(7.3, rel=0.02)
