"""The task reprocessVisitImage: final image and deep source table of one detector."""

from __future__ import annotations

from typing import Any

import astropy.units as u
import lsst.pex.config as pc
import lsst.pipe.base as pb
import lsst.pipe.base.connectionTypes as cT
import numpy as np
from astropy.table import Table
from lsst.images import BackgroundMap, Image, VisitImage
from lsst.images.fields import SumField
from scipy import ndimage

from skydesk_core.algorithms.background import fit_background
from skydesk_core.algorithms.detection import detect
from skydesk_core.algorithms.measure import measure_sources
from skydesk_core.algorithms.planes import BIT
from skydesk_core.algorithms.psf import PixelPsf
from skydesk_core.algorithms.psfstore import from_stored_psf
from skydesk_core.tasks.convert import from_bits, to_bits
from skydesk_core.tasks.visitimage import background_field, make_source_table

__all__ = ["ReprocessVisitImageConfig", "ReprocessVisitImageConnections", "ReprocessVisitImageTask"]

_DETECTOR = ("instrument", "visit", "detector")


class ReprocessVisitImageConnections(pb.PipelineTaskConnections, dimensions=_DETECTOR):
    """Connections of `ReprocessVisitImageTask`."""

    preliminary = cT.Input(
        doc="Calibrated image.",
        name="preliminary_visit_image",
        storageClass="VisitImage",
        dimensions=_DETECTOR,
    )
    image = cT.Output(
        doc="Final image, nJy.", name="visit_image", storageClass="VisitImage", dimensions=_DETECTOR
    )
    sources = cT.Output(
        doc="All sources of the image.",
        name="source_detector",
        storageClass="ArrowAstropy",
        dimensions=_DETECTOR,
    )


class ReprocessVisitImageConfig(pb.PipelineTaskConfig, pipelineConnections=ReprocessVisitImageConnections):
    """Settings of `ReprocessVisitImageTask`."""

    threshold = pc.Field[float](doc="Smallest signal-to-noise ratio of a source.", default=5.0)
    min_pixel = pc.Field[int](doc="Smallest footprint, pixels.", default=1)
    background_cell_pixel = pc.Field[int](doc="Side of the background's cells, pixels.", default=128)
    background_order = pc.Field[int](doc="Order of the background polynomial.", default=6)


class ReprocessVisitImageTask(pb.PipelineTask):
    """Refine the background with all sources masked, then detect and measure everything."""

    ConfigClass = ReprocessVisitImageConfig
    _DefaultName = "reprocessVisitImage"

    def runQuantum(self, butlerQC: Any, inputRefs: Any, outputRefs: Any) -> None:
        """Read, measure, store."""
        data_id = butlerQC.quantum.dataId
        image, sources = self.run(
            butlerQC.get(inputRefs.preliminary),
            int(data_id["visit"]),
            int(data_id["detector"]),
            str(data_id["physical_filter"]),
        )
        self.metadata["n_sources"] = len(sources)
        butlerQC.put(pb.Struct(image=image, sources=sources), outputRefs)

    def run(
        self, preliminary: VisitImage, visit: int, detector: int, physical_filter: str
    ) -> tuple[VisitImage, Table]:
        """Measure one image.

        Parameters
        ----------
        preliminary
            Calibrated image, nJy.
        visit, detector, physical_filter
            What it is of.

        Returns
        -------
        tuple
            The final image and the table of its sources in SDM columns.
        """
        psf = from_stored_psf(preliminary.psf)
        bits = to_bits(preliminary.mask)
        variance = np.array(preliminary.variance.array, np.float32)
        flux = np.array(preliminary.image.array, np.float32)
        lost = (bits & (BIT["BAD"] | BIT["NO_DATA"])) != 0
        width = 2 * int(np.ceil(2.3548 * psf.sigma_pixel(flux.shape[1] / 2, flux.shape[0] / 2))) + 1
        sources = ndimage.maximum_filter((bits & BIT["DETECTED"]) != 0, size=width)
        saturated = (bits & BIT["SAT"]) != 0
        correction = fit_background(
            flux, lost | sources | saturated, self.config.background_cell_pixel, self.config.background_order
        )
        flux -= correction.render()
        sky = np.full(flux.shape, correction.noise**2, np.float32)
        found = detect(
            flux, sky, lost, _central(psf, flux.shape), self.config.threshold, self.config.min_pixel
        )
        bits &= ~BIT["DETECTED"]
        bits[found.labels > 0] |= BIT["DETECTED"]
        columns = measure_sources(flux, variance, bits, psf, found)
        wcs = preliminary.sky_projection.as_fits_wcs(preliminary.bbox, allow_approximation=True)
        table = make_source_table(columns, wcs, 1.0, visit, detector, preliminary.band, physical_filter)
        return self._rebuild(preliminary, flux, variance, bits, correction), table

    @staticmethod
    def _rebuild(
        old: VisitImage, flux: np.ndarray, variance: np.ndarray, bits: np.ndarray, correction: Any
    ) -> VisitImage:
        box, projection = old.bbox, old.sky_projection
        added = background_field(correction, 1.0, box, u.nJy)
        backgrounds = BackgroundMap()
        previous = old.backgrounds.subtracted
        backgrounds.add(
            "final",
            SumField([previous.field, added]) if previous is not None else added,
            "Preliminary background and its correction with all sources masked.",
            is_subtracted=True,
        )
        return VisitImage(
            Image(flux, bbox=box, unit=u.nJy, sky_projection=projection),
            mask=from_bits(bits, box, projection),
            variance=Image(variance, bbox=box, unit=u.nJy**2, sky_projection=projection),
            obs_info=old.obs_info,
            summary_stats=old.summary_stats,
            photometric_scaling=old.photometric_scaling,
            psf=old.psf,
            detector=old.detector,
            backgrounds=backgrounds,
            band=old.band,
            metadata=dict(old.metadata.native),
        )


def _central(psf: PixelPsf, shape: tuple[int, ...]) -> np.ndarray:
    return psf.images(np.array([(shape[1] - 1) / 2]), np.array([(shape[0] - 1) / 2]))[0]
