"""Delivering alerts: what is issued goes through the filter of each subscription, once."""

from __future__ import annotations

import fcntl
import re
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from skydesk_portal.exceptions import FileConflictError, PortalError, UpstreamError
from skydesk_portal.log import get_logger
from skydesk_portal.models.alert_subscriptions import (
    DeliveryNote,
    StreamBatch,
    Subscription,
    SubscriptionState,
)
from skydesk_portal.services.alert_filters import select_alerts
from skydesk_portal.services.alert_subscriptions import AlertSubscriptionService, act_for

if TYPE_CHECKING:
    from skydesk_portal.models.identity import Identity
    from skydesk_portal.pipeline.releases import ReleaseStore
    from skydesk_portal.services.alerts import AlertService
    from skydesk_portal.services.files import FilesService
    from skydesk_portal.services.notices import NoticeService
    from skydesk_portal.services.tap import TapService

__all__ = ["BATCH", "AlertDelivery"]

BATCH = 500
"""Alerts that are issued together."""

_POLL_S = 1.0
_TRIES = 5
_LONGEST_WAIT_S = 300.0


@dataclass(frozen=True)
class _Outcome:
    """What became of a batch: the alerts that passed, the number that failed and why, the file."""

    passed: tuple[int, ...]
    failed: int = 0
    reason: str = ""
    file: str = ""


