"""Reference catalogs: read a file of stars, check it, and put it into a Butler in HTM shards."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
from astropy.table import Table
from lsst.daf.butler import Butler, CollectionType, DatasetType
from lsst.daf.butler.registry import ConflictingDefinitionError
from lsst.sphgeom import HtmPixelization, LonLat, UnitVector3d

from skydesk_core.errors import DataError, UsageError
from skydesk_core.repo import register_chain

__all__ = [
    "HTM_LEVEL",
    "check_catalog_name",
    "load_reference_table",
    "read_reference_file",
    "read_table_file",
]

HTM_LEVEL = 7
"""Level of the shards' triangular mesh, about 0.3 square degrees each."""

_POSITIONS = (
    ("coord_ra", "coord_dec"),
    ("ra", "dec"),
    ("RA", "DEC"),
    ("ra_deg", "dec_deg"),
    ("RAJ2000", "DEJ2000"),
    ("RA_ICRS", "DE_ICRS"),
)
_MAGNITUDE = re.compile(r"(?:(?P<before>\w+)_mag|mag_(?P<after>\w+))$")


def read_table_file(path: Path) -> Table:
    """Read a table from CSV, ECSV, FITS or parquet, whatever its columns.

    Raises
    ------
    DataError
        If there is no such file or it cannot be read.
    """
    name = path.name.lower()
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        if name.endswith((".parquet", ".parq")):
            return Table.read(path, format="parquet")
        if name.endswith((".fits", ".fit", ".fits.gz")):
            return Table.read(path, format="fits")
        if name.endswith(".ecsv"):
            return Table.read(path, format="ascii.ecsv")
        return Table.read(path, format="ascii.csv")
    except (OSError, ValueError, KeyError, IndexError, UnicodeDecodeError, TypeError) as error:
        text = str(error).strip().splitlines()
        raise DataError(
            f"{path}: cannot be read as a table: {text[0] if text else type(error).__name__}"
        ) from error


def _column(table: Table, name: str, path: Path) -> np.ndarray:
    values = table[name]
    if getattr(values, "mask", None) is not None and np.any(values.mask):
        raise DataError(f"{path}: column {name} has {int(np.sum(values.mask))} empty cells")
    try:
        numbers = np.asarray(values, float)
    except (TypeError, ValueError) as error:
        raise DataError(f"{path}: column {name} is not numeric") from error
    return numbers


def _degrees(table: Table, name: str, path: Path) -> np.ndarray:
    values = _column(table, name, path)
    unit = table[name].unit
    if unit is not None and unit != u.deg:
        try:
            values = (values * unit).to_value(u.deg)
        except u.UnitConversionError as error:
            raise DataError(f"{path}: column {name} has unit {unit}, not an angle") from error
    return values


def _add_fluxes(out: Table, table: Table, band: str, path: Path) -> None:
    """Copy flux columns and turn magnitudes (taken as AB) into nJy."""
    for name in table.colnames:
        if name.endswith("_flux"):
            out[name] = _column(table, name, path) * u.nJy
            if f"{name}Err" in table.colnames:
                out[f"{name}Err"] = _column(table, f"{name}Err", path) * u.nJy
            continue
        match = _MAGNITUDE.match(name)
        key = band if name == "mag" else (match["before"] or match["after"]) if match else None
        if key is None or f"{key}_flux" in out.colnames or key.endswith("err"):
            continue
        magnitude = _column(table, name, path)
        flux = 10 ** (-0.4 * (magnitude - 31.4))
        out[f"{key}_flux"] = flux * u.nJy
        error = next((c for c in (f"{name}_err", f"{name}Err", f"e_{name}") if c in table.colnames), None)
        if error is not None:
            out[f"{key}_fluxErr"] = flux * _column(table, error, path) / 1.0857 * u.nJy


