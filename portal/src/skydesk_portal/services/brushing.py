"""Which rows are chosen, and what every view shows of them: the coordinator of linked views, without any page.

Brushes are exact: a row is chosen by its own values, never by the cell it is drawn in.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skydesk_portal.exceptions import UsageError
from skydesk_portal.services import brushing_kernels as kernels
from skydesk_portal.services.brushing_cube import BrushCube, CubeCounts, ViewCells, build_cube, cut_axes
from skydesk_portal.services.brushing_regions import (
    THREADS,
    Axis,
    Binning,
    Box,
    Brush,
    CellNumbers,
    Interval,
    Mask,
    Polygon,
    find_limits,
    find_nearest,
    spread,
)

__all__ = [
    "Binning",
    "Box",
    "Brush",
    "CellCounts",
    "Coordinator",
    "Interval",
    "Polygon",
    "Preparation",
    "find_limits",
    "find_nearest",
    "warm",
]

_CHUNK_ROWS = 1 << 20
_MOST_CUBES = 2


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
    for name in ("line", "plane"):
        preparation = linked.plan(name)
        assert preparation is not None
        linked.adopt(preparation, preparation.build(lambda _part: True))
    linked.brush("plane", Polygon(((0.0, 0.0), (1.0, 0.1), (0.9, 1.0))), x, x)
    linked.count("line")
    linked.clear("plane")
    linked.brush("line", Interval(0.1, 0.5), x)
    linked.count("fine")
    find_limits(x)
    find_nearest(x, x, (0.5, 0.5), (1.0, 1.0))


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
    counts: NDArray[np.int64]
    follows: ViewCells
    weight: Axis | None = None
    shown: tuple[int, CellCounts] | None = None


@dataclass
class _Held:
    """Rows that a brush holds: by a region, whose rows are marked where somebody needs them, or as they are."""

    serial: int
    mask: Mask | None = None
    region: Brush | None = None
    axes: tuple[Axis, Axis | None] | None = None

    def mark(self) -> Mask:
        if self.mask is None:
            assert self.region is not None
            assert self.axes is not None
            self.mask = self.region.mark(*self.axes)
        return self.mask

    def mark_some(self, rows: Any) -> Mask:
        if self.mask is not None:
            return self.mask[rows]
        assert self.region is not None
        assert self.axes is not None
        x, y = self.axes
        return self.region.mark(np.asarray(x[rows]), None if y is None else np.asarray(y[rows]))


type _Key = tuple[Any, ...]


@dataclass(frozen=True)
class Preparation:
    """What has to be done so that brushes of one view are quick; see `Coordinator.plan`."""

    name: str
    key: _Key
    axes: tuple[Axis, Axis | None]
    mask: Mask | None
    views: dict[str, ViewCells]
    folder: Path | None

    def build(self, on_progress: Callable[[float], bool]) -> BrushCube:
        """Do it; see `build_cube`."""
        x, y = self.axes
        limits = [find_limits(axis)[:2] for axis in (x, y) if axis is not None]
        binning = cut_axes(limits[0], limits[1] if len(limits) > 1 else None)
        return build_cube(binning, x, y, self.mask, self.views, self.folder, on_progress)


class Coordinator:
    """Keeps the brushes and the views of one result; a row is chosen when all brushes hold it.

    Threads may share one; each call is whole.

    Parameters
    ----------
    rows
        Number of rows of the result.
    folder
        Where arrays of very many rows lie; `None` for memory.
    """

    def __init__(self, rows: int, folder: Path | None = None) -> None:
        self.rows = rows
        self.inverted = False
        self._folder = folder
        self._lock = threading.RLock()
        self._serial = 0
        self._held: dict[str, _Held] = {}
        self._views: dict[str, _View] = {}
        self._cubes: dict[str, tuple[_Key, BrushCube]] = {}
        self._chosen: Mask | None = None
        self._is_known = True
        self._last = ""
        self._counted: tuple[int, CubeCounts | None] = (-1, None)
        self._number: tuple[int, int] = (-1, 0)
        self._state = 0

    def _touch(self) -> None:
        """Note that other rows are chosen from now on."""
        self._is_known = False
        self._state = self._next()

    def _next(self) -> int:
        self._serial += 1
        return self._serial

    # Brushes

    @property
    def brushes(self) -> tuple[str, ...]:
        """Names of those who have a brush."""
        return tuple(self._held)

    def brush(self, name: str, region: Brush, x: Axis, y: Axis | None = None) -> None:
        """Set the brush of a view by a region of its axes.

        Raises
        ------
        UsageError
            If the region is a polygon with fewer than three corners.
        """
        if isinstance(region, Polygon):
            region.prepare()
        with self._lock:
            self._held[name] = _Held(self._next(), region=region, axes=(x, y))
            self._last = name
            self._touch()

    def set_mask(self, name: str, mask: Mask) -> None:
        """Set a brush by the rows themselves, one value (0 or 1) each."""
        if mask.shape != (self.rows,):
            raise UsageError(f"this subset has {mask.size} rows, the result {self.rows}")
        with self._lock:
            self._held[name] = _Held(self._next(), mask=mask)
            self._touch()

    def clear(self, name: str | None = None) -> None:
        """Take away a brush, or all of them."""
        with self._lock:
            if name is None:
                self._held.clear()
                self.inverted = False
            else:
                self._held.pop(name, None)
            self._touch()

    def invert(self, inverted: bool) -> None:
        """Choose the rows outside of the brushes instead of those inside."""
        with self._lock:
            self.inverted = inverted
            self._touch()

    @property
    def restricts(self) -> bool:
        """Whether there is any brush."""
        return bool(self._held)

    @property
    def chosen(self) -> Mask | None:
        """The chosen rows, one value (0 or 1) each; `None` when nothing restricts them."""
        with self._lock:
            if not self._is_known:
                found: Mask | None = None
                for held in self._held.values():
                    found = held.mark() if found is None else found & held.mark()
                if found is not None and self.inverted:
                    found = found ^ np.uint8(1)
                self._chosen, self._is_known = found, True
            return self._chosen

    @property
    def number_chosen(self) -> int:
        """How many rows are chosen."""
        with self._lock:
            if not self._held:
                return self.rows
            if self._number[0] != self._state:
                prepared = self._count_prepared()
                if prepared is None:
                    chosen = self.chosen
                    number = self.rows if chosen is None else int(np.count_nonzero(chosen))
                else:
                    number = self.rows - prepared.rows if self.inverted else prepared.rows
                self._number = (self._state, number)
            return self._number[1]

    def choose_of(self, rows: Any) -> NDArray[np.bool_]:
        """Tell which of some rows are chosen.

        Parameters
        ----------
        rows
            Their numbers, or a slice of them.
        """
        with self._lock:
            some = np.arange(self.rows)[rows] if isinstance(rows, slice) else np.asarray(rows, np.int64)
            out = np.ones(some.size, bool)
            for held in self._held.values():
                out &= held.mark_some(rows if isinstance(rows, slice) else some) != 0
            return ~out if self.inverted and self._held else out

    def list_chosen(self, most: int) -> NDArray[np.int64]:
        """Return the numbers of the first chosen rows."""
        parts: list[NDArray[np.int64]] = []
        count = 0
        with self._lock:
            for begin in range(0, self.rows, _CHUNK_ROWS):
                found = np.flatnonzero(self.choose_of(slice(begin, min(begin + _CHUNK_ROWS, self.rows))))
                parts.append(found[: most - count] + begin)
                count += parts[-1].size
                if count >= most:
                    break
        return np.concatenate(parts) if parts else np.empty(0, np.int64)

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
        numbers = binning.number(x, y, self._folder)
        counts = _count_cells(numbers, binning.cells, None)
        with self._lock:
            follows = ViewCells(self._next(), numbers, binning.cells)
            self._views[name] = _View((x, y), binning, counts, follows, weight)

    def set_cells(
        self, name: str, numbers: CellNumbers, cells: int, x: Axis | None = None, y: Axis | None = None
    ) -> None:
        """Add a view whose cells are numbered already, from 1; 0 is outside.

        Parameters
        ----------
        name
            Its name.
        numbers
            Cell of each row.
        cells
            How many there are.
        x, y
            Axes that it is brushed on.
        """
        counts = _count_cells(numbers, cells, None)
        with self._lock:
            follows = ViewCells(self._next(), numbers, cells)
            axes = (np.empty(0) if x is None else x, y)
            self._views[name] = _View(axes, Binning((0.0, 1.0, cells)), counts, follows)

    @property
    def views(self) -> tuple[str, ...]:
        """Names of the views."""
        return tuple(self._views)

    def drop_view(self, name: str) -> None:
        """Take away a view and its brush."""
        with self._lock:
            self._views.pop(name, None)
            self._cubes.pop(name, None)
            self.clear(name)

    def count(self, name: str) -> CellCounts:
        """Return what a view shows now."""
        with self._lock:
            view = self._views[name]
            if view.shown is None or view.shown[0] != self._state:
                view.shown = (self._state, self._count(name, view))
            return view.shown[1]

    def count_all(self) -> None:
        """Count what all views show now, so that `count` and `number_chosen` have it at hand."""
        with self._lock:
            for name in self._views:
                self.count(name)
            _ = self.number_chosen

    def _count(self, name: str, view: _View) -> CellCounts:
        if not self._held:
            return CellCounts(view.counts, view.counts, None if view.weight is None else _mean(view, None))
        prepared = self._count_prepared() if view.weight is None else None
        if prepared is not None and self._cubes[self._last][1].has(name, view.follows.serial):
            found = prepared.views[name]
            return CellCounts(view.counts, view.counts - found if self.inverted else found)
        found = _count_cells(view.follows.numbers, view.binning.cells, self.chosen)
        return CellCounts(view.counts, found, None if view.weight is None else _mean(view, self.chosen))

    # Prepared brushes

    def plan(self, name: str) -> Preparation | None:
        """Return what would make brushes of a view quick; `None` if it is done, or there is no such view.

        The rest may go on in another thread; give what it builds to `adopt`.
        """
        with self._lock:
            view = self._views.get(name)
            if view is None or view.axes[0].size != self.rows or self.rows == 0:
                return None
            key = self._key(name, view.axes)
            views = {n: v.follows for n, v in self._views.items()}
            have = self._cubes.get(name)
            if have and have[0] == key and all(have[1].has(n, v.serial) for n, v in views.items()):
                return None
            mask: Mask | None = None
            for other, held in self._held.items():
                if other != name:
                    mask = held.mark() if mask is None else mask & held.mark()
            return Preparation(name, key, view.axes, mask, views, self._folder)

    def adopt(self, preparation: Preparation, cube: BrushCube) -> None:
        """Use what was prepared, as long as nothing else is brushed or drawn than was when it was planned."""
        with self._lock:
            self._cubes.pop(preparation.name, None)
            self._cubes[preparation.name] = (preparation.key, cube)
            self._counted = (-1, None)
            while len(self._cubes) > _MOST_CUBES:
                self._cubes.pop(next(iter(self._cubes)))

    def is_prepared(self, name: str) -> bool:
        """Tell whether brushes of a view are quick now."""
        with self._lock:
            view, have = self._views.get(name), self._cubes.get(name)
            return view is not None and have is not None and have[0] == self._key(name, view.axes)

    def _key(self, name: str, axes: tuple[Axis, Axis | None]) -> _Key:
        others = tuple((other, held.serial) for other, held in self._held.items() if other != name)
        return (id(axes[0]), id(axes[1]), others)

    def _count_prepared(self) -> CubeCounts | None:
        """Return what the last brush holds, if it is a prepared one."""
        held = self._held.get(self._last)
        if held is None or held.region is None or held.axes is None or not self.is_prepared(self._last):
            return None
        if self._counted[0] != held.serial:
            view = self._views[self._last]
            if held.axes[0] is not view.axes[0] or held.axes[1] is not view.axes[1]:
                return None
            self._counted = (held.serial, self._cubes[self._last][1].count(held.region))
        return self._counted[1]


def _count_cells(numbers: CellNumbers, cells: int, mask: Mask | None) -> NDArray[np.int64]:
    parts = np.zeros((THREADS, cells + 1), np.uint32)
    used = mask if mask is not None else np.empty(0, np.uint8)

    def work(part: int, begin: int, end: int) -> None:
        kernels.count_cells(numbers, used, mask is not None, parts[part], begin, end)

    spread(numbers.size, work)
    return parts.sum(axis=0, dtype=np.int64)[1:]


def _mean(view: _View, mask: Mask | None) -> NDArray[np.float64]:
    assert view.weight is not None
    numbers, weight = view.follows.numbers, view.weight
    total = np.zeros((THREADS, view.binning.cells + 1))
    number = np.zeros((THREADS, view.binning.cells + 1), np.int64)
    used = mask if mask is not None else np.empty(0, np.uint8)

    def work(part: int, begin: int, end: int) -> None:
        kernels.sum_cells(numbers, weight, used, mask is not None, total[part], number[part], begin, end)

    spread(numbers.size, work)
    with np.errstate(invalid="ignore"):
        return (total.sum(axis=0) / number.sum(axis=0))[1:]
