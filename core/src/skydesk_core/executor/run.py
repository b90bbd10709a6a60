"""Schedules the quanta of a graph over a pool of workers and registers what they wrote."""

from __future__ import annotations

import heapq
import itertools
import logging
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import networkx
from lsst.daf.butler import Butler, DataCoordinate, DatasetRef, FileDataset
from sqlalchemy.exc import OperationalError

from skydesk_core.errors import PipelineError
from skydesk_core.executor.graph import BuiltGraph, build_graph, find_pipeline, get_output_run
from skydesk_core.executor.pool import Answer, WorkerPool
from skydesk_core.executor.report import LabelCost, Progress, QuantumFailure, RunReport
from skydesk_core.home import Home
from skydesk_core.repo import get_repo_path, open_repo

__all__ = ["find_pipeline", "run_pipeline"]

_LOG = logging.getLogger(__name__)

ATTEMPTS = 3
"""How often a quantum is started before the death of its worker counts as its failure."""
LOOK_AHEAD = 12
"""How many ready quanta are looked at for one whose input a worker has read before."""
FLUSH_S = 1.5
"""Seconds between registrations; what a killed run loses of finished work at most."""


class _Run:
    """The state of one run."""

    def __init__(self, butler: Butler, built: BuiltGraph, report: RunReport, repo: str) -> None:
        self.butler, self.built, self.report, self.repo = butler, built, report, repo
        self.key = str(built.path)
        graph = built.graph
        self.nodes: networkx.DiGraph = graph.quantum_only_xgraph
        self.labels = {i: label for label, ids in graph.quanta_by_task.items() for i in ids.values()}
        self.data_ids = {i: d for ids in graph.quanta_by_task.values() for d, i in ids.items()}
        self.refs: dict[uuid.UUID, DatasetRef] = {}
        for quantum in graph.build_execution_quanta().values():
            for refs in quantum.outputs.values():
                self.refs.update((ref.id, ref) for ref in refs)
        self.waits_for = {i: self.nodes.in_degree(i) for i in self.nodes}
        depth: dict[uuid.UUID, int] = {}
        for i in reversed(list(networkx.topological_sort(self.nodes))):
            depth[i] = 1 + max((depth[k] for k in self.nodes.successors(i)), default=0)
        self.depth = depth
        self.order = itertools.count()
        self.ready: list[tuple[int, int, uuid.UUID]] = []
        for i, n in self.waits_for.items():
            if n == 0:
                self.push(i)
        self.places = {i: self._place(d) for i, d in self.data_ids.items()}
        self.homes: dict[int, int] = {}
        self.ended: set[uuid.UUID] = set()
        self.starts: dict[uuid.UUID, int] = {}
        self.unregistered: list[FileDataset] = []
        self.last_flush = time.monotonic()

    def push(self, quantum_id: uuid.UUID) -> None:
        """Queue a quantum; those with the longest chain behind them go first."""
        heapq.heappush(self.ready, (-self.depth[quantum_id], next(self.order), quantum_id))

    @staticmethod
    def _place(data_id: DataCoordinate) -> int | None:
        for name in ("visit", "exposure"):
            if name in data_id.dimensions:
                return int(data_id[name])
        return None

    def pop(self, pid: int) -> uuid.UUID:
        """Take a ready quantum for a worker; if possible of a visit that the worker knows, or that none does."""
        passed: list[tuple[int, int, uuid.UUID]] = []
        chosen = None
        while self.ready and len(passed) < LOOK_AHEAD:
            entry = heapq.heappop(self.ready)
            place = self.places[entry[2]]
            if place is None or self.homes.get(place, pid) == pid:
                chosen = entry
                break
            passed.append(entry)
        if chosen is None:
            chosen = passed.pop(0)
        for entry in passed:
            heapq.heappush(self.ready, entry)
        place = self.places[chosen[2]]
        if place is not None:
            self.homes[place] = pid
        return chosen[2]

    def succeed(self, quantum_id: uuid.UUID, answer: Answer) -> None:
        """Note what a quantum wrote and release what waited for it."""
        self.report.succeeded += 1
        self.ended.add(quantum_id)
        cost = self.report.costs.setdefault(self.labels[quantum_id], LabelCost())
        cost.quanta += 1
        cost.wall_s += answer.wall_s
        cost.cpu_s += answer.cpu_s
        for dataset_id, path in answer.value:
            self.unregistered.append(FileDataset(path=path, refs=[self.refs[dataset_id]]))
        for k in self.nodes.successors(quantum_id):
            self.waits_for[k] -= 1
            if self.waits_for[k] == 0 and k not in self.ended:
                self.push(k)

    def fail(self, quantum_id: uuid.UUID, message: str) -> None:
        """Note a failure and give up what depends on it."""
        label, data_id = self.labels[quantum_id], str(self.data_ids[quantum_id])
        _LOG.error("%s %s failed: %s", label, data_id, message)
        self.report.failures.append(QuantumFailure(label, data_id, message))
        self.ended.add(quantum_id)
        lost = networkx.descendants(self.nodes, quantum_id) - self.ended
        self.report.blocked += len(lost)
        self.ended |= lost

    def flush(self, *, force: bool = False) -> None:
        """Register the datasets of finished quanta in one transaction."""
        if not self.unregistered or not (force or time.monotonic() - self.last_flush > FLUSH_S):
            return
        try:
            self.butler.ingest(*self.unregistered, transfer=None)
        except (OSError, OperationalError) as error:
            reason = str(getattr(error, "orig", None) or error)
            raise PipelineError(f"{self.report.run}: cannot register what was made: {reason}") from error
        self.unregistered = []
        self.last_flush = time.monotonic()

    def progress(self, begin: float, label: str, workers: int) -> Progress:
        """Tell the state; the rest is expected to cost what its labels cost so far."""
        elapsed = time.monotonic() - begin
        done, total = len(self.ended), len(self.nodes)
        remaining = None
        known = {k: c.wall_s / c.quanta for k, c in self.report.costs.items()}
        if known:
            usual = sum(known.values()) / len(known)
            left = sum(known.get(self.labels[i], usual) for i in self.nodes if i not in self.ended)
            remaining = left / workers
        failed = len(self.report.failures) + self.report.blocked
        return Progress(done, total, failed, label, elapsed, remaining)


