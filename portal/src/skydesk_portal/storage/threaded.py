"""A small SQLite file that every thread opens for itself."""

from __future__ import annotations

import sqlite3
import threading
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
    """

    def __init__(self, file: Path, schema: str) -> None:
        self._file = file
        self._schema = schema
        self._local = threading.local()

    def connect(self) -> sqlite3.Connection:
        """Return the connection of this thread; as a context manager it is one transaction."""
        found: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if found is None:
            found = sqlite3.connect(self._file, timeout=30)
            found.execute("PRAGMA journal_mode=WAL")
            found.executescript(self._schema)
            self._local.connection = found
        return found
