"""Compiled kernels (numba, cached on disk) behind the algorithms."""

from __future__ import annotations

import importlib
from typing import Final

__all__ = ["WARMERS", "warm"]

WARMERS: Final[tuple[str, ...]] = (
    "skydesk_core.kernels.warm_multi",
    "skydesk_core.kernels.warm_single",
    "skydesk_core.sim.painting",
)
"""Modules whose function ``warm()`` compiles a group of kernels."""


def warm() -> None:
    """Compile every kernel and leave the result in numba's cache folder."""
    for name in WARMERS:
        importlib.import_module(name).warm()
