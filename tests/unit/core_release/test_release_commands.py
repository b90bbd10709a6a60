import json

import pytest
from click.testing import CliRunner

from skydesk_core.commands.metrics import metrics
from skydesk_core.commands.publish import publish
from skydesk_core.commands.release import release
from skydesk_core.errors import NotFoundError


def test_publish_list_check_metrics_remove(home_copy, monkeypatch):
    monkeypatch.setenv("SKYDESK_HOME", str(home_copy.root))
    run = CliRunner()
    done = run.invoke(
        publish,
        ["--release", "demo", "--collection", "demo/DRP", "--title", "Demo", "--json"],
        catch_exceptions=False,
    )
    made = json.loads(done.stdout)
    assert made["version"] == 1
    assert made["tables"]["ForcedSource"] == 1800
    listed = json.loads(run.invoke(release, ["list", "--json"]).stdout)
    assert [r["name"] for r in listed["releases"]] == ["demo"]
    assert listed["releases"][0]["title"] == "Demo"
    checked = json.loads(run.invoke(release, ["check", "demo", "--json"]).stdout)
    assert checked["ok"] is True
    figures = json.loads(run.invoke(metrics, ["--release", "demo", "--json"], catch_exceptions=False).stdout)
    assert {"name", "value", "unit", "count", "description"} == set(figures["metrics"][0])
    assert run.invoke(release, ["remove", "demo"]).exit_code == 0
    assert "There is no release" in run.invoke(release, ["list"]).stdout


def test_publish_makes_what_settings_and_options_say(home_copy, monkeypatch):
    monkeypatch.setenv("SKYDESK_HOME", str(home_copy.root))
    home_copy.config_file.write_text("core: {publish: {hips: false, alert_maximum: 5}}\n")
    run = CliRunner()
    arguments = ["--collection", "demo/DRP", "--json"]
    made = json.loads(run.invoke(publish, ["--release", "a", *arguments], catch_exceptions=False).stdout)
    assert (made["hips"], made["alerts"]) == ([], 5)
    options = ["--release", "b", *arguments, "--no-alerts", "--hips"]
    made = json.loads(run.invoke(publish, options, catch_exceptions=False).stdout)
    assert (len(made["hips"]), made["alerts"]) == (2, 0)


def test_check_of_a_damaged_release_exits_with_1(home_copy, monkeypatch):
    monkeypatch.setenv("SKYDESK_HOME", str(home_copy.root))
    run = CliRunner()
    run.invoke(publish, ["--release", "demo", "--collection", "demo/DRP"], catch_exceptions=False)
    (home_copy.releases / "demo" / "schema.yaml").unlink()
    done = run.invoke(release, ["check", "demo"])
    assert done.exit_code == 1
    assert "schema.yaml is missing" in done.stdout


def test_unknown_release_is_named(home_copy, monkeypatch):
    monkeypatch.setenv("SKYDESK_HOME", str(home_copy.root))
    with pytest.raises(NotFoundError, match="no release 'nix'"):
        CliRunner().invoke(release, ["check", "nix"], catch_exceptions=False)
