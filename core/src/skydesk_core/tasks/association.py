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
        tract = inputs["skyMap"].tract(butlerQC.quantum.dataId["tract"])
        handles = sorted(inputs["catalogs"], key=lambda h: (h.dataId["visit"], h.dataId["detector"]))
        result = self.run(stack_tables([h.get() for h in handles]), tract)
        butlerQC.put(result.sources, outputRefs.sources)
        butlerQC.put(result.objects, outputRefs.objects)

    def run(self, sources: Table, tract: Tract) -> pb.Struct:
        """Associate sources.

        Parameters
        ----------
        sources
            Sources of all visits.
        tract
            The tract; sources outside it are left out.

        Returns
        -------
        lsst.pipe.base.Struct
            ``sources`` and ``objects``.
        """
        if len(sources):
            patches = tract.find_patches(np.asarray(sources["ra"], float), np.asarray(sources["dec"], float))
            sources = sources[patches >= 0]
        ra, dec = np.asarray(sources["ra"], float), np.asarray(sources["dec"], float)
        weight = np.asarray(sources["snr"], float) ** 2
        found = associate_detections(ra, dec, np.asarray(sources["visit"]), weight, self.config.radius_arcsec)
        count = len(found.ra_deg)
        home = tract.find_patches(found.ra_deg, found.dec_deg) if count else np.empty(0, dtype=int)
        ids = np.empty(count, dtype=np.int64)
        for patch in np.unique(home):
            chosen = np.flatnonzero(home == patch)
            # A mean position can leave the tract by a hair; the identifier needs some patch of it.
            ids[chosen] = pack_object_ids(
                tract.id, max(int(patch), 0), len(chosen), start=1 if patch >= 0 else 1 << 31
            )
        sources["diaObjectId"] = ids[found.index] if count else np.empty(0, dtype=np.int64)
        self.metadata["objects"] = count
        return pb.Struct(
            sources=sources, objects=self._objects(sources, found.index, ids, found.ra_deg, found.dec_deg)
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
