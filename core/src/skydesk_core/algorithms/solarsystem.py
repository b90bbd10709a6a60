"""Known small bodies on difference images: which detection is which body, and what is derived of both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.coordinates import SkyCoord
from scipy.spatial import cKDTree

from skydesk_core.algorithms.associate import to_vectors
from skydesk_core.algorithms.orbits import AU_KM, Ephemeris, Observer, Orbits, predict, propagate, to_ecliptic
from skydesk_core.algorithms.phasecurve import reduced_magnitude_hg
from skydesk_core.errors import DataError

__all__ = [
    "KnownMatches",
    "as_orbits",
    "describe_observations",
    "designation_to_id",
    "id_to_designation",
    "match_known",
    "predict_near",
    "tisserand_jupiter",
]

_A_JUPITER_AU = 5.2038
_KM_S = AU_KM / 86400
_MARGIN_DEG = 3.0


@dataclass(frozen=True)
class KnownMatches:
    """Detections that are known bodies.

    Parameters
    ----------
    detection, body
        Rows of detections and of predictions, pair by pair.
    separation_arcsec
        Their distances.
    rank
        How many detections are as close to the prediction, or closer.
    """

    detection: np.ndarray
    body: np.ndarray
    separation_arcsec: np.ndarray
    rank: np.ndarray


def designation_to_id(packed: str) -> int:
    """Return the ``ssObjectId`` of a packed designation: its letters as a number, as Rubin makes it.

    Raises
    ------
    DataError
        If it is empty, longer than eight characters or not ASCII.
    """
    if not packed.isascii() or not 0 < len(packed) <= 8:
        raise DataError(f"packed designation {packed!r} does not have one to eight ASCII characters")
    return int.from_bytes(packed.encode("ascii"), "big")


def id_to_designation(ss_object_id: int) -> str:
    """Return the packed designation of an ``ssObjectId`` that `designation_to_id` made."""
    return int(ss_object_id).to_bytes(8, "big").lstrip(b"\0").decode("ascii")


def as_orbits(table: Any) -> Orbits:
    """Read the orbits of a table with columns ``q, e, i, node, argperi, peri_time``, as in ``mpc_orbits``."""
    names = ("q", "e", "i", "node", "argperi", "peri_time")
    return Orbits(*(np.atleast_1d(np.asarray(table[name], float)) for name in names))


def predict_near(
    orbits: Orbits, observer: Observer, ra_deg: float, dec_deg: float, radius_deg: float
) -> tuple[np.ndarray, Ephemeris]:
    """Predict the bodies that may be near a direction at one time.

    Parameters
    ----------
    orbits
        A catalog.
    observer
        Where the observer is at that one time.
    ra_deg, dec_deg, radius_deg
        Direction and radius; bodies up to three degrees further out may be among them.

    Returns
    -------
    tuple
        Rows of the catalog, and their ephemeris with arrays of shape (1, n).
    """
    # A first look without light time, which moves no body by more than the margin, spares most of the work.
    helio, _ = propagate(orbits, observer.mjd_tt[0])
    topo = helio + (observer.sun_au - observer.position_au)
    cosine = topo @ to_vectors(np.array([ra_deg]), np.array([dec_deg]))[0] / np.linalg.norm(topo, axis=-1)
    rows = np.flatnonzero(cosine > np.cos(np.deg2rad(radius_deg + _MARGIN_DEG)))
    return rows, predict(orbits.take(rows), observer)


def match_known(
    ra_deg: np.ndarray,
    dec_deg: np.ndarray,
    predicted_ra_deg: np.ndarray,
    predicted_dec_deg: np.ndarray,
    radius_arcsec: float,
) -> KnownMatches:
    """Find which detections of one exposure are known bodies.

    A body has one detection and a detection is one body: pairs are taken in order of their distance.

    Parameters
    ----------
    ra_deg, dec_deg
        Detections.
    predicted_ra_deg, predicted_dec_deg
        Predictions at the middle of the exposure.
    radius_arcsec
        Largest distance.
    """
    empty = np.empty(0, np.int64)
    if not len(ra_deg) or not len(predicted_ra_deg):
        return KnownMatches(empty, empty, np.empty(0), empty)
    chord = 2 * np.sin(np.radians(radius_arcsec / 3600) / 2)
    tree = cKDTree(to_vectors(np.asarray(ra_deg, float), np.asarray(dec_deg, float)))
    other = cKDTree(to_vectors(predicted_ra_deg, predicted_dec_deg))
    pairs = other.sparse_distance_matrix(tree, chord, output_type="ndarray")
    pairs = np.sort(pairs, order="v")
    taken: set[int] = set()
    done: set[int] = set()
    nearer: dict[int, int] = {}
    chosen: list[tuple[int, int, float, int]] = []
    for body, detection, distance in pairs.tolist():
        nearer[body] = nearer.get(body, 0) + 1
        if body in done or detection in taken:
            continue
        done.add(body)
        taken.add(detection)
        arc = np.degrees(2 * np.arcsin(distance / 2)) * 3600
        chosen.append((detection, body, float(arc), nearer[body]))
    if not chosen:
        return KnownMatches(empty, empty, np.empty(0), empty)
    detections, bodies, arcs, ranks = zip(*chosen, strict=True)
    return KnownMatches(np.array(detections), np.array(bodies), np.array(arcs), np.array(ranks))


def describe_observations(
    ra_deg: np.ndarray, dec_deg: np.ndarray, seen: Ephemeris, h_mag: np.ndarray, g: np.ndarray
) -> dict[str, np.ndarray]:
    """Derive the columns of the SDM's SSSource.

    Parameters
    ----------
    ra_deg, dec_deg
        Observed positions, shape (n,).
    seen
        Ephemeris of the same bodies, arrays of shape (n,) and (n, 3).
    h_mag, g
        Absolute magnitude and slope of the orbit catalog.

    Returns
    -------
    dict
        Columns by name: those of DP2, and those of DP1 that have another name.
    """
    galactic = SkyCoord(ra_deg, dec_deg, unit="deg").galactic
    ecliptic = to_ecliptic(ra_deg, dec_deg)
    east = ((ra_deg - seen.ra_deg + 180) % 360 - 180) * np.cos(np.deg2rad(dec_deg)) * 3600
    north = (dec_deg - seen.dec_deg) * 3600
    rate = np.hypot(seen.rate_ra_deg_day, seen.rate_dec_deg_day)
    along = (east * seen.rate_ra_deg_day + north * seen.rate_dec_deg_day) / rate
    across = (east * seen.rate_dec_deg_day - north * seen.rate_ra_deg_day) / rate
    helio, topo = seen.helio_range_au, seen.topo_range_au
    columns = {
        "eclLambda": ecliptic[0],
        "eclBeta": ecliptic[1],
        "galLon": galactic.l.deg,
        "galLat": galactic.b.deg,
        "elongation": seen.elongation_deg,
        "phaseAngle": seen.phase_deg,
        "topoRange": topo,
        "topoRangeRate": np.sum(seen.topo_au * seen.topo_au_day, axis=1) / topo * _KM_S,
        "helioRange": helio,
        "helioRangeRate": np.sum(seen.helio_au * seen.helio_au_day, axis=1) / helio * _KM_S,
        "ephRa": seen.ra_deg,
        "ephDec": seen.dec_deg,
        "ephVmag": reduced_magnitude_hg(seen.phase_deg, h_mag, g) + 5 * np.log10(helio * topo),
        "ephRate": rate,
        "ephRateRa": seen.rate_ra_deg_day,
        "ephRateDec": seen.rate_dec_deg_day,
        "ephOffset": np.hypot(east, north),
        "ephOffsetRa": east,
        "ephOffsetDec": north,
        "ephOffsetAlongTrack": along,
        "ephOffsetCrossTrack": across,
    }
    for prefix, place, speed in (
        ("helio", seen.helio_au, seen.helio_au_day * _KM_S),
        ("topo", seen.topo_au, seen.topo_au_day * _KM_S),
    ):
        columns |= {f"{prefix}_{axis}": place[:, k] for k, axis in enumerate("xyz")}
        columns |= {f"{prefix}_v{axis}": speed[:, k] for k, axis in enumerate("xyz")}
        columns[f"{prefix}_vtot"] = np.linalg.norm(speed, axis=1)
    # Names of DP1 for what DP2 calls otherwise.
    columns |= {"heliocentricDist": helio, "topocentricDist": topo}
    columns |= {"residualRa": east / 3600, "residualDec": north / 3600}
    columns |= {"eclipticLambda": ecliptic[0], "eclipticBeta": ecliptic[1]}
    columns |= {"galacticL": columns["galLon"], "galacticB": columns["galLat"]}
    return columns


def tisserand_jupiter(orbits: Orbits) -> np.ndarray:
    """Return the Tisserand parameters with respect to Jupiter (a = 5.2038 AU)."""
    a = orbits.a_au
    with np.errstate(invalid="ignore"):
        found: np.ndarray = _A_JUPITER_AU / a + 2 * np.cos(np.deg2rad(orbits.incl_deg)) * np.sqrt(
            a / _A_JUPITER_AU * (1 - orbits.e**2)
        )
    return found
