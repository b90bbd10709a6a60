"""The core's period searches; the kernels behind them are loaded when this module is."""

from __future__ import annotations

from skydesk_core.periods import (
    Peak,
    PeriodSearch,
    Series,
    make_series,
    search_boxes,
    search_periods,
)

__all__ = ["Peak", "PeriodSearch", "Series", "make_series", "search_boxes", "search_periods"]
