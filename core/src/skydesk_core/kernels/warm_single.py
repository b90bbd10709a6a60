"""Kernels of the single-frame steps; they have explicit signatures, so importing them compiles them."""

from __future__ import annotations

__all__ = ["warm"]


def warm() -> None:
    """Compile the kernels of the single-frame steps."""
    import skydesk_core.kernels.isr  # noqa: F401
