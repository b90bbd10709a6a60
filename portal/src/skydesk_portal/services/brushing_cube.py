"""Prepared brushes: what every view shows of a region of one view, without going through all rows.

The method is that of pre-aggregated indexes (Moritz, Howe and Heer 2019, *Falcon*; Heer and Moritz 2024, *Mosaic*), made
exact: the brushed view is cut into cells; cells inside of a region are counted from tables of all pairs of cells, rows of the
cells on its border one by one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skydesk_portal.services import brushing_cube_kernels as kernels
from skydesk_portal.services.brushing_kernels import sort_cells
from skydesk_portal.services.brushing_regions import (
    THREADS,
    Axis,
    Binning,
    Box,
    Brush,
    CellNumbers,
    Interval,
    Mask,
    axis_scale,
    spread_over,
)
from skydesk_portal.storage.scratch import allocate

__all__ = ["BrushCube", "CubeCounts", "CubeStopped", "ViewCells", "build_cube", "cut_axes"]

_BLOCK_ROWS = 1 << 20
_LINE_CELLS = 4096
_PLANE_CELLS = (256, 128)
_TABLE_CELLS = 1 << 24
"""Counts in the table of one view at most: 64 MiB."""

_FAR_CELLS = 1e6


class CubeStopped(Exception):  # noqa: N818
    """What is prepared is not wanted any more."""


@dataclass(frozen=True)
class ViewCells:
    """A view that follows brushes.

    Parameters
    ----------
    serial
        Which state of the view this is.
    numbers
        Cell of each row, from 1; 0 is outside.
    cells
        How many cells there are.
    """

    serial: int
    numbers: CellNumbers
    cells: int


@dataclass(frozen=True)
class CubeCounts:
    """What a region holds.

    Parameters
    ----------
    rows
        Number of rows inside.
    views
        Rows of each cell of each view, by the view's name.
    """

    rows: int
    views: dict[str, NDArray[np.int64]]


@dataclass(frozen=True)
class _Table:
    serial: int
    numbers: CellNumbers
    counts: NDArray[np.uint32]
    step: tuple[int, int]


def cut_axes(limits_x: tuple[float, float], limits_y: tuple[float, float] | None) -> Binning:
    """Return the cells that the rows of a brushed view are sorted into.

    Parameters
    ----------
    limits_x, limits_y
        Least and greatest value along each axis; ``limits_y`` is `None` on a line.
    """
    if limits_y is None:
        return Binning((*limits_x, _LINE_CELLS))
    return Binning((*limits_x, _PLANE_CELLS[0]), (*limits_y, _PLANE_CELLS[1]))


class BrushCube:
    """Rows of one view sorted into its cells, and for every view a table of pairs of cells.

    Parameters
    ----------
    binning
        Cells of the brushed view.
    axes
        Values along its axes in the order of the blocks; twice the same on a line.
    bases, starts
        Place of each block, and first place of each cell in it.
    tables
        For every view its cells in the same order, and the counts.
    """

    def __init__(
        self,
        binning: Binning,
        axes: tuple[Axis, Axis],
        bases: NDArray[np.int64],
        starts: NDArray[np.uint32],
        tables: dict[str, _Table],
    ) -> None:
        self._binning = binning
        self._axes = axes
        self._bases = bases
        self._starts = starts
        self._tables = tables
        self._rows = _count_cells(starts)

    def has(self, name: str, serial: int) -> bool:
        """Tell whether a view is prepared in its present state."""
        return name in self._tables and self._tables[name].serial == serial

    def count(self, region: Brush) -> CubeCounts | None:
        """Return what a region holds; `None` if it reaches so far that cells do not help.

        Raises
        ------
        UsageError
            If a polygon is none.
        """
        found = _sort_region(region, self._binning)
        if found is None:
            return None
        states, reaches_out = found
        inside, border = _find_runs(states == 1), _find_runs(states == 2)
        if reaches_out:
            border = np.vstack([border, [[0, 1]]])
        rows = int(self._rows[1:][(states == 1).ravel()].sum())
        places = self._mark(region, border)
        rows += sum(part.size for part in places)
        views = {
            name: self._count_view(table, states, inside, places) for name, table in self._tables.items()
        }
        return CubeCounts(rows, views)

    def _mark(self, region: Brush, runs: NDArray[np.int64]) -> list[NDArray[np.uint32]]:
        """Return the places of the rows of some cells that lie in a region, a part for each thread."""
        sizes = kernels.count_rows(self._bases, self._starts, runs)
        parts: list[NDArray[np.uint32]] = [np.empty(0, np.uint32)] * THREADS
        kernel: Any
        test: tuple[Any, ...]
        if isinstance(region, Interval | Box):
            y0, y1 = (-np.inf, np.inf) if isinstance(region, Interval) else sorted((region.y0, region.y1))
            x0, x1 = sorted((region.x0, region.x1)) if isinstance(region, Box) else (region.low, region.high)
            kernel, test = kernels.mark_rectangle_runs, ((float(x0), float(x1), float(y0), float(y1)),)
        else:
            prepared = region.prepare()
            if prepared is None:
                return parts
            kernel, test = kernels.mark_polygon_runs, prepared
        where = self._bases, self._starts, runs

        def work(part: int, begin: int, end: int) -> None:
            out = np.empty(int(sizes[begin:end].sum()), np.uint32)
            parts[part] = out[: kernel(*self._axes, *test, *where, out, begin, end)]

        spread_over(self._bases.size, work)
        return parts

    def _count_view(
        self,
        table: _Table,
        states: NDArray[np.uint8],
        inside: NDArray[np.int64],
        places: list[NDArray[np.uint32]],
    ) -> NDArray[np.int64]:
        fx, fy = table.step
        ny, nx = states.shape
        whole = (states == 1).reshape(ny // fy, fy, nx // fx, fx).all(axis=(1, 3))
        rest = inside
        if table.step != (1, 1):
            fine = np.repeat(np.repeat(whole, fy, axis=0), fx, axis=1)
            rest = _find_runs((states == 1) & ~fine)
        out = np.zeros((THREADS + 1, table.counts.shape[1]), np.int64)
        kernels.add_whole(whole, table.counts, out[THREADS])
        direct = table.step != (1, 1) and rest.size > 0

        def work(part: int, begin: int, end: int) -> None:
            if direct:
                kernels.count_runs(table.numbers, self._bases, self._starts, rest, out[part], begin, end)
            kernels.count_marked(table.numbers, places[part], out[part], 0, places[part].size)

        spread_over(self._bases.size, work)
        return out.sum(axis=0)[1:]


def build_cube(
    binning: Binning,
    x: Axis,
    y: Axis | None,
    mask: Mask | None,
    views: Mapping[str, ViewCells],
    folder: Path | None,
    on_progress: Callable[[float], bool],
) -> BrushCube:
    """Sort the rows of a view into its cells and count all pairs of cells.

    Parameters
    ----------
    binning
        Cells of the brushed view, see `cut_axes`.
    x, y
        Its axes; ``y`` is `None` on a line.
    mask
        Rows that the other brushes hold; `None` for all.
    views
        The views that follow.
    folder
        Where what is large lies; `None` for memory.
    on_progress
        Told the part that is done, from 0 to 1; answers whether to go on.

    Raises
    ------
    CubeStopped
        If it was told not to go on.
    OSError
        If the disk has no room.
    """
    rows, is_line = x.size, y is None
    blocks = max(math.ceil(rows / _BLOCK_ROWS), 1)
    axes = [allocate((rows,), np.float64, folder) for _ in range(1 if is_line else 2)]
    starts = np.zeros((blocks, binning.cells + 2), np.uint32)
    bases = np.zeros(blocks, np.int64)
    made = {name: _begin_table(view, binning, rows, folder) for name, view in views.items()}
    number, order = np.empty(_BLOCK_ROWS, np.int32), np.empty(_BLOCK_ROWS, np.uint32)
    used = np.empty(0, np.uint8) if mask is None else mask
    frame = _frames(binning)
    place = 0
    for block in range(blocks):
        if not on_progress(block / blocks):
            raise CubeStopped
        begin, end = block * _BLOCK_ROWS, min((block + 1) * _BLOCK_ROWS, rows)
        first = starts[block]
        kept = int(
            kernels.sort_block(
                x, x if y is None else y, used, mask is not None, begin, end, *frame, number, order, first
            )
        )
        for values, out in zip((x,) if y is None else (x, y), axes, strict=True):
            kernels.take_block(values, begin, order, kept, out[place : place + kept])
        for name, view in views.items():
            table, coarse = made[name]
            target = table.numbers[place : place + kept]
            kernels.count_block(view.numbers, begin, order, first, coarse, table.counts, target)
        bases[block] = place
        place += kept
    for table, _ in made.values():
        fx, fy = table.step
        kernels.sum_steps(table.counts, _shape(binning)[0] // fy, _shape(binning)[1] // fx)
    on_progress(1.0)
    return BrushCube(
        binning, (axes[0], axes[-1]), bases, starts, {name: table for name, (table, _) in made.items()}
    )


def _shape(binning: Binning) -> tuple[int, int]:
    return (binning.y[2] if binning.y else 1), binning.x[2]


def _frames(binning: Binning) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    low_x, scale_x, nx = axis_scale(binning.x)
    if binning.y is None:
        return (low_x, scale_x, float(nx)), (0.0, 0.0, 1.0)
    low_y, scale_y, ny = axis_scale(binning.y)
    return (low_x, scale_x, float(nx)), (low_y, scale_y, float(ny))


def _begin_table(
    view: ViewCells, binning: Binning, rows: int, folder: Path | None
) -> tuple[_Table, NDArray[np.int32]]:
    ny, nx = _shape(binning)
    fx = fy = 1
    while (nx // fx) * (ny // fy) * (view.cells + 1) > _TABLE_CELLS and fx * fy < nx * ny:
        if fy < ny and (fy < fx or fx >= nx):
            fy *= 2
        else:
            fx *= 2
    lines, columns = np.divmod(np.arange(nx * ny), nx)
    coarse = (lines // fy * (nx // fx) + columns // fx).astype(np.int32)
    counts = allocate(((nx // fx) * (ny // fy), view.cells + 1), np.uint32, folder)
    return _Table(view.serial, allocate((rows,), view.numbers.dtype, folder), counts, (fx, fy)), coarse


def _count_cells(starts: NDArray[np.uint32]) -> NDArray[np.int64]:
    found = starts.astype(np.int64)
    return np.asarray((found[:, 1:] - found[:, :-1]).sum(axis=0), np.int64)


def _find_runs(wanted: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the runs of cells that lie next to each other, counted from 1: first cell and the one after the last."""
    flat = np.concatenate([[False], wanted.ravel(), [False]])
    return (np.flatnonzero(flat[1:] != flat[:-1]) + 1).astype(np.int64).reshape(-1, 2)


