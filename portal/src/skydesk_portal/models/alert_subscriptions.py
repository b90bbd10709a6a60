"""Subscriptions to streams of alerts, and what was delivered to them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = [
    "EVERY_RELEASE",
    "Delivery",
    "DeliveryNote",
    "StreamBatch",
    "Subscription",
    "SubscriptionState",
    "SubscriptionWish",
]

EVERY_RELEASE = "*"
"""Stands for the alerts of every release that the subscriber may read."""


class SubscriptionState(StrEnum):
    """Whether alerts are delivered to a subscription."""

    ACTIVE = "active"
    PAUSED = "paused"


@dataclass(frozen=True)
class SubscriptionWish:
    """What somebody wants to subscribe to.

    Parameters
    ----------
    name
        What the subscriber calls it.
    release
        Name of a release, or `EVERY_RELEASE`.
    filter
        Name of a supplied filter; empty for an own condition.
    condition
        ADQL on the columns of ``DiaSource``; used where `filter` is empty.
    to_files
        Whether the packets are also written into the subscriber's storage.
    webhook
        Address that is told of alerts, empty for none.
    """

    name: str
    release: str = EVERY_RELEASE
    filter: str = ""
    condition: str = ""
    to_files: bool = False
    webhook: str = ""


@dataclass(frozen=True)
class Subscription:
    """A subscription as it is kept.

    Parameters
    ----------
    id, owner
        Identifier, and name of the subscriber.
    wish
        What is subscribed to.
    groups
        Groups of the subscriber, as known when the subscription was last looked after.
    created_s
        When it was made (Unix time).
    state
        Whether alerts are delivered.
    cursor
        Number of the last batch of the stream that was dealt with.
    seen, sent, failed
        Alerts that passed by, that were delivered, and that could not be.
    error, error_s
        Why the filter or the delivery failed last, empty when all is well; and when (Unix time).
    tries
        How often the next batch was tried in vain.
    retry_s
        When it is tried again (Unix time).
    feed_serial
        Counts the addresses that its feed has had.
    """

    id: str
    owner: str
    wish: SubscriptionWish
    groups: tuple[str, ...]
    created_s: float
    state: SubscriptionState = SubscriptionState.ACTIVE
    cursor: int = 0
    seen: int = 0
    sent: int = 0
    failed: int = 0
    error: str = ""
    error_s: float = 0.0
    tries: int = 0
    retry_s: float = 0.0
    feed_serial: int = 1


@dataclass(frozen=True)
class StreamBatch:
    """Alerts that were issued together.

    Parameters
    ----------
    seq
        Number in the stream.
    release
        Release that they belong to.
    kind
        ``published`` or ``replay``.
    only
        Subscription that alone receives them; empty for everybody's.
    issued_s
        When (Unix time).
    alert_ids
        Their identifiers, by time.
    """

    seq: int
    release: str
    kind: str
    only: str
    issued_s: float
    alert_ids: tuple[int, ...]


@dataclass(frozen=True)
class DeliveryNote:
    """What became of one batch for one subscription: a line of its log.

    Parameters
    ----------
    seq, release, kind
        The batch.
    at_s
        When it was dealt with (Unix time).
    seen, sent, failed
        Alerts that passed by, that were delivered, and that could not be.
    reason
        Why they could not be.
    file
        Path of the file in the subscriber's storage, empty for none.
    """

    seq: int
    release: str
    kind: str
    at_s: float
    seen: int
    sent: int
    failed: int
    reason: str = ""
    file: str = ""


@dataclass(frozen=True)
class Delivery:
    """One alert that was delivered.

    Parameters
    ----------
    seq
        Batch that it came with.
    alert_id, release
        The alert.
    at_s
        When it was delivered (Unix time).
    kind
        ``published`` or ``replay``.
    """

    seq: int
    alert_id: int
    release: str
    at_s: float
    kind: str
