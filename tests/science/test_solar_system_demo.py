"""Small bodies in the tiny demo, from its pixels to the tables, against the simulator's truth."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import duckdb
import numpy as np
import pytest
from lsst.alert.packet import Schema

from skydesk_core.algorithms.phasecurve import FIXED_G12, reduced_magnitude_hg12
from skydesk_core.qa.metrics import measure_release
from skydesk_core.release import Release


@pytest.fixture(scope="module")
def release(demo_home: Path) -> Release:
    return Release.open(demo_home / "releases" / "demo")


@pytest.fixture(scope="module")
def tables(release: Release) -> duckdb.DuckDBPyConnection:
    with duckdb.connect(str(release.duckdb_path), read_only=True) as opened:
        yield opened


def test_known_bodies_are_recognised_and_nothing_else_is(release: Release, record_property) -> None:
    found = {m.name: m for m in measure_release(release)}
    for name in ("sso_completeness", "sso_purity", "sso_residual"):
        record_property(name, found[name].value)
    assert found["sso_completeness"].count >= 12
    assert found["sso_completeness"].value > 0.95
    assert found["sso_purity"].value > 0.95
    # The orbits' errors, not the astrometry, dominate.
    assert found["sso_residual"].value < 0.4


def test_tables_are_related_and_bodies_are_no_objects(tables) -> None:
    broken = tables.execute(
        "SELECT count(*) FROM SSSource s LEFT JOIN DiaSource d USING (diaSourceId) "
        "LEFT JOIN SSObject o ON o.ssObjectId = s.ssObjectId LEFT JOIN MPCORB m ON m.ssObjectId = s.ssObjectId "
        "LEFT JOIN mpc_orbits p ON p.designation = s.designation "
        "WHERE d.ssObjectId IS DISTINCT FROM s.ssObjectId OR o.ssObjectId IS NULL OR m.q IS NULL OR p.q <> m.q "
        "OR d.diaObjectId IS NOT NULL"
    ).fetchone()[0]
    linked, sources = tables.execute(
        "SELECT (SELECT count(*) FROM DiaSource WHERE ssObjectId > 0), (SELECT count(*) FROM SSSource)"
    ).fetchone()
    assert broken == 0
    assert linked == sources >= 12
    counts = tables.execute("SELECT sum(nObs), count(*) FROM SSObject").fetchone()
    assert counts == (sources, 3)


def test_absolute_magnitudes_and_colours_come_out_as_they_were_put_in(tables) -> None:
    rows = tables.execute(
        "SELECT o.g_H, o.r_H, o.i_H, o.r_HErr, t.h_r, t.g_r, t.r_i, t.g12, o.r_slope_fit_failed, o.r_phaseAngleMax "
        "FROM SSObject o JOIN truth_orbit t USING (designation)"
    ).fetchall()
    assert len(rows) == 3
    for g_h, r_h, i_h, r_error, h_r, g_r, r_i, g12, fixed, phase in rows:
        # Two nights tell no slope; the fixed one shifts H by what the two curves differ at these phase angles.
        assert fixed
        shift = float(
            np.diff(reduced_magnitude_hg12(np.array([phase] * 2), 0.0, np.array([FIXED_G12, g12])))[0]
        )
        assert r_h == pytest.approx(h_r + shift, abs=0.05)
        assert 0 < r_error < 0.05
        assert g_h - r_h == pytest.approx(g_r, abs=0.05)
        assert r_h - i_h == pytest.approx(r_i, abs=0.05)


def test_the_schema_is_that_of_the_science_data_model(release: Release) -> None:
    tables = {t.name: t for t in release.schema().tables}
    source, body = tables["SSSource"], tables["SSObject"]
    assert source.column("phaseAngle").ucd == "pos.phaseAng"
    assert source.column("phaseAngle").unit == "deg"
    assert source.column("topoRangeRate").unit == "km/s"
    assert source.column("heliocentricDist").unit == "AU"
    assert body.column("r_H").ucd == "phot.mag"
    assert body.column("g_H_g_G12_Cov").unit == "mag**2"
    assert {k.target_table for k in source.foreign_keys} == {"DiaSource", "SSObject"}
    assert tables["mpc_orbits"].column("peri_time").sdm_datatype == "double"
    assert tables["MPCORB"].primary_key == ("mpcDesignation",)


def test_alerts_carry_the_body_and_its_orbit(release: Release, tables) -> None:
    schema = Schema.from_uri()
    folder = release.path / "alerts"
    with sqlite3.connect(f"file:{folder / 'index.sqlite'}?mode=ro&immutable=1", uri=True) as index:
        places = {row[0]: row[1:] for row in index.execute("SELECT alert_id, file, start, length FROM alert")}
    index.close()
    query = "SELECT s.diaSourceId, s.designation, s.phaseAngle, p.q FROM SSSource s JOIN mpc_orbits p USING (designation)"
    bodies = {row[0]: row[1:] for row in tables.execute(query).fetchall()}
    for alert, (file, start, length) in places.items():
        packet = schema.deserialize((folder / file).read_bytes()[start : start + length][5:])
        assert schema.validate(packet)
        assert (packet["ssSource"] is not None) == (alert in bodies)
        if alert in bodies:
            found = (
                packet["ssSource"]["designation"],
                packet["ssSource"]["phaseAngle"],
                packet["mpc_orbits"]["q"],
            )
            assert found == bodies[alert]
