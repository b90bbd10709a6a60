"""The simulated sky: stars, galaxies, variables, transients and moving objects, with their light at any time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.table import Table

from skydesk_core.sim.movers import make_movers, observe_movers

__all__ = ["BANDS", "Scene", "SceneSettings", "ab_to_njy", "make_scene"]

BANDS = ("g", "r", "i")
GALAXY_SHAPES = 40
"""Number of different galaxy shapes; stamps of them are shared."""

_RR_AMPLITUDE = {"g": 1.0, "r": 0.74, "i": 0.58}


def ab_to_njy(mag: np.ndarray | float) -> np.ndarray:
    """Convert AB magnitudes to nJy."""
    return 10 ** (-0.4 * (np.asarray(mag, dtype=float) - 31.4))


@dataclass(frozen=True)
class SceneSettings:
    """What the sky holds.

    Attributes
    ----------
    ra_deg, dec_deg
        Centre, ICRS.
    half_width_deg, half_height_deg
        Half the size of the populated box.
    stars_per_arcmin2, galaxies_per_arcmin2
        Densities.
    variables, transients, movers
        Numbers.
    mjd_start, days
        Begin of the survey (MJD, TAI) and its length.
    seed
        Seed of all randomness.
    """

    ra_deg: float = 53.13
    dec_deg: float = -28.10
    half_width_deg: float = 0.037
    half_height_deg: float = 0.037
    stars_per_arcmin2: float = 20.0
    galaxies_per_arcmin2: float = 40.0
    variables: int = 14
    transients: int = 8
    movers: int = 4
    mjd_start: float = 61000.0
    days: float = 60.0
    seed: int = 20261120

    @property
    def area_arcmin2(self) -> float:
        """Area of the populated box."""
        return 4 * self.half_width_deg * self.half_height_deg * 3600


@dataclass(frozen=True)
class Scene:
    """A simulated sky.

    Attributes
    ----------
    settings
        What it was made from.
    objects
        Stars and galaxies that stand still: ``id, ra, dec, is_star,
        shape`` and ``mag_g, mag_r, mag_i`` (AB, mean).
    variables
        Rows of ``objects`` that vary: ``row, kind`` (``sinusoid`` or
        ``rrlyrae``), ``period_day, amplitude_mag`` (peak to peak in g for RR
        Lyrae, in all bands for sinusoids), ``phase`` (of maximum light at
        ``mjd_start``).
    transients
        ``id, ra, dec, peak_mjd, peak_mag_g, peak_mag_r, peak_mag_i,
        rise_day, decline_day``.
    movers
        Small bodies: elements of their orbits, absolute magnitude, slope and
        colours, as `skydesk_core.sim.movers.make_movers` returns them.
    shapes
        Galaxy shapes: ``n, hlr_arcsec, g1, g2``.
    """

    settings: SceneSettings
    objects: Table
    variables: Table
    transients: Table
    movers: Table
    shapes: Table

    def object_mags(self, band: str, mjd: float) -> np.ndarray:
        """Return the AB magnitudes of all objects in a band at a time, shape (n,)."""
        mags = np.array(self.objects[f"mag_{band}"], dtype=float)
        v = self.variables
        phase = (mjd - self.settings.mjd_start) / np.asarray(v["period_day"]) - np.asarray(v["phase"])
        swing = np.where(v["kind"] == "sinusoid", -0.5 * np.cos(2 * np.pi * phase), _sawtooth(phase))
        factor = np.where(v["kind"] == "sinusoid", 1.0, _RR_AMPLITUDE[band])
        mags[np.asarray(v["row"])] += np.asarray(v["amplitude_mag"]) * factor * swing
        return mags

    def transient_mags(self, band: str, mjd: float) -> np.ndarray:
        """Return the AB magnitudes of all transients, infinite before they begin, shape (n,)."""
        t = self.transients
        dt = mjd - np.asarray(t["peak_mjd"])
        rise, decline = np.asarray(t["rise_day"]), np.asarray(t["decline_day"])
        with np.errstate(divide="ignore"):
            flux = np.where(
                dt < 0, np.clip(1 + dt / rise, 0, None) ** 2, np.exp(-np.clip(dt, 0, None) / decline)
            )
            return np.asarray(t[f"peak_mag_{band}"]) - 2.5 * np.log10(flux)

    def observe_movers(self, band: str, mjd: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return right ascension, declination (degrees) and AB magnitude of all movers, shape (n,) each."""
        seen, mags = observe_movers(self.movers, mjd)
        return seen.ra_deg[0], seen.dec_deg[0], mags[band]


def _sawtooth(phase: np.ndarray) -> np.ndarray:
    # RR Lyrae of type ab: a fast rise over 15 % of the period, a slow decline over the rest; mean zero.
    p = phase - np.floor(phase)
    return np.where(p < 0.85, p / 0.85, (1 - p) / 0.15) - 0.5


def _power_law(rng: np.random.Generator, n: int, bright: float, faint: float, slope: float) -> np.ndarray:
    lo, hi = 10 ** (slope * bright), 10 ** (slope * faint)
    return np.log10(lo + (hi - lo) * rng.random(n)) / slope


