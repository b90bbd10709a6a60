"""The simulator against its own truth: light, positions, detector effects, repeatability."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from skydesk_core.algorithms.orbits import locate_observer, predict
from skydesk_core.algorithms.solarsystem import as_orbits
from skydesk_core.errors import UsageError
from skydesk_core.instrument.simcam import SimCam
from skydesk_core.sim.movers import make_known_orbits
from skydesk_core.sim.optics import sky_electrons, sky_to_pixel, zero_point
from skydesk_core.sim.scene import BANDS, ab_to_njy
from skydesk_core.sim.survey import get_survey, write_frame
from skydesk_core.sim.truth import make_reference_catalog, make_truth_tables


@pytest.fixture(scope="module")
def survey():
    return get_survey("tiny")


@pytest.fixture(scope="module")
def truth(survey):
    return make_truth_tables(survey)


def find(paths: list[Path], part: str) -> np.ndarray:
    return fits.getdata(next(p for p in paths if part in p.name)).astype(np.float64)


def assemble(raw: np.ndarray) -> np.ndarray:
    """Electrons of a raw frame, by the simplest reduction."""
    detector = SimCam.describe().detector(0)
    image = np.zeros(detector.bbox.shape)
    for amp in detector.amplifiers:
        level = np.median(raw[amp.overscan_bbox.slices], axis=1, keepdims=True)
        image[amp.bbox.slices] = (raw[amp.raw_bbox.slices] - level) * amp.gain
    return image


def test_stars_have_the_flux_and_the_place_that_the_truth_tells(survey, truth, sim_raws):
    path = next(p for p in sim_raws if "00102_science" in p.name)
    visit = next(v for v in survey.visits if v.band == "r")
    image = assemble(fits.getdata(path).astype(float))
    image -= np.median(image)
    rows = truth["truth_source"]
    stars = set(truth["truth_object"]["id"][truth["truth_object"]["is_star"]])
    rows = rows[(rows["band"] == "r") & (np.abs(rows["mjd"] - visit.mjd) < 0.01)]
    rows = rows[np.isin(rows["id"], list(stars))]
    x, y, flux = (np.asarray(rows[c]) for c in ("x", "y", "flux"))
    yy, xx = np.mgrid[-12:13, -12:13]
    aperture = np.hypot(xx, yy) <= 10
    ratios, shifts = [], []
    for i in np.flatnonzero((flux > 5e4) & (flux < 8e5) & (x > 20) & (x < 1000) & (y > 20) & (y < 1000)):
        apart = np.hypot(x - x[i], y - y[i])
        if np.sum((apart < 25) & (flux > 0.02 * flux[i])) > 1:
            continue
        cx, cy = round(float(x[i])), round(float(y[i]))
        stamp = image[cy - 12 : cy + 13, cx - 12 : cx + 13]
        light = np.sum(stamp * aperture)
        ratios.append(light / (flux[i] * 10 ** (0.4 * (zero_point(visit) - 31.4))))
        shifts.append(
            [
                np.sum(stamp * xx * aperture) / light + cx - x[i],
                np.sum(stamp * yy * aperture) / light + cy - y[i],
            ]
        )
    assert len(ratios) >= 12
    # The aperture misses some of the wings; vignetting takes up to 6 % at the corners.
    assert 0.90 < np.median(ratios) < 1.0
    assert np.std(ratios) < 0.05
    assert np.abs(np.median(shifts, axis=0)).max() < 0.05


def test_sky_noise_gain_and_read_noise(survey, sim_raws):
    visit = next(v for v in survey.visits if v.band == "r")
    image = assemble(find(sim_raws, "00102_science"))
    sky = sky_electrons(visit, 0.2)
    assert np.median(image) == pytest.approx(sky, rel=0.05)
    bias = find(sim_raws, "bias")
    amp = SimCam.describe().detector(0).amplifiers[0]
    scan = bias[amp.overscan_bbox.slices]
    scan = scan - np.median(scan, axis=1, keepdims=True)
    assert np.std(scan) * amp.gain == pytest.approx(amp.read_noise, rel=0.05)
    noise = 1.4826 * np.median(np.abs(image - np.median(image)))
    assert noise == pytest.approx(np.sqrt(sky + amp.read_noise**2), rel=0.1)


def test_bright_stars_saturate_and_defects_are_where_the_list_says(sim_raws):
    from skydesk_core.sim.detector import make_detector_model

    raws = [find(sim_raws, f"0010{k}_science") for k in (1, 2, 3)]
    saturation = SimCam.describe().detector(0).amplifiers[0].saturation
    assert sum(r.max() >= saturation for r in raws) >= 2
    model = make_detector_model(SimCam.describe(), 0, BANDS, get_survey("tiny").settings.seed)
    flat = assemble(find(sim_raws, "flat"))
    assert np.median(flat[model.dead]) < 100
    assert np.median(flat[~model.dead]) > 25000
    dark = assemble(find(sim_raws, "dark"))
    hot = model.defects[model.defects["kind"] == "hot pixel"]
    assert np.median([dark[y, x] for x, y in hot.iterrows("x0", "y0")]) > 2000


def test_the_same_frame_is_made_again(survey, tmp_path, sim_raws):
    frame = next(f for f in survey.frames if f.kind == "science")
    path = Path(write_frame("tiny", frame, str(tmp_path)))
    first = next(p for p in sim_raws if p.name == path.name)
    np.testing.assert_array_equal(fits.getdata(path), fits.getdata(first))


def test_the_starting_wcs_is_wrong_by_distortion_and_pointing_only(survey):
    camera = SimCam.describe()
    for visit in survey.visits:
        wcs = camera.make_wcs(0, visit.ra_deg, visit.dec_deg, visit.rotation_deg)
        ra, dec = wcs.pixel_to_world_values([20, 1000, 500, 20], [20, 20, 500, 1000])
        x, y = sky_to_pixel(camera, 0, visit, np.asarray(ra), np.asarray(dec))
        shift = np.hypot(np.asarray(x) - [20, 1000, 500, 20], np.asarray(y) - [20, 20, 500, 1000])
        assert 0 < shift.max() < 3600 * camera.pointing_tolerance_deg / camera.scale_arcsec
        # Corners move against the centre: that is the distortion.
        assert np.ptp(np.asarray(x) - [20, 1000, 500, 20]) > 1


def test_variables_repeat_with_their_period(survey):
    scene = survey.scene
    row = np.asarray(scene.variables["row"])
    period = np.asarray(scene.variables["period_day"])
    t0 = survey.settings.mjd_start
    for k in range(len(row)):
        times = t0 + period[k] * np.linspace(0, 1, 400)
        mags = np.array([scene.object_mags("g", t)[row[k]] for t in times])
        assert mags[0] == pytest.approx(mags[-1], abs=1e-6)
        assert np.ptp(mags) == pytest.approx(scene.variables["amplitude_mag"][k], rel=0.02)


def test_truth_tables_agree_with_each_other(survey, truth):
    dia = truth["truth_dia"]
    assert set(dia["kind"]) == {"variable", "transient", "mover"}
    assert set(dia["id"][dia["kind"] == "variable"]) <= set(truth["truth_variable"]["id"])
    assert (dia["flux"] > 0).all()
    first_half = dia["mjd"] < survey.settings.mjd_start + 0.4 * survey.settings.days
    assert not np.any(first_half & (dia["kind"] == "transient") & (dia["flux"] > 300))
    source = truth["truth_source"]
    assert ((source["x"] >= -0.5) & (source["x"] < 1023.5)).all()
    assert str(source["flux"].unit) == "nJy"
    assert len(set(source["visit"])) == len(survey.visits)


def test_movers_are_main_belt_bodies_that_cross_the_field_in_two_nights(survey, truth):
    orbits, dia = truth["truth_orbit"], truth["truth_dia"]
    axis = orbits["q"] / (1 - orbits["e"])
    assert ((axis > 1.8) & (axis < 3.4)).all()
    assert (orbits["e"] < 0.35).all()
    assert 0 < orbits["is_known"].sum() < len(orbits)
    seen = dia[dia["kind"] == "mover"]
    for body in orbits["id"]:
        own = seen[seen["id"] == body]
        assert len(set(own["visit"] // 100000)) == 2
        for night in set(own["visit"] // 100000):
            one = own[own["visit"] // 100000 == night]
            moved = np.hypot(np.ptp(one["ra"]) * np.cos(np.deg2rad(one["dec"][0])), np.ptp(one["dec"]))
            assert 0.04 < moved / np.ptp(one["mjd"]) < 0.3
        # It recedes and grows fainter, and its colours are those of an asteroid.
        red = own[own["band"] == "r"]
        assert red["flux"][np.argmin(red["mjd"])] > red["flux"][np.argmax(red["mjd"])]


def test_the_catalog_of_known_orbits_predicts_the_movers(survey, truth):
    known = make_known_orbits(survey.scene.movers, survey.settings.seed, survey.settings.mjd_start)
    assert len(set(known["ssObjectId"])) == len(known) > 100
    dia = truth["truth_dia"][truth["truth_dia"]["kind"] == "mover"]
    names = dict(zip(truth["truth_orbit"]["id"], truth["truth_orbit"]["designation"], strict=True))
    checked = 0
    for row in dia:
        of_name = known[known["designation"] == names[row["id"]]]
        if len(of_name):
            seen = predict(as_orbits(of_name), locate_observer([row["mjd"]], SimCam.describe().site))
            east = (seen.ra_deg[0, 0] - row["ra"]) * np.cos(np.deg2rad(row["dec"]))
            away = 3600 * np.hypot(east, seen.dec_deg[0, 0] - row["dec"])
            # The catalog has errors, and they are small.
            assert 1e-4 < away < 0.6
            checked += 1
    assert checked >= 12


def test_reference_catalog_has_constant_stars_with_errors(survey, truth):
    catalog = make_reference_catalog(survey)
    assert not set(catalog["id"]) & set(truth["truth_variable"]["id"])
    rows = {int(i): k for k, i in enumerate(truth["truth_object"]["id"])}
    match = [rows[int(i)] for i in catalog["id"]]
    pull = (catalog["r_flux"] - truth["truth_object"]["r_flux"][match]) / catalog["r_fluxErr"]
    assert 0.8 < np.std(pull) < 1.2
    offset = 3.6e6 * (catalog["coord_dec"] - truth["truth_object"]["dec"][match])
    assert 2 < np.std(offset) < 4
    assert np.asarray(catalog["r_flux"]).min() > 0.9 * ab_to_njy(21.8)


def test_unknown_presets_are_refused():
    with pytest.raises(UsageError, match="unknown preset 'huge'"):
        get_survey("huge")
