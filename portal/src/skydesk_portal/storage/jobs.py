"""Jobs in SQLite (WAL): one file that the api and all workers share."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

from skydesk_portal.exceptions import ConfigError
from skydesk_portal.models.jobs import Job, JobError, JobKind, JobResult, Phase
from skydesk_portal.uws.store import JobFilter

__all__ = ["SqliteJobStore"]

VERSION = 1

_SCHEMA = """
CREATE TABLE IF NOT EXISTS job (
  id TEXT PRIMARY KEY, kind TEXT NOT NULL, owner TEXT NOT NULL, phase TEXT NOT NULL, run_id TEXT,
  created REAL NOT NULL, started REAL, ended REAL, destruction REAL NOT NULL, quote REAL,
  execution_seconds INTEGER NOT NULL, groups TEXT NOT NULL, parameters TEXT NOT NULL, results TEXT NOT NULL DEFAULT '[]',
  error TEXT, progress TEXT NOT NULL DEFAULT '{}', attempt INTEGER NOT NULL DEFAULT 0, worker TEXT, lease REAL
);
CREATE INDEX IF NOT EXISTS job_queue ON job (phase, kind, created);
CREATE INDEX IF NOT EXISTS job_owner ON job (owner, created);
"""


def _stamp(value: datetime | None) -> float | None:
    return None if value is None else value.timestamp()


def _instant(value: float | None) -> datetime | None:
    return None if value is None else datetime.fromtimestamp(value, UTC)


class SqliteJobStore:
    """The job database.

    Parameters
    ----------
    path
        The file; made if it does not exist.

    Raises
    ------
    ConfigError
        If the file was written by a newer version.
    """

    _COLUMNS: ClassVar[dict[str, str]] = {
        "destruction": "destruction",
        "execution_seconds": "execution_seconds",
        "run_id": "run_id",
        "parameters": "parameters",
    }

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._write() as db:
            found = int(db.execute("PRAGMA user_version").fetchone()[0])
            if found > VERSION:
                raise ConfigError(f"{path}: version {found} is newer than this program knows ({VERSION})")
            for statement in filter(str.strip, _SCHEMA.split(";")):
                db.execute(statement)
            db.execute(f"PRAGMA user_version={VERSION}")

    def _open(self) -> sqlite3.Connection:
        db: sqlite3.Connection | None = getattr(self._local, "db", None)
        if db is None:
            db = sqlite3.connect(self._path, timeout=30, isolation_level=None)
            db.row_factory = sqlite3.Row
            db.execute("PRAGMA journal_mode=WAL")
            # With WAL a killed process loses nothing; only a power cut may lose the last instant.
            db.execute("PRAGMA synchronous=NORMAL")
            self._local.db = db
        return db

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        db = self._open()
        # IMMEDIATE takes the write lock before reading, so that no decision rests on an old row.
        db.execute("BEGIN IMMEDIATE")
        try:
            yield db
        except BaseException:
            db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")

    def _job(self, row: sqlite3.Row) -> Job:
        error = json.loads(row["error"]) if row["error"] else None
        created, destruction = _instant(row["created"]), _instant(row["destruction"])
        assert created is not None and destruction is not None  # noqa: PT018 - NOT NULL in the table
        return Job(
            id=row["id"],
            kind=JobKind(row["kind"]),
            owner=row["owner"],
            phase=Phase(row["phase"]),
            creation_time=created,
            destruction=destruction,
            execution_seconds=row["execution_seconds"],
            run_id=row["run_id"],
            groups=tuple(json.loads(row["groups"])),
            parameters=tuple((k, v) for k, v in json.loads(row["parameters"])),
            start_time=_instant(row["started"]),
            end_time=_instant(row["ended"]),
            quote=_instant(row["quote"]),
            results=tuple(JobResult(**r) for r in json.loads(row["results"])),
            error=JobError(**error) if error else None,
            attempt=row["attempt"],
            worker=row["worker"],
            progress=json.loads(row["progress"]),
        )

    def add(self, job: Job) -> None:
        """Keep a new job."""
        with self._write() as db:
            db.execute(
                "INSERT INTO job (id, kind, owner, phase, run_id, created, destruction, execution_seconds, groups,"
                " parameters) VALUES (?,?,?,?,?,?,?,?,?,?)",
                (
                    job.id,
                    job.kind,
                    job.owner,
                    job.phase,
                    job.run_id,
                    _stamp(job.creation_time),
                    _stamp(job.destruction),
                    job.execution_seconds,
                    json.dumps(job.groups),
                    json.dumps(job.parameters),
                ),
            )

    def find(self, job_id: str) -> Job | None:
        """Return a job, `None` if there is none."""
        row = self._open().execute("SELECT * FROM job WHERE id=?", (job_id,)).fetchone()
        return None if row is None else self._job(row)

    def list_jobs(self, owner: str, kind: JobKind | None, wanted: JobFilter) -> list[Job]:
        """Return the jobs of an owner, newest first."""
        clauses = ["owner=?"]
        values: list[object] = [owner]
        if kind is not None:
            clauses.append("kind=?")
            values.append(kind)
        phases = wanted.phases or tuple(p for p in Phase if p != Phase.ARCHIVED)
        clauses.append(f"phase IN ({','.join('?' * len(phases))})")
        values += phases
        if wanted.after is not None:
            clauses.append("created>?")
            values.append(_stamp(wanted.after))
        sql = f"SELECT * FROM job WHERE {' AND '.join(clauses)} ORDER BY created DESC"
        if wanted.last is not None:
            sql += " LIMIT ?"
            values.append(wanted.last)
        return [self._job(row) for row in self._open().execute(sql, values)]

    def move(self, job_id: str, phases: Sequence[Phase], to: Phase) -> bool:
        """Change the phase if it is one of those given; tell whether that happened."""
        ended = time.time() if to in {Phase.ABORTED, Phase.ERROR, Phase.COMPLETED} else None
        with self._write() as db:
            done = db.execute(
                f"UPDATE job SET phase=?, ended=coalesce(?, ended) WHERE id=? AND phase IN ({','.join('?' * len(phases))})",
                (to, ended, job_id, *phases),
            )
            return done.rowcount > 0

    def change(self, job_id: str, **fields: object) -> bool:
        """Change destruction, execution_seconds, run_id or parameters of a job."""
        sets, values = [], []
        for name, value in fields.items():
            sets.append(f"{self._COLUMNS[name]}=?")
            given = _stamp(value) if isinstance(value, datetime) else value
            values.append(json.dumps(given) if name == "parameters" else given)
        with self._write() as db:
            done = db.execute(f"UPDATE job SET {', '.join(sets)} WHERE id=?", (*values, job_id))
            return done.rowcount > 0

    def remove(self, job_id: str) -> bool:
        """Forget a job."""
        with self._write() as db:
            return db.execute("DELETE FROM job WHERE id=?", (job_id,)).rowcount > 0

    def claim(self, worker: str, kinds: Sequence[JobKind], lease_s: float) -> Job | None:
        """Take the next queued job for a worker.

        Parameters
        ----------
        worker
            Name of the worker, unique for each start of it.
        kinds
            What it can do.
        lease_s
            How long the job is the worker's without news of it.

        Returns
        -------
        Job or None
            The job, now executing; those of people with less running come first.
        """
        if not self._open().execute("SELECT 1 FROM job WHERE phase='QUEUED' LIMIT 1").fetchone():
            return None
        now = time.time()
        marks = ",".join("?" * len(kinds))
        with self._write() as db:
            row = db.execute(
                "UPDATE job SET phase='EXECUTING', worker=?, lease=?, attempt=attempt+1, started=?, progress='{}'"
                f" WHERE id=(SELECT q.id FROM job q WHERE q.phase='QUEUED' AND q.kind IN ({marks})"
                " ORDER BY (SELECT count(*) FROM job r WHERE r.owner=q.owner AND r.phase='EXECUTING'), q.created LIMIT 1)"
                " RETURNING *",
                (worker, now + lease_s, now, *kinds),
            ).fetchone()
        return None if row is None else self._job(row)

    def renew(
        self, worker: str, job_id: str, lease_s: float, progress: Mapping[str, str] | None = None
    ) -> bool:
        """Report that a worker still works on a job; false means that it is no longer its job."""
        text = None if progress is None else json.dumps(dict(progress))
        with self._write() as db:
            done = db.execute(
                "UPDATE job SET lease=?, progress=coalesce(?, progress) WHERE id=? AND worker=? AND phase='EXECUTING'",
                (time.time() + lease_s, text, job_id, worker),
            )
            return done.rowcount > 0

    def finish(self, worker: str, job_id: str, results: Sequence[JobResult], error: JobError | None) -> bool:
        """End a job if it is still the worker's; tell whether that happened."""
        with self._write() as db:
            done = db.execute(
                "UPDATE job SET phase=?, ended=?, results=?, error=?, lease=NULL"
                " WHERE id=? AND worker=? AND phase='EXECUTING'",
                (
                    Phase.COMPLETED if error is None else Phase.ERROR,
                    time.time(),
                    json.dumps([result.__dict__ for result in results]),
                    None if error is None else json.dumps(error.__dict__),
                    job_id,
                    worker,
                ),
            )
            return done.rowcount > 0

    def give_back(self, worker: str, job_id: str) -> bool:
        """Queue a job again that is still the worker's, as if it had not been begun."""
        with self._write() as db:
            done = db.execute(
                "UPDATE job SET phase='QUEUED', worker=NULL, lease=NULL, attempt=attempt-1"
                " WHERE id=? AND worker=? AND phase='EXECUTING'",
                (job_id, worker),
            )
            return done.rowcount > 0

    def release_expired(self, attempts: int) -> list[str]:
        """Queue again the jobs whose worker has gone; end those that failed too often.

        Parameters
        ----------
        attempts
            How often a job may be begun.

        Returns
        -------
        list of str
            The jobs that were released.
        """
        now = time.time()
        if (
            not self._open()
            .execute("SELECT 1 FROM job WHERE phase='EXECUTING' AND lease<?", (now,))
            .fetchone()
        ):
            return []
        error = json.dumps(
            {
                "message": "the job ended its worker every time it was begun",
                "code": "worker_lost",
                "transient": False,
            }
        )
        with self._write() as db:
            rows = db.execute(
                "UPDATE job SET phase=CASE WHEN attempt<? THEN 'QUEUED' ELSE 'ERROR' END,"
                " ended=CASE WHEN attempt<? THEN NULL ELSE ? END, error=CASE WHEN attempt<? THEN NULL ELSE ? END,"
                " worker=NULL, lease=NULL WHERE phase='EXECUTING' AND lease<? RETURNING id",
                (attempts, attempts, now, attempts, error, now),
            ).fetchall()
        return [row["id"] for row in rows]

    def list_expired(self, now: datetime) -> list[Job]:
        """Return the jobs whose destruction time has come."""
        rows = self._open().execute("SELECT * FROM job WHERE destruction<?", (now.timestamp(),))
        return [self._job(row) for row in rows]

    def count_active(self, owner: str, kind: JobKind) -> int:
        """Return how many jobs of an owner are queued or running."""
        row = (
            self._open()
            .execute(
                "SELECT count(*) FROM job WHERE owner=? AND kind=? AND phase IN ('QUEUED','EXECUTING')",
                (owner, kind),
            )
            .fetchone()
        )
        return int(row[0])
