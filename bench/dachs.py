"""GAVO DaCHS with pgSphere as the peer of the catalog benchmarks: the same rows, served by TAP on this machine.

It needs Debian's packages ``gavodachs2-server``, ``postgresql-15-pgsphere`` and ``postgresql-15-q3c``, a running
PostgreSQL cluster, and root (the database is loaded as ``postgres``, the server runs as ``dachsroot``).
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import httpx
import pyarrow.csv as csv

from bench.large import FORCED_COLUMNS, OBJECT_COLUMNS

__all__ = ["ADDRESS", "find_missing", "is_loaded", "load", "serving"]

ADDRESS = "http://localhost:8080/tap"
INPUTS = Path("/var/gavo/inputs")
SETTINGS = Path("/etc/gavo.rc")
START_LIMIT_S = 120.0

_POSTGRES_SETTINGS = {
    "shared_buffers": "4GB",
    "work_mem": "256MB",
    "maintenance_work_mem": "1GB",
    "max_parallel_workers_per_gather": "2",
    "max_wal_size": "16GB",
}
_TYPES = {
    "objectId": "bigint",
    "tract": "bigint",
    "patch": "bigint",
    "visit": "bigint",
    "coord_ra": "double precision",
    "coord_dec": "double precision",
    "detector": "smallint",
    "detect_isIsolated": "boolean",
    "refBand": "text",
    "band": "text",
}
_UCDS = {
    "objectId": "meta.id;meta.main",
    "coord_ra": "pos.eq.ra;meta.main",
    "coord_dec": "pos.eq.dec;meta.main",
}
_TABLES = {"object": ("Object", OBJECT_COLUMNS), "forcedsource": ("ForcedSource", FORCED_COLUMNS)}


def find_missing() -> str | None:
    """Say what is missing for the peer to run here, or None."""
    if shutil.which("dachs") is None:
        return "DaCHS is not installed: apt-get install gavodachs2-server postgresql-15-pgsphere"
    ready = subprocess.run(["pg_isready", "-q"], check=False)
    return None if ready.returncode == 0 else "PostgreSQL does not run: pg_ctlcluster 15 main start"


def is_loaded() -> bool:
    """Say whether the tables are there already."""
    query = "SELECT to_regclass('large.object_spoint') IS NOT NULL"
    command = ["su", "postgres", "-c", f'psql -tAq -d gavo -c "{query}"']
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd="/").stdout.strip() == "t"


def load(catalogs: Path) -> None:
    """Copy Object and ForcedSource of a release into PostgreSQL, index them and tell DaCHS about them.

    Parameters
    ----------
    catalogs
        The file ``catalogs.duckdb`` of the release.
    """
    for name, value in _POSTGRES_SETTINGS.items():
        _sql(f"ALTER SYSTEM SET {name} = '{value}'")
    subprocess.run(["pg_ctlcluster", "15", "main", "restart"], check=True)
    _sql("CREATE SCHEMA IF NOT EXISTS large AUTHORIZATION gavoadmin")
    for table, (source, columns) in _TABLES.items():
        _copy(catalogs, source, table, columns)
    for statement in (
        "ALTER TABLE large.object ADD PRIMARY KEY (objectid)",
        "CREATE INDEX forcedsource_objectid ON large.forcedsource (objectid)",
        "CREATE INDEX object_spoint ON large.object USING gist (spoint(radians(coord_ra), radians(coord_dec)))",
        "CLUSTER large.object USING object_pkey",
        "ANALYZE large.object",
        "ANALYZE large.forcedsource",
    ):
        _sql(statement)
    folder = INPUTS / "large"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "q.rd").write_text(describe())
    SETTINGS.write_text(
        "[web]\nsqlTimeout: 600\n[async]\ndefaultExecTimeSync: 600\ndefaultMAXREC: 20000000\n"
        "hardMAXREC: 20000000\n[ivoa]\ndalHardLimit: 20000000\n"
    )
    _dachs("imp -m large/q")


def describe() -> str:
    """Write the resource descriptor of the two tables."""
    tables = []
    for table, (_, columns) in _TABLES.items():
        lines = "\n".join(_column(name) for name in columns)
        mixin = ' mixin="//scs#pgs-pos-index"' if table == "object" else ""
        tables.append(f'<table id="{table}" onDisk="True" adql="True"{mixin}>\n{lines}\n</table>')
    makes = "\n".join(f'<data id="import_{table}"><make table="{table}"/></data>' for table in _TABLES)
    return (
        '<resource schema="large">\n<meta name="title">Generated release</meta>\n'
        '<meta name="description">Benchmark tables</meta>\n'
        '<meta name="creationDate">2026-11-24T00:00:00Z</meta>\n<meta name="subject">catalogs</meta>\n'
        + "\n".join(tables)
        + "\n"
        + makes
        + "\n</resource>\n"
    )


def _column(name: str) -> str:
    kind = _TYPES.get(name, "real")
    unit = ' unit="deg"' if name.startswith("coord_") else ' unit="nJy"' if "Flux" in name else ""
    ucd = f' ucd="{_UCDS[name]}"' if name in _UCDS else ""
    null = ' required="True"' if kind in ("bigint", "smallint", "boolean") else ""
    return f'<column name="{name.lower()}" type="{kind}"{unit}{ucd}{null} description="{name}"/>'


def _copy(catalogs: Path, source: str, table: str, columns: tuple[str, ...]) -> None:
    described = ", ".join(f"{name.lower()} {_TYPES.get(name, 'real')}" for name in columns)
    _sql(f"DROP TABLE IF EXISTS large.{table} CASCADE")
    _sql(f"CREATE TABLE large.{table} ({described})")
    _sql(f"ALTER TABLE large.{table} OWNER TO gavoadmin")
    chosen = ", ".join(f'"{name}"' for name in columns)
    command = f"psql -q -d gavo -c 'COPY large.{table} FROM STDIN (FORMAT csv)'"
    with (
        duckdb.connect(str(catalogs), read_only=True) as connection,
        subprocess.Popen(["su", "postgres", "-c", command], stdin=subprocess.PIPE, cwd="/") as process,
    ):
        assert process.stdin is not None
        reader = connection.sql(f'SELECT {chosen} FROM "{source}"').to_arrow_reader(100_000)
        options = csv.WriteOptions(include_header=False)
        with csv.CSVWriter(process.stdin, reader.schema, write_options=options) as writer:
            for batch in reader:
                writer.write_batch(batch)
    if process.returncode != 0:
        raise RuntimeError(f"large.{table} could not be loaded")


def _sql(statement: str) -> None:
    subprocess.run(["su", "postgres", "-c", f'psql -q -d gavo -c "{statement}"'], check=True, cwd="/")


def _dachs(arguments: str) -> None:
    subprocess.run(["su", "dachsroot", "-c", f"cd {INPUTS}; dachs {arguments}"], check=True)


@contextlib.contextmanager
def serving() -> Iterator[str]:
    """Serve the loaded tables and give the address of the TAP service."""
    process = subprocess.Popen(
        ["su", "dachsroot", "-c", f"cd {INPUTS}; exec dachs serve debug"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + START_LIMIT_S
        while True:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{ADDRESS}/availability", timeout=10).is_success:
                    break
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("DaCHS did not start: run `dachs serve debug` by hand to see why")
            time.sleep(0.5)
        yield ADDRESS
    finally:
        process.terminate()
        process.wait(timeout=30)
