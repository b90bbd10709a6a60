"""Many stored regions at once: read from text and compared with positions and with each other, without a loop."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skydesk_portal.exceptions import QueryError
from skydesk_portal.models.regions import (
    Region,
    parse_region,
    region_contains,
    region_has_many,
    regions_intersect,
)

__all__ = ["contain_positions", "lie_within", "meet"]

_NUMBERS = r"(POLYGON|CIRCLE)( ICRS)?(( [-+]?[0-9]+\.?[0-9]*([eE][-+]?[0-9]+)?)+)"
_SLACK = 1e-12


def _find_region(text: str | None) -> Region | None:
    if text is None:
        return None
    try:
        return parse_region(text)
    except QueryError:
        # Stored text that is no region matches nothing; it must not stop a scan.
        return None


def _unit(ra_deg: np.ndarray, dec_deg: np.ndarray) -> np.ndarray:
    ra, dec = np.radians(ra_deg), np.radians(dec_deg)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)


@dataclass(frozen=True)
class _Group:
    """Regions of one form: ``corners`` has the shape (n, k, 3); circles have one corner and a radius in radians."""

    rows: np.ndarray
    corners: np.ndarray
    middle: np.ndarray
    reach: np.ndarray
    circles: bool


def _read(texts: pa.Array) -> tuple[list[_Group], np.ndarray]:
    """Read what is written in the usual form; returns groups and the rows that are left over."""
    plain = pc.fill_null(pc.match_substring_regex(texts, f"^{_NUMBERS}$"), False).to_numpy(
        zero_copy_only=False
    )
    rows = np.flatnonzero(plain)
    left = ~plain
    if not len(rows):
        return [], np.flatnonzero(left)
    chosen = texts.take(pa.array(rows))
    circle = pc.starts_with(chosen, "C").to_numpy(zero_copy_only=False)
    words = pc.split_pattern(pc.replace_substring_regex(chosen, "^[A-Z]+( ICRS)? ", ""), " ")
    values = pc.cast(words.flatten(), pa.float64()).to_numpy(zero_copy_only=False)
    offsets = np.asarray(words.offsets) - words.offsets[0].as_py()
    lengths = np.diff(offsets)
    groups = []
    for kind, length in {(bool(c), int(n)) for c, n in zip(circle, lengths, strict=True)}:
        mine = np.flatnonzero((circle == kind) & (lengths == length))
        numbers = values[offsets[mine][:, None] + np.arange(length)]
        pairs = numbers[:, :2] if kind else numbers[:, : length - length % 2]
        sane = np.isfinite(numbers).all(axis=1) & (np.abs(pairs[:, 1::2]) <= 90).all(axis=1)
        sane &= (np.abs(pairs[:, ::2]) <= 360).all(axis=1)
        sane &= (length == 3) & (numbers[:, -1] >= 0) & (numbers[:, -1] <= 180) if kind else length >= 6
        sane &= kind or length % 2 == 0
        corners = _unit(pairs[:, ::2], pairs[:, 1::2])
        middle = corners.sum(axis=1)
        size = np.linalg.norm(middle, axis=1)
        middle /= np.where(size > 0, size, 1.0)[:, None]
        lowest = np.einsum("nkj,nj->nk", corners, middle).min(axis=1)
        sane &= lowest > 0.01
        reach = np.radians(numbers[:, -1]) if kind else np.arccos(np.clip(lowest, -1, 1))
        left[rows[mine[~sane]]] = True
        groups.append(_Group(rows[mine[sane]], corners[sane], middle[sane], reach[sane], kind))
    return groups, np.flatnonzero(left)


def _hold(group: _Group, points: np.ndarray) -> np.ndarray:
    """Tell which regions of a group hold the position in the same row, the edge included."""
    if group.circles:
        chord = np.linalg.norm(points - group.corners[:, 0], axis=1)
        return np.asarray(chord <= 2 * np.sin(group.reach / 2) * (1 + 4e-16) + 1e-15)
    height = np.einsum("nj,nj->n", points, group.middle)
    found = height >= np.cos(group.reach) - _SLACK
    near = np.flatnonzero(found)
    middle = group.middle[near]
    north = np.where(np.abs(middle[:, 2:]) < 0.9, [[0.0, 0.0, 1.0]], [[1.0, 0.0, 0.0]])
    east = np.cross(north, middle)
    east /= np.linalg.norm(east, axis=1)[:, None]
    up = np.cross(middle, east)

    def flat(vectors: np.ndarray) -> np.ndarray:
        x = np.einsum("nkj,nj->nk", vectors, east)
        y = np.einsum("nkj,nj->nk", vectors, up)
        return np.stack([x, y], axis=-1) / np.einsum("nkj,nj->nk", vectors, middle)[..., None]

    a = flat(group.corners[near]) - flat(points[near, None])
    b = np.roll(a, -1, axis=1)
    cross = a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    dot = (a * b).sum(axis=-1)
    edge = ((np.abs(cross) < 1e-15) & (dot <= 1e-15)).any(axis=1)
    found[near] = edge | (np.abs(np.arctan2(cross, dot).sum(axis=1)) > math.pi)
    return np.asarray(found)


def _edge_distance(group: _Group, points: np.ndarray) -> np.ndarray:
    """Return the angle between each position and the outline of the polygon in the same row, in radians."""
    a, b = group.corners, np.roll(group.corners, -1, axis=1)
    normal = np.cross(a, b)
    length = np.linalg.norm(normal, axis=2)
    normal /= np.where(length > 0, length, 1.0)[..., None]
    p = points[:, None]
    beside = (np.cross(normal, a) * p).sum(axis=2) >= 0
    beside &= (np.cross(b, normal) * p).sum(axis=2) >= 0
    across = np.arcsin(np.clip(np.abs((normal * p).sum(axis=2)), 0, 1))
    corner = 2 * np.arcsin(np.clip(np.linalg.norm(a - p, axis=2) / 2, 0, 1))
    return np.asarray(np.minimum(np.where(beside & (length > 0), across, math.pi), corner).min(axis=1))


def contain_positions(
    regions: pa.Array, ra_deg: np.ndarray, dec_deg: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Tell which regions hold the position in the same row.

    Parameters
    ----------
    regions
        Text of each region, null where there is none.
    ra_deg, dec_deg
        Positions, ICRS.

    Returns
    -------
    tuple of numpy.ndarray
        Whether it does, and whether that can be told at all.
    """
    known = np.isfinite(ra_deg) & np.isfinite(dec_deg)
    found = np.zeros(len(known), bool)
    only = pc.unique(regions)
    with np.errstate(invalid="ignore"):
        if len(only) == 1:
            region = _find_region(only[0].as_py())
            known &= region is not None
            inside = found if region is None else region_has_many(region, ra_deg, dec_deg)
            return inside & known, known
        points = _unit(ra_deg, dec_deg)
        groups, left = _read(regions)
        for group in groups:
            found[group.rows] = _hold(group, points[group.rows])
        for row in left:
            region = _find_region(regions[int(row)].as_py())
            known[row] &= region is not None
            if region is not None and known[row]:
                found[row] = region_has_many(region, ra_deg[row : row + 1], dec_deg[row : row + 1])[0]
    return found & known, known


