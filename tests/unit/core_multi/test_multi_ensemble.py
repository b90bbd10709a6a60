"""Ensemble zero points: recover what was put in, and leave variable stars out."""

import numpy as np
import pytest

from skydesk_core.algorithms.ensemble import fit_ensemble
from skydesk_core.errors import DataError

EPOCHS, STARS, SHAPE = 15, 80, (500, 650)


def make_field(gradient=0.05, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, SHAPE[1], STARS)[None, :] + np.linspace(0, 30, EPOCHS)[:, None]
    y = rng.uniform(0, SHAPE[0], STARS)[None, :] - np.linspace(0, 20, EPOCHS)[:, None]
    true = 10 ** rng.uniform(3.5, 5, STARS)
    offset = (
        rng.normal(0, 0.1, EPOCHS)[:, None] + gradient * rng.normal(size=EPOCHS)[:, None] * (x - 325) / 325
    )
    error = np.sqrt(true / 5)[None, :] * np.ones((EPOCHS, 1))
    flux = true * 10 ** (0.4 * offset) + rng.normal(size=(EPOCHS, STARS)) * error
    return flux, error, x, y, true


def test_zero_points_with_a_gradient_are_recovered():
    flux, error, x, y, true = make_field()
    found = fit_ensemble(flux, error, x, y, SHAPE, order=1)
    corrected = np.stack([flux[k] * found.factor(k, x[k], y[k]) for k in range(EPOCHS)])
    ratio = np.std(corrected, axis=0, ddof=1) / np.mean(corrected, axis=0) / (error[0] / true)
    assert np.median(ratio) < 1.1
    assert found.scatter_mag < 0.006
    flat = fit_ensemble(flux, error, x, y, SHAPE, order=0)
    assert flat.scatter_mag > 3 * found.scatter_mag


def test_variable_stars_do_not_take_part_and_keep_their_variation():
    flux, error, x, y, _ = make_field(gradient=0.0)
    bright = np.argsort(-np.median(flux, axis=0))[:3]
    wave = 1 + 0.3 * np.sin(np.arange(EPOCHS))
    flux[:, bright] *= wave[:, None]
    found = fit_ensemble(flux, error, x, y, SHAPE, order=0)
    assert not found.used[bright].any()
    corrected = np.stack([flux[k] * found.factor(k, x[k], y[k]) for k in range(EPOCHS)])
    curve = corrected[:, bright[0]] / corrected[:, bright[0]].mean()
    assert np.allclose(curve, wave / wave.mean(), atol=0.02)


def test_missing_measurements_are_tolerated():
    flux, error, x, y, _ = make_field()
    flux[np.random.default_rng(1).random(flux.shape) < 0.2] = np.nan
    assert fit_ensemble(flux, error, x, y, SHAPE).scatter_mag < 0.01


def test_too_few_stars_are_an_error():
    flux, error, x, y, _ = make_field()
    with pytest.raises(DataError, match="stars with S/N"):
        fit_ensemble(flux[:, :5], error[:, :5], x[:, :5], y[:, :5], SHAPE)
