"""Matching of positions on the sky."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

__all__ = ["count_neighbours", "match_nearest", "to_unit_vectors"]


def to_unit_vectors(ra_deg: Any, dec_deg: Any) -> NDArray[np.float64]:
    """Return unit vectors, shape (n, 3), of ICRS positions in degrees."""
    ra, dec = np.radians(np.asarray(ra_deg, float)), np.radians(np.asarray(dec_deg, float))
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)


def _chord(radius_arcsec: float) -> float:
    return 2 * np.sin(np.radians(radius_arcsec / 3600) / 2)


def match_nearest(
    ra: Any, dec: Any, other_ra: Any, other_dec: Any, radius_arcsec: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Match two catalogs; a pair counts when each is the other's nearest.

    Parameters
    ----------
    ra, dec, other_ra, other_dec
        ICRS degrees.
    radius_arcsec
        Largest separation.

    Returns
    -------
    tuple of numpy.ndarray
        Rows of the first catalog, rows of the second, separations in arcsec.
    """
    a, b = to_unit_vectors(ra, dec), to_unit_vectors(other_ra, other_dec)
    empty = np.empty(0, np.int64)
    if not len(a) or not len(b):
        return empty, empty, np.empty(0)
    distance, there = cKDTree(b).query(a, distance_upper_bound=_chord(radius_arcsec))
    _, back = cKDTree(a).query(b)
    rows = np.flatnonzero(np.isfinite(distance))
    rows = rows[back[there[rows]] == rows]
    separation = np.degrees(2 * np.arcsin(distance[rows] / 2)) * 3600
    return rows, there[rows].astype(np.int64), separation


def count_neighbours(
    ra: Any, dec: Any, flux: Any, radius_arcsec: float, least_ratio: float
) -> NDArray[np.int64]:
    """Count the neighbours of each source that could disturb its photometry.

    Parameters
    ----------
    ra, dec, flux
        ICRS degrees and fluxes in one unit.
    radius_arcsec
        How far a neighbour may be.
    least_ratio
        Neighbours fainter than this part of the source's flux do not count.
    """
    vectors, flux = to_unit_vectors(ra, dec), np.nan_to_num(np.asarray(flux, float))
    counts = np.zeros(len(flux), np.int64)
    for i, j in cKDTree(vectors).query_pairs(_chord(radius_arcsec)) if len(flux) else ():
        counts[i] += flux[j] > least_ratio * flux[i]
        counts[j] += flux[i] > least_ratio * flux[j]
    return counts
