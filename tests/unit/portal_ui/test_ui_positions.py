"""Positions as people write them, against astropy."""

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord

from skydesk_portal.exceptions import UsageError
from skydesk_portal.models.positions import parse_iau_name, parse_position


@pytest.mark.parametrize(
    ("text", "ra_deg", "dec_deg"),
    [
        ("53.13 -28.1", 53.13, -28.1),
        ("53.13, -28.1", 53.13, -28.1),
        ("53.13-28.1", 53.13, -28.1),
        ("53.13° −28.1°", 53.13, -28.1),
        ("ra=53.13 dec=-28.1", 53.13, -28.1),
        ("RA 53.13 Dec -28.1", 53.13, -28.1),
        ("3:32:31.2 -28:06:00", 53.13, -28.1),
        ("3:32:31.2,-28:06:00", 53.13, -28.1),
        ("03:32:31.2-28:06:00", 53.13, -28.1),
        ("03 32 31.2 -28 06 00", 53.13, -28.1),
        ("03 32 31.2 28 06 00", 53.13, 28.1),
        ("3 32.52 -28 06", 53.13, -28.1),
        ("03h32m31.2s -28d06m00s", 53.13, -28.1),
        ("03h 32m 31.2s -28° 06′ 00″", 53.13, -28.1),
        ("03h32m31.2s-28d06m00s", 53.13, -28.1),
        ("53d07m48s -28d06m00s", 53.13, -28.1),
        ("3:32:31.2 \N{MINUS SIGN}0:06:00", 53.13, -0.1),
        ("5.313e1 -2.81e+1", 53.13, -28.1),
        ("360 0", 0.0, 0.0),
        ("0 90", 0.0, 90.0),
        ("IAU J033231.2-280600", 53.13, -28.1),
        ("LSST J0332-2806", 53.0, -28.1),
        ("J033231-0006", 53.129166667, -0.1),
    ],
)
def test_usual_notations_are_read(text, ra_deg, dec_deg):
    assert parse_position(text) == pytest.approx((ra_deg, dec_deg), abs=1e-9)


@pytest.mark.requirement("DMS-PRTL-REQ-0022")
@pytest.mark.parametrize("frame", ["icrs", "galactic", "barycentricmeanecliptic"])
def test_what_astropy_writes_is_read_to_a_microarcsecond(frame):
    rng = np.random.default_rng(4)
    word = {"icrs": "", "galactic": "gal ", "barycentricmeanecliptic": "ecl "}[frame]
    sky = SkyCoord(rng.uniform(0, 360, 40) * u.deg, np.degrees(np.arcsin(rng.uniform(-1, 1, 40))) * u.deg)
    for place in sky:
        written = place.transform_to(frame)
        texts = [
            word + written.to_string("decimal", precision=11),
            word + written.to_string("dms", precision=9),
        ]
        if frame == "icrs":
            texts += [
                written.to_string("hmsdms", precision=9),
                written.to_string("hmsdms", sep=":", precision=9),
            ]
            texts.append(written.to_string("hmsdms", sep=" ", precision=9))
        for text in texts:
            found = SkyCoord(*parse_position(text), unit="deg")
            assert found.separation(place).uas < 5, text


def test_galactic_landmarks_lie_where_they_are_published():
    centre, pole = (
        SkyCoord(*parse_position("l=0 b=0"), unit="deg"),
        SkyCoord(*parse_position("galactic 0, 90"), unit="deg"),
    )
    assert centre.separation(SkyCoord("17h45m37.224s -28d56m10.23s")).arcsec < 0.5
    assert pole.separation(SkyCoord("12h51m26.282s +27d07m42.01s")).arcsec < 0.5


@pytest.mark.parametrize(
    "text",
    [
        "53.13", "somewhere nice", "400 10", "10 95", "3:x:1 2:3:4", "1 2 3", "3:61:00 2:00:00", "10 20 30 40 50",
        "J2533-2806", "J033261-280600", "1,2,3", "10h -2h", "53.1.3 2", "gal 10", "--3 4", "10 -", "nan nan", "inf 0",
    ],
)  # fmt: skip
def test_what_is_no_position_is_refused_with_its_text(text):
    with pytest.raises(UsageError) as caught:
        parse_position(text)
    assert text.split()[0] in str(caught.value)


def test_names_of_the_iau_are_told_from_others():
    assert parse_iau_name("SDSS J120000.00+000000.0") == pytest.approx((180.0, 0.0))
    assert parse_iau_name("Jupiter") is None
    assert parse_iau_name("J2000") is None
