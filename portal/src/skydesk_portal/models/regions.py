"""Regions on the sky as values: circles and polygons with great-circle edges, degrees, ICRS."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from skydesk_portal.exceptions import QueryError

__all__ = [
    "Region",
    "box_corners",
    "make_range",
    "parse_region",
    "polygon_area_deg2",
    "region_area_deg2",
    "region_contains",
    "region_has",
    "region_has_many",
    "regions_intersect",
    "separation_deg",
]

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\Z")


@dataclass(frozen=True)
class Region:
    """A circle or a polygon.

    Parameters
    ----------
    corners
        Corners (ra, dec) of a polygon; for a circle its one centre.
    radius_deg
        Radius of a circle, `None` for a polygon.
    """

    corners: tuple[tuple[float, float], ...]
    radius_deg: float | None = None

    @property
    def center(self) -> tuple[float, float]:
        """Centre of the region as (ra, dec)."""
        if self.radius_deg is not None:
            return self.corners[0]
        return _position(np.sum(_vectors(self), axis=0))

    @property
    def size_deg(self) -> float:
        """Radius of a circle around the centre that holds the region."""
        if self.radius_deg is not None:
            return self.radius_deg
        return max(separation_deg(self.center, corner) for corner in self.corners)

    @property
    def text(self) -> str:
        """The region in DALI's words, with its name in front."""
        numbers = " ".join(f"{v!r}" for corner in self.corners for v in corner)
        return f"POLYGON {numbers}" if self.radius_deg is None else f"CIRCLE {numbers} {self.radius_deg!r}"


