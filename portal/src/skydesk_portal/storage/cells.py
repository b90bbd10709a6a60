"""HEALPix cells around positions, as the engine's function ``skydesk_cells``."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

__all__ = ["cells_around"]

_FINEST = 14


def cells_around(ra_deg: pa.Array, dec_deg: pa.Array, shift: pa.Array) -> pa.Array:
    """Find the cell of each position and those around it.

    Parameters
    ----------
    ra_deg, dec_deg
        Positions in degrees (ICRS).
    shift
        Twice the difference between order 14 and the order of the cells; the same for all positions.

    Returns
    -------
    pyarrow.Array
        Lists of NESTED indices; empty where a coordinate is not finite or beyond a pole.
    """
    import hpgeom

    ra = np.asarray(ra_deg.to_numpy(zero_copy_only=False), dtype=np.float64)
    dec = np.asarray(dec_deg.to_numpy(zero_copy_only=False), dtype=np.float64)
    if not len(ra):
        return pa.array([], pa.list_(pa.int64()))
    order = _FINEST - int(shift[0].as_py()) // 2
    good = np.isfinite(ra) & np.isfinite(dec) & (np.abs(dec) <= 90.0)
    if order <= 0:
        # Circles of this size may reach any of the twelve base cells.
        found = np.tile(np.arange(12), (len(ra), 1))
    else:
        center = hpgeom.angle_to_pixel(1 << order, np.where(good, ra, 0.0) % 360.0, np.where(good, dec, 0.0))
        found = np.column_stack([center, hpgeom.neighbors(1 << order, center)])
    # A cell at a corner of a base cell has seven neighbours only; the eighth is given as -1.
    kept = good[:, None] & (found >= 0)
    offsets = np.concatenate([[0], np.cumsum(kept.sum(axis=1))]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(found[kept].astype(np.int64)))
