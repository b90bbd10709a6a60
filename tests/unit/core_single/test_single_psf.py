"""The linear PSF model: fit, drawing, storage as Piff, PSF photometry."""

import galsim
import numpy as np
import pytest
from lsst.images import Box

import skydesk_core.storage  # noqa: F401 - repairs the reading of Piff
from skydesk_core.algorithms.psf import PixelPsf, cut_stamps, resample_stamps
from skydesk_core.algorithms.psffit import choose_psf_stars, fit_psf, psf_size_for
from skydesk_core.algorithms.psfphot import measure_psf_flux
from skydesk_core.algorithms.psfstore import from_stored_psf, to_stored_psf
from skydesk_core.errors import DataError

SIZE = 600


def true_psf(x, y):
    profile = galsim.Kolmogorov(fwhm=4.4 + 0.2 * x / SIZE).shear(g1=0.04 * y / SIZE, g2=0.02)
    return galsim.Convolve(profile, galsim.Pixel(1.0))


@pytest.fixture(scope="module")
def star_field():
    rng = np.random.default_rng(7)
    image = galsim.Image(SIZE, SIZE, xmin=0, ymin=0, scale=1.0)
    gx, gy = np.meshgrid(np.arange(40, 560, 58), np.arange(40, 560, 58))
    x = gx.ravel() + rng.uniform(-0.5, 0.5, gx.size)
    y = gy.ravel() + rng.uniform(-0.5, 0.5, gx.size)
    flux = 10 ** rng.uniform(4.0, 5.5, gx.size)
    for a, b, f in zip(x, y, flux, strict=True):
        stamp = galsim.Image(galsim.BoundsI(int(a) - 28, int(a) + 28, int(b) - 28, int(b) + 28))
        true_psf(a, b).withFlux(f).drawImage(
            stamp, method="no_pixel", center=galsim.PositionD(a, b), scale=1.0
        )
        overlap = stamp.bounds & image.bounds
        image[overlap] += stamp[overlap]
    variance = (image.array + 200.0).astype(np.float32)
    noisy = (image.array + rng.normal(size=variance.shape) * np.sqrt(variance)).astype(np.float32)
    return noisy, variance, x, y, flux


@pytest.fixture(scope="module")
def fitted(star_field):
    image, variance, x, y, _ = star_field
    return fit_psf(image, variance, np.zeros(image.shape, bool), x, y, psf_size_for(4.5), 4.5)


def test_model_follows_the_truth_over_the_field(fitted):
    for x, y in ((60, 60), (300, 300), (540, 80), (80, 540)):
        m = fitted.psf.size
        truth = true_psf(x, y).drawImage(nx=m, ny=m, scale=1.0, method="no_pixel").array
        truth = truth / truth.sum()
        model = fitted.psf.images(np.array([x]), np.array([y]))[0]
        assert model.sum() == pytest.approx(1.0, abs=1e-9)
        assert np.abs(model - truth).max() < 0.03 * truth.max()
    assert fitted.psf.sigma_pixel(540, 300) > fitted.psf.sigma_pixel(60, 300) * 1.015


def test_fluxes_are_limited_by_noise(star_field, fitted):
    image, variance, x, y, flux = star_field
    result = measure_psf_flux(image, variance, np.zeros(image.shape, bool), fitted.psf, x, y)
    ratio = result.flux / flux
    assert np.median(ratio) == pytest.approx(1.0, abs=0.04)  # wings beyond the stamp
    relative = ratio / np.median(ratio) - 1
    assert 1.4826 * np.median(np.abs(relative[flux > 5e4])) < 0.006
    assert 1.4826 * np.median(np.abs(relative * flux / result.flux_err)[flux < 3e4]) < 1.4
    assert not result.failed.any()


def test_drawn_stars_equal_piffs(fitted):
    stored = to_stored_psf(fitted.psf, Box.factory[0:SIZE, 0:SIZE])
    for x, y in ((100.3, 200.7), (500.0, 30.49), (320.51, 410.47)):
        theirs = stored.compute_stellar_image(x=x, y=y)
        ours, x0, y0 = fitted.psf.stamps(np.array([x]), np.array([y]))
        assert (theirs.bbox.x.start, theirs.bbox.y.start) == (x0[0], y0[0])
        assert np.allclose(theirs.array, ours[0] / ours[0].sum(), atol=1e-9)
        kernel = stored.compute_kernel_image(x=x, y=y).array
        assert np.allclose(kernel, fitted.psf.images(np.array([x]), np.array([y]))[0], atol=1e-9)


