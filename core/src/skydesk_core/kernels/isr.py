"""The fused instrument-signature kernel: one pass over the pixels of an amplifier, and cosmic-ray search."""

from __future__ import annotations

import numba
import numpy as np

__all__ = ["calibrate_amplifier", "find_cosmics"]


@numba.njit(
    "void(float32[:,:], float32[:], float32[:,:], float32[:,:], float32[:,:], int32[:,:],"
    " float64, float64, float64, float64, float64, float64, int32, int32, int32, float32[:,:], float32[:,:])",
    cache=True,
)
def calibrate_amplifier(
    raw: np.ndarray,
    overscan: np.ndarray,
    bias: np.ndarray,
    dark: np.ndarray,
    flat: np.ndarray,
    bits: np.ndarray,
    gain: float,
    read_noise: float,
    silent: float,
    dark_time: float,
    saturation: float,
    suspect: float,
    sat_bit: int,
    suspect_bit: int,
    bad_bit: int,
    image: np.ndarray,
    variance: np.ndarray,
) -> None:
    """Turn raw ADU of one amplifier into electrons.

    ``image = ((raw - overscan) * gain - bias - dark * time) / flat``, variance from the
    electrons before flat fielding (without ``silent``) and the read noise.

    Parameters
    ----------
    raw
        Light-sensitive pixels, ADU, shape (ny, nx).
    overscan
        Overscan level of every row, ADU.
    bias, dark, flat
        Calibrations on the same pixels: e, e/s, dimensionless.
    bits
        Mask, changed in place.
    gain, read_noise, dark_time
        e/ADU, e, s.
    silent
        Electrons that carry no photon noise of their own: a pedestal, or a sky whose noise ``read_noise`` includes.
    saturation, suspect
        Raw ADU at and above which a pixel is saturated or suspect.
    sat_bit, suspect_bit, bad_bit
        Values of the mask planes.
    image, variance
        Results, e and e².
    """
    ny, nx = raw.shape
    for j in range(ny):
        level = overscan[j]
        for i in range(nx):
            value = raw[j, i]
            if value >= saturation:
                bits[j, i] |= sat_bit
            elif value >= suspect:
                bits[j, i] |= suspect_bit
            electrons = (value - level) * gain - bias[j, i] - dark[j, i] * dark_time
            dark_current = dark[j, i] * dark_time
            f = flat[j, i]
            if not f > 0.05:
                bits[j, i] |= bad_bit
                f = 1.0
            noise = read_noise * read_noise + max(electrons + dark_current - silent, 0.0)
            image[j, i] = electrons / f
            variance[j, i] = noise / (f * f)


@numba.njit(
    "int64(float32[:,:], float32[:,:], boolean[:,:], float64, float64, float64, float64, float64, boolean[:,:])",
    cache=True,
)
def find_cosmics(
    image: np.ndarray,
    variance: np.ndarray,
    exclude: np.ndarray,
    sigma: float,
    contrast: float,
    ratio_axis: float,
    ratio_diagonal: float,
    ratio_two: float,
    found: np.ndarray,
) -> int:
    """Find pixels that are sharper than the PSF allows, along any of four directions.

    A pixel is hit when it stands above the mean of two opposite neighbours by ``sigma`` in every
    direction, and when along at least one direction ``contrast`` times the neighbours' mean, divided by what the
    PSF says that ratio is, cannot account for it.

    Parameters
    ----------
    image, variance
        Background-subtracted image and variance.
    exclude
        Pixels that are not examined (saturated, bad).
    sigma
        Significance that is asked for.
    contrast
        Factor on the PSF ratio that leaves room for undersampling and noise.
    ratio_axis, ratio_diagonal
        PSF value one pixel away from the centre along an axis and along a diagonal, relative to the peak.
    ratio_two
        Larger of the two when the peak lies between pixels: the least sharp case allowed.
    found
        Result: pixels that are hit.

    Returns
    -------
    int
        How many pixels were found in this pass.
    """
    ny, nx = image.shape
    count = 0
    for j in range(1, ny - 1):
        for i in range(1, nx - 1):
            if exclude[j, i] or found[j, i]:
                continue
            value = image[j, i]
            noise = np.sqrt(variance[j, i])
            if value < sigma * noise:
                continue
            peaked = True
            sharp = False
            for d in range(4):
                if d == 0:
                    dy, dx, ratio = 0, 1, ratio_axis
                elif d == 1:
                    dy, dx, ratio = 1, 0, ratio_axis
                elif d == 2:
                    dy, dx, ratio = 1, 1, ratio_diagonal
                else:
                    dy, dx, ratio = 1, -1, ratio_diagonal
                a, b = image[j + dy, i + dx], image[j - dy, i - dx]
                hit_a, hit_b = found[j + dy, i + dx], found[j - dy, i - dx]
                # Along a track the neighbour that was hit must not hide this pixel ...
                mean = 0.5 * ((0.0 if hit_a else a) + (0.0 if hit_b else b))
                spread = np.sqrt(
                    variance[j, i] + 0.25 * (variance[j + dy, i + dx] + variance[j - dy, i - dx])
                )
                if value - mean < 0.5 * sigma * spread:
                    peaked = False
                    break
                # ... but it says nothing about the star beneath: there the opposite neighbour stands for both.
                if hit_a and hit_b:
                    continue
                if hit_a:
                    mean = b
                elif hit_b:
                    mean = a
                if value * ratio * contrast - mean > ratio_two * sigma * spread * ratio:
                    sharp = True
            if peaked and sharp:
                found[j, i] = True
                count += 1
    return count
