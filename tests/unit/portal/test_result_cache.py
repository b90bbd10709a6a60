"""Kept answers: whole or not at all, each for its time, never more than there is room for."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from skydesk_portal.services.cache import ResultCache


def keep(cache: ResultCache, key: str, content: bytes) -> None:
    writer = cache.create_writer(key)
    assert writer is not None
    writer.write(content[:3])
    writer.write(content[3:])
    writer.commit(rows=2, overflow=True)
    writer.close()


def test_an_answer_is_kept_for_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = ResultCache(tmp_path / "kept", 100, 10_000)
    key = cache.make_key("SELECT 1", 5)
    assert cache.find(key) is None
    keep(cache, key, b"first answer")
    found = cache.find(key)
    assert found is not None
    assert (found.path.read_bytes(), found.rows, found.overflow) == (b"first answer", 2, True)
    assert cache.find(cache.make_key("SELECT 1", 6)) is None
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 101)
    assert cache.find(key) is None
    cache.sweep()
    assert not list((tmp_path / "kept").glob("*.json"))


def test_half_an_answer_is_not_kept(tmp_path: Path) -> None:
    cache = ResultCache(tmp_path, 100, 10_000)
    writer = cache.create_writer("a")
    assert writer is not None
    writer.write(b"half")
    writer.close()
    large = cache.create_writer("b")
    assert large is not None
    large.write(b"x" * 2501)
    large.commit(rows=1, overflow=False)
    large.close()
    assert cache.find("a") is None
    assert cache.find("b") is None
    assert list(tmp_path.iterdir()) == []


def test_the_oldest_give_way(tmp_path: Path) -> None:
    cache = ResultCache(tmp_path, 100, 10_000)
    for number in range(20):
        keep(cache, f"key{number}", bytes(2000))
    cache.sweep()
    assert sum(path.stat().st_size for path in tmp_path.glob("*.data")) <= 10_000
    assert cache.find("key19") is not None
    assert cache.find("key0") is None


def test_nothing_is_kept_where_that_is_switched_off(tmp_path: Path) -> None:
    assert ResultCache(tmp_path, 0, 10_000).create_writer("a") is None
    assert ResultCache(tmp_path, 10, 0).create_writer("a") is None
