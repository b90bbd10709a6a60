"""Pattern matching and TAN-SIP fits on made-up stars."""

import numpy as np
import pytest
from astropy.wcs import WCS, Sip
from lsst.images import Box, DetectorFrame, SkyProjection

from skydesk_core.algorithms.astrometry import AstrometryGuess, solve_astrometry
from skydesk_core.algorithms.patternmatch import find_similarity, match_nearest
from skydesk_core.algorithms.tansip import deproject, fit_tan_sip, project
from skydesk_core.errors import DataError

SHAPE = (800, 1000)


def distorted_wcs(mirrored=False, angle_deg=12.0, scale_arcsec=0.5):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN-SIP", "DEC--TAN-SIP"]
    wcs.wcs.crval = [150.0, 30.0]
    wcs.wcs.crpix = [500.5, 400.5]
    c, s = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    flip = np.diag([1.0 if mirrored else -1.0, 1.0])
    wcs.wcs.cd = scale_arcsec / 3600 * np.array([[c, -s], [s, c]]) @ flip
    a, b = np.zeros((4, 4)), np.zeros((4, 4))
    a[3, 0] = a[1, 2] = b[0, 3] = b[2, 1] = 2e-8
    wcs.sip = Sip(a, b, None, None, wcs.wcs.crpix)
    wcs.wcs.set()
    return wcs


def make_field(wcs, rng, n_ref=300, n_seen=90, noise_pixel=0.02):
    x = rng.uniform(-300, SHAPE[1] + 300, n_ref)
    y = rng.uniform(-300, SHAPE[0] + 300, n_ref)
    ra, dec = wcs.all_pix2world(x, y, 0)
    flux = 10 ** rng.uniform(2, 5, n_ref)
    inside = np.flatnonzero((x > 0) & (x < SHAPE[1]) & (y > 0) & (y < SHAPE[0]))[:n_seen]
    false = 60
    sx = np.concatenate(
        [x[inside] + rng.normal(0, noise_pixel, len(inside)), rng.uniform(0, SHAPE[1], false)]
    )
    sy = np.concatenate(
        [y[inside] + rng.normal(0, noise_pixel, len(inside)), rng.uniform(0, SHAPE[0], false)]
    )
    sflux = np.concatenate(
        [flux[inside] * rng.uniform(0.7, 1.3, len(inside)), 10 ** rng.uniform(2, 4, false)]
    )
    return (sx, sy, sflux), (ra, dec, flux)


def test_projection_round_trip():
    rng = np.random.default_rng(1)
    ra, dec = rng.uniform(358, 362, 50) % 360, rng.uniform(-62, -58, 50)
    back = deproject(project(ra, dec, 0.3, -60.0), 0.3, -60.0)
    assert np.allclose(back[0], ra, atol=1e-10)
    assert np.allclose(back[1], dec, atol=1e-10)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("known_parity", [False, True])
def test_solves_from_a_bad_pointing(mirrored, known_parity):
    rng = np.random.default_rng(2)
    wcs = distorted_wcs(mirrored, angle_deg=171.0)
    (x, y, flux), (ra, dec, ref_flux) = make_field(wcs, rng)
    guess = AstrometryGuess(
        150.03,
        29.98,
        0.507,
        pointing_error_deg=0.08,
        scale_tolerance=0.03,
        mirrored=mirrored if known_parity else None,
    )
    solution = solve_astrometry(x, y, flux, ra, dec, ref_flux, guess, SHAPE)
    assert solution.mirrored is mirrored
    assert solution.n_matches > 60
    assert solution.order == 3
    gx, gy = np.meshgrid(np.linspace(0, 999, 8), np.linspace(0, 799, 8))
    want = wcs.all_pix2world(gx.ravel(), gy.ravel(), 0)
    got = solution.wcs.all_pix2world(gx.ravel(), gy.ravel(), 0)
    error = np.hypot((got[0] - want[0]) * np.cos(np.radians(30)), got[1] - want[1]) * 3600
    assert error.max() < 0.03
    assert solution.scale_arcsec == pytest.approx(0.5, rel=1e-3)


def test_inverse_polynomial_agrees_with_the_forward_one():
    rng = np.random.default_rng(3)
    wcs = distorted_wcs()
    x, y = rng.uniform(0, 999, 200), rng.uniform(0, 799, 200)
    ra, dec = wcs.all_pix2world(x, y, 0)
    fit = fit_tan_sip(x, y, ra, dec, SHAPE, order=3)
    assert np.abs(fit.residual_arcsec).max() < 1e-5
    box = Box.factory[0 : SHAPE[0], 0 : SHAPE[1]]
    frame = DetectorFrame(instrument="T", visit=1, detector=0, bbox=box)
    projection = SkyProjection.from_fits_wcs(fit.wcs, frame, pixel_bounds=box)
    there = projection.pixel_to_sky_transform.apply_forward(x=x, y=y)
    assert np.allclose(np.degrees(there.x) % 360, ra, atol=1e-8)
    back = projection.sky_to_pixel_transform.apply_forward(x=np.radians(ra), y=np.radians(dec))
    assert np.hypot(back.x - x, back.y - y).max() < 2e-3


def test_outliers_are_left_out():
    rng = np.random.default_rng(4)
    wcs = distorted_wcs()
    x, y = rng.uniform(0, 999, 60), rng.uniform(0, 799, 60)
    ra, dec = wcs.all_pix2world(x, y, 0)
    x = x + rng.normal(0, 0.02, 60)
    x[:5] += 3.0
    fit = fit_tan_sip(x, y, ra, dec, SHAPE, order=2)
    assert not fit.used[:5].any()
    assert fit.used[5:].sum() >= 52


def test_unrelated_lists_are_refused():
    rng = np.random.default_rng(5)
    with pytest.raises(DataError, match="no pattern match"):
        find_similarity(rng.uniform(0, 1000, (80, 2)), rng.uniform(-500, 500, (120, 2)), 0.5, 0.02)


def test_too_few_reference_stars_are_named():
    guess = AstrometryGuess(10.0, 10.0, 0.5)
    with pytest.raises(DataError, match="only 0 reference stars"):
        solve_astrometry(*np.ones((3, 20)), *np.full((3, 5), 50.0), guess, SHAPE)


def test_nearest_match_is_one_to_one():
    a = np.array([[0.0, 0.0], [0.4, 0.0], [5.0, 5.0]])
    b = np.array([[0.1, 0.0], [9.0, 9.0]])
    i, j = match_nearest(a, b, 1.0)
    assert list(i) == [0]
    assert list(j) == [0]
