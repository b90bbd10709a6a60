"""The finished tiny demo: what the build leaves behind, what it says, and that it is done once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from skydesk_core.commands import demo as demo_command
from skydesk_core.config import DemoConfig, load_config
from skydesk_core.demo import DemoReport, _Clock, _only_one, build_demo
from skydesk_core.errors import ConfigError, UsageError
from skydesk_core.home import Home
from skydesk_core.repo import open_repo


def test_steps_and_costs_are_written(demo_home):
    timing = json.loads((demo_home / "cache" / "demo-timing.json").read_text())
    assert timing["version"] == 1
    assert [s["name"] for s in timing["steps"]] == ["simulate", "ingest", "calibrate", "process", "publish"]
    assert sum(s["wall_s"] for s in timing["steps"]) <= timing["elapsed_s"] + 0.1
    process = timing["steps"][3]["labels"]
    assert process["isr"]["quanta"] == 12
    assert all(cost["cpu_s"] > 0 for cost in process.values())
    assert timing["cpu_s"] > 0
    assert not list((demo_home / "cache").glob("demo-raw-*"))


def test_a_finished_release_is_left_alone(demo_home):
    manifest = demo_home / "releases" / "demo" / "manifest.json"
    before = manifest.stat().st_mtime_ns
    assert build_demo(Home(demo_home), DemoConfig(preset="tiny")).steps == []
    assert manifest.stat().st_mtime_ns == before


def test_the_repository_holds_truth_and_products(demo_home):
    with open_repo(Home(demo_home), collections="demo/DRP") as butler:
        truth = butler.get("truth_object", skymap="skydesk_demo", tract=0)
        assert len(truth) > 1000
        assert len(butler.query_datasets("visit_image")) == 12
        assert len(butler.query_datasets("difference_image")) == 12
        assert {r.dataId["band"] for r in butler.query_datasets("deep_coadd")} == {"g", "r", "i"}
        objects = butler.get("object", skymap="skydesk_demo", tract=0)
        stars = truth[np.asarray(truth["is_star"]) & (truth["r_flux"] > 2e4) & (truth["r_flux"] < 5e5)]
        from scipy.spatial import cKDTree

        def plane(ra, dec):
            return np.column_stack([(np.asarray(ra) - 53.13) * np.cos(np.deg2rad(-28.1)), np.asarray(dec)])

        distance, _ = cKDTree(plane(objects["coord_ra"], objects["coord_dec"])).query(
            plane(stars["ra"], stars["dec"])
        )
        inside = distance < 20 / 3600
        # Stars near the border of the survey may lie outside every visit.
        assert np.median(distance[inside] * 3600) < 0.05


def test_progress_only_grows_and_says_what_is_made():
    told: list[tuple[str, float, float | None]] = []
    clock = _Clock(DemoReport("tiny", "demo"), lambda *state: told.append(state))
    for name in ("simulate", "ingest", "calibrate", "process", "publish"):
        with clock.step(name):
            for part in (0.2, 0.5, 0.9):
                clock.tell(part, "detail")
    fractions = [fraction for _, fraction, _ in told]
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(1.0)
    assert all(left is not None and left >= 0 for _, _, left in told)
    assert told[0][0].startswith("simulating")
    assert told[-1][2] == pytest.approx(0.0)


def test_the_command_prints_steps_and_a_second_call_says_so(demo_home, monkeypatch):
    monkeypatch.setenv("SKYDESK_HOME", str(demo_home))
    result = CliRunner().invoke(demo_command, ["build", "--preset", "tiny"])
    assert result.exit_code == 0
    assert "release demo is there already" in result.output


def test_a_home_of_a_newer_version_is_refused(tmp_path):
    (tmp_path / "home.json").write_text('{"version": 99}')
    command = Path(sys.executable).with_name("skydesk")
    result = subprocess.run(
        [command, "--home", str(tmp_path), "demo", "build"],
        env={**os.environ, "SKYDESK_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert "newer version" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["home.json"]


def test_two_builds_in_one_home_are_refused(tmp_path):
    with _only_one(Home(tmp_path)), pytest.raises(UsageError, match="another process is building"):
        build_demo(Home(tmp_path), DemoConfig(preset="tiny"))


def test_names_are_settings_and_wrong_keys_are_named(tmp_path):
    home = Home(tmp_path)
    assert load_config(home).demo.release == "demo"
    home.config_file.write_text("core:\n  jobs: 3\n  demo: {preset: tiny, release: class_2026}\nhub: {}\n")
    config = load_config(home)
    assert (config.jobs, config.demo.preset, config.demo.release) == (3, "tiny", "class_2026")
    home.config_file.write_text("core:\n  demo: {release: 'No Good'}\n")
    with pytest.raises(ConfigError, match=r"core\.demo\.release"):
        load_config(home)
    home.config_file.write_text("core: {jobs: many}")
    with pytest.raises(ConfigError, match=r"core\.jobs"):
        load_config(home)
    home.config_file.write_text("core: [")
    with pytest.raises(ConfigError, match="is not YAML"):
        load_config(home)
