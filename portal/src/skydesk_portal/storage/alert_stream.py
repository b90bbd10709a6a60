"""The stream of alerts: what was issued in which order, in SQLite."""

from __future__ import annotations

import time
from array import array
from collections.abc import Sequence
from pathlib import Path

from skydesk_portal.models.alert_subscriptions import EVERY_RELEASE, StreamBatch
from skydesk_portal.storage.threaded import ThreadedFile

__all__ = ["AlertStream"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS batch (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, release TEXT NOT NULL, kind TEXT NOT NULL, only_for TEXT NOT NULL,
  issued_s REAL NOT NULL, alert_ids BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS issued (
  release TEXT NOT NULL, created TEXT NOT NULL, mjd REAL, alert_id INTEGER, done INTEGER NOT NULL,
  PRIMARY KEY (release, created));
"""
_COLUMNS = "seq, release, kind, only_for, issued_s, alert_ids"


class AlertStream:
    """Batches of alerts, numbered as they were issued.

    Parameters
    ----------
    file
        The database; made if it is missing.
    """

    def __init__(self, file: Path) -> None:
        self._database = ThreadedFile(file, _SCHEMA)

    def last(self) -> int:
        """Return the number of the last batch, 0 before the first."""
        row = (
            self._database.connect()
            .execute("SELECT seq FROM sqlite_sequence WHERE name = 'batch'")
            .fetchone()
        )
        return int(row[0]) if row else 0

    def append(self, release: str, kind: str, alert_ids: Sequence[int], only: str = "") -> int:
        """Issue alerts; return the number of their batch."""
        with self._database.connect() as connection:
            return self._insert(connection, release, kind, alert_ids, only)

    def _insert(self, connection: object, release: str, kind: str, ids: Sequence[int], only: str) -> int:
        made = connection.execute(  # type: ignore[attr-defined]
            "INSERT INTO batch (release, kind, only_for, issued_s, alert_ids) VALUES (?, ?, ?, ?, ?)",
            (release, kind, only, time.time(), array("q", ids).tobytes()),
        )
        return int(made.lastrowid)

    def find_next(self, after: int, release: str, subscription: str) -> StreamBatch | None:
        """Return the next batch that a subscription gets, `None` if there is none yet.

        Parameters
        ----------
        after
            Number of the batch before.
        release
            Release that is subscribed to, or `EVERY_RELEASE`.
        subscription
            Identifier of the subscription.
        """
        row = (
            self._database.connect()
            .execute(
                f"SELECT {_COLUMNS} FROM batch WHERE seq > ? AND (? = ? OR release = ?)"
                " AND (only_for = '' OR only_for = ?) ORDER BY seq LIMIT 1",
                (after, release, EVERY_RELEASE, release, subscription),
            )
            .fetchone()
        )
        if row is None:
            return None
        ids = array("q")
        ids.frombytes(row[5])
        seq, of, kind, only, issued_s = row[:5]
        return StreamBatch(seq, of, kind, only, issued_s, tuple(ids))

    def is_known(self, release: str, created: str) -> bool:
        """Tell whether all alerts of a release have been issued."""
        row = (
            self._database.connect()
            .execute("SELECT done FROM issued WHERE release = ? AND created = ?", (release, created))
            .fetchone()
        )
        return row is not None and bool(row[0])

    def is_new(self) -> bool:
        """Tell whether no release has ever been seen."""
        return self._database.connect().execute("SELECT 1 FROM issued LIMIT 1").fetchone() is None

    def skip(self, release: str, created: str) -> None:
        """Let the alerts of a release count as issued."""
        with self._database.connect() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO issued VALUES (?, ?, NULL, NULL, 1)", (release, created)
            )

    def find_place(self, release: str, created: str) -> tuple[float, int] | None:
        """Return time (MJD TAI) and identifier of the last alert of a release that was issued."""
        row = (
            self._database.connect()
            .execute("SELECT mjd, alert_id FROM issued WHERE release = ? AND created = ?", (release, created))
            .fetchone()
        )
        return None if row is None or row[0] is None else (float(row[0]), int(row[1]))

    def issue(
        self,
        release: str,
        created: str,
        alert_ids: Sequence[int],
        before: tuple[float, int] | None,
        place: tuple[float, int] | None,
    ) -> bool:
        """Issue the next alerts of a release that was published, and note how far that is, in one step.

        Parameters
        ----------
        release, created
            The release and when it was made.
        alert_ids
            The alerts; none if all have been issued.
        before, place
            Time and identifier of the last alert that was issued before, and of the last of these; `None` for none.

        Returns
        -------
        bool
            Whether it was done; another process may have been faster.
        """
        with self._database.change() as connection:
            if self.find_place(release, created) != before or self.is_known(release, created):
                return False
            if alert_ids:
                self._insert(connection, release, "published", alert_ids, "")
            mjd, alert_id = place or before or (None, None)
            connection.execute(
                "INSERT OR REPLACE INTO issued VALUES (?, ?, ?, ?, ?)",
                (release, created, mjd, alert_id, int(not alert_ids)),
            )
        return True

    def sweep(self, oldest_s: float) -> int:
        """Forget batches that were issued before a time (Unix time); return how many."""
        with self._database.connect() as connection:
            return connection.execute("DELETE FROM batch WHERE issued_s < ?", (oldest_s,)).rowcount
