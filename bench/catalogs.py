"""TAP on the large generated release: beside GAVO DaCHS with pgSphere in one run, and under fifty queries at once."""

from __future__ import annotations

import statistics
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyvo
import requests
from astropy.table import Table

from bench.large import CENTERS_DEG, OBJECT_COLUMNS
from bench.record import Measurement
from bench.services import find_first_user, sum_pss_mb
from bench.stack import Stack

__all__ = ["Peer", "measure_against_peer", "measure_load"]

ALL = ", ".join(OBJECT_COLUMNS)
LOAD_QUERIES = 50
LOAD_ROWS = 900_000
"""Rows of twenty columns that make 0.1 GB as BINARY2."""
WITHIN_S = 10.0


@dataclass(frozen=True)
class Peer:
    """A TAP service that is measured.

    Parameters
    ----------
    name
        Its name.
    service
        Client of it.
    """

    name: str
    service: pyvo.dal.TAPService

    def fetch(self, query: str, rows: int = 5_000_000, upload: Table | None = None) -> int:
        """Ask synchronously and parse the answer; return the number of rows."""
        uploads = None if upload is None else {"t": upload}
        return len(self.service.run_sync(query, maxrec=rows, uploads=uploads))

    def download(self, query: str, rows: int) -> int:
        """Ask synchronously and read the answer without parsing it; return its bytes."""
        with self.service.create_query(query, maxrec=rows).execute_stream() as stream:
            return sum(len(block) for block in iter(lambda: stream.read(1 << 20), b""))


def connect(stack: Stack) -> Peer:
    """Return the platform as a peer, with a token of its first user."""
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {stack.make_token(find_first_user(stack), 'read:tap')}"
    return Peer("skydesk", pyvo.dal.TAPService(f"{stack.url}/api/tap", session=session))


def measure_against_peer(stack: Stack, address: str) -> list[Measurement]:
    """Measure the same queries on the platform and on DaCHS, in turns, from pyvo and end to end.

    Different numbers of rows are told on the error stream.

    Parameters
    ----------
    stack
        The platform with the release ``large``.
    address
        TAP address of DaCHS with the same rows.
    """
    ours, theirs = connect(stack), Peer("DaCHS", pyvo.dal.TAPService(address))
    rng = np.random.default_rng(7)
    trials: list[tuple[str, str, int, float, Callable[[Peer, int], int]]] = [
        ("cone_10as", "cone of 10″", 15, 0.5, _cone(rng, 10 / 3600)),
        ("cone_1am", "cone of 1′", 15, 0.4, _cone(rng, 1 / 60)),
        ("cone_1deg", "cone of 1°, counted", 5, 0.15, _big_cone(rng)),
        ("scan", "GROUP BY over 1e7 rows", 5, 0.3, _scan),
        ("million", "1e6 rows × 20 columns, downloaded", 3, 0.1, _million),
        ("crossmatch", "cross-match of 1000 uploaded rows", 5, 1.0, _crossmatch(rng)),
    ]
    found = []
    for name, what, repeats, bar, ask in trials:
        ours_s, theirs_s = _take_turns(ours, theirs, ask, repeats, name != "million")
        found.append(
            Measurement(f"tap_{name}", 1e3 * ours_s, "ms", f"TAP {what} (bar {bar})", "DaCHS", 1e3 * theirs_s)
        )
    return found


def _take_turns(
    ours: Peer, theirs: Peer, ask: Callable[[Peer, int], int], repeats: int, compare: bool
) -> tuple[float, float]:
    times: dict[str, list[float]] = {ours.name: [], theirs.name: []}
    for number in range(repeats + 1):
        sizes = {}
        for peer in (ours, theirs) if number % 2 else (theirs, ours):
            begun = time.perf_counter()
            sizes[peer.name] = ask(peer, number)
            if number:  # the first warms both
                times[peer.name].append(time.perf_counter() - begun)
        if compare and len(set(sizes.values())) != 1:
            sys.stderr.write(f"the two answer differently: {sizes}\n")
    return statistics.median(times[ours.name]), statistics.median(times[theirs.name])


def _place(rng: np.random.Generator, spread_deg: float) -> list[tuple[float, float]]:
    ra_deg, dec_deg = CENTERS_DEG[0]
    shifts = rng.uniform(-spread_deg, spread_deg, (64, 2))
    return [(ra_deg + float(x), dec_deg + float(y)) for x, y in shifts]


def _inside(ra_deg: float, dec_deg: float, radius_deg: float) -> str:
    return f"1=CONTAINS(POINT('ICRS', coord_ra, coord_dec), CIRCLE('ICRS', {ra_deg!r}, {dec_deg!r}, {radius_deg!r}))"