def _compare(
    first: pa.Array,
    second: pa.Array,
    exact: Callable[[Region, Region], bool],
    quick: Callable[[_Group, Region], np.ndarray | None],
) -> tuple[np.ndarray, np.ndarray]:
    found, known = np.zeros(len(first), bool), np.ones(len(first), bool)
    slow = np.ones(len(first), bool)
    other = _find_region(second[0].as_py()) if len(second) and second.null_count == 0 else None
    if other is not None and len(pc.unique(second)) == 1:
        center = _unit(np.array([other.center[0]]), np.array([other.center[1]]))[0]
        for group in _read(first)[0]:
            apart = 2 * np.arcsin(np.clip(np.linalg.norm(group.middle - center, axis=1) / 2, 0, 1))
            slow[group.rows] = apart <= group.reach + math.radians(other.size_deg) + _SLACK
            answer = quick(group, other)
            if answer is not None:
                found[group.rows] = answer & slow[group.rows]
                slow[group.rows] = False
    for row in np.flatnonzero(slow):
        a, b = _find_region(first[int(row)].as_py()), _find_region(second[int(row)].as_py())
        known[row] = a is not None and b is not None
        if a is not None and b is not None:
            found[row] = exact(a, b)
    return found, known


def _center(region: Region, count: int) -> np.ndarray:
    ra, dec = region.corners[0]
    return np.broadcast_to(_unit(np.array([ra]), np.array([dec]))[0], (count, 3))


def meet(first: pa.Array, second: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Tell which pairs of regions have a point in common.

    Parameters
    ----------
    first, second
        Text of the regions, row by row.

    Returns
    -------
    tuple of numpy.ndarray
        Whether they do, and whether that can be told at all.
    """

    def quick(group: _Group, other: Region) -> np.ndarray | None:
        if other.radius_deg is None:
            return None
        if group.circles:
            apart = np.linalg.norm(group.middle - _center(other, len(group.rows)), axis=1)
            reach = np.minimum(group.reach + math.radians(other.radius_deg), math.pi)
            return np.asarray(2 * np.arcsin(np.clip(apart / 2, 0, 1)) <= reach + _SLACK)
        center = _center(other, len(group.rows))
        return _hold(group, center) | (_edge_distance(group, center) <= math.radians(other.radius_deg))

    constant = len(first) > 0 and first.null_count == 0 and len(pc.unique(first)) == 1
    if constant and (second.null_count > 0 or len(pc.unique(second)) > 1):
        first, second = second, first
    return _compare(first, second, regions_intersect, quick)


def lie_within(inner: pa.Array, outer: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Tell which regions lie completely in the region of the same row.

    Parameters
    ----------
    inner, outer
        Text of the regions, row by row.

    Returns
    -------
    tuple of numpy.ndarray
        Whether they do, and whether that can be told at all.
    """

    def quick(group: _Group, other: Region) -> np.ndarray | None:
        if other.radius_deg is None or other.radius_deg > 90:
            return None
        apart = np.linalg.norm(group.corners - _center(other, len(group.rows))[:, None], axis=2).max(axis=1)
        reach = math.radians(other.radius_deg) - (group.reach if group.circles else 0.0)
        return np.asarray(2 * np.arcsin(np.clip(apart / 2, 0, 1)) <= reach + _SLACK)

    return _compare(inner, outer, lambda a, b: region_contains(b, a), quick)
