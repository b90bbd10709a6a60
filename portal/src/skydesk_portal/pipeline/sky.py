"""The core's arithmetic on the sky: pixel-to-sky polynomials of tile pyramids, the HEALPix index of tables."""

from __future__ import annotations

from skydesk_core.release.healpix import HP14_SHIFT, to_hp29
from skydesk_core.release.wcsfit import evaluate_wcs, fit_wcs, invert_wcs, project, unproject

__all__ = ["HP14_SHIFT", "evaluate_wcs", "fit_wcs", "invert_wcs", "project", "to_hp29", "unproject"]
