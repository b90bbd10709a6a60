"""The same scans and joins on DuckDB and on Spark, both on this machine: what distribution costs, not what it brings."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import SecretStr

from bench.record import Measurement
from skydesk_portal.config import DistributedConfig, PortalConfig, PortalSettings
from skydesk_portal.factory import create_factory
from skydesk_portal.models.identity import SCOPES, Identity
from skydesk_portal.services.tap import TapService
from tests.support.spark import SPARK_HOME, SparkCluster, run_cluster

__all__ = ["measure_spark"]

REPEATS = 3
MEMORY_MB = 2500
EVERYTHING = 1 << 60
QUERIES = {
    "scan": "SELECT band, COUNT(*) AS n, AVG(psfFlux) AS m FROM {release}.ForcedSource GROUP BY band",
    "histogram": "SELECT FLOOR((g_psfMag - r_psfMag) * 10) AS bin, COUNT(*) AS n FROM {release}.Object"
    " GROUP BY FLOOR((g_psfMag - r_psfMag) * 10)",
    "join": "SELECT o.tract, COUNT(*) AS n, MAX(f.psfFlux - o.g_psfFlux) AS d FROM {release}.Object o"
    " JOIN {release}.ForcedSource f ON o.objectId = f.objectId GROUP BY o.tract",
    "region": "SELECT COUNT(*) AS n, AVG(f.psfFlux) AS m FROM {release}.ForcedSource f"
    " WHERE CONTAINS(POINT(f.coord_ra, f.coord_dec), CIRCLE(53.13, -28.1, 0.5)) = 1",
}


@contextmanager
def _services(home: Path, release: str, cluster: SparkCluster, local_rows: int) -> Iterator[TapService]:
    token = SecretStr(cluster.token_file.read_text().strip())
    folder = str((home / "releases" / release).resolve())
    distributed = DistributedConfig(
        url=cluster.url, token_file=cluster.token_file, releases={release: folder}, local_rows=local_rows
    )
    portal = PortalConfig(distributed=distributed, cache_seconds=0)
    settings = PortalSettings(home=home, run=home / "run", url="http://bench.example", portal=portal)
    factory = create_factory(settings.model_copy(update={"distributed_token": token}))
    try:
        yield factory.create_tap_service()
    finally:
        factory.close()


def _take(tap: TapService, query: str) -> float:
    times = []
    for _ in range(REPEATS + 1):
        begun = time.monotonic()
        tap.run_query(Identity("bench", frozenset(SCOPES)), query, timeout_s=600)
        times.append(time.monotonic() - begun)
    # The first run compiles the query and reads the files' footers.
    return statistics.median(times[1:])


def measure_spark(home: Path, release: str = "large") -> Iterator[Measurement]:
    """Measure queries of a release on two workers of this machine, beside the indexed engine in the same process.

    Parameters
    ----------
    home
        Home folder with the release.
    release
        Its name.
    """
    if not SPARK_HOME.is_dir():
        sys.stderr.write("no cluster: run make tools\n")
        return
    with (
        tempfile.TemporaryDirectory(prefix="skydesk-spark-") as folder,
        run_cluster(Path(folder), MEMORY_MB) as cluster,
        _services(home, release, cluster, 0) as there,
        _services(home, release, cluster, EVERYTHING) as here,
    ):
        for name, text in QUERIES.items():
            query = text.format(release=release)
            what = f"Spark, two workers on this machine: {name} of {release}"
            yield Measurement(f"spark_{name}", _take(there, query), "s", what, "DuckDB", _take(here, query))


if __name__ == "__main__":
    for found in measure_spark(Path(sys.argv[1]), *sys.argv[2:3]):
        sys.stdout.write(f"{found.what:60s} {found.value:8.3f} s  {found.ratio:.1f} of DuckDB\n")
        sys.stdout.flush()
