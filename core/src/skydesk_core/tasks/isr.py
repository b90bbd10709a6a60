"""The task isr: a raw exposure of one detector becomes an image in electrons."""

from __future__ import annotations

from typing import Any

import astropy.units as u
import lsst.pex.config as pc
import lsst.pipe.base as pb
import lsst.pipe.base.connectionTypes as cT
import numpy as np

from skydesk_core.algorithms.isr import Calibrations, IsrResult, interpolate_rows, remove_signature
from skydesk_core.algorithms.transfer import measure_sky
from skydesk_core.errors import DataError
from skydesk_core.instrument.camera import Detector
from skydesk_core.tasks.convert import make_masked_image

__all__ = ["IsrConfig", "IsrConnections", "IsrTask", "defects_to_mask"]

_CALIB = ("instrument", "detector")


def defects_to_mask(table: Any, shape: tuple[int, int]) -> np.ndarray:
    """Draw a table of defects (x0, y0, width, height) into a boolean image.

    Parameters
    ----------
    table
        One row a box, assembled pixels.
    shape
        Rows and columns of the image.
    """
    bad = np.zeros(shape, bool)
    for row in table:
        bad[
            int(row["y0"]) : int(row["y0"] + row["height"]), int(row["x0"]) : int(row["x0"] + row["width"])
        ] = True
    return bad


class IsrConnections(pb.PipelineTaskConnections, dimensions=("instrument", "exposure", "detector")):
    """Connections of `IsrTask`."""

    raw = cT.Input(
        doc="Raw readout.",
        name="raw",
        storageClass="RawImage",
        dimensions=("instrument", "exposure", "detector"),
    )
    camera = cT.PrerequisiteInput(
        doc="Amplifiers and geometry.",
        name="camera",
        storageClass="CameraDescription",
        dimensions=("instrument",),
        isCalibration=True,
    )
    bias = cT.PrerequisiteInput(
        doc="Bias.", name="bias", storageClass="MaskedImageV2", dimensions=_CALIB, isCalibration=True
    )
    dark = cT.PrerequisiteInput(
        doc="Dark current.", name="dark", storageClass="MaskedImageV2", dimensions=_CALIB, isCalibration=True
    )
    flat = cT.PrerequisiteInput(
        doc="Response.",
        name="flat",
        storageClass="MaskedImageV2",
        dimensions=("instrument", "detector", "physical_filter"),
        isCalibration=True,
    )
    defects = cT.PrerequisiteInput(
        doc="Bad pixels.", name="defects", storageClass="ArrowAstropy", dimensions=_CALIB, isCalibration=True
    )
    ptc = cT.Input(
        doc="Gain estimated from the frames.",
        name="ptc",
        storageClass="StructuredDataDict",
        dimensions=_CALIB,
    )
    image = cT.Output(
        doc="Image in electrons.",
        name="post_isr_image",
        storageClass="MaskedImageV2",
        dimensions=("instrument", "exposure", "detector"),
    )

    def __init__(self, *, config: Any = None) -> None:
        super().__init__(config=config)
        for name, wanted in (
            ("bias", config.do_bias),
            ("dark", config.do_dark),
            ("flat", config.do_flat),
            ("defects", config.do_defects),
            ("ptc", config.gain_from_frames),
        ):
            if not wanted:
                delattr(self, name)


class IsrConfig(pb.PipelineTaskConfig, pipelineConnections=IsrConnections):
    """Settings of `IsrTask`."""

    do_bias = pc.Field[bool](doc="Subtract the bias.", default=True)
    do_dark = pc.Field[bool](doc="Subtract the dark current.", default=True)
    do_flat = pc.Field[bool](doc="Divide by the flat.", default=True)
    do_defects = pc.Field[bool](doc="Mask the defects.", default=True)
    gain_from_frames = pc.Field[bool](
        doc="Take the gain from cpPtc and the noise of the sky from the frame itself; for cameras without calibrations.",
        default=False,
    )
    suspect_fraction = pc.Field[float](
        doc="Fraction of the saturation above which a pixel is SUSPECT.", default=0.9
    )
    grow_saturation = pc.Field[int](doc="Pixels by which saturated regions grow.", default=1)


