"""Rate limits and quotas of people: the platform's figures, what groups get on top, what one person was given."""

from __future__ import annotations

import math
from dataclasses import dataclass

from skydesk_portal.config import PortalConfig
from skydesk_portal.exceptions import RateLimitError
from skydesk_portal.log import get_logger
from skydesk_portal.models.identity import Identity
from skydesk_portal.models.quota import UNLIMITED, Quota
from skydesk_portal.storage.limits import Counters, CountersError

__all__ = ["LimitService", "Ticket", "service_of"]

# An answer may still be on its way when the query itself has ended.
_MARGIN_S = 600


def service_of(path: str) -> str:
    """Return the service that an address belongs to, such as ``tap`` for ``/api/tap/sync``."""
    parts = path.strip("/").split("/")
    return parts[1] if len(parts) > 1 and parts[0] == "api" else parts[0]


@dataclass(frozen=True)
class Ticket:
    """A request that was let in.

    Parameters
    ----------
    headers
        Headers that tell how much of the quota is used.
    place
        What has to be given back when the request has ended; `None` if nothing.
    """

    headers: dict[str, str]
    place: str | None = None


class LimitService:
    """Lets requests in as long as the caller's quota allows.

    Parameters
    ----------
    config
        The platform's figures.
    counters
        What all processes have counted.
    """

    def __init__(self, config: PortalConfig, counters: Counters | None) -> None:
        self._config = config
        self._counters = counters
        self._usual = Quota(**config.quota.model_dump())
        self._grants = {name: Quota(**grant.model_dump()) for name, grant in config.group_quotas.items()}

    def quota_for(self, identity: Identity) -> Quota:
        """Return what a person may use.

        Parameters
        ----------
        identity
            The person.

        Returns
        -------
        Quota
            The platform's figures plus what each group grants, replaced by the
            person's own figures where an administrator set some.
        """
        if identity.groups & frozenset(self._config.unlimited_groups):
            return Quota()
        quota = self._usual
        for group in sorted(identity.groups & self._grants.keys()):
            quota = quota.plus(self._grants[group])
        return quota.replaced_by(identity.quota)

    def enter(self, identity: Identity, service: str, *, query: bool) -> Ticket:
        """Count a request and let it in.

        Parameters
        ----------
        identity
            The caller.
        service
            Which service is asked.
        query
            Whether the request is a query or cut-out that is answered at once,
            of which only so many may run.

        Returns
        -------
        Ticket
            What to put into the answer's headers and to give back at its end.

        Raises
        ------
        RateLimitError
            If it is too much.
        """
        if self._counters is None:
            return Ticket({})
        quota = self.quota_for(identity)
        try:
            headers = self._count(identity, service, quota.requests_for(service))
            limit = quota.concurrent_for(service)
            if not query or limit == UNLIMITED:
                return Ticket(headers)
            longest_s = self._config.sync_seconds + _MARGIN_S
            place = self._counters.enter(f"{identity.name}/{service}", limit, longest_s)
        except CountersError as error:
            # Better nobody is counted for a moment than everybody kept out, for instance because the disk is full.
            get_logger().error("requests are not counted", error=str(error))
            return Ticket({})
        if place is None:
            raise RateLimitError(f"{limit} of your requests to {service} are running already", 1, headers)
        return Ticket(headers, place)

    def _count(self, identity: Identity, service: str, limit: int) -> dict[str, str]:
        if limit == UNLIMITED or self._counters is None:
            return {}
        key = f"{identity.name}/{service}"
        hits = self._counters.hit(key)
        refused = hits.used > limit
        if refused:
            self._counters.take_back(key)
        used = min(float(limit), hits.used)
        headers = {
            "X-RateLimit-Limit": str(limit),
            "X-RateLimit-Used": str(math.ceil(used)),
            "X-RateLimit-Remaining": str(max(0, math.floor(limit - used))),
            "X-RateLimit-Reset": str(int(hits.reset)),
            "X-RateLimit-Resource": service,
        }
        if refused:
            wait_s = max(1, math.ceil(hits.wait_s(limit)))
            raise RateLimitError(f"more than {limit} requests to {service} within a minute", wait_s, headers)
        return headers

    def leave(self, ticket: Ticket) -> None:
        """Give back the place of a request that has ended."""
        if ticket.place is None or self._counters is None:
            return
        try:
            self._counters.leave(ticket.place)
        except CountersError as error:
            get_logger().error("a place is not given back before its time", error=str(error))

    def sweep(self) -> None:
        """Forget what is long over."""
        if self._counters is not None:
            self._counters.sweep()
