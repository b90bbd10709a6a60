"""Tasks from visit images to coadds: makeDirectWarp, assembleDeepCoadd, assembleTemplateCoadd."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import astropy.units as u
import lsst.pex.config as pc
import lsst.pipe.base as pb
import lsst.pipe.base.connectionTypes as cT
import numpy as np

from skydesk_core.algorithms.coadd import CoaddInputPsf, best_seeing, coadd_psf_cells, combine_warps
from skydesk_core.algorithms.planes import NO_DATA
from skydesk_core.algorithms.warp import Planes, warp_image
from skydesk_core.skymap import Patch
from skydesk_core.tasks.bridge import (
    cell_grid,
    make_coadd,
    make_masked,
    make_tract_projection,
    planes_of,
    psf_grid_of,
    tract_to_image,
)

__all__ = [
    "AssembleCoaddConfig",
    "AssembleCoaddConnections",
    "AssembleCoaddTask",
    "MakeDirectWarpConfig",
    "MakeDirectWarpConnections",
    "MakeDirectWarpTask",
]


def _overlay(target: Planes, other: Planes) -> None:
    """Fill what the target lacks from another detector of the same visit."""
    new = ((target.mask & NO_DATA) != 0) & ((other.mask & NO_DATA) == 0)
    for name in ("image", "variance", "mask"):
        getattr(target, name)[new] = getattr(other, name)[new]


class MakeDirectWarpConnections(
    pb.PipelineTaskConnections, dimensions=("instrument", "visit", "skymap", "tract", "patch")
):
    """Connections of `MakeDirectWarpTask`."""

    skyMap = cT.Input(
        doc="Tracts and patches.", name="skyMap", storageClass="SkydeskSkyMap", dimensions=("skymap",)
    )
    images = cT.Input(
        doc="Calibrated images of the visit.",
        name="visit_image",
        storageClass="VisitImage",
        dimensions=("instrument", "visit", "detector"),
        multiple=True,
        deferLoad=True,
    )
    warp = cT.Output(
        doc="The visit on the pixels of the patch.",
        name="direct_warp",
        storageClass="MaskedImageV2",
        dimensions=("instrument", "visit", "skymap", "tract", "patch"),
    )


class MakeDirectWarpConfig(pb.PipelineTaskConfig, pipelineConnections=MakeDirectWarpConnections):
    """Settings of `MakeDirectWarpTask`."""

    min_good_fraction = pc.Field[float](
        doc="Smallest share of the patch that must have data.", default=0.0005
    )


class MakeDirectWarpTask(pb.PipelineTask):
    """Resample a visit onto a patch."""

    ConfigClass = MakeDirectWarpConfig
    _DefaultName = "makeDirectWarp"

    def runQuantum(self, butlerQC: Any, inputRefs: Any, outputRefs: Any) -> None:
        """Read what lies on the patch, warp it and store the result."""
        inputs = butlerQC.get(inputRefs)
        data_id = butlerQC.quantum.dataId
        patch = inputs["skyMap"].patch(data_id["tract"], data_id["patch"])
        handles = sorted(inputs["images"], key=lambda h: h.dataId["detector"])
        planes = self.run([h.get() for h in handles], patch)
        self.metadata["good_fraction"] = float(((planes.mask & NO_DATA) == 0).mean())
        if self.metadata["good_fraction"] < self.config.min_good_fraction:
            raise pb.NoWorkFound("no data of the visit reach the patch")
        projection = make_tract_projection(patch, data_id["skymap"])
        butlerQC.put(make_masked(planes, patch.bbox, u.nJy, projection), outputRefs.warp)

    def run(self, images: list[Any], patch: Patch) -> Planes:
        """Warp images of one visit onto a patch.

        Parameters
        ----------
        images
            Visit images.
        patch
            The patch.
        """
        box = patch.bbox
        shape = (box.y.size, box.x.size)
        out = Planes.empty(shape)
        for image in images:
            to_input = tract_to_image(patch.wcs, image.sky_projection, image.bbox)
            _overlay(out, warp_image(planes_of(image), to_input, shape, box.x.start, box.y.start))
        return out


class AssembleCoaddConnections(
    pb.PipelineTaskConnections,
    dimensions=("skymap", "tract", "patch", "band"),
    defaultTemplates={"kind": "deep"},
):
    """Connections of `AssembleCoaddTask`."""

    skyMap = cT.Input(
        doc="Tracts and patches.", name="skyMap", storageClass="SkydeskSkyMap", dimensions=("skymap",)
    )
    warps = cT.Input(
        doc="Warps to combine.",
        name="direct_warp",
        storageClass="MaskedImageV2",
        dimensions=("instrument", "visit", "skymap", "tract", "patch"),
        multiple=True,
        deferLoad=True,
    )
    images = cT.Input(
        doc="The images that were warped; only their PSF and projection are read.",
        name="visit_image",
        storageClass="VisitImage",
        dimensions=("instrument", "visit", "detector"),
        multiple=True,
        deferLoad=True,
    )
    coadd = cT.Output(
        doc="The coadd.",
        name="{kind}_coadd",
        storageClass="CellCoadd",
        dimensions=("skymap", "tract", "patch", "band"),
    )


class AssembleCoaddConfig(pb.PipelineTaskConfig, pipelineConnections=AssembleCoaddConnections):
    """Settings of `AssembleCoaddTask`."""

    early_share = pc.Field[float](
        doc="Share of the visits, the earliest ones, that are considered at all; a template must not hold what is sought.",
        default=1.0,
    )
    best_share = pc.Field[float](doc="Share of these, those of best seeing, that are used.", default=1.0)
    min_visits = pc.Field[int](doc="Use at least so many visits, if there are.", default=1)
    clip = pc.Field[bool](doc="Leave out artefacts that few visits show.", default=True)
    threshold = pc.Field[float](doc="Significance of an artefact, in standard deviations.", default=5.0)
    tolerance = pc.Field[float](
        doc="Share of the local brightness that imperfect matching of the seeing may explain.", default=0.3
    )
    psf_size = pc.Field[int](doc="Side of the PSF's stamps in pixels; odd.", default=25)


class AssembleCoaddTask(pb.PipelineTask):
    """Combine warps into a coadd with its PSF."""

    ConfigClass = AssembleCoaddConfig
    _DefaultName = "assembleCoadd"

    def runQuantum(self, butlerQC: Any, inputRefs: Any, outputRefs: Any) -> None:
        """Choose visits by seeing, read their warps, combine them and store the coadd."""
        inputs = butlerQC.get(inputRefs)
        data_id = butlerQC.quantum.dataId
        patch = inputs["skyMap"].patch(data_id["tract"], data_id["patch"])
        by_visit: dict[int, list[Any]] = defaultdict(list)
        for handle in sorted(inputs["images"], key=lambda h: (h.dataId["visit"], h.dataId["detector"])):
            by_visit[handle.dataId["visit"]].append(handle)
        warps = {h.dataId["visit"]: h for h in inputs["warps"]}
        # Visit identifiers begin with the date, so their order is that of time.
        visits = sorted(v for v in warps if v in by_visit)
        early = int(np.ceil(self.config.early_share * len(visits)))
        visits = visits[: max(early, self.config.min_visits)]
        if not visits:
            raise pb.NoWorkFound("no warp reaches the patch")
        psfs = {v: [self._input_psf(h, patch) for h in by_visit[v]] for v in visits}
        seeing = [float(np.median([p.psf.sigma for p in psfs[v]])) for v in visits]
        chosen = [visits[i] for i in best_seeing(seeing, self.config.best_share, self.config.min_visits)]
        sigma = dict(zip(visits, seeing, strict=True))
        result = combine_warps(
            [planes_of(warps[v].get()) for v in chosen],
            [sigma[v] for v in chosen] if self.config.clip else None,
            self.config.threshold,
            self.config.tolerance,
        )
        grid, centres_x, centres_y = cell_grid(patch.bbox)
        weighted = [
            CoaddInputPsf(p.psf, p.to_input, p.shape, float(w))
            for v, w in zip(chosen, result.weights, strict=True)
            for p in psfs[v]
        ]
        cells = coadd_psf_cells(weighted, centres_x, centres_y, self.config.psf_size)
        self.metadata["visits"] = [int(v) for v in chosen]
        self.metadata["weights"] = [float(w) for w in result.weights]
        butlerQC.put(
            make_coadd(result, cells, grid, patch, data_id["skymap"], data_id["band"]), outputRefs.coadd
        )

    def _input_psf(self, handle: Any, patch: Patch) -> CoaddInputPsf:
        """Read PSF and projection of one visit image."""
        box = handle.get(component="bbox")
        projection = handle.get(component="sky_projection")
        psf = psf_grid_of(handle.get(component="psf"), box)
        return CoaddInputPsf(psf, tract_to_image(patch.wcs, projection, box), (box.y.size, box.x.size), 1.0)
