"""Compiled loops of the simulator: paint stamps, bleed saturated charge, draw cosmic rays."""

from __future__ import annotations

import numba
import numpy as np

__all__ = ["bleed_columns", "draw_tracks", "paint_stamps", "paint_stars", "warm"]


@numba.njit(cache=True, nogil=True, inline="always")
def _cubic(t: float) -> tuple[float, float, float, float]:
    # Catmull-Rom weights of four neighbours.
    t2, t3 = t * t, t * t * t
    return (
        0.5 * (-t3 + 2 * t2 - t),
        0.5 * (3 * t3 - 5 * t2 + 2),
        0.5 * (-3 * t3 + 4 * t2 + t),
        0.5 * (t3 - t2),
    )


@numba.njit(cache=True, nogil=True)
def _paint(
    image: np.ndarray, stamp: np.ndarray, over: int, x: float, y: float, flux: float, radius: int
) -> None:
    height, width = image.shape
    size = stamp.shape[0]
    centre = (size - 1) // 2
    ix, iy = int(np.floor(x + 0.5)), int(np.floor(y + 0.5))
    # Position of the first sample inside the oversampled stamp; the fraction is the same for every pixel.
    sx = centre + (ix - radius - x) * over
    sy = centre + (iy - radius - y) * over
    jx, jy = int(np.floor(sx)), int(np.floor(sy))
    wx = _cubic(sx - jx)
    wy = _cubic(sy - jy)
    for row in range(2 * radius + 1):
        py = iy - radius + row
        by = jy + row * over
        if py < 0 or py >= height or by < 1 or by + 2 >= size:
            continue
        for col in range(2 * radius + 1):
            px = ix - radius + col
            bx = jx + col * over
            if px < 0 or px >= width or bx < 1 or bx + 2 >= size:
                continue
            total = 0.0
            for k in range(4):
                line = stamp[by - 1 + k]
                total += wy[k] * (
                    wx[0] * line[bx - 1] + wx[1] * line[bx] + wx[2] * line[bx + 1] + wx[3] * line[bx + 2]
                )
            image[py, px] += flux * total


@numba.njit(cache=True, nogil=True)
def paint_stamps(
    image: np.ndarray,
    stamps: np.ndarray,
    which: np.ndarray,
    over: int,
    x: np.ndarray,
    y: np.ndarray,
    flux: np.ndarray,
) -> None:
    """Add sources to an image by shifting oversampled stamps.

    Parameters
    ----------
    image
        Electrons, shape (y, x), changed in place.
    stamps
        Oversampled profiles, already integrated over a pixel, shape
        (n, size, size), odd size.
    which
        Stamp of each source, shape (m,).
    over
        Samples per pixel.
    x, y
        Positions, zero-based pixels, shape (m,).
    flux
        Electrons, shape (m,).
    """
    radius = (stamps.shape[1] - 1) // 2 // over - 1
    for i in range(x.size):
        _paint(image, stamps[which[i]], over, x[i], y[i], flux[i], radius)


@numba.njit(cache=True, nogil=True)
def paint_stars(
    image: np.ndarray,
    stamps: np.ndarray,
    over: int,
    x: np.ndarray,
    y: np.ndarray,
    flux: np.ndarray,
    floor: float,
) -> None:
    """Add point sources whose PSF changes linearly over the image.

    Parameters
    ----------
    image
        Electrons, shape (y, x), changed in place.
    stamps
        Oversampled PSF at the centre and its change from the centre to the
        right and the upper edge, shape (3, size, size).
    over
        Samples per pixel.
    x, y
        Positions, zero-based pixels, shape (m,).
    flux
        Electrons, shape (m,).
    floor
        Surface brightness, electrons per pixel, below which the wings of a
        star may be cut.
    """
    height, width = image.shape
    full = (stamps.shape[1] - 1) // 2 // over - 1
    centre = (stamps.shape[1] - 1) // 2
    for i in range(x.size):
        u = (x[i] - 0.5 * width) / (0.5 * width)
        v = (y[i] - 0.5 * height) / (0.5 * height)
        radius = full
        for r in range(10, full, 5):
            if flux[i] * stamps[0, centre, centre + r * over] < floor:
                radius = r
                break
        reach = (radius + 3) * over
        lo, hi = max(0, centre - reach), min(stamps.shape[1], centre + reach + 1)
        local = stamps[0, lo:hi, lo:hi] + u * stamps[1, lo:hi, lo:hi] + v * stamps[2, lo:hi, lo:hi]
        _paint(image, local, over, x[i], y[i], flux[i], radius)


@numba.njit(cache=True, nogil=True)
def bleed_columns(image: np.ndarray, full_well: float) -> None:
    """Spill charge above the full well along the columns, half of it each way.

    Parameters
    ----------
    image
        Electrons, shape (y, x), changed in place.
    full_well
        Electrons that a pixel holds.
    """
    height, width = image.shape
    for x in range(width):
        for y in range(height):
            excess = image[y, x] - full_well
            if excess <= 0:
                continue
            image[y, x] = full_well
            for step in (-1, 1):
                rest = 0.5 * excess
                k = y + step
                while rest > 0 and 0 <= k < height:
                    room = full_well - image[k, x]
                    if room > 0:
                        moved = min(room, rest)
                        image[k, x] += moved
                        rest -= moved
                    k += step


@numba.njit(cache=True, nogil=True)
def draw_tracks(
    image: np.ndarray, x: np.ndarray, y: np.ndarray, angle: np.ndarray, length: np.ndarray, charge: np.ndarray
) -> None:
    """Add the straight tracks of cosmic rays.

    Parameters
    ----------
    image
        Electrons, shape (y, x), changed in place.
    x, y
        Where tracks begin, pixels, shape (n,).
    angle
        Direction, radians.
    length
        Pixels.
    charge
        Electrons per pixel of length.
    """
    height, width = image.shape
    for i in range(x.size):
        steps = max(1, int(length[i] * 3))
        for k in range(steps):
            px = int(np.floor(x[i] + np.cos(angle[i]) * k / 3 + 0.5))
            py = int(np.floor(y[i] + np.sin(angle[i]) * k / 3 + 0.5))
            if 0 <= px < width and 0 <= py < height:
                image[py, px] += charge[i] / 3


def warm() -> None:
    """Compile all loops with the types that the simulator uses."""
    image = np.zeros((64, 64), np.float32)
    stamps = np.zeros((3, 161, 161), np.float32)
    one = np.array([32.0])
    paint_stars(image, stamps, 4, one, one, one, 1.0)
    paint_stamps(image, stamps, np.zeros(1, np.int64), 4, one, one, one)
    bleed_columns(image, 9.0e4)
    draw_tracks(image, one, one, one, one, one)