class IsrTask(pb.PipelineTask):
    """Remove the instrument's signature from a raw image."""

    ConfigClass = IsrConfig
    _DefaultName = "isr"

    def runQuantum(self, butlerQC: Any, inputRefs: Any, outputRefs: Any) -> None:
        """Read raw and calibrations, correct, store."""
        inputs = butlerQC.get(inputRefs)
        data_id = butlerQC.quantum.dataId
        detector = inputs["camera"].detector(data_id["detector"])
        record = data_id.records["exposure"]
        planes = {n: inputs[n].image.array for n in ("bias", "dark", "flat") if n in inputs}
        if "defects" in inputs:
            planes["bad"] = defects_to_mask(inputs["defects"], detector.bbox.shape)
        result = self.run(
            inputs["raw"].array,
            detector,
            Calibrations(**planes),
            float(record.dark_time or record.exposure_time or 0.0),
            tuple(inputs["camera"].bad_rows),
            inputs.get("ptc"),
        )
        gains = self._gains(detector, inputs.get("ptc"))
        cards: dict[str, Any] = {"GAIN": float(np.mean(gains))}
        for name, level in result.overscan_adu.items():
            self.metadata[f"overscan_{name}_adu"] = level
            self.metadata[f"overscan_noise_{name}_adu"] = result.overscan_noise_adu[name]
        image = make_masked_image(result.image, result.bits, result.variance, u.electron, metadata=cards)
        butlerQC.put(pb.Struct(image=image), outputRefs)

    @staticmethod
    def _gains(detector: Detector, ptc: dict[str, Any] | None) -> list[float]:
        gains = []
        for amplifier in detector.amplifiers:
            gain = amplifier.gain
            if gain is None and ptc is not None:
                gain = ptc["gain"].get(amplifier.name)
            if gain is None:
                raise DataError(
                    f"gain of amplifier {amplifier.name} of {detector.name} is neither given nor estimated"
                )
            gains.append(float(gain))
        return gains

    def run(
        self,
        raw: np.ndarray,
        detector: Detector,
        calibrations: Calibrations,
        dark_time_s: float,
        bad_rows: tuple[tuple[int, int], ...] = (),
        ptc: dict[str, Any] | None = None,
    ) -> IsrResult:
        """Correct one image.

        Parameters
        ----------
        raw
            Whole readout, ADU.
        detector
            Geometry and amplifiers.
        calibrations
            What to correct for.
        dark_time_s
            Time during which dark current was collected.
        bad_rows
            Rows without signal.
        ptc
            Gains estimated from the frames.
        """
        gains = self._gains(detector, ptc)
        noises: list[float] | None = None
        silent: list[float] | None = None
        if self.config.gain_from_frames:
            noises, silent = [], []
            for amplifier, gain in zip(detector.amplifiers, gains, strict=True):
                exclude = np.zeros(detector.bbox.shape, bool)
                for y0, y1 in bad_rows:
                    exclude[y0:y1] = True
                level, noise = measure_sky(raw[amplifier.raw_bbox.slices], exclude[amplifier.bbox.slices])
                silent.append(level)
                noises.append(noise * gain)
                self.metadata[f"sky_{amplifier.name}_adu"] = level
                self.metadata[f"sky_noise_{amplifier.name}_adu"] = noise
        result = remove_signature(
            raw, detector, calibrations, dark_time_s, gains, noises, silent, bad_rows,
            self.config.suspect_fraction, self.config.grow_saturation,
        )  # fmt: skip
        interpolate_rows(result.image, result.variance, result.bits, ("BAD",))
        return result
