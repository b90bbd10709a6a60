"""The task calibrateImage: PSF, astrometry and photometry of one detector image."""

from __future__ import annotations

from typing import Any

import lsst.pex.config as pc
import lsst.pipe.base as pb
import lsst.pipe.base.connectionTypes as cT
import numpy as np
from astropy.table import Table
from lsst.images import MaskedImage, VisitImage

from skydesk_core.algorithms.astrometry import AstrometryGuess
from skydesk_core.algorithms.calibrate import ReferenceStars, characterise, find_sources, solve_sky
from skydesk_core.algorithms.cosmics import CosmicSearch
from skydesk_core.algorithms.measure import measure_sources
from skydesk_core.errors import DataError
from skydesk_core.instrument.camera import CameraDescription
from skydesk_core.tasks.convert import to_bits
from skydesk_core.tasks.references import join_reference_shards
from skydesk_core.tasks.visitimage import build_visit_image, make_source_table, summarise

__all__ = ["CalibrateImageConfig", "CalibrateImageConnections", "CalibrateImageTask"]

_DETECTOR = ("instrument", "visit", "detector")


class CalibrateImageConnections(
    pb.PipelineTaskConnections, dimensions=_DETECTOR, defaultTemplates={"refcat": "demo_refcat"}
):
    """Connections of `CalibrateImageTask`."""

    exposures = cT.Input(
        doc="Image in electrons.",
        name="post_isr_image",
        storageClass="MaskedImageV2",
        dimensions=("instrument", "exposure", "detector"),
        multiple=True,
    )
    camera = cT.PrerequisiteInput(
        doc="Scale and orientation.",
        name="camera",
        storageClass="CameraDescription",
        dimensions=("instrument",),
        isCalibration=True,
    )
    reference = cT.PrerequisiteInput(
        doc="Reference stars.",
        name="{refcat}",
        storageClass="ArrowAstropy",
        dimensions=("htm7",),
        multiple=True,
        deferLoad=True,
    )
    image = cT.Output(
        doc="Calibrated image, nJy.",
        name="preliminary_visit_image",
        storageClass="VisitImage",
        dimensions=_DETECTOR,
    )
    stars = cT.Output(
        doc="Sources that calibrated it.",
        name="single_visit_star",
        storageClass="ArrowAstropy",
        dimensions=_DETECTOR,
    )
    summary = cT.Output(
        doc="One row of the visit's summary.",
        name="visit_detector_summary",
        storageClass="StructuredDataDict",
        dimensions=_DETECTOR,
    )


class CalibrateImageConfig(pb.PipelineTaskConfig, pipelineConnections=CalibrateImageConnections):
    """Settings of `CalibrateImageTask`."""

    fwhm_guess_pixel = pc.Field[float](doc="Rough width of the PSF, pixels.", default=4.0)
    background_cell_pixel = pc.Field[int](doc="Side of the background's cells, pixels.", default=128)
    background_order = pc.Field[int](doc="Order of the background polynomial.", default=6)
    psf_order = pc.Field[int](doc="Order of the PSF's polynomial over the image.", default=2)
    find_cosmics = pc.Field[bool](doc="Search for cosmic rays.", default=True)
    cosmic_sigma = pc.Field[float](doc="Significance of a cosmic ray above its neighbours.", default=5.0)
    cosmic_contrast = pc.Field[float](doc="How much sharper than the PSF a cosmic ray must be.", default=0.6)
    cosmic_grow_sigma = pc.Field[float](
        doc="Neighbours of hit pixels this far above the sky are hit as well; 0 for none.", default=3.0
    )
    star_threshold = pc.Field[float](doc="Signal-to-noise ratio of the stars that calibrate.", default=10.0)
    reference_flux = pc.Field[str](doc="Flux column of the reference catalog.", default="{band}_flux")
    astrometry_order = pc.Field[int](doc="Largest order of the distortion polynomial.", default=3)
    brightest = pc.Field[int](doc="Number of sources that vote in the pattern match.", default=50)


