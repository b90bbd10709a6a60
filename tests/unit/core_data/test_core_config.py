"""The core's settings: defaults, the file's values, and clear refusals."""

from __future__ import annotations

from pathlib import Path

import pytest

from skydesk_core.config import load_config
from skydesk_core.errors import ConfigError
from skydesk_core.home import Home


def test_without_a_file_the_defaults_hold(tmp_path: Path) -> None:
    assert load_config(Home(tmp_path)).jobs == 2


def test_the_file_is_read_and_other_sections_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("core: {jobs: 7}\nhub: {port: 9000}\n")
    assert load_config(Home(tmp_path)).jobs == 7


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("core: {jobs: 0}", "core.jobs"),
        ("core: {job: 3}", "core.job"),
        ("core: [", "is not YAML"),
        ("- core", "sections"),
    ],
)
def test_a_wrong_file_is_refused_by_name(tmp_path: Path, text: str, names: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(Home(tmp_path))
    assert names in str(caught.value)
    assert "config.yaml" in str(caught.value)
