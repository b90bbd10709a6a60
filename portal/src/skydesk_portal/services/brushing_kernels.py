"""Compiled loops of brushing: which rows lie in a region, in which cell each row lies, how many rows each cell has.

Every kernel works on the rows ``begin`` to ``end`` and releases the interpreter, so that threads share one array.
Numbers that are not finite lie nowhere.
"""

from __future__ import annotations

import numba
import numpy as np

__all__ = [
    "bin_line",
    "bin_plane",
    "count_cells",
    "find_limits",
    "find_nearest",
    "is_inside",
    "mark_polygon",
    "mark_range",
    "mark_rectangle",
    "sort_cells",
    "sum_cells",
]

_SPLIT = 134217729.0
"""2^27 + 1: splits a double into two halves whose products are exact (Dekker 1971)."""

_BOUND = 3.3306690738754716e-16
"""Shewchuk 1997, ``ccwerrboundA``: relative error below which the sign of an orientation needs a closer look."""


@numba.njit(nogil=True, cache=True)
def mark_range(x, low, high, out, begin, end):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Mark the rows with ``low <= x <= high``."""
    for i in range(begin, end):
        out[i] = np.uint8(x[i] >= low and x[i] <= high)


@numba.njit(nogil=True, cache=True)
def mark_rectangle(x, y, x0, x1, y0, y1, out, begin, end):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Mark the rows with ``x0 <= x <= x1`` and ``y0 <= y <= y1``."""
    for i in range(begin, end):
        out[i] = np.uint8((x[i] >= x0) & (x[i] <= x1) & (y[i] >= y0) & (y[i] <= y1))


@numba.njit(nogil=True, cache=True)
def _two_product(a, b):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Return a·b and its rounding error, both exact."""
    product = a * b
    c = _SPLIT * a
    high_a = c - (c - a)
    low_a = a - high_a
    c = _SPLIT * b
    high_b = c - (c - b)
    low_b = b - high_b
    return product, low_a * low_b - (((product - high_a * high_b) - low_a * high_b) - high_a * low_b)


@numba.njit(nogil=True, cache=True)
def _two_sum(a, b):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


@numba.njit(nogil=True, cache=True)
def _is_left(ax, ay, bx, by, px, py):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Tell whether p lies to the left of the line from a to b, without any rounding.

    The determinant ax·by − ay·bx + ay·px − ax·py + bx·py − by·px is formed in doubles where that decides its sign,
    else as an exact sum of twelve doubles.
    """
    left = (ax - px) * (by - py)
    right = (ay - py) * (bx - px)
    det = left - right
    if abs(det) > _BOUND * (abs(left) + abs(right)):
        return det > 0.0
    terms = np.empty(12)
    factors = ((ax, by), (-ay, bx), (ay, px), (-ax, py), (bx, py), (-by, px))
    for n in range(6):
        terms[2 * n], terms[2 * n + 1] = _two_product(factors[n][0], factors[n][1])
    # Distillation: sums of neighbours are exchanged for sum and error until nothing changes any more.
    for _ in range(12):
        changed = False
        for n in range(11):
            total, error = _two_sum(terms[n], terms[n + 1])
            if error != terms[n] or total != terms[n + 1]:
                changed = True
            terms[n], terms[n + 1] = error, total
        if not changed:
            break
    return terms.sum() > 0.0 if terms[11] == 0.0 else terms[11] > 0.0


@numba.njit(nogil=True, cache=True)
def is_inside(px, py, edges, levels, starts, members):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Tell whether a position lies inside by the even-odd rule; only the edges of its slab are looked at."""
    last = levels.size - 1
    if not (py >= levels[0] and py < levels[last]):
        return False
    low, high = 0, last
    while high - low > 1:
        middle = (low + high) // 2
        if py >= levels[middle]:
            low = middle
        else:
            high = middle
    inside = False
    for k in range(starts[low], starts[low + 1]):
        e = members[k]
        x0, x1 = edges[e, 0], edges[e, 2]
        if (px < x0 and px < x1) or (
            (px <= x0 or px <= x1) and _is_left(x0, edges[e, 1], x1, edges[e, 3], px, py)
        ):
            inside = not inside
    return inside


@numba.njit(nogil=True, cache=True)
def sort_cells(edges, levels, starts, members, grid, frame):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Sort the cells of a grid over a polygon: outside (0), inside (1), or near an edge (2).

    Parameters
    ----------
    edges, levels, starts, members
        See `mark_polygon`.
    grid
        Filled; shape ``(rows, columns)``.
    frame
        Least x, cells per unit of x, least y, cells per unit of y.
    """
    rows, columns = grid.shape
    low_x, scale_x, low_y, scale_y = frame
    for e in range(edges.shape[0]):
        x0, y0 = (edges[e, 0] - low_x) * scale_x, (edges[e, 1] - low_y) * scale_y
        x1, y1 = (edges[e, 2] - low_x) * scale_x, (edges[e, 3] - low_y) * scale_y
        slope = (x1 - x0) / (y1 - y0) if y1 > y0 else 0.0
        # One cell more on each side: no rounding of a position can then make it miss an edge.
        for row in range(max(int(y0) - 1, 0), min(int(y1) + 2, rows)):
            a = x0 + slope * (min(max(row - 1.0, y0), y1) - y0)
            b = x0 + slope * (min(max(row + 2.0, y0), y1) - y0)
            if y1 <= y0:
                a, b = x0, x1
            for column in range(max(int(min(a, b)) - 1, 0), min(int(max(a, b)) + 2, columns)):
                grid[row, column] = 2
    for row in range(rows):
        # No edge passes between neighbours that are not near one: they are on the same side.
        last = np.uint8(2)
        for column in range(columns):
            if grid[row, column] != 2:
                if last == 2:
                    px, py = (column + 0.5) / scale_x + low_x, (row + 0.5) / scale_y + low_y
                    last = np.uint8(is_inside(px, py, edges, levels, starts, members))
                grid[row, column] = last
            else:
                last = np.uint8(2)


