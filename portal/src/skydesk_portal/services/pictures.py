"""Pictures of images: grey values by a stretch, small previews of whole images."""

from __future__ import annotations

import hashlib
import io
import math
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from skydesk_portal.exceptions import UsageError
from skydesk_portal.models.cutouts import PictureStyle
from skydesk_portal.models.datasets import DatasetId
from skydesk_portal.models.identity import Identity
from skydesk_portal.pipeline.errors import core_errors

if TYPE_CHECKING:
    from skydesk_portal.pipeline import Release
    from skydesk_portal.services.soda import SodaService

__all__ = ["PREVIEW_SIZES_PX", "PreviewService", "render_picture"]

PREVIEW_SIZES_PX = (128, 256, 512, 1024)
"""Longest sides of previews that are kept."""

_VERSION = 1
_SOFTENING = 0.1


def _limits(values: NDArray[Any], wanted: str | float | tuple[float, float]) -> tuple[float, float]:
    if isinstance(wanted, tuple):
        low, high = wanted
        return (low, high) if high > low else (low, low + 1.0)
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return 0.0, 1.0
    if wanted == "minmax":
        low, high = float(finite.min()), float(finite.max())
    elif wanted == "zscale":
        from astropy.visualization import ZScaleInterval

        low, high = (float(v) for v in ZScaleInterval().get_limits(finite))
    else:
        half = (100 - float(wanted)) / 2
        low, high = (float(v) for v in np.percentile(finite, [half, 100 - half]))
    return (low, high) if high > low else (low, low + 1.0)


def _stretch(values: NDArray[Any], style: PictureStyle) -> NDArray[np.uint8]:
    low, high = _limits(values, style.limits)
    scaled = np.clip((np.nan_to_num(values, nan=low, posinf=high, neginf=low) - low) / (high - low), 0, 1)
    match style.stretch:
        case "asinh":
            scaled = np.arcsinh(scaled / _SOFTENING) / np.arcsinh(1 / _SOFTENING)
        case "sqrt":
            scaled = np.sqrt(scaled)
        case "log":
            scaled = np.log1p(1000 * scaled) / np.log1p(1000)
    return np.round(255 * scaled).astype(np.uint8)


def _turn(cards: str) -> tuple[float, bool]:
    """Return the angle in degrees that brings north up, and whether the picture must be mirrored first."""
    from astropy.io import fits
    from astropy.wcs import WCS

    wcs = WCS(fits.Header.fromstring(cards))
    matrix = wcs.pixel_scale_matrix
    mirrored = float(np.linalg.det(matrix)) > 0
    # Direction of north in pixels: the second row of the inverse matrix, x turned round if mirrored.
    inverse = np.linalg.inv(matrix)
    dx, dy = float(inverse[0, 1]), float(inverse[1, 1])
    return math.degrees(math.atan2(-dx if mirrored else dx, dy)), mirrored


def render_picture(image: NDArray[Any], style: PictureStyle, kind: str, wcs: str = "") -> bytes:
    """Make a picture of pixel values.

    Parameters
    ----------
    image
        Pixels, the first row at the bottom of the picture.
    style
        How they become grey.
    kind
        ``png`` or ``jpeg``.
    wcs
        FITS cards of the sky coordinates, needed to turn north up.

    Returns
    -------
    bytes
        The file; pixels without data are as dark as the darkest.
    """
    from PIL import Image

    picture = Image.fromarray(_stretch(image, style)[::-1])
    if style.north_up:
        angle, mirrored = _turn(wcs)
        if mirrored:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        picture = picture.rotate(angle, resample=Image.Resampling.BILINEAR, expand=True)
    if style.size_px is not None:
        factor = style.size_px / max(picture.size)
        width, height = (max(1, round(side * factor)) for side in picture.size)
        picture = picture.resize(
            (width, height), Image.Resampling.LANCZOS if factor < 1 else Image.Resampling.NEAREST
        )
    buffer = io.BytesIO()
    picture.save(buffer, kind.upper(), **({"quality": 92} if kind == "jpeg" else {"compress_level": 4}))
    return buffer.getvalue()


def _shrink(image: NDArray[Any], side: int) -> NDArray[np.float32]:
    """Average blocks of pixels until the longest side is at most twice what is wanted."""
    factor = max(image.shape) // side
    if factor < 2:
        return np.asarray(image, np.float32)
    ny, nx = (size // factor * factor for size in image.shape)
    blocks = np.asarray(image[:ny, :nx], np.float32).reshape(ny // factor, factor, nx // factor, factor)
    good = np.isfinite(blocks)
    count = good.sum(axis=(1, 3))
    total = np.where(good, blocks, 0).sum(axis=(1, 3))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)


class PreviewService:
    """Small pictures of whole images, made once and kept.

    Parameters
    ----------
    soda
        Reads images.
    cache
        Folder that they are kept in.
    """

    def __init__(self, soda: SodaService, cache: Path) -> None:
        self._soda = soda
        self._cache = cache

    def make_etag(self, dataset: DatasetId, size_px: int) -> str:
        """Return what changes when a preview would look different."""
        text = f"{_VERSION}/{dataset.release}/{dataset.uuid}/{size_px}"
        return f'"{hashlib.sha256(text.encode()).hexdigest()[:24]}"'

    def get_preview(self, identity: Identity, dataset: DatasetId, size_px: int) -> bytes:
        """Return the preview of an image as PNG.

        Parameters
        ----------
        identity
            The caller.
        dataset
            The image.
        size_px
            One of `PREVIEW_SIZES_PX`.

        Raises
        ------
        NotFoundError
            If the caller has no such image.
        UsageError
            If the dataset is not an image or the size is not offered.
        """
        if size_px not in PREVIEW_SIZES_PX:
            raise UsageError(f"SIZE={size_px} is none of {', '.join(map(str, PREVIEW_SIZES_PX))}")
        release = self._soda.get_release(identity, dataset.release)
        stamp = str(release.manifest.created).replace("/", "-")
        path = self._cache / release.name / stamp / f"{dataset.uuid}-{size_px}-{_VERSION}.png"
        if path.exists():
            return path.read_bytes()
        image = self._read(release, dataset.uuid, size_px)
        content = render_picture(
            _shrink(image, size_px), PictureStyle(limits="zscale", size_px=size_px), "png"
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        # Renamed into place, so that nobody reads half of it.
        fresh = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        fresh.write_bytes(content)
        fresh.replace(path)
        return content

    def _read(self, release: Release, dataset_id: UUID, size_px: int) -> NDArray[Any]:
        with core_errors():
            pyramid = release.find_pyramid(dataset_id)
            if pyramid is not None:
                level = next(
                    (z for z in range(pyramid.levels) if max(pyramid.array("image", z).shape) >= size_px),
                    pyramid.levels - 1,
                )
                array = pyramid.array("image", level)
                return np.array(array)
        return self._soda.pixels.read_whole(release, dataset_id)
