"""Magnitudes, limits, colours, own photometry, exports and addresses of light curves."""

import gc
import gzip
import io
import weakref

import numpy as np
import pyarrow as pa
import pytest
from astropy.table import Table

from skydesk_portal.exceptions import PortalError, UsageError
from skydesk_portal.models.photometry import Photometry
from skydesk_portal.services.lightcurve_colours import list_pairs, make_colour_curve
from skydesk_portal.services.lightcurve_export import write_curves, write_python
from skydesk_portal.services.lightcurve_external import (
    ColumnMapping,
    guess_mapping,
    map_photometry,
    read_photometry,
)
from skydesk_portal.services.lightcurves import LightCurve, find_limits, to_ab_magnitude
from skydesk_portal.ui.lightcurve_periods import reduce_curve, run_search
from skydesk_portal.ui.lightcurve_view import LightCurveView, read_view, write_view


def make_curve(mjd, band, flux, error, flag=None):
    arrays = (np.asarray(a, float) for a in (flux, error))
    flags = np.zeros(len(mjd), bool) if flag is None else np.asarray(flag, bool)
    return Photometry("Object 1", np.asarray(mjd, float), np.asarray(band), *arrays, flags)


def test_magnitudes_are_ab_and_negative_fluxes_have_none():
    magnitude, error = to_ab_magnitude([3631e9, -5.0, 100.0], [3631e7, 1.0, 10.0])
    assert magnitude[0] == pytest.approx(0.0, abs=1e-3)
    assert error[0] == pytest.approx(0.010857, rel=1e-3)
    assert np.isnan(magnitude[1])
    assert magnitude[2] == pytest.approx(26.4)


def test_what_is_not_significant_gets_a_limit_of_three_sigma():
    limit = find_limits([-50.0, 100.0, 10.0, np.nan], [100.0, 10.0, 10.0, 1.0])
    assert limit[0] == pytest.approx(31.4 - 2.5 * np.log10(300))
    assert np.isnan(limit[1])
    assert limit[2] == pytest.approx(31.4 - 2.5 * np.log10(40))
    assert np.isnan(limit[3])


def test_colours_join_bands_of_the_same_night():
    # Nights of Chile go over midnight of the clock: 0.95 and 0.05 are the same night.
    mjd = [100.95, 101.05, 101.98, 102.02, 103.0]
    curve = make_curve(mjd, ["g", "r", "g", "r", "g"], [100, 200, 100, 100, 100], [1, 2, 1, 1, 1])
    colour = make_colour_curve(curve, "g", "r")
    assert colour.label == "g - r"
    np.testing.assert_allclose(colour.colour, [2.5 * np.log10(2), 0.0], atol=1e-12)
    np.testing.assert_allclose(colour.error, 2.5 / np.log(10) * np.hypot(0.01, 0.01))
    np.testing.assert_allclose(colour.mjd, [101.0, 102.0])


def test_colours_leave_out_flagged_and_negative_points():
    curve = make_curve(
        [1.0, 1.1, 2.0, 2.1], ["g", "r", "g", "r"], [5, 5, -3, 5], [1] * 4, [True, False, False, False]
    )
    assert make_colour_curve(curve, "g", "r").mjd.size == 0
    with pytest.raises(UsageError, match="longer than zero"):
        make_colour_curve(curve, "g", "r", 0)
    assert list_pairs(["g", "r", "i"]) == ["g - r", "r - i"]
    assert list_pairs(["g"]) == []


def test_a_search_leaves_out_flagged_points_and_says_what_is_missing():
    rng = np.random.default_rng(3)
    mjd = np.sort(rng.uniform(0, 50, 60))
    flux = 1000 * (1 + 0.3 * np.sin(2 * np.pi * mjd / 1.7)) + rng.normal(0, 10, 60)
    flag = np.arange(60) % 10 == 0
    flux[flag] = 1e6
    curve = make_curve(mjd, ["g"] * 60, flux, [10.0] * 60, flag)
    search = run_search(curve, False, None, None)
    assert search.peaks[0].period_day == pytest.approx(1.7, rel=2e-3)
    assert search.points == 54
    for bad in (
        make_curve(mjd[:3], ["g"] * 3, flux[:3], [1] * 3),
        make_curve(mjd, ["g"] * 60, [np.nan] * 60, [1] * 60),
    ):
        with pytest.raises(UsageError, match="at least 6 good points"):
            run_search(bad, False, None, None)


