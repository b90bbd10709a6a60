"""Tasks that make calibrations from raw exposures: cpBias, cpDark, cpFlat, and cpPtc for cameras without them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import astropy.units as u
import lsst.pex.config as pc
import lsst.pipe.base as pb
import lsst.pipe.base.connectionTypes as cT
import numpy as np

from skydesk_core.algorithms.combine import clipped_mean, normalise_flat
from skydesk_core.algorithms.isr import Calibrations, remove_signature
from skydesk_core.algorithms.planes import BIT
from skydesk_core.algorithms.transfer import estimate_gain
from skydesk_core.errors import DataError
from skydesk_core.instrument.camera import CameraDescription
from skydesk_core.tasks.convert import make_masked_image

__all__ = [
    "CpBiasTask",
    "CpConfig",
    "CpDarkTask",
    "CpFlatTask",
    "CpPtcTask",
]

_CALIB = ("instrument", "detector")
_FLAT = ("instrument", "detector", "physical_filter")
_RAW = cT.Input(
    doc="Raw frames.",
    name="raw",
    storageClass="RawImage",
    dimensions=("instrument", "exposure", "detector"),
    multiple=True,
    deferLoad=True,
)
_CAMERA = cT.PrerequisiteInput(
    doc="Amplifiers and geometry.",
    name="camera",
    storageClass="CameraDescription",
    dimensions=("instrument",),
    isCalibration=True,
)


def _output(name: str, dimensions: tuple[str, ...]) -> Any:
    return cT.Output(
        doc=f"Combined {name}.",
        name=name,
        storageClass="MaskedImageV2",
        dimensions=dimensions,
        isCalibration=True,
    )


def _input(name: str) -> Any:
    # Made earlier in the same pipeline, hence a regular input and not looked up by time.
    return cT.Input(
        doc=f"Combined {name}.",
        name=name,
        storageClass="MaskedImageV2",
        dimensions=_CALIB,
        isCalibration=True,
    )


class CpBiasConnections(pb.PipelineTaskConnections, dimensions=_CALIB):
    """Connections of `CpBiasTask`."""

    raws = _RAW
    camera = _CAMERA
    combined = _output("bias", _CALIB)


class CpDarkConnections(pb.PipelineTaskConnections, dimensions=_CALIB):
    """Connections of `CpDarkTask`."""

    raws = _RAW
    camera = _CAMERA
    bias = _input("bias")
    combined = _output("dark", _CALIB)


class CpFlatConnections(pb.PipelineTaskConnections, dimensions=_FLAT):
    """Connections of `CpFlatTask`."""

    raws = _RAW
    camera = _CAMERA
    bias = _input("bias")
    dark = _input("dark")
    combined = _output("flat", _FLAT)


class CpConfig(pb.PipelineTaskConfig, pipelineConnections=CpBiasConnections):
    """Settings of the combining tasks."""

    clip_sigma = pc.Field[float](doc="Limit of rejection in standard deviations.", default=4.0)


class CpDarkConfig(CpConfig, pipelineConnections=CpDarkConnections):
    """Settings of `CpDarkTask`."""


class CpFlatConfig(CpConfig, pipelineConnections=CpFlatConnections):
    """Settings of `CpFlatTask`."""


class _CombineTask(pb.PipelineTask):
    """What the combining tasks have in common: choose the frames by their kind, correct them, average them."""

    kind: ClassVar[str]
    unit: ClassVar[u.UnitBase] = u.electron

    def runQuantum(self, butlerQC: Any, inputRefs: Any, outputRefs: Any) -> None:
        """Read the frames of the right kind, combine, store."""
        chosen = [r for r in inputRefs.raws if r.dataId.records["exposure"].observation_type == self.kind]
        if not chosen:
            raise pb.NoWorkFound(f"no {self.kind} frames for {butlerQC.quantum.dataId}")
        camera = butlerQC.get(inputRefs.camera)
        known = {
            n: butlerQC.get(getattr(inputRefs, n)).image.array
            for n in ("bias", "dark")
            if hasattr(inputRefs, n)
        }
        times = [
            float(r.dataId.records["exposure"].dark_time or r.dataId.records["exposure"].exposure_time)
            for r in chosen
        ]
        raws = [butlerQC.get(r).get().array for r in chosen]
        image, variance = self.run(
            raws, times, camera, butlerQC.quantum.dataId["detector"], Calibrations(**known)
        )
        self.metadata["frames"] = len(raws)
        bits = np.where(np.isfinite(image), 0, BIT["BAD"]).astype(np.int32)
        stored = make_masked_image(np.nan_to_num(image), bits, variance, self.unit)
        butlerQC.put(pb.Struct(combined=stored), outputRefs)

    def run(
        self,
        raws: Sequence[np.ndarray],
        times_s: Sequence[float],
        camera: CameraDescription,
        detector: int,
        calibrations: Calibrations,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Combine frames.

        Parameters
        ----------
        raws
            Whole readouts, ADU.
        times_s
            Dark time of each.
        camera, detector
            Which detector of which camera.
        calibrations
            What is known already.

        Returns
        -------
        tuple of ndarray
            Combined image and its variance.
        """
        d = camera.detector(detector)
        frames = [
            self.scale(remove_signature(raw, d, calibrations, time).image, time)
            for raw, time in zip(raws, times_s, strict=True)
        ]
        return clipped_mean(frames, self.config.clip_sigma)

    def scale(self, image: np.ndarray, time_s: float) -> np.ndarray:
        """Bring one corrected frame to the unit of the product."""
        return image