def _cone(rng: np.random.Generator, radius_deg: float) -> Callable[[Peer, int], int]:
    places = _place(rng, 0.5)

    def ask(peer: Peer, number: int) -> int:
        return peer.fetch(f"SELECT {ALL} FROM large.Object WHERE {_inside(*places[number], radius_deg)}")

    return ask


def _big_cone(rng: np.random.Generator) -> Callable[[Peer, int], int]:
    places = _place(rng, 0.05)

    def ask(peer: Peer, number: int) -> int:
        query = f"SELECT COUNT(*) AS n, AVG(r_psfFlux) AS m FROM large.Object WHERE {_inside(*places[number], 1.0)}"
        return int(peer.service.run_sync(query)["n"][0])

    return ask


def _scan(peer: Peer, number: int) -> int:
    return peer.fetch(
        "SELECT patch, COUNT(*) AS n, AVG(r_psfMag) AS m FROM large.Object "
        f"WHERE g_psfMag - r_psfMag > {0.1 + 0.01 * number} GROUP BY patch"
    )


def _million(peer: Peer, number: int) -> int:
    query = f"SELECT TOP 1000000 {ALL} FROM large.Object WHERE objectId > {number}"
    return peer.download(query, 1_000_000)


def _crossmatch(rng: np.random.Generator) -> Callable[[Peer, int], int]:
    ra_deg, dec_deg = CENTERS_DEG[0]
    query = (
        "SELECT t.rid, o.objectId FROM large.Object AS o JOIN TAP_UPLOAD.t AS t "
        "ON 1=CONTAINS(POINT('ICRS', o.coord_ra, o.coord_dec), CIRCLE('ICRS', t.ra, t.dec, 0.0008333333333333334))"
    )
    uploads = [
        Table(
            {
                "rid": np.arange(1000),
                "ra": ra_deg + rng.uniform(-0.7, 0.7, 1000),
                "dec": dec_deg + rng.uniform(-0.7, 0.7, 1000),
            }
        )
        for _ in range(8)
    ]

    def ask(peer: Peer, number: int) -> int:
        return peer.fetch(query, upload=uploads[number])

    return ask


def measure_load(stack: Stack) -> list[Measurement]:
    """Measure fifty queries at once that select 0.1 GB each from all objects, and small ones meanwhile (LSP-0028).

    Parameters
    ----------
    stack
        The platform with the release ``large``.
    """
    ours = connect(stack)
    done = threading.Event()
    small_ms: list[float] = []
    largest_mb = 0.0

    def ask_small() -> None:
        rng = np.random.default_rng(11)
        peer = connect(stack)
        while not done.is_set():
            place = _place(rng, 0.5)[0]
            begun = time.perf_counter()
            peer.fetch(f"SELECT objectId FROM large.Object WHERE {_inside(*place, 10 / 3600)}")
            small_ms.append(1e3 * (time.perf_counter() - begun))
            time.sleep(0.05)

    def watch_memory() -> None:
        nonlocal largest_mb
        while not done.is_set():
            largest_mb = max(largest_mb, sum_pss_mb(stack))
            time.sleep(1.0)

    def ask_large(number: int) -> float:
        begun = time.perf_counter()
        query = f"SELECT TOP {LOAD_ROWS} {ALL} FROM large.Object WHERE objectId > {number}"
        ours.download(query, LOAD_ROWS)
        return time.perf_counter() - begun

    watchers = [threading.Thread(target=ask_small), threading.Thread(target=watch_memory)]
    for watcher in watchers:
        watcher.start()
    try:
        with ThreadPoolExecutor(LOAD_QUERIES) as pool:
            times_s = list(pool.map(ask_large, range(LOAD_QUERIES)))
    finally:
        done.set()
        for watcher in watchers:
            watcher.join()
    what = f"{LOAD_QUERIES} queries of 0.1 GB at once"
    return [
        Measurement("tap_load_p95", statistics.quantiles(times_s, n=20)[-1], "s", f"{what}: 95th percentile"),
        Measurement(
            "tap_load_within", sum(t <= WITHIN_S for t in times_s), "", f"{what}: ended within {WITHIN_S:g} s"
        ),
        Measurement(
            "tap_load_memory", largest_mb, "MB", f"{what}: largest PSS of all processes", "limit", 6000.0
        ),
        Measurement(
            "tap_load_small_p95",
            statistics.quantiles(small_ms, n=20)[-1],
            "ms",
            f"{what}: cones of 10″ meanwhile, 95th percentile",
            "limit",
            300.0,
        ),
    ]
