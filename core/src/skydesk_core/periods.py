"""Period searches of light curves, for notebooks and services.

For example::

    from skydesk_core.periods import make_series, search_periods

    series = make_series(curve["expMidptMJD"], curve["psfFlux"], curve["psfFluxErr"], curve["band"], relative=True)
    for peak in search_periods(series).peaks:
        print(peak.period_day, peak.period_error_day, peak.false_alarm, peak.relation)
"""

from __future__ import annotations

from skydesk_core.algorithms.boxes import search_boxes
from skydesk_core.algorithms.periods import Peak, PeriodSearch, Series, make_series, search_periods

__all__ = ["Peak", "PeriodSearch", "Series", "make_series", "search_boxes", "search_periods"]
