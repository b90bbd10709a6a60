"""Issuing the alerts of a release again, in the rhythm in which they were taken."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from skydesk_portal.exceptions import UsageError
from skydesk_portal.services.alert_delivery import BATCH

if TYPE_CHECKING:
    from skydesk_portal.models.alerts import AlertRow
    from skydesk_portal.pipeline import Release
    from skydesk_portal.services.alerts import AlertService
    from skydesk_portal.storage.alert_stream import AlertStream

__all__ = ["Issued", "replay_alerts"]

_DAY_S = 86_400.0


@dataclass(frozen=True)
class Issued:
    """Alerts that were issued again.

    Parameters
    ----------
    seq
        Number of their batch.
    count
        How many they are.
    visit
        Where they were seen.
    midpoint_mjd_tai
        When they were seen.
    """

    seq: int
    count: int
    visit: int
    midpoint_mjd_tai: float


def replay_alerts(
    alerts: AlertService,
    stream: AlertStream,
    release: Release,
    *,
    speed: float,
    count: int | None = None,
    wait: Callable[[float], object] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Issued]:
    """Issue the alerts of a release again, visit by visit.

    Parameters
    ----------
    alerts
        Reads the alerts.
    stream
        Takes them.
    release
        A release with alerts.
    speed
        How many times faster than they were taken; 0 does not wait at all.
    count
        How many at most; `None` for all.
    wait, clock
        Wait for some seconds; tell the time in seconds.

    Yields
    ------
    Issued
        What was issued, when it has been.

    Raises
    ------
    UsageError
        If the speed or the number is none.
    """
    if not 0 <= speed < float("inf") or (count is not None and count < 1):
        raise UsageError("the speed is 0 or more, the number of alerts 1 or more")
    begun = clock()
    first: float | None = None
    for (visit, mjd), rows in groupby(
        _rows(alerts, release, count), lambda row: (row.visit, row.midpoint_mjd_tai)
    ):
        first = mjd if first is None else first
        if speed:
            due = begun + (mjd - first) * _DAY_S / speed
            if due > clock():
                wait(due - clock())
        ids = [row.alert_id for row in rows]
        for start in range(0, len(ids), BATCH):
            part = ids[start : start + BATCH]
            yield Issued(stream.append(release.name, "replay", part), len(part), visit, mjd)


def _rows(alerts: AlertService, release: Release, count: int | None) -> Iterator[AlertRow]:
    left, place = count, None
    while left is None or left > 0:
        rows = alerts.list_after(release, place, BATCH if left is None else min(BATCH, left))
        if not rows:
            return
        yield from rows
        place = (rows[-1].midpoint_mjd_tai, rows[-1].alert_id)
        left = None if left is None else left - len(rows)
