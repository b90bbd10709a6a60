"""Tasks that join per-detector results: consolidateVisitSummary, consolidateSource, makeVisitTable, makeVisitDetectorTable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import astropy.units as u
import lsst.pipe.base as pb
import lsst.pipe.base.connectionTypes as cT
import numpy as np
from astropy.table import Table
from astropy.time import Time

from skydesk_core.tasks.columns import stack_tables

__all__ = [
    "ConsolidateSourceTask",
    "ConsolidateVisitSummaryTask",
    "MakeVisitDetectorTableTask",
    "MakeVisitTableTask",
    "visit_times",
]

_VISIT = ("instrument", "visit")
_UNITS = {
    "ra": "deg", "dec": "deg", "llcra": "deg", "llcdec": "deg", "ulcra": "deg", "ulcdec": "deg", "urcra": "deg",
    "urcdec": "deg", "lrcra": "deg", "lrcdec": "deg", "zenithDistance": "deg", "skyRotation": "deg",
    "pixelScale": "arcsec/pixel", "expTime": "s", "darkTime": "s", "zeroPoint": "mag", "psfSigma": "pixel",
    "psfArea": "pixel2", "psfIxx": "pixel2", "psfIyy": "pixel2", "psfIxy": "pixel2", "skyBg": "adu", "skyNoise": "adu",
    "meanVar": "adu2", "seeing": "arcsec", "astromOffsetMean": "arcsec", "astromOffsetStd": "arcsec",
    "astromOffsetMedian": "arcsec", "magLim": "mag", "xSize": "pixel", "ySize": "pixel", "expMidptMJD": "d",
    "obsStartMJD": "d", "azimuth": "deg", "altitude": "deg", "zeroPointScatter": "mag",
}  # fmt: skip


def _with_units(table: Table) -> Table:
    for name in table.colnames:
        if name in _UNITS and table[name].dtype.kind in "fi":
            table[name].unit = u.Unit(_UNITS[name])
    return table


def visit_times(exposure: Any) -> dict[str, Any]:
    """Times of a visit in the SDM's columns, TAI.

    Parameters
    ----------
    exposure
        Dimension record of the visit or exposure.
    """
    begin: Time = exposure.timespan.begin.tai
    middle: Time = begin + (exposure.timespan.end.tai - begin) / 2
    return {
        "expMidpt": np.datetime64(middle.isot, "us"),
        "expMidptMJD": float(middle.mjd),
        "obsStart": np.datetime64(begin.isot, "us"),
        "obsStartMJD": float(begin.mjd),
    }


class ConsolidateVisitSummaryConnections(pb.PipelineTaskConnections, dimensions=_VISIT):
    """Connections of `ConsolidateVisitSummaryTask`."""

    rows = cT.Input(
        doc="One row per detector.",
        name="visit_detector_summary",
        storageClass="StructuredDataDict",
        dimensions=("instrument", "visit", "detector"),
        multiple=True,
    )
    summary = cT.Output(
        doc="Summary of a visit.", name="visit_summary", storageClass="ArrowAstropy", dimensions=_VISIT
    )


class ConsolidateVisitSummaryConfig(
    pb.PipelineTaskConfig, pipelineConnections=ConsolidateVisitSummaryConnections
):
    """Settings of `ConsolidateVisitSummaryTask`."""


class ConsolidateVisitSummaryTask(pb.PipelineTask):
    """Join the detectors of a visit into one table."""

    ConfigClass = ConsolidateVisitSummaryConfig
    _DefaultName = "consolidateVisitSummary"

    def runQuantum(self, butlerQC: Any, inputRefs: Any, outputRefs: Any) -> None:
        """Read the rows, join, store."""
        record = butlerQC.quantum.dataId.records["visit"]
        butlerQC.put(
            pb.Struct(summary=self.run([butlerQC.get(r) for r in inputRefs.rows], record)), outputRefs
        )

    def run(self, rows: Sequence[dict[str, Any]], visit: Any) -> Table:
        """Join rows.

        Parameters
        ----------
        rows
            Result of `skydesk_core.tasks.visitimage.summarise` per detector.
        visit
            Dimension record of the visit.
        """
        times = visit_times(visit)
        ordered = sorted(rows, key=lambda r: r["detector"])
        table = Table(rows=[dict(r) | times for r in ordered])
        table["visit"] = table["visitId"]
        table["ccdVisitId"] = np.asarray(table["visitId"], np.int64) * 256 + np.asarray(
            table["detector"], np.int64
        )
        table["detector"] = np.asarray(table["detector"], np.int32)
        return _with_units(table)


class ConsolidateSourceConnections(pb.PipelineTaskConnections, dimensions=_VISIT):
    """Connections of `ConsolidateSourceTask`."""

    tables = cT.Input(
        doc="Sources per detector.",
        name="source_detector",
        storageClass="ArrowAstropy",
        dimensions=("instrument", "visit", "detector"),
        multiple=True,
    )
    sources = cT.Output(
        doc="Sources of a visit.", name="source", storageClass="ArrowAstropy", dimensions=_VISIT
    )


class ConsolidateSourceConfig(pb.PipelineTaskConfig, pipelineConnections=ConsolidateSourceConnections):
    """Settings of `ConsolidateSourceTask`."""


class ConsolidateSourceTask(pb.PipelineTask):
    """Join the sources of a visit's detectors."""

    ConfigClass = ConsolidateSourceConfig
    _DefaultName = "consolidateSource"

    def runQuantum(self, butlerQC: Any, inputRefs: Any, outputRefs: Any) -> None:
        """Read, join, store."""
        refs = sorted(inputRefs.tables, key=lambda r: r.dataId["detector"])
        butlerQC.put(pb.Struct(sources=stack_tables([butlerQC.get(r) for r in refs])), outputRefs)


