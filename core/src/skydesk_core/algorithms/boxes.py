"""Transits and eclipses in light curves: box least squares."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from skydesk_core.algorithms.periods import (
    Peak,
    PeriodSearch,
    Series,
    compute_power,
    describe_alias,
    find_peaks,
)
from skydesk_core.errors import UsageError
from skydesk_core.kernels.periodogram import fit_boxes

__all__ = ["compute_box_power", "search_boxes"]

type FloatArray = NDArray[np.float64]

_BINS = 5
_MAX_EVALUATIONS = 2_000_000_000
_PEAKS = 10
_DURATIONS = 6


def compute_box_power(series: Series, period_day: FloatArray, duration_day: FloatArray) -> FloatArray:
    """Find the best box of each period.

    Parameters
    ----------
    series
        The points; for several bands as relative fluxes, so that a dip is as deep in all.
    period_day
        Periods to try, shape (n,).
    duration_day
        Durations to try, shortest first; those longer than half a period are left out for it.

    Returns
    -------
    numpy.ndarray
        Shape (n, 4): share of the weighted variance that the box explains (0 to 1; the signal residue of Kovács et al.
        2002, A&A 391, 369, squared and normalised), depth below the level outside, duration in days, and the middle of
        a box in days after the first point. Only dips count.
    """
    out = np.empty((period_day.size, 4))
    w, y = series.weights, series.values
    weighted = w * y
    fit_boxes(
        series.time_day,
        w,
        weighted,
        np.ascontiguousarray(period_day, np.float64),
        np.sort(np.asarray(duration_day, np.float64)),
        _BINS,
        out,
    )
    out[:, 0] /= w @ (y * y)
    return out


def search_boxes(
    series: Series,
    shortest_day: float | None = None,
    longest_day: float | None = None,
    durations_day: tuple[float, float] | None = None,
) -> PeriodSearch:
    """Search a light curve for dips that repeat.

    Parameters
    ----------
    series
        Relative fluxes.
    shortest_day
        Shortest period; by default four times the longest duration.
    longest_day
        Longest period; by default half the time span, so that two dips are seen, or less for long series.
    durations_day
        Shortest and longest duration; by default 0.05 to 0.25 days, scaled down for series shorter than five days.

    Returns
    -------
    PeriodSearch
        At most ten peaks, the best first. False alarms are not estimated: no closed form is known for boxes.

    Raises
    ------
    UsageError
        If the range is empty or too long for the number of points.
    """
    span = series.span_day
    short, long = durations_day or (min(0.05, span / 100), min(0.25, span / 20))
    if not 0 < short <= long:
        raise UsageError("the shortest duration must be positive and at most the longest")
    durations = np.geomspace(short, long, 1 if short == long else _DURATIONS)
    thin = _thin(series, short / (2 * _BINS))
    limit = _MAX_EVALUATIONS // thin.count
    shortest = shortest_day or 4 * long
    longest = longest_day or min(span / 2, limit * short * shortest / (2 * span))
    if not 2 * short < shortest < longest:
        raise UsageError(
            "the shortest period must be more than two durations and less than the longest period"
        )
    # Within one step a dip at the end of the series moves by at most half the shortest duration.
    step = short / (2 * span * longest)
    count = int((1 / shortest - 1 / longest) / step) + 1
    if count > limit:
        raise UsageError(
            f"{count:,} periods for {series.count:,} points are too many: narrow the range of periods or raise the "
            "shortest duration"
        )
    frequency = 1 / longest + step * np.arange(count, dtype=np.float64)
    boxes = compute_box_power(thin, 1 / frequency, durations)
    power = boxes[:, 0]
    apart = max(int(1 / (span * step)), 1)
    found: list[Peak] = []
    for k in find_peaks(power, apart, _PEAKS):
        period, share, depth, duration, middle = _refine(series, float(frequency[k]), step, durations)
        relation = describe_alias(1 / period, 1 / found[0].period_day, 0.2 / span) if found else ""
        error = _estimate_error(series, period, share, depth, duration)
        found.append(
            Peak(
                period, error, share, relation=relation, fit=depth, duration_day=duration,
                epoch_mjd=series.zero_mjd + middle,
            )
        )  # fmt: skip
    _, window = compute_power(thin, float(frequency[0]), step, count)
    return PeriodSearch("BLS", frequency, power, window, tuple(found), (), series.count)


def _refine(
    series: Series, frequency: float, step: float, durations: FloatArray
) -> tuple[float, float, float, float, float]:
    near = 1 / (frequency + step * np.linspace(-1, 1, 41))
    boxes = compute_box_power(series, near, durations)
    k = int(np.argmax(boxes[:, 0]))
    share, depth, duration, middle = boxes[k]
    return float(near[k]), float(share), float(depth), float(duration), float(middle)


def _estimate_error(series: Series, period: float, share: float, depth: float, duration: float) -> float:
    """Error of the period from that of the middle of each dip, duration · σ / (depth √points), over the dips seen."""
    if depth <= 0:
        return math.nan
    sigma = math.sqrt(float(series.weights @ series.values**2) * (1 - share))
    dips = max(series.span_day / period, 1.0)
    inside = max(series.count * duration / series.span_day, 1.0)
    return duration * sigma / (depth * math.sqrt(inside)) * math.sqrt(12 / dips**3)


def _thin(series: Series, width_day: float) -> Series:
    """Average points of a band that lie closer than a bin of the folded light curve is wide."""
    band = np.repeat(np.arange(len(series.bands)), np.diff(series.starts))
    cell = np.floor(series.time_day / width_day).astype(np.int64)
    order = np.lexsort((cell, band))
    change = np.flatnonzero((np.diff(cell[order]) != 0) | (np.diff(band[order]) != 0)) + 1
    first = np.r_[0, change]
    w = series.weights[order]
    weights = np.add.reduceat(w, first)
    time, values = (np.add.reduceat(w * a[order], first) / weights for a in (series.time_day, series.values))
    starts = np.searchsorted(band[order][first], np.arange(len(series.bands) + 1)).astype(np.int64)
    return replace(series, time_day=time, values=values, weights=weights, starts=starts)
