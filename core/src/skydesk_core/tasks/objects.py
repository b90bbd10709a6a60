"""Tasks from coadds to the Object table: detection, merging over bands, measurement, consolidation."""

from __future__ import annotations

from typing import Any

import lsst.pex.config as pc
import lsst.pipe.base as pb
import lsst.pipe.base.connectionTypes as cT
import numpy as np
from astropy.table import Table

from skydesk_core.algorithms.detection import detect
from skydesk_core.algorithms.objects import (
    APERTURES_PX,
    MergedPeaks,
    ObjectMeasurement,
    Peaks,
    find_blends,
    measure_objects,
    merge_peaks,
    noise_correlation,
    refine_centroids,
)
from skydesk_core.algorithms.planes import BAD, NO_DATA
from skydesk_core.ids import pack_object_ids
from skydesk_core.skymap import Patch
from skydesk_core.tasks.bridge import coadd_psf_grid, planes_of
from skydesk_core.tasks.columns import flag_columns, make_table, stack_tables

__all__ = [
    "ConsolidateObjectConfig",
    "ConsolidateObjectConnections",
    "ConsolidateObjectTask",
    "DetectCoaddPeaksConfig",
    "DetectCoaddPeaksConnections",
    "DetectCoaddPeaksTask",
    "MeasureObjectForcedConfig",
    "MeasureObjectForcedConnections",
    "MeasureObjectForcedTask",
    "MergeObjectDetectionConfig",
    "MergeObjectDetectionConnections",
    "MergeObjectDetectionTask",
]

_UNITS = {
    "Flux": "nJy",
    "FluxErr": "nJy",
    "coord_ra": "deg",
    "coord_dec": "deg",
    "coord_raErr": "deg",
    "coord_decErr": "deg",
    "psfMag": "mag",
    "psfMagErr": "mag",
    "_ra": "deg",
    "_dec": "deg",
    "xx": "pixel2",
    "yy": "pixel2",
    "xy": "pixel2",
    "xxPSF": "pixel2",
    "yyPSF": "pixel2",
    "xyPSF": "pixel2",
    "_area": "pixel",
}
_FLAGS = ("bad", "clipped", "cr", "edge", "inexact_psf", "interpolated", "nodata", "saturated", "suspect")
_CENTRE_FLAGS = ("clipped", "cr", "inexact_psf", "interpolated", "saturated", "suspect")


class DetectCoaddPeaksConnections(
    pb.PipelineTaskConnections, dimensions=("skymap", "tract", "patch", "band")
):
    """Connections of `DetectCoaddPeaksTask`."""

    coadd = cT.Input(
        doc="The coadd.",
        name="deep_coadd",
        storageClass="CellCoadd",
        dimensions=("skymap", "tract", "patch", "band"),
    )
    peaks = cT.Output(
        doc="Detections in one band.",
        name="object_peak",
        storageClass="ArrowAstropy",
        dimensions=("skymap", "tract", "patch", "band"),
    )


class DetectCoaddPeaksConfig(pb.PipelineTaskConfig, pipelineConnections=DetectCoaddPeaksConnections):
    """Settings of `DetectCoaddPeaksTask`."""

    threshold = pc.Field[float](doc="Least significance of a detection.", default=5.0)
    deblend_contrast = pc.Field[float](
        doc="Least share of a footprint's signal that is a peak of its own.", default=0.005
    )


class DetectCoaddPeaksTask(pb.PipelineTask):
    """Detect sources on the coadd of one band."""

    ConfigClass = DetectCoaddPeaksConfig
    _DefaultName = "detectCoaddPeaks"

    def run(self, coadd: Any) -> pb.Struct:
        """Detect sources.

        Parameters
        ----------
        coadd
            The coadd.

        Returns
        -------
        lsst.pipe.base.Struct
            ``peaks``: table of positions in tract pixels, significance and footprint.
        """
        psf = coadd_psf_grid(coadd.psf)
        planes = planes_of(coadd)
        exclude = ((planes.mask & (NO_DATA | BAD)) != 0) | ~np.isfinite(planes.variance)
        if psf is None or exclude.all():
            raise pb.NoWorkFound("the coadd holds no data")
        box = coadd.bbox
        kernel = psf.kernel(box.x.size / 2, box.y.size / 2)
        image = np.where(exclude, 0.0, planes.image)
        variance = np.where(exclude, np.nanmedian(planes.variance[~exclude]), planes.variance)
        scale = noise_correlation(planes, psf, self._occupied(image, variance, exclude))
        found = detect(
            image,
            variance * scale**2,
            exclude,
            kernel,
            self.config.threshold,
            deblend_contrast=self.config.deblend_contrast,
        )
        x, y = refine_centroids(planes, found.x.astype(float), found.y.astype(float), psf.sigma)
        self.metadata["detections"] = len(x)
        self.metadata["noise_correlation"] = scale
        return pb.Struct(
            peaks=Table(
                {
                    "x": x + box.x.start,
                    "y": y + box.y.start,
                    "snr": np.asarray(found.sn, dtype=float),
                    "area": found.n_pixel.astype(np.int64),
                    "noise_correlation": np.full(len(x), scale),
                }
            )
        )

    def _occupied(self, image: np.ndarray, variance: np.ndarray, exclude: np.ndarray) -> np.ndarray:
        """Pixels that sources brighten visibly."""
        noise = np.sqrt(variance)
        return exclude | (image > 3 * noise) | (image < -5 * noise)


