"""Task associateDiaSource: DIASources of all visits become DIAObjects with statistics of their light curves."""

from __future__ import annotations

from typing import Any

import lsst.pex.config as pc
import lsst.pipe.base as pb
import lsst.pipe.base.connectionTypes as cT
import numpy as np
from astropy.table import Table

from skydesk_core.algorithms.associate import (
    LightCurveStatistics,
    associate_detections,
    light_curve_statistics,
)
from skydesk_core.ids import pack_object_ids
from skydesk_core.skymap import Tract
from skydesk_core.tasks.columns import make_table, stack_tables

__all__ = ["AssociateDiaSourceConfig", "AssociateDiaSourceConnections", "AssociateDiaSourceTask"]

_UNITS = {
    "ra": "deg",
    "dec": "deg",
    "radecMjdTai": "d",
    "Mean": "nJy",
    "MeanErr": "nJy",
    "Sigma": "nJy",
    "Min": "nJy",
    "Max": "nJy",
    "MAD": "nJy",
    "ErrMean": "nJy",
    "Intercept": "nJy",
    "LinearSlope": "nJy/d",
    "MaxSlope": "nJy/d",
    "Percentile05": "nJy",
    "Percentile25": "nJy",
    "Percentile50": "nJy",
    "Percentile75": "nJy",
    "Percentile95": "nJy",
}


class AssociateDiaSourceConnections(pb.PipelineTaskConnections, dimensions=("skymap", "tract")):
    """Connections of `AssociateDiaSourceTask`."""

    skyMap = cT.Input(
        doc="Tracts and patches.", name="skyMap", storageClass="SkydeskSkyMap", dimensions=("skymap",)
    )
    catalogs = cT.Input(
        doc="Sources of every difference image.",
        name="dia_source_detector",
        storageClass="ArrowAstropy",
        dimensions=("instrument", "visit", "detector"),
        multiple=True,
        deferLoad=True,
    )
    known = cT.Input(
        doc="Sources that are known small bodies.",
        name="ss_source_visit",
        storageClass="ArrowAstropy",
        dimensions=("instrument", "visit"),
        multiple=True,
        minimum=0,
    )
    sources = cT.Output(
        doc="Sources of the tract with the object that each belongs to.",
        name="dia_source",
        storageClass="ArrowAstropy",
        dimensions=("skymap", "tract"),
    )
    objects = cT.Output(
        doc="Objects of the tract.",
        name="dia_object",
        storageClass="ArrowAstropy",
        dimensions=("skymap", "tract"),
    )
    ss_sources = cT.Output(
        doc="Observations of known small bodies in the tract.",
        name="ss_source",
        storageClass="ArrowAstropy",
        dimensions=("skymap", "tract"),
    )


class AssociateDiaSourceConfig(pb.PipelineTaskConfig, pipelineConnections=AssociateDiaSourceConnections):
    """Settings of `AssociateDiaSourceTask`."""

    radius_arcsec = pc.Field[float](doc="Largest distance of a source from its object.", default=1.0)


