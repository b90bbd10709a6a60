"""Brightness of small bodies against the phase angle: the H, G and the H, G12 system, and a fit of the latter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.optimize import least_squares

__all__ = ["FIXED_G12", "PhaseFit", "fit_hg12", "reduced_magnitude_hg", "reduced_magnitude_hg12"]

FIXED_G12 = 0.5
"""Slope where the data do not tell it, as Rubin's pipelines take it."""
_G12_RANGE = (-0.0818919, 0.909714)
"""Where the phase functions of all three terms keep a share between 0 and 1."""
_MIN_POINTS = 4
_MIN_RANGE_DEG = 3.0
_ERROR_FLOOR_MAG = 0.01

_ALPHA_12 = np.deg2rad([7.5, 30.0, 60.0, 90.0, 120.0, 150.0])
_PHI_1 = CubicSpline(
    _ALPHA_12,
    [0.75, 0.33486016, 0.13410560, 0.051104756, 0.021465687, 0.0036396989],
    bc_type=((1, -1.9098593), (1, -0.091328612)),
)
_PHI_2 = CubicSpline(
    _ALPHA_12,
    [0.925, 0.62884169, 0.31755495, 0.12716367, 0.022373903, 0.00016505689],
    bc_type=((1, -0.57295780), (1, -8.6573138e-8)),
)
_PHI_3 = CubicSpline(
    np.deg2rad([0.0, 0.3, 1.0, 2.0, 4.0, 8.0, 12.0, 20.0, 30.0]),
    [1.0, 0.83381185, 0.57735424, 0.42144772, 0.23174230, 0.10348178, 0.061733473, 0.016107006, 0.0],
    bc_type=((1, -0.10630097), (1, 0.0)),
)


@dataclass(frozen=True)
class PhaseFit:
    """A phase curve of one band.

    Parameters
    ----------
    h_mag, g12
        Absolute magnitude and slope.
    h_error_mag, g12_error, covariance_mag
        Their standard errors and covariance; the last two NaN where the slope was not fitted.
    chi2
        Chi squared of the points used.
    used
        Number of points used.
    slope_fitted
        False if ``g12`` is the fixed value.
    """

    h_mag: float
    h_error_mag: float
    g12: float
    g12_error: float
    covariance_mag: float
    chi2: float
    used: int
    slope_fitted: bool


def reduced_magnitude_hg(
    phase_deg: np.ndarray, h_mag: np.ndarray | float, g: np.ndarray | float
) -> np.ndarray:
    """Return magnitudes at 1 AU from Sun and observer in the H, G system.

    Parameters
    ----------
    phase_deg
        Phase angles.
    h_mag, g
        Absolute magnitude and slope.

    Notes
    -----
    Bowell et al. (1989), Asteroids II, 524, in its simple form.
    """
    half = np.tan(np.deg2rad(np.asarray(phase_deg, float)) / 2)
    first, second = np.exp(-3.33 * half**0.63), np.exp(-1.87 * half**1.22)
    return h_mag - 2.5 * np.log10((1 - np.asarray(g)) * first + np.asarray(g) * second)


def _phase_function_hg12(phase_deg: np.ndarray, g12: np.ndarray | float) -> np.ndarray:
    alpha = np.clip(np.deg2rad(np.asarray(phase_deg, float)), 0, _ALPHA_12[-1])
    near = alpha < _ALPHA_12[0]
    one = np.where(near, 1 - 6 * alpha / np.pi, _PHI_1(alpha))
    two = np.where(near, 1 - 9 * alpha / (5 * np.pi), _PHI_2(alpha))
    three = np.where(alpha < np.deg2rad(30), _PHI_3(np.minimum(alpha, np.deg2rad(30))), 0.0)
    low = np.asarray(g12) < 0.2
    g1 = np.where(low, 0.7527 * np.asarray(g12) + 0.06164, 0.9529 * np.asarray(g12) + 0.02162)
    g2 = np.where(low, -0.9612 * np.asarray(g12) + 0.6270, -0.6125 * np.asarray(g12) + 0.5572)
    found: np.ndarray = g1 * one + g2 * two + (1 - g1 - g2) * three
    return found


def reduced_magnitude_hg12(
    phase_deg: np.ndarray, h_mag: np.ndarray | float, g12: np.ndarray | float
) -> np.ndarray:
    """Return magnitudes at 1 AU from Sun and observer in the H, G12 system.

    Parameters
    ----------
    phase_deg
        Phase angles, at most 150.
    h_mag, g12
        Absolute magnitude and slope.

    Notes
    -----
    Muinonen et al. (2010), Icarus 209, 542, equations 18, 23 and 28 with the spline nodes of tables 3 and 4.
    """
    return h_mag - 2.5 * np.log10(np.maximum(_phase_function_hg12(phase_deg, g12), 1e-12))


def fit_hg12(phase_deg: np.ndarray, reduced_mag: np.ndarray, error_mag: np.ndarray) -> PhaseFit | None:
    """Fit H and G12 to reduced magnitudes of one band.

    Parameters
    ----------
    phase_deg, reduced_mag, error_mag
        Phase angles, magnitudes reduced to 1 AU from Sun and observer, and their errors.

    Returns
    -------
    PhaseFit or None
        None without a usable point. With few points (under 4), a small range of phase angles (under 3°) or a slope
        outside its physical range, the slope is fixed and only H is fitted.
    """
    good = np.isfinite(phase_deg) & np.isfinite(reduced_mag) & np.isfinite(error_mag)
    if not good.any():
        return None
    phase, mag = np.asarray(phase_deg, float)[good], np.asarray(reduced_mag, float)[good]
    error = np.hypot(np.asarray(error_mag, float)[good], _ERROR_FLOOR_MAG)
    weight = 1 / error**2
    offset = mag - reduced_magnitude_hg12(phase, 0.0, FIXED_G12)
    h = float(np.sum(weight * offset) / weight.sum())
    if len(mag) >= _MIN_POINTS and np.ptp(phase) >= _MIN_RANGE_DEG:
        # A robust loss, so that one blended point does not tilt the curve.
        found = least_squares(
            lambda p: (mag - reduced_magnitude_hg12(phase, p[0], p[1])) / error,
            (h, FIXED_G12),
            bounds=((-np.inf, _G12_RANGE[0]), (np.inf, _G12_RANGE[1])),
            loss="soft_l1",
            f_scale=3.0,
        )
        inside = _G12_RANGE[0] + 1e-3 < found.x[1] < _G12_RANGE[1] - 1e-3
        if found.success and inside and np.linalg.matrix_rank(found.jac) == 2:
            covariance = np.linalg.inv(found.jac.T @ found.jac)
            residual = (mag - reduced_magnitude_hg12(phase, *found.x)) / error
            return PhaseFit(
                float(found.x[0]),
                float(np.sqrt(covariance[0, 0])),
                float(found.x[1]),
                float(np.sqrt(covariance[1, 1])),
                float(covariance[0, 1]),
                float(np.sum(residual**2)),
                len(mag),
                True,
            )
    chi2 = float(np.sum(weight * (offset - h) ** 2))
    nan = float("nan")
    return PhaseFit(h, float(1 / np.sqrt(weight.sum())), FIXED_G12, nan, nan, chi2, len(mag), False)