def read_reference_file(path: Path | str, band: str = "vt") -> Table:
    """Read a file of reference stars.

    Parameters
    ----------
    path
        CSV, ECSV, FITS or parquet. Needs a position (``ra, dec`` or
        ``coord_ra, coord_dec`` …, degrees, ICRS) and at least one of
        ``mag``, ``BAND_mag``, ``mag_BAND`` (AB) or ``BAND_flux`` (nJy). Optional: ``id``,
        ``epoch`` (MJD), ``pm_ra, pm_dec`` (mas/yr, the first times cos dec).
    band
        Band that a plain column ``mag`` belongs to.

    Returns
    -------
    astropy.table.Table
        Columns ``id, coord_ra, coord_dec, epoch, [pm_ra, pm_dec], BAND_flux, [BAND_fluxErr]``.

    Raises
    ------
    DataError
        If the file cannot be read, a column is missing or holds what it must not; names file and column.
    """
    path = Path(path)
    table = read_table_file(path)
    pair = next((p for p in _POSITIONS if all(c in table.colnames for c in p)), None)
    if pair is None:
        half = next((p for p in _POSITIONS if any(c in table.colnames for c in p)), ("ra", "dec"))
        missing = next(c for c in half if c not in table.colnames)
        raise DataError(f"{path}: column {missing} is missing (it has {', '.join(table.colnames)})")
    if not len(table):
        raise DataError(f"{path}: holds no stars")
    ra, dec = _degrees(table, pair[0], path), _degrees(table, pair[1], path)
    if not (np.all(np.isfinite(ra)) and np.all((ra >= -180) & (ra <= 360))):
        raise DataError(f"{path}: column {pair[0]} has values that are not a right ascension in degrees")
    if not np.all(np.abs(dec) <= 90):
        raise DataError(f"{path}: column {pair[1]} has values that are not a declination in degrees")
    out = Table()
    identifiers = (
        _column(table, "id", path).astype(np.int64)
        if "id" in table.colnames
        else np.arange(1, len(table) + 1)
    )
    out["id"] = identifiers
    out["coord_ra"], out["coord_dec"] = np.mod(ra, 360.0) * u.deg, dec * u.deg
    epoch = _column(table, "epoch", path) if "epoch" in table.colnames else np.full(len(table), np.nan)
    out["epoch"] = epoch * u.d
    for name in ("pm_ra", "pm_dec"):
        if name in table.colnames:
            out[name] = _column(table, name, path) * u.mas / u.yr
    _add_fluxes(out, table, band, path)
    if not any(name.endswith("_flux") for name in out.colnames):
        raise DataError(
            f"{path}: column mag is missing (or BAND_mag, BAND_flux; it has {', '.join(table.colnames)})"
        )
    return out


def check_catalog_name(name: str) -> None:
    """Check that a name can be one of a reference catalog.

    Raises
    ------
    UsageError
        If it holds anything but letters, digits and underscores, or does not begin with a letter.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,62}", name):
        raise UsageError(
            f"catalog name {name!r}: use letters, digits and underscores, beginning with a letter"
        )


def load_reference_table(butler: Butler, name: str, table: Table) -> int:
    """Put a reference catalog into a repository.

    Parameters
    ----------
    butler
        A writeable Butler.
    name
        Name of the catalog, which becomes the dataset type; letters, digits and underscores.
    table
        Columns as `read_reference_file` returns them.

    Returns
    -------
    int
        Number of shards. A shard that is there already is replaced.

    Raises
    ------
    UsageError
        If the name cannot be one of a dataset type.
    """
    check_catalog_name(name)
    dataset_type = DatasetType(name, (f"htm{HTM_LEVEL}",), "ArrowAstropy", universe=butler.dimensions)
    run = f"refcats/{name}"
    try:
        butler.registry.registerDatasetType(dataset_type)
    except ConflictingDefinitionError as error:
        raise UsageError(f"{name} is already the name of a dataset type of another kind") from error
    if not butler.collections.register(run):
        old = butler.query_datasets(name, collections=run, find_first=False, explain=False)
        butler.pruneDatasets(old, disassociate=True, unstore=True, purge=True)
    butler.collections.register("refcats", CollectionType.CHAINED)
    register_chain(butler, "refcats", [run])
    shards = _shards(np.asarray(table["coord_ra"]), np.asarray(table["coord_dec"]))
    with butler.transaction():
        for shard in np.unique(shards):
            butler.put(table[shards == shard], dataset_type, run=run, **_data_id(int(shard)))
    return len(np.unique(shards))


def _data_id(shard: int) -> dict[str, Any]:
    return {f"htm{HTM_LEVEL}": shard}


def _shards(ra_deg: np.ndarray, dec_deg: np.ndarray) -> np.ndarray:
    mesh = HtmPixelization(HTM_LEVEL)
    return np.array(
        [
            mesh.index(UnitVector3d(LonLat.fromDegrees(float(r), float(d))))
            for r, d in zip(ra_deg, dec_deg, strict=True)
        ],
        np.int64,
    )