class CalibrateImageTask(pb.PipelineTask):
    """Characterise and calibrate one image."""

    ConfigClass = CalibrateImageConfig
    _DefaultName = "calibrateImage"

    def runQuantum(self, butlerQC: Any, inputRefs: Any, outputRefs: Any) -> None:
        """Read image and reference stars, calibrate, store."""
        ref = inputRefs.exposures[0]
        exposure = ref.dataId.records["exposure"]
        data_id = butlerQC.quantum.dataId
        band = str(data_id["band"])
        stars = self.load_stars(butlerQC.get(inputRefs.reference), exposure, band)
        try:
            image, table, summary = self.run(
                butlerQC.get(ref),
                exposure,
                int(data_id["detector"]),
                band,
                butlerQC.get(inputRefs.camera),
                stars,
            )
        except DataError as error:
            # One bad frame must not end the run of a night: it is reported and what depends on it is left out.
            self.log.error(
                "visit %d detector %d cannot be calibrated: %s", exposure.id, data_id["detector"], error
            )
            self.metadata["failure"] = str(error)
            raise pb.NoWorkFound(str(error)) from error
        for key in ("nMatches", "astromOffsetMedian", "zeroPoint", "seeing", "nPsfStar"):
            self.metadata[key] = summary[key]
        butlerQC.put(pb.Struct(image=image, stars=table, summary=summary), outputRefs)

    def load_stars(self, handles: Any, exposure: Any, band: str) -> ReferenceStars:
        """Read the reference stars and move them to the epoch of the exposure.

        Parameters
        ----------
        handles
            Shards of the catalog.
        exposure
            Dimension record.
        band
            Band to calibrate.

        Raises
        ------
        DataError
            If the catalog has not the wanted flux column.
        """
        mjd = float(exposure.timespan.begin.tai.mjd)
        return join_reference_shards(
            [h.get() for h in handles], self.config.reference_flux.format(band=band), mjd
        )

    def run(
        self,
        post_isr: MaskedImage,
        exposure: Any,
        detector: int,
        band: str,
        camera: CameraDescription,
        stars: ReferenceStars,
    ) -> tuple[VisitImage, Table, dict[str, Any]]:
        """Calibrate one image.

        Parameters
        ----------
        post_isr
            Image in electrons.
        exposure
            Dimension record.
        detector
            Number of the detector.
        band
            Band.
        camera
            The camera.
        stars
            Reference stars.

        Returns
        -------
        tuple
            Calibrated image, table of its stars, row of the summary.
        """
        c = self.config
        search = (
            CosmicSearch(c.cosmic_sigma, c.cosmic_contrast, c.cosmic_grow_sigma) if c.find_cosmics else None
        )
        seen = characterise(
            post_isr.image.array,
            post_isr.variance.array,
            to_bits(post_isr.mask),
            c.fwhm_guess_pixel,
            c.background_cell_pixel,
            c.background_order,
            c.psf_order,
            search,
        )
        found = find_sources(seen, c.star_threshold)
        columns = measure_sources(seen.image, seen.variance, seen.bits, seen.psf_fit.psf, found)
        shape = seen.image.shape
        start = camera.make_wcs(detector, exposure.tracking_ra, exposure.tracking_dec, exposure.sky_angle)
        guess = AstrometryGuess.from_wcs(
            start,
            (shape[0], shape[1]),
            camera.pointing_tolerance_deg,
            camera.scale_tolerance,
            camera.rotation_tolerance_deg,
        )
        sky, zero = solve_sky(columns, stars, guess, (shape[0], shape[1]), c.astrometry_order, c.brightest)
        gain = float(str(post_isr.metadata["GAIN"]))
        summary = summarise(seen, sky, zero, exposure, detector, band, gain)
        image = build_visit_image(seen, sky, zero, camera, exposure, detector, band, summary)
        columns["calib_astrometry_used"] = _flag(len(found.x), sky.source_index[sky.used])
        columns["calib_photometry_used"] = _flag(len(found.x), sky.source_index[zero.used])
        columns["calib_psf_used"] = _near(
            columns, seen.psf_x[seen.psf_fit.used], seen.psf_y[seen.psf_fit.used]
        )
        table = make_source_table(
            columns, sky.wcs, zero.njy_per_unit, int(exposure.id), detector, band, exposure.physical_filter
        )
        return image, table, summary


def _flag(n: int, index: np.ndarray) -> np.ndarray:
    flag = np.zeros(n, bool)
    flag[index] = True
    return flag


def _near(columns: dict[str, Any], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    from scipy.spatial import cKDTree

    tree = cKDTree(np.column_stack([columns["x"], columns["y"]]))
    distance, index = tree.query(np.column_stack([x, y]))
    return _flag(len(columns["x"]), index[distance < 1.0])
