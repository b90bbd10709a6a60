"""The truth about a simulated survey as tables, and the reference catalog that real surveys would have."""

from __future__ import annotations

import numpy as np
from astropy.table import Table, vstack
from lsst.images import Box

from skydesk_core.instrument.observation import night_of
from skydesk_core.instrument.simcam import SimCam
from skydesk_core.sim.movers import make_known_orbits
from skydesk_core.sim.optics import Visit, sky_to_pixel
from skydesk_core.sim.scene import BANDS, ab_to_njy
from skydesk_core.sim.survey import Survey

__all__ = ["make_reference_catalog", "make_truth_tables"]

REFERENCE_LIMIT_MAG = 21.8
_UNITS = {
    "ra": "deg",
    "dec": "deg",
    "mjd": "d",
    "flux": "nJy",
    "flux_mean": "nJy",
    "x": "pixel",
    "y": "pixel",
}


_ORBIT_UNITS = {
    "q": "AU",
    "i": "deg",
    "node": "deg",
    "argperi": "deg",
    "peri_time": "d",
    "h_r": "mag",
    "g_r": "mag",
    "r_i": "mag",
}


def _with_units(table: Table) -> Table:
    for name in table.colnames:
        unit = _UNITS.get(name) or ("nJy" if name.endswith(("_flux", "_fluxErr")) else None)
        if unit:
            table[name].unit = unit
    return table


def make_reference_catalog(survey: Survey) -> Table:
    """Make the catalog of stars that calibrates the survey.

    Parameters
    ----------
    survey
        The survey.

    Returns
    -------
    astropy.table.Table
        Constant stars brighter than r = 21.8: ``id, coord_ra, coord_dec``
        (degrees, ICRS), ``epoch`` (MJD), ``{band}_flux, {band}_fluxErr``
        (nJy). Positions scatter by 3 mas, fluxes by 0.3 %.
    """
    objects = survey.scene.objects
    rng = np.random.default_rng([survey.settings.seed, 3])
    usable = np.asarray(objects["is_star"]) & (np.asarray(objects["mag_r"]) < REFERENCE_LIMIT_MAG)
    usable[np.asarray(survey.scene.variables["row"])] = False
    stars = objects[usable]
    n = len(stars)
    error_deg = 0.003 / 3600
    columns = {
        "id": np.asarray(stars["id"]),
        "coord_ra": np.asarray(stars["ra"])
        + rng.normal(0, error_deg, n) / np.cos(np.deg2rad(np.asarray(stars["dec"]))),
        "coord_dec": np.asarray(stars["dec"]) + rng.normal(0, error_deg, n),
        "epoch": np.full(n, survey.settings.mjd_start),
    }
    for band in BANDS:
        flux = ab_to_njy(np.asarray(stars[f"mag_{band}"]))
        columns[f"{band}_flux"] = flux * (1 + rng.normal(0, 0.003, n))
        columns[f"{band}_fluxErr"] = 0.003 * flux
    table = _with_units(Table(columns))
    table["coord_ra"].unit = table["coord_dec"].unit = "deg"
    table["epoch"].unit = "d"
    return table


def _visit_id(visit: Visit) -> int:
    return night_of(visit.mjd) * 100000 + visit.seq_num


def _objects(survey: Survey) -> Table:
    o = survey.scene.objects
    variable = np.zeros(len(o), bool)
    variable[np.asarray(survey.scene.variables["row"])] = True
    columns = {
        "id": np.asarray(o["id"]),
        "ra": np.asarray(o["ra"]),
        "dec": np.asarray(o["dec"]),
        "is_star": np.asarray(o["is_star"]),
        "is_variable": variable,
    }
    for band in BANDS:
        columns[f"{band}_flux"] = ab_to_njy(np.asarray(o[f"mag_{band}"]))
    return _with_units(Table(columns))


def _variables(survey: Survey) -> Table:
    v, o = survey.scene.variables, survey.scene.objects
    rows = np.asarray(v["row"])
    table = Table(
        {
            "id": np.asarray(o["id"])[rows],
            "ra": np.asarray(o["ra"])[rows],
            "dec": np.asarray(o["dec"])[rows],
            "kind": np.asarray(v["kind"]).astype(str),
            "period_day": np.asarray(v["period_day"]),
            "amplitude_mag": np.asarray(v["amplitude_mag"]),
            "phase": np.asarray(v["phase"]),
            "mag_r": np.asarray(o["mag_r"])[rows],
        }
    )
    return _with_units(table)


