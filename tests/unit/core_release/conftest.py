"""A synthetic release and a working repository with the same contents, made once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from skydesk_core.home import Home
from skydesk_core.release import Release
from skydesk_core.release.publish import TABLE_TYPES
from skydesk_core.release.testing import SceneTables, make_scene, make_synthetic_release
from skydesk_core.release.testing_images import BANDS, SKYMAP, SyntheticRepo


@pytest.fixture(scope="session")
def synthetic_release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """A synthetic release; tests must not change it."""
    return make_synthetic_release(
        tmp_path_factory.mktemp("home") / "releases" / "demo", objects=400, visits=12
    )


@pytest.fixture(scope="session")
def working_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home whose working repository holds a processed survey; tests must not change it."""
    from lsst.daf.butler import DatasetType

    home = Home(tmp_path_factory.mktemp("working"))
    scene = make_scene(300, 6, 7)
    with SyntheticRepo(home.butler, scene.visits) as repo:
        repo.put_images(scene, scene.visits[:2], dict.fromkeys(BANDS, 12.0), 7)
        tables = SceneTables(scene, repo, 7)
        dia = tables.dia_source()
        made = {
            "object": tables.object(),
            "object_forced_source": tables.forced_source(),
            "dia_object": tables.dia_object(dia),
            "dia_source": dia,
            "dia_object_forced_source": tables.forced_source_on_dia_object(),
            "visit_table": tables.visit(),
            "visit_detector_table": tables.visit_detector("CcdVisit"),
            "truth_variable": tables.truth()["truth_variable"],
        }
        per_instrument = {"visit_table", "visit_detector_table"}
        for name, table in made.items():
            dimensions = ("instrument",) if name in per_instrument else ("skymap", "tract")
            data_id = {"instrument": "SimCam"} if name in per_instrument else {"skymap": SKYMAP, "tract": 0}
            kind = DatasetType(name, dimensions, "ArrowAstropy", universe=repo.butler.dimensions)
            repo.butler.registry.registerDatasetType(kind)
            repo.butler.put(table, name, data_id)
        assert {t for types in TABLE_TYPES.values() for t in types} - made.keys() == {
            "source", "ss_object", "ss_source", "mpc_orbits",
        }  # fmt: skip
    return home


@pytest.fixture
def home_copy(working_home: Home, tmp_path: Path) -> Home:
    """A copy of the working home that a test may change."""
    shutil.copytree(working_home.root, tmp_path / "home")
    return Home(tmp_path / "home")
