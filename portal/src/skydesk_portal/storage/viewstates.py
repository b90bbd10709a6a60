"""What lies over people's images and is too long for an address, in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from skydesk_portal.exceptions import PortalError

__all__ = ["ViewStateStore"]

_TABLE = """CREATE TABLE IF NOT EXISTS viewstate (
    owner TEXT NOT NULL, key TEXT NOT NULL, used INTEGER NOT NULL, document TEXT NOT NULL, PRIMARY KEY (owner, key))"""


class ViewStateStore:
    """Keeps documents of people by a key.

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
                db.execute(_TABLE)
                yield db
        except sqlite3.Error as error:
            raise PortalError("views cannot be read or written now") from error

    def keep(self, owner: str, key: str, document: str, most_bytes: int) -> None:
        """Keep a document; those of the owner that were used longest ago give way beyond some bytes together."""
        with self._open() as db:
            db.execute("BEGIN IMMEDIATE")
            db.execute(
                "INSERT OR REPLACE INTO viewstate "
                "SELECT ?, ?, COALESCE(MAX(used), 0) + 1, ? FROM viewstate WHERE owner = ?",
                [owner, key, document, owner],
            )
            db.execute(
                "DELETE FROM viewstate WHERE owner = ? AND key IN (SELECT key FROM (SELECT key, "
                "SUM(LENGTH(document)) OVER (ORDER BY used DESC) AS size FROM viewstate WHERE owner = ?) WHERE size > ?)",
                [owner, owner, most_bytes],
            )
            db.execute("COMMIT")

    def find(self, owner: str, key: str) -> str | None:
        """Return a document and note that it was used, `None` if there is none."""
        if not self._path.exists():
            return None
        with self._open() as db:
            row = db.execute(
                "UPDATE viewstate SET used = (SELECT MAX(used) + 1 FROM viewstate WHERE owner = :owner) "
                "WHERE owner = :owner AND key = :key RETURNING document",
                {"owner": owner, "key": key},
            ).fetchone()
        return None if row is None else str(row[0])