class MergeObjectDetectionConnections(pb.PipelineTaskConnections, dimensions=("skymap", "tract", "patch")):
    """Connections of `MergeObjectDetectionTask`."""

    skyMap = cT.Input(
        doc="Tracts and patches.", name="skyMap", storageClass="SkydeskSkyMap", dimensions=("skymap",)
    )
    peaks = cT.Input(
        doc="Detections in every band.",
        name="object_peak",
        storageClass="ArrowAstropy",
        dimensions=("skymap", "tract", "patch", "band"),
        multiple=True,
        deferLoad=True,
    )
    merged = cT.Output(
        doc="Positions of the objects of the patch.",
        name="object_merged_peak",
        storageClass="ArrowAstropy",
        dimensions=("skymap", "tract", "patch"),
    )


class MergeObjectDetectionConfig(pb.PipelineTaskConfig, pipelineConnections=MergeObjectDetectionConnections):
    """Settings of `MergeObjectDetectionTask`."""

    priority = pc.ListField[str](
        doc="Bands; the position in the first one with a detection counts.",
        default=["i", "r", "z", "y", "g", "u"],
    )
    radius_arcsec = pc.Field[float](doc="Detections nearer than this are one object.", default=0.5)


class MergeObjectDetectionTask(pb.PipelineTask):
    """Merge the detections of all bands."""

    ConfigClass = MergeObjectDetectionConfig
    _DefaultName = "mergeObjectDetection"

    def runQuantum(self, butlerQC: Any, inputRefs: Any, outputRefs: Any) -> None:
        """Read the detections of every band, merge and store them."""
        inputs = butlerQC.get(inputRefs)
        data_id = butlerQC.quantum.dataId
        tract = inputs["skyMap"].tract(data_id["tract"])
        peaks = {}
        for handle in inputs["peaks"]:
            t = handle.get()
            peaks[handle.dataId["band"]] = Peaks(*(np.asarray(t[c]) for c in ("x", "y", "snr", "area")))
        merged = self.run(peaks, tract.scale_arcsec)
        butlerQC.put(
            Table({"x": merged.x, "y": merged.y, "area": merged.area, "band": merged.band.astype(str)}),
            outputRefs.merged,
        )

    def run(self, peaks: dict[str, Peaks], scale_arcsec: float) -> MergedPeaks:
        """Merge detections.

        Parameters
        ----------
        peaks
            Detections by band.
        scale_arcsec
            Size of a pixel.
        """
        radius = max(self.config.radius_arcsec / scale_arcsec, 1.0)
        return merge_peaks(peaks, list(self.config.priority), radius)


class MeasureObjectForcedConnections(pb.PipelineTaskConnections, dimensions=("skymap", "tract", "patch")):
    """Connections of `MeasureObjectForcedTask`."""

    skyMap = cT.Input(
        doc="Tracts and patches.", name="skyMap", storageClass="SkydeskSkyMap", dimensions=("skymap",)
    )
    merged = cT.Input(
        doc="Positions of the objects of the patch.",
        name="object_merged_peak",
        storageClass="ArrowAstropy",
        dimensions=("skymap", "tract", "patch"),
    )
    coadds = cT.Input(
        doc="Coadds of every band.",
        name="deep_coadd",
        storageClass="CellCoadd",
        dimensions=("skymap", "tract", "patch", "band"),
        multiple=True,
        deferLoad=True,
    )
    catalog = cT.Output(
        doc="Objects of the patch with their measurements, names as in the SDM.",
        name="object_patch",
        storageClass="ArrowAstropy",
        dimensions=("skymap", "tract", "patch"),
    )


class MeasureObjectForcedConfig(pb.PipelineTaskConfig, pipelineConnections=MeasureObjectForcedConnections):
    """Settings of `MeasureObjectForcedTask`."""

    blend_arcsec = pc.Field[float](doc="Objects nearer than this belong to one blend.", default=2.0)


