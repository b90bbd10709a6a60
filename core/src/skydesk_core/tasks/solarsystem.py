"""Tasks for small bodies: associateSolarSystemSource finds the known ones, consolidateSsTables describes them."""

from __future__ import annotations

from typing import Any

import lsst.pex.config as pc
import lsst.pipe.base as pb
import lsst.pipe.base.connectionTypes as cT
import numpy as np
from astropy.table import Table

from skydesk_core.algorithms.orbits import Ephemeris, locate_observer
from skydesk_core.algorithms.phasecurve import PhaseFit, fit_hg12
from skydesk_core.algorithms.solarsystem import (
    as_orbits,
    describe_observations,
    match_known,
    predict_near,
    tisserand_jupiter,
)
from skydesk_core.tasks.columns import make_table, stack_tables

__all__ = [
    "AssociateSolarSystemSourceConfig",
    "AssociateSolarSystemSourceConnections",
    "AssociateSolarSystemSourceTask",
    "ConsolidateSsTablesConfig",
    "ConsolidateSsTablesConnections",
    "ConsolidateSsTablesTask",
]

_UNITS = {
    **dict.fromkeys(("eclLambda", "eclBeta", "galLon", "galLat", "elongation", "phaseAngle"), "deg"),
    **dict.fromkeys(("ephRa", "ephDec", "residualRa", "residualDec"), "deg"),
    **dict.fromkeys(("eclipticLambda", "eclipticBeta", "galacticL", "galacticB"), "deg"),
    **dict.fromkeys(("ephRate", "ephRateRa", "ephRateDec"), "deg/d"),
    **dict.fromkeys(("ephOffset", "ephOffsetRa", "ephOffsetDec"), "arcsec"),
    **dict.fromkeys(("AlongTrack", "CrossTrack"), "arcsec"),
    **dict.fromkeys(("Range", "Dist", "_x", "_y", "_z"), "AU"),
    **dict.fromkeys(("RangeRate", "_vx", "_vy", "_vz", "_vtot"), "km/s"),
    "ephVmag": "mag",
    "arc": "d",
    "firstObservationMjdTai": "d",
    "_H": "mag",
    "_HErr": "mag",
    "_phaseAngleMin": "deg",
    "_phaseAngleMax": "deg",
}
_ORBITS = cT.PrerequisiteInput(
    doc="Catalog of known orbits.",
    name="mpc_orbits",
    storageClass="ArrowAstropy",
    dimensions=(),
    minimum=0,
    multiple=True,
)
_AB_ZERO_NJY = 31.4


def _read_orbits(refs: Any, butler: Any) -> Table | None:
    """Read the orbit catalog; None if there is none."""
    found = butler.get(refs)
    return found[0] if found else None


class AssociateSolarSystemSourceConnections(pb.PipelineTaskConnections, dimensions=("instrument", "visit")):
    """Connections of `AssociateSolarSystemSourceTask`."""

    orbits = _ORBITS
    camera = cT.PrerequisiteInput(
        doc="Where the observatory is.",
        name="camera",
        storageClass="CameraDescription",
        dimensions=("instrument",),
        isCalibration=True,
    )
    catalogs = cT.Input(
        doc="Sources of every difference image of the visit.",
        name="dia_source_detector",
        storageClass="ArrowAstropy",
        dimensions=("instrument", "visit", "detector"),
        multiple=True,
    )
    known = cT.Output(
        doc="Which of them are known small bodies, and the ephemerides of these.",
        name="ss_source_visit",
        storageClass="ArrowAstropy",
        dimensions=("instrument", "visit"),
    )


class AssociateSolarSystemSourceConfig(
    pb.PipelineTaskConfig, pipelineConnections=AssociateSolarSystemSourceConnections
):
    """Settings of `AssociateSolarSystemSourceTask`."""

    radius_arcsec = pc.Field[float](doc="Largest distance of a source from the prediction.", default=1.0)


