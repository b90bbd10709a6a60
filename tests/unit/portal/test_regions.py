"""Regions on the sky against brute force on random positions."""

from __future__ import annotations

import math

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from skydesk_core.release.healpix import to_hp29
from skydesk_portal.adql import geometry as geo
from skydesk_portal.exceptions import QueryError
from skydesk_portal.models.region_arrays import contain_positions, lie_within, meet
from skydesk_portal.models.regions import (
    Region,
    make_range,
    parse_region,
    region_contains,
    region_has,
    regions_intersect,
    separation_deg,
)

L_SHAPE = ((10.0, 10.0), (12.0, 10.0), (12.0, 11.0), (11.0, 11.0), (11.0, 12.0), (10.0, 12.0))


def vector(ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    ra, dec = np.radians(ra), np.radians(dec)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)


def points(n: int, center: tuple[float, float], size: float, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    dec = np.clip(center[1] + rng.uniform(-size, size, n), -90, 90)
    ra = center[0] + rng.uniform(-size, size, n) / np.maximum(np.cos(np.radians(dec)), 0.05)
    return ra % 360, dec


def in_engine(region: geo.Shape, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    hp29 = to_hp29(ra, dec)
    point = geo.Point(geo.Value("ra"), geo.Value("dec"), "hp29")
    exact = geo.exact_predicate(point, region)
    ranges = geo.index_ranges(region)
    assert ranges is not None
    assert len(ranges) <= geo.MAX_RANGES
    table = {"ra": ra, "dec": dec, "hp29": hp29, "i": np.arange(len(ra))}
    db = duckdb.connect()
    db.register("p", pa.table(table))
    alone = {r[0] for r in db.execute(f"SELECT i FROM p WHERE {exact}").fetchall()}
    with_index = {
        r[0]
        for r in db.execute(
            f"SELECT i FROM p WHERE {geo.index_predicate('hp29', ranges)} AND {exact}"
        ).fetchall()
    }
    assert alone == with_index
    return np.isin(np.arange(len(ra)), sorted(alone))


@pytest.mark.parametrize(
    ("center", "radius"),
    [
        ((53.13, -28.1), 0.002),
        ((53.13, -28.1), 1.0),
        ((0.0, 0.0), 0.5),
        ((359.99, 45.0), 0.3),
        ((120.0, 89.9), 0.5),
        ((10.0, -90.0), 2.0),
    ],
)
def test_a_circle_holds_what_is_close_enough(center: tuple[float, float], radius: float) -> None:
    ra, dec = points(20_000, center, 2 * radius)
    truth = (
        np.degrees(
            np.arccos(np.clip(vector(ra, dec) @ vector(np.array(center[0]), np.array(center[1])), -1, 1))
        )
        <= radius
    )
    found = in_engine(
        geo.Circle(
            geo.Point(geo.Value(repr(center[0]), center[0]), geo.Value(repr(center[1]), center[1])),
            geo.Value(repr(radius), radius),
        ),
        ra,
        dec,
    )
    # acos loses precision for small angles, so that a few at the rim may differ there.
    assert abs(int(found.sum()) - int(truth.sum())) <= max(2, 0.001 * truth.sum())
    assert (found != truth).sum() <= max(2, 0.001 * len(ra))


@pytest.mark.parametrize("order", [1, -1])
def test_a_polygon_that_is_not_convex_holds_its_own_inside(order: int) -> None:
    ra, dec = points(20_000, (11.0, 11.0), 2.5)
    found = in_engine(geo.make_polygon(list(L_SHAPE)[::order]), ra, dec)
    in_box = lambda r0, r1, d0, d1: (ra > r0) & (ra < r1) & (dec > d0) & (dec < d1)  # noqa: E731
    # Great circles differ from parallels by less than 0.003 degrees here: leave the rims out.
    sure = in_box(10.01, 11.99, 10.01, 10.99) | in_box(10.01, 10.99, 10.01, 11.99)
    maybe = in_box(9.99, 12.01, 9.99, 11.01) | in_box(9.99, 11.01, 9.99, 12.01)
    assert found[sure].all()
    assert not found[~maybe].any()
    same = np.array([region_has(Region(L_SHAPE), r, d) for r, d in zip(ra[:2000], dec[:2000], strict=True)])
    assert (same == found[:2000]).all()


def test_a_polygon_over_ra_zero_is_whole() -> None:
    ra, dec = points(5000, (0.0, 0.0), 1.0)
    found = in_engine(geo.make_polygon([(359.5, -0.5), (0.5, -0.5), (0.5, 0.5), (359.5, 0.5)]), ra, dec)
    inside = (np.minimum(ra, 360 - ra) < 0.499) & (abs(dec) < 0.499)
    outside = (np.minimum(ra, 360 - ra) > 0.501) | (abs(dec) > 0.501)
    assert found[inside].all()
    assert not found[outside].any()


def test_the_area_of_an_octant_is_an_eighth_of_the_sphere() -> None:
    assert geo.polygon_area(geo.make_polygon([(0, 0), (90, 0), (0, 89.999999)])) == pytest.approx(
        41252.96 / 8, rel=1e-5
    )


@pytest.mark.parametrize(
    "corners",
    [
        [(0, 0), (1, 0)],
        [(0, 0), (1, 0), (0, 0)],
        [(0, 0), (120, 0), (240, 0)],
        [(0, 0), (1, 1), (1, 0), (0, 1)],
        [(0, 91), (1, 1), (2, 2)],
        [(float("nan"), 0), (1, 0), (1, 1)],
    ],
)
def test_a_polygon_without_an_inside_is_refused(corners: list[tuple[float, float]]) -> None:
    with pytest.raises(QueryError):
        geo.exact_predicate(geo.Point(geo.Value("1"), geo.Value("2")), geo.make_polygon(corners))


def test_relations_between_regions() -> None:
    square = Region(((10, 10), (12, 10), (12, 12), (10, 12)))
    assert regions_intersect(square, Region(((11, 11),), 0.1))
    assert regions_intersect(square, Region(((12.5, 11),), 0.6))
    assert not regions_intersect(square, Region(((13.5, 11),), 0.6))
    assert region_contains(square, Region(((11, 11),), 0.5))
    assert not region_contains(square, Region(((11.9, 11),), 0.5))
    # Two bars that cross with no corner of one in the other.
    assert regions_intersect(
        Region(((9, 10.9), (13, 10.9), (13, 11.1), (9, 11.1))),
        Region(((10.9, 9), (11.1, 9), (11.1, 13), (10.9, 13))),
    )
    assert region_contains(Region(((11, 11),), 3.0), square)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "CIRCLE",
        "CIRCLE 1 2",
        "CIRCLE 1 2 -3",
        "CIRCLE 1 95 3",
        "CIRCLE a b c",
        "POLYGON 1 2 3 4",
        "POLYGON 1 2 1 2 1 2",
        "RANGE 5 1 2 3",
        "CIRCLE nan 1 1",
        "BLOB 1 2 3",
        "CIRCLE 1 2 1e400",
    ],
)
def test_text_that_is_no_region_is_refused(text: str) -> None:
    with pytest.raises(QueryError):
        parse_region(text)


