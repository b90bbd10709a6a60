import numpy as np
import pytest
from mocpy import MOC

from skydesk_core.release.healpix import HP14_SHIFT, to_hp29


def test_pixels_agree_with_mocpy_all_over_the_sky():
    import astropy.units as u

    rng = np.random.default_rng(5)
    z, ra = rng.uniform(-1, 1, 300), rng.uniform(0, 360, 300)
    dec = np.degrees(np.arcsin(z))
    ra = np.concatenate([ra, [1e-7, 45.0, 90.0, 359.999999, 53.13, 10.0, 200.0]])
    dec = np.concatenate([dec, [2e-7, 41.8103, -41.8103, 12.0, -28.1, 89.9999, -89.9999]])
    found = to_hp29(ra, dec)
    for r, d, pixel in zip(ra, dec, found, strict=True):
        ranges = MOC.from_lonlat([r] * u.deg, [d] * u.deg, max_norder=29).to_depth29_ranges
        assert int(ranges[0][0]) <= int(pixel) < int(ranges[-1][1])


def test_order_14_is_a_shift():
    import astropy.units as u

    pixel = int(to_hp29(53.13, -28.1)[0]) >> HP14_SHIFT
    moc = MOC.from_healpix_cells(np.array([pixel], np.uint64), np.array([14], np.uint8), max_depth=14)
    assert moc.contains_lonlat([53.13] * u.deg, [-28.1] * u.deg).all()


@pytest.mark.parametrize(("ra", "dec"), [(np.nan, 0.0), (0.0, np.inf), (10.0, 91.0)])
def test_positions_that_are_none_get_minus_one(ra, dec):
    assert to_hp29(ra, dec).tolist() == [-1]
