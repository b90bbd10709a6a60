"""Photometry that people bring along: tables in any usual format and with any names of columns, SNANA files."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from skydesk_portal.exceptions import TooLargeError, UsageError
from skydesk_portal.models.photometry import Photometry
from skydesk_portal.vo.uploads import read_table

__all__ = ["TIME_KINDS", "VALUE_KINDS", "ColumnMapping", "guess_mapping", "map_photometry", "read_photometry"]

VALUE_KINDS = {"AB magnitude": None, "nJy": 1.0, "µJy": 1e3, "SNANA FLUXCAL": 10 ** (0.4 * (31.4 - 27.5))}
"""Kinds of values; for fluxes how many nJy one is. FLUXCAL has zero point 27.5, here taken as AB."""

TIME_KINDS = {"MJD": 0.0, "JD": -2400000.5, "TESS BTJD": 56999.5, "Kepler BKJD": 54832.5}
"""Kinds of times and what makes them MJD. Light travel and time scales, minutes, are not corrected."""

_LARGEST_BYTES = 20_000_000
_MOST_POINTS = 100_000
_NAMES = {
    "time": ("mjd", "expmidptmjd", "midpointmjdtai", "time", "jd", "hjd", "bjd", "date", "obsmjd", "t"),
    "value": ("mag", "magnitude", "psfflux", "fluxcal", "flux", "psfmag", "magpsf", "pdcsap_flux", "flux_njy"),
    "error": ("magerr", "mag_err", "e_mag", "psffluxerr", "fluxcalerr", "fluxerr", "flux_err", "err", "error",
              "sigmapsf", "dmag", "pdcsap_flux_err", "error_njy"),
    "band": ("band", "filter", "flt", "filtercode", "passband", "fid"),
}  # fmt: skip


@dataclass(frozen=True)
class ColumnMapping:
    """Which column of a table means what.

    Parameters
    ----------
    time, value, error, band
        Names of columns; without a band all points are of one band called ``all``.
    value_kind, time_kind
        Keys of `VALUE_KINDS` and `TIME_KINDS`.
    """

    time: str
    value: str
    error: str
    band: str
    value_kind: str
    time_kind: str


def read_photometry(name: str, content: bytes) -> pa.Table:
    """Read a file with photometry.

    Parameters
    ----------
    name
        Name of the file, for messages.
    content
        VOTable, CSV, TSV, parquet, a FITS table (also with gzip), or SNANA text.

    Returns
    -------
    pyarrow.Table
        The columns as they are.

    Raises
    ------
    UsageError
        If it is no table that can be read.
    TooLargeError
        If it is too large.
    """
    if content.startswith(b"\x1f\x8b"):
        try:
            with gzip.GzipFile(fileobj=pa.BufferReader(content)) as packed:
                content = packed.read(_LARGEST_BYTES + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise UsageError(f"{name} is a broken gzip file") from error
    if len(content) > _LARGEST_BYTES:
        raise TooLargeError(f"{name} is larger than the {_LARGEST_BYTES // 1_000_000} MB taken")
    if b"VARLIST:" in content[:200_000] or b"VARNAMES:" in content[:200_000]:
        return _read_snana(name, content)
    _, table = read_table(name, content, _LARGEST_BYTES)
    return table


def _read_snana(name: str, content: bytes) -> pa.Table:
    """Read SNANA's text: a line ``VARLIST: MJD BAND …``, then lines ``OBS: …``."""
    columns: list[str] = []
    rows: list[list[str]] = []
    for line in content.decode("utf-8", "replace").splitlines():
        key, _, rest = line.partition(":")
        if key in ("VARLIST", "VARNAMES"):
            columns = rest.split()
        elif key == "OBS":
            words = rest.split()
            if len(words) != len(columns):
                raise UsageError(f"{name}: a line OBS has {len(words)} values for {len(columns)} columns")
            rows.append(words)
    if not columns or not rows:
        raise UsageError(f"{name} looks like SNANA text but has no OBS lines")
    made: dict[str, pa.Array] = {}
    for n, column in enumerate(columns):
        words = [row[n] for row in rows]
        try:
            made[column] = pa.array([float(w) for w in words])
        except ValueError:
            made[column] = pa.array(words)
    return pa.table(made)


def guess_mapping(columns: Sequence[str]) -> ColumnMapping:
    """Guess which column means what from the usual names; empty names where nothing fits."""
    small = {c.lower(): c for c in columns}
    found = {role: next((small[n] for n in names if n in small), "") for role, names in _NAMES.items()}
    # A file with both magnitudes and fluxes is read by the first name that fits, and with the error of the same kind.
    value = found["value"].lower()
    if "fluxcal" in value:
        kind = "SNANA FLUXCAL"
    elif "flux" in value:
        kind = "nJy"
    else:
        kind = "AB magnitude"
    time = found["time"].lower()
    time_kind = "JD" if time in ("jd", "hjd", "bjd") else "MJD"
    return ColumnMapping(found["time"], found["value"], found["error"], found["band"], kind, time_kind)


def _numbers(table: pa.Table, column: str, what: str) -> NDArray[np.float64]:
    if column not in table.column_names:
        raise UsageError(f"choose the column of the {what}")
    try:
        return table.column(column).cast(pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowException as error:
        raise UsageError(f"column {column} does not hold numbers, so it cannot be the {what}") from error


def map_photometry(label: str, table: pa.Table, mapping: ColumnMapping, number: int = 1) -> Photometry:
    """Turn a table into photometry in nJy.

    Parameters
    ----------
    label
        What the photometry is called.
    table
        From `read_photometry`.
    mapping
        Which column means what.
    number
        Which light curve of a file with several, counted from 1; SNANA ends each with a time of -777.

    Raises
    ------
    UsageError
        If a column is missing or holds no numbers, or nothing usable is left.
    TooLargeError
        If there are too many points.
    """
    time = _numbers(table, mapping.time, "time")
    value, error = _numbers(table, mapping.value, "value"), _numbers(table, mapping.error, "error")
    if mapping.band:
        if mapping.band not in table.column_names:
            raise UsageError(f"there is no column {mapping.band}")
        band = np.array([str(b).strip() for b in table.column(mapping.band).to_pylist()])
    else:
        band = np.full(time.size, "all")
    ends = np.flatnonzero(time <= -777)
    if ends.size:
        last = ends.size if ends[-1] == time.size - 1 else ends.size + 1
        if not 1 <= number <= last:
            raise UsageError(f"the file holds light curves 1 to {last}, not {number}")
        edges = np.r_[-1, ends, time.size]
        part = slice(int(edges[number - 1]) + 1, int(edges[number]))
        time, value, error, band = (a[part] for a in (time, value, error, band))
    scale = VALUE_KINDS[mapping.value_kind]
    if scale is None:
        # 0 or negative errors and magnitudes beyond 50 are how surveys say that there is none.
        with np.errstate(over="ignore", invalid="ignore"):
            flux = np.where(np.abs(value) < 50, 10 ** (0.4 * (31.4 - np.clip(value, -50, 50))), np.nan)
        error = flux * error * np.log(10) / 2.5
    else:
        flux, error = value * scale, error * scale
    mjd = time + TIME_KINDS[mapping.time_kind]
    good = np.isfinite(mjd) & np.isfinite(flux) & (error > 0)
    if not good.any():
        raise UsageError("no row has a time, a value and a positive error")
    if good.sum() > _MOST_POINTS:
        raise TooLargeError(f"{good.sum():,} points are more than the {_MOST_POINTS:,} that a plot takes")
    return Photometry(label, mjd[good], band[good], flux[good], error[good], np.zeros(int(good.sum()), bool))
