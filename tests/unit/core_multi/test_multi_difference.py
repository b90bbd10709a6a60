"""Image subtraction, detection on differences, association: on simulated pairs with known answers."""

import numpy as np
import pytest

from skydesk_core.algorithms.associate import associate_detections, light_curve_statistics
from skydesk_core.algorithms.dia import detect_dia, measure_dia
from skydesk_core.algorithms.planes import NO_DATA, SAT
from skydesk_core.algorithms.psfgrid import PsfGrid
from skydesk_core.algorithms.subtract import decorrelation_kernel, subtract_images
from skydesk_core.algorithms.warp import Planes
from skydesk_core.errors import DataError
from skydesk_core.kernels.matching import convolve_blocks

N = 500


def make_psf(sigma):
    r = np.arange(25) - 12
    stamp = np.exp(-(r[:, None] ** 2 + r[None, :] ** 2) / (2 * sigma**2))
    return PsfGrid.from_function(lambda _x, _y: stamp, (0, N - 1), (0, N - 1), 2)


def make_scene(rng, x, y, flux, sigma, noise):
    image = np.zeros((N, N))
    r = 16
    for px, py, f in zip(x, y, flux, strict=True):
        i, j = int(px), int(py)
        rows, columns = slice(max(j - r, 0), min(j + r + 1, N)), slice(max(i - r, 0), min(i + r + 1, N))
        yy, xx = np.mgrid[rows, columns]
        image[rows, columns] += (
            f / (2 * np.pi * sigma**2) * np.exp(-((xx - px) ** 2 + (yy - py) ** 2) / (2 * sigma**2))
        )
    variance = noise**2 + image / 5
    image = image + rng.normal(size=image.shape) * np.sqrt(variance)
    return Planes(image.astype(np.float32), variance.astype(np.float32), np.zeros((N, N), np.int32))


@pytest.fixture(scope="module", params=[(2.2, 1.8), (1.7, 2.0)], ids=["template sharper", "science sharper"])
def pair(request):
    rng = np.random.default_rng(7)
    sigma_science, sigma_template = request.param
    x, y = rng.uniform(0, N, (2, 150))
    flux = 10 ** rng.uniform(2.5, 4.7, 150)
    grid = np.arange(50.0, 460.0, 60.0)
    new_x, new_y = (a.ravel() + rng.uniform(-15, 15, a.size) for a in np.meshgrid(grid, grid))
    far = np.array([np.hypot(x - a, y - b).min() > 12 for a, b in zip(new_x, new_y, strict=True)])
    new_x, new_y = new_x[far], new_y[far]
    new_flux = rng.uniform(700, 3000, len(new_x))
    science = make_scene(rng, np.r_[x, new_x], np.r_[y, new_y], np.r_[flux, new_flux], sigma_science, 10.0)
    template = make_scene(rng, x, y, flux, sigma_template, 5.0)
    bright = np.flatnonzero(flux > 3000)
    bright = bright[np.argsort(-flux[bright])]
    result = subtract_images(
        science, template, make_psf(sigma_science), make_psf(sigma_template), x[bright], y[bright]
    )
    return science, result, (new_x, new_y, new_flux), (x, y, flux), sigma_science < sigma_template


def test_what_is_common_disappears_and_the_noise_is_white(pair):
    science, result, _, (x, y, flux), swapped = pair
    assert result.convolved_science == swapped
    assert result.kernel.scale == pytest.approx(1.0, abs=0.01)
    d = result.planes
    good = np.isfinite(d.image) & np.isfinite(d.variance)
    ratio = (d.image / np.sqrt(d.variance))[good]
    assert 1.4826 * np.median(np.abs(ratio)) == pytest.approx(1.0, abs=0.03)
    empty = good & (np.abs(science.image) < 35)
    both = empty[:, 1:] & empty[:, :-1]
    sky = d.image / np.sqrt(d.variance)
    correlation = np.mean((sky[:, 1:] * sky[:, :-1])[both]) / np.mean(sky[empty] ** 2)
    assert abs(correlation) < 0.06
    inside = (x > 30) & (y > 30) & (x < N - 30) & (y < N - 30) & (flux > 5000)
    left = result.psf.fluxes(d.image, d.variance, d.mask, NO_DATA, x[inside], y[inside])
    assert np.median(np.abs(left.flux) / flux[inside]) < 0.01


def test_new_sources_have_their_flux_and_honest_errors(pair):
    _, result, (x, y, flux), _, _ = pair
    d = result.planes
    found = result.psf.fluxes(d.image, d.variance, d.mask, NO_DATA, x, y)
    pull = (found.flux - flux) / found.error
    assert abs(np.median(pull)) < 0.6
    assert 1.4826 * np.median(np.abs(pull)) < 1.6
    assert np.median(found.flux / flux) == pytest.approx(1.0, abs=0.03)


def test_detection_is_complete_and_pure(pair):
    science, result, (x, y, flux), _, _ = pair
    d = result.planes
    expected = flux / result.psf.fluxes(d.image, d.variance, d.mask, NO_DATA, x, y).error
    found = measure_dia(d, result.psf, detect_dia(d, result.psf, 5.0, science.image, 0.01))
    fx, fy = found.detections.x, found.detections.y
    near = np.array([np.hypot(fx - a, fy - b).min() if len(fx) else 99.0 for a, b in zip(x, y, strict=True)])
    assert (near[expected > 7] < 1.0).mean() >= 0.95
    true = np.array([np.hypot(x - a, y - b).min() < 1.5 for a, b in zip(fx, fy, strict=True)])
    assert (~true).sum() <= 3
    assert (found.psf.flux[true] > 0).all()