class AlertDelivery:
    """Delivers the alerts of releases to subscriptions.

    Each batch is dealt with in one transaction that also moves the subscription behind it, so that every alert is
    delivered once whatever ends the process, and however many processes do this. A file in the storage is named by the
    number of its batch and written before that: a second try replaces it by the same. A webhook may hear of the same
    batch again, with the same ``Idempotency-Key``.

    Parameters
    ----------
    subscriptions
        The subscriptions and the stream.
    alerts, releases, queries
        Alerts, releases, and the query service, which applies filters.
    files
        The storage of people.
    notices
        Tells people.
    lock
        File whose lock the one process holds that delivers.
    """

    def __init__(
        self,
        subscriptions: AlertSubscriptionService,
        alerts: AlertService,
        releases: ReleaseStore,
        queries: TapService,
        files: FilesService,
        notices: NoticeService,
        lock: Path,
    ) -> None:
        self._subscriptions = subscriptions
        self._store, self._stream = subscriptions.store, subscriptions.stream
        self._alerts, self._releases, self._queries = alerts, releases, queries
        self._files, self._notices, self._lock = files, notices, lock

    def loop(self, stop: threading.Event) -> None:
        """Deliver until told to stop; of several processes one does so, and another goes on when it ends."""
        self._lock.parent.mkdir(parents=True, exist_ok=True)
        with self._lock.open("w") as file:
            while not stop.is_set():
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    while not stop.is_set() and self.work():
                        pass
                except BlockingIOError:
                    pass
                except Exception:  # noqa: BLE001 - the next alerts must not wait for a restart
                    get_logger().exception("alerts are not delivered")
                stop.wait(_POLL_S)

    def work(self) -> bool:
        """Issue what was published and deliver one batch to each subscription.

        Returns
        -------
        bool
            Whether there was anything to do.
        """
        active = self._store.list_all(state=SubscriptionState.ACTIVE)
        busy = self._issue()
        now = time.time()
        for subscription in active:
            if subscription.retry_s <= now:
                busy |= self._deliver_next(subscription)
        return busy

    def _issue(self) -> bool:
        self._subscriptions.skip_unheard()
        for release in self._releases.list_all():
            created = str(release.manifest.created)
            if release.manifest.alerts is None or self._stream.is_known(release.name, created):
                continue
            before = self._stream.find_place(release.name, created)
            rows = self._alerts.list_after(release, before, BATCH)
            place = (rows[-1].midpoint_mjd_tai, rows[-1].alert_id) if rows else None
            self._stream.issue(release.name, created, [row.alert_id for row in rows], before, place)
            return True
        return False

    def _deliver_next(self, subscription: Subscription) -> bool:
        batch = self._stream.find_next(subscription.cursor, subscription.wish.release, subscription.id)
        if batch is None:
            return False
        who = act_for(subscription)
        if self._releases.find(who, batch.release) is None:
            # Not even its name is told to somebody who may not read it.
            self._store.change(subscription.id, cursor=batch.seq)
            return True
        try:
            outcome = self._handle(subscription, who, batch)
        except (PortalError, OSError) as error:
            again = isinstance(error, OSError) or error.retryable
            if again and subscription.tries + 1 < _TRIES:
                self._try_later(subscription, str(error))
                return True
            words = f"given up after {_TRIES} tries: {error}" if again else str(error)
            outcome = _Outcome((), len(batch.alert_ids), words)
        note = DeliveryNote(
            batch.seq, batch.release, batch.kind, time.time(), len(batch.alert_ids), len(outcome.passed),
            outcome.failed, outcome.reason, outcome.file,
        )  # fmt: skip
        if self._store.deliver(subscription, note, outcome.passed):
            self._tell(subscription, note)
        return True

    def _handle(self, subscription: Subscription, who: Identity, batch: StreamBatch) -> _Outcome:
        wish = subscription.wish
        passed = select_alerts(self._queries, who, wish, batch.release, batch.alert_ids)
        file, reasons = "", []
        if passed and wish.to_files:
            try:
                file = self._write_file(subscription, who, batch, passed)
            except PortalError as error:
                reasons.append(f"no file was written: {error}")
        if passed and wish.webhook:
            try:
                self._send(subscription, batch, passed)
            except UpstreamError:
                if subscription.tries + 1 < _TRIES:
                    raise
                reasons.append(f"the webhook did not answer {_TRIES} times")
            except PortalError as error:
                reasons.append(str(error))
        return _Outcome(tuple(passed), len(passed) if reasons else 0, "; ".join(reasons), file)

    def _write_file(
        self, subscription: Subscription, who: Identity, batch: StreamBatch, passed: list[int]
    ) -> str:
        slug = re.sub(r"[^\w.-]+", "-", subscription.wish.name).strip("-.") or "subscription"
        home = self._files.open_home(who)
        for depth in (("alerts",), ("alerts", slug)):
            if home.find(depth) is None:
                # Another process may have made it meanwhile.
                with suppress(FileConflictError):
                    home.make_folder(depth)
        path = f"alerts/{slug}/alerts-{batch.seq:08d}.avro"
        pending = self._files.begin_write(who, f"/{who.name}/{path}")
        try:
            self._alerts.write_packets(who, passed, batch.release, pending)
            pending.commit()
        finally:
            pending.discard()
        return path

    def _send(self, subscription: Subscription, batch: StreamBatch, passed: list[int]) -> None:
        body = {
            "version": 1,
            "subscription": subscription.wish.name,
            "release": batch.release,
            "kind": batch.kind,
            # 64-bit numbers are text in JSON.
            "alerts": [str(alert_id) for alert_id in passed],
        }
        self._subscriptions.webhooks.send(subscription.wish.webhook, body, f"{subscription.id}-{batch.seq}")

    def _try_later(self, subscription: Subscription, reason: str) -> None:
        tries = subscription.tries + 1
        now = time.time()
        self._store.change(
            subscription.id,
            tries=tries,
            retry_s=now + min(_LONGEST_WAIT_S, 2.0**tries),
            error=f"{reason}; it is tried again",
            error_s=now,
        )

    def _tell(self, subscription: Subscription, note: DeliveryNote) -> None:
        link = f"/portal/app/alerts?view=subscriptions&subscription={subscription.id}"
        name = subscription.wish.name
        if note.reason:
            self._notices.add(
                subscription.owner,
                f"alerts/{subscription.id}/error",
                f"The subscription {name} has a problem: {note.reason[:300]}",
                link=link,
                kind="error",
            )
        if note.sent:
            self._notices.add(
                subscription.owner,
                f"alerts/{subscription.id}",
                f"The subscription {name} has new alerts: {{n}}",
                link=link,
                amount=note.sent,
            )
