"""What a brush is: regions of one or two axes, and the cells that views count rows in."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skydesk_portal.exceptions import UsageError
from skydesk_portal.services import brushing_kernels as kernels
from skydesk_portal.storage.scratch import allocate

__all__ = [
    "THREADS",
    "Axis",
    "Binning",
    "Box",
    "Brush",
    "CellNumbers",
    "Frame",
    "Interval",
    "Mask",
    "Polygon",
    "Shape",
    "axis_scale",
    "find_limits",
    "find_nearest",
    "spread",
    "spread_over",
]

THREADS = 2
_SMALL_ROWS = 50_000
_GRID = 512
"""Cells on a side of the grid that tells quickly most rows inside of a polygon from those outside."""

type Mask = NDArray[np.uint8]
type Axis = NDArray[np.float64]
type Frame = tuple[float, float, float, float]
type Shape = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]
type CellNumbers = NDArray[np.uint16] | NDArray[np.uint32]


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, thread_name_prefix="brush")


def spread(rows: int, work: Callable[[int, int, int], None]) -> None:
    """Call ``work(part, begin, end)`` for parts of the rows, at the same time where that pays."""
    if rows <= _SMALL_ROWS:
        work(0, 0, rows)
    else:
        spread_over(rows, work)


def spread_over(count: int, work: Callable[[int, int, int], None]) -> None:
    """Call ``work(part, begin, end)`` for parts of a number of things, at the same time."""
    edges = np.linspace(0, count, THREADS + 1).astype(int)
    for job in [_pool().submit(work, n, int(edges[n]), int(edges[n + 1])) for n in range(THREADS)]:
        job.result()


@dataclass(frozen=True)
class Interval:
    """Values from ``low`` to ``high``, both included."""

    low: float
    high: float

    def mark(self, x: Axis, y: Axis | None) -> Mask:
        """Return which rows lie inside, 0 or 1 each."""
        out = np.empty(x.size, np.uint8)
        spread(x.size, lambda _, a, b: kernels.mark_range(x, self.low, self.high, out, a, b))
        return out


@dataclass(frozen=True)
class Box:
    """A rectangle with its border."""

    x0: float
    x1: float
    y0: float
    y1: float

    def mark(self, x: Axis, y: Axis | None) -> Mask:
        """Return which rows lie inside, 0 or 1 each."""
        assert y is not None
        out = np.empty(x.size, np.uint8)
        x0, x1 = sorted((self.x0, self.x1))
        y0, y1 = sorted((self.y0, self.y1))
        spread(x.size, lambda _, a, b: kernels.mark_rectangle(x, y, x0, x1, y0, y1, out, a, b))
        return out


@dataclass(frozen=True)
class Polygon:
    """A polygon by its vertices, closed by itself; where it crosses itself the even-odd rule holds.

    Parameters
    ----------
    vertices
        x and y of each vertex; at least three.
    """

    vertices: tuple[tuple[float, float], ...]

    def mark(self, x: Axis, y: Axis | None) -> Mask:
        """Return which rows lie inside, 0 or 1 each.

        Raises
        ------
        UsageError
            If it has fewer than three vertices, or one that is not finite.
        """
        assert y is not None
        out = np.zeros(x.size, np.uint8)
        found = self.prepare()
        if found is not None:
            shape, grid, frame = found
            spread(x.size, lambda _, a, b: kernels.mark_polygon(x, y, *shape, grid, frame, out, a, b))
        return out

    def prepare(self) -> tuple[Shape, NDArray[np.uint8], Frame] | None:
        """Return its edges in slabs and a grid that knows most positions, as `mark_polygon` takes them.

        Returns
        -------
        tuple or None
            Edges, cells of the grid, frame of the grid; `None` if nothing lies inside.

        Raises
        ------
        UsageError
            If it has fewer than three vertices, or one that is not finite.
        """
        corners = np.array(self.vertices, float).reshape(-1, 2)
        if len(corners) < 3 or not np.isfinite(corners).all():
            raise UsageError("a polygon needs three corners at least")
        after = np.roll(corners, -1, axis=0)
        edges = np.hstack([corners, after])
        edges = edges[edges[:, 1] != edges[:, 3]]
        low, high = corners.min(axis=0), corners.max(axis=0)
        if len(edges) == 0 or not (high > low).all():
            return None
        turned = edges[:, 1] > edges[:, 3]
        edges[turned] = edges[turned][:, [2, 3, 0, 1]]
        levels = np.unique(edges[:, [1, 3]])
        slabs = [np.flatnonzero((edges[:, 1] <= a) & (edges[:, 3] > a)) for a in levels[:-1]]
        starts = np.concatenate([[0], np.cumsum([slab.size for slab in slabs])]).astype(np.int64)
        members = np.concatenate(slabs).astype(np.int64)
        grid = np.zeros((_GRID, _GRID), np.uint8)
        # The border of the grid lies outside of the polygon, so that whatever is beyond it is outside.
        margin = (high - low) * (2.0 / (_GRID - 4))
        scale = _GRID / (high - low + 2 * margin)
        frame = (float(low[0] - margin[0]), float(scale[0]), float(low[1] - margin[1]), float(scale[1]))
        shape = edges, levels, starts, members
        kernels.sort_cells(*shape, grid, frame)
        return shape, grid, frame


def find_limits(x: Axis) -> tuple[float, float, int]:
    """Return the least and the greatest finite value, and how many values are finite."""
    found: list[tuple[float, float, int]] = []
    spread(x.size, lambda _, a, b: found.append(kernels.find_limits(x, a, b)))
    return min(f[0] for f in found), max(f[1] for f in found), sum(f[2] for f in found)


def find_nearest(x: Axis, y: Axis, at: tuple[float, float], unit: tuple[float, float]) -> int | None:
    """Return the row nearest to a position, `None` if none lies within one unit of each axis.

    Parameters
    ----------
    x, y
        The rows.
    at
        The position.
    unit
        How far a row may be, along each axis.
    """
    found: list[tuple[float, int]] = []

    def work(_: int, begin: int, end: int) -> None:
        row, distance = kernels.find_nearest(x, y, *at, 1 / unit[0], 1 / unit[1], begin, end)
        found.append((distance, row))

    spread(x.size, work)
    distance, row = min(found)
    return int(row) if row >= 0 and distance <= 1 else None


type Brush = Interval | Box | Polygon


@dataclass(frozen=True)
class Binning:
    """Cells of a view along one or two axes.

    Parameters
    ----------
    x, y
        Lower end, upper end and number of cells of each axis; ``y`` is `None` on a line.
    """

    x: tuple[float, float, int]
    y: tuple[float, float, int] | None = None

    @property
    def cells(self) -> int:
        """Number of cells."""
        return self.x[2] * (self.y[2] if self.y else 1)

    def number(self, x: Axis, y: Axis | None, folder: Path | None = None) -> CellNumbers:
        """Return the cell of each row, from 1; 0 is outside.

        Parameters
        ----------
        x, y
            The rows.
        folder
            Where the numbers of very many rows lie; `None` for memory.
        """
        out: Any = allocate((x.size,), np.uint16 if self.cells < 1 << 16 else np.uint32, folder)
        low_x, scale_x, nx = axis_scale(self.x)
        if self.y is None or y is None:
            spread(x.size, lambda _, a, b: kernels.bin_line(x, low_x, scale_x, nx, out, a, b))
        else:
            low_y, scale_y, ny = axis_scale(self.y)
            spread(
                x.size,
                lambda _, a, b: kernels.bin_plane(x, y, low_x, scale_x, nx, low_y, scale_y, ny, out, a, b),
            )
        return out


def axis_scale(axis: tuple[float, float, int]) -> tuple[float, float, int]:
    """Return lower end, cells per unit and number of cells of an axis."""
    low, high, count = axis
    return low, count / (high - low) if high > low else 1.0, count