def test_no_peak_is_lost_when_a_periodogram_is_drawn():
    x, y = np.arange(100_000.0), np.zeros(100_000)
    y[[7, 54_321]] = 1
    found_x, found_y = reduce_curve(x, y, 1000)
    assert found_x.size == 1000
    assert set(found_x[found_y == 1]) == {7.0, 54_321.0}


def test_real_csv_is_read_with_its_columns_guessed(test_data):
    import tarfile

    with tarfile.open(test_data / "lightcurves_rrlyr/stripe82_rrlyr_lightcurves.tgz") as archive:
        content = archive.extractfile("4099.csv").read()
    table = read_photometry("4099.csv", content)
    mapping = guess_mapping(table.column_names)
    assert mapping == ColumnMapping("time", "mag", "magerr", "band", "AB magnitude", "MJD")
    curve = map_photometry("star", table, mapping)
    assert curve.bands == ["u", "g", "r", "i", "z"]
    raw = np.genfromtxt(io.BytesIO(content), delimiter=",", names=True, dtype=None, encoding="ascii")
    good = raw["magerr"] > 0
    magnitude, error = to_ab_magnitude(curve.flux_njy, curve.error_njy)
    np.testing.assert_allclose(magnitude, raw["mag"][good], rtol=1e-9)
    np.testing.assert_allclose(error, raw["magerr"][good], rtol=1e-9)


def test_a_supernova_of_a_real_snana_file_is_read(test_data):
    (path,) = (test_data / "lightcurves_sn").glob("**/*PHOT.FITS.gz")
    table = read_photometry(path.name, path.read_bytes())
    mapping = guess_mapping(table.column_names)
    assert (mapping.time, mapping.value, mapping.error, mapping.band) == (
        "MJD",
        "FLUXCAL",
        "FLUXCALERR",
        "BAND",
    )
    head = Table.read(next((test_data / "lightcurves_sn").glob("**/*HEAD.FITS.gz")))
    for number in (1, 2, len(head)):
        row = head[number - 1]
        curve = map_photometry("sn", table, mapping, number)
        assert curve.mjd.size == row["NOBS"]
    curve = map_photometry("sn", table, mapping, 1)
    value = table.column("FLUXCAL").to_numpy()[: curve.mjd.size]
    assert to_ab_magnitude(curve.flux_njy, curve.error_njy)[0][value > 0] == pytest.approx(
        27.5 - 2.5 * np.log10(value[value > 0])
    )
    with pytest.raises(UsageError, match=f"1 to {len(head)}, not 999"):
        map_photometry("sn", table, mapping, 999)


SNANA = b"SNID: x\nVARLIST: MJD BAND FLUXCAL FLUXCALERR\nOBS: 57000.5 g 100.0 5.0\nOBS: 57001.5 r -3.0 5.0\nEND:\n"


def test_snana_text_is_read():
    table = read_photometry("x.dat", SNANA)
    curve = map_photometry("x", table, guess_mapping(table.column_names))
    assert list(curve.band) == ["g", "r"]
    assert to_ab_magnitude(curve.flux_njy, curve.error_njy)[0][0] == pytest.approx(22.5)


def test_times_in_julian_days_become_mjd():
    table = pa.table({"jd": [2451545.0], "flux": [2.0], "err": [1.0]})
    curve = map_photometry("x", table, guess_mapping(table.column_names))
    assert curve.mjd[0] == 51544.5
    assert curve.bands == ["all"]


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "empty"), (b"\x1f\x8bbroken", "broken gzip"), (b"\x00\x01\x02", "neither VOTable"),
     (b"VARLIST: MJD FLUXCAL\nOBS: 1 2 3\n", "3 values for 2 columns"), (b"VARLIST: MJD\n", "no OBS lines"),
     (gzip.compress(b"a,b\n1,x\n2,y\n", mtime=0), "choose the column of the time")],
)  # fmt: skip
def test_a_broken_file_gives_a_sentence(content, words):
    def read():
        table = read_photometry("file", content)
        return map_photometry("file", table, guess_mapping(table.column_names))

    with pytest.raises(PortalError, match=words):
        read()


def test_columns_that_hold_no_numbers_are_named():
    table = pa.table({"mjd": ["a"], "mag": [1.0], "magerr": [1.0]})
    with pytest.raises(UsageError, match="column mjd does not hold numbers"):
        map_photometry("x", table, guess_mapping(table.column_names))
    table = pa.table({"mjd": [1.0], "mag": [99.0], "magerr": [0.0]})
    with pytest.raises(UsageError, match="no row has"):
        map_photometry("x", table, guess_mapping(table.column_names))


