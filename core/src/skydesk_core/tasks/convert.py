"""Between the image types of lsst.images and the arrays of the algorithms."""

from __future__ import annotations

from typing import Any

import astropy.units as u
import numpy as np
from lsst.images import Box, Image, Mask, MaskedImage, MaskPlane, MaskSchema, SkyProjection
from numpy.typing import NDArray

from skydesk_core.algorithms.planes import BIT, DESCRIPTIONS, PLANE_NAMES

__all__ = ["from_bits", "make_masked_image", "mask_schema", "to_bits"]


def mask_schema() -> MaskSchema:
    """Return the schema of every image: all planes, in the order of their bits."""
    return MaskSchema([MaskPlane(name, DESCRIPTIONS[name]) for name in PLANE_NAMES])


def to_bits(mask: Mask) -> NDArray[np.int32]:
    """Pack a mask into one int32 per pixel with the bits of `skydesk_core.algorithms.planes.BIT`.

    Parameters
    ----------
    mask
        Any mask; planes that are not ours are left out.
    """
    planes = [p.name if p is not None else None for p in mask.schema]
    if tuple(planes[: len(PLANE_NAMES)]) == PLANE_NAMES and mask.array.dtype == np.uint8:
        # Our own order: the bytes of a pixel are the packed number already.
        packed = mask.array[:, :, 0].astype(np.int32)
        for k in range(1, mask.array.shape[2]):
            packed |= mask.array[:, :, k].astype(np.int32) << (8 * k)
        return packed & ((1 << len(PLANE_NAMES)) - 1)
    bits = np.zeros(mask.array.shape[:2], np.int32)
    for name in PLANE_NAMES:
        if name in mask.schema.names:
            plane = mask.schema.bit(name)
            bits |= np.where(mask.array[:, :, plane.index] & plane.mask, np.int32(BIT[name]), np.int32(0))
    return bits


def from_bits(
    bits: NDArray[Any], bbox: Box | None = None, sky_projection: SkyProjection[Any] | None = None
) -> Mask:
    """Unpack an array made by `to_bits` into a mask with all planes.

    Parameters
    ----------
    bits
        Shape (ny, nx).
    bbox
        Where the array lies; at the origin by default.
    sky_projection
        Projection to attach.
    """
    schema = mask_schema()
    planes = np.stack([(bits >> (8 * k)) & 0xFF for k in range(schema.mask_size)], axis=2).astype(np.uint8)
    if bbox is None:
        return Mask(planes, schema=schema, sky_projection=sky_projection)
    return Mask(planes, schema=schema, bbox=bbox, sky_projection=sky_projection)


def make_masked_image(
    image: NDArray[np.float32],
    bits: NDArray[Any],
    variance: NDArray[np.float32],
    unit: u.UnitBase,
    bbox: Box | None = None,
    sky_projection: SkyProjection[Any] | None = None,
    metadata: dict[str, Any] | None = None,
) -> MaskedImage:
    """Make a masked image of arrays.

    Parameters
    ----------
    image, bits, variance
        Shape (ny, nx).
    unit
        Unit of the image; the variance has its square.
    bbox
        Where the arrays lie; at the origin by default.
    sky_projection
        Projection to attach.
    metadata
        Cards to store with it.
    """
    box = Box.factory[0 : image.shape[0], 0 : image.shape[1]] if bbox is None else bbox
    return MaskedImage(
        Image(np.asarray(image, np.float32), bbox=box, unit=unit, sky_projection=sky_projection),
        mask=from_bits(bits, box, sky_projection),
        variance=Image(
            np.asarray(variance, np.float32), bbox=box, unit=unit**2, sky_projection=sky_projection
        ),
        metadata=metadata,
    )
