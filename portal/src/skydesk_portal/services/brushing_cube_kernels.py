"""Compiled loops of prepared brushes: rows sorted into cells block by block, and counts of what a region holds.

A block holds rows that lie next to each other in the result; within it they are sorted by their cell, so that the rows
of a few cells are a few runs in each block. Every kernel releases the interpreter.
"""

from __future__ import annotations

import numba
import numpy as np

from skydesk_portal.services.brushing_kernels import is_inside

__all__ = [
    "add_whole",
    "count_block",
    "count_marked",
    "count_rows",
    "count_runs",
    "mark_polygon_runs",
    "mark_rectangle_runs",
    "sort_block",
    "sum_steps",
    "take_block",
]


@numba.njit(nogil=True, cache=True)
def sort_block(x, y, mask, use_mask, begin, end, axis_x, axis_y, number, order, starts):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Sort the rows of a block by their cell; rows without a value or outside of the mask are left out.

    Parameters
    ----------
    x, y
        All rows.
    mask, use_mask
        0 or 1 for each row, and whether it counts.
    begin, end
        The block.
    axis_x, axis_y
        Lower end, cells per unit and number of cells of each axis, as floats.
    number
        Room for the cell of each row of a block.
    order
        Filled with the places of the rows in the block, sorted.
    starts
        Filled with the first sorted place of each cell, from 0 for rows outside of all cells; shape ``(cells + 2,)``.

    Returns
    -------
    int
        How many rows are kept.
    """
    low_x, scale_x, nx = axis_x
    low_y, scale_y, ny = axis_y
    columns, lines = int(nx), int(ny)
    starts[:] = 0
    for i in range(begin, end):
        cell = -1
        if not (use_mask and mask[i] == 0) and x[i] == x[i] and y[i] == y[i]:
            at_x, at_y = (x[i] - low_x) * scale_x, (y[i] - low_y) * scale_y
            cell = 0
            if at_x >= 0.0 and at_y >= 0.0 and at_x <= nx and at_y <= ny:
                cell = min(int(at_y), lines - 1) * columns + min(int(at_x), columns - 1) + 1
            starts[cell + 1] += 1
        number[i - begin] = cell
    for cell in range(1, starts.size):
        starts[cell] += starts[cell - 1]
    kept = starts[starts.size - 1]
    for i in range(end - begin):
        cell = number[i]
        if cell >= 0:
            order[starts[cell]] = i
            starts[cell] += 1
    for cell in range(starts.size - 1, 0, -1):
        starts[cell] = starts[cell - 1]
    starts[0] = 0
    return kept


@numba.njit(nogil=True, cache=True)
def take_block(values, begin, order, kept, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Put the values of a block into its order."""
    for k in range(kept):
        out[k] = values[begin + order[k]]


