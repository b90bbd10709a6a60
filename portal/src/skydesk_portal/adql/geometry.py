"""Regions of ADQL as exact predicates and HEALPix ranges; angles in degrees, ICRS."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from skydesk_portal.adql import dialect
from skydesk_portal.adql.coverage import Coverage, cells_sql
from skydesk_portal.adql.polygons import crosses_itself, is_convex, project, triangulate, unit_vector
from skydesk_portal.exceptions import QueryError
from skydesk_portal.models.regions import polygon_area_deg2

if TYPE_CHECKING:
    from mocpy import MOC

__all__ = [
    "Circle",
    "Ellipse",
    "Point",
    "Polygon",
    "RegionColumn",
    "Shape",
    "Value",
    "Zone",
    "exact_predicate",
    "index_ranges",
]

MAX_RANGES = 8
"""Ranges of the index that one region may become; more cost more than they save."""

MAX_INNER_RANGES = 12
MIN_INNER_DEG = 0.2
"""Circles from this radius on are told which cells lie inside; measured, it saves a third of a cone of 1 degree."""

MAX_PIECES = 24
"""Convex pieces that are written as SQL; a polygon of more is tested by the function for stored regions."""

type Shape = Point | Circle | Polygon | Zone | Ellipse | RegionColumn | Coverage


@dataclass(frozen=True)
class Value:
    """An expression with its engine SQL and, if it is constant, its value."""

    sql: str
    number: float | None = None


@dataclass(frozen=True)
class Point:
    """A position; ``index_key`` is the stored index of it, if there is one."""

    ra: Value
    dec: Value
    index_key: str | None = None


@dataclass(frozen=True)
class Circle:
    """A cone around a position."""

    center: Point
    radius: Value


@dataclass(frozen=True)
class Polygon:
    """A polygon with great-circle edges; constant corners only."""

    corners: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Zone:
    """What lies between two meridians and two parallels."""

    ra_low: Value
    dec_low: Value
    ra_high: Value
    dec_high: Value


@dataclass(frozen=True)
class Ellipse:
    """An ellipse; axes in arcseconds, angle of the long one in degrees from north through east."""

    center: Point
    major: Value
    minor: Value
    angle: Value


@dataclass(frozen=True)
class RegionColumn:
    """A region that each row gives as DALI or STC-S text; ``center`` where that is known without reading it."""

    sql: str
    center: Point | None = None


def is_constant(point: Point) -> bool:
    """Tell whether a position is given by numbers."""
    return point.ra.number is not None and point.dec.number is not None


def check_position(ra_deg: float, dec_deg: float) -> None:
    """Refuse positions that are none.

    Raises
    ------
    QueryError
        If a coordinate is not finite or the declination is beyond a pole.
    """
    if not (math.isfinite(ra_deg) and math.isfinite(dec_deg)):
        raise QueryError("a coordinate is not a finite number")
    if abs(dec_deg) > 90:
        raise QueryError(f"declination {dec_deg:g} is not between -90 and 90 degrees")


def haversine(a: Point, b: Point) -> str:
    """Return SQL of the haversine of the angle between two positions."""
    return (
        f"(pow(sin(radians(({a.dec.sql}) - ({b.dec.sql})) / 2), 2) + {_cos(a.dec)} * {_cos(b.dec)}"
        f" * pow(sin(radians(({a.ra.sql}) - ({b.ra.sql})) / 2), 2))"
    )


def _cos(value: Value) -> str:
    if value.number is not None:
        return repr(math.cos(math.radians(value.number)))
    return f"cos(radians({value.sql}))"


def _loose(*values: Value | Point) -> list[str]:
    """Return the SQL of what is not constant, so that NaN could hide in it."""
    flat = [v for value in values for v in ((value.ra, value.dec) if isinstance(value, Point) else (value,))]
    return list(dict.fromkeys(value.sql for value in flat if value.number is None))


def distance_sql(a: Point, b: Point) -> str:
    """Return SQL of the angle between two positions, in degrees; null where a coordinate is null or NaN."""
    h = haversine(a, b)
    return dialect.guarded(f"degrees(2 * atan2(sqrt({h}), sqrt(greatest(0, 1 - {h}))))", _loose(a, b))


def within_sql(a: Point, b: Point, radius: Value, operator: str = "<=") -> str:
    """Return SQL that tells whether two positions are closer than a radius in degrees; false where one is NaN."""
    if radius.number is None:
        # The engine takes NaN for the largest of all numbers, so that a radius must be seen to be one.
        limit_sql = f"pow(sin(radians(least({radius.sql}, 180)) / 2), 2)"
        return f"({haversine(a, b)} {operator} {limit_sql} AND ({radius.sql}) BETWEEN 0 AND 1e300)"
    if radius.number < 0:
        return "FALSE"
    if radius.number >= 180:
        return f"({haversine(a, b)} <= 2)"
    limit = math.sin(math.radians(radius.number / 2)) ** 2
    # A few units in the last place keep what lies exactly on the edge.
    return f"({haversine(a, b)} {operator} {limit * (1 + 1e-15) if operator == '<=' else limit!r})"


def combined(a: Value, b: Value, operator: str) -> Value:
    """Return the sum or the difference of two radii."""
    sql = f"(({a.sql}) {operator} ({b.sql}))"
    if a.number is None or b.number is None:
        return Value(sql)
    number = a.number + b.number if operator == "+" else a.number - b.number
    return Value(repr(number), number)


def or_everywhere(exact: str, a: Point, b: Point, radius: Value) -> str:
    """Return SQL that also holds for all positions where a radius covers the whole sky."""
    if radius.number is not None and radius.number < 180:
        return exact
    return f"({exact} OR (({radius.sql}) BETWEEN 180 AND 1e300 AND {haversine(a, b)} <= 2))"


def negated(point: Point, exact: str) -> str:
    """Return SQL that tells whether a position lies outside; null where a coordinate is null or NaN."""
    return dialect.guarded(f"(NOT {exact})", _loose(point))


def chosen(point: Point | None, exact: str) -> str:
    """Return SQL of 1 for inside and 0 for outside; null where a coordinate is null or NaN."""
    sql = f"CAST({exact} AS INTEGER)"
    return sql if point is None else dialect.guarded(sql, _loose(point))


def make_polygon(corners: list[tuple[float, float]]) -> Polygon:
    """Check the corners of a polygon.

    Parameters
    ----------
    corners
        Positions in degrees.

    Returns
    -------
    Polygon
        The polygon without repeated corners.

    Raises
    ------
    QueryError
        If fewer than three corners are distinct or it does not fit into a hemisphere.
    """
    kept: list[tuple[float, float]] = []
    for ra, dec in corners:
        check_position(ra, dec)
        if not kept or max(abs(ra - kept[-1][0]), abs(dec - kept[-1][1])) > 1e-12:
            kept.append((ra, dec))
    if len(kept) > 1 and max(abs(kept[0][0] - kept[-1][0]), abs(kept[0][1] - kept[-1][1])) <= 1e-12:
        kept.pop()
    if len(kept) < 3:
        raise QueryError("a polygon needs at least three different corners")
    vectors = [unit_vector(*corner) for corner in kept]
    middle = np.sum(vectors, axis=0)
    if np.linalg.norm(middle) < 1e-9 or min(float(v @ middle) for v in vectors) <= 0:
        raise QueryError("a polygon must be smaller than a hemisphere")
    polygon = Polygon(tuple(kept))
    flat = project(polygon.corners)[1]
    if not is_convex(flat) and crosses_itself(flat):
        raise QueryError("the edges of the polygon cross each other")
    return polygon


def polygon_sql(point: Point, polygon: Polygon) -> str:
    """Return SQL that tells whether a position lies in a polygon, edges included; false where it is NaN."""
    vectors, flat = project(polygon.corners)
    if len(flat) > MAX_PIECES and not is_convex(flat):
        # The pieces would be many; the winding number is quicker.
        return f"coalesce(skydesk_region_has({_text_sql(polygon)}, {point.ra.sql}, {point.dec.sql}), FALSE)"
    parts = []
    for piece in triangulate(flat):
        edges = []
        center = np.sum([vectors[i] for i in piece], axis=0)
        for i, j in zip(piece, piece[1:] + piece[:1], strict=True):
            normal = np.cross(vectors[i], vectors[j])
            normal /= np.linalg.norm(normal)
            x, y, z = (float(v) for v in (normal if normal @ center >= 0 else -normal))
            # The upper bound keeps NaN out, which the engine takes for a large number.
            edges.append(
                f"({x!r} * cos(radians({point.dec.sql})) * cos(radians({point.ra.sql})) + ({y!r})"
                f" * cos(radians({point.dec.sql})) * sin(radians({point.ra.sql}))"
                f" + ({z!r}) * sin(radians({point.dec.sql}))) BETWEEN -1e-15 AND 2"
            )
        parts.append("(" + " AND ".join(edges) + ")")
    return "(" + " OR ".join(parts) + ")"


def _zone_sql(point: Point, zone: Zone) -> str:
    turn = "({0} - 360 * floor({0} / 360))"
    offset = turn.format(f"(({point.ra.sql}) - ({zone.ra_low.sql}))")
    width = f"(({zone.ra_high.sql}) - ({zone.ra_low.sql}))"
    return (
        f"(({point.dec.sql}) BETWEEN {zone.dec_low.sql} AND {zone.dec_high.sql}"
        f" AND ({width} BETWEEN 360 AND 1e300 OR {offset} <= {turn.format(width)}) AND {offset} <= 360)"
    )


def _ellipse_sql(point: Point, ellipse: Ellipse) -> str:
    center, angle = ellipse.center, ellipse.angle.sql
    dec, dec0 = f"radians({point.dec.sql})", f"radians({center.dec.sql})"
    turn = f"radians(({point.ra.sql}) - ({center.ra.sql}))"
    east = f"(cos({dec}) * sin({turn}))"
    north = f"(cos({dec0}) * sin({dec}) - sin({dec0}) * cos({dec}) * cos({turn}))"
    along = f"(sin(radians({angle})) * {east} + cos(radians({angle})) * {north})"
    across = f"(cos(radians({angle})) * {east} - sin(radians({angle})) * {north})"
    axes = [f"nullif(radians(({axis.sql}) / 3600.0), 0)" for axis in (ellipse.major, ellipse.minor)]
    return (
        f"(pow({along} / {axes[0]}, 2) + pow({across} / {axes[1]}, 2) <= 1"
        f" AND (sin({dec0}) * sin({dec}) + cos({dec0}) * cos({dec}) * cos({turn})) > 0)"
    )


def exact_predicate(point: Point, region: Shape) -> str:
    """Return SQL that tells whether a position lies in a region.

    Parameters
    ----------
    point
        The position.
    region
        The region.

    Returns
    -------
    str
        A boolean expression, null where a coordinate is null.

    Raises
    ------
    QueryError
        If the region has no area to lie in.
    """
    match region:
        case Circle(center, radius):
            return within_sql(point, center, radius)
        case Polygon():
            return polygon_sql(point, region)
        case Zone():
            return _zone_sql(point, region)
        case Ellipse():
            return _ellipse_sql(point, region)
        case RegionColumn(sql):
            return f"skydesk_region_has({sql}, {point.ra.sql}, {point.dec.sql})"
        case Coverage():
            index = f"skydesk_healpix(29, CAST({point.ra.sql} AS DOUBLE), CAST({point.dec.sql} AS DOUBLE))"
            return cells_sql(point.index_key or index, region)
        case Point():
            return within_sql(point, region, Value("0", 0.0))


def text_of(name: str, values: list[Value]) -> str:
    """Return SQL of the text of a region whose numbers are expressions."""
    numbers = " || ' ' || ".join(dialect.text(value.sql) for value in values)
    return f"('{name} ' || {numbers})"


def _text_sql(region: Shape) -> str:
    match region:
        case RegionColumn(sql):
            return sql
        case Polygon(corners):
            return "'POLYGON " + " ".join(f"{v!r}" for corner in corners for v in corner) + "'"
        case Circle(center, radius) if is_constant(center) and radius.number is not None:
            return f"'CIRCLE {center.ra.number!r} {center.dec.number!r} {radius.number!r}'"
        case Circle(center, radius):
            return text_of("CIRCLE", [center.ra, center.dec, radius])
        case Point(ra, dec):
            return text_of("POSITION", [ra, dec])
        case _:
            raise QueryError("a region that only positions can be compared with")


def relation_sql(name: str, inner: Shape, outer: Shape) -> str:
    """Return SQL of CONTAINS or INTERSECTS between two regions that have an area.

    Parameters
    ----------
    name
        ``CONTAINS`` or ``INTERSECTS``.
    inner, outer
        First and second argument.

    Returns
    -------
    str
        A boolean expression.

    Raises
    ------
    QueryError
        If one of them is not a region.
    """
    function = "skydesk_region_within" if name == "CONTAINS" else "skydesk_regions_meet"
    return f"{function}({_text_sql(inner)}, {_text_sql(outer)})"


def _depth(size_deg: float) -> int:
    return int(min(max(round(math.log2(58.6 / (max(size_deg, 1e-7) / 4))), 3), 20))


def region_moc(region: Shape, depth: int | None = None) -> MOC | None:
    """Return the coverage map of a constant region, at some order or a fitting one; `None` if it is not constant."""
    from astropy import units as u
    from astropy.coordinates import Latitude, Longitude, SkyCoord
    from mocpy import MOC

    match region:
        case Coverage(moc):
            return moc
        case Circle(center, radius) if is_constant(center) and radius.number is not None:
            size = min(max(radius.number, 1e-7), 180.0)
            ra, dec = center.ra.number, center.dec.number
            # A hair more than the radius: the map may be too large, never too small.
            grown = min(size * (1 + 1e-9) + 1e-9, 180.0)
            return MOC.from_cone(
                Longitude(ra, u.deg),
                Latitude(dec, u.deg),
                radius=grown * u.deg,
                max_depth=depth or _depth(size),
            )
        case Ellipse(center, Value(number=float(major))):
            return region_moc(Circle(center, Value("", abs(major) / 3600.0 * 1.01)))
        case Polygon(corners):
            vectors = [unit_vector(*corner) for corner in corners]
            middle = np.sum(vectors, axis=0)
            middle /= np.linalg.norm(middle)
            size = max(math.degrees(math.acos(min(1.0, float(v @ middle)))) for v in vectors)
            ra_deg, dec_deg = [c[0] for c in corners], [c[1] for c in corners]
            return MOC.from_polygon(
                Longitude(ra_deg, u.deg), Latitude(dec_deg, u.deg), max_depth=_depth(size)
            )
        case Zone(
            Value(number=float(west)),
            Value(number=float(south)),
            Value(number=float(east)),
            Value(number=float(north)),
        ) if south < north and (east - west) % 360 > 0 and east - west < 360:
            edges = SkyCoord([west % 360, east % 360] * u.deg, [max(south, -90), min(north, 90)] * u.deg)
            return MOC.from_zone(edges, _depth(min(north - south, (east - west) % 360) / 2))
    return None


def index_ranges(region: Shape) -> list[tuple[int, int]] | None:
    """Cover a region with few ranges of the order-29 index.

    Parameters
    ----------
    region
        The region.

    Returns
    -------
    list of tuple of int or None
        At most eight closed ranges in rising order that hold every position
        of the region; `None` if the region is not constant.
    """
    moc = region_moc(region)
    if moc is None:
        return None
    ranges = [(int(low), int(high)) for low, high in moc.to_depth29_ranges]
    while len(ranges) > MAX_RANGES:
        gaps = [ranges[i + 1][0] - ranges[i][1] for i in range(len(ranges) - 1)]
        keep = sorted(range(len(gaps)), key=lambda i: -gaps[i])[: max(MAX_RANGES - 1, 0)]
        cuts, merged, start = set(keep), [], ranges[0][0]
        for i in range(len(gaps)):
            if i in cuts:
                merged.append((start, ranges[i][1]))
                start = ranges[i + 1][0]
        merged.append((start, ranges[-1][1]))
        ranges = merged
    return [(low, high - 1) for low, high in ranges]


def inner_ranges(region: Shape) -> list[tuple[int, int]]:
    """Return ranges of the order-29 index that lie wholly inside a large circle, so that no test is needed there.

    Parameters
    ----------
    region
        The region.

    Returns
    -------
    list of tuple of int
        Closed ranges in rising order; empty where they would save nothing.
    """
    if not isinstance(region, Circle) or not is_constant(region.center) or region.radius.number is None:
        return []
    size = region.radius.number
    if not MIN_INNER_DEG <= size <= 90:
        return []
    depth = _depth(size) + 2
    # What meets a circle that is smaller by the diameter of a cell, at most 2.1 times its side, is inside.
    smaller = Circle(region.center, Value("", size - 2.3 * 58.6 / 2**depth))
    moc = region_moc(smaller, depth)
    found = [] if moc is None else [(int(low), int(high) - 1) for low, high in moc.to_depth29_ranges]
    return sorted(sorted(found, key=lambda pair: pair[0] - pair[1])[:MAX_INNER_RANGES])


def index_predicate(key: str, ranges: list[tuple[int, int]]) -> str:
    """Return SQL that keeps the rows of a table whose index falls into ranges.

    Parameters
    ----------
    key
        SQL of the index column.
    ranges
        Closed ranges in rising order.

    Returns
    -------
    str
        The outer bound, for pruning, and the ranges, for selectivity.
    """
    if not ranges:
        return "FALSE"
    outer = f"{key} BETWEEN {ranges[0][0]} AND {ranges[-1][1]}"
    if len(ranges) == 1:
        return outer
    return outer + " AND (" + " OR ".join(f"{key} BETWEEN {low} AND {high}" for low, high in ranges) + ")"


def area_of(region: Shape) -> str:
    """Return SQL of the area of a region in square degrees.

    Raises
    ------
    QueryError
        If the area of such a region cannot be given.
    """
    match region:
        case Circle(_, radius):
            return f"({4 * math.pi * math.degrees(1) ** 2!r} * pow(sin(radians({radius.sql}) / 2), 2))"
        case Polygon():
            return dialect.double(polygon_area(region))
        case Point():
            return dialect.double(0.0)
        case Coverage(moc):
            return dialect.double(float(moc.sky_fraction) * 4 * math.pi * math.degrees(1) ** 2)
        case RegionColumn(sql):
            return f"skydesk_region_area({sql})"
        case _:
            raise QueryError("AREA needs a CIRCLE, BOX or POLYGON")


def polygon_area(polygon: Polygon) -> float:
    """Return the area of a polygon in square degrees."""
    return polygon_area_deg2(np.array([unit_vector(*corner) for corner in polygon.corners]))


def centroid_of(region: Shape) -> Point:
    """Return the centre of a region: of a polygon the mean direction of its corners.

    Raises
    ------
    QueryError
        If such a region has no centre.
    """
    match region:
        case Point():
            return region
        case Circle(center, _) | RegionColumn(_, Point() as center):
            return center
        case Polygon(corners):
            middle = np.sum([unit_vector(*corner) for corner in corners], axis=0)
            ra = math.degrees(math.atan2(middle[1], middle[0])) % 360
            dec = math.degrees(math.atan2(middle[2], math.hypot(middle[0], middle[1])))
            return Point(Value(dialect.double(ra), ra), Value(dialect.double(dec), dec))
        case RegionColumn(sql):
            return Point(Value(f"skydesk_region_ra({sql})"), Value(f"skydesk_region_dec({sql})"))
        case _:
            raise QueryError("CENTROID needs a POINT, CIRCLE, BOX or POLYGON")
