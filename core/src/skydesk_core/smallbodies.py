"""Orbits and phase curves of small bodies, for notebooks and services."""

from __future__ import annotations

from skydesk_core.algorithms.orbits import Ephemeris, Orbits, locate_observer, predict
from skydesk_core.algorithms.phasecurve import fit_hg12, reduced_magnitude_hg, reduced_magnitude_hg12
from skydesk_core.algorithms.solarsystem import predict_near

__all__ = [
    "Ephemeris",
    "Orbits",
    "fit_hg12",
    "locate_observer",
    "predict",
    "predict_near",
    "reduced_magnitude_hg",
    "reduced_magnitude_hg12",
]
