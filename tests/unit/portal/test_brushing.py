"""Linked views: exact regions, counts that are those of numpy, subsets that obey the laws of sets."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import shapely
from matplotlib.path import Path

from skydesk_portal.exceptions import UsageError
from skydesk_portal.services.brushing import Binning, Box, Coordinator, Interval, Polygon
from skydesk_portal.services.brushing_cube import CubeStopped
from skydesk_portal.services.subsets import combine_subsets

ROWS = 200_000


@pytest.fixture(scope="module")
def points():
    rng = np.random.default_rng(11)
    x, y, z = rng.normal(size=(3, ROWS))
    x[::997] = np.nan
    y[5::991] = np.inf
    return x, y, z


def star(tips: int, seed: int) -> Polygon:
    rng = np.random.default_rng(seed)
    angle = np.sort(rng.uniform(0, 2 * np.pi, 2 * tips))
    radius = rng.uniform(0.2, 2.0, 2 * tips)
    return Polygon(tuple(zip(radius * np.cos(angle), radius * np.sin(angle), strict=True)))


@pytest.mark.requirement("DMS-PRTL-REQ-0107")
@pytest.mark.parametrize("tips", [2, 3, 7, 40, 400])
def test_a_lasso_chooses_exactly_the_rows_of_an_exact_point_in_polygon(points, tips):
    x, y, _ = points
    polygon = star(tips, tips)
    shape = shapely.Polygon(polygon.vertices)
    shapely.prepare(shape)
    found = polygon.mark(x, y).astype(bool)
    assert (found == shapely.contains_xy(shape, x, y)).all()
    assert found.any()
    assert not found.all()
    flat = np.isfinite(x) & np.isfinite(y)
    by_path = Path(np.array(polygon.vertices)).contains_points(np.stack([x, y], 1)[flat])
    assert (found[flat] == by_path).mean() > 0.99999


def test_where_a_lasso_crosses_itself_the_even_odd_rule_holds(points):
    x, y, _ = points
    bow = Polygon(((-1, -1), (1, 1), (1, -1), (-1, 1)))
    inside = (np.abs(x) < 1) & (np.abs(y) < np.abs(x))
    assert (bow.mark(x, y).astype(bool) == inside).all()


def test_positions_a_rounding_away_from_an_edge_are_on_the_right_side():
    # Exact rational arithmetic tells for each position on which side of the slanted edge it is.
    a, b = (0.1, 0.1), (12.3, 17.7)
    polygon = Polygon((a, b, (-50.0, 17.7), (-50.0, 0.1)))
    t = np.random.default_rng(3).uniform(0.01, 0.99, 4000)
    y = a[1] + t * (b[1] - a[1])
    x = a[0] + t * (b[0] - a[0])
    x = np.where(
        np.arange(t.size) % 3 == 0,
        np.nextafter(x, 99),
        np.where(np.arange(t.size) % 3 == 1, np.nextafter(x, -99), x),
    )
    (ax, ay), (bx, by) = [tuple(map(Fraction, p)) for p in (a, b)]
    exact = [
        (bx - ax) * (Fraction(py) - ay) - (by - ay) * (Fraction(px) - ax) > 0
        for px, py in zip(x, y, strict=True)
    ]
    assert polygon.mark(x, y).astype(bool).tolist() == exact
    assert 0.2 < np.mean(exact) < 0.8


@pytest.mark.parametrize("vertices", [(), ((0, 0), (1, 1)), ((0, 0), (1, np.nan), (2, 0))])
def test_what_is_no_polygon_is_refused(points, vertices):
    with pytest.raises(UsageError):
        Polygon(vertices).mark(*points[:2])


def test_a_flat_polygon_holds_nothing(points):
    assert Polygon(((0, 1), (1, 1), (2, 1))).mark(*points[:2]).sum() == 0
    assert Polygon(((1, 0), (1, 1), (1, 2))).mark(*points[:2]).sum() == 0


@pytest.mark.requirement("DMS-PRTL-REQ-0106")
def test_a_brush_in_any_view_filters_all_views(points):
    x, y, z = points
    linked = Coordinator(ROWS)
    linked.set_view("plane", Binning((-3, 3, 30), (-2, 2, 20)), x, y, weight=z)
    linked.set_view("line", Binning((-4, 4, 50)), z)
    assert linked.chosen is None
    assert linked.count("line").all.tolist() == np.histogram(z, 50, (-4, 4))[0].tolist()
    linked.brush("plane", Box(-1, 1, -0.5, 2), x, y)
    linked.brush("line", Interval(0, 1), z)
    inside = (x >= -1) & (x <= 1) & (y >= -0.5) & (y <= 2) & (z >= 0) & (z <= 1)
    assert linked.number_chosen == inside.sum() > 0
    assert linked.count("line").chosen.tolist() == np.histogram(z[inside], 50, (-4, 4))[0].tolist()
    good = inside & np.isfinite(x) & np.isfinite(y)
    plane, _, _ = np.histogram2d(y[good], x[good], (20, 30), ((-2, 2), (-3, 3)))
    total, _, _ = np.histogram2d(y[good], x[good], (20, 30), ((-2, 2), (-3, 3)), weights=z[good])
    counts = linked.count("plane")
    assert counts.chosen.tolist() == plane.ravel().tolist()
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(counts.mean, (total / plane).ravel())
    linked.invert(True)
    assert linked.number_chosen == (~inside).sum()
    linked.clear("line")
    linked.invert(False)
    assert linked.number_chosen > inside.sum()
    linked.clear()
    assert linked.chosen is None
    assert (linked.count("plane").all == linked.count("plane").chosen).all()


REGIONS = {
    "box": Box(-0.8, 0.9, -0.31, 1.7),
    "thin box": Box(0.1, 0.1003, -5.0, 5.0),
    "box beyond everything": Box(-np.inf, 0.3, -1.0, np.inf),
    "empty box": Box(50.0, 60.0, 0.0, 1.0),
    "lasso": star(20, 5),
    "lasso beyond the rows": Polygon(((-100.0, -90.0), (0.3, 80.0), (70.0, -60.0))),
}


@pytest.mark.requirement("DMS-PRTL-REQ-0106")
@pytest.mark.parametrize("region", REGIONS.values(), ids=REGIONS.keys())
@pytest.mark.parametrize("inverted", [False, True], ids=["inside", "outside"])
def test_a_prepared_brush_counts_exactly_what_reading_all_rows_counts(points, region, inverted):
    x, y, z = points
    prepared, plain = Coordinator(ROWS), Coordinator(ROWS)
    for linked in (prepared, plain):
        linked.set_view("plane", Binning((-3, 3, 320), (-2, 2, 200)), x, y)
        linked.set_view("coarse", Binning((-3, 3, 48), (-2, 2, 32)), y, z)
        linked.set_view("line", Binning((-4, 4, 60)), z)
        linked.brush("line", Interval(-1.5, 1.0), z)
        linked.invert(inverted)
    plan = prepared.plan("plane")
    prepared.adopt(plan, plan.build(lambda part: True))
    assert prepared.is_prepared("plane")
    assert prepared.plan("plane") is None
    for linked in (prepared, plain):
        linked.brush("plane", region, x, y)
    inside = (region.mark(x, y) == 1) & (z >= -1.5) & (z <= 1.0)
    assert prepared.number_chosen == plain.number_chosen == int((inside != inverted).sum())
    for name in plain.views:
        assert prepared.count(name).chosen.tolist() == plain.count(name).chosen.tolist()
    expected = np.histogram(z[inside != inverted], 60, (-4, 4))[0]
    assert prepared.count("line").chosen.tolist() == expected.tolist()
    some = np.arange(0, ROWS, 37)
    assert (prepared.choose_of(some) == (inside != inverted)[some]).all()
    assert prepared.list_chosen(9).tolist() == np.flatnonzero(inside != inverted)[:9].tolist()


@pytest.mark.parametrize("interval", [(0.25, 0.75), (-np.inf, 0.0), (0.5, 0.5), (3.0, -3.0), (-9.0, 9.0)])
def test_prepared_intervals_count_exactly(points, interval, monkeypatch):
    monkeypatch.setattr("skydesk_portal.services.brushing_cube._BLOCK_ROWS", 30_000)
    x, y, z = points
    z = np.round(z, 2)  # many values lie on the border
    linked = Coordinator(ROWS)
    linked.set_view("line", Binning((-4, 4, 60)), z)
    linked.set_view("plane", Binning((-3, 3, 300), (-2, 2, 300)), x, y)
    plan = linked.plan("line")
    linked.adopt(plan, plan.build(lambda part: True))
    linked.brush("line", Interval(*interval), z)
    inside = (z >= interval[0]) & (z <= interval[1])
    assert linked.number_chosen == inside.sum()
    good = inside & np.isfinite(x) & np.isfinite(y)
    expected, _, _ = np.histogram2d(y[good], x[good], (300, 300), ((-2, 2), (-3, 3)))
    assert linked.count("plane").chosen.tolist() == expected.ravel().tolist()


def test_what_was_prepared_is_not_used_when_something_else_has_changed(points):
    x, y, z = points
    linked = Coordinator(ROWS)
    linked.set_view("plane", Binning((-3, 3, 30), (-2, 2, 20)), x, y)
    linked.set_view("line", Binning((-4, 4, 50)), z)
    plan = linked.plan("plane")
    linked.adopt(plan, plan.build(lambda part: True))
    linked.brush("plane", Box(-1, 1, -1, 1), x, y)
    inside = (np.abs(x) <= 1) & (np.abs(y) <= 1)
    assert linked.number_chosen == inside.sum()
    linked.set_view("line", Binning((0, 4, 25)), z)
    assert linked.count("line").chosen.tolist() == np.histogram(z[inside], 25, (0, 4))[0].tolist()
    linked.brush("line", Interval(0, 9), z)
    assert not linked.is_prepared("plane")
    assert linked.number_chosen == (inside & (z >= 0)).sum()
    linked.brush("plane", Box(0, 1, 0, 1), x, y)
    assert linked.number_chosen == ((x >= 0) & (x <= 1) & (y >= 0) & (y <= 1) & (z >= 0)).sum()
    again = linked.plan("plane")
    with pytest.raises(CubeStopped):
        again.build(lambda part: False)
    linked.clear()
    assert linked.number_chosen == ROWS


def test_large_arrays_lie_in_files_that_nobody_sees(tmp_path, monkeypatch, points):
    monkeypatch.setattr("skydesk_portal.storage.scratch._IN_MEMORY_BYTES", 0)
    x, y, z = points
    linked = Coordinator(ROWS, tmp_path)
    linked.set_view("line", Binning((-4, 4, 50)), z)
    linked.set_view("plane", Binning((-3, 3, 30), (-2, 2, 20)), x, y)
    plan = linked.plan("line")
    linked.adopt(plan, plan.build(lambda part: True))
    linked.brush("line", Interval(0, 1), z)
    inside = (z >= 0) & (z <= 1) & np.isfinite(x) & np.isfinite(y)
    expected, _, _ = np.histogram2d(y[inside], x[inside], (20, 30), ((-2, 2), (-3, 3)))
    assert linked.count("plane").chosen.tolist() == expected.ravel().tolist()
    assert list(tmp_path.iterdir()) == []


def test_cells_that_are_numbered_elsewhere_take_part(points):
    _, _, z = points
    linked = Coordinator(ROWS)
    numbers = (np.arange(ROWS) % 7).astype(np.uint16)
    linked.set_cells("sky", numbers, 6)
    linked.brush("line", Interval(0, 9), z)
    expected = [int(((numbers == n) & (z >= 0)).sum()) for n in range(1, 7)]
    assert linked.count("sky").chosen.tolist() == expected
    linked.drop_view("line")
    assert linked.count("sky").chosen.tolist() == [int((numbers == n).sum()) for n in range(1, 7)]


def test_a_mask_of_another_result_is_refused():
    with pytest.raises(UsageError):
        Coordinator(10).set_mask("x", np.zeros(9, np.uint8))


A, B, C = (
    np.array(v, np.uint8)
    for v in ([0, 0, 0, 0, 1, 1, 1, 1], [0, 0, 1, 1, 0, 0, 1, 1], [0, 1, 0, 1, 0, 1, 0, 1])
)


@pytest.mark.parametrize(("text", "expected"), [
    ("A", A), ("not A", 1 - A), ("A and not B", A & (1 - B)), ("A or B and C", A | (B & C)), ("(A or B) and C", (A | B) & C),
    ("A xor B", A ^ B), ("not (A or B)", 1 - (A | B)), ("NOT not A", A), ("A AND B AND C", A & B & C),
])  # fmt: skip
def test_subsets_combine_as_sets_do(text, expected):
    assert combine_subsets(text, {"A": A, "B": B, "C": C}).tolist() == expected.tolist()


@pytest.mark.parametrize(
    "text", ["", "A and", "and A", "A B", "(A", "A)", "A + B", "D", "not", "A or or B", "A.B"]
)
def test_what_is_no_combination_is_refused(text):
    with pytest.raises(UsageError):
        combine_subsets(text, {"A": A, "B": B})