class AssociateSolarSystemSourceTask(pb.PipelineTask):
    """Predict where known bodies are in the middle of an exposure, and find them among its DIASources."""

    ConfigClass = AssociateSolarSystemSourceConfig
    _DefaultName = "associateSolarSystemSource"

    def runQuantum(self, butlerQC: Any, inputRefs: Any, outputRefs: Any) -> None:
        """Read, predict, match and store."""
        orbits = _read_orbits(inputRefs.orbits, butlerQC)
        visit = butlerQC.quantum.dataId.records["visit"]
        middle = visit.timespan.begin + (visit.timespan.end - visit.timespan.begin) / 2
        sources = stack_tables(butlerQC.get(inputRefs.catalogs))
        place = butlerQC.get(inputRefs.camera).site
        butlerQC.put(self.run(sources, orbits, float(middle.tai.mjd), place), outputRefs.known)

    def run(
        self,
        sources: Table,
        orbits: Table | None,
        mjd_tai: float,
        site: tuple[float, float, float] | None = None,
    ) -> Table:
        """Find known bodies.

        Parameters
        ----------
        sources
            DIASources of a visit.
        orbits
            Catalog of orbits with ``ssObjectId``, or None.
        mjd_tai
            Middle of the exposure.
        site
            Longitude, latitude and height of the observatory; None for the Earth's centre.

        Returns
        -------
        astropy.table.Table
            A row for each source that is a known body, columns as in the SDM's SSSource.
        """
        ra, dec = np.asarray(sources["ra"], float), np.asarray(sources["dec"], float)
        if orbits is None or not len(ra):
            return _make_source_table(sources[:0], None, None)
        centre, radius = _surround(ra, dec)
        observer = locate_observer(np.array([mjd_tai]), site)
        rows, seen = predict_near(as_orbits(orbits), observer, *centre, radius)
        found = match_known(ra, dec, seen.ra_deg[0], seen.dec_deg[0], self.config.radius_arcsec)
        self.metadata["predicted"] = len(rows)
        self.metadata["matched"] = len(found.detection)
        own = Ephemeris(**{name: values[0][found.body] for name, values in vars(seen).items()})
        table = _make_source_table(sources[found.detection], orbits[rows[found.body]], own)
        table["diaDistanceRank"] = found.rank.astype(np.int16)
        return table


def _surround(ra_deg: np.ndarray, dec_deg: np.ndarray) -> tuple[tuple[float, float], float]:
    """Return a centre and a radius (degrees) that hold all positions."""
    ra, dec = np.radians(ra_deg), np.radians(dec_deg)
    vectors = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)
    middle = vectors.mean(axis=0)
    middle /= np.linalg.norm(middle)
    radius = np.degrees(np.arccos(np.clip(vectors @ middle, -1, 1))).max()
    centre = (float(np.degrees(np.arctan2(middle[1], middle[0]))), float(np.degrees(np.arcsin(middle[2]))))
    return centre, float(radius)


def _make_source_table(sources: Table, orbits: Table | None, seen: Ephemeris | None) -> Table:
    if orbits is None or seen is None:
        blank = np.empty(0)
        seen = Ephemeris(*(np.empty((0, 3)) if "_au" in n else blank for n in Ephemeris.__dataclass_fields__))
        names, ids, h, g = np.empty(0, "U9"), np.empty(0, np.int64), blank, blank
    else:
        names, ids = np.asarray(orbits["designation"]).astype(str), np.asarray(orbits["ssObjectId"], np.int64)
        h, g = np.asarray(orbits["h"], float), np.asarray(orbits["g"], float)
    ra, dec = np.asarray(sources["ra"], float), np.asarray(sources["dec"], float)
    columns = {
        "diaSourceId": np.asarray(sources["diaSourceId"], np.int64),
        "ssObjectId": ids,
        "designation": names,
        **describe_observations(ra, dec, seen, h, g),
        "diaDistanceRank": np.empty(len(ids), np.int16),
    }
    return make_table(columns, _UNITS)


class ConsolidateSsTablesConnections(pb.PipelineTaskConnections, dimensions=("skymap",)):
    """Connections of `ConsolidateSsTablesTask`."""

    orbits = _ORBITS
    ss_sources = cT.Input(
        doc="Observations of known bodies.",
        name="ss_source",
        storageClass="ArrowAstropy",
        dimensions=("skymap", "tract"),
        multiple=True,
    )
    dia_sources = cT.Input(
        doc="The same observations' fluxes.",
        name="dia_source",
        storageClass="ArrowAstropy",
        dimensions=("skymap", "tract"),
        multiple=True,
        deferLoad=True,
    )
    objects = cT.Output(
        doc="Observed small bodies with their phase curves.",
        name="ss_object",
        storageClass="ArrowAstropy",
        dimensions=("skymap",),
    )


class ConsolidateSsTablesConfig(pb.PipelineTaskConfig, pipelineConnections=ConsolidateSsTablesConnections):
    """Settings of `ConsolidateSsTablesTask`."""


