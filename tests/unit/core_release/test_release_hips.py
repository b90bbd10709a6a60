import dataclasses
import io
import json
from pathlib import Path

import astropy.units as u
import hpgeom
import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from mocpy import MOC
from PIL import Image
from scipy.ndimage import map_coordinates

from skydesk_core.config import PublishConfig
from skydesk_core.release import Release, check_release
from skydesk_core.release.healpix import cell_positions
from skydesk_core.release.hips import choose_order, compose_colour, tile_header, tile_path, write_hips
from skydesk_core.release.hips_pixels import TileSampler, band_folder, halve, join_children, make_wcs
from skydesk_core.release.moc import make_pixel_moc, write_mocs
from skydesk_core.release.publish import publish
from skydesk_core.release.pyramid import Pyramid

MANDATORY = {
    "creator_did",
    "obs_title",
    "dataproduct_type",
    "hips_version",
    "hips_release_date",
    "hips_status",
    "hips_tile_format",
    "hips_order",
    "hips_frame",
}
"""What HiPS 1.0, table 4, requires."""


def read_properties(path: Path) -> dict[str, str]:
    lines = [line.partition("=") for line in path.read_text().splitlines()]
    return {key.strip(): value.strip() for key, _, value in lines}


@pytest.fixture(scope="module")
def coadds(synthetic_release):
    """The same coadd under three bands, and one more patch in r."""
    found = [Pyramid.open(p) for p in sorted((synthetic_release.path / "pyramids").iterdir())]
    deep = {p.band: p for p in found if p.meta["dataset_type"] == "deep_coadd"}
    twins = [dataclasses.replace(deep["r"], meta={**deep["r"].meta, "band": b}) for b in "gri"]
    return [*twins, dataclasses.replace(deep["i"], meta={**deep["i"].meta, "band": "r"})]


