"""Running pipelines in a user's own Butler repository, with inputs taken from a release in place."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skydesk_portal.exceptions import UsageError
from skydesk_portal.pipeline.errors import core_errors

if TYPE_CHECKING:
    from lsst.daf.butler import Butler, DatasetRef

    from skydesk_core.executor import Progress, RunReport
    from skydesk_core.release import Release

__all__ = ["BatchOutcome", "check_pipeline", "link_release", "run_batch"]


@dataclass(frozen=True)
class BatchOutcome:
    """What a run came to.

    Parameters
    ----------
    output
        Output collection in the user's repository.
    total, succeeded, blocked
        Numbers of quanta.
    failures
        One line per failed quantum.
    aborted
        Whether it was told to end.
    """

    output: str
    total: int
    succeeded: int
    blocked: int
    failures: tuple[str, ...]
    aborted: bool


def check_pipeline(name: str) -> None:
    """Refuse a pipeline that does not exist.

    Raises
    ------
    NotFoundError
        If there is no packaged pipeline of that name.
    """
    from skydesk_core.executor import find_pipeline

    with core_errors():
        find_pipeline(name)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other processes from making or filling the same repository meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def link_release(release: Release, target: Butler) -> str:
    """Make a release's datasets known to a repository, files staying where they are.

    Parameters
    ----------
    release
        The release.
    target
        The repository, open for writing.

    Returns
    -------
    str
        Name of the chained collection that holds the release there.
    """
    from lsst.daf.butler import CollectionType

    chain = f"releases/{release.name}"
    if chain in set(target.collections.query("*")):
        return chain
    with release.get_butler() as source:
        infos = list(
            source.collections.query_info(release.collection, flatten_chains=True, include_summary=True)
        )
        runs = [info.name for info in infos if info.type is CollectionType.RUN]
        calibrations = [info.name for info in infos if info.type is CollectionType.CALIBRATION]
        types = sorted(set().union(*(info.dataset_types or () for info in infos)))
        refs: dict[Any, Any] = {}
        associations = []
        for name in types:
            dataset_type = source.get_dataset_type(name)
            for ref in source.query_datasets(
                name, runs, find_first=False, with_dimension_records=True, limit=None, explain=False
            ):
                refs[ref.id] = ref
            if dataset_type.isCalibration() and calibrations:
                found = source.registry.queryDatasetAssociations(
                    dataset_type, collections=calibrations, collectionTypes={CollectionType.CALIBRATION}
                )
                for association in found:
                    ref = association.ref
                    refs.setdefault(ref.id, ref.expanded(source.registry.expandDataId(ref.dataId)))
                    associations.append(association)
        _ingest_in_place(source, target, list(refs.values()), runs)
    present = set(target.collections.query("*"))
    for association in associations:
        if association.collection not in present:
            target.collections.register(association.collection, CollectionType.CALIBRATION)
            present.add(association.collection)
        if association.timespan is not None:
            target.registry.certify(association.collection, [association.ref], association.timespan)
    target.collections.register(chain, CollectionType.CHAINED)
    target.collections.redefine_chain(chain, [name for name in (*runs, *calibrations) if name in present])
    return chain


def _ingest_in_place(source: Butler, target: Butler, refs: list[DatasetRef], runs: list[str]) -> None:
    from lsst.daf.butler import FileDataset

    # A transfer refuses to point into another repository's root; files of a release never change, so ingest may.
    for dataset_type in {ref.datasetType for ref in refs}:
        target.registry.registerDatasetType(dataset_type)
    target.transfer_dimension_records_from(source, refs)
    for run in runs:
        target.collections.register(run)
    files = [FileDataset(path=source.getURI(ref), refs=[ref]) for ref in refs]
    # A killed first attempt may have left some of them.
    target.ingest(*files, transfer="direct", skip_existing=True)


def run_batch(
    repo: Path,
    release: Release,
    pipeline: str,
    where: str,
    output: str,
    *,
    processes: int,
    log_file: Path,
    progress: Callable[[dict[str, str]], None],
    stopped: Callable[[], bool],
) -> BatchOutcome:
    """Run a pipeline, or what is left of it after a worker was lost.

    Parameters
    ----------
    repo
        The user's repository; made if it does not exist.
    release
        Where the inputs come from; they are not copied.
    pipeline
        Packaged name, with ``#label,label`` for a part.
    where
        Data query.
    output
        Output collection.
    processes
        Number of worker processes.
    log_file
        File that gets the log.
    progress
        Called with how far the run is.
    stopped
        Tells whether to end.

    Returns
    -------
    BatchOutcome
        Numbers of quanta, failures.

    Raises
    ------
    UsageError
        If there is nothing to run or the data query is wrong.
    NotFoundError
        If there is no such pipeline.
    """
    from skydesk_core.executor import run_pipeline
    from skydesk_core.repo import create_repo, open_repo

    def note(text: str) -> None:
        with log_file.open("a") as out:
            out.write(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {text}\n")

    note(f"{pipeline} on release {release.name}, where {where or 'everything'}")
    progress({"step": "inputs"})
    with core_errors(), _alone(repo.parent / ".butler.lock"):
        if not (repo / "butler.yaml").exists():
            create_repo(repo)
        with open_repo(repo, writeable=True) as butler:
            inputs = link_release(release, butler)
    note(f"inputs from {inputs}, output {output}; building the graph")

    def tell(state: Progress) -> None:
        note(f"{state.label or 'graph'}: {state.done} of {state.total} done, {state.failed} failed")
        left = "" if state.remaining_s is None else f"{state.remaining_s:.0f}"
        progress(
            {
                "step": state.label,
                "done": str(state.done),
                "total": str(state.total),
                "failed": str(state.failed),
                "remaining_s": left,
            }
        )

    progress({"step": "graph", "output": output})
    with core_errors():
        report: RunReport = run_pipeline(
            repo,
            pipeline,
            inputs,
            output,
            where,
            workers=processes,
            progress=tell,
            abort=stopped,
            log_file=log_file,
        )
    if report.total == 0 and not report.aborted:
        raise UsageError("the pipeline has nothing to do: no inputs of the release match the data query")
    failures = tuple(f"{f.label} {f.data_id}: {f.message}" for f in report.failures)
    for failure in failures:
        note(f"failed: {failure}")
    note(f"end: {report.succeeded} of {report.total} succeeded, {report.blocked} could not run")
    return BatchOutcome(
        report.output, report.total, report.succeeded, report.blocked, failures, report.aborted
    )
