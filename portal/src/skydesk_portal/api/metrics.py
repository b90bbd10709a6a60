"""Counters of the api process in the form that Prometheus reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from skydesk_portal.models.jobs import JobKind, Phase

__all__ = ["Metrics"]

_BUCKETS_S = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 60.0)


class Metrics:
    """What one process counts.

    Parameters
    ----------
    count_phases
        Tells how many jobs of each kind are in each phase.
    """

    def __init__(self, count_phases: Callable[[], Mapping[tuple[JobKind, Phase], int]]) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "skydesk_api_requests_total",
            "Requests by route and status",
            ("method", "route", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "skydesk_api_request_seconds",
            "Time until the last byte was sent",
            ("route",),
            buckets=_BUCKETS_S,
            registry=self._registry,
        )
        self._bytes = Counter(
            "skydesk_api_sent_bytes_total", "Bytes sent by route", ("route",), registry=self._registry
        )
        self._registry.register(_JobCollector(count_phases))

    def count(self, method: str, route: str, status: int, seconds: float, sent_bytes: int) -> None:
        """Count a request that has ended."""
        # Methods are free text in HTTP: an unknown one must not make a time series of its own.
        known = method if method in _METHODS else "other"
        self._requests.labels(known, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)
        self._bytes.labels(route).inc(sent_bytes)

    def render(self) -> bytes:
        """Return everything in the text format of Prometheus."""
        return generate_latest(self._registry)


_METHODS = frozenset(
    {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND", "MKCOL", "COPY", "MOVE"}
)


class _JobCollector(Collector):
    """Asks the job store whenever somebody looks."""

    def __init__(self, count_phases: Callable[[], Mapping[tuple[JobKind, Phase], int]]) -> None:
        self._count_phases = count_phases

    def collect(self) -> Iterator[GaugeMetricFamily]:
        jobs = GaugeMetricFamily("skydesk_jobs", "Jobs by kind and phase", labels=("kind", "phase"))
        for (kind, phase), number in sorted(self._count_phases().items()):
            jobs.add_metric([kind.value, phase.value], number)
        yield jobs
