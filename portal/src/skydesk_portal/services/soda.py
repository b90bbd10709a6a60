"""Cut-outs of published images (SODA 1.0)."""

from __future__ import annotations

from pathlib import Path

from skydesk_portal.exceptions import NotFoundError, UsageError
from skydesk_portal.models.datasets import CutoutRequest, DatasetFacts, DatasetId, parse_cutout
from skydesk_portal.models.identity import Identity
from skydesk_portal.models.jobs import Job
from skydesk_portal.pipeline.pixels import NoOverlapError, PixelStore
from skydesk_portal.pipeline.releases import ReleaseStore
from skydesk_portal.services.execution import owner_of
from skydesk_portal.uws.runner import JobContext

__all__ = ["CutoutExecutor", "SodaService"]


class SodaService:
    """Makes cut-outs of what a caller may read.

    Parameters
    ----------
    releases
        The releases.
    pixels
        Their images.
    """

    def __init__(self, releases: ReleaseStore, pixels: PixelStore) -> None:
        self._releases = releases
        self._pixels = pixels

    def warm(self) -> None:
        """Open the Butler of every release, so that the first cut-out is as quick as the next."""
        for release in self._releases.list_all():
            self._pixels.warm(release)

    def get_facts(self, identity: Identity, dataset: DatasetId) -> DatasetFacts:
        """Look up a dataset of a release that the caller may read.

        Raises
        ------
        NotFoundError
            If there is none.
        """
        release = self._releases.find(identity, dataset.release)
        if release is None:
            raise NotFoundError(f"there is no release {dataset.release[:40]!r}")
        return self._pixels.get_facts(release, dataset)

    def write_cutout(self, identity: Identity, request: CutoutRequest, path: Path) -> int:
        """Write a cut-out.

        Parameters
        ----------
        identity
            The caller.
        request
            What is asked.
        path
            Where the FITS file goes.

        Returns
        -------
        int
            Number of pixels.

        Raises
        ------
        NotFoundError
            If the caller has no such image.
        NoOverlapError
            If the region lies off the image.
        """
        release = self._releases.find(identity, request.dataset.release)
        if release is None:
            raise NotFoundError(f"there is no release {request.dataset.release[:40]!r}")
        return self._pixels.write_cutout(release, request.dataset, request.region, request.detail, path)


class CutoutExecutor:
    """Makes cut-outs in a worker."""

    def __init__(self, soda: SodaService) -> None:
        self._soda = soda

    def execute(self, job: Job, context: JobContext) -> list[tuple[str, Path, str]]:
        """Make the cut-out of a job.

        Raises
        ------
        UsageError
            If the request is wrong or the region lies off the image.
        """
        path = context.folder / "cutout.fits"
        try:
            pixels = self._soda.write_cutout(owner_of(job), parse_cutout(list(job.parameters)), path)
        except NoOverlapError as error:
            raise UsageError(str(error)) from error
        context.report(pixels=pixels)
        return [("cutout", path, "application/fits")]
