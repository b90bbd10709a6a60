"""From a pipeline's name to a graph on disk that workers can read."""

from __future__ import annotations

import importlib.resources
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lsst.daf.butler import Butler, CollectionType, MissingCollectionError, MissingDatasetTypeError
from lsst.daf.butler.registry import ConflictingDefinitionError
from lsst.pipe.base import Pipeline
from lsst.pipe.base.all_dimensions_quantum_graph_builder import AllDimensionsQuantumGraphBuilder
from lsst.pipe.base.pipeline_graph import PipelineGraph
from lsst.pipe.base.quantum_graph import PredictedQuantumGraph
from lsst.pipe.base.quantum_graph_builder import QuantumGraphBuilder

from skydesk_core.errors import NotFoundError, PipelineError, UsageError

__all__ = ["BuiltGraph", "build_graph", "find_pipeline", "get_output_run"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class BuiltGraph:
    """A graph and where it was written.

    Attributes
    ----------
    graph
        The graph; it may have no quanta.
    path
        The file.
    """

    graph: PredictedQuantumGraph
    path: Path


def find_pipeline(name: str) -> str:
    """Find a pipeline file.

    Parameters
    ----------
    name
        Name of a packaged pipeline (``DRP``) or a path, with ``#label,label``
        if only a part is wanted.

    Returns
    -------
    str
        Path, with the same part.

    Raises
    ------
    NotFoundError
        If there is neither a file nor a packaged pipeline.
    """
    path, mark, part = name.partition("#")
    if Path(path).is_file():
        return name
    folder = Path(str(importlib.resources.files("skydesk_core"))) / "pipelines"
    packaged = folder / f"{path.removesuffix('.yaml')}.yaml"
    if "/" not in path and packaged.is_file():
        return f"{packaged}{mark}{part}"
    known = ", ".join(sorted(p.stem for p in folder.glob("*.yaml")))
    raise NotFoundError(f"no pipeline {path}: neither a file nor one of {known}")


def _name(pipeline_uri: str) -> str:
    # A packaged pipeline goes by the name that people give it; where it lies is nobody's business.
    folder = Path(str(importlib.resources.files("skydesk_core"))) / "pipelines"
    path, mark, part = pipeline_uri.partition("#")
    return f"{Path(path).stem}{mark}{part}" if Path(path).parent == folder else pipeline_uri


def get_output_run(butler: Butler, output: str, inputs: Sequence[str]) -> str:
    """Return the RUN to write to: the chain's newest one, or a new one.

    Parameters
    ----------
    butler
        A writeable Butler.
    output
        The CHAINED output collection; it is made if need be.
    inputs
        Input collections, put behind the RUN.

    Raises
    ------
    UsageError
        If ``output`` is a collection of another kind.
    NotFoundError
        If an input collection does not exist.
    """
    for name in inputs:
        try:
            butler.collections.get_info(name)
        except MissingCollectionError:
            raise NotFoundError(f"no collection {name}") from None
    try:
        info = butler.collections.get_info(output)
    except MissingCollectionError:
        info = None
    if info is not None:
        if info.type is not CollectionType.CHAINED:
            raise UsageError(f"output {output} exists and is no chain of runs")
        for child in info.children:
            if child.startswith(f"{output}/"):
                return child
    run = f"{output}/{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    with butler.transaction():
        butler.collections.register(run)
        butler.collections.register(output, CollectionType.CHAINED)
        children = list(info.children) if info is not None else []
        butler.collections.redefine_chain(output, [run, *children, *(i for i in inputs if i not in children)])
    return run


def build_graph(
    butler: Butler, pipeline_uri: str, inputs: Sequence[str], output: str, run: str, where: str, folder: Path
) -> BuiltGraph:
    """Build the graph of what is left to do, register dataset types, write configurations.

    Parameters
    ----------
    butler
        A writeable Butler.
    pipeline_uri
        Result of `find_pipeline`.
    inputs, output, run
        Input collections, output chain, and RUN to write to.
    where
        Data query; may be empty.
    folder
        Existing folder for the graph's file.

    Returns
    -------
    BuiltGraph
        Quanta that succeeded in an earlier run are not in it.

    Raises
    ------
    PipelineError
        If the pipeline or the query cannot be understood, or the
        configuration differs from that of the run to continue.
    """
    client = butler.clone(collections=[run, *inputs], run=run)
    options: dict[str, Any] = {"where": where} if where else {}
    try:
        pipeline = Pipeline.from_uri(pipeline_uri).to_graph()
        _check_configurations(client, pipeline, run)
        builder: QuantumGraphBuilder = AllDimensionsQuantumGraphBuilder(
            pipeline, client, skip_existing_in=[run], clobber=True, **options
        )
        components = builder.finish(
            output=output, metadata={"data_query": where}, attach_datastore_records=True
        )
        graph = components.assemble()
        if len(graph):
            graph.pipeline_graph.register_dataset_types(client)
            graph.init_output_run(client)
    except ConflictingDefinitionError as error:
        raise PipelineError(
            f"{_name(pipeline_uri)}: does not fit what {run} holds; choose another output ({_first_line(error)})"
        ) from error
    except PipelineError:
        raise
    except Exception as error:
        raise PipelineError(f"{_name(pipeline_uri)}: {type(error).__name__}: {_first_line(error)}") from error
    path = folder / "graph.qg"
    components.write(str(path), zstd_level=1)
    _LOG.info("graph of %s: %d quanta", pipeline_uri, len(graph))
    return BuiltGraph(graph, path)


def _check_configurations(butler: Butler, pipeline: PipelineGraph, run: str) -> None:
    # The middleware compares only tasks with quanta left to do; a changed task that is done would go unnoticed.
    for label, task in pipeline.tasks.items():
        name = task.init.config_output.dataset_type_name
        try:
            ref = butler.find_dataset(name, collections=run)
        except MissingDatasetTypeError:
            continue
        differences: list[str] = []
        if ref is not None and not butler.get(ref).compare(task.config, output=differences.append):
            raise PipelineError(
                f"task {label}: its configuration differs from that in {run}; "
                f"choose another output ({differences[0] if differences else 'unknown difference'})"
            )


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), "no message")
