"""Cut-outs of published images (SODA 1.0)."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from skydesk_portal.exceptions import NotFoundError, PortalError
from skydesk_portal.models.cutouts import (
    CutoutDetail,
    CutoutFormat,
    CutoutRequest,
    PictureStyle,
    TractId,
    describe_unknown,
    parse_cutouts,
)
from skydesk_portal.models.datasets import DatasetFacts, DatasetId
from skydesk_portal.models.identity import Identity
from skydesk_portal.models.jobs import Job
from skydesk_portal.models.regions import Region
from skydesk_portal.models.user_tables import schema_of
from skydesk_portal.pipeline.imagefile import ImageHandle, NoOverlapError
from skydesk_portal.pipeline.mosaics import MosaicStore
from skydesk_portal.pipeline.pixels import PixelStore
from skydesk_portal.pipeline.releases import ReleaseStore
from skydesk_portal.pipeline.stamps import (
    Stamp,
    card,
    format_fits,
    format_fits_compressed,
    format_image,
    render_cards,
)
from skydesk_portal.services.execution import owner_of
from skydesk_portal.services.pictures import render_picture
from skydesk_portal.services.sharing import OWN_PREFIX
from skydesk_portal.services.userimages import TABLE, UserImageService
from skydesk_portal.uws.runner import JobContext
from skydesk_portal.vo.soda import CutoutExample

if TYPE_CHECKING:
    from skydesk_portal.pipeline import Release
    from skydesk_portal.services.tap import TapService

__all__ = ["CutoutExecutor", "SodaService", "format_stamp"]


def format_stamp(stamp: Stamp, form: CutoutFormat, style: PictureStyle) -> bytes:
    """Write a cut-out in the form that was asked for."""
    if form.is_picture:
        return render_picture(stamp.planes["image"], style, form.value, stamp.wcs)
    return format_fits(stamp) if form is CutoutFormat.FITS else format_fits_compressed(stamp)


class SodaService:
    """Makes cut-outs of what a caller may read.

    Parameters
    ----------
    releases
        The releases.
    pixels
        Their images.
    tap
        Knows the bounds of images in wavelength and time.
    images
        Images of people's own.
    """

    def __init__(
        self, releases: ReleaseStore, pixels: PixelStore, tap: TapService, images: UserImageService
    ) -> None:
        self._releases = releases
        self._tap = tap
        self._images = images
        self.pixels = pixels
        self.mosaics = MosaicStore(pixels)

    def warm(self) -> None:
        """Open the Butler of every release, so that the first cut-out is as quick as the next."""
        for release in self._releases.list_all():
            self.pixels.warm(release)

    def get_release(self, identity: Identity, name: str) -> Release:
        """Return a release that the caller may read.

        Raises
        ------
        NotFoundError
            If the caller has none of that name.
        """
        release = self._releases.find(identity, name)
        if release is None:
            raise NotFoundError(f"there is no release {name[:40]!r}")
        return release

    def list_releases(self, identity: Identity) -> list[Release]:
        """Return the releases that the caller may read."""
        return self._releases.list_visible(identity)

    def get_facts(self, identity: Identity, dataset: DatasetId) -> DatasetFacts:
        """Look up a dataset of a release that the caller may read.

        Raises
        ------
        NotFoundError
            If there is none.
        """
        return self.pixels.get_facts(self.get_release(identity, dataset.release), dataset)

    def make_cutout(self, identity: Identity, request: CutoutRequest) -> bytes:
        """Make a cut-out.

        Parameters
        ----------
        identity
            The caller.
        request
            What is asked.

        Returns
        -------
        bytes
            The file.

        Raises
        ------
        NotFoundError
            If the caller has no such image.
        NoOverlapError
            If the region, the wavelengths, the times or the polarizations have nothing in common with the image.
        TooLargeError
            If the cut-out would have too many pixels.
        """
        dataset = request.dataset
        if isinstance(dataset, TractId) or request.mosaic:
            release = self.get_release(identity, dataset.release)
            self._filter(identity, request)
            if isinstance(dataset, DatasetId):
                dataset = self.mosaics.tract_of(release, dataset.uuid)
            stamp = self.mosaics.cut(release, dataset, request.region, request.detail)
            return format_stamp(stamp, request.form, request.style)
        handle = self.open_image(identity, dataset)
        self._filter(identity, request)
        if request.detail is CutoutDetail.EXPOSURE:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "cutout.fits"
                compress = request.form is CutoutFormat.FITS_COMPRESSED
                self.pixels.write_object(handle, request.region, path, compress=compress)
                return path.read_bytes()
        stamp = self.pixels.cut(handle, request.region, request.detail)
        return format_stamp(stamp, request.form, request.style)

    def open_image(self, identity: Identity, dataset: DatasetId) -> ImageHandle:
        """Open an image of a release that the caller may read, or of the caller's own.

        Raises
        ------
        NotFoundError
            If the caller has no such image.
        UsageError
            If it is not an image with sky coordinates.
        """
        if dataset.release == OWN_PREFIX + identity.name:
            return self._images.open_image(identity, dataset)
        return self.pixels.get_image(self.get_release(identity, dataset.release), dataset.uuid)

    def draw_psf(self, identity: Identity, dataset: DatasetId, ra_deg: float, dec_deg: float) -> bytes:
        """Draw the PSF of an image at a position.

        Parameters
        ----------
        identity
            The caller.
        dataset
            The image.
        ra_deg, dec_deg
            ICRS position on the image.

        Returns
        -------
        bytes
            FITS with one image whose sum is 1; the PSF is centred on the middle pixel.

        Raises
        ------
        NotFoundError
            If the caller has no such image.
        UsageError
            If its type has no PSF.
        NoOverlapError
            If the image has no PSF at the position.
        """
        handle = self.open_image(identity, dataset)
        handle.find_box(Region(((ra_deg, dec_deg),), 1e-7))
        x, y = (float(v[0]) for v in handle.sky_to_pixel(ra_deg, dec_deg))
        stamp = handle.draw_psf(x, y)
        facts = [
            card("DATASETT", handle.dataset_type, "Butler dataset type"),
            card("DATASETI", str(dataset.uuid), "Butler dataset identifier"),
            card("RELEASE", dataset.release, "release"),
            card("RA", float(ra_deg), "[deg] ICRS position of the PSF"),
            card("DEC", float(dec_deg), "[deg] ICRS position of the PSF"),
            card("XPIX", x, "[pixel] the same in the image, counted from 0"),
            card("YPIX", y, "[pixel] the same in the image, counted from 0"),
            card("PIXSCALE", handle.scale_arcsec, "[arcsec] size of a pixel"),
            card("XCENTER", float(stamp.shape[1] // 2 + 1), "middle pixel, counted from 1"),
            card("YCENTER", float(stamp.shape[0] // 2 + 1), "middle pixel, counted from 1"),
            render_cards(
                [(f"HIERARCH DATAID {name.upper()}", v) for name, v in handle.subject.data_id.items()]
            ),
        ]
        return format_image(stamp, "".join(facts))

    def list_examples(self, identity: Identity) -> list[CutoutExample]:
        """Return requests that work, for releases that the caller may read."""
        found: list[CutoutExample] = []
        for release in self._releases.list_visible(identity):
            rows = self._tap.run_query(
                identity,
                "SELECT dataset_type, obs_publisher_did, s_ra, s_dec FROM ivoa.ObsCore "
                f"WHERE obs_collection = '{release.name}' AND s_ra IS NOT NULL "
                "AND dataset_type IN ('deep_coadd', 'visit_image') ORDER BY dataset_type, obs_id",
                maxrec=1000,
            ).table.to_pylist()
            for kind in sorted({row["dataset_type"] for row in rows}):
                row = next(row for row in rows if row["dataset_type"] == kind)
                circle = ("CIRCLE", f"{row['s_ra']:.5f} {row['s_dec']:.5f} 0.002")
                given = (("ID", row["obs_publisher_did"]), circle)
                label = f"{release.name}-{kind}"
                found.append(CutoutExample(label, f"A part of a {kind} of {release.name}", given))
                found.append(
                    CutoutExample(
                        f"{label}-masked",
                        "The same with mask and variance",
                        (*given, ("CUTOUTDETAIL", "MaskedImage")),
                    )
                )
                found.append(
                    CutoutExample(
                        f"{label}-png", "The same as a picture", (*given, ("RESPONSEFORMAT", "image/png"))
                    )
                )
        return found

    def _filter(self, identity: Identity, request: CutoutRequest) -> None:
        """Refuse an image that has nothing in common with the wavelengths, times or polarizations asked for."""
        if request.polarizations and "I" not in request.polarizations:
            raise NoOverlapError("the image is unpolarized: it has the state I alone")
        if request.band_m is None and request.time_mjd is None:
            return
        band_m, time_mjd = self._find_bounds(identity, request.dataset)
        if request.band_m is not None and band_m is not None and not _overlap(request.band_m, band_m):
            raise NoOverlapError("the image has no pixel in this interval of BAND")
        if request.time_mjd is not None and time_mjd is not None and not _overlap(request.time_mjd, time_mjd):
            raise NoOverlapError("the image has no pixel in this interval of TIME")

    def _find_bounds(
        self, identity: Identity, dataset: DatasetId | TractId
    ) -> tuple[tuple[float, float] | None, tuple[float, float] | None]:
        """Return the wavelengths in metres and the times in MJD (UTC) that an image covers, as ObsCore states them."""
        if isinstance(dataset, TractId):
            where = (
                f"obs_collection = '{dataset.release}' AND dataset_type = '{dataset.dataset_type}' "
                f"AND lsst_tract = {dataset.tract} AND lsst_band = '{dataset.band}'"
            )
        else:
            where = f"obs_publisher_did = '{dataset.text}'"
        own = dataset.release == OWN_PREFIX + identity.name
        table = f"{schema_of(identity.name)}.{TABLE}" if own else "ivoa.ObsCore"
        columns = "MIN(em_min) AS e0, MAX(em_max) AS e1, MIN(t_min) AS t0, MAX(t_max) AS t1"
        rows = self._tap.run_query(identity, f"SELECT {columns} FROM {table} WHERE {where}").table.to_pylist()
        if not rows:
            return None, None
        row = rows[0]
        band = None if row["e0"] is None or row["e1"] is None else (float(row["e0"]), float(row["e1"]))
        if row["t0"] is None or row["t1"] is None:
            return band, None
        from astropy.time import Time

        # ObsCore counts in TAI, SODA in UTC.
        span = Time([float(row["t0"]), float(row["t1"])], format="mjd", scale="tai").utc.mjd
        return band, (float(span[0]), float(span[1]))


def _overlap(a: tuple[float, float], b: tuple[float, float]) -> bool:
    return a[0] <= b[1] and b[0] <= a[1]


class CutoutExecutor:
    """Makes cut-outs in a worker."""

    def __init__(self, soda: SodaService) -> None:
        self._soda = soda

    def execute(self, job: Job, context: JobContext) -> list[tuple[str, Path, str]]:
        """Make the cut-outs of a job, one for each combination of its parameters.

        A combination without a pixel has a text as its result that says so
        (SODA 1.0, section 5); with several combinations, one that fails does too.
        The last result says which parameters mean nothing, if there are such.

        Raises
        ------
        UsageError
            If the request is wrong.
        """
        requests = parse_cutouts(list(job.parameters))
        found: list[tuple[str, Path, str]] = []
        for number, request in enumerate(requests, 1):
            if context.stopped:
                raise PortalError("the job was aborted")
            name = "cutout" if len(requests) == 1 else f"cutout-{number}"
            try:
                content = self._soda.make_cutout(owner_of(job), request)
                path, kind = context.folder / f"{name}.{request.form.extension}", request.form.media_type
            except PortalError as error:
                if len(requests) == 1 and not isinstance(error, NoOverlapError):
                    raise
                label = "UsageError" if error.vo_error == "NotFoundFault" else error.vo_error
                content, path, kind = (
                    f"{label}: {error}\n".encode(),
                    context.folder / f"{name}.txt",
                    "text/plain",
                )
            path.write_bytes(content)
            found.append((name, path, kind))
            context.report(done=number, total=len(requests))
        if warning := describe_unknown(list(job.parameters)):
            path = context.folder / "warnings.txt"
            path.write_text(warning + "\n")
            found.append(("warnings", path, "text/plain"))
        return found
