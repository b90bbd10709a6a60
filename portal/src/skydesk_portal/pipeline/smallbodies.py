"""Small bodies of the core: orbits, predictions and phase functions; and from where a release looks at them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skydesk_core.smallbodies import (
    Ephemeris,
    Orbits,
    locate_observer,
    predict,
    predict_near,
    reduced_magnitude_hg,
    reduced_magnitude_hg12,
)
from skydesk_portal.pipeline.errors import core_errors

if TYPE_CHECKING:
    from skydesk_core.release import Release

__all__ = [
    "Ephemeris",
    "Orbits",
    "find_site",
    "locate_observer",
    "predict",
    "predict_near",
    "reduced_magnitude_hg",
    "reduced_magnitude_hg12",
]


def find_site(release: Release, instrument: str) -> tuple[float, float, float] | None:
    """Find where the observatory of an instrument is.

    Parameters
    ----------
    release
        The release.
    instrument
        Name of the instrument.

    Returns
    -------
    tuple or None
        Geodetic longitude (degrees, East), latitude (degrees) and height (m); None if the camera does not tell it.
    """
    with core_errors(), release.get_butler() as butler:
        # A calibration: its runs are no part of the published chain.
        found = butler.query_datasets(
            "camera", collections="*", find_first=False, instrument=instrument, explain=False
        )
        site: tuple[float, float, float] | None = butler.get(found[0]).site if found else None
        return site
