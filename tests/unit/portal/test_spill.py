"""What does not fit into the engine's memory goes to a private folder of limited size."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from skydesk_portal.exceptions import PortalError, TooLargeError
from skydesk_portal.storage.duckdb_engine import DuckdbEngine
from skydesk_portal.storage.spill import SpillFolder

LARGE = "SELECT count(*) AS n FROM (SELECT hash(i) AS h, max(i) AS m, min(i) AS k, sum(i) AS s FROM range({rows}) t(i) GROUP BY h) WHERE m >= k AND s >= 0"


def _run(engine: DuckdbEngine, rows: int) -> int:
    query = engine.start(LARGE.format(rows=rows), timeout_s=60)
    try:
        return sum(batch.column(0)[0].as_py() for batch in query.batches())
    finally:
        query.close()


def test_a_query_larger_than_memory_spills_within_its_limit(tmp_path: Path) -> None:
    spill = SpillFolder(tmp_path, 2000)
    engine = DuckdbEngine({}, threads=1, memory_mb=60, spill=spill)
    assert _run(engine, 3_000_000) == 3_000_000
    assert spill.path.stat().st_mode & 0o777 == 0o700
    engine.close()
    assert list(tmp_path.iterdir()) == []
    for without in (None, SpillFolder(tmp_path, 5)):
        engine = DuckdbEngine({}, threads=1, memory_mb=60, spill=without)
        with pytest.raises(TooLargeError):
            _run(engine, 3_000_000)
        engine.close()


def test_the_lock_down_holds_with_a_spill_folder(tmp_path: Path) -> None:
    engine = DuckdbEngine({}, threads=1, memory_mb=100, spill=SpillFolder(tmp_path / "s", 100))
    (tmp_path / "x.csv").write_text("a\n1\n")
    for sql in (
        f"SELECT * FROM read_csv('{tmp_path}/x.csv')",
        f"SELECT * FROM '{tmp_path}/x.csv'",
        f"COPY (SELECT 1) TO '{tmp_path}/y.csv'",
        f"ATTACH '{tmp_path}/z.db'",
        "SET memory_limit = '10GB'",
        "SET enable_external_access = true",
    ):
        with pytest.raises(PortalError):
            engine.start(sql, timeout_s=10)
    engine.close()


def test_the_folder_of_a_dead_process_is_cleared_away(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from skydesk_portal.storage.spill import SpillFolder;"
        "s = SpillFolder(Path(sys.argv[1]), 1); (s.path / 'x').write_text('x'); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert len(list(tmp_path.iterdir())) == 2
    first, second = SpillFolder(tmp_path, 1), SpillFolder(tmp_path, 1)
    assert len(list(tmp_path.iterdir())) == 4
    for folder in (first, second):
        folder.close()
    assert list(tmp_path.iterdir()) == []
