"""PSF photometry on a sampled PSF, moments, objects: against plain numpy and against truth."""

import galsim
import numpy as np
import pytest

from skydesk_core.algorithms.forced import fixed_apertures
from skydesk_core.algorithms.objects import (
    Peaks,
    find_blends,
    measure_objects,
    merge_peaks,
    noise_correlation,
    refine_centroids,
)
from skydesk_core.algorithms.planes import NO_DATA, SAT
from skydesk_core.algorithms.psfgrid import PsfGrid
from skydesk_core.algorithms.warp import Planes
from skydesk_core.errors import DataError
from skydesk_core.kernels.moments import adaptive_moments

N = 300


def gaussian(sigma, size=25):
    r = np.arange(size) - size // 2
    return np.exp(-(r[:, None] ** 2 + r[None, :] ** 2) / (2 * sigma**2))


def make_psf(left=1.7, right=2.1):
    """A PSF that widens from left to right."""
    return PsfGrid.from_function(
        lambda x, _y: gaussian(left + (right - left) * x / (N - 1)), (0, N - 1), (0, N - 1), 5
    )


def make_scene(x, y, flux, noise=5.0, seed=1, sigma=lambda x: 1.7 + 0.4 * x / (N - 1)):
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[:N, :N]
    image = rng.normal(0, noise, (N, N))
    for px, py, f in zip(x, y, flux, strict=True):
        s = sigma(px)
        image += f / (2 * np.pi * s**2) * np.exp(-((xx - px) ** 2 + (yy - py) ** 2) / (2 * s**2))
    return Planes(image.astype(np.float32), np.full((N, N), noise**2, np.float32), np.zeros((N, N), np.int32))


def test_flux_and_error_agree_with_least_squares():
    psf = make_psf()
    planes = make_scene([100.3], [140.8], [4000.0])
    found = psf.fluxes(
        planes.image, planes.variance, planes.mask, NO_DATA, np.array([100.3]), np.array([140.8])
    )
    stamp = psf.stellar(100.3, 140.8)
    cut = np.s_[141 - 12 : 141 + 13, 100 - 12 : 100 + 13]
    expected = (stamp * planes.image[cut]).sum() / (stamp**2).sum()
    assert found.flux[0] == pytest.approx(expected, rel=1e-6)
    assert found.error[0] == pytest.approx(5.0 / np.sqrt((stamp**2).sum()), rel=1e-6)
    assert found.count[0] == 625
    residual = planes.image[cut] - expected * stamp
    assert found.chi2[0] == pytest.approx((residual**2).sum() / 25, rel=1e-5)


def test_pulls_of_many_stars_are_standard_normal():
    rng = np.random.default_rng(4)
    gx, gy = (a.ravel().astype(float) for a in np.meshgrid(np.arange(25, 276, 25), np.arange(25, 276, 25)))
    x, y = gx + rng.uniform(-0.5, 0.5, gx.size), gy + rng.uniform(-0.5, 0.5, gx.size)
    planes = make_scene(x, y, np.full(x.size, 3000.0))
    found = make_psf().fluxes(planes.image, planes.variance, planes.mask, NO_DATA, x, y)
    pull = (found.flux - 3000.0) / found.error
    assert abs(np.mean(pull)) < 0.3
    assert 0.8 < np.std(pull) < 1.2


def test_masked_pixels_take_no_part_and_too_few_give_no_flux():
    planes = make_scene([100.0, 200.0], [100.0, 200.0], [4000.0, 4000.0], noise=0.5)
    planes.image[100, 100] = 1e6
    planes.mask[100, 100] = NO_DATA
    planes.mask[190:211, 190:211] = NO_DATA
    at = np.array([100.0, 200.0, -5.0])
    found = make_psf().fluxes(planes.image, planes.variance, planes.mask, NO_DATA, at, at)
    assert found.flux[0] == pytest.approx(4000.0, rel=0.01)
    assert np.isnan(found.flux[1])
    assert np.isnan(found.coverage[2])
    assert found.centre_bits[0] & NO_DATA


def test_a_psf_that_is_not_square_is_refused():
    with pytest.raises(DataError, match="square with an odd side"):
        PsfGrid.from_function(lambda _x, _y: np.ones((4, 4)), (0, 9), (0, 9), 2)
    with pytest.raises(DataError, match="positive sum"):
        PsfGrid.from_function(lambda _x, _y: np.zeros((5, 5)), (0, 9), (0, 9), 2)


