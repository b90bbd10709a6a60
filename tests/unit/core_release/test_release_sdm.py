import numpy as np
import pyarrow as pa
import pytest

from skydesk_core.errors import DataError
from skydesk_core.release.obscore_columns import load_obscore
from skydesk_core.release.sdm import conform_table, table_units

BASE = {"objectId": np.array([5, 3]), "coord_ra": np.array([1.0, 2.0]), "coord_dec": np.array([3.0, 4.0])}


def conform(extra=(), units=(), bands=("g", "r"), name="Object"):
    table = pa.table({k: pa.array(v) for k, v in {**BASE, **dict(extra)}.items()})
    return conform_table(name, table, dict(units), bands)


def test_columns_get_their_definition_and_order_from_the_sdm():
    info, table, left_out = conform(
        {"r_psfFlux": np.array([1.0, 2.0]), "my_own": np.array([1, 2])}, {"r_psfFlux": "nJy"}
    )
    assert left_out == ("my_own",)
    assert set(table.column_names) == {"objectId", "coord_ra", "coord_dec", "r_psfFlux"}
    column = info.column("r_psfFlux")
    assert (column.datatype, column.unit, table.schema.field("r_psfFlux").type) == (
        "float",
        "nJy",
        pa.float32(),
    )
    assert "r-band" in column.description
    assert info.primary_key == ("objectId",)
    assert info.column("objectId").indexed
    assert info.column("coord_ra").ucd == "pos.eq.ra;meta.main"
    assert (info.ra_column, info.dec_column) == ("coord_ra", "coord_dec")


@pytest.mark.parametrize(
    ("extra", "units", "message"),
    [
        (
            {"r_psfFlux": np.array([1.0, 2.0])},
            {"r_psfFlux": "mJy"},
            r"table Object, column r_psfFlux: unit is 'mJy'",
        ),
        (
            {"r_psfFlux": np.array([1.0, 2.0])},
            {"r_psfFlux": "flurb"},
            r"column r_psfFlux: unit 'flurb' cannot",
        ),
        ({"r_psfFlux": np.array(["a", "b"])}, {}, r"table Object, column r_psfFlux: type is string"),
        ({"r_psfFlux_flag": np.array([0, 1])}, {}, r"column r_psfFlux_flag: type is int64.* says boolean"),
        ({"r_inputCount": np.array([1, 2**40])}, {}, r"column r_inputCount: does not fit int"),
        ({"patch": np.array([1.5, 2.0])}, {}, r"column patch: type is double"),
    ],
)
def test_contradictions_name_table_and_column(extra, units, message):
    with pytest.raises(DataError, match=message):
        conform(extra, units)


def test_a_table_without_any_known_column_is_refused():
    with pytest.raises(DataError, match="has no column of the Rubin Science Data Model"):
        conform_table("Object", pa.table({"nonsense": [1]}), {}, ("r",))


def test_another_cameras_band_takes_the_definition_of_r():
    info, _, left_out = conform(
        {"clear_psfFlux": np.array([1.0, 2.0])}, {"clear_psfFlux": "nJy"}, bands=("clear",)
    )
    column = info.column("clear_psfFlux")
    assert left_out == ()
    assert column.unit == "nJy"
    assert "clear-band" in column.description
    assert column.ucd is None or "em.opt" not in column.ucd
    assert info.bands == ("clear",)


def test_longer_strings_widen_the_column():
    info, _, _ = conform({"refBand": np.array(["clear", "r"])})
    assert info.column("refBand").arraysize == "5*"


def test_both_sdm_generations_are_known():
    table = pa.table({"visitId": [1], "detector": [0], "ra": [1.0], "dec": [2.0]})
    assert conform_table("VisitDetector", table, {}, ("r",))[0].primary_key == ("visitId", "detector")
    assert conform_table("CcdVisit", table, {}, ("r",))[0].foreign_keys[0].target_table == "Visit"


def test_units_come_from_the_arrow_fields():
    field = pa.field("x", pa.float64(), metadata={b"unit": b"pixel", b"description": b"column"})
    table = pa.Table.from_arrays([pa.array([1.0])], schema=pa.schema([field]))
    assert table_units(table) == ({"x": "pixel"}, {"x": "column"})


def test_obscore_has_every_mandatory_column():
    text = """dataproduct_type calib_level obs_collection obs_id obs_publisher_did access_url access_format
        access_estsize target_name s_ra s_dec s_fov s_region s_xel1 s_xel2 s_resolution t_min t_max t_exptime
        t_resolution t_xel em_min em_max em_res_power em_xel o_ucd pol_states pol_xel facility_name instrument_name"""
    mandatory = text.split()
    assert set(mandatory) <= set(load_obscore().column_names)
