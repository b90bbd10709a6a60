"""Orbits, phase curves and known bodies: against numerical integration, astropy's planets and published values."""

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import EarthLocation, SkyCoord, get_body_barycentric_posvel
from astropy.table import Table
from astropy.time import Time
from astropy.utils import iers
from click.testing import CliRunner
from scipy.integrate import solve_ivp

from skydesk_core.algorithms.orbits import (
    GM_SUN,
    LIGHT_DAY_PER_AU,
    Orbits,
    locate_observer,
    orbits_from_states,
    predict,
    propagate,
    to_ecliptic,
)
from skydesk_core.algorithms.phasecurve import (
    FIXED_G12,
    fit_hg12,
    reduced_magnitude_hg,
    reduced_magnitude_hg12,
)
from skydesk_core.algorithms.solarsystem import (
    designation_to_id,
    id_to_designation,
    match_known,
    predict_near,
    tisserand_jupiter,
)
from skydesk_core.commands import orbits as orbits_command
from skydesk_core.errors import DataError
from skydesk_core.orbitcat import read_orbit_file
from skydesk_core.repo import open_repo
from skydesk_core.tasks.association import AssociateDiaSourceTask
from skydesk_core.tasks.solarsystem import AssociateSolarSystemSourceTask, ConsolidateSsTablesTask

SITE = (-70.749417, -30.244639, 2663.0)
START = 61000.0


@pytest.fixture(scope="module")
def orbits():
    """Ellipses, parabolas and hyperbolas of all inclinations."""
    rng = np.random.default_rng(1)
    n = 90
    e = np.concatenate([rng.uniform(0.01, 0.99, 60), np.ones(10), rng.uniform(1.001, 4, 20)])
    return Orbits(
        rng.uniform(0.3, 3, n),
        e,
        rng.uniform(1, 170, n),
        rng.uniform(0, 360, n),
        rng.uniform(0, 360, n),
        START + rng.uniform(-900, 900, n),
    )


def test_propagation_agrees_with_numerical_integration(orbits) -> None:
    position, velocity = propagate(orbits, np.array(START))
    later, _ = propagate(orbits, np.array(START + 120))
    for k in range(0, len(orbits), 5):

        def fall(_t, y):
            return np.concatenate([y[3:], -GM_SUN * y[:3] / np.linalg.norm(y[:3]) ** 3])

        begin = np.concatenate([position[k], velocity[k]])
        found = solve_ivp(fall, (0, 120), begin, method="DOP853", rtol=1e-11, atol=1e-13)
        # 0.1 arcsec at one AU is 4.8e-7 AU.
        assert np.linalg.norm(found.y[:3, -1] - later[k]) < 1e-8


def test_elements_come_back_from_positions_and_velocities(orbits) -> None:
    curved = orbits.take(np.flatnonzero(np.abs(orbits.e - 1) > 1e-6))
    position, velocity = propagate(curved, np.array(START))
    back = orbits_from_states(position, velocity, np.full(len(curved), START))
    for name in ("q_au", "e", "incl_deg"):
        np.testing.assert_allclose(getattr(back, name), getattr(curved, name), atol=1e-9)
    for name in ("node_deg", "peri_deg"):
        turn = (getattr(back, name) - getattr(curved, name) + 180) % 360 - 180
        assert np.abs(turn).max() < 1e-8
    again, _ = propagate(back, np.array(START + 50))
    np.testing.assert_allclose(again, propagate(curved, np.array(START + 50))[0], atol=1e-9)


