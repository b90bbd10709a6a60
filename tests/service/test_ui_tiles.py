"""Pixels, overlays and downloads of the Portal are those of the release."""

import io
import json
import uuid

import numpy as np
import pytest
import zstandard
from astropy.io import fits
from PIL import Image
from starlette.testclient import TestClient
from support.portal import make_portal

from skydesk_core.release import Release
from skydesk_core.release.testing import make_synthetic_release

URL = "http://testserver"
ANNA = {"authorization": "Bearer token-of-anna"}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tile-home")
    (folder / "releases").mkdir()
    make_synthetic_release(folder / "releases" / "demo")
    return folder


@pytest.fixture(scope="module")
def images(home):
    """Dataset identifier and image of one dataset of each type."""
    found = {}
    with Release.open(home / "releases" / "demo").get_butler() as butler:
        for kind in ("visit_image", "difference_image", "deep_coadd"):
            ref = butler.query_datasets(kind)[0]
            found[kind] = (str(ref.id), butler.get(ref))
    return found


@pytest.fixture(scope="module")
def client(home):
    app, factory = make_portal(home, URL)
    with TestClient(app, base_url=URL, headers=ANNA) as found:
        yield found
    factory.close()


def tile(client, dataset_id, plane, z, x, y, **headers):
    answer = client.get(
        f"/portal/app/tiles/demo/{dataset_id}/{plane}/{z}/{x}/{y}",
        headers={"accept-encoding": "identity", **headers},
    )
    assert answer.status_code == 200, answer.text
    return answer


@pytest.mark.parametrize("kind", ["visit_image", "difference_image", "deep_coadd"])
def test_the_native_tiles_are_the_image_bit_for_bit(client, images, kind):
    dataset_id, image = images[kind]
    meta = client.get(f"/portal/app/tiles/demo/{dataset_id}/meta").json()
    ny, nx = image.image.array.shape
    assert meta["shape"] == [ny, nx]
    z = meta["levels"] - 1
    side = 256 * 2**z
    whole = np.full((side, side), np.nan, np.float32)
    for row in range(2**z):
        for column in range(2**z):
            part = np.frombuffer(tile(client, dataset_id, "image", z, column, row).content, "<f4").reshape(
                256, 256
            )
            whole[row * 256 : row * 256 + 256, column * 256 : column * 256 + 256] = part
    shown = whole[::-1][:ny, :nx]
    assert np.array_equal(
        shown.view(np.uint32), np.ascontiguousarray(image.image.array, np.float32).view(np.uint32)
    )


def test_mask_planes_are_those_of_the_image_by_name(client, images):
    dataset_id, image = images["visit_image"]
    meta = client.get(f"/portal/app/tiles/demo/{dataset_id}/meta").json()
    z = meta["levels"] - 1
    mask = np.frombuffer(tile(client, dataset_id, "mask", z, 0, 2**z - 1).content, "<u4").reshape(256, 256)[
        ::-1
    ]
    assert "NO_DATA" in meta["mask_planes"]
    for name, bit in meta["mask_planes"].items():
        assert np.array_equal((mask >> bit) & 1 != 0, image.mask.get(name)[:256, :256]), name


def test_the_polynomial_is_the_full_wcs_within_ten_milliarcseconds(client, images):
    from skydesk_core.release.wcsfit import evaluate_wcs

    for dataset_id, image in images.values():
        fit = client.get(f"/portal/app/tiles/demo/{dataset_id}/meta").json()["wcs"]
        ny, nx = image.image.array.shape
        rng = np.random.default_rng(1)
        x, y = rng.uniform(-0.5, nx - 0.5, 500), rng.uniform(-0.5, ny - 0.5, 500)
        ra, dec = np.degrees(image.sky_projection.as_astropy(image.bbox).pixel_to_world_values(x, y))
        shown_ra, shown_dec = evaluate_wcs(fit, x, y)
        off = np.hypot((shown_ra - np.asarray(ra) % 360) * np.cos(np.radians(dec)), shown_dec - dec) * 3.6e6
        assert off.max() < 10


def test_tiles_are_compressed_when_offered_and_cached_privately(client, images):
    dataset_id, _ = images["visit_image"]
    plain = tile(client, dataset_id, "image", 0, 0, 0)
    with client.stream(
        "GET", f"/portal/app/tiles/demo/{dataset_id}/image/0/0/0", headers={"accept-encoding": "gzip, zstd"}
    ) as answer:
        assert answer.headers["content-encoding"] == "zstd"
        raw = b"".join(answer.iter_raw())
    assert zstandard.decompress(raw, max_output_size=2**20) == plain.content
    assert plain.headers["cache-control"].startswith("private")
    again = client.get(
        str(plain.request.url),
        headers={"accept-encoding": "identity", "if-none-match": plain.headers["etag"]},
    )
    assert again.status_code == 304
    assert again.content == b""


