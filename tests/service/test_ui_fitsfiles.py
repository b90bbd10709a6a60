"""FITS files that people bring are shown exactly, each part of them, or refused in a sentence."""

import asyncio
import io
import os
from pathlib import Path

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from starlette.testclient import TestClient
from support.portal import make_portal

from skydesk_core.release.wcsfit import evaluate_wcs
from skydesk_portal.exceptions import TooLargeError
from skydesk_portal.models.identity import Identity
from skydesk_portal.services.fitsfiles import FitsFiles

URL = "http://testserver"
ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("SKYDESK_TEST_DATA", ROOT.parent / "shared" / "data"))
ANNA = {"authorization": "Bearer token-of-anna"}
BEN = {"authorization": "Bearer token-of-ben"}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own-fits")
    (folder / "releases").mkdir()
    return folder


@pytest.fixture(scope="module")
def client(home):
    app, factory = make_portal(home, URL)
    with TestClient(app, base_url=URL, headers=ANNA) as found:
        yield found
    factory.close()


def send(client, content, name="image.fits"):
    return client.post(f"/portal/app/fitsfiles?name={name}", content=content)


def as_bytes(*units):
    out = io.BytesIO()
    fits.HDUList(list(units)).writeto(out)
    return out.getvalue()


def describe(client, image_id):
    answer = client.get(f"/portal/app/tiles/my-files/{image_id}/meta")
    assert answer.status_code == 200, answer.text
    return answer.json()


def native(client, image_id, meta):
    z = meta["levels"] - 1
    ny, nx = meta["shape"]
    side = 256 << z
    whole = np.empty((side, side), "<f4")
    for row in range(1 << z):
        for column in range(1 << z):
            tile = client.get(
                f"/portal/app/tiles/my-files/{image_id}/image/{z}/{column}/{row}",
                headers={"accept-encoding": "identity"},
            )
            whole[row * 256 :, column * 256 :][:256, :256] = np.frombuffer(tile.content, "<f4").reshape(
                256, 256
            )
    return whole[::-1][:ny, :nx]


@pytest.mark.requirement("DMS-PRTL-REQ-0068")
def test_every_real_image_opens_with_its_pixels_and_its_sky(client):
    folder = DATA / "portal_images"
    if not folder.is_dir():
        pytest.skip("the folder with real data is absent")
    files = sorted(p for p in folder.iterdir() if ".fits" in p.name)
    assert len(files) >= 12
    for path in files:
        answer = send(client, path.read_bytes(), path.name)
        assert answer.status_code == 200, answer.text
        image_id = answer.json()["first"]
        meta = describe(client, image_id)
        with fits.open(path) as file:
            unit = file[int(image_id.split("-")[1])]
            data = np.asarray(unit.data, np.float32)
            assert np.array_equal(native(client, image_id, meta), data, equal_nan=True), path.name
            wcs = WCS(unit.header).celestial
        ny, nx = data.shape
        rng = np.random.default_rng(7)
        for x, y in zip(rng.uniform(0, nx - 1, 6), rng.uniform(0, ny - 1, 6), strict=True):
            sky = client.get(f"/portal/app/tiles/my-files/{image_id}/sky?x={x}&y={y}").json()["sky"]
            if not wcs.has_celestial:
                assert sky is None
                continue
            true = wcs.pixel_to_world(x, y).icrs
            if not np.isfinite(true.ra.deg):
                assert sky is None
                continue
            assert SkyCoord(*sky, unit="deg").separation(true).mas < 0.01, path.name
            if meta["wcs"] and not meta["sky_by_request"]:
                shown = SkyCoord(*evaluate_wcs(meta["wcs"], np.array([x]), np.array([y])), unit="deg")[0]
                assert shown.separation(true).mas < 10, path.name
        cut = client.get(f"/portal/app/tiles/my-files/{image_id}/cutout.fits?x0=20&y0=30&x1=40&y1=9999")
        with fits.open(io.BytesIO(cut.content)) as part:
            assert np.array_equal(part[0].data, data[30:, 20:41], equal_nan=True)
            if wcs.has_celestial and meta["wcs"]:
                here = WCS(part[0].header).pixel_to_world(3, 4).icrs
                assert here.separation(wcs.pixel_to_world(23, 34).icrs).mas < 0.01
        assert wcs.has_celestial == (meta["wcs"] is not None or meta["sky_by_request"])