def test_regions_survive_their_text() -> None:
    for text in ("CIRCLE 10.0 -5.5 0.25", "POLYGON 1.0 2.0 3.0 2.0 2.0 4.0", "POLYGON ICRS 1 2 3 2 2 4"):
        region = parse_region(text)
        assert parse_region(region.text) == region
    assert separation_deg(make_range(10, 12, -1, 1).center, (11, 0)) < 0.01


def test_many_regions_at_once_are_as_one_by_one() -> None:
    rng = np.random.default_rng(11)
    texts: list[str | None] = [
        None,
        "nonsense",
        "POLYGON 1 2 3",
        "CIRCLE ICRS 10 95 1",
        "BOX 10 10 2 2",
        "CIRCLE 10 10 -1",
    ]
    for _ in range(120):
        ra, dec = rng.uniform(5, 15), rng.uniform(5, 15)
        texts.append(f"CIRCLE ICRS {ra!r} {dec!r} {rng.uniform(0, 4)!r}")
        x, y = [-1, 1.5, 0.3, 1, -1.2], [-1, -0.7, 0.1, 1.4, 0.9]
        corners = " ".join(f"{float(ra + a)!r} {float(dec + b)!r}" for a, b in zip(x, y, strict=True))
        texts.append(f"POLYGON {corners}")
    texts = [text and text.replace("np.float64(", "").replace(")", "") for text in texts]
    array = pa.array(texts, pa.string())
    ra, dec = rng.uniform(5, 15, len(texts)), rng.uniform(5, 15, len(texts))
    ra[-1] = math.nan
    parsed = [parse_or_none(text) for text in texts]
    found, known = contain_positions(array, ra, dec)
    for i, region in enumerate(parsed):
        assert known[i] == (region is not None and not math.isnan(ra[i]))
        assert found[i] == (bool(known[i]) and region is not None and region_has(region, ra[i], dec[i])), (
            texts[i]
        )
    for other in ("CIRCLE 10 10 2", "CIRCLE 10 10 100", "POLYGON 8 8 12 8 12 12 8 12"):
        one = parse_region(other)
        same = pa.array([other] * len(texts))
        for (result, told), exact in (
            (meet(array, same), regions_intersect),
            (meet(same, array), regions_intersect),
            (lie_within(array, same), lambda a, b: region_contains(b, a)),
            (lie_within(same, array), lambda a, b: region_contains(a, b)),
        ):
            for i, region in enumerate(parsed):
                assert told[i] == (region is not None)
                assert result[i] == (region is not None and exact(region, one)), (texts[i], other)


def parse_or_none(text: str | None) -> Region | None:
    try:
        return None if text is None else parse_region(text)
    except QueryError:
        return None
