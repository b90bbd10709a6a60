"""The pure parts of the Catalogs page: conditions above columns, addresses, completion, programs, sheets, presets."""

from __future__ import annotations

import gc
import json
import weakref
import zlib
from base64 import urlsafe_b64encode
from datetime import UTC, datetime
from urllib.parse import parse_qs

import duckdb
import numpy as np
import panel as pn
import pytest
from bokeh.plotting import figure

from skydesk_portal.adql import translate
from skydesk_portal.exceptions import UsageError
from skydesk_portal.models.resultsets import ResultSet, ResultView
from skydesk_portal.models.tables import Catalog, ColumnInfo, SchemaInfo, TableInfo
from skydesk_portal.services.brushing import Box, Interval, Polygon
from skydesk_portal.services.column_filters import write_condition
from skydesk_portal.services.completion import complete_query, search_schema
from skydesk_portal.services.reproduce import NamedBrush, write_adql, write_python
from skydesk_portal.ui.catalog_state import MOST_CHARACTERS, CatalogState, read_region, write_region
from skydesk_portal.ui.linked_coordinates import SkyAxes, add_coordinates, find_sky_axes
from skydesk_portal.ui.linked_plot import paint_cells, read_ranges
from skydesk_portal.ui.photometry_presets import list_presets
from skydesk_portal.ui.row_sheet import find_uncertainty, write_uncertain

FLUX, NAME, FLAG = (
    ColumnInfo("flux", "double", unit="nJy"),
    ColumnInfo("name", "char", "*"),
    ColumnInfo("flag", "boolean"),
)
OBJECT = TableInfo(
    "demo", "Object", (
        ColumnInfo("objectId", "long", description="Unique id", ucd="meta.id"),
        ColumnInfo("coord_ra", "double", unit="deg", description="Right ascension", ucd="pos.eq.ra"),
        ColumnInfo("r_psfFlux", "float", unit="nJy", description="Flux of the PSF model", ucd="phot.flux"),
        ColumnInfo("size", "float"),
    ), ("r_demo", "main", "Object"), description="Static objects", rows=2000,
)  # fmt: skip
VISIT = TableInfo("demo", "Visit", (ColumnInfo("visit", "long"), ColumnInfo("band", "char", "*")), rows=9)
CATALOG = Catalog((SchemaInfo("demo", tables=(OBJECT, VISIT)),))


@pytest.mark.requirement("DMS-PRTL-REQ-0090")
@pytest.mark.parametrize(("column", "text", "rows"), [
    (FLUX, "> 2", [3, 4]), (FLUX, ">=2", [2, 3, 4]), (FLUX, "< 2", [1]), (FLUX, "<= 2", [1, 2]), (FLUX, "= 2", [2]),
    (FLUX, "2", [2]), (FLUX, "!= 2", [1, 3, 4]), (FLUX, "≠2", [1, 3, 4]), (FLUX, "2..3", [2, 3]), (FLUX, "..2", [1, 2]),
    (FLUX, "3.5e0..", [4]), (FLUX, "in 1, 4", [1, 4]), (FLUX, "null", [5]), (FLUX, "not null", [1, 2, 3, 4]),
    (FLUX, "> 1 and < 4", [2, 3]), (NAME, "star", [1, 4]), (NAME, "= star", [1]), (NAME, "like gal%", [2]),
    (NAME, "!= star", [2, 3, 4]), (NAME, "in star, it's", [1, 3]), (NAME, "it's", [3]), (FLAG, "true", [1, 3]), (FLUX, " ", None),
])  # fmt: skip
def test_what_stands_above_a_column_means_the_rows_it_says(column, text, rows):
    condition = write_condition(column, text)
    if rows is None:
        assert condition == ""
        return
    table = TableInfo("result", "rows", (ColumnInfo("n", "long"), FLUX, NAME, FLAG), ("rows",))
    sql = translate(
        f"SELECT n FROM result.rows WHERE {condition} ORDER BY n",
        Catalog((SchemaInfo("result", tables=(table,)),)),
    ).sql
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE rows (n BIGINT, flux DOUBLE, name VARCHAR, flag BOOLEAN)")
        connection.execute(
            "INSERT INTO rows VALUES (1, 1, 'star', true), (2, 2, 'galaxy', false), (3, 3, 'it''s', true), "
            "(4, 4, 'A STAR', NULL), (5, NULL, NULL, NULL)"
        )
        assert [n for (n,) in connection.sql(sql).fetchall()] == rows