class ConsolidateSsTablesTask(pb.PipelineTask):
    """Describe each observed body: arc, and a phase curve in each band."""

    ConfigClass = ConsolidateSsTablesConfig
    _DefaultName = "consolidateSsTables"

    def runQuantum(self, butlerQC: Any, inputRefs: Any, outputRefs: Any) -> None:
        """Read what was observed, fit, and store."""
        observed = stack_tables(butlerQC.get(inputRefs.ss_sources))
        orbits = _read_orbits(inputRefs.orbits, butlerQC)
        if orbits is None or not len(observed):
            raise pb.NoWorkFound("no known small body was observed")
        columns = ["diaSourceId", "ssObjectId", "band", "midpointMjdTai", "psfFlux", "psfFluxErr"]
        tables = [h.get(parameters={"columns": columns}) for h in butlerQC.get(inputRefs.dia_sources)]
        sources = stack_tables(tables)
        butlerQC.put(self.run(observed, sources[sources["ssObjectId"] > 0], orbits), outputRefs.objects)

    def run(self, observed: Table, sources: Table, orbits: Table) -> Table:
        """Describe bodies.

        Parameters
        ----------
        observed
            Rows of SSSource.
        sources
            The DIASources of the same observations, in any order.
        orbits
            The catalog of orbits.

        Returns
        -------
        astropy.table.Table
            A row for each body, columns as in the SDM's SSObject.
        """
        order = np.argsort(sources["diaSourceId"])
        sources = sources[
            order[np.searchsorted(sources["diaSourceId"], observed["diaSourceId"], sorter=order)]
        ]
        ids, body, counts = np.unique(
            np.asarray(observed["ssObjectId"]), return_inverse=True, return_counts=True
        )
        by_id = np.argsort(orbits["ssObjectId"])
        catalog = orbits[by_id[np.searchsorted(orbits["ssObjectId"], ids, sorter=by_id)]]
        time = np.asarray(sources["midpointMjdTai"], float)
        first, last = np.full(len(ids), np.inf), np.full(len(ids), -np.inf)
        np.minimum.at(first, body, time)
        np.maximum.at(last, body, time)
        columns: dict[str, Any] = {
            "ssObjectId": ids,
            "designation": np.asarray(catalog["designation"]).astype(str),
            "nObs": counts.astype(np.int32),
            "numObs": counts.astype(np.int32),
            "arc": (last - first).astype(np.float32),
            "firstObservationMjdTai": first,
            "tisserand_J": tisserand_jupiter(as_orbits(catalog)).astype(np.float32),
        }
        bands = np.asarray(sources["band"]).astype(str)
        for band in sorted(set(bands)):
            columns |= self._phase_curves(
                band, np.where(bands == band, body, -1), len(ids), observed, sources
            )
        return make_table(columns, _UNITS)

    def _phase_curves(
        self, band: str, body: np.ndarray, count: int, observed: Table, sources: Table
    ) -> dict[str, np.ndarray]:
        """SDM columns of one band; ``body`` is -1 where a row does not belong to it."""
        flux, error = (np.asarray(sources[c], float) for c in ("psfFlux", "psfFluxErr"))
        phase = np.asarray(observed["phaseAngle"], float)
        ranges = np.asarray(observed["helioRange"], float) * np.asarray(observed["topoRange"], float)
        with np.errstate(invalid="ignore", divide="ignore"):
            reduced = np.where(flux > 0, _AB_ZERO_NJY - 2.5 * np.log10(flux) - 5 * np.log10(ranges), np.nan)
            noise = np.where(flux > 0, 2.5 / np.log(10) * error / flux, np.nan)
        rows = [np.flatnonzero(body == k) for k in range(count)]
        fits = [fit_hg12(phase[own], reduced[own], noise[own]) for own in rows]

        def column(name: str) -> np.ndarray:
            return np.array([np.nan if f is None else getattr(f, name) for f in fits], np.float32)

        def extreme(pick: Any) -> np.ndarray:
            return np.array([pick(phase[own]) if len(own) else np.nan for own in rows], np.float32)

        return {
            f"{band}_nObs": np.array([len(own) for own in rows], np.int32),
            f"{band}_H": column("h_mag"),
            f"{band}_HErr": column("h_error_mag"),
            f"{band}_G12": column("g12"),
            f"{band}_G12Err": column("g12_error"),
            f"{band}_H_{band}_G12_Cov": column("covariance_mag"),
            f"{band}_nObsUsed": np.array([0 if f is None else f.used for f in fits], np.int32),
            f"{band}_Chi2": column("chi2"),
            f"{band}_phaseAngleMin": extreme(np.min),
            f"{band}_phaseAngleMax": extreme(np.max),
            f"{band}_slope_fit_failed": np.array([not _has_slope(f) for f in fits]),
        }


def _has_slope(fit: PhaseFit | None) -> bool:
    return fit is not None and fit.slope_fitted
