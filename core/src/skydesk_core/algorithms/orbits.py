"""Two-body orbits around the Sun: from elements to positions, and to what an observer on the Earth sees of them.

Positions are astrometric, as those of the stars in a reference catalog: light time is taken into account,
aberration is not. Perturbations by the planets are left out, so that elements serve within weeks of their epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import erfa
import numpy as np
from astropy.time import Time

__all__ = [
    "AU_KM",
    "GM_SUN",
    "LIGHT_DAY_PER_AU",
    "Ephemeris",
    "Observer",
    "Orbits",
    "locate_observer",
    "orbits_from_states",
    "predict",
    "propagate",
    "to_ecliptic",
]

GM_SUN = 0.01720209895**2
"""Square of the Gaussian gravitational constant, AU³/day²."""
AU_KM = 149597870.7
LIGHT_DAY_PER_AU = AU_KM / 299792.458 / 86400
"""Time that light takes for one AU."""
_OBLIQUITY = np.deg2rad(84381.448 / 3600)
"""Of the ecliptic of J2000, to which elements refer (IAU 1976, as the Minor Planet Center uses it)."""
_TO_EQUATOR = np.array(
    [
        [1, 0, 0],
        [0, np.cos(_OBLIQUITY), -np.sin(_OBLIQUITY)],
        [0, np.sin(_OBLIQUITY), np.cos(_OBLIQUITY)],
    ]
)


@dataclass(frozen=True)
class Orbits:
    """Heliocentric orbits, ecliptic and equinox J2000.

    Parameters
    ----------
    q_au
        Perihelion distances, shape (n,).
    e
        Eccentricities; 1 and more are allowed.
    incl_deg, node_deg, peri_deg
        Inclinations, longitudes of the ascending node and arguments of perihelion.
    peri_mjd_tt
        Times of a perihelion passage, MJD (TT).
    """

    q_au: np.ndarray
    e: np.ndarray
    incl_deg: np.ndarray
    node_deg: np.ndarray
    peri_deg: np.ndarray
    peri_mjd_tt: np.ndarray

    def __len__(self) -> int:
        return len(self.q_au)

    def take(self, rows: np.ndarray | Sequence[int]) -> Orbits:
        """Return some of the orbits."""
        return Orbits(**{name: values[rows] for name, values in vars(self).items()})

    @property
    def a_au(self) -> np.ndarray:
        """Semi-major axes; negative for hyperbolas, infinite for parabolas."""
        with np.errstate(divide="ignore"):
            return self.q_au / (1 - self.e)


@dataclass(frozen=True)
class Observer:
    """Where an observer and the Sun are at some times; all shapes (t, 3), axes of the ICRS.

    Parameters
    ----------
    mjd_tt
        The times, MJD (TT), shape (t,).
    position_au, velocity_au_day
        Of the observer, from the barycentre of the Solar System.
    sun_au, sun_velocity_au_day
        Of the Sun.
    """

    mjd_tt: np.ndarray
    position_au: np.ndarray
    velocity_au_day: np.ndarray
    sun_au: np.ndarray
    sun_velocity_au_day: np.ndarray


@dataclass(frozen=True)
class Ephemeris:
    """What an observer sees of n bodies at t times; shapes (t, n) and (t, n, 3).

    Parameters
    ----------
    ra_deg, dec_deg
        Astrometric position, ICRS.
    rate_ra_deg_day, rate_dec_deg_day
        Motion on the sky, the first with the factor cos(dec).
    helio_au, helio_au_day
        Heliocentric position and velocity when the light left, axes of the ICRS.
    topo_au, topo_au_day
        The same from the observer.
    phase_deg, elongation_deg
        Angle Sun - body - observer, and angle Sun - observer - body.
    """

    ra_deg: np.ndarray
    dec_deg: np.ndarray
    rate_ra_deg_day: np.ndarray
    rate_dec_deg_day: np.ndarray
    helio_au: np.ndarray
    helio_au_day: np.ndarray
    topo_au: np.ndarray
    topo_au_day: np.ndarray
    phase_deg: np.ndarray
    elongation_deg: np.ndarray

    @property
    def helio_range_au(self) -> np.ndarray:
        """Distance from the Sun."""
        return np.linalg.norm(self.helio_au, axis=-1)

    @property
    def topo_range_au(self) -> np.ndarray:
        """Distance from the observer."""
        return np.linalg.norm(self.topo_au, axis=-1)


def _stumpff(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Stumpff's functions C and S (Curtis, Orbital Mechanics, equations 3.52 and 3.53)."""
    root = np.sqrt(np.abs(z))
    small = np.abs(z) < 1e-3
    safe = np.where(small, 1.0, root)
    bounded = np.minimum(safe, 300.0)
    with np.errstate(invalid="ignore", over="ignore"):
        c = np.where(z > 0, (1 - np.cos(safe)) / safe**2, (np.cosh(bounded) - 1) / safe**2)
        s = np.where(z > 0, (safe - np.sin(safe)) / safe**3, (np.sinh(bounded) - safe) / safe**3)
    c = np.where(small, 1 / 2 - z / 24 + z**2 / 720 - z**3 / 40320, c)
    return c, np.where(small, 1 / 6 - z / 120 + z**2 / 5040 - z**3 / 362880, s)