def test_an_export_is_read_back_by_astropy(tmp_path):
    curve = make_curve(
        [1, 2, 3], ["g", "r", "g"], [100.0, -5.0, np.nan], [10.0, 10.0, 10.0], [False, True, False]
    )
    (tmp_path / "curve.vot").write_bytes(write_curves([curve, curve], "votable/td"))
    table = Table.read(tmp_path / "curve.vot")
    assert len(table) == 6
    assert str(table["flux"].unit) == "nJy"
    assert table["mag"][0] == pytest.approx(26.4)
    assert table["limit"][1] == pytest.approx(31.4 - 2.5 * np.log10(30))
    assert np.isnan(table["flux"][2]) or table["flux"].mask[2]
    text = Table.read(io.BytesIO(write_curves([curve], "csv")), format="ascii.csv")
    assert list(text["mjd"]) == [1, 2, 3]


def test_the_code_runs_and_asks_for_the_same_rows(monkeypatch):
    import pyvo

    adql = "SELECT v.expMidptMJD, f.band, f.psfFlux, f.psfFluxErr, f.visit FROM demo.ForcedSource AS f WHERE f.objectId = 7"
    curve = LightCurve("demo", "Object", 7, 1.0, 2.0, "direct", adql, pa.table({}), ())
    asked = []

    class Service:
        def __init__(self, url, session):
            asked.append(url)

        def search(self, query):
            asked.append(query)
            return self

        def to_table(self):
            return Table({"expMidptMJD": [60000.1], "band": ["g"], "psfFlux": [5.0], "psfFluxErr": [1.0]})

    monkeypatch.setattr(pyvo.dal, "TAPService", Service)
    names = {}
    exec(write_python(curve, "https://example.org", 0.5, 60000.0), names)
    assert asked == ["https://example.org/api/tap", adql]
    assert names["phase"][0] == pytest.approx(0.2)


def test_an_address_gives_the_view_back_and_stays_short():
    view = LightCurveView(
        "demo", "DiaObject", str(2**63 - 1), "difference", tuple(str(10**18 + n) for n in range(8)), True, True,
        0.641754351271, 61000.123456, ("g", "r"), False, (60000.25, 61000.75), ("g - r", "r - i"), 0.5,
    )  # fmt: skip
    text = write_view(view)
    assert len(text) < 500
    from urllib.parse import parse_qsl

    assert read_view(dict(parse_qsl(text[1:]))) == view


def test_malformed_addresses_are_ignored():
    query = {
        "object": "7; DROP",
        "period": "nan",
        "from": "3",
        "to": "1",
        "fluxes": "x",
        "bin": "-1",
        "with": "1,x",
    }
    assert read_view(query) == LightCurveView(others=("1",))


@pytest.mark.parametrize(
    "curve",
    [make_curve([1.0, 2.0], ["g", "g"], [np.nan, np.nan], [np.nan, np.nan]), make_curve([5.0], ["x"], [3.0], [1.0]),
     make_curve([], [], [], []), make_curve([1.0, 2.0], ["r", "r"], [5.0, -5.0], [0.0, np.nan], [True, True])],
    ids=["no values", "one epoch", "nothing", "no errors"],
)  # fmt: skip
@pytest.mark.parametrize("dark", [False, True])
def test_poor_light_curves_are_drawn_too(curve, dark):
    from skydesk_portal.ui.lightcurve_plot import LightCurvePlot

    plot = LightCurvePlot([curve, curve], dark, lambda _row: None, lambda *_range: None)
    plot.fold(0.5)
    plot.mark(0)
    plot.show_colours([make_colour_curve(curve, "g", "r")])
    assert plot.view.get_root() is not None
    assert plot.bands.options == curve.bands


def test_a_plot_that_is_closed_is_kept_by_nobody():
    from skydesk_portal.ui.lightcurve_plot import LightCurvePlot

    curve = make_curve([1.0, 2.0], ["r", "g"], [5.0, 6.0], [0.1, 0.1])
    plot = LightCurvePlot([curve], False, lambda _row: None, lambda *_range: None)
    left = [weakref.ref(plot), weakref.ref(plot.period), weakref.ref(plot.fine)]
    plot.close()
    del plot
    gc.collect()
    assert [found() for found in left] == [None, None, None]
