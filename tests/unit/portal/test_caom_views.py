"""CAOM views over image lists of releases that earlier versions made."""

from __future__ import annotations

import pyarrow as pa

from skydesk_portal.models.tables import ColumnInfo, TableInfo
from skydesk_portal.storage.caom import provide_caom
from skydesk_portal.storage.duckdb_engine import DuckdbEngine

_TEXTS = (
    "obs_collection obs_id dataset_type dataset_id obs_publisher_did dataproduct_type s_region target_name facility_name "
    "instrument_name lsst_band lsst_filter pol_states access_url"
)
_FLOATS = "s_fov s_resolution em_min em_max em_res_power t_min t_max t_exptime t_resolution"
_WHOLES = "calib_level s_xel1 s_xel2 em_xel t_xel pol_xel access_estsize lsst_visit lsst_tract"


def test_columns_that_came_later_are_null() -> None:
    row = dict.fromkeys(_TEXTS.split(), "x") | dict.fromkeys(_FLOATS.split(), 1.5)
    row |= dict.fromkeys(_WHOLES.split(), 2)
    columns = tuple(ColumnInfo(name, "char", "*") for name in row)
    images = TableInfo("ivoa", "ObsCore", columns, ("memory", "ivoa_old", "ObsCore"))
    engine = DuckdbEngine({})
    try:
        engine.provide((images,), {"ivoa.ObsCore": pa.Table.from_pylist([row])})
        schema = provide_caom(engine, images, [], "old")
        answers = {}
        for table in schema.tables:
            query = engine.start(f"SELECT * FROM {'.'.join(table.source)}", timeout_s=60)
            answers[table.name] = pa.Table.from_batches(list(query.batches()), query.schema).to_pylist()
            query.close()
            assert list(answers[table.name][0]) == [column.name for column in table.columns]
    finally:
        engine.close()
    assert answers["Plane"][0]["planeURI"] == "caom:x/x/x"
    assert answers["Plane"][0]["dataRelease"] is None
    assert answers["Plane"][0]["provenance_inputs"] is None
    assert answers["Observation"][0]["proposal_id"] is None
    assert answers["Artifact"][0]["contentLength"] == 2048
