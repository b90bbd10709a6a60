"""From light on a detector to the raw file: flat, dark, cosmic rays, bleeding, noise, bias, overscan, digits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.table import Table

from skydesk_core.instrument.camera import CameraDescription, Detector
from skydesk_core.sim.painting import bleed_columns, draw_tracks

__all__ = ["DetectorModel", "make_detector_model"]

FULL_WELL = 90000.0
DARK_RATE = 0.05
"""Electrons per second and pixel."""
COSMIC_RAYS_PER_SECOND = 0.7


@dataclass(frozen=True)
class DetectorModel:
    """The fixed properties of one simulated detector.

    Attributes
    ----------
    detector
        Its description.
    flat
        Relative response of pixels by band, shape (y, x), vignetting
        included, mean about 1.
    dark
        Electrons per second, shape (y, x), hot pixels included.
    bias
        ADU of the bias over the raw image, shape of the raw image.
    defects
        Columns ``x0, y0, width, height, kind``.
    dead
        Pixels that see no light, bool, shape (y, x).
    """

    detector: Detector
    flat: dict[str, np.ndarray]
    dark: np.ndarray
    bias: np.ndarray
    defects: Table
    dead: np.ndarray

    def read_out(self, electrons: np.ndarray, exposure_s: float, rng: np.random.Generator) -> np.ndarray:
        """Turn light into the digits of a raw image.

        Parameters
        ----------
        electrons
            Expected electrons from light, shape (y, x), flat already applied;
            changed in place.
        exposure_s
            Exposure time, for dark current and cosmic rays.
        rng
            Source of noise.

        Returns
        -------
        numpy.ndarray
            ADU, uint16, shape of the raw image.
        """
        electrons[self.dead] = 0
        expected = electrons + self.dark * np.float32(exposure_s)
        if exposure_s > 0:
            if float(expected.mean()) > 50:
                # Above some ten electrons the normal distribution is as good as Poisson's and far quicker.
                noise = rng.standard_normal(expected.shape, dtype=np.float32)
                expected += noise * np.sqrt(np.maximum(expected, 0))
            else:
                expected = rng.poisson(np.maximum(expected, 0)).astype(np.float32)
            self._add_cosmic_rays(expected, exposure_s, rng)
            bleed_columns(expected, FULL_WELL)
        raw = self.bias + rng.normal(0, 1.2, (self.detector.raw_shape[0], 1)).astype(np.float32)
        noise = rng.standard_normal(raw.shape, dtype=np.float32)
        for amp in self.detector.amplifiers:
            if amp.gain is None or amp.read_noise is None or amp.overscan_bbox is None:
                raise AssertionError(f"SimCam's amplifier {amp.name} is not fully described")
            columns = slice(self._start(amp.raw_bbox.x0), amp.overscan_bbox.x1)
            raw[:, columns] += noise[:, columns] * np.float32(amp.read_noise / amp.gain)
            raw[amp.raw_bbox.slices] += expected[amp.bbox.slices] / np.float32(amp.gain)
        return np.clip(np.rint(raw), 0, 65535).astype(np.uint16)

    def _start(self, x: int) -> int:
        starts = [0, *(a.overscan_bbox.x1 for a in self.detector.amplifiers if a.overscan_bbox)]
        return max(s for s in starts if s <= x)

    def _add_cosmic_rays(self, electrons: np.ndarray, exposure_s: float, rng: np.random.Generator) -> None:
        height, width = electrons.shape
        n = rng.poisson(COSMIC_RAYS_PER_SECOND * exposure_s)
        draw_tracks(
            electrons,
            rng.uniform(0, width, n),
            rng.uniform(0, height, n),
            rng.uniform(0, 2 * np.pi, n),
            1 + rng.exponential(6, n),
            rng.lognormal(7.3, 0.6, n),
        )


def _smooth_noise(rng: np.random.Generator, shape: tuple[int, int], cells: int) -> np.ndarray:
    coarse = rng.standard_normal((cells + 1, cells + 1))
    y = np.linspace(0, cells - 1e-6, shape[0])
    x = np.linspace(0, cells - 1e-6, shape[1])
    iy, ix = y.astype(int), x.astype(int)
    fy, fx = (y - iy)[:, None], (x - ix)[None, :]
    return (
        coarse[np.ix_(iy, ix)] * (1 - fy) * (1 - fx)
        + coarse[np.ix_(iy + 1, ix)] * fy * (1 - fx)
        + coarse[np.ix_(iy, ix + 1)] * (1 - fy) * fx
        + coarse[np.ix_(iy + 1, ix + 1)] * fy * fx
    )


def _make_defects(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[Table, np.ndarray, np.ndarray]:
    height, width = shape
    rows: list[tuple[int, int, int, int, str]] = []
    dead = np.zeros(shape, bool)
    for _ in range(2):
        x, y = int(rng.integers(20, width - 20)), int(rng.integers(0, height // 2))
        dead[y:, x] = True
        rows.append((x, y, 1, height - y, "dead column"))
    for _ in range(3):
        x, y = rng.integers(20, np.array([width, height]) - 20)
        dead[y : y + 4, x : x + 5] = True
        rows.append((int(x), int(y), 5, 4, "dead spot"))
    hot = np.zeros(shape, np.float32)
    for _ in range(40):
        x, y = rng.integers(0, np.array([width, height]))
        hot[y, x] = rng.uniform(50, 500)
        rows.append((int(x), int(y), 1, 1, "hot pixel"))
    return Table(rows=rows, names=["x0", "y0", "width", "height", "kind"]), dead, hot


def make_detector_model(
    camera: CameraDescription, detector: int, bands: tuple[str, ...], seed: int
) -> DetectorModel:
    """Make the fixed properties of a detector.

    Parameters
    ----------
    camera
        The camera.
    detector
        Number of the detector.
    bands
        Bands for which to make flats.
    seed
        Seed of all randomness.

    Returns
    -------
    DetectorModel
        The same for the same arguments.
    """
    d = camera.detector(detector)
    rng = np.random.default_rng([seed, 7, detector])
    height, width = d.bbox.shape
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    u = (x - width / 2 + d.offset_x) / (1.5 * width)
    v = (y - height / 2 + d.offset_y) / (1.5 * height)
    vignetting = 1 - 0.06 * (u * u + v * v)
    pixels = 1 + 0.008 * rng.standard_normal((height, width))
    flat = {}
    for band in bands:
        flat[band] = (vignetting * pixels * (1 + 0.01 * _smooth_noise(rng, (height, width), 6))).astype(
            np.float32
        )
    defects, dead, hot = _make_defects(rng, (height, width))
    bias = np.empty(d.raw_shape, np.float32)
    rows = np.linspace(0, 1, height)[:, None]
    start = 0
    for amp in d.amplifiers:
        end = amp.overscan_bbox.x1 if amp.overscan_bbox else d.raw_shape[1]
        columns = np.linspace(0, 1, end - start)[None, :]
        level = 1000 + 40 * rng.standard_normal() + 6 * rows
        bias[:, start:end] = level + 4 * np.exp(-columns * 20) + 0.8 * rng.standard_normal((height, 1))
        bias[amp.raw_bbox.slices] += 0.6 * _smooth_noise(rng, amp.raw_bbox.shape, 10)
        start = end
    return DetectorModel(
        detector=d,
        flat=flat,
        dark=(DARK_RATE * (1 + 0.2 * _smooth_noise(rng, (height, width), 4)) + hot).astype(np.float32),
        bias=bias,
        defects=defects,
        dead=dead,
    )