def propagate(orbits: Orbits, mjd_tt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute heliocentric positions and velocities by Kepler's equation in universal variables.

    Parameters
    ----------
    orbits
        n orbits.
    mjd_tt
        Times, MJD (TT), of a shape that broadcasts against (n,).

    Returns
    -------
    tuple of numpy.ndarray
        Positions (AU) and velocities (AU/day) on the axes of the ICRS, shape (..., n, 3).

    Notes
    -----
    Counted from the perihelion the equation is ``sqrt(GM) dt = e X³ S(z) + q X`` with ``z = X² (1 - e) / q``
    (Curtis, Orbital Mechanics for Engineering Students, section 3.7, with radial velocity zero), which holds for
    ellipses, parabolas and hyperbolas. Newton's iteration from above converges, because the right side is convex.
    """
    q, e = orbits.q_au, orbits.e
    dt = np.asarray(mjd_tt, float) - orbits.peri_mjd_tt
    inverse = (1 - e) / q
    bound = inverse > 1e-12
    period = 2 * np.pi / np.sqrt(GM_SUN * np.where(bound, inverse, 1.0) ** 3)
    dt = np.where(bound, dt - period * np.round(dt / np.where(bound, period, 1.0)), dt)
    wanted = np.sqrt(GM_SUN) * np.abs(dt)
    x = np.minimum(wanted / q, np.where(bound, np.pi / np.sqrt(np.where(bound, inverse, 1.0)), np.inf))
    # A parabola's solution bounds that of a hyperbola from above, and keeps the functions in range.
    x = np.minimum(x, np.where(e > 0, np.cbrt(6 * wanted / np.where(e > 0, e, 1.0)), np.inf))
    for _ in range(60):
        z = x**2 * inverse
        c, s = _stumpff(z)
        step = (e * x**3 * s + q * x - wanted) / (q + e * x**2 * c)
        x = x - step
        if np.all(np.abs(step) <= 1e-13 * (1 + np.abs(x))):
            break
    x = x * np.sign(dt)
    c, s = _stumpff(x**2 * inverse)
    r = q + e * x**2 * c
    speed = np.sqrt(GM_SUN * (1 + e) / q)
    along, across = q - x**2 * c, (dt - x**3 * s / np.sqrt(GM_SUN)) * speed
    fall = np.sqrt(GM_SUN) * x * (x**2 * inverse * s - 1) / r
    onward = speed * (1 - x**2 * c / r)
    first, second = _axes(orbits)
    position = along[..., None] * first + across[..., None] * second
    return position, fall[..., None] * first + onward[..., None] * second


def _axes(orbits: Orbits) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors to the perihelion and 90° ahead in the orbit's plane, axes of the ICRS, shape (n, 3)."""
    i, node, peri = (np.deg2rad(a) for a in (orbits.incl_deg, orbits.node_deg, orbits.peri_deg))
    cn, sn, cp, sp, ci, si = np.cos(node), np.sin(node), np.cos(peri), np.sin(peri), np.cos(i), np.sin(i)
    first = np.stack([cn * cp - sn * sp * ci, sn * cp + cn * sp * ci, sp * si], axis=-1)
    second = np.stack([-cn * sp - sn * cp * ci, -sn * sp + cn * cp * ci, cp * si], axis=-1)
    return first @ _TO_EQUATOR.T, second @ _TO_EQUATOR.T


def orbits_from_states(position_au: np.ndarray, velocity_au_day: np.ndarray, mjd_tt: np.ndarray) -> Orbits:
    """Compute the orbits that lead through given heliocentric positions with given velocities.

    Parameters
    ----------
    position_au, velocity_au_day
        Shape (n, 3), axes of the ICRS.
    mjd_tt
        Times, MJD (TT), shape (n,).

    Returns
    -------
    Orbits
        Ellipses and hyperbolas; an exact parabola or circle has no defined time or place of its perihelion.
    """
    r, v = position_au @ _TO_EQUATOR, velocity_au_day @ _TO_EQUATOR
    distance = np.linalg.norm(r, axis=1)
    momentum = np.cross(r, v)
    h = np.linalg.norm(momentum, axis=1)
    eccentric = np.cross(v, momentum) / GM_SUN - r / distance[:, None]
    e = np.linalg.norm(eccentric, axis=1)
    node = np.arctan2(momentum[:, 0], -momentum[:, 1])
    ascending = np.stack([np.cos(node), np.sin(node), np.zeros_like(node)], axis=1)
    ahead = np.cross(momentum, ascending) / h[:, None]
    peri = np.arctan2(np.sum(eccentric * ahead, axis=1), np.sum(eccentric * ascending, axis=1))
    q = h**2 / GM_SUN / (1 + e)
    inverse = (1 - e) / q
    radial = np.sum(r * v, axis=1) / np.sqrt(GM_SUN)
    root = np.sqrt(np.abs(inverse))
    # Kepler's equation of the ellipse, and that of the hyperbola.
    anomaly = np.arctan2(radial * root, 1 - distance * inverse)
    far = np.arcsinh(np.where(inverse < 0, radial * root / e, 0.0))
    mean = np.where(inverse > 0, anomaly - e * np.sin(anomaly), e * np.sinh(far) - far)
    return Orbits(
        q,
        e,
        np.rad2deg(np.arccos(np.clip(momentum[:, 2] / h, -1, 1))),
        np.rad2deg(node) % 360,
        np.rad2deg(peri) % 360,
        mjd_tt - mean / np.sqrt(GM_SUN) / root**3,
    )


def locate_observer(mjd_tai: np.ndarray, place: tuple[float, float, float] | None = None) -> Observer:
    """Find where an observer is.

    Parameters
    ----------
    mjd_tai
        Times, MJD (TAI), shape (t,).
    place
        Geodetic longitude (degrees, East), latitude (degrees) and height (m), WGS 84; None for the Earth's centre.

    Notes
    -----
    The Earth is that of ERFA's ``epv00`` (within 5 km of DE405), its rotation takes UT1 for UTC and leaves polar
    motion out: 0.4 km, or 0.4 mas for a body at 1.4 AU. No file has to be fetched.
    """
    times = Time(np.atleast_1d(np.asarray(mjd_tai, float)), format="mjd", scale="tai")
    tt = times.tt
    helio, bary = erfa.epv00(tt.jd1, tt.jd2)
    position, velocity = bary["p"].copy(), bary["v"].copy()
    sun, sun_velocity = bary["p"] - helio["p"], bary["v"] - helio["v"]
    if place is not None:
        utc = times.utc
        rotation = erfa.era00(utc.jd1, utc.jd2)
        local = erfa.pvtob(np.deg2rad(place[0]), np.deg2rad(place[1]), place[2], 0.0, 0.0, 0.0, rotation)
        to_cirs = erfa.c2i06a(tt.jd1, tt.jd2)
        position += np.einsum("tji,tj->ti", to_cirs, local["p"]) / (AU_KM * 1e3)
        velocity += np.einsum("tji,tj->ti", to_cirs, local["v"]) / (AU_KM * 1e3) * 86400
    return Observer(tt.mjd, position, velocity, sun, sun_velocity)


def predict(orbits: Orbits, observer: Observer) -> Ephemeris:
    """Predict what an observer sees.

    Parameters
    ----------
    orbits
        n bodies.
    observer
        Where the observer is at t times.
    """
    when = observer.mjd_tt[:, None]
    delay = np.zeros((len(observer.mjd_tt), len(orbits)))
    for _ in range(4):
        helio, helio_velocity = propagate(orbits, when - delay)
        sun = observer.sun_au[:, None] - delay[..., None] * observer.sun_velocity_au_day[:, None]
        topo = helio + sun - observer.position_au[:, None]
        delay = np.linalg.norm(topo, axis=-1) * LIGHT_DAY_PER_AU
    topo_velocity = helio_velocity + (observer.sun_velocity_au_day - observer.velocity_au_day)[:, None]
    distance = np.linalg.norm(topo, axis=-1)
    ra, dec = np.arctan2(topo[..., 1], topo[..., 0]), np.arcsin(topo[..., 2] / distance)
    east = np.stack([-np.sin(ra), np.cos(ra), np.zeros_like(ra)], axis=-1)
    north = np.stack([-np.sin(dec) * np.cos(ra), -np.sin(dec) * np.sin(ra), np.cos(dec)], axis=-1)
    rates = [np.rad2deg(np.sum(topo_velocity * axis, axis=-1) / distance) for axis in (east, north)]
    to_sun = (observer.sun_au - observer.position_au)[:, None]
    return Ephemeris(
        np.rad2deg(ra) % 360,
        np.rad2deg(dec),
        rates[0],
        rates[1],
        helio,
        helio_velocity,
        topo,
        topo_velocity,
        _angle(helio, topo),
        _angle(np.broadcast_to(to_sun, topo.shape), topo),
    )


def _angle(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Angles between vectors, degrees."""
    return np.rad2deg(np.arctan2(np.linalg.norm(np.cross(a, b), axis=-1), np.sum(a * b, axis=-1)))


def to_ecliptic(ra_deg: np.ndarray, dec_deg: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return longitude and latitude, degrees, on the ecliptic of J2000 to which orbits refer."""
    ra, dec = np.deg2rad(np.asarray(ra_deg, float)), np.deg2rad(np.asarray(dec_deg, float))
    vectors = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)
    x, y, z = np.moveaxis(vectors @ _TO_EQUATOR, -1, 0)
    return np.rad2deg(np.arctan2(y, x)) % 360, np.rad2deg(np.arcsin(np.clip(z, -1, 1)))
