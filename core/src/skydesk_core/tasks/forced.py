"""Tasks of forced photometry: light curves of every Object and every DIAObject."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lsst.pex.config as pc
import lsst.pipe.base as pb
import lsst.pipe.base.connectionTypes as cT
import numpy as np
from astropy.table import Table

from skydesk_core.algorithms.ensemble import EnsembleZeroPoints, fit_ensemble
from skydesk_core.algorithms.forced import AperturePhotometry, fixed_apertures
from skydesk_core.algorithms.planes import BAD, CR, NO_DATA
from skydesk_core.algorithms.psfgrid import PsfFluxes
from skydesk_core.tasks.bridge import planes_of, psf_grid_of, sky_to_pixel
from skydesk_core.tasks.columns import flag_columns, make_table, stack_tables

__all__ = [
    "ForcedPhotDiaObjectConfig",
    "ForcedPhotDiaObjectConnections",
    "ForcedPhotDiaObjectTask",
    "ForcedPhotObjectDirectConfig",
    "ForcedPhotObjectDirectConnections",
    "ForcedPhotObjectDirectTask",
    "StandardizeObjectForcedSourceConfig",
    "StandardizeObjectForcedSourceConnections",
    "StandardizeObjectForcedSourceTask",
]

_UNITS = {"coord_ra": "deg", "coord_dec": "deg", "Flux": "nJy", "FluxErr": "nJy"}
_FLAGS = ("bad", "cr", "edge", "interpolated", "nodata", "saturated", "suspect")
_CENTRE_FLAGS = ("cr", "interpolated", "saturated", "suspect")
_REJECTED = NO_DATA | BAD | CR


def _measure(
    image: Any, ra: np.ndarray, dec: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, PsfFluxes]:
    """Forced PSF photometry on one image.

    Returns
    -------
    tuple
        Indices of the positions that lie on the image, their array coordinates, and the fluxes.
    """
    box = image.bbox
    x, y = sky_to_pixel(image.sky_projection, ra, dec)
    x, y = x - box.x.start, y - box.y.start
    inside = np.flatnonzero((x > -0.5) & (y > -0.5) & (x < box.x.size - 0.5) & (y < box.y.size - 0.5))
    planes = planes_of(image)
    psf = psf_grid_of(image.psf, box)
    return (
        inside,
        x[inside],
        y[inside],
        psf.fluxes(planes.image, planes.variance, planes.mask, _REJECTED, x[inside], y[inside]),
    )


def _direct_columns(
    objects: Table, key: str, chosen: np.ndarray, data_id: Mapping[str, Any], fluxes: PsfFluxes
) -> dict[str, Any]:
    """SDM columns of forced photometry on a visit image."""
    count = len(chosen)
    columns: dict[str, Any] = {
        key: np.asarray(objects[key])[chosen],
        "parentObjectId": np.zeros(count, dtype=np.int64),
        "coord_ra": np.asarray(objects["coord_ra" if key == "objectId" else "ra"], float)[chosen],
        "coord_dec": np.asarray(objects["coord_dec" if key == "objectId" else "dec"], float)[chosen],
        "visit": np.full(count, data_id["visit"], dtype=np.int64),
        "detector": np.full(count, data_id["detector"], dtype=np.int64),
        "band": np.full(count, data_id["band"], dtype="U8"),
        "psfFlux": fluxes.flux.astype(np.float32),
        "psfFluxErr": fluxes.error.astype(np.float32),
        "psfFlux_flag": ~np.isfinite(fluxes.flux),
        "invalidPsfFlag": ~np.isfinite(fluxes.coverage),
    }
    if "tract" in objects.colnames:
        columns["tract"] = np.asarray(objects["tract"])[chosen]
        columns["patch"] = np.asarray(objects["patch"])[chosen]
    return columns | flag_columns(fluxes.bits, fluxes.centre_bits, _FLAGS, _CENTRE_FLAGS)


def _difference_columns(
    count: int, chosen: np.ndarray, found: tuple[Any, ...] | None
) -> dict[str, np.ndarray]:
    """SDM columns of forced photometry on a difference image, for the rows of the visit image."""
    flux = np.full(count, np.nan, dtype=np.float32)
    error = np.full(count, np.nan, dtype=np.float32)
    nodata = np.ones(count, dtype=bool)
    if found is not None:
        inside, _, _, measured = found
        rows = np.searchsorted(chosen, inside)
        known = (rows < count) & (chosen[np.minimum(rows, count - 1)] == inside)
        flux[rows[known]] = measured.flux[known]
        error[rows[known]] = measured.error[known]
        nodata[rows[known]] = (measured.centre_bits[known] & NO_DATA) != 0
    return {
        "psfDiffFlux": flux,
        "psfDiffFluxErr": error,
        "psfDiffFlux_flag": ~np.isfinite(flux),
        "diff_PixelFlags_nodataCenter": nodata,
    }


class ForcedPhotObjectDirectConnections(
    pb.PipelineTaskConnections, dimensions=("instrument", "visit", "detector", "skymap", "tract")
):
    """Connections of `ForcedPhotObjectDirectTask`."""

    objects = cT.Input(
        doc="Objects of the tract.",
        name="object",
        storageClass="ArrowAstropy",
        dimensions=("skymap", "tract"),
    )
    science = cT.Input(
        doc="The calibrated image.",
        name="visit_image",
        storageClass="VisitImage",
        dimensions=("instrument", "visit", "detector"),
    )
    difference = cT.Input(
        doc="The difference image, where there is one.",
        name="difference_image",
        storageClass="DifferenceImage",
        dimensions=("instrument", "visit", "detector"),
        multiple=True,
        minimum=0,
        deferLoad=True,
    )
    catalog = cT.Output(
        doc="Fluxes of all objects on one image.",
        name="object_forced_source_detector",
        storageClass="ArrowAstropy",
        dimensions=("instrument", "visit", "detector", "skymap", "tract"),
    )

    def __init__(self, *, config: Any = None) -> None:
        super().__init__(config=config)
        if config is not None and not config.use_difference:
            del self.difference


class ForcedPhotObjectDirectConfig(
    pb.PipelineTaskConfig, pipelineConnections=ForcedPhotObjectDirectConnections
):
    """Settings of `ForcedPhotObjectDirectTask`."""

    use_difference = pc.Field[bool](doc="Measure on the difference image too.", default=True)
    aperture_radius_px = pc.Field[float](
        doc="If positive, fluxes are those of a circular aperture of this radius, corrected to the total by the PSF."
        " For images whose PSF is too narrow for its pixels to be modelled.",
        default=0.0,
    )


class ForcedPhotObjectDirectTask(pb.PipelineTask):
    """Measure every object of a tract on one visit image and its difference image."""

    ConfigClass = ForcedPhotObjectDirectConfig
    _DefaultName = "forcedPhotObjectDirect"

    def runQuantum(self, butlerQC: Any, inputRefs: Any, outputRefs: Any) -> None:
        """Measure and store."""
        inputs = butlerQC.get(inputRefs)
        handles = inputs.get("difference") or []
        difference = handles[0].get() if handles else None
        table = self.run(inputs["objects"], inputs["science"], difference, butlerQC.quantum.dataId)
        if not len(table):
            raise pb.NoWorkFound("no object lies on the image")
        butlerQC.put(table, outputRefs.catalog)

    def run(self, objects: Table, science: Any, difference: Any, data_id: Mapping[str, Any]) -> Table:
        """Measure.

        Parameters
        ----------
        objects
            Objects of the tract.
        science
            The visit image.
        difference
            The difference image or None.
        data_id
            Values of ``visit, detector, band``.
        """
        ra, dec = np.asarray(objects["coord_ra"], float), np.asarray(objects["coord_dec"], float)
        chosen, x, y, fluxes = _measure(science, ra, dec)
        if self.config.aperture_radius_px > 0:
            planes = planes_of(science)
            psf = psf_grid_of(science.psf, science.bbox)
            aperture = fixed_apertures(planes, psf, x, y, self.config.aperture_radius_px)
            fluxes = _with_aperture(fluxes, aperture)
        columns = _direct_columns(objects, "objectId", chosen, data_id, fluxes)
        if self.config.use_difference:
            found = None if difference is None else _measure(difference, ra, dec)
            columns |= _difference_columns(len(chosen), chosen, found)
        columns["x"] = x
        columns["y"] = y
        return make_table(columns, _UNITS)


def _with_aperture(fluxes: PsfFluxes, aperture: AperturePhotometry) -> PsfFluxes:
    """Replace fluxes and errors; an incomplete aperture is no measurement."""
    flux = np.where(aperture.truncated, np.nan, aperture.flux)
    error = np.where(aperture.truncated, np.nan, aperture.error)
    return PsfFluxes(
        flux,
        error,
        fluxes.chi2,
        fluxes.count,
        fluxes.coverage,
        fluxes.area,
        fluxes.bits | aperture.bits,
        fluxes.centre_bits,
    )


class StandardizeObjectForcedSourceConnections(pb.PipelineTaskConnections, dimensions=("skymap", "tract")):
    """Connections of `StandardizeObjectForcedSourceTask`."""

    catalogs = cT.Input(
        doc="Fluxes of all objects on every image.",
        name="object_forced_source_detector",
        storageClass="ArrowAstropy",
        dimensions=("instrument", "visit", "detector", "skymap", "tract"),
        multiple=True,
        deferLoad=True,
    )
    table = cT.Output(
        doc="Light curves of the objects of the tract.",
        name="object_forced_source",
        storageClass="ArrowAstropy",
        dimensions=("skymap", "tract"),
    )


class StandardizeObjectForcedSourceConfig(
    pb.PipelineTaskConfig, pipelineConnections=StandardizeObjectForcedSourceConnections
):
    """Settings of `StandardizeObjectForcedSourceTask`."""

    ensemble = pc.Field[bool](
        doc="Adjust the zero point of every image so that the stars are constant.", default=False
    )
    ensemble_order = pc.RangeField[int](doc="Order of its variation over the image.", default=1, min=0, max=3)
    ensemble_min_snr = pc.Field[float](
        doc="Least signal-to-noise ratio of a star in the ensemble.", default=50.0
    )


class StandardizeObjectForcedSourceTask(pb.PipelineTask):
    """Put the light curves of all images into one table, with an ensemble zero point if asked for."""

    ConfigClass = StandardizeObjectForcedSourceConfig
    _DefaultName = "standardizeObjectForcedSource"

    def runQuantum(self, butlerQC: Any, inputRefs: Any, outputRefs: Any) -> None:
        """Stack, adjust and store."""
        handles = butlerQC.get(inputRefs)["catalogs"]
        handles = sorted(handles, key=lambda h: (h.dataId["visit"], h.dataId["detector"]))
        butlerQC.put(self.run(stack_tables([h.get() for h in handles])), outputRefs.table)

    def run(self, table: Table) -> Table:
        """Adjust zero points and drop the working columns.

        Parameters
        ----------
        table
            Rows of all images.
        """
        if self.config.ensemble:
            for band in np.unique(np.asarray(table["band"]).astype(str)):
                self._adjust(table, np.flatnonzero(np.asarray(table["band"]).astype(str) == band))
        table.remove_columns(["x", "y"])
        return table

    def _adjust(self, table: Table, rows: np.ndarray) -> None:
        """Multiply the fluxes of one band by the zero point factors of their images."""
        image = np.asarray(table["visit"])[rows] * 1000 + np.asarray(table["detector"])[rows]
        images, epoch = np.unique(image, return_inverse=True)
        objects, star = np.unique(np.asarray(table["objectId"])[rows], return_inverse=True)
        shape = (len(images), len(objects))
        cubes = {name: np.full(shape, np.nan) for name in ("psfFlux", "psfFluxErr", "x", "y")}
        unusable = np.zeros(len(rows), dtype=bool)
        for flag in ("psfFlux_flag", "pixelFlags_saturated", "pixelFlags_edge", "pixelFlags_bad"):
            unusable |= np.asarray(table[flag], bool)[rows]
        for name, cube in cubes.items():
            values = np.asarray(table[name], float)[rows]
            cube[epoch, star] = np.where(unusable, np.nan, values) if name.startswith("psf") else values
        height = float(np.nanmax(cubes["y"])) + 1
        width = float(np.nanmax(cubes["x"])) + 1
        found = fit_ensemble(
            cubes["psfFlux"],
            cubes["psfFluxErr"],
            cubes["x"],
            cubes["y"],
            (int(height), int(width)),
            self.config.ensemble_order,
            self.config.ensemble_min_snr,
        )
        self._apply(table, rows, epoch, found)

    def _apply(self, table: Table, rows: np.ndarray, epoch: np.ndarray, found: EnsembleZeroPoints) -> None:
        """Multiply fluxes and errors by the factors."""
        x, y = np.asarray(table["x"], float)[rows], np.asarray(table["y"], float)[rows]
        factor = np.ones(len(rows))
        for k in range(len(found.coefficients)):
            own = np.flatnonzero(epoch == k)
            factor[own] = found.factor(k, x[own], y[own])
        for name in ("psfFlux", "psfFluxErr"):
            table[name][rows] = (np.asarray(table[name], float)[rows] * factor).astype(np.float32)
        self.metadata["ensemble_stars"] = int(found.used.sum())
        self.metadata["ensemble_scatter_mag"] = found.scatter_mag


class ForcedPhotDiaObjectConnections(pb.PipelineTaskConnections, dimensions=("skymap", "tract")):
    """Connections of `ForcedPhotDiaObjectTask`."""

    objects = cT.Input(
        doc="DIAObjects of the tract.",
        name="dia_object",
        storageClass="ArrowAstropy",
        dimensions=("skymap", "tract"),
    )
    skyMap = cT.Input(
        doc="Tracts and patches.", name="skyMap", storageClass="SkydeskSkyMap", dimensions=("skymap",)
    )
    science = cT.Input(
        doc="Calibrated images.",
        name="visit_image",
        storageClass="VisitImage",
        dimensions=("instrument", "visit", "detector"),
        multiple=True,
        deferLoad=True,
    )
    difference = cT.Input(
        doc="Difference images.",
        name="difference_image",
        storageClass="DifferenceImage",
        dimensions=("instrument", "visit", "detector"),
        multiple=True,
        deferLoad=True,
    )
    table = cT.Output(
        doc="Light curves of the DIAObjects of the tract.",
        name="dia_object_forced_source",
        storageClass="ArrowAstropy",
        dimensions=("skymap", "tract"),
    )


class ForcedPhotDiaObjectConfig(pb.PipelineTaskConfig, pipelineConnections=ForcedPhotDiaObjectConnections):
    """Settings of `ForcedPhotDiaObjectTask`."""


class ForcedPhotDiaObjectTask(pb.PipelineTask):
    """Measure every DIAObject of a tract on all visit and difference images."""

    ConfigClass = ForcedPhotDiaObjectConfig
    _DefaultName = "forcedPhotDiaObject"

    def runQuantum(self, butlerQC: Any, inputRefs: Any, outputRefs: Any) -> None:
        """Measure image after image and store."""
        inputs = butlerQC.get(inputRefs)
        objects = inputs["objects"]
        if not len(objects):
            raise pb.NoWorkFound("the tract holds no DIAObject")
        tract = inputs["skyMap"].tract(butlerQC.quantum.dataId["tract"])
        objects["tract"] = np.full(len(objects), tract.id, dtype=np.int64)
        patches = tract.find_patches(np.asarray(objects["ra"], float), np.asarray(objects["dec"], float))
        objects["patch"] = np.maximum(patches, 0).astype(np.int64)
        difference = {(h.dataId["visit"], h.dataId["detector"]): h for h in inputs["difference"]}
        tables = []
        for handle in sorted(inputs["science"], key=lambda h: (h.dataId["visit"], h.dataId["detector"])):
            other = difference.get((handle.dataId["visit"], handle.dataId["detector"]))
            tables.append(self.run(objects, handle.get(), other.get() if other else None, handle.dataId))
        butlerQC.put(stack_tables(tables), outputRefs.table)

    def run(self, objects: Table, science: Any, difference: Any, data_id: Mapping[str, Any]) -> Table:
        """Measure on one visit image and its difference image.

        Parameters
        ----------
        objects
            DIAObjects.
        science
            The visit image.
        difference
            The difference image or None.
        data_id
            Values of ``visit, detector, band``.
        """
        ra, dec = np.asarray(objects["ra"], float), np.asarray(objects["dec"], float)
        chosen, _, _, fluxes = _measure(science, ra, dec)
        columns = _direct_columns(objects, "diaObjectId", chosen, data_id, fluxes)
        found = None if difference is None else _measure(difference, ra, dec)
        return make_table(columns | _difference_columns(len(chosen), chosen, found), _UNITS)