@numba.njit(nogil=True, cache=True)
def count_block(numbers, begin, order, starts, coarse, table, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Put the cells of a view into a block's order, and count them by the coarse cell of the brushed view.

    Parameters
    ----------
    numbers
        Cell of each row in the view, from 1; 0 is outside.
    begin, order, starts
        The block.
    coarse
        Row of the table for each cell of the brushed view.
    table
        Counts; shape ``(coarse cells, cells of the view + 1)``.
    out
        Filled with the cells in the block's order.
    """
    for k in range(starts[1]):
        out[k] = numbers[begin + order[k]]
    for cell in range(coarse.size):
        line = coarse[cell]
        for k in range(starts[cell + 1], starts[cell + 2]):
            found = numbers[begin + order[k]]
            out[k] = found
            table[line, found] += 1


@numba.njit(nogil=True, cache=True)
def sum_steps(table, lines, columns):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Turn the counts of coarse cells into those of all cells up to each along a line; in place."""
    for line in range(lines):
        for column in range(1, columns):
            at = line * columns + column
            for cell in range(table.shape[1]):
                table[at, cell] += table[at - 1, cell]


@numba.njit(nogil=True, cache=True)
def add_whole(whole, table, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Add the counts of coarse cells that lie inside as a whole.

    Parameters
    ----------
    whole
        Which coarse cells do; shape ``(lines, columns)``.
    table
        What `sum_steps` made.
    out
        Counts; shape ``(cells of the view + 1,)``.
    """
    lines, columns = whole.shape
    for line in range(lines):
        column = 0
        while column < columns:
            if not whole[line, column]:
                column += 1
                continue
            first = column
            while column < columns and whole[line, column]:
                column += 1
            last = line * columns + column - 1
            for cell in range(out.size):
                out[cell] += table[last, cell]
            if first > 0:
                before = line * columns + first - 1
                for cell in range(out.size):
                    out[cell] -= table[before, cell]


@numba.njit(nogil=True, cache=True)
def count_runs(numbers, bases, starts, runs, out, first_block, last_block):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Count the cells of a view among the rows of some cells of the brushed view.

    Parameters
    ----------
    numbers
        Cells in the order of the blocks.
    bases, starts
        Place of each block, and first place of each cell in it.
    runs
        First cell and the one after the last, of each run; counted as in ``starts``.
    out
        Counts; shape ``(cells of the view + 1,)``.
    first_block, last_block
        Blocks to look at.
    """
    for block in range(first_block, last_block):
        for run in range(runs.shape[0]):
            begin = bases[block] + starts[block, runs[run, 0]]
            end = bases[block] + starts[block, runs[run, 1]]
            for k in range(begin, end):
                out[numbers[k]] += 1


@numba.njit(nogil=True, cache=True)
def count_marked(numbers, places, out, begin, end):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Count the cells of a view at some places."""
    for k in range(begin, end):
        out[numbers[places[k]]] += 1


@numba.njit(nogil=True, cache=True)
def mark_rectangle_runs(x, y, limits, bases, starts, runs, places, first_block, last_block):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Find the rows of some cells that lie in a rectangle.

    Parameters
    ----------
    x, y
        Rows in the order of the blocks.
    limits
        x0, x1, y0, y1; the border belongs to it.
    bases, starts, runs, first_block, last_block
        See `count_runs`.
    places
        Filled with the places of the rows inside.

    Returns
    -------
    int
        How many there are.
    """
    x0, x1, y0, y1 = limits
    found = 0
    for block in range(first_block, last_block):
        for run in range(runs.shape[0]):
            begin = bases[block] + starts[block, runs[run, 0]]
            end = bases[block] + starts[block, runs[run, 1]]
            for k in range(begin, end):
                places[found] = k
                found += int((x[k] >= x0) & (x[k] <= x1) & (y[k] >= y0) & (y[k] <= y1))
    return found


@numba.njit(nogil=True, cache=True)
def mark_polygon_runs(x, y, shape, grid, frame, bases, starts, runs, places, first_block, last_block):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Find the rows of some cells that lie in a polygon; see `mark_rectangle_runs` and `mark_polygon`."""
    edges, levels, firsts, members = shape
    lines, columns = grid.shape
    low_x, scale_x, low_y, scale_y = frame
    found = 0
    for block in range(first_block, last_block):
        for run in range(runs.shape[0]):
            begin = bases[block] + starts[block, runs[run, 0]]
            end = bases[block] + starts[block, runs[run, 1]]
            for k in range(begin, end):
                at_x, at_y = (x[k] - low_x) * scale_x, (y[k] - low_y) * scale_y
                if at_x >= -1.0 and at_y >= -1.0 and at_x <= columns + 1.0 and at_y <= lines + 1.0:
                    state = grid[min(max(int(at_y), 0), lines - 1), min(max(int(at_x), 0), columns - 1)]
                    if state == 2:
                        state = np.uint8(is_inside(x[k], y[k], edges, levels, firsts, members))
                    if state == 1:
                        places[found] = k
                        found += 1
    return found


@numba.njit(nogil=True, cache=True)
def count_rows(bases, starts, runs):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Count the rows of some cells, in each block."""
    out = np.zeros(bases.size, np.int64)
    for block in range(bases.size):
        for run in range(runs.shape[0]):
            out[block] += np.int64(starts[block, runs[run, 1]]) - np.int64(starts[block, runs[run, 0]])
    return out
