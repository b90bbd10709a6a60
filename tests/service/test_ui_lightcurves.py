"""Light curves and stamps behind the Light curves page, over HTTP and from the release's own rows."""

import io
import uuid

import duckdb
import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient
from support.portal import PEOPLE, make_portal

from skydesk_core.release import Release
from skydesk_core.release.testing import make_synthetic_release
from skydesk_portal.exceptions import NotFoundError, UsageError
from skydesk_portal.services.lightcurves import LightCurveService

URL = "http://testserver"
ANNA = {"authorization": "Bearer token-of-anna"}
WHO = PEOPLE["token-of-anna"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("curve-home")
    (folder / "releases").mkdir()
    make_synthetic_release(folder / "releases" / "demo")
    return folder


@pytest.fixture(scope="module")
def portal(home):
    app, factory = make_portal(home, URL)
    with TestClient(app, base_url=URL, headers=ANNA) as client:
        yield client, LightCurveService(factory.create_tap_service())
    factory.close()


@pytest.fixture(scope="module")
def catalog(home):
    with duckdb.connect(str(home / "releases/demo/catalogs.duckdb"), read_only=True) as found:
        yield found


def test_fluxes_are_those_of_the_tables_in_the_order_of_time(portal, catalog):
    _, curves = portal
    (object_id,) = catalog.sql("SELECT diaObjectId FROM DiaObject LIMIT 1").fetchall()[0]
    for kind, table, column in (
        ("direct", "ForcedSourceOnDiaObject", "psfFlux"),
        ("difference", "ForcedSourceOnDiaObject", "psfDiffFlux"),
        ("dia", "DiaSource", "psfFlux"),
    ):
        curve = curves.get_curve(WHO, "demo", object_id, "DiaObject", kind)
        expected = catalog.sql(
            f"SELECT f.{column} FROM {table} AS f JOIN Visit AS v ON v.visit = f.visit "
            f"WHERE f.diaObjectId = {object_id} ORDER BY v.expMidptMJD"
        ).fetchall()
        np.testing.assert_allclose(curve.array("flux"), [r[0] for r in expected], rtol=1e-6)
        assert (np.diff(curve.array("mjd")) >= 0).all()
        assert curve.array("flag").dtype == bool


def test_what_is_not_there_is_named(portal):
    _, curves = portal
    with pytest.raises(NotFoundError, match="has no Object 999999999999"):
        curves.get_curve(WHO, "demo", 999999999999)
    with pytest.raises(UsageError, match="belong to a DiaObject"):
        curves.get_curve(WHO, "demo", 5, "Object", "dia")
    with pytest.raises(UsageError, match="'wishful'"):
        curves.get_curve(WHO, "demo", 5, "Object", "wishful")


@pytest.mark.requirement("DMS-PRTL-REQ-0103")
def test_a_stamp_is_centred_on_its_position_even_at_the_edge(portal, home):
    client, _ = portal
    with Release.open(home / "releases/demo").get_butler() as butler:
        ref = butler.query_datasets("visit_image")[0]
        image = butler.get(ref)
    pixels = np.nan_to_num(image.image.array)
    sky = image.sky_projection.as_astropy(image.bbox)
    inner = pixels[60:-60, 60:-60]
    y, x = (int(v) + 60 for v in np.unravel_index(np.argmax(inner), inner.shape))
    for at_x, at_y in ((x, y), (3, y)):
        ra, dec = np.degrees(sky.pixel_to_world_values(at_x, at_y))
        answer = client.get(
            f"/portal/app/lightcurve/stamp/demo/{ref.id}.png", params={"ra": ra % 360, "dec": dec, "size": 8}
        )
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "image/png"
        picture = np.asarray(Image.open(io.BytesIO(answer.content)).convert("L"), float)
        assert min(picture.shape) > 100
        middle = tuple(n // 2 for n in picture.shape)
        if at_x == x:
            brightest = np.unravel_index(np.argmax(picture), picture.shape)
            assert np.hypot(*(np.array(brightest) - middle)) < 0.12 * picture.shape[0]
        else:
            # A third of the stamp or more lies beyond the edge and is black.
            assert (picture == 0).mean() > 0.3


def test_stamps_have_a_range_of_brightness_in_common(portal, home):
    client, _ = portal
    with Release.open(home / "releases/demo").get_butler() as butler:
        science = butler.query_datasets("visit_image")[0]
        difference = next(
            r
            for r in butler.query_datasets("difference_image")
            if r.dataId["visit"] == science.dataId["visit"]
        )
        image = butler.get(science)
    sky = image.sky_projection.as_astropy(image.bbox)
    y, x = np.unravel_index(
        np.nanargmax(image.image.array[60:-60, 60:-60]),
        (image.image.array.shape[0] - 120, image.image.array.shape[1] - 120),
    )
    ra, dec = np.degrees(sky.pixel_to_world_values(x + 60, y + 60))
    place = {"ra": ra % 360, "dec": dec, "size": 10}
    address = f"/portal/app/lightcurve/stamp/demo/{difference.id}.png"
    alone, alike = (
        np.asarray(Image.open(io.BytesIO(client.get(address, params=p).content)).convert("L"), float)
        for p in (place, {**place, "like": str(science.id)})
    )
    # On the scale of the bright star its difference is dark.
    assert np.median(alike) < np.median(alone)


@pytest.mark.parametrize(
    ("dataset", "fields", "status"),
    [("no-uuid", "ra=53.1&dec=-28.1", 400), ("00000000-0000-4000-8000-000000000000", "ra=53.1&dec=-28.1", 404),
     ("no-uuid", "ra=53.1&dec=-28.1&size=1e6", 400), ("no-uuid", "ra=x&dec=-28.1", 422)],
)  # fmt: skip
def test_a_wrong_request_for_a_stamp_is_refused(portal, dataset, fields, status):
    client, _ = portal
    assert client.get(f"/portal/app/lightcurve/stamp/demo/{dataset}.png?{fields}").status_code == status


def test_stamps_need_the_scope_of_images(portal):
    client, _ = portal
    answer = client.get(
        f"/portal/app/lightcurve/stamp/demo/{uuid.uuid4()}.png?ra=53&dec=-28",
        headers={"authorization": "Bearer token-without-images"},
    )
    assert answer.status_code == 403
