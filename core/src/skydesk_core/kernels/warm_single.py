"""Kernels of the single-frame steps and of period searches; they have explicit signatures, so importing them compiles them."""

from __future__ import annotations

__all__ = ["warm"]


def warm() -> None:
    """Compile the kernels."""
    import skydesk_core.kernels.isr
    import skydesk_core.kernels.periodogram  # noqa: F401
