"""SimCam: the camera of the demo survey, with real detector effects and a distorted focal plane."""

from __future__ import annotations

from functools import cache

from skydesk_core.instrument.base import SkydeskInstrument
from skydesk_core.instrument.camera import Amplifier, CameraDescription, Detector, PixelBox
from skydesk_core.instrument.observation import HeaderCards

__all__ = ["SimCam"]

SIZE = 1024
AMPLIFIERS = 4
PRESCAN = 8
OVERSCAN = 32
DETECTORS = 9
GAP = 24
"""Pixels between neighbouring detectors."""

_GAINS = (1.18, 1.25, 1.31, 1.22)
_READ_NOISES = (6.2, 7.1, 6.7, 7.6)
_SATURATION = 62000.0


def _amplifiers(detector: int) -> tuple[Amplifier, ...]:
    width = SIZE // AMPLIFIERS
    stride = PRESCAN + width + OVERSCAN
    amplifiers = []
    for i in range(AMPLIFIERS):
        start = i * stride
        tweak = 1.0 + 0.01 * ((detector * 7 + i * 3) % 5 - 2)
        amplifiers.append(
            Amplifier(
                name=f"C{i}",
                bbox=PixelBox(x0=i * width, x1=(i + 1) * width, y0=0, y1=SIZE),
                raw_bbox=PixelBox(x0=start + PRESCAN, x1=start + PRESCAN + width, y0=0, y1=SIZE),
                overscan_bbox=PixelBox(x0=start + PRESCAN + width, x1=start + stride, y0=0, y1=SIZE),
                gain=_GAINS[i] * tweak,
                read_noise=_READ_NOISES[i] * tweak,
                saturation=_SATURATION,
            )
        )
    return tuple(amplifiers)


def _detectors() -> tuple[Detector, ...]:
    # A 3 x 3 mosaic, numbered so that detectors 0 and 1 are neighbours: small surveys use only the first ones.
    # Each column of it is a raft.
    places = [(0, 0), (1, 0), (-1, 0), (0, 1), (1, 1), (-1, 1), (0, -1), (1, -1), (-1, -1)]
    step = SIZE + GAP
    return tuple(
        Detector(
            id=i,
            name=f"S{places[i][0] + 1}{places[i][1] + 1}",
            bbox=PixelBox(x0=0, x1=SIZE, y0=0, y1=SIZE),
            raw_shape=(SIZE, AMPLIFIERS * (PRESCAN + SIZE // AMPLIFIERS + OVERSCAN)),
            amplifiers=_amplifiers(i),
            offset_x=places[i][0] * step,
            offset_y=places[i][1] * step,
            raft=f"R{places[i][0] + 1}",
        )
        for i in range(DETECTORS)
    )


class SimCam(SkydeskInstrument):
    """Nine detectors of 1024² pixels of 0.2 arcsec with four amplifiers each, in three rafts; filters u to y.

    Its focal plane has a third-order radial distortion that the starting WCS
    does not know.
    """

    region_margin_deg = 0.01
    has_simulated = True

    @classmethod
    def getName(cls) -> str:  # noqa: N802
        """Return ``SimCam``."""
        return "SimCam"

    @classmethod
    @cache
    def describe(cls) -> CameraDescription:
        """Return the camera's description."""
        return CameraDescription(
            name="SimCam",
            scale_arcsec=0.2,
            scale_tolerance=0.01,
            rotation_tolerance_deg=1.0,
            pointing_tolerance_deg=0.005,
            detectors=_detectors(),
            calibrations=("bias", "dark", "flat", "defects"),
            bands={f"{b}_sim": b for b in "ugrizy"},
            site=(-70.749417, -30.244639, 2663.0),  # Cerro Pachón
        )

    @classmethod
    def cards(cls) -> HeaderCards:
        """Return which header card holds which fact."""
        return HeaderCards(
            time="DATE-BEG",
            time_scale="tai",
            exposure="EXPTIME",
            dark="DARKTIME",
            filter="FILTER",
            ra="RA",
            dec="DEC",
            rotation="ROTPA",
            type="IMGTYPE",
            detector="CHIPID",
            sequence="SEQNUM",
            target="OBJECT",
            zenith="ZENITH",
            azimuth="AZIMUTH",
        )
