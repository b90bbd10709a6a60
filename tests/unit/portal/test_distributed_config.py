"""Settings of the distributed engine: the token stays private, what is missing is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from skydesk_portal.config import load_config
from skydesk_portal.exceptions import ConfigError


def _load(home: Path, mode: int = 0o600, **changes: object) -> object:
    token = home / "token"
    token.touch(mode=mode)
    token.chmod(mode)
    token.write_text("a-token\n")
    section = {
        "url": "sc://127.0.0.1:15002",
        "token_file": str(token),
        "releases": {"dr1": "/data/dr1"},
        **changes,
    }
    (home / "config.yaml").write_text(json.dumps({"portal": {"distributed": section}}))
    return load_config({"SKYDESK_HOME": str(home)}).distributed_token.get_secret_value()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "url", ["sc://127.0.0.1:15002", "sc://localhost", "sc://spark.example:443/;use_ssl=true"]
)
def test_a_private_way_is_accepted(tmp_path: Path, url: str) -> None:
    assert _load(tmp_path, url=url) == "a-token"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"url": "sc://spark.example:15002"}, "portal.distributed.url: .*put TLS before the server"),
        ({"url": "sc://10.0.0.7:15002/"}, "put TLS before the server"),
        ({"url": "sc://127.0.0.1/;token=open"}, "portal.distributed.url"),
        ({"url": "http://127.0.0.1:15002"}, "portal.distributed.url"),
        ({"releases": {}}, "portal.distributed.releases"),
        ({"token_file": "/nowhere/token"}, "portal.distributed.token_file: .* cannot be read"),
        ({"mode": 0o644}, "others may read this file; run: chmod 600"),
        ({"speed": "high"}, "portal.distributed.speed"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, changes: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        _load(tmp_path, **changes)  # type: ignore[arg-type]