def test_a_moved_star_is_one_dipole():
    rng = np.random.default_rng(3)
    planes = make_scene(rng, [250.0], [250.0], [6000.0], 2.0, 5.0)
    moved = make_scene(rng, [252.0], [250.0], [6000.0], 2.0, 5.0)
    planes = Planes(planes.image - moved.image, planes.variance + moved.variance, planes.mask)
    found = detect_dia(planes, make_psf(2.0))
    assert found.dipole.tolist() == [True]


def test_detections_on_spoilt_pixels_are_left_out():
    planes = make_scene(np.random.default_rng(3), [100.0, 300.0], [100.0, 300.0], [3000.0, 3000.0], 2.0, 5.0)
    planes.mask[300, 301] = SAT
    psf = make_psf(2.0)
    found = detect_dia(planes, psf)
    assert len(measure_dia(planes, psf, found).detections.x) == 2
    kept = measure_dia(planes, psf, found, bad_centre=SAT)
    assert kept.detections.x == pytest.approx([100.0], abs=0.2)


def test_too_few_stars_are_an_error():
    planes = make_scene(np.random.default_rng(3), [100.0], [100.0], [3000.0], 2.0, 5.0)
    with pytest.raises(DataError, match="3 usable stars"):
        subtract_images(planes, planes, make_psf(2.0), make_psf(2.0), np.array([100.0]), np.array([100.0]))


def test_block_convolution_agrees_with_the_sum():
    rng = np.random.default_rng(0)
    kernels = rng.normal(size=(2, 2, 5, 5)).astype(np.float32)
    image = rng.normal(size=(44, 54)).astype(np.float32)
    variance = rng.uniform(1, 2, (44, 54)).astype(np.float32)
    out, noise = np.empty((40, 50), np.float32), np.empty((40, 50), np.float32)
    convolve_blocks(image, variance, kernels, 32, out, noise)
    for j, i in [(0, 0), (31, 31), (32, 33), (39, 49)]:
        k = kernels[j // 32, i // 32][::-1, ::-1]
        assert out[j, i] == pytest.approx((k * image[j : j + 5, i : i + 5]).sum(), abs=1e-4)
        assert noise[j, i] == pytest.approx((k**2 * variance[j : j + 5, i : i + 5]).sum(), rel=1e-4)


def test_decorrelation_makes_the_spectrum_flat():
    r = np.arange(15) - 7
    kernel = np.exp(-(r[:, None] ** 2 + r[None, :] ** 2) / 4.0)
    kernel /= kernel.sum()
    whitening = decorrelation_kernel(kernel, 4.0, 1.0)
    size = whitening.shape[0]
    padded = np.zeros((size, size))
    padded[size // 2 - 7 : size // 2 + 8, size // 2 - 7 : size // 2 + 8] = kernel
    power = (4.0 + np.abs(np.fft.fft2(padded)) ** 2) * np.abs(np.fft.fft2(whitening)) ** 2
    assert power.std() / power.mean() < 1e-6
    assert whitening.sum() == pytest.approx(1.0)


def test_association_gives_each_object_one_source_an_epoch():
    rng = np.random.default_rng(2)
    ra, dec = 53.0 + np.arange(5) * 0.01, np.full(5, -28.0)
    epoch = np.repeat([3, 1, 2], 5)
    jitter = rng.normal(0, 0.05 / 3600, (2, 15))
    found = associate_detections(np.tile(ra, 3) + jitter[0], np.tile(dec, 3) + jitter[1], epoch, np.ones(15))
    assert len(found.ra_deg) == 5
    assert np.array_equal(found.index[:5], found.index[5:10])
    assert np.sort(found.ra_deg) == pytest.approx(ra, abs=1e-4)
    # Two sources of one epoch within the radius stay two objects.
    close = associate_detections(np.array([10.0, 10.0001]), np.zeros(2), np.array([1, 1]), np.ones(2))
    assert len(close.ra_deg) == 2
    assert len(associate_detections(np.empty(0), np.empty(0), np.empty(0), np.empty(0)).ra_deg) == 0


def test_statistics_of_a_light_curve():
    t = np.array([3.0, 1.0, 2.0])
    s = light_curve_statistics(t, np.array([30.0, 10.0, 20.0]), np.array([1.0, 1.0, 1.0]))
    assert s is not None
    assert (s.mean, s.minimum, s.maximum, s.count, s.mad) == (20.0, 10.0, 30.0, 3, 10.0)
    assert s.slope == pytest.approx(10.0)
    assert s.intercept == pytest.approx(0.0, abs=1e-9)
    assert s.max_slope == pytest.approx(10.0)
    assert s.sigma == pytest.approx(10.0)
    assert s.chi2 == pytest.approx(200.0)
    assert light_curve_statistics(t, np.full(3, np.nan), np.ones(3)) is None
    single = light_curve_statistics(np.array([1.0]), np.array([5.0]), np.array([2.0]))
    assert single is not None
    assert np.isnan(single.sigma)
    assert np.isnan(single.slope)