class CpBiasTask(_CombineTask):
    """Average bias frames after the overscan is subtracted."""

    ConfigClass = CpConfig
    _DefaultName = "cpBias"
    kind = "bias"


class CpDarkTask(_CombineTask):
    """Average dark frames into a rate."""

    ConfigClass = CpDarkConfig
    _DefaultName = "cpDark"
    kind = "dark"
    unit = u.electron / u.s

    def scale(self, image: np.ndarray, time_s: float) -> np.ndarray:
        """Divide by the dark time."""
        if time_s <= 0:
            raise DataError(f"dark frame with a dark time of {time_s} s")
        return image / time_s


class CpFlatTask(_CombineTask):
    """Average normalised flats."""

    ConfigClass = CpFlatConfig
    _DefaultName = "cpFlat"
    kind = "flat"
    unit = u.dimensionless_unscaled

    def scale(self, image: np.ndarray, time_s: float) -> np.ndarray:
        """Divide by the frame's own level."""
        return normalise_flat(image)


class CpPtcConnections(pb.PipelineTaskConnections, dimensions=_CALIB):
    """Connections of `CpPtcTask`."""

    raws = _RAW
    camera = _CAMERA
    ptc = cT.Output(
        doc="Gain estimated from science frames.",
        name="ptc",
        storageClass="StructuredDataDict",
        dimensions=_CALIB,
    )


class CpPtcConfig(pb.PipelineTaskConfig, pipelineConnections=CpPtcConnections):
    """Settings of `CpPtcTask`."""

    radius_pixel = pc.Field[float](doc="Radius of the aperture for the stars' fluxes, pixels.", default=2.5)
    max_frames = pc.Field[int](doc="At most so many consecutive frames are used.", default=24)


class CpPtcTask(pb.PipelineTask):
    """Estimate the gain of a camera without calibrations from its science frames."""

    ConfigClass = CpPtcConfig
    _DefaultName = "cpPtc"

    def runQuantum(self, butlerQC: Any, inputRefs: Any, outputRefs: Any) -> None:
        """Read science frames in order of time, estimate, store."""
        chosen = [r for r in inputRefs.raws if r.dataId.records["exposure"].observation_type == "science"]
        chosen = sorted(chosen, key=lambda r: r.dataId["exposure"])[: self.config.max_frames]
        camera = butlerQC.get(inputRefs.camera)
        raws = [butlerQC.get(r).get().array for r in chosen]
        ptc = self.run(raws, camera, butlerQC.quantum.dataId["detector"])
        butlerQC.put(pb.Struct(ptc=ptc), outputRefs)

    def run(self, raws: Sequence[np.ndarray], camera: CameraDescription, detector: int) -> dict[str, Any]:
        """Estimate the gain of every amplifier that has none.

        Parameters
        ----------
        raws
            Whole readouts in order of time, ADU.
        camera, detector
            Which detector of which camera.

        Returns
        -------
        dict
            ``gain``, ``gain_error`` (e/ADU) and ``sky_noise`` (ADU) per amplifier.
        """
        d = camera.detector(detector)
        result: dict[str, Any] = {"gain": {}, "gain_error": {}, "sky_noise": {}}
        for amplifier in d.amplifiers:
            if amplifier.gain is not None:
                continue
            exclude = np.zeros(d.bbox.shape, bool)
            for y0, y1 in camera.bad_rows:
                exclude[y0:y1] = True
            frames = [raw[amplifier.raw_bbox.slices] for raw in raws]
            found = estimate_gain(
                frames, exclude[amplifier.bbox.slices], amplifier.saturation, self.config.radius_pixel
            )
            self.log.info(
                "amplifier %s: gain %.2f ± %.2f e/ADU from %d frame pairs",
                amplifier.name,
                found.gain,
                found.gain_error,
                found.pairs,
            )
            result["gain"][amplifier.name] = found.gain
            result["gain_error"][amplifier.name] = found.gain_error
            result["sky_noise"][amplifier.name] = found.sky_noise_adu
        return result
