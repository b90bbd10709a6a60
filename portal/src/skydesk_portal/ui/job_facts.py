"""What pages say about a job."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from urllib.parse import urlencode

import pyarrow as pa

from skydesk_portal.exceptions import PortalError
from skydesk_portal.models.datasets import parse_dataset_id
from skydesk_portal.models.jobs import ACTIVE_PHASES, FINAL_PHASES, Job, JobKind, Phase
from skydesk_portal.models.tables import ColumnInfo
from skydesk_portal.ui.gate import PREFIX
from skydesk_portal.ui.words import describe_age, describe_download, describe_seconds

__all__ = [
    "COLUMNS",
    "KINDS",
    "SCOPES",
    "STATES",
    "describe_job",
    "describe_jobs",
    "describe_outcome",
    "select_jobs",
]

KINDS = {
    JobKind.TAP: "query",
    JobKind.CUTOUT: "cut-out",
    JobKind.BULK: "many cut-outs",
    JobKind.BATCH: "pipeline",
    JobKind.TABLE: "table",
    JobKind.TRANSFER: "transfer",
}
"""What people call the kinds of jobs."""

SCOPES = {
    JobKind.TAP: "read:tap",
    JobKind.CUTOUT: "read:image",
    JobKind.BULK: "read:image",
    JobKind.BATCH: "exec:batch",
    JobKind.TABLE: "write:files",
    JobKind.TRANSFER: "write:files",
}
"""The scope that making a job of a kind takes."""

STATES: dict[str, frozenset[Phase]] = {
    "all but archived": frozenset(Phase) - {Phase.ARCHIVED},
    "under way": ACTIVE_PHASES,
    "completed": frozenset({Phase.COMPLETED}),
    "failed or aborted": frozenset({Phase.ERROR, Phase.ABORTED}),
    "archived": frozenset({Phase.ARCHIVED}),
}
"""Groups of phases that a reader chooses from."""

COLUMNS = tuple(
    ColumnInfo(name, "char", "*", description=text)
    for name, text in (
        ("job", "Identifier of the job"),
        ("label", "Your own label (RUNID)"),
        ("kind", "What does it"),
        ("phase", "Phase of the UWS pattern"),
        ("progress", "How far it is, or what went wrong"),
        ("age", "How long ago it was made"),
        ("time", "How long it has run"),
        ("what", "What was asked"),
    )
)
"""Columns of the job list."""


def _summary(job: Job) -> str:
    text = job.find_value("QUERY") or " ".join(f"{name}={value}" for name, value in job.parameters)
    text = " ".join(text.split())
    return text if len(text) <= 90 else f"{text[:89]}…"


def _duration(job: Job, now: datetime) -> str:
    if job.start_time is None:
        return ""
    return describe_seconds(((job.end_time or now) - job.start_time).total_seconds())


def _progress(job: Job) -> str:
    if job.error:
        return job.error.message
    return ", ".join(f"{key} {value}" for key, value in job.progress.items())


def select_jobs(jobs: Iterable[Job], kind: JobKind | None, state: str, text: str) -> list[Job]:
    """Return the jobs that a reader wants to see.

    Parameters
    ----------
    jobs
        All of them.
    kind
        Kind of job; None for all.
    state
        One of `STATES`.
    text
        Words that all have to occur in the identifier, the label or the parameters.
    """
    words = text.lower().split()
    phases = STATES.get(state, STATES["all but archived"])

    def fits(job: Job) -> bool:
        given = " ".join([job.id, job.run_id or "", *(value for _, value in job.parameters)]).lower()
        return (kind is None or job.kind is kind) and job.phase in phases and all(w in given for w in words)

    return [job for job in jobs if fits(job)]


def describe_jobs(jobs: Sequence[Job], now: datetime) -> pa.Table:
    """Make the rows of the job list.

    Parameters
    ----------
    jobs
        Newest first.
    now
        Time (UTC) up to which running jobs have run.

    Returns
    -------
    pyarrow.Table
        One row of text per job, with the columns of `COLUMNS`.
    """
    rows = [
        {
            "job": job.id,
            "label": job.run_id or "",
            "kind": KINDS[job.kind],
            "phase": str(job.phase),
            "progress": _progress(job),
            "age": describe_age(job.creation_time, now),
            "time": _duration(job, now),
            "what": _summary(job),
        }
        for job in jobs
    ]
    return pa.Table.from_pylist(rows, schema=pa.schema([(c.name, pa.string()) for c in COLUMNS]))


def describe_outcome(job: Job) -> str:
    """Say in a sentence how a job has ended."""
    name = f"{KINDS[job.kind].capitalize()} {job.run_id or job.id}"
    if job.phase is Phase.COMPLETED:
        return f"{name} has completed."
    return f"{name} has failed: {job.error.message}" if job.error else f"{name} was {job.phase.lower()}."


def _links(job: Job) -> list[tuple[str, str]]:
    """Pages that show what a job was about."""
    query = job.find_value("QUERY")
    found = []
    if query and job.kind is JobKind.TAP:
        found.append(("Open in Catalogs", f"{PREFIX}/catalogs?{urlencode({'query': query})}"))
    if job.kind is JobKind.TABLE and (table := job.find_value("TABLE")) and job.phase is Phase.COMPLETED:
        table = job.progress.get("table", table)
        found.append(
            (
                "Open in Catalogs",
                f"{PREFIX}/catalogs?{urlencode({'query': f'SELECT TOP 1000 * FROM {table}'})}",
            )
        )
    if job.kind is JobKind.CUTOUT and (text := job.find_value("ID")):
        try:
            dataset = parse_dataset_id(text)
        except PortalError:
            return found
        found.append(
            (
                "Open the image",
                f"{PREFIX}/images?{urlencode({'release': dataset.release, 'id': str(dataset.uuid)})}",
            )
        )
    return found


def describe_job(job: Job) -> str:
    """Make the sheet of one job, as HTML.

    Parameters
    ----------
    job
        The job.

    Returns
    -------
    str
        Phase, instants, parameters, progress, error and results.
    """

    def instant(value: datetime | None) -> str:
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if value else ""

    facts = [
        ("Label", job.run_id or ""),
        ("Kind", KINDS[job.kind]),
        ("Phase", str(job.phase)),
        ("Made", instant(job.creation_time)),
        ("Begun", instant(job.start_time)),
        ("Ended", instant(job.end_time)),
        ("Expected", instant(job.quote) if job.phase not in FINAL_PHASES else ""),
        ("Kept until", instant(job.destruction)),
        ("Files sent along", ", ".join(job.uploads)),
        *((name.title(), value) for name, value in job.parameters),
        *job.progress.items(),
    ]
    sheet = "".join(f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in facts if v)
    error = f"<div class='error' role='alert'>{escape(job.error.message)}</div>" if job.error else ""
    links = [
        (f"Download {r.name} ({describe_download(r.size)})", f"{PREFIX}/results/{job.id}/{r.name}")
        for r in job.results
    ]
    links += [
        (f"Download {r.name} as zip", f"{PREFIX}/transfer/zip/{job.id}/{r.name}")
        for r in job.results
        if r.media_type == "application/x-tar"
    ]
    shown = "".join(
        f"<a class='open{'' if n == 0 else ' second'}' href='{escape(address)}'>{escape(words)}</a>"
        for n, (words, address) in enumerate([*links, *_links(job)])
    )
    return (
        f"<div class='panel'><h2>Job {escape(job.id)}</h2>{error}<dl class='facts'>{sheet}</dl>"
        f"<div class='links'>{shown}</div></div>"
    )
