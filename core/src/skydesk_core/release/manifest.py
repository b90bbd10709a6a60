"""The manifest of a release (format 1): the contract between the pipelines and the services."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from skydesk_core.errors import DataError, UsageError

__all__ = [
    "FORMAT",
    "AlertsEntry",
    "HipsEntry",
    "ImageTypeEntry",
    "Manifest",
    "MocEntry",
    "TableEntry",
    "check_release_name",
    "hash_file",
]

FORMAT = 1
"""Version of the manifest that this module writes and reads."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")
_RESERVED = {"ivoa", "tap_schema", "tap_upload", "main", "information_schema", "pg_catalog", "temp", "system"}


def check_release_name(name: str) -> str:
    """Return the name when it can be a release, a Butler label and a TAP schema at once.

    Raises
    ------
    UsageError
        If it is not of the form ``[a-z][a-z0-9_]{0,30}`` or is reserved.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"release name {name!r} is not allowed: use lower-case letters, digits and _ (at most 31), a letter first"
        )
    if name in _RESERVED:
        raise UsageError(f"release name {name!r} is reserved")
    return name


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@dataclass(frozen=True)
class TableEntry:
    """One table in the manifest; ``file`` and ``parquet`` are relative to the release's folder."""

    name: str
    schema_table: str
    rows: int
    file: str
    parquet: str
    sha256: str
    ra_column: str | None
    dec_column: str | None


@dataclass(frozen=True)
class ImageTypeEntry:
    """One image dataset type with how many datasets of it the release holds."""

    dataset_type: str
    dimensions: tuple[str, ...]
    count: int
    unit: str | None


@dataclass(frozen=True)
class MocEntry:
    """One coverage map; ``file`` is relative to the release's folder, ``band`` None for the whole survey.

    ``made_from`` says ``pixels`` (those that hold data) or ``outlines`` (of images, where there are no coadds).
    """

    file: str
    band: str | None
    order: int
    sky_fraction: float
    made_from: str


@dataclass(frozen=True)
class HipsEntry:
    """One HiPS; its tiles lie in ``hips/NAME`` in the release's folder.

    ``formats`` are the endings of its tiles, ``bands`` one band or, for a colour HiPS, red, green and blue.
    """

    name: str
    title: str
    bands: tuple[str, ...]
    order: int
    formats: tuple[str, ...]
    tiles: int


@dataclass(frozen=True)
class AlertsEntry:
    """The alert packets, in ``alerts/`` in the release's folder.

    ``count`` packets of the Avro schema with Confluent identifier ``schema_id``; ``left_out`` DIA sources got none.
    """

    count: int
    left_out: int
    schema_id: int


@dataclass(frozen=True)
class Manifest:
    """The contents of ``manifest.json``.

    Parameters
    ----------
    name, title, created
        Name (Butler label and TAP schema), title for people, UTC time in ISO 8601.
    bands, skymap, instrument, collection
        Bands in wavelength order, skymap name, instrument name, published chained collection.
    tables, image_types
        What can be queried and what can be looked at.
    access_groups
        Groups that may read the release; ``*`` means every account.
    software
        Package name to version.
    footprint
        MOC 2.0 in its ASCII form.
    center_deg
        ICRS right ascension and declination of the footprint's middle.
    checksums_sha256
        Hash of ``checksums.json``, which holds the hash of every other file.
    mocs, hips, alerts
        Coverage maps, HiPS and alert packets; releases made without them, or before there were any, have none.
    rafts
        Detectors with images by the name of their raft; none for cameras without rafts.
    """

    name: str
    title: str
    created: str
    bands: tuple[str, ...]
    skymap: str | None
    instrument: str | None
    collection: str
    tables: tuple[TableEntry, ...]
    image_types: tuple[ImageTypeEntry, ...]
    access_groups: tuple[str, ...]
    software: Mapping[str, str]
    footprint: str
    center_deg: tuple[float, float] | None
    checksums_sha256: str = ""
    mocs: tuple[MocEntry, ...] = ()
    hips: tuple[HipsEntry, ...] = ()
    alerts: AlertsEntry | None = None
    rafts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    format: int = FORMAT

    def write(self, path: Path) -> None:
        """Write ``manifest.json``."""
        path.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    @staticmethod
    def read(path: Path) -> Manifest:
        """Read and check ``manifest.json``.

        Raises
        ------
        DataError
            If the file is missing, is not JSON, is of another format or lacks an entry.
        """
        try:
            tree = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise DataError(f"{path}: the manifest cannot be read ({error.strerror})") from error
        except ValueError as error:
            raise DataError(f"{path}: not JSON: {error}") from error
        if not isinstance(tree, dict) or tree.get("format") != FORMAT:
            found = tree.get("format") if isinstance(tree, dict) else None
            raise DataError(f"{path}: release format {found!r} is not known to this version, need {FORMAT}")
        return _from_tree(tree, path)


def _from_tree(tree: dict[str, Any], path: Path) -> Manifest:
    try:
        center = tree["center_deg"]
        return Manifest(
            name=check_release_name(tree["name"]),
            title=tree["title"],
            created=tree["created"],
            bands=tuple(tree["bands"]),
            skymap=tree["skymap"],
            instrument=tree["instrument"],
            collection=tree["collection"],
            tables=tuple(TableEntry(**t) for t in tree["tables"]),
            image_types=tuple(
                ImageTypeEntry(t["dataset_type"], tuple(t["dimensions"]), t["count"], t["unit"])
                for t in tree["image_types"]
            ),
            access_groups=tuple(tree["access_groups"]),
            software=dict(tree["software"]),
            footprint=tree["footprint"],
            center_deg=None if center is None else (float(center[0]), float(center[1])),
            checksums_sha256=tree["checksums_sha256"],
            mocs=tuple(MocEntry(**m) for m in tree.get("mocs", ())),
            hips=tuple(
                HipsEntry(**{**h, "bands": tuple(h["bands"]), "formats": tuple(h["formats"])})
                for h in tree.get("hips", ())
            ),
            alerts=None if tree.get("alerts") is None else AlertsEntry(**tree["alerts"]),
            rafts={name: tuple(detectors) for name, detectors in tree.get("rafts", {}).items()},
        )
    except (KeyError, TypeError) as error:
        raise DataError(f"{path}: the manifest lacks or misforms an entry: {error}") from error
