"""Subscriptions to alerts and their delivery logs, in SQLite."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

from skydesk_portal.exceptions import FileConflictError
from skydesk_portal.models.alert_subscriptions import (
    Delivery,
    DeliveryNote,
    Subscription,
    SubscriptionState,
    SubscriptionWish,
)
from skydesk_portal.storage.threaded import ThreadedFile

__all__ = ["AlertSubscriptionStore"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS subscription (
  id TEXT PRIMARY KEY, owner TEXT NOT NULL, name TEXT NOT NULL, release TEXT NOT NULL, filter TEXT NOT NULL,
  condition TEXT NOT NULL, to_files INTEGER NOT NULL, webhook TEXT NOT NULL, owner_groups TEXT NOT NULL,
  created_s REAL NOT NULL, state TEXT NOT NULL, cursor INTEGER NOT NULL, seen INTEGER NOT NULL, sent INTEGER NOT NULL,
  failed INTEGER NOT NULL, error TEXT NOT NULL, error_s REAL NOT NULL, tries INTEGER NOT NULL, retry_s REAL NOT NULL,
  feed_serial INTEGER NOT NULL, UNIQUE (owner, name));
CREATE TABLE IF NOT EXISTS note (
  subscription TEXT NOT NULL, seq INTEGER NOT NULL, release TEXT NOT NULL, kind TEXT NOT NULL, at_s REAL NOT NULL,
  seen INTEGER NOT NULL, sent INTEGER NOT NULL, failed INTEGER NOT NULL, reason TEXT NOT NULL, file TEXT NOT NULL,
  PRIMARY KEY (subscription, seq));
CREATE TABLE IF NOT EXISTS delivery (
  subscription TEXT NOT NULL, seq INTEGER NOT NULL, place INTEGER NOT NULL, alert_id INTEGER NOT NULL,
  release TEXT NOT NULL, at_s REAL NOT NULL, kind TEXT NOT NULL, PRIMARY KEY (subscription, seq, place))
  WITHOUT ROWID;
"""
_COLUMNS = (
    "id, owner, name, release, filter, condition, to_files, webhook, owner_groups, created_s, state, cursor, seen,"
    " sent, failed, error, error_s, tries, retry_s, feed_serial"
)


def _read(row: Sequence[Any]) -> Subscription:
    name, release, chosen, condition, to_files, webhook = row[2:8]
    wish = SubscriptionWish(name, release, chosen, condition, bool(to_files), webhook)
    return Subscription(
        row[0], row[1], wish, tuple(json.loads(row[8])), row[9], SubscriptionState(row[10]), *row[11:]
    )


