"""The writer of VOTables beside astropy's: the same 200 000 rows of twenty columns, in memory.

Astropy's writer has a process of its own: astropy 8.0.2's TABLEDATA writer, in C, writes one byte behind its buffer,
which later ended the benchmarks with a segmentation fault.
"""

from __future__ import annotations

import io
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pyarrow as pa
from astropy.io.votable import parse
from astropy.io.votable.tree import VOTableFile
from astropy.table import Table

from bench.record import Measurement, write_measurement
from skydesk_portal.models.tables import ColumnInfo
from skydesk_portal.vo.formats import create_writer

__all__ = ["measure_writers"]

ROWS = 200_000
BATCH_ROWS = 50_000
REPEATS = 5
_KINDS = {"long": "i8", "int": "i4", "double": "f8", "float": "f4", "boolean": "?"}
_NAMES = ("long", "int", *("double",) * 2, *("float",) * 13, *("boolean",) * 2)


def make_rows() -> tuple[tuple[ColumnInfo, ...], pa.Table]:
    """Make the rows: an identifier, numbers of every width, two flags and a text of changing length."""
    rng = np.random.default_rng(3)
    columns = [ColumnInfo(f"c{i}", kind) for i, kind in enumerate(_NAMES)]
    arrays = [pa.array((rng.random(ROWS) * 1e4).astype(_KINDS[kind])) for kind in _NAMES]
    columns.append(ColumnInfo("name", "char", "*"))
    arrays.append(pa.array([f"object {number % 1013}" for number in range(ROWS)]))
    return tuple(columns), pa.table(arrays, names=[column.name for column in columns])


def measure_writers(formats: tuple[str, ...] = ("votable", "votable/td")) -> list[Measurement]:
    """Measure the writing of both serialisations by this package and by astropy.

    Parameters
    ----------
    formats
        Short names of the serialisations.

    Returns
    -------
    list of Measurement
        Seconds of each, with astropy's beside them.
    """
    columns, rows = make_rows()
    batches = rows.to_batches(BATCH_ROWS)

    def ours(form: str) -> bytes:
        writer = create_writer(form, columns)
        parts = [writer.begin(), *(writer.rows(batch) for batch in batches), *writer.finish()]
        return b"".join(parts)

    found = []
    for form in formats:
        assert len(parse(io.BytesIO(ours(form))).get_first_table().array) == ROWS
        own_s = statistics.median(_time(lambda form=form: ours(form), REPEATS))
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as peer:
            peer_s = peer.submit(_time_astropy, form).result()
        name = "BINARY2" if form == "votable" else "TABLEDATA"
        what = f"VOTable {name} of {ROWS:,} rows × {len(columns)} columns"
        found.append(Measurement(f"writer_{name.lower()}", own_s, "s", what, "astropy's writer", peer_s))
    return found


def _time_astropy(form: str) -> float:
    """Return the seconds that astropy takes to write the rows."""
    _, rows = make_rows()
    plain = Table({name: rows[name].to_numpy() for name in rows.column_names[:-1]})
    plain["name"] = np.array(rows["name"].to_pylist(), dtype="S")
    file = VOTableFile.from_table(plain)
    sink = io.BytesIO()
    begun = time.perf_counter()
    file.to_xml(sink, tabledata_format="binary2" if form == "votable" else "tabledata")
    return time.perf_counter() - begun


def _time(call: Callable[[], bytes], repeats: int) -> list[float]:
    took_s = []
    for _ in range(repeats):
        begun = time.perf_counter()
        call()
        took_s.append(time.perf_counter() - begun)
    return took_s


if __name__ == "__main__":
    for measurement in measure_writers():
        write_measurement(measurement)
        times = (measurement.peer_value or 0.0) / measurement.value
        sys.stdout.write(f"{measurement.what}: {measurement.value:.4f} s, {times:.0f} × astropy\n")
