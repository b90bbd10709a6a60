"""The demo release from nothing: simulate, calibrate, reduce, publish; resumes where it stopped."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from skydesk_core.config import DemoConfig, load_config
from skydesk_core.errors import PipelineError, UsageError
from skydesk_core.executor import Progress, RunReport, run_pipeline
from skydesk_core.executor.pool import WorkerPool
from skydesk_core.home import Home, ensure_home
from skydesk_core.instrument.calibs import certify_calibrations
from skydesk_core.instrument.ingest import ingest_raws
from skydesk_core.instrument.simcam import SimCam
from skydesk_core.refcat import load_reference_table
from skydesk_core.repo import ensure_repo
from skydesk_core.sim.repository import register_survey
from skydesk_core.sim.survey import Survey, get_survey, write_frame
from skydesk_core.sim.truth import make_reference_catalog

__all__ = ["DemoReport", "DemoStep", "build_demo", "prepare_demo"]

_WEIGHTS = {"simulate": 4.0, "ingest": 3.0, "calibrate": 6.0, "process": 38.0, "publish": 13.0}
"""Expected share of each step in the time, for the first guess of how long is left."""
_REFCAT = "demo_refcat"
"""Name of the reference catalog, which the pipeline DRP reads."""
_FRAME_SECONDS = {"tiny": 1.0, "standard": 4.5}
_NAMES = {
    "simulate": "simulating raw exposures",
    "ingest": "ingesting exposures",
    "calibrate": "making calibrations",
    "process": "processing",
    "publish": "publishing",
}


@dataclass(frozen=True)
class DemoStep:
    """What one step cost.

    Attributes
    ----------
    name
        The step.
    wall_s
        Time.
    cpu_s
        CPU time of the builder's own process.
    labels
        For pipelines: quanta, and seconds in the workers, by label.
    """

    name: str
    wall_s: float
    cpu_s: float
    labels: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass
class DemoReport:
    """What the whole build cost.

    Attributes
    ----------
    preset, release
        What was built.
    steps
        The steps that were run, in order.
    elapsed_s, cpu_s
        Time, and CPU time of all processes.
    machine
        Where.
    """

    preset: str
    release: str
    steps: list[DemoStep] = field(default_factory=list)
    elapsed_s: float = 0.0
    cpu_s: float = 0.0
    machine: str = ""


Tell = Callable[[str, float, float | None], None]
"""Receives what is being made, the fraction that is done, and the expected time to go."""


class _Clock:
    """Turns the steps' own progress into that of the whole."""

    def __init__(self, report: DemoReport, tell: Tell | None) -> None:
        self.report, self._tell = report, tell
        self._scale = _FRAME_SECONDS[report.preset]
        self._begin = time.monotonic()
        self._step = ""
        self._step_begin = self._begin

    def tell(self, fraction: float, what: str = "", remaining_s: float | None = None) -> None:
        """Tell how far the current step is."""
        if self._tell is None:
            return
        names = list(_WEIGHTS)
        i = names.index(self._step)
        weight = _WEIGHTS[self._step]
        done = sum(_WEIGHTS[n] for n in names[:i]) + weight * fraction
        spent = time.monotonic() - self._begin
        # The machine's speed shows after a while; before that the usual time is the best guess.
        speed = spent / (done * self._scale) if done * self._scale > 6 else 1.0
        later = sum(_WEIGHTS[n] for n in names[i + 1 :]) * self._scale * max(speed, 0.2)
        here = remaining_s if remaining_s is not None else weight * (1 - fraction) * self._scale * speed
        text = _NAMES[self._step] + (f": {what}" if what else "")
        self._tell(text, done / sum(_WEIGHTS.values()), here + later)

    @contextmanager
    def step(self, name: str, labels: dict[str, dict[str, float]] | None = None) -> Iterator[None]:
        """Time a step."""
        self._step = name
        self._step_begin, cpu = time.monotonic(), time.process_time()
        self.tell(0.0)
        yield
        self.report.steps.append(
            DemoStep(
                name,
                round(time.monotonic() - self._step_begin, 2),
                round(time.process_time() - cpu, 2),
                labels or {},
            )
        )
        self.tell(1.0)


def _simulate(survey: Survey, folder: Path, pool: WorkerPool, clock: _Clock) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    calls = [
        (f"{write_frame.__module__}:write_frame", (survey.preset, f, str(folder))) for f in survey.frames
    ]
    return pool.run_calls(calls, lambda n: clock.tell(n / len(calls), f"{n} of {len(calls)}"))


