"""Building a release in a hidden folder beside its place, so that it appears complete or not at all."""

from __future__ import annotations

import fcntl
import importlib.metadata
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from skydesk_core.errors import DataError, UsageError
from skydesk_core.release import sdm
from skydesk_core.release.alerts import AlertTables, write_alerts
from skydesk_core.release.alerts_stamps import StampImages
from skydesk_core.release.catalogs import CatalogWriter
from skydesk_core.release.hips import write_hips
from skydesk_core.release.manifest import (
    AlertsEntry,
    HipsEntry,
    ImageTypeEntry,
    Manifest,
    MocEntry,
    check_release_name,
    hash_file,
)
from skydesk_core.release.moc import read_footprint, write_mocs
from skydesk_core.release.model import ReleaseSchema
from skydesk_core.release.obscore import (
    IMAGE_TYPES,
    ImageFacts,
    collect_image_facts,
    make_footprint,
    make_obscore,
)
from skydesk_core.release.obscore_columns import load_obscore
from skydesk_core.release.opened import Release, build_dataset_overview, build_dataset_pyramid
from skydesk_core.release.provenance import Provenance, describe_provenance, make_provenance_table
from skydesk_core.release.schemafile import write_schema_yaml

if TYPE_CHECKING:
    from lsst.daf.butler import Butler, DatasetRef
    from mocpy import MOC

    from skydesk_core.release.pyramid import Pyramid

__all__ = ["Progress", "ReleaseBuilder", "clean_leftovers"]

type Progress = Callable[[str, float], None]
"""Called with what is being done and the fraction that is done."""

_PACKAGES = (
    "skydesk-core",
    "lsst-daf-butler",
    "lsst-pipe-base",
    "lsst-images",
    "lsst-felis",
    "lsst-sdm-schemas",
    "astropy",
    "numpy",
    "sep",
    "piff",
    "galsim",
    "duckdb",
    "pyarrow",
)
_BAND_ORDER = "ugrizy"
_EAGER_PYRAMIDS = ("deep_coadd", "template_coadd")
_OVERVIEWS = ("visit_image", "difference_image")
_LOCK = ".lock"


def sort_bands(bands: Sequence[str]) -> tuple[str, ...]:
    """Order bands by wavelength, unknown ones last by name."""
    return tuple(sorted(set(bands), key=lambda b: (_BAND_ORDER.find(b) if b in _BAND_ORDER else 99, b)))


def clean_leftovers(folder: Path) -> int:
    """Remove what killed builders and removers left behind in a folder of releases.

    Returns
    -------
    int
        How many folders were removed. A builder that still lives holds a lock and is left alone.
    """
    count = 0
    for left in [*folder.glob(".*.building-*"), *folder.glob(".*.removing-*")]:
        try:
            with (left / _LOCK).open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        except FileNotFoundError:
            pass
        shutil.rmtree(left, ignore_errors=True)
        count += 1
    return count


