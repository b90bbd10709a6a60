"""Whether the services behind the pages work, each asked something small."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from skydesk_portal.exceptions import UpstreamError

if TYPE_CHECKING:
    from skydesk_portal.models.identity import Identity
    from skydesk_portal.ui.services import PortalServices

__all__ = ["ServiceState", "check_services"]

_WORKER_S = 60.0
log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class ServiceState:
    """One service.

    Parameters
    ----------
    name
        What people call it.
    trouble
        What is wrong, and what that means for a person; empty if nothing is.
    """

    name: str
    trouble: str = ""


def _check_workers(run: Path) -> None:
    """Refuse if no worker has lately said that it lives."""
    beats = [path.stat().st_mtime for path in run.glob("*.health")] if run.is_dir() else []
    if not beats or max(beats) < time.time() - _WORKER_S:
        raise UpstreamError("no worker runs, so jobs wait until one does")


def _checks(services: PortalServices, who: Identity) -> Iterator[tuple[str, Callable[[], object]]]:
    releases = services.releases.list_visible(who)
    yield (
        "Catalogs",
        lambda: services.queries.run_query(who, "SELECT TOP 1 schema_name FROM tap_schema.schemas", 1),
    )
    if releases:
        yield "Images", lambda: services.images.list_images(who, releases[0].name)
        yield "Alerts", lambda: services.alerts.list_releases(who)
    yield "Jobs", lambda: services.jobs.store.measure(who.name)
    yield "Workers", lambda: _check_workers(services.run)
    yield "Files", lambda: services.files.measure_bytes(who)
    yield "Own tables", lambda: services.tables.usage_of(who)


def check_services(services: PortalServices, who: Identity) -> list[ServiceState]:
    """Ask every service something small.

    Parameters
    ----------
    services
        What the pages work with.
    who
        Who looks.

    Returns
    -------
    list of ServiceState
        In a fixed order.
    """
    found = []
    for name, check in _checks(services, who):
        try:
            check()
        except Exception as error:  # noqa: BLE001 - a service may fail in any way; the page must say so and go on
            log.warning("service does not work", service=name, error=str(error))
            found.append(ServiceState(name, str(error) or type(error).__name__))
        else:
            found.append(ServiceState(name))
    return found