@pytest.mark.parametrize("text", ["> x", "1; DROP TABLE rows", "in", "a..b", "'", "flux > 3", "1) OR (1=1"])
def test_what_is_no_condition_is_refused_with_an_example(text):
    with pytest.raises(UsageError, match="Examples"):
        write_condition(FLUX, text)


def read_address(text: str) -> CatalogState:
    found = parse_qs(text)
    return CatalogState.read(found["query"][0], found.get("s", [""])[0])


def test_an_address_gives_back_everything_it_was_made_from():
    state = CatalogState(
        "SELECT * FROM demo.Object",
        ResultView(("a", "gr"), (("gr", "g - r"),), (), (("a", True),)),
        {"a": "> 3"},
        "gr < 1",
        (
            {"kind": "plane", "x": "gr", "y": "a", "b": [0.1, 0.2, 3.0, -4.5]},
            {"kind": "histogram", "x": "a", "n": 9},
        ),
    )
    text, is_whole = state.write()
    assert is_whole
    assert read_address(text) == state


def test_an_address_that_would_be_too_long_lets_the_lassos_go_and_says_so():
    numbers = np.random.default_rng(1).normal(size=900).tolist()
    state = CatalogState(
        "SELECT 1", plots=({"kind": "plane", "b": numbers}, {"kind": "histogram", "b": [1.0, 2.0]})
    )
    text, is_whole = state.write()
    assert len(text) <= MOST_CHARACTERS
    assert not is_whole
    assert read_address(text).plots == ({"kind": "plane"}, {"kind": "histogram", "b": [1.0, 2.0]})
    long = CatalogState("SELECT " + "x" * 5000, plots=())
    assert long.write() == ("", False)


@pytest.mark.parametrize("blob", ["", "!!", "AAAA", "x" * 300, urlsafe_b64encode(zlib.compress(json.dumps([1, 2]).encode())).decode(),
    urlsafe_b64encode(zlib.compress(json.dumps({"p": 3, "f": [1], "columns": 5}).encode())).decode()])  # fmt: skip
def test_a_damaged_address_restores_the_query_alone(blob):
    found = CatalogState.read("SELECT 1", blob)
    assert (found.query, found.view, found.filters, found.plots) == ("SELECT 1", ResultView(), {}, None)


@pytest.mark.parametrize(
    "region", [Interval(1.5, 2.0), Box(0.0, 1.0, -2.0, 3.0), Polygon(((0.0, 0.0), (1.0, 0.0), (1.0, 2.0)))]
)
def test_brushes_survive_addresses(region):
    assert read_region(write_region(region)) == region


@pytest.mark.parametrize("numbers", [[], [1], [1, 2, 3], ["a", 1], [None, 2]])
def test_what_is_no_brush_is_none(numbers):
    assert read_region(numbers) is None


@pytest.mark.parametrize(("before", "after", "expected"), [
    ("SELECT r_", " FROM demo.Object", "r_psfFlux"), ("SELECT * FROM ", "", "demo.Object"), ("SELECT * FROM demo.V", "", "demo.Visit"),
    ("SELECT o.coord", " FROM demo.Object AS o", "o.coord_ra"), ("SELECT si", " FROM demo.Object", '"size"'),
    ("SELECT flux FROM demo.Object WHERE psfFl", "", "r_psfFlux"), ("SELECT * FROM demo.Object WH", "", "WHERE"), ("SELECT SQ", "", "SQRT("),
])  # fmt: skip
def test_completion_offers_what_may_stand_there(before, after, expected):
    start, found = complete_query(before, before + after, CATALOG)
    assert expected in [s.text for s in found]
    assert before[start:].strip() == before[start:]