def separation_deg(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Return the angle between two positions (ra, dec), in degrees."""
    ra1, dec1, ra2, dec2 = (math.radians(v) for v in (*a, *b))
    h = math.sin((dec1 - dec2) / 2) ** 2 + math.cos(dec1) * math.cos(dec2) * math.sin((ra1 - ra2) / 2) ** 2
    return math.degrees(2 * math.asin(min(1.0, math.sqrt(h))))


def _check(ra_deg: float, dec_deg: float) -> tuple[float, float]:
    if (
        not (math.isfinite(ra_deg) and math.isfinite(dec_deg))
        or abs(dec_deg) > 90
        or not -360 <= ra_deg <= 720
    ):
        raise QueryError(f"not a position on the sky: {ra_deg:g} {dec_deg:g}")
    return ra_deg, dec_deg


def make_range(ra_low: float, ra_high: float, dec_low: float, dec_high: float) -> Region:
    """Make a polygon for a coordinate range, corners only.

    Parameters
    ----------
    ra_low, ra_high, dec_low, dec_high
        Bounds in degrees; the edges between the corners are great circles.

    Returns
    -------
    Region
        The polygon; a range over half the sky becomes a circle around it.

    Raises
    ------
    QueryError
        If the bounds are not in order.
    """
    low, high = max(dec_low, -90.0), min(dec_high, 90.0)
    if not (ra_low <= ra_high and low <= high) or any(
        math.isnan(v) for v in (ra_low, ra_high, dec_low, dec_high)
    ):
        raise QueryError("RANGE needs rising bounds: RANGE ra1 ra2 dec1 dec2")
    left, right = max(ra_low, 0.0), min(ra_high, 360.0)
    if right - left >= 90 or high - low >= 90 or low <= -89 or high >= 89:
        center = ((left + right) / 2, (low + high) / 2)
        reach = 180.0 if right - left >= 90 else max(separation_deg(center, (left, d)) for d in (low, high))
        return Region((center,), min(180.0, reach))
    # The great circle between two corners bulges towards the pole; middle corners keep it near the parallel.
    steps = np.linspace(left, right, 1 + max(1, math.ceil((right - left) / 5)))
    bottom = [(float(ra), low) for ra in steps]
    top = [(float(ra), high) for ra in steps[::-1]]
    return Region(tuple(bottom + top))


def box_corners(
    ra_deg: float, dec_deg: float, width_deg: float, height_deg: float
) -> tuple[tuple[float, float], ...]:
    """Return the corners of a box as ADQL 2.1 and STC define it.

    The box has a cross in its centre, whose arms run along the great circles
    through north and through east, for half the width and half the height to
    either side; its sides are the great circles at right angles to the arms
    at their ends. The width is therefore an angle on the sky, not a
    difference of right ascensions.

    Parameters
    ----------
    ra_deg, dec_deg
        Centre, ICRS.
    width_deg, height_deg
        Whole extents, below 180 degrees.

    Returns
    -------
    tuple
        Four corners (ra, dec).

    Raises
    ------
    QueryError
        If the box is empty or too large.
    """
    _check(ra_deg, dec_deg)
    if not (0 < width_deg < 180 and 0 < height_deg < 180):
        raise QueryError("the sides of a BOX must be larger than 0 and smaller than 180 degrees")
    center = _unit(ra_deg, dec_deg)
    ra, dec = math.radians(ra_deg), math.radians(dec_deg)
    east = np.array([-math.sin(ra), math.cos(ra), 0.0])
    north = np.array([-math.sin(dec) * math.cos(ra), -math.sin(dec) * math.sin(ra), math.cos(dec)])
    # In the tangential plane great circles are straight lines, and the box is a rectangle.
    x, y = math.tan(math.radians(width_deg) / 2), math.tan(math.radians(height_deg) / 2)
    corners = []
    for a, b in ((-x, -y), (x, -y), (x, y), (-x, y)):
        v = center + a * east + b * north
        v /= np.linalg.norm(v)
        corners.append(_position(v))
    return tuple(corners)


def _position(vector: np.ndarray) -> tuple[float, float]:
    ra = math.degrees(math.atan2(vector[1], vector[0])) % 360
    return ra, math.degrees(math.atan2(vector[2], math.hypot(vector[0], vector[1])))


@lru_cache(maxsize=4096)
def parse_region(text: str) -> Region:
    """Read a region given as text.

    Parameters
    ----------
    text
        ``CIRCLE ra dec radius``, ``POLYGON ra dec …`` or ``RANGE …`` as in
        DALI 1.1 and SODA 1.0; STC-S frame words after the name are allowed.

    Returns
    -------
    Region
        The region.

    Raises
    ------
    QueryError
        If the text is no such region.
    """
    words = text.replace(",", " ").replace("(", " ").replace(")", " ").split()
    name = words[0].upper() if words else ""
    given = [
        w
        for w in words[1:]
        if w.upper()
        not in {
            "ICRS",
            "J2000",
            "FK5",
            "GEOCENTER",
            "TOPOCENTER",
            "BARYCENTER",
            "UNKNOWNREFPOS",
            "SPHERICAL2",
        }
    ]
    try:
        numbers = [
            float(w) if _NUMBER.match(w) or w.lower().lstrip("+-") in {"inf", "infinity"} else math.nan
            for w in given
        ]
    except ValueError:
        numbers = [math.nan]
    if name not in {"CIRCLE", "POLYGON", "RANGE", "BOX", "POSITION"} or any(math.isnan(v) for v in numbers):
        raise QueryError(
            f"not a region: {text[:60]!r} (CIRCLE ra dec radius, POLYGON ra dec …, RANGE ra1 ra2 dec1 dec2)"
        )
    if name == "CIRCLE" and len(numbers) == 3:
        if not 0 <= numbers[2] <= 180:
            raise QueryError(f"the radius {numbers[2]:g} is not between 0 and 180 degrees")
        return Region((_check(numbers[0], numbers[1]),), numbers[2])
    if name == "POSITION" and len(numbers) == 2:
        return Region((_check(numbers[0], numbers[1]),), 0.0)
    if name == "RANGE" and len(numbers) == 4:
        return make_range(numbers[0], numbers[1], numbers[2], numbers[3])
    if name == "BOX" and len(numbers) == 4:
        return Region(box_corners(numbers[0], numbers[1], numbers[2], numbers[3]))
    if name == "POLYGON" and len(numbers) >= 6 and len(numbers) % 2 == 0:
        corners = [_check(ra, dec) for ra, dec in zip(numbers[::2], numbers[1::2], strict=True)]
        if corners[0] == corners[-1]:
            corners.pop()
        if len(set(corners)) >= 3:
            return Region(tuple(corners))
    raise QueryError(f"{name} has a wrong number of values: {text[:60]!r}")


@lru_cache(maxsize=4096)
def _vectors(region: Region) -> np.ndarray:
    radians = np.radians(np.array(region.corners))
    ra, dec = radians[:, 0], radians[:, 1]
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)


def _unit(ra_deg: float, dec_deg: float) -> np.ndarray:
    ra, dec = math.radians(ra_deg), math.radians(dec_deg)
    return np.array([math.cos(dec) * math.cos(ra), math.cos(dec) * math.sin(ra), math.sin(dec)])


def region_has(region: Region, ra_deg: float, dec_deg: float) -> bool:
    """Tell whether a position lies in a region, the edge included.

    Parameters
    ----------
    region
        The region.
    ra_deg, dec_deg
        ICRS position.

    Returns
    -------
    bool
        `True` if it lies inside.
    """
    if region.radius_deg is not None:
        return separation_deg(region.corners[0], (ra_deg, dec_deg)) <= region.radius_deg + 1e-12
    vectors, point = _vectors(region), _unit(ra_deg, dec_deg)
    middle = vectors.sum(axis=0)
    if float(point @ middle) <= 0:
        return False
    # Winding number in the gnomonic projection about the point itself.
    if float((vectors @ point).min()) <= 0:
        middle /= np.linalg.norm(middle)
        return _winds(vectors, point, middle)
    return _winds(vectors, point, point)


def region_has_many(region: Region, ra_deg: np.ndarray, dec_deg: np.ndarray) -> np.ndarray:
    """Tell which positions lie in a region, the edge included.

    Parameters
    ----------
    region
        The region; a polygon must fit into a hemisphere.
    ra_deg, dec_deg
        ICRS positions.

    Returns
    -------
    numpy.ndarray
        Booleans; `False` where a coordinate is not finite.
    """
    ra, dec = np.radians(ra_deg), np.radians(dec_deg)
    points = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)
    vectors = _vectors(region)
    if region.radius_deg is not None:
        chord = np.linalg.norm(points - vectors[0], axis=1)
        return np.asarray(chord <= 2 * math.sin(math.radians(region.radius_deg) / 2) * (1 + 4e-16) + 1e-15)
    middle = vectors.sum(axis=0)
    if not float((vectors @ middle).min()) > 0:
        # Such a polygon has no inside that could be told from its outside.
        return np.zeros(len(points), bool)
    middle /= np.linalg.norm(middle)
    east, north = _axes(middle)
    height = points @ middle
    near = np.isfinite(height) & (height > 1e-9)
    flat = np.stack([points[near] @ east, points[near] @ north], axis=-1) / height[near, None]
    corners = np.stack([vectors @ east, vectors @ north], axis=-1) / (vectors @ middle)[:, None]
    found = np.zeros(len(points), bool)
    a = corners[None] - flat[:, None]
    b = np.roll(corners, -1, axis=0)[None] - flat[:, None]
    cross = a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    dot = (a * b).sum(axis=-1)
    edge = ((np.abs(cross) < 1e-15) & (dot <= 1e-15)).any(axis=1)
    found[near] = edge | (np.abs(np.arctan2(cross, dot).sum(axis=1)) > math.pi)
    return found


def _axes(pole: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    east = np.cross([0.0, 0.0, 1.0] if abs(pole[2]) < 0.9 else [1.0, 0.0, 0.0], pole)
    east /= np.linalg.norm(east)
    return east, np.cross(pole, east)


def _winds(vectors: np.ndarray, point: np.ndarray, pole: np.ndarray) -> bool:
    east, up = _axes(pole)

    def flat(v: np.ndarray) -> np.ndarray:
        return np.stack([v @ east, v @ up], axis=-1) / (v @ pole)[..., None]

    corners, p = flat(vectors), flat(point[None])[0]
    a, b = corners - p, np.roll(corners, -1, axis=0) - p
    cross = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
    dot = (a * b).sum(axis=1)
    if bool(((np.abs(cross) < 1e-15) & (dot <= 1e-15)).any()):
        return True
    return abs(float(np.arctan2(cross, dot).sum())) > math.pi


def _edges(region: Region) -> list[tuple[np.ndarray, np.ndarray]]:
    vectors = _vectors(region)
    return [(vectors[i - 1], vectors[i]) for i in range(len(vectors))]


def _edge_distance_deg(region: Region, point: np.ndarray) -> float:
    best = math.pi
    for a, b in _edges(region):
        normal = np.cross(a, b)
        length = float(np.linalg.norm(normal))
        if length > 0 and float(np.cross(normal, a) @ point) >= 0 and float(np.cross(b, normal) @ point) >= 0:
            best = min(best, abs(math.asin(max(-1.0, min(1.0, float(normal @ point) / length)))))
        for end in (a, b):
            best = min(best, math.acos(max(-1.0, min(1.0, float(end @ point)))))
    return math.degrees(best)


def _crosses(first: Region, second: Region) -> bool:
    for a, b in _edges(first):
        for c, d in _edges(second):
            n, m = np.cross(a, b), np.cross(c, d)
            if float(n @ c) * float(n @ d) < 0 and float(m @ a) * float(m @ b) < 0:
                # The great circles meet twice; both arcs must hold the same one of the two points.
                meeting = np.cross(n, m)
                if float((a + b) @ meeting) * float((c + d) @ meeting) > 0:
                    return True
    return False


def regions_intersect(a: Region, b: Region) -> bool:
    """Tell whether two regions have a point in common."""
    if a.radius_deg is not None and b.radius_deg is not None:
        return separation_deg(a.corners[0], b.corners[0]) <= a.radius_deg + b.radius_deg
    if a.radius_deg is not None or b.radius_deg is not None:
        circle, polygon = (a, b) if a.radius_deg is not None else (b, a)
        center = circle.corners[0]
        return region_has(polygon, *center) or _edge_distance_deg(polygon, _unit(*center)) <= (
            circle.radius_deg or 0.0
        )
    return (
        any(region_has(b, *corner) for corner in a.corners)
        or any(region_has(a, *corner) for corner in b.corners)
        or _crosses(a, b)
    )


def region_contains(outer: Region, inner: Region) -> bool:
    """Tell whether one region lies completely in another."""
    if outer.radius_deg is not None and inner.radius_deg is not None:
        if outer.radius_deg >= 180:
            return True
        apart = separation_deg(outer.corners[0], inner.corners[0])
        return apart + inner.radius_deg <= outer.radius_deg + 1e-12
    if outer.radius_deg is not None and outer.radius_deg <= 90:
        # Such a circle is convex, so that the corners tell about the edges.
        return all(region_has(outer, *corner) for corner in inner.corners)
    if outer.radius_deg is not None:
        (ra, dec) = outer.corners[0]
        opposite = (ra + 180) % 360, -dec
        if region_has(inner, *opposite):
            return False
        return _edge_distance_deg(inner, _unit(*opposite)) >= 180 - outer.radius_deg - 1e-12
    if inner.radius_deg is not None:
        center = inner.corners[0]
        return region_has(outer, *center) and _edge_distance_deg(outer, _unit(*center)) >= inner.radius_deg
    return all(region_has(outer, *corner) for corner in inner.corners) and not _crosses(outer, inner)


def polygon_area_deg2(vectors: np.ndarray) -> float:
    """Return the area of a polygon in square degrees.

    Parameters
    ----------
    vectors
        Unit vectors of the corners, shape (n, 3); the polygon fits into a hemisphere.

    Returns
    -------
    float
        The area of its inside.
    """
    middle = vectors.sum(axis=0)
    middle /= np.linalg.norm(middle)
    total = 0.0
    for b, c in zip(vectors, np.roll(vectors, -1, axis=0), strict=True):
        # Van Oosterom & Strackee (1983): signed solid angle of a triangle.
        total += 2 * math.atan2(
            float(middle @ np.cross(b, c)), 1 + float(middle @ b) + float(b @ c) + float(c @ middle)
        )
    return abs(total) * math.degrees(1) ** 2


def region_area_deg2(region: Region) -> float:
    """Return the area of a region in square degrees."""
    if region.radius_deg is not None:
        return 4 * math.pi * math.sin(math.radians(region.radius_deg) / 2) ** 2 * math.degrees(1) ** 2
    return polygon_area_deg2(_vectors(region))
