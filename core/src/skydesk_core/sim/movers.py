"""Small bodies of the simulated sky: main-belt orbits that cross the field, their light, and the catalog of known ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from astropy.table import Table
from scipy.optimize import root

from skydesk_core.algorithms.orbits import (
    GM_SUN,
    LIGHT_DAY_PER_AU,
    Ephemeris,
    Observer,
    Orbits,
    locate_observer,
    orbits_from_states,
    predict,
    propagate,
)
from skydesk_core.algorithms.phasecurve import reduced_magnitude_hg12
from skydesk_core.algorithms.solarsystem import as_orbits, designation_to_id
from skydesk_core.instrument.simcam import SimCam

if TYPE_CHECKING:
    from skydesk_core.sim.scene import SceneSettings

__all__ = ["make_known_orbits", "make_movers", "observe_movers"]

KNOWN_SHARE = 0.75
"""Part of the bodies in the field that the catalog of known orbits has; the others are new."""
_OTHERS = 300
"""Bodies of the catalog that are elsewhere."""
_SIGMA = {
    "q": 1e-7,
    "e": 1e-7,
    "i": 4e-6,
    "node": 4e-6,
    "argperi": 4e-6,
    "peri_time": 4e-5,
}
"""Errors of the catalog's elements (AU, degrees, days), which make some 0.1 arcsec on the sky."""
_AXES = ((1.8, 3.4), (0.03, 0.35))
_TRIES = 2000
# Colours g - r and r - i and slope G12 of the C and the S complex.
_TAXA = ((0.46, 0.13, 0.62), (0.64, 0.20, 0.34))


