"""The catalog of known orbits: read a file, check it, and put it where the pipelines look for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.table import Table
from astropy.time import Time
from lsst.daf.butler import Butler, CollectionType

from skydesk_core.algorithms.orbits import GM_SUN
from skydesk_core.algorithms.solarsystem import designation_to_id
from skydesk_core.errors import DataError
from skydesk_core.refcat import read_table_file
from skydesk_core.repo import register_chain, register_dataset_types

__all__ = ["ORBIT_UNITS", "load_orbit_table", "read_orbit_file"]

ORBIT_UNITS = {
    "a": "AU",
    "q": "AU",
    "i": "deg",
    "node": "deg",
    "argperi": "deg",
    "peri_time": "d",
    "mean_anomaly": "deg",
    "period": "d",
    "mean_motion": "deg/d",
    "epoch_mjd": "d",
    "h": "mag",
}
"""Units of the columns of ``mpc_orbits`` that have one; those of their uncertainties are the same."""
_NEEDED = ("designation", "q", "e", "i", "node", "argperi", "peri_time", "h")
_RUN = "refcats/mpc_orbits"
# Columns of MPCORB.DAT, as https://minorplanetcenter.net/iau/info/MPOrbitFormat.html counts them.
_FIXED = {
    "packed": (0, 7),
    "h": (8, 13),
    "g": (14, 19),
    "epoch": (20, 25),
    "mean_anomaly": (26, 35),
    "argperi": (37, 46),
    "node": (48, 57),
    "i": (59, 68),
    "e": (70, 79),
    "a": (92, 103),
    "readable": (166, 194),
}


def _letter(text: str) -> int:
    """Value of a packed character: 0-9, A = 10 and so on."""
    return int(text, 36)


def _packed_epoch(text: str) -> float:
    """Return the MJD (TT) of a packed date such as ``K25BL`` (2025-11-21)."""
    year = 100 * _letter(text[0]) + int(text[1:3])
    return float(Time(f"{year:04d}-{_letter(text[3]):02d}-{_letter(text[4]):02d}", scale="tt").mjd)


def _read_mpcorb(path: Path) -> Table:
    """Read the Minor Planet Center's fixed-width format; lines without an orbit are passed over."""
    rows: dict[str, list[str]] = {name: [] for name in _FIXED}
    with path.open(encoding="ascii", errors="replace") as lines:
        text = list(lines)
    begin = next((k + 1 for k, line in enumerate(text) if line.startswith("-----")), 0)
    for number, line in enumerate(text[begin:], begin + 1):
        if not line.strip() or not line[_FIXED["a"][0] : _FIXED["a"][1]].strip():
            continue
        for name, (first, last) in _FIXED.items():
            rows[name].append(line[first:last].strip())
        if not rows["packed"][-1]:
            raise DataError(f"{path}, line {number}: no designation")
    try:
        numbers = {
            name: np.array([float(v) if v else np.nan for v in rows[name]])
            for name in ("h", "g", "mean_anomaly", "argperi", "node", "i", "e", "a")
        }
        epoch = {v: _packed_epoch(v) for v in set(rows["epoch"])}
    except (ValueError, IndexError) as error:
        raise DataError(f"{path}: not in the format of MPCORB.DAT ({error})") from error
    table = Table(numbers)
    table["epoch_mjd"] = np.array([epoch[v] for v in rows["epoch"]])
    motion = np.rad2deg(np.sqrt(GM_SUN / numbers["a"] ** 3))
    anomaly = (numbers["mean_anomaly"] + 180) % 360 - 180
    table["q"] = numbers["a"] * (1 - numbers["e"])
    table["mean_motion"], table["period"] = motion, 360 / motion
    table["peri_time"] = table["epoch_mjd"] - anomaly / motion
    table["packed_primary_provisional_designation"] = rows["packed"]
    table["designation"] = [r or p for r, p in zip(rows["readable"], rows["packed"], strict=True)]
    return table


def read_orbit_file(path: Path | str) -> Table:
    """Read a catalog of orbits.

    Parameters
    ----------
    path
        The Minor Planet Center's ``MPCORB.DAT``, or CSV, ECSV, FITS or parquet with columns of the SDM's
        ``mpc_orbits``: ``designation, q, e, i, node, argperi, peri_time, h`` and, if known, ``g`` and
        ``packed_primary_provisional_designation`` (AU, degrees on the ecliptic of J2000, MJD TT).

    Returns
    -------
    astropy.table.Table
        The columns of the file that belong to ``mpc_orbits``, completed by ``id``, ``g`` (0.15 where unknown) and
        ``ssObjectId``.

    Raises
    ------
    DataError
        If the file cannot be read, a column is missing or an element is not that of an orbit.
    """
    path = Path(path)
    fixed = path.suffix.lower() in (".dat", ".txt") and path.is_file()
    table = _read_mpcorb(path) if fixed else read_table_file(path)
    for name in _NEEDED:
        if name not in table.colnames:
            raise DataError(f"{path}: column {name} is missing (it has {', '.join(table.colnames)})")
    if not len(table):
        raise DataError(f"{path}: holds no orbit")
    for name in _NEEDED[1:]:
        values = np.asarray(table[name], float)
        bad = np.flatnonzero(~np.isfinite(values)) if name != "h" else np.empty(0, int)
        if name in ("q", "e"):
            bad = np.flatnonzero(~(values > 0 if name == "q" else values >= 0))
        if len(bad):
            raise DataError(
                f"{path}: {table['designation'][bad[0]]}: {name} = {values[bad[0]]} is not that of an orbit"
            )
        table[name] = values
    names = [str(d).strip() for d in table["designation"]]
    key = "packed_primary_provisional_designation"
    packed = [str(d).strip() for d in table[key]] if key in table.colnames else _pack(path, names)
    if len(set(packed)) != len(packed):
        raise DataError(f"{path}: the same designation stands there twice")
    table["designation"], table[key] = names, packed
    table["unpacked_primary_provisional_designation"] = names
    table["ssObjectId"] = np.array([designation_to_id(p) for p in packed], np.int64)
    table["id"] = np.arange(1, len(table) + 1, dtype=np.int32)
    slope = np.asarray(table["g"], float) if "g" in table.colnames else np.full(len(table), np.nan)
    table["g"] = np.where(np.isfinite(slope), slope, 0.15)
    return table


def _pack(path: Path, names: list[str]) -> list[str]:
    packed = [n.replace(" ", "") for n in names]
    long = next((n for n, p in zip(names, packed, strict=True) if len(p) > 8), None)
    if long is not None:
        raise DataError(
            f"{path}: {long} is longer than eight characters; a column "
            "packed_primary_provisional_designation is needed"
        )
    return packed


def load_orbit_table(butler: Butler, table: Table) -> None:
    """Put a catalog of orbits into a repository; one that is there is replaced.

    Parameters
    ----------
    butler
        A writeable Butler.
    table
        As `read_orbit_file` returns it.
    """
    table = table.copy()
    for name in table.colnames:
        unit = ORBIT_UNITS.get(name.removesuffix("_unc"))
        if unit:
            table[name].unit = unit
    register_dataset_types(butler, ["mpc_orbits"])
    if not butler.collections.register(_RUN):
        old = butler.query_datasets("mpc_orbits", collections=_RUN, find_first=False, explain=False)
        butler.pruneDatasets(old, disassociate=True, unstore=True, purge=True)
    butler.collections.register("refcats", CollectionType.CHAINED)
    register_chain(butler, "refcats", [_RUN])
    butler.put(table, "mpc_orbits", run=_RUN)
