"""What is known of people's tables: one row each in SQLite (WAL), changed in one transaction."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from skydesk_portal.exceptions import ConfigError
from skydesk_portal.models.user_tables import UserTable, schema_of

__all__ = ["SqliteTableStore"]

_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS user_table (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, schema TEXT NOT NULL, folded TEXT NOT NULL, version INTEGER NOT NULL,
    size_bytes INTEGER NOT NULL, dropped REAL, document TEXT NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS user_table_name ON user_table (schema, folded) WHERE dropped IS NULL;
CREATE INDEX IF NOT EXISTS user_table_owner ON user_table (owner);
CREATE TABLE IF NOT EXISTS table_share (
    id TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, PRIMARY KEY (kind, name, id)
);
CREATE TABLE IF NOT EXISTS table_stamp (value INTEGER NOT NULL);
"""


class SqliteTableStore:
    """The list of all tables.

    Parameters
    ----------
    path
        The database file.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, timeout=30.0, isolation_level=None, check_same_thread=False)
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        with self._change():
            found = self._connection.execute("PRAGMA user_version").fetchone()[0]
            if found not in (0, _VERSION):
                raise ConfigError(f"{path}: made by another version of skydesk")
            for statement in _SCHEMA.split(";"):
                if statement.strip():
                    self._connection.execute(statement)
            self._connection.execute(f"PRAGMA user_version = {_VERSION}")
            if self._connection.execute("SELECT count(*) FROM table_stamp").fetchone()[0] == 0:
                self._connection.execute("INSERT INTO table_stamp VALUES (0)")

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def _touch(self) -> None:
        self._connection.execute("UPDATE table_stamp SET value = value + 1")

    def _select(self, where: str, values: Collection[object]) -> list[UserTable]:
        with self._lock:
            rows = self._connection.execute(
                f"SELECT document FROM user_table WHERE {where} ORDER BY schema, folded",  # no value in it
                tuple(values),
            ).fetchall()
        return [UserTable.from_document(json.loads(row["document"])) for row in rows]

    @property
    def stamp(self) -> int:
        """Changes whenever any table does."""
        with self._lock:
            return int(self._connection.execute("SELECT value FROM table_stamp").fetchone()[0])

    def _visible(self, owner: str, groups: Collection[str]) -> tuple[str, list[object]]:
        names = sorted(groups)
        marks = ",".join("?" * len(names))
        where = (
            "dropped IS NULL AND (owner = ? OR id IN (SELECT id FROM table_share WHERE (kind = 'user' AND name = ?)"
            f" OR (kind = 'group' AND name IN ({marks}))))"
        )
        return where, [owner, owner, *names]

    def list_visible(self, owner: str, groups: Collection[str]) -> list[UserTable]:
        """Return the tables that a person may read, by name."""
        return self._select(*self._visible(owner, groups))

    def find_visible(self, owner: str, groups: Collection[str], schema: str, name: str) -> UserTable | None:
        """Return a table that a person may read, `None` if there is none of that name for this person."""
        where, values = self._visible(owner, groups)
        found = self._select(
            f"{where} AND schema = ? AND folded = ?", [*values, schema.lower(), name.lower()]
        )
        return found[0] if found else None

    def list_dropped(self, owner: str) -> list[UserTable]:
        """Return the tables that a person has dropped and may restore, the last first."""
        found = self._select("owner = ? AND dropped IS NOT NULL", [owner])
        return sorted(found, key=lambda table: table.dropped or table.changed, reverse=True)

    def used_bytes(self, owner: str) -> int:
        """Return what a person's tables take, dropped ones included."""
        with self._lock:
            row = self._connection.execute(
                "SELECT coalesce(sum(size_bytes), 0) FROM user_table WHERE owner = ?", (owner,)
            ).fetchone()
        return int(row[0])

    def add(self, table: UserTable) -> bool:
        """Add a table.

        Returns
        -------
        bool
            `False` if its owner has one of that name.
        """
        try:
            with self._change() as connection:
                connection.execute(
                    "INSERT INTO user_table VALUES (?, ?, ?, ?, ?, ?, NULL, ?)",
                    (
                        table.id,
                        table.owner,
                        schema_of(table.owner),
                        table.name.lower(),
                        table.version,
                        table.size_bytes,
                        json.dumps(table.to_document()),
                    ),
                )
                self._touch()
        except sqlite3.IntegrityError:
            return False
        return True

    def change(self, table: UserTable, expected_version: int) -> bool:
        """Put a table in the place of the one before.

        Returns
        -------
        bool
            `False` if somebody else has changed or dropped it meanwhile.
        """
        with self._change() as connection:
            done = connection.execute(
                "UPDATE user_table SET version = ?, size_bytes = ?, document = ?"
                " WHERE id = ? AND version = ? AND dropped IS NULL",
                (
                    table.version,
                    table.size_bytes,
                    json.dumps(table.to_document()),
                    table.id,
                    expected_version,
                ),
            ).rowcount
            if done:
                connection.execute("DELETE FROM table_share WHERE id = ?", (table.id,))
                shares = [(table.id, "user", name) for name in table.users]
                shares += [(table.id, "group", name) for name in table.groups]
                connection.executemany("INSERT OR IGNORE INTO table_share VALUES (?, ?, ?)", shares)
                self._touch()
        return done == 1

    def set_dropped(self, table: UserTable, instant: datetime | None) -> bool:
        """Drop a table or take that back.

        Returns
        -------
        bool
            `False` if it is gone, or its name has been taken meanwhile.
        """
        marked = replace(table, dropped=instant)
        try:
            with self._change() as connection:
                done = connection.execute(
                    "UPDATE user_table SET dropped = ?, document = ? WHERE id = ? AND version = ?",
                    (
                        instant.timestamp() if instant else None,
                        json.dumps(marked.to_document()),
                        table.id,
                        table.version,
                    ),
                ).rowcount
                self._touch()
        except sqlite3.IntegrityError:
            return False
        return done == 1

    def remove(self, table_id: str) -> None:
        """Forget a table; its files are swept later."""
        with self._change() as connection:
            connection.execute("DELETE FROM user_table WHERE id = ?", (table_id,))
            connection.execute("DELETE FROM table_share WHERE id = ?", (table_id,))
            self._touch()

    def list_expired(self, before: datetime) -> list[UserTable]:
        """Return the tables that were dropped before an instant."""
        return self._select("dropped < ?", [before.timestamp()])

    def list_parts(self) -> dict[str, set[str]]:
        """Return the names of all files that tables need, by owner."""
        out: dict[str, set[str]] = {}
        for table in self._select("1", []):
            out.setdefault(table.owner, set()).update(table.parts)
        return out
