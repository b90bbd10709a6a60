"""Tasks of image subtraction: buildTemplate, subtractImages, detectAndMeasureDiaSource."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import astropy.units as u
import lsst.pex.config as pc
import lsst.pipe.base as pb
import lsst.pipe.base.connectionTypes as cT
import numpy as np
from astropy.table import Table
from lsst.images import DifferenceImage, VisitImage
from scipy.spatial import cKDTree

from skydesk_core.algorithms.dia import DiaMeasurement, detect_dia, measure_dia
from skydesk_core.algorithms.planes import BAD, CR, NO_DATA, bits_of
from skydesk_core.algorithms.psfgrid import PsfFluxes, PsfGrid
from skydesk_core.algorithms.subtract import Subtraction, subtract_images
from skydesk_core.algorithms.warp import Planes, map_jacobian, warp_image
from skydesk_core.errors import DataError
from skydesk_core.ids import pack_source_ids
from skydesk_core.tasks.bridge import (
    PSF_NODES,
    coadd_psf_grid,
    image_to_tract,
    make_masked,
    make_visit_psf,
    pixel_to_sky,
    planes_of,
    psf_grid_of,
)
from skydesk_core.tasks.columns import flag_columns, make_table

__all__ = [
    "BuildTemplateConfig",
    "BuildTemplateConnections",
    "BuildTemplateTask",
    "DetectAndMeasureDiaSourceConfig",
    "DetectAndMeasureDiaSourceConnections",
    "DetectAndMeasureDiaSourceTask",
    "SubtractImagesConfig",
    "SubtractImagesConnections",
    "SubtractImagesTask",
]

_UNITS = {
    "ra": "deg",
    "dec": "deg",
    "raErr": "deg",
    "decErr": "deg",
    "coord_ra": "deg",
    "coord_dec": "deg",
    "x": "pixel",
    "y": "pixel",
    "xErr": "pixel",
    "yErr": "pixel",
    "Flux": "nJy",
    "FluxErr": "nJy",
    "midpointMjdTai": "d",
}
_FLAGS = ("bad", "cr", "edge", "interpolated", "nodata", "saturated", "suspect")
_CENTRE_FLAGS = ("cr", "interpolated", "nodata", "saturated", "suspect")


class BuildTemplateConnections(
    pb.PipelineTaskConnections, dimensions=("instrument", "visit", "detector", "skymap")
):
    """Connections of `BuildTemplateTask`."""

    skyMap = cT.Input(
        doc="Tracts and patches.", name="skyMap", storageClass="SkydeskSkyMap", dimensions=("skymap",)
    )
    science = cT.Input(
        doc="The image to make a template for; its pixels are not read.",
        name="visit_image",
        storageClass="VisitImage",
        dimensions=("instrument", "visit", "detector"),
        deferLoad=True,
    )
    coadds = cT.Input(
        doc="Template coadds around the image.",
        name="template_coadd",
        storageClass="CellCoadd",
        dimensions=("skymap", "tract", "patch", "band"),
        multiple=True,
        deferLoad=True,
    )
    template = cT.Output(
        doc="The template on the pixels of the image.",
        name="template_detector",
        storageClass="VisitImage",
        dimensions=("instrument", "visit", "detector"),
    )


class BuildTemplateConfig(pb.PipelineTaskConfig, pipelineConnections=BuildTemplateConnections):
    """Settings of `BuildTemplateTask`."""

    min_good_fraction = pc.Field[float](
        doc="Smallest share of the image that must have a template.", default=0.05
    )


class BuildTemplateTask(pb.PipelineTask):
    """Resample the template coadd onto the pixels of one detector."""

    ConfigClass = BuildTemplateConfig
    _DefaultName = "buildTemplate"

    def runQuantum(self, butlerQC: Any, inputRefs: Any, outputRefs: Any) -> None:
        """Warp patch after patch, average where they overlap, and store the template."""
        inputs = butlerQC.get(inputRefs)
        science = inputs["science"]
        box, projection = science.get(component="bbox"), science.get(component="sky_projection")
        shape = (box.y.size, box.x.size)
        layers: list[tuple[Planes, PsfGrid, Any]] = []
        for handle in sorted(inputs["coadds"], key=lambda h: (h.dataId["tract"], h.dataId["patch"])):
            coadd = handle.get()
            psf = coadd_psf_grid(coadd.psf)
            if psf is None:
                continue
            wcs = inputs["skyMap"].tract(handle.dataId["tract"]).wcs
            to_input = image_to_tract(wcs, projection, coadd.bbox)
            layers.append(
                (warp_image(planes_of(coadd), to_input, shape, box.x.start, box.y.start), psf, to_input)
            )
        if not layers:
            raise pb.NoWorkFound("no template coadd around the image")
        planes = _average([layer[0] for layer in layers])
        good = float(((planes.mask & NO_DATA) == 0).mean())
        self.metadata["good_fraction"] = good
        if good < self.config.min_good_fraction:
            raise pb.NoWorkFound(f"the template covers only {good:.3f} of the image")
        psf = self.run(layers, shape, (box.x.start, box.y.start))
        plain = make_masked(planes, box, u.nJy, projection)
        template = VisitImage(
            plain.image,
            mask=plain.mask,
            variance=plain.variance,
            sky_projection=projection,
            obs_info=science.get(component="obs_info"),
            psf=make_visit_psf(psf, box),
            detector=science.get(component="detector"),
            band=science.dataId["band"],
        )
        butlerQC.put(template, outputRefs.template)

    def run(
        self, layers: Sequence[tuple[Planes, PsfGrid, Any]], shape: tuple[int, int], origin: tuple[int, int]
    ) -> PsfGrid:
        """Sample the template's PSF on the pixels of the image.

        Parameters
        ----------
        layers
            For each patch the warped planes, its PSF and the map from the image's frame to its array.
        shape
            Shape (y, x) of the image.
        origin
            Coordinates (x, y) of the image's first pixel.
        """
        size = layers[0][1].size

        def kernel_at(x: float, y: float) -> np.ndarray:
            column, row = min(int(x), shape[1] - 1), min(int(y), shape[0] - 1)
            reached = [k for k in layers if not k[0].mask[row, column] & NO_DATA] or list(layers)
            total = np.zeros((size, size))
            for _, psf, to_input in reached:
                at = to_input(np.array([x + origin[0]]), np.array([y + origin[1]]))
                jacobian = map_jacobian(to_input, x + origin[0], y + origin[1])
                total += psf.transform(float(at[0][0]), float(at[1][0]), jacobian, size)
            return total

        return PsfGrid.from_function(kernel_at, (0.0, shape[1] - 1.0), (0.0, shape[0] - 1.0), PSF_NODES)


def _average(layers: Sequence[Planes]) -> Planes:
    """Average overlapping patches: they hold the same data, so errors do not shrink."""
    if len(layers) == 1:
        return layers[0]
    stack = np.stack([p.image for p in layers])
    reached = np.stack([(p.mask & NO_DATA) == 0 for p in layers])
    count = reached.sum(axis=0)
    divisor = np.maximum(count, 1)
    image = np.where(count > 0, np.where(reached, stack, 0.0).sum(axis=0) / divisor, np.nan)
    variance = np.where(reached, np.stack([p.variance for p in layers]), 0.0).sum(axis=0) / divisor
    mask = np.bitwise_or.reduce(np.where(reached, np.stack([p.mask for p in layers]), 0), axis=0)
    mask = np.where(count > 0, mask, NO_DATA).astype(np.int32)
    return Planes(image.astype(np.float32), np.where(count > 0, variance, np.inf).astype(np.float32), mask)


class SubtractImagesConnections(pb.PipelineTaskConnections, dimensions=("instrument", "visit", "detector")):
    """Connections of `SubtractImagesTask`."""

    science = cT.Input(
        doc="The calibrated image.",
        name="visit_image",
        storageClass="VisitImage",
        dimensions=("instrument", "visit", "detector"),
    )
    template = cT.Input(
        doc="The template on the same pixels.",
        name="template_detector",
        storageClass="VisitImage",
        dimensions=("instrument", "visit", "detector"),
    )
    sources = cT.Input(
        doc="Sources of the image, from which the stars for the kernel are taken.",
        name="source_detector",
        storageClass="ArrowAstropy",
        dimensions=("instrument", "visit", "detector"),
    )
    difference = cT.Output(
        doc="Science minus matched template.",
        name="difference_image",
        storageClass="DifferenceImage",
        dimensions=("instrument", "visit", "detector"),
    )


class SubtractImagesConfig(pb.PipelineTaskConfig, pipelineConnections=SubtractImagesConnections):
    """Settings of `SubtractImagesTask`."""

    spatial_order = pc.RangeField[int](
        doc="Order of the kernel's variation over the image.", default=1, min=0, max=2
    )
    kernel_half = pc.RangeField[int](doc="Half side of the kernel in pixels.", default=10, min=3, max=25)
    min_snr = pc.Field[float](doc="Least signal-to-noise ratio of a star for the kernel.", default=20.0)
    max_stars = pc.Field[int](doc="Largest number of stars for the kernel.", default=150)
    isolation_px = pc.Field[float](
        doc="Least distance of such a star to any other source, pixels.", default=12.0
    )


class SubtractImagesTask(pb.PipelineTask):
    """Match the template to the image after Alard & Lupton and subtract it."""

    ConfigClass = SubtractImagesConfig
    _DefaultName = "subtractImages"

    def run(self, science: VisitImage, template: VisitImage, sources: Table) -> pb.Struct:
        """Subtract.

        Parameters
        ----------
        science, template
            The images.
        sources
            Sources of the image.

        Returns
        -------
        lsst.pipe.base.Struct
            ``difference``: the difference image.
        """
        box = science.bbox
        x, y = self._choose_stars(sources, box)
        try:
            result = subtract_images(
                planes_of(science),
                planes_of(template),
                psf_grid_of(science.psf, box),
                psf_grid_of(template.psf, box),
                x,
                y,
                self.config.spatial_order,
                self.config.kernel_half,
            )
        except DataError as error:
            raise pb.NoWorkFound(str(error)) from error
        self._note(result)
        plain = make_masked(result.planes, box, science.unit, science.sky_projection)
        difference = DifferenceImage(
            plain.image,
            mask=plain.mask,
            variance=plain.variance,
            sky_projection=science.sky_projection,
            obs_info=science.obs_info,
            summary_stats=science.summary_stats,
            psf=make_visit_psf(result.psf, box),
            detector=science.detector,
            band=science.band,
        )
        return pb.Struct(difference=difference)

    def _choose_stars(self, sources: Table, box: Any) -> tuple[np.ndarray, np.ndarray]:
        """Bright, isolated, unsaturated point sources, brightest first, as array indices."""
        x, y = np.asarray(sources["x"], float), np.asarray(sources["y"], float)
        flux, error = np.asarray(sources["psfFlux"], float), np.asarray(sources["psfFluxErr"], float)
        good = np.isfinite(flux) & np.isfinite(error) & (flux > self.config.min_snr * error)
        for name in ("pixelFlags_saturated", "pixelFlags_nodata", "pixelFlags_edge", "psfFlux_flag"):
            if name in sources.colnames:
                good &= ~np.asarray(sources[name], bool)
        if "extendedness" in sources.colnames:
            point = good & (np.asarray(sources["extendedness"], float) < 0.5)
            good = point if point.sum() >= 10 else good
        if len(x) > 1:
            # A faint neighbour in both images does no harm; a bright one may vary and doubles the stamp.
            pairs = cKDTree(np.column_stack([x, y])).query_pairs(
                self.config.isolation_px, output_type="ndarray"
            )
            for a, b in pairs:
                faint = a if flux[a] < flux[b] else b
                good[faint] = False
        chosen = np.flatnonzero(good)
        chosen = chosen[np.argsort(-flux[chosen])][: self.config.max_stars]
        return x[chosen] - box.x.start, y[chosen] - box.y.start

    def _note(self, result: Subtraction) -> None:
        """Store how the match went."""
        self.metadata["kernel_stars"] = result.kernel.used
        self.metadata["kernel_chi2"] = result.kernel.chi2
        self.metadata["kernel_sum"] = result.kernel.scale
        self.metadata["convolved_science"] = result.convolved_science
        self.metadata["variance_scale"] = result.variance_scale


class DetectAndMeasureDiaSourceConnections(
    pb.PipelineTaskConnections, dimensions=("instrument", "visit", "detector")
):
    """Connections of `DetectAndMeasureDiaSourceTask`."""

    difference = cT.Input(
        doc="The difference image.",
        name="difference_image",
        storageClass="DifferenceImage",
        dimensions=("instrument", "visit", "detector"),
    )
    science = cT.Input(
        doc="The calibrated image.",
        name="visit_image",
        storageClass="VisitImage",
        dimensions=("instrument", "visit", "detector"),
    )
    catalog = cT.Output(
        doc="Sources on the difference image, names as in the SDM.",
        name="dia_source_detector",
        storageClass="ArrowAstropy",
        dimensions=("instrument", "visit", "detector"),
    )


class DetectAndMeasureDiaSourceConfig(
    pb.PipelineTaskConfig, pipelineConnections=DetectAndMeasureDiaSourceConnections
):
    """Settings of `DetectAndMeasureDiaSourceTask`."""

    threshold = pc.Field[float](doc="Least significance of a detection of either sign.", default=5.0)
    model_error = pc.Field[float](
        doc="Relative error of the matched template, added to the noise when detecting.", default=0.02
    )
    bad_centre = pc.ListField[str](
        doc="Mask planes; a source with any of them within its central 3×3 pixels is left out.",
        default=["NO_DATA", "BAD", "SAT", "CR", "EDGE", "INTRP"],
    )
    bad_footprint = pc.ListField[str](
        doc="Mask planes; a source with any of them on the bright part of its PSF is left out.",
        default=["NO_DATA"],
    )


class DetectAndMeasureDiaSourceTask(pb.PipelineTask):
    """Detect and measure sources of either sign on a difference image."""

    ConfigClass = DetectAndMeasureDiaSourceConfig
    _DefaultName = "detectAndMeasureDiaSource"

    def runQuantum(self, butlerQC: Any, inputRefs: Any, outputRefs: Any) -> None:
        """Measure, add identifiers and times, and store."""
        inputs = butlerQC.get(inputRefs)
        data_id = butlerQC.quantum.dataId
        visit = data_id.records["visit"]
        middle = visit.timespan.begin + (visit.timespan.end - visit.timespan.begin) / 2
        table = self.run(
            inputs["difference"], inputs["science"], data_id["visit"], data_id["detector"], data_id["band"]
        )
        table["midpointMjdTai"] = np.full(len(table), middle.tai.mjd)
        table["midpointMjdTai"].unit = "d"
        butlerQC.put(table, outputRefs.catalog)

    def run(self, difference: Any, science: Any, visit: int, detector: int, band: str) -> Table:
        """Detect and measure.

        Parameters
        ----------
        difference, science
            The images.
        visit, detector, band
            What they are of.
        """
        box = difference.bbox
        planes, direct = planes_of(difference), planes_of(science)
        psf = psf_grid_of(difference.psf, box)
        found = detect_dia(planes, psf, self.config.threshold, direct.image, self.config.model_error)
        m = measure_dia(
            planes,
            psf,
            found,
            self.config.threshold,
            bits_of(self.config.bad_centre),
            bits_of(self.config.bad_footprint),
        )
        x, y = m.detections.x, m.detections.y
        forced = psf_grid_of(science.psf, box).fluxes(
            direct.image, direct.variance, direct.mask, NO_DATA | BAD | CR, x, y
        )
        projection = difference.sky_projection
        ra, dec = pixel_to_sky(projection, x + box.x.start, y + box.y.start)
        scale_deg = _scale_deg(projection, box)
        self.metadata["detections"] = len(x)
        columns: dict[str, Any] = {
            "diaSourceId": np.array(pack_source_ids(visit, detector, len(x)), dtype=np.int64),
            "visit": np.full(len(x), visit, dtype=np.int64),
            "detector": np.full(len(x), detector, dtype=np.int64),
            "band": np.full(len(x), band, dtype="U8"),
            "ra": ra,
            "dec": dec,
            "coord_ra": ra,
            "coord_dec": dec,
            "raErr": (m.position_error_px * scale_deg).astype(np.float32),
            "decErr": (m.position_error_px * scale_deg).astype(np.float32),
            "x": x + box.x.start,
            "y": y + box.y.start,
        }
        columns |= _measured_columns(m, forced)
        return make_table(columns, _UNITS)


def _scale_deg(projection: Any, box: Any) -> float:
    """Size of a pixel in the middle of an image, degrees."""
    cx, cy = box.x.start + box.x.size / 2, box.y.start + box.y.size / 2
    ra, dec = pixel_to_sky(projection, np.array([cx, cx + 1]), np.array([cy, cy]))
    return float(np.hypot((ra[1] - ra[0]) * np.cos(np.radians(dec[0])), dec[1] - dec[0]))


def _measured_columns(m: DiaMeasurement, forced: PsfFluxes) -> dict[str, np.ndarray]:
    """SDM columns of the measurements."""
    f32 = np.float32
    with np.errstate(invalid="ignore", divide="ignore"):
        snr = np.abs(m.psf.flux / m.psf.error)
    columns = {
        "xErr": m.position_error_px.astype(f32),
        "yErr": m.position_error_px.astype(f32),
        "centroid_flag": ~np.isfinite(m.position_error_px),
        "apFlux": m.aperture.astype(f32),
        "apFluxErr": m.aperture_error.astype(f32),
        "apFlux_flag": ~np.isfinite(m.aperture),
        "apFlux_flag_apertureTruncated": m.aperture_truncated,
        "isNegative": m.psf.flux < 0,
        "snr": snr,
        "psfFlux": m.psf.flux.astype(f32),
        "psfFluxErr": m.psf.error.astype(f32),
        "psfChi2": m.psf.chi2.astype(f32),
        "psfNdata": np.nan_to_num(m.psf.count).astype(np.int32),
        "psfFlux_flag": ~np.isfinite(m.psf.flux),
        "psfFlux_flag_edge": m.psf.coverage < 0.999,
        "psfFlux_flag_noGoodPixels": ~(m.psf.coverage > 0),
        "scienceFlux": forced.flux.astype(f32),
        "scienceFluxErr": forced.error.astype(f32),
        "forced_PsfFlux_flag": ~np.isfinite(forced.flux),
        "forced_PsfFlux_flag_edge": forced.coverage < 0.999,
        "forced_PsfFlux_flag_noGoodPixels": ~(forced.coverage > 0),
        "isDipole": m.detections.dipole,
    }
    return columns | flag_columns(m.psf.bits, m.psf.centre_bits, _FLAGS, _CENTRE_FLAGS)
