"""Repositories: own storage classes, recipes, the two repairs of libraries, and opening what is not there."""

import gzip
from types import SimpleNamespace

import astropy.io.fits.hdu.compressed._codecs as codecs
import numpy as np
import pytest
from astropy.io import fits
from isal import igzip
from lsst.daf.butler import Butler, DatasetType
from lsst.images import Box, Image, MaskedImage, MaskPlane, MaskSchema
from lsst.images.psfs import _piff

from skydesk_core.errors import DataError, NotFoundError, UsageError
from skydesk_core.home import Home
from skydesk_core.repo import create_repo, ensure_repo, open_repo, register_chain
from skydesk_core.skymap import make_skymap, register_skymap
from skydesk_core.storage import GZIP_LEVEL, apply_library_repairs


@pytest.fixture
def repo(tmp_path):
    create_repo(tmp_path / "butler")
    with open_repo(tmp_path / "butler", writeable=True) as butler:
        yield butler


def masked_image(seed: int = 1) -> MaskedImage:
    box = Box.factory[0:300, 0:280]
    pixels = np.random.default_rng(seed).normal(100, 10, (300, 280)).astype(np.float32)
    image = MaskedImage(Image(pixels, bbox=box), mask_schema=MaskSchema([MaskPlane("SAT", "saturated")]))
    image.variance.array[...] = 100.0 + pixels / 10
    image.mask.set("SAT", image.image.array > 120)
    return image


def put(butler: Butler, name: str, image: MaskedImage) -> str:
    butler.registry.registerDatasetType(
        DatasetType(name, ("skymap",), "MaskedImageV2", universe=butler.dimensions)
    )
    if not list(butler.query_dimension_records("skymap", skymap="s", explain=False)):
        register_skymap(butler, make_skymap("s", 10, 20, 0.2, (1, 1), (100, 100)))
    butler.collections.register("r")
    return butler.getURI(butler.put(image, name, run="r", skymap="s")).ospath


def test_final_products_are_lossless_in_tiles_of_256(repo):
    image = masked_image()
    path = put(repo, "deep_coadd", image)
    back = repo.get("deep_coadd", skymap="s", collections="r")
    np.testing.assert_array_equal(back.image.array, image.image.array)
    np.testing.assert_array_equal(back.variance.array, image.variance.array)
    np.testing.assert_array_equal(back.mask.array, image.mask.array)
    with fits.open(path, disable_image_compression=True) as hdus:
        header = hdus["IMAGE"].header
    assert (header["ZCMPTYPE"], header["ZTILE1"], header["ZTILE2"]) == ("GZIP_2", 256, 256)


def test_intermediates_are_quantised_to_a_sixteenth_of_the_noise(repo):
    image = masked_image()
    path = put(repo, "post_isr_image", image)
    back = repo.get("post_isr_image", skymap="s", collections="r")
    error = back.image.array - image.image.array
    assert 0 < np.abs(error).max() < 10 / 16
    np.testing.assert_array_equal(back.mask.array, image.mask.array)
    with fits.open(path, disable_image_compression=True) as hdus:
        assert hdus["IMAGE"].header["ZCMPTYPE"] == "RICE_1"


def test_cutouts_read_only_their_pixels(repo):
    image = masked_image()
    put(repo, "deep_coadd", image)
    box = Box.factory[250:290, 10:60]
    cutout = repo.get("deep_coadd", skymap="s", collections="r", parameters={"bbox": box})
    np.testing.assert_array_equal(cutout.image.array, image.image.array[250:290, 10:60])


def test_astropy_still_compresses_through_the_name_that_is_replaced():
    apply_library_repairs()
    data = bytes(range(256)) * 64
    assert codecs.gzip_compress.func is igzip.compress
    assert codecs.gzip_compress.keywords == {"compresslevel": GZIP_LEVEL}
    assert gzip.decompress(codecs.gzip_compress(data)) == data
    calls = []
    original = codecs.gzip_compress
    try:
        codecs.gzip_compress = lambda buffer: calls.append(1) or original(buffer)
        hdu = fits.CompImageHDU(np.arange(1024, dtype=np.float32).reshape(32, 32), compression_type="GZIP_2")
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto("/dev/null")
    finally:
        codecs.gzip_compress = original
    assert calls, "astropy no longer compresses tiles through _codecs.gzip_compress"


def test_piff_reader_has_what_piff_asks_for():
    assert _piff._ArchivePiffReader.read_bandpass(None, "bandpass") is None


def test_a_psf_read_from_a_cached_tree_can_be_read_again():
    model = SimpleNamespace(structs={"piff": {"type": "Simple", "nested": {"a": 1}}})
    reader = _piff._ArchivePiffReader(model, None)
    first = reader.read_struct("piff")
    assert first.pop("type") == "Simple"
    first["nested"].clear()
    assert reader.read_struct("piff") == {"type": "Simple", "nested": {"a": 1}}


def test_records_of_the_piff_logger_carry_a_name():
    from piff.config import PiffLogger

    assert PiffLogger(_piff._LOG).name == "lsst.images.psfs._piff"


def test_missing_and_foreign_folders_are_named(tmp_path):
    with pytest.raises(NotFoundError, match="no Butler repository in"):
        open_repo(tmp_path / "none")
    home = Home(tmp_path / "home")
    home.butler.mkdir(parents=True)
    (home.butler / "diary.txt").touch()
    with pytest.raises(DataError, match=r"holds no butler\.yaml"):
        ensure_repo(home)
    create_repo(tmp_path / "r")
    with pytest.raises(UsageError, match="already holds"):
        create_repo(tmp_path / "r")


def test_chains_grow_at_the_front_and_keep_their_members(repo):
    for name in ("a", "b", "c"):
        repo.collections.register(name)
    register_chain(repo, "chain", ["a"])
    register_chain(repo, "chain", ["b", "a"])
    register_chain(repo, "chain", ["c"])
    assert list(repo.collections.get_info("chain").children) == ["c", "b", "a"]