@numba.njit(nogil=True, cache=True)
def mark_polygon(x, y, edges, levels, starts, members, grid, frame, out, begin, end):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Mark the rows inside a polygon by the even-odd rule.

    Parameters
    ----------
    x, y
        Rows.
    edges
        Lower end and upper end of each edge that is not horizontal; shape ``(n, 4)``: x0, y0, x1, y1 with y0 < y1.
    levels
        The vertices' ordinates, ascending, each once; shape ``(m,)``.
    starts, members
        Edges of slab k, which lies between the levels k and k + 1: ``members[starts[k]:starts[k + 1]]``.
    grid, frame
        See `sort_cells`; only rows in cells near an edge need a closer look.
    out
        0 or 1 for each row.
    begin, end
        Rows to look at.
    """
    rows, columns = grid.shape
    low_x, scale_x, low_y, scale_y = frame
    for i in range(begin, end):
        at_x, at_y = (x[i] - low_x) * scale_x, (y[i] - low_y) * scale_y
        if at_x >= -1.0 and at_y >= -1.0 and at_x <= columns + 1.0 and at_y <= rows + 1.0:
            state = grid[min(max(int(at_y), 0), rows - 1), min(max(int(at_x), 0), columns - 1)]
            if state == 2:
                state = np.uint8(is_inside(x[i], y[i], edges, levels, starts, members))
            out[i] = state
        else:
            out[i] = 0


@numba.njit(nogil=True, cache=True)
def bin_line(x, low, scale, count, out, begin, end):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Number the cell of each row on a line, from 1; 0 is outside. The last cell holds its upper end."""
    for i in range(begin, end):
        at = (x[i] - low) * scale
        if at >= 0.0 and at <= count:
            out[i] = min(int(at), count - 1) + 1
        else:
            out[i] = 0


@numba.njit(nogil=True, cache=True)
def bin_plane(x, y, low_x, scale_x, nx, low_y, scale_y, ny, out, begin, end):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Number the cell of each row in a plane, from 1, row by row from below; 0 is outside."""
    for i in range(begin, end):
        at_x, at_y = (x[i] - low_x) * scale_x, (y[i] - low_y) * scale_y
        if at_x >= 0.0 and at_x <= nx and at_y >= 0.0 and at_y <= ny:
            out[i] = min(int(at_y), ny - 1) * nx + min(int(at_x), nx - 1) + 1
        else:
            out[i] = 0


@numba.njit(nogil=True, cache=True)
def count_cells(cells, mask, use_mask, out, begin, end):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Add the rows of each cell, those of the mask alone if wanted."""
    if use_mask:
        for i in range(begin, end):
            out[cells[i]] += mask[i]
    else:
        for i in range(begin, end):
            out[cells[i]] += 1


@numba.njit(nogil=True, cache=True)
def sum_cells(cells, values, mask, use_mask, total, number, begin, end):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Add the finite values of each cell, and count them."""
    for i in range(begin, end):
        value = values[i]
        if np.isfinite(value) and (not use_mask or mask[i] != 0):
            total[cells[i]] += value
            number[cells[i]] += 1


@numba.njit(nogil=True, cache=True)
def find_limits(x, begin, end):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Return the least and the greatest finite value and how many there are; infinities without any."""
    low, high, count = np.inf, -np.inf, 0
    for i in range(begin, end):
        value = x[i]
        if np.isfinite(value):
            low, high, count = min(low, value), max(high, value), count + 1
    return low, high, count


@numba.njit(nogil=True, cache=True)
def find_nearest(x, y, at_x, at_y, scale_x, scale_y, begin, end):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Return the nearest row to a position, and its squared distance in scaled units; -1 without any."""
    best, found = np.inf, -1
    for i in range(begin, end):
        distance = ((x[i] - at_x) * scale_x) ** 2 + ((y[i] - at_y) * scale_y) ** 2
        if distance < best:
            best, found = distance, i
    return found, best
