import time
import warnings

import numpy as np
import pytest

from skydesk_core.errors import DataError, NotFoundError
from skydesk_core.release import Pyramid, build_pyramid
from skydesk_core.release.wcsfit import evaluate_wcs


@pytest.fixture(scope="module")
def visit_image(synthetic_release):
    with synthetic_release.get_butler() as butler:
        return butler.get(butler.query_datasets("visit_image")[0])


def make_image(ny, nx, seed=1, x0=0, y0=0):
    import astropy.units as u
    from lsst.images import Box, Image, MaskedImage, MaskPlane, MaskSchema

    rng = np.random.default_rng(seed)
    box = Box.factory[y0 : y0 + ny, x0 : x0 + nx]
    pixels = rng.normal(10, 3, (ny, nx)).astype(np.float32)
    pixels[rng.random((ny, nx)) < 0.03] = np.nan
    image = Image(pixels, bbox=box, unit=u.nJy)
    planes = [MaskPlane(n, n) for n in ("BAD", "NO_DATA", *(f"P{i}" for i in range(8)), "HIGH")]
    masked = MaskedImage(image, mask_schema=MaskSchema(planes))
    masked.variance.array[...] = rng.uniform(1, 2, (ny, nx))
    masked.mask.set("BAD", rng.random((ny, nx)) < 0.01)
    masked.mask.set("HIGH", rng.random((ny, nx)) < 0.01)
    masked.mask.set("NO_DATA", ~np.isfinite(pixels))
    return masked


