"""NESTED HEALPix indices of positions at order 29, the order by which every published table is sorted."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["HP14_SHIFT", "ORDER", "cell_positions", "locate_cell", "to_hp29"]

ORDER = 29
"""Order of the stored index (pixels of 0.4 mas)."""

HP14_SHIFT = 30
"""``hp29 >> HP14_SHIFT`` is the index at order 14 (pixels of 13 arcsec)."""

_SPREAD = (
    (16, 0x0000FFFF0000FFFF),
    (8, 0x00FF00FF00FF00FF),
    (4, 0x0F0F0F0F0F0F0F0F),
    (2, 0x3333333333333333),
    (1, 0x5555555555555555),
)


def _spread_bits(value: NDArray[np.int64]) -> NDArray[np.int64]:
    for shift, mask in _SPREAD:
        value = (value | (value << shift)) & np.int64(mask)
    return value


def to_hp29(ra_deg: ArrayLike, dec_deg: ArrayLike) -> NDArray[np.int64]:
    """Find the NESTED HEALPix pixel of order 29 that holds each position.

    Parameters
    ----------
    ra_deg, dec_deg
        ICRS right ascension (any range) and declination in degrees.

    Returns
    -------
    numpy.ndarray
        Pixel indices (Górski et al. 2005, NESTED); -1 where a position is not
        finite, so that such rows sort first and never match a region.
    """
    ra: NDArray[Any] = np.atleast_1d(np.asarray(ra_deg, dtype=np.float64))
    dec: NDArray[Any] = np.atleast_1d(np.asarray(dec_deg, dtype=np.float64))
    good = np.isfinite(ra) & np.isfinite(dec) & (np.abs(dec) <= 90.0)
    tt = np.where(good, ra, 0.0) % 360.0 / 90.0
    dec = np.where(good, dec, 0.0)
    z = np.sin(np.radians(dec))
    nside = 1 << ORDER

    # Equatorial belt: two families of diagonal lines number the pixels.
    first, second = nside * (0.5 + tt), nside * 0.75 * z
    jp, jm = np.floor(first - second).astype(np.int64), np.floor(first + second).astype(np.int64)
    ifp, ifm = jp >> ORDER, jm >> ORDER
    face = np.where(ifp == ifm, (ifp & 3) + 4, np.where(ifp < ifm, ifp & 3, (ifm & 3) + 8))
    ix, iy = jm & (nside - 1), nside - (jp & (nside - 1)) - 1

    # Polar caps; the form with the cosine keeps precision close to the pole.
    cap = np.abs(z) > 2.0 / 3.0
    if cap.any():
        quadrant = np.minimum(tt.astype(np.int64), 3)
        part = tt - quadrant
        radius = nside * np.abs(np.cos(np.radians(dec))) / np.sqrt((1.0 + np.abs(z)) / 3.0)
        cp = np.minimum((part * radius).astype(np.int64), nside - 1)
        cm = np.minimum(((1.0 - part) * radius).astype(np.int64), nside - 1)
        north = z >= 0
        face = np.where(cap, np.where(north, quadrant, quadrant + 8), face)
        ix = np.where(cap, np.where(north, nside - cm - 1, cp), ix)
        iy = np.where(cap, np.where(north, nside - cp - 1, cm), iy)
    index = (face << (2 * ORDER)) | _spread_bits(ix) | (_spread_bits(iy) << 1)
    return np.where(good, index, -1).astype(np.int64)


def _gather_bits(value: NDArray[np.int64]) -> NDArray[np.int64]:
    value = value & np.int64(0x5555555555555555)
    for shift, mask in (
        (1, 0x3333333333333333),
        (2, 0x0F0F0F0F0F0F0F0F),
        (4, 0x00FF00FF00FF00FF),
        (8, 0x0000FFFF0000FFFF),
        (16, 0x00000000FFFFFFFF),
    ):
        value = (value | (value >> shift)) & np.int64(mask)
    return value


def locate_cell(order: int, index: int) -> tuple[float, float]:
    """Return the southern corner of a cell in the plane of the HEALPix projection.

    Parameters
    ----------
    order
        HEALPix order of the cell.
    index
        NESTED index.

    Returns
    -------
    tuple of float
        Plane coordinates x (east) and y (north) in units of 45 degrees, as in FITS ``HPX`` with H = 4 and K = 3;
        a cell of order k spans ``2**-k`` along each of the two diagonals.
    """
    face = index >> (2 * order)
    within = np.array([index & ((1 << (2 * order)) - 1)], dtype=np.int64)
    u = float(_gather_bits(within)[0]) / (1 << order)
    v = float(_gather_bits(within >> 1)[0]) / (1 << order)
    row, column = face // 4, face % 4
    start_x = 2 * column + (0 if row == 1 else 1)
    return start_x + u - v, u + v - row


def cell_positions(order: int, index: int, width: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Find the centres of the pixels into which a cell is divided.

    Parameters
    ----------
    order, index
        The cell (NESTED).
    width
        Pixels along its side, a power of two.

    Returns
    -------
    tuple of numpy.ndarray
        ICRS right ascension in [0, 360) and declination in degrees, shape (width, width). The first axis runs
        north-east, the second north-west: element [i, j] is the subpixel whose NESTED index interleaves i and j.
    """
    x0, y0 = locate_cell(order, index)
    steps = (np.arange(width) + 0.5) / (width << order)
    x = x0 + steps[:, None] - steps[None, :]
    y = y0 + steps[:, None] + steps[None, :]
    sigma = 2.0 - np.abs(y)
    cap = sigma < 1.0
    safe = np.where(cap, np.maximum(sigma, 1e-300), 1.0)
    z = np.where(cap, np.sign(y) * (1.0 - safe * safe / 3.0), 2.0 * y / 3.0)
    facet = 2.0 * np.floor(x / 2.0) + 1.0
    lon = np.where(cap, facet + (x - facet) / safe, x)
    # Close to a pole the sine says little; there 1 - |z| = sigma**2 / 3 gives the distance from it.
    far = np.degrees(np.arcsin(np.clip(z, -1.0, 1.0)))
    near = 90.0 - np.degrees(2.0 * np.arcsin(np.minimum(safe / np.sqrt(6.0), 1.0)))
    return (45.0 * lon) % 360.0, np.where(cap, np.sign(y) * near, far)
