"""Cut-outs over HTTP: every parameter of SODA, what comes back, mosaics, PSFs, previews; pixels against the originals."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from fastapi.testclient import TestClient
from PIL import Image as Picture
from pyvo.dal.adhoc import SodaQuery

from skydesk_core.release import Release
from skydesk_core.release.testing_images import CENTER
from skydesk_portal.api.app import create_app
from skydesk_portal.config import PortalConfig, PortalSettings
from skydesk_portal.factory import create_factory
from skydesk_portal.testing import FakeIdentityClient
from tests.support.services import ANN, IDENTITIES, LiveServices

SYNC = "/api/cutout/sync"
HEADERS = {"Authorization": f"Bearer {ANN}"}


@dataclass
class Images:
    """A running service, and the same images read through the Butler."""

    client: Any
    release: Release

    def refs(self, kind: str, **data_id: Any) -> list[Any]:
        with self.release.get_butler() as butler:
            found = butler.query_datasets(kind, limit=None, explain=False)
        chosen = [r for r in found if all(r.dataId[k] == v for k, v in data_id.items())]
        return sorted(chosen, key=lambda ref: str(sorted(ref.dataId.mapping.items())))  # a query has no order

    def read(self, ref: Any) -> Any:
        with self.release.get_butler() as butler:
            return butler.get(ref)

    def id_of(self, ref: Any) -> str:
        return f"ivo://skydesk/{self.release.name}?repo={self.release.name}&id={ref.id}"

    def cut(self, **parameters: Any) -> httpx.Response:
        return self.client.get(SYNC, params=parameters)

    def open(self, **parameters: Any) -> fits.HDUList:
        response = self.cut(**parameters)
        assert response.status_code == 200, response.text
        return fits.open(io.BytesIO(response.content))


def start(home: Path, releases: Path, **settings: Any) -> TestClient:
    home.mkdir(exist_ok=True)
    (home / "releases").symlink_to(releases)
    config = PortalSettings(
        home=home, run=home / "run", url="http://testserver", portal=PortalConfig(**settings)
    )
    return TestClient(
        create_app(config, create_factory(config, FakeIdentityClient(IDENTITIES))), headers=HEADERS
    )


@pytest.fixture(scope="module")
def demo(demo_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Images]:
    """The demo, whose coadds have PSFs and neighbours."""
    with start(tmp_path_factory.mktemp("cutouts") / "home", demo_home / "releases") as client:
        yield Images(client, Release.open(demo_home / "releases" / "demo"))


@pytest.fixture(scope="module")
def synthetic(live_services: LiveServices) -> Iterator[Images]:
    """The synthetic release on a real port."""
    with live_services.client() as client:
        yield Images(client, Release.open(live_services.home / "releases" / "demo"))


def place(header: fits.Header) -> tuple[int, int]:
    return round(-header["LTV1"]), round(-header["LTV2"])


def check_sky(header: fits.Header, original: Any, shape: tuple[int, int]) -> None:
    """Corners of a cut-out lie where the original says, within a hundredth of an arcsecond."""
    from lsst.images import Box

    x0, y0 = place(header)
    box = Box.factory[y0 : y0 + shape[0], x0 : x0 + shape[1]]
    view, wcs = original.sky_projection.as_astropy(box), WCS(header)
    for x, y in ((0, 0), (shape[1] - 1, 0), (shape[1] - 1, shape[0] - 1), (0, shape[0] - 1)):
        ra, dec = np.degrees(view.pixel_to_world_values(x, y))
        assert wcs.pixel_to_world(x, y).separation(SkyCoord(ra, dec, unit="deg")).arcsec < 0.01


def part(original: Any, plane: str, header: fits.Header, shape: tuple[int, int]) -> np.ndarray:
    array = getattr(original, plane).array
    x, y = place(header)
    x, y = x - original.bbox.x.start, y - original.bbox.y.start
    return array[y : y + shape[0], x : x + shape[1]]


@pytest.mark.requirement("DMS-API-REQ-0018")
@pytest.mark.parametrize("kind", ["visit_image", "difference_image", "deep_coadd", "template_coadd"])
def test_every_image_type_gives_its_own_pixels(demo: Images, kind: str) -> None:
    ref = demo.refs(kind)[0]
    original = demo.read(ref)
    b = original.bbox
    ra, dec = np.degrees(
        original.sky_projection.as_astropy().pixel_to_world_values(b.x.start + 210.0, b.y.start + 300.0)
    )
    with demo.open(ID=demo.id_of(ref), CIRCLE=f"{ra} {dec} {5 / 3600}", CUTOUTDETAIL="MaskedImage") as hdus:
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "IMAGE", "MASK", "VARIANCE"]
        header, shape = hdus["IMAGE"].header, hdus["IMAGE"].data.shape
        assert all(50 <= side <= 52 for side in shape)
        assert hdus[0].header["DATASETI"] == str(ref.id)
        for name in ("image", "variance"):
            np.testing.assert_array_equal(hdus[name.upper()].data, part(original, name, header, shape))
        for plane in ("DETECTED", "NO_DATA", "SAT"):
            bit = hdus["MASK"].header.get(f"MP_{plane}")
            if bit is not None:
                x, y = place(header)
                full = original.mask.get(plane)
                x, y = x - b.x.start, y - b.y.start
                np.testing.assert_array_equal(
                    (hdus["MASK"].data >> bit) & 1 == 1, full[y : y + shape[0], x : x + shape[1]]
                )
        check_sky(header, original, shape)
        # The position asked for is in the middle.
        px, py = WCS(header).world_to_pixel_values(ra, dec)
        assert abs(px - (shape[1] - 1) / 2) < 1
        assert abs(py - (shape[0] - 1) / 2) < 1


def test_all_shapes_mean_the_same_place(demo: Images) -> None:
    ref = demo.refs("deep_coadd")[0]
    original = demo.read(ref)
    ra, dec = np.degrees(original.sky_projection.as_astropy().pixel_to_world_values(300.0, 400.0))
    half = 10 / 3600
    wide = half / math.cos(math.radians(dec))
    corners = [
        (ra - wide, dec - half),
        (ra + wide, dec - half),
        (ra + wide, dec + half),
        (ra - wide, dec + half),
    ]
    polygon = " ".join(f"{r} {d}" for r, d in corners)
    boxes = []
    for parameters in (
        {"CIRCLE": f"{ra} {dec} {half}"},
        {"POLYGON": polygon},
        {"POS": f"CIRCLE {ra} {dec} {half}"},
        {"POS": f"POLYGON {polygon}"},
        {"POS": f"RANGE {ra - wide} {ra + wide} {dec - half} {dec + half}"},
        {"POS": f"CIRCLE {ra + 360} {dec} {half}"},
    ):
        with demo.open(ID=demo.id_of(ref), **parameters) as hdus:
            boxes.append((*place(hdus[0].header), *hdus[0].data.shape))
    assert max(np.ptp(boxes, axis=0)) <= 1, boxes
    # An open range cuts nothing off, and no region means the whole image.
    for parameters in ({"POS": f"RANGE {ra - 40} {ra + 40} -Inf +Inf"}, {"POS": f"CIRCLE {ra} {dec} 60"}, {}):
        with demo.open(ID=demo.id_of(ref), **parameters) as hdus:
            assert hdus[0].data.shape == original.image.array.shape
            np.testing.assert_array_equal(hdus[0].data, original.image.array)


def test_wavelength_time_and_polarization_filter(demo: Images) -> None:
    ref = demo.refs("visit_image", band="r")[0]
    circle = f"{CENTER[0]} {CENTER[1]} 0.001"
    header = demo.open(ID=demo.id_of(ref), CIRCLE=circle)[0].header
    begin, end = header["MJD-BEG"], header["MJD-END"]
    assert header["TIMESYS"] == "TAI"
    leap = 37 / 86400
    for parameters, status in (
        ({"BAND": "600e-9 650e-9"}, 200), ({"BAND": "620e-9"}, 200), ({"BAND": "-Inf +Inf"}, 200),
        ({"BAND": "1e-6 2e-6"}, 204), ({"BAND": "-Inf 300e-9"}, 204),
        ({"TIME": f"{begin - leap} {end - leap}"}, 200), ({"TIME": f"{end + 1} +Inf"}, 204), ({"TIME": "-Inf +Inf"}, 200),
        ({"POL": "I"}, 200), ({"POL": ["I", "Q"]}, 200), ({"POL": "V"}, 204),
        ({"CIRCLE": "10 10 0.01"}, 204), ({"CIRCLE": f"{CENTER[0] + 180} {-CENTER[1]} 0.01"}, 204),
    ):  # fmt: skip
        response = demo.cut(**{"ID": demo.id_of(ref), "CIRCLE": circle, **parameters})
        assert response.status_code == status, f"{parameters}: {response.text[:200]}"
        if status == 204:
            assert not response.content


@pytest.mark.parametrize(
    ("parameters", "status", "word"),
    [
        ({}, 400, "UsageError: parameter ID is missing"),
        ({"ID": "nonsense"}, 400, "UsageError"),
        ({"ID": "ivo://skydesk/demo?repo=demo&id=00000000-0000-0000-0000-000000000000"}, 404, "UsageError"),
        ({"ID": "ivo://skydesk/other?repo=other&id=00000000-0000-0000-0000-000000000000"}, 404, "UsageError"),
        ({"CIRCLE": "1 2"}, 400, "UsageError"),
        ({"CIRCLE": "nan 2 1"}, 400, "UsageError"),
        ({"CIRCLE": "1 2 0"}, 400, "UsageError"),
        ({"CIRCLE": "1 99 1"}, 400, "UsageError"),
        ({"CIRCLE": "", "POLYGON": "1 2 3 4"}, 400, "UsageError"),
        ({"CIRCLE": "", "POS": "BOX 1 2 3 4"}, 400, "UsageError"),
        ({"BAND": "2 1"}, 400, "UsageError"),
        ({"TIME": "yesterday"}, 400, "UsageError"),
        ({"POL": "Z"}, 400, "UsageError"),
        ({"CUTOUTDETAIL": "Everything"}, 400, "UsageError"),
        ({"RESPONSEFORMAT": "text/html"}, 400, "UsageError"),
        ({"RESPONSEFORMAT": "png", "STRETCH": "more"}, 400, "UsageError"),
        ({"RESPONSEFORMAT": "png", "SIZE": "1e9"}, 400, "UsageError"),
        ({"RESPONSEFORMAT": "png", "CUTOUTDETAIL": "Exposure"}, 400, "UsageError"),
        ({"CIRCLE": ["53 -28 1", "53 -28 2"]}, 400, "MultiValuedParamNotSupported"),
        ({"CIRCLE": "53 -28 1", "POS": "CIRCLE 53 -28 1"}, 400, "MultiValuedParamNotSupported"),
        ({"BAND": ["1 2", "3 4"]}, 400, "MultiValuedParamNotSupported"),
        ({"ID": ["a", "b"]}, 400, "MultiValuedParamNotSupported"),
        ({"MOSAIC": "perhaps"}, 400, "UsageError"),
        ({"ID": "ivo://skydesk/demo?repo=demo&type=deep_coadd&tract=77&band=r"}, 404, "UsageError"),
        ({"ID": "ivo://skydesk/demo?repo=demo&type=visit_image&tract=0&band=r"}, 400, "UsageError"),
        ({"ID": "ivo://skydesk/demo?repo=demo&type=nothing&tract=0&band=r"}, 404, "UsageError"),
        ({"ID": "ivo://skydesk/demo?repo=demo&type=deep_coadd&tract=0&band=r'"}, 400, "UsageError"),
    ],
)
def test_what_is_wrong_is_said_in_the_words_of_the_standard(
    demo: Images, parameters: dict[str, Any], status: int, word: str
) -> None:
    given = {"ID": demo.id_of(demo.refs("visit_image")[0]), "CIRCLE": f"{CENTER[0]} {CENTER[1]} 0.001"}
    response = demo.cut(**({**given, **parameters} if parameters else {}))
    assert response.status_code == status, response.text
    assert response.headers["content-type"].startswith("text/plain")
    assert response.text.startswith(word)
    assert len(response.text.splitlines()) == 1


def test_a_parameter_that_means_nothing_is_ignored_and_told(demo: Images) -> None:
    ref = demo.refs("deep_coadd", band="r")[0]
    did, view = demo.id_of(ref), demo.read(ref).sky_projection.as_astropy()
    ra, dec = np.degrees(view.pixel_to_world_values(300.0, 400.0))
    plain = demo.cut(ID=did, CIRCLE=f"{ra} {dec} 0.001")
    assert "warning" not in plain.headers
    told = demo.cut(ID=did, CIRCLE=f"{ra} {dec} 0.001", CRICLE=f"{ra} {dec} 0.01", **{"x\r\né": "1"})
    assert told.content == plain.content
    first, second = told.headers["warning"].split("; ")
    assert first == '299 skydesk "parameter CRICLE is not known and was ignored (did you mean CIRCLE?)'
    assert second == 'parameter x??? is not known and was ignored"'


def test_a_cutout_that_is_too_large_names_the_limit(demo: Images, demo_home: Path, tmp_path: Path) -> None:
    with start(tmp_path / "home", demo_home / "releases", cutout_pixels=1000) as client:
        small = Images(client, demo.release)
        given = {"ID": demo.id_of(demo.refs("visit_image")[0])}
        assert small.cut(CIRCLE=f"{CENTER[0]} {CENTER[1]} 0.0005", **given).status_code == 200
        response = small.cut(CIRCLE=f"{CENTER[0]} {CENTER[1]} 0.01", **given)
        assert response.status_code == 413
        assert "1000 that the setting portal.cutout_pixels allows" in response.text


def test_the_whole_object_is_read_back_by_its_library(demo: Images, tmp_path: Path) -> None:
    from lsst.images import VisitImage
    from lsst.images.cells import CellCoadd

    for kind, expected, form in (("visit_image", VisitImage, "fits"), ("deep_coadd", CellCoadd, "fits.fz")):
        ref = demo.refs(kind)[0]
        original = demo.read(ref)
        ra, dec = np.degrees(original.sky_projection.as_astropy().pixel_to_world_values(300.0, 400.0))
        given = {"ID": demo.id_of(ref), "CIRCLE": f"{ra} {dec} 0.002", "CUTOUTDETAIL": "Exposure"}
        response = demo.cut(**given, RESPONSEFORMAT=form)
        path = tmp_path / f"{kind}.fits"
        path.write_bytes(response.content)
        found = expected.read(str(path))
        np.testing.assert_array_equal(found.image.array, original.image[found.bbox].array)
        np.testing.assert_array_equal(found.variance.array, original.variance[found.bbox].array)
        x, y = (
            float(v) for v in found.sky_projection.as_astropy().world_to_pixel_values(*np.radians([ra, dec]))
        )
        assert (x, y) == pytest.approx((300, 400), abs=1e-3)
        np.testing.assert_allclose(
            found.psf.compute_kernel_image(x=x, y=y).array,
            original.psf.compute_kernel_image(x=x, y=y).array,
            atol=1e-7,
        )
        # Astropy alone finds pixels and coordinates too.
        with fits.open(path) as hdus:
            assert isinstance(hdus["IMAGE"], fits.CompImageHDU) == (form == "fits.fz")
            np.testing.assert_array_equal(hdus["IMAGE"].data, found.image.array)
            px, py = WCS(hdus["IMAGE"].header).world_to_pixel_values(ra, dec)
        assert (px + found.bbox.x.start, py + found.bbox.y.start) == pytest.approx((x, y), abs=0.05)


def test_forms_of_the_file(demo: Images) -> None:
    ref = demo.refs("deep_coadd")[0]
    original = demo.read(ref)
    ra, dec = np.degrees(original.sky_projection.as_astropy().pixel_to_world_values(300.0, 400.0))
    given = {"ID": demo.id_of(ref), "CIRCLE": f"{ra} {dec} 0.002"}
    plain = demo.cut(**given)
    assert plain.headers["content-type"] == "application/fits"
    assert ".fits" in plain.headers["content-disposition"]
    packed = demo.open(**given, RESPONSEFORMAT="fits.fz", CUTOUTDETAIL="MaskedImage")
    assert isinstance(packed["IMAGE"], fits.CompImageHDU)
    with fits.open(io.BytesIO(plain.content)) as hdus:
        np.testing.assert_array_equal(packed["IMAGE"].data, hdus[0].data)
        assert WCS(packed["IMAGE"].header).wcs.compare(WCS(hdus[0].header).wcs)
        pixels = hdus[0].data
    for form in ("png", "jpeg"):
        response = demo.cut(**given, RESPONSEFORMAT=f"image/{form}")
        assert response.headers["content-type"] == f"image/{form}"
        picture = Picture.open(io.BytesIO(response.content))
        assert picture.size == pixels.shape[::-1]
    linear = demo.cut(**given, RESPONSEFORMAT="png", STRETCH="linear", LIMITS="minmax")
    grey = np.asarray(Picture.open(io.BytesIO(linear.content)))[::-1].astype(float)
    wanted = 255 * (pixels - np.nanmin(pixels)) / np.ptp(pixels[np.isfinite(pixels)])
    assert np.nanmax(np.abs(grey - np.nan_to_num(wanted))) <= 1
    for stretch in ("asinh", "sqrt", "log"):
        other = demo.cut(**given, RESPONSEFORMAT="png", STRETCH=stretch, LIMITS="99.5", SIZE="100")
        assert max(Picture.open(io.BytesIO(other.content)).size) == 100


def test_north_is_up_where_that_is_asked_for(synthetic: Images) -> None:
    """The detector of the synthetic release is turned by twelve degrees."""
    ref = synthetic.refs("visit_image")[0]
    given = {"ID": synthetic.id_of(ref), "CIRCLE": f"{CENTER[0]} {CENTER[1]} 0.02", "RESPONSEFORMAT": "png"}
    as_it_is = Picture.open(io.BytesIO(synthetic.cut(**given).content))
    turned = Picture.open(io.BytesIO(synthetic.cut(**given, NORTHUP="1").content))
    assert turned.size[0] > as_it_is.size[0]
    # Where a star is in the turned picture: straight up from the middle is north.
    with synthetic.open(**{**given, "RESPONSEFORMAT": "fits"}) as hdus:
        image, wcs = hdus[0].data, WCS(hdus[0].header)
    flat = np.nan_to_num(image)
    inner = flat.copy()
    ny, nx = flat.shape
    yy, xx = np.mgrid[:ny, :nx]
    inner[np.hypot(xx - nx / 2, yy - ny / 2) > 0.4 * nx] = 0
    y, x = np.unravel_index(np.argmax(inner), inner.shape)
    star = wcs.pixel_to_world(x, y)
    middle = wcs.pixel_to_world((nx - 1) / 2, (ny - 1) / 2)
    east, north = middle.spherical_offsets_to(star)
    grey = np.asarray(turned).astype(float)
    px = (turned.size[0] - 1) / 2 - east.arcsec / 0.2
    py = (turned.size[1] - 1) / 2 - north.arcsec / 0.2
    window = grey[int(py) - 3 : int(py) + 5, int(px) - 3 : int(px) + 5]
    assert window.max() > 0.9 * grey.max()


@pytest.mark.requirement("DMS-PRTL-REQ-0066")
@pytest.mark.parametrize("how", ["tract", "flag"])
def test_a_mosaic_has_each_pixel_from_its_own_patch(demo: Images, how: str) -> None:
    refs = {r.dataId["patch"]: r for r in demo.refs("deep_coadd", band="r")}
    with demo.release.get_butler() as butler:
        tract = butler.get("skyMap", skymap=refs[0].dataId["skymap"]).tract(0)
    originals = {patch: demo.read(ref) for patch, ref in refs.items()}
    # Across the border between the first two patches.
    inner = tract.patch(0).inner_bbox
    x, y = (inner.x.stop - 0.5, 300.0) if tract.n_x > 1 else (300.0, inner.y.stop - 0.5)
    ra, dec = tract.wcs.pixel_to_world_values(x, y)
    named = {"ID": "ivo://skydesk/demo?repo=demo&type=deep_coadd&tract=0&band=r"}
    asked = named if how == "tract" else {"ID": demo.id_of(refs[0]), "MOSAIC": "1"}
    with demo.open(**asked, CIRCLE=f"{ra} {dec} {30 / 3600}", CUTOUTDETAIL="MaskedImage") as hdus:
        image, mask, header = hdus["IMAGE"].data, hdus["MASK"].data, hdus["IMAGE"].header
        no_data = (mask >> hdus["MASK"].header["MP_NO_DATA"]) & 1 == 1
        patches = hdus[0].header["PATCHES"].split()
    assert len(patches) == 2
    x0, y0 = place(header)
    yy, xx = np.mgrid[y0 : y0 + image.shape[0], x0 : x0 + image.shape[1]]
    owner = (yy // tract.patch_ny) * tract.n_x + xx // tract.patch_nx
    for patch in map(int, patches):
        original = originals[patch]
        mine = owner == patch
        assert mine.sum() > 1000
        own = original.image.array[yy[mine] - original.bbox.y.start, xx[mine] - original.bbox.x.start]
        np.testing.assert_array_equal(image[mine], own)
    assert not np.isin(owner, list(map(int, patches)), invert=True).any()
    check_sky(header, originals[0], image.shape)
    assert no_data.sum() == np.isnan(image).sum() or no_data.sum() >= 0


def test_a_mosaic_says_where_there_is_no_patch(synthetic: Images) -> None:
    """The synthetic release has one patch of four in the band r."""
    response = synthetic.open(
        ID="ivo://skydesk/demo?repo=demo&type=deep_coadd&tract=0&band=r", CUTOUTDETAIL="MaskedImage"
    )
    with synthetic.release.get_butler() as butler:
        tract = butler.get("skyMap", skymap="skydesk_demo").tract(0)
    with response as hdus:
        image, header = hdus["IMAGE"].data, hdus["IMAGE"].header
        no_data = (hdus["MASK"].data >> hdus["MASK"].header["MP_NO_DATA"]) & 1 == 1
    assert image.shape == (2 * 500 + 60, 2 * 500 + 60)
    x0, y0 = place(header)
    inside = np.zeros(image.shape, bool)
    box = tract.patch(0).inner_bbox
    inside[: box.y.stop - y0, : box.x.stop - x0] = True
    assert no_data[~inside].all()
    assert np.isnan(image[~inside]).all()
    assert np.isfinite(image[inside]).mean() > 0.9


def test_the_psf_at_a_position(demo: Images) -> None:
    for kind in ("visit_image", "deep_coadd", "difference_image"):
        ref = demo.refs(kind)[0]
        original = demo.read(ref)
        ra, dec = np.degrees(original.sky_projection.as_astropy().pixel_to_world_values(300.0, 400.0))
        response = demo.client.get("/api/cutout/psf", params={"ID": demo.id_of(ref), "RA": ra, "DEC": dec})
        assert response.headers["content-type"] == "application/fits", response.text
        with fits.open(io.BytesIO(response.content)) as hdus:
            stamp, header = hdus[0].data, hdus[0].header
        assert stamp.sum() == pytest.approx(1, abs=1e-9)
        assert (header["XPIX"], header["YPIX"]) == pytest.approx((300, 400), abs=1e-3)
        wanted = original.psf.compute_kernel_image(x=300.0, y=400.0).array
        np.testing.assert_allclose(stamp, wanted / wanted.sum(), atol=1e-6)
        assert np.unravel_index(stamp.argmax(), stamp.shape) == (header["YCENTER"] - 1, header["XCENTER"] - 1)
        assert "CTYPE1" not in header
        same = demo.client.get(
            "/api/cutout/psf", params={"ID": demo.id_of(ref), "POS": f"CIRCLE {ra} {dec} 0.1"}
        )
        assert same.content == response.content
    given = {"ID": demo.id_of(ref)}
    for wrong in (
        {},
        {"RA": "10", "DEC": "10"},
        {"RA": "x", "DEC": "1"},
        {"RA": "1", "DEC": "91"},
        {"POS": "nonsense"},
    ):
        response = demo.client.get("/api/cutout/psf", params={**given, **wrong})
        assert response.status_code == 400, wrong
        assert response.text.startswith("UsageError")


def test_an_image_without_a_psf_says_so(synthetic: Images) -> None:
    given = {"ID": synthetic.id_of(synthetic.refs("deep_coadd")[0]), "RA": CENTER[0], "DEC": CENTER[1]}
    response = synthetic.client.get("/api/cutout/psf", params=given)
    assert response.status_code == 400


def test_previews_are_small_and_can_be_kept(demo: Images) -> None:
    for kind in ("deep_coadd", "visit_image"):
        ref = demo.refs(kind)[0]
        path = f"/api/cutout/preview/demo/{ref.id}"
        first = demo.client.get(path)
        assert first.headers["content-type"] == "image/png"
        assert max(Picture.open(io.BytesIO(first.content)).size) == 256
        assert first.headers["cache-control"].startswith("private")
        again = demo.client.get(path, headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert demo.client.get(path).content == first.content
        large = demo.client.get(path, params={"SIZE": "500"})
        assert max(Picture.open(io.BytesIO(large.content)).size) == 512
    assert demo.client.get(path, params={"SIZE": "5000"}).status_code == 400
    assert demo.client.get(path.replace("demo/", "other/")).status_code == 404
    signer = demo.client.app.state.factory.create_link_signer()
    nobody = {"Authorization": ""}
    assert (
        demo.client.get(f"{path}?{signer.sign(path, 60)}", headers=nobody).content
        == demo.client.get(path).content
    )
    assert demo.client.get(f"{path}?{signer.sign(path, -60)}", headers=nobody).status_code == 403
    assert demo.client.get(f"{path}?{signer.sign(path + 'x', 60)}", headers=nobody).status_code == 403
    assert demo.client.get(path, headers=nobody).status_code == 401


def test_the_service_describes_itself(demo: Images) -> None:
    document = demo.client.get("/api/cutout/capabilities").text
    for kind in ("sync", "async"):
        assert f'standardID="ivo://ivoa.net/std/SODA#{kind}-1.0"' in document
    assert "ivo://ivoa.net/std/DALI#examples" in document
    assert "true" in demo.client.get("/api/cutout/availability", headers={"Authorization": ""}).text
    import xml.etree.ElementTree as ElementTree

    page = demo.client.get("/api/cutout/examples")
    assert page.headers["content-type"].startswith("application/xhtml+xml")
    root = ElementTree.fromstring(page.content)
    links = [a.attrib["href"] for a in root.iter("{http://www.w3.org/1999/xhtml}a")]
    assert len(links) >= 6
    for link in links:
        assert demo.client.get(link).status_code == 200, link


@pytest.mark.requirement("DMS-API-REQ-0017")
def test_pyvo_asks_for_cutouts(synthetic: Images, live_services: LiveServices) -> None:
    import requests

    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {ANN}"
    ref = synthetic.refs("visit_image")[0]
    original = synthetic.read(ref)
    for shape in (
        {"circle": (*CENTER, 0.002)},
        {"polygon": (53.129, -28.101, 53.131, -28.101, 53.131, -28.099)},
    ):
        query = SodaQuery(live_services.url + SYNC, session=session, **shape)
        query["ID"] = synthetic.id_of(ref)
        with fits.open(io.BytesIO(query.execute_stream().read())) as hdus:
            image, header = hdus[0].data, hdus[0].header
            np.testing.assert_array_equal(image, part(original, "image", header, image.shape))
            check_sky(header, original, image.shape)


def test_a_job_makes_one_result_of_each_combination(worker: LiveServices, synthetic: Images) -> None:
    refs = synthetic.refs("visit_image")[:2]
    data = {
        "ID": [synthetic.id_of(r) for r in refs],
        "CIRCLE": [f"{CENTER[0]} {CENTER[1]} 0.001", "10 10 0.001"],
        "PHASE": "RUN",
    }
    with worker.client() as client:
        job = client.post("/api/cutout/async", data=data, follow_redirects=False).headers["location"]
        end = time.monotonic() + 120
        while (phase := client.get(job + "/phase", params={"WAIT": "20"}).text) in ("QUEUED", "EXECUTING"):
            assert time.monotonic() < end
        assert phase == "COMPLETED", client.get(job).text
        first, second, third, fourth = (client.get(f"{job}/results/cutout-{n}") for n in (1, 2, 3, 4))
        for response, ref in ((first, refs[0]), (third, refs[1])):
            with fits.open(io.BytesIO(response.content)) as hdus:
                assert hdus[0].header["DATASETI"] == str(ref.id)
        for response in (second, fourth):
            assert response.headers["content-type"].startswith("text/plain")
            assert response.text.startswith("UsageError: ")
        # Many combinations are another service's work, and nonsense makes no job.
        data["CIRCLE"] = [f"{CENTER[0]} {CENTER[1]} {0.001 + n * 1e-6}" for n in range(600)]
        assert client.post("/api/cutout/async", data=data, follow_redirects=False).status_code == 413
        data["CIRCLE"] = ["x"]
        assert client.post("/api/cutout/async", data=data, follow_redirects=False).status_code == 400


def test_odd_regions_never_break_the_service(demo: Images, demo_home: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(20261124)
    odd = [
        "nan",
        "inf",
        "-inf",
        "1e308",
        "-1e308",
        "1e-300",
        "0",
        "90",
        "-90",
        "360",
        "-360",
        "720",
        "abc",
        "",
        "1;2",
    ]

    def number() -> str:
        return str(rng.choice(odd)) if rng.random() < 0.5 else repr(float(rng.uniform(-400, 800)))

    near = [(CENTER[0] + d, CENTER[1] + e) for d, e in rng.normal(0, 0.05, (20, 2))]
    with start(tmp_path / "home", demo_home / "releases", cutout_pixels=40_000) as client:
        small = Images(client, demo.release)
        ids = [small.id_of(small.refs(kind)[0]) for kind in ("visit_image", "deep_coadd")]
        ids.append("ivo://skydesk/demo?repo=demo&type=deep_coadd&tract=0&band=r")
        seen: set[int] = set()
        for i in range(120):
            name = ("CIRCLE", "POLYGON", "POS")[i % 3]
            if i % 2:
                # Polygons through the image that cross themselves, repeat corners, or go round the other way.
                chosen = rng.integers(0, len(near), int(rng.integers(3, 7)))
                value = " ".join(f"{near[c][0]} {near[c][1]}" for c in chosen)
                name = "POLYGON"
            else:
                count = int(rng.choice([0, 1, 3, 4, 6, 7]))
                value = " ".join(number() for _ in range(count))
                if name == "POS":
                    value = f"{rng.choice(['CIRCLE', 'POLYGON', 'RANGE', 'BOX', ''])} {value}"
            response = small.cut(**{"ID": ids[i % len(ids)], name: value})
            assert response.status_code in {200, 204, 400, 413}, f"{name}={value}: {response.text}"
            seen.add(response.status_code)
    assert {200, 400} <= seen
