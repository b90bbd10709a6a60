"""The demo release, which the pipelines made: sound, true to the simulated sky, and complete."""

from __future__ import annotations

import io
import json

import duckdb
import fastavro
import numpy as np
import pytest
from astropy.io import fits

from skydesk_core.qa import measure_release
from skydesk_core.release import check_release, get_release
from skydesk_core.release.sdm import SDM_TABLES


@pytest.fixture(scope="module")
def demo(demo_home):
    return get_release(demo_home, "demo")


def test_the_demo_is_sound_and_has_every_table(demo):
    report = check_release(demo.path)
    assert report.problems == []
    names = {t.name for t in demo.manifest.tables}
    assert set(SDM_TABLES) | {"ObsCore", "truth_object", "truth_variable", "truth_dia"} <= names
    counts = {t.dataset_type: t.count for t in demo.manifest.image_types}
    assert counts["raw"] == counts["visit_image"] == counts["difference_image"] > 0
    assert counts["deep_coadd"] == counts["template_coadd"] > 0
    assert demo.manifest.bands == ("g", "r", "i")
    assert demo.manifest.center_deg == pytest.approx((53.13, -28.10), abs=0.05)


def test_relations_between_the_demos_tables_hold(demo):
    with duckdb.connect(str(demo.duckdb_path), read_only=True) as con:
        for table in demo.schema():
            for key in table.foreign_keys:
                (mine,), (theirs,) = key.columns, key.target_columns
                known = f'SELECT "{theirs}" FROM "{key.target_table}"'
                # The SDM has 0 for what is no small body.
                lost = (
                    f'SELECT count(*) FROM "{table.name}" WHERE "{mine}" IS NOT NULL AND "{mine}" <> 0 '
                    f'AND "{mine}" NOT IN ({known})'
                )
                assert con.execute(lost).fetchall() == [(0,)], (table.name, key.name)


def test_the_demos_figures(demo, record_property):
    found = {m.name: m for m in measure_release(demo)}
    for metric in found.values():
        record_property(metric.name, metric.value)
    assert found["frames_solved"].value == found["frames_total"].value
    assert found["astrometric_residual"].value < 0.03
    assert found["object_purity"].value > 0.9
    assert found["object_completeness_90"].value > 23.0
    assert found["dia_completeness"].value > 0.9
    for band in "gri":
        assert found[f"photometric_repeatability_{band}"].value < 15


def test_the_demo_has_a_colour_hips_and_alerts_with_templates(demo):
    assert {h.name for h in demo.manifest.hips} == {
        "deep_coadd/band_g",
        "deep_coadd/band_r",
        "deep_coadd/band_i",
        "deep_coadd/color_gri",
    }
    (survey, *bands) = demo.manifest.mocs
    assert all(0.7 * survey.sky_fraction < m.sky_fraction <= survey.sky_fraction for m in bands)
    rows = {t.name: t.rows for t in demo.manifest.tables}
    assert demo.manifest.alerts.count == rows["DiaSource"] > 20
    schema = json.loads((demo.path / "alerts" / "schema-1101.json").read_text())
    packets = sorted((demo.path / "alerts").glob("*.packets"))
    with packets[-1].open("rb") as stream:
        assert stream.read(5) == b"\0\0\0\x04\x4d"
        record = fastavro.schemaless_reader(stream, fastavro.parse_schema(schema), None)
    stamps = [
        fits.getdata(io.BytesIO(record[f"cutout{kind}"])) for kind in ("Difference", "Science", "Template")
    ]
    assert [s.shape for s in stamps] == [(41, 41)] * 3
    # The difference is what the template, brought to the PSF of the science image, leaves of it.
    difference, science, template = (np.nan_to_num(s[15:26, 15:26]).sum() for s in stamps)
    assert abs(difference - (science - template)) < 0.3 * max(abs(science), abs(template), abs(difference))