@pytest.mark.parametrize("planet", ["mars", "jupiter"])
@pytest.mark.parametrize("days", [0.0, 1.0])  # the planets leave their two-body orbits later
def test_predicted_positions_agree_with_astropy(planet: str, days: float) -> None:
    at = Time(START, format="mjd", scale="tdb")
    there, speed = get_body_barycentric_posvel(planet, at, ephemeris="builtin")
    sun, sun_speed = get_body_barycentric_posvel("sun", at, ephemeris="builtin")
    orbit = orbits_from_states(
        (there - sun).xyz.to_value("au")[None],
        (speed - sun_speed).xyz.to_value("au/d")[None],
        np.array([START]),
    )
    seen_at = Time(START + days, format="mjd", scale="tai")
    seen = predict(orbit, locate_observer(np.array([seen_at.mjd]), SITE))
    place = EarthLocation.from_geodetic(SITE[0], SITE[1], SITE[2])
    with iers.conf.set_temp("auto_download", False):
        local, _ = place.get_gcrs_posvel(seen_at)
    earth, _ = get_body_barycentric_posvel("earth", seen_at, ephemeris="builtin")
    delay = 0.0 * u.day
    for _ in range(4):
        left, _ = get_body_barycentric_posvel(planet, seen_at - delay, ephemeris="builtin")
        line = (left.xyz - earth.xyz - local.xyz).to_value("au")
        delay = np.linalg.norm(line) * LIGHT_DAY_PER_AU * u.day
    truth = SkyCoord(x=line[0], y=line[1], z=line[2], representation_type="cartesian").spherical
    found = SkyCoord(seen.ra_deg[0, 0], seen.dec_deg[0, 0], unit="deg")
    assert found.separation(SkyCoord(truth.lon, truth.lat)).arcsec < 0.1
    assert seen.topo_range_au[0, 0] == pytest.approx(np.linalg.norm(line), abs=1e-5)


def test_rates_are_the_derivatives_of_positions(orbits) -> None:
    few = orbits.take(np.arange(0, 60, 6))
    step = 0.01
    seen = predict(few, locate_observer(np.array([START - step, START, START + step]), SITE))
    ra, dec = np.unwrap(np.deg2rad(seen.ra_deg), axis=0), np.deg2rad(seen.dec_deg)
    moved_ra = np.rad2deg(ra[2] - ra[0]) * np.cos(dec[1]) / (2 * step)
    moved_dec = np.rad2deg(dec[2] - dec[0]) / (2 * step)
    # The rates leave out how the light time changes, a part in ten thousand.
    size = np.hypot(moved_ra, moved_dec)
    assert np.all(np.abs(seen.rate_ra_deg_day[1] - moved_ra) < 1e-3 * size + 1e-4)
    assert np.all(np.abs(seen.rate_dec_deg_day[1] - moved_dec) < 1e-3 * size + 1e-4)


def test_ecliptic_of_known_directions() -> None:
    # The pole of the ecliptic J2000: 18h00m00s, +66°33'38.55".
    _, latitude = to_ecliptic(np.array([270.0]), np.array([66.5607083]))
    assert latitude[0] == pytest.approx(90, abs=1e-5)
    longitude, _ = to_ecliptic(np.array([90.0]), np.array([23.4392911]))
    assert longitude[0] == pytest.approx(90, abs=1e-9)


def test_phase_functions_have_their_published_values() -> None:
    # Opposition, and the nodes of Muinonen et al. (2010), tables 3 and 4.
    assert reduced_magnitude_hg12(np.array([0.0]), 7.1, 0.4)[0] == pytest.approx(7.1)
    g1, g2 = 0.9529 * 0.5 + 0.02162, -0.6125 * 0.5 + 0.5572
    wanted = -2.5 * np.log10(g1 * 0.33486016 + g2 * 0.62884169)
    assert reduced_magnitude_hg12(np.array([30.0]), 0.0, 0.5)[0] == pytest.approx(wanted, abs=1e-5)
    # Massalia by Gehrels (1956), reduced magnitudes at small and large phase angles; G = 0.25 (Bowell et al. 1989).
    phase = np.array([0.57, 1.09, 3.20, 10.99, 14.69, 20.42])
    mag = np.array([6.555, 6.646, 6.793, 7.130, 7.210, 7.414])
    h = np.mean(mag - reduced_magnitude_hg(phase, 0.0, 0.25))
    assert np.abs(mag - reduced_magnitude_hg(phase, h, 0.25)).max() < 0.05
    fit = fit_hg12(phase, mag, np.full(6, 0.02))
    assert fit is not None
    assert fit.slope_fitted
    assert np.abs(mag - reduced_magnitude_hg12(phase, fit.h_mag, fit.g12)).max() < 0.05


