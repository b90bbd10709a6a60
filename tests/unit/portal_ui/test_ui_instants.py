"""Instants and lists of positions as people type them, against astropy."""

import astropy.units as u
import pytest
from astropy.coordinates import EarthLocation, SkyCoord
from astropy.time import Time
from mocpy import MOC

from skydesk_portal.exceptions import UsageError
from skydesk_portal.models.coverage_maps import area_deg2, list_orders, read_coverage, write_cells, write_text
from skydesk_portal.models.instants import parse_instant
from skydesk_portal.models.position_lists import parse_list
from skydesk_portal.ui.adql_form import write_times

DEEP_FIELD = (53.13, -28.1)
RUBIN = EarthLocation.from_geodetic(-70.7494 * u.deg, -30.2444 * u.deg, 2650 * u.m)
SECOND = 1 / 86400


@pytest.mark.parametrize("day", [51544.0, 60623.25, 61143.9])
def test_one_instant_in_every_way_to_write_it(day):
    time = Time(day, format="mjd", scale="utc", location=RUBIN)
    late = time.light_travel_time(SkyCoord(*DEEP_FIELD, unit="deg"), ephemeris="builtin")
    barycentric = time.tdb + late
    jd, tdb = f"{time.jd1 + time.jd2:.9f}", f"{barycentric.jd:.9f}"
    for text in (
        time.isot,
        time.isot.replace("T", " ") + "Z",
        f"MJD {day} UTC",
        f"{float(time.tai.mjd)!r}",
        f"MJD {float(time.tt.mjd)!r} tt",
        f"JD {jd}",
        jd,
    ):
        assert parse_instant(text) == pytest.approx(time.tai.mjd, abs=1e-3 * SECOND), text
    for text in (f"BJD {tdb}", f"bmjd {float(barycentric.mjd)!r}"):
        # The observer stands on the ground, the date is one of the centre of the Earth: 21 ms.
        assert parse_instant(text, DEEP_FIELD) == pytest.approx(time.tai.mjd, abs=0.025 * SECOND), text
    assert abs(parse_instant(f"BJD {tdb}", DEEP_FIELD) - parse_instant(f"BJD {tdb}", (233.0, 28.1))) > SECOND


@pytest.mark.parametrize(
    "text", ["yesterday", "MJD", "60623.5 UT1", "9999999", "2026-13-01", "JD 60623", "1e5"]
)
def test_what_is_no_instant_is_refused(text):
    with pytest.raises(UsageError, match="is not a time"):
        parse_instant(text)


def test_a_range_of_times_becomes_conditions():
    assert write_times("expMidptMJD", "60623.5", "") == ["expMidptMJD >= 60623.5"]
    # Eleven digits: an end of a range is kept to a tenth of a millisecond.
    assert write_times("t_min", "", "61143.123456789") == ["t_min <= 61143.123456789"]
    with pytest.raises(UsageError, match="around which position"):
        write_times("t_min", "BJD 2461144.0", "")


def test_a_list_takes_any_notation_and_radii_of_its_own():
    text = "# three\n53.13 -28.10\n\n3:32:31 -28:06:00 | 5\nNGC 1365 r=2 arcmin # a name\n123456789012\ngal 223.5 -54.4 | 0.5 deg"
    found = parse_list(text, 60.0)
    assert [e.row for e in found] == [1, 2, 3, 4, 5]
    assert [e.radius_arcsec for e in found] == [60.0, 5.0, 120.0, 60.0, 1800.0]
    assert found[0].position == pytest.approx((53.13, -28.1))
    assert found[1].position == pytest.approx((53.129166667, -28.1))
    assert (found[2].text, found[2].position) == ("NGC 1365", None)
    assert found[3].identifier == 123456789012
    for bad, words in (
        ("", "no position"),
        ("53 -28\n53 -128", "entry 2: .*outside the sky"),
        ("5 5 | 0", "radius 0"),
    ):
        with pytest.raises(UsageError, match=words):
            parse_list(bad, 60.0)


def test_real_coverage_maps_have_their_known_areas(test_data):
    sky = 41252.96
    known = {
        "P-SDSS9-r.fits": 0.36244 * sky,
        "P-GALEXGR6-AIS-FUV.fits": 0.68210 * sky,
        "bayestar.multiorder.fits": 53.05,
        "MOC2.0/smoc.ascii.txt": 0.00406901 * sky,
        "MOC2.0/SMOC.fits": 0.00406901 * sky,
    }
    for name, area in known.items():
        moc = read_coverage((test_data / "moc" / name).read_bytes())
        assert area_deg2(moc) == pytest.approx(area, rel=1e-3), name
        assert read_coverage(write_text(moc).encode()) == moc
    small = MOC.from_string("2/1 3/20-22 9/1000")
    cells = write_cells(small).decode().split()[1:]
    assert set(list_orders(small)) == {int(line.split(",")[0]) for line in cells}
    assert small.max_order == 9
    assert MOC.from_string("9/" + " ".join(c.split(",")[1] for c in cells)) == small


@pytest.mark.parametrize(
    "name", ["horsehead.fits", "MOC2.0/TMOC.fits", "MOC2.0/STMOC-test4FX.json", "MOC2.0/tmoc.ascii.txt"]
)
def test_what_is_no_spatial_map_is_refused(name, test_data):
    with pytest.raises(UsageError, match="map"):
        read_coverage((test_data / "moc" / name).read_bytes())
