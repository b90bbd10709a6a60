"""Pixel-to-sky polynomials of the core, as tile pyramids carry them."""

from __future__ import annotations

from skydesk_core.release.wcsfit import evaluate_wcs, project

__all__ = ["evaluate_wcs", "project"]