def test_a_phase_curve_is_fitted_within_its_errors() -> None:
    rng = np.random.default_rng(4)
    pulls = []
    for _ in range(60):
        g12 = rng.uniform(0.25, 0.7)
        phase = rng.uniform(0.5, 28, 25)
        mag = reduced_magnitude_hg12(phase, 17.0, g12) + rng.normal(0, 0.03, 25)
        fit = fit_hg12(phase, mag, np.full(25, np.sqrt(0.03**2 - 0.01**2)))
        assert fit is not None
        assert fit.slope_fitted
        assert fit.used == 25
        pulls.append(((fit.h_mag - 17.0) / fit.h_error_mag, (fit.g12 - g12) / fit.g12_error))
    spread = np.std(pulls, axis=0)
    assert np.all(spread > 0.6)
    assert np.all(spread < 1.4)


def test_too_few_points_keep_the_slope_fixed() -> None:
    phase = np.array([21.0, 23.0])
    fit = fit_hg12(phase, reduced_magnitude_hg12(phase, 18.0, FIXED_G12), np.full(2, 0.05))
    assert fit is not None
    assert not fit.slope_fitted
    assert fit.g12 == FIXED_G12
    assert fit.h_mag == pytest.approx(18.0)
    assert np.isnan(fit.g12_error)
    assert fit_hg12(np.array([np.nan]), np.array([18.0]), np.array([0.1])) is None


def test_identifiers_are_packed_designations() -> None:
    # An object of DP1: 2003 QT30, packed K03Q30T.
    assert designation_to_id("K03Q30T") == 21163620217073748
    assert id_to_designation(21163620217073748) == "K03Q30T"
    with pytest.raises(DataError, match="eight ASCII"):
        designation_to_id("2003 QT30 and more")


def test_tisserand_parameters() -> None:
    # Ceres: a = 2.767 AU, e = 0.0785, i = 10.59°; published 3.310.
    ceres = Orbits(*(np.array([v]) for v in (2.767 * (1 - 0.0785), 0.0785, 10.59, 80.0, 73.0, START)))
    assert tisserand_jupiter(ceres)[0] == pytest.approx(3.31, abs=0.01)


def test_matching_is_one_to_one_and_within_the_radius() -> None:
    ra, dec = np.array([10.0, 10.0 + 0.3 / 3600, 10.1]), np.zeros(3)
    found = match_known(ra, dec, np.array([10.0 + 0.1 / 3600, 10.1 + 2 / 3600]), np.zeros(2), 1.0)
    assert found.detection.tolist() == [0]
    assert found.body.tolist() == [0]
    assert found.rank.tolist() == [1]
    assert found.separation_arcsec[0] == pytest.approx(0.1, rel=1e-3)
    two = match_known(ra[:2], dec[:2], ra[:1], dec[:1], 1.0)
    assert len(two.detection) == 1
    assert not len(match_known(ra[:0], dec[:0], ra, dec, 1.0).detection)


@pytest.fixture(scope="module")
def belt():
    """A catalog of 500 main-belt orbits as the task reads it."""
    rng = np.random.default_rng(7)
    n = 500
    a, e = rng.uniform(2.1, 3.3, n), rng.uniform(0.02, 0.3, n)
    return Table(
        {
            "ssObjectId": np.arange(1001, 1001 + n),
            "designation": [f"T {k}" for k in range(n)],
            "q": a * (1 - e),
            "e": e,
            "i": np.abs(rng.normal(0, 10, n)),
            "node": rng.uniform(0, 360, n),
            "argperi": rng.uniform(0, 360, n),
            "peri_time": START + rng.uniform(-900, 900, n),
            "h": rng.uniform(14, 18, n),
            "g": np.full(n, 0.15),
        }
    )


