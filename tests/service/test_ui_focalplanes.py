"""All detectors of a visit in one view: every pixel is the archive's pixel at that place on the sky."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from skydesk_core.release.wcsfit import evaluate_wcs
from skydesk_portal.exceptions import NotFoundError
from skydesk_portal.pipeline.fitsfiles import build_part
from skydesk_portal.services.focalplanes import FocalPlane, Member, parse_visit_id, visit_id

SIZE, GAP, SCALE_ARCSEC = 300, 20, 0.2


def make_wcs(column, row, turn_deg):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [53.0, -28.0]
    pitch = SIZE + GAP
    wcs.wcs.crpix = [pitch * (1 - column) + 0.5, pitch * (1 - row) + 0.5]
    angle = np.radians(turn_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    wcs.wcs.cd = turn @ np.diag([-SCALE_ARCSEC, SCALE_ARCSEC]) / 3600
    return wcs


@pytest.fixture(scope="module")
def plane(tmp_path_factory):
    """Four detectors whose pixels hold their own place, on a focal plane turned by 20 degrees."""
    folder = tmp_path_factory.mktemp("plane")
    members, mappings = [], []
    for n, (column, row) in enumerate([(0, 0), (1, 0), (0, 1), (1, 1)]):
        wcs = make_wcs(column, row, 20.0)
        pixels = np.arange(SIZE * SIZE, dtype=np.float32).reshape(SIZE, SIZE) + n * SIZE * SIZE
        path = folder / f"{n}.fits"
        fits.PrimaryHDU(pixels, wcs.to_header()).writeto(path)
        corners = wcs.pixel_to_world_values(
            [-0.5, SIZE - 0.5, SIZE - 0.5, -0.5], [-0.5, -0.5, SIZE - 0.5, SIZE - 0.5]
        )
        opened = build_part(path, 0, 0, folder / f"pyramid-{n}", {})
        members.append(Member(str(n), np.stack(corners, axis=1), *2 * [lambda opened=opened: opened]))
        mappings.append((wcs, pixels))
    return FocalPlane(members, "visit 1", SCALE_ARCSEC), mappings


def expected_at(mappings, ra, dec):
    """The archive's pixel at a position, NaN between the detectors; and how near its edge the position lies."""
    for wcs, pixels in mappings:
        x, y = (float(v) for v in wcs.world_to_pixel_values(ra, dec))
        i, j = int(np.floor(x + 0.5)), int(np.floor(y + 0.5))
        if 0 <= i < SIZE and 0 <= j < SIZE:
            return float(pixels[j, i]), max(abs(x - i), abs(y - j))
    return float("nan"), 0.0


@pytest.mark.requirement("DMS-PRTL-REQ-0063")
def test_native_pixels_are_those_of_the_detectors(plane):
    view, mappings = plane
    z = view.levels - 1
    side = 256 << z
    ny, nx = view.shape
    rng = np.random.default_rng(3)
    tiles, seen, gaps = {}, 0, 0
    for _ in range(600):
        x, y = int(rng.integers(nx)), int(rng.integers(ny))
        ra, dec = (
            float(v[0]) for v in evaluate_wcs(view.wcs_fit, np.array([float(x)]), np.array([float(y)]))
        )
        value, edge = expected_at(mappings, ra, dec)
        if edge > 0.49:  # which of two pixels is nearer is decided by less than the polynomial's error
            continue
        key = (x // 256, (side - 1 - y) // 256)
        if key not in tiles:
            tiles[key] = view.tile("image", z, *key)
        shown = tiles[key][(side - 1 - y) % 256, x % 256]
        assert np.array_equal(shown, np.float32(value), equal_nan=True), (x, y, shown, value)
        assert np.array_equal(view.pixel(x, y)[0], value, equal_nan=True)
        seen += np.isfinite(value)
        gaps += np.isnan(value)
    assert seen > 200
    assert gaps > 50


def test_the_coarse_level_shows_all_detectors_and_the_names_lie_on_them(plane):
    view, _ = plane
    whole = view.tile("image", 0, 0, 0)
    for n in range(4):
        inside = (whole >= n * SIZE * SIZE) & (whole < (n + 1) * SIZE * SIZE)
        assert inside.sum() * (1 << (view.levels - 1)) ** 2 == pytest.approx(SIZE * SIZE, rel=0.1)
    named = view.describe_members()
    assert [m["name"] for m in named] == ["0", "1", "2", "3"]
    for member in named:
        x, y = np.mean(member["outline"], axis=0)
        value = view.pixel(int(x), int(y))[0]
        assert int(value) // (SIZE * SIZE) == int(member["name"])


def test_a_coarse_view_needs_the_overviews_alone(plane):
    view, _ = plane

    def refuse():
        raise AssertionError("a whole pyramid was opened")

    members = [Member(m.name, m.outline, refuse, m.open_overview) for m in view.members]
    coarse = FocalPlane(members, "visit 1", SCALE_ARCSEC)
    assert np.array_equal(coarse.tile("image", 0, 0, 0), view.tile("image", 0, 0, 0), equal_nan=True)
    with pytest.raises(AssertionError, match="a whole pyramid"):
        coarse.tile("image", view.levels - 1, 0, 0)


def test_what_is_not_there_is_said(plane):
    view, _ = plane
    for wrong in (("image", 9, 0, 0), ("image", 0, 1, 0), ("colour", 0, 0, 0)):
        with pytest.raises(NotFoundError):
            view.tile(*wrong)
    assert parse_visit_id(visit_id("visit_image", 12)) == ("visit_image", 12)
    assert parse_visit_id("0198aaaa-bbbb-7ccc-8ddd-eeeeffff0000") is None
