"""Resampling: against a direct evaluation of the Lanczos sum, and its promises on flux, noise and mask."""

import numpy as np
import pytest

from skydesk_core.algorithms.planes import EDGE, NO_DATA, SAT
from skydesk_core.algorithms.psfgrid import PsfGrid
from skydesk_core.algorithms.warp import Planes, invert_map, map_jacobian, warp_image
from skydesk_core.errors import DataError

ANGLE, SCALE = 0.3, 1.15


def rotate(x, y):
    c, s = SCALE * np.cos(ANGLE), SCALE * np.sin(ANGLE)
    return c * (x - 60) - s * (y - 60) + 50, s * (x - 60) + c * (y - 60) + 50


def gaussian(sigma, size=25):
    r = np.arange(size) - size // 2
    return np.exp(-(r[:, None] ** 2 + r[None, :] ** 2) / (2 * sigma**2))


def make_planes(rng, shape=(100, 100)):
    image = rng.normal(0, 3, shape).astype(np.float32)
    variance = rng.uniform(5, 12, shape).astype(np.float32)
    return Planes(image, variance, np.zeros(shape, np.int32))


def lanczos_sum(planes, x, y):
    """The plain definition with separable weights normalised along each axis."""
    x0, y0 = int(np.floor(x)), int(np.floor(y))
    kx, ky = np.arange(x0 - 2, x0 + 4), np.arange(y0 - 2, y0 + 4)
    wx = np.sinc(x - kx) * np.sinc((x - kx) / 3) * (np.abs(x - kx) < 3)
    wy = np.sinc(y - ky) * np.sinc((y - ky) / 3) * (np.abs(y - ky) < 3)
    w = np.outer(wy / wy.sum(), wx / wx.sum())
    cut = np.s_[ky[0] : ky[-1] + 1, kx[0] : kx[-1] + 1]
    return (w * planes.image[cut]).sum(), (w**2 * planes.variance[cut]).sum()


def test_matches_the_definition_of_lanczos():
    planes = make_planes(np.random.default_rng(1))
    out = warp_image(planes, rotate, (120, 120))
    for j, i in [(40, 50), (60, 60), (71, 33), (80, 77)]:
        x, y = rotate(float(i), float(j))
        value, noise = lanczos_sum(planes, x, y)
        assert out.image[j, i] == pytest.approx(value * SCALE**2, abs=2e-4)
        assert out.variance[j, i] == pytest.approx(noise * SCALE**4, rel=1e-4)


def test_flux_of_a_star_survives_rotation_and_change_of_scale():
    sigma, flux = 2.0, 5000.0
    yy, xx = np.mgrid[:100, :100]
    star = flux / (2 * np.pi * sigma**2) * np.exp(-((xx - 50.3) ** 2 + (yy - 49.6) ** 2) / (2 * sigma**2))
    planes = Planes(star.astype(np.float32), np.ones((100, 100), np.float32), np.zeros((100, 100), np.int32))
    out = warp_image(planes, rotate, (120, 120))
    assert np.nansum(out.image) == pytest.approx(flux, rel=2e-3)
    psf = PsfGrid.from_function(lambda _x, _y: gaussian(sigma), (0, 99), (0, 99), 2)
    stamp = psf.transform(50.3, 49.6, map_jacobian(rotate, 60, 60), 25)
    warped = PsfGrid.from_function(lambda _x, _y: stamp, (0, 119), (0, 119), 1)
    back = np.linalg.inv(map_jacobian(rotate, 60, 60)) @ np.array([50.3 - 50, 49.6 - 50]) + 60
    found = warped.fluxes(out.image, out.variance, out.mask, NO_DATA, back[:1], back[1:])
    assert found.flux[0] == pytest.approx(flux, rel=2e-3)


def test_no_data_lies_exactly_where_no_input_pixel_has_data():
    planes = make_planes(np.random.default_rng(2))
    planes.mask[30:40, 20:60] = NO_DATA
    out = warp_image(planes, rotate, (120, 120))
    jj, ii = np.mgrid[:120, :120]
    x, y = rotate(ii.astype(float), jj.astype(float))
    col, row = np.floor(x + 0.5).astype(int), np.floor(y + 0.5).astype(int)
    on = (col >= 0) & (row >= 0) & (col < 100) & (row < 100)
    reached = on.copy()
    reached[on] = (planes.mask[row[on], col[on]] & NO_DATA) == 0
    assert np.array_equal((out.mask & NO_DATA) == 0, reached)
    assert np.isfinite(out.image[reached]).all()
    assert np.isnan(out.image[~reached]).all()


def test_mask_spreads_over_the_kernel_and_borders_are_marked():
    planes = make_planes(np.random.default_rng(3))
    planes.mask[50, 50] = SAT
    out = warp_image(planes, lambda x, y: (x + 0.4, y + 0.4), (100, 100))
    rows, columns = np.nonzero(out.mask & SAT)
    assert (rows.min(), rows.max()) == (columns.min(), columns.max()) == (47, 52)
    assert out.mask[1, 50] & EDGE
    assert not out.mask[50, 30] & EDGE


def test_inverse_of_a_distorted_map_is_exact_inside_and_undefined_far_outside():
    def forward(x, y):
        u, v = x - 300, y - 250
        r2 = u**2 + v**2
        return 700 - u * (1 + 2e-8 * r2), 100 + v * (1 + 2e-8 * r2) + 0.01 * u

    inverse = invert_map(forward, (500, 600))
    x, y = np.meshgrid(np.linspace(0, 599, 30), np.linspace(0, 499, 30))
    bx, by = inverse(*forward(x.ravel(), y.ravel()))
    assert np.hypot(bx - x.ravel(), by - y.ravel()).max() < 1e-3
    assert np.isnan(inverse(np.array([5000.0]), np.array([0.0]))[0]).all()


def test_a_map_that_folds_is_refused():
    with pytest.raises(DataError, match="cannot be inverted"):
        invert_map(lambda x, y: (np.abs(x - 300), y), (500, 600))
