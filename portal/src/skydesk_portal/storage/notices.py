"""Notices of people, in SQLite."""

from __future__ import annotations

import time
from collections.abc import Collection
from pathlib import Path

from skydesk_portal.models.notices import Notice
from skydesk_portal.storage.threaded import ThreadedFile

__all__ = ["NoticeStore"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS notice (
  id INTEGER PRIMARY KEY AUTOINCREMENT, owner TEXT NOT NULL, subject TEXT NOT NULL, words TEXT NOT NULL,
  amount INTEGER NOT NULL, link TEXT NOT NULL, kind TEXT NOT NULL, at_s REAL NOT NULL, is_read INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS notice_of ON notice (owner, id);
CREATE TABLE IF NOT EXISTS wanted (
  owner TEXT NOT NULL, subject TEXT NOT NULL, at_s REAL NOT NULL, PRIMARY KEY (owner, subject));
"""


class NoticeStore:
    """Keeps notices, and what people want to be told about.

    Parameters
    ----------
    file
        The database; made if it is missing.
    """

    def __init__(self, file: Path) -> None:
        self._database = ThreadedFile(file, _SCHEMA)

    def add(self, owner: str, subject: str, words: str, amount: int, link: str, kind: str) -> None:
        """Keep a notice; an unread one about the same is replaced, and its amount added.

        Parameters
        ----------
        owner
            Who gets it.
        subject
            What it is about.
        words
            The text; ``{n}`` in it stands for the amount.
        amount
            Of what it is about.
        link, kind
            See `Notice`.
        """
        with self._database.change() as connection:
            row = connection.execute(
                "SELECT SUM(amount) FROM notice WHERE owner = ? AND subject = ? AND is_read = 0",
                (owner, subject),
            ).fetchone()
            connection.execute(
                "DELETE FROM notice WHERE owner = ? AND subject = ? AND is_read = 0", (owner, subject)
            )
            connection.execute(
                "INSERT INTO notice (owner, subject, words, amount, link, kind, at_s, is_read)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, 0)",
                (owner, subject, words, amount + (row[0] or 0), link, kind, time.time()),
            )

    def list_newest(self, owner: str, last: int) -> list[Notice]:
        """Return the newest notices of a person, the newest first."""
        rows = self._database.connect().execute(
            "SELECT id, subject, words, amount, link, kind, at_s, is_read FROM notice WHERE owner = ?"
            " ORDER BY id DESC LIMIT ?",
            (owner, last),
        )
        return [
            Notice(number, subject, words.replace("{n}", f"{amount:,}"), link, kind, at_s, bool(is_read))
            for number, subject, words, amount, link, kind, at_s, is_read in rows.fetchall()
        ]

    def count_unread(self, owner: str) -> int:
        """Return how many notices a person has not read."""
        row = (
            self._database.connect()
            .execute("SELECT COUNT(*) FROM notice WHERE owner = ? AND is_read = 0", (owner,))
            .fetchone()
        )
        return int(row[0])

    def mark_read(self, owner: str, ids: Collection[int] | None, *, is_read: bool = True) -> None:
        """Let notices of a person count as read or unread; all of them with `None`."""
        with self._database.connect() as connection:
            if ids is None:
                connection.execute("UPDATE notice SET is_read = ? WHERE owner = ?", (is_read, owner))
            else:
                connection.executemany(
                    "UPDATE notice SET is_read = ? WHERE owner = ? AND id = ?",
                    [(is_read, owner, number) for number in ids],
                )

    def remove(self, owner: str, notice_id: int | None) -> None:
        """Forget a notice of a person, or all of them with `None`."""
        with self._database.connect() as connection:
            if notice_id is None:
                connection.execute("DELETE FROM notice WHERE owner = ?", (owner,))
            else:
                connection.execute("DELETE FROM notice WHERE owner = ? AND id = ?", (owner, notice_id))

    def want(self, owner: str, subject: str, *, wanted: bool) -> None:
        """Note that a person wants to be told about something, or does so no more."""
        with self._database.connect() as connection:
            if wanted:
                connection.execute(
                    "INSERT OR REPLACE INTO wanted VALUES (?, ?, ?)", (owner, subject, time.time())
                )
            else:
                connection.execute("DELETE FROM wanted WHERE owner = ? AND subject = ?", (owner, subject))

    def is_wanted(self, owner: str, subject: str) -> bool:
        """Tell whether a person wants to be told about something."""
        row = (
            self._database.connect()
            .execute("SELECT 1 FROM wanted WHERE owner = ? AND subject = ?", (owner, subject))
            .fetchone()
        )
        return row is not None

    def sweep(self, oldest_s: float) -> int:
        """Forget what was made before a time (Unix time); return how many notices."""
        with self._database.connect() as connection:
            connection.execute("DELETE FROM wanted WHERE at_s < ?", (oldest_s,))
            return connection.execute("DELETE FROM notice WHERE at_s < ?", (oldest_s,)).rowcount
