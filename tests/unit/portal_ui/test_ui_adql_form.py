"""The form and the ADQL that it means."""

import pytest

from skydesk_portal.exceptions import UsageError
from skydesk_portal.ui.adql_form import (
    CellTable,
    Cone,
    PositionTable,
    QueryForm,
    SkyBox,
    SkyCoverage,
    SkyPolygon,
    read_adql,
    write_adql,
)

FULL = QueryForm(
    "demo.Object",
    ("objectId", "r_psfFlux"),
    ("coord_ra", "coord_dec"),
    Cone(53.13, -28.1, 60.0),
    ("r_psfFlux > 1000", "refBand = 'r'", "x BETWEEN 1 AND 5"),
    500,
    ("r_psfFlux", True),
)


def test_a_form_comes_back_from_its_adql():
    assert read_adql(write_adql(FULL)) == FULL


def test_the_plainest_form_comes_back():
    form = QueryForm("demo.Visit")
    assert write_adql(form) == "SELECT *\nFROM demo.Visit"
    assert read_adql(write_adql(form)) == form


@pytest.mark.parametrize(
    "adql",
    [
        "SELECT a.x FROM demo.Object AS a JOIN demo.Visit AS b ON a.v = b.v",
        "SELECT COUNT(*) FROM demo.Object",
        "SELECT x FROM demo.Object WHERE x > 1 OR y > 2",
        "SELECT x FROM demo.Object GROUP BY x",
        "SELECT x FROM (SELECT 1) AS t",
    ],
)
def test_what_says_more_than_the_form_is_left_alone(adql):
    assert read_adql(adql) is None


def test_and_inside_a_string_does_not_split():
    found = read_adql("SELECT x FROM demo.T WHERE name = 'this and that' AND x IS NOT NULL")
    assert found is not None
    assert found.constraints == ("name = 'this and that'", "x IS NOT NULL")


def test_a_constraint_that_is_none_is_refused():
    with pytest.raises(UsageError, match="not a constraint"):
        write_adql(QueryForm("demo.Object", constraints=("DROP TABLE x",)))


def test_a_cone_needs_a_position():
    with pytest.raises(UsageError, match="no position"):
        write_adql(QueryForm("demo.truth", cone=Cone(1, 2, 3)))


@pytest.mark.requirement("DMS-PRTL-REQ-0027")
@pytest.mark.parametrize(
    "shape", [SkyBox(53.13, -28.1, 120.0, 60.0), SkyPolygon(((53.1, -28.1), (53.2, -28.1), (53.15, -28.0)))]
)
def test_boxes_and_polygons_come_back(shape):
    form = QueryForm("demo.Object", (), ("coord_ra", "coord_dec"), shape=shape)
    assert read_adql(write_adql(form)) == form


@pytest.mark.parametrize(
    "shape", [SkyCoverage("6/1-5 7/32"), CellTable((3, 8)), CellTable((29,)), PositionTable()], ids=repr
)
def test_coverage_maps_and_lists_of_positions_come_back(shape):
    names = ("objectId", "r_psfFlux")
    form = QueryForm("demo.Object", names, ("coord_ra", "coord_dec"), None, ("x > 1",), 50, shape=shape)
    assert read_adql(write_adql(form)) == form
    everything = QueryForm("demo.Object", (), ("coord_ra", "coord_dec"), shape=shape)
    assert read_adql(write_adql(everything)) == everything
    # What is changed by hand says more than the form.
    changed = write_adql(form).replace("norder = 3", "norder = 4").replace("= 1", "= 0")
    assert (isinstance(shape, CellTable) and len(shape.orders) == 1) or read_adql(changed) != form


def test_a_polygon_of_two_corners_is_refused():
    with pytest.raises(UsageError, match="three corners"):
        write_adql(QueryForm("demo.Object", (), ("a", "b"), shape=SkyPolygon(((1, 2), (3, 4)))))