def test_a_pixel_is_exact_and_nan_is_null(client, images):
    dataset_id, image = images["visit_image"]
    array = image.image.array
    y, x = (int(v[0]) for v in np.nonzero(np.isnan(array)))
    assert client.get(f"/portal/app/tiles/demo/{dataset_id}/pixel?x={x}&y={y}").json()["value"] is None
    body = client.get(f"/portal/app/tiles/demo/{dataset_id}/pixel?x=17&y=400").json()
    assert np.float32(body["value"]) == array[400, 17]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"tiles/demo/{uuid.UUID(int=5)}/meta", 404),
        ("tiles/demo/not-a-uuid/meta", 400),
        ("tiles/nothing/{id}/meta", 404),
        ("tiles/demo/{id}/image/99/0/0", 404),
        ("tiles/demo/{id}/image/0/5/0", 404),
        ("tiles/demo/{id}/colour/0/0/0", 404),
        ("tiles/demo/{id}/pixel?x=-1&y=0", 400),
        ("tiles/demo/{id}/pixel?x=a&y=0", 422),
        ("sources/demo/{id}/Visit", 404),
        ("rows/demo/Object/999999999999", 404),
        ("preview/nothing.png", 404),
    ],
)
def test_what_is_not_there_is_said_in_a_sentence(client, images, path, status):
    answer = client.get("/portal/app/" + path.format(id=images["visit_image"][0]))
    assert answer.status_code == status, answer.text
    assert answer.json()["detail"]


@pytest.mark.parametrize(
    ("kind", "table"),
    [("deep_coadd", "Object"), ("visit_image", "Source"), ("difference_image", "DiaSource")],
)
def test_sources_lie_where_the_full_wcs_puts_them(client, images, kind, table):
    dataset_id, image = images[kind]
    answer = client.get(f"/portal/app/sources/demo/{dataset_id}/{table}")
    assert answer.status_code == 200, answer.text
    content = answer.content
    count = int(np.frombuffer(content, "<u8", 1)[0])
    assert count > 0
    assert len(content) == 8 + 20 * count
    ids = np.frombuffer(content, "<i8", count, 8)
    x, y, magnitude = np.frombuffer(content, "<f4", 3 * count, 8 + 8 * count).reshape(3, count)
    ny, nx = image.image.array.shape
    assert ((x > -1) & (x < nx) & (y > -1) & (y < ny)).all()
    assert np.isfinite(magnitude).any()
    row = {
        c["name"]: c["value"] for c in client.get(f"/portal/app/rows/demo/{table}/{ids[0]}").json()["columns"]
    }
    names = ("coord_ra", "coord_dec") if "coord_ra" in row else ("ra", "dec")
    wx, wy = image.sky_projection.as_astropy(image.bbox).world_to_pixel_values(
        *(np.radians(float(row[n])) for n in names)
    )
    assert np.hypot(wx - x[0], wy - y[0]) < 0.05


def test_an_object_links_to_its_light_curve(client):
    csv = client.get("/portal/app/download", params={"query": "SELECT TOP 1 objectId FROM demo.Object"}).text
    object_id = csv.split()[1]
    answer = client.get(f"/portal/app/rows/demo/Object/{object_id}").json()
    assert answer["lightcurve"] == f"/portal/app/lightcurves?release=demo&object={object_id}"


def test_downloads_hold_every_row(client):
    query = "SELECT objectId, coord_ra FROM demo.Object"
    csv = client.get("/portal/app/download", params={"query": query, "format": "csv"})
    assert len(csv.text.strip().splitlines()) == 2001
    assert "result.csv" in csv.headers["content-disposition"]
    votable = client.get("/portal/app/download", params={"query": query, "format": "votable"})
    from astropy.io.votable import parse_single_table

    assert len(parse_single_table(io.BytesIO(votable.content)).array) == 2000


def test_a_malformed_query_names_its_place(client):
    answer = client.get(
        "/portal/app/download", params={"query": "SELECT objectId\nFROM demo.Object WHERE nothing > 3"}
    )
    assert answer.status_code == 400
    assert "line 2" in json.loads(answer.text)["detail"]


def test_the_preview_is_a_picture(client):
    picture = Image.open(io.BytesIO(client.get("/portal/app/preview/demo.png").content))
    assert picture.mode == "RGB"
    assert 200 < picture.width <= 720
    assert np.asarray(picture).max() > 200


