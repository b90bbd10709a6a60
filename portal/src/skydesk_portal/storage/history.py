"""The queries people have run, in SQLite (WAL): one file that the api and all workers share."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

from skydesk_portal.exceptions import ConfigError
from skydesk_portal.models.history import PastQuery
from skydesk_portal.storage.threaded import ThreadedFile

__all__ = ["SqliteHistoryStore"]

VERSION = 2

_SCHEMA = """
CREATE TABLE IF NOT EXISTS query (
  id INTEGER PRIMARY KEY AUTOINCREMENT, owner TEXT NOT NULL, begun REAL NOT NULL, mode TEXT NOT NULL,
  parameters TEXT NOT NULL, status TEXT NOT NULL, rows INTEGER NOT NULL, overflow INTEGER NOT NULL,
  seconds REAL NOT NULL, error TEXT, cached INTEGER NOT NULL, job TEXT, result TEXT
);
CREATE INDEX IF NOT EXISTS query_owner ON query (owner, id);
CREATE INDEX IF NOT EXISTS query_begun ON query (begun);
"""


class SqliteHistoryStore:
    """The database of past queries.

    Parameters
    ----------
    path
        The file; made if it does not exist.

    Raises
    ------
    ConfigError
        If the file was written by a newer version.
    """

    def __init__(self, path: Path) -> None:
        self._database = ThreadedFile(path, named=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._database.change() as db:
            found = int(db.execute("PRAGMA user_version").fetchone()[0])
            if found > VERSION:
                raise ConfigError(f"{path}: version {found} is newer than this program knows ({VERSION})")
            for statement in filter(str.strip, _SCHEMA.split(";")):
                db.execute(statement)
            if found == 1:
                db.execute("ALTER TABLE query ADD COLUMN result TEXT")
            db.execute(f"PRAGMA user_version={VERSION}")

    def _query(self, row: sqlite3.Row) -> PastQuery:
        return PastQuery(
            id=row["id"],
            owner=row["owner"],
            begun=datetime.fromtimestamp(row["begun"], UTC),
            mode=row["mode"],
            parameters=tuple((k, v) for k, v in json.loads(row["parameters"])),
            status=row["status"],
            rows=row["rows"],
            overflow=bool(row["overflow"]),
            seconds=row["seconds"],
            error=row["error"],
            cached=bool(row["cached"]),
            job=row["job"],
            result=row["result"],
        )

    def add(self, query: PastQuery) -> int:
        """Keep a query; return its number."""
        with self._database.change() as db:
            done = db.execute(
                "INSERT INTO query (owner, begun, mode, parameters, status, rows, overflow, seconds, error, cached, job, result)"
                " VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
                (
                    query.owner,
                    query.begun.timestamp(),
                    query.mode,
                    json.dumps(query.parameters),
                    query.status,
                    query.rows,
                    query.overflow,
                    query.seconds,
                    query.error,
                    query.cached,
                    query.job,
                    query.result,
                ),
            )
            return int(done.lastrowid or 0)

    def find(self, owner: str, number: int) -> PastQuery | None:
        """Return a query of an owner, `None` if there is none of that number."""
        row = (
            self._database.connect()
            .execute("SELECT * FROM query WHERE id=? AND owner=?", (number, owner))
            .fetchone()
        )
        return None if row is None else self._query(row)

    def list_queries(self, owner: str, last: int, before: int | None = None) -> list[PastQuery]:
        """Return the queries of an owner, newest first, those before a number if one is given."""
        rows = self._database.connect().execute(
            "SELECT * FROM query WHERE owner=? AND id<? ORDER BY id DESC LIMIT ?",
            (owner, before if before is not None else 1 << 62, last),
        )
        return [self._query(row) for row in rows]

    def remove(self, owner: str, number: int | None = None) -> int:
        """Forget one query of an owner, or all; return how many that were."""
        with self._database.change() as db:
            if number is None:
                return db.execute("DELETE FROM query WHERE owner=?", (owner,)).rowcount
            return db.execute("DELETE FROM query WHERE owner=? AND id=?", (owner, number)).rowcount

    def remove_before(self, instant: datetime, keep: int) -> int:
        """Forget queries older than an instant and all but the newest of each owner; return how many."""
        with self._database.change() as db:
            old = db.execute("DELETE FROM query WHERE begun<?", (instant.timestamp(),)).rowcount
            many = db.execute(
                "DELETE FROM query WHERE id IN (SELECT id FROM (SELECT id, row_number() OVER"
                " (PARTITION BY owner ORDER BY id DESC) AS place FROM query) WHERE place>?)",
                (keep,),
            ).rowcount
            return old + many