def _step(run: _Run, pool: WorkerPool) -> str:
    for worker in pool.idle_workers():
        if worker.seen.get("graph") != run.built.path:
            worker.seen["graph"] = run.built.path
            pool.send(worker, (run.key, None), ("graph", str(run.built.path), run.repo))
        elif run.ready:
            quantum_id = run.pop(worker.process.pid)
            run.starts[quantum_id] = run.starts.get(quantum_id, 0) + 1
            pool.send(worker, (run.key, quantum_id), ("quantum", quantum_id))
    label = ""
    for answer in pool.wait(0.5):
        key, quantum_id = answer.token
        if key != run.key:
            # A worker of a shared pool was still reading the graph of a run that is over.
            continue
        if quantum_id is None:
            if answer.error is not None and not answer.died:
                raise RuntimeError(f"a worker cannot read the graph: {answer.error}")
            continue
        label = run.labels[quantum_id]
        if answer.died and run.starts[quantum_id] < ATTEMPTS:
            _LOG.warning("%s %s: %s; trying again", label, run.data_ids[quantum_id], answer.error)
            run.push(quantum_id)
        elif answer.error is not None:
            run.fail(quantum_id, answer.error)
        else:
            run.succeed(quantum_id, answer)
    return label


def _loop(
    run: _Run,
    pool: WorkerPool,
    progress: Callable[[Progress], None] | None,
    abort: Callable[[], bool] | None,
) -> None:
    begin = time.monotonic()
    told = -1
    label = ""
    try:
        while len(run.ended) < len(run.nodes):
            if abort is not None and abort():
                run.report.aborted = True
                pool.stop_work()
                break
            label = _step(run, pool) or label
            run.flush()
            if progress is not None and len(run.ended) != told:
                told = len(run.ended)
                progress(run.progress(begin, label, pool.size))
    finally:
        run.flush(force=True)


def run_pipeline(
    home_or_repo: Home | Path | str,
    pipeline_uri: str,
    inputs: str | Sequence[str],
    output: str,
    where: str = "",
    *,
    workers: int = 2,
    progress: Callable[[Progress], None] | None = None,
    abort: Callable[[], bool] | None = None,
    pool: WorkerPool | None = None,
    log_file: Path | None = None,
) -> RunReport:
    """Run a pipeline, or what is left of it.

    A call with the same output continues: quanta that succeeded are not run
    again, those that failed are. A killed call loses at most the quanta in
    work and those of the last one and a half seconds.

    Parameters
    ----------
    home_or_repo
        A home, whose working repository is meant, or a repository.
    pipeline_uri
        Packaged name (``DRP``) or path, with ``#label,label`` for a part.
    inputs
        Input collections.
    output
        CHAINED output collection.
    where
        Data query, for instance ``instrument='SimCam' AND visit=3``.
    workers
        Number of worker processes.
    progress
        Called whenever a quantum ended.
    abort
        Asked several times a second; True ends the run.
    pool
        Worker processes to use instead of own ones.
    log_file
        File that gets the workers' log.

    Returns
    -------
    RunReport
        Failures are told here, not raised.

    Raises
    ------
    NotFoundError
        If the repository, a collection or the pipeline does not exist.
    PipelineError
        If the graph cannot be built, or results cannot be registered.
    """
    begin = time.monotonic()
    names = [inputs] if isinstance(inputs, str) else list(inputs)
    uri = find_pipeline(pipeline_uri)
    repo = str(get_repo_path(home_or_repo))
    with ExitStack() as stack:
        butler = stack.enter_context(open_repo(home_or_repo, writeable=True))
        if pool is None:
            pool = stack.enter_context(WorkerPool(workers, log_file=log_file))
        # The workers import the middleware while the graph is built.
        pool.start()
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="skydesk-run-")))
        run = get_output_run(butler, output, names)
        report = RunReport(output=output, run=run)
        built = build_graph(butler, uri, names, output, run, where, folder)
        report.total = len(built.graph)
        report.graph_s = time.monotonic() - begin
        if report.total:
            _loop(_Run(butler, built, report, repo), pool, progress, abort)
    report.elapsed_s = time.monotonic() - begin
    return report