def _place(
    rng: np.random.Generator, s: SceneSettings, n: int, part: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    dec = s.dec_deg + part * s.half_height_deg * rng.uniform(-1, 1, n)
    ra = s.ra_deg + part * s.half_width_deg * rng.uniform(-1, 1, n) / np.cos(np.deg2rad(s.dec_deg))
    return ra, dec


def _make_shapes(rng: np.random.Generator) -> Table:
    n = GALAXY_SHAPES
    ellipticity = np.clip(np.abs(rng.normal(0, 0.25, n)), 0, 0.6)
    angle = rng.uniform(0, np.pi, n)
    return Table(
        {
            "n": np.where(rng.random(n) < 0.7, 1.0, 4.0),
            "hlr_arcsec": np.exp(rng.uniform(np.log(0.15), np.log(0.7), n)),
            "g1": ellipticity * np.cos(2 * angle),
            "g2": ellipticity * np.sin(2 * angle),
        }
    )


def _make_objects(rng: np.random.Generator, s: SceneSettings) -> Table:
    n_star = int(s.stars_per_arcmin2 * s.area_arcmin2)
    n_galaxy = int(s.galaxies_per_arcmin2 * s.area_arcmin2)
    n = n_star + n_galaxy
    ra, dec = _place(rng, s, n)
    is_star = np.arange(n) < n_star
    mag_r = np.where(is_star, _power_law(rng, n, 15.8, 25.0, 0.14), _power_law(rng, n, 18.5, 25.8, 0.32))
    star_colour = rng.choice([0.35, 0.55, 0.9, 1.3], n) + rng.normal(0, 0.08, n)
    g_r = np.where(is_star, star_colour, rng.normal(0.6, 0.25, n))
    r_i = np.where(is_star, 0.42 * star_colour + rng.normal(0, 0.03, n), rng.normal(0.3, 0.12, n))
    return Table(
        {
            "id": np.arange(1, n + 1, dtype=np.int64),
            "ra": ra,
            "dec": dec,
            "is_star": is_star,
            "shape": np.where(is_star, -1, rng.integers(0, GALAXY_SHAPES, n)),
            "mag_g": mag_r + g_r,
            "mag_r": mag_r,
            "mag_i": mag_r - r_i,
        }
    )


def _make_variables(rng: np.random.Generator, s: SceneSettings, objects: Table) -> Table:
    mag = np.asarray(objects["mag_r"])
    usable = np.flatnonzero(np.asarray(objects["is_star"]) & (mag > 17.6) & (mag < 21.0))
    rows = rng.choice(usable, min(s.variables, usable.size), replace=False)
    kind = np.where(np.arange(rows.size) % 2 == 0, "sinusoid", "rrlyrae")
    rr = kind == "rrlyrae"
    return Table(
        {
            "row": rows,
            "kind": kind,
            "period_day": np.where(rr, rng.uniform(0.42, 0.78, rows.size), rng.uniform(0.9, 9.0, rows.size)),
            "amplitude_mag": np.where(rr, rng.uniform(0.7, 1.2, rows.size), rng.uniform(0.3, 0.9, rows.size)),
            "phase": rng.random(rows.size),
        }
    )


def _make_transients(rng: np.random.Generator, s: SceneSettings, objects: Table) -> Table:
    n = s.transients
    mag = np.asarray(objects["mag_r"])
    hosts = rng.choice(np.flatnonzero(~np.asarray(objects["is_star"]) & (mag < 23.5)), n)
    offset, angle = rng.uniform(0.2, 1.2, n) / 3600, rng.uniform(0, 2 * np.pi, n)
    dec = np.asarray(objects["dec"])[hosts] + offset * np.sin(angle)
    ra = np.asarray(objects["ra"])[hosts] + offset * np.cos(angle) / np.cos(np.deg2rad(dec))
    peak = rng.uniform(19.0, 21.8, n)
    # They begin in the second half, so that the first half of the survey shows the sky without them.
    return Table(
        {
            "id": np.arange(1, n + 1, dtype=np.int64),
            "ra": ra,
            "dec": dec,
            "peak_mjd": s.mjd_start + s.days * rng.uniform(0.62, 0.95, n),
            "peak_mag_g": peak + 0.1,
            "peak_mag_r": peak,
            "peak_mag_i": peak + 0.15,
            "rise_day": rng.uniform(5, 12, n),
            "decline_day": rng.uniform(15, 35, n),
        }
    )


def make_scene(settings: SceneSettings, nights: np.ndarray) -> Scene:
    """Make a sky.

    Parameters
    ----------
    settings
        What it holds.
    nights
        Times (MJD, TAI) at which the survey observes; movers cross the field
        at some of them.

    Returns
    -------
    Scene
        The same for the same arguments.
    """
    rng = np.random.default_rng(settings.seed)
    objects = _make_objects(rng, settings)
    return Scene(
        settings=settings,
        objects=objects,
        variables=_make_variables(rng, settings, objects),
        transients=_make_transients(rng, settings, objects),
        movers=make_movers(rng, settings, *_place(rng, settings, settings.movers, 0.5), nights),
        shapes=_make_shapes(rng),
    )