def test_planes_of_a_cube_and_parts_of_a_file_are_chosen(client):
    cube = np.arange(2 * 3 * 4 * 5, dtype=">i2").reshape(2, 3, 4, 5)
    table = fits.BinTableHDU(np.array([(1,)], dtype=[("a", "i4")]))
    content = as_bytes(fits.PrimaryHDU(), fits.ImageHDU(cube, name="CUBE"), table, fits.ImageHDU(np.zeros(7)))
    body = send(client, content).json()
    assert [p["planes"] for p in body["parts"]] == [0, 6, 0, 0]
    assert [bool(p["reason"]) for p in body["parts"]] == [True, False, True, True]
    assert body["first"] == f"{body['key']}-1-0"
    for plane in range(6):
        image_id = f"{body['key']}-1-{plane}"
        assert np.array_equal(
            native(client, image_id, describe(client, image_id)), cube.reshape(6, 4, 5)[plane]
        )
    assert client.get(f"/portal/app/tiles/my-files/{body['key']}-1-6/meta").status_code == 404
    assert client.get(f"/portal/app/tiles/my-files/{body['key']}-9-0/meta").status_code == 404
    refused = client.get(f"/portal/app/tiles/my-files/{body['key']}-2-0/meta")
    assert refused.status_code == 400
    assert "table" in refused.json()["detail"]


def test_a_file_belongs_to_its_person(client, home):
    body = send(client, as_bytes(fits.PrimaryHDU(np.ones((3, 3), np.float32)))).json()
    assert client.get(f"/portal/app/fitsfiles/{body['key']}").status_code == 200
    store = FitsFiles(home / "cache" / "fitsfiles", None)
    from skydesk_portal.exceptions import NotFoundError

    with pytest.raises(NotFoundError):
        store.describe(Identity("ben"), body["key"])
    with pytest.raises(NotFoundError):
        store.get_pyramid(Identity("ben"), body["first"])
    for wrong in ("../../x", "0" * 24, "..%2f..%2fx"):
        assert client.get(f"/portal/app/fitsfiles/{wrong}").status_code == 404
    cleo = {"authorization": "Bearer token-without-images"}
    assert client.post("/portal/app/fitsfiles", content=b"x", headers=cleo).status_code == 403


def test_an_image_in_the_home_folder_opens_by_its_path(client, home):
    own = home / "users" / "anna" / "home" / "deep"
    own.mkdir(parents=True, exist_ok=True)
    fits.PrimaryHDU(np.full((5, 6), 3.5, np.float64)).writeto(own / "mine.fits", overwrite=True)
    answer = client.get("/portal/app/fitsfiles/open?path=deep/mine.fits")
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["name"] == "mine.fits"
    assert describe(client, body["first"])["shape"] == [5, 6]
    missing = client.get("/portal/app/fitsfiles/open?path=deep/none.fits")
    assert missing.status_code == 404
    assert client.get("/portal/app/fitsfiles/open?path=../../etc/passwd").status_code in {400, 404}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"this is not FITS" * 300, "cannot be read as FITS"),
        (b"SIMPLE  =                    T" + b" " * 3000, "FITS"),
    ],
)
def test_what_is_no_fits_is_refused_in_a_sentence(client, content, words):
    answer = send(client, content)
    assert answer.status_code == 400
    assert words in answer.json()["detail"]
    assert "Traceback" not in answer.text


