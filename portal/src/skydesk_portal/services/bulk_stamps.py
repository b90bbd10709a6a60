"""Bulk cut-outs of one image: read once, cut many times."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from skydesk_portal.exceptions import PortalError
from skydesk_portal.log import get_logger
from skydesk_portal.models.bulk import BulkRequest, ImageWork, Positions, StampRow
from skydesk_portal.models.cutouts import CutoutDetail, CutoutFormat
from skydesk_portal.pipeline.imagefile import ImageHandle, NoOverlapError, common_box, make_box
from skydesk_portal.pipeline.stamps import Stamp, card
from skydesk_portal.services.soda import SodaService, format_stamp

if TYPE_CHECKING:
    from skydesk_portal.pipeline import Release

__all__ = ["StampMaker"]

_BLOCK_PIXELS = 20_000_000
_BLOCK_GAIN = 20
_NO_DATA = "NO_DATA"

type Planes = tuple[dict[str, NDArray[Any]], dict[str, int]]


class StampMaker:
    """Makes the cut-outs of one image after the other.

    Parameters
    ----------
    soda
        Reads images.
    release
        Where they are.
    request, positions
        What is asked.
    limit_pixels
        Largest cut-out.
    """

    def __init__(
        self,
        soda: SodaService,
        release: Release,
        request: BulkRequest,
        positions: Positions,
        limit_pixels: int,
    ) -> None:
        self._soda = soda
        self._release = release
        self._request = request
        self._positions = positions
        self._limit = limit_pixels

    def make(self, image: ImageWork) -> Iterator[tuple[StampRow, bytes | None]]:
        """Make the cut-outs of an image; what fails becomes a row that says so.

        Yields
        ------
        tuple
            Row of the index, and the file if there is one.
        """
        try:
            handle = self._soda.pixels.get_image(self._release, image.dataset_id)
            p = self._positions
            x, y = handle.sky_to_pixel(p.ra_deg[image.rows] % 360, p.dec_deg[image.rows])
        except PortalError as error:
            yield from self._fail(image, f"{error.vo_error}: {error}")
            return
        except Exception as error:  # noqa: BLE001 - one image that cannot be read must not end the job
            get_logger().warning("image cannot be read", dataset=str(image.dataset_id), error=repr(error))
            yield from self._fail(image, "Error: the image cannot be read")
            return
        side = np.maximum(1, np.round(self._positions.size_arcsec[image.rows] / handle.scale_arcsec)).astype(
            int
        )
        b = handle.bbox
        # A footprint is only nearly the truth: the pixels decide whether a position lies on the image.
        on = (x >= b.x.start - 0.5) & (x < b.x.stop - 0.5) & (y >= b.y.start - 0.5) & (y < b.y.stop - 0.5)
        numbers = np.flatnonzero(on)
        boxes = {int(i): make_box(*(_around(v[i], int(side[i])) for v in (x, y))) for i in numbers}
        block = self._read_block(handle, list(boxes.values()))
        for i in numbers:
            row, box = int(image.rows[i]), boxes[int(i)]
            try:
                content, status, message = self._cut(image, handle, box, block, row)
            except PortalError as error:
                yield self._row(image, row, "error", f"{error.vo_error}: {error}"), None
                continue
            except Exception as error:  # noqa: BLE001 - one cut-out that fails must not end the job
                get_logger().warning("cut-out failed", dataset=str(image.dataset_id), error=repr(error))
                yield self._row(image, row, "error", "Error: the pixels cannot be read"), None
                continue
            place = (float(x[i]) - box.x.start, float(y[i]) - box.y.start)
            yield self._row(image, row, status, message, place, box), content

    def _fail(self, image: ImageWork, message: str) -> Iterator[tuple[StampRow, None]]:
        for row in image.rows:
            yield self._row(image, int(row), "error", message), None

    def _row(
        self,
        image: ImageWork,
        row: int,
        status: str,
        message: str = "",
        place: tuple[float, float] | None = None,
        box: Any = None,
    ) -> StampRow:
        p = self._positions
        name = None
        if place is not None:
            label = re.sub(r"[^\w.+-]", "_", p.ids[row])[:40]
            which = (
                f"{image.visit}-{image.detector}"
                if image.visit is not None
                else f"{image.tract}-{image.patch}"
            )
            name = f"{image.dataset_type}/{image.band or 'none'}/{row + 1:06d}-{label}-{which}.{self._request.form.extension}"
        return StampRow(
            row + 1,
            p.ids[row],
            float(p.ra_deg[row]),
            float(p.dec_deg[row]),
            image.dataset_type,
            image.band,
            status,
            message,
            name,
            str(image.dataset_id),
            image.visit,
            image.detector,
            image.tract,
            image.patch,
            None if place is None else place[0],
            None if place is None else place[1],
            None if box is None else int(box.x.size),
            None if box is None else int(box.y.size),
        )

    def _read_block(self, handle: ImageHandle, boxes: list[Any]) -> tuple[Any, Planes] | None:
        """Read the box around all cut-outs at once where that is less work than one by one."""
        if self._request.detail is CutoutDetail.EXPOSURE or len(boxes) < 4:
            return None
        around = make_box(
            (min(b.x.start for b in boxes), max(b.x.stop for b in boxes) - 1),
            (min(b.y.start for b in boxes), max(b.y.stop for b in boxes) - 1),
        )
        around = common_box(around, handle.bbox)
        if around is None:
            return None
        pixels = around.x.size * around.y.size
        # Decompressing a tile costs as much as a few thousand pixels of a block.
        if pixels > _BLOCK_PIXELS or pixels > _BLOCK_GAIN * sum(b.x.size * b.y.size + 10_000 for b in boxes):
            return None
        return around, handle.read_planes(self._request.detail, around)

    def _cut(
        self, image: ImageWork, handle: ImageHandle, box: Any, block: tuple[Any, Planes] | None, row: int
    ) -> tuple[bytes, str, str]:
        if box.x.size * box.y.size > self._limit:
            raise PortalError(f"the cut-out is larger than the {self._limit} pixels of portal.cutout_pixels")
        inside = common_box(box, handle.bbox)
        whole = inside is not None and inside.x.size == box.x.size and inside.y.size == box.y.size
        if self._request.detail is CutoutDetail.EXPOSURE:
            if inside is None:
                raise NoOverlapError("the image has no pixel here")
            content = _write_object(handle, inside, self._request.form is CutoutFormat.FITS_COMPRESSED)
            return content, "ok" if whole else "partial", "" if whole else "cut off at the edge of the image"
        status, message = "ok", ""
        if whole or image.mosaic is None:
            stamp = self._read(handle, box, inside, block)
            if not whole:
                status, message = "partial", "beyond the edge of the image there is no data"
        else:
            # Over the border of the patch: the rest is in its neighbours, where there are any.
            tract = self._soda.mosaics.get_tract(self._release, image.mosaic)
            stamp = self._soda.mosaics.read_box(self._release, tract, box, self._request.detail)
            if not self._soda.mosaics.covers(self._release, tract, box):
                status, message = "partial", "some patches of the tract have no image"
        p = self._positions
        facts = (
            stamp.facts
            + card("OBJECT", p.ids[row])
            + card("RA", float(p.ra_deg[row]), "[deg] position asked for")
        )
        facts += card("DEC", float(p.dec_deg[row]), "[deg] position asked for")
        stamp = Stamp(stamp.planes, stamp.mask_bits, facts, stamp.wcs)
        return format_stamp(stamp, self._request.form, self._request.style), status, message

    def _read(self, handle: ImageHandle, box: Any, inside: Any, block: tuple[Any, Planes] | None) -> Stamp:
        if inside is None:
            raise NoOverlapError("the image has no pixel here")
        if block is not None:
            around, (planes, bits) = block
            cut = (
                slice(inside.y.start - around.y.start, inside.y.stop - around.y.start),
                slice(inside.x.start - around.x.start, inside.x.stop - around.x.start),
            )
            planes = {name: plane[cut] for name, plane in planes.items()}
        else:
            planes, bits = handle.read_planes(self._request.detail, inside)
        if inside.x.size != box.x.size or inside.y.size != box.y.size:
            planes, bits = _widen(planes, dict(bits), inside, box)
        return Stamp(planes, bits, handle.facts, handle.make_wcs_cards(box))


def _around(center: float, side: int) -> tuple[int, int]:
    """Return the first and last pixel; the pixel of the position is number ``side // 2``."""
    first = int(np.floor(center + 0.5)) - side // 2
    return first, first + side - 1


def _widen(planes: dict[str, NDArray[Any]], bits: dict[str, int], inside: Any, box: Any) -> Planes:
    """Put pixels into a larger box without data, so that all cut-outs of one size have one shape."""
    place = (
        slice(inside.y.start - box.y.start, inside.y.stop - box.y.start),
        slice(inside.x.start - box.x.start, inside.x.stop - box.x.start),
    )
    out = {}
    for name, plane in planes.items():
        fill: float = 1 << bits.setdefault(_NO_DATA, 30) if name == "mask" else np.nan
        out[name] = np.full((box.y.size, box.x.size), fill, plane.dtype)
        out[name][place] = plane
    return out, bits


def _write_object(handle: ImageHandle, box: Any, compress: bool) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cutout.fits"
        handle.write_object(box, path, compress=compress)
        return path.read_bytes()
