"""Polygons on the sky as polygons in a plane: convexity, crossing edges, convex pieces."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from skydesk_portal.exceptions import QueryError

__all__ = ["crosses_itself", "is_convex", "project", "triangulate", "unit_vector"]

MAX_CORNERS = 1000
"""Corners of a polygon that is not convex."""


def unit_vector(ra_deg: float, dec_deg: float) -> np.ndarray:
    """Return the unit vector of a position."""
    ra, dec = math.radians(ra_deg), math.radians(dec_deg)
    return np.array([math.cos(dec) * math.cos(ra), math.cos(dec) * math.sin(ra), math.sin(dec)])


def project(corners: Sequence[tuple[float, float]]) -> tuple[list[np.ndarray], np.ndarray]:
    """Return the corners of a polygon as unit vectors, and in the gnomonic projection about their middle."""
    # In the gnomonic projection great circles are straight lines, so planar geometry holds.
    vectors = [unit_vector(*corner) for corner in corners]
    middle = np.sum(vectors, axis=0)
    middle /= np.linalg.norm(middle)
    north = np.array([0.0, 0.0, 1.0]) if abs(middle[2]) < 0.9 else np.array([1.0, 0.0, 0.0])
    east = np.cross(north, middle)
    east /= np.linalg.norm(east)
    up = np.cross(middle, east)
    flat = np.array([[v @ east / (v @ middle), v @ up / (v @ middle)] for v in vectors])
    return vectors, flat


def _turn(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> float:
    return float((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]))


def crosses_itself(flat: np.ndarray) -> bool:
    """Tell whether two edges of a polygon in the plane cross.

    Raises
    ------
    QueryError
        If it has too many corners.
    """
    n = len(flat)
    if n > MAX_CORNERS:
        raise QueryError(f"a polygon that is not convex may have {MAX_CORNERS} corners at most")
    a, b = flat, np.roll(flat, -1, axis=0)

    def side(start: np.ndarray, end: np.ndarray, points: np.ndarray) -> np.ndarray:
        d, p = end - start, points[None] - start[:, None]
        return np.sign(d[:, None, 0] * p[..., 1] - d[:, None, 1] * p[..., 0])

    from_a, from_b = side(a, b, a), side(a, b, b)
    apart = from_a * from_b < 0
    crossing = apart & apart.T
    near = np.arange(n)
    for step in (-1, 0, 1):
        crossing[near, (near + step) % n] = False
    return bool(crossing.any())


def triangulate(flat: np.ndarray) -> list[list[int]]:
    """Cut a polygon in the plane into convex pieces, given by the numbers of their corners.

    Raises
    ------
    QueryError
        If its edges cross.
    """
    area = sum(_turn(np.zeros(2), flat[i - 1], flat[i]) for i in range(len(flat)))
    left = list(range(len(flat))) if area >= 0 else list(range(len(flat)))[::-1]
    if all(_turn(flat[left[i - 2]], flat[left[i - 1]], flat[left[i]]) >= -1e-15 for i in range(len(left))):
        return [left]
    out: list[list[int]] = []
    while len(left) > 3:
        for i in range(len(left)):
            a, b, c = left[i - 1], left[i], left[(i + 1) % len(left)]
            if _turn(flat[a], flat[b], flat[c]) <= 0:
                continue
            inside = any(
                min(
                    _turn(flat[a], flat[b], flat[p]),
                    _turn(flat[b], flat[c], flat[p]),
                    _turn(flat[c], flat[a], flat[p]),
                )
                >= 0
                for p in left
                if p not in (a, b, c)
            )
            if not inside:
                out.append([a, b, c])
                left.pop(i)
                break
        else:
            raise QueryError("the edges of the polygon cross each other")
    return [*out, left]


def is_convex(flat: np.ndarray) -> bool:
    """Tell whether a polygon in the plane is convex."""
    a, b, c = np.roll(flat, 1, axis=0), flat, np.roll(flat, -1, axis=0)
    turn = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    if not (bool((turn >= -1e-15).all()) or bool((turn <= 1e-15).all())):
        return False
    # A star that winds twice turns to one side only as well.
    steps = b - a
    after = np.roll(steps, -1, axis=0)
    angles = np.arctan2(steps[:, 0] * after[:, 1] - steps[:, 1] * after[:, 0], (steps * after).sum(axis=1))
    return abs(float(angles.sum())) < 3 * math.pi
