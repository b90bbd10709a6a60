"""Moving objects of the tiny demo on the Portal: found, measured, followed and predicted, against the tables and the truth."""

import io

import duckdb
import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient
from support.portal import PEOPLE, make_portal

from skydesk_portal.exceptions import NotFoundError, UsageError
from skydesk_portal.services.movingobjects import MovingObjectService
from skydesk_portal.ui.lightcurve_stamps import image_address, render_strip
from skydesk_portal.ui.lightcurve_view import read_view, write_view
from skydesk_portal.ui.phasecurve_plot import render_fits

URL = "http://testserver"
ANNA = {"authorization": "Bearer token-of-anna"}
WHO = PEOPLE["token-of-anna"]


@pytest.fixture(scope="module")
def home(demo_home, tmp_path_factory):
    folder = tmp_path_factory.mktemp("moving-home")
    (folder / "releases").symlink_to(demo_home / "releases", target_is_directory=True)
    return folder


@pytest.fixture(scope="module")
def factory(home):
    app, found = make_portal(home, URL)
    found.app = app
    yield found
    found.close()


@pytest.fixture(scope="module")
def client(factory):
    with TestClient(factory.app, base_url=URL, headers=ANNA) as found:
        yield found


@pytest.fixture(scope="module")
def catalog(home):
    with duckdb.connect(str(home / "releases/demo/catalogs.duckdb"), read_only=True) as found:
        yield found


@pytest.fixture(scope="module")
def moving(factory):
    return MovingObjectService(factory.create_tap_service())


@pytest.fixture(scope="module")
def body(catalog):
    """Identifier and name of the body that was seen most often."""
    query = "SELECT ssObjectId, designation FROM SSObject ORDER BY nObs DESC, ssObjectId LIMIT 1"
    return catalog.execute(query).fetchone()


@pytest.mark.requirement("DMS-PRTL-REQ-0028")
def test_one_identifier_of_each_kind_leads_to_its_row(factory, catalog, body):
    service = factory.create_find_service()
    for text, page, field in (
        ("object {}", "lightcurves", "object"),
        ("visit {}", "images", "visit"),
        ("ssobject {}", "lightcurves", "ssobject"),
    ):
        table, column = {"object": ("Object", "objectId"), "visit": ("Visit", "visit")}.get(
            field, ("SSObject", "ssObjectId")
        )
        (number,) = catalog.execute(f"SELECT {column} FROM {table} ORDER BY {column} LIMIT 1").fetchone()
        places = service.find(WHO, text.format(number), "demo").places
        assert (page, str(number)) in [(p.page, dict(p.fields).get(field)) for p in places]
    (source,) = catalog.execute("SELECT sourceId FROM Source LIMIT 1").fetchone()
    assert service.find(WHO, f"source {source}").places
    nothing = service.find(WHO, "ssobject 99")
    assert nothing.places == []
    assert "99" in nothing.remarks[0]


@pytest.mark.requirement("DMS-PRTL-REQ-0030")
def test_a_designation_leads_to_the_light_curve_and_to_the_detections(factory, catalog, body):
    number, name = body
    service = factory.create_find_service()
    for text in (name, name.lower(), name.replace(" ", ""), str(number)):
        places = service.find(WHO, text).places
        assert [p.page for p in places] == ["lightcurves", "catalogs"]
        assert dict(places[0].fields) == {"release": "demo", "ssobject": str(number)}
        rows = factory.create_tap_service().run_query(WHO, dict(places[1].fields)["query"]).table
        wanted = catalog.execute(f"SELECT diaSourceId FROM SSSource WHERE ssObjectId = {number}").fetchall()
        assert sorted(rows.column("diaSourceId").to_pylist()) == sorted(r[0] for r in wanted)
    unseen = service.find(WHO, "SIM 1001")
    assert unseen.places == []
    assert "has not observed" in unseen.remarks[0]


def test_the_light_curve_and_phase_curve_are_those_of_the_tables(moving, catalog, body):
    number, name = body
    curve = moving.get_curve(WHO, "demo", number)
    assert curve.label == name
    rows = catalog.execute(
        "SELECT d.midpointMjdTai, d.psfFlux, d.ra, s.phaseAngle, s.helioRange * s.topoRange FROM SSSource s "
        f"JOIN DiaSource d USING (diaSourceId) WHERE s.ssObjectId = {number} ORDER BY 1"
    ).fetchall()
    mjd, flux, ra, phase, ranges = (np.array(c, float) for c in zip(*rows, strict=True))
    for column, wanted in (("mjd", mjd), ("flux", flux), ("ra", ra), ("phaseAngle", phase)):
        np.testing.assert_allclose(curve.array(column), wanted, rtol=1e-7)
    reduced = 31.4 - 2.5 * np.log10(flux) - 5 * np.log10(ranges)
    np.testing.assert_allclose(curve.array("reducedMag"), reduced, atol=1e-4)
    assert [c.name for c in curve.columns] == curve.table.column_names
    bands = moving.get_phase_curve(WHO, curve)
    assert [b.band for b in bands] == ["g", "r", "i"]
    for band in bands:
        h, error = catalog.execute(
            f"SELECT {band.band}_H, {band.band}_HErr FROM SSObject WHERE ssObjectId = {number}"
        ).fetchone()
        assert (band.h_mag, band.h_error_mag) == pytest.approx((h, error))
        # The model goes through the points.
        assert np.abs(band.model(band.phase_deg) - band.reduced_mag).max() < 0.1
    words = render_fits(bands, curve.label)
    assert f"{bands[1].h_mag:.3f}" in words
    assert "kept fixed" in words


