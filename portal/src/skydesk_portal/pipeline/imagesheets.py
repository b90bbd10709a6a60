"""What an image's file and camera say about it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from skydesk_portal.exceptions import UsageError

if TYPE_CHECKING:
    from lsst.daf.butler import Butler

__all__ = ["measure_stamp", "read_header", "read_readouts"]

_MOST_CARDS = 20_000


def read_header(path: str | Path) -> list[dict[str, Any]]:
    """Read the header cards of all parts of a FITS file.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    list of dict
        ``name`` of the part and ``cards``: keyword, value as text, comment.

    Raises
    ------
    UsageError
        If the file is not FITS.
    """
    from astropy.io import fits

    parts: list[dict[str, Any]] = []
    count = 0
    try:
        with fits.open(path, lazy_load_hdus=True, disable_image_compression=True) as file:
            for number, unit in enumerate(file):
                cards = [(c.keyword, str(c.value), c.comment) for c in unit.header.cards if c.keyword]
                parts.append({"name": f"{number} {unit.name or 'PRIMARY'}".strip(), "cards": cards})
                count += len(cards)
                if count > _MOST_CARDS:
                    break
    except OSError as error:
        raise UsageError("the file of this image is not FITS: it has no header cards") from error
    return parts


def read_readouts(butler: Butler, dataset_id: UUID) -> dict[str, dict[str, Any]]:
    """Return the parts of an image's detector that are read out together, with their places in the camera.

    Parameters
    ----------
    butler
        The release's Butler.
    dataset_id
        An image of one detector.

    Returns
    -------
    dict
        By name of the amplifier, and ``NAME overscan`` for its overscan in a raw file: ``box``, first column and row,
        last column and row (both included) in pixels of the image's own frame; ``raw``, the pixel of the raw file
        that the first of them is (0-based); ``focal``, the middle of the first in the focal plane, pixels from the
        boresight along the detector's axes, None in the overscan. Empty where the camera is not known.
    """
    ref = butler.get_dataset(dataset_id)
    data_id = {} if ref is None else dict(ref.dataId.required)
    if ref is None or "detector" not in data_id or "instrument" not in data_id:
        return {}
    cameras = butler.query_datasets(
        "camera", find_first=False, collections="*", explain=False, where="instrument = inst",
        bind={"inst": data_id["instrument"]},
    )  # fmt: skip
    if not cameras:
        return {}
    camera = butler.get(cameras[0])
    detector = next((d for d in camera.detectors if d.id == data_id["detector"]), None)
    if detector is None:
        return {}
    height, width = detector.bbox.shape
    raw = ref.datasetType.name == "raw"
    found: dict[str, dict[str, Any]] = {}

    def add(name: str, box: Any, in_raw: Any, focal: list[float] | None) -> None:
        corners = [box.x0, box.y0, box.x1 - 1, box.y1 - 1]
        found[name] = {"box": corners, "raw": [in_raw.x0, in_raw.y0], "focal": focal}

    for part in detector.amplifiers:
        focal = [
            part.bbox.x0 - detector.bbox.x0 - (width - 1) / 2 + detector.offset_x,
            part.bbox.y0 - detector.bbox.y0 - (height - 1) / 2 + detector.offset_y,
        ]
        add(part.name, part.raw_bbox if raw else part.bbox, part.raw_bbox, focal)
        if raw and part.overscan_bbox is not None:
            add(f"{part.name} overscan", part.overscan_bbox, part.overscan_bbox, None)
    return found


def measure_stamp(stamp: NDArray[np.float64]) -> dict[str, float]:
    """Measure the width of a PSF by its second moments under its own weight.

    Returns
    -------
    dict
        ``fwhm_px`` of the Gaussian with these moments.
    """
    y, x = np.indices(stamp.shape, dtype=float)
    cx, cy, sigma = float((stamp * x).sum()), float((stamp * y).sum()), 2.0
    # Adaptive weights: unweighted moments of a stamp measure its wings and its edge.
    for _ in range(30):
        weight = stamp * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * sigma**2))
        total = weight.sum()
        cx, cy = float((weight * x).sum() / total), float((weight * y).sum() / total)
        # Under a weight of the same width the moments of each axis are half of the true ones.
        sigma = math.sqrt(max(float((weight * ((x - cx) ** 2 + (y - cy) ** 2)).sum() / total), 0.1))
    return {"fwhm_px": 2.3548 * sigma}