class AlertSubscriptionStore:
    """Keeps subscriptions, what became of each batch for them, and the alerts that were delivered.

    Parameters
    ----------
    file
        The database; made if it is missing.
    """

    def __init__(self, file: Path) -> None:
        self._database = ThreadedFile(file, _SCHEMA)

    def add(self, subscription: Subscription) -> None:
        """Keep a new subscription.

        Raises
        ------
        FileConflictError
            If its owner has one of that name.
        """
        s, w = subscription, subscription.wish
        values = (
            s.id, s.owner, w.name, w.release, w.filter, w.condition, int(w.to_files), w.webhook, json.dumps(s.groups),
            s.created_s, s.state, s.cursor, s.seen, s.sent, s.failed, s.error, s.error_s, s.tries, s.retry_s,
            s.feed_serial,
        )  # fmt: skip
        try:
            with self._database.connect() as connection:
                connection.execute(
                    f"INSERT INTO subscription ({_COLUMNS}) VALUES ({', '.join('?' * len(values))})", values
                )
        except sqlite3.IntegrityError as error:
            raise FileConflictError(f"you have a subscription {w.name!r} already") from error

    def find(self, subscription_id: str) -> Subscription | None:
        """Return a subscription, `None` if there is none."""
        found = self._select("WHERE id = ?", (subscription_id,))
        return found[0] if found else None

    def list_all(
        self, owner: str | None = None, state: SubscriptionState | None = None
    ) -> list[Subscription]:
        """Return the subscriptions of a person or of everybody, by age."""
        conditions = {"owner": owner, "state": state}
        given = {name: value for name, value in conditions.items() if value is not None}
        where = f"WHERE {' AND '.join(f'{name} = ?' for name in given)}" if given else ""
        return self._select(f"{where} ORDER BY created_s, id", tuple(given.values()))

    def _select(self, tail: str, values: tuple[str, ...]) -> list[Subscription]:
        rows = self._database.connect().execute(f"SELECT {_COLUMNS} FROM subscription {tail}", values)
        return [_read(row) for row in rows.fetchall()]

    def change(self, subscription_id: str, **values: str | float) -> None:
        """Change some of what is kept of a subscription, by the names of its columns."""
        names = ", ".join(f"{name} = ?" for name in values)
        with self._database.connect() as connection:
            connection.execute(
                f"UPDATE subscription SET {names} WHERE id = ?", (*values.values(), subscription_id)
            )

    def remove(self, subscription_id: str) -> None:
        """Forget a subscription with its log."""
        with self._database.connect() as connection:
            connection.execute("DELETE FROM subscription WHERE id = ?", (subscription_id,))
            for table in ("note", "delivery"):
                connection.execute(f"DELETE FROM {table} WHERE subscription = ?", (subscription_id,))

    def deliver(self, before: Subscription, note: DeliveryNote, alert_ids: Sequence[int]) -> bool:
        """Note that a batch was dealt with, deliver its alerts and go on behind it, in one step.

        Parameters
        ----------
        before
            The subscription as it was when the batch was looked at.
        note
            What became of the batch.
        alert_ids
            The alerts that passed the filter.

        Returns
        -------
        bool
            Whether it was done; `False` if another process was faster, or the subscription was changed meanwhile.
        """
        with self._database.change() as connection:
            changed = connection.execute(
                "UPDATE subscription SET cursor = ?, seen = seen + ?, sent = sent + ?, failed = failed + ?, error = ?,"
                " error_s = ?, tries = 0, retry_s = 0 WHERE id = ? AND cursor = ? AND state = ?",
                (
                    note.seq, note.seen, note.sent, note.failed, note.reason, note.at_s if note.reason else 0.0,
                    before.id, before.cursor, SubscriptionState.ACTIVE,
                ),
            ).rowcount  # fmt: skip
            if changed:
                connection.execute(
                    "INSERT INTO note VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (before.id, *astuple(note))
                )
                connection.executemany(
                    "INSERT INTO delivery VALUES (?, ?, ?, ?, ?, ?, ?)",
                    [
                        (before.id, note.seq, n, alert_id, note.release, note.at_s, note.kind)
                        for n, alert_id in enumerate(alert_ids)
                    ],
                )
        return bool(changed)

    def list_notes(self, subscription_id: str, last: int) -> list[DeliveryNote]:
        """Return the newest lines of the log of a subscription, the newest first."""
        rows = self._database.connect().execute(
            "SELECT seq, release, kind, at_s, seen, sent, failed, reason, file FROM note WHERE subscription = ?"
            " ORDER BY seq DESC LIMIT ?",
            (subscription_id, last),
        )
        return [DeliveryNote(*row) for row in rows.fetchall()]

    def list_deliveries(self, subscription_id: str, last: int, before: int | None = None) -> list[Delivery]:
        """Return the newest alerts that a subscription got, the newest first.

        Parameters
        ----------
        subscription_id
            The subscription.
        last
            How many at most.
        before
            Only those of batches before this one.
        """
        rows = self._database.connect().execute(
            "SELECT seq, alert_id, release, at_s, kind FROM delivery WHERE subscription = ? AND seq < ?"
            " ORDER BY seq DESC, place DESC LIMIT ?",
            (subscription_id, (1 << 62) if before is None else before, last),
        )
        return [Delivery(*row) for row in rows.fetchall()]

    def sweep(self, oldest_s: float) -> int:
        """Forget lines of logs and deliveries from before a time (Unix time); return how many lines."""
        with self._database.connect() as connection:
            connection.execute("DELETE FROM delivery WHERE at_s < ?", (oldest_s,))
            return connection.execute("DELETE FROM note WHERE at_s < ?", (oldest_s,)).rowcount

    def renew_feed(self, subscription: Subscription) -> Subscription:
        """Let the addresses of a feed that were given so far be good for nothing any more."""
        serial = subscription.feed_serial + 1
        self.change(subscription.id, feed_serial=serial)
        return replace(subscription, feed_serial=serial)
