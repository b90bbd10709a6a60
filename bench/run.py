"""Measures the running product and renders the docs page: ``make bench``, or single benchmarks by name."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from bench import dachs
from bench.browser import measure_browser
from bench.catalogs import measure_against_peer, measure_load
from bench.cutouts import measure_cutouts
from bench.focal_plane import measure_focal_plane
from bench.jobs import measure_jobs, measure_limits
from bench.large import make_large_release
from bench.lightcurves import measure_light_curves, measure_periods
from bench.record import Measurement, render_page, write_measurement
from bench.resultsets import measure_result_sets
from bench.services import measure_memory, measure_tap
from bench.sessions import measure_sessions
from bench.spark import measure_spark
from bench.stack import run_skydesk, running
from bench.votable import measure_writers

LIMIT_S = {"tiny": 60.0, "standard": 300.0}
START_LIMIT_S = 25.0
STOP_LIMIT_S = 5.0


def main() -> None:
    """Run the benchmarks that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", choices=["tiny", "standard"], default="standard", help="size of the demo")
    parser.add_argument(
        "--home", type=Path, help="a home folder with a demo release; without it one is built"
    )
    parser.add_argument("--skip-browser", action="store_true", help="leave out what needs a browser")
    parser.add_argument(
        "--large",
        type=Path,
        metavar="HOME",
        help="measure only catalogs of 1e7 objects, beside DaCHS; the release is generated in HOME when it is absent",
    )
    parser.add_argument(
        "--results",
        type=float,
        metavar="ROWS",
        help="measure only a kept result of the Catalogs page with so many rows, such as 1e7",
    )
    parser.add_argument(
        "--focal-plane",
        type=int,
        metavar="SIDE",
        help="measure only the focal plane of 189 detectors of SIDE x SIDE pixels, such as 4096 for 3.2 gigapixels",
    )
    options = parser.parse_args()
    if options.focal_plane is not None:
        with make_home() as home:
            keep(measure_focal_plane(home, options.focal_plane))
        render_page()
        return
    if options.results is not None:
        keep(measure_result_sets(int(options.results)))
        render_page()
        return
    if options.large is not None:
        measure_large(options.large)
        render_page()
        return
    with make_home() as fresh:
        home = options.home or fresh
        if options.home is None:
            keep(measure_demo(home, options.preset))
        manifest = json.loads((home / "releases" / "demo" / "manifest.json").read_text())
        with running(home):
            pass
        with running(home) as stack:
            start = Measurement(
                "start", stack.start_s, "s", "second start until all healthy", "promise", START_LIMIT_S
            )
            keep([start])
            keep(measure_tap(stack, manifest["name"], *manifest["center_deg"]))
            keep(measure_writers())
            keep(measure_result_sets(10_000_000))
            keep(measure_cutouts(stack, manifest["name"]))
            keep(measure_periods())
            keep(measure_jobs(stack, manifest["name"]))
            keep(measure_limits())
            keep(measure_memory(stack))
            if not options.skip_browser:
                keep(measure_browser(stack))
                keep(measure_light_curves(stack, manifest["name"]))
                keep(measure_sessions(stack))
        if not options.skip_browser:
            with make_home() as other:
                keep(measure_focal_plane(other))
        keep([Measurement("stop", stack.stop_s, "s", "down until nothing runs", "promise", STOP_LIMIT_S)])
    render_page()


@contextlib.contextmanager
def make_home() -> Iterator[Path]:
    """Give the name of a home folder that goes with what is in it."""
    with tempfile.TemporaryDirectory(prefix="skydesk-bench-") as folder:
        # Labs run under another account: the folders above the home must let it through.
        Path(folder).chmod(0o711)
        yield Path(folder) / "home"


def measure_large(home: Path) -> None:
    """Measure catalog queries on the large generated release, beside DaCHS where that is installed."""
    release = home / "releases" / "large"
    if not release.exists():
        release.parent.mkdir(parents=True, exist_ok=True)
        make_large_release(release)
    missing = dachs.find_missing()
    if missing is None and not dachs.is_loaded():
        dachs.load(release / "catalogs.duckdb")
    with running(home) as stack:
        if missing is None:
            with dachs.serving() as address:
                keep(measure_against_peer(stack, address))
        else:
            sys.stderr.write(f"no peer: {missing}\n")
        keep(measure_load(stack))
    keep(measure_spark(home))


def measure_demo(home: Path, preset: str) -> list[Measurement]:
    """Measure the build of the demo release, as a whole and by step, with the kernels compiled before."""
    os.environ.setdefault("NUMBA_CACHE_DIR", str(home / "cache" / "numba"))
    home.mkdir(parents=True)
    run_skydesk_warm()
    begun = time.monotonic()
    run_skydesk(home, "demo", "build", "--preset", preset)
    took_s = time.monotonic() - begun
    what = f"demo release, preset {preset}"
    found = [Measurement(f"demo_{preset}", took_s, "s", what, "promise", LIMIT_S[preset])]
    return found + [
        Measurement(f"demo_{preset}_{name.replace(' ', '_')}", seconds, "s", f"{what}: {name}")
        for name, seconds in list_steps(home)
    ]


def run_skydesk_warm() -> None:
    """Compile the kernels, as ``make up`` does before the first start."""
    subprocess.run([sys.executable, "-m", "skydesk_core.warm"], check=True, stdout=subprocess.DEVNULL)


def list_steps(home: Path) -> list[tuple[str, float]]:
    """List name and seconds of each step of a demo build, from the report it leaves."""
    report = json.loads((home / "cache" / "demo-timing.json").read_text())
    return [(step["name"], float(step["wall_s"])) for step in report["steps"]]


def keep(measurements: Iterable[Measurement]) -> None:
    """Print and keep figures."""
    for measurement in measurements:
        write_measurement(measurement)
        ratio = "" if measurement.ratio is None else f"  ({measurement.ratio:.2f} of {measurement.peer})"
        sys.stdout.write(f"{measurement.what:60s} {measurement.value:10.4g} {measurement.unit}{ratio}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
