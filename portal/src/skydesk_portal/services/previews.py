"""Small colour pictures of releases, made from the pyramids of their coadds."""

from __future__ import annotations

import io
from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from skydesk_portal.exceptions import NotFoundError

if TYPE_CHECKING:
    from skydesk_portal.models.identity import Identity
    from skydesk_portal.pipeline import Pyramid
    from skydesk_portal.services.imagerows import ImageRow
    from skydesk_portal.services.images import ImageService

__all__ = ["compose_colour", "make_preview"]

_SIDE = 720
_SOFTENING = 8.0
_BRIGHT_SIGMA = 60.0


def compose_colour(
    red: NDArray[np.float32], green: NDArray[np.float32], blue: NDArray[np.float32]
) -> NDArray[np.uint8]:
    """Compose three planes into a colour picture that keeps the colours of bright stars.

    Parameters
    ----------
    red, green, blue
        Planes in units of their noise, sky at zero, shape (ny, nx), NaN where there is no data.

    Returns
    -------
    numpy.ndarray
        Shape (ny, nx, 3); the asinh scaling of Lupton et al. (2004, PASP 116, 133).
    """
    planes = np.nan_to_num(np.stack([red, green, blue], axis=-1).astype(np.float64))
    total = np.maximum(planes.mean(axis=-1), 1e-6)
    scaled = np.arcsinh(_SOFTENING * total / _BRIGHT_SIGMA) / np.arcsinh(_SOFTENING)
    colour = np.maximum(planes, 0) * (scaled / total)[..., None]
    peak = colour.max(axis=-1, keepdims=True)
    colour = np.where(peak > 1, colour / np.maximum(peak, 1e-12), colour)
    return np.round(255 * np.clip(colour, 0, 1)).astype(np.uint8)


def _plane(pyramid: Pyramid, level: int) -> NDArray[np.float32]:
    array = np.asarray(pyramid.array("image", level), np.float32)
    median = float(np.nanmedian(array))
    sigma = 1.4826 * float(np.nanmedian(np.abs(array - median))) or 1.0
    return ((array - median) / sigma).astype(np.float32)


def _best_patch(rows: tuple[ImageRow, ...]) -> list[ImageRow]:
    """Images of the patch with the most bands, the one in the middle of the release first."""
    patches: dict[tuple[int | None, int | None], list[ImageRow]] = defaultdict(list)
    for row in rows:
        if row.dataset_type == "deep_coadd":
            patches[row.tract, row.patch].append(row)
    if not patches:
        return [row for row in rows if row.dataset_type in ("visit_image", "template_coadd")][:1]
    middle = np.median(
        [[row.ra_deg or 0.0, row.dec_deg or 0.0] for group in patches.values() for row in group], axis=0
    )

    def rank(group: list[ImageRow]) -> tuple[int, float]:
        away = np.hypot((group[0].ra_deg or 0.0) - middle[0], (group[0].dec_deg or 0.0) - middle[1])
        return -len(group), float(away)

    return sorted(sorted(patches.values(), key=rank)[0], key=lambda r: ("ugrizy".find(r.band), r.band))


def make_preview(images: ImageService, identity: Identity, release: str) -> bytes:
    """Make a picture of a release.

    Parameters
    ----------
    images
        Opens pyramids.
    identity
        The caller.
    release
        Name of the release.

    Returns
    -------
    bytes
        PNG, north as the image has it, at most 720 pixels wide; in colour when the
        patch in the middle has several bands.

    Raises
    ------
    NotFoundError
        If the release has no image to make a picture of.
    """
    from PIL import Image

    chosen = _best_patch(images.list_images(identity, release))
    if not chosen:
        raise NotFoundError(f"release {release} has no image to make a picture of")
    pyramids = [images.get_pyramid(identity, release, row.dataset_id) for row in chosen]
    level = pyramids[0].levels - 1
    while level > 0 and pyramids[0].array("image", level).shape[1] > 2 * _SIDE:
        level -= 1
    planes = [_plane(p, min(level, p.levels - 1)) for p in pyramids]
    shape = planes[0].shape
    planes = [p for p in planes if p.shape == shape]
    filled = np.isfinite(planes[0])
    if filled.any():
        rows, columns = np.flatnonzero(filled.any(axis=1)), np.flatnonzero(filled.any(axis=0))
        planes = [p[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] for p in planes]
    red, green, blue = planes[-1], planes[len(planes) // 2], planes[0]
    picture = Image.fromarray(compose_colour(red, green, blue)[::-1])
    picture.thumbnail((_SIDE, _SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
