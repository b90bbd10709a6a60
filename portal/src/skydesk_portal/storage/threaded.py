"""A small SQLite file that every thread opens for itself."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["ThreadedFile"]


class ThreadedFile:
    """Gives each thread its own connection to one database.

    Parameters
    ----------
    file
        The database; made if it is missing.
    schema
        Statements that make its tables unless they are there.
    named
        Whether columns of rows are found by name.
    """

    def __init__(self, file: Path, schema: str = "", *, named: bool = False) -> None:
        self._file = file
        self._schema = schema
        self._named = named
        self._local = threading.local()

    def connect(self) -> sqlite3.Connection:
        """Return the connection of this thread; as a context manager it is one transaction."""
        found: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if found is None:
            found = sqlite3.connect(self._file, timeout=30)
            found.execute("PRAGMA journal_mode=WAL")
            # With WAL a killed process loses nothing; only a power cut may lose the last instant.
            found.execute("PRAGMA synchronous=NORMAL")
            found.executescript(self._schema)
            if self._named:
                found.row_factory = sqlite3.Row
            self._local.connection = found
        return found

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """Enter a transaction that nobody else writes in, from before the first row is read; an exception takes it back."""
        with self.connect() as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
