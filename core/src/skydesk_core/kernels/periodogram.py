"""Sums behind periodograms: sinusoids at evenly spaced frequencies, boxes in folded light curves."""

from __future__ import annotations

import math

import numba
import numpy as np

__all__ = ["SUMS", "fit_boxes", "sum_sinusoids"]

SUMS = 6
"""Sums of each band and frequency: w·cos, w·sin, w·y·cos, w·y·sin, w·cos², w·cos·sin."""

_BLOCK = 128
_TILE = 256


@numba.njit(
    "void(f8[:], f8[:], f8[:], i8[:], f8, f8, f8[:, :, :])",
    cache=True,
    parallel=True,
    # Sums may be reordered, which lets them be vectorised; infinities and NaN are kept out by the caller.
    fastmath={"reassoc", "contract", "nsz", "arcp"},
)
def sum_sinusoids(
    time_day: np.ndarray,
    weights: np.ndarray,
    weighted: np.ndarray,
    starts: np.ndarray,
    first_per_day: float,
    step_per_day: float,
    out: np.ndarray,
) -> None:
    """Sum sinusoids over the points of each band at evenly spaced frequencies.

    A sine and a cosine are evaluated once per point and block of frequencies; within a block they are turned from
    one frequency to the next, which keeps twelve digits.

    Parameters
    ----------
    time_day
        Times, sorted by band.
    weights, weighted
        Weight of each point, and weight times value.
    starts
        Index of the first point of each band, and the number of points at the end.
    first_per_day, step_per_day
        First frequency and step.
    out
        Shape (bands, 6, frequencies), filled with `SUMS`.
    """
    count = out.shape[2]
    blocks = (count + _BLOCK - 1) // _BLOCK
    for block in numba.prange(blocks):
        begin = block * _BLOCK
        size = min(_BLOCK, count - begin)
        c, s, dc, ds = np.empty(_TILE), np.empty(_TILE), np.empty(_TILE), np.empty(_TILE)
        w, wy = np.empty(_TILE), np.empty(_TILE)
        for band in range(starts.size - 1):
            for q in range(SUMS):
                for j in range(size):
                    out[band, q, begin + j] = 0.0
            for low in range(starts[band], starts[band + 1], _TILE):
                n = min(_TILE, starts[band + 1] - low)
                for i in range(n):
                    t = time_day[low + i]
                    phase, turn = (first_per_day + begin * step_per_day) * t, step_per_day * t
                    phase, turn = (
                        2 * math.pi * (phase - math.floor(phase)),
                        2 * math.pi * (turn - math.floor(turn)),
                    )
                    c[i], s[i] = math.cos(phase), math.sin(phase)
                    dc[i], ds[i] = math.cos(turn), math.sin(turn)
                    w[i], wy[i] = weights[low + i], weighted[low + i]
                for j in range(size):
                    wc, ws, yc, ys, cc, cs = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
                    for i in range(n):
                        a, b = c[i], s[i]
                        wa = w[i] * a
                        wc += wa
                        ws += w[i] * b
                        yc += wy[i] * a
                        ys += wy[i] * b
                        cc += wa * a
                        cs += wa * b
                        c[i] = a * dc[i] - b * ds[i]
                        s[i] = b * dc[i] + a * ds[i]
                    at = begin + j
                    out[band, 0, at] += wc
                    out[band, 1, at] += ws
                    out[band, 2, at] += yc
                    out[band, 3, at] += ys
                    out[band, 4, at] += cc
                    out[band, 5, at] += cs


@numba.njit("void(f8[:], f8[:], f8[:], f8[:], f8[:], i8, f8[:, :])", cache=True, parallel=True)
def fit_boxes(
    time_day: np.ndarray,
    weights: np.ndarray,
    weighted: np.ndarray,
    period_day: np.ndarray,
    duration_day: np.ndarray,
    oversample: int,
    out: np.ndarray,
) -> None:
    """Find the deepest significant box of each period.

    Parameters
    ----------
    time_day
        Times from 0.
    weights, weighted
        Weight of each point, and weight times value; the weighted mean of the values is 0 and the weights sum to 1.
    period_day
        Periods to try.
    duration_day
        Durations to try, shortest first.
    oversample
        Bins in the shortest duration.
    out
        Shape (periods, 4), filled with the gain in weighted variance, the depth, the duration in days, and the middle
        of the box in days after time 0.
    """
    n = time_day.size
    width_day = duration_day[0] / oversample
    for k in numba.prange(period_day.size):
        period = period_day[k]
        bins = max(int(math.ceil(period / width_day)), 2)
        step = period / bins
        w, y = np.zeros(bins + 1), np.zeros(bins + 1)
        for i in range(n):
            phase = time_day[i] / period
            at = min(int((phase - math.floor(phase)) * bins), bins - 1)
            w[at + 1] += weights[i]
            y[at + 1] += weighted[i]
        for j in range(bins):
            w[j + 1] += w[j]
            y[j + 1] += y[j]
        best = 0.0
        for q in range(4):
            out[k, q] = 0.0
        for d in range(duration_day.size):
            span = int(round(duration_day[d] / step))
            if span < 1 or 2 * span > bins:
                continue
            for j in range(bins):
                end = j + span
                if end <= bins:
                    r, s = w[end] - w[j], y[end] - y[j]
                else:
                    r, s = w[bins] - w[j] + w[end - bins], y[bins] - y[j] + y[end - bins]
                rest = 1.0 - r
                if s < 0.0 and r > 1e-12 and rest > 1e-12:
                    gain = s * s / (r * rest)
                    if gain > best:
                        best = gain
                        out[k, 0], out[k, 1] = gain, -s / (r * rest)
                        out[k, 2], out[k, 3] = span * step, (j + 0.5 * span) * step
