"""Queries that people have saved, in SQLite, with those who may read them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from skydesk_portal.models.saved_queries import QueryDefinition, SavedQuery
from skydesk_portal.storage.threaded import ThreadedFile

__all__ = ["SavedQueryStore"]

_QUERIES = (
    "CREATE TABLE IF NOT EXISTS saved_query"
    " (id TEXT PRIMARY KEY, owner TEXT NOT NULL, name TEXT NOT NULL, definition TEXT NOT NULL, changed REAL NOT NULL,"
    " UNIQUE (owner, name)) WITHOUT ROWID"
)
_READERS = (
    "CREATE TABLE IF NOT EXISTS saved_query_reader"
    " (id TEXT NOT NULL REFERENCES saved_query(id) ON DELETE CASCADE, kind TEXT NOT NULL CHECK (kind IN ('user', 'group')),"
    " reader TEXT NOT NULL, PRIMARY KEY (id, kind, reader)) WITHOUT ROWID"
)


class SavedQueryStore:
    """Keeps saved queries.

    Parameters
    ----------
    file
        The database; made if it is missing.
    """

    def __init__(self, file: Path) -> None:
        self._database = ThreadedFile(file, _QUERIES)

    def _open(self) -> sqlite3.Connection:
        connection = self._database.connect()
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute(_READERS)
        return connection

    def _read(self, connection: sqlite3.Connection, row: tuple[str, str, str, float]) -> SavedQuery:
        found: dict[str, list[str]] = {"user": [], "group": []}
        readers = connection.execute(
            "SELECT kind, reader FROM saved_query_reader WHERE id = ? ORDER BY reader", (row[0],)
        )
        for kind, reader in readers:
            found[kind].append(reader)
        definition = QueryDefinition.from_document(json.loads(row[2]))
        changed = datetime.fromtimestamp(row[3], UTC)
        return SavedQuery(row[0], row[1], definition, changed, tuple(found["user"]), tuple(found["group"]))

    def find(self, query_id: str) -> SavedQuery | None:
        """Return a query, `None` if there is none of that identifier."""
        connection = self._open()
        row = connection.execute(
            "SELECT id, owner, definition, changed FROM saved_query WHERE id = ?", (query_id,)
        ).fetchone()
        return None if row is None else self._read(connection, row)

    def find_name(self, owner: str, name: str) -> SavedQuery | None:
        """Return the query of an owner that has a name."""
        row = (
            self._open()
            .execute("SELECT id FROM saved_query WHERE owner = ? AND name = ?", (owner, name))
            .fetchone()
        )
        return None if row is None else self.find(row[0])

    def count(self, owner: str) -> int:
        """Return how many queries somebody has saved."""
        row = self._open().execute("SELECT COUNT(*) FROM saved_query WHERE owner = ?", (owner,)).fetchone()
        return int(row[0])

    def put(self, query: SavedQuery) -> None:
        """Keep a query with its readers, in place of the one of the same identifier."""
        document = json.dumps(query.definition.to_document())
        values = (query.id, query.owner, query.definition.name, document, query.changed.timestamp())
        readers = [(query.id, "user", name) for name in query.users]
        readers += [(query.id, "group", name) for name in query.groups]
        with self._open() as connection:
            connection.execute("DELETE FROM saved_query WHERE id = ?", (query.id,))
            connection.execute("INSERT INTO saved_query VALUES (?, ?, ?, ?, ?)", values)
            connection.executemany("INSERT OR IGNORE INTO saved_query_reader VALUES (?, ?, ?)", readers)

    def remove(self, query_id: str) -> None:
        """Forget a query."""
        with self._open() as connection:
            connection.execute("DELETE FROM saved_query WHERE id = ?", (query_id,))

    def list_readable(self, user: str, groups: Iterable[str]) -> list[SavedQuery]:
        """Return the queries of a user and those shared with the user or one of the groups, by owner and name."""
        readers = [("user", user), *(("group", name) for name in groups)]
        marks = ", ".join("(?, ?)" for _ in readers)
        connection = self._open()
        rows = connection.execute(
            "SELECT id, owner, definition, changed FROM saved_query WHERE owner = ? OR id IN"
            f" (SELECT id FROM saved_query_reader WHERE (kind, reader) IN (VALUES {marks}))"
            " ORDER BY owner <> ?, owner, name",
            [user, *(value for reader in readers for value in reader), user],
        ).fetchall()
        return [self._read(connection, row) for row in rows]