def test_known_bodies_are_found_among_detections_and_described(belt) -> None:
    from skydesk_core.algorithms.solarsystem import as_orbits

    everything = predict(as_orbits(belt), locate_observer(np.array([START]), SITE))
    target = int(np.argmin(everything.topo_range_au[0]))
    ra, dec = everything.ra_deg[0, target], everything.dec_deg[0, target]
    rows, _ = predict_near(as_orbits(belt), locate_observer(np.array([START]), SITE), ra, dec, 1.0)
    assert target in rows
    assert len(rows) < len(belt) / 4
    sources = Table(
        {
            "diaSourceId": np.array([5, 6, 7]),
            "ra": [ra + 0.05, ra + 0.2 / 3600 / np.cos(np.deg2rad(dec)), ra],
            "dec": [dec, dec, dec + 5 / 3600],
        }
    )
    table = AssociateSolarSystemSourceTask().run(sources, belt, START, SITE)
    assert table["diaSourceId"].tolist() == [6]
    assert table["ssObjectId"][0] == belt["ssObjectId"][target]
    row = table[0]
    assert row["ephOffsetRa"] == pytest.approx(0.2, abs=1e-3)
    assert np.hypot(row["ephOffsetAlongTrack"], row["ephOffsetCrossTrack"]) == pytest.approx(0.2, abs=1e-3)
    assert row["topoRange"] == pytest.approx(everything.topo_range_au[0, target])
    # The triangle of Sun, observer and body: law of cosines with the Earth at 0.98 to 1.02 AU.
    side = np.sqrt(
        row["helioRange"] ** 2
        + row["topoRange"] ** 2
        - 2 * row["helioRange"] * row["topoRange"] * np.cos(np.deg2rad(row["phaseAngle"]))
    )
    assert 0.98 < side < 1.02
    assert str(table["ephRate"].unit) == "deg / d"
    assert str(table["helio_vx"].unit) == "km / s"
    assert len(AssociateSolarSystemSourceTask().run(sources, None, START)) == 0
    assert len(AssociateSolarSystemSourceTask().run(sources[:0], belt, START)) == 0


def test_known_bodies_begin_no_object_and_get_a_phase_curve(belt) -> None:
    class Everywhere:
        """A tract that has all positions in its first patch."""

        id = 0

        def find_patches(self, ra, dec):
            return np.zeros(len(ra), int)

    n = 12
    ids = np.arange(n)
    phase = np.linspace(1, 25, n)
    known = Table(
        {
            "diaSourceId": ids,
            "ssObjectId": np.full(n, belt["ssObjectId"][3]),
            "phaseAngle": phase,
            "helioRange": np.full(n, 2.5),
            "topoRange": np.full(n, 1.6),
        }
    )
    mag = reduced_magnitude_hg12(phase, 16.0, 0.4) + 5 * np.log10(2.5 * 1.6)
    flux = 10 ** ((31.4 - mag) / 2.5)
    every = Table(
        {
            "diaSourceId": np.arange(n + 2),
            "ra": np.append(10 + 0.1 * ids, [50.0, 50.0]),
            "dec": np.zeros(n + 2),
            "snr": np.full(n + 2, 30.0),
            "visit": np.append(ids, [1, 2]),
            "band": np.full(n + 2, "r"),
            "midpointMjdTai": START + np.append(ids, [1.0, 2.0]),
            "psfFlux": np.append(flux, [500.0, 520.0]),
            "psfFluxErr": np.append(flux / 50, [20.0, 20.0]),
            "scienceFlux": np.append(flux, [500.0, 520.0]),
            "scienceFluxErr": np.append(flux / 50, [20.0, 20.0]),
        }
    )
    result = AssociateDiaSourceTask().run(every, Everywhere(), known)
    assert len(result.objects) == 1
    assert result.objects["nDiaSources"][0] == 2
    assert np.all(result.sources["diaObjectId"][:n] == 0)
    assert np.all(result.sources["diaObjectId"][n:] > 0)
    assert np.all(result.sources["ssObjectId"][:n] == belt["ssObjectId"][3])
    assert np.all(result.sources["ssObjectId"][n:] == 0)
    found = ConsolidateSsTablesTask().run(known[::-1], result.sources[:n], belt)
    assert len(found) == 1
    assert found["designation"][0] == belt["designation"][3]
    assert found["nObs"][0] == n
    assert found["arc"][0] == pytest.approx(n - 1)
    assert found["r_H"][0] == pytest.approx(16.0, abs=0.02)
    assert found["r_G12"][0] == pytest.approx(0.4, abs=0.03)
    assert not found["r_slope_fit_failed"][0]