@pytest.fixture(scope="module")
def made(coadds, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hips")
    _, mocs = write_mocs(folder, coadds, None)
    entries = write_hips(folder, "demo", "Demo", coadds, mocs)
    return folder / "hips" / "deep_coadd", {e.name: e for e in entries}


def test_pixels_of_a_cell_lie_where_healpix_has_them():
    rng = np.random.default_rng(3)
    i, j = np.meshgrid(np.arange(16), np.arange(16), indexing="ij")
    inside = sum(((i >> b) & 1) << 2 * b | ((j >> b) & 1) << 2 * b + 1 for b in range(4))
    for order in (0, 3, 11):
        for index in rng.integers(0, 12 * 4**order, 40).tolist():
            ra, dec = cell_positions(order, index, 16)
            at = hpgeom.pixel_to_angle(1 << (order + 4), (index << 8) + inside, nest=True)
            assert np.abs((ra - at[0] + 180) % 360 - 180).max() < 1e-10
            assert np.abs(dec - at[1]).max() < 1e-10


@pytest.mark.parametrize("index", [0, 5, 77, 300, 511, 640])
def test_the_header_of_a_tile_says_where_its_pixels_lie(index):
    ra, dec = cell_positions(3, index, 512)
    rows, columns = np.mgrid[0:512:73, 0:512:73]
    x, y = WCS(tile_header(3, index, "nJy")).wcs_pix2world(columns, rows, 0)
    assert np.abs((x - ra[511 - rows, columns] + 180) % 360 - 180).max() < 1e-8
    assert np.abs(y - dec[511 - rows, columns]).max() < 1e-8


def test_the_order_follows_the_pixel_scale():
    assert choose_order(0.2) == 11
    assert choose_order(0.4) == 10
    assert choose_order(0.26) == 10
    assert choose_order(3600.0) == 3


def test_coarser_pixels_are_means_of_those_with_data():
    tile = np.array([[1, 3, np.nan, np.nan], [5, np.nan, np.nan, np.nan]], np.float32).repeat(2, 0)[::2]
    assert halve(tile).tolist()[0][0] == 3.0
    assert np.isnan(halve(tile)[0, 1])
    assert join_children([None] * 4, 4) is None
    joined = join_children([None, np.full((4, 4), 2, np.float32), None, None], 4)
    assert np.isfinite(joined).tolist() == [[False] * 4] * 2 + [[True, True, False, False]] * 2


def test_every_band_and_a_colour_one_are_made(made):
    folder, entries = made
    assert set(entries) == {"deep_coadd/" + n for n in ("band_g", "band_r", "band_i", "color_gri")}
    for name, entry in entries.items():
        place = folder.parent / name
        known = read_properties(place / "properties")
        assert known.keys() >= MANDATORY
        assert known["creator_did"] == f"ivo://skydesk/demo/hips/{name}"
        assert known["hips_order"] == "11" == str(entry.order)
        assert known["hips_frame"] == "equatorial"
        assert known["dataproduct_type"] == "image"
        moc = MOC.load(place / "Moc.fits")
        assert float(known["moc_sky_fraction"]) == pytest.approx(moc.sky_fraction, rel=1e-4)
        at = float(known["hips_initial_ra"]) * u.deg, float(known["hips_initial_dec"]) * u.deg
        assert moc.add_neighbours().contains_lonlat(*at).all() or name == "deep_coadd/band_r"
        for ending in entry.formats:
            written = {p.stem for p in place.glob(f"Norder11/Dir*/*.{ending}")}
            cells = {f"Npix{c}" for c in moc.degrade_to_order(11).flatten().tolist()}
            assert written
            assert written <= cells
        assert sum(1 for _ in place.glob("Norder*/Dir*/*")) == entry.tiles
        assert (place / "Norder3" / "Allsky.png").exists()


def test_fits_tiles_agree_with_the_coadd_read_through_their_own_wcs(made, coadds):
    folder, _ = made
    coadd = next(p for p in coadds if p.band == "g")
    pixels = np.array(coadd.array("image", coadd.levels - 1))
    target = WCS(fits.Header(coadd.wcs))
    compared = holes = 0
    for path in sorted(folder.glob("band_g/Norder11/Dir*/*.fits")):
        with fits.open(path) as hdus:
            header, tile = hdus[0].header, hdus[0].data
        assert header["BUNIT"] == "nJy"
        rows, columns = np.mgrid[0:512:5, 0:512:5]
        x, y = target.wcs_world2pix(*WCS(header).wcs_pix2world(columns.ravel(), rows.ravel(), 0), 0)
        expected = map_coordinates(pixels, [y, x], order=1, mode="constant", cval=np.nan, prefilter=False)
        found = tile[rows.ravel(), columns.ravel()]
        inner = (np.minimum(x, coadd.shape[1] - 1 - x) > 0.01) & (
            np.minimum(y, coadd.shape[0] - 1 - y) > 0.01
        )
        outside = (np.minimum(x, coadd.shape[1] - 1 - x) < 0) | (np.minimum(y, coadd.shape[0] - 1 - y) < 0)
        assert np.isnan(found[outside]).all()
        both = inner & np.isfinite(expected)
        assert np.allclose(found[both], expected[both], rtol=1e-4, atol=1e-2)
        assert (np.isnan(found[inner]) == np.isnan(expected[inner])).mean() > 0.999
        compared += int(both.sum())
        holes += int((inner & np.isnan(expected)).sum())
    assert compared > 5000
    assert holes > 10


def test_pictures_are_transparent_where_there_is_no_data(made):
    folder, _ = made
    for path in sorted(folder.glob("band_g/Norder11/Dir*/*.fits"))[:3]:
        picture = np.asarray(Image.open(path.with_suffix(".png")))
        assert picture.shape == (512, 512, 2)
        # The first line of a picture is its top, that of a FITS file its bottom.
        assert ((picture[::-1, :, 1] > 0) == np.isfinite(fits.getdata(path))).all()
    colours = [np.asarray(Image.open(p)) for p in folder.glob("color_gri/Norder11/Dir*/*.png")]
    shown = np.concatenate([c[c[..., 3] > 0] for c in colours])
    assert shown[:, :3].max() > 100
    assert len(np.unique(shown[:, :3], axis=0)) > 20


def test_colour_keeps_ratios_and_leaves_out_what_a_band_lacks():
    plane = np.array([[0.0, 3.0, 40.0, 1e6, np.nan]], np.float32)
    grey = compose_colour(plane, plane, plane)[0]
    assert (grey[:, 0] == grey[:, 1]).all()
    assert (grey[:, 1] == grey[:, 2]).all()
    assert grey[:, 0].tolist()[:4] == sorted(grey[:4, 0].tolist())
    assert grey[:, 3].tolist() == [255, 255, 255, 255, 0]
    # A saturated star stays as red as it is.
    star = compose_colour(plane * 4, plane * 2, plane)[0, 3]
    assert star.tolist() == pytest.approx([255, 127.5, 64, 255], abs=1)


def test_the_preview_holds_the_tiles_of_order_3(made):
    folder, _ = made
    (tile,) = folder.glob("band_g/Norder3/Dir*/*.fits")
    index = int(tile.stem.removeprefix("Npix"))
    whole = fits.getdata(folder / "band_g" / "Norder3" / "Allsky.fits")
    assert whole.shape == (29 * 64, 27 * 64)
    row, column = divmod(index, 27)
    part = whole[::-1][64 * row : 64 * row + 64, 64 * column : 64 * column + 64]
    assert np.isfinite(part).sum() == np.isfinite(whole).sum() > 0
    assert np.nanmax(part) <= np.nanmax(fits.getdata(tile))
    assert tile.relative_to(folder / "band_g").as_posix() == tile_path(3, index, "fits")


def test_coverage_is_that_of_the_pixels_not_of_the_box(coadds, tmp_path):
    coadd = coadds[0]
    native = coadd.levels - 1
    image = np.array(coadd.array("image", native))
    image[:, : image.shape[1] // 2] = np.nan
    cut = dataclasses.replace(
        coadd, _arrays={("image", native): image, ("mask", native): coadd.array("mask", native)}
    )
    whole, half = make_pixel_moc(coadd), make_pixel_moc(cut)
    assert half.sky_fraction == pytest.approx(whole.sky_fraction / 2, rel=0.05)
    assert half.intersection(whole) == half
    area = np.isfinite(coadd.array("image", native)).sum() * (0.2 / 3600) ** 2 / 41252.96
    assert whole.sky_fraction == pytest.approx(area, rel=0.06)
    entries, bands = write_mocs(tmp_path, coadds, None)
    assert [e.band for e in entries] == [None, "g", "r", "i"]
    assert entries[0].made_from == "pixels"
    assert MOC.load(tmp_path / "moc" / "survey.fits") == bands["g"].union(bands["r"], bands["i"])


def test_a_projection_without_fits_form_is_as_good(coadds, tmp_path):
    coadd = coadds[0]
    bent = dataclasses.replace(coadd, meta={**coadd.meta, "wcs": None})
    exact, fitted = make_wcs(coadd), make_wcs(bent)
    x, y = np.meshgrid(np.linspace(0, coadd.shape[1], 30), np.linspace(0, coadd.shape[0], 30))
    ra, dec = exact.to_sky(x, y)
    assert np.abs(np.subtract(fitted.to_sky(x, y), (ra, dec))).max() * 3600 < 0.005
    assert np.abs(np.subtract(fitted.to_pixel(ra, dec), (x, y))).max() < 0.02
    assert np.isnan(fitted.to_pixel(ra + 90, dec)[0]).all()
    cell = next(int(c) for c in make_pixel_moc(coadd).degrade_to_order(11).flatten())
    (a,), (b,) = (TileSampler([c], 11).sample(cell).values() for c in (coadd, bent))
    assert (np.isfinite(a) == np.isfinite(b)).mean() > 0.999
    both = np.isfinite(a) & np.isfinite(b)
    assert np.abs(a - b)[both].max() < 0.02 * np.ptp(a[both])


def test_names_of_bands_become_names_of_folders():
    assert band_folder("r") == "band_r"
    assert band_folder("../N 921/x") == "band____N_921_x"


def test_a_picture_survives_decoding(made):
    folder, _ = made
    raw = next(folder.glob("band_r/Norder3/Allsky.png")).read_bytes()
    assert Image.open(io.BytesIO(raw)).size == (27 * 64, 29 * 64)


def test_publish_makes_them_and_check_knows_them(home_copy):
    release = publish(home_copy, "maps", "demo/DRP")
    assert {h.name for h in release.manifest.hips} == {"deep_coadd/band_r", "deep_coadd/band_i"}
    assert [(m.file, m.band) for m in release.manifest.mocs] == [
        ("moc/survey.fits", None),
        ("moc/deep_coadd/band_r.fits", "r"),
        ("moc/deep_coadd/band_i.fits", "i"),
    ]
    survey = MOC.load(release.path / "moc" / "survey.fits")
    assert MOC.from_string(release.manifest.footprint).intersection(survey) == survey
    assert check_release(release.path).problems == []
    tile = next(release.path.glob("hips/deep_coadd/band_r/Norder11/Dir*/*.fits"))
    tile.unlink()
    problems = " ".join(check_release(release.path).problems)
    assert f"{tile.relative_to(release.path)} is missing" in problems
    assert "tiles, the manifest says" in problems


def test_publish_leaves_hips_out_when_told_so(home_copy):
    release = publish(home_copy, "plain", "demo/DRP", settings=PublishConfig(hips=False))
    assert release.manifest.hips == ()
    assert len(release.manifest.mocs) == 3
    assert not (release.path / "hips").exists()
    # A release from before there were maps is still read.
    path = release.path / "manifest.json"
    tree = json.loads(path.read_text())
    for key in ("mocs", "hips", "alerts"):
        del tree[key]
    path.chmod(0o644)
    path.write_text(json.dumps(tree))
    assert Release.open(release.path).manifest.mocs == ()
