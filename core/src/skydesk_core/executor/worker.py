"""A worker process: imports the middleware once, then runs what it is told until its owner is gone."""

from __future__ import annotations

import importlib
import logging
import sys
import time
import uuid
from multiprocessing.connection import Connection
from typing import Any

__all__ = ["main"]

_LOG = logging.getLogger("skydesk.worker")


class _GraphRunner:
    """Runs quanta of one graph against files only; the registry is the owner's business."""

    def __init__(self, path: str, repo: str) -> None:
        from lsst.daf.butler import ButlerConfig, QuantumBackedButler
        from lsst.daf.butler.datastore.record_data import DatastoreRecordData
        from lsst.pipe.base.quantum_graph import PredictedQuantumGraph
        from lsst.pipe.base.single_quantum_executor import SingleQuantumExecutor

        import skydesk_core.storage  # noqa: F401 - repairs the libraries that write images
        from skydesk_core.executor.cache import ReadCache

        with PredictedQuantumGraph.open(path) as reader:
            reader.read_all()
        graph = reader.finish()
        self._quanta = graph.build_execution_quanta()
        self._labels = {
            quantum_id: label for label, ids in graph.quanta_by_task.items() for quantum_id in ids.values()
        }
        self._tasks = graph.pipeline_graph.tasks
        inputs: set[uuid.UUID] = set()
        outputs: set[uuid.UUID] = set()
        for quantum in self._quanta.values():
            inputs.update(ref.id for refs in quantum.inputs.values() for ref in refs)
            inputs.update(ref.id for ref in quantum.initInputs.values())
            outputs.update(ref.id for refs in quantum.outputs.values() for ref in refs)
        self._butler = QuantumBackedButler.from_predicted(
            ButlerConfig(repo),
            predicted_inputs=inputs,
            predicted_outputs=outputs,
            dimensions=graph.pipeline_graph.universe,
            datastore_records=DatastoreRecordData.merge_mappings(
                *(q.datastore_records for q in self._quanta.values() if q.datastore_records)
            ),
            dataset_types={d.name: d.dataset_type for d in graph.pipeline_graph.dataset_types.values()},
        )
        self._executor = SingleQuantumExecutor(
            butler=ReadCache(self._butler), assume_no_existing_outputs=True
        )

    def run(self, quantum_id: uuid.UUID) -> list[tuple[uuid.UUID, str]]:
        """Run one quantum; return identifiers and paths of the datasets that it wrote."""
        quantum = self._quanta[quantum_id]
        self._executor.execute(self._tasks[self._labels[quantum_id]], quantum, quantum_id)
        refs = [ref for refs in quantum.outputs.values() for ref in refs]
        written = self._butler.stored_many(refs)
        return [(ref.id, self._butler.getURI(ref).ospath) for ref, stored in written.items() if stored]


def _call(name: str, arguments: tuple[Any, ...]) -> Any:
    module, function = name.split(":")
    return getattr(importlib.import_module(module), function)(*arguments)


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".replace("\n", " ")


def main(descriptor: int) -> None:
    """Serve messages that arrive on an inherited socket.

    Parameters
    ----------
    descriptor
        File descriptor of the socket.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("lsst.pipe.base.single_quantum_executor").setLevel(logging.WARNING)
    connection = Connection(descriptor)
    runner: _GraphRunner | None = None
    while True:
        try:
            message = connection.recv()
        except (EOFError, OSError):
            return
        wall, cpu = time.monotonic(), time.process_time()
        error = value = None
        try:
            if message[0] == "graph":
                runner = _GraphRunner(*message[1:])
            elif message[0] == "quantum":
                if runner is None:
                    raise RuntimeError("got a quantum before a graph")
                value = runner.run(message[1])
            else:
                value = _call(*message[1:])
        except Exception as e:  # noqa: BLE001 - whatever a task raises is its owner's to report
            _LOG.exception("failed: %s", message[:2])
            error = _one_line(e)
        try:
            connection.send((error, value, time.monotonic() - wall, time.process_time() - cpu))
        except OSError:
            return


if __name__ == "__main__":
    main(int(sys.argv[1]))
