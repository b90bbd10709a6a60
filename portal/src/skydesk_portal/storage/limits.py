"""Counters that the processes of one machine share: requests per minute and what runs at the moment."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from skydesk_portal.log import get_logger

__all__ = ["Counters", "CountersError", "Hits"]

CountersError = sqlite3.Error
"""What the counters raise when their file cannot be used."""

WINDOW_S = 60.0


@dataclass(frozen=True)
class Hits:
    """How often something was asked for in the last minute.

    A sliding window of two counters: those of this minute of the clock, and those of the minute before in
    proportion to how much of it still lies within the last 60 s.

    Parameters
    ----------
    hits, before
        Requests of this minute and of the one before.
    at
        When (Unix time).
    """

    hits: int
    before: int
    at: float

    @property
    def used(self) -> float:
        """Requests of the last 60 s."""
        return self.hits + (1.0 - self.at % WINDOW_S / WINDOW_S) * self.before

    @property
    def reset(self) -> float:
        """When the minute that is counted ends (Unix time)."""
        return (self.at // WINDOW_S + 1) * WINDOW_S

    def wait_s(self, limit: int) -> float:
        """Return in how many seconds one more request fits under a limit, after one that did not."""
        passed = self.at % WINDOW_S / WINDOW_S
        kept = self.hits - 1
        if self.before > 0 and limit - kept - 1 >= 0:
            return max(0.0, 1.0 - (limit - kept - 1) / self.before - passed) * WINDOW_S
        return self.reset - self.at + max(0.0, 1.0 - (limit - 1) / max(kept, 1)) * WINDOW_S


class Counters:
    """Counters in a small SQLite file that need not outlive the machine.

    Parameters
    ----------
    path
        The file; made if it does not exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._prepare()
        except sqlite3.DatabaseError as error:
            # Nothing in it is worth keeping: a file that cannot be read is made anew.
            get_logger().warning("the counters are made anew", error=str(error))
            self._local = threading.local()
            path.unlink(missing_ok=True)
            self._prepare()

    def _prepare(self) -> None:
        db = self._open()
        db.execute(
            "CREATE TABLE IF NOT EXISTS hits (key TEXT PRIMARY KEY, window INTEGER, hits INTEGER, before INTEGER)"
        )
        db.execute("CREATE TABLE IF NOT EXISTS running (id TEXT PRIMARY KEY, key TEXT, until REAL)")
        db.execute("CREATE INDEX IF NOT EXISTS running_key ON running (key)")

    def _open(self) -> sqlite3.Connection:
        db: sqlite3.Connection | None = getattr(self._local, "db", None)
        if db is None:
            db = sqlite3.connect(self._path, timeout=5, isolation_level=None)
            db.execute("PRAGMA journal_mode=WAL")
            # Nothing here has to survive a power cut, so that no write waits for the disk.
            db.execute("PRAGMA synchronous=OFF")
            self._local.db = db
        return db

    def hit(self, key: str, now: float | None = None) -> Hits:
        """Count a request.

        Parameters
        ----------
        key
            Whose, of which service.
        now
            The time; by default the clock's.
        """
        at = time.time() if now is None else now
        row = (
            self._open()
            .execute(
                "INSERT INTO hits VALUES (?, ?, 1, 0) ON CONFLICT (key) DO UPDATE SET"
                " before=CASE WHEN window=excluded.window THEN before WHEN window=excluded.window-1 THEN hits ELSE 0 END,"
                " hits=CASE WHEN window=excluded.window THEN hits+1 ELSE 1 END, window=excluded.window"
                " RETURNING hits, before",
                (key, int(at // WINDOW_S)),
            )
            .fetchall()[0]
        )
        return Hits(row[0], row[1], at)

    def take_back(self, key: str) -> None:
        """Forget a request that was refused, so that a caller who keeps asking gets in again."""
        self._open().execute("UPDATE hits SET hits=max(hits-1, 0) WHERE key=?", (key,))

    def enter(self, key: str, limit: int, longest_s: float) -> str | None:
        """Note that something begins.

        Parameters
        ----------
        key
            Whose, of which service.
        limit
            How much may run at once.
        longest_s
            When it counts as ended although nobody said so: its process may have been killed.

        Returns
        -------
        str or None
            What `leave` wants; `None` if there is too much already.
        """
        now = time.time()
        name = f"{os.getpid()}-{threading.get_ident()}-{time.monotonic_ns()}"
        # One statement, so that two processes cannot both take the last place.
        done = self._open().execute(
            "INSERT INTO running SELECT ?, ?, ? WHERE (SELECT count(*) FROM running WHERE key=? AND until>?) < ?",
            (name, key, now + longest_s, key, now, limit),
        )
        return name if done.rowcount > 0 else None

    def leave(self, name: str) -> None:
        """Note that something ended."""
        self._open().execute("DELETE FROM running WHERE id=?", (name,))

    def sweep(self) -> None:
        """Forget what is long over."""
        now = time.time()
        db = self._open()
        db.execute("DELETE FROM running WHERE until<?", (now,))
        db.execute("DELETE FROM hits WHERE window<?", (int(now // WINDOW_S) - 2,))