def test_a_truncated_image_and_a_broken_wcs_do_not_break_anything(client):
    whole = as_bytes(fits.PrimaryHDU(np.ones((300, 300), np.float32)))
    body = send(client, whole[: len(whole) // 2]).json()
    if body.get("first"):
        answer = client.get(f"/portal/app/tiles/my-files/{body['first']}/meta")
        assert answer.status_code == 400
        assert answer.json()["detail"]
    header = fits.Header({"CTYPE1": "RA---QQQ", "CTYPE2": "DEC--TAN", "CRVAL1": 1.0, "CRVAL2": 2.0})
    body = send(client, as_bytes(fits.PrimaryHDU(np.ones((9, 9), np.float32), header))).json()
    meta = describe(client, body["first"])
    assert meta["wcs"] is None
    assert not meta["sky_by_request"]


def test_an_image_without_a_value_is_described(client):
    body = send(client, as_bytes(fits.PrimaryHDU(np.full((4, 4), np.nan, np.float32)))).json()
    assert describe(client, body["first"])["stats"] == {}


def test_a_file_that_is_too_large_is_refused_before_it_fills_the_disk(tmp_path):
    store = FitsFiles(tmp_path, None, limit_bytes=1000)
    seen = 0

    async def chunks():
        nonlocal seen
        for _ in range(100):
            seen += 1
            yield b"x" * 600

    with pytest.raises(TooLargeError, match="larger than"):
        asyncio.run(store.receive(Identity("anna"), "big.fits", chunks()))
    assert seen == 2
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_files_opened_longest_ago_are_forgotten(tmp_path):
    store = FitsFiles(tmp_path, None)

    async def chunks(n):
        yield as_bytes(fits.PrimaryHDU(np.full((2, 2), n, np.float32)))

    who = Identity("anna")
    keys = [asyncio.run(store.receive(who, f"{n}.fits", chunks(n)))["key"] for n in range(23)]
    assert len(list(tmp_path.glob("*/*/about.json"))) == 20
    assert store.describe(who, keys[-1])["name"] == "22.fits"


def test_uploaded_images_count_in_the_quota_until_they_are_forgotten(tmp_path):
    (tmp_path / "releases").mkdir()
    (tmp_path / "config.yaml").write_text("portal: {files_bytes: 400000}")
    app, factory = make_portal(tmp_path, URL)
    who, files = Identity("anna", frozenset({"write:files"})), factory.create_files_service()
    image = [as_bytes(fits.PrimaryHDU(np.full((150, 200), n, np.float32))) for n in range(4)]
    with TestClient(app, base_url=URL, headers=ANNA) as client:
        for content in (image[0], image[1], image[1], image[2]):
            assert send(client, content).status_code == 200
        files.note_change(who)
        assert files.measure_bytes(who) == sum(len(c) for c in image[:3])
        refused = send(client, image[3])
        assert (refused.status_code, refused.json()["code"]) == (507, "file_space")
        room = client.get(f"/portal/app/files/room?path=more&size={len(image[3])}").json()
        assert "no space" in room["refusal"]
        home = tmp_path / "users/anna/home"
        (home / "own.fits").write_bytes(image[3][:30000])
        assert FitsFiles(tmp_path / "cache/fitsfiles", files).forget_all(who) == 3
        assert files.measure_bytes(who) == 30000
        assert send(client, image[3]).status_code == 200
    factory.close()


def test_a_home_that_is_a_file_is_named(tmp_path):
    (tmp_path / "releases").mkdir()
    (tmp_path / "users/anna").mkdir(parents=True)
    (tmp_path / "users/anna/home").write_text("no folder")
    app, factory = make_portal(tmp_path, URL)
    with TestClient(app, base_url=URL, headers=ANNA) as client:
        answer = client.get("/portal/app/files/content/x.fits")
        assert (answer.status_code, answer.json()["code"]) == (409, "file_conflict")
        assert "the home folder /home/anna is a file" in answer.json()["detail"]
    factory.close()
