"""Reference stars for a task: shards joined and moved to the epoch of an exposure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from astropy.table import Table

from skydesk_core.algorithms.calibrate import ReferenceStars
from skydesk_core.errors import DataError

__all__ = ["join_reference_shards"]


def join_reference_shards(shards: Sequence[Table], flux_column: str, mjd: float) -> ReferenceStars:
    """Join the shards of a reference catalog.

    Parameters
    ----------
    shards
        Tables as `skydesk_core.refcat` stores them.
    flux_column
        Wanted flux; a catalog of one single flux column gives that one.
    mjd
        Epoch to which proper motions (if any) carry the positions, MJD TAI.

    Returns
    -------
    ReferenceStars
        Positions and fluxes.

    Raises
    ------
    DataError
        If there is no shard or no such column.
    """
    if not shards:
        raise DataError("no reference stars where the image points to")
    names = [c for c in shards[0].colnames if c.endswith("_flux")]
    if flux_column not in names:
        if len(names) != 1:
            raise DataError(f"reference catalog has no column {flux_column}; it has {', '.join(names)}")
        flux_column = names[0]

    def column(name: str) -> np.ndarray:
        return np.concatenate([np.asarray(t[name], float) for t in shards])

    ra, dec, flux = column("coord_ra"), column("coord_dec"), column(flux_column)
    has_error = all(f"{flux_column}Err" in t.colnames for t in shards)
    error = column(f"{flux_column}Err") if has_error else np.zeros(len(flux))
    if all({"pm_ra", "pm_dec", "epoch"} <= set(t.colnames) for t in shards):
        years = np.nan_to_num((mjd - column("epoch")) / 365.25)
        dec_now = dec + np.nan_to_num(column("pm_dec")) * years / 3.6e6
        ra = ra + np.nan_to_num(column("pm_ra")) * years / 3.6e6 / np.cos(np.radians(dec))
        dec = dec_now
    return ReferenceStars(ra, dec, flux, error)