def test_completion_says_nothing_inside_of_strings():
    assert complete_query("SELECT * FROM demo.Object WHERE name = 'r_", "", CATALOG)[1] == []


@pytest.mark.parametrize(("text", "tables", "columns"), [
    ("", 2, 0), ("flux", 1, 1), ("njy psf", 1, 1), ("pos.eq.ra", 1, 1), ("static", 1, 4), ("nothing", 0, 0), ("demo band", 1, 1),
])  # fmt: skip
def test_the_schema_is_searched_by_name_description_unit_and_ucd(text, tables, columns):
    found = search_schema(text, CATALOG)
    assert len(found) == tables
    assert sum(len(c) for _, c in found) == columns


RESULT = ResultSet(
    "0" * 24,
    "ann",
    "SELECT TOP 50 objectId, r_psfFlux FROM demo.Object ORDER BY r_psfFlux",
    (),
    50,
    False,
    1,
    datetime.now(UTC),
)


def test_what_is_shown_is_one_query_that_the_front_end_accepts():
    assert write_adql(RESULT, ResultView(subset="chosen")) == RESULT.adql
    view = ResultView(
        ("objectId", "mag"), (("double_flux", "2 * r_psfFlux"), ("mag", "31.4 - 2.5 * LOG10(double_flux)")),
        ('"r_psfFlux" > 3', "mag < 20 OR objectId = 1"), (("mag", True),),
    )  # fmt: skip
    found = translate(write_adql(RESULT, view), CATALOG)
    assert [c.name for c in found.columns] == ["objectId", "mag"]


def test_the_program_chooses_the_rows_of_the_brushes():
    x, y = np.random.default_rng(4).uniform(0, 10, (2, 500))
    brushes = [
        NamedBrush("x", "", (True, False), Interval(0.1, 0.9)),
        NamedBrush("x", "y", (False, False), Box(8.0, 1.0, 0.5, 9.0)),
        NamedBrush("x", "y", (False, False), Polygon(((0.0, 0.0), (10.0, 2.0), (6.0, 9.0)))),
    ]
    program = write_python(RESULT, ResultView(), brushes, "https://sky.example/")
    compile(program, "program", "exec")
    assert "https://sky.example/api/tap" in program
    from astropy.table import Table

    # The query needs a server; everything after it runs here.
    setup, _, rest = program.partition("table = service")
    names = {"table": Table({"x": x, "y": y})}
    exec(
        "import numpy as np\nfrom matplotlib.path import Path\n"
        + rest.split("\n", 1)[1].replace("print(table)", ""),
        names,
    )
    keep = (np.log10(x) >= 0.1) & (np.log10(x) <= 0.9) & brushes[1].region.mark(x, y).astype(bool)
    keep &= brushes[2].region.mark(x, y).astype(bool)
    assert names["table"]["x"].tolist() == x[keep].tolist()
    assert 0 < keep.sum() < 500
    assert "import pyvo" in setup


@pytest.mark.parametrize(("value", "error", "text"), [
    (3141.954, 55.42562, "3142 ± 55"), (0.0123456, 0.00021, "0.01235 ± 0.00021"), (31419.5, 554.2, "31420 ± 550"),
    (1.0, 0.0, "1"), (1.0, float("nan"), "1"), (53.13, 1e-30, "53.13 ± 1e-30"),
])  # fmt: skip
def test_values_have_the_digits_that_their_uncertainty_leaves(value, error, text):
    assert write_uncertain(value, error) == text