class _AllVisitsConnections(pb.PipelineTaskConnections, dimensions=("instrument",)):
    summaries = cT.Input(
        doc="Summaries of all visits.",
        name="visit_summary",
        storageClass="ArrowAstropy",
        dimensions=_VISIT,
        multiple=True,
    )


class MakeVisitTableConnections(_AllVisitsConnections, dimensions=("instrument",)):
    """Connections of `MakeVisitTableTask`."""

    table = cT.Output(
        doc="One row per visit.", name="visit_table", storageClass="ArrowAstropy", dimensions=("instrument",)
    )


class MakeVisitTableConfig(pb.PipelineTaskConfig, pipelineConnections=MakeVisitTableConnections):
    """Settings of `MakeVisitTableTask`."""


class MakeVisitTableTask(pb.PipelineTask):
    """Make the SDM table Visit."""

    ConfigClass = MakeVisitTableConfig
    _DefaultName = "makeVisitTable"

    def runQuantum(self, butlerQC: Any, inputRefs: Any, outputRefs: Any) -> None:
        """Read all summaries, make the table, store."""
        refs = sorted(inputRefs.summaries, key=lambda r: r.dataId["visit"])
        rows = [self.row(butlerQC.get(r), r.dataId.records["visit"]) for r in refs]
        butlerQC.put(pb.Struct(table=_with_units(Table(rows=rows))), outputRefs)

    @staticmethod
    def row(summary: Table, visit: Any) -> dict[str, Any]:
        """Make one row.

        Parameters
        ----------
        summary
            Summary of the visit.
        visit
            Its dimension record.
        """
        # The mean of unit vectors, so that a visit across RA 0 has the right centre.
        ra, dec = np.radians(np.asarray(summary["ra"])), np.radians(np.asarray(summary["dec"]))
        x, y, z = (np.mean(a) for a in (np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)))
        row: dict[str, Any] = {
            "visit": int(visit.id),
            "physical_filter": visit.physical_filter,
            "band": str(summary["band"][0]),
            "ra": float(np.degrees(np.arctan2(y, x)) % 360),
            "dec": float(np.degrees(np.arctan2(z, np.hypot(x, y)))),
            "expTime": float(visit.exposure_time),
        }
        if visit.zenith_angle is not None:
            zenith = float(visit.zenith_angle)
            row |= {
                "zenithDistance": zenith,
                "altitude": 90 - zenith,
                "airmass": float(1 / np.cos(np.radians(zenith))),
            }
        if visit.azimuth is not None:
            row["azimuth"] = float(visit.azimuth)
        return row | visit_times(visit)


class MakeVisitDetectorTableConnections(_AllVisitsConnections, dimensions=("instrument",)):
    """Connections of `MakeVisitDetectorTableTask`."""

    table = cT.Output(
        doc="One row per visit and detector.",
        name="visit_detector_table",
        storageClass="ArrowAstropy",
        dimensions=("instrument",),
    )


class MakeVisitDetectorTableConfig(
    pb.PipelineTaskConfig, pipelineConnections=MakeVisitDetectorTableConnections
):
    """Settings of `MakeVisitDetectorTableTask`."""


class MakeVisitDetectorTableTask(pb.PipelineTask):
    """Make the SDM table VisitDetector (CcdVisit)."""

    ConfigClass = MakeVisitDetectorTableConfig
    _DefaultName = "makeVisitDetectorTable"

    def runQuantum(self, butlerQC: Any, inputRefs: Any, outputRefs: Any) -> None:
        """Read all summaries, join, store."""
        refs = sorted(inputRefs.summaries, key=lambda r: r.dataId["visit"])
        butlerQC.put(pb.Struct(table=stack_tables([butlerQC.get(r) for r in refs])), outputRefs)
