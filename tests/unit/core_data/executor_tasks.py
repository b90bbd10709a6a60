"""Small tasks that the tests of the executor run in worker processes."""

import os
import signal
import time
from pathlib import Path

import lsst.pipe.base.connectionTypes as cT
from lsst.pex.config import Field
from lsst.pipe.base import PipelineTask, PipelineTaskConfig, PipelineTaskConnections, Struct


class MeanConnections(PipelineTaskConnections, dimensions=("instrument", "exposure", "detector")):
    raw = cT.Input(
        name="raw", storageClass="RawImage", dimensions=("instrument", "exposure", "detector"), doc="in"
    )
    mean = cT.Output(
        name="raw_mean",
        storageClass="StructuredDataDict",
        dimensions=("instrument", "exposure", "detector"),
        doc="out",
    )


class MeanConfig(PipelineTaskConfig, pipelineConnections=MeanConnections):
    folder = Field(dtype=str, default="", doc="where to leave marks")
    fail_seq = Field(dtype=int, default=-1, doc="sequence number that raises while folder/broken exists")
    kill_seq = Field(dtype=int, default=-1, doc="sequence number whose first run kills its process")
    sleep_s = Field(dtype=float, default=0.0, doc="how long each quantum takes")


class MeanTask(PipelineTask):
    ConfigClass = MeanConfig
    _DefaultName = "mean"

    def runQuantum(self, butlerQC, inputRefs, outputRefs):
        seq = butlerQC.quantum.dataId.records["exposure"].seq_num
        raw = butlerQC.get(inputRefs.raw)
        time.sleep(self.config.sleep_s)
        folder = Path(self.config.folder)
        if self.config.folder:
            (folder / f"ran_{seq}_{time.monotonic_ns()}").touch()
        if seq == self.config.fail_seq and (folder / "broken").exists():
            raise RuntimeError("this exposure is broken")
        if seq == self.config.kill_seq and not (folder / "killed").exists():
            (folder / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        butlerQC.put(Struct(mean={"mean": float(raw.array.mean())}), outputRefs)


class GatherConnections(PipelineTaskConnections, dimensions=("instrument",)):
    means = cT.Input(
        name="raw_mean",
        storageClass="StructuredDataDict",
        dimensions=("instrument", "exposure", "detector"),
        doc="in",
        multiple=True,
    )
    total = cT.Output(
        name="mean_total", storageClass="StructuredDataDict", dimensions=("instrument",), doc="out"
    )


class GatherConfig(PipelineTaskConfig, pipelineConnections=GatherConnections):
    pass


class GatherTask(PipelineTask):
    ConfigClass = GatherConfig
    _DefaultName = "gather"

    def runQuantum(self, butlerQC, inputRefs, outputRefs):
        means = [butlerQC.get(ref)["mean"] for ref in inputRefs.means]
        butlerQC.put(Struct(total={"count": len(means), "total": sum(means)}), outputRefs)
