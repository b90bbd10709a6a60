"""A kept result of many rows: how soon it is there, its pages, brushes over all views, lassos and zooms of densities."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa

from bench.record import Measurement
from skydesk_portal.models.resultsets import ResultView
from skydesk_portal.models.tables import ColumnInfo
from skydesk_portal.services.brushing import Binning, Box, Coordinator, Interval, Polygon
from skydesk_portal.services.explorer import ResultExplorer
from skydesk_portal.storage.resultsets import ResultSetStore
from skydesk_portal.storage.resultsets_reader import ResultDatabase
from skydesk_portal.ui.linked_plot import paint_cells

__all__ = ["measure_result_sets"]

BATCH_ROWS = 1_000_000
REPEATS = 12
SMALL_ROWS = 10_000_000
"""Up to here brushes and zooms have to be quick without being prepared."""

COLUMNS = (
    ColumnInfo("objectId", "long"),
    ColumnInfo("coord_ra", "double", unit="deg"),
    ColumnInfo("coord_dec", "double", unit="deg"),
    *(ColumnInfo(f"{band}_psfMag", "float", unit="mag") for band in "gri"),
    ColumnInfo("refExtendedness", "short"),
)


def make_batches(rows: int) -> Iterator[pa.RecordBatch]:
    """Make stars and galaxies of a field, one batch after the other."""
    rng = np.random.default_rng(7)
    for begin in range(0, rows, BATCH_ROWS):
        n = min(BATCH_ROWS, rows - begin)
        g = rng.normal(23, 1.5, n)
        yield pa.RecordBatch.from_pydict(
            {
                "objectId": np.arange(begin, begin + n),
                "coord_ra": rng.uniform(50, 56, n),
                "coord_dec": rng.normal(-28, 1, n),
                "g_psfMag": g.astype(np.float32),
                "r_psfMag": (g - rng.normal(0.6, 0.4, n)).astype(np.float32),
                "i_psfMag": (g - rng.normal(0.9, 0.5, n)).astype(np.float32),
                "refExtendedness": rng.integers(0, 2, n).astype(np.int16),
            }
        )


def time_ms(work: Callable[[int], object]) -> float:
    """Return the 95th percentile of some calls, each with another number, in milliseconds; the first one is left out."""
    work(0)
    found = []
    for n in range(1, REPEATS + 1):
        begun = time.perf_counter()
        work(n)
        found.append(1e3 * (time.perf_counter() - begun))
    return statistics.quantiles(found, n=20)[-1]


def measure_result_sets(rows: int) -> list[Measurement]:
    """Measure a kept result of so many rows.

    Parameters
    ----------
    rows
        How many; about 25 bytes of disk each.
    """
    label = f"{rows:.0e}".replace("e+0", "e")

    def made(name: str, value: float, unit: str, what: str, bar: float | None = None) -> Measurement:
        return Measurement(
            f"result_{label}_{name}",
            value,
            unit,
            f"{label} rows: {what}",
            None if bar is None else "bar",
            bar,
        )

    with tempfile.TemporaryDirectory(prefix="skydesk-bench-") as folder:
        store = ResultSetStore(Path(folder), 50_000_000_000, 3600)
        batches = make_batches(rows)
        first = next(batches)
        begun = time.perf_counter()
        result = store.add("bench", "SELECT 1", COLUMNS, first.schema, _chain(first, batches), lambda: False)
        found = [
            made(
                "kept",
                time.perf_counter() - begun,
                "s",
                "result arrives and is kept, making the rows included",
            )
        ]
        path = store.path_of(result)
        explorer = ResultExplorer(
            result, path, ResultDatabase(path / "rows.duckdb", 2, 1000, 20_000).open_cursor()
        )
        found += _measure_table(explorer, rows, made)
        found += _measure_views(explorer, rows, made)
        explorer.close()
    return found


def _chain(first: pa.RecordBatch, rest: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield first
    yield from rest


def _measure_table(
    explorer: ResultExplorer, rows: int, made: Callable[..., Measurement]
) -> list[Measurement]:
    before = psutil.Process().memory_info().rss
    rng = np.random.default_rng(1)
    at = rng.integers(0, rows - 50, REPEATS + 1)
    explorer.derive([("g_r", "g_psfMag - r_psfMag")])
    out = [
        made(
            "page",
            time_ms(lambda n: explorer.page(ResultView(), int(at[n]), 50)),
            "ms",
            "any page of the table",
            100,
        )
    ]

    def sort(n: int) -> object:
        return explorer.page(ResultView(sort=((("g_r", "r_psfMag", "coord_dec")[n % 3], n % 2 == 0),)), 0, 50)

    def filter_(n: int) -> object:
        condition = f"r_psfMag > {24 + n / 10} AND g_r < {0.1 + n / 50}"
        return explorer.page(ResultView(filters=(condition,), sort=(("coord_ra", False),)), 0, 50)

    def count(n: int) -> object:
        return explorer.count(ResultView(filters=(f"r_psfMag > {24 + n / 10} AND g_r < {0.1 + n / 50}",)))

    out.append(made("sorted", time_ms(sort), "ms", "first page after sorting by another column", 500))
    out.append(
        made("filtered", time_ms(filter_), "ms", "first page after filtering by two columns and sorting", 500)
    )
    out.append(made("counted", time_ms(count), "ms", "counting what a filter leaves"))
    begun = time.perf_counter()
    view = ResultView(sort=(("g_r", True),))
    explorer.page(view, rows // 2, 50)
    out.append(
        made("deep_first", 1e3 * (time.perf_counter() - begun), "ms", "first page deep in a new order")
    )
    out.append(
        made(
            "deep",
            time_ms(lambda n: explorer.page(view, int(at[n]), 50)),
            "ms",
            "any page of a sorted table",
            100,
        )
    )
    grown_mb = (psutil.Process().memory_info().rss - before) / 1e6
    out.append(made("memory", grown_mb, "MB", "memory that the table takes, sorting and filtering included"))
    return out


def _measure_views(
    explorer: ResultExplorer, rows: int, made: Callable[..., Measurement]
) -> list[Measurement]:
    ra, dec = explorer.axis("coord_ra"), explorer.axis("coord_dec")
    colour, mag, other = explorer.axis("g_r"), explorer.axis("r_psfMag"), explorer.axis("i_psfMag")
    linked = Coordinator(rows, explorer.folder)
    plane = Binning((-1.5, 3.0, 320), (15.0, 32.0, 200))
    linked.set_view("plane", plane, colour, mag)
    linked.set_view("line", Binning((15.0, 32.0, 60)), other)
    linked.set_view("second", Binning((-1.5, 3.0, 48), (15.0, 32.0, 32)), colour, other)
    linked.set_view("sky", Binning((50.0, 56.0, 40), (-32.0, -24.0, 40)), ra, dec)

    def show() -> list[Any]:
        counts = {name: linked.count(name) for name in linked.views}
        painted = paint_cells((200, 320), counts["plane"].all, counts["plane"].chosen, False)
        return [counts, painted, linked.number_chosen]

    def brush(n: int) -> object:
        linked.brush("plane", Box(0.2 + n / 100, 1.0 + n / 100, 20.0, 23.0), colour, mag)
        return show()

    def slide(n: int) -> object:
        linked.brush("line", Interval(20.0 + n / 10, 22.0 + n / 10), other)
        return show()

    def draw(n: int) -> object:
        linked.brush("plane", make_lasso(n), colour, mag)
        return show()

    def lasso(n: int) -> object:
        return make_lasso(n).mark(colour, mag)

    def zoom(n: int) -> object:
        linked.set_view("plane", Binning((-1.0 + n / 50, 2.0, 320), (18.0, 28.0, 200)), colour, mag)
        counts = linked.count("plane")
        return paint_cells((200, 320), counts.all, counts.chosen, False)

    small = rows <= SMALL_ROWS
    how = "brush by a box, all rows read: four views counted and painted anew"
    out = [made("brush", time_ms(brush), "ms", how, 100 if small else None)]
    out.append(made("lasso", time_ms(lasso), "ms", "exact lasso of 60 corners", 300 if small else None))
    linked.clear()
    for name, what, work, bar in (
        ("plane", "brush by a box", brush, 100),
        ("plane_lasso", "lasso of 60 corners", draw, 300),
        ("line", "brush of a histogram", slide, 100),
    ):
        linked.clear()
        plan = linked.plan(name.partition("_")[0])
        if plan is not None:
            begun = time.perf_counter()
            linked.adopt(plan, plan.build(lambda _part: True))
            took_s = time.perf_counter() - begun
            out.append(made(f"prepared_{name}", took_s, "s", f"preparing the brushes of the {name}"))
        what = f"prepared {what}: four views counted and painted anew, exactly"
        out.append(made(f"quick_{name}", time_ms(work), "ms", what, bar))
    linked.clear()
    own_mb = read_own_memory_mb()
    out.append(made("own_memory", own_mb, "MB", "memory of the process that is no file, views prepared"))
    bar = 150 if small else None
    out.append(made("zoom", time_ms(zoom), "ms", "zoom of a density: counted and painted anew", bar))
    return out


def read_own_memory_mb() -> float:
    """Return the memory of this process that the system cannot take back by dropping pages of files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1e3


def make_lasso(number: int) -> Polygon:
    """Make an outline as one draws it by hand, with dents."""
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    radius = 1.0 + 0.3 * np.sin(5 * angle + number)
    return Polygon(
        tuple(zip(0.6 + 0.7 * radius * np.cos(angle), 22.5 + 2.5 * radius * np.sin(angle), strict=True))
    )
