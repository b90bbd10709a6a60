"""Find the similarity that carries one list of points onto another, from nothing but the points.

Pairs of bright sources vote for a rotation, scale and shift; the cells with the most votes are refined and
the one with most inliers wins. The positions may be shifted by a large part of the field.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from skydesk_core.errors import DataError

__all__ = ["Similarity", "find_similarity", "match_nearest"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Similarity:
    """A rotation, scaling, optional reflection and shift of the plane.

    ``u = matrix @ (x - origin) + shift``, both in the units of the caller (pixels to arcsec here).

    Parameters
    ----------
    matrix
        Linear part, shape (2, 2).
    shift
        Image of the origin, shape (2,).
    origin
        Point that the linear part is applied about, shape (2,).
    matches
        Number of inliers that support it.
    expected_by_chance
        Number of inliers that unrelated lists of the same density would give.
    """

    matrix: FloatArray
    shift: FloatArray
    origin: FloatArray
    matches: int = 0
    expected_by_chance: float = 0.0

    def apply(self, points: FloatArray) -> FloatArray:
        """Carry points of shape (n, 2) over."""
        return np.asarray((points - self.origin) @ self.matrix.T + self.shift)

    @property
    def flipped(self) -> bool:
        """Whether it contains a reflection."""
        return bool(np.linalg.det(self.matrix) < 0)


def match_nearest(
    moved: FloatArray, target: FloatArray, radius: float
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Match two lists of points one to one: pairs that are each other's nearest neighbour.

    Parameters
    ----------
    moved, target
        Points, shapes (n, 2) and (m, 2), same units.
    radius
        Largest distance of a pair, same units.

    Returns
    -------
    tuple of ndarray
        Indices into ``moved`` and ``target``.
    """
    if not len(moved) or not len(target):
        empty = np.zeros(0, np.intp)
        return empty, empty
    distance, forward = cKDTree(target).query(moved, distance_upper_bound=radius)
    _, backward = cKDTree(moved).query(target)
    index = np.flatnonzero(np.isfinite(distance))
    index = index[backward[forward[index]] == index]
    return index, forward[index]


def find_similarity(
    points: FloatArray,
    target: FloatArray,
    scale: float,
    scale_tolerance: float,
    rotation_deg: float = 0.0,
    rotation_tolerance_deg: float = 180.0,
    flip: bool | None = None,
    tolerance: float = 2.0,
    brightest: int = 60,
) -> Similarity:
    """Find the similarity from ``points`` to ``target``.

    Parameters
    ----------
    points, target
        Positions, shapes (n, 2) and (m, 2), brightest first.
    scale
        Expected length in the target's units per unit length of the points.
    scale_tolerance
        Fraction by which the scale may differ.
    rotation_deg, rotation_tolerance_deg
        Expected rotation (counter-clockwise, after the reflection if any) and by how much it may differ.
    flip
        Whether the x axis is reflected first; None tries both.
    tolerance
        Radius within which a refined pair counts as an inlier, in units of the points.
    brightest
        How many of the brightest points take part in the vote.

    Returns
    -------
    Similarity
        The best one.

    Raises
    ------
    DataError
        If no similarity is clearly better than chance.
    """
    if len(points) < 4 or len(target) < 4:
        raise DataError(f"pattern matching needs 4 points in both lists, has {len(points)} and {len(target)}")
    best: Similarity | None = None
    origin = points.mean(axis=0)
    # The catalogue reaches further than the image, so fewer image points must be paired with more of it.
    for n_points, n_target in ((brightest, 2 * brightest), (2 * brightest, 4 * brightest)):
        for reflect in (False, True) if flip is None else (flip,):
            mirror = np.diag([-1.0 if reflect else 1.0, 1.0])
            local = (points - origin) @ mirror
            cells = _vote(
                local[:n_points],
                target[:n_target],
                scale,
                scale_tolerance,
                rotation_deg,
                rotation_tolerance_deg,
                tolerance,
            )
            for linear, shift in cells:
                found = _refine(points, target, Similarity(linear @ mirror, shift, origin), tolerance * scale)
                if (
                    best is None
                    or found.matches - found.expected_by_chance > best.matches - best.expected_by_chance
                ):
                    best = found
        if best is not None and _is_significant(best, len(points)):
            return best
    raise DataError(
        f"no pattern match: best candidate has {best.matches if best else 0} matches, "
        f"{best.expected_by_chance if best else 0:.1f} expected by chance"
    )


def _is_significant(found: Similarity, n: int) -> bool:
    chance = found.expected_by_chance
    return (
        found.matches >= 6
        and found.matches > chance + 6 * np.sqrt(chance + 1)
        and found.matches >= min(0.02 * n, 30)
    )


