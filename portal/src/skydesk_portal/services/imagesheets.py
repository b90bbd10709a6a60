"""What belongs to an image besides its pixels: header, provenance, PSF, readouts, a part of it as a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np

from skydesk_portal.exceptions import NotFoundError, UsageError
from skydesk_portal.models.cutouts import CutoutDetail
from skydesk_portal.models.datasets import DatasetId
from skydesk_portal.pipeline.fitsfiles import cut_part
from skydesk_portal.pipeline.imagefile import NoOverlapError, common_box, make_box
from skydesk_portal.pipeline.imagesheets import measure_stamp, read_header, read_readouts
from skydesk_portal.pipeline.pixels import PixelStore
from skydesk_portal.pipeline.stamps import Stamp, format_fits
from skydesk_portal.services.fitsfiles import OWN_IMAGES
from skydesk_portal.services.focalplanes import parse_visit_id
from skydesk_portal.services.imagecutouts import parse_cutout_id, whole_image
from skydesk_portal.services.imagerows import ImageRow, contains_position
from skydesk_portal.services.images import ImageService

if TYPE_CHECKING:
    from skydesk_portal.models.identity import Identity
    from skydesk_portal.pipeline.imagefile import ImageHandle

__all__ = ["ImageSheets"]

_LARGEST_PIXELS = 4096 * 4096
_MOST_ROWS = 2000
_MOST_IMAGES = 200


def _uuid(dataset_id: str) -> UUID:
    if parse_visit_id(dataset_id):
        raise UsageError("this is the focal plane of a visit: choose one of its detectors for that")
    try:
        return UUID(whole_image(dataset_id))
    except ValueError as error:
        raise UsageError(f"{dataset_id[:80]!r} is not a dataset identifier (UUID)") from error


def _origin(handle: ImageHandle, dataset_id: str) -> tuple[int, int]:
    """Return the pixel of the image's own frame that is the first of what is shown of it."""
    cutout = parse_cutout_id(dataset_id)
    return cutout.box[:2] if cutout else (handle.bbox.x.start, handle.bbox.y.start)


