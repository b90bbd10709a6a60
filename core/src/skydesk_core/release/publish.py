"""Publishing: from a collection of the working repository to a release."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from skydesk_core.config import PublishConfig
from skydesk_core.errors import DataError, NotFoundError, UsageError
from skydesk_core.home import Home
from skydesk_core.release.alerts_stamps import StampImages
from skydesk_core.release.manifest import check_release_name
from skydesk_core.release.obscore import IMAGE_TYPES
from skydesk_core.release.opened import Release
from skydesk_core.release.provenance import find_raws, trace_provenance
from skydesk_core.release.sdm import clear_absent_keys, from_numpy, make_mpcorb
from skydesk_core.release.writer import Progress, ReleaseBuilder

if TYPE_CHECKING:
    from lsst.daf.butler import Butler, DatasetRef, DatasetType

__all__ = ["TABLE_TYPES", "publish"]

TABLE_TYPES: dict[str, tuple[str, ...]] = {
    "Object": ("object",),
    "Source": ("source",),
    "ForcedSource": ("object_forced_source",),
    "DiaObject": ("dia_object",),
    "DiaSource": ("dia_source",),
    "ForcedSourceOnDiaObject": ("dia_object_forced_source",),
    "SSObject": ("ss_object",),
    "SSSource": ("ss_source",),
    "mpc_orbits": ("mpc_orbits",),
    "Visit": ("visit_table",),
    "CcdVisit": ("visit_detector_table",),
    "VisitDetector": ("visit_detector_table",),
}
"""SDM table to the dataset types that hold its rows."""

_TRUTH = {
    "truth_object": "Every star and galaxy of the simulated sky",
    "truth_variable": "The variables of the simulated sky with their periods and amplitudes",
    "truth_source": "What the simulation put into each visit, with pixel position and flux",
    "truth_dia": "What changed in the simulated sky: variables, transients and moving objects in each visit",
    "truth_orbit": "The small bodies of the simulated sky: orbits, absolute magnitudes, phase slopes and colours",
}
_INTERMEDIATES = frozenset(
    {
        "post_isr_image",
        "preliminary_visit_image",
        "direct_warp",
        "direct_warp_psf",
        "template_detector",
        "visit_detector_summary",
        "source_detector",
        "object_patch",
        "object_peak",
        "object_merged_peak",
        "object_forced_source_detector",
        "dia_source_detector",
        "ss_source_visit",
        "dia_object_forced_source_detector",
    }
)
"""Dataset types that live on in the ones made from them."""
_BOOKKEEPING = ("_log", "_metadata")


def _is_published(name: str) -> bool:
    return name not in _INTERMEDIATES and not name.endswith(_BOOKKEEPING)


def _instruments(butler: Butler, collection: str) -> set[str]:
    return set(butler.registry.getCollectionSummary(collection).governors.get("instrument", ()))


class _Source:
    """The part of the working repository that is published."""

    def __init__(self, butler: Butler, collection: str) -> None:
        from lsst.daf.butler import CollectionType, MissingCollectionError

        self.butler = butler
        try:
            found = list(butler.collections.query_info(collection, flatten_chains=True, include_summary=True))
        except MissingCollectionError as error:
            raise NotFoundError(
                f"collection {collection!r} does not exist in the working repository"
            ) from error
        # What a pipeline read beside its output chain belongs to the release too.
        names = {info.name for info in found}
        existing = set(butler.collections.query("*"))
        for instrument in sorted(set().union(*(_instruments(butler, name) for name in names))):
            extra = f"{instrument}/defaults"
            if extra in existing:
                more = butler.collections.query_info(extra, flatten_chains=True, include_summary=True)
                found += [i for i in more if i.name not in names]
                names |= {i.name for i in more}
        self.runs = [i.name for i in found if i.type is CollectionType.RUN]
        self.calibrations = [i.name for i in found if i.type is CollectionType.CALIBRATION]
        present: set[str] = set()
        for info in found:
            present |= set(info.dataset_types or ())
        self._present = present
        self.dataset_types = sorted(name for name in present if _is_published(name))

    def query(self, name: str) -> list[DatasetRef]:
        """Find the datasets of one type, first in the chain wins, with dimension records."""
        if name not in self.dataset_types:
            return []
        return self.butler.query_datasets(
            name,
            collections=self.runs,
            find_first=True,
            with_dimension_records=True,
            limit=None,
            explain=False,
        )

    def query_intermediate(self, name: str) -> list[DatasetRef]:
        """Find the datasets of a type that is not published itself; none if it was not kept."""
        if name not in self._present:
            return []
        return self.butler.query_datasets(
            name, collections=self.runs, find_first=True, limit=None, explain=False
        )

    def attempted_exposures(self) -> set[Any]:
        """Return the exposures that the pipelines took up, whether or not they gave an image."""
        found: set[Any] = set()
        for name, key in (("post_isr_image", "exposure"), ("visit_image", "visit")):
            if name in self._present:
                refs = self.butler.query_datasets(name, collections=self.runs, limit=None, explain=False)
                found |= {r.dataId[key] for r in refs}
        return found

    def certified(self, dataset_type: DatasetType) -> list[Any]:
        """Find the certifications of one calibration type."""
        from lsst.daf.butler import CollectionType

        if not dataset_type.isCalibration() or not self.calibrations:
            return []
        return list(
            self.butler.registry.queryDatasetAssociations(
                dataset_type, collections=self.calibrations, collectionTypes={CollectionType.CALIBRATION}
            )
        )


def _record(ref: DatasetRef, element: str) -> Any:
    """Return a dimension record of an expanded reference."""
    return ref.dataId.records[element]


def _select(source: _Source, settings: PublishConfig) -> tuple[dict[str, list[DatasetRef]], list[Any]]:
    """Choose the datasets to transfer and the certifications to repeat."""
    refs: dict[str, list[DatasetRef]] = {}
    associations: list[Any] = []
    for name in source.dataset_types:
        dataset_type = source.butler.get_dataset_type(name)
        if dataset_type.isCalibration():
            found = source.certified(dataset_type)
            associations += found
            unique = {a.ref.id: a.ref for a in found}
            refs[name] = [r.expanded(source.butler.registry.expandDataId(r.dataId)) for r in unique.values()]
        else:
            refs[name] = source.query(name)
    if "raw" in refs:
        attempted = source.attempted_exposures()
        frames = [a.ref for a in associations] if settings.calibration_exposures else []
        wanted = find_raws(source.butler, frames)
        # Of the science exposures those that were reduced, solved or not; calibration exposures only when asked for.
        refs["raw"] = [
            r
            for r in refs["raw"]
            if r.id in wanted
            or (
                _record(r, "exposure").observation_type == "science"
                and (not attempted or r.dataId["exposure"] in attempted)
            )
        ]
    return {name: found for name, found in refs.items() if found}, associations


def _transfer(source: Butler, target: Butler, root: Path, refs: Iterable[DatasetRef]) -> None:
    """Copy registry entries, and link files where the file system allows it."""
    device = root.stat().st_dev
    linked: list[DatasetRef] = []
    copied: list[DatasetRef] = []
    for ref in refs:
        uri = source.getURI(ref)
        same = uri.isLocal and os.stat(uri.ospath).st_dev == device
        (linked if same else copied).append(ref)
    for chosen, mode in ((linked, "hardlink"), (copied, "copy")):
        if chosen:
            target.transfer_from(
                source,
                chosen,
                transfer=mode,
                skip_missing=False,
                register_dataset_types=True,
                transfer_dimensions=True,
            )


def _make_collections(target: Butler, collection: str, source: _Source, associations: Sequence[Any]) -> str:
    """Rebuild certifications and the published chain."""
    from lsst.daf.butler import CollectionType

    kept = set(target.collections.query("*")) & set(source.runs)
    for association in associations:
        target.collections.register(association.collection, CollectionType.CALIBRATION)
        target.registry.certify(association.collection, [association.ref], association.timespan)
    calibrations = sorted({a.collection for a in associations})
    chain = collection if collection not in kept else f"{collection}/published"
    target.collections.register(chain, CollectionType.CHAINED)
    target.collections.redefine_chain(chain, [*(r for r in source.runs if r in kept), *calibrations])
    return chain


def _read_tables(butler: Butler, refs: Iterable[DatasetRef]) -> pa.Table | None:
    tables = [butler.get(ref, storageClass="ArrowTable") for ref in refs]
    if not tables:
        return None
    first = tables[0]
    metadata = {f.name: f.metadata for f in first.schema}
    plain = [t.replace_schema_metadata(None) for t in tables]
    whole = pa.concat_tables(plain, promote_options="permissive")
    fields = [pa.field(f.name, f.type, metadata=metadata.get(f.name)) for f in whole.schema]
    return pa.Table.from_arrays(whole.columns, schema=pa.schema(fields))


def _coadd_patches(coadds: Sequence[DatasetRef]) -> pa.Table | None:
    """Make CoaddPatches: the patches that have a coadd, with their outlines."""
    from lsst.sphgeom import LonLat

    patches = {(r.dataId["tract"], r.dataId["patch"]): _record(r, "patch").region for r in coadds}
    rows: dict[str, list[Any]] = {k: [] for k in ("lsst_tract", "lsst_patch", "s_ra", "s_dec", "s_region")}
    for (tract, patch), region in sorted(patches.items()):
        center = LonLat(region.getCentroid())
        corners = [LonLat(v) for v in region.getVertices()]
        rows["lsst_tract"].append(int(tract))
        rows["lsst_patch"].append(int(patch))
        rows["s_ra"].append(center.getLon().asDegrees() % 360)
        rows["s_dec"].append(center.getLat().asDegrees())
        rows["s_region"].append(
            "POLYGON ICRS "
            + " ".join(f"{c.getLon().asDegrees() % 360:.7f} {c.getLat().asDegrees():.7f}" for c in corners)
        )
    return from_numpy(rows, {"s_ra": "deg", "s_dec": "deg"}) if patches else None


def _facts(refs: Mapping[str, Sequence[DatasetRef]]) -> tuple[list[str], str | None, str | None, str]:
    """Return bands, skymap, instrument and facility of the published images."""
    images = [r for name in IMAGE_TYPES for r in refs.get(name, ())]
    processed = [r for r in images if r.datasetType.name != "raw"] or images
    bands = {str(r.dataId["band"]) for r in processed if "band" in r.dataId}
    skymaps = sorted({str(r.dataId["skymap"]) for r in images if "skymap" in r.dataId})
    instruments = sorted({str(r.dataId["instrument"]) for r in images if "instrument" in r.dataId})
    instrument = instruments[0] if instruments else None
    simulated = any(_record(r, "exposure").has_simulated for r in refs.get("raw", ()))
    facility = "simulation" if simulated else instrument or "unknown"
    return sorted(bands), skymaps[0] if skymaps else None, instrument, facility


def publish(
    home: Home | Path | str,
    name: str,
    collection: str,
    title: str | None = None,
    access_groups: Sequence[str] = ("*",),
    progress: Progress | None = None,
    settings: PublishConfig | None = None,
) -> Release:
    """Make a release of a collection of the home's working repository.

    Parameters
    ----------
    home
        The home, or its folder.
    name
        Name of the release: its Butler label and its schema in TAP.
    collection
        Collection that holds the products, normally the chain that `run_pipeline` wrote.
    title
        Title for people; by default made from name and collection.
    access_groups
        Groups that may read it; ``*`` means every account.
    progress
        Called with what is being done and the fraction that is done.
    settings
        What is made beside tables and images; by default everything.

    Returns
    -------
    Release
        The release, which appears complete or not at all.

    Raises
    ------
    UsageError
        If the name is not allowed or is taken.
    NotFoundError
        If the collection does not exist.
    DataError
        If the collection holds nothing to publish, a table contradicts the science data model or the disk is full.
    """
    from skydesk_core.repo import open_repo

    place = home if isinstance(home, Home) else Home(Path(home))
    check_release_name(name)
    target = place.releases / name
    if target.exists():
        raise UsageError(f"release {name!r} exists already; remove it first or choose another name")
    with open_repo(place) as butler:
        source = _Source(butler, collection)
        settings = settings or PublishConfig()
        refs, associations = _select(source, settings)
        if not any(
            kind in refs for kind in (*IMAGE_TYPES, *(t for types in TABLE_TYPES.values() for t in types))
        ):
            raise DataError(f"collection {collection!r} holds no image and no table that can be published")
        bands, skymap, instrument, facility = _facts(refs)
        try:
            with ReleaseBuilder(target, name, title or f"{name}: {collection}", bands, progress) as builder:
                chain = _fill(builder, source, refs, associations, collection, facility, instrument)
                _add_products(builder, source, refs, settings)
                return builder.finish(chain, skymap, instrument, access_groups)
        except Exception as error:
            if _is_disk_full(error):
                raise DataError(
                    f"release {name!r} was not made: no space left on the disk of {place.releases}"
                ) from error
            raise


def _is_disk_full(error: BaseException | None) -> bool:
    """Recognise a full disk behind the errors of the file system, SQLite, DuckDB and Arrow."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if any(words in str(error) for words in ("No space left on device", "database or disk is full")):
            return True
        if isinstance(error, BaseExceptionGroup) and any(map(_is_disk_full, error.exceptions)):
            return True
        error = error.__cause__ or error.__context__
    return False


