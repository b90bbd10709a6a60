"""CAOM 2 views by TAP: observations, planes and artifacts that agree with the image list and with provenance."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import pyvo
import requests

from tests.support.services import ANN, LiveServices


@pytest.fixture(scope="module")
def tap(live_services: LiveServices) -> Iterator[pyvo.dal.TAPService]:
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {ANN}"
    yield pyvo.dal.TAPService(f"{live_services.url}/api/tap", session=session)


def test_planes_and_artifacts_are_the_images(tap: pyvo.dal.TAPService) -> None:
    found = tap.search(
        "SELECT o.collection, o.observationID, o.type, o.intent, p.planeURI, p.publisherID, p.time_exposure, "
        "p.energy_bounds_lower, p.position_dimension_naxis1, p.dataRelease, a.contentLength, a.productType "
        "FROM caom2.Observation AS o JOIN caom2.Plane AS p ON o.obsID = p.obsID "
        "JOIN caom2.Artifact AS a ON a.planeID = p.planeID"
    ).to_table()
    images = tap.search("SELECT * FROM ivoa.ObsCore").to_table()
    assert len(found) == len(images)
    by_did = {row["obs_publisher_did"]: row for row in images}
    assert set(by_did) == set(found["publisherID"])
    for row in found:
        image = by_did[row["publisherID"]]
        assert row["observationID"] == image["obs_id"]
        assert row["planeURI"] == f"caom:demo/{image['obs_id']}/{image['dataset_type']}"
        assert row["contentLength"] == image["access_estsize"] * 1024
        assert (row["type"], row["intent"], row["productType"]) == (
            (image["dataset_type"].upper(), "calibration", "calibration")
            if image["dataset_type"] in ("bias", "flat")
            else ("OBJECT", "science", "science")
        )
        assert str(row["dataRelease"])[:2] == "20"
    assert str(found["energy_bounds_lower"].unit) == "m"


def test_observations_group_planes(tap: pyvo.dal.TAPService) -> None:
    found = tap.search(
        "SELECT o.observationURI, o.algorithm_name, COUNT(*) AS planes, MIN(p.calibrationLevel) AS least "
        "FROM caom2.Observation AS o JOIN caom2.Plane AS p ON o.obsID = p.obsID "
        "WHERE o.intent = 'science' GROUP BY o.observationURI, o.algorithm_name"
    ).to_table()
    exposures = found[found["algorithm_name"] == "exposure"]
    assert set(exposures["planes"]) == {3}
    assert set(exposures["least"]) == {1}
    assert "coadd" in set(found["algorithm_name"])
    uris = tap.search("SELECT obsID, observationURI FROM caom2.Observation").to_table()
    assert len(set(uris["obsID"])) == len(set(uris["observationURI"])) == len(uris)


def test_inputs_and_members_are_those_of_the_provenance(tap: pyvo.dal.TAPService) -> None:
    pairs = tap.search("SELECT dataset_id, input_id FROM demo.Provenance").to_table()
    planes = tap.search("SELECT planeID, planeURI, provenance_inputs FROM caom2.Plane").to_table()
    uri = {row["planeID"]: row["planeURI"] for row in planes}
    wanted: dict[str, set[str]] = {}
    for row in pairs:
        wanted.setdefault(row["dataset_id"], set()).add(uri[row["input_id"]])
    for row in planes:
        assert set(str(row["provenance_inputs"] or "").split()) == wanted.get(row["planeID"], set())
    members = tap.search(
        "SELECT observationURI, members FROM caom2.Observation WHERE algorithm_name = 'coadd' AND members IS NOT NULL"
    ).to_table()
    known = set(tap.search("SELECT observationURI FROM caom2.Observation").to_table()["observationURI"])
    assert len(members) > 0
    assert all(set(str(row["members"]).split()) <= known for row in members)


def test_outlines_can_be_searched(tap: pyvo.dal.TAPService) -> None:
    here = "CIRCLE('ICRS', 53.13, -28.10, 0.001)"
    planes = tap.search(
        f"SELECT planeID FROM caom2.Plane WHERE INTERSECTS({here}, position_bounds) = 1"
    ).to_table()
    images = tap.search(
        f"SELECT dataset_id FROM ivoa.ObsCore WHERE INTERSECTS({here}, s_region) = 1"
    ).to_table()
    assert len(planes) > 0
    assert set(planes["planeID"]) == set(images["dataset_id"])


def test_the_schema_is_described(tap: pyvo.dal.TAPService) -> None:
    columns = tap.search(
        "SELECT table_name, column_name, utype, datatype, xtype FROM tap_schema.columns WHERE table_name LIKE 'caom2.%'"
    ).to_table()
    utypes = {(r["table_name"], r["column_name"]): r["utype"] for r in columns}
    assert utypes["caom2.Plane", "position_bounds_size"] == "caom2:Plane.position.bounds.size"
    assert utypes["caom2.Plane", "planeURI"] == "caom2:Plane.uri"
    assert utypes["caom2.Observation", "target_name"] == "caom2:Observation.target.name"
    assert utypes["caom2.Artifact", "contentLength"] == "caom2:Artifact.contentLength"
    keys = tap.search(
        "SELECT from_table, target_table FROM tap_schema.keys WHERE from_table LIKE 'caom2.%'"
    ).to_table()
    assert {(r["from_table"], r["target_table"]) for r in keys} == {
        ("caom2.Plane", "caom2.Observation"),
        ("caom2.Artifact", "caom2.Plane"),
    }
    # Every column can be read, known or not.
    for table in ("Observation", "Plane", "Artifact"):
        assert len(tap.search(f"SELECT * FROM caom2.{table}", maxrec=3)) == 3
