"""Light curves to take away: files, and code that reads the same data again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from skydesk_portal.models.photometry import Photometry
from skydesk_portal.models.tables import ColumnInfo
from skydesk_portal.services.lightcurves import LightCurve, find_limits, to_ab_magnitude
from skydesk_portal.vo.formats import create_writer

__all__ = ["EXPORT_COLUMNS", "merge_curves", "write_curves", "write_python"]

EXPORT_COLUMNS = (
    ColumnInfo("object", "char", "*", ucd="meta.id", description="Which light curve"),
    ColumnInfo("mjd", "double", unit="d", ucd="time.epoch", description="Time (MJD, TAI)"),
    ColumnInfo("band", "char", "*", ucd="instr.bandpass"),
    ColumnInfo("flux", "double", unit="nJy", ucd="phot.flux.density"),
    ColumnInfo("fluxErr", "double", unit="nJy", ucd="stat.error;phot.flux.density"),
    ColumnInfo("mag", "double", unit="mag", ucd="phot.mag", description="AB magnitude of positive fluxes"),
    ColumnInfo("magErr", "double", unit="mag", ucd="stat.error;phot.mag"),
    ColumnInfo(
        "limit",
        "double",
        unit="mag",
        description="AB magnitude of 3 standard deviations, of fluxes that are fainter",
    ),
    ColumnInfo("flag", "boolean", description="Whether the measurement is doubtful"),
)
"""Columns of an exported light curve."""


def merge_curves(curves: Sequence[Photometry]) -> pa.Table:
    """Put several light curves into one table with `EXPORT_COLUMNS`."""
    tables = []
    for curve in curves:
        magnitude, spread = to_ab_magnitude(curve.flux_njy, curve.error_njy)
        columns = [
            pa.array([curve.label] * curve.mjd.size, pa.string()),
            pa.array(curve.mjd, pa.float64()),
            pa.array(curve.band.astype(str).tolist(), pa.string()),
            *(
                pa.array(a, pa.float64(), from_pandas=True)
                for a in (
                    curve.flux_njy,
                    curve.error_njy,
                    magnitude,
                    spread,
                    find_limits(curve.flux_njy, curve.error_njy),
                )
            ),
            pa.array(np.asarray(curve.flag, bool)),
        ]
        tables.append(pa.table(columns, names=[c.name for c in EXPORT_COLUMNS]))
    return pa.concat_tables(tables)


def write_curves(curves: Sequence[Photometry], form: str) -> bytes:
    """Write light curves as a file.

    Parameters
    ----------
    curves
        The light curves.
    form
        A format of the query service: ``csv``, ``votable``, ``fits``, ``parquet``, ….
    """
    table = merge_curves(curves)
    writer = create_writer(form, EXPORT_COLUMNS)
    parts = [writer.begin()]
    parts += [writer.rows(batch) for batch in table.to_batches()]
    parts += list(writer.finish())
    writer.close()
    return b"".join(parts)


def write_python(curve: LightCurve, url: str, period_day: float | None = None, epoch_mjd: float = 0.0) -> str:
    """Write Python code that reads the same light curve.

    Parameters
    ----------
    curve
        The light curve.
    url
        Public address of the platform.
    period_day, epoch_mjd
        If it is folded, period and epoch of phase 0.

    Returns
    -------
    str
        A program that needs pyvo, and a token in ``ACCESS_TOKEN``, which a lab has.
    """
    flux, error = (c.strip().removeprefix("f.") for c in curve.adql.split(" FROM ")[0].split(",")[2:4])
    time = curve.adql.split(" FROM ")[0].removeprefix("SELECT ").split(",")[0].split(".")[1]
    lines = [
        f'"""Light curve of {curve.label} of release {curve.release} ({curve.flux_kind} fluxes)."""',
        "",
        "import os",
        "",
        "import pyvo",
        "",
        "session = pyvo.auth.AuthSession()",
        "token = os.environ.get('ACCESS_TOKEN', '')",
        "session.credentials.set_password('x-oauth-basic', token)",
        f"session.add_security_method_for_url({url + '/api/tap'!r}, 'ivo://ivoa.net/sso#BasicAA')",
        f"tap = pyvo.dal.TAPService({url + '/api/tap'!r}, session=session)",
        "curve = tap.search(",
        f"    {curve.adql!r}",
        ").to_table()",
        f"mjd, band, flux, error = (curve[name] for name in ({time!r}, 'band', {flux!r}, {error!r}))",
    ]
    if period_day is not None:
        lines.append(f"phase = ((mjd - {epoch_mjd!r}) / {period_day!r}) % 1")
    return "\n".join(lines) + "\n"