class MeasureObjectForcedTask(pb.PipelineTask):
    """Measure the objects of a patch at the same positions in every band."""

    ConfigClass = MeasureObjectForcedConfig
    _DefaultName = "measureObjectForced"

    def runQuantum(self, butlerQC: Any, inputRefs: Any, outputRefs: Any) -> None:
        """Measure band by band, so that one coadd at a time is in memory."""
        inputs = butlerQC.get(inputRefs)
        data_id = butlerQC.quantum.dataId
        patch = inputs["skyMap"].patch(data_id["tract"], data_id["patch"])
        coadds = {h.dataId["band"]: h for h in inputs["coadds"]}
        butlerQC.put(self.run(inputs["merged"], coadds, patch), outputRefs.catalog)

    def run(self, merged: Table, coadds: dict[str, Any], patch: Patch) -> Table:
        """Measure objects.

        Parameters
        ----------
        merged
            Positions with columns ``x, y, area, band``.
        coadds
            Handles of the coadds by band.
        patch
            The patch.
        """
        x, y = np.asarray(merged["x"], float), np.asarray(merged["y"], float)
        band = np.asarray(merged["band"]).astype(str)
        columns = self._positions(x, y, merged, band, patch)
        reference: dict[str, np.ndarray] = {}
        for name in sorted(coadds):
            coadd = coadds[name].get()
            psf = coadd_psf_grid(coadd.psf)
            if psf is None:
                continue
            planes = planes_of(coadd)
            at_x, at_y = x - coadd.bbox.x.start, y - coadd.bbox.y.start
            occupied = ((planes.mask & (NO_DATA | BAD)) != 0) | ~(planes.image**2 < 9 * planes.variance)
            scale = noise_correlation(planes, psf, occupied)
            measured = measure_objects(planes, psf, at_x, at_y, scale)
            columns |= _band_columns(measured, name)
            _collect_reference(reference, measured, psf.sigma, band == name)
        scale_deg = patch.tract.scale_arcsec / 3600.0
        columns |= _reference_columns(reference, scale_deg, len(x))
        return make_table(columns, _UNITS)

    def _positions(
        self, x: np.ndarray, y: np.ndarray, merged: Table, band: np.ndarray, patch: Patch
    ) -> dict[str, Any]:
        """Columns that do not depend on a band."""
        ra, dec = patch.wcs.pixel_to_world_values(x, y)
        inner = patch.inner_bbox
        is_inner = (
            (x >= inner.x.start - 0.5)
            & (x < inner.x.stop - 0.5)
            & (y >= inner.y.start - 0.5)
            & (y < inner.y.stop - 0.5)
        )
        blend = find_blends(x, y, self.config.blend_arcsec / patch.tract.scale_arcsec)
        count = len(x)
        return {
            "objectId": np.array(pack_object_ids(patch.tract.id, patch.id, count), dtype=np.int64),
            "parentObjectId": np.zeros(count, dtype=np.int64),
            "tract": np.full(count, patch.tract.id, dtype=np.int64),
            "patch": np.full(count, patch.id, dtype=np.int64),
            "coord_ra": np.asarray(ra, float) % 360.0,
            "coord_dec": np.asarray(dec, float),
            "x": x,
            "y": y,
            "refBand": band,
            "footprintArea": np.asarray(merged["area"]).astype(np.int32),
            "detect_isIsolated": blend.size == 1,
            "detect_fromBlend": blend.size > 1,
            "detect_isPrimary": is_inner,
        }


