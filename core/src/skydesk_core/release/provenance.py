"""What each published image was made of, as the files of the images themselves record it."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pyarrow as pa

from skydesk_core.release.model import ColumnInfo, TableInfo

if TYPE_CHECKING:
    from lsst.daf.butler import Butler, DatasetRef

__all__ = [
    "PROVENANCE",
    "ExposureFacts",
    "ImageInput",
    "Provenance",
    "describe_provenance",
    "find_raws",
    "known_name",
    "make_provenance_table",
    "trace_provenance",
]

_LOG = logging.getLogger(__name__)

PROVENANCE = "Provenance"
"""Name of the table."""

_WRITTEN_BY_IMAGES = frozenset({"MaskedImageV2", "VisitImage", "DifferenceImage", "CellCoadd"})
"""Storage classes whose FITS files record their inputs."""
_INPUT = re.compile(r"LSST BUTLER INPUT (\d+) (ID|DATASETTYPE)\Z")
_COADD_SUFFIX = "_coadd"


@dataclass(frozen=True)
class ImageInput:
    """One image or calibration that went into another one."""

    dataset_id: str
    dataset_type: str
    input_id: str
    input_type: str
    role: str
    """``science``, ``template``, ``calibration``, or ``exposure`` of a calibration."""


@dataclass(frozen=True)
class ExposureFacts:
    """When and of what one exposure was taken that went into an image.

    Parameters
    ----------
    input_id
        Dataset that carries it: a visit image or a raw.
    moment
        Identifier of the visit or exposure.
    t_min, t_max
        Start and end, MJD TAI.
    exposure_s
        Exposure time in seconds.
    target, program
        Name of target and of observing programme.
    """

    input_id: str
    moment: int
    t_min: float | None
    t_max: float | None
    exposure_s: float | None
    target: str | None
    program: str | None


@dataclass(frozen=True)
class Provenance:
    """Inputs of the images of a release.

    Parameters
    ----------
    inputs
        Pairs of an image and a published dataset that went into it.
    exposures
        By identifier of a combined image (coadd, calibration), the exposures that it combines.
    """

    inputs: tuple[ImageInput, ...] = ()
    exposures: Mapping[str, tuple[ExposureFacts, ...]] = field(default_factory=dict)


class _Tracer:
    """Follows the inputs that files record back to datasets that are published."""

    def __init__(
        self, butler: Butler, refs: Iterable[DatasetRef], listed: Callable[[DatasetRef], bool] | None = None
    ) -> None:
        self.butler = butler
        self.published = {
            ref.id: ref for ref in refs if ref.datasetType.storageClass_name != "CameraDescription"
        }
        self.is_listed = listed or (lambda ref: ref.id in self.published)
        self._recorded: dict[UUID, dict[UUID, str]] = {}
        self._coadd_reports = [
            kind.name
            for kind in butler.registry.queryDatasetTypes("*_metadata")
            if {"tract", "patch", "band"} <= set(kind.dimensions.names)
        ]

    def recorded_inputs(self, ref: DatasetRef) -> dict[UUID, str]:
        """Return identifier and dataset type of what the task that wrote an image read."""
        if ref.id not in self._recorded:
            self._recorded[ref.id] = self._read(ref)
        return self._recorded[ref.id]

    def _read(self, ref: DatasetRef) -> dict[UUID, str]:
        from astropy.io import fits

        if ref.datasetType.storageClass_name not in _WRITTEN_BY_IMAGES or not self.butler.stored(ref):
            return {}
        with self.butler.getURI(ref).as_local() as local:
            header = fits.getheader(local.ospath, 0)
        found: dict[int, dict[str, str]] = {}
        for key, value in header.items():
            if match := _INPUT.match(key):
                found.setdefault(int(match[1]), {})[match[2]] = str(value)
        if header.get("LSST BUTLER N_INPUTS", 0) > len(found):
            _LOG.warning("%s %s: its file does not record its inputs", ref.datasetType.name, ref.dataId)
        return {UUID(card["ID"]): card.get("DATASETTYPE", "") for card in found.values() if "ID" in card}

    def ancestors(self, ref: DatasetRef) -> dict[UUID, DatasetRef]:
        """Return the nearest published ancestors of an image, and raws whether published or not."""
        found: dict[UUID, DatasetRef] = {}
        seen: set[UUID] = {ref.id}
        left = dict(self.recorded_inputs(ref))
        while left:
            dataset_id, _ = left.popitem()
            if dataset_id in seen:
                continue
            seen.add(dataset_id)
            above = self.published.get(dataset_id) or self.butler.get_dataset(dataset_id)
            if above is None:
                continue
            if self.is_listed(above) or above.datasetType.name == "raw":
                found[dataset_id] = above
            else:
                left |= self.recorded_inputs(above)
        chosen = self._visits_used(ref)
        if chosen is not None:
            found = {k: r for k, r in found.items() if r.dataId.get("visit", None) in (None, *chosen)}
        return found

    def _visits_used(self, ref: DatasetRef) -> frozenset[int] | None:
        """Return which of the visits that were considered for a coadd are in it; None if nothing tells."""
        name = ref.datasetType.name
        if not name.endswith(_COADD_SUFFIX):
            return None
        kind = name.removesuffix(_COADD_SUFFIX)
        for report in self._coadd_reports:
            if kind not in report.lower():
                continue
            found = self.butler.find_dataset(report, ref.dataId, collections=[ref.run])
            if found is not None and self.butler.stored(found):
                visits = _find_entry(self.butler.get(found), "visits")
                if visits is not None:
                    return frozenset(int(v) for v in visits)
        return None


def _find_entry(metadata: Any, key: str) -> Sequence[Any] | None:
    """Find a task's own entry, which lies under the name of the task."""
    for name in metadata.names():
        if name.split(".")[-1].split(":")[-1] == key:
            return list(metadata.getArray(name))
    return None


