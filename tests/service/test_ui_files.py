"""Files over the pages' routes: own ones only, whole or not at all, within the quota."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.testclient import TestClient

FILES = "/portal/app/files"


@pytest.fixture
def own(pages_home: Path) -> Path:
    return pages_home / "users/anna/home"


def test_what_was_sent_comes_back(pages_client: TestClient, own: Path) -> None:
    content = bytes(range(256)) * 5000
    name = "100% ä#?.bin"
    assert pages_client.get(f"{FILES}/room", params={"path": name, "size": str(len(content))}).json() == {
        "exists": False,
        "refusal": None,
    }
    assert pages_client.put(f"{FILES}/content/100%25%20%C3%A4%23%3F.bin", content=content).status_code == 201
    assert (own / name).read_bytes() == content
    assert pages_client.get(f"{FILES}/room", params={"path": name, "size": "1"}).json() == {
        "exists": True,
        "refusal": None,
    }
    answer = pages_client.get(f"{FILES}/content/100%25%20%C3%A4%23%3F.bin")
    assert answer.content == content
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment")


def test_two_gigabytes_do_not_fit_and_nothing_is_kept(pages_client: TestClient, own: Path) -> None:
    answer = pages_client.get(f"{FILES}/room", params={"path": "big.bin", "size": "2000000000"})
    assert answer.json() == {"exists": False, "refusal": "there is no space left for this file in your quota"}
    headers = {"content-length": "2000000000"}
    assert pages_client.put(f"{FILES}/content/big.bin", content=b"x", headers=headers).status_code == 507
    too_much = (b"x" * 1_000_000 for _ in range(60))
    assert pages_client.put(f"{FILES}/content/big.bin", content=too_much).status_code == 507
    assert not (own / "big.bin").exists()


def test_no_path_leaves_the_home_folder(pages_client: TestClient, pages_home: Path, own: Path) -> None:
    (pages_home / "users/dora/home/secret.txt").write_text("secret")
    (own / "link.txt").unlink(missing_ok=True)
    (own / "link.txt").symlink_to(pages_home / "users/dora/home/secret.txt")
    for path in (
        "..%2F..%2Fdora%2Fhome%2Fsecret.txt",
        "%2E%2E/%2E%2E/dora/home/secret.txt",
        "link.txt",
        "nothing.txt",
    ):
        answer = pages_client.get(f"{FILES}/content/{path}")
        assert answer.status_code in (400, 403, 404), path
        assert b"secret" not in answer.content.replace(b"secret.txt", b"")
    assert pages_client.put(f"{FILES}/content/..%2Fx.txt", content=b"x").status_code == 400
    assert pages_client.get(f"{FILES}/room", params={"path": "x", "size": "-1"}).status_code == 400


def test_files_take_their_scope(pages_client: TestClient) -> None:
    answer = pages_client.get(f"{FILES}/content/x", headers={"authorization": "Bearer token-without-files"})
    assert answer.status_code == 403
    assert "write:files" in answer.json()["detail"]