def test_uncertainties_are_found_by_name():
    names = ["r_psfFlux", "r_psfFluxErr", "ra", "e_ra", "x"]
    assert [find_uncertainty(n, names) for n in names] == ["r_psfFluxErr", None, "e_ra", None, None]


def test_presets_compute_what_is_missing_from_fluxes_and_take_magnitudes_where_they_are():
    presets = {
        p.title: p for p in list_presets(["g_psfFlux", "r_psfMag", "r_psfFlux", "i_psfMag", "objectId"])
    }
    diagram = presets["r against g − r (psf)"]
    assert diagram.plot == {"kind": "plane", "x": "psf_g_r", "y": "r_psfMag", "oy": "downwards"}
    assert dict(diagram.derived)["psf_g_r"] == "g_psfABMag - r_psfMag"
    assert "r − i against g − r (psf)" in presets
    assert list_presets(["a", "b"]) == []


def test_ranges_are_read_with_open_ends():
    assert read_ranges("20..22; 0..1", 2) == [(20, 22), (0, 1)]
    assert read_ranges("..22", 2) == [(-np.inf, 22), (-np.inf, np.inf)]
    for text in ("20", "a..b", "1..2; 3..4; 5..6", "1..2..3"):
        with pytest.raises(UsageError):
            read_ranges(text, 2)


def test_empty_cells_are_transparent_and_chosen_ones_stand_out():
    everything, some = np.array([0, 5, 5, 9]), np.array([0, 0, 5, 0])
    plain = paint_cells((2, 2), everything, None, False).ravel()
    brushed = paint_cells((2, 2), everything, some, False).ravel()
    assert plain[0] == brushed[0] == 0
    assert (plain[1:] >> 24 == 255).all()
    assert brushed[1] != brushed[2]


def column(name: str, ucd: str = "", unit: str = "deg") -> ColumnInfo:
    return ColumnInfo(name, "double", unit=unit, ucd=ucd)


@pytest.mark.parametrize(
    ("x", "y", "axes"),
    [
        (column("a", "pos.eq.ra;meta.main"), column("b", "pos.eq.dec;meta.main"), SkyAxes("ICRS")),
        (column("b", "pos.eq.dec"), column("a", "pos.eq.ra"), SkyAxes("ICRS", True)),
        (column("l", "pos.galactic.lon"), column("b", "pos.galactic.lat"), SkyAxes("galactic")),
        (column("beta", "pos.ecliptic.lat"), column("lambda", "pos.ecliptic.lon"), SkyAxes("ecliptic", True)),
        (column("ra", unit=""), column("dec", unit=""), SkyAxes("ICRS")),
        (column("dec"), column("ra"), SkyAxes("ICRS", True)),
        (column("raErr", "stat.error;pos.eq.ra"), column("decErr", "stat.error;pos.eq.dec"), None),
        (column("l", "pos.galactic.lon"), column("dec", "pos.eq.dec"), None),
        (column("a", "pos.eq.ra", "h"), column("b", "pos.eq.dec"), None),
        (column("ra", "phot.mag"), column("dec", "phot.color"), None),
        (column("g_r", "phot.color", "mag"), column("r", "phot.mag", "mag"), None),
        (column("ra"), None, None),
    ],
)
def test_columns_of_a_place_on_the_sky_are_known_by_their_meaning_then_by_their_names(x, y, axes):
    assert find_sky_axes(x, y) == axes


def test_coordinates_go_with_their_plot():
    plot = figure(x_range=(0, 1), y_range=(0, 1))
    pane = pn.pane.Bokeh(plot)
    left = [weakref.ref(pane), weakref.ref(add_coordinates(plot, pane, SkyAxes("ICRS"), "#ff8c1a"))]
    del plot, pane
    # First the pane, then what Panel has kept for it.
    gc.collect()
    gc.collect()
    assert [found() for found in left] == [None, None]