def halve(array, how, fill):
    array = np.pad(array, ((0, array.shape[0] % 2), (0, array.shape[1] % 2)), constant_values=fill)
    blocks = array.reshape(array.shape[0] // 2, 2, array.shape[1] // 2, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return how(how(blocks, 3), 1) if how is np.bitwise_or.reduce else how(blocks, (1, 3))


@pytest.mark.parametrize(("ny", "nx"), [(700, 1033), (256, 256), (100, 30), (513, 257)])
def test_levels_are_means_quarters_and_ors(tmp_path, ny, nx):
    source = make_image(ny, nx)
    pyramid = build_pyramid(source, tmp_path / "p")
    assert pyramid.shape == (ny, nx)
    assert 256 * 2 ** (pyramid.levels - 1) >= max(ny, nx)
    assert pyramid.levels == 1 or 256 * 2 ** (pyramid.levels - 2) < max(ny, nx)
    image, variance = source.image.array, source.variance.array
    mask = np.zeros((ny, nx), np.uint32)
    for name, bit in pyramid.mask_planes.items():
        mask |= source.mask.get(name).astype(np.uint32) << np.uint32(bit)
    assert pyramid.mask_planes["HIGH"] == 10
    for z in range(pyramid.levels - 1, -1, -1):
        np.testing.assert_allclose(pyramid.array("sci", z), image, rtol=2e-5)
        np.testing.assert_allclose(pyramid.array("variance", z), variance, rtol=2e-5)
        np.testing.assert_array_equal(pyramid.array("mask", z), mask)
        image, variance = halve(image, np.nanmean, np.nan), halve(variance, np.nanmean, np.nan) / 4
        mask = halve(mask, np.bitwise_or.reduce, 0)


def test_tiles_cover_the_image_from_the_top(tmp_path):
    source = make_image(700, 1033)
    pyramid = build_pyramid(source, tmp_path / "p")
    z = pyramid.levels - 1
    count = 2**z
    rows = [np.hstack([pyramid.tile("image", z, x, y) for x in range(count)]) for y in range(count)]
    whole = np.vstack(rows)[::-1]
    np.testing.assert_array_equal(whole[:700, :1033], source.image.array)
    assert np.isnan(whole[700:]).all()
    assert np.isnan(whole[:, 1033:]).all()
    padded = pyramid.tile("mask", z, count - 1, 0)
    assert (padded == 1 << pyramid.mask_planes["NO_DATA"]).all()


def test_pixel_gives_value_variance_and_mask(tmp_path):
    source = make_image(300, 200, x0=-30, y0=470)
    pyramid = build_pyramid(source, tmp_path / "p")
    assert pyramid.xy0 == (-30, 470)
    value, variance, mask = pyramid.pixel(7, 9)
    assert value == source.image.array[9, 7]
    assert variance == source.variance.array[9, 7]
    assert bool(mask & 1) == bool(source.mask.get("BAD")[9, 7])
    with pytest.raises(NotFoundError, match=r"pixel \(200, 0\) lies outside"):
        pyramid.pixel(200, 0)


@pytest.mark.parametrize(
    "place", [("image", 9, 0, 0), ("image", 0, 1, 0), ("image", 0, 0, -1), ("sky", 0, 0, 0)]
)
def test_missing_tiles_are_named(tmp_path, place):
    pyramid = build_pyramid(make_image(64, 64), tmp_path / "p")
    with pytest.raises(NotFoundError):
        pyramid.tile(*place)


def test_wcs_fit_follows_a_distorted_image(visit_image, tmp_path):
    pyramid = build_pyramid(visit_image, tmp_path / "p")
    rng = np.random.default_rng(3)
    x, y = rng.uniform(0, 1023, 50), rng.uniform(0, 1023, 50)
    sky = visit_image.sky_projection.as_astropy(visit_image.bbox).pixel_to_world(x, y)
    ra, dec = evaluate_wcs(pyramid.wcs_fit, x, y)
    error = np.hypot((ra - sky.ra.deg) * np.cos(np.radians(dec)), dec - sky.dec.deg) * 3600
    assert error.max() < 0.01 * 0.2
    assert pyramid.wcs_fit["max_error_px"] < 0.01
    assert pyramid.wcs_fit["inverse"]["max_error_px"] < 0.01
    assert pyramid.wcs_fit["degree"] == 3
    assert pyramid.wcs_fit["pixel_scale_arcsec"] == pytest.approx(0.2, rel=0.01)


def test_wcs_cards_describe_the_same_sky(visit_image, tmp_path):
    from astropy.io import fits
    from astropy.wcs import WCS

    pyramid = build_pyramid(visit_image, tmp_path / "p")
    ra, dec = WCS(fits.Header(pyramid.wcs)).all_pix2world([100.0], [900.0], 0)
    fitted = evaluate_wcs(pyramid.wcs_fit, 100.0, 900.0)
    assert ra[0] == pytest.approx(float(fitted[0]), abs=1e-6)
    assert dec[0] == pytest.approx(float(fitted[1]), abs=1e-6)


def test_lazy_pyramid_is_built_once_and_says_what_it_shows(synthetic_release, tmp_path):
    with synthetic_release.get_butler() as butler:
        ref = butler.query_datasets("visit_image")[0]
    assert synthetic_release.find_pyramid(ref.id) is None
    pyramid = synthetic_release.get_pyramid(ref.id, tmp_path)
    assert pyramid.meta["dataset_type"] == "visit_image"
    assert pyramid.meta["visit"] == ref.dataId["visit"]
    assert pyramid.unit == "nJy"
    assert pyramid.band in "gri"
    assert 60000 < pyramid.meta["mjd"] < 62000
    before = (pyramid.folder / "meta.json").stat().st_mtime_ns
    assert (
        synthetic_release.get_pyramid(str(ref.id), tmp_path).folder / "meta.json"
    ).stat().st_mtime_ns == before
    with pytest.raises(NotFoundError, match="has no dataset"):
        synthetic_release.get_pyramid("00000000-0000-0000-0000-000000000000", tmp_path)


def test_published_coadds_have_pyramids(synthetic_release):
    with synthetic_release.get_butler() as butler:
        for name in ("deep_coadd", "template_coadd"):
            for ref in butler.query_datasets(name):
                pyramid = synthetic_release.find_pyramid(ref.id)
                assert pyramid is not None
                assert pyramid.meta["patch"] == ref.dataId["patch"]
                assert pyramid.band == ref.dataId["band"]


@pytest.mark.parametrize("name", ["visit_image", "difference_image"])
def test_published_visits_have_overviews(synthetic_release, name):
    with synthetic_release.get_butler() as butler:
        for ref in butler.query_datasets(name):
            image = butler.get(ref)
            overview = synthetic_release.find_overview(ref.id)
            assert overview is not None
            assert overview.levels == 3
            assert overview.meta["visit"] == ref.dataId["visit"]
            expected = halve(halve(image.image.array, np.nanmean, np.nan), np.nanmean, np.nan)
            assert np.allclose(overview.array("image", 0), expected, rtol=1e-5, atol=1e-4, equal_nan=True)
            x, y = np.array([3.0, 1000.0]), np.array([1010.0, 7.0])
            sky = image.sky_projection.as_astropy(image.bbox).pixel_to_world(x, y)
            fitted = evaluate_wcs(overview.wcs_fit, x, y)
            assert np.allclose(fitted, (sky.ra.deg, sky.dec.deg), atol=1e-6)
            with pytest.raises(NotFoundError, match="no plane 'image' at level 2"):
                overview.array("image", 2)
        assert synthetic_release.find_overview(butler.query_datasets("deep_coadd")[0].id) is None


def test_a_failed_build_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", fail)
    with pytest.raises(OSError, match="No space left"):
        build_pyramid(make_image(300, 300), tmp_path / "p")
    assert list(tmp_path.iterdir()) == []


def test_unknown_version_is_refused(tmp_path):
    build_pyramid(make_image(20, 20), tmp_path / "p")
    path = tmp_path / "p" / "meta.json"
    path.write_text(path.read_text().replace('"version": 1', '"version": 2'))
    with pytest.raises(DataError, match="pyramid version 2"):
        Pyramid.open(tmp_path / "p")


def test_building_a_million_pixels_takes_less_than_400_ms(visit_image, tmp_path):
    build_pyramid(visit_image, tmp_path / "warm")
    times = []
    for i in range(3):
        start = time.process_time()
        build_pyramid(visit_image, tmp_path / str(i))
        times.append(time.process_time() - start)
    assert min(times) < 0.4
