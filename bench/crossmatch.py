"""Joins by position of uploaded rows with a release: by cells, and by testing every pair. ``python -m bench.crossmatch HOME``."""

from __future__ import annotations

import argparse
import io
import statistics
import sys
import time
from pathlib import Path

import numpy as np
from astropy.table import Table

from bench.record import Measurement, render_page, write_measurement
from skydesk_portal.config import PortalSettings
from skydesk_portal.factory import Factory, create_factory
from skydesk_portal.models.identity import Identity
from skydesk_portal.models.tap import TapRequest

__all__ = ["measure_crossmatch"]

WHO = Identity("bench")
REPEATS = 7
MOST_PAIRS = 3e9
"""Where there are more, every pair is tested for fewer uploaded rows and the time scaled up."""


def measure_crossmatch(factory: Factory, release: str, rows: int = 1000) -> list[Measurement]:
    """Measure the cross-match of uploaded rows with all objects of a release, within 1 arcsec.

    Parameters
    ----------
    factory
        Services of a home that has the release.
    release
        Its name.
    rows
        Rows to upload.
    """
    tap = factory.create_tap_service()
    table = tap.catalog_for(WHO).find_table(f"{release}.Object")
    if table is None or not table.rows:
        raise RuntimeError(f"there is no table {release}.Object with rows")
    few = tap.run_query(WHO, f"SELECT coord_ra, coord_dec FROM {release}.Object", maxrec=200_000).table
    rng = np.random.default_rng(3)
    chosen = rng.integers(0, few.num_rows, rows)
    shift = rng.normal(0, 0.3 / 3600, (2, rows))
    ra, dec = (few.column(i).to_numpy()[chosen] + shift[i] for i in (0, 1))
    mine = Table({"n": np.arange(rows), "ra": ra, "dec": dec})
    near = "1=CONTAINS(POINT(o.coord_ra, o.coord_dec), CIRCLE(t.ra, t.dec, 1/3600.))"
    query = f"SELECT t.n, o.objectId FROM {release}.Object AS o, TAP_UPLOAD.mine AS t WHERE "
    by_cells = _time(factory, query + near, mine, REPEATS)
    # A condition under OR cannot become a join by cells.
    less = max(1, min(rows, int(MOST_PAIRS / table.rows)))
    every = _time(factory, f"{query}({near} OR t.n < 0)", mine[:less], 1) * rows / less
    what = f"cross-match of {rows} uploaded rows with {table.rows} objects"
    found = [Measurement("crossmatch_cells", 1e3 * by_cells, "ms", what, "test of every pair", 1e3 * every)]
    outer = query.replace(f"{release}.Object AS o, TAP_UPLOAD.mine AS t WHERE ", "TAP_UPLOAD.mine AS t")
    left = _time(factory, f"{outer} LEFT JOIN {release}.Object AS o ON {near}", mine, REPEATS)
    found.append(
        Measurement("crossmatch_outer", 1e3 * left, "ms", f"{what}, LEFT JOIN", "inner join", 1e3 * by_cells)
    )
    return found


def _time(factory: Factory, query: str, table: Table, repeats: int) -> float:
    """Return the median time in seconds, the reading of the upload included."""
    out = io.BytesIO()
    table.write(out, format="votable", tabledata_format="binary2")
    request = TapRequest(query, maxrec=10_000_000, uploads=(("mine", "param:f"),))
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        stream = factory.create_tap_service().open_stream(
            WHO, request, timeout_s=0, files={"f": out.getvalue()}
        )
        rows = sum(batch.num_rows for batch in stream.batches())
        times.append(time.perf_counter() - begun)
        assert rows
    return statistics.median(times)


def main() -> None:
    """Measure one release of a home."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("home", type=Path, help="home folder with the release")
    parser.add_argument("--release", default="demo", help="a release with a table Object")
    parser.add_argument("--rows", type=int, default=1000, help="rows to upload")
    options = parser.parse_args()
    settings = PortalSettings(home=options.home, run=options.home / "run", url="http://bench.example")
    factory = create_factory(settings)
    for measurement in measure_crossmatch(factory, options.release, options.rows):
        write_measurement(measurement)
        sys.stdout.write(f"{measurement.what}: {measurement.value:.1f} ms, {measurement.ratio:.4f}")
        sys.stdout.write(f" of {measurement.peer} ({measurement.peer_value:.1f} ms)\n")
    factory.close()
    render_page()


if __name__ == "__main__":
    main()