class ImageSheets:
    """Answers what people ask about the image they look at.

    Parameters
    ----------
    images
        Knows the images and who may see them.
    """

    def __init__(self, images: ImageService) -> None:
        self._images = images
        self._pixels = PixelStore(_LARGEST_PIXELS)

    def get_header(self, identity: Identity, release: str, dataset_id: str) -> list[dict[str, Any]]:
        """Read the header cards of an image's file.

        Returns
        -------
        list of dict
            For each part of the file its ``name`` and ``cards``: keyword, value, comment.

        Raises
        ------
        NotFoundError
            If the caller may see no such image.
        """
        if release == OWN_IMAGES:
            return read_header(self._images.files.get_path(identity, dataset_id))
        opened = self._images.get_release(identity, release)
        return read_header(self._pixels.get_facts(opened, DatasetId(release, _uuid(dataset_id))).path)

    def get_provenance(self, identity: Identity, release: str, dataset_id: str) -> list[dict[str, str]]:
        """List what an image was made of and what was made of it.

        Returns
        -------
        list of dict
            ``direction`` (``input`` or ``output``), ``role``, ``type``, ``id`` and ``title``.

        Raises
        ------
        NotFoundError
            If the caller may see no such image, or the release has no provenance.
        """
        if release == OWN_IMAGES:
            raise NotFoundError("nothing is known of where a file of yours comes from")
        uuid = _uuid(dataset_id)
        self._images.get_release(identity, release)
        queries = self._images.queries
        if queries.catalog_for(identity).find_table(f"{release}.Provenance") is None:
            raise NotFoundError(f"release {release} was published without provenance")
        found: list[dict[str, str]] = []
        for own, other, kind, direction in (
            ("dataset_id", "input_id", "input_type", "input"),
            ("input_id", "dataset_id", "dataset_type", "output"),
        ):
            rows = queries.run_query(
                identity,
                f"SELECT p.{other} AS other, p.{kind} AS kind, p.role, o.obs_title FROM {release}.Provenance AS p "
                f"LEFT OUTER JOIN ivoa.ObsCore AS o ON o.dataset_id = p.{other} AND o.obs_collection = '{release}' "
                f"WHERE p.{own} = '{uuid}' ORDER BY p.{kind}, o.obs_title",
                maxrec=_MOST_ROWS,
            ).table.to_pylist()
            found += [
                {
                    "direction": direction,
                    "role": row["role"] or "",
                    "type": row["kind"],
                    "id": str(row["other"]),
                    "title": row["obs_title"] or "",
                }
                for row in rows
            ]
        return found

    def draw_psf(
        self, identity: Identity, release: str, dataset_id: str, x: float, y: float
    ) -> dict[str, Any]:
        """Draw the PSF of an image at a position.

        Parameters
        ----------
        identity, release, dataset_id
            Which image, for whom.
        x, y
            0-based array pixels.

        Returns
        -------
        dict
            ``shape``, ``values`` (row by row from the bottom, sum 1), and ``fwhm_px`` from second moments.

        Raises
        ------
        NotFoundError
            If there is no such image.
        UsageError
            If the image has no PSF there.
        """
        if release == OWN_IMAGES:
            raise NotFoundError("a file of yours has no PSF model")
        handle = self._pixels.get_image(self._images.get_release(identity, release), _uuid(dataset_id))
        x0, y0 = _origin(handle, dataset_id)
        x, y = x + x0, y + y0
        inside = handle.bbox
        if not (
            inside.x.start - 0.5 <= x <= inside.x.stop - 0.5
            and inside.y.start - 0.5 <= y <= inside.y.stop - 0.5
        ):
            raise UsageError("the position lies off the image")
        try:
            stamp = handle.draw_psf(x, y)
        except NoOverlapError as error:
            raise UsageError("the image has no PSF at this position") from error
        return {
            "shape": list(stamp.shape),
            "values": stamp.astype(np.float32).ravel().tolist(),
            **measure_stamp(stamp),
            "pixel_scale_arcsec": handle.scale_arcsec,
        }

    def get_readouts(self, identity: Identity, release: str, dataset_id: str) -> dict[str, dict[str, Any]]:
        """Return the amplifiers of an image's detector, see `read_readouts`; none where they are not known."""
        if release == OWN_IMAGES or parse_visit_id(dataset_id):
            return {}
        opened = self._images.get_release(identity, release)
        with self._pixels.open_butler(opened) as butler:
            return read_readouts(butler, _uuid(dataset_id))

    def cut(self, identity: Identity, release: str, dataset_id: str, box: tuple[int, int, int, int]) -> bytes:
        """Cut a box of pixels out of an image, with mask and variance.

        Parameters
        ----------
        identity, release, dataset_id
            Which image, for whom.
        box
            First column and row and last column and row (both included), 0-based array pixels; what reaches
            beyond the image is left out.

        Returns
        -------
        bytes
            A FITS file as the SODA service makes it.

        Raises
        ------
        UsageError
            If the box lies off the image.
        TooLargeError
            If it has too many pixels.
        """
        if release == OWN_IMAGES:
            return cut_part(self._images.files.get_pyramid(identity, dataset_id), box)
        handle = self._pixels.get_image(self._images.get_release(identity, release), _uuid(dataset_id))
        x0, y0 = _origin(handle, dataset_id)
        if box[0] > box[2] or box[1] > box[3]:
            raise UsageError("the box to cut out has no pixel")
        wanted = make_box((box[0] + x0, box[2] + x0), (box[1] + y0, box[3] + y0))
        inside = common_box(handle.bbox, wanted)
        if inside is None:
            raise UsageError("the box to cut out lies off the image")
        self._pixels.check_size(inside)
        planes, bits = handle.read_planes(CutoutDetail.MASKED_IMAGE, inside)
        return format_fits(Stamp(planes, bits, handle.facts, handle.make_wcs_cards(inside)))

    def list_overlapping(
        self, identity: Identity, release: str, ra_deg: float, dec_deg: float
    ) -> list[dict[str, Any]]:
        """List the images that contain a position, those of most use beside one another first."""
        order = ("deep_coadd", "visit_image", "template_coadd", "difference_image")

        def rank(row: ImageRow) -> tuple[int, str, int]:
            place = order.index(row.dataset_type) if row.dataset_type in order else len(order)
            return place, row.band, row.visit or 0

        rows = self._images.list_images(identity, release)
        found = sorted((r for r in rows if contains_position(r, ra_deg, dec_deg)), key=rank)
        return [
            {"id": r.dataset_id, "type": r.dataset_type, "band": r.band, "visit": r.visit, "title": _title(r)}
            for r in found[:_MOST_IMAGES]
        ]

    def list_epochs(
        self, identity: Identity, release: str, dataset_type: str, ra_deg: float, dec_deg: float
    ) -> list[dict[str, Any]]:
        """List the exposures of one kind that contain a position, in the order of time.

        Returns
        -------
        list of dict
            ``id``, ``band``, ``visit`` and ``mjd``, the start of the exposure (TAI).
        """
        rows = [
            r
            for r in self._images.list_images(identity, release)
            if r.dataset_type == dataset_type and r.mjd_start is not None
        ]
        found = [r for r in rows if contains_position(r, ra_deg, dec_deg)]
        found.sort(key=lambda r: (r.mjd_start or 0.0, r.detector or 0))
        return [
            {"id": r.dataset_id, "band": r.band, "visit": r.visit, "mjd": r.mjd_start}
            for r in found[:_MOST_ROWS]
        ]

    def find_cutout(
        self,
        identity: Identity,
        release: str,
        dataset_id: str,
        position: tuple[float, float],
        side_arcsec: float,
    ) -> str:
        """Name the cut-out of an image around a position, see `ImageCutouts.find`.

        Raises
        ------
        UsageError
            If the position lies off the image, or the side is out of range.
        """
        opened = self._images.get_release(identity, release)
        try:
            return self._images.cutouts.find(opened, str(_uuid(dataset_id)), position, side_arcsec)
        except NoOverlapError as error:
            raise UsageError("the position lies off the image") from error


def _title(row: ImageRow) -> str:
    if row.visit is not None:
        return f"{row.dataset_type} {row.band} visit {row.visit}" + (
            f" detector {row.detector}" if row.detector is not None else ""
        )
    return f"{row.dataset_type} {row.band} tract {row.tract} patch {row.patch}"
