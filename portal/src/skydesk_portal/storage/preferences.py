"""Preferences of people, in SQLite: one document for each."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from skydesk_portal.exceptions import PortalError

__all__ = ["PreferenceStore"]


class PreferenceStore:
    """Keeps a document for each person.

    Parameters
    ----------
    path
        The file; made when something is first written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self._path, timeout=30, isolation_level=None)) as db:
                db.execute(
                    "CREATE TABLE IF NOT EXISTS preference (owner TEXT PRIMARY KEY, document TEXT NOT NULL)"
                )
                yield db
        except sqlite3.Error as error:
            raise PortalError("preferences cannot be read or written now") from error

    def _read(self, db: sqlite3.Connection, owner: str) -> dict[str, Any]:
        row = db.execute("SELECT document FROM preference WHERE owner = ?", [owner]).fetchone()
        found = json.loads(row[0]) if row else {}
        return found if isinstance(found, dict) else {}

    def find(self, owner: str) -> dict[str, Any]:
        """Return the document of a person, an empty one if there is none."""
        if not self._path.exists():
            return {}
        with self._open() as db:
            return self._read(db, owner)

    def change(self, owner: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """Replace the document of a person by what a function makes of it, with nobody in between."""
        with self._open() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                document = json.dumps(change(self._read(db, owner)))
                db.execute("INSERT OR REPLACE INTO preference VALUES (?, ?)", [owner, document])
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")
