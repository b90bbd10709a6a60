"""Quality figures of releases."""

from skydesk_core.qa.metrics import Metric, measure_release

__all__ = ["Metric", "measure_release"]