def _fill(
    builder: ReleaseBuilder,
    source: _Source,
    refs: Mapping[str, Sequence[DatasetRef]],
    associations: Sequence[Any],
    collection: str,
    facility: str,
    instrument: str | None,
) -> str:
    """Put repository, tables and images into the builder; returns the published chain."""
    from lsst.daf.butler import Butler

    from skydesk_core.repo import create_repo

    builder.report("repository", 0.02)
    create_repo(builder.butler_path)
    with Butler.from_config(str(builder.butler_path), writeable=True) as target:
        _transfer(source.butler, target, builder.butler_path, [r for found in refs.values() for r in found])
        chain = _make_collections(target, collection, source, associations)
        _add_tables(builder, source, refs)
        images = [r for kind in IMAGE_TYPES for r in refs.get(kind, ())]
        builder.report("provenance", 0.5)
        calibrations = [r for found in refs.values() for r in found if r.datasetType.isCalibration()]
        provenance = trace_provenance(source.butler, images, calibrations)
        builder.add_images(target.clone(collections=[chain]), images, facility, instrument, provenance)
    return chain


def _add_products(
    builder: ReleaseBuilder,
    source: _Source,
    refs: Mapping[str, Sequence[DatasetRef]],
    settings: PublishConfig,
) -> None:
    """Make HiPS and alert packets as the settings say."""
    if settings.hips:
        builder.add_hips()
    if settings.alerts:
        images = {
            "difference": refs.get("difference_image", ()),
            "science": refs.get("visit_image", ()),
            "template": source.query_intermediate("template_detector"),
        }
        places = {kind: (source.butler, found) for kind, found in images.items()}
        builder.add_alerts(StampImages(places, settings.alert_stamp_pixels), settings.alert_maximum)


