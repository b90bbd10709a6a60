"""Benchmarks of a platform that is up: cones by TAP, cutouts, memory of each process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from bench.record import Measurement
from bench.stack import Stack, run_skydesk

__all__ = ["find_first_user", "measure_memory", "measure_tap", "read_pss_mb", "sum_pss_mb"]

REPEATS = 40


def measure_tap(stack: Stack, release: str, ra_deg: float, dec_deg: float) -> list[Measurement]:
    """Measure cone searches by synchronous TAP, each at another place and seen from the client.

    Parameters
    ----------
    stack
        The platform.
    release
        Name of a release with a table Object.
    ra_deg, dec_deg
        Middle of its field, in degrees (ICRS).
    """
    token = stack.make_token(find_first_user(stack), "read:tap")
    with httpx.Client(headers={"Authorization": f"Bearer {token}"}, timeout=60) as client:

        def ask(number: int) -> None:
            place = f"{ra_deg + 0.0005 * (number % 11 - 5):.6f}, {dec_deg + 0.0005 * (number % 7 - 3):.6f}"
            query = (
                f"SELECT objectId, coord_ra, coord_dec, r_psfFlux FROM {release}.Object "
                f"WHERE CONTAINS(POINT('ICRS', coord_ra, coord_dec), CIRCLE('ICRS', {place}, 0.01)) = 1"
            )
            answer = client.post(
                f"{stack.url}/api/tap/sync",
                data={"LANG": "ADQL", "QUERY": query},
            )
            answer.raise_for_status()
            assert b"VOTABLE" in answer.content

        times_ms = _time(ask)
    p95 = statistics.quantiles(times_ms, n=20)[-1]
    return [
        Measurement("tap_cone_p50", statistics.median(times_ms), "ms", "TAP cone of 36″, median"),
        Measurement(
            "tap_cone_p95", p95, "ms", "TAP cone of 36″, 95th percentile", "promise for a page or cone", 100.0
        ),
    ]


def _time(ask: Callable[[int], None]) -> list[float]:
    ask(0)
    times_ms = []
    for number in range(REPEATS):
        begun = time.perf_counter()
        ask(number)
        times_ms.append(1e3 * (time.perf_counter() - begun))
    return times_ms


def find_first_user(stack: Stack) -> str:
    """Return the name of the platform's first user."""
    for line in run_skydesk(stack.home, "user", "list").stdout.splitlines():
        name = line.split()[0] if line.split() else ""
        if name and name.lower() == name and name not in {"name", "user"}:
            return name
    raise RuntimeError("the platform has no user")


def measure_memory(stack: Stack) -> list[Measurement]:
    """Measure the proportional set size of every process of the platform."""
    services = stack.status()["services"]
    assert isinstance(services, dict)
    found = []
    for name, service in services.items():
        if (size := read_pss_mb(int(service["pid"]))) is not None:
            found.append(Measurement(f"memory_{name}", size, "MB", f"memory (PSS) of `{name}`"))
    total = sum(m.value for m in found)
    return [*found, Measurement("memory_total", total, "MB", "memory (PSS) of all processes, without labs")]


def sum_pss_mb(stack: Stack) -> float:
    """Return the proportional set size of all processes together, in MB."""
    services = stack.status()["services"]
    assert isinstance(services, dict)
    return sum(read_pss_mb(int(service["pid"])) or 0.0 for service in services.values())


def read_pss_mb(pid: int) -> float | None:
    """Return the proportional set size of a process in MB; None where the kernel does not tell."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return None