def prepare_demo(
    home: Home, settings: DemoConfig, pool: WorkerPool, report: DemoReport, progress: Tell | None = None
) -> None:
    """Simulate the survey and take it into the working repository, without calibrating or reducing it.

    Parameters
    ----------
    home
        The home.
    settings
        What to make.
    pool
        Workers that simulate.
    report
        Gets the steps' costs.
    progress
        Told how far it is.
    """
    clock = _Clock(report, progress)
    survey = get_survey(settings.preset)
    folder = home.cache / f"demo-raw-{settings.preset}"
    with clock.step("simulate"):
        files = _simulate(survey, folder, pool, clock)
    with clock.step("ingest"), ensure_repo(home) as butler:
        register_survey(butler, survey, settings.skymap, settings.truth)
        ingest_raws(
            butler,
            SimCam(),
            files,
            transfer="hardlink",
            progress=lambda n, total: clock.tell(0.3 + 0.5 * n / total),
        )
        load_reference_table(butler, _REFCAT, make_reference_catalog(survey))


def _check(report: RunReport, name: str, log: Path) -> dict[str, dict[str, float]]:
    if not report.ok:
        first = report.failures[0] if report.failures else None
        why = f"{first.label} {first.data_id}: {first.message}" if first else "aborted"
        raise PipelineError(f"{name}: {len(report.failures)} quanta failed, first {why}; see {log}")
    return {
        label: {"quanta": c.quanta, "wall_s": round(c.wall_s, 3), "cpu_s": round(c.cpu_s, 3)}
        for label, c in report.costs.items()
    }


def _run(home: Home, settings: DemoConfig, pool: WorkerPool, clock: _Clock, log: Path) -> None:
    def show(p: Progress) -> None:
        clock.tell(p.done / p.total, p.label, p.remaining_s)

    labels: dict[str, dict[str, float]] = {}
    with clock.step("calibrate", labels):
        where = "instrument='SimCam' AND exposure.observation_type IN ('bias', 'dark', 'flat')"
        done = run_pipeline(
            home, "CPP", "SimCam/defaults", settings.calibration, where, pool=pool, progress=show
        )
        labels.update(_check(done, "CPP", log))
        with ensure_repo(home) as butler:
            certify_calibrations(butler, settings.calibration)
    labels = {}
    with clock.step("process", labels):
        where = f"instrument='SimCam' AND skymap='{settings.skymap}' AND exposure.observation_type='science'"
        inputs = ["SimCam/defaults", settings.truth]
        done = run_pipeline(home, "DRP", inputs, settings.processing, where, pool=pool, progress=show)
        labels.update(_check(done, "DRP", log))


def _children_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def build_demo(
    home: Home, settings: DemoConfig | None = None, *, workers: int = 2, progress: Tell | None = None
) -> DemoReport:
    """Build the demo release.

    Every step finds what an interrupted build left. The costs are written to
    ``cache/demo-timing.json``.

    Parameters
    ----------
    home
        The home; it is made if need be.
    settings
        What to build; by default what the configuration file says.
    workers
        Number of worker processes.
    progress
        Told what is being made, which fraction is done, and how long is left.

    Returns
    -------
    DemoReport
        The costs; no steps if the release exists.

    Raises
    ------
    PipelineError
        If a quantum fails.
    UsageError
        If another process builds the demo in this home.
    """
    settings = settings or load_config(home).demo
    report = DemoReport(
        settings.preset, settings.release, machine=f"{platform.machine()}, {os.cpu_count()} CPUs"
    )
    ensure_home(home)
    if (home.releases / settings.release / "manifest.json").exists():
        return report
    with _only_one(home):
        return _build(home, settings, report, workers, progress)


@contextmanager
def _only_one(home: Home) -> Iterator[None]:
    home.cache.mkdir(parents=True, exist_ok=True)
    with (home.cache / "demo.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"another process is building the demo in {home.root}") from None
        yield


def _build(
    home: Home, settings: DemoConfig, report: DemoReport, workers: int, progress: Tell | None
) -> DemoReport:
    from skydesk_core.release.publish import publish

    begin, cpu, children = time.monotonic(), time.process_time(), _children_cpu()
    log = home.root / "logs" / "demo.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    clock = _Clock(report, progress)
    with WorkerPool(workers, log_file=log, environment={"SKYDESK_HOME": str(home.root)}) as pool:
        pool.start()
        prepare_demo(home, settings, pool, report, progress)
        _run(home, settings, pool, clock, log)
    with clock.step("publish"):
        publish(
            home,
            settings.release,
            settings.processing,
            settings.title,
            progress=lambda what, fraction: clock.tell(fraction, what),
            settings=load_config(home).publish,
        )
    shutil.rmtree(home.cache / f"demo-raw-{settings.preset}", ignore_errors=True)
    report.elapsed_s = round(time.monotonic() - begin, 2)
    report.cpu_s = round(time.process_time() - cpu + _children_cpu() - children, 2)
    timing = {"version": 1, **asdict(report)}
    (home.cache / "demo-timing.json").write_text(json.dumps(timing, indent=1) + "\n", encoding="utf-8")
    return report
