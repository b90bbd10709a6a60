"""How much one person may use of the services."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["UNLIMITED", "Quota"]

UNLIMITED = 0
"""The figure that means no limit, in settings and here."""


@dataclass(frozen=True)
class Quota:
    """What one person may use; 0 means no limit everywhere.

    Parameters
    ----------
    requests_per_minute
        Requests by service, such as ``tap``; ``default`` for the services not named.
    concurrent
        Queries, cut-outs or runs at the same time by service.
    active_jobs
        Jobs of one service that are queued or running.
    kept_jobs
        Jobs that are kept in all.
    result_bytes
        Size of all results that are kept.
    """

    requests_per_minute: Mapping[str, int] = field(default_factory=dict)
    concurrent: Mapping[str, int] = field(default_factory=dict)
    active_jobs: int = UNLIMITED
    kept_jobs: int = UNLIMITED
    result_bytes: int = UNLIMITED

    def requests_for(self, service: str) -> int:
        """Return how many requests a minute a service answers."""
        return self.requests_per_minute.get(service, self.requests_per_minute.get("default", UNLIMITED))

    def concurrent_for(self, service: str) -> int:
        """Return how much of a service may run at the same time."""
        return self.concurrent.get(service, self.concurrent.get("default", UNLIMITED))

    def plus(self, grant: Quota) -> Quota:
        """Return this quota with a grant on top; no limit stays no limit."""
        return Quota(
            _add_each(self.requests_per_minute, grant.requests_per_minute),
            _add_each(self.concurrent, grant.concurrent),
            _add(self.active_jobs, grant.active_jobs),
            _add(self.kept_jobs, grant.kept_jobs),
            _add(self.result_bytes, grant.result_bytes),
        )

    def replaced_by(self, document: Mapping[str, Any]) -> Quota:
        """Return this quota with one person's own figures in place of the usual.

        Parameters
        ----------
        document
            The part ``quota`` of a user-info answer: ``api`` has requests a
            minute by service, ``concurrent`` what may run at once by service,
            ``jobs`` the keys ``active``, ``kept`` and ``result_bytes``.
        """
        jobs = _mapping(document.get("jobs"))
        return Quota(
            {**self.requests_per_minute, **_figures(document.get("api"))},
            {**self.concurrent, **_figures(document.get("concurrent"))},
            _figures(jobs).get("active", self.active_jobs),
            _figures(jobs).get("kept", self.kept_jobs),
            _figures(jobs).get("result_bytes", self.result_bytes),
        )


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _figures(value: object) -> dict[str, int]:
    return {
        str(key): figure for key, figure in _mapping(value).items() if isinstance(figure, int) and figure >= 0
    }


def _add(one: int, more: int) -> int:
    return UNLIMITED if one == UNLIMITED else one + more


def _add_each(one: Mapping[str, int], more: Mapping[str, int]) -> dict[str, int]:
    # A service that is not named has the default, and that is what the grant comes on top of.
    default = one.get("default", UNLIMITED)
    named = {name: _add(one.get(name, default), figure) for name, figure in more.items()}
    return {**one, **named}
