"""The rows of the list of images: what ObsCore says of each, and whether it shows a position."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skydesk_portal.pipeline.sky import project

__all__ = ["ImageRow", "contains_position", "parse_outline"]


@dataclass(frozen=True)
class ImageRow:
    """One image as ObsCore lists it.

    Parameters
    ----------
    dataset_id, dataset_type, title
        Identity and the words for people.
    band
        Band, empty without one.
    visit, detector, tract, patch
        Parts of the data ID, `None` where they do not apply.
    ra_deg, dec_deg
        Centre, ICRS degrees.
    outline
        Corners, ICRS degrees, shape (n, 2); none for calibrations, which have no place on the sky.
    mjd_start
        Start of the exposure, MJD TAI; `None` for coadds.
    """

    dataset_id: str
    dataset_type: str
    title: str
    band: str
    visit: int | None
    detector: int | None
    tract: int | None
    patch: int | None
    ra_deg: float | None
    dec_deg: float | None
    outline: tuple[tuple[float, float], ...]
    mjd_start: float | None


def parse_outline(region: str | None) -> tuple[tuple[float, float], ...]:
    """Read the corners, ICRS degrees, out of a region of ObsCore; none without a region."""
    if not region:
        return ()
    numbers = [float(word) for word in region.split()[1:] if word[:1] in "+-.0123456789"]
    return tuple(zip(numbers[::2], numbers[1::2], strict=True))


def contains_position(row: ImageRow, ra_deg: float, dec_deg: float) -> bool:
    """Tell whether a position lies inside the outline of an image.

    Parameters
    ----------
    row
        The image; its outline is a convex or concave polygon much smaller than
        a hemisphere.
    ra_deg, dec_deg
        ICRS position in degrees.

    Returns
    -------
    bool
        `True` inside; images without an outline contain nothing.
    """
    if len(row.outline) < 3:
        return False
    corners = np.array(row.outline)
    if np.hypot((corners[0, 0] - ra_deg + 180) % 360 - 180, corners[0, 1] - dec_deg) > 60:
        return False
    x, y = project(corners[:, 0], corners[:, 1], (ra_deg, dec_deg))
    nx, ny = np.roll(x, -1), np.roll(y, -1)
    crosses = (y > 0) != (ny > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        at = x + (0 - y) * (nx - x) / (ny - y)
    return bool(np.count_nonzero(crosses & (at > 0)) % 2)