def _add_tables(builder: ReleaseBuilder, source: _Source, refs: Mapping[str, Sequence[DatasetRef]]) -> None:
    """Publish the tables of the science data model and the truth tables."""
    tables = [(sdm_name, types) for sdm_name, types in TABLE_TYPES.items() if any(t in refs for t in types)]
    for number, (sdm_name, types) in enumerate(tables):
        builder.report(f"table {sdm_name}", 0.2 + 0.3 * number / len(tables))
        table = _read_tables(source.butler, [r for t in types for r in refs.get(t, ())])
        if table is not None:
            builder.add_table(sdm_name, clear_absent_keys(table) if sdm_name == "DiaSource" else table)
    orbits = _read_tables(source.butler, refs.get("mpc_orbits", ()))
    if orbits is not None:
        bodies = _read_tables(source.butler, refs.get("ss_object", ()))
        observed = [] if bodies is None else bodies["ssObjectId"].to_pylist()
        builder.add_table("MPCORB", make_mpcorb(orbits, observed))
    patches = _coadd_patches(refs.get("deep_coadd", ()))
    if patches is not None:
        builder.add_table("CoaddPatches", patches)
    for kind in sorted(t for t in refs if t.startswith("truth_")):
        table = _read_tables(source.butler, refs[kind])
        if table is not None:
            builder.add_extra_table(kind, _TRUTH.get(kind, f"Truth of the simulation: {kind}"), table)
