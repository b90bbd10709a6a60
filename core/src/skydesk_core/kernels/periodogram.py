"""Periodograms: sinusoids at evenly spaced frequencies, boxes in folded light curves."""

from __future__ import annotations

import math

import numba
import numpy as np

__all__ = ["compute_spectrum", "fit_boxes"]

_SUMS = 6
"""Sums of each band and frequency: w·cos, w·sin, w·y·cos, w·y·sin, w·cos², w·cos·sin."""

_BLOCK = 512
_TILE = 512

# Sums may be reordered, which lets them be vectorised; infinities and NaN are kept out by the caller.
_FAST = {"reassoc", "contract", "nsz", "arcp"}


@numba.njit(cache=True, fastmath=_FAST, inline="always")
def _sum_tile(
    c: np.ndarray,
    s: np.ndarray,
    dc: np.ndarray,
    ds: np.ndarray,
    w: np.ndarray,
    wy: np.ndarray,
    sums: np.ndarray,
) -> None:
    """Add the sums of some points at the frequencies of a block; ``c`` and ``s`` are turned from one to the next."""
    for j in range(sums.shape[1]):
        wc, ws, yc, ys, cc, cs = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        for i in range(c.size):
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
        sums[0, j] += wc
        sums[1, j] += ws
        sums[2, j] += yc
        sums[3, j] += ys
        sums[4, j] += cc
        sums[5, j] += cs


@numba.njit(cache=True, fastmath=_FAST, inline="always")
def _add_band(sums: np.ndarray, total: float, out: np.ndarray) -> None:
    """Add the sums of a band, whose weights sum to ``total``, to those of all bands, less its own mean."""
    for j in range(sums.shape[1]):
        wc, ws, cc = sums[0, j], sums[1, j], sums[4, j]
        out[0, j] += wc
        out[1, j] += ws
        out[2, j] += sums[2, j]
        out[3, j] += sums[3, j]
        out[4, j] += cc - wc * wc / total
        out[5, j] += total - cc - ws * ws / total
        out[6, j] += sums[5, j] - wc * ws / total


@numba.njit(
    "void(f8[::1], f8[::1], f8[::1], i8[::1], f8, f8, f8[::1], f8[::1])",
    cache=True,
    parallel=True,
    fastmath=_FAST,
)
def compute_spectrum(
    time_day: np.ndarray,
    weights: np.ndarray,
    weighted: np.ndarray,
    starts: np.ndarray,
    first_per_day: float,
    step_per_day: float,
    power: np.ndarray,
    window: np.ndarray,
) -> None:
    """Compute the variance that a sinusoid shared by all bands explains, and the window, at evenly spaced frequencies.

    A sine and a cosine are evaluated once per point and block of frequencies; within a block they are turned from
    one frequency to the next, which keeps twelve digits.

    Parameters
    ----------
    time_day
        Times, sorted by band.
    weights, weighted
        Weight of each point, and weight times value; the weighted mean of each band's values is 0.
    starts
        Index of the first point of each band, and the number of points at the end.
    first_per_day, step_per_day
        First frequency and step.
    power
        Shape (frequencies,), filled with the explained variance; 0 where the frequency cannot be told from none.
    window
        Shape (frequencies,), filled with |Σ w exp(2πi f t)|².
    """
    points, count = time_day.size, power.size
    dc, ds = np.empty(points), np.empty(points)
    for i in range(points):
        turn = step_per_day * time_day[i]
        turn = 2 * math.pi * (turn - math.floor(turn))
        dc[i], ds[i] = math.cos(turn), math.sin(turn)
    for block in numba.prange((count + _BLOCK - 1) // _BLOCK):
        begin = block * _BLOCK
        size = min(_BLOCK, count - begin)
        c, s = np.empty(_TILE), np.empty(_TILE)
        sums, out = np.empty((_SUMS, size)), np.zeros((_SUMS + 1, size))
        for band in range(starts.size - 1):
            sums[:] = 0.0
            for low in range(starts[band], starts[band + 1], _TILE):
                high = min(low + _TILE, starts[band + 1])
                n = high - low
                for i in range(n):
                    phase = (first_per_day + begin * step_per_day) * time_day[low + i]
                    phase = 2 * math.pi * (phase - math.floor(phase))
                    c[i], s[i] = math.cos(phase), math.sin(phase)
                _sum_tile(
                    c[:n], s[:n], dc[low:high], ds[low:high], weights[low:high], weighted[low:high], sums
                )
            _add_band(sums, weights[starts[band] : starts[band + 1]].sum(), out)
        for j in range(size):
            yc, ys, cc, ss, cs = out[2, j], out[3, j], out[4, j], out[5, j], out[6, j]
            determinant = cc * ss - cs * cs
            gain = yc * yc * ss + ys * ys * cc - 2 * yc * ys * cs
            power[begin + j] = gain / determinant if determinant > 1e-10 else 0.0
            window[begin + j] = out[0, j] * out[0, j] + out[1, j] * out[1, j]


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
