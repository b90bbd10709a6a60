"""Removal of the instrument's signature from one raw detector image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from skydesk_core.algorithms.planes import BIT
from skydesk_core.errors import DataError
from skydesk_core.instrument.camera import Amplifier, Detector
from skydesk_core.kernels.isr import calibrate_amplifier

__all__ = ["Calibrations", "IsrResult", "correct_overscan", "interpolate_rows", "remove_signature"]

FloatImage = NDArray[np.float32]


@dataclass(frozen=True)
class Calibrations:
    """Calibrations of one detector in the assembled frame; what is None is not applied.

    Parameters
    ----------
    bias
        Electrons.
    dark
        Electrons per second.
    flat
        Response, mean 1.
    bad
        Defective pixels.
    """

    bias: FloatImage | None = None
    dark: FloatImage | None = None
    flat: FloatImage | None = None
    bad: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class IsrResult:
    """An image in electrons.

    Parameters
    ----------
    image, variance
        Electrons and electrons², shape (ny, nx).
    bits
        Mask in the bits of `skydesk_core.algorithms.planes.BIT`.
    overscan_adu
        Median overscan level per amplifier; empty without overscan.
    overscan_noise_adu
        Robust standard deviation of the overscan per amplifier.
    """

    image: FloatImage
    variance: FloatImage
    bits: NDArray[np.int32]
    overscan_adu: dict[str, float] = field(default_factory=dict)
    overscan_noise_adu: dict[str, float] = field(default_factory=dict)


def correct_overscan(raw: FloatImage, amplifier: Amplifier) -> tuple[FloatImage, float]:
    """Measure the overscan level of every row of an amplifier.

    Parameters
    ----------
    raw
        Whole readout, ADU.
    amplifier
        Which one.

    Returns
    -------
    tuple
        Level per row (zero without an overscan), smoothed over 15 rows, and the
        robust standard deviation of the overscan pixels about it, ADU.
    """
    height = amplifier.bbox.shape[0]
    if amplifier.overscan_bbox is None:
        return np.zeros(height, np.float32), float("nan")
    strip = raw[amplifier.overscan_bbox.slices]
    # The first columns still hold charge that was left behind by the last light-sensitive ones.
    strip = strip[:, min(2, strip.shape[1] // 4) :]
    rows = np.median(strip, axis=1)
    level = ndimage.median_filter(rows, size=15, mode="nearest")
    level = ndimage.uniform_filter1d(level, 15, mode="nearest").astype(np.float32)
    residual = strip - level[:, None]
    noise = 1.4826 * float(np.median(np.abs(residual - np.median(residual))))
    return level, max(noise, float(np.std(residual[np.abs(residual) < 5 * noise + 1])))


def remove_signature(
    raw: NDArray[Any],
    detector: Detector,
    calibrations: Calibrations,
    dark_time_s: float,
    gains: Sequence[float] | None = None,
    read_noises: Sequence[float] | None = None,
    silent_adu: Sequence[float] | None = None,
    bad_rows: Sequence[tuple[int, int]] = (),
    suspect_fraction: float = 0.9,
    grow_saturation: int = 1,
) -> IsrResult:
    """Turn a raw readout into an assembled image in electrons with variance and mask.

    Parameters
    ----------
    raw
        Whole readout, ADU, in the shape of ``detector.raw_shape``.
    detector
        Geometry and amplifiers.
    calibrations
        What to correct for.
    dark_time_s
        Time during which dark current was collected.
    gains, read_noises
        Per amplifier, e/ADU and e; where None the detector's own are used.
    silent_adu
        Per amplifier: level above the overscan that carries no photon noise beyond ``read_noises``. For a camera
        without bias and overscan that is the sky's level, whose noise is measured and given as the read noise.
    bad_rows
        Ranges of rows (assembled, half open) without signal: masked BAD and NO_DATA.
    suspect_fraction
        Fraction of the saturation level above which a pixel is SUSPECT.
    grow_saturation
        Pixels by which saturated regions are widened.

    Returns
    -------
    IsrResult
        The image; BAD pixels are not yet interpolated.

    Raises
    ------
    DataError
        If the raw image has another shape than the detector, or a gain is unknown.
    """
    if raw.shape != detector.raw_shape:
        raise DataError(f"raw image has shape {raw.shape}, detector {detector.name} has {detector.raw_shape}")
    raw = np.ascontiguousarray(raw, np.float32)
    shape = detector.bbox.shape
    image, variance = np.zeros(shape, np.float32), np.ones(shape, np.float32)
    bits = np.zeros(shape, np.int32)
    zero, one = np.zeros(shape, np.float32), np.ones(shape, np.float32)
    bias = zero if calibrations.bias is None else calibrations.bias
    dark = zero if calibrations.dark is None else calibrations.dark
    flat = one if calibrations.flat is None else calibrations.flat
    for name, plane in (("bias", bias), ("dark", dark), ("flat", flat)):
        if plane.shape != shape:
            raise DataError(f"{name} of detector {detector.name} has shape {plane.shape}, not {shape}")
    levels: dict[str, float] = {}
    noises: dict[str, float] = {}
    for k, amplifier in enumerate(detector.amplifiers):
        gain = amplifier.gain if gains is None else gains[k]
        read_noise = amplifier.read_noise if read_noises is None else read_noises[k]
        if gain is None or read_noise is None:
            raise DataError(f"gain or read noise of amplifier {amplifier.name} of {detector.name} is unknown")
        overscan, noise = correct_overscan(raw, amplifier)
        if amplifier.overscan_bbox is not None:
            levels[amplifier.name], noises[amplifier.name] = float(np.median(overscan)), noise
        s = amplifier.bbox.slices
        calibrate_amplifier(
            raw[amplifier.raw_bbox.slices], overscan, bias[s], dark[s], flat[s], bits[s], gain, read_noise,
            0.0 if silent_adu is None else silent_adu[k] * gain, dark_time_s,
            amplifier.saturation, suspect_fraction * amplifier.saturation,
            BIT["SAT"], BIT["SUSPECT"], BIT["BAD"], image[s], variance[s],
        )  # fmt: skip
    if calibrations.bad is not None:
        bits[calibrations.bad] |= BIT["BAD"]
    for y0, y1 in bad_rows:
        bits[y0:y1] |= BIT["BAD"] | BIT["NO_DATA"]
    if grow_saturation:
        grow_plane(bits, "SAT", grow_saturation)
    lost = ~np.isfinite(image)
    if lost.any():
        image[lost] = 0.0
        bits[lost] |= BIT["NO_DATA"]
    return IsrResult(image, variance, bits, levels, noises)


def grow_plane(bits: NDArray[np.int32], name: str, radius: int) -> None:
    """Widen the regions of a mask plane in place, as discs of a radius in pixels."""
    plane = (bits & BIT[name]) != 0
    if not plane.any():
        return
    r = np.arange(-radius, radius + 1)
    disc = np.hypot(r[:, None], r[None, :]) <= radius + 0.5
    # Only around the few pixels that are set: a dilation of the whole image costs far more.
    ny, nx = bits.shape
    ys, xs = np.nonzero(plane)
    oy, ox = np.nonzero(disc)
    yy = np.clip(ys[:, None] + oy - radius, 0, ny - 1)
    xx = np.clip(xs[:, None] + ox - radius, 0, nx - 1)
    bits[yy, xx] |= BIT[name]


def interpolate_rows(
    image: FloatImage,
    variance: FloatImage,
    bits: NDArray[np.int32],
    planes: Sequence[str] = ("BAD", "CR", "SAT"),
) -> None:
    """Replace flagged pixels by a linear interpolation along their row, in place, and set INTRP.

    Runs longer than 30 pixels and runs that touch the edge take the median of
    the row's good pixels nearest to them; their variance is raised likewise.

    Parameters
    ----------
    image, variance
        Changed in place.
    bits
        Mask; INTRP is added.
    planes
        Which planes are interpolated.
    """
    wanted = sum(BIT[name] for name in planes)
    lost = (bits & wanted) != 0
    nx = image.shape[1]
    for j in np.flatnonzero(lost.any(axis=1)):
        row = lost[j]
        good = np.flatnonzero(~row)
        holes = np.flatnonzero(row)
        if len(good) < 2 or len(good) < 0.05 * nx:
            continue
        image[j, holes] = np.interp(holes, good, image[j, good])
        variance[j, holes] = np.interp(holes, good, variance[j, good])
        bits[j, holes] |= BIT["INTRP"]