_CERES = (
    "00001    3.34  0.15 K25BL 188.70269   73.27343   80.25221   10.58780  0.0794013  0.21424651   2.7660512"
    "  0 E2024-V47  7330 125 1801-2024 0.80 M-v 30k MPCLINUX   4000      (1) Ceres              20241101\n"
)


def test_the_minor_planet_centers_format_is_read(tmp_path) -> None:
    path = tmp_path / "MPCORB.DAT"
    path.write_text("MINOR PLANET CENTER ORBIT DATABASE\n\n" + "-" * 160 + "\n" + _CERES + "\n", "ascii")
    table = read_orbit_file(path)
    assert table["designation"].tolist() == ["(1) Ceres"]
    assert table["ssObjectId"][0] == designation_to_id("00001")
    assert table["epoch_mjd"][0] == 61000.0
    assert table["q"][0] == pytest.approx(2.7660512 * (1 - 0.0794013))
    assert table["period"][0] == pytest.approx(1680.3, abs=0.5)
    # Mean anomaly 188.7° on the way up: the next perihelion is nearest.
    assert (table["peri_time"][0] - 61000.0) == pytest.approx(171.29731 / 360 * 1680.3, abs=0.5)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("designation,q,e\n2025 AB,1,0.1\n", "column i is missing"),
        ("designation,q,e,i,node,argperi,peri_time,h\n2025 AB,-1,0.1,1,1,1,61000,18\n", "q = -1.0 is not"),
        ("designation,q,e,i,node,argperi,peri_time,h\n", "holds no orbit"),
        (
            "designation,q,e,i,node,argperi,peri_time,h\nA,1,0,1,1,1,61000,18\nA,1,0,1,1,1,61000,18\n",
            "stands there twice",
        ),
    ],
    ids=["column", "element", "empty", "twice"],
)
def test_bad_orbit_files_are_refused(tmp_path, text: str, says: str) -> None:
    path = tmp_path / "orbits.csv"
    path.write_text(text, "utf-8")
    with pytest.raises(DataError, match=says):
        read_orbit_file(path)


def test_a_loaded_catalog_replaces_the_one_before(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("SKYDESK_HOME", str(tmp_path / "home"))
    head = "designation,q,e,i,node,argperi,peri_time,h\n"
    for count in (3, 2):
        rows = "".join(f"2025 A{k},1.9,0.1,5,10,20,61000,18\n" for k in range(count))
        path = tmp_path / f"{count}.csv"
        path.write_text(head + rows, "utf-8")
        done = CliRunner().invoke(orbits_command, ["load", str(path)], catch_exceptions=False)
        assert done.output == f"{count} known orbits\n"
    with open_repo(tmp_path / "home" / "butler", collections=["refcats"]) as butler:
        table = butler.get("mpc_orbits")
    assert table["designation"].tolist() == ["2025 A0", "2025 A1"]
    assert str(table["q"].unit) == "AU"
