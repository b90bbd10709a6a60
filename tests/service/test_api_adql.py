"""The features of ADQL over HTTP on a release: two ways to ask for the same give the same answer."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from skydesk_portal.adql.udfs import UDFS
from tests.service.test_api_tap import ask, rows, status_of
from tests.support.services import LiveServices

PAIRS = {
    "with": (
        "WITH red (id, flux) AS (SELECT objectId, r_psfFlux FROM demo.Object WHERE r_psfFlux > 1000)"
        " SELECT COUNT(*) AS n, SUM(flux) AS s FROM red",
        "SELECT COUNT(*) AS n, SUM(r_psfFlux) AS s FROM demo.Object WHERE r_psfFlux > 1000",
    ),
    "sets": (
        "SELECT objectId FROM demo.Object EXCEPT (SELECT objectId FROM demo.Object WHERE g_psfFlux <= 500)"
        " ORDER BY objectId",
        "SELECT objectId FROM demo.Object WHERE g_psfFlux > 500 OR g_psfFlux IS NULL ORDER BY objectId",
    ),
    "offset": (
        "SELECT TOP 3 objectId FROM demo.Object ORDER BY objectId OFFSET 2",
        "SELECT objectId FROM (SELECT TOP 5 objectId FROM demo.Object ORDER BY objectId) AS a"
        " WHERE objectId NOT IN (SELECT b.objectId FROM (SELECT TOP 2 objectId FROM demo.Object ORDER BY objectId) AS b)"
        " ORDER BY objectId",
    ),
    "unit": (
        "SELECT COUNT(*) AS n FROM demo.Object WHERE IN_UNIT(g_psfFlux, 'uJy') > 0.5",
        "SELECT COUNT(*) AS n FROM demo.Object WHERE g_psfFlux > 500",
    ),
    "strings": (
        "SELECT COUNT(*) AS n FROM demo.ForcedSource WHERE UPPER(band) = 'G' AND band || CAST(1 AS CHAR) ILIKE 'G_'",
        "SELECT SUM(CASE WHEN band = 'g' THEN 1 ELSE 0 END) AS n FROM demo.ForcedSource",
    ),
    "exists": (
        "SELECT COUNT(*) AS n FROM demo.Object AS o WHERE EXISTS"
        " (SELECT 1 FROM demo.ForcedSource AS f WHERE f.objectId = o.objectId AND f.psfFlux > 1000)",
        "SELECT COUNT(DISTINCT objectId) AS n FROM demo.Object NATURAL JOIN"
        " (SELECT objectId, psfFlux FROM demo.ForcedSource) AS f WHERE psfFlux > 1000",
    ),
    "bits": (
        "SELECT COUNT(*) AS n FROM demo.ForcedSource WHERE visit & 0x1 = 1",
        "SELECT COUNT(*) AS n FROM demo.ForcedSource WHERE MOD(visit, 2) = 1",
    ),
    "time": (
        "SELECT COUNT(*) AS n FROM ivoa.ObsCore WHERE t_min < ivo_to_mjd(TIMESTAMP('2100-01-01'))",
        "SELECT COUNT(t_min) AS n FROM ivoa.ObsCore",
    ),
    "polygon": (
        "SELECT COUNT(*) AS n FROM demo.Object WHERE 1 = CONTAINS(POINT(coord_ra, coord_dec),"
        " POLYGON(53.1, -28.13, 53.16, -28.13, 53.16, -28.07, 53.13, -28.1, 53.1, -28.07))",
        "SELECT COUNT(*) AS n FROM demo.Object WHERE scisql_s2PtInCPoly(coord_ra, coord_dec,"
        " 53.1, -28.07, 53.13, -28.1, 53.16, -28.07, 53.16, -28.13, 53.1, -28.13) = 1",
    ),
    "stored regions": (
        "SELECT COUNT(*) AS n FROM ivoa.ObsCore WHERE 1 = CONTAINS(POINT(s_ra, s_dec), s_region)",
        "SELECT COUNT(*) AS n FROM ivoa.ObsCore WHERE INTERSECTS(s_region, CIRCLE(s_ra, s_dec, 1e-6)) = 1",
    ),
    "cells": (
        "SELECT COUNT(*) AS n FROM (SELECT DISTINCT ivo_healpix_index(12, coord_ra, coord_dec) AS c FROM demo.Object) AS a",
        "SELECT COUNT(DISTINCT ivo_healpix_index(12, POINT(coord_ra + 0, coord_dec))) AS n FROM demo.Object",
    ),
}


@pytest.mark.requirement("DMS-API-REQ-0009")
@pytest.mark.parametrize("feature", PAIRS)
def test_a_feature_agrees_with_another_way_to_ask(feature: str, live_services: LiveServices) -> None:
    one, two = (rows(live_services, query) for query in PAIRS[feature])
    assert one == two
    assert one
    assert any(value not in (None, 0) for value in one[0].values())


def test_shapes_in_the_result_are_arrays_with_their_xtype(live_services: LiveServices) -> None:
    response = ask(
        live_services,
        "SELECT TOP 1 POINT(coord_ra, coord_dec) AS p, CIRCLE(coord_ra, coord_dec, 0.5) AS c,"
        " BOX(coord_ra, coord_dec, 1, 1) AS b FROM demo.Object",
    )
    document = ET.fromstring(response.content)
    fields = [(f.get("name"), f.get("datatype"), f.get("xtype")) for f in document.findall(".//{*}FIELD")]
    assert fields == [("p", "double", "point"), ("c", "double", "circle"), ("b", "double", "polygon")]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        (
            "SELECT coord_raa\nFROM demo.Object",
            "line 1, column 8: unknown column `coord_raa` (did you mean `coord_ra`?)",
        ),
        (
            "SELECT ra FROM demo.Object",
            "line 1, column 8: unknown column `ra` (did you mean `coord_ra`?)",
        ),
        (
            "SELECT objectId FROM demo.Object LIMIT 3",
            "line 1, column 34: LIMIT is not ADQL: write SELECT TOP n",
        ),
        ("SELECT\n read_csv('/etc/passwd')", "line 2, column 2: unknown function `read_csv`"),
    ],
)
def test_an_error_document_says_where_and_what(query: str, words: str, live_services: LiveServices) -> None:
    response = ask(live_services, query)
    assert response.status_code == 400
    status, text = status_of(response)
    assert status == "ERROR"
    assert text.endswith(words)


def test_every_function_beyond_adql_is_declared(live_services: LiveServices) -> None:
    with live_services.client() as client:
        document = ET.fromstring(client.get("/api/tap/capabilities").content)
    forms = {(form.text or "").strip() for form in document.iter("form")}
    assert {form for form, _ in UDFS.values()} <= forms
    assert all(
        re.fullmatch(r"\w+\(.*\) -> [A-Z ]+", form) for form in forms if form.startswith(("ivo_", "scisql_"))
    )
