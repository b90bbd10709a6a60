"""With whom people share their Butler repositories, in SQLite."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from skydesk_portal.storage.threaded import ThreadedFile

__all__ = ["ShareStore"]

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS repository_readers"
    " (owner TEXT NOT NULL, kind TEXT NOT NULL CHECK (kind IN ('user', 'group')), reader TEXT NOT NULL,"
    " PRIMARY KEY (owner, kind, reader)) WITHOUT ROWID"
)


class ShareStore:
    """Keeps who may read whose repository.

    Parameters
    ----------
    file
        The database; made if it is missing.
    """

    def __init__(self, file: Path) -> None:
        self._database = ThreadedFile(file, _SCHEMA)

    def get_readers(self, owner: str) -> tuple[frozenset[str], frozenset[str]]:
        """Return the users and the groups that may read somebody's repository.

        Parameters
        ----------
        owner
            Whose repository.
        """
        rows = self._database.connect().execute(
            "SELECT kind, reader FROM repository_readers WHERE owner = ?", (owner,)
        )
        found: dict[str, set[str]] = {"user": set(), "group": set()}
        for kind, reader in rows:
            found[kind].add(reader)
        return frozenset(found["user"]), frozenset(found["group"])

    def set_readers(self, owner: str, users: Iterable[str], groups: Iterable[str]) -> None:
        """Replace the users and groups that may read somebody's repository."""
        rows = [(owner, "user", name) for name in users] + [(owner, "group", name) for name in groups]
        with self._database.connect() as connection:
            connection.execute("DELETE FROM repository_readers WHERE owner = ?", (owner,))
            connection.executemany("INSERT OR IGNORE INTO repository_readers VALUES (?, ?, ?)", rows)

    def list_owners(self, user: str, groups: Iterable[str]) -> list[str]:
        """Return who shares a repository with a user or one of the user's groups, sorted."""
        readers = [("user", user), *(("group", name) for name in groups)]
        marks = ", ".join("(?, ?)" for _ in readers)
        rows = self._database.connect().execute(
            f"SELECT DISTINCT owner FROM repository_readers WHERE (kind, reader) IN (VALUES {marks}) ORDER BY owner",
            [value for reader in readers for value in reader],
        )
        return [owner for (owner,) in rows]