def _orbits(survey: Survey) -> Table:
    table = survey.scene.movers.copy()
    known = make_known_orbits(table, survey.settings.seed, survey.settings.mjd_start)
    table["is_known"] = np.isin(table["designation"], known["designation"])
    for name, unit in _ORBIT_UNITS.items():
        table[name].unit = unit
    return table


def _seen(survey: Survey, visit: Visit, ra_deg: np.ndarray, dec_deg: np.ndarray) -> list[tuple[int, Table]]:
    camera, found = SimCam.describe(), []
    for detector in survey.detectors:
        box: Box = camera.detector(detector).bbox.box
        x, y = sky_to_pixel(camera, detector, visit, ra_deg, dec_deg)
        rows = np.flatnonzero((x >= -0.5) & (y >= -0.5) & (x < box.x.stop - 0.5) & (y < box.y.stop - 0.5))
        found.append((detector, Table({"row": rows, "x": x[rows], "y": y[rows]})))
    return found


def _sources(survey: Survey) -> tuple[Table, Table]:
    scene = survey.scene
    varying = np.asarray(scene.variables["row"])
    every, changed = [], []
    for visit in survey.visits:
        middle = visit.mjd + 0.5 * visit.exposure_s / 86400
        flux = ab_to_njy(scene.object_mags(visit.band, middle))
        mean = ab_to_njy(np.asarray(scene.objects[f"mag_{visit.band}"]))
        mover_ra, mover_dec, mover_mag = scene.observe_movers(visit.band, middle)
        groups = [
            ("object", scene.objects["id"], scene.objects["ra"], scene.objects["dec"], flux, mean),
            (
                "transient",
                scene.transients["id"],
                scene.transients["ra"],
                scene.transients["dec"],
                ab_to_njy(scene.transient_mags(visit.band, middle)),
                np.zeros(len(scene.transients)),
            ),
            (
                "mover",
                scene.movers["id"],
                mover_ra,
                mover_dec,
                ab_to_njy(mover_mag),
                np.zeros(len(scene.movers)),
            ),
        ]
        for kind, ids, ra, dec, now, still in groups:
            for detector, seen in _seen(survey, visit, np.asarray(ra), np.asarray(dec)):
                rows = np.asarray(seen["row"])
                table = Table(
                    {
                        "id": np.asarray(ids)[rows],
                        "kind": np.full(rows.size, kind, dtype="U10"),
                        "visit": np.full(rows.size, _visit_id(visit)),
                        "detector": np.full(rows.size, detector),
                        "band": np.full(rows.size, visit.band, dtype="U1"),
                        "mjd": np.full(rows.size, middle),
                        "ra": np.asarray(ra)[rows],
                        "dec": np.asarray(dec)[rows],
                        "x": np.asarray(seen["x"]),
                        "y": np.asarray(seen["y"]),
                        "flux": now[rows],
                        "flux_mean": still[rows],
                    }
                )
                if kind == "object":
                    every.append(table)
                    varied = table[np.isin(rows, varying)]
                    varied["kind"] = "variable"
                    changed.append(varied)
                else:
                    changed.append(table[table["flux"] > 0])
    return _with_units(vstack(every)), _with_units(vstack(changed))


def make_truth_tables(survey: Survey) -> dict[str, Table]:
    """Make all truth tables of a survey.

    Parameters
    ----------
    survey
        The survey.

    Returns
    -------
    dict
        ``truth_object`` (stars and galaxies, mean fluxes), ``truth_variable``
        (period in days, amplitude), ``truth_source`` (every object in every
        visit), ``truth_dia`` (everything that varies, appears or moves, in
        every visit; ``flux`` at that time and ``flux_mean`` where it has a
        mean) and ``truth_orbit`` (orbits of what moves, absolute magnitude,
        slope and colours, and whether the pipeline knows it). Positions ICRS degrees, fluxes nJy, times MJD (TAI) of
        mid-exposure, pixels zero-based.
    """
    every, changed = _sources(survey)
    return {
        "truth_object": _objects(survey),
        "truth_variable": _variables(survey),
        "truth_source": every,
        "truth_dia": changed,
        "truth_orbit": _orbits(survey),
    }
