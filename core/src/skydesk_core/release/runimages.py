"""The images that a run made in a repository of somebody's own, described as a release describes its images."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from skydesk_core.release.imagefacts import collect_image_facts
from skydesk_core.release.obscore import IMAGE_TYPES, make_obscore, make_publisher_did
from skydesk_core.release.provenance import Provenance, trace_provenance

if TYPE_CHECKING:
    from lsst.daf.butler import Butler, DatasetRef

__all__ = ["list_run_images"]

_NEWEST = 20_000


def _releases_of(butler: Butler) -> dict[str, str]:
    """Return the release that each linked RUN comes from."""
    found = {}
    for chain in butler.collections.query("releases/*", flatten_chains=False):
        for run in butler.collections.get_info(chain).children:
            found[run] = chain.removeprefix("releases/")
    return found


def _is_input(ref: DatasetRef) -> bool:
    """Tell whether a dataset is worth naming as an input: an image or a calibration."""
    kind = ref.datasetType
    return kind.name in IMAGE_TYPES or (
        kind.isCalibration() and kind.storageClass_name != "CameraDescription"
    )


def _named_inputs(
    butler: Butler, label: str, provenance: Provenance
) -> Mapping[str, list[tuple[str, str, str]]]:
    """Return publisher identifier, dataset type and role of the inputs of each image."""
    from uuid import UUID

    releases = _releases_of(butler)
    names: dict[str, str] = {}
    found: dict[str, list[tuple[str, str, str]]] = {}
    for edge in provenance.inputs:
        if edge.input_id not in names:
            ref = butler.get_dataset(UUID(edge.input_id))
            owner = label if ref is None else releases.get(ref.run, label)
            names[edge.input_id] = make_publisher_did(owner, edge.input_id)
        found.setdefault(edge.dataset_id, []).append((names[edge.input_id], edge.input_type, edge.role))
    return found


def list_run_images(butler: Butler, root: Path, run: str, label: str, collection: str) -> pa.Table:
    """Describe the images of a RUN.

    Parameters
    ----------
    butler
        The repository.
    root
        Its folder.
    run
        The RUN.
    label
        Label of the repository.
    collection
        Name for ``obs_collection``.

    Returns
    -------
    pyarrow.Table
        Rows of ObsCore, with ``path`` (of the file, relative to the folder;
        empty for a file elsewhere), ``inputs`` (JSON: publisher identifier,
        dataset type and role of each), ``storage_class`` and ``data_id`` (JSON).
    """
    from lsst.resources import ResourcePath

    present = {t.name for t in butler.registry.getCollectionSummary(run).dataset_types}
    refs: list[DatasetRef] = []
    for name in IMAGE_TYPES:
        if name in present:
            refs += butler.query_datasets(
                name, collections=run, with_dimension_records=True, limit=_NEWEST, explain=False
            )
    refs = [r for r in refs if butler.stored(r)]
    provenance = trace_provenance(butler, refs, listed=_is_input)
    facts = collect_image_facts(butler, refs, {}, provenance)
    instruments = sorted({str(r.dataId["instrument"]) for r in refs if "instrument" in r.dataId})
    table = make_obscore(label, facts, instruments[0] if instruments else "unknown", None)
    where = ResourcePath(root, forceDirectory=True)
    paths = {str(r.id): butler.getURI(r).relative_to(where) or "" for r in refs}
    inputs = _named_inputs(butler, label, provenance)
    ids = table["dataset_id"].to_pylist()
    place = table.schema.get_field_index("obs_collection")
    table = table.set_column(place, "obs_collection", pa.array([collection] * len(ids), pa.string()))
    known = {str(r.id): r for r in refs}
    more = {
        "path": [paths[i] for i in ids],
        "inputs": [json.dumps(inputs.get(i, [])) for i in ids],
        "storage_class": [known[i].datasetType.storageClass_name for i in ids],
        "data_id": [json.dumps(dict(known[i].dataId.mapping)) for i in ids],
    }
    for name, values in more.items():
        table = table.append_column(name, pa.array(values, pa.string()))
    return table