def _exposure_facts(butler: Butler, ref: DatasetRef) -> ExposureFacts | None:
    """Return the exposure of a raw or a visit image."""
    data_id = ref.dataId if ref.dataId.hasRecords() else butler.registry.expandDataId(ref.dataId)
    element = next((e for e in ("visit", "exposure") if e in data_id), None)
    record = data_id.records[element] if element else None
    if record is None:
        return None
    span = record.timespan
    known = span is not None and span.begin is not None and span.end is not None
    return ExposureFacts(
        str(ref.id),
        int(record.id),
        float(span.begin.tai.mjd) if known else None,
        float(span.end.tai.mjd) if known else None,
        record.exposure_time,
        known_name(record.target_name),
        known_name(record.science_program),
    )


def known_name(name: str | None) -> str | None:
    """Return the name; None for what a header that says nothing becomes in the dimension records."""
    return None if name in ("", "unknown", "UNKNOWN") else name


def _role(output: str, above: DatasetRef, *, of_calibration: bool) -> str:
    if above.datasetType.isCalibration():
        return "calibration"
    if of_calibration:
        return "exposure"
    if output == "difference_image" and above.datasetType.name.endswith(_COADD_SUFFIX):
        return "template"
    return "science"


def trace_provenance(
    butler: Butler,
    images: Iterable[DatasetRef],
    others: Iterable[DatasetRef] = (),
    listed: Callable[[DatasetRef], bool] | None = None,
) -> Provenance:
    """Find out which published datasets went into each image, through intermediates that are not published.

    Parameters
    ----------
    butler
        Repository that holds the images and their intermediates.
    images
        Published images.
    others
        Published calibrations that are no images.
    listed
        Tells of which datasets the images are said to be made; by default of those published.

    Returns
    -------
    Provenance
        What the files tell; images whose files record no inputs have none.

    Notes
    -----
    Tasks record as inputs what they read. A coadd reads the PSF of every
    visit that reaches its patch; which of them it holds is taken from the
    report of the task that made it.
    """
    images = list(images)
    tracer = _Tracer(butler, [*images, *others], listed)
    inputs: list[ImageInput] = []
    exposures: dict[str, tuple[ExposureFacts, ...]] = {}
    for ref in images:
        name, above = ref.datasetType.name, tracer.ancestors(ref)
        inputs += [
            ImageInput(
                str(ref.id),
                name,
                str(i),
                r.datasetType.name,
                _role(name, r, of_calibration=ref.datasetType.isCalibration()),
            )
            for i, r in above.items()
            if tracer.is_listed(r)
        ]
        if "visit" not in ref.dataId and "exposure" not in ref.dataId:
            facts = (_exposure_facts(butler, r) for r in above.values())
            exposures[str(ref.id)] = tuple(f for f in facts if f is not None)
    return Provenance(tuple(sorted(inputs, key=lambda i: (i.dataset_id, i.input_id))), exposures)


def find_raws(butler: Butler, refs: Iterable[DatasetRef]) -> set[UUID]:
    """Find the raws that went into images, directly or through what is between, as the files record it.

    Parameters
    ----------
    butler
        Repository that holds the images and what they were made of.
    refs
        The images, for example calibrations.

    Returns
    -------
    set of uuid.UUID
        Identifiers of the raws.
    """
    refs = list(refs)
    tracer = _Tracer(butler, refs)
    return {
        i for ref in refs for i, above in tracer.ancestors(ref).items() if above.datasetType.name == "raw"
    }


def _text(name: str, size: str, description: str, *, indexed: bool = False) -> ColumnInfo:
    ucd = "meta.id" if name.endswith("_id") else "meta.code"
    return ColumnInfo(
        name,
        "char",
        size,
        ucd=ucd,
        description=description,
        principal=True,
        indexed=indexed,
        sdm_datatype="string",
    )


def describe_provenance() -> TableInfo:
    """Describe the table ``Provenance``."""
    return TableInfo(
        PROVENANCE,
        "Which published images and calibrations went into each published image, as the pipelines recorded it",
        (
            _text("dataset_id", "36", "Butler identifier (UUID) of the image", indexed=True),
            _text("dataset_type", "64*", "Butler dataset type of the image"),
            _text("input_id", "36", "Butler identifier (UUID) of what went into it", indexed=True),
            _text("input_type", "64*", "Butler dataset type of what went into it"),
            _text(
                "role",
                "16*",
                "What it was used for: science, template, calibration, or exposure that a calibration was made of",
            ),
        ),
        primary_key=("dataset_id", "input_id"),
        indexes=(("input_id",),),
        table_index=191,
    )


def make_provenance_table(provenance: Provenance) -> pa.Table:
    """Make the rows of the table ``Provenance``."""
    columns = describe_provenance().column_names
    return pa.table(
        {name: pa.array([getattr(i, name) for i in provenance.inputs], pa.string()) for name in columns}
    )
