"""Skymaps: grids, positions, registration."""

import numpy as np
import pytest
from lsst.sphgeom import LonLat, UnitVector3d

from skydesk_core.errors import NotFoundError, UsageError
from skydesk_core.repo import create_repo, open_repo
from skydesk_core.skymap import SkyMap, make_skymap, register_skymap


@pytest.fixture(scope="module")
def skymap() -> SkyMap:
    return make_skymap("demo", 53.13, -28.1, 0.2, (3, 2), (600, 500), border=40)


def test_the_grid_is_centred_on_the_tangent_point(skymap):
    tract = skymap.tract(0)
    x, y = tract.wcs.world_to_pixel_values(53.13, -28.1)
    assert (x, y) == pytest.approx((3 * 600 / 2 - 0.5, 2 * 500 / 2 - 0.5), abs=1e-6)
    east = tract.wcs.pixel_to_world_values(x - 100, y)[0]
    assert east > 53.13


def test_inner_boxes_tile_the_tract_and_outer_ones_add_the_border(skymap):
    tract = skymap.tract(0)
    covered = np.zeros(tract.bbox.shape, int)
    for patch in tract.patches:
        inner, outer = patch.inner_bbox, patch.bbox
        covered[inner.y.start : inner.y.stop, inner.x.start : inner.x.stop] += 1
        assert (inner.x.start - outer.x.start, outer.y.stop - inner.y.stop) == (40, 40)
    assert (covered == 1).all()
    assert skymap.patch(0, 4).cell_x == 1
    assert skymap.patch(0, 4).cell_y == 1


def test_positions_find_their_patch(skymap):
    tract = skymap.tract(0)
    for patch in tract.patches:
        box = patch.inner_bbox
        x = np.array([box.x.start, box.x.stop - 1, (box.x.start + box.x.stop) / 2])
        y = np.array([box.y.start, box.y.stop - 1, (box.y.start + box.y.stop) / 2])
        ra, dec = tract.wcs.pixel_to_world_values(x, y)
        assert (tract.find_patches(ra, dec) == patch.id).all()
        centre = UnitVector3d(LonLat.fromDegrees(float(ra[2]), float(dec[2])))
        assert patch.region.contains(centre)
    assert tract.find_patches(np.array([60.0]), np.array([-28.1]))[0] == -1
    assert skymap.find_tract(60.0, -28.1) is None
    assert skymap.find_tract(53.13, -28.1) == tract


def test_it_survives_the_butler_and_registers_once(tmp_path, skymap):
    create_repo(tmp_path)
    with open_repo(tmp_path, writeable=True) as butler:
        register_skymap(butler, skymap)
        register_skymap(butler, skymap)
        assert butler.get("skyMap", skymap="demo", collections="skymaps") == skymap
        assert len(butler.query_dimension_records("patch", skymap="demo")) == 6
        other = make_skymap("demo", 53.13, -28.1, 0.3, (3, 2), (600, 500))
        with pytest.raises(UsageError, match="another definition"):
            register_skymap(butler, other)


def test_what_does_not_exist_is_named(skymap):
    with pytest.raises(NotFoundError, match="no tract 3"):
        skymap.tract(3)
    with pytest.raises(NotFoundError, match="no patch 6"):
        skymap.patch(0, 6)
    with pytest.raises(UsageError, match="must be positive"):
        make_skymap("x", 0, 0, 0.2, (0, 1), (10, 10))
