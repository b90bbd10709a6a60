"""Runs pipelines: the graph is built once, persistent worker processes take quanta from a queue, runs resume."""

from skydesk_core.executor.report import Progress, QuantumFailure, RunReport
from skydesk_core.executor.run import find_pipeline, run_pipeline

__all__ = ["Progress", "QuantumFailure", "RunReport", "find_pipeline", "run_pipeline"]