class AssociateDiaSourceTask(pb.PipelineTask):
    """Associate DIASources with DIAObjects."""

    ConfigClass = AssociateDiaSourceConfig
    _DefaultName = "associateDiaSource"

    def runQuantum(self, butlerQC: Any, inputRefs: Any, outputRefs: Any) -> None:
        """Read all catalogs of the tract, associate, and store both tables."""
        inputs = butlerQC.get(inputRefs)
        known = stack_tables(inputs["known"]) if inputs["known"] else None
        tract = inputs["skyMap"].tract(butlerQC.quantum.dataId["tract"])
        handles = sorted(inputs["catalogs"], key=lambda h: (h.dataId["visit"], h.dataId["detector"]))
        result = self.run(stack_tables([h.get() for h in handles]), tract, known)
        butlerQC.put(result.sources, outputRefs.sources)
        butlerQC.put(result.objects, outputRefs.objects)
        if known is not None:
            here = np.isin(known["diaSourceId"], result.sources["diaSourceId"])
            butlerQC.put(known[here], outputRefs.ss_sources)

    def run(self, sources: Table, tract: Tract, known: Table | None = None) -> pb.Struct:
        """Associate sources.

        Parameters
        ----------
        sources
            Sources of all visits.
        tract
            The tract; sources outside it are left out.
        known
            Sources that are known small bodies (``diaSourceId, ssObjectId``). They get the body's identifier, and
            neither begin a DIAObject nor belong to one: their ``diaObjectId`` is 0.

        Returns
        -------
        lsst.pipe.base.Struct
            ``sources`` and ``objects``.
        """
        if len(sources):
            patches = tract.find_patches(np.asarray(sources["ra"], float), np.asarray(sources["dec"], float))
            sources = sources[patches >= 0]
        sources["ssObjectId"] = _find_bodies(sources, known)
        still = sources["ssObjectId"] == 0
        fixed = sources[still]
        ra, dec = np.asarray(fixed["ra"], float), np.asarray(fixed["dec"], float)
        weight = np.asarray(fixed["snr"], float) ** 2
        found = associate_detections(ra, dec, np.asarray(fixed["visit"]), weight, self.config.radius_arcsec)
        count = len(found.ra_deg)
        home = tract.find_patches(found.ra_deg, found.dec_deg) if count else np.empty(0, dtype=int)
        ids = np.empty(count, dtype=np.int64)
        for patch in np.unique(home):
            chosen = np.flatnonzero(home == patch)
            # A mean position can leave the tract by a hair; the identifier needs some patch of it.
            ids[chosen] = pack_object_ids(
                tract.id, max(int(patch), 0), len(chosen), start=1 if patch >= 0 else 1 << 31
            )
        sources["diaObjectId"] = np.zeros(len(sources), dtype=np.int64)
        sources["diaObjectId"][still] = ids[found.index]
        self.metadata["objects"] = count
        return pb.Struct(
            sources=sources, objects=self._objects(fixed, found.index, ids, found.ra_deg, found.dec_deg)
        )

    def _objects(
        self, sources: Table, index: np.ndarray, ids: np.ndarray, ra: np.ndarray, dec: np.ndarray
    ) -> Table:
        """Make the table of objects with statistics per band."""
        count = len(ids)
        time = np.asarray(sources["midpointMjdTai"], float)
        band = np.asarray(sources["band"]).astype(str)
        last = np.full(count, np.nan)
        if count:
            np.fmax.at(last, index, time)
        columns: dict[str, Any] = {
            "diaObjectId": ids,
            "ra": ra,
            "dec": dec,
            "radecMjdTai": last,
            "nDiaSources": np.bincount(index, minlength=count).astype(np.int64)
            if count
            else np.empty(0, np.int64),
        }
        flux = {
            c: np.asarray(sources[c], float)
            for c in ("psfFlux", "psfFluxErr", "scienceFlux", "scienceFluxErr")
        }
        for name in sorted(set(band)):
            psf: list[LightCurveStatistics | None] = []
            science: list[LightCurveStatistics | None] = []
            rows = np.flatnonzero(band == name)
            rows = rows[np.argsort(index[rows], kind="stable")]
            starts = np.searchsorted(index[rows], np.arange(count + 1))
            for k in range(count):
                own = rows[starts[k] : starts[k + 1]]
                psf.append(light_curve_statistics(time[own], flux["psfFlux"][own], flux["psfFluxErr"][own]))
                science.append(
                    light_curve_statistics(time[own], flux["scienceFlux"][own], flux["scienceFluxErr"][own])
                )
            columns |= _statistics_columns(name, psf, science)
        return make_table(columns, _UNITS)


def _find_bodies(sources: Table, known: Table | None) -> np.ndarray:
    """Return the identifier of the known body that each source is, 0 for none."""
    bodies = np.zeros(len(sources), dtype=np.int64)
    if known is not None and len(known):
        order = np.argsort(known["diaSourceId"])
        key = np.asarray(known["diaSourceId"])[order]
        place = np.minimum(np.searchsorted(key, sources["diaSourceId"]), len(key) - 1)
        same = key[place] == np.asarray(sources["diaSourceId"])
        bodies[same] = np.asarray(known["ssObjectId"])[order][place[same]]
    return bodies


def _statistics_columns(
    band: str, psf: list[LightCurveStatistics | None], science: list[LightCurveStatistics | None]
) -> dict[str, np.ndarray]:
    """SDM columns of one band."""

    def column(rows: list[LightCurveStatistics | None], name: str, kind: type = np.float64) -> np.ndarray:
        return np.array([np.nan if r is None else getattr(r, name) for r in rows], dtype=kind)

    names = {
        "psfFluxMean": "mean",
        "psfFluxMeanErr": "mean_error",
        "psfFluxSigma": "sigma",
        "psfFluxMin": "minimum",
        "psfFluxMax": "maximum",
        "psfFluxLinearSlope": "slope",
        "psfFluxLinearIntercept": "intercept",
        "psfFluxMaxSlope": "max_slope",
    }
    single = {
        "psfFluxMAD": "mad",
        "psfFluxErrMean": "error_mean",
        "psfFluxSkew": "skew",
        "psfFluxChi2": "chi2",
        "psfFluxStetsonJ": "stetson_j",
    }
    out = {f"{band}_{sdm}": column(psf, name) for sdm, name in names.items()}
    out |= {f"{band}_{sdm}": column(psf, name, np.float32) for sdm, name in single.items()}
    out[f"{band}_psfFluxNdata"] = np.array([0 if r is None else r.count for r in psf], dtype=np.int32)
    for k, percent in enumerate(("05", "25", "50", "75", "95")):
        values = [np.nan if r is None else r.percentiles[k] for r in psf]
        out[f"{band}_psfFluxPercentile{percent}"] = np.array(values, dtype=np.float64)
    out[f"{band}_scienceFluxMean"] = column(science, "mean")
    out[f"{band}_scienceFluxMeanErr"] = column(science, "mean_error")
    out[f"{band}_scienceFluxSigma"] = column(science, "sigma")
    return out
