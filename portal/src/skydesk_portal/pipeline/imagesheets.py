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

__all__ = ["measure_stamp", "read_amplifiers", "read_header"]

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


def read_amplifiers(butler: Butler, dataset_id: UUID) -> dict[str, tuple[int, ...]]:
    """Return the readout channels of an image's detector.

    Parameters
    ----------
    butler
        The release's Butler.
    dataset_id
        An image of one detector.

    Returns
    -------
    dict
        Name to first column and row, last column and row (both included) in 0-based array pixels: those of the raw
        file for raws, those of the assembled detector for others; empty where the camera is not known.
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
    found = next((d for d in camera.detectors if d.id == data_id["detector"]), None)
    if found is None:
        return {}
    raw = ref.datasetType.name == "raw"
    boxes = {a.name: a.raw_bbox if raw else a.bbox for a in found.amplifiers}
    return {name: (b.x0, b.y0, b.x1 - 1, b.y1 - 1) for name, b in boxes.items()}


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
