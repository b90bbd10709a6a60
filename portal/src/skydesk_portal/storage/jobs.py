"""The job database: statements that SQLite and PostgreSQL share, and SQLite (WAL) for one machine."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

from skydesk_portal.exceptions import ConfigError
from skydesk_portal.models.jobs import BUSY_PHASES, Job, JobError, JobKind, JobResult, Phase
from skydesk_portal.storage.threaded import ThreadedFile
from skydesk_portal.uws.store import JobFilter, JobUsage

__all__ = ["COLUMNS", "INDEXES", "VERSION", "SqlJobStore", "SqliteJobStore"]

VERSION = 2

COLUMNS = {
    "id": "TEXT PRIMARY KEY",
    "kind": "TEXT NOT NULL",
    "owner": "TEXT NOT NULL",
    "phase": "TEXT NOT NULL",
    "run_id": "TEXT",
    "created": "DOUBLE PRECISION NOT NULL",
    "started": "DOUBLE PRECISION",
    "ended": "DOUBLE PRECISION",
    "destruction": "DOUBLE PRECISION NOT NULL",
    "quote": "DOUBLE PRECISION",
    "execution_seconds": "BIGINT NOT NULL",
    "groups": "TEXT NOT NULL",
    "parameters": "TEXT NOT NULL",
    "results": "TEXT NOT NULL DEFAULT '[]'",
    "error": "TEXT",
    "progress": "TEXT NOT NULL DEFAULT '{}'",
    "attempt": "INTEGER NOT NULL DEFAULT 0",
    "worker": "TEXT",
    "lease": "DOUBLE PRECISION",
    # From here on: since version 2.
    "request_id": "TEXT",
    "long": "INTEGER NOT NULL DEFAULT 0",
    "concurrent": "INTEGER NOT NULL DEFAULT 1000000",
    "uploads": "TEXT NOT NULL DEFAULT '[]'",
    "result_bytes": "BIGINT NOT NULL DEFAULT 0",
}
_SINCE_2 = ("request_id", "long", "concurrent", "uploads", "result_bytes")
INDEXES = (
    "CREATE INDEX IF NOT EXISTS job_queue ON job (phase, kind, created)",
    "CREATE INDEX IF NOT EXISTS job_owner ON job (owner, created)",
)
_LOST = json.dumps(
    {"message": "the job ended its worker every time it was begun", "code": "worker_lost", "transient": False}
)
_USUAL_OF = 50


def _stamp(value: datetime | None) -> float | None:
    return None if value is None else value.timestamp()


def _instant(value: float | None) -> datetime | None:
    return None if value is None else datetime.fromtimestamp(value, UTC)


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))


def _job(row: Mapping[str, Any]) -> Job:
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
        request_id=row["request_id"],
        long=bool(row["long"]),
        concurrent=row["concurrent"],
        uploads=tuple(json.loads(row["uploads"])),
    )


class SqlJobStore(ABC):
    """Everything about jobs that SQL says alike everywhere."""

    _CHANGEABLE: ClassVar[frozenset[str]] = frozenset(
        {
            "destruction",
            "execution_seconds",
            "run_id",
            "parameters",
            "quote",
            "uploads",
            "groups",
            "results",
            "progress",
        }
    )
    # Which rows nobody else is looking at; only a database with many writers needs to say so.
    _LOCK_NEXT: ClassVar[str] = ""

    @abstractmethod
    def _read(self, sql: str, values: Sequence[object] = ()) -> list[Mapping[str, Any]]:
        """Return the rows of a query."""

    @abstractmethod
    def _write(self, sql: str, values: Sequence[object] = ()) -> tuple[int, list[Mapping[str, Any]]]:
        """Run one changing statement in a transaction; return how many rows changed and what it returned."""

    def _now(self) -> float:
        return time.time()

    def add(self, job: Job) -> None:
        """Keep a new job."""
        row: dict[str, object] = {
            "id": job.id,
            "kind": job.kind.value,
            "owner": job.owner,
            "phase": job.phase.value,
            "run_id": job.run_id,
            "created": _stamp(job.creation_time),
            "destruction": _stamp(job.destruction),
            "quote": _stamp(job.quote),
            "execution_seconds": job.execution_seconds,
            "groups": json.dumps(job.groups),
            "parameters": json.dumps(job.parameters),
            "progress": json.dumps(job.progress),
            "request_id": job.request_id,
            "long": int(job.long),
            "concurrent": job.concurrent,
            "uploads": json.dumps(job.uploads),
        }
        self._write(f"INSERT INTO job ({', '.join(row)}) VALUES ({_marks(list(row))})", list(row.values()))

    def find(self, job_id: str) -> Job | None:
        """Return a job, `None` if there is none."""
        rows = self._read("SELECT * FROM job WHERE id=?", (job_id,))
        return _job(rows[0]) if rows else None

    def list_jobs(self, owner: str, kind: JobKind | None, wanted: JobFilter) -> list[Job]:
        """Return the jobs of an owner, newest first."""
        clauses = ["owner=?"]
        values: list[object] = [owner]
        if kind is not None:
            clauses.append("kind=?")
            values.append(kind.value)
        phases = wanted.phases or tuple(p for p in Phase if p != Phase.ARCHIVED)
        clauses.append(f"phase IN ({_marks(phases)})")
        values += [phase.value for phase in phases]
        if wanted.after is not None:
            clauses.append("created>?")
            values.append(_stamp(wanted.after))
        sql = f"SELECT * FROM job WHERE {' AND '.join(clauses)} ORDER BY created DESC"
        if wanted.last is not None:
            sql += " LIMIT ?"
            values.append(wanted.last)
        return [_job(row) for row in self._read(sql, values)]

    def move(self, job_id: str, phases: Sequence[Phase], to: Phase) -> bool:
        """Change the phase if it is one of those given; tell whether that happened."""
        ended = self._now() if to in {Phase.ABORTED, Phase.ERROR, Phase.COMPLETED} else None
        count, _ = self._write(
            "UPDATE job SET phase=?, ended=coalesce(?, ended), result_bytes=CASE WHEN ?='ARCHIVED' THEN 0 ELSE"
            f" result_bytes END WHERE id=? AND phase IN ({_marks(phases)})",
            (to.value, ended, to.value, job_id, *(phase.value for phase in phases)),
        )
        return count > 0

    def change(self, job_id: str, phases: Sequence[Phase] = (), **fields: object) -> bool:
        """Change some fields of a job if its phase is one of those given; tell whether that happened.

        Parameters
        ----------
        job_id
            The job.
        phases
            In which phases; empty means in any.
        **fields
            Their new values.
        """
        sets, values = [], []
        for name, value in fields.items():
            if name not in self._CHANGEABLE:
                raise KeyError(name)
            sets.append(f"{name}=?")
            given = _stamp(value) if isinstance(value, datetime) else value
            values.append(json.dumps(given) if isinstance(given, list | tuple | dict) else given)
        sql, rest = f"UPDATE job SET {', '.join(sets)} WHERE id=?", [job_id]
        if phases:
            sql += f" AND phase IN ({_marks(phases)})"
            rest += [phase.value for phase in phases]
        return self._write(sql, (*values, *rest))[0] > 0

    def remove(self, job_id: str) -> bool:
        """Forget a job."""
        return self._write("DELETE FROM job WHERE id=?", (job_id,))[0] > 0

    def claim(
        self, worker: str, kinds: Sequence[JobKind], lease_s: float, *, short: bool = False
    ) -> Job | None:
        """Take the next queued job for a worker.

        Parameters
        ----------
        worker
            Name of the worker, unique for each start of it.
        kinds
            What it can do.
        lease_s
            How long the job is the worker's without news of it.
        short
            Leave jobs alone that are known to be long.

        Returns
        -------
        Job or None
            The job, now executing; those of people with less running come
            first, and nobody gets more than may run for one person.
        """
        wanted = ("QUEUED", "SUSPENDED")
        names = [kind.value for kind in kinds]
        ready = f"phase IN ({_marks(wanted)}) AND kind IN ({_marks(names)})" + (
            " AND long=0" if short else ""
        )
        if not self._read(f"SELECT 1 FROM job WHERE {ready} LIMIT 1", (*wanted, *names)):
            return None
        now = self._now()
        running = "SELECT count(*) FROM job r WHERE r.owner=q.owner AND r.phase='EXECUTING'"
        _, rows = self._write(
            "UPDATE job SET phase='EXECUTING', worker=?, lease=?, attempt=attempt+1, started=coalesce(started, ?),"
            f" progress='{{}}' WHERE id=(SELECT q.id FROM job q WHERE {ready} AND ({running} AND r.kind=q.kind)"
            f" < q.concurrent ORDER BY ({running}), q.created LIMIT 1{self._LOCK_NEXT}) RETURNING *",
            (worker, now + lease_s, now, *wanted, *names),
        )
        return _job(rows[0]) if rows else None

    def renew(
        self, worker: str, job_id: str, lease_s: float, progress: Mapping[str, str] | None = None
    ) -> bool:
        """Report that a worker still works on a job; false means that it is no longer its job."""
        text = None if progress is None else json.dumps(dict(progress))
        count, _ = self._write(
            "UPDATE job SET lease=?, progress=coalesce(?, progress) WHERE id=? AND worker=? AND phase='EXECUTING'",
            (self._now() + lease_s, text, job_id, worker),
        )
        return count > 0

    def finish(self, worker: str, job_id: str, results: Sequence[JobResult], error: JobError | None) -> bool:
        """End a job if it is still the worker's; tell whether that happened."""
        count, _ = self._write(
            "UPDATE job SET phase=?, ended=?, results=?, result_bytes=?, error=?, lease=NULL"
            " WHERE id=? AND worker=? AND phase='EXECUTING'",
            (
                (Phase.COMPLETED if error is None else Phase.ERROR).value,
                self._now(),
                json.dumps([result.__dict__ for result in results]),
                sum(result.size for result in results),
                None if error is None else json.dumps(error.__dict__),
                job_id,
                worker,
            ),
        )
        return count > 0

    def give_back(
        self, worker: str, job_id: str, to: Phase = Phase.QUEUED, *, long: bool | None = None
    ) -> bool:
        """Let another worker take a job that is still the worker's, as if it had not been begun.

        Parameters
        ----------
        worker, job_id
            Who gives back what.
        to
            Queued, or suspended if what was done so far is kept.
        long
            Whether it is now known to be long; `None` leaves that as it is.
        """
        count, _ = self._write(
            "UPDATE job SET phase=?, worker=NULL, lease=NULL, attempt=attempt-1, long=coalesce(?, long),"
            " started=CASE WHEN ?='SUSPENDED' THEN started END WHERE id=? AND worker=? AND phase='EXECUTING'",
            (to.value, None if long is None else int(long), to.value, job_id, worker),
        )
        return count > 0

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
        now = self._now()
        if not self._read("SELECT 1 FROM job WHERE phase='EXECUTING' AND lease<? LIMIT 1", (now,)):
            return []
        _, rows = self._write(
            "UPDATE job SET phase=CASE WHEN attempt<? THEN 'QUEUED' ELSE 'ERROR' END,"
            " ended=CASE WHEN attempt<? THEN NULL ELSE ? END, error=CASE WHEN attempt<? THEN NULL ELSE ? END,"
            " started=CASE WHEN attempt<? THEN NULL ELSE started END, worker=NULL, lease=NULL"
            " WHERE phase='EXECUTING' AND lease<? RETURNING id",
            (attempts, attempts, now, attempts, _LOST, attempts, now),
        )
        return [row["id"] for row in rows]

    def list_expired(self, now: datetime) -> list[Job]:
        """Return the jobs whose destruction time has come."""
        return [_job(row) for row in self._read("SELECT * FROM job WHERE destruction<?", (now.timestamp(),))]

    def measure(self, owner: str, kind: JobKind | None = None) -> JobUsage:
        """Return what the jobs of an owner take up.

        Parameters
        ----------
        owner
            Whose.
        kind
            Only jobs of this kind; `None` means all.
        """
        busy = sorted(BUSY_PHASES)
        row = self._read(
            "SELECT coalesce(sum(CASE WHEN phase<>'ARCHIVED' THEN 1 ELSE 0 END), 0) AS jobs,"
            f" coalesce(sum(CASE WHEN phase IN ({_marks(busy)}) THEN 1 ELSE 0 END), 0) AS active,"
            " coalesce(sum(result_bytes), 0) AS result_bytes FROM job WHERE owner=?"
            + ("" if kind is None else " AND kind=?"),
            (*(phase.value for phase in busy), owner, *(() if kind is None else (kind.value,))),
        )[0]
        return JobUsage(int(row["jobs"]), int(row["active"]), int(row["result_bytes"]))

    def count_phases(self) -> dict[tuple[JobKind, Phase], int]:
        """Return how many jobs there are of each kind in each phase."""
        rows = self._read("SELECT kind, phase, count(*) AS n FROM job GROUP BY kind, phase")
        return {(JobKind(row["kind"]), Phase(row["phase"])): int(row["n"]) for row in rows}

    def estimate_wait(self, kind: JobKind) -> tuple[int, float] | None:
        """Return how many jobs of a kind wait and how long one usually runs, in seconds.

        Returns
        -------
        tuple or None
            `None` if none has been done yet.
        """
        usual = self._read(
            "SELECT avg(ended-started) AS s FROM (SELECT ended, started FROM job WHERE kind=? AND phase='COMPLETED'"
            f" AND started IS NOT NULL ORDER BY created DESC LIMIT {_USUAL_OF}) AS done",
            (kind.value,),
        )[0]["s"]
        if usual is None:
            return None
        waiting = self._read(
            "SELECT count(*) AS n FROM job WHERE kind=? AND phase IN ('QUEUED','EXECUTING')", (kind.value,)
        )
        return int(waiting[0]["n"]), max(0.0, float(usual))


class SqliteJobStore(SqlJobStore):
    """Jobs in one file that the api and all workers of a machine share.

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
            columns = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
            db.execute(f"CREATE TABLE IF NOT EXISTS job ({columns})")
            if found == 1:
                for name in _SINCE_2:
                    db.execute(f"ALTER TABLE job ADD COLUMN {name} {COLUMNS[name]}")
            for statement in INDEXES:
                db.execute(statement)
            db.execute(f"PRAGMA user_version={VERSION}")

    def _read(self, sql: str, values: Sequence[object] = ()) -> list[Mapping[str, Any]]:
        return self._database.connect().execute(sql, values).fetchall()

    def _write(self, sql: str, values: Sequence[object] = ()) -> tuple[int, list[Mapping[str, Any]]]:
        with self._database.change() as db:
            done = db.execute(sql, values)
            rows = done.fetchall()
            # SQLite counts changed rows only once all returned rows are fetched.
            return done.rowcount, rows
