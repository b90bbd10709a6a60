"""Coaddition: weights, rejection of artefacts, mask rules, PSF."""

import numpy as np
import pytest

from skydesk_core.algorithms.coadd import (
    CoaddInputPsf,
    best_seeing,
    coadd_psf_cells,
    combine_warps,
    max_epochs,
)
from skydesk_core.algorithms.planes import BAD, CLIPPED, CR, DETECTED, NO_DATA, SAT
from skydesk_core.algorithms.psfgrid import PsfGrid
from skydesk_core.algorithms.warp import Planes
from skydesk_core.errors import UsageError

SHAPE = (60, 70)


def make_warps(sigmas, count=4, seed=0):
    """Warps of one star of given seeing, noise of standard deviation 1 to 2."""
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[: SHAPE[0], : SHAPE[1]]
    out = []
    for k in range(count):
        s, noise = sigmas[k % len(sigmas)], 1.0 + k / count
        star = 20000 / (2 * np.pi * s**2) * np.exp(-((xx - 35) ** 2 + (yy - 30) ** 2) / (2 * s**2))
        image = (star + rng.normal(0, noise, SHAPE)).astype(np.float32)
        out.append(Planes(image, np.full(SHAPE, noise**2, np.float32), np.zeros(SHAPE, np.int32)))
    return out


def test_weighted_mean_and_its_variance():
    warps = make_warps([2.0])
    result = combine_warps(warps)
    weights = np.array([1 / np.median(w.variance) for w in warps])
    mean = sum(w.image * k for w, k in zip(warps, weights, strict=True)) / weights.sum()
    assert np.allclose(result.planes.image, mean, rtol=1e-5, atol=1e-3)
    assert np.allclose(result.planes.variance, 1 / weights.sum(), rtol=1e-5)
    assert np.allclose(result.weights, weights / weights.sum())
    assert (result.count == 4).all()


def test_mask_rules():
    warps = make_warps([2.0], count=3)
    for w in warps:
        w.mask[:, :10] = NO_DATA
        w.image[:, :10] = np.nan
        w.variance[:, :10] = np.inf
    warps[0].mask[20, 20:30] |= SAT
    warps[0].image[20, 20:30] = 1e6
    warps[1].mask[40, 20] |= CR
    warps[1].image[40, 20] = 1e6
    warps[2].mask[5, 60] |= DETECTED
    for w in warps:
        w.mask[50, 50] |= BAD
    planes = combine_warps(warps).planes
    assert ((planes.mask[:, :10] & NO_DATA) != 0).all()
    assert ((planes.mask[:, 10:] & NO_DATA) == 0).all()
    assert ((planes.mask[20, 20:30] & SAT) != 0).all()
    assert np.abs(planes.image[20, 20:30]).max() < 10
    assert planes.mask[40, 20] & (SAT | CR) == 0
    assert abs(planes.image[40, 20]) < 10
    assert planes.mask[5, 60] & DETECTED == 0
    assert planes.mask[50, 50] & BAD
    assert np.isfinite(planes.image[50, 50])


def test_an_artefact_is_left_out_but_a_star_of_changing_seeing_is_not():
    sigmas = [1.5, 2.6, 2.0, 1.8]
    warps = make_warps(sigmas)
    for i in range(10, 60):
        warps[1].image[10, i] += 60.0
    planes = combine_warps(warps, sigmas).planes
    assert ((planes.mask[10, 12:58] & CLIPPED) != 0).mean() > 0.95
    assert np.median(planes.image[10, 12:58]) < 1.0
    assert ((planes.mask[22:39, 27:44] & CLIPPED) == 0).all()
    clean = combine_warps(make_warps(sigmas)).planes
    assert planes.image[22:39, 27:44].sum() == pytest.approx(clean.image[22:39, 27:44].sum(), rel=1e-4)


def test_what_many_epochs_show_is_kept():
    warps = make_warps([2.0], count=4)
    for w in warps[2:]:
        w.image[10:13, 10:13] += 80.0
    planes = combine_warps(warps, [2.0] * 4).planes
    assert (planes.mask[11, 11] & CLIPPED) == 0
    assert planes.image[11, 11] > 15


def test_numbers_of_epochs_after_dmtn_080():
    assert [max_epochs(n) for n in (1, 2, 3, 4, 5, 6, 10, 100)] == [0, 0, 1, 1, 2, 2, 2, 5]


def test_best_seeing_keeps_the_minimum():
    assert best_seeing([3, 1, 2, 5], 0.3, 2).tolist() == [1, 2]
    assert best_seeing([3, 1], 0.1, 5).tolist() == [0, 1]


def test_psf_of_cells_is_the_weighted_mean_and_empty_cells_are_nan():
    def psf(sigma):
        r = np.arange(25) - 12
        stamp = np.exp(-(r[:, None] ** 2 + r[None, :] ** 2) / (2 * sigma**2))
        return PsfGrid.from_function(lambda _x, _y: stamp, (0, 99), (0, 99), 2)

    def here(x, y):
        return x, y

    inputs = [
        CoaddInputPsf(psf(1.5), here, (100, 100), 0.25),
        CoaddInputPsf(psf(2.5), here, (100, 100), 0.75),
    ]
    cells = coadd_psf_cells(inputs, np.array([50.0, 300.0]), np.array([50.0]), 25)
    expected = 0.25 * inputs[0].psf.cells[0, 0] + 0.75 * inputs[1].psf.cells[0, 0]
    assert np.allclose(cells[0, 0], expected, atol=1e-6)
    assert np.isnan(cells[0, 1]).all()


def test_nothing_to_combine_is_an_error():
    with pytest.raises(UsageError, match="at least one warp"):
        combine_warps([])
