"""Signature removal: the kernel against numpy, saturation, overscan, cosmic rays, combination of calibrations."""

import numpy as np
import pytest

from skydesk_core.algorithms.combine import clipped_mean, normalise_flat
from skydesk_core.algorithms.cosmics import CosmicSearch, find_cosmic_rays
from skydesk_core.algorithms.isr import Calibrations, grow_plane, interpolate_rows, remove_signature
from skydesk_core.algorithms.planes import BIT
from skydesk_core.algorithms.transfer import estimate_gain, measure_sky
from skydesk_core.errors import DataError
from skydesk_core.instrument.camera import Amplifier, Detector, PixelBox

NY, NX, OVERSCAN = 60, 40, 8


def two_amplifiers():
    def amplifier(k, gain):
        x0 = k * (NX + OVERSCAN)
        return Amplifier(
            name=f"A{k}",
            bbox=PixelBox(x0=k * NX, x1=(k + 1) * NX, y0=0, y1=NY),
            raw_bbox=PixelBox(x0=x0, x1=x0 + NX, y0=0, y1=NY),
            overscan_bbox=PixelBox(x0=x0 + NX, x1=x0 + NX + OVERSCAN, y0=0, y1=NY),
            gain=gain,
            read_noise=5.0,
            saturation=60000.0,
        )

    return Detector(
        id=0,
        name="D",
        bbox=PixelBox(x0=0, x1=2 * NX, y0=0, y1=NY),
        raw_shape=(NY, 2 * (NX + OVERSCAN)),
        amplifiers=(amplifier(0, 1.5), amplifier(1, 2.0)),
    )


def test_kernel_equals_numpy():
    rng = np.random.default_rng(1)
    detector = two_amplifiers()
    shape = detector.bbox.shape
    bias = rng.normal(0, 3, shape).astype(np.float32)
    dark = rng.uniform(0, 1, shape).astype(np.float32)
    flat = rng.uniform(0.9, 1.1, shape).astype(np.float32)
    raw = np.full(detector.raw_shape, 1000.0, np.float32)
    light = rng.uniform(0, 3000, shape)
    for a in detector.amplifiers:
        raw[a.raw_bbox.slices] += light[a.bbox.slices]
    result = remove_signature(raw, detector, Calibrations(bias, dark, flat), 30.0)
    for a in detector.amplifiers:
        s = a.bbox.slices
        electrons = light[s] * a.gain - bias[s] - dark[s] * 30.0
        assert np.allclose(result.image[s], electrons / flat[s], atol=0.02)
        want = (25.0 + np.maximum(electrons + dark[s] * 30.0, 0)) / flat[s] ** 2
        assert np.allclose(result.variance[s], want, rtol=1e-4)
    assert result.overscan_adu == {"A0": 1000.0, "A1": 1000.0}
    assert not result.bits.any()


def test_masks():
    detector = two_amplifiers()
    raw = np.full(detector.raw_shape, 500.0, np.float32)
    raw[20, 10] = 61000.0
    raw[30, 15] = 55000.0
    flat = np.ones(detector.bbox.shape, np.float32)
    flat[5, 5] = 0.0
    bad = np.zeros(detector.bbox.shape, bool)
    bad[:, 70] = True
    result = remove_signature(raw, detector, Calibrations(flat=flat, bad=bad), 0.0, bad_rows=[(0, 2)])
    assert result.bits[20, 10] & BIT["SAT"]
    assert result.bits[20, 11] & BIT["SAT"]
    assert not result.bits[20, 13] & BIT["SAT"]
    assert result.bits[30, 15] & BIT["SUSPECT"]
    assert result.bits[5, 5] & BIT["BAD"]
    assert (result.bits[:, 70] & BIT["BAD"]).all()
    assert (result.bits[:2] & BIT["NO_DATA"]).all()
    assert not (result.bits[2:] & BIT["NO_DATA"]).any()


def test_wrong_shapes_and_unknown_gains_are_named():
    detector = two_amplifiers()
    with pytest.raises(DataError, match="raw image has shape"):
        remove_signature(np.zeros((3, 3)), detector, Calibrations(), 0.0)
    with pytest.raises(DataError, match="flat of detector D has shape"):
        remove_signature(
            np.zeros(detector.raw_shape), detector, Calibrations(flat=np.ones((2, 2), np.float32)), 0.0
        )
    first = detector.amplifiers[0].model_copy(update={"gain": None})
    unknown = detector.model_copy(update={"amplifiers": (first, detector.amplifiers[1])})
    with pytest.raises(DataError, match="A0"):
        remove_signature(np.zeros(detector.raw_shape), unknown, Calibrations(), 0.0)


