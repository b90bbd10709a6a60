"""One measured figure, how it is kept (one JSON a benchmark) and how the docs page is rendered from what was kept."""

from __future__ import annotations

import datetime
import json
import os
import platform
from dataclasses import asdict, dataclass, field
from pathlib import Path

__all__ = ["Measurement", "render_page", "write_measurement"]

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench-results"
PAGE = ROOT / "docs" / "reference" / "performance.md"


def describe_machine() -> str:
    """Describe this machine in a few words: processor, cores, memory."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{platform.machine()}, {os.cpu_count()} cores, {memory_gib:.0f} GiB, load {os.getloadavg()[0]:.1f}"
    )


@dataclass(frozen=True)
class Measurement:
    """A figure with what it is compared to.

    The ratio is the value over the peer's value: below 1 is better than the peer for times and memory.
    """

    name: str
    value: float
    unit: str
    what: str
    peer: str | None = None
    peer_value: float | None = None
    machine: str = field(default_factory=describe_machine)
    date: str = field(
        default_factory=lambda: datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    )

    @property
    def ratio(self) -> float | None:
        """The value over the peer's."""
        return None if self.peer_value is None else self.value / self.peer_value


def write_measurement(measurement: Measurement) -> Path:
    """Keep a figure as ``bench-results/NAME.json``; the newest replaces the one before.

    Parameters
    ----------
    measurement
        What was measured.
    """
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{measurement.name}.json"
    text = json.dumps({**asdict(measurement), "ratio": measurement.ratio}, indent=2, ensure_ascii=False)
    path.write_text(text + "\n")
    return path


def render_page() -> None:
    """Write docs/reference/performance.md from every figure that is kept."""
    lines = [
        "# Performance",
        "",
        "<!-- Written by make bench from bench-results: measure again instead of editing. -->",
        "",
        "Measured on the running product by `make bench`.",
        "The ratio is the value over the peer's; below 1 is better.",
        "",
        "| what | value | peer | ratio | machine | date |",
        "|---|---|---|---|---|---|",
    ]
    for path in sorted(RESULTS.glob("*.json")):
        kept = json.loads(path.read_text())
        peer = "" if kept["peer"] is None else kept["peer"]
        if kept["peer_value"] is not None:
            peer += f": {kept['peer_value']:g} {kept['unit']}"
        ratio = "" if kept["ratio"] is None else f"{kept['ratio']:.2f}"
        value = f"{kept['value']:.4g} {kept['unit']}"
        lines.append(
            f"| {kept['what']} | {value} | {peer} | {ratio} | {kept['machine']} | {kept['date'][:10]} |"
        )
    PAGE.write_text("\n".join(lines) + "\n")
