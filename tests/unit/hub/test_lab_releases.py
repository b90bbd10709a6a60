"""Which releases and repositories a lab is given."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from skydesk_hub.config import HubConfig
from skydesk_hub.keys import load_keys
from skydesk_hub.lab.sandbox import RELEASES, Sandbox, lab_environment
from skydesk_hub.layout import Layout, find_releases
from skydesk_hub.supervisor.table import Platform


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for name, groups in (("open", []), ("all", ["*"]), ("closed", ["members"]), ("broken", None)):
        folder = tmp_path / "releases" / name
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text(
            "{" if groups is None else json.dumps({"access_groups": groups})
        )
    return tmp_path


@pytest.mark.parametrize(
    ("groups", "names"),
    [
        (None, ["all", "broken", "closed", "open"]),
        ([], ["all", "open"]),
        (["others"], ["all", "open"]),
        (["members", "others"], ["all", "closed", "open"]),
    ],
)
def test_releases_are_found_for_those_who_may_read_them(
    home: Path, groups: list[str] | None, names: list[str]
) -> None:
    assert find_releases(home, groups) == names


def test_a_lab_sees_the_files_of_its_releases_only(home: Path) -> None:
    layout = Layout(home)
    platform = Platform(layout, HubConfig(), load_keys(layout.secrets_file), 8000)
    box = Sandbox(platform, "vera", home / "users" / "vera" / "home", home / "state", ("open",))
    argv = " ".join(box.argv())
    assert f"--ro-bind {layout.releases / 'open'} {RELEASES}/open" in argv
    assert str(layout.releases / "closed") not in argv
    assert f"--ro-bind {layout.releases} " not in argv
    env = lab_environment(
        platform,
        "vera",
        "t",
        names=("open",),
        shared=("u-ann",),
        releases=RELEASES,
        mounts="/m",
        home="/home/vera",
    )
    assert json.loads(env["DAF_BUTLER_REPOSITORIES"]) == {
        "open": f"{RELEASES}/open/butler",
        "u-ann": "http://127.0.0.1:8000/api/butler/repo/u-ann/butler.yaml",
    }