def test_adaptive_moments_agree_with_galsim():
    for shear in ((0.0, 0.0), (0.3, -0.2), (-0.1, 0.4)):
        profile = galsim.Exponential(half_light_radius=3.0).shear(g1=shear[0], g2=shear[1])
        profile = galsim.Convolve(profile, galsim.Gaussian(sigma=1.8))
        stamp = profile.drawImage(nx=61, ny=61, scale=1.0)
        expected = galsim.hsm.FindAdaptiveMom(stamp, precision=1e-7)
        out = np.empty((1, 5))
        bits = np.zeros((61, 61), np.int32)
        at = np.array([30.0])
        adaptive_moments(stamp.array.astype(float), bits, 0, at, at, 2.0, 30, out)
        xx, yy, xy = out[0, :3]
        assert out[0, 4] == 0
        assert (xx * yy - xy**2) ** 0.25 == pytest.approx(expected.moments_sigma, rel=2e-3)
        assert (xx - yy) / (xx + yy) == pytest.approx(expected.observed_shape.e1, abs=2e-3)
        assert 2 * xy / (xx + yy) == pytest.approx(expected.observed_shape.e2, abs=2e-3)


def test_blended_stars_are_separated():
    x, y, flux = (
        np.array([150.0, 154.6, 60.0]),
        np.array([150.0, 151.0, 60.0]),
        np.array([9000.0, 5000.0, 7000.0]),
    )
    planes = make_scene(x, y, flux)
    m = measure_objects(planes, make_psf(), x, y)
    assert np.all(np.abs(m.psf.flux - flux) < 5 * m.psf.error)
    assert m.extendedness.tolist() == [0.0, 0.0, 0.0]
    assert np.allclose(m.apertures[2, 3:], 7000.0, rtol=0.06)
    assert m.kron[2] == pytest.approx(7000.0, rel=0.06)
    assert np.allclose(m.moments[2, :2], m.psf_moments[2, :2], rtol=0.05)


def test_a_galaxy_is_extended():
    profile = galsim.Convolve(
        galsim.Exponential(half_light_radius=3.0, flux=20000), galsim.Gaussian(sigma=1.9)
    )
    image = profile.drawImage(nx=N, ny=N, scale=1.0, center=galsim.PositionD(151, 151)).array
    noise = np.random.default_rng(1).normal(0, 3, (N, N))
    planes = Planes(
        (image + noise).astype(np.float32), np.full((N, N), 9, np.float32), np.zeros((N, N), np.int32)
    )
    m = measure_objects(planes, make_psf(1.9, 1.9), np.array([150.0]), np.array([150.0]))
    assert m.extendedness[0] == m.size_extendedness[0] == 1.0
    assert m.kron[0] == pytest.approx(20000, rel=0.1)
    assert m.psf.flux[0] < 0.8 * 20000


def test_centroids_improve():
    planes = make_scene([150.27], [99.81], [20000.0])
    x, y = refine_centroids(planes, np.array([150.9]), np.array([99.2]), 1.9)
    assert x[0] == pytest.approx(150.27, abs=0.02)
    assert y[0] == pytest.approx(99.81, abs=0.02)


def test_noise_correlation_sees_smoothing_and_is_one_for_white_noise():
    psf = make_psf(1.9, 1.9)
    free = np.zeros((N, N), bool)
    white = make_scene([], [], [], noise=2.0)
    assert noise_correlation(white, psf, free) == pytest.approx(1.0, abs=0.1)
    smooth = white.image + np.roll(white.image, 1, axis=1)
    planes = Planes(smooth, np.full((N, N), 2 * 4.0, np.float32), white.mask)
    assert noise_correlation(planes, psf, free) == pytest.approx(np.sqrt(2), rel=0.15)


def test_merging_takes_each_position_once_by_priority():
    def peaks(x, snr):
        return Peaks(np.array(x), np.zeros(len(x)), np.array(snr), np.ones(len(x), int))

    merged = merge_peaks(
        {"g": peaks([10.2, 50.0], [9.0, 8.0]), "i": peaks([10.0, 30.0], [5.0, 50.0])}, ["i", "r", "g"], 1.0
    )
    assert merged.band.tolist() == ["i", "i", "g"]
    assert merged.x.tolist() == [30.0, 10.0, 50.0]


def test_blends_are_chains_of_neighbours():
    blend = find_blends(np.array([0.0, 3.0, 6.0, 100.0]), np.zeros(4), 4.0)
    assert blend.size.tolist() == [3, 3, 3, 1]
    assert len(set(blend.group[:3])) == 1


def test_fixed_apertures_are_corrected_to_total_and_know_their_mask():
    planes = make_scene([150.4, 80.0], [150.2, 80.0], [9000.0, 9000.0], sigma=lambda _x: 1.1)
    psf = PsfGrid.from_function(lambda _x, _y: gaussian(1.1), (0, N - 1), (0, N - 1), 2)
    planes.mask[80, 82] = SAT
    x = np.array([150.4, 80.0, 1.0])
    found = fixed_apertures(planes, psf, x, np.array([150.2, 80.0, 1.0]), 2.5)
    assert found.flux[:2] == pytest.approx([9000.0, 9000.0], rel=0.03)
    assert found.bits[1] & SAT
    assert found.truncated.tolist() == [False, False, True]