def _band_columns(m: ObjectMeasurement, band: str) -> dict[str, np.ndarray]:
    """SDM columns of one band."""
    f32 = np.float32
    nowhere = ~np.isfinite(m.psf.coverage) | (m.psf.coverage == 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        magnitude = np.where(m.psf.flux > 0, -2.5 * np.log10(m.psf.flux) + 31.4, np.nan)
        magnitude_error = np.where(m.psf.flux > 0, 2.5 / np.log(10) * m.psf.error / m.psf.flux, np.nan)
    columns: dict[str, np.ndarray] = {
        "psfFlux": m.psf.flux.astype(f32),
        "psfFluxErr": m.psf.error.astype(f32),
        "psfFlux_flag": ~np.isfinite(m.psf.flux),
        "psfFlux_flag_noGoodPixels": nowhere,
        "psfFlux_flag_edge": m.psf.coverage < 0.999,
        "psfFlux_area": m.psf.area.astype(f32),
        "psfMag": magnitude.astype(f32),
        "psfMagErr": magnitude_error.astype(f32),
        "kronRad": m.kron_radius.astype(f32),
        "kronFlux": m.kron.astype(f32),
        "kronFluxErr": m.kron_error.astype(f32),
        "kronFlux_flag": m.kron_flag,
        "ixx": m.moments[:, 0].astype(f32),
        "iyy": m.moments[:, 1].astype(f32),
        "ixy": m.moments[:, 2].astype(f32),
        "i_flag": m.moments_flag,
        "ixxPSF": m.psf_moments[:, 0].astype(f32),
        "iyyPSF": m.psf_moments[:, 1].astype(f32),
        "ixyPSF": m.psf_moments[:, 2].astype(f32),
        "iPSF_flag": ~np.isfinite(m.psf_moments[:, 0]),
        "extendedness": m.extendedness.astype(f32),
        "extendedness_flag": ~np.isfinite(m.extendedness),
        "sizeExtendedness": m.size_extendedness.astype(f32),
        "sizeExtendedness_flag": ~np.isfinite(m.size_extendedness),
        "invalidPsfFlag": nowhere,
    }
    for k, radius in enumerate(APERTURES_PX):
        name = f"ap{int(radius):02d}Flux"
        columns[name] = m.apertures[:, k].astype(f32)
        columns[f"{name}Err"] = m.aperture_errors[:, k].astype(f32)
        columns[f"{name}_flag"] = m.aperture_truncated[:, k]
    columns |= flag_columns(m.psf.bits, m.psf.centre_bits, _FLAGS, _CENTRE_FLAGS)
    return {f"{band}_{name}": values for name, values in columns.items()}


def _collect_reference(
    reference: dict[str, np.ndarray], m: ObjectMeasurement, sigma_px: float, chosen: np.ndarray
) -> None:
    """Remember for each object what its reference band says."""
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.sqrt(2.0) * sigma_px * np.abs(m.psf.error / m.psf.flux)
    values = {
        "extendedness": m.extendedness,
        "size": m.size_extendedness,
        "xx": m.moments[:, 0],
        "yy": m.moments[:, 1],
        "xy": m.moments[:, 2],
        "error": error,
    }
    for name, column in values.items():
        reference.setdefault(name, np.full(len(chosen), np.nan))[chosen] = column[chosen]


def _reference_columns(
    reference: dict[str, np.ndarray], scale_deg: float, count: int
) -> dict[str, np.ndarray]:
    """SDM columns of the reference band."""
    empty = np.full(count, np.nan)
    f32 = np.float32
    error = reference.get("error", empty)
    xx = reference.get("xx", empty)
    return {
        "refExtendedness": reference.get("extendedness", empty).astype(f32),
        "refSizeExtendedness": reference.get("size", empty).astype(f32),
        "shape_xx": xx.astype(f32),
        "shape_yy": reference.get("yy", empty).astype(f32),
        "shape_xy": reference.get("xy", empty).astype(f32),
        "shape_flag": ~np.isfinite(xx),
        "xErr": error.astype(f32),
        "yErr": error.astype(f32),
        "xy_flag": ~np.isfinite(error),
        "coord_raErr": (error * scale_deg).astype(f32),
        "coord_decErr": (error * scale_deg).astype(f32),
    }


class ConsolidateObjectConnections(pb.PipelineTaskConnections, dimensions=("skymap", "tract")):
    """Connections of `ConsolidateObjectTask`."""

    catalogs = cT.Input(
        doc="Objects of every patch.",
        name="object_patch",
        storageClass="ArrowAstropy",
        dimensions=("skymap", "tract", "patch"),
        multiple=True,
        deferLoad=True,
    )
    table = cT.Output(
        doc="Objects of the tract, each once.",
        name="object",
        storageClass="ArrowAstropy",
        dimensions=("skymap", "tract"),
    )


class ConsolidateObjectConfig(pb.PipelineTaskConfig, pipelineConnections=ConsolidateObjectConnections):
    """Settings of `ConsolidateObjectTask`."""


class ConsolidateObjectTask(pb.PipelineTask):
    """Stack the objects of all patches, keeping those in the patch's own, inner region."""

    ConfigClass = ConsolidateObjectConfig
    _DefaultName = "consolidateObject"

    def runQuantum(self, butlerQC: Any, inputRefs: Any, outputRefs: Any) -> None:
        """Stack and store."""
        handles = sorted(butlerQC.get(inputRefs)["catalogs"], key=lambda h: h.dataId["patch"])
        tables = [h.get() for h in handles]
        butlerQC.put(
            stack_tables([t[np.asarray(t["detect_isPrimary"], bool)] for t in tables]), outputRefs.table
        )
