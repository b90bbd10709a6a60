"""Rows of ObsCore: wavelengths by name and by description, names, and columns of the standard."""

import numpy as np
import pytest

from skydesk_core.release.imagefacts import ImageFacts, _combined
from skydesk_core.release.obscore import find_wavelengths_m, make_obscore
from skydesk_core.release.provenance import ExposureFacts

SQUARE = np.array([(10.0, 0.0), (10.1, 0.0), (10.1, 0.1), (10.0, 0.1)])


def fact(dataset_type: str, **more: object) -> ImageFacts:
    values = {
        "dataset_id": "01a20d3e-2b12-713d-b4f7-0948fe4f6578",
        "dataset_type": dataset_type,
        "data_id": {"instrument": "Cam", "detector": 3},
        "corners": None,
        "shape": (50, 60),
        "pixel_scale_arcsec": 0.2,
        "fwhm_arcsec": None,
        "size_bytes": 5000,
        "t_min": None,
        "t_max": None,
        "exposure_s": None,
        "band": None,
        "physical_filter": None,
        "target": None,
        "unit": None,
    }
    return ImageFacts(**{**values, **more})


@pytest.mark.parametrize(
    ("band", "described", "limits_nm"),
    [
        ("r", None, (552, 691)),
        ("R", None, (572, 710)),
        ("clear", None, (330, 1060)),
        ("Clear", (400.0, 900.0), (400, 900)),
        ("Ha", (653.0, 659.0), (653, 659)),
        ("Ha", None, None),
        (None, None, None),
    ],
)
def test_wavelengths(band, described, limits_nm):
    found = find_wavelengths_m(band, described)
    assert found == (None if limits_nm is None else pytest.approx(tuple(v * 1e-9 for v in limits_nm)))


def test_a_calibration_has_what_can_be_known_of_it():
    flat = fact("flat", band="g", physical_filter="g_1")
    bias = fact("bias", band="g")
    first, second = make_obscore("rel", [flat, bias], "here", None).to_pylist()
    assert first["obs_id"] == "Cam-flat-3-g_1-fe4f6578"
    assert (first["calib_level"], first["o_ucd"], first["s_xel1"], first["s_xel2"]) == (
        3,
        "arith.factor",
        60,
        50,
    )
    assert first["em_res_power"] == pytest.approx(3.18)
    assert (first["s_ra"], first["s_region"], first["t_min"]) == (None, None, None)
    assert first["s_pixel_scale"] == 0.2
    assert first["obs_release_date"] is not None
    assert second["em_min"] is None


def test_a_calibration_exposure_says_what_it_was_taken_for():
    data_id = {"instrument": "Cam", "detector": 3, "exposure": 7}
    kinds = ("science", "bias", "flat")
    facts = [fact("raw", data_id=data_id, band="g", observation_type=kind) for kind in kinds]
    rows = make_obscore("rel", facts, "here", None).to_pylist()
    assert [r["obs_title"] for r in rows] == ["raw Cam-7-3", "raw Cam-7-3 (bias)", "raw Cam-7-3 (flat)"]
    assert [r["em_min"] is None for r in rows] == [False, True, False]


def test_the_exposure_time_of_a_coadd_is_the_median_over_its_area():
    coadd = fact("deep_coadd", corners=SQUARE, data_id={"skymap": "s", "tract": 0, "patch": 1, "band": "r"})
    left, far = SQUARE - np.array((0.04, 0.0)), SQUARE + np.array((180.0, 0.0))
    seen = [
        ExposureFacts("a", 1, 5.0, 5.1, 30.0, "field", "p"),
        ExposureFacts("b", 2, 4.0, 4.1, 30.0, "field", "p"),
        ExposureFacts("c", 3, 6.0, 6.1, 100.0, "field", "q"),
    ]
    found = _combined(coadd, seen, {"a": SQUARE, "b": left, "c": far})
    assert (found.t_min, found.t_max, found.target, found.program) == (4.0, 6.1, "field", None)
    assert found.exposure_s == 60.0
    assert _combined(coadd, seen, {}).exposure_s == 160.0
    assert _combined(coadd, [], {}) is coadd
