"""The search box leads to the page of what was typed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import duckdb
import pyarrow as pa
import pytest
from starlette.testclient import TestClient

from skydesk_core.release.testing import make_scene
from skydesk_core.release.testing_images import SKYMAP, SyntheticRepo
from skydesk_core.release.writer import ReleaseBuilder
from skydesk_portal.models.identity import Identity
from skydesk_portal.services.find import FindService
from skydesk_portal.services.find_names import NameResolver
from tests.support.pages import ANNA, Pages
from tests.support.portal import make_portal


@pytest.fixture(scope="module")
def rows(products_home):
    """One row of each table with identifiers, straight from the file."""
    with duckdb.connect(str(products_home / "releases/maps/catalogs.duckdb"), read_only=True) as catalog:
        return {
            name: catalog.sql(f'SELECT * FROM "{name}" LIMIT 1').to_arrow_table().to_pylist()[0]
            for name in ("Object", "Source", "DiaObject", "DiaSource", "CoaddPatches")
        }


def go(client: TestClient, text: str) -> tuple[str, dict[str, str]]:
    answer = client.get("/portal/app/go", params={"q": text})
    assert answer.status_code == 303, answer.text
    parts = urlsplit(answer.headers["location"])
    return parts.path.removeprefix("/portal/app/"), {k: v[0] for k, v in parse_qs(parts.query).items()}


@pytest.mark.requirement("DMS-PRTL-REQ-0024")
@pytest.mark.requirement("DMS-PRTL-REQ-0029")
def test_identifiers_lead_to_their_pages(pages_client: TestClient, rows, pages_home) -> None:
    object_id, dia_object = rows["Object"]["objectId"], rows["DiaObject"]["diaObjectId"]
    assert go(pages_client, f"object {object_id}") == (
        "lightcurves",
        {"release": "maps", "object": str(object_id)},
    )
    assert go(pages_client, f"diaobject {dia_object}") == (
        "lightcurves",
        {"release": "maps", "diaobject": str(dia_object)},
    )
    source = rows["DiaSource"]
    assert go(pages_client, f"LSST-AP-DS-{source['diaSourceId']}") == (
        "alerts",
        {"release": "maps", "id": str(source["diaSourceId"])},
    )
    page, fields = go(pages_client, str(rows["Source"]["sourceId"]))
    assert page == "images"
    assert (fields["visit"], fields["detector"]) == (
        str(rows["Source"]["visit"]),
        str(rows["Source"]["detector"]),
    )


def test_visits_and_patches_lead_to_images(pages_client: TestClient, pages_home) -> None:
    who, tap = ANNA, Pages("http://testserver", pages_home).factory.create_tap_service()
    images = tap.run_query(who, "SELECT * FROM ivoa.ObsCore").table.to_pylist()
    visit = next(row for row in images if row["dataset_type"] == "visit_image")
    page, fields = go(pages_client, f"{visit['lsst_visit']},{visit['lsst_detector']}")
    assert (page, fields["visit"], fields["kind"]) == ("images", str(visit["lsst_visit"]), "visit_image")
    assert go(pages_client, f"visit {visit['lsst_visit']}")[1]["visit"] == str(visit["lsst_visit"])
    coadd = next(row for row in images if row["dataset_type"] == "deep_coadd")
    page, fields = go(pages_client, f"tract {coadd['lsst_tract']} patch {coadd['lsst_patch']}")
    assert page == "images"
    same = [
        r["dataset_id"]
        for r in images
        if (r["lsst_tract"], r["lsst_patch"]) == (coadd["lsst_tract"], coadd["lsst_patch"])
    ]
    assert fields["id"] in [str(found) for found in same]


def test_a_position_leads_to_the_images_that_cover_it(pages_client: TestClient, rows) -> None:
    ra, dec = rows["Object"]["coord_ra"], rows["Object"]["coord_dec"]
    page, fields = go(pages_client, f"{ra:.7f} {dec:+.7f}")
    assert page == "images"
    assert float(fields["ra"]) == pytest.approx(ra, abs=1e-6)
    assert float(fields["dec"]) == pytest.approx(dec, abs=1e-6)
    assert go(pages_client, "200 10")[0] == "find"


def test_what_is_ambiguous_unknown_or_wrong_leads_to_the_choice(pages_client: TestClient) -> None:
    for text in ("object 987654321987", "M 31", "400 10", "", "<script>alert(1)</script>"):
        assert go(pages_client, text) == ("find", {"q": text} if text else {})
    answer = pages_client.get(
        "/portal/app/go", params={"q": "object 987654321987"}, headers={"authorization": "Bearer nonsense"}
    )
    assert answer.status_code == 401


def test_findings_say_what_was_looked_for(pages_home) -> None:
    service = Pages("http://testserver", pages_home).factory.create_find_service()
    assert "object" in service.find(ANNA, "object 987654321987").remarks[0]
    assert "portal.name_resolver" in service.find(ANNA, "M 31").remarks[0]
    assert service.find(Identity("nobody"), "visit 1").places == []


@pytest.fixture(scope="module")
def movers(tmp_path_factory):
    """The search box over a release with tables of moving objects."""
    home = tmp_path_factory.mktemp("movers")
    scene = make_scene(20, 1, 3)
    with ReleaseBuilder(home / "releases" / "orbits", "orbits", "Moving objects", ("g",)) as builder:
        with SyntheticRepo(builder.butler_path, scene.visits) as repo:
            orbits = {"ssObjectId": [71, 72], "designation": ["2026 AB1", "(433) Eros"], "e": [0.1, 0.223]}
            builder.add_extra_table("MPCORB", "Orbits", pa.table(orbits))
            sources = {"ssObjectId": [71, 71, 72], "diaSourceId": [1, 2, 3]}
            builder.add_extra_table("SSSource", "Detections", pa.table(sources))
        builder.finish(repo.collection, SKYMAP, "SimCam")
    (home / "run").mkdir()
    _app, factory = make_portal(home, "http://testserver")
    yield factory
    factory.close()


@pytest.mark.requirement("DMS-PRTL-REQ-0030")
def test_moving_objects_lead_to_their_detections(movers) -> None:
    service, tap = movers.create_find_service(), movers.create_tap_service()
    for text, wanted in (("2026 ab1", [1, 2]), ("(433) Eros", [3]), ("ssObjectId 72", [3]), ("71", [1, 2])):
        (place,) = service.find(ANNA, text).places
        assert place.page == "catalogs"
        rows = tap.run_query(ANNA, dict(place.fields)["query"]).table.column("diaSourceId").to_pylist()
        assert sorted(rows) == wanted
    assert service.find(ANNA, "2026 XX9").places == []


@pytest.fixture
def name_service() -> Iterator[str]:
    """A name service that answers in the form of Sesame: it knows M 31."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            name = unquote(self.path.partition("?")[2])
            text = f"# {name}\t#Q1\n#=S=Simbad (via url):    1\n"
            if name == "M 31":
                text += (
                    "%@ 1575544\n%I.0 M  31\n%C.0 AGN\n%J 010.6847083 +41.2687500 = 00:42:44.33 +41:16:07.5\n"
                )
            elif name == "odd":
                text += "%J 400 +95 = nowhere\n"
            else:
                text += "#!SIMBAD: No known catalog could be found\n"
            self.send_response(200)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/nph-sesame/-oI/SNV?"
    server.shutdown()


@pytest.mark.requirement("DMS-PRTL-REQ-0023")
def test_a_name_service_is_asked_where_one_is_set(name_service, pages_home) -> None:
    factory = Pages("http://testserver", pages_home).factory
    service = FindService(
        factory.create_release_store(), factory.create_tap_service(), NameResolver(name_service)
    )
    found = service.find(ANNA, "M 31")
    assert found.places == []
    assert "No image of a release covers M 31, RA 10.68471°, Dec 41.26875°" in found.remarks[0]
    assert "knows 'Nessie'" in service.find(ANNA, "Nessie").remarks[0]
    assert "cannot be looked up now" in service.find(ANNA, "odd").remarks[0]
    gone = FindService(
        factory.create_release_store(), factory.create_tap_service(), NameResolver("http://127.0.0.1:9/")
    )
    assert "does not answer" in gone.find(ANNA, "M 31").remarks[0]