def test_what_is_not_there_is_said(moving, body):
    with pytest.raises(NotFoundError, match="no detections of a moving object 5"):
        moving.get_curve(WHO, "demo", 5)
    with pytest.raises(UsageError, match="choose those of detections"):
        moving.get_curve(WHO, "demo", body[0], "direct")
    with pytest.raises(NotFoundError, match="has not observed a moving object 'Vulcan'"):
        moving.find_object(WHO, "demo", "Vulcan")
    assert moving.find_object(WHO, "demo", body[1]) == body[0]


def test_the_address_of_a_moving_object_restores_its_view():
    short = read_view({"release": "demo", "ssobject": "71"})
    assert (short.kind, short.flux_kind, short.magnitudes) == ("SSObject", "dia", True)
    assert write_view(short) == "?release=demo&ssobject=71"
    fluxes = read_view({"release": "demo", "ssobject": "71", "axis": "flux", "fluxes": "science"})
    assert not fluxes.magnitudes
    assert write_view(fluxes) == "?release=demo&ssobject=71&fluxes=science&axis=flux"


@pytest.mark.requirement("DMS-PRTL-REQ-0103")
def test_every_stamp_is_centred_on_the_body_with_one_scale(client, moving, catalog, body, factory):
    curve = moving.get_curve(WHO, "demo", body[0])
    epochs = curve.table.to_pylist()
    ids = dict(
        catalog.execute(
            "SELECT lsst_visit, dataset_id FROM ObsCore WHERE dataset_type = 'difference_image'"
        ).fetchall()
    )
    html = render_strip(curve, [(e, {"difference": ids[e["visit"]]}) for e in epochs], "difference", 10.0, 0)
    addresses = [part.split("'")[0].replace("&amp;", "&") for part in html.split("<img src='")[1:]]
    assert len(addresses) == len(epochs) >= 5
    shapes = set()
    for address in addresses:
        answer = client.get(address)
        assert answer.status_code == 200, answer.text
        picture = np.asarray(Image.open(io.BytesIO(answer.content)).convert("L"), float)
        shapes.add(picture.shape)
        bright = picture > 0.8 * picture.max()
        y, x = np.nonzero(bright)
        # A pixel of the image is 0.2 arcsec, so 10 arcsec have 51 of them.
        scale = picture.shape[0] / 51
        assert np.hypot(y.mean() - (picture.shape[0] - 1) / 2, x.mean() - (picture.shape[1] - 1) / 2) < scale
        assert "like=" in address
    assert len(shapes) == 1
    # The stretch is that of the first stamp where the body was then.
    assert all(f"like_ra={epochs[0]['ra']:.7f}" in a for a in addresses[1:])
    assert f"moving={body[0]}" in image_address(curve, epochs[0], "visit_image")


@pytest.mark.requirement("DMS-PRTL-REQ-0099")
def test_predicted_positions_on_images_are_those_of_the_detections(client, catalog):
    rows = catalog.execute(
        "SELECT o.dataset_id, s.ssObjectId, s.designation, d.ra, d.dec, s.ephRa, s.ephDec FROM SSSource s "
        "JOIN DiaSource d USING (diaSourceId) JOIN ObsCore o ON o.lsst_visit = d.visit "
        "AND o.dataset_type = 'visit_image' AND o.lsst_detector = d.detector"
    ).fetchall()
    assert len(rows) >= 12
    for dataset, number, name, ra, dec, eph_ra, eph_dec in rows:
        answer = client.get(f"/portal/app/tiles/demo/{dataset}/orbits", params={"moving": number})
        assert answer.status_code == 200, answer.text
        (found,) = answer.json()["bodies"]
        assert (found["id"], found["name"], found["inside"]) == (str(number), name, True)
        for other_ra, other_dec, limit in ((ra, dec, 1.0), (eph_ra, eph_dec, 0.01)):
            east = (found["ra"] - other_ra) * np.cos(np.radians(dec))
            assert 3600 * np.hypot(east, found["dec"] - other_dec) < limit
        middle = found["hours"].index(0.0)
        assert found["track_ra"][middle] == pytest.approx(found["ra"], abs=1e-9)
    # All known bodies of an image are those that were recognised on it, if none was missed.
    dataset = rows[0][0]
    every = client.get(f"/portal/app/tiles/demo/{dataset}/orbits").json()["bodies"]
    assert {r[2] for r in rows if r[0] == dataset} <= {b["name"] for b in every}


def test_orbits_of_a_wrong_request_are_refused(client, catalog):
    ids = dict(catalog.execute("SELECT dataset_type, dataset_id FROM ObsCore").fetchall())
    visit, coadd = ids["visit_image"], ids["deep_coadd"]
    for dataset, fields, status, words in (
        (visit, "moving=Ceres", 400, "no identifier"),
        (visit, "moving=5", 404, "knows no orbit"),
        (coadd, "moving=all", 404, "images of one visit"),
    ):
        answer = client.get(f"/portal/app/tiles/demo/{dataset}/orbits?{fields}")
        assert answer.status_code == status
        assert words in answer.json()["detail"]
    for token in ("token-without-images", "token-without-queries"):
        headers = {"authorization": f"Bearer {token}"}
        assert client.get(f"/portal/app/tiles/demo/{visit}/orbits", headers=headers).status_code == 403
