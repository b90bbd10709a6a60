"""Real frames without a WCS: the solution must not depend on how wrong the pointing is or on what else is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import sep
from astropy.io import fits
from astropy.table import Table

from skydesk_core.algorithms.astrometry import AstrometryGuess, AstrometrySolution, solve_astrometry
from skydesk_core.algorithms.transfer import estimate_gain
from skydesk_core.errors import DataError
from skydesk_core.refcat import read_reference_file

BAD_ROWS = 12


def read_frame(folder: Path, number: int) -> tuple[np.ndarray, float, float]:
    with fits.open(folder / "drift_field_raw" / f"frame_{number:03d}.fits.gz") as hdus:
        header = hdus[0].header
        return hdus[0].data.astype(np.float32), float(header["RA"]), float(header["DEC"])


def bright_sources(image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    sky = np.ascontiguousarray(image[BAD_ROWS:])
    flat = sky - sep.Background(sky, bw=64, bh=64).back()
    found = sep.extract(flat, 6.0, minarea=3)
    x, y, _ = sep.winpos(flat, found["x"], found["y"], np.full(len(found), 1.0))
    return x, y + BAD_ROWS, found["flux"]


@pytest.fixture(scope="module")
def tycho(test_data: Path) -> Table:
    return read_reference_file(test_data / "reference_catalogs" / "tycho2" / "drift_field.csv")


def solve(image: np.ndarray, tycho: Table, guess: AstrometryGuess) -> AstrometrySolution:
    x, y, flux = bright_sources(image)
    shape = (image.shape[0], image.shape[1])
    reference = [np.asarray(tycho[c], float) for c in ("coord_ra", "coord_dec", "vt_flux")]
    return solve_astrometry(x, y, flux, *reference, guess, shape)


@pytest.mark.parametrize("number", [1, 9, 17, 24])
@pytest.mark.parametrize(("east_deg", "north_deg"), [(0.0, 0.0), (0.3, -0.2), (-0.25, 0.25)])
def test_solves_with_a_pointing_off_by_a_large_part_of_the_field(
    test_data: Path, tycho: Table, number: int, east_deg: float, north_deg: float
) -> None:
    image, ra, dec = read_frame(test_data, number)
    guess = AstrometryGuess(
        ra + east_deg / np.cos(np.radians(dec)),
        dec + north_deg,
        5.2,
        pointing_error_deg=0.5,
        scale_tolerance=0.03,
    )
    solution = solve(image, tycho, guess)
    assert solution.mirrored
    assert solution.n_matches >= 30
    assert solution.median_residual_arcsec < 0.8
    assert solution.scale_arcsec == pytest.approx(5.164, rel=0.002)


def test_wrong_parity_wrong_scale_and_another_field_are_refused(test_data: Path, tycho: Table) -> None:
    image, ra, dec = read_frame(test_data, 5)
    for guess in (
        AstrometryGuess(ra, dec, 5.16, 0.3, 0.02, mirrored=False),
        AstrometryGuess(ra, dec, 4.5, 0.3, 0.02),
        AstrometryGuess(ra + 60, dec, 5.16, 0.3, 0.02),
    ):
        with pytest.raises(DataError):
            solve(image, tycho, guess)


def test_gain_from_the_frames_is_stable(test_data: Path, record_property: object) -> None:
    frames = [read_frame(test_data, n)[0] for n in range(1, 25)]
    exclude = np.zeros(frames[0].shape, bool)
    exclude[:BAD_ROWS] = True
    first = estimate_gain(frames[:12], exclude, 4095.0)
    second = estimate_gain(frames[12:], exclude, 4095.0)
    record_property("gain_first_half", first.gain)  # type: ignore[operator]
    record_property("gain_second_half", second.gain)  # type: ignore[operator]
    assert 5 < first.gain < 30
    assert abs(first.gain - second.gain) < 4 * np.hypot(first.gain_error, second.gain_error)
    assert 0.9 < first.sky_noise_adu < 1.5