def make_movers(
    rng: np.random.Generator, s: SceneSettings, ra_deg: np.ndarray, dec_deg: np.ndarray, nights: np.ndarray
) -> Table:
    """Make bodies of the main belt, each of which crosses the field in two of the later nights.

    Parameters
    ----------
    rng
        Randomness that the rest of the sky shares.
    s
        The sky's settings.
    ra_deg, dec_deg
        Where the bodies are in the first of their nights.
    nights
        Times (MJD, TAI) at which the survey observes.

    Returns
    -------
    astropy.table.Table
        ``id, designation, q, e, i, node, argperi, peri_time`` (AU, degrees, MJD TT), ``h_r, g12`` and the colours
        ``g_r, r_i``.
    """
    n = s.movers
    distance, push, mag = rng.uniform(0.95, 1.6, n), rng.normal(0.002, 0.001, n), rng.uniform(18.5, 21.0, n)
    own = np.random.default_rng([s.seed, 5])
    late = nights[len(nights) // 2 :]
    half = max(len(late) // 2, 1)
    found = []
    for k in range(n):
        times = np.array([late[k % half], late[(half + k % half) % len(late)]])
        observer = locate_observer(times, SimCam.describe().site)
        start = _direction(ra_deg[k], dec_deg[k])
        found.append(_find_orbit(own, s, observer, start, float(distance[k]), float(push[k])))
    orbits = Orbits(**{name: np.concatenate([getattr(o, name) for o in found]) for name in vars(found[0])})
    taxon = np.arange(n) % len(_TAXA)
    colours = np.array(_TAXA)[taxon] + own.normal(0, (0.02, 0.02, 0.05), (n, 3))
    table = _element_table(orbits, 1)
    first = predict(orbits, locate_observer(late[np.arange(n) % half], SimCam.describe().site))
    at = (np.arange(n), np.arange(n))
    reduced = mag - 5 * np.log10(first.helio_range_au[at] * first.topo_range_au[at])
    table["h_r"] = reduced - reduced_magnitude_hg12(first.phase_deg[at], 0.0, colours[:, 2])
    table["g12"], table["g_r"], table["r_i"] = colours[:, 2], colours[:, 0], colours[:, 1]
    return table


def _direction(ra_deg: float, dec_deg: float) -> np.ndarray:
    ra, dec = np.deg2rad(ra_deg), np.deg2rad(dec_deg)
    return np.array([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])


def _find_orbit(
    rng: np.random.Generator,
    s: SceneSettings,
    observer: Observer,
    start: np.ndarray,
    distance: float,
    push: float,
) -> Orbits:
    """Find an orbit of the main belt that leads through one direction in the first and a second in the second night."""
    span = observer.mjd_tt[1] - observer.mjd_tt[0]
    for _ in range(_TRIES):
        ra = s.ra_deg + 0.5 * s.half_width_deg * rng.uniform(-1, 1) / np.cos(np.deg2rad(s.dec_deg))
        dec = s.dec_deg + 0.5 * s.half_height_deg * rng.uniform(-1, 1)
        # The Earth runs away from what it sees in the evening, and the distance grows.
        near = distance * rng.uniform(0.7, 1.3)
        ranges = (near, near + span * (push + rng.uniform(-0.002, 0.015)))
        places, times = [], []
        for number, (unit, reach) in enumerate(zip((start, _direction(ra, dec)), ranges, strict=True)):
            delay = reach * LIGHT_DAY_PER_AU
            sun = observer.sun_au[number] - delay * observer.sun_velocity_au_day[number]
            places.append(unit * reach + observer.position_au[number] - sun)
            times.append(observer.mjd_tt[number] - delay)
        orbit = _connect(*places, *times)
        if orbit is None:
            continue
        seen = predict(orbit, observer)
        a, e = orbit.a_au[0], orbit.e[0]
        if _AXES[0][0] < a < _AXES[0][1] and _AXES[1][0] < e < _AXES[1][1] and np.ptp(seen.phase_deg) > 2:
            return orbit
    raise AssertionError("the survey's nights allow no orbit of the main belt in this field")


def _connect(first: np.ndarray, second: np.ndarray, start: float, end: float) -> Orbits | None:
    """Solve Lambert's problem by shooting; None if the iteration does not end."""

    def arrive(velocity: np.ndarray) -> Orbits:
        return orbits_from_states(first[None], velocity[None], np.array([start]))

    def miss(velocity: np.ndarray) -> np.ndarray:
        return np.asarray(propagate(arrive(velocity), np.array([end]))[0][0] - second)

    guess = (second - first) / (end - start)
    guess += 0.5 * (end - start) * GM_SUN * first / np.linalg.norm(first) ** 3
    found = root(miss, guess)
    return arrive(found.x) if found.success else None


def _element_table(orbits: Orbits, first: int) -> Table:
    numbers = np.arange(first, first + len(orbits))
    return Table(
        {
            "id": numbers.astype(np.int64),
            "designation": np.array([f"SIM {k:04d}" for k in numbers]),
            "q": orbits.q_au,
            "e": orbits.e,
            "i": orbits.incl_deg,
            "node": orbits.node_deg,
            "argperi": orbits.peri_deg,
            "peri_time": orbits.peri_mjd_tt,
        }
    )


def observe_movers(movers: Table, mjd: float) -> tuple[Ephemeris, dict[str, np.ndarray]]:
    """Compute where the bodies are and how bright.

    Parameters
    ----------
    movers
        As `make_movers` returns them.
    mjd
        Time, MJD (TAI).

    Returns
    -------
    tuple
        What SimCam's observatory sees, arrays of shape (1, n), and the AB magnitudes by band, shape (n,).
    """
    seen = predict(as_orbits(movers), locate_observer(np.array([mjd]), SimCam.describe().site))
    light = reduced_magnitude_hg12(seen.phase_deg[0], np.asarray(movers["h_r"]), np.asarray(movers["g12"]))
    red = light + 5 * np.log10(seen.helio_range_au[0] * seen.topo_range_au[0])
    return seen, {"g": red + np.asarray(movers["g_r"]), "r": red, "i": red - np.asarray(movers["r_i"])}


def make_known_orbits(movers: Table, seed: int, epoch_mjd: float) -> Table:
    """Make the catalog of known orbits that the pipeline reads.

    Parameters
    ----------
    movers
        The bodies of the field; most of them are known, with the errors that a real catalog has.
    seed
        Seed of the errors and of bodies elsewhere.
    epoch_mjd
        Epoch of the elements, MJD (TT).

    Returns
    -------
    astropy.table.Table
        Columns of the SDM's ``mpc_orbits``, and ``ssObjectId``.
    """
    rng = np.random.default_rng([seed, 6])
    known = movers[: int(np.ceil(KNOWN_SHARE * len(movers)))]
    a, e = rng.uniform(2.1, 3.3, _OTHERS), rng.uniform(0.02, 0.3, _OTHERS)
    period = 2 * np.pi / np.sqrt(GM_SUN / a**3)
    others = Orbits(
        a * (1 - e),
        e,
        np.abs(rng.normal(0, 10, _OTHERS)),
        rng.uniform(0, 360, _OTHERS),
        rng.uniform(0, 360, _OTHERS),
        epoch_mjd + period * rng.uniform(-0.5, 0.5, _OTHERS),
    )
    rest = _element_table(others, 1001)
    # Jester et al. (2005): V = g - 0.59 (g - r) - 0.01.
    h_v = np.asarray(known["h_r"]) + 0.41 * np.asarray(known["g_r"]) - 0.01
    h = np.concatenate([h_v, rng.uniform(15, 20, _OTHERS)])
    names = [str(d) for d in (*known["designation"], *rest["designation"])]
    packed = [name.replace(" ", "") for name in names]
    elements = {
        c: np.concatenate([np.asarray(known[c]), np.asarray(rest[c])]) + rng.normal(0, sigma, len(names))
        for c, sigma in _SIGMA.items()
    }
    axis = elements["q"] / (1 - elements["e"])
    motion = np.rad2deg(np.sqrt(GM_SUN / axis**3))
    anomaly = (motion * (epoch_mjd - elements["peri_time"]) + 180) % 360 - 180
    return Table(
        {
            "id": np.arange(1, len(names) + 1, dtype=np.int32),
            "ssObjectId": np.array([designation_to_id(p) for p in packed], np.int64),
            "designation": names,
            "packed_primary_provisional_designation": packed,
            "unpacked_primary_provisional_designation": names,
            "a": axis,
            **elements,
            "mean_anomaly": anomaly,
            "period": 360 / motion,
            "mean_motion": motion,
            **{f"{c}_unc": np.full(len(names), sigma) for c, sigma in _SIGMA.items()},
            "epoch_mjd": np.full(len(names), epoch_mjd),
            "h": np.round(h, 2),
            "g": np.full(len(names), 0.15),
        }
    )