def test_interpolation_bridges_defects():
    image = np.tile(np.arange(20, dtype=np.float32), (4, 1))
    truth = image.copy()
    bits = np.zeros(image.shape, np.int32)
    image[1, 8:10] = 9999.0
    bits[1, 8:10] = BIT["BAD"]
    interpolate_rows(image, np.ones_like(image), bits)
    assert np.allclose(image, truth)
    assert (bits[1, 8:10] & BIT["INTRP"]).all()
    assert not (bits[0] & BIT["INTRP"]).any()


def test_growing_is_a_disc():
    bits = np.zeros((11, 11), np.int32)
    bits[5, 5] = BIT["SAT"]
    grow_plane(bits, "SAT", 2)
    assert bits[5, 7]
    assert bits[3, 5]
    assert not bits[3, 3]


def test_cosmic_rays_are_found_and_stars_are_not():
    rng = np.random.default_rng(2)
    n = 200
    yy, xx = np.mgrid[:n, :n]
    image = np.zeros((n, n))
    for x, y, f in zip(
        rng.uniform(10, 190, 60), rng.uniform(10, 190, 60), 10 ** rng.uniform(3, 5, 60), strict=True
    ):
        s = 1.7
        image += f / (2 * np.pi * s**2) * np.exp(-0.5 * ((xx - x) ** 2 + (yy - y) ** 2) / s**2)
    variance = (image + 100.0).astype(np.float32)
    image = image + rng.normal(size=image.shape) * np.sqrt(variance)
    hits = np.zeros((n, n), bool)
    hits[rng.integers(5, 195, 80), rng.integers(5, 195, 80)] = True
    image[hits] += 2000.0
    pixels = image.astype(np.float32)
    nothing = np.zeros((n, n), bool)
    found = find_cosmic_rays(pixels, variance, nothing, 4.0, CosmicSearch(grow_sigma=0.0))
    assert found[hits].mean() > 0.85
    assert (found & ~hits).sum() <= 3
    grown = find_cosmic_rays(pixels, variance, nothing, 4.0)
    assert (grown & found).sum() == found.sum()
    assert not (grown & ~found & (pixels < 3 * np.sqrt(variance))).any()


def test_clipped_mean_leaves_out_cosmic_rays():
    rng = np.random.default_rng(3)
    frames = [rng.normal(100, 5, (50, 50)).astype(np.float32) for _ in range(7)]
    frames[3][10, 10] = 5000.0
    mean, variance = clipped_mean(frames)
    assert mean[10, 10] == pytest.approx(100, abs=8)
    assert np.median(variance) == pytest.approx(25 / 7, rel=0.2)
    with pytest.raises(DataError, match="no frames"):
        clipped_mean([])


def test_a_dark_flat_is_refused():
    with pytest.raises(DataError, match="flat frame has a level"):
        normalise_flat(np.zeros((5, 5)))


def test_gain_from_stars():
    rng = np.random.default_rng(4)
    gain, sky_noise, n = 8.0, 2.0, 400
    yy, xx = np.mgrid[-12:13, -12:13]
    x, y = rng.uniform(30, 370, 140), rng.uniform(30, 370, 140)
    flux = 10 ** rng.uniform(3.0, 4.3, 140)
    frames = []
    for k in range(8):
        image = np.zeros((n, n))
        for a, b, f in zip(x + 0.7 * k, y - 0.4 * k, flux, strict=True):
            i, j = round(a), round(b)
            stamp = np.exp(-0.5 * ((xx + i - a) ** 2 + (yy + j - b) ** 2) / 1.2**2) / (2 * np.pi * 1.2**2)
            image[j - 12 : j + 13, i - 12 : i + 13] += f * stamp
        noisy = rng.poisson(np.maximum(image, 0) * gain) / gain + rng.normal(300, sky_noise, image.shape)
        frames.append(np.round(noisy).astype(np.int16))
    found = estimate_gain(frames, np.zeros((n, n), bool), 1e5, 3.0)
    assert found.gain == pytest.approx(gain, rel=0.25)
    assert found.sky_noise_adu == pytest.approx(np.hypot(sky_noise, 0.29), rel=0.1)
    level, noise = measure_sky(frames[0], np.zeros((n, n), bool))
    assert level == pytest.approx(300, abs=1)
    assert noise == pytest.approx(sky_noise, rel=0.1)
    with pytest.raises(DataError, match="cannot be estimated from 1"):
        estimate_gain(frames[:1], np.zeros((n, n), bool), 1e5)
