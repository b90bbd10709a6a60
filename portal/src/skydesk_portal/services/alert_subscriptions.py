"""Subscriptions to alerts: made, paused, watched and ended by the people they belong to."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from skydesk_portal.exceptions import ForbiddenError, NotFoundError, QuotaError, UsageError
from skydesk_portal.models.alert_subscriptions import (
    EVERY_RELEASE,
    Delivery,
    DeliveryNote,
    Subscription,
    SubscriptionState,
    SubscriptionWish,
)
from skydesk_portal.models.alerts import AlertRow
from skydesk_portal.models.identity import Identity
from skydesk_portal.services.alert_filters import AlertFilter, check_filter, list_filters
from skydesk_portal.services.alert_webhooks import AlertWebhooks
from skydesk_portal.services.files import SCOPE as FILES_SCOPE

if TYPE_CHECKING:
    from skydesk_portal.pipeline import Release
    from skydesk_portal.pipeline.releases import ReleaseStore
    from skydesk_portal.services.alerts import AlertService
    from skydesk_portal.services.signing import LinkSigner
    from skydesk_portal.services.tap import TapService
    from skydesk_portal.storage.alert_stream import AlertStream
    from skydesk_portal.storage.alert_subscriptions import AlertSubscriptionStore

__all__ = ["SCOPE", "AlertSubscriptionService", "FeedEntry", "act_for"]

SCOPE = "read:alertdb"
"""The scope that reading alerts takes."""

MOST_REPLAYED = 1000
"""Alerts that a person can have sent again at once."""

_DAY_S = 86_400.0
_FEED_S = 365 * _DAY_S
_FEED_ENTRIES = 200
_MOST = 50
_LONGEST_NAME = 60
_LONGEST_FILTER = 2000
_ID = re.compile(r"[0-9a-f]{16}\Z")


def act_for(subscription: Subscription) -> Identity:
    """Return the subscriber as whom alerts are selected and delivered."""
    return Identity(
        subscription.owner,
        frozenset({SCOPE, "read:tap", FILES_SCOPE}),
        frozenset(subscription.groups),
    )


@dataclass(frozen=True)
class FeedEntry:
    """An alert in the feed of a subscription.

    Parameters
    ----------
    delivery
        What was delivered.
    row
        What the index says of it.
    """

    delivery: Delivery
    row: AlertRow


class AlertSubscriptionService:
    """Everything people may do with their subscriptions.

    Parameters
    ----------
    store, stream
        Subscriptions, and what was issued.
    alerts, releases, queries
        Alerts of releases, the releases, and the query service, which judges filters.
    webhooks
        Addresses outside that may be used.
    signer
        Signs the addresses of feeds.
    url
        Public base address.
    days
        How long logs and deliveries are kept.
    """

    def __init__(
        self,
        store: AlertSubscriptionStore,
        stream: AlertStream,
        alerts: AlertService,
        releases: ReleaseStore,
        queries: TapService,
        webhooks: AlertWebhooks,
        signer: LinkSigner,
        url: str,
        days: float,
    ) -> None:
        self.store, self.stream = store, stream
        self.webhooks = webhooks
        self._alerts, self._releases, self._queries = alerts, releases, queries
        self._signer, self._url, self._days = signer, url, days

    def _check_scope(self, identity: Identity) -> None:
        if SCOPE not in identity.scopes:
            raise ForbiddenError(f"your token does not have the scope {SCOPE}, which alerts take")

    def list_filters(self, identity: Identity, release: str) -> list[AlertFilter]:
        """Return the supplied filters of a release, or those of the newest one for `EVERY_RELEASE`."""
        names = self._alerts.list_releases(identity)
        name = (names[0] if names else "") if release == EVERY_RELEASE else release
        if name not in names:
            raise NotFoundError(f"there is no release {release[:40]!r} with alerts")
        return list_filters(self._queries.catalog_for(identity), name)

    def check(self, identity: Identity, wish: SubscriptionWish) -> None:
        """Refuse a subscription that could not work.

        Raises
        ------
        ForbiddenError
            If the caller may not read alerts, or not write files, or not use the webhook.
        NotFoundError
            If there is no such release with alerts.
        UsageError
            If a value is none; `QueryError` if the filter is none.
        """
        self._check_scope(identity)
        if not wish.name.strip() or len(wish.name) > _LONGEST_NAME or not wish.name.isprintable():
            raise UsageError(f"the name of a subscription has 1 to {_LONGEST_NAME} printable characters")
        if len(wish.condition) > _LONGEST_FILTER:
            raise UsageError(f"a filter has at most {_LONGEST_FILTER} characters")
        if wish.filter and wish.condition.strip():
            raise UsageError("give the name of a supplied filter or a condition of your own, not both")
        if wish.to_files and FILES_SCOPE not in identity.scopes:
            raise ForbiddenError(f"the token does not have the scope {FILES_SCOPE}")
        if wish.webhook:
            self.webhooks.check(wish.webhook)
        names = self._alerts.list_releases(identity)
        if not names:
            raise NotFoundError("there is no release with alerts")
        if wish.release != EVERY_RELEASE and wish.release not in names:
            raise NotFoundError(f"there is no release {wish.release[:40]!r} with alerts")
        check_filter(
            self._queries, identity, wish, names[0] if wish.release == EVERY_RELEASE else wish.release
        )

    def create(self, identity: Identity, wish: SubscriptionWish) -> Subscription:
        """Subscribe to what is issued from now on.

        Raises
        ------
        FileConflictError
            If the caller has a subscription of that name.
        QuotaError
            If the caller has as many as one may have.
        PortalError
            See `check`.
        """
        wish = replace(wish, name=wish.name.strip(), condition=wish.condition.strip())
        self.check(identity, wish)
        if len(self.store.list_all(identity.name)) >= _MOST:
            raise QuotaError(f"you have {_MOST} subscriptions, as many as one may have: end one first")
        self.skip_unheard()
        made = Subscription(
            secrets.token_hex(8), identity.name, wish, tuple(sorted(identity.groups)), time.time(),
            cursor=self.stream.last(),
        )  # fmt: skip
        self.store.add(made)
        return made

    def skip_unheard(self) -> None:
        """Let releases that were published while nobody was subscribed count as issued."""
        if self.store.list_all():
            return
        for release in self._releases.list_all():
            created = str(release.manifest.created)
            if release.manifest.alerts is not None and not self.stream.is_known(release.name, created):
                self.stream.skip(release.name, created)

    def list_subscriptions(self, identity: Identity) -> list[Subscription]:
        """Return the caller's subscriptions, by age."""
        self._check_scope(identity)
        return [self._refresh(identity, found) for found in self.store.list_all(identity.name)]

    def _refresh(self, identity: Identity, found: Subscription) -> Subscription:
        groups = tuple(sorted(identity.groups))
        if groups != found.groups:
            import json

            self.store.change(found.id, owner_groups=json.dumps(groups))
        return replace(found, groups=groups)

    def get(self, identity: Identity, subscription_id: str) -> Subscription:
        """Return a subscription of the caller.

        Raises
        ------
        NotFoundError
            If the caller has none such.
        """
        self._check_scope(identity)
        found = self.store.find(subscription_id) if _ID.match(subscription_id) else None
        if found is None or found.owner != identity.name:
            raise NotFoundError(f"you have no subscription {subscription_id[:40]!r}")
        return self._refresh(identity, found)

    def set_state(self, identity: Identity, subscription_id: str, state: SubscriptionState) -> Subscription:
        """Pause a subscription, or go on: what was issued meanwhile is delivered then."""
        found = self.get(identity, subscription_id)
        self.store.change(found.id, state=state, tries=0, retry_s=0.0)
        return replace(found, state=state, tries=0, retry_s=0.0)

    def remove(self, identity: Identity, subscription_id: str) -> None:
        """End a subscription and forget its log; files in the storage stay."""
        self.store.remove(self.get(identity, subscription_id).id)

    def replay(self, identity: Identity, subscription_id: str, count: int) -> int:
        """Send the newest alerts of the release again, to this subscription alone, for trying a filter.

        Parameters
        ----------
        identity, subscription_id
            Whose subscription.
        count
            How many alerts at most.

        Returns
        -------
        int
            How many will pass by.

        Raises
        ------
        UsageError
            If the number is none.
        """
        found = self.get(identity, subscription_id)
        if not 1 <= count <= MOST_REPLAYED:
            raise UsageError(f"from 1 to {MOST_REPLAYED} alerts can be sent again")
        release = self._newest(identity, found.wish.release)
        rows = self._alerts.list_newest(release, count)
        self.stream.append(release.name, "replay", [row.alert_id for row in rows], only=found.id)
        return len(rows)

    def _newest(self, identity: Identity, wanted: str) -> Release:
        names = self._alerts.list_releases(identity)
        name = (names[0] if names else "") if wanted == EVERY_RELEASE else wanted
        release = self._releases.find(identity, name)
        if release is None or release.manifest.alerts is None:
            raise NotFoundError("there is no release with alerts")
        return release

    def list_notes(self, identity: Identity, subscription_id: str, last: int = 100) -> list[DeliveryNote]:
        """Return the newest lines of the delivery log, the newest first."""
        return self.store.list_notes(self.get(identity, subscription_id).id, last)

    def list_deliveries(
        self, identity: Identity, subscription_id: str, last: int = 1000, before: int | None = None
    ) -> list[Delivery]:
        """Return the newest alerts that were delivered, the newest first; see `AlertSubscriptionStore`."""
        return self.store.list_deliveries(self.get(identity, subscription_id).id, last, before)

    def describe_feed(self, subscription: Subscription, form: str) -> str:
        """Return the address of the feed of a subscription, which needs no token.

        Parameters
        ----------
        subscription
            The subscription.
        form
            ``atom`` or ``json``.
        """
        path = f"/api/alerts/subscriptions/{subscription.id}/feed.{form}"
        return f"{self._url}{path}?{self._signer.sign(self._signed(subscription), _FEED_S)}"

    @staticmethod
    def _signed(subscription: Subscription) -> str:
        return f"alert feed {subscription.id} {subscription.feed_serial}"

    def renew_feed(self, identity: Identity, subscription_id: str) -> Subscription:
        """Let the addresses of the feed that were given so far be good for nothing any more."""
        return self.store.renew_feed(self.get(identity, subscription_id))

    def read_feed(
        self, subscription_id: str, expires: str, signature: str
    ) -> tuple[Subscription, Sequence[FeedEntry]]:
        """Return what the feed of a subscription holds, for whoever has its address.

        Raises
        ------
        ForbiddenError
            If the address is not good.
        """
        found = self.store.find(subscription_id) if _ID.match(subscription_id) else None
        good = (
            found is not None
            and re.fullmatch(r"[0-9]{1,12}", expires) is not None
            and self._signer.check(self._signed(found), int(expires), signature)
        )
        if found is None or not good:
            raise ForbiddenError("the address of the feed has expired, or is not good")
        return found, self._list_entries(found, act_for(found))

    def read_own_feed(
        self, identity: Identity, subscription_id: str
    ) -> tuple[Subscription, Sequence[FeedEntry]]:
        """Return what the feed of a subscription of the caller holds.

        Raises
        ------
        NotFoundError
            If the caller has no such subscription.
        """
        found = self.get(identity, subscription_id)
        return found, self._list_entries(found, identity)

    def _list_entries(self, found: Subscription, who: Identity) -> list[FeedEntry]:
        entries = []
        for delivery in self.store.list_deliveries(found.id, _FEED_ENTRIES):
            release = self._releases.find(who, delivery.release)
            row = self._alerts.find_row(release, delivery.alert_id) if release is not None else None
            if row is not None:
                entries.append(FeedEntry(delivery, row))
        return entries

    def sweep(self) -> int:
        """Forget old lines of logs and of the stream; return how many."""
        oldest_s = time.time() - self._days * _DAY_S
        return self.store.sweep(oldest_s) + self.stream.sweep(oldest_s)
