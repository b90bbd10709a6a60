"""Jobs in PostgreSQL: one queue for the api and the workers of several machines."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import dict_row

from skydesk_portal.exceptions import ConfigError, UpstreamError
from skydesk_portal.storage.jobs import COLUMNS, INDEXES, VERSION, SqlJobStore

__all__ = ["PostgresJobStore"]

# Any number, the same in every process: only one of them makes the tables.
_SETUP_LOCK = 0x736B7964
_CONNECT_S = 5


@contextmanager
def _guard() -> Iterator[None]:
    # Says that the database is away without telling how it is reached.
    try:
        yield
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise UpstreamError("the job database does not answer; try again in a moment") from error


class PostgresJobStore(SqlJobStore):
    """Jobs in a PostgreSQL database.

    Parameters
    ----------
    address
        Connection URI or keywords as libpq reads them, without the password.
    password
        The password, if one is needed.

    Raises
    ------
    ConfigError
        If the database was written by a newer version or the address is wrong.
    UpstreamError
        If the database does not answer.
    """

    _LOCK_NEXT: ClassVar[str] = " FOR UPDATE OF q SKIP LOCKED"

    def __init__(self, address: str, password: str | None = None) -> None:
        try:
            given = conninfo_to_dict(address)
        except psycopg.ProgrammingError as error:
            raise ConfigError("portal.jobs_database is not an address that PostgreSQL understands") from error
        if given.get("password"):
            raise ConfigError(
                "portal.jobs_database holds a password: name a file in portal.jobs_password_file"
            )
        self._address = make_conninfo(
            address, password=password, connect_timeout=_CONNECT_S, application_name="skydesk"
        )
        self._local = threading.local()
        with _guard(), self._open().transaction():
            db = self._open()
            db.execute("SELECT pg_advisory_xact_lock(%s)", (_SETUP_LOCK,))
            db.execute("CREATE TABLE IF NOT EXISTS job_version (version INTEGER NOT NULL)")
            row = db.execute("SELECT max(version) AS version FROM job_version").fetchone()
            found = (row or {}).get("version")
            if found is not None and found > VERSION:
                raise ConfigError(
                    f"the job database has version {found}, newer than this program knows ({VERSION})"
                )
            columns = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
            db.execute(f"CREATE TABLE IF NOT EXISTS job ({columns})")
            for statement in INDEXES:
                db.execute(statement)
            if found is None:
                db.execute("INSERT INTO job_version VALUES (%s)", (VERSION,))

    def _open(self) -> psycopg.Connection[dict[str, Any]]:
        db: psycopg.Connection[dict[str, Any]] | None = getattr(self._local, "db", None)
        if db is None or db.closed:
            # One connection a thread; a broken one is replaced at the next use.
            db = psycopg.connect(self._address, autocommit=True, row_factory=dict_row)
            self._local.db = db
        return db

    def _read(self, sql: str, values: Sequence[object] = ()) -> list[Mapping[str, Any]]:
        with _guard():
            return list(self._open().execute(sql.replace("?", "%s"), values))

    def _write(self, sql: str, values: Sequence[object] = ()) -> tuple[int, list[Mapping[str, Any]]]:
        with _guard():
            done = self._open().execute(sql.replace("?", "%s"), values)
            rows: list[Mapping[str, Any]] = [*done.fetchall()] if done.description else []
            return done.rowcount, rows

    def _now(self) -> float:
        # The database's clock: the clocks of several machines differ by more than a lease may.
        return float(self._read("SELECT extract(epoch FROM clock_timestamp()) AS now")[0]["now"])
