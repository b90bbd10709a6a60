"""Persistent worker processes and the messages they exchange with their owner."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from skydesk_core.home import get_home

__all__ = ["Answer", "Worker", "WorkerPool"]

_LOG = logging.getLogger(__name__)

_ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)


@dataclass(frozen=True)
class Answer:
    """What a worker says about the message it got.

    Attributes
    ----------
    token
        The token of the message.
    error
        Class and message of the exception that ended it; None without one.
    value
        Its result.
    wall_s, cpu_s
        What it cost.
    died
        Whether the process died instead of answering.
    """

    token: Any
    error: str | None = None
    value: Any = None
    wall_s: float = 0.0
    cpu_s: float = 0.0
    died: bool = False


@dataclass
class Worker:
    """One process.

    Attributes
    ----------
    process
        The process.
    connection
        The owner's end of the connection.
    token
        The token of the message it works on; None while idle.
    seen
        What it was told before, by name (`WorkerPool.tell`).
    """

    process: subprocess.Popen[bytes]
    connection: Connection
    token: Any = None
    seen: dict[str, Any] = field(default_factory=dict)


class WorkerPool:
    """A fixed number of worker processes; one that dies is replaced.

    Workers are started on first use and import the middleware once. They end
    when their owner closes the pool or dies.

    Parameters
    ----------
    workers
        Number of processes.
    log_file
        File that gets the workers' log; their standard error without it.
    environment
        Further environment variables.
    """

    def __init__(
        self, workers: int = 2, *, log_file: Path | None = None, environment: Mapping[str, str] | None = None
    ) -> None:
        self._size = max(1, workers)
        self._log_file = log_file
        self._environment = dict(environment or {})
        self._workers: list[Worker] = []

    def __enter__(self) -> Self:
        """Return the pool itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the pool."""
        self.close()

    @property
    def size(self) -> int:
        """Number of processes."""
        return self._size

    @property
    def pids(self) -> list[int]:
        """Process identifiers of the workers that have been started."""
        return [w.process.pid for w in self._workers]

    def _start(self) -> Worker:
        ours, theirs = socket.socketpair()
        environment = {**os.environ, **_ONE_THREAD, **self._environment}
        environment.setdefault("NUMBA_CACHE_DIR", str(get_home().cache / "numba"))
        log = self._log_file.open("ab") if self._log_file else None
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-m", "skydesk_core.executor.worker", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # An interrupt from the keyboard is for the owner, who ends its workers in order.
                start_new_session=True,
            )
        if log:
            log.close()
        return Worker(process, Connection(ours.detach()))

    def start(self) -> None:
        """Start all processes now; otherwise they start on first use."""
        while len(self._workers) < self._size:
            self._workers.append(self._start())

    def idle_workers(self) -> list[Worker]:
        """Return the workers that wait for a message; start those that are missing."""
        self.start()
        return [w for w in self._workers if w.token is None]

    def send(self, worker: Worker, token: Any, message: tuple[Any, ...]) -> None:
        """Give an idle worker something to do.

        Parameters
        ----------
        worker
            An idle worker.
        token
            A pair of its owner's key and an identifier; comes back with the
            answer.
        message
            ``("call", "module:function", args)``, ``("graph", path, repo)`` or
            ``("quantum", id)``.
        """
        worker.token = token
        try:
            worker.connection.send(message)
        except OSError:
            # It died while idle: `wait` sees the end of its connection and reports it.
            _LOG.warning("worker %s died while idle", worker.process.pid)

    def wait(self, timeout_s: float) -> list[Answer]:
        """Collect answers.

        Parameters
        ----------
        timeout_s
            How long to wait for the first one.

        Returns
        -------
        list of Answer
            What arrived; a worker that died answers with ``died`` set and is
            dropped from the pool.
        """
        answers = []
        connections: list[Any] = [w.connection for w in self._workers]
        if not connections:
            time.sleep(min(timeout_s, 0.05))
            return []
        ready = set(map(id, wait(connections, timeout_s)))
        for worker in [w for w in self._workers if id(w.connection) in ready]:
            token = worker.token
            try:
                error, value, wall_s, cpu_s = worker.connection.recv()
            except (EOFError, OSError):
                self._drop(worker)
                if token is not None:
                    code = worker.process.returncode
                    answers.append(Answer(token, f"the worker process died (exit status {code})", died=True))
                continue
            worker.token = None
            answers.append(Answer(token, error, value, wall_s, cpu_s))
        return answers

    def _drop(self, worker: Worker) -> None:
        self._workers.remove(worker)
        worker.connection.close()
        if worker.process.poll() is None:
            worker.process.kill()
        worker.process.wait()

    def run_calls(self, calls: list[tuple[str, tuple[Any, ...]]], on_done: Any = None) -> list[Any]:
        """Run functions in the workers.

        Parameters
        ----------
        calls
            ``("module:function", arguments)`` of each.
        on_done
            Called with the number of calls done so far after each.

        Returns
        -------
        list
            Results in the order of the calls.

        Raises
        ------
        RuntimeError
            If a call raises, or its worker dies twice.
        """
        key = object()
        results: list[Any] = [None] * len(calls)
        waiting = list(reversed(range(len(calls))))
        deaths: dict[int, int] = {}
        done = 0
        while done < len(calls):
            for worker in self.idle_workers():
                if waiting:
                    i = waiting.pop()
                    self.send(worker, (key, i), ("call", *calls[i]))
            for answer in self.wait(1.0):
                owner, i = answer.token
                if owner is not key:
                    continue
                if answer.died and deaths.setdefault(i, 0) < 1:
                    deaths[i] += 1
                    waiting.append(i)
                    continue
                if answer.error is not None:
                    raise RuntimeError(f"{calls[i][0]}: {answer.error}")
                results[i] = answer.value
                done += 1
                if on_done is not None:
                    on_done(done)
        return results

    def stop_work(self) -> None:
        """End all workers that are busy; the next message starts new ones."""
        for worker in [w for w in self._workers if w.token is not None]:
            self._drop(worker)

    def close(self) -> None:
        """End all workers: politely, then by force after two seconds."""
        for worker in self._workers:
            worker.connection.close()
            worker.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 2
        for worker in self._workers:
            try:
                worker.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
        self._workers.clear()