def _pairs(
    xy: FloatArray, shortest: float, longest: float
) -> tuple[NDArray[np.intp], NDArray[np.intp], FloatArray, FloatArray]:
    i, j = np.triu_indices(len(xy), 1)
    d = xy[j] - xy[i]
    length = np.hypot(d[:, 0], d[:, 1])
    keep = (length > shortest) & (length < longest)
    return i[keep], j[keep], length[keep], np.arctan2(d[keep, 1], d[keep, 0])


def _vote(
    xy: FloatArray,
    target: FloatArray,
    scale: float,
    scale_tolerance: float,
    rotation_deg: float,
    rotation_tolerance_deg: float,
    tolerance: float,
) -> list[tuple[FloatArray, FloatArray]]:
    """Return the linear parts and shifts of the cells with most votes."""
    extent = float(np.hypot(*np.ptp(xy, axis=0)))
    shortest = 0.15 * extent
    i, j, length, angle = _pairs(xy, shortest, extent)
    k, m, t_length, t_angle = _pairs(
        target, shortest * scale * (1 - scale_tolerance), extent * scale * (1 + scale_tolerance)
    )
    order = np.argsort(t_length)
    k, m, t_length, t_angle = k[order], m[order], t_length[order], t_angle[order]
    slack = 1.5 * tolerance * scale
    low = np.searchsorted(t_length, length * scale * (1 - scale_tolerance) - slack)
    high = np.searchsorted(t_length, length * scale * (1 + scale_tolerance) + slack)
    counts = high - low
    if not counts.sum():
        return []
    source = np.repeat(np.arange(len(i)), counts)
    other = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(low, counts)
    # A pair has no direction: each combination is tried in both.
    delta = t_angle[other] - angle[source]
    delta = np.concatenate([delta, delta + np.pi])
    source, other = np.tile(source, 2), np.tile(other, 2)
    delta = (delta - np.radians(rotation_deg) + np.pi) % (2 * np.pi) - np.pi
    keep = np.abs(delta) <= np.radians(rotation_tolerance_deg)
    source, other, delta = source[keep], other[keep], delta[keep] + np.radians(rotation_deg)
    if not len(source):
        return []
    ratio = t_length[other] / length[source]
    middle = 0.5 * (xy[i[source]] + xy[j[source]])
    t_middle = 0.5 * (target[k[other]] + target[m[other]])
    cos, sin = ratio * np.cos(delta), ratio * np.sin(delta)
    shift = t_middle - np.stack(
        [cos * middle[:, 0] - sin * middle[:, 1], sin * middle[:, 0] + cos * middle[:, 1]], axis=1
    )
    cell = 4 * tolerance * scale
    turn = 4 * tolerance / shortest / 2
    return _best_cells(shift / cell, delta / turn, cos, sin, shift)


def _best_cells(
    shift_cell: FloatArray, turn_cell: FloatArray, cos: FloatArray, sin: FloatArray, shift: FloatArray
) -> list[tuple[FloatArray, FloatArray]]:
    key = np.column_stack([np.round(shift_cell), np.round(turn_cell)]).astype(np.int64)
    key -= key.min(axis=0)
    size = key.max(axis=0) + 1
    flat = (key[:, 0] * size[1] + key[:, 1]) * size[2] + key[:, 2]
    _, inverse, votes = np.unique(flat, return_inverse=True, return_counts=True)
    found = []
    for c in np.argsort(votes)[::-1][:25]:
        rows = inverse == c
        a, b = np.median(cos[rows]), np.median(sin[rows])
        found.append((np.array([[a, -b], [b, a]]), np.median(shift[rows], axis=0)))
    return found


def _refine(points: FloatArray, target: FloatArray, start: Similarity, radius: float) -> Similarity:
    """Refit an affine map to the inliers a few times, with a shrinking radius."""
    current = start
    flipped = start.flipped
    for factor in (3.0, 2.0, 1.0, 1.0):
        i, j = match_nearest(current.apply(points), target, factor * radius)
        if len(i) < 4:
            return Similarity(start.matrix, start.shift, start.origin)
        design = np.column_stack([points[i] - current.origin, np.ones(len(i))])
        solution, *_ = np.linalg.lstsq(design, target[j], rcond=None)
        current = Similarity(solution[:2].T, solution[2], current.origin)
        if (
            current.flipped != flipped
            or abs(abs(np.linalg.det(current.matrix) / np.linalg.det(start.matrix)) - 1) > 0.1
        ):
            return Similarity(start.matrix, start.shift, start.origin)
    i, _ = match_nearest(current.apply(points), target, radius)
    moved = current.apply(points)
    lo, hi = moved.min(axis=0), moved.max(axis=0)
    inside = np.all((target > lo) & (target < hi), axis=1).sum()
    chance = float(inside * len(points) * np.pi * radius**2 / np.prod(hi - lo))
    return Similarity(current.matrix, current.shift, current.origin, len(i), chance)