def test_stored_psf_comes_back(fitted):
    back = from_stored_psf(to_stored_psf(fitted.psf, Box.factory[0:SIZE, 0:SIZE]))
    x, y = np.array([10.0, 300.0, 590.0]), np.array([500.0, 20.0, 333.3])
    assert np.allclose(back.images(x, y), fitted.psf.images(x, y), atol=1e-12)


def test_neighbours_are_fitted_together(fitted):
    image = np.zeros((100, 100), np.float32)
    x, y, flux = np.array([50.2, 54.1]), np.array([50.0, 51.3]), np.array([1000.0, 300.0])
    for stamp, x0, y0, f in zip(*fitted.psf.stamps(x, y), flux, strict=True):
        m = fitted.psf.size
        image[y0 : y0 + m, x0 : x0 + m] += f * stamp
    noise = np.ones_like(image)
    bad = np.zeros(image.shape, bool)
    alone = measure_psf_flux(image, noise, bad, fitted.psf, x, y, rounds=1).flux
    together = measure_psf_flux(image, noise, bad, fitted.psf, x, y, rounds=12).flux
    assert alone[1] > 1.5 * flux[1]
    assert np.allclose(together, flux, rtol=0.03)


def test_no_positions_and_lost_positions(fitted):
    image = np.ones((80, 80), np.float32)
    bad = np.zeros(image.shape, bool)
    assert len(measure_psf_flux(image, image, bad, fitted.psf, np.zeros(0), np.zeros(0)).flux) == 0
    bad[:] = True
    result = measure_psf_flux(image, image, bad, fitted.psf, np.array([40.0]), np.array([40.0]))
    assert result.failed[0]
    assert np.isnan(result.flux[0])


def test_resampling_by_whole_pixels_is_exact():
    rng = np.random.default_rng(3)
    stamps = rng.normal(size=(2, 21, 21))
    shifted = resample_stamps(stamps, np.array([1.0, 0.0]), np.array([0.0, -2.0]), 11)
    assert np.allclose(shifted[0], stamps[0, 5:16, 6:17])
    assert np.allclose(shifted[1], stamps[1, 3:14, 5:16])


def test_stamps_reach_beyond_the_image():
    image = np.arange(25.0).reshape(5, 5)
    stamps, x0, y0 = cut_stamps(image, np.array([0.0]), np.array([4.4]), 3, -1.0)
    assert (x0[0], y0[0]) == (-1, 3)
    assert stamps[0].tolist() == [[-1, 15, 16], [-1, 20, 21], [-1, -1, -1]]


def test_psf_star_selection_follows_the_locus():
    rng = np.random.default_rng(5)
    n = 120
    x, y = rng.uniform(0, 4000, n), rng.uniform(0, 4000, n)
    size = np.where(np.arange(n) < 60, rng.normal(2.0, 0.02, n), rng.uniform(2.6, 5.0, n))
    size[:4] = 0.8  # hot pixels
    sn = rng.uniform(60, 500, n)
    chosen = choose_psf_stars(x, y, size, sn, np.ones(n, bool), 10.0)
    assert chosen[:4].sum() == 0
    assert chosen[4:60].mean() > 0.9
    assert chosen[60:].sum() == 0


def test_too_few_stars_are_named():
    with pytest.raises(DataError, match="usable PSF stars"):
        choose_psf_stars(*np.ones((4, 3)), np.ones(3, bool), 10.0)


def test_second_moments_of_a_gaussian():
    r = np.arange(-15, 16)
    image = np.exp(-0.5 * (r[None, :] ** 2 / 4.0 + r[:, None] ** 2 / 9.0))
    psf = PixelPsf((image / image.sum())[None], 0, (0.0, 0.0), 1.0)
    ixx, iyy, ixy = psf.second_moments(0.0, 0.0)
    assert ixx == pytest.approx(4.0, rel=1e-3)
    assert iyy == pytest.approx(9.0, rel=1e-3)
    assert ixy == pytest.approx(0.0, abs=1e-9)
    assert psf.area_pixel(0.0, 0.0) == pytest.approx(4 * np.pi * 6.0, rel=1e-3)
