"""Periods of light curves in several bands: multi-band Lomb–Scargle, window function, false alarms, aliases."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skydesk_core.errors import UsageError
from skydesk_core.kernels.periodogram import compute_spectrum

__all__ = [
    "MIN_POINTS",
    "Peak",
    "PeriodSearch",
    "Series",
    "compute_power",
    "describe_alias",
    "estimate_false_alarm",
    "find_false_alarm_level",
    "find_peaks",
    "make_series",
    "search_periods",
]

type FloatArray = NDArray[np.float64]

MIN_POINTS = 6
_OVERSAMPLING = 6
_SHORTEST_DAY = 0.05
_MAX_EVALUATIONS = 300_000_000
_CANDIDATES = 30
_HARMONICS = (1, 2, 4)
_PEAKS = 10
_STRONG_WINDOW = 0.3
_LEVELS = (0.1, 0.01, 0.001)
_MONTH_DAY, _YEAR_DAY = 29.530589, 365.25


@dataclass(frozen=True)
class Series:
    """Points of all bands, sorted by band, ready for a search.

    Parameters
    ----------
    time_day
        Times from ``zero_mjd``.
    values
        Values less the weighted mean of their band.
    weights
        Inverse variances; they sum to 1.
    starts
        Index of the first point of each band, and the number of points.
    bands
        Names of the bands.
    zero_mjd
        Time of the first point.
    span_day
        Time from the first to the last point.
    """

    time_day: FloatArray
    values: FloatArray
    weights: FloatArray
    starts: NDArray[np.int64]
    bands: tuple[str, ...]
    zero_mjd: float
    span_day: float

    @property
    def count(self) -> int:
        """Number of points."""
        return int(self.time_day.size)


@dataclass(frozen=True)
class Peak:
    """One peak of a periodogram.

    Parameters
    ----------
    period_day, period_error_day
        Period and its standard error, from the curvature of χ² at the peak.
    power
        Share of the weighted variance that the model explains, 0 to 1.
    false_alarm
        Probability that noise alone has such a peak; NaN where it is not known.
    relation
        How it is related to the best peak, empty if it is not: ``"2 P"``, ``"+1 / day"``, ….
    fit
        Share of the variance that the fit with harmonics explains, or the depth of a box.
    duration_day, epoch_mjd
        Duration and middle of a box; NaN otherwise.
    """

    period_day: float
    period_error_day: float
    power: float
    false_alarm: float = math.nan
    relation: str = ""
    fit: float = math.nan
    duration_day: float = math.nan
    epoch_mjd: float = math.nan


@dataclass(frozen=True)
class PeriodSearch:
    """A periodogram and what was found in it.

    Parameters
    ----------
    method
        ``Lomb–Scargle`` or ``BLS``.
    frequency_per_day, power
        The periodogram, shape (n,).
    window
        Power of the window function at the same frequencies, shape (n,).
    peaks
        Best first.
    levels
        Probability of a false alarm and the power that noise exceeds with it.
    points
        Number of points used.
    """

    method: str
    frequency_per_day: FloatArray
    power: FloatArray
    window: FloatArray
    peaks: tuple[Peak, ...]
    levels: tuple[tuple[float, float], ...]
    points: int


def make_series(
    mjd: ArrayLike, values: ArrayLike, errors: ArrayLike, band: ArrayLike, relative: bool = False
) -> Series:
    """Put the points of a light curve into the form that searches take.

    Parameters
    ----------
    mjd
        Times in days.
    values, errors
        Magnitudes or fluxes and their errors. Points that are not finite or whose error is not positive are left out.
    band
        Band of each point.
    relative
        Whether each band is divided by its mean (or its spread, where that is larger), for fluxes: the relative
        variation is then the same in all bands.

    Raises
    ------
    UsageError
        If there are too few points, they span no time, or do not vary.
    """
    t, y, e = (np.asarray(a, np.float64).ravel() for a in (mjd, values, errors))
    names = np.asarray(band).astype(str).ravel()
    if not t.size == y.size == e.size == names.size:
        raise UsageError("times, values, errors and bands must be equally many")
    good = np.isfinite(t) & np.isfinite(y) & np.isfinite(e) & (e > 0)
    span = float(np.ptp(t[good])) if good.any() else 0.0
    if good.sum() < MIN_POINTS or span <= 0:
        raise UsageError(
            f"a period needs at least {MIN_POINTS} good points over some time; there are {good.sum()}"
        )
    zero = float(t[good].min())
    order = np.argsort(names[good], kind="stable")
    t, y, e, names = (a[good][order] for a in (t - zero, y, e, names))
    bands, first = np.unique(names, return_index=True)
    starts = np.append(first, t.size).astype(np.int64)
    for low, high in itertools.pairwise(starts):
        if relative:
            mean, spread = abs(float(y[low:high].mean())), float(y[low:high].std())
            scale = mean if mean > spread else spread or 1.0
            y[low:high] /= scale
            e[low:high] /= scale
    weights = e**-2.0
    weights /= weights.sum()
    for low, high in itertools.pairwise(starts):
        share = weights[low:high]
        y[low:high] -= share @ y[low:high] / share.sum()
    if not weights @ (y * y) > 0:
        raise UsageError("the values do not vary")
    return Series(t, y, weights, starts, tuple(map(str, bands)), zero, span)


def compute_power(
    series: Series, first_per_day: float, step_per_day: float, count: int
) -> tuple[FloatArray, FloatArray]:
    """Compute a Lomb–Scargle periodogram whose sinusoid is shared by all bands.

    Parameters
    ----------
    series
        The points; each band has its own mean.
    first_per_day, step_per_day, count
        Evenly spaced frequencies.

    Returns
    -------
    power
        Share of the weighted variance that the sinusoid explains, 0 to 1, shape (count,); the model with
        ``nterms_base=1, nterms_band=0`` of VanderPlas & Ivezić (2015, ApJ 812, 18), for one band the generalised
        Lomb–Scargle periodogram of Zechmeister & Kürster (2009, A&A 496, 577).
    window
        Power of the spectral window |Σ w exp(2πi f t)|², 1 at frequency 0, shape (count,).
    """
    w, y = series.weights, series.values
    power, window = np.empty(count), np.empty(count)
    first, step = float(first_per_day), float(step_per_day)
    compute_spectrum(series.time_day, w, w * y, series.starts, first, step, power, window)
    return np.clip(power / (w @ (y * y)), 0.0, 1.0), window


def _effective_span_day(series: Series) -> float:
    """√(4π var t), which equals the time span for evenly spread points (Baluev 2008)."""
    mean = series.weights @ series.time_day
    return math.sqrt(4 * math.pi * float(series.weights @ (series.time_day - mean) ** 2))


def estimate_false_alarm(power: ArrayLike, series: Series, highest_per_day: float) -> FloatArray:
    """Estimate the probability that noise alone has a peak of this power anywhere.

    Parameters
    ----------
    power
        Power as `compute_power` returns it.
    series
        The points.
    highest_per_day
        Highest frequency that was searched.

    Returns
    -------
    numpy.ndarray
        The upper bound of Baluev (2008, MNRAS 385, 1279) for white noise, with as many degrees of freedom as there
        are points less one mean a band. Noise that is correlated in time has false alarms more often.
    """
    z = np.clip(np.asarray(power, np.float64), 0.0, 1.0 - 1e-15)
    free = series.count - len(series.bands)
    inner = max(free - 2, 1)
    single = (1 - z) ** (inner / 2)
    gamma = math.sqrt(2 / max(free, 1)) * math.exp(
        math.lgamma(max(free, 2) / 2) - math.lgamma((max(free, 2) - 1) / 2)
    )
    trials = highest_per_day * _effective_span_day(series)
    upward = gamma * trials * (1 - z) ** ((inner - 1) / 2) * np.sqrt(0.5 * free * z)
    # 1 - (1 - single) exp(-upward), written so that tiny probabilities keep their digits.
    found: FloatArray = -np.expm1(-upward) + single * np.exp(-upward)
    return found


def find_false_alarm_level(probability: float, series: Series, highest_per_day: float) -> float:
    """Find the power that noise exceeds with a probability, by bisection of `estimate_false_alarm`."""
    low, high = 0.0, 1.0
    # Below its maximum the bound falls with power only from about one expected peak downwards.
    for _ in range(60):
        middle = 0.5 * (low + high)
        if float(estimate_false_alarm(middle, series, highest_per_day)) > probability:
            low = middle
        else:
            high = middle
    return high


def describe_alias(
    frequency_per_day: float,
    best_per_day: float,
    tolerance_per_day: float,
    window_per_day: Sequence[float] = (),
) -> str:
    """Say how a frequency is related to the best one.

    Parameters
    ----------
    frequency_per_day, best_per_day
        The two frequencies.
    tolerance_per_day
        How close a relation must be met.
    window_per_day
        Further regularities of the sampling, from the peaks of its window.

    Returns
    -------
    str
        ``"2 P"``, ``"P / 2"``, ``"P / 3"`` or ``"3 P"`` for harmonics of the period, ``"±n / day"``, ``"±1 / month"`` or
        ``"±1 / year"`` for aliases of the sampling (also mirrored at zero), ``"±0.333 / day"`` for one of its window,
        empty for none.
    """
    for factor, name in ((0.5, "2 P"), (2.0, "P / 2"), (1 / 3, "3 P"), (3.0, "P / 3")):
        if abs(frequency_per_day - factor * best_per_day) < tolerance_per_day * max(factor, 1.0):
            return name
    # Nights follow the Sun or, for one field, nearly the stars: both lie within a year's resolution.
    steps = [(float(n), f"{n} / day", n * 0.0028) for n in (1, 2, 3)]
    steps += [(1 / _MONTH_DAY, "1 / month", 0.0), (1 / _YEAR_DAY, "1 / year", 0.0)]
    steps += [(f, f"{f:.3g} / day", 0.0) for f in window_per_day]
    for step, name, slack in steps:
        for sign, base in (("+", best_per_day), ("-", best_per_day), ("mirrored ", -best_per_day)):
            other = base - step if sign == "-" else base + step
            if other > 0 and abs(frequency_per_day - other) < tolerance_per_day + slack:
                return f"{sign}{name}"
    return ""


def find_peaks(power: FloatArray, apart: int, count: int) -> NDArray[np.intp]:
    """Find the highest local maxima.

    Parameters
    ----------
    power
        The periodogram.
    apart
        Least distance of two peaks in steps.
    count
        How many at most.

    Returns
    -------
    numpy.ndarray
        Indices, the highest first.
    """
    if power.size < 3:
        return np.argsort(-power)[:count]
    rising = np.r_[True, power[1:] > power[:-1]]
    falling = np.r_[power[:-1] >= power[1:], True]
    at = np.flatnonzero(rising & falling)
    chosen: list[int] = []
    for k in at[np.argsort(-power[at])]:
        if all(abs(int(k) - c) >= apart for c in chosen):
            chosen.append(int(k))
            if len(chosen) == count:
                break
    return np.array(chosen, np.intp)


def _fit_harmonics(series: Series, frequency_per_day: float) -> tuple[float, float]:
    """Fit harmonics that all bands share; returns the best criterion (lower is better) and the variance explained."""
    turns = 2 * np.pi * np.outer(np.arange(1, _HARMONICS[-1] + 1), series.time_day * frequency_per_day)
    design = np.empty((2 * _HARMONICS[-1], series.count))
    design[0::2], design[1::2] = np.cos(turns), np.sin(turns)
    w, y = series.weights, series.values
    weighted = design * w
    total = np.add.reduceat(w, series.starts[:-1])
    means = np.add.reduceat(weighted, series.starts[:-1], axis=1)
    gram = weighted @ design.T - (means / total) @ means.T
    right = weighted @ y
    variance, best, explained = float(w @ (y * y)), math.inf, 0.0
    for harmonics in _HARMONICS:
        size = 2 * harmonics
        # Few points are fitted by many harmonics at any period.
        if harmonics > 1 and series.count - len(series.bands) < 10 * size:
            break
        solution = np.linalg.solve(gram[:size, :size] + 1e-9 * np.eye(size), right[:size])
        share = min(float(right[:size] @ solution) / variance, 1 - 1e-12)
        # Bayesian information criterion with the scale of the errors unknown.
        criterion = series.count * math.log(1 - share) + size * math.log(series.count)
        if criterion < best:
            best, explained = criterion, share
    return best, explained


def _refine(series: Series, frequency_per_day: float, step_per_day: float) -> tuple[float, float, float]:
    """Find top, power and standard error of a peak between the steps of the grid."""
    count = 65
    fine = 2 * step_per_day / (count - 1)
    first = max(frequency_per_day - step_per_day, 0.05 * step_per_day)
    power, _ = compute_power(series, first, fine, count)
    k = min(max(int(np.argmax(power)), 1), count - 2)
    left, top, right = power[k - 1], power[k], power[k + 1]
    curvature = float(left - 2 * top + right) / fine**2
    shift = 0.5 * float(left - right) / float(left - 2 * top + right) if curvature < 0 else 0.0
    found = first + (k + min(max(shift, -1.0), 1.0)) * fine
    free = max(series.count - len(series.bands) - 3, 1)
    error = math.sqrt(2 * max(1 - float(top), 1e-12) / (free * -curvature)) if curvature < 0 else math.nan
    return found, float(top), error


def search_periods(
    series: Series, shortest_day: float | None = None, longest_day: float | None = None
) -> PeriodSearch:
    """Search a light curve for periods with a multi-band Lomb–Scargle periodogram.

    The highest peaks are ranked by fits of one, two or four harmonics (Bayesian information criterion), because
    a sinusoid alone often prefers a one-day alias of a light curve that is not sinusoidal.

    Parameters
    ----------
    series
        The points.
    shortest_day
        Shortest period; by default 0.05 days, or less for points that lie closer than that.
    longest_day
        Longest period; by default twice the time span.

    Returns
    -------
    PeriodSearch
        At most ten peaks, the best first, the others marked where they are aliases of it.

    Raises
    ------
    UsageError
        If the range is empty or too long for the number of points.
    """
    span = series.span_day
    shortest = shortest_day or min(_SHORTEST_DAY, span / series.count)
    longest = longest_day or 2 * span
    if not 0 < shortest < longest:
        raise UsageError("the shortest period must be positive and less than the longest")
    step = 1 / (_OVERSAMPLING * span)
    count = int((1 / shortest - 1 / longest) / step) + 1
    limit = _MAX_EVALUATIONS // series.count
    if count > limit:
        if shortest_day:
            raise UsageError(
                f"{count:,} frequencies for {series.count:,} points are too many: raise the shortest period to "
                f"{1 / (1 / longest + limit * step):.4g} days or more"
            )
        count = limit
    first = 1 / longest
    power, window = compute_power(series, first, step, count)
    frequency = first + step * np.arange(count, dtype=np.float64)
    highest = float(frequency[-1])
    peaks = _rank(series, frequency, power, step, _find_window_steps(series, frequency, window))
    alarms = estimate_false_alarm([p.power for p in peaks], series, highest)
    peaks = [replace(p, false_alarm=float(a)) for p, a in zip(peaks, alarms, strict=True)]
    levels = tuple((p, find_false_alarm_level(p, series, highest)) for p in _LEVELS)
    return PeriodSearch("Lomb–Scargle", frequency, power, window, tuple(peaks), levels, series.count)


def _find_window_steps(series: Series, frequency: FloatArray, window: FloatArray) -> list[float]:
    """Find the strongest regularities of the sampling, as frequencies in 1/day; that at zero is none."""
    away = np.flatnonzero(frequency > 2 / series.span_day)
    at = away[find_peaks(window[away], _OVERSAMPLING, 3)] if away.size else away
    return [float(frequency[k]) for k in at if window[k] > _STRONG_WINDOW]


def _rank(
    series: Series, frequency: FloatArray, power: FloatArray, step: float, window_steps: list[float]
) -> list[Peak]:
    candidates: list[tuple[float, float, float]] = []
    for k in find_peaks(power, _OVERSAMPLING, _CANDIDATES):
        tries = frequency[k] + step * np.linspace(-0.6, 0.6, 3)
        fits: list[tuple[float, float, float]] = [
            (*_fit_harmonics(series, float(f)), float(f)) for f in tries[tries > 0]
        ]
        candidates.append(min(fits))
    candidates.sort()
    found: list[Peak] = []
    best = 0.0
    for _, share, near in candidates[:_PEAKS]:
        at, top, error = _refine(series, near, step)
        best = best or at
        relation = describe_alias(at, best, 1.5 / series.span_day, window_steps) if found else ""
        found.append(Peak(1 / at, error / at**2, top, relation=relation, fit=share))
    return found
