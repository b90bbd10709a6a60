"""Background, detection, measurement and zero point on small made-up images."""

import numpy as np
import pytest
from lsst.images import Box
from lsst.images.fields import ChebyshevField

from skydesk_core.algorithms.background import fit_background
from skydesk_core.algorithms.detection import detect, gaussian_kernel, signal_to_noise
from skydesk_core.algorithms.measure import measure_sources
from skydesk_core.algorithms.photocal import fit_zero_point
from skydesk_core.algorithms.planes import BIT
from skydesk_core.algorithms.psf import PixelPsf
from skydesk_core.algorithms.shapes import measure_shapes
from skydesk_core.errors import DataError

N = 400


def gaussian_psf(sigma=1.8, m=19):
    r = np.arange(m) - m // 2
    k = np.exp(-0.5 * (r[:, None] ** 2 + r[None, :] ** 2) / sigma**2)
    return PixelPsf((k / k.sum())[None], 0, (0.0, 0.0), 1.0)


@pytest.fixture(scope="module")
def field():
    rng = np.random.default_rng(11)
    psf = gaussian_psf()
    gx, gy = np.meshgrid(np.arange(30, 380, 35), np.arange(30, 380, 35))
    x = gx.ravel() + rng.uniform(-0.5, 0.5, gx.size)
    y = gy.ravel() + rng.uniform(-0.5, 0.5, gx.size)
    flux = 10 ** rng.uniform(2.3, 4.5, gx.size)
    image = np.zeros((N, N))
    for stamp, x0, y0, f in zip(*psf.stamps(x, y), flux, strict=True):
        image[y0 : y0 + 19, x0 : x0 + 19] += f * stamp
    variance = (image + 50.0).astype(np.float32)
    noisy = (image + rng.normal(size=image.shape) * np.sqrt(variance)).astype(np.float32)
    return psf, noisy, variance, x, y, flux


def test_signal_to_noise_has_unit_scatter(field):
    rng = np.random.default_rng(5)
    noise = rng.normal(0, 7, (300, 300)).astype(np.float32)
    sn = signal_to_noise(noise, np.full(noise.shape, 49.0), np.zeros(noise.shape, bool), gaussian_kernel(4.0))
    assert sn[20:-20, 20:-20].std() == pytest.approx(1.0, abs=0.08)


def test_detection_and_photometry(field):
    psf, image, variance, x, y, flux = field
    sky = np.full(image.shape, 50.0, np.float32)
    found = detect(image, sky, np.zeros(image.shape, bool), psf.images(np.array([0.0]), np.array([0.0]))[0])
    columns = measure_sources(image, variance, np.zeros(image.shape, np.int32), psf, found)
    d = np.hypot(columns["x"][:, None] - x, columns["y"][:, None] - y)
    nearest = d.argmin(axis=1)
    ok = d.min(axis=1) < 1.5
    expected_sn = flux / np.sqrt(50.0 * 4 * np.pi * 1.8**2)
    seen = np.isin(np.arange(len(x)), nearest[ok])
    assert seen[expected_sn > 7].mean() > 0.97
    assert (~ok).sum() <= 2
    bright = ok & (columns["psfFlux"] / columns["psfFluxErr"] > 10)
    pull = (columns["psfFlux"] - flux[nearest])[bright] / columns["psfFluxErr"][bright]
    assert abs(np.median(pull)) < 0.3
    assert 0.75 < 1.4826 * np.median(np.abs(pull - np.median(pull))) < 1.25
    offset = (columns["x"] - x[nearest])[bright] / columns["xErr"][bright]
    assert 1.4826 * np.median(np.abs(offset)) < 1.4
    very = ok & (columns["psfFlux"] > 5000)
    assert np.allclose(columns["ap12Flux"][very], flux[nearest][very], rtol=0.1)
    assert np.median(columns["ixx"][very]) == pytest.approx(1.8**2, rel=0.05)
    assert np.allclose(columns["ixxPSF"], 1.8**2, rtol=0.01)
    assert np.median(columns["gaussianFlux"][very] / flux[nearest][very]) == pytest.approx(1.0, abs=0.02)


def test_flags_come_from_the_footprint_and_the_centre(field):
    psf, image, variance, x, y, _ = field
    bits = np.zeros(image.shape, np.int32)
    star = int(np.argmax(field[5]))
    cx, cy = round(x[star]), round(y[star])
    bits[cy, cx] |= BIT["SAT"]
    bits[cy, cx + 3] |= BIT["CR"]
    sky = np.full(image.shape, 50.0, np.float32)
    found = detect(image, sky, np.zeros(image.shape, bool), psf.images(np.array([0.0]), np.array([0.0]))[0])
    columns = measure_sources(image, variance, bits, psf, found)
    k = int(np.argmin(np.hypot(columns["x"] - cx, columns["y"] - cy)))
    assert columns["pixelFlags_saturatedCenter"][k]
    assert columns["pixelFlags_cr"][k]
    assert not columns["pixelFlags_crCenter"][k]
    assert columns["pixelFlags_saturated"].sum() == 1


def test_adaptive_moments_see_orientation():
    yy, xx = np.mgrid[:61, :61] - 30.0
    c, s = np.cos(0.5), np.sin(0.5)
    u, v = c * xx + s * yy, -s * xx + c * yy
    image = (100 * np.exp(-0.5 * (u**2 / 9 + v**2 / 4))).astype(np.float32)
    at = np.array([30.0])
    moments, failed = measure_shapes(image, np.zeros(image.shape, np.int32), 0, at, at, 2.0)
    assert not failed[0]
    assert moments[0, 0] == pytest.approx(9 * c**2 + 4 * s**2, rel=0.01)
    assert moments[0, 1] == pytest.approx(9 * s**2 + 4 * c**2, rel=0.01)
    assert moments[0, 2] == pytest.approx(5 * c * s, rel=0.01)
    assert moments[0, 3] == pytest.approx(image.sum(), rel=0.01)


def test_background_is_smooth_and_equals_the_stored_field():
    rng = np.random.default_rng(6)
    yy, xx = np.mgrid[:512, :640]
    truth = 500 + 0.1 * xx - 0.05 * yy + 1e-4 * (xx - 300) ** 2
    image = (truth + rng.normal(0, 5, truth.shape)).astype(np.float32)
    image[100:104, 200:204] += 5000
    background = fit_background(image, np.zeros(image.shape, bool), 64, 4)
    assert np.abs(background.render() - truth).max() < 2.0
    assert background.noise == pytest.approx(5.0, rel=0.05)
    box = Box.factory[0:512, 0:640]
    assert np.allclose(
        ChebyshevField(box, background.coefficients.copy()).render(box).array, background.render(), rtol=1e-5
    )
    with pytest.raises(DataError, match="can serve as background"):
        fit_background(image, np.ones(image.shape, bool))


def test_zero_point_ignores_outliers():
    rng = np.random.default_rng(8)
    reference = 10 ** rng.uniform(3, 5, 80)
    flux = reference / 2.5 * 10 ** (0.4 * rng.normal(0, 0.01, 80))
    flux[:6] *= 3
    zero = fit_zero_point(flux, 0.002 * flux, reference, 0 * reference, np.ones(80, bool))
    assert zero.njy_per_unit == pytest.approx(2.5, rel=0.006)
    assert not zero.used[:6].any()
    assert zero.magnitude == pytest.approx(31.4 - 2.5 * np.log10(2.5), abs=0.01)
    with pytest.raises(DataError, match="only 2 of"):
        fit_zero_point(flux, flux * 0.01, reference, reference, np.arange(80) < 2)