def test_sheets_of_an_image_and_what_overlaps_it(client, images):
    dataset_id, image = images["visit_image"]
    base = f"/portal/app/tiles/demo/{dataset_id}"
    header = client.get(f"{base}/header").json()
    assert any(card[:2] == ["BUNIT", "nJy"] for part in header for card in part["cards"])
    psf = client.get(f"{base}/psf?x=500&y=400").json()
    stamp = np.array(psf["values"]).reshape(psf["shape"])
    expected = image.psf.compute_kernel_image(x=500, y=400).array
    assert np.allclose(stamp, expected / expected.sum(), atol=1e-6)
    assert 1.5 < psf["fwhm_px"] < 12
    assert client.get(f"{base}/psf?x=-5000&y=0").status_code == 400
    cut = client.get(f"{base}/cutout.fits?x0=-5&y0=10&x1=20&y1=30")
    with fits.open(io.BytesIO(cut.content)) as file:
        assert np.array_equal(file[1].data, image.image.array[10:31, :21], equal_nan=True)
    assert client.get(f"{base}/cutout.fits?x0=9000&y0=10&x1=9020&y1=30").status_code == 400
    ra, dec = (
        float(np.degrees(v))
        for v in image.sky_projection.as_astropy(image.bbox).pixel_to_world_values(500.0, 400.0)
    )
    near = client.get(f"/portal/app/overlapping/demo?ra={ra}&dec={dec}").json()
    assert dataset_id in {row["id"] for row in near}
    assert client.get("/portal/app/overlapping/demo?ra=200&dec=10").json() == []
    sky = client.get(f"{base}/sky?x=500&y=400").json()["sky"]
    assert np.allclose(sky, [ra % 360, dec], atol=3e-6)


def test_a_cut_out_is_served_like_an_image(client, images):
    dataset_id, image = images["visit_image"]
    name = f"cutout-{dataset_id}-100_40_399_343"
    base, whole = f"/portal/app/tiles/demo/{name}", f"/portal/app/tiles/demo/{dataset_id}"
    meta = client.get(f"{base}/meta").json()
    assert (meta["shape"], meta["xy0"], meta["dataset_id"]) == ([304, 300], [100, 40], name)
    assert meta["title"].endswith(", cut-out")
    part = client.get(f"{base}/cutout.fits?x0=10&y0=20&x1=40&y1=60").content
    with fits.open(io.BytesIO(part)) as file:
        pixels = next(unit.data for unit in file if unit.is_image and unit.header["NAXIS"] == 2)
    assert np.array_equal(pixels, image.image.array[60:101, 110:141], equal_nan=True)
    # What belongs to the image belongs to the cut-out, at the place in the image.
    for sheet in ("header", "provenance", "readouts"):
        assert client.get(f"{base}/{sheet}").json() == client.get(f"{whole}/{sheet}").json()
    psf = client.get(f"{base}/psf?x=30&y=40").json()
    assert psf == client.get(f"{whole}/psf?x=130&y=80").json()
    for wrong in ("-20_0_40_40", "0_0_5000_40", "40_40_20_20"):
        answer = client.get(f"/portal/app/tiles/demo/cutout-{dataset_id}-{wrong}/meta")
        assert answer.status_code == 404, answer.text
    assert client.get(f"/portal/app/tiles/demo/cutout-{uuid.uuid4()}-0_0_9_9/meta").status_code == 404


def test_readouts_are_those_of_the_camera(demo_home):
    from skydesk_portal.pipeline.imagesheets import read_readouts

    with Release.open(demo_home / "releases" / "demo").get_butler() as butler:
        shown = read_readouts(butler, butler.query_datasets("visit_image")[0].id)
        raw = read_readouts(butler, butler.query_datasets("raw")[0].id)
        coadd = read_readouts(butler, butler.query_datasets("deep_coadd")[0].id)
    # SimCam: four amplifiers of 256 columns, with 8 columns of prescan and 32 of overscan each in the raw file.
    assert [r["box"] for r in shown.values()] == [[256 * n, 0, 256 * n + 255, 1023] for n in range(4)]
    assert [r["raw"] for r in shown.values()] == [[296 * n + 8, 0] for n in range(4)]
    # The demo's detector 0 is the middle one: the boresight lies between its four middle pixels.
    assert [r["focal"] for r in shown.values()] == [[256 * n - 511.5, -511.5] for n in range(4)]
    light = {name: r for name, r in raw.items() if "overscan" not in name}
    assert [r["box"] for r in light.values()] == [[296 * n + 8, 0, 296 * n + 263, 1023] for n in range(4)]
    assert [raw[f"C{n} overscan"]["box"] for n in range(4)] == [
        [296 * n + 264, 0, 296 * n + 295, 1023] for n in range(4)
    ]
    assert all(raw[f"C{n} overscan"]["focal"] is None for n in range(4))
    assert coadd == {}