class ReleaseBuilder:
    """Builds one release; used as a context manager.

    Parameters
    ----------
    target
        Folder that the finished release gets.
    name, title
        Name (Butler label, TAP schema) and title for people.
    bands
        Bands of the release.
    progress
        Called as the work goes on.

    Raises
    ------
    UsageError
        If the name is not allowed or the release exists.
    """

    def __init__(
        self, target: Path, name: str, title: str, bands: Sequence[str], progress: Progress | None = None
    ) -> None:
        self.name = check_release_name(name)
        self.title = title
        self.bands = sort_bands(bands)
        self.target = Path(target)
        if self.target.exists():
            raise UsageError(f"release {name!r} exists already; remove it first or choose another name")
        self.folder = self.target.parent / f".{self.target.name}.building-{os.getpid()}"
        self.left_out: dict[str, tuple[str, ...]] = {}
        self._progress = progress or (lambda _what, _fraction: None)
        self._facts: list[ImageFacts] = []
        self._seeing: dict[tuple[int, int], float] = {}
        self._coadds: list[Pyramid] = []
        self._mocs: tuple[MocEntry, ...] = ()
        self._band_mocs: Mapping[str, MOC] = {}
        self._center: tuple[float, float] | None = None
        self._hips: tuple[HipsEntry, ...] = ()
        self._alerts: AlertsEntry | None = None
        self._rafts: dict[str, tuple[int, ...]] = {}
        self._lock: Any = None
        self._catalogs: CatalogWriter | None = None

    def __enter__(self) -> ReleaseBuilder:
        self.target.parent.mkdir(parents=True, exist_ok=True)
        clean_leftovers(self.target.parent)
        try:
            self.folder.mkdir()
        except FileExistsError as error:
            raise UsageError(f"release {self.name!r} is being built by this process already") from error
        self._lock = (self.folder / _LOCK).open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._catalogs = CatalogWriter(self.folder).__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._catalogs is not None:
            with suppress(Exception):
                self._catalogs.__exit__(*exc)
        if self._lock is not None:
            self._lock.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def butler_path(self) -> Path:
        """Where the release's Butler repository has to be made."""
        return self.folder / "butler"

    def report(self, what: str, fraction: float) -> None:
        """Tell the caller how far the work is."""
        # Sums of parts must not pass what comes next by an error of rounding.
        self._progress(what, round(fraction, 6))

    @property
    def catalogs(self) -> CatalogWriter:
        """The open catalog writer."""
        assert self._catalogs is not None, "the builder must be entered"
        return self._catalogs

    def add_table(self, name: str, table: pa.Table) -> None:
        """Publish a table of the science data model.

        Parameters
        ----------
        name
            SDM name.
        table
            Rows; units are read from the fields' metadata.

        Raises
        ------
        DataError
            If a column contradicts the SDM.
        """
        units, _ = sdm.table_units(table)
        info, rows, left_out = sdm.conform_table(name, table, units, self.bands)
        if left_out:
            self.left_out[name] = left_out
        self.catalogs.add(info, rows)
        if {"visitId", "detector", "seeing"} <= set(rows.column_names):
            keys = zip(rows["visitId"].to_pylist(), rows["detector"].to_pylist(), strict=True)
            values = rows["seeing"].to_pylist()
            self._seeing |= {k: v for k, v in zip(keys, values, strict=True) if v is not None and v == v}

    def add_extra_table(self, name: str, description: str, table: pa.Table) -> None:
        """Publish a table that the science data model does not have, such as a truth table."""
        units, words = sdm.table_units(table)
        plain = sdm.normalise_extra(table)
        info = sdm.define_extra_table(name, description, plain, units, words)
        for position in filter(None, (info.ra_column, info.dec_column)):
            if not pa.types.is_floating(plain[position].type):
                raise DataError(
                    f"table {name}, column {position}: a position must be a float, not {plain[position].type}"
                )
        self.catalogs.add(info, plain)

    def add_images(
        self,
        butler: Butler,
        refs: Sequence[DatasetRef],
        facility: str,
        instrument: str | None,
        provenance: Provenance | None = None,
    ) -> None:
        """Publish ObsCore rows for images, the pyramids of the coadds and the overviews of visits; call it after the tables.

        Parameters
        ----------
        butler
            The release's Butler.
        refs
            Expanded references of all published images.
        facility, instrument
            Names for ObsCore.
        provenance
            What went into the images; published as the table ``Provenance``.
        """
        self.report("observation catalog", 0.55)
        self._facts = collect_image_facts(butler, refs, self._seeing, provenance)
        self._rafts = _find_rafts(refs)
        rows = make_obscore(self.name, self._facts, facility, instrument)
        self.catalogs.add(load_obscore(), rows)
        if provenance is not None and provenance.inputs:
            self.catalogs.add(describe_provenance(), make_provenance_table(provenance))
        eager = [r for r in refs if r.datasetType.name in _EAGER_PYRAMIDS]
        for number, ref in enumerate(eager):
            self.report("image pyramids", 0.65 + 0.06 * number / len(eager))
            pyramid = build_dataset_pyramid(butler, ref, self.folder / "pyramids" / str(ref.id), self.name)
            if ref.datasetType.name == "deep_coadd":
                self._coadds.append(pyramid)
        small = [r for r in refs if r.datasetType.name in _OVERVIEWS]
        for number, ref in enumerate(small):
            self.report("overviews of visits", 0.71 + 0.07 * number / len(small))
            build_dataset_overview(butler, ref, self.folder / "overviews" / str(ref.id), self.name)
        self.report("coverage", 0.79)
        outline, self._center = make_footprint(self._facts)
        self._mocs, self._band_mocs = write_mocs(self.folder, self._coadds, outline)

    def add_hips(self) -> None:
        """Make the HiPS of the coadds; call it after the images."""
        self._hips = write_hips(
            self.folder,
            self.name,
            self.title,
            self._coadds,
            self._band_mocs,
            lambda part: self.report("HiPS", 0.8 + 0.04 * part),
        )

    def add_alerts(self, images: StampImages, maximum: int) -> None:
        """Make the alert packets of the DIA sources; call it after tables and images.

        Parameters
        ----------
        images
            Where cut-outs come from.
        maximum
            Largest number of packets.
        """
        sources = self.catalogs.read("DiaSource")
        if sources is None or sources.num_rows == 0:
            return
        midpoints = {
            int(f.data_id.get("visit", f.data_id.get("exposure", -1))): (f.t_min + f.t_max) / 2
            for f in self._facts
            if f.t_min is not None and f.t_max is not None
        }
        tables = AlertTables(
            sources,
            self.catalogs.read("DiaObject"),
            self.catalogs.read("ForcedSourceOnDiaObject"),
            midpoints,
            self.catalogs.read("SSSource"),
            self.catalogs.read("mpc_orbits"),
        )
        self._alerts = write_alerts(
            self.folder,
            tables,
            images,
            maximum,
            lambda part: self.report("alerts", 0.84 + 0.03 * part),
        )

    def finish(
        self,
        collection: str,
        skymap: str | None,
        instrument: str | None,
        access_groups: Sequence[str] = ("*",),
    ) -> Release:
        """Write schema and manifest, and move the release to its place.

        Parameters
        ----------
        collection
            The published chained collection in the release's repository.
        skymap, instrument
            Their names in the dimension records.
        access_groups
            Groups that may read it; ``*`` means every account.

        Returns
        -------
        Release
            The finished release.

        Raises
        ------
        UsageError
            If a release of that name appeared meanwhile.
        """
        tables = sdm.link_tables(self.catalogs.infos)
        entries = {e.name: e for e in self.catalogs.entries}
        self.catalogs.__exit__(None, None, None)
        self._catalogs = None
        schema = ReleaseSchema(self.name, self.title, tables)
        self.report("schema", 0.87)
        write_schema_yaml(schema, self.folder / "schema.yaml")
        (self.folder / "schema.json").write_text(schema.to_json(), encoding="utf-8")
        self.report("checksums", 0.9)
        checksums = self._hash_tree()
        path = self.folder / "checksums.json"
        path.write_text(json.dumps({"version": 1, "sha256": checksums}, indent=0), encoding="utf-8")
        manifest = Manifest(
            name=self.name,
            title=self.title,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            bands=self.bands,
            skymap=skymap,
            instrument=instrument,
            collection=collection,
            tables=tuple(entries[t.name] for t in tables),
            image_types=self._image_types(),
            access_groups=tuple(access_groups),
            software=_software(),
            footprint=read_footprint(self.folder) if self._mocs else "",
            center_deg=self._center,
            checksums_sha256=hash_file(path),
            mocs=self._mocs,
            hips=self._hips,
            alerts=self._alerts,
            rafts=self._rafts,
        )
        manifest.write(self.folder / "manifest.json")
        _make_readable(self.folder)
        self._move()
        self.report("published", 1.0)
        return Release.open(self.target)

    def _move(self) -> None:
        (self.folder / _LOCK).unlink()
        try:
            os.rename(self.folder, self.target)
        except OSError as error:
            raise UsageError(f"release {self.name!r} exists already: {error.strerror}") from error

    def _image_types(self) -> tuple[ImageTypeEntry, ...]:
        out = []
        for name in IMAGE_TYPES:
            facts = [f for f in self._facts if f.dataset_type == name]
            if facts:
                out.append(ImageTypeEntry(name, tuple(facts[0].data_id), len(facts), facts[0].unit))
        return tuple(out)

    def _hash_tree(self) -> dict[str, str]:
        paths = sorted(p for p in self.folder.rglob("*") if p.is_file() and p.name != _LOCK)
        made = [self.folder / "pyramids", self.folder / "overviews"]
        kept = [p for p in paths if not any(p.is_relative_to(folder) for folder in made)]
        return {str(p.relative_to(self.folder)): hash_file(p) for p in kept}


def _find_rafts(refs: Sequence[DatasetRef]) -> dict[str, tuple[int, ...]]:
    """Return the detectors of some images by the name of their raft."""
    found: dict[str, set[int]] = {}
    for ref in refs:
        record = ref.dataId.records["detector"] if "detector" in ref.dataId else None
        if record is not None and record.raft:
            found.setdefault(record.raft, set()).add(int(record.id))
    return {name: tuple(sorted(found[name])) for name in sorted(found)}


def _software() -> Mapping[str, str]:
    found = {}
    for package in _PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def _make_readable(folder: Path) -> None:
    """Let every account read and none write: a lab runs under another one and opens the files directly."""
    for path in folder.rglob("*"):
        mode = path.lstat().st_mode
        if path.is_dir():
            path.chmod(0o755)
        elif path.stat().st_nlink > 1:
            # A hard link shares its mode with the operator's repository: only widen reading there.
            if mode & 0o444 != 0o444:
                path.chmod(mode & 0o777 | 0o444)
        else:
            path.chmod(0o444)
    folder.chmod(0o755)
