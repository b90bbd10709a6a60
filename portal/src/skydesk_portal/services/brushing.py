"""Which rows are chosen, and what every view shows of them: the coordinator of linked views, without any page.

Brushes are exact: a row is chosen by its own values, never by the cell it is drawn in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skydesk_portal.exceptions import UsageError
from skydesk_portal.services import brushing_kernels as kernels

__all__ = [
    "Binning",
    "Box",
    "Brush",
    "CellCounts",
    "Coordinator",
    "Interval",
    "Polygon",
    "combine_subsets",
    "find_limits",
    "find_nearest",
    "warm",
]

_THREADS = 2
_SMALL_ROWS = 50_000
_GRID = 256
"""Cells on a side of the grid that tells quickly most rows inside of a polygon from those outside."""

type Mask = NDArray[np.uint8]
type Axis = NDArray[np.float64]
type CellNumbers = NDArray[np.uint16] | NDArray[np.uint32]


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_THREADS, thread_name_prefix="brush")


def _spread(rows: int, work: Callable[[int, int, int], None]) -> None:
    """Call ``work(part, begin, end)`` for parts of the rows, at the same time where that pays."""
    if rows <= _SMALL_ROWS:
        work(0, 0, rows)
        return
    edges = np.linspace(0, rows, _THREADS + 1).astype(int)
    for job in [_pool().submit(work, n, int(edges[n]), int(edges[n + 1])) for n in range(_THREADS)]:
        job.result()


@dataclass(frozen=True)
class Interval:
    """Values from ``low`` to ``high``, both included."""

    low: float
    high: float

    def mark(self, x: Axis, y: Axis | None) -> Mask:
        """Return which rows lie inside, 0 or 1 each."""
        out = np.empty(x.size, np.uint8)
        _spread(x.size, lambda _, a, b: kernels.mark_range(x, self.low, self.high, out, a, b))
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
        _spread(x.size, lambda _, a, b: kernels.mark_rectangle(x, y, x0, x1, y0, y1, out, a, b))
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
        corners = np.array(self.vertices, float).reshape(-1, 2)
        if len(corners) < 3 or not np.isfinite(corners).all():
            raise UsageError("a polygon needs three corners at least")
        out = np.zeros(x.size, np.uint8)
        after = np.roll(corners, -1, axis=0)
        edges = np.hstack([corners, after])
        edges = edges[edges[:, 1] != edges[:, 3]]
        if len(edges) == 0:
            return out
        turned = edges[:, 1] > edges[:, 3]
        edges[turned] = edges[turned][:, [2, 3, 0, 1]]
        levels = np.unique(edges[:, [1, 3]])
        slabs = [np.flatnonzero((edges[:, 1] <= a) & (edges[:, 3] > a)) for a in levels[:-1]]
        starts = np.concatenate([[0], np.cumsum([slab.size for slab in slabs])]).astype(np.int64)
        members = np.concatenate(slabs).astype(np.int64)
        grid = np.zeros((_GRID, _GRID), np.uint8)
        low, high = corners.min(axis=0), corners.max(axis=0)
        if not (high > low).all():
            return out
        # The border of the grid lies outside of the polygon, so that whatever is beyond it is outside.
        margin = (high - low) * (2.0 / (_GRID - 4))
        scale = _GRID / (high - low + 2 * margin)
        frame = (float(low[0] - margin[0]), float(scale[0]), float(low[1] - margin[1]), float(scale[1]))
        shape = edges, levels, starts, members
        kernels.sort_cells(*shape, grid, frame)
        _spread(x.size, lambda _, a, b: kernels.mark_polygon(x, y, *shape, grid, frame, out, a, b))
        return out


def warm() -> None:
    """Compile the kernels before somebody waits for them."""
    x = np.linspace(0.0, 1.0, 10)
    linked = Coordinator(x.size)
    linked.set_view("plane", Binning((0.0, 1.0, 4), (0.0, 1.0, 4)), x, x, weight=x)
    linked.set_view("fine", Binning((0.0, 1.0, 300), (0.0, 1.0, 300)), x, x)
    linked.set_view("line", Binning((0.0, 1.0, 4)), x)
    linked.set_cells("sky", np.ones(x.size, np.uint32), 1)
    linked.brush("line", Interval(0.0, 0.5), x)
    linked.brush("plane", Box(0.0, 1.0, 0.0, 1.0), x, x)
    linked.brush("fine", Polygon(((0.0, 0.0), (1.0, 0.1), (0.9, 1.0))), x, x)
    for name in linked.views:
        linked.count(name)
    find_limits(x)
    find_nearest(x, x, (0.5, 0.5), (1.0, 1.0))


def find_limits(x: Axis) -> tuple[float, float, int]:
    """Return the least and the greatest finite value, and how many values are finite."""
    found: list[tuple[float, float, int]] = []
    _spread(x.size, lambda _, a, b: found.append(kernels.find_limits(x, a, b)))
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

    _spread(x.size, work)
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

    def number(self, x: Axis, y: Axis | None) -> CellNumbers:
        """Return the cell of each row, from 1; 0 is outside."""
        out: Any = np.empty(x.size, np.uint16 if self.cells < 1 << 16 else np.uint32)
        low_x, scale_x, nx = _scale(self.x)
        if self.y is None or y is None:
            _spread(x.size, lambda _, a, b: kernels.bin_line(x, low_x, scale_x, nx, out, a, b))
        else:
            low_y, scale_y, ny = _scale(self.y)
            _spread(
                x.size,
                lambda _, a, b: kernels.bin_plane(x, y, low_x, scale_x, nx, low_y, scale_y, ny, out, a, b),
            )
        return out


def _scale(axis: tuple[float, float, int]) -> tuple[float, float, int]:
    low, high, count = axis
    return low, count / (high - low) if high > low else 1.0, count


@dataclass(frozen=True)
class CellCounts:
    """How many rows the cells of a view hold.

    Parameters
    ----------
    all, chosen
        Rows of each cell, and those of them that are chosen; shape ``(cells,)``.
    mean
        Mean of a further column in each cell, of the chosen rows; `None` without one.
    """

    all: NDArray[np.int64]
    chosen: NDArray[np.int64]
    mean: NDArray[np.float64] | None = None


@dataclass
class _View:
    axes: tuple[Axis, Axis | None]
    binning: Binning
    numbers: CellNumbers
    counts: NDArray[np.int64]
    weight: Axis | None = None


@dataclass
class Coordinator:
    """Keeps the brushes and the views of one result; a row is chosen when all brushes hold it.

    Parameters
    ----------
    rows
        Number of rows of the result.
    """

    rows: int
    inverted: bool = False
    _marks: dict[str, Mask] = field(default_factory=dict)
    _views: dict[str, _View] = field(default_factory=dict)
    _chosen: Mask | None = None
    _is_known: bool = True

    # Brushes

    @property
    def brushes(self) -> tuple[str, ...]:
        """Names of those who have a brush."""
        return tuple(self._marks)

    def brush(self, name: str, region: Brush, x: Axis, y: Axis | None = None) -> None:
        """Set the brush of a view by a region of its axes."""
        self.set_mask(name, region.mark(x, y))

    def set_mask(self, name: str, mask: Mask) -> None:
        """Set a brush by the rows themselves, one value (0 or 1) each."""
        if mask.shape != (self.rows,):
            raise UsageError(f"this subset has {mask.size} rows, the result {self.rows}")
        self._marks[name] = mask
        self._is_known = False

    def clear(self, name: str | None = None) -> None:
        """Take away a brush, or all of them."""
        if name is None:
            self._marks.clear()
            self.inverted = False
        else:
            self._marks.pop(name, None)
        self._is_known = False

    def invert(self, inverted: bool) -> None:
        """Choose the rows outside of the brushes instead of those inside."""
        self.inverted = inverted
        self._is_known = False

    @property
    def chosen(self) -> Mask | None:
        """The chosen rows, one value (0 or 1) each; `None` when nothing restricts them."""
        if not self._is_known:
            found: Mask | None = None
            for mask in self._marks.values():
                found = mask if found is None else found & mask
            if found is not None and self.inverted:
                found = found ^ np.uint8(1)
            self._chosen, self._is_known = found, True
        return self._chosen

    @property
    def number_chosen(self) -> int:
        """How many rows are chosen."""
        chosen = self.chosen
        return self.rows if chosen is None else int(np.count_nonzero(chosen))

    # Views

    def set_view(
        self, name: str, binning: Binning, x: Axis, y: Axis | None = None, weight: Axis | None = None
    ) -> None:
        """Add a view, or give one other axes or cells.

        Parameters
        ----------
        name
            Its name.
        binning
            Its cells.
        x, y
            Its axes; ``y`` is `None` for a histogram.
        weight
            Values whose mean in each cell is shown.
        """
        numbers = binning.number(x, y)
        counts = self._count(numbers, binning.cells, None)
        self._views[name] = _View((x, y), binning, numbers, counts, weight)

    def set_cells(self, name: str, numbers: CellNumbers, cells: int) -> None:
        """Add a view whose cells are numbered already, from 1; 0 is outside."""
        empty = np.empty(0)
        counts = self._count(numbers, cells, None)
        self._views[name] = _View((empty, None), Binning((0.0, 1.0, cells)), numbers, counts)

    @property
    def views(self) -> tuple[str, ...]:
        """Names of the views."""
        return tuple(self._views)

    def drop_view(self, name: str) -> None:
        """Take away a view and its brush."""
        self._views.pop(name, None)
        self.clear(name)

    def count(self, name: str) -> CellCounts:
        """Return what a view shows now."""
        view = self._views[name]
        chosen = self.chosen
        found = view.counts if chosen is None else self._count(view.numbers, view.binning.cells, chosen)
        mean = None if view.weight is None else self._mean(view, chosen)
        return CellCounts(view.counts, found, mean)

    def _count(self, numbers: CellNumbers, cells: int, mask: Mask | None) -> NDArray[np.int64]:
        parts = np.zeros((_THREADS, cells + 1), np.uint32)
        used = mask if mask is not None else np.empty(0, np.uint8)

        def work(part: int, begin: int, end: int) -> None:
            kernels.count_cells(numbers, used, mask is not None, parts[part], begin, end)

        _spread(numbers.size, work)
        return parts.sum(axis=0, dtype=np.int64)[1:]

    def _mean(self, view: _View, mask: Mask | None) -> NDArray[np.float64]:
        assert view.weight is not None
        weight = view.weight
        total = np.zeros((_THREADS, view.binning.cells + 1))
        number = np.zeros((_THREADS, view.binning.cells + 1), np.int64)
        used = mask if mask is not None else np.empty(0, np.uint8)

        def work(part: int, begin: int, end: int) -> None:
            kernels.sum_cells(
                view.numbers, weight, used, mask is not None, total[part], number[part], begin, end
            )

        _spread(view.numbers.size, work)
        with np.errstate(invalid="ignore"):
            return (total.sum(axis=0) / number.sum(axis=0))[1:]


_WORD = re.compile(r"\s*(?:(and|or|xor|not)\b|([A-Za-z][A-Za-z0-9_]*)|([()]))", re.IGNORECASE)


def combine_subsets(text: str, subsets: Mapping[str, Mask] | Callable[[str], Mask]) -> Mask:
    """Combine subsets by words: ``bright and not (stars or moving)``.

    ``not`` binds more strongly than ``and``, this more than ``xor`` and ``or``.

    Parameters
    ----------
    text
        Names of subsets with ``and``, ``or``, ``xor``, ``not`` and parentheses.
    subsets
        The subsets by name, one value (0 or 1) per row.

    Returns
    -------
    ndarray
        One value (0 or 1) per row.

    Raises
    ------
    UsageError
        If the text is no such combination, or names an unknown subset.
    """
    words: list[str] = []
    at = 0
    while text[at:].strip():
        found = _WORD.match(text, at)
        if not found:
            raise UsageError(f"{text[at : at + 20].strip()!r} does not belong into a combination of subsets")
        words.append(found.group().strip())
        at = found.end()
    reader = _Combination(words, subsets)
    mask = reader.read_or()
    if reader.words:
        raise UsageError(f"{reader.words[0]!r} stands where the combination should end")
    return mask


class _Combination:
    def __init__(self, words: Sequence[str], subsets: Mapping[str, Mask] | Callable[[str], Mask]) -> None:
        self.words = list(words)
        self._subsets: Any = subsets if callable(subsets) else self._find_in(subsets)

    @staticmethod
    def _find_in(subsets: Mapping[str, Mask]) -> Callable[[str], Mask]:
        def find(name: str) -> Mask:
            if name not in subsets:
                raise UsageError(f"there is no subset {name[:40]!r}")
            return subsets[name]

        return find

    def _next_is(self, *wanted: str) -> bool:
        return bool(self.words) and self.words[0].lower() in wanted

    def read_or(self) -> Mask:
        left = self._read_and()
        while self._next_is("or", "xor"):
            is_or = self.words.pop(0).lower() == "or"
            right = self._read_and()
            left = left | right if is_or else left ^ right
        return left

    def _read_and(self) -> Mask:
        left = self._read_not()
        while self._next_is("and"):
            self.words.pop(0)
            left = left & self._read_not()
        return left

    def _read_not(self) -> Mask:
        if self._next_is("not"):
            self.words.pop(0)
            return self._read_not() ^ np.uint8(1)
        if self._next_is("("):
            self.words.pop(0)
            inner = self.read_or()
            if not self._next_is(")"):
                raise UsageError("a parenthesis is not closed")
            self.words.pop(0)
            return inner
        if not self.words or self._next_is("and", "or", "xor", ")"):
            raise UsageError("the combination of subsets ends too early: the name of a subset is missing")
        return self._subsets(self.words.pop(0))