def _sort_region(region: Brush, binning: Binning) -> tuple[NDArray[np.uint8], bool] | None:
    """Return for each cell whether it is outside (0), inside (1) or on the border (2); and if the region reaches beyond."""
    ny, nx = _shape(binning)
    frame_x, frame_y = _frames(binning)
    if isinstance(region, Interval):
        columns, out = _sort_axis(region.low, region.high, frame_x)
        return columns.reshape(1, nx), out
    if isinstance(region, Box):
        columns, out_x = _sort_axis(min(region.x0, region.x1), max(region.x0, region.x1), frame_x)
        lines, out_y = _sort_axis(min(region.y0, region.y1), max(region.y0, region.y1), frame_y)
        both = np.maximum(lines[:, None], columns[None, :])
        return np.where((lines[:, None] == 0) | (columns[None, :] == 0), np.uint8(0), both), out_x or out_y
    corners = np.array(region.vertices, float).reshape(-1, 2)
    low = np.array([frame_x[0], frame_y[0]])
    at = (corners - low) * [frame_x[1], frame_y[1]]
    if not (np.abs(at) < _FAR_CELLS).all():
        return None
    states = np.zeros((ny, nx), np.uint8)
    prepared = region.prepare()
    if prepared is not None:
        sort_cells(*prepared[0], states, (frame_x[0], frame_x[1], frame_y[0], frame_y[1]))
    return states, bool((at < 0).any() or (at > [nx, ny]).any())


def _sort_axis(low: float, high: float, frame: tuple[float, float, float]) -> tuple[NDArray[np.uint8], bool]:
    """Sort the cells of an axis by an interval; a cell further on holds greater values, whatever was rounded."""
    begin, scale, count = frame
    cells = int(count)
    if not low <= high:
        return np.zeros(cells, np.uint8), False
    first, last = (
        -1 if at < 0 else cells if at > count else min(int(at), cells - 1)
        for at in ((low - begin) * scale, (high - begin) * scale)
    )
    out = np.zeros(cells, np.uint8)
    out[max(first + 1, 0) : max(last, 0)] = 1
    for border in (first, last):
        if 0 <= border < cells and first <= last:
            out[border] = 2
    return out, first < 0 or last >= cells
